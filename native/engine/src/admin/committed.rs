//! The offsets that a group has committed.

use std::time::Duration;

use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};
use kafka_protocol::protocol::StrBytes;

use super::coordinator::{find_coordinator, CoordinatorKind};
use super::retry::Retry;
use super::{call, group_id, topic_name};
use crate::cluster::{Cluster, Purpose};
use crate::error::{check, Error};
use brod_protocol::error::ErrorCode;

/// A group's committed offsets in one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedTopic {
    /// The topic.
    pub name: String,
    /// In the order of the broker's answer.
    pub partitions: Vec<CommittedOffset>,
}

/// A group's committed offset in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The partition.
    pub partition: i32,
    /// -1: nothing is committed.
    pub offset: i64,
    /// What was committed with the offset.
    pub metadata: String,
    /// The partition's own error.
    pub error: ErrorCode,
}

/// The offsets that `group` has committed, in the partitions named or (`None`) in all.
pub async fn offset_fetch(
    cluster: &Cluster,
    group: &str,
    partitions: Option<&[(String, Vec<i32>)]>,
    limit: Duration,
) -> Result<Vec<CommittedTopic>, Error> {
    let mut retry = Retry::within(limit);
    loop {
        let (node, _) = find_coordinator(cluster, CoordinatorKind::Group, group, limit).await?;
        let attempt = async {
            let connection = cluster.connection(node, Purpose::Main).await?;
            let request = |version| request(version, group, partitions);
            committed(call(cluster, &connection, request).await?)
        };
        match attempt.await {
            Ok(topics) => return Ok(topics),
            Err(error) => retry.after(error).await?,
        }
    }
}

/// Up to version 7 there is one group, later a list of groups in another field.
fn request(
    version: i16,
    group: &str,
    partitions: Option<&[(String, Vec<i32>)]>,
) -> OffsetFetchRequest {
    if version <= 7 {
        let topic = |(name, partitions): &(String, Vec<i32>)| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(name))
                .with_partition_indexes(partitions.clone())
        };
        return OffsetFetchRequest::default()
            .with_group_id(group_id(group))
            .with_topics(partitions.map(|topics| topics.iter().map(topic).collect()));
    }
    let topic = |(name, partitions): &(String, Vec<i32>)| {
        OffsetFetchRequestTopics::default()
            .with_name(topic_name(name))
            .with_partition_indexes(partitions.clone())
    };
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(group))
        .with_topics(partitions.map(|topics| topics.iter().map(topic).collect()));
    OffsetFetchRequest::default().with_groups(vec![group])
}

/// As the request, the answer has two shapes.
fn committed(response: OffsetFetchResponse) -> Result<Vec<CommittedTopic>, Error> {
    let text = |text: Option<StrBytes>| text.map(|text| text.to_string()).unwrap_or_default();
    let Some(group) = response.groups.into_iter().next() else {
        check(response.error_code)?;
        let topics = response.topics.into_iter().map(|topic| CommittedTopic {
            name: topic.name.to_string(),
            partitions: topic
                .partitions
                .into_iter()
                .map(|p| CommittedOffset {
                    partition: p.partition_index,
                    offset: p.committed_offset,
                    metadata: text(p.metadata),
                    error: ErrorCode(p.error_code),
                })
                .collect(),
        });
        return Ok(topics.collect());
    };
    check(group.error_code)?;
    let topics = group.topics.into_iter().map(|topic| CommittedTopic {
        name: topic.name.to_string(),
        partitions: topic
            .partitions
            .into_iter()
            .map(|p| CommittedOffset {
                partition: p.partition_index,
                offset: p.committed_offset,
                metadata: text(p.metadata),
                error: ErrorCode(p.error_code),
            })
            .collect(),
    });
    Ok(topics.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::string;
    use brod_protocol::encode;
    use kafka_protocol::messages::offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    };
    use kafka_protocol::protocol::Decodable;

    type Topics = Vec<(String, Vec<i32>)>;

    fn asked(read: &OffsetFetchRequest) -> (String, Option<Topics>) {
        match read.groups.first() {
            Some(group) => {
                let topics = group.topics.as_ref().map(|topics| {
                    let named = topics.iter();
                    named
                        .map(|topic| (topic.name.to_string(), topic.partition_indexes.clone()))
                        .collect()
                });
                (group.group_id.to_string(), topics)
            }
            None => {
                let topics = read.topics.as_ref().map(|topics| {
                    let named = topics.iter();
                    named
                        .map(|topic| (topic.name.to_string(), topic.partition_indexes.clone()))
                        .collect()
                });
                (read.group_id.to_string(), topics)
            }
        }
    }

    #[test]
    fn group_and_partitions_are_asked_for_in_every_version() {
        let some = vec![("t".to_owned(), vec![0, 2])];
        for version in 1..=9 {
            let mut bytes = encode(&request(version, "g", Some(&some)), version).unwrap();
            let read = OffsetFetchRequest::decode(&mut bytes, version).unwrap();
            assert_eq!(asked(&read), ("g".to_owned(), Some(some.clone())));
        }
        for version in 2..=9 {
            let mut bytes = encode(&request(version, "g", None), version).unwrap();
            let read = OffsetFetchRequest::decode(&mut bytes, version).unwrap();
            assert_eq!(asked(&read), ("g".to_owned(), None));
        }
    }

    #[test]
    fn both_shapes_of_the_answer_are_read() {
        let old = OffsetFetchResponsePartition::default()
            .with_partition_index(1)
            .with_committed_offset(4)
            .with_metadata(Some(string("m")));
        let old = OffsetFetchResponseTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![old]);
        let old = OffsetFetchResponse::default().with_topics(vec![old]);
        let new = OffsetFetchResponsePartitions::default()
            .with_partition_index(1)
            .with_committed_offset(4)
            .with_metadata(Some(string("m")));
        let new = OffsetFetchResponseTopics::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![new]);
        let new = OffsetFetchResponseGroup::default().with_topics(vec![new]);
        let new = OffsetFetchResponse::default().with_groups(vec![new]);
        let expected = vec![CommittedTopic {
            name: "t".into(),
            partitions: vec![CommittedOffset {
                partition: 1,
                offset: 4,
                metadata: "m".into(),
                error: ErrorCode::NO_ERROR,
            }],
        }];
        assert_eq!(committed(old), Ok(expected.clone()));
        assert_eq!(committed(new), Ok(expected));
    }

    #[test]
    fn an_error_of_the_group_is_an_error_in_both_shapes() {
        let code = ErrorCode::NOT_COORDINATOR;
        let group = OffsetFetchResponseGroup::default().with_error_code(code.0);
        for response in [
            OffsetFetchResponse::default().with_error_code(code.0),
            OffsetFetchResponse::default().with_groups(vec![group]),
        ] {
            assert_eq!(committed(response), Err(code.into()));
        }
    }
}
