//! Which broker one partition is fetched from, and what follows from what brokers answer: a state
//! machine without I/O or clock of its own.
//!
//! What happens goes in with the time and the metadata as known by then; what is to be done comes out
//! of [`Routing::next_action`]. A partition that is to be fetched and has room is always in the list
//! of a fetcher, in a fetch, waiting for a point in time that it has asked to be woken at
//! ([`Action::WakeAt`]), or being checked against the log of a new leader ([`Action::AskEpochEnd`]).

mod actions;

use std::collections::VecDeque;
use std::sync::atomic::AtomicI32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::completed_fetch::{CompletedFetch, End};
use super::config::{BeginOffset, ConsumerConfig, OffsetResetPolicy};
use super::info::Info;
use super::sink::Delivered;
use super::subscription::{NextFetch, Subscription};
use crate::cluster::{Leader, NodeId, Snapshot, TopicId};
pub(super) use actions::{Action, Answered, Begun, Delivery, DeliveryEnd, EpochEnd, FetchId, Seek};
use brod_protocol::api::fetch;
use brod_protocol::error::ErrorCode;

/// A damaged batch may have been damaged on its way only, and is worth another fetch.
const DAMAGED_TRIES: u32 = 2;
/// A broker that answers with what was not asked for may still be settling.
const FRUITLESS_TRIES: u32 = 5;

struct Route {
    node: NodeId,
    /// As known when the route was chosen.
    leader: Leader,
}

/// A wait after an error.
struct Waiting {
    until: Instant,
    /// Who led the partition when it failed: if that changes, the wait is pointless.
    leader: Option<Leader>,
}

/// The log of a new leader is being compared with what was consumed.
struct Check {
    /// Tells this check from an earlier one.
    number: u64,
    leader: Leader,
}

/// See the module.
pub(super) struct Routing {
    topic: Arc<str>,
    partition: i32,
    subscription: Subscription,
    /// From subscribe to unsubscribe, errors or not.
    is_subscribed: bool,
    route: Option<Route>,
    /// The fetch that has the partition; an answer to any other is dropped.
    fetch: Option<FetchId>,
    /// It is in its fetcher's list of partitions to fetch.
    queued: bool,
    waiting: Option<Waiting>,
    check: Option<Check>,
    /// Of the topic that the position belongs to (KIP-516). None: not known.
    topic_id: Option<TopicId>,
    /// Newest leader epoch for which the log is known to hold what was consumed.
    validated: Option<i32>,
    /// A replica that the leader named, and until when it counts (KIP-392).
    preferred: Option<(NodeId, Instant)>,
    last_seek: u64,
    last_number: u64,
    actions: VecDeque<Action>,
}

impl Routing {
    /// Not subscribed. `share` and `seed`: see [`Subscription::new`].
    pub(super) fn new(topic: Arc<str>, partition: i32, share: Arc<AtomicI32>, seed: u64) -> Self {
        Routing {
            topic,
            partition,
            subscription: Subscription::new(share, seed),
            is_subscribed: false,
            route: None,
            fetch: None,
            queued: false,
            waiting: None,
            check: None,
            topic_id: None,
            validated: None,
            preferred: None,
            last_seek: 0,
            last_number: 0,
            actions: VecDeque::new(),
        }
    }

    /// The next thing to be done now.
    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The present subscription and its position.
    pub(super) fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// A view of it all.
    pub(super) fn info(&self) -> Info {
        Info {
            node: self.route.as_ref().map(|route| route.node),
            ..self.subscription.info()
        }
    }

    /// A new subscription, in place of the one that there may be; returns its generation. Its position
    /// is told by [`Routing::begin`].
    pub(super) fn subscribe(&mut self, config: ConsumerConfig) -> u64 {
        self.detach();
        self.is_subscribed = true;
        self.subscription.start(config)
    }

    /// Ends the subscription.
    pub(super) fn unsubscribe(&mut self) {
        self.is_subscribed = false;
        self.subscription.stop();
        self.detach();
    }

    /// The position of a subscription cannot be found out, as its subscriber is told otherwise.
    pub(super) fn has_no_position(&mut self, generation: u64) {
        if self.subscription.generation() == generation {
            self.subscription.suspend();
        }
    }

    /// A seek whose offset may have to be asked for. None: there is no subscription.
    pub(super) fn seek_starts(&mut self) -> Option<Seek> {
        if !self.is_subscribed {
            return None;
        }
        self.last_seek = self.next_number();
        Some(Seek {
            generation: self.subscription.generation(),
            number: self.last_seek,
        })
    }

