//! The decisions of one group member: a state machine without I/O or clock of its own.
//!
//! At most one request of the join sequence (find the coordinator, join, count partitions, sync, fetch
//! offsets) is under way, and one heartbeat beside it.
//!
//! A lost connection or a coordinator that moves does not end a generation: the coordinator is
//! looked for and heartbeats go on with the next one, as a Kafka coordinator loads the generation
//! of its predecessor. A generation ends when a broker says so, or when no heartbeat got through
//! for the session timeout.

mod generation;
mod joining;
mod topics;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::actions::{Answer, Joined, Request};
use super::requests;
use crate::cluster::{Backoff, NodeId};
use crate::error::Error;
use crate::group::protocol::{self, CommitTarget, Coordinator, GroupProtocol, Link};
use crate::group::{
    DownReason, Event, GroupConfig, JoinTerms, PartitionCounts, RevokeReason, TopicPartitions,
};
use crate::net::Endpoint;
use brod_protocol::error::ErrorCode;

/// Wait before joining again after another member took over the group instance id. Two members
/// that share one by mistake would otherwise throw each other out in a loop.
const FENCED_DELAY: Duration = Duration::from_secs(10);
/// Waits between attempts at what passes by itself.
const RETRY_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Heartbeats are not numbered.
const HEARTBEAT: u64 = 0;
/// A topic of fewer partitions than were shared out has been made again, or a broker that was asked does not know all of them yet.
/// After that time it is believed. By then its consumers know as well, and commit no more what they had read of the former one.
const SHRUNK_FOR: Duration = Duration::from_secs(5);
/// First wait before topics that are not there are looked for again; doubled each time.
const UNKNOWN_TOPIC_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq)]
enum Phase {
    /// The owner has not joined, or was told to join again.
    Idle,
    Joining,
    /// Learns the number of partitions: a leader to share them out, all to tell new ones.
    Counting,
    /// Leader: the owner shares out the partitions.
    AwaitingOwner,
    Syncing(Vec<(String, TopicPartitions)>),
    FetchingOffsets(TopicPartitions),
    Stable,
    /// The owner was told to let go; the generation still lives.
    Revoking,
    Down,
}

struct Generation {
    joined: Joined,
    /// Of the topics, a leader's of all that members asked for, as it began.
    counts: PartitionCounts,
}

struct InFlight {
    number: u64,
    /// The JoinId that it was sent for.
    join_id: i64,
    /// The broker may hold the answer back, and with it all else on the connection.
    held: bool,
}

type Action = protocol::Action<Request>;

/// See the module's text.
pub(crate) struct Member {
    config: Arc<GroupConfig>,
    terms: JoinTerms,
    member_id: String,
    phase: Phase,
    generation: Option<Generation>,
    coordinator: Option<Coordinator>,
    told_coordinator: Option<Endpoint>,
    in_flight: Option<InFlight>,
    last_number: u64,
    /// No request of the join sequence before this time.
    not_before: Option<Instant>,
    backoff: Backoff,
    refusals: u32,
    reported: Option<Instant>,
    /// Events [`Event::Assign`] that the owner has not answered; only the last answer fits.
    assigns_owed: u32,
    heartbeat_in_flight: bool,
    next_heartbeat: Instant,
    /// Leader: when the topics are looked at for more partitions.
    next_growth_check: Instant,
    /// Since when topics have had fewer partitions than were shared out.
    shrunk_since: Option<Instant>,
    /// The next wait while topics are not there.
    growth_wait: Duration,
    /// Topics that the owner has been told are not there.
    told_unknown: Vec<String>,
    /// How many partitions the topics had when this member, or one that told it, came to them in the
    /// group.
    grown_from: PartitionCounts,
    /// The owner has been told that nothing follows.
    told_down: bool,
    /// When the last request that the broker took as a sign of life was sent.
    alive: Instant,
    actions: Vec<Action>,
}

