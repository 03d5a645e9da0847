//! hsmd and the services around it as their callers and operators meet them: real processes, real tokens,
//! real databases, real sockets. One program, so that its tests wait side by side.
//!
//! What belongs to a whole process (a PKCS#11 module, environment variables, failpoints, a clock) is given
//! to child processes: any two of these tests may run at once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails when its ground is missing, and says what it has seen"
)]

mod architecture;
mod compat;
mod failing_token;
mod faults;
mod fleet;
mod gateway;
mod operation;
mod replay;
mod system;
mod tokens;
mod trial;

use std::time::Duration;

/// How long replaced generations are believed, as by clients.
const WINDOW: Duration = Duration::from_secs(12 * 3600);

const DOCUMENT: &str = r#"{"purpose":"document","text":"ü"}"#;

/// What the tests are told by their environment.
#[expect(clippy::disallowed_methods, reason = "how a test is told what to do")]
fn told(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}
