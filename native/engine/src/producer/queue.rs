//! The partitions of a lane that have something to send, and which of them go first.
//!
//! A broker works on batches, hardly on records. While more partitions wait than a request takes, the
//! fuller half of those that have waited longest goes first: the other batches fill meanwhile, and fewer
//! of them carry the same records. In order of arrival, callers that write to one partition after the
//! other would come by each just after its batch has left, and find it empty.

use std::cmp::Reverse;
use std::collections::VecDeque;

/// So many requests leave at most before one that was to go and was passed over.
const PATIENCE: u32 = 4;

/// See the module's text.
pub(super) struct Queue<T>(VecDeque<Waiting<T>>);

/// One that waits.
pub(super) struct Waiting<T> {
    pub item: T,
    /// How often others went first that came later.
    passed_over: u32,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Queue(VecDeque::new())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Comes last.
    pub(super) fn push(&mut self, item: T) {
        let passed_over = 0;
        self.0.push_back(Waiting { item, passed_over });
    }

    /// Brings those `count` to the front that are to go next.
    pub(super) fn arrange(&mut self, count: usize, fullness: impl Fn(&T) -> u32) {
        if self.len() <= count {
            return;
        }
        let candidates: Vec<_> = self.0.drain(..self.len().min(2 * count)).collect();
        let mut ranks: Vec<_> = candidates
            .iter()
            .enumerate()
            .map(|(at, candidate)| match candidate.passed_over {
                PATIENCE.. => (Reverse(u32::MAX), 0, at),
                // Of equals the newest: those before it fill up, or all would stay equal.
                _ => (Reverse(fullness(&candidate.item)), usize::MAX - at, at),
            })
            .collect();
        ranks.select_nth_unstable(count);
        let mut goes = vec![false; candidates.len()];
        for (.., at) in &ranks[..count] {
            goes[*at] = true;
        }
        let candidates = candidates.into_iter().zip(goes).rev();
        let (first, rest): (Vec<_>, Vec<_>) = candidates.partition(|(_, goes)| *goes);
        for (mut waiting, _) in rest {
            waiting.passed_over += 1;
            self.0.push_front(waiting);
        }
        for (waiting, _) in first {
            self.0.push_front(waiting);
        }
    }

    /// The next one leaves.
    pub(super) fn pop(&mut self) -> Option<Waiting<T>> {
        self.0.pop_front()
    }

    /// They go first, in this order.
    pub(super) fn put_back(&mut self, all: Vec<Waiting<T>>) {
        for waiting in all.into_iter().rev() {
            self.0.push_front(waiting);
        }
    }

    /// All of them, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|waiting| &waiting.item)
    }

    /// All of them leave.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.0.drain(..).map(|waiting| waiting.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who leaves when `count` may go; an item is its own fullness, by its hundreds.
    fn leave(queue: &mut Queue<u32>, count: usize) -> Vec<u32> {
        queue.arrange(count, |item| item / 100);
        let leaving = std::iter::from_fn(|| queue.pop().map(|waiting| waiting.item));
        leaving.take(count).collect()
    }

    fn queue(items: impl IntoIterator<Item = u32>) -> Queue<u32> {
        let mut queue = Queue::new();
        for item in items {
            queue.push(item);
        }
        queue
    }

    #[test]
    fn all_that_fit_leave_in_the_order_of_arrival() {
        let mut queue = queue([300, 100, 200]);
        assert_eq!(leave(&mut queue, 3), [300, 100, 200]);
    }

    #[test]
    fn of_twice_as_many_the_fullest_leave_first_and_of_equals_the_newest() {
        let mut queue = queue([100, 300, 101, 102, 900]);
        assert_eq!(leave(&mut queue, 2), [300, 102]);
        assert_eq!(leave(&mut queue, 2), [101, 900]);
        assert_eq!(leave(&mut queue, 2), [100]);
    }

    #[test]
    fn what_is_put_back_is_first() {
        let mut queue = queue([100, 200, 300]);
        let taken = vec![queue.pop().unwrap(), queue.pop().unwrap()];
        queue.put_back(taken);
        assert_eq!(leave(&mut queue, 3), [100, 200, 300]);
    }

    #[test]
    fn nobody_is_passed_over_for_ever() {
        let mut queue = queue([0]);
        let mut requests = 0;
        loop {
            for newer in 0..10 {
                queue.push(5_000 + newer);
            }
            if leave(&mut queue, 10).contains(&0) {
                break;
            }
            requests += 1;
            assert!(requests <= PATIENCE, "it still waits");
        }
        assert_eq!(requests, PATIENCE);
    }

    #[test]
    fn callers_that_go_round_fill_larger_batches_than_in_order_of_arrival() {
        // All partitions have one record; who is sent gets the next one only when the round has come
        // to it again, as do those that were passed over.
        let partitions = 100;
        let mut records = vec![0_u32; partitions];
        let mut queue = Queue::new();
        let (mut round, mut credit) = (0, partitions);
        let (mut sent, mut batches) = (0, 0);
        while batches < 10_000 {
            for _ in 0..std::mem::take(&mut credit) {
                if records[round] == 0 {
                    queue.push(round);
                }
                records[round] += 1;
                round = (round + 1) % partitions;
            }
            queue.arrange(10, |partition| records[*partition]);
            for _ in 0..10 {
                let Some(waiting) = queue.pop() else { break };
                credit += std::mem::take(&mut records[waiting.item]) as usize;
                batches += 1;
            }
            sent += credit;
        }
        let average = sent as f64 / f64::from(batches);
        assert!(
            average > 1.5,
            "{average} records a batch; 1 in order of arrival"
        );
    }
}
