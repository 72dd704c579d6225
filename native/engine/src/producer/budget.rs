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
        if bytes == 0 {
            return Vec::new();
        }
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        if before > self.limit && before - bytes <= self.limit {
            return std::mem::take(&mut self.waiting.lock());
        }
        Vec::new()
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
}
