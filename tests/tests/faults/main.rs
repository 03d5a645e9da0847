//! What happens on a bad day: each fault is played on real parts, and what was seen, by callers and by
//! the operator, becomes a row of docs/faults.md.
//!
//! `HSMD_WRITE_FAULTS=1` writes the page; without it the test fails when the page says anything else.
//! A fault's test asserts what must hold ([`seen`]); the row says the rest.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails when its ground is missing, and says what it has seen"
)]

mod clock;
mod commit;
mod database;
mod history;
mod overload;
mod page;
mod process;
mod recovery;
mod seen;
mod soak;
mod token;

use std::pin::Pin;
use std::time::Duration;

use seen::Seen;

const WINDOW: Duration = Duration::from_secs(12 * 3600);
const DOCUMENT: &str = r#"{"purpose":"document","text":"ü"}"#;

/// Who measures has the machine to itself; who only waits shares it.
static MACHINE: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// A fault, and the test that plays it.
struct Fault {
    /// What goes wrong.
    name: &'static str,
    /// What an operator does about it.
    operator: &'static str,
    play: fn() -> Pin<Box<dyn Future<Output = Seen>>>,
}

/// A fault of the list, by the function that plays it.
macro_rules! fault {
    ($play:path, $name:literal, $operator:literal) => {
        $crate::Fault { name: $name, operator: $operator, play: || Box::pin($play()) }
    };
}
pub(crate) use fault;

/// What whoever runs the tests wants of them.
#[expect(clippy::disallowed_methods, reason = "how a test is told what to do")]
fn told(variable: &str) -> Option<String> {
    std::env::var(variable).ok()
}
