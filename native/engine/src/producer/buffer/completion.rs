//! What becomes of batches that were sent, or could not be: stored, sent again, split or given up, and
//! whom that answers.

use std::ops::Range;
use std::time::Instant;

use super::{Buffer, Identity, Outcome};
use crate::producer::acks::Acks;
use crate::producer::batch::Batch;
use crate::producer::config::ProducerConfig;
use crate::producer::failure::{Cause, Failure};
use crate::producer::transaction::Membership;
use brod_protocol::error::ErrorCode;

/// So many calls of a batch are taken out of it at once.
const CUT_OUT_AT_ONCE: usize = 16;

impl<A: Acks> Buffer<A> {
    fn landed(&mut self, order: u64) {
        // Once: the parts of a split batch come back one by one.
        if let Some(at) = self.in_flight.iter().position(|other| *other == order) {
            self.in_flight.remove(at);
        }
    }

    fn requeue(&mut self, batch: Batch<A>) {
        self.buffered_calls += batch.calls;
        let at = self
            .ready
            .partition_point(|other| other.order < batch.order);
        self.ready.insert(at, batch);
    }

    /// The broker stored the batch.
    pub(crate) fn delivered(&mut self, batch: Batch<A>, base_offset: i64) -> Outcome<A> {
        self.landed(batch.order);
        self.batch_limit.answered();
        let under = batch.sequence.map(|(producer, _)| Identity::Is(producer));
        self.is_introduced |= under == Some(self.identity);
        if batch.shares.is_empty() {
            self.freed += batch.bytes;
            return Outcome::Delivered(batch.acks, base_offset);
        }
        let mut told = Vec::new();
        self.settle(batch, &Ok(base_offset), &mut told);
        Outcome::Settled(told)
    }

    /// The batch is stored or has failed: adds whom that answers, in the order of their records.
    fn settle(
        &mut self,
        batch: Batch<A>,
        result: &Result<i64, Failure>,
        told: &mut Vec<(A, Result<i64, Failure>)>,
    ) {
        self.freed += batch.bytes;
        let (start_here, began_before): (Vec<_>, Vec<_>) =
            batch.shares.iter().partition(|share| share.starts);
        for share in began_before {
            told.extend(self.cut_calls.settle(share, result));
        }
        told.push((batch.acks, result.clone()));
        for share in start_here {
            told.extend(self.cut_calls.settle(share, result));
        }
    }

    /// An attempt failed. Decides whether to send again, split, or give up.
    pub(crate) fn failed(
        &mut self,
        config: &ProducerConfig,
        now: Instant,
        batch: Batch<A>,
        cause: Cause,
    ) -> Outcome<A> {
        self.landed(batch.order);
        if let Cause::Code(code) = cause {
            match code {
                ErrorCode::DUPLICATE_SEQUENCE_NUMBER => {
                    return self.delivered(batch, -1);
                }
                _ if code.is_batch_too_large() && batch.records > 1 => {
                    self.batch_limit.refused(batch.payload());
                    return self.split(batch);
                }
                _ if code.is_of_the_records() => return self.records_refused(batch, code, &[]),
                _ if code.is_fenced_producer() && self.begins_anew(config, &batch, code) => {
                    self.requeue(batch);
                    return Outcome::Retried;
                }
                _ if code.is_sequence_lost() && batch.sequence.is_some() => {
                    return self.out_of_sequence(config, now, batch, cause);
                }
                _ if !code.is_retriable_for_producer() => {
                    return self.give_up(batch, Failure::NotRetriable(code));
                }
                _ => {}
            }
        }
        self.retry(config, now, batch, cause)
    }

    /// Nothing more is sent under this producer id, and what was not stored goes under the next one.
    fn begins_anew(&mut self, config: &ProducerConfig, batch: &Batch<A>, code: ErrorCode) -> bool {
        let (Some(transaction), Some((producer, _))) = (&config.transaction, batch.sequence) else {
            return false;
        };
        let anew = self.stopping.is_none() && transaction.begins_anew(producer, code);
        if anew {
            self.membership = Membership::Idle;
        }
        anew
    }

