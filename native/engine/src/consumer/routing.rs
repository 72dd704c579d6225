//! Which broker one partition is fetched from, and what follows from what brokers answer: a state
//! machine without I/O or clock of its own.
//!
//! What happens goes in with the time and the metadata as known by then; what is to be done comes out
//! of [`Routing::next_action`]. A partition that is to be fetched and has room is always in the list
//! of a fetcher, in a fetch, waiting for a point in time that it has asked to be woken at
//! ([`Action::WakeAt`]), or being checked against the log of a new leader ([`Action::AskEpochEnd`]).

mod actions;
mod answers;
mod leader;

use std::collections::VecDeque;
use std::sync::atomic::AtomicI32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::completed_fetch::CompletedFetch;
use super::config::ConsumerConfig;
use super::info::Info;
use super::subscription::{NextFetch, Subscription};
use crate::cluster::{Backoff, Leader, NodeId, Snapshot, TopicId};
pub(super) use actions::{
    Action, Answered, Begun, Claimed, Delivery, DeliveryEnd, EpochEnd, FetchId, Position, Seek,
};

/// First and longest time for which a partition is fetched from its leader after a replica failed. A leader goes on
/// naming one that is dead until the controller takes note, 9 s later by default, and one that only this client cannot
/// reach for ever.
const REPLICA_RETRY: (Duration, Duration) = (Duration::from_secs(12), Duration::from_secs(300));

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
    /// See [`Position::foreseen`]; no fetch has shown that the offset exists.
    foreseen: bool,
    /// Last leader epoch for which the log is known to hold what was consumed.
    validated: Option<i32>,
    /// A replica that the leader named, and until when it counts (KIP-392).
    preferred: Option<(NodeId, Instant)>,
    /// Until when the leader is to name none: one that it named was of no use.
    from_leader_until: Option<Instant>,
    replica_backoff: Backoff,
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
            foreseen: false,
            validated: None,
            preferred: None,
            from_leader_until: None,
            replica_backoff: Backoff::new(REPLICA_RETRY.0, REPLICA_RETRY.1, seed),
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
        position: Position,
        cluster: &Snapshot,
        now: Instant,
    ) -> Begun {
        let Position {
            offset,
            epoch,
            foreseen,
        } = position;
        if self.subscription.begin(generation, offset, epoch) {
            self.foreseen = foreseen;
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
        if self
            .from_leader_until
            .take_if(|until| *until <= now)
            .is_some()
        {
            // A fetch that is under way says otherwise.
            self.revoke();
            self.enqueue();
        }
        if self.waiting.take_if(|wait| wait.until <= now).is_some() {
            self.choose_route(cluster, now);
        }
    }

    /// The fetcher takes the partition from its list into the fetch `id`. None: it is not to be fetched (any
    /// more).
    pub(super) fn claim(&mut self, id: FetchId) -> Option<Claimed> {
        let leader = self.route.as_ref()?.leader;
        self.queued = false;
        if self.fetch.is_some() {
            return None;
        }
        let next = self.subscription.next_fetch()?;
        self.fetch = Some(id);
        Some(Claimed {
            next,
            leader_epoch: leader.epoch,
            topic_id: self.topic_id,
            from_leader: self.from_leader_until.is_some(),
        })
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
        self.foreseen = false;
    }

    /// For a check or a seek, unlike the ones before.
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }
}

#[cfg(test)]
mod tests;