    /// The offset of a seek is known: a new generation of the subscription starts, whose position is
    /// told by [`Routing::begin`]. None: that is another one by now, or there was another seek.
    pub(super) fn seek_ends(&mut self, seek: Seek) -> Option<u64> {
        let Seek { generation, number } = seek;
        if self.subscription.generation() != generation || self.last_seek != number {
            return None;
        }
        self.revoke();
        self.forget_log();
        Some(self.subscription.restart())
    }

    /// The position of a generation is known: fetching starts.
    pub(super) fn begin(
        &mut self,
        generation: u64,
        (offset, epoch): (i64, i32),
        cluster: &Snapshot,
        now: Instant,
    ) -> Begun {
        if self.subscription.begin(generation, offset, epoch) {
            self.choose_route(cluster, now);
            return Begun::Yes;
        }
        match self.subscription.generation() == generation && self.subscription.is_delivering() {
            true => Begun::Delivering,
            false => Begun::Over,
        }
    }

    /// The subscriber is done with everything up to `offset`.
    pub(super) fn ack(&mut self, offset: i64) {
        self.subscription.ack(offset);
        self.go_on();
    }

    /// Stops fetching, or goes on.
    pub(super) fn set_paused(&mut self, paused: bool) {
        self.subscription.set_paused(paused);
        if paused {
            self.revoke();
        } else {
            self.go_on();
        }
    }

    /// The metadata has changed.
    pub(super) fn metadata_changed(&mut self, cluster: &Snapshot, now: Instant) {
        self.choose_route(cluster, now);
    }

    /// Some time that was asked for has come.
    pub(super) fn wake(&mut self, cluster: &Snapshot, now: Instant) {
        if self.waiting.take_if(|wait| wait.until <= now).is_some() {
            self.choose_route(cluster, now);
        }
    }

    /// The fetcher takes the partition from its list into the fetch `id`. What to ask for, with the
    /// leader's epoch; None: it is not to be fetched (any more).
    pub(super) fn claim(&mut self, id: FetchId) -> Option<(NextFetch, i32)> {
        let leader = self.route.as_ref()?.leader;
        self.queued = false;
        if self.fetch.is_some() {
            return None;
        }
        let next = self.subscription.next_fetch()?;
        self.fetch = Some(id);
        Some((next, leader.epoch))
    }

    /// What the fetch asks for next. None: it does not have the partition (any more).
    pub(super) fn keep(&mut self, id: FetchId) -> Option<NextFetch> {
        if self.fetch != Some(id) {
            return None;
        }
        let next = self.subscription.next_fetch();
        if next.is_none() {
            self.fetch = None;
        }
        next
    }

    /// The fetch gives the partition back, for whoever fetches next.
    pub(super) fn release(&mut self, id: FetchId) {
        if self.fetch == Some(id) {
            self.fetch = None;
            self.enqueue();
        }
    }

    /// The answer to the fetch had no batch of this partition, though there are some and it had
    /// room. What to ask for next, as [`Routing::keep`].
    pub(super) fn passed_over(&mut self, id: FetchId) -> Option<NextFetch> {
        if self.fetch == Some(id) {
            self.subscription.adapt_size(0);
        }
        self.keep(id)
    }

    /// The fetch failed as a whole.
    pub(super) fn fetch_failed(&mut self, id: FetchId, now: Instant) {
        if self.fetch == Some(id) {
            self.preferred = None;
            self.retry_later(now);
        }
    }

    /// The fetch was refused, as a whole or what it says of this partition.
    pub(super) fn refused(&mut self, id: FetchId, code: ErrorCode, text: String, now: Instant) {
        if self.fetch != Some(id) {
            return;
        }
        if code == ErrorCode::OFFSET_OUT_OF_RANGE {
            let followed = self.preferred.take().is_some();
            let from_follower = |route: &Route| route.node != route.leader.node;
            if followed && self.route.as_ref().is_some_and(from_follower) {
                // The follower lags behind; only the leader knows.
                self.retry_later(now);
                return;
            }
            self.out_of_range(text);
        } else if code.is_retriable_for_consumer() {
            self.preferred = None;
            self.retry_later(now);
        } else {
            self.suspend(code, text);
        }
    }

