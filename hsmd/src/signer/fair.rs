//! Fairness between callers: each has a queue of its own, and they are served in turn. Shares are counted in
//! documents: a caller may have as many in the queue as there are free places, so that one alone takes half
//! of them, two take a third each, and the next one always finds some.

use std::collections::VecDeque;
use std::sync::Arc;

/// Jobs of callers, bounded in documents.
#[derive(Debug)]
pub struct FairQueue<T> {
    capacity: usize,
    documents: usize,
    /// Those who wait, the next to be served first.
    callers: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    caller: Arc<str>,
    documents: usize,
    /// With the documents of each.
    jobs: VecDeque<(T, usize)>,
}

/// The caller's share of the queue, or all of it, is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl<T> FairQueue<T> {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, documents: 0, callers: VecDeque::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.callers.is_empty()
    }

    /// How many documents wait.
    pub fn documents(&self) -> usize {
        self.documents
    }

    /// Queues a new job. A caller who has none may queue one of any size while there is a free place.
    pub fn push(&mut self, caller: &Arc<str>, job: T, documents: usize) -> Result<(), Full> {
        let free = self.capacity.saturating_sub(self.documents);
        let own = self.callers.iter().find(|waiting| waiting.caller == *caller);
        let own = own.map_or(0, |waiting| waiting.documents);
        if free == 0 || (own > 0 && own + documents > free) {
            return Err(Full);
        }
        self.add(caller, job, documents);
        Ok(())
    }

    /// Queues the rest of a job again: it has been admitted before.
    pub fn push_back(&mut self, caller: &Arc<str>, job: T, documents: usize) {
        self.add(caller, job, documents);
    }

    fn add(&mut self, caller: &Arc<str>, job: T, documents: usize) {
        self.documents += documents;
        match self.callers.iter_mut().find(|waiting| waiting.caller == *caller) {
            Some(waiting) => {
                waiting.documents += documents;
                waiting.jobs.push_back((job, documents));
            }
            None => self.callers.push_back(Waiting {
                caller: Arc::clone(caller),
                documents,
                jobs: VecDeque::from([(job, documents)]),
            }),
        }
    }

    /// The job that is served next.
    pub fn front(&self) -> Option<&T> {
        self.callers.front()?.jobs.front().map(|(job, _)| job)
    }

    /// Takes it. Its caller's next one has its turn after all other callers'.
    pub fn pop(&mut self) -> Option<T> {
        let mut waiting = self.callers.pop_front()?;
        let popped = waiting.jobs.pop_front();
        if let Some((_, documents)) = &popped {
            waiting.documents -= documents;
            self.documents -= documents;
        }
        if !waiting.jobs.is_empty() {
            self.callers.push_back(waiting);
        }
        popped.map(|(job, _)| job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callers() -> [Arc<str>; 3] {
        ["greedy", "modest", "third"].map(Arc::from)
    }

    #[test]
    fn callers_are_served_in_turn() {
        let [greedy, modest, _] = callers();
        let mut queue = FairQueue::new(100);
        for number in 0..4 {
            queue.push(&greedy, number, 5).unwrap();
        }
        queue.push(&modest, 10, 1).unwrap();
        let served: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(served, [0, 10, 1, 2, 3]);
        assert_eq!((queue.documents(), queue.is_empty()), (0, true));
    }

    #[test]
    fn no_caller_fills_the_queue_for_the_others() {
        let [greedy, modest, third] = callers();
        let mut queue = FairQueue::new(100);
        let fill = |queue: &mut FairQueue<u8>, caller, documents| {
            std::iter::from_fn(|| queue.push(caller, 0, documents).ok()).count()
        };
        assert_eq!(fill(&mut queue, &greedy, 1), 50, "alone: half");
        assert_eq!(fill(&mut queue, &modest, 1), 25, "half of what is left");
        assert_eq!(fill(&mut queue, &greedy, 1), 0);
        assert_eq!(fill(&mut queue, &third, 1), 12);
        assert!(queue.push(&"fourth".into(), 0, 256).is_ok(), "one batch of any size");
        assert_eq!(queue.push(&"fifth".into(), 0, 1), Err(Full));
    }

    #[test]
    fn the_rest_of_a_batch_waits_behind_the_others() {
        let [greedy, modest, _] = callers();
        let mut queue = FairQueue::new(1);
        queue.push(&greedy, 1, 1).unwrap();
        assert_eq!(queue.push(&modest, 2, 1), Err(Full));
        assert_eq!(queue.pop(), Some(1));
        queue.push(&modest, 2, 1).unwrap();
        queue.push_back(&greedy, 1, 7);
        assert_eq!((queue.pop(), queue.front(), queue.documents()), (Some(2), Some(&1), 7));
    }
}
