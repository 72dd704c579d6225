//! What follows from what brokers answer to fetches, and from what subscribers take of it.

use std::time::{Duration, Instant};

use super::actions::{Action, Answered, DeliveryEnd, FetchId};
use super::{Route, Routing};
use crate::cluster::{NodeId, Snapshot};
use crate::consumer::completed_fetch::{CompletedFetch, End};
use crate::consumer::config::{BeginOffset, OffsetResetPolicy};
use crate::consumer::sink::Delivered;
use brod_protocol::api::fetch;
use brod_protocol::batch_reader::BatchError;
use brod_protocol::error::ErrorCode;

/// A damaged batch may have been damaged on its way only, and is worth another fetch.
const DAMAGED_TRIES: u32 = 2;
/// A broker that answers with what was not asked for may still be settling.
const FRUITLESS_TRIES: u32 = 5;

impl Routing {
    /// The fetch failed as a whole.
    pub(in crate::consumer) fn fetch_failed(&mut self, id: FetchId, now: Instant) {
        if self.fetch == Some(id) {
            self.leave_replica(now);
            self.retry_later(now);
        }
    }

    /// The fetch was refused, as a whole or what it says of this partition.
    pub(in crate::consumer) fn refused(
        &mut self,
        id: FetchId,
        code: ErrorCode,
        text: String,
        now: Instant,
    ) {
        if self.fetch != Some(id) {
            return;
        }
        if code == ErrorCode::OFFSET_OUT_OF_RANGE {
            if self.leave_replica(now) {
                // The follower lags behind; only the leader knows.
                self.retry_later(now);
                return;
            }
            self.out_of_range(text);
        } else if code.is_retriable_for_consumer() {
            self.leave_replica(now);
            self.retry_later(now);
        } else {
            self.suspend(code, text);
        }
    }

    /// What the broker `from` answered to a fetch. A replica that it names counts for `named_for`.
    pub(in crate::consumer) fn answered(
        &mut self,
        id: FetchId,
        from: NodeId,
        answer: fetch::Partition,
        named_for: Duration,
        cluster: &Snapshot,
        now: Instant,
    ) -> Answered {
        let code = answer.error;
        if !code.is_ok() {
            let text = format!("broker {from} refused the fetch: {code}");
            self.refused(id, code, text, now);
            return Answered::Next(None);
        }
        if self.fetch != Some(id) {
            return Answered::Next(None);
        }
        self.subscription
            .answered(answer.high_watermark, answer.last_stable_offset);
        // Kafka's brokers send nothing where they name a replica. Whoever sends messages is to be read from, whatever
        // else he says: not all fill that field in.
        let sends = !answer.records.is_empty();
        let named = answer
            .preferred_replica
            .filter(|node| *node != from && !sends);
        if let Some(preferred) = named {
            if cluster.brokers.contains_key(&preferred) {
                self.preferred = Some((preferred, now + named_for));
                self.unroute();
                self.choose_route(cluster, now);
            } else {
                // It has just come (back). The leader would say the same, and at once.
                self.retry_later(now);
            }
            return Answered::Next(None);
        }
        if self.is_at_replica() {
            self.replica_backoff.reset();
        }
        self.foreseen = false;
        let records = answer.records;
        self.subscription.adapt_size(records.len());
        if records.is_empty() {
            return Answered::Next(self.keep(id));
        }
        let limit = self.subscription.config().max_batch_bytes;
        let position = self.subscription.position();
        let fetched = CompletedFetch::new(records, answer.aborted, position, limit);
        Answered::Deliver(Box::new(self.delivery(fetched)))
    }

    /// A fetch failed. True: it was one from a replica that is not the leader; for a while only the leader is asked,
    /// who would name the same one again.
    fn leave_replica(&mut self, now: Instant) -> bool {
        self.preferred = None;
        if !self.is_at_replica() {
            return false;
        }
        let until = now + self.replica_backoff.next_wait();
        self.from_leader_until = Some(until);
        self.actions.push_back(Action::WakeAt(until));
        true
    }

    fn is_at_replica(&self) -> bool {
        let follows = |route: &Route| route.node != route.leader.node;
        self.route.as_ref().is_some_and(follows)
    }

