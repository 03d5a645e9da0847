//! Work over a long slice on all cores, with the outcome of doing it in order on one.

use std::thread;

/// Below this many items a thread costs more than it saves (a signature check is about 0.1 ms).
const MIN_CHUNK: usize = 16;

/// Maps `items` in order until the first error: the results before it, and the error. Items after
/// it may have been tried in vain.
pub(super) fn try_map<T: Sync, R: Send, E: Send>(
    items: &[T],
    map: impl Fn(&T) -> Result<R, E> + Sync,
) -> (Vec<R>, Option<E>) {
    let cores = match items.len() {
        0..MIN_CHUNK => 1,
        _ => thread::available_parallelism().map_or(1, usize::from),
    };
    let chunk = items.len().div_ceil(cores).max(MIN_CHUNK);
    let in_order = |chunk: &[T]| {
        let mut results = Vec::with_capacity(chunk.len());
        for item in chunk {
            match map(item) {
                Ok(result) => results.push(result),
                Err(error) => return (results, Some(error)),
            }
        }
        (results, None)
    };
    let (first, rest) = items.split_at(chunk.min(items.len()));
    thread::scope(|scope| {
        let workers: Vec<_> = rest
            .chunks(chunk)
            .map(|chunk| {
                let worker = thread::Builder::new()
                    .name("log-verify".to_owned())
                    .spawn_scoped(scope, || in_order(chunk));
                (worker, chunk)
            })
            .collect();
        let (mut results, mut error) = in_order(first);
        for (worker, chunk) in workers {
            if error.is_some() {
                break;
            }
            let (more, failed) = match worker {
                Ok(worker) => {
                    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                }
                // No thread to be had: the work is done here instead.
                Err(_) => in_order(chunk),
            };
            results.extend(more);
            error = failed;
        }
        (results, error)
    })
}
