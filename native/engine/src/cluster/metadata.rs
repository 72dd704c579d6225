//! What is known of the cluster: brokers, topics, partition leaders. A plain value, no I/O.

use std::collections::HashMap;
use std::sync::Arc;

use super::interest::is_topic_name;
use crate::net::Endpoint;
use brod_protocol::api::metadata::{Metadata, Partition, Topic};
use brod_protocol::api::TopicId;
use brod_protocol::error::ErrorCode;

/// Node id of a broker.
pub type NodeId = i32;

/// Who leads a partition, and since which election (KIP-320).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leader {
    /// The leading broker.
    pub node: NodeId,
    /// -1 where the broker is too old to tell.
    pub epoch: i32,
}

/// One partition as the brokers last described it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionInfo {
    /// None while there is no leader.
    pub leader: Option<Leader>,
    /// Kafka's error code for the partition.
    pub error: ErrorCode,
    /// How many answers in a row, up to the last one, named an older leader.
    contradicted: u32,
}

/// One topic as the brokers last described it.
#[derive(Debug, Clone)]
pub struct TopicInfo {
    /// Kafka's error code for the topic.
    pub error: ErrorCode,
    /// None while no broker was new enough to tell (Kafka 2.8, Metadata 10).
    pub id: Option<TopicId>,
    /// By partition number. While there is an error: as before it.
    pub partitions: HashMap<i32, PartitionInfo>,
    /// Ids that topics of this name had before; the last ones.
    former: Vec<TopicId>,
    /// How many answers in a row, up to the last one, named a former id.
    contradicted: u32,
}

/// The cluster as last seen.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By node id.
    pub brokers: HashMap<NodeId, Endpoint>,
    /// -1 unknown.
    pub controller: NodeId,
    /// By name; only topics that somebody is interested in.
    pub topics: HashMap<Arc<str>, Arc<TopicInfo>>,
    /// Counts the updates.
    pub version: u64,
    /// Those of `brokers` that a response named as leaders and that metadata does not name yet.
    pub learned: HashMap<NodeId, Endpoint>,
}

impl Snapshot {
    /// The partition's leader, or the error that says why there is none to turn to.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<Leader, ErrorCode> {
        let Some(info) = self.topics.get(topic) else {
            return Err(if is_topic_name(topic) {
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
            } else {
                // Nobody asks for it, and this would be the answer.
                ErrorCode::INVALID_TOPIC_EXCEPTION
            });
        };
        if !info.error.is_ok() {
            return Err(info.error);
        }
        let partition = info
            .partitions
            .get(&partition)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        // Since the topic was described the broker may have left. There is nowhere to connect to then,
        // and no failed attempt to wait after.
        partition
            .leader
            .filter(|leader| self.brokers.contains_key(&leader.node))
            .ok_or(ErrorCode::LEADER_NOT_AVAILABLE)
    }

    /// Whether `leader` was elected in the place of `former`. Where services that are not Kafka have no leaders, and name
    /// another broker each time, there is no election in it: the epoch is the same. Where epochs are unknown, a broker that is
    /// still named has not been replaced, either.
    pub fn is_replaced(&self, former: Leader, leader: Leader) -> bool {
        leader.node != former.node
            && match (former.epoch, leader.epoch) {
                (0.., 0..) => leader.epoch != former.epoch,
                _ => !self.brokers.contains_key(&former.node),
            }
    }

    /// Why a topic, or some of its partitions, cannot be used, and how many of them, 0 for a topic that is not there. None as well
    /// where nobody was asked yet.
    pub(super) fn trouble(&self, topic: &str) -> Option<(ErrorCode, usize)> {
        let info = self.topics.get(topic)?;
        if !info.error.is_ok() {
            return Some((info.error, 0));
        }
        let partitions = info.partitions.keys();
        let mut errors = partitions.filter_map(|partition| self.leader(topic, *partition).err());
        let first = errors.next()?;
        Some((first, 1 + errors.count()))
    }

    /// True when the brokers said that there is no such topic or partition, as opposed to not
    /// having been asked yet.
    pub fn is_unknown(&self, topic: &str, partition: i32) -> bool {
        self.topics.contains_key(topic)
            && self.leader(topic, partition) == Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// The id of the topic that has this name now; None if it is not known. It changes when the topic is
    /// deleted and made again, and not back to one that it had before because a broker lags behind (see
    /// [`Snapshot::update`]): whoever remembers the id of the topic that a position, an epoch or a sequence number belongs to
    /// sees in another id here that it is of no use any more.
    pub fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.topics.get(topic)?.id
    }

    /// Takes in an answer, of which it keeps the topics that `is_wanted` names. Others are forgotten.
    ///
    /// A leader of an older epoch than the one known is ignored: the answer comes from a broker
    /// that lags behind (KIP-320). A topic with a new id was made again and starts over; one with an id of the
    /// past is of such an answer, too.
    ///
    /// What many answers in a row say ([`BELIEVED_AFTER`], [`ID_BELIEVED_AFTER`]) is true nevertheless, however
    /// old it looks: then it is what is known that never was, or is no more. An answer came damaged, or the cluster was
    /// set up again from a backup. A leader is no harm if it is wrong: brokers refuse an epoch that is not theirs, and
    /// one newer answer puts it right.
    pub fn update(&mut self, response: &Metadata, is_wanted: impl Fn(&str) -> bool) {
        self.version += 1;
        self.controller = response.controller;
        self.topics.retain(|name, _| is_wanted(name));
        for topic in &response.topics {
            let Some(name) = topic.name.as_deref().filter(|name| is_wanted(name)) else {
                continue;
            };
            let known = self.topics.get(name).map(Arc::as_ref);
            let info = described(topic, known);
            self.topics.insert(name.into(), Arc::new(info));
        }
        if !response.brokers.is_empty() {
            self.set_brokers(response);
        }
    }

    /// Nothing is known any more.
    pub(super) fn forget(&mut self) {
        *self = Snapshot {
            version: self.version + 1,
            controller: -1,
            ..Snapshot::default()
        };
    }

    fn set_brokers(&mut self, response: &Metadata) {
        let named = response.brokers.iter().filter_map(|broker| {
            let endpoint = Endpoint::named(&broker.host, broker.port)?;
            Some((broker.node, endpoint))
        });
        self.brokers = named.collect();
        // A broker that lags behind does not know the learned ones: those that lead are kept.
        let mut learned = std::mem::take(&mut self.learned);
        learned.retain(|node, _| !self.brokers.contains_key(node) && self.leads(*node));
        self.brokers.extend(learned.clone());
        self.learned = learned;
    }

    fn leads(&self, node: NodeId) -> bool {
        self.topics
            .values()
            .flat_map(|topic| topic.partitions.values())
            .any(|partition| partition.leader.is_some_and(|leader| leader.node == node))
    }

    /// Takes in a leader that a response named (KIP-951), if it is newer than the known one and it
    /// is known where it listens. False: nothing changed.
    pub fn set_leader(
        &mut self,
        topic: &str,
        partition: i32,
        leader: Leader,
        endpoint: Option<&Endpoint>,
    ) -> bool {
        if !self.is_news(topic, partition, leader, endpoint) {
            return false;
        }
        let Some(info) = self.topics.get_mut(topic) else {
            return false;
        };
        if let Some(info) = Arc::make_mut(info).partitions.get_mut(&partition) {
            info.leader = Some(leader);
            info.contradicted = 0;
        }
        let known = self.brokers.get(&leader.node);
        if let Some(endpoint) = endpoint.filter(|endpoint| known != Some(endpoint)) {
            self.brokers.insert(leader.node, endpoint.clone());
            self.learned.insert(leader.node, endpoint.clone());
        }
        self.version += 1;
        true
    }

    /// Whether [`Snapshot::set_leader`] would change anything.
    pub fn is_news(
        &self,
        topic: &str,
        partition: i32,
        leader: Leader,
        endpoint: Option<&Endpoint>,
    ) -> bool {
        let can_be_reached = endpoint.is_some() || self.brokers.contains_key(&leader.node);
        let info = self.topics.get(topic);
        let info = info.and_then(|topic| topic.partitions.get(&partition));
        can_be_reached
            && info.is_some_and(|info| info.leader.is_none_or(|old| old.epoch < leader.epoch))
    }
}

