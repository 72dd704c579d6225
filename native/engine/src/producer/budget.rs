//! The bytes that all producers of a client may buffer before callers are held up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::partition::Partition;
use super::Delivery;

pub(super) struct Budget<D: Delivery> {
    limit: usize,
    used: AtomicUsize,
    /// Partitions with callers that wait for bytes.
    waiting: Mutex<Vec<Weak<Partition<D>>>>,
}

impl<D: Delivery> Budget<D> {
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

    /// The partition is told when there is room again.
    pub(super) fn wait(&self, partition: &Arc<Partition<D>>) {
        self.waiting.lock().push(Arc::downgrade(partition));
    }

    /// Counts bytes out, and lets the waiting partitions' callers go on when that made room.
    pub(super) fn release(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        if before > self.limit && before - bytes <= self.limit {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            for partition in waiting.iter().filter_map(Weak::upgrade) {
                partition.release_waiters();
            }
        }
    }
}
