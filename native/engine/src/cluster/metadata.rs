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
mod tests {
    use super::*;
    use brod_protocol::api::metadata::Broker;

    fn all(_: &str) -> bool {
        true
    }

    fn response(node: i32, epoch: i32, id: u128) -> Metadata {
        let partition = Partition {
            error: ErrorCode(0),
            partition: 0,
            leader: node,
            leader_epoch: epoch,
            replicas: vec![],
            in_sync: vec![],
            offline: vec![],
        };
        let topic = Topic {
            error: ErrorCode(0),
            name: Some("t".into()),
            id: id.to_be_bytes(),
            is_internal: false,
            partitions: vec![partition],
        };
        let broker = Broker {
            node,
            host: "h".into(),
            port: 9092,
            rack: None,
        };
        Metadata {
            brokers: vec![broker],
            cluster_id: None,
            controller: -1,
            topics: vec![topic],
        }
    }

    fn with_brokers(brokers: Vec<Broker>, response: Metadata) -> Metadata {
        Metadata {
            brokers,
            ..response
        }
    }

    fn without_topics(response: Metadata) -> Metadata {
        Metadata {
            topics: vec![],
            ..response
        }
    }

    #[test]
    fn a_leader_of_an_older_epoch_is_ignored_unless_the_topic_is_new() {
        let mut snapshot = Snapshot::default();
        snapshot.update(&response(1, 5, 7), all);
        let both = [response(1, 0, 7).brokers, response(2, 0, 7).brokers].concat();
        snapshot.update(&with_brokers(both, response(2, 4, 7)), all);
        assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 1, epoch: 5 }));
        snapshot.update(&response(2, 0, 8), all);
        assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 2, epoch: 0 }));
    }

    #[test]
    fn what_is_said_time_and_again_is_believed_though_it_is_older() {
        // An epoch and an id that the topic never had.
        for (damaged, answers) in [
            (response(2, i32::MAX, 7), BELIEVED_AFTER),
            (response(2, 6, 8), ID_BELIEVED_AFTER),
        ] {
            let mut snapshot = Snapshot::default();
            snapshot.update(&response(1, 5, 7), all);
            snapshot.update(&damaged, all);
            let believed = |snapshot: &Snapshot| {
                let leader = snapshot.topics["t"].partitions[&0].leader;
                leader == Some(Leader { node: 1, epoch: 5 })
                    && snapshot.topic_id("t") == TopicId::new(7_u128.to_be_bytes())
            };
            for _ in 1..answers {
                snapshot.update(&response(1, 5, 7), all);
                assert!(!believed(&snapshot));
            }
            snapshot.update(&response(1, 5, 7), all);
            assert!(believed(&snapshot));
            snapshot.update(&response(1, 6, 7), all);
            assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 1, epoch: 6 }));
        }
    }

    #[test]
    fn a_leader_named_with_an_epoch_that_never_was_is_not_believed_for_ever() {
        let mut snapshot = Snapshot::default();
        let both = || [response(1, 0, 7).brokers, response(2, 0, 7).brokers].concat();
        let truth = || with_brokers(both(), response(1, 5, 7));
        snapshot.update(&truth(), all);
        for _ in 1..BELIEVED_AFTER {
            snapshot.set_leader("t", 0, Leader { node: 2, epoch: 9 }, None);
            snapshot.update(&truth(), all);
        }
        assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 2, epoch: 9 }));
        snapshot.update(&truth(), all);
        assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 1, epoch: 5 }));
    }

    #[test]
    fn a_broker_that_lags_behind_is_not_believed_while_others_contradict_it() {
        for (old, new) in [
            (response(2, 4, 7), response(1, 5, 7)),
            (response(2, 9, 6), response(1, 5, 7)),
        ] {
            let mut snapshot = Snapshot::default();
            snapshot.update(&old, all);
            for _ in 0..ID_BELIEVED_AFTER * 2 {
                snapshot.update(&new, all);
                snapshot.update(&old, all);
            }
            let leader = snapshot.topics["t"].partitions[&0].leader;
            assert_eq!(leader, Some(Leader { node: 1, epoch: 5 }));
            assert_eq!(snapshot.topic_id("t"), TopicId::new(7_u128.to_be_bytes()));
        }
    }

    #[test]
    fn a_leader_that_is_no_broker_any_more_is_none() {
        let mut snapshot = Snapshot::default();
        snapshot.update(&response(1, 5, 7), all);
        snapshot.update(&without_topics(response(2, 5, 7)), all);
        assert_eq!(
            snapshot.leader("t", 0),
            Err(ErrorCode::LEADER_NOT_AVAILABLE)
        );
    }

    #[test]
    fn a_named_leader_counts_if_it_is_newer_and_can_be_reached() {
        let mut snapshot = Snapshot::default();
        let at = |port| Endpoint::named("h", port).unwrap();
        let leader = |node, epoch| Leader { node, epoch };
        snapshot.update(&response(1, 5, 7), all);
        assert!(!snapshot.set_leader("t", 0, leader(2, 5), Some(&at(1))));
        assert!(!snapshot.set_leader("t", 0, leader(2, 4), Some(&at(1))));
        assert!(!snapshot.set_leader("t", 0, leader(2, 6), None));
        assert_eq!(snapshot.leader("t", 0), Ok(leader(1, 5)));
        assert!(!snapshot.brokers.contains_key(&2));
        let version = snapshot.version;
        assert!(snapshot.set_leader("t", 0, leader(2, 6), Some(&at(1))));
        assert_eq!(snapshot.leader("t", 0), Ok(leader(2, 6)));
        assert_eq!(snapshot.brokers.get(&2), Some(&at(1)));
        assert!(snapshot.version > version);
        assert!(snapshot.set_leader("t", 0, leader(1, 7), None));
    }

    #[test]
    fn a_learned_broker_stays_until_metadata_names_it_or_another_one_leads() {
        let mut snapshot = Snapshot::default();
        let learned = Endpoint::named("h", 1).unwrap();
        let leader = |node, epoch| Leader { node, epoch };
        snapshot.update(&response(1, 5, 7), all);
        snapshot.set_leader("t", 0, leader(2, 6), Some(&learned));
        // From a broker that lags behind, and one about another topic.
        snapshot.update(&response(1, 5, 7), all);
        snapshot.update(&without_topics(response(1, 5, 7)), all);
        assert_eq!(snapshot.leader("t", 0), Ok(leader(2, 6)));
        assert_eq!(snapshot.brokers.get(&2), Some(&learned));
        snapshot.update(&response(2, 6, 7), all);
        assert_eq!(
            snapshot.brokers.get(&2),
            Endpoint::named("h", 9092).as_ref()
        );
        snapshot.set_leader("t", 0, leader(3, 7), Some(&learned));
        snapshot.update(&response(1, 8, 7), all);
        assert!(!snapshot.brokers.contains_key(&3));
    }

    #[test]
    fn no_leader_and_no_partition_are_told_apart() {
        let mut snapshot = Snapshot::default();
        snapshot.update(&response(-1, 5, 7), all);
        assert_eq!(
            snapshot.leader("t", 0),
            Err(ErrorCode::LEADER_NOT_AVAILABLE)
        );
        assert_eq!(
            snapshot.leader("t", 1),
            Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        );
        assert_eq!(
            snapshot.leader("x", 0),
            Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        );
    }

    #[test]
    fn an_error_of_a_broker_that_lags_behind_does_not_let_older_leaders_in() {
        let mut snapshot = Snapshot::default();
        snapshot.update(&response(1, 5, 7), all);
        let mut unknown = response(1, 0, 0);
        unknown.topics[0].error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        unknown.topics[0].partitions.clear();
        snapshot.update(&unknown, all);
        assert!(snapshot.is_unknown("t", 0));
        let both = [response(1, 0, 7).brokers, response(2, 0, 7).brokers].concat();
        snapshot.update(&with_brokers(both, response(2, 4, 7)), all);
        assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 1, epoch: 5 }));
    }

    #[test]
    fn a_topic_that_was_made_again_never_becomes_the_old_one() {
        let mut snapshot = Snapshot::default();
        snapshot.update(&response(1, 5, 7), all);
        let old = snapshot.topic_id("t");
        snapshot.update(&response(1, 0, 8), all);
        let new = snapshot.topic_id("t");
        assert!(new.is_some() && new != old);
        // From a broker that lags behind, and from one that is too old to tell.
        snapshot.update(&response(1, 6, 7), all);
        snapshot.update(&response(1, 1, 0), all);
        assert_eq!(snapshot.topic_id("t"), new);
        assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 1, epoch: 1 }));
    }

    #[test]
    fn topics_that_nobody_is_interested_in_are_not_kept() {
        let mut snapshot = Snapshot::default();
        snapshot.update(&response(1, 5, 7), |name| name != "t");
        assert!(snapshot.topics.is_empty());
        snapshot.update(&response(1, 5, 7), all);
        assert!(snapshot.leader("t", 0).is_ok());
        snapshot.update(&without_topics(response(1, 5, 7)), |_| false);
        assert!(snapshot.topics.is_empty());
    }
}
