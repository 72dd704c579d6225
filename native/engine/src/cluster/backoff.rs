//! Exponential backoff with jitter.

use std::time::Duration;

/// Waits that double from `first` up to `max`, each varied by a fifth so that many clients that
/// lost the same broker do not come back in step.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
    /// The state of a generator of random numbers (SplitMix64).
    random: u64,
}

impl Backoff {
    /// `first` after the first failure, never more than `max`. `seed` is any random number.
    pub fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Backoff {
            first,
            max: max.max(first),
            failures: 0,
            random: seed,
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
        let jitter = 0.8 + 0.4 * self.between_0_and_1();
        doubled.min(self.max).mul_f64(jitter)
    }

    fn between_0_and_1(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_millis(1000);

    #[test]
    fn waits_double_up_to_the_limit_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(FIRST, MAX, 7);
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

    #[test]
    fn clients_that_lost_the_same_broker_come_back_at_different_times() {
        let first_waits = (0..1000).map(|seed| Backoff::new(FIRST, MAX, seed).next_wait());
        let waits: std::collections::BTreeSet<_> = first_waits.collect();
        assert!(waits.len() > 990);
        assert!(*waits.first().unwrap() < FIRST.mul_f64(0.85));
        assert!(*waits.last().unwrap() > FIRST.mul_f64(1.15));
    }
}
