//! The harness of the system tests: a whole hsmd of real parts for each test.
//!
//! Begin with [`Hsmd::initialised`] and [`Hsmd::serve`]; what comes back is called like a client and
//! cleans up when it is dropped. A test binary shares one private Postgres ([`Database`]); each test
//! has a database, two roles, a SoftHSM token on tmpfs ([`TestToken`]), a configuration ([`Settings`])
//! and sockets of its own. An [`Observer`] outside of the daemon collects every event that anybody
//! ever saw and asserts that each number has one id. Nothing sleeps: [`until`] waits for conditions.
//!
//! The programs are those beside the test executable: build them before with
//! `cargo build --workspace --all-targets --features hsmd/failpoints`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness fails the test that uses it, and says why"
)]

mod cases;
mod command;
mod daemon;
mod disk;
mod hsmd;
mod observer;
mod pooler;
mod postgres;
mod proxy;
mod rpc;
mod settings;
mod token;
mod wait;

pub use cases::for_each_case;
pub use command::{Output, program};
pub use daemon::Daemon;
pub use disk::SmallDisk;
pub use hsmd::{Hsmd, write_private};
pub use observer::Observer;
pub use pooler::Pooler;
pub use postgres::{AdminRow, Database};
pub use proxy::{Proxy, Toll};
pub use rpc::{Refusal, Rpc};
pub use settings::Settings;
pub use token::{KEY_LABEL, TestToken};
pub use wait::{PATIENCE, now, until, within};
