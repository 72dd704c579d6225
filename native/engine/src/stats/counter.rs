//! A number that only grows.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows. Nothing else is ordered by it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    #[inline]
    pub fn count(&self) {
        self.add(1);
    }

    /// Counts several.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
