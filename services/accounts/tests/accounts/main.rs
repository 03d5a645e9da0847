//! The accounts service as a process among real ones: hsmd on a SoftHSM token, Postgres, and the library's
//! own client under Node. The sibling commands must have been built (`cargo build --workspace --bins`).
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test that called them"
)]

mod balancer;
mod client;
mod faults;
mod hostile;
mod import;
mod keys;
mod limits;
mod mail;
mod npm;
mod origins;
mod page;
mod races;
mod rolling;
mod rounds;
mod smtp;
mod stack;
mod switch;
mod tools;
mod wire;
