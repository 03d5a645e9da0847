//! A queue that is fair between callers: each has a line of its own, and they are served in turn. Shares
//! are counted in documents: a caller may have as many in the queue as there are free places, so that one
//! alone takes half of them, two take a third each. One request of each caller always finds room, so that a
//! batch which is larger than the queue refuses no other caller; the callers that there are bound that.

use std::collections::VecDeque;

use crate::authz::Caller;

/// Jobs of callers, bounded in documents.
#[derive(Debug)]
pub struct FairQueue<T> {
    capacity: usize,
    documents: usize,
    /// The callers who wait, the next to be served first.
    lines: VecDeque<Line<T>>,
}

/// The jobs of one caller.
#[derive(Debug)]
struct Line<T> {
    caller: Caller,
    documents: usize,
    /// With the documents of each.
    jobs: VecDeque<(T, usize)>,
}

/// The caller's share of the queue, or all of it, is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What becomes of a job that [`FairQueue::take_in_turn`] shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Take,
    Leave,
    /// Leave this one and all others.
    End,
}

impl<T> FairQueue<T> {
    pub fn new(capacity: usize) -> Self {
        Self { capacity, documents: 0, lines: VecDeque::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// How many documents wait.
    pub fn documents(&self) -> usize {
        self.documents
    }

    /// Queues a new job. A caller who has none may queue one of any size.
    pub fn push(&mut self, caller: &Caller, job: T, documents: usize) -> Result<(), Full> {
        let free = self.capacity.saturating_sub(self.documents);
        let own = self.line(caller).map_or(0, |line| line.documents);
        if own > 0 && own + documents > free {
            return Err(Full);
        }
        self.add(caller, job, documents);
        Ok(())
    }

    /// Queues the rest of a job again: it has been admitted before.
    pub fn push_back(&mut self, caller: &Caller, job: T, documents: usize) {
        self.add(caller, job, documents);
    }

    fn line(&mut self, caller: &Caller) -> Option<&mut Line<T>> {
        self.lines.iter_mut().find(|line| line.caller == *caller)
    }

    fn add(&mut self, caller: &Caller, job: T, documents: usize) {
        self.documents += documents;
        match self.line(caller) {
            Some(line) => {
                line.documents += documents;
                line.jobs.push_back((job, documents));
            }
            None => self.lines.push_back(Line {
                caller: caller.clone(),
                documents,
                jobs: VecDeque::from([(job, documents)]),
            }),
        }
    }

    /// Takes the next job. Its caller's next one has its turn after all other callers'.
    pub fn pop(&mut self) -> Option<T> {
        self.pop_line(0)
    }

    /// Takes the first job of some caller, if there is one for which this is true.
    pub fn pop_first(&mut self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let first = |line: &Line<T>| line.jobs.front().is_some_and(|(job, _)| wanted(job));
        let position = self.lines.iter().position(first)?;
        self.pop_line(position)
    }

    fn pop_line(&mut self, position: usize) -> Option<T> {
        let mut line = self.lines.remove(position)?;
        let (job, documents) = line.jobs.pop_front()?;
        line.documents -= documents;
        self.documents -= documents;
        if !line.jobs.is_empty() {
            self.lines.push_back(line);
        }
        Some(job)
    }

    /// Shows the jobs of each caller in their order, one of each caller in turn, and takes those that are
    /// chosen. The others keep their order, and callers of whom none was taken are the next to be served.
    pub fn take_in_turn(&mut self, mut choose: impl FnMut(&T) -> Choice) -> Vec<T> {
        let mut taken = Vec::new();
        let lines = std::mem::take(&mut self.lines);
        let mut turns: Vec<_> = lines.into_iter().map(Turn::new).collect();
        'rounds: loop {
            let before = taken.len();
            for turn in &mut turns {
                match turn.next(&mut choose) {
                    Some(Choice::Take) => taken.extend(turn.take()),
                    Some(Choice::End) => break 'rounds,
                    Some(Choice::Leave) | None => {}
                }
            }
            if taken.len() == before {
                break;
            }
        }
        let (served, waiting): (Vec<_>, Vec<_>) = turns.into_iter().partition(|turn| turn.served);
        self.lines = waiting.into_iter().chain(served).filter_map(Turn::end).collect();
        self.documents = self.lines.iter().map(|line| line.documents).sum();
        taken
    }
}

/// A line while jobs are chosen.
struct Turn<T> {
    line: Line<T>,
    /// Those that were left.
    left: Vec<(T, usize)>,
    served: bool,
}

impl<T> Turn<T> {
    fn new(line: Line<T>) -> Self {
        Self { line, left: Vec::new(), served: false }
    }

