//! The auth service as a process among real ones: hsmd on a SoftHSM token, Postgres, Redis, the keys
//! service, and the device as a client. The sibling commands must have been built
//! (`cargo build --workspace --bins`).
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test that called them"
)]

mod client;
mod faults;
mod hostile;
mod lossy;
mod replicas;
mod service;
mod stack;
mod walk;
