//! Kill points: places where a test lets the process die as `kill -9` would.
//!
//! Compiled in only with the feature `failpoints`; the environment variable FAILPOINTS then names the
//! ones that are armed (`name=return`, or any action of the crate `fail`).

/// Ends the process at once, without unwinding or flushing, when the named point is armed.
#[macro_export]
macro_rules! crash_point {
    ($name:expr) => {
        #[cfg(feature = "failpoints")]
        {
            (|| ::fail::fail_point!($name, |_| $crate::failpoint::die($name)))();
        }
    };
}

/// Arms what FAILPOINTS names, for the life of the process.
#[cfg(feature = "failpoints")]
pub fn arm() {
    // Dropping the scenario would disarm it.
    std::mem::forget(fail::FailScenario::setup());
}

/// Kills this process with SIGKILL.
#[cfg(feature = "failpoints")]
pub fn die(name: &str) {
    tracing::error!(name, "failpoint: killing the process");
    hsmd_runtime::flush_log(std::time::Duration::from_secs(1));
    let me = nix::unistd::Pid::this();
    if let Err(error) = nix::sys::signal::kill(me, nix::sys::signal::Signal::SIGKILL) {
        tracing::error!(%error, "cannot kill the process");
    }
    std::thread::park();
}
