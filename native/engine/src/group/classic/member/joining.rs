//! The way into a generation: find the coordinator, join, count partitions, sync, fetch offsets; and
//! what is done when a step of it fails.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Generation, Member, Phase, FENCED_DELAY, UNKNOWN_TOPIC_WAIT};
use crate::error::Error;
use crate::group::classic::actions::{Counted, JoinOutcome, Request};
use crate::group::classic::assignor::Assignor;
use crate::group::protocol::Coordinator;
use crate::group::trouble::{trouble, Trouble};
use crate::group::{
    AssignBy, Assigned, AssignedPartition, DownReason, Event, PartitionCounts, TopicPartitions,
};
use brod_protocol::consumer_protocol::Assignment;
use brod_protocol::error::ErrorCode;

/// Shortest time between two reports of trouble that passes by itself.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

impl Member {
    pub(super) fn found(&mut self, result: Result<Coordinator, Error>, now: Instant) {
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

    pub(super) fn joined(
        &mut self,
        result: Result<JoinOutcome, Error>,
        current: bool,
        now: Instant,
    ) {
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

    pub(super) fn counted(&mut self, result: Result<Counted, Error>, now: Instant) {
        let Some(leads) = self.generation.as_ref().map(|g| g.joined.leader) else {
            return;
        };
        match result {
            Ok(counted) => {
                self.remember(&counted);
                if let Some(generation) = &mut self.generation {
                    generation.counts = counted.counts;
                }
            }
            Err(error) if leads => return self.failed(error, now),
            // The leader has what matters; it is not kept waiting.
            Err(_) => {}
        }
        if !leads {
            self.phase = Phase::Syncing(Vec::new());
            return;
        }
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

    pub(super) fn synced(
        &mut self,
        result: Result<Assignment, Error>,
        current: bool,
        now: Instant,
    ) {
        match result {
            Ok(assignment) if current => {
                self.learn_growth(&assignment.grown_from);
                let partitions = assignment.partitions;
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

    pub(super) fn offsets(&mut self, result: Result<Vec<AssignedPartition>, Error>, now: Instant) {
        match result {
            Ok(partitions) => self.assigned(partitions, now),
            Err(error) => self.failed(error, now),
        }
    }

    fn assigned(&mut self, mut partitions: Vec<AssignedPartition>, now: Instant) {
        let Some(generation) = &self.generation else {
            return;
        };
        // What was written to a partition that came while the group was there is for the group, wherever
        // it begins to read partitions that it finds.
        for partition in partitions.iter_mut().filter(|p| p.offset.is_none()) {
            if self.is_new(partition) {
                partition.offset = Some(0);
            }
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
        self.shrunk_since = None;
        self.plan_growth_check(now);
        self.tell(Event::Assigned(assigned));
    }

    /// A join or sync failed; the next step joins again.
    pub(super) fn join_failed(&mut self, error: Error, now: Instant) {
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

    pub(super) fn send_request(&mut self, now: Instant) {
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
                    grown_from: self.growth(),
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
