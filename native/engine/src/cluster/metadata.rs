//! What is known of the cluster: brokers, topics, partition leaders. A plain value, no I/O.

use std::collections::HashMap;

use kafka_protocol::messages::MetadataResponse;

use crate::net::Endpoint;
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
}

/// One topic as the brokers last described it.
#[derive(Debug, Clone)]
pub struct TopicInfo {
    /// Kafka's error code for the topic.
    pub error: ErrorCode,
    /// All zero where the broker is too old to tell.
    pub id: [u8; 16],
    /// By partition number.
    pub partitions: HashMap<i32, PartitionInfo>,
}

/// The cluster as last seen.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// By node id.
    pub brokers: HashMap<NodeId, Endpoint>,
    /// -1 unknown.
    pub controller: NodeId,
    /// By name; only topics that were asked for.
    pub topics: HashMap<String, TopicInfo>,
    /// Counts the updates.
    pub version: u64,
    /// Those of `brokers` that a response named as leaders and that metadata does not name yet.
    pub learned: HashMap<NodeId, Endpoint>,
}

impl Snapshot {
    /// The partition's leader, or the error that says why there is none to turn to.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<Leader, ErrorCode> {
        let Some(info) = self.topics.get(topic) else {
            return Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
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

    /// True when the brokers said that there is no such topic or partition, as opposed to not
    /// having been asked yet.
    pub fn is_unknown(&self, topic: &str, partition: i32) -> bool {
        self.topics.contains_key(topic)
            && self.leader(topic, partition) == Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// Takes in an answer. `complete`: it lists every topic, so the ones it lacks are gone.
    ///
    /// A leader of an older epoch than the one known is ignored: the answer comes from a broker
    /// that lags behind (KIP-320). A topic with a new id was created again and starts over.
    pub fn update(&mut self, response: &MetadataResponse, complete: bool) {
        self.version += 1;
        self.controller = response.controller_id.0;
        if complete {
            self.topics.clear();
        }
        for topic in &response.topics {
            let Some(name) = &topic.name else { continue };
            let id = *topic.topic_id.as_bytes();
            let known = self
                .topics
                .get(name.as_str())
                .filter(|known| known.id == id);
            let partitions = topic
                .partitions
                .iter()
                .map(|p| {
                    let leader = (p.leader_id.0 >= 0).then_some(Leader {
                        node: p.leader_id.0,
                        epoch: p.leader_epoch,
                    });
                    let mut info = PartitionInfo {
                        leader,
                        error: ErrorCode(p.error_code),
                    };
                    if let Some(old) = known.and_then(|k| k.partitions.get(&p.partition_index)) {
                        if is_older(leader, old.leader) {
                            info = *old;
                        }
                    }
                    (p.partition_index, info)
                })
                .collect();
            let info = TopicInfo {
                error: ErrorCode(topic.error_code),
                id,
                partitions,
            };
            self.topics.insert(name.to_string(), info);
        }
        if !response.brokers.is_empty() {
            self.set_brokers(response);
        }
    }

    fn set_brokers(&mut self, response: &MetadataResponse) {
        let named = response.brokers.iter().filter_map(|broker| {
            let endpoint = Endpoint::named(&broker.host, broker.port)?;
            Some((broker.node_id.0, endpoint))
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
        let Some(info) = self
            .topics
            .get_mut(topic)
            .and_then(|t| t.partitions.get_mut(&partition))
        else {
            return false;
        };
        let known = self.brokers.get(&leader.node);
        if endpoint.or(known).is_none() || info.leader.is_some_and(|old| old.epoch >= leader.epoch)
        {
            return false;
        }
        info.leader = Some(leader);
        if let Some(endpoint) = endpoint.filter(|endpoint| known != Some(endpoint)) {
            self.brokers.insert(leader.node, endpoint.clone());
            self.learned.insert(leader.node, endpoint.clone());
        }
        self.version += 1;
        true
    }
}

fn is_older(new: Option<Leader>, old: Option<Leader>) -> bool {
    matches!((new, old), (Some(new), Some(old)) if new.epoch >= 0 && new.epoch < old.epoch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };
    use kafka_protocol::messages::{BrokerId, TopicName};
    use kafka_protocol::protocol::StrBytes;

    fn response(node: i32, epoch: i32, id: u128) -> MetadataResponse {
        let partition = MetadataResponsePartition::default()
            .with_partition_index(0)
            .with_leader_id(BrokerId(node))
            .with_leader_epoch(epoch);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
            .with_topic_id(format!("{id:032x}").parse().unwrap())
            .with_partitions(vec![partition]);
        let broker = MetadataResponseBroker::default()
            .with_node_id(BrokerId(node))
            .with_host(StrBytes::from_static_str("h"))
            .with_port(9092);
        MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_topics(vec![topic])
    }

    #[test]
    fn a_leader_of_an_older_epoch_is_ignored_unless_the_topic_is_new() {
        let mut snapshot = Snapshot::default();
        snapshot.update(&response(1, 5, 7), false);
        let both = [response(1, 0, 7).brokers, response(2, 0, 7).brokers].concat();
        snapshot.update(&response(2, 4, 7).with_brokers(both), false);
        assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 1, epoch: 5 }));
        snapshot.update(&response(2, 0, 8), false);
        assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 2, epoch: 0 }));
    }

    #[test]
    fn a_leader_that_is_no_broker_any_more_is_none() {
        let mut snapshot = Snapshot::default();
        snapshot.update(&response(1, 5, 7), false);
        snapshot.update(&response(2, 5, 7).with_topics(Vec::new()), false);
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
        snapshot.update(&response(1, 5, 7), false);
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
        snapshot.update(&response(1, 5, 7), false);
        snapshot.set_leader("t", 0, leader(2, 6), Some(&learned));
        // From a broker that lags behind, and one about another topic.
        snapshot.update(&response(1, 5, 7), false);
        snapshot.update(&response(1, 5, 7).with_topics(Vec::new()), false);
        assert_eq!(snapshot.leader("t", 0), Ok(leader(2, 6)));
        assert_eq!(snapshot.brokers.get(&2), Some(&learned));
        snapshot.update(&response(2, 6, 7), false);
        assert_eq!(
            snapshot.brokers.get(&2),
            Endpoint::named("h", 9092).as_ref()
        );
        snapshot.set_leader("t", 0, leader(3, 7), Some(&learned));
        snapshot.update(&response(1, 8, 7), false);
        assert!(!snapshot.brokers.contains_key(&3));
    }

    #[test]
    fn no_leader_and_no_partition_are_told_apart() {
        let mut snapshot = Snapshot::default();
        snapshot.update(&response(-1, 5, 7), false);
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
}
