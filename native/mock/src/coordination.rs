//! Groups and transactions within the cluster: which broker coordinates what, and how what coordinators
//! decide reaches those who wait and the logs.

use std::collections::BTreeMap;

use kafka_protocol::messages::{JoinGroupRequest, ResponseKind, SyncGroupRequest};
use uuid::Uuid;

use crate::call::{Call, Millis, Waiter};
use crate::cluster::Cluster;
use crate::group::{self, Groups};
use crate::topics::Topics;
use crate::txn::Transactions;

/// The coordinators' part of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Coordination {
    pub(crate) groups: Groups,
    pub(crate) transactions: Transactions,
    /// Coordinators that were moved by hand, by group or transactional id.
    moved: BTreeMap<String, i32>,
    waiting: BTreeMap<group::Ticket, Waiter>,
}

impl Coordination {
    /// When something is due.
    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        let both = [self.groups.deadline(), self.transactions.deadline()];
        both.into_iter().flatten().min()
    }

    /// From now on this broker coordinates the group or transactional id.
    pub(crate) fn move_to(&mut self, key: &str, broker: i32) {
        self.moved.insert(key.to_owned(), broker);
    }
}

impl group::Topics for Topics {
    fn partitions(&self, topic: &str) -> Option<i32> {
        i32::try_from(self.get(topic)?.partitions.len()).ok()
    }

    fn id(&self, topic: &str) -> Option<Uuid> {
        Some(self.get(topic)?.id)
    }

    fn names(&self) -> Vec<String> {
        self.iter().map(|(name, _)| name.to_owned()).collect()
    }
}

impl Cluster {
    /// The broker that coordinates a group or transactional id; none while no broker runs.
    pub(crate) fn coordinator_of(&self, key: &str) -> Option<i32> {
        let runs = |id: &i32| self.brokers.get(id).is_some_and(|broker| broker.running);
        if let Some(broker) = self.coordination.moved.get(key).filter(|id| runs(id)) {
            return Some(*broker);
        }
        let first = brod_protocol::crc32c(key.as_bytes()) as usize % self.brokers.len().max(1);
        // When it is down the next one takes over.
        let round = self.brokers.keys().cycle().skip(first);
        round.take(self.brokers.len()).copied().find(runs)
    }

    /// Whether the broker that was asked coordinates this.
    pub(crate) fn coordinates(&self, call: &Call, key: &str) -> bool {
        self.coordinator_of(key) == Some(call.broker)
    }

    /// The answer will come from the groups, under the waiter's id.
    pub(crate) fn wait_for_group(&mut self, waiter: Waiter) {
        self.coordination.waiting.insert(waiter.id, waiter);
    }

    /// What coordinators have decided goes to those who wait, and into the logs.
    pub(crate) fn settle(&mut self, now: Millis) {
        for ended in self.coordination.transactions.take_ended() {
            for (topic, index) in &ended.partitions {
                let skew = self.skew_of_leader(topic, *index);
                let Some(partition) = self.topics.partition_mut(topic, *index) else {
                    continue;
                };
                let epoch = partition.leader_epoch;
                let (id, producer_epoch) = (ended.producer_id, ended.epoch);
                let log = &mut partition.log;
                log.append_marker(id, producer_epoch, ended.committed, epoch, now + skew);
            }
            crate::fetches::wake(self, now);
            for group in &ended.groups {
                let groups = &mut self.coordination.groups;
                groups.end_transaction(group, ended.producer_id, ended.committed);
            }
        }
        for (ticket, answer) in self.coordination.groups.take_answers() {
            let Some(waiter) = self.coordination.waiting.remove(&ticket) else {
                continue;
            };
            match answer {
                ResponseKind::JoinGroup(response) => {
                    self.complete::<JoinGroupRequest>(waiter, response);
                }
                ResponseKind::SyncGroup(response) => {
                    self.complete::<SyncGroupRequest>(waiter, response);
                }
                // Groups answer nothing else later.
                _ => {}
            }
        }
    }

    /// Sessions, rebalances and transactions that have taken too long end.
    pub(crate) fn expire_coordination(&mut self, now: Millis) {
        self.coordination.groups.expire(now, &self.topics);
        self.coordination.transactions.expire(now);
        self.settle(now);
    }
}
