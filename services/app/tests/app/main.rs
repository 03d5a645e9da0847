//! The app service over HTTP among real parts: hsmd with a SoftHSM token and Postgres, Redis, and
//! replicas of the app as processes of their own.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a failed step should end the test here"
)]

mod faults;
mod replay;
mod requests;
mod session;
mod stack;
