//! Memory budgets: the bytes of calls in flight, in all and of one origin, from a call's first byte until
//! its reply has been taken. Connections times streams times the largest message would be terabytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::observe::metrics::LimitCounter;

/// What every call reserves, whatever its message: its task, its buffers, a watcher's events.
pub const CALL: usize = 16 * 1024;

/// A number of bytes that can be reserved and released.
#[derive(Debug)]
pub struct Budget {
    most: usize,
    reserved: AtomicUsize,
    /// Counts what it refuses, where an operator wants to know.
    refusals: Option<LimitCounter>,
}

/// What calls on one connection reserve from.
#[derive(Clone, Debug)]
pub struct MemoryBudget {
    all: Arc<Budget>,
    own: Arc<Budget>,
}

/// The bytes of one call, released when it is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
}

/// There are not so many bytes left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// The caller has them all.
    #[error("the caller's calls in flight hold all of the {0} bytes that it may have")]
    Own(usize),
    /// All callers together do.
    #[error("all calls in flight hold all of the {0} bytes that there are for them")]
    All(usize),
}

impl Budget {
    pub fn new(most: usize, refusals: LimitCounter) -> Self {
        Self { most, reserved: AtomicUsize::new(0), refusals: Some(refusals) }
    }

    pub fn uncounted(most: usize) -> Self {
        Self { most, reserved: AtomicUsize::new(0), refusals: None }
    }

    fn reserve(&self, bytes: usize) -> bool {
        let sum = |reserved: usize| reserved.checked_add(bytes).filter(|sum| *sum <= self.most);
        let reserved = self.reserved.fetch_update(Ordering::AcqRel, Ordering::Acquire, sum);
        if reserved.is_err()
            && let Some(refusals) = &self.refusals
        {
            refusals.refuse();
        }
        reserved.is_ok()
    }

    fn release(&self, bytes: usize) {
        self.reserved.fetch_sub(bytes, Ordering::AcqRel);
    }
}

impl MemoryBudget {
    pub fn new(all: Arc<Budget>, own: Arc<Budget>) -> Self {
        Self { all, own }
    }

    /// Reserves what every call takes.
    pub fn reserve(&self) -> Result<Reservation, Exhausted> {
        let mut reservation = Reservation { budget: self.clone(), bytes: 0 };
        reservation.add(CALL)?;
        Ok(reservation)
    }
}

impl Reservation {
    /// Reserves more.
    pub fn add(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let MemoryBudget { all, own } = &self.budget;
        if !own.reserve(bytes) {
            return Err(Exhausted::Own(own.most));
        }
        if !all.reserve(bytes) {
            own.release(bytes);
            return Err(Exhausted::All(all.most));
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.all.release(self.bytes);
        self.budget.own.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_reserved_is_released() {
        let budget = MemoryBudget::new(
            Arc::new(Budget::uncounted(5 * CALL)),
            Arc::new(Budget::uncounted(3 * CALL)),
        );
        let mut call = budget.reserve().unwrap();
        call.add(CALL).unwrap();
        let other = budget.reserve().unwrap();
        assert_eq!(call.add(1), Err(Exhausted::Own(3 * CALL)));
        assert_eq!(budget.reserve().unwrap_err(), Exhausted::Own(3 * CALL));
        let elsewhere =
            MemoryBudget { own: Arc::new(Budget::uncounted(usize::MAX)), ..budget.clone() };
        let mut much = elsewhere.reserve().unwrap();
        assert_eq!(much.add(2 * CALL), Err(Exhausted::All(5 * CALL)));
        assert_eq!(much.add(usize::MAX), Err(Exhausted::Own(usize::MAX)));
        drop((call, other));
        much.add(2 * CALL).unwrap();
        drop(much);
        assert_eq!(budget.all.reserved.load(Ordering::Relaxed), 0);
        assert_eq!(budget.own.reserved.load(Ordering::Relaxed), 0);
    }
}
