//! Exponential backoff with jitter.

use std::time::Duration;

/// Waits that double from `first` up to `max`, each varied by a fifth so that many clients that
/// lost the same broker do not come back in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// `first` after the first failure, never more than `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Backoff {
            first,
            max: max.max(first),
            failures: 0,
        }
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts one more failure and says how long to wait.
    pub fn next_wait(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1u32 << self.failures.min(16));
        self.failures += 1;
        doubled
            .min(self.max)
            .mul_f64(0.8 + 0.4 * rand::random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(1000));
        let near = |wait: Duration, ms: u64| {
            let ms = ms as f64;
            (0.8 * ms..=1.2 * ms).contains(&(wait.as_secs_f64() * 1e3))
        };
        for expected in [100, 200, 400, 800, 1000, 1000] {
            assert!(near(backoff.next_wait(), expected));
        }
        backoff.reset();
        assert!(near(backoff.next_wait(), 100));
    }
}
