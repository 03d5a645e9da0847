//! Busy polling before a quick token, on both sides of the queue.
//!
//! To be woken from sleep on another processor takes as long as a signature of SoftHSM does. So while
//! requests follow each other at once, the token's thread polls for the next one before it sleeps, and a
//! caller that is alone polls for the answer, on an async worker that does its other work in between.
//!
//! Measured by `scripts/bench` at one caller (docs/performance.md): 76 to 84 µs at the median with it,
//! 190 µs without, on an idle machine of two cores. On a busy machine it gains little (307 to 310 µs with
//! it, 365 to 383 µs without), so while it polls the thread yields to others. It costs processor time at low
//! rates, and nothing at high ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot::error::{RecvError, TryRecvError};
use tokio::sync::oneshot::{Receiver, channel};

/// How long either side polls before it sleeps.
const POLL_TIMEOUT: Duration = Duration::from_micros(200);

/// On a device that takes longer for a signature, polling gains nothing.
pub const QUICK_SIGNATURE: Duration = Duration::from_micros(100);

/// Whether the queue has changed since the token's thread last looked at it.
#[derive(Debug, Default)]
pub struct Changed(AtomicBool);

impl Changed {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// To be called before the look at the queue: a change that comes after it is seen by `poll`.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Returns when the queue has changed, or after a while.
    pub fn poll(&self) {
        let begun = Instant::now();
        while !self.0.load(Ordering::Acquire) && begun.elapsed() < POLL_TIMEOUT {
            std::thread::yield_now();
        }
    }
}

/// Whether the token's thread polls before it waits: when it has just signed, and had not waited long
/// for that request.
#[derive(Debug, Default)]
pub struct Policy {
    follows: bool,
}

impl Policy {
    pub fn polls(&self) -> bool {
        self.follows
    }

    /// `waited`: how long the thread has polled and slept for what it does now.
    pub fn note(&mut self, signs: bool, waited: Duration) {
        self.follows = signs && waited < 2 * POLL_TIMEOUT;
    }
}

/// A caller's answer; with `poll`, polled for first.
pub async fn answer<T>(mut answer: Receiver<T>, poll: bool) -> Result<T, RecvError> {
    let begun = Instant::now();
    while poll && begun.elapsed() < POLL_TIMEOUT {
        match answer.try_recv() {
            Ok(answer) => return Ok(answer),
            Err(TryRecvError::Empty) => tokio::task::yield_now().await,
            // Such a receiver must not be asked again. A new one without a sender gives the same error.
            Err(TryRecvError::Closed) => {
                let (sender, closed) = channel();
                drop(sender);
                return closed.await;
            }
        }
    }
    answer.await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_comes_before_the_polling_after_it_or_never() {
        for poll in [false, true] {
            let (reply, waiting) = channel();
            reply.send(7).unwrap();
            assert_eq!(answer(waiting, poll).await, Ok(7));

            let (reply, waiting) = channel::<u32>();
            drop(reply);
            assert!(answer(waiting, poll).await.is_err());

            let (reply, waiting) = channel();
            let waiting = tokio::spawn(answer(waiting, poll));
            // The first poll of the task finds nothing, and its polling ends before the answer.
            tokio::task::yield_now().await;
            let begun = Instant::now();
            while begun.elapsed() < 2 * POLL_TIMEOUT {
                tokio::task::yield_now().await;
            }
            reply.send(7).unwrap();
            assert_eq!(waiting.await.unwrap(), Ok(7));
        }
    }

    #[test]
    fn the_thread_polls_while_requests_follow_each_other() {
        let mut policy = Policy::default();
        assert!(!policy.polls(), "nothing has come yet");
        policy.note(true, Duration::ZERO);
        assert!(policy.polls());
        policy.note(true, 2 * POLL_TIMEOUT);
        assert!(!policy.polls(), "the request came late");
        policy.note(false, Duration::ZERO);
        assert!(!policy.polls(), "admin work or none");
    }

    #[test]
    fn a_change_between_the_reset_and_the_poll_is_seen() {
        let changed = Changed::default();
        changed.reset();
        changed.set();
        changed.poll();
        assert!(changed.0.load(Ordering::Acquire));
    }
}
