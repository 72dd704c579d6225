//! The decisions of one group member: a state machine without I/O or clock of its own.
//!
//! At most one request of the join sequence (find the coordinator, join, count partitions, sync, fetch
//! offsets) is under way, and one heartbeat beside it.
//!
//! A lost connection or a coordinator that moves does not end a generation: the coordinator is
//! looked for and heartbeats go on with the next one, as a Kafka coordinator loads the generation
//! of its predecessor. A generation ends when a broker says so, or when no heartbeat got through
//! for the session timeout.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::actions::{Answer, Heartbeat, JoinOutcome, Joined, Request};
use super::assignor::Assignor;
use super::requests;
use crate::cluster::{Backoff, NodeId};
use crate::error::Error;
use crate::group::protocol::{self, CommitTarget, Coordinator, GroupProtocol, Link};
use crate::group::trouble::{trouble, Trouble};
use crate::group::{
    AssignBy, Assigned, AssignedPartition, DownReason, Event, GroupConfig, JoinTerms,
    PartitionCounts, RevokeReason, TopicPartitions,
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
/// First wait before topics that are not there are looked for again; doubled each time.
const UNKNOWN_TOPIC_WAIT: Duration = Duration::from_secs(1);
/// Shortest time between two reports of trouble that passes by itself.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

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
    /// The next wait while topics are not there.
    growth_wait: Duration,
    /// Topics that the owner has been told are not there.
    told_unknown: Vec<String>,
    /// How many partitions the topics had in the generation before.
    known: PartitionCounts,
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
            growth_wait: UNKNOWN_TOPIC_WAIT,
            told_unknown: Vec::new(),
            known: PartitionCounts::new(),
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
    /// starts.
    fn partitions_seen(&mut self, seen: &PartitionCounts, now: Instant) {
        let grown = self.assigned_counts().is_some_and(|assigned| {
            assigned
                .iter()
                .any(|(topic, count)| seen.get(topic).is_some_and(|seen| seen > count))
        });
        if grown {
            self.revoke(RevokeReason::PartitionsAdded);
            self.step(now);
        }
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
    /// The partition counts that the present assignment rests on, if this member made it.
    fn assigned_counts(&self) -> Option<&PartitionCounts> {
        let generation = self.generation.as_ref()?;
        (self.phase == Phase::Stable && generation.joined.leader).then_some(&generation.counts)
    }

    fn heartbeat_answer(&mut self, sent: &Heartbeat, result: Result<(), Error>, now: Instant) {
        self.heartbeat_in_flight = false;
        let rebalance = matches!(&result, Err(error)
            if error.code() == Some(ErrorCode::REBALANCE_IN_PROGRESS));
        if self.generation_id() == Some(sent.generation) && (result.is_ok() || rebalance) {
            self.alive = sent.sent;
            self.backoff.reset();
        }
        if let Err(error) = result {
            self.generation_trouble(sent.node, sent.generation, &error, now);
        }
        self.step(now);
    }

    fn found(&mut self, result: Result<Coordinator, Error>, now: Instant) {
        match result {
            Ok(coordinator) => {
                if self.told_coordinator.as_ref() != Some(&coordinator.endpoint) {
                    self.told_coordinator = Some(coordinator.endpoint.clone());
                    self.tell(Event::Coordinator(coordinator.endpoint.clone()));
                }
                self.coordinator = Some(coordinator);
                // A heartbeat that the old one owes must not be waited for.
                self.next_heartbeat = self.next_heartbeat.min(now);
            }
            Err(error) => self.failed(error, now),
        }
    }

    fn joined(&mut self, result: Result<JoinOutcome, Error>, current: bool, now: Instant) {
        match result {
            Ok(JoinOutcome::MemberIdRequired(member_id)) => self.member_id = member_id,
            Ok(JoinOutcome::Joined(joined)) => {
                self.member_id = joined.member_id.clone();
                if !current {
                    return;
                }
                self.phase = Phase::Counting;
                self.generation = Some(Generation {
                    joined,
                    counts: PartitionCounts::new(),
                });
            }
            Err(error) => self.join_failed(error, now),
        }
    }

    fn counted(&mut self, result: Result<PartitionCounts, Error>, now: Instant) {
        let Some(generation) = &mut self.generation else {
            return;
        };
        if !generation.joined.leader {
            // The leader has what matters; it is not kept waiting.
            generation.counts = result.unwrap_or_default();
            self.phase = Phase::Syncing(Vec::new());
            return;
        }
        generation.counts = match result {
            Ok(counts) => counts,
            Err(error) => return self.failed(error, now),
        };
        self.tell_unknown_topics();
        let Some(generation) = &self.generation else {
            return;
        };
        let (joined, counts) = (&generation.joined, &generation.counts);
        if joined.skip_assignment {
            self.phase = Phase::Syncing(Vec::new());
        } else if self.config.assignment == AssignBy::Engine {
            let assignor = Assignor::of_protocol(&joined.protocol);
            self.phase = Phase::Syncing(assignor.assign(&joined.members, counts));
        } else {
            let mut members = joined.members.clone();
            members.sort_by_key(|m| m.member_id != joined.member_id);
            let partitions = counts
                .iter()
                .flat_map(|(topic, &count)| (0..count).map(move |p| (topic.clone(), p)))
                .collect();
            self.phase = Phase::AwaitingOwner;
            self.assigns_owed += 1;
            self.tell(Event::Assign {
                members,
                partitions,
            });
        }
    }

    fn synced(&mut self, result: Result<TopicPartitions, Error>, current: bool, now: Instant) {
        match result {
            Ok(partitions) if current => {
                if self.config.fetch_offsets && !partitions.is_empty() {
                    self.phase = Phase::FetchingOffsets(partitions);
                } else {
                    self.assigned(without_offsets(partitions), now);
                }
            }
            Ok(_) => {}
            Err(error) => {
                self.rejoin();
                self.join_failed(error, now);
            }
        }
    }

    fn offsets(&mut self, result: Result<Vec<AssignedPartition>, Error>, now: Instant) {
        match result {
            Ok(partitions) => self.assigned(partitions, now),
            Err(error) => self.failed(error, now),
        }
    }

    fn assigned(&mut self, mut partitions: Vec<AssignedPartition>, now: Instant) {
        let Some(generation) = &self.generation else {
            return;
        };
        // What was written to a partition that came while this member was in the group is for the
        // group, wherever it begins to read partitions that it finds.
        for partition in partitions.iter_mut().filter(|p| p.offset.is_none()) {
            let known = self.known.get(&partition.topic);
            if known.is_some_and(|count| partition.partition >= *count) {
                partition.offset = Some(0);
            }
        }
        if !generation.counts.is_empty() {
            self.known = generation.counts.clone();
        }
        let joined = &generation.joined;
        let assigned = Assigned {
            member_id: joined.member_id.clone(),
            generation: joined.generation,
            leader: joined.leader,
            protocol: joined.protocol.clone(),
            partitions,
        };
        self.phase = Phase::Stable;
        self.refusals = 0;
        self.backoff.reset();
        self.growth_wait = UNKNOWN_TOPIC_WAIT;
        self.plan_growth_check(now);
        self.tell(Event::Assigned(assigned));
    }

    /// A topic that is not there may just have been asked for: it is looked for sooner at first.
    fn plan_growth_check(&mut self, now: Instant) {
        let interval = self.config.growth_check_interval;
        let wait = if self.unknown_topics().is_empty() {
            interval
        } else {
            self.growth_wait.min(interval)
        };
        self.growth_wait *= 2;
        self.next_growth_check = now + wait;
    }

    fn unknown_topics(&self) -> Vec<String> {
        let counts = self.generation.iter().flat_map(|g| &g.counts);
        counts
            .filter(|(_, count)| **count == 0)
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    fn tell_unknown_topics(&mut self) {
        let unknown = self.unknown_topics();
        if unknown != self.told_unknown {
            self.told_unknown.clone_from(&unknown);
            if !unknown.is_empty() {
                self.tell(Event::UnknownTopics(unknown));
            }
        }
    }

    /// A join or sync failed; the next step joins again.
    fn join_failed(&mut self, error: Error, now: Instant) {
        match error.code() {
            Some(ErrorCode::UNKNOWN_MEMBER_ID) if !self.member_id.is_empty() => {
                self.member_id.clear()
            }
            Some(ErrorCode::ILLEGAL_GENERATION) => self.wait(now),
            Some(ErrorCode::REBALANCE_IN_PROGRESS) => {}
            Some(ErrorCode::FENCED_INSTANCE_ID) => {
                self.member_id.clear();
                self.failed(error, now);
                self.hold_off(now + FENCED_DELAY);
            }
            _ => self.failed(error, now),
        }
    }

    /// A request of the join sequence failed; the next step tries it again after a wait.
    fn failed(&mut self, error: Error, now: Instant) {
        match trouble(&error) {
            Trouble::Closed => return self.go_down(DownReason::ClientDown),
            Trouble::Busy => {}
            Trouble::Elsewhere => self.coordinator = None,
            Trouble::Refused => return self.refused(error, now),
        }
        self.wait(now);
        let due = self
            .reported
            .is_none_or(|at| now.duration_since(at) >= REPORT_INTERVAL);
        // An owner that has its partitions is not concerned by the search for a coordinator.
        if due && !matches!(self.phase, Phase::Idle | Phase::Stable | Phase::Revoking) {
            self.reported = Some(now);
            self.tell(Event::Retrying {
                attempt: 0,
                reason: error,
            });
        }
    }

    fn refused(&mut self, error: Error, now: Instant) {
        if self.refusals >= self.config.max_rejoin_attempts {
            return self.go_down(DownReason::MaxRejoinAttempts(error));
        }
        self.refusals += 1;
        self.hold_off(now + self.config.rejoin_delay);
        self.tell(Event::Retrying {
            attempt: self.refusals,
            reason: error,
        });
    }

    /// What a heartbeat's or a commit's error says of the generation and the coordinator.
    fn generation_trouble(&mut self, node: NodeId, generation: i32, error: &Error, now: Instant) {
        let present = self.generation_id() == Some(generation);
        match error.code() {
            Some(ErrorCode::REBALANCE_IN_PROGRESS) => {
                if present {
                    self.rebalance();
                }
                return;
            }
            Some(code) if code.is_membership_lost() => {
                if present {
                    self.lose(RevokeReason::Lost(code), now);
                }
                return;
            }
            _ => {}
        }
        match trouble(error) {
            // Without its client a member finds no other coordinator.
            Trouble::Elsewhere if self.told_down => {
                self.next_heartbeat = now + self.backoff.next_wait()
            }
            Trouble::Elsewhere => {
                if self.coordinator.as_ref().is_some_and(|c| c.node == node) {
                    self.coordinator = None;
                    self.wait(now);
                }
            }
            Trouble::Busy => self.next_heartbeat = now + self.backoff.next_wait(),
            // A heartbeat that is refused again and again ends with the session timeout.
            Trouble::Closed | Trouble::Refused => {}
        }
    }

    fn rebalance(&mut self) {
        match self.phase {
            Phase::Stable => self.revoke(RevokeReason::Rebalance),
            Phase::Counting | Phase::AwaitingOwner | Phase::FetchingOffsets(_) => self.rejoin(),
            _ => {}
        }
    }

    fn lose(&mut self, why: RevokeReason, now: Instant) {
        match why {
            RevokeReason::Lost(ErrorCode::FENCED_INSTANCE_ID) => {
                self.member_id.clear();
                self.hold_off(now + FENCED_DELAY);
            }
            RevokeReason::Lost(ErrorCode::UNKNOWN_MEMBER_ID) => self.member_id.clear(),
            _ => {}
        }
        match self.phase {
            Phase::Stable => {
                self.revoke(why);
                self.end_generation(Phase::Idle);
            }
            Phase::Revoking => self.end_generation(Phase::Idle),
            _ => self.rejoin(),
        }
    }

    fn revoke(&mut self, why: RevokeReason) {
        self.phase = Phase::Revoking;
        self.tell(Event::Revoke(why));
    }

    fn rejoin(&mut self) {
        self.end_generation(Phase::Joining);
    }

    fn end_generation(&mut self, next: Phase) {
        self.generation = None;
        self.phase = next;
        // What blocks the connection must be answered before the next join can go out on it.
        self.in_flight.take_if(|request| !request.held);
    }

    fn go_down(&mut self, reason: DownReason) {
        self.end_generation(Phase::Down);
        self.tell_down(reason);
    }

    fn tell_down(&mut self, reason: DownReason) {
        self.tell(Event::Down(reason));
        self.told_down = true;
    }

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

    /// Whether the generation lives by heartbeats; not so while the broker holds a request.
    fn beats(&self) -> bool {
        self.generation.is_some() && !matches!(self.phase, Phase::Syncing(_))
    }

    fn expiry(&self) -> Instant {
        self.alive + self.config.session_timeout
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

    fn send_request(&mut self, now: Instant) {
        if !self.has_request() {
            return;
        }
        let Some(node) = self.coordinator.as_ref().map(|c| c.node) else {
            return self.send(Request::FindCoordinator, false);
        };
        match &mut self.phase {
            Phase::Joining => {
                let request = Request::Join {
                    node,
                    member_id: self.member_id.clone(),
                    terms: self.terms.clone(),
                };
                self.send(request, true);
            }
            Phase::Syncing(assignments) => {
                let assignments = std::mem::take(assignments);
                let Some(generation) = &self.generation else {
                    return;
                };
                let request = Request::Sync {
                    node,
                    generation: generation.joined.generation,
                    member_id: self.member_id.clone(),
                    protocol: generation.joined.protocol.clone(),
                    assignments,
                };
                self.alive = now;
                self.send(request, true);
            }
            Phase::Counting => {
                let Some(generation) = &self.generation else {
                    return;
                };
                let joined = &generation.joined;
                let asked_for = joined.members.iter().flat_map(|m| &m.subscription.topics);
                let topics: BTreeSet<String> =
                    asked_for.chain(&self.terms.topics).cloned().collect();
                let create = joined.leader && self.config.create_topics;
                self.watch(topics.iter());
                let topics = topics.into_iter().collect();
                self.send(Request::CountPartitions { topics, create }, false);
            }
            Phase::FetchingOffsets(partitions) => {
                let partitions = partitions.clone();
                self.send(Request::FetchOffsets { node, partitions }, false);
            }
            _ => {}
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

    fn send_heartbeat(&mut self, now: Instant) {
        let due = self.beats() && !self.heartbeat_in_flight && now >= self.next_heartbeat;
        let (Some(coordinator), Some(generation)) = (&self.coordinator, self.generation_id())
        else {
            return;
        };
        if !due {
            return;
        }
        let heartbeat = Heartbeat {
            node: coordinator.node,
            generation,
            member_id: self.member_id.clone(),
            sent: now,
        };
        self.heartbeat_in_flight = true;
        self.next_heartbeat = now + self.config.heartbeat_interval;
        self.actions
            .push(Action::Send(HEARTBEAT, Request::Heartbeat(heartbeat)));
    }

    /// Growth of the topics is noticed by whoever keeps their metadata fresh.
    fn watch<'a>(&mut self, topics: impl Iterator<Item = &'a String>) {
        self.actions.push(Action::Watch(topics.cloned().collect()));
    }

    fn tell(&mut self, event: Event) {
        if self.told_down {
            return;
        }
        self.actions.push(Action::Tell(self.terms.join_id, event));
    }
}

fn without_offsets(partitions: TopicPartitions) -> Vec<AssignedPartition> {
    let each = |(topic, numbers): (String, Vec<i32>)| {
        numbers.into_iter().map(move |partition| AssignedPartition {
            topic: topic.clone(),
            partition,
            offset: None,
            metadata: String::new(),
        })
    };
    partitions.into_iter().flat_map(each).collect()
}

#[cfg(test)]
mod tests;
