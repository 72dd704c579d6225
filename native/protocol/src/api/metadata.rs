//! Metadata: brokers, topics, leaders.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ApiKey, MetadataRequest};

use super::{topic_name, Api, LONGEST};
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

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, versions};
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
}