impl Member {
    /// A member that has not joined.
    pub(crate) fn new(config: Arc<GroupConfig>, now: Instant, seed: u64) -> Self {
        Member {
            config,
            terms: JoinTerms::default(),
            member_id: String::new(),
            phase: Phase::Idle,
            generation: None,
            coordinator: None,
            told_coordinator: None,
            in_flight: None,
            last_number: 0,
            not_before: None,
            backoff: Backoff::new(RETRY_BACKOFF.0, RETRY_BACKOFF.1, seed),
            refusals: 0,
            reported: None,
            assigns_owed: 0,
            heartbeat_in_flight: false,
            next_heartbeat: now,
            next_growth_check: now,
            shrunk_since: None,
            growth_wait: UNKNOWN_TOPIC_WAIT,
            told_unknown: Vec::new(),
            grown_from: PartitionCounts::new(),
            told_down: false,
            alive: now,
            actions: Vec::new(),
        }
    }
}

impl GroupProtocol for Member {
    type Request = Request;
    type Answer = Answer;

    fn actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    fn deadline(&self) -> Option<Instant> {
        let request = match self.in_flight {
            None if self.has_request() => self.not_before,
            _ => None,
        };
        let heartbeat = (self.beats() && self.coordinator.is_some() && !self.heartbeat_in_flight)
            .then_some(self.next_heartbeat);
        let expiry = self.beats().then(|| self.expiry());
        let growth = self.assigned_counts().map(|_| self.next_growth_check);
        [request, heartbeat, expiry, growth]
            .into_iter()
            .flatten()
            .min()
    }

    fn tick(&mut self, now: Instant) {
        self.step(now);
    }

    fn join(&mut self, terms: JoinTerms, now: Instant) {
        if self.told_down {
            return;
        }
        self.watch(terms.topics.iter());
        self.terms = terms;
        self.assigns_owed = 0;
        self.rejoin();
        self.step(now);
    }

    fn assign(&mut self, join_id: i64, assignments: Vec<(String, TopicPartitions)>, now: Instant) {
        if join_id != self.terms.join_id || self.assigns_owed == 0 {
            return;
        }
        self.assigns_owed -= 1;
        if self.phase == Phase::AwaitingOwner && self.assigns_owed == 0 {
            self.phase = Phase::Syncing(assignments);
            self.step(now);
        }
    }

    fn answer(&mut self, number: u64, answer: Answer, now: Instant) {
        let answer = match answer {
            Answer::Heartbeat(sent, result) => return self.heartbeat_answer(&sent, result, now),
            answer => answer,
        };
        let Some(request) = self.in_flight.take_if(|request| request.number == number) else {
            return;
        };
        if self.phase == Phase::Down {
            return;
        }
        if request.held {
            // The broker keeps a member alive while it holds its join or sync.
            self.alive = now;
            self.next_heartbeat = now + self.config.heartbeat_interval;
        }
        let current = request.join_id == self.terms.join_id;
        match answer {
            Answer::Coordinator(result) => self.found(result, now),
            Answer::Joined(result) => self.joined(result, current, now),
            Answer::Partitions(result) => self.counted(result, now),
            Answer::Synced(result) => self.synced(result, current, now),
            Answer::Offsets(result) => self.offsets(result, now),
            Answer::Heartbeat(..) => {}
        }
        self.step(now);
    }

    /// Partitions that came on top are shared out by a new generation, which a leader that joins
    /// starts. So are those of a topic that was made again with fewer.
    fn partitions_seen(&mut self, seen: &PartitionCounts, now: Instant) {
        let Some(assigned) = self.assigned_counts() else {
            return;
        };
        let changed = |is_so: fn(i32, i32) -> bool| -> Vec<String> {
            let both = assigned
                .iter()
                .filter_map(|(topic, count)| Some((topic, *count, *seen.get(topic)?)));
            both.filter(|(_, count, seen)| is_so(*count, *seen))
                .map(|(topic, ..)| topic.clone())
                .collect()
        };
        let grown = changed(|count, seen| seen > count);
        let shrunk = changed(|count, seen| 0 < seen && seen < count);
        if !grown.is_empty() {
            self.revoke(RevokeReason::PartitionsAdded);
        } else if shrunk.is_empty() {
            self.shrunk_since = None;
        } else if now >= *self.shrunk_since.get_or_insert(now) + SHRUNK_FOR {
            // What is in it was written while the group was there.
            self.grown_from
                .extend(shrunk.into_iter().map(|topic| (topic, 0)));
            self.revoke(RevokeReason::PartitionsGone);
        } else {
            self.next_growth_check = self.next_growth_check.min(now + SHRUNK_FOR);
        }
        self.step(now);
    }

