//! When there is something for the sender: what it is woken for, and what it has to wait for.

use std::time::Instant;

use super::{Buffer, Identity, Take};
use crate::producer::acks::Acks;
use crate::producer::batch::Batch;
use crate::producer::config::ProducerConfig;
use crate::producer::failure::Cause;
use crate::producer::transaction::Membership;

impl<A: Acks> Buffer<A> {
    /// After an append, whether the sender must be told: there is something to send that it does not know of. Once.
    #[inline(always)]
    pub(crate) fn wakes(&mut self, config: &ProducerConfig) -> bool {
        // With as many batches in flight as may be, the next completion looks again.
        let wake = (!self.queued || self.lingers_in_vain(config))
            && self.membership != Membership::Joining
            && !self.gathers(config)
            && self.in_flight.len() < self.in_flight_limit(config);
        if wake {
            self.queued = true;
            self.timer = None;
        }
        wake
    }

    /// The sender waits for the end of the linger time, but there is a batch to be sent by now.
    pub(super) fn lingers_in_vain(&self, config: &ProducerConfig) -> bool {
        let is_due = |open: &Batch<A>| self.has_enough(config, open);
        self.timer.is_some()
            && self.retry_at.is_none()
            && !self.is_held(config)
            && (!self.ready.is_empty() || self.open.as_ref().is_some_and(is_due))
    }

    /// Nothing is won by lingering on: as many calls as were asked for are there, or the next one does not fit or is not let in, or
    /// none comes.
    pub(super) fn has_enough(&self, config: &ProducerConfig, open: &Batch<A>) -> bool {
        self.is_last
            || open.calls >= config.max_linger_count.max(1)
            || open.request_bytes() >= config.max_batch_size
            || self.is_over_limit(config)
    }

    /// Whatever there is to send waits for a producer id, or for a transaction.
    pub(super) fn is_held(&self, config: &ProducerConfig) -> bool {
        self.identity == Identity::Pending
            || matches!(self.membership, Membership::Idle | Membership::Joining)
            || self.gathers(config)
    }

    /// Nobody waits for what there is to send, and more may come in the same transaction.
    pub(super) fn gathers(&self, config: &ProducerConfig) -> bool {
        self.membership == Membership::Gathering
            && self.ready.is_empty()
            && !self.is_over_limit(config)
            && self.open.as_ref().is_none_or(|open| open.acks.calls() == 0)
    }

    /// True for the timer that `Take::At` last asked for, false once something else came first, or nothing can come.
    pub(crate) fn waits_for(&self, timer: Instant) -> bool {
        self.timer == Some(timer) && self.stopped().is_none()
    }

    /// Come back then.
    pub(super) fn later(&mut self, at: Instant) -> Take<A> {
        self.queued = true;
        self.timer = Some(at);
        Take::At(at)
    }

    /// Come back then, or when what waits has waited for too long.
    pub(super) fn later_if_not_expired(
        &mut self,
        now: Instant,
        at: Instant,
        expiry: Instant,
    ) -> Take<A> {
        if now >= expiry {
            return Take::Expired;
        }
        self.later(at.min(expiry))
    }

    /// Why the first batch in line cannot be sent now.
    pub(crate) fn waits_because(&mut self, cause: Cause) {
        if let Some(batch) = self.ready.front_mut().or(self.open.as_mut()) {
            batch.last_cause = Some(cause);
        }
    }

    /// True: there is nothing to send, and nobody has the partition in a queue any more.
    pub(crate) fn leaves_queue_if_empty(&mut self) -> bool {
        let is_empty = self.ready.is_empty() && self.open.as_ref().is_none_or(Batch::is_empty);
        if is_empty {
            self.queued = false;
            self.timer = None;
        }
        is_empty
    }

    /// True when the sender should look at this partition; it is counted as queued then.
    pub(crate) fn wants_queueing(&mut self, config: &ProducerConfig) -> bool {
        let free = !self.queued || self.lingers_in_vain(config);
        let wants = free && self.is_sendable(config) && !self.is_held(config);
        if wants {
            self.queued = true;
            self.timer = None;
        }
        wants
    }

    /// There is something that may be sent, now or after a wait.
    pub(super) fn is_sendable(&self, config: &ProducerConfig) -> bool {
        self.in_flight.len() < self.in_flight_limit(config)
            && self.next().is_some()
            && (self.in_flight.is_empty() || !self.renews())
    }
}