    /// The broker takes the batch but for some of its records, in the order of their positions; none:
    /// it does not say which. The calls that these belong to fail, and what else is in the batch is
    /// sent again. The producer goes on.
    pub(crate) fn records_refused(
        &mut self,
        batch: Batch<A>,
        code: ErrorCode,
        bad: &[u32],
    ) -> Outcome<A> {
        self.landed(batch.order);
        let why = Failure::NotRetriable(code);
        let mut told = Vec::new();
        let mut bad: Vec<u32> = bad
            .iter()
            .copied()
            .filter(|at| *at < batch.records)
            .collect();
        bad.sort_unstable();
        // Each one costs a pass over the batch. Those that are left are refused once more.
        bad.drain(..bad.len().saturating_sub(CUT_OUT_AT_ONCE));
        if bad.is_empty() {
            if batch.records > 1 {
                return self.split(batch);
            }
            self.refuse(batch, why, &mut told);
            return Outcome::Settled(told);
        }
        // From behind, so that the positions before hold.
        let mut rest = Some(batch);
        while let Some(batch) = rest.take() {
            let Some(at) = bad.pop() else {
                self.requeue(batch);
                break;
            };
            let call = batch.call_at(at);
            bad.retain(|at| *at < call.start);
            match self.cut_out(batch, call) {
                Ok((before, batch)) => {
                    rest = before;
                    self.refuse(batch, why.clone(), &mut told);
                }
                Err((batch, why)) => self.refuse(*batch, why, &mut told),
            }
        }
        // In the order of their records.
        told.reverse();
        Outcome::Settled(told)
    }

    /// A part of a batch as a batch of its own, and what is before it. What is behind it is sent again.
    #[expect(clippy::type_complexity, reason = "as Batch::split, and nobody else's")]
    fn cut_out(
        &mut self,
        mut batch: Batch<A>,
        part: Range<u32>,
    ) -> Result<(Option<Batch<A>>, Batch<A>), (Box<Batch<A>>, Failure)> {
        if part.end < batch.records {
            let (front, behind) = batch.split(part.end, &mut self.cut_calls)?;
            self.requeue(behind);
            batch = front;
        }
        if part.start == 0 {
            return Ok((None, batch));
        }
        let (before, batch) = batch.split(part.start, &mut self.cut_calls)?;
        Ok((Some(before), batch))
    }

    /// The batch is not stored, by its own fault.
    fn refuse(&mut self, batch: Batch<A>, why: Failure, told: &mut Vec<(A, Result<i64, Failure>)>) {
        if let Some((_, sequence)) = batch.sequence {
            self.reuse_sequence(&batch, sequence);
        }
        self.settle(batch, &Err(why), told);
    }

    /// The batch cannot be brought into wire form. The producer goes on.
    pub(crate) fn not_encodable(&mut self, batch: Batch<A>, why: Failure) -> Outcome<A> {
        self.landed(batch.order);
        let mut told = Vec::new();
        self.refuse(batch, why, &mut told);
        Outcome::Settled(told)
    }

    /// Sends the batch again, if it may wait and fail once more.
    fn retry(
        &mut self,
        config: &ProducerConfig,
        now: Instant,
        mut batch: Batch<A>,
        cause: Cause,
    ) -> Outcome<A> {
        if !cause.is_leader_change() {
            batch.attempts += 1;
        }
        if self.stopping == Some(Failure::Closed) {
            return self.give_up_all(batch, Failure::Closed);
        }
        if config.max_retries >= 0 && batch.attempts > config.max_retries.unsigned_abs() {
            return self.give_up_all(batch, Failure::RetriesUsedUp(cause));
        }
        if now >= batch.created + config.delivery_timeout {
            return self.give_up_all(batch, Failure::DeliveryTimeout(Some(cause)));
        }
        batch.last_cause = Some(cause);
        self.requeue(batch);
        self.retry_at = Some(now + config.retry_backoff);
        Outcome::Retried
    }

    /// Another broker is known to lead by now: what was refused goes there without waiting. Not
    /// while more is in flight, which would come back behind it.
    pub(crate) fn leader_moved(&mut self) {
        if self.in_flight.is_empty() {
            self.retry_at = None;
        }
    }

    /// With an earlier batch still to be stored this is its consequence, and the order is kept
    /// by sending both again. The first in line was refused because the broker no longer knows
    /// the producer: a new producer id starts its sequence over (KIP-360). What is behind it waits
    /// for that, or it could be stored first.
    fn out_of_sequence(
        &mut self,
        config: &ProducerConfig,
        now: Instant,
        batch: Batch<A>,
        cause: Cause,
    ) -> Outcome<A> {
        let earlier = self.in_flight.iter().any(|order| *order < batch.order)
            || self.ready.iter().any(|other| other.order < batch.order);
        let renewed = self.renew_from.is_some_and(|from| from <= batch.order);
        if earlier || renewed {
            self.requeue(batch);
            return Outcome::Retried;
        }
        if self.membership != Membership::Unneeded {
            // What was sent under that producer id belongs to the transaction: it cannot go on.
            let Cause::Code(code) = cause else {
                return self.retry(config, now, batch, cause);
            };
            return self.give_up(batch, Failure::NotRetriable(code));
        }
        self.renew_from = Some(batch.order);
        self.retry(config, now, batch, cause)
    }

