//! Metadata: brokers, topics, and who leads which partition.

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};

use super::text;
use crate::call::{Answer, Call, Connection};
use crate::cluster::{Cluster, CLUSTER_ID};
use crate::topics::{check_name, Partition, Topic};

/// What somebody may do with a topic where there are no ACLs, as bits of Kafka's AclOperation (KIP-430): read, write,
/// create, delete, alter, describe, describe_configs, alter_configs.
const ALL_OF_A_TOPIC: i32 = 0b1101_1111_1000;
/// The same of the cluster: create, alter, describe, cluster_action, describe_configs, alter_configs, idempotent_write.
const ALL_OF_THE_CLUSTER: i32 = 0b1_1111_1010_0000;

pub(crate) fn handle(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: MetadataRequest,
) -> Answer<MetadataResponse> {
    let wanted = match request.topics {
        // Before version 1 an empty list says all.
        Some(topics) if call.version == 0 && topics.is_empty() => None,
        topics => topics,
    };
    let operations = match request.include_topic_authorized_operations {
        true => ALL_OF_A_TOPIC,
        false => i32::MIN,
    };
    let of_cluster = match request.include_cluster_authorized_operations {
        true => ALL_OF_THE_CLUSTER,
        false => i32::MIN,
    };
    let create = cluster.config.auto_create_topics
        && (call.version < 4 || request.allow_auto_topic_creation);
    let mut topics: Vec<_> = match wanted {
        None => {
            let all = cluster.topics.iter();
            all.map(|(name, topic)| describe(cluster, call, name, topic))
                .collect()
        }
        Some(wanted) => {
            let answers = wanted
                .iter()
                .map(|topic| of_wanted(cluster, call, topic, create));
            answers.collect()
        }
    };
    for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
        topic.topic_authorized_operations = operations;
    }
    let brokers = cluster.brokers.iter().filter(|(_, broker)| broker.running);
    let brokers = brokers.map(|(id, broker)| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(*id))
            .with_host(text(&broker.host))
            .with_port(broker.port.into())
    });
    Answer::Now(
        MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(text(CLUSTER_ID)))
            .with_controller_id(BrokerId(cluster.controller().unwrap_or(-1)))
            .with_cluster_authorized_operations(of_cluster)
            .with_topics(topics),
    )
}

fn of_wanted(
    cluster: &mut Cluster,
    call: &Call,
    wanted: &MetadataRequestTopic,
    create: bool,
) -> MetadataResponseTopic {
    let refused = |code: ErrorCode| {
        MetadataResponseTopic::default()
            .with_error_code(code.0)
            .with_name(wanted.name.clone())
            .with_topic_id(wanted.topic_id)
    };
    let name = match &wanted.name {
        Some(name) => name.to_string(),
        None => match cluster.topics.name_of(wanted.topic_id) {
            Some(name) => name.to_owned(),
            None => return refused(ErrorCode::UNKNOWN_TOPIC_ID),
        },
    };
    if let Some(topic) = cluster.topics.get(&name) {
        return describe(cluster, call, &name, topic);
    }
    if check_name(&name).is_err() {
        return refused(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if !create {
        return refused(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let partitions = cluster.config.default_partitions;
    cluster.create_topic(&name, partitions, 0, Default::default());
    // As a broker says that has just asked for the topic: the client asks again.
    refused(ErrorCode::LEADER_NOT_AVAILABLE)
}

fn describe(cluster: &Cluster, call: &Call, name: &str, topic: &Topic) -> MetadataResponseTopic {
    let indexed = (0..).zip(&topic.partitions);
    let partitions = indexed.map(|(index, partition)| of_partition(cluster, index, partition));
    let code = call.refused_for(name, -1).or_else(|| call.refused());
    MetadataResponseTopic::default()
        .with_error_code(code.map_or(0, |code| code.0))
        .with_name(Some(TopicName(text(name))))
        .with_topic_id(topic.id)
        .with_is_internal(name.starts_with("__"))
        .with_partitions(partitions.collect())
}

fn of_partition(cluster: &Cluster, index: i32, partition: &Partition) -> MetadataResponsePartition {
    let runs = |id: &i32| cluster.brokers.get(id).is_some_and(|broker| broker.running);
    let ids = |ids: Vec<i32>| ids.into_iter().map(BrokerId).collect();
    let (up, down): (Vec<i32>, Vec<i32>) = partition.replicas.iter().partition(|id| runs(id));
    let code = match partition.leader {
        Some(_) => ErrorCode::default(),
        None => ErrorCode::LEADER_NOT_AVAILABLE,
    };
    MetadataResponsePartition::default()
        .with_error_code(code.0)
        .with_partition_index(index)
        .with_leader_id(BrokerId(partition.leader.unwrap_or(-1)))
        .with_leader_epoch(partition.leader_epoch)
        .with_replica_nodes(ids(partition.replicas.clone()))
        .with_isr_nodes(ids(up))
        .with_offline_replicas(ids(down))
}