    /// Goes on to the first job that is not left; it stays in front.
    fn next(&mut self, choose: &mut impl FnMut(&T) -> Choice) -> Option<Choice> {
        loop {
            match choose(&self.line.jobs.front()?.0) {
                Choice::Leave => self.left.extend(self.line.jobs.pop_front()),
                choice => return Some(choice),
            }
        }
    }

    fn take(&mut self) -> Option<T> {
        let (job, documents) = self.line.jobs.pop_front()?;
        self.line.documents -= documents;
        self.served = true;
        Some(job)
    }

    /// The line as it goes on, if anything is left of it.
    fn end(self) -> Option<Line<T>> {
        let Self { mut line, left, .. } = self;
        for job in left.into_iter().rev() {
            line.jobs.push_front(job);
        }
        (!line.jobs.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callers() -> [Caller; 3] {
        ["greedy", "modest", "third"].map(Caller::new)
    }

    /// All that waits, in the order in which it is served.
    fn served<T>(queue: &mut FairQueue<T>) -> Vec<T> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn callers_are_served_in_turn() {
        let [greedy, modest, _] = callers();
        let mut queue = FairQueue::new(100);
        for number in 0..4 {
            queue.push(&greedy, number, 5).unwrap();
        }
        queue.push(&modest, 10, 1).unwrap();
        assert_eq!(queue.documents(), 21);
        assert_eq!(served(&mut queue), [0, 10, 1, 2, 3]);
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
        assert_eq!(fill(&mut queue, &third, 1), 13, "half of the rest, rounded up");
        assert!(queue.push(&Caller::new("fourth"), 0, 256).is_ok(), "one batch of any size");
    }

    #[test]
    fn a_batch_larger_than_the_queue_keeps_no_other_caller_out() {
        let [greedy, modest, third] = callers();
        let mut queue = FairQueue::new(64);
        queue.push(&greedy, 1, 256).unwrap();
        assert_eq!(queue.push(&greedy, 2, 1), Err(Full));
        for (caller, number) in [(&modest, 3), (&third, 4)] {
            queue.push(caller, number, 1).unwrap();
            assert_eq!(queue.push(caller, number, 1), Err(Full), "one each");
        }
        assert_eq!(queue.documents(), 258);
        assert_eq!(served(&mut queue), [1, 3, 4]);
    }

    #[test]
    fn the_rest_of_a_batch_waits_behind_the_others() {
        let [greedy, modest, _] = callers();
        let mut queue = FairQueue::new(1);
        queue.push(&greedy, 1, 1).unwrap();
        assert_eq!(queue.push(&greedy, 1, 1), Err(Full));
        assert_eq!(queue.pop(), Some(1));
        queue.push(&modest, 2, 1).unwrap();
        queue.push_back(&greedy, 1, 7);
        assert_eq!(queue.documents(), 8);
        assert_eq!(served(&mut queue), [2, 1]);
    }

    #[test]
    fn the_first_of_any_caller_can_be_taken_by_a_condition() {
        let [greedy, modest, _] = callers();
        let mut queue = FairQueue::new(100);
        for (caller, number) in [(&greedy, 1), (&greedy, 12), (&modest, 11), (&modest, 2)] {
            queue.push(caller, number, 1).unwrap();
        }
        assert_eq!(queue.pop_first(|number| *number > 10), Some(11));
        assert_eq!(queue.pop_first(|number| *number > 10), None, "12 is behind 1");
        assert_eq!(served(&mut queue), [1, 2, 12]);
    }

    #[test]
    fn what_is_taken_comes_from_all_callers_in_turn_and_the_rest_keeps_its_order() {
        let [greedy, modest, third] = callers();
        let mut queue = FairQueue::new(100);
        for number in [1, 2, 4, 3, 6, 8] {
            queue.push(&greedy, number, 2).unwrap();
        }
        queue.push(&third, 7, 1).unwrap();
        for number in [12, 14] {
            queue.push(&modest, number, 1).unwrap();
        }
        let mut room = 4;
        let taken = queue.take_in_turn(|number| match number % 2 == 0 {
            false => Choice::Leave,
            true if room == 0 => Choice::End,
            true => {
                room -= 1;
                Choice::Take
            }
        });
        assert_eq!(taken, [2, 12, 4, 14], "the greedy one gets half of it");
        assert_eq!(queue.documents(), 9);
        // Who got nothing is first now.
        assert_eq!(served(&mut queue), [7, 1, 3, 6, 8]);
    }
}