    /// A batch was given up: its sequence numbers are free for what follows, if the broker has
    /// certainly not stored it and nothing behind it has been sent. Otherwise that could pass for a
    /// repeat, and needs a producer id of its own.
    fn reuse_sequence(&mut self, batch: &Batch<A>, sequence: i32) {
        let behind = |order: u64| order > batch.order;
        let mut ready = self.ready.iter();
        let sent_behind = self.in_flight.iter().any(|order| behind(*order))
            || ready.any(|other| behind(other.order) && other.attempts > 0);
        if batch.attempts > 0 || sent_behind {
            let from = self.renew_from.unwrap_or(u64::MAX);
            self.renew_from = Some(from.min(batch.order));
            return;
        }
        self.next_sequence = sequence;
        for other in self.ready.iter_mut().filter(|other| behind(other.order)) {
            other.sequence = None;
        }
    }

    fn split(&mut self, batch: Batch<A>) -> Outcome<A> {
        let half = batch.records / 2;
        match batch.split(half, &mut self.cut_calls) {
            Ok((first, second)) => {
                self.requeue(second);
                self.requeue(first);
                Outcome::Retried
            }
            Err((batch, why)) => self.give_up(*batch, why),
        }
    }

    /// The broker has refused batches of that size, so the next one goes in parts at once. Not one that it may have
    /// stored: it knows that again as a whole only.
    pub(super) fn split_what_is_refused(&mut self) {
        let limit = self.batch_limit.at_most(usize::MAX);
        let is_refused = |next: &Batch<A>| {
            let is_new = next.attempts == 0 && next.sequence.is_none();
            is_new && next.records > 1 && next.payload() > limit
        };
        if !self.ready.front().is_some_and(is_refused) {
            return;
        }
        let Some(batch) = self.ready.pop_front() else {
            return;
        };
        self.buffered_calls -= batch.calls;
        match batch.split_by_size(limit, &mut self.cut_calls) {
            Ok(parts) => parts.into_iter().for_each(|part| self.requeue(part)),
            // The broker is to say what it is.
            Err((batch, _)) => self.requeue(*batch),
        }
    }

    /// One batch will not be delivered. What is behind it still is; then the producer stops.
    pub(crate) fn give_up(&mut self, batch: Batch<A>, why: Failure) -> Outcome<A> {
        self.landed(batch.order);
        if let Some((_, sequence)) = batch.sequence {
            self.reuse_sequence(&batch, sequence);
        }
        self.stopping.get_or_insert_with(|| why.clone());
        let mut told = Vec::new();
        self.settle(batch, &Err(why), &mut told);
        Outcome::Settled(told)
    }

    /// Nothing will be delivered any more. What is in flight fails when it comes back.
    fn give_up_all(&mut self, batch: Batch<A>, why: Failure) -> Outcome<A> {
        let mut told = Vec::new();
        self.settle(batch, &Err(why.clone()), &mut told);
        told.extend(self.stop(why));
        Outcome::Settled(told)
    }

    /// Takes no more, and hands out what is not in flight.
    pub(crate) fn stop(&mut self, why: Failure) -> Vec<(A, Result<i64, Failure>)> {
        self.close_open();
        self.stopping.get_or_insert_with(|| why.clone());
        self.buffered_calls = 0;
        let mut told = Vec::new();
        for batch in std::mem::take(&mut self.ready) {
            self.settle(batch, &Err(why.clone()), &mut told);
        }
        told
    }

    /// The brokers say that there is no such topic or partition: counts as an attempt of the
    /// first batch, once a backoff.
    pub(crate) fn unknown(&mut self, config: &ProducerConfig, now: Instant) -> Option<Outcome<A>> {
        if self.retry_at.is_some_and(|at| now < at) {
            return None;
        }
        if self.ready.is_empty() {
            self.close_open();
        }
        let batch = self.ready.pop_front()?;
        self.buffered_calls -= batch.calls;
        let cause = Cause::Code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        Some(self.retry(config, now, batch, cause))
    }

    /// What waited longer than `delivery_timeout` without being sent.
    pub(crate) fn expire(&mut self, config: &ProducerConfig, now: Instant) -> Option<Outcome<A>> {
        let oldest = self.next()?;
        if self.needs_next_transaction() {
            let why = Failure::NotRetriable(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
            return Some(Outcome::Settled(self.stop(why)));
        }
        if now < oldest.created + config.delivery_timeout {
            return None;
        }
        let why = Failure::DeliveryTimeout(oldest.last_cause.clone());
        Some(Outcome::Settled(self.stop(why)))
    }
}