/// How many ids of deleted topics of one name are remembered.
const FORMER_IDS: usize = 8;

/// So many answers in a row are believed though the leader that they name is older than the one that is known. A client in need
/// of a leader asks ten times a second at most, and any broker to which it is connected: they do not all lag behind for
/// that long.
const BELIEVED_AFTER: u32 = 10;

/// The same for a topic's id. To go back to a former one costs more than a request that is refused: whoever reads the topic
/// begins anew, where its reset policy says.
const ID_BELIEVED_AFTER: u32 = 100;

/// What is known of a topic after an answer.
fn described(topic: &Topic, known: Option<&TopicInfo>) -> TopicInfo {
    let id = TopicId::new(topic.id);
    let mut former = known.map_or_else(Vec::new, |known| known.former.clone());
    if let (Some(known), Some(id)) = (known, id.filter(|id| former.contains(id))) {
        let contradicted = known.contradicted + 1;
        if contradicted < ID_BELIEVED_AFTER {
            return TopicInfo {
                contradicted,
                ..known.clone()
            };
        }
        former.retain(|other| *other != id);
    }
    let same = known.filter(|known| known.id.is_none() || id.is_none() || known.id == id);
    if let (Some(known), None) = (known, same) {
        if former.len() == FORMER_IDS {
            former.remove(0);
        }
        former.extend(known.id);
    }
    let mut info = TopicInfo {
        error: topic.error,
        id: id.or(known.and_then(|known| known.id)),
        former,
        partitions: HashMap::new(),
        contradicted: 0,
    };
    if !info.error.is_ok() {
        // What is known of its leaders' epochs counts again when the broker knows the topic again.
        if let Some(same) = same {
            info.partitions.clone_from(&same.partitions);
        }
        return info;
    }
    for told in &topic.partitions {
        let old = same.and_then(|same| same.partitions.get(&told.partition));
        info.partitions
            .insert(told.partition, described_partition(told, old));
    }
    info
}

fn described_partition(told: &Partition, old: Option<&PartitionInfo>) -> PartitionInfo {
    let leader = (told.leader >= 0).then_some(Leader {
        node: told.leader,
        epoch: told.leader_epoch,
    });
    if let Some(old) = old.filter(|old| is_older(leader, old.leader)) {
        let contradicted = old.contradicted + 1;
        if contradicted < BELIEVED_AFTER {
            return PartitionInfo {
                contradicted,
                ..*old
            };
        }
    }
    PartitionInfo {
        leader,
        error: told.error,
        contradicted: 0,
    }
}

fn is_older(new: Option<Leader>, old: Option<Leader>) -> bool {
    matches!((new, old), (Some(new), Some(old)) if new.epoch >= 0 && new.epoch < old.epoch)
}

#[cfg(test)]
mod tests;
