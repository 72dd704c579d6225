//! Metadata: brokers, topics, leaders.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, MetadataRequest, MetadataResponse};

use super::{check, topic_name, Api, ApiError, LONGEST};
use crate::error::ErrorCode;
use crate::shape::build::{
    bool, fields, int16, int32, int32s, list, nullable_string, string, uuid,
};
use crate::shape::Fields;

/// This API.
pub const API: Api = Api::new(
    ("Metadata", ApiKey::Metadata),
    (0, 13),
    9,
    fields(&[
        int32("throttle_time_ms").since(3),
        list(
            "brokers",
            &fields(&[
                int32("node_id"),
                string("host"),
                int32("port"),
                nullable_string("rack").since(1),
            ]),
        ),
        nullable_string("cluster_id").since(2),
        int32("controller_id").since(1),
        list(
            "topics",
            &fields(&[
                int16("error_code"),
                nullable_string("name"),
                uuid("topic_id").since(10),
                bool("is_internal").since(1),
                list("partitions", &METADATA_PARTITION),
                int32("topic_authorized_operations").since(8),
            ]),
        ),
        int32("cluster_authorized_operations").since(8).until(10),
        int16("error_code").since(13),
    ]),
)
.answers(LONGEST);

const METADATA_PARTITION: Fields = fields(&[
    int16("error_code"),
    int32("partition_index"),
    int32("leader_id"),
    int32("leader_epoch").since(7),
    int32s("replica_nodes"),
    int32s("isr_nodes"),
    int32s("offline_replicas").since(5),
]);

/// First version that can ask for all topics by a null list; before, an empty list meant them.
const NULL_IS_ALL: i16 = 1;

/// First version in which a client can say that no topic is to be created.
const NO_CREATION: i16 = 4;

/// First version whose leader epochs are true. Brokers up to Kafka 2.3 name ones that the leaders refuse (KAFKA-9212), and
/// services that are not Kafka put something there of which nobody makes use.
const TRUE_EPOCHS: i16 = 9;

/// Asks for the brokers, and for topics: those named, or (`None`) all. `auto_create`: a topic that does
/// not exist is created, if the broker is configured so; brokers before Kafka 0.11 do it in any case.
pub fn request(version: i16, topics: Option<&[String]>, auto_create: bool) -> MetadataRequest {
    let named = topics.map(|topics| {
        let by_name =
            |name: &String| MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        topics.iter().map(by_name).collect::<Vec<_>>()
    });
    let named = match version {
        NULL_IS_ALL.. => named,
        _ => Some(named.unwrap_or_default()),
    };
    MetadataRequest::default()
        .with_topics(named)
        .with_allow_auto_topic_creation(auto_create || version < NO_CREATION)
}

/// What a broker knows of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Those that are alive.
    pub brokers: Vec<Broker>,
    /// From version 2 on.
    pub cluster_id: Option<String>,
    /// Its node id; -1: not known.
    pub controller: i32,
    /// Those that were asked for.
    pub topics: Vec<Topic>,
}

/// A broker, and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its node id.
    pub node: i32,
    /// As the broker advertises it.
    pub host: String,
    /// May be none: it is a number of 32 bits on the wire.
    pub port: i32,
    /// Where it stands, if that is told.
    pub rack: Option<String>,
}

/// A topic, or why there is nothing to say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Of the topic as a whole.
    pub error: ErrorCode,
    /// None only for one that was asked for by its id.
    pub name: Option<String>,
    /// All zeros before version 10 (KIP-516).
    pub id: [u8; 16],
    /// One of Kafka's own.
    pub is_internal: bool,
    /// In the broker's order.
    pub partitions: Vec<Partition>,
}

/// A partition, and the node ids of the brokers that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Of this partition.
    pub error: ErrorCode,
    /// Its number.
    pub partition: i32,
    /// -1: none.
    pub leader: i32,
    /// Since which election (KIP-320); -1 before version 9.
    pub leader_epoch: i32,
    /// All that are to have it.
    pub replicas: Vec<i32>,
    /// Those that have all of it.
    pub in_sync: Vec<i32>,
    /// Those that are down; empty before version 5.
    pub offline: Vec<i32>,
}

/// Reads the answer. From version 13 on a broker may refuse the whole of it:
/// [`ErrorCode::REBOOTSTRAP_REQUIRED`] sends the client back to where it first found the cluster (KIP-1102).
pub fn read(version: i16, response: MetadataResponse) -> Result<Metadata, ApiError> {
    check(response.error_code)?;
    let topic = |told| topic(version, told);
    Ok(Metadata {
        brokers: response.brokers.into_iter().map(broker).collect(),
        cluster_id: response.cluster_id.map(|id| id.to_string()),
        controller: response.controller_id.0,
        topics: response.topics.into_iter().map(topic).collect(),
    })
}

