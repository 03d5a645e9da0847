//! Processor time, which a busy machine does not change as much as it changes times on the wall.

use std::path::Path;

/// Nanoseconds on a processor, of the threads of a daemon and of its callers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    token: u64,
    others: u64,
}

impl Cpu {
    /// What a daemon and this process have used until now.
    pub(crate) fn now(daemon: i32) -> Self {
        let mut cpu = Self { token: 0, others: 0 };
        for (process, callers) in [(daemon.to_string(), false), ("self".to_owned(), true)] {
            let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
            for task in tasks.flatten() {
                // A thread that has just ended has nothing more to say.
                let Ok(name) = std::fs::read_to_string(task.path().join("comm")) else { continue };
                let used = on_cpu(&task.path());
                let is_token = !callers && name.starts_with("token-");
                *(if is_token { &mut cpu.token } else { &mut cpu.others }) += used;
            }
        }
        cpu
    }

    /// Microseconds for each of so many operations since: the token's thread, and all others.
    pub(crate) fn each(self, daemon: i32, operations: f64) -> (f64, f64) {
        let now = Self::now(daemon);
        let each = |now: u64, then: u64| now.saturating_sub(then) as f64 / 1e3 / operations;
        (each(now.token, self.token), each(now.others, self.others))
    }
}

/// Nanoseconds that this thread has been on a processor.
pub(crate) fn of_this_thread() -> u64 {
    on_cpu(Path::new("/proc/thread-self"))
}

/// The first field of `schedstat`.
fn on_cpu(task: &Path) -> u64 {
    let stat = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
    stat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}