    /// What the broker `from` answered to a fetch. A replica that it names counts for `named_for`.
    pub(super) fn answered(
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
        if let Some(preferred) = answer.preferred_replica.filter(|node| *node != from) {
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

    /// How many bytes the next set of a delivery may have; see [`Subscription::room`].
    pub(super) fn room(&self) -> Option<usize> {
        self.subscription.room()
    }

    /// The subscriber of this generation has got a set; see [`Subscription::delivered`]. False: the
    /// generation is over.
    pub(super) fn delivered(
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
    pub(super) fn delivery_ends(&mut self, generation: u64, end: DeliveryEnd, now: Instant) {
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

    /// The answer to [`Action::AskEpochEnd`].
    pub(super) fn epoch_end(
        &mut self,
        check: u64,
        end: EpochEnd,
        cluster: &Snapshot,
        now: Instant,
    ) {
        let Some(Check { leader, .. }) = self.check.take_if(|present| present.number == check)
        else {
            return;
        };
        match end {
            EpochEnd::Passing => {
                self.retry_after_failure_of(Some(leader), now);
                return;
            }
            EpochEnd::At(end, epoch) if end >= 0 && end < self.subscription.position() => {
                self.validated = Some(leader.epoch);
                self.truncated(end, epoch);
                return;
            }
            // Brokers that cannot tell are trusted; what the client may not do shows in the fetch.
            EpochEnd::At(..) | EpochEnd::Unknown => self.validated = Some(leader.epoch),
        }
        self.choose_route(cluster, now);
    }

    /// The answer to [`Action::FindOffset`]: there is no offset to go on at.
    pub(super) fn reset_failed(&mut self, generation: u64, code: ErrorCode, text: String) {
        if self.subscription.generation() == generation {
            self.suspend(code, text);
        }
    }

    /// Gives the partition to the fetcher of the broker to fetch it from, if it is to be fetched.
    /// Changes nothing if that is where it is.
    fn choose_route(&mut self, cluster: &Snapshot, now: Instant) {
        if !self.subscription.is_fetching() {
            return;
        }
        let id = cluster.topic_id(&self.topic).or(self.topic_id);
        if self
            .topic_id
            .is_some_and(|of_position| id != Some(of_position))
        {
            self.topic_made_again();
            return;
        }
        self.topic_id = id;
        let leader = cluster.leader(&self.topic, self.partition).ok();
        if let Some(check) = &self.check {
            if leader.is_none_or(|leader| leader == check.leader) {
                return;
            }
            // That leader may never answer, and what it says is of no use any more.
            self.check = None;
        }
        if let Some(waiting) = &self.waiting {
            if leader.is_none() || waiting.leader == leader {
                return;
            }
            self.waiting = None;
        }
        let Some(leader) = leader else {
            self.retry_later(now);
            return;
        };
        if leader.epoch > *self.validated.get_or_insert(leader.epoch) {
            if self.subscription.last_epoch() >= 0 {
                self.validate(leader);
                return;
            }
            self.validated = Some(leader.epoch);
        }
        self.preferred = self
            .preferred
            .filter(|(node, until)| now < *until && cluster.brokers.contains_key(node));
        let node = self.preferred.map_or(leader.node, |(node, _)| node);
        let stays = |route: &Route| route.node == node && route.leader == leader;
        if !self.route.as_ref().is_some_and(stays) {
            self.unroute();
            self.route = Some(Route { node, leader });
            let isolation = self.subscription.config().isolation;
            self.actions.push_back(Action::Route(node, isolation));
        }
        self.enqueue();
    }

    /// A new leader may have lost what was consumed from the former one (KIP-320): compares where
    /// the epoch of the last batch ended before fetching on.
    fn validate(&mut self, leader: Leader) {
        self.unroute();
        // It may not be in the new leader's log.
        self.subscription.forget_waiting();
        let number = self.next_number();
        self.check = Some(Check { number, leader });
        self.actions.push_back(Action::AskEpochEnd {
            check: number,
            leader,
            epoch: self.subscription.last_epoch(),
        });
    }

    /// Routes the partition anew after a while, with metadata that is fresh by then.
    fn retry_later(&mut self, now: Instant) {
        let route = self.route.as_ref().map(|route| route.leader);
        let leader = route.or(self.check.as_ref().map(|check| check.leader));
        self.retry_after_failure_of(leader, now);
    }

    fn retry_after_failure_of(&mut self, leader: Option<Leader>, now: Instant) {
        let until = now + self.subscription.retry_wait();
        self.waiting = Some(Waiting { until, leader });
        self.check = None;
        self.unroute();
        self.actions.push_back(Action::RefreshMetadata);
        self.actions.push_back(Action::WakeAt(until));
    }

    /// What was fetched was of no use: fetches again later, or gives up after so many tries.
    fn try_again(&mut self, tries: u32, code: ErrorCode, text: String, now: Instant) {
        if self.subscription.fails_for_good(tries) {
            self.suspend(code, text);
            return;
        }
        self.actions.push_back(Action::Warn(text));
        self.retry_later(now);
    }

    /// The position does not exist in the log.
    fn out_of_range(&mut self, why: String) {
        self.actions.push_back(Action::Warn(why.clone()));
        let to = match self.subscription.reset() {
            Some(OffsetResetPolicy::ResetToEarliest) => BeginOffset::Earliest,
            Some(OffsetResetPolicy::ResetToLatest) => BeginOffset::Latest,
            Some(OffsetResetPolicy::ResetBySubscriber) | None => {
                self.suspend(ErrorCode::OFFSET_OUT_OF_RANGE, why);
                return;
            }
        };
        self.unroute();
        self.forget_log();
        self.actions.push_back(Action::FindOffset {
            generation: self.subscription.generation(),
            to,
            why,
        });
    }

    /// The log was cut off at `end`, which is before the position. What comes behind `end` is new,
    /// so that is where those go on who do not want to be asked: neither the oldest nor the newest
    /// message is meant, as is when the position is gone and nothing else is known.
    fn truncated(&mut self, end: i64, epoch: i32) {
        let position = self.subscription.position();
        let text =
            format!("the log was truncated to {end} when its leader changed; {position} was next");
        if self.subscription.reset().is_none() {
            self.suspend(ErrorCode::OFFSET_OUT_OF_RANGE, text);
            return;
        }
        self.actions.push_back(Action::Warn(text));
        self.actions.push_back(Action::Begin {
            generation: self.subscription.generation(),
            offset: end,
            epoch,
        });
    }

    /// The topic was deleted and made again: the position was one in the log of the former one, and so
    /// is what was delivered and not acked.
    fn topic_made_again(&mut self) {
        let position = self.subscription.position();
        let text = format!(
            "the topic was deleted and made again; {position}, which was next, was an offset of the former one"
        );
        self.unroute();
        self.forget_log();
        self.preferred = None;
        self.subscription.leaves_log();
        self.out_of_range(text);
    }

    /// Stops fetching and tells the subscriber why.
    fn suspend(&mut self, code: ErrorCode, text: String) {
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

    /// Hands on what waits for room, or fetches more, if there is room now.
    fn go_on(&mut self) {
        if !self.subscription.is_delivering() {
            if let Some(fetched) = self.subscription.take_waiting() {
                let delivery = Box::new(self.delivery(fetched));
                self.actions.push_back(Action::Deliver(delivery));
            }
        }
        self.enqueue();
    }

    fn delivery(&mut self, fetched: CompletedFetch) -> Delivery {
        self.subscription.delivery_starts();
        let subscription = &self.subscription;
        Delivery {
            generation: subscription.generation(),
            high_watermark: subscription
                .visible_end()
                .unwrap_or_else(|| subscription.position()),
            fetched,
        }
    }

    /// Puts the partition into its fetcher's list, if it is to be fetched and nobody does yet.
    fn enqueue(&mut self) {
        if self.queued || self.fetch.is_some() || self.route.is_none() {
            return;
        }
        if let Some(next) = self.subscription.next_fetch() {
            self.queued = true;
            let behind = next.behind;
            self.actions.push_back(Action::Enqueue { behind });
        }
    }

    /// Takes the partition from the fetch that has it.
    fn revoke(&mut self) {
        if let Some(id) = self.fetch.take() {
            self.actions.push_back(Action::Revoke(id));
        }
    }

    /// No fetcher has the partition any more.
    fn unroute(&mut self) {
        self.revoke();
        // The entry in the list of the former fetcher, if there is one, is passed over.
        self.queued = false;
        if self.route.take().is_some() {
            self.actions.push_back(Action::Unroute);
        }
    }

    /// As [`Routing::unroute`], and forgets what belonged to a subscription.
    fn detach(&mut self) {
        self.unroute();
        self.forget_log();
        self.preferred = None;
    }

    /// The position is about to be another one: what was to be done about the old one is not.
    fn forget_log(&mut self) {
        self.waiting = None;
        self.check = None;
        self.validated = None;
        self.topic_id = None;
    }

    /// For a check or a seek, unlike the ones before.
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

#[cfg(test)]
mod tests;