fn broker(broker: MetadataResponseBroker) -> Broker {
    Broker {
        node: broker.node_id.0,
        host: broker.host.to_string(),
        port: broker.port,
        rack: broker.rack.map(|rack| rack.to_string()),
    }
}

fn topic(version: i16, topic: MetadataResponseTopic) -> Topic {
    let partition = |told| partition(version, told);
    Topic {
        error: ErrorCode(topic.error_code),
        name: topic.name.map(|name| name.to_string()),
        id: topic.topic_id.into_bytes(),
        is_internal: topic.is_internal,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    }
}

fn partition(version: i16, partition: MetadataResponsePartition) -> Partition {
    let nodes = |nodes: Vec<BrokerId>| nodes.into_iter().map(|node| node.0).collect();
    Partition {
        error: ErrorCode(partition.error_code),
        partition: partition.partition_index,
        leader: partition.leader_id.0,
        leader_epoch: match version {
            TRUE_EPOCHS.. => partition.leader_epoch,
            _ => -1,
        },
        replicas: nodes(partition.replica_nodes),
        in_sync: nodes(partition.isr_nodes),
        offline: nodes(partition.offline_replicas),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::super::text;
    use super::*;

    #[test]
    fn some_topics_and_all_are_asked_for_in_every_version() {
        for version in versions::<MetadataRequest>() {
            let read = as_read(&request(version, Some(&["t".into()]), false), version);
            let topics = read.topics.unwrap();
            assert_eq!(topics[0].name.as_ref().unwrap().as_str(), "t");
            assert_eq!(read.allow_auto_topic_creation, version < NO_CREATION);
            let all = as_read(&request(version, None, true), version);
            assert!(all.allow_auto_topic_creation);
            assert_eq!(all.topics.is_none(), version >= NULL_IS_ALL);
            if version >= NULL_IS_ALL {
                let none = as_read(&request(version, Some(&[]), false), version);
                assert_eq!(none.topics, Some(vec![]));
            }
        }
    }

    #[test]
    fn brokers_topics_and_partitions_are_read_in_every_version() {
        let unavailable = ErrorCode::LEADER_NOT_AVAILABLE;
        for version in versions::<MetadataRequest>() {
            let since = |first: i16| version >= first;
            let id = if since(10) { [7; 16] } else { [0; 16] };
            let nodes = |nodes: &[i32]| nodes.iter().copied().map(BrokerId).collect::<Vec<_>>();
            let partition = MetadataResponsePartition::default()
                .with_error_code(unavailable.0)
                .with_partition_index(3)
                .with_leader_id(BrokerId(-1))
                .with_leader_epoch(if since(7) { 5 } else { -1 })
                .with_replica_nodes(nodes(&[1, 2]))
                .with_isr_nodes(nodes(&[2]))
                .with_offline_replicas(nodes(if since(5) { &[1] } else { &[] }));
            let topic = MetadataResponseTopic::default()
                .with_name(Some(topic_name("t")))
                .with_topic_id(format!("{:032x}", u128::from_be_bytes(id)).parse().unwrap())
                .with_is_internal(since(1))
                .with_partitions(vec![partition]);
            let broker = MetadataResponseBroker::default()
                .with_node_id(BrokerId(2))
                .with_host(text("h"))
                .with_port(9092)
                .with_rack(since(1).then(|| text("r")));
            let response = MetadataResponse::default()
                .with_brokers(vec![broker])
                .with_cluster_id(since(2).then(|| text("c")))
                .with_controller_id(BrokerId(if since(1) { 2 } else { -1 }))
                .with_topics(vec![topic]);
            let partition = Partition {
                error: unavailable,
                partition: 3,
                leader: -1,
                leader_epoch: if since(9) { 5 } else { -1 },
                replicas: vec![1, 2],
                in_sync: vec![2],
                offline: if since(5) { vec![1] } else { vec![] },
            };
            let topic = Topic {
                error: ErrorCode(0),
                name: Some("t".into()),
                id,
                is_internal: since(1),
                partitions: vec![partition],
            };
            let broker = Broker {
                node: 2,
                host: "h".into(),
                port: 9092,
                rack: since(1).then(|| "r".into()),
            };
            let expected = Metadata {
                brokers: vec![broker],
                cluster_id: since(2).then(|| "c".into()),
                controller: if since(1) { 2 } else { -1 },
                topics: vec![topic],
            };
            let response = over_the_wire::<MetadataRequest>(&response, version);
            assert_eq!(read(version, response), Ok(expected), "version {version}");
        }
    }

    #[test]
    fn a_refusal_of_the_whole_is_read_where_the_version_has_one() {
        let code = ErrorCode::REBOOTSTRAP_REQUIRED;
        let response = MetadataResponse::default().with_error_code(code.0);
        let response = over_the_wire::<MetadataRequest>(&response, 13);
        assert_eq!(read(13, response), Err(code.into()));
    }
}
