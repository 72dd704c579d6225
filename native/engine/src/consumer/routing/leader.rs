//! Which broker the partition is fetched from, and whether the log there is the one that was consumed.

use std::time::Instant;

use super::actions::{Action, EpochEnd, Position};
use super::{Check, Route, Routing, Waiting};
use crate::cluster::{Leader, Snapshot};
use crate::consumer::config::OffsetResetPolicy;
use brod_protocol::error::ErrorCode;

impl Routing {
    /// Gives the partition to the fetcher of the broker to fetch it from, if it is to be fetched.
    /// Changes nothing if that is where it is.
    pub(super) fn choose_route(&mut self, cluster: &Snapshot, now: Instant) {
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
        // A lower one comes where epochs began anew, or the one known was never true.
        let validated = *self.validated.get_or_insert(leader.epoch);
        if leader.epoch >= 0 && leader.epoch != validated {
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
    pub(super) fn validate(&mut self, leader: Leader) {
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

    /// The answer to [`Action::AskEpochEnd`].
    pub(in crate::consumer) fn epoch_end(
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
        // What is being delivered came of the former leader: the position is not yet the one to compare.
        let end = match self.subscription.is_delivering() {
            true => EpochEnd::Passing,
            false => end,
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

    /// The log was cut off at `end`, which is before the position. What comes behind `end` is new,
    /// so that is where those go on who do not want to be asked: neither the oldest nor the newest
    /// message is meant, as is when the position is gone and nothing else is known.
    pub(super) fn truncated(&mut self, end: i64, epoch: i32) {
        let position = self.subscription.position();
        let text =
            format!("the log was truncated to {end} when its leader changed; {position} was next");
        let policy = self.subscription.config().offset_reset_policy;
        if policy == OffsetResetPolicy::ResetBySubscriber {
            self.suspend(ErrorCode::OFFSET_OUT_OF_RANGE, text);
            return;
        }
        self.subscription.reset();
        self.actions.push_back(Action::Warn(text));
        self.actions.push_back(Action::Begin {
            generation: self.subscription.generation(),
            position: Position {
                epoch,
                ..Position::at(end)
            },
        });
    }

    /// The topic was deleted and made again: the position was one in the log of the former one, and so
    /// is what was delivered and not acked.
    pub(super) fn topic_made_again(&mut self) {
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

    /// Routes the partition anew after a while, with metadata that is fresh by then.
    pub(super) fn retry_later(&mut self, now: Instant) {
        let route = self.route.as_ref().map(|route| route.leader);
        let leader = route.or(self.check.as_ref().map(|check| check.leader));
        self.retry_after_failure_of(leader, now);
    }

    pub(super) fn retry_after_failure_of(&mut self, leader: Option<Leader>, now: Instant) {
        let until = now + self.subscription.retry_wait();
        self.waiting = Some(Waiting { until, leader });
        self.check = None;
        self.unroute();
        self.actions.push_back(Action::RefreshMetadata);
        self.actions.push_back(Action::WakeAt(until));
    }
}
