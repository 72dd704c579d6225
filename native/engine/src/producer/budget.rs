//! The bytes that all producers of a client may buffer before callers are held up.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// `W`: who waits for bytes.
pub(super) struct Budget<W> {
    limit: usize,
    used: AtomicUsize,
    waiting: Mutex<Vec<W>>,
}

impl<W> Budget<W> {
    pub(super) fn new(limit: usize) -> Self {
        Budget {
            limit,
            used: AtomicUsize::new(0),
            waiting: Mutex::default(),
        }
    }

    /// Counts bytes in. True when the budget is used up.
    pub(super) fn add(&self, bytes: usize) -> bool {
        self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit
    }

    pub(super) fn is_exceeded(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.limit
    }

    /// Has `waiter` wait for bytes. Returns all who wait if by now there are some: whoever freed
    /// them may have looked before this one came.
    #[must_use]
    pub(super) fn wait(&self, waiter: W) -> Vec<W> {
        let mut waiting = self.waiting.lock();
        waiting.push(waiter);
        // Read under the lock: bytes freed later find the waiter, bytes freed before are seen.
        if self.is_exceeded() {
            return Vec::new();
        }
        std::mem::take(&mut waiting)
    }

    /// Counts bytes out. Returns all who wait when that made room.
    #[must_use]
    pub(super) fn release(&self, bytes: usize) -> Vec<W> {
        match bytes > 0 && self.subtract(bytes) {
            true => self.take_waiting(),
            false => Vec::new(),
        }
    }

    /// True when that made room.
    fn subtract(&self, bytes: usize) -> bool {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        before > self.limit && before - bytes <= self.limit
    }

    fn take_waiting(&self) -> Vec<W> {
        std::mem::take(&mut self.waiting.lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_when_there_is_room() {
        let budget = Budget::new(10);
        assert!(!budget.add(10));
        assert!(budget.add(5));
        assert!(budget.wait("a").is_empty());
        assert!(budget.release(4).is_empty());
        assert_eq!(budget.release(4), ["a"]);
        assert!(budget.release(4).is_empty());
    }

    #[test]
    fn bytes_that_were_freed_before_the_wait_began_are_not_missed() {
        let budget = Budget::new(10);
        assert!(budget.add(15));
        assert!(budget.release(5).is_empty());
        assert_eq!(budget.wait("late"), ["late"]);
    }
    /// Two threads add bytes and wait where that is too much; two others take the bytes of one of them out again. All
    /// ways in which their steps can follow each other are tried; a step is what no other thread can see half done.
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Thread {
        Adds,
        StartsToWait,
        Waits,
        IsTold,
        Subtracts { after: usize },
        Tells,
        Done,
    }

    const EACH: usize = 6;

    struct Run {
        budget: Budget<usize>,
        threads: [Thread; 4],
    }

    impl Run {
        fn after(steps: &[usize]) -> Self {
            let mut run = Run {
                budget: Budget::new(EACH - 1),
                threads: [
                    Thread::Adds,
                    Thread::Adds,
                    Thread::Subtracts { after: 0 },
                    Thread::Subtracts { after: 1 },
                ],
            };
            steps.iter().for_each(|thread| run.step(*thread));
            run
        }

        fn can_step(&self, thread: usize) -> bool {
            match self.threads[thread] {
                Thread::Waits | Thread::Done => false,
                Thread::Subtracts { after } => self.threads[after] != Thread::Adds,
                _ => true,
            }
        }

        fn step(&mut self, thread: usize) {
            let wait = |exceeded| match exceeded {
                true => Thread::StartsToWait,
                false => Thread::Done,
            };
            let mut told = Vec::new();
            self.threads[thread] = match self.threads[thread] {
                Thread::Adds => wait(self.budget.add(EACH)),
                Thread::StartsToWait => {
                    told = self.budget.wait(thread);
                    Thread::Waits
                }
                Thread::IsTold => wait(self.budget.is_exceeded()),
                Thread::Subtracts { .. } => match self.budget.subtract(EACH) {
                    true => Thread::Tells,
                    false => Thread::Done,
                },
                Thread::Tells => {
                    told = self.budget.take_waiting();
                    Thread::Done
                }
                stays => stays,
            };
            for waiter in told {
                assert_eq!(self.threads[waiter], Thread::Waits);
                self.threads[waiter] = Thread::IsTold;
            }
        }
    }

    fn try_all(steps: &mut Vec<usize>) -> usize {
        let run = Run::after(steps);
        let next: Vec<_> = (0..4).filter(|thread| run.can_step(*thread)).collect();
        if next.is_empty() {
            assert_eq!(run.threads, [Thread::Done; 4], "{steps:?}");
            return 1;
        }
        let ways = next.into_iter().map(|thread| {
            steps.push(thread);
            let ways = try_all(steps);
            steps.pop();
            ways
        });
        ways.sum()
    }

    #[test]
    fn nobody_is_left_waiting_when_there_is_room_however_threads_meet() {
        assert!(try_all(&mut Vec::new()) > 1000);
    }
}
