//! The partitions of a lane that have something to send, and which of them go first.
//!
//! A broker works on batches, hardly on records. While more partitions wait than a request takes, those
//! with the fullest batches go first: the other batches fill meanwhile, and fewer of them carry the same
//! records. In order of arrival, callers that write to one partition after the other would come by
//! each just after its batch has left, and find it empty.

use std::cmp::Reverse;
use std::collections::VecDeque;

/// Whoever has seen so many times as many leave as there are waiting goes next: nobody waits much
/// longer than in order of arrival.
const PATIENCE: usize = 2;

/// See the module's text.
pub(super) struct Queue<T> {
    waiting: VecDeque<Waiting<T>>,
    /// How many have left so far.
    left: usize,
}

/// One that waits.
pub(super) struct Waiting<T> {
    pub item: T,
    /// How many had left when it came.
    arrived: usize,
}

impl<T> Queue<T> {
    pub fn new() -> Self {
        Queue {
            waiting: VecDeque::new(),
            left: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Comes last.
    pub fn push(&mut self, item: T) {
        let arrived = self.left;
        self.waiting.push_back(Waiting { item, arrived });
    }

    /// Brings those `count` to the front that are to go next. With no more waiting, the order of
    /// arrival will do.
    pub fn arrange(&mut self, count: usize, fullness: impl Fn(&T) -> u32) {
        if self.waiting.len() <= count {
            return;
        }
        let overdue = PATIENCE * self.waiting.len();
        let entries = self.waiting.iter().enumerate();
        let mut ranks: Vec<_> = entries
            .map(|(at, entry)| {
                if self.left - entry.arrived > overdue {
                    // The oldest first.
                    (Reverse(u32::MAX), 0, at)
                } else {
                    // Of equals the newest: those before it fill up, or all would stay equal.
                    (Reverse(fullness(&entry.item)), usize::MAX - at, at)
                }
            })
            .collect();
        ranks.select_nth_unstable(count);
        let mut goes = vec![false; ranks.len()];
        for (.., at) in &ranks[..count] {
            goes[*at] = true;
        }
        let (first, rest): (Vec<_>, Vec<_>) = self
            .waiting
            .drain(..)
            .zip(goes)
            .partition(|(_, goes)| *goes);
        let arranged = first.into_iter().chain(rest);
        self.waiting.extend(arranged.map(|(entry, _)| entry));
    }

    /// The next one leaves.
    pub fn pop(&mut self) -> Option<Waiting<T>> {
        let entry = self.waiting.pop_front()?;
        self.left += 1;
        Some(entry)
    }

    /// They have waited since they first came.
    pub fn put_back(&mut self, entries: Vec<Waiting<T>>) {
        self.left -= entries.len();
        self.waiting.extend(entries);
    }

    /// All of them leave.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.waiting.drain(..).map(|entry| entry.item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who leaves when `count` may go; an item is its own fullness, by its hundreds.
    fn leave(queue: &mut Queue<u32>, count: usize) -> Vec<u32> {
        queue.arrange(count, |item| item / 100);
        let leaving = std::iter::from_fn(|| queue.pop().map(|entry| entry.item));
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
    fn the_fullest_leave_first_and_of_equals_the_newest() {
        let mut queue = queue([100, 300, 101, 200, 102]);
        let mut first = leave(&mut queue, 3);
        first.sort_unstable();
        assert_eq!(first, [102, 200, 300]);
        assert_eq!(leave(&mut queue, 2), [100, 101]);
    }

    #[test]
    fn what_is_put_back_has_kept_its_place_in_time() {
        let mut queue = queue([100, 200, 300, 400, 500]);
        let taken = queue.pop().expect("the queue is not empty");
        queue.put_back(vec![taken]);
        assert_eq!(queue.left, 0);
        assert_eq!(queue.len(), 5);
    }

    #[test]
    fn nobody_is_passed_over_for_ever() {
        let waiting = 100;
        let mut queue = queue(std::iter::once(0).chain(100..100 + waiting));
        let mut left = 0;
        while !leave(&mut queue, 10).contains(&0) {
            left += 10;
            assert!(left <= 3 * waiting, "it waits after {left} have left");
            for newer in 0..10 {
                queue.push(5_000 + newer);
            }
        }
        assert!(left >= 2 * waiting, "it was not passed over at all");
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
                let Some(entry) = queue.pop() else { break };
                credit += std::mem::take(&mut records[entry.item]) as usize;
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