    /// A generation that lives goes on, for the owner to commit and leave.
    fn client_closed(&mut self) {
        match self.phase {
            Phase::Stable | Phase::Revoking => {
                self.tell_down(DownReason::ClientDown);
                self.phase = Phase::Revoking;
            }
            _ => self.go_down(DownReason::ClientDown),
        }
    }

    fn coordinator(&self) -> Option<&Coordinator> {
        self.coordinator.as_ref()
    }

    fn commit_target(&self, generation: i32) -> Result<Option<CommitTarget>, ErrorCode> {
        let present = matches!(self.phase, Phase::Stable | Phase::Revoking)
            && self.generation_id() == Some(generation);
        if !present {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        Ok(self.coordinator.as_ref().map(|c| CommitTarget {
            node: c.node,
            member_id: self.member_id.clone(),
        }))
    }

    fn commit_failed(&mut self, node: NodeId, generation: i32, error: &Error, now: Instant) {
        self.generation_trouble(node, generation, error, now);
        self.step(now);
    }

    /// An id that the broker is about to give: until it joins or leaves, the whole group waits for
    /// it.
    fn awaits_answer_to_leave(&self) -> bool {
        self.is_held() && self.member_id.is_empty()
    }

    fn is_held(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|request| request.held)
    }

    fn ask(link: Link, request: Request) -> impl Future<Output = Answer> + Send {
        requests::ask(link, request)
    }

    fn leave(&self, link: Link) -> impl Future<Output = Result<(), Error>> + Send {
        let coordinator = self.coordinator.as_ref().map(|c| c.node);
        requests::leave(link, self.member_id.clone(), coordinator)
    }
}

impl Member {
    fn wait(&mut self, now: Instant) {
        let wait = self.backoff.next_wait();
        self.hold_off(now + wait);
    }

    fn hold_off(&mut self, until: Instant) {
        self.not_before = self.not_before.max(Some(until));
    }

    fn generation_id(&self) -> Option<i32> {
        self.generation.as_ref().map(|g| g.joined.generation)
    }

    fn has_request(&self) -> bool {
        match self.phase {
            Phase::Idle | Phase::Down => false,
            Phase::AwaitingOwner | Phase::Stable | Phase::Revoking => self.coordinator.is_none(),
            _ => true,
        }
    }

    fn step(&mut self, now: Instant) {
        if self.beats() && now >= self.expiry() {
            self.lose(RevokeReason::HeartbeatTimeout, now);
        }
        if self.in_flight.is_none() && self.not_before.is_none_or(|at| now >= at) {
            self.not_before = None;
            self.send_request(now);
        }
        self.send_heartbeat(now);
        if self.assigned_counts().is_some() && now >= self.next_growth_check {
            self.plan_growth_check(now);
            self.actions.push(Action::RefreshMetadata);
        }
    }

    fn send(&mut self, request: Request, held: bool) {
        self.last_number += 1;
        self.in_flight = Some(InFlight {
            number: self.last_number,
            join_id: self.terms.join_id,
            held,
        });
        self.actions.push(Action::Send(self.last_number, request));
    }

    fn tell(&mut self, event: Event) {
        if self.told_down {
            return;
        }
        self.actions.push(Action::Tell(self.terms.join_id, event));
    }
}

#[cfg(test)]
mod tests;
