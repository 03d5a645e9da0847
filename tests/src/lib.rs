//! The harness of every test in this workspace that needs more than its own process.
//!
//! Of hsmd: begin with [`Hsmd::initialised`] and [`Hsmd::serve`]; what comes back is called like a client
//! and cleans up when it is dropped. A test binary shares one private Postgres ([`Database`]); each test
//! has a database, two roles, a SoftHSM token on tmpfs ([`TestToken`]), a configuration ([`Settings`])
//! and sockets of its own. An [`Observer`] outside of the daemon collects every event that anybody
//! ever saw and asserts that each number has one id. Nothing sleeps: [`until`] waits for conditions.
//!
//! Of the services: [`RunningHsm`] and [`RedisServer`] are their neighbours, [`RunningService`] is one of
//! them as a process.
//!
//! Two fakes, for what no real part does on request: [`peer`] of hsmd and [`Published`] of the keys service,
//! both over logs of software keys.
//!
//! The programs are those beside the test executable: build them before with
//! `cargo build --workspace --all-targets --features hsmd/failpoints`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a harness fails the test that uses it, and says why"
)]

mod accepting;
mod bomb;
mod cases;
mod command;
mod daemon;
mod devices;
mod disk;
mod hsmd;
mod observer;
pub mod peer;
mod pooler;
mod postgres;
mod privileged;
mod proxy;
mod published;
mod redis;
mod rpc;
mod running;
mod service;
mod settings;
mod token;
mod wait;

pub use accepting::statement;
pub use bomb::gzip_bomb;
pub use cases::for_each_case;
pub use command::{Output, program};
pub use daemon::Daemon;
pub use devices::Device;
pub use disk::SmallDisk;
pub use hsmd::{Hsmd, write_private};
pub use observer::Observer;
pub use pooler::Pooler;
pub use postgres::{AdminRow, Database};
pub use privileged::{ANSWERS, OtherUser, OwnNetwork, TWO_ADDRESSES, TWO_OF_IPV4, carry};
pub use proxy::{Proxy, Toll};
pub use published::{Head, Published};
pub use redis::RedisServer;
pub use rpc::{Refusal, Rpc};
pub use running::RunningHsm;
pub use service::RunningService;
pub use settings::Settings;
pub use token::{KEY_LABEL, TestToken};
pub use wait::{Look, TEST_TIMEOUT, now, soon, until, wait_for, within};
