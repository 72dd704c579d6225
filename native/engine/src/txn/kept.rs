//! Producer ids of transactions that have ended, for the next ones of the same transactional ids. No I/O, no
//! clock: `now` is an argument.
//!
//! Where each transaction has an epoch of its own (KIP-890), the end of one brings the epoch of the next, which
//! so needs no InitProducerId. Whoever takes an id is its only owner: nobody else finds it here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use brod_protocol::api::init_producer_id::ProducerId;

/// An id is kept for so long. To ask for one fences others that have the transactional id; after a longer pause
/// that is worth more than a round trip.
const KEPT: Duration = Duration::from_secs(1);

/// Ids that are kept. Those of a few transactional ids a second are what there mostly is.
const AT_MOST: usize = 10_000;

/// A producer id, and the epoch that no transaction has used yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    /// What batches will carry.
    pub producer: ProducerId,
    /// When the transaction before ended.
    pub since: Instant,
    /// How long the coordinator lets transactions of this id be open: it was told so with InitProducerId.
    pub transaction_timeout: Duration,
}

impl Kept {
    /// Should there turn out to be another producer of the transactional id, it is taken for one that came before the
    /// transaction until then. A transaction that is older, and wakes up late, is a zombie: it stays fenced.
    pub(super) fn renews_until(&self) -> Instant {
        self.since + KEPT
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct KeptIds(HashMap<String, Kept>);

impl KeptIds {
    /// A transaction has ended well.
    pub(super) fn put(&mut self, id: &str, kept: Kept) {
        if self.0.len() >= AT_MOST {
            self.0
                .retain(|_, other| kept.since.saturating_duration_since(other.since) < KEPT);
        }
        if self.0.len() < AT_MOST {
            self.0.insert(id.to_owned(), kept);
        }
    }

    /// What the next transaction is written under, if it needs not ask.
    pub(super) fn take(&mut self, id: &str, timeout: Duration, now: Instant) -> Option<Kept> {
        let kept = self.0.remove(id)?;
        let is_fresh = now.saturating_duration_since(kept.since) < KEPT;
        (is_fresh && kept.transaction_timeout == timeout).then_some(kept)
    }
}

/// How long the first batch after an end is held back. The coordinator has yet to write the markers of the
/// transaction that ended, and a Produce that comes before waits at the broker, which looks again after
/// [`BROKER_WAIT`] only (`add.partitions.to.txn.retry.backoff.ms`).
#[derive(Debug, Default)]
pub(super) struct Pace(Duration);

/// A first batch that takes so long seems to have waited at the broker.
const BROKER_WAIT: Duration = Duration::from_millis(20);
const LEAST: Duration = Duration::from_millis(1);
const MOST: Duration = Duration::from_millis(8);

impl Pace {
    /// Since the end.
    pub(super) fn wait(&self) -> Duration {
        self.0
    }

    /// The first batch of a transaction that began right after another one was stored after so long.
    pub(super) fn first_batch_took(&mut self, time: Duration) {
        self.0 = match time >= BROKER_WAIT {
            true => (self.0 * 2).clamp(LEAST, MOST),
            // What is below the clock's resolution is nothing.
            false => Some(self.0 * 7 / 8)
                .filter(|wait| *wait >= LEAST / 2)
                .unwrap_or_default(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn kept(since: Instant, epoch: i16) -> Kept {
        Kept {
            producer: ProducerId { id: 7, epoch },
            since,
            transaction_timeout: TIMEOUT,
        }
    }

    #[test]
    fn an_id_is_given_once_to_its_own_transactional_id() {
        let (mut ids, now) = (KeptIds::default(), Instant::now());
        ids.put("a", kept(now, 3));
        assert_eq!(ids.take("b", TIMEOUT, now), None);
        assert_eq!(ids.take("a", TIMEOUT, now), Some(kept(now, 3)));
        assert_eq!(ids.take("a", TIMEOUT, now), None);
    }

    #[test]
    fn one_that_is_old_or_has_another_timeout_is_not_given() {
        let (mut ids, now) = (KeptIds::default(), Instant::now());
        ids.put("a", kept(now, 3));
        assert_eq!(ids.take("a", TIMEOUT, now + KEPT), None);
        ids.put("a", kept(now, 3));
        assert_eq!(ids.take("a", TIMEOUT * 2, now), None);
        assert_eq!(
            ids.take("a", TIMEOUT, now),
            None,
            "it is out of date by then"
        );
    }

    #[test]
    fn so_many_ids_are_kept_and_no_more() {
        let (mut ids, now) = (KeptIds::default(), Instant::now());
        (0..AT_MOST + 1).for_each(|id| ids.put(&id.to_string(), kept(now, 0)));
        assert_eq!(ids.0.len(), AT_MOST);
        ids.put("later", kept(now + KEPT, 0));
        assert_eq!(ids.0.len(), 1, "those before were of no use any more");
    }

    #[test]
    fn first_batches_wait_after_one_that_waited_at_the_broker_and_less_each_time() {
        let mut pace = Pace::default();
        pace.first_batch_took(BROKER_WAIT / 2);
        assert_eq!(pace.wait(), Duration::ZERO);
        pace.first_batch_took(BROKER_WAIT);
        assert_eq!(pace.wait(), LEAST);
        (0..10).for_each(|_| pace.first_batch_took(BROKER_WAIT));
        assert_eq!(pace.wait(), MOST);
        let before = pace.wait();
        pace.first_batch_took(LEAST);
        assert!(pace.wait() < before);
        (0..30).for_each(|_| pace.first_batch_took(LEAST));
        assert_eq!(pace.wait(), Duration::ZERO);
    }
}
