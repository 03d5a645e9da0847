//! Waiting for a signature: asleep, or awake where it is almost there.

use std::time::{Duration, Instant};

use tokio::sync::oneshot::error::{RecvError, TryRecvError};
use tokio::sync::oneshot::{Receiver, channel};

/// How long a caller who is alone stays awake for the signature of a quick token: to be woken on
/// another processor takes half as long as the signature.
const AWAKE: Duration = Duration::from_micros(200);

/// The answer. With `soon`, the async worker looks for it between all else that it has to do, which it
/// goes on with.
pub(super) async fn answer<T>(mut answer: Receiver<T>, soon: bool) -> Result<T, RecvError> {
    let begun = Instant::now();
    while soon && begun.elapsed() < AWAKE {
        match answer.try_recv() {
            Ok(answer) => return Ok(answer),
            Err(TryRecvError::Empty) => tokio::task::yield_now().await,
            // A receiver that was told so may not be asked again: another says it as well.
            Err(TryRecvError::Closed) => return channel().1.await,
        }
    }
    answer.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_come_soon_later_or_never() {
        for soon in [false, true] {
            for (delay, sent) in [(0, true), (10, true), (0, false)] {
                let (reply, waiting) = tokio::sync::oneshot::channel();
                let waiting = tokio::spawn(answer(waiting, soon));
                tokio::time::sleep(Duration::from_millis(delay)).await;
                if sent {
                    reply.send(7).unwrap();
                } else {
                    drop(reply);
                }
                assert_eq!(waiting.await.unwrap().ok(), sent.then_some(7));
            }
        }
    }
}