    /// How many bytes the next set of a delivery may have; see [`Subscription::room`].
    pub(in crate::consumer) fn room(&self) -> Option<usize> {
        self.subscription.room()
    }

    /// The subscriber of this generation has got a set; see [`Subscription::delivered`]. False: the
    /// generation is over.
    pub(in crate::consumer) fn delivered(
        &mut self,
        generation: u64,
        delivered: Delivered,
        (position, epoch): (i64, i32),
    ) -> bool {
        self.subscription
            .delivered(generation, delivered, position, epoch);
        self.subscription.generation() == generation
    }

    /// No more of a delivery is handed on for now.
    pub(in crate::consumer) fn delivery_ends(
        &mut self,
        generation: u64,
        end: DeliveryEnd,
        now: Instant,
    ) {
        self.subscription.delivery_ends();
        if self.subscription.generation() != generation {
            return;
        }
        match end {
            DeliveryEnd::End(End::Done) => {}
            DeliveryEnd::Full(rest) => {
                // What a new leader may not have is not to wait for it.
                if self.check.is_none() {
                    self.subscription.wait_for_room(*rest);
                }
            }
            DeliveryEnd::End(End::Nothing) => {
                let position = self.subscription.position();
                let text =
                    format!("nothing at or behind offset {position} in what was fetched there");
                self.try_again(FRUITLESS_TRIES, ErrorCode::CORRUPT_MESSAGE, text, now);
            }
            // An old broker's answer to too small a fetch: the next one is larger.
            DeliveryEnd::End(End::Unreadable(BatchError::FirstCutOff { size, .. }))
                if self.subscription.needs(size) => {}
            DeliveryEnd::End(End::Unreadable(error)) => {
                let code = error.code();
                let tries = match code {
                    ErrorCode::CORRUPT_MESSAGE => DAMAGED_TRIES,
                    _ => 1,
                };
                self.try_again(tries, code, error.to_string(), now);
            }
            DeliveryEnd::Panic => {
                let text = "the engine failed on a fetched batch".to_owned();
                self.suspend(ErrorCode::UNKNOWN_SERVER_ERROR, text);
            }
        }
        // Acks may have come since the delivery stopped, or the partition was taken from its fetch, as
        // by a pause and resume.
        self.go_on();
    }

    /// The answer to [`Action::FindOffset`]: there is no offset to go on at.
    pub(in crate::consumer) fn reset_failed(
        &mut self,
        generation: u64,
        code: ErrorCode,
        text: String,
    ) {
        if self.subscription.generation() == generation {
            self.suspend(code, text);
        }
    }

    /// What was fetched was of no use: fetches again later, or gives up after so many tries.
    pub(super) fn try_again(&mut self, tries: u32, code: ErrorCode, text: String, now: Instant) {
        if self.subscription.fails_for_good(tries) {
            self.suspend(code, text);
            return;
        }
        self.actions.push_back(Action::Warn(text));
        self.retry_later(now);
    }

    /// The position does not exist in the log.
    pub(super) fn out_of_range(&mut self, why: String) {
        let policy = match self.foreseen {
            // Nobody has been told of it yet.
            true => OffsetResetPolicy::ResetToEarliest,
            false => {
                self.actions.push_back(Action::Warn(why.clone()));
                self.subscription.config().offset_reset_policy
            }
        };
        let to = match policy {
            OffsetResetPolicy::ResetToEarliest => BeginOffset::Earliest,
            OffsetResetPolicy::ResetToLatest => BeginOffset::Latest,
            OffsetResetPolicy::ResetBySubscriber => {
                self.suspend(ErrorCode::OFFSET_OUT_OF_RANGE, why);
                return;
            }
        };
        self.subscription.reset();
        self.unroute();
        self.forget_log();
        self.actions.push_back(Action::FindOffset {
            generation: self.subscription.generation(),
            to,
            why,
        });
    }

    /// Stops fetching and tells the subscriber why.
    pub(super) fn suspend(&mut self, code: ErrorCode, text: String) {
        self.subscription.suspend();
        self.unroute();
        self.waiting = None;
        self.check = None;
        self.actions.push_back(Action::Fail {
            generation: self.subscription.generation(),
            code,
            text,
        });
    }
}
