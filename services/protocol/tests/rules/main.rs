//! The rules over stores in memory: every check violated once, and what a success changes.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail the test that called them"
)]

mod access;
mod accounts;
mod memory;
mod sessions;
mod wire;
mod world;
