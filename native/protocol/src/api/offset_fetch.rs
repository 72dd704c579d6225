//! OffsetFetch: how far a group has got.

use std::collections::HashSet;

use super::{check, group_id, owned, topic_name, Api, ApiError};
use crate::error::ErrorCode;
use crate::shape::build::{fields, int16, int32, int64, list, nullable_string, string, uuid};
use crate::shape::Fields;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{ApiKey, OffsetFetchRequest, OffsetFetchResponse};

/// This API.
// 10 names topics by their ids.
pub const API: Api = Api::new(
    ("OffsetFetch", ApiKey::OffsetFetch),
    (1, 10),
    6,
    fields(&[
        int32("throttle_time_ms").since(3),
        list(
            "topics",
            &fields(&[string("name"), list("partitions", &FETCHED_OFFSET)]),
        )
        .until(7),
        int16("error_code").since(2).until(7),
        list(
            "groups",
            &fields(&[
                string("group_id"),
                list(
                    "topics",
                    &fields(&[
                        string("name").until(9),
                        uuid("topic_id").since(10),
                        list("partitions", &FETCHED_OFFSET),
                    ]),
                ),
                int16("error_code"),
            ]),
        )
        .since(8),
    ]),
)
.up_to(9);

const FETCHED_OFFSET: Fields = fields(&[
    int32("partition_index"),
    int64("committed_offset"),
    int32("committed_leader_epoch").since(5),
    nullable_string("metadata"),
    int16("error_code"),
]);

/// From this version on there is a list of groups, in another field.
const LISTS: i16 = 8;

/// First version that can wait for offsets of transactions that are still open (KIP-447).
const STABLE: i16 = 7;

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

/// Asks for the offsets that `group` has committed, in the partitions named or (`None`, from version 2
/// on) in all. `stable`: offsets of open transactions are an error and not left out, where the broker
/// knows the difference.
pub fn request(
    version: i16,
    group: &str,
    partitions: Option<&[(String, Vec<i32>)]>,
    stable: bool,
) -> OffsetFetchRequest {
    let request = OffsetFetchRequest::default().with_require_stable(stable && version >= STABLE);
    if version < LISTS {
        let topic = |(name, partitions): &(String, Vec<i32>)| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(name))
                .with_partition_indexes(partitions.clone())
        };
        return request
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
    request.with_groups(vec![group])
}

/// What the group that was asked for has committed.
pub fn read(version: i16, response: OffsetFetchResponse) -> Result<Vec<CommittedTopic>, ApiError> {
    if version < LISTS {
        check(response.error_code)?;
        let topics = response.topics.into_iter().map(|topic| CommittedTopic {
            name: topic.name.to_string(),
            partitions: topic
                .partitions
                .into_iter()
                .map(|p| CommittedOffset {
                    partition: p.partition_index,
                    offset: p.committed_offset,
                    metadata: owned(p.metadata),
                    error: ErrorCode(p.error_code),
                })
                .collect(),
        });
        return Ok(topics.collect());
    }
    let group = response.groups.into_iter().next();
    let group = group.ok_or_else(|| ApiError::lacks(API.name, "the group"))?;
    check(group.error_code)?;
    let topics = group.topics.into_iter().map(|topic| CommittedTopic {
        name: topic.name.to_string(),
        partitions: topic
            .partitions
            .into_iter()
            .map(|p| CommittedOffset {
                partition: p.partition_index,
                offset: p.committed_offset,
                metadata: owned(p.metadata),
                error: ErrorCode(p.error_code),
            })
            .collect(),
    });
    Ok(topics.collect())
}

/// Whether all partitions that it was `asked` for are among those `found`: of one that is missing nobody knows whether an
/// offset is committed.
pub fn check_complete(
    found: &[CommittedTopic],
    asked: &[(String, Vec<i32>)],
) -> Result<(), ApiError> {
    let mut answered = HashSet::new();
    for topic in found {
        let partitions = topic.partitions.iter();
        answered.extend(partitions.map(|p| (topic.name.as_str(), p.partition)));
    }
    let asked = asked.iter().flat_map(|(topic, partitions)| {
        let partitions = partitions.iter();
        partitions.map(|partition| (topic.as_str(), *partition))
    });
    ApiError::check_complete(API.name, asked, &answered)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::super::text;
    use super::*;
    use kafka_protocol::messages::offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    };

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
        for version in versions::<OffsetFetchRequest>() {
            let read = as_read(&request(version, "g", Some(&some), true), version);
            assert_eq!(asked(&read), ("g".to_owned(), Some(some.clone())));
            assert_eq!(read.require_stable, version >= STABLE);
            if version >= 2 {
                let read = as_read(&request(version, "g", None, false), version);
                assert_eq!(asked(&read), ("g".to_owned(), None));
                assert!(!read.require_stable);
            }
        }
    }

    fn answer(version: i16, group: ErrorCode, partition: ErrorCode) -> OffsetFetchResponse {
        let response = if version < LISTS {
            let partition = OffsetFetchResponsePartition::default()
                .with_partition_index(1)
                .with_committed_offset(4)
                .with_metadata(Some(text("m")))
                .with_error_code(partition.0);
            let topic = OffsetFetchResponseTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![partition]);
            OffsetFetchResponse::default()
                .with_error_code(group.0)
                .with_topics(vec![topic])
        } else {
            let partition = OffsetFetchResponsePartitions::default()
                .with_partition_index(1)
                .with_committed_offset(4)
                .with_metadata(Some(text("m")))
                .with_error_code(partition.0);
            let topic = OffsetFetchResponseTopics::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![partition]);
            let group = OffsetFetchResponseGroup::default()
                .with_error_code(group.0)
                .with_topics(vec![topic]);
            OffsetFetchResponse::default().with_groups(vec![group])
        };
        over_the_wire::<OffsetFetchRequest>(&response, version)
    }

    #[test]
    fn a_partition_of_which_nothing_is_said_may_have_an_offset() {
        let (ok, bad) = (ErrorCode::NO_ERROR, ErrorCode::UNSTABLE_OFFSET_COMMIT);
        for version in versions::<OffsetFetchRequest>() {
            let found = read(version, answer(version, ok, bad)).unwrap();
            let asked = |partitions| check_complete(&found, &[("t".to_owned(), partitions)]);
            assert_eq!(asked(vec![1]), Ok(()));
            assert_eq!(
                asked(vec![1, 2]),
                Err(ApiError::lacks("OffsetFetch", "t-2"))
            );
        }
    }

    #[test]
    fn offsets_and_errors_are_read_in_every_version() {
        let (ok, bad) = (ErrorCode::NO_ERROR, ErrorCode::UNSTABLE_OFFSET_COMMIT);
        for version in versions::<OffsetFetchRequest>() {
            for error in [ok, bad] {
                let expected = vec![CommittedTopic {
                    name: "t".into(),
                    partitions: vec![CommittedOffset {
                        partition: 1,
                        offset: 4,
                        metadata: "m".into(),
                        error,
                    }],
                }];
                assert_eq!(read(version, answer(version, ok, error)), Ok(expected));
            }
            if version >= 2 {
                let code = ErrorCode::NOT_COORDINATOR;
                let refused = read(version, answer(version, code, ok));
                assert_eq!(refused, Err(code.into()), "version {version}");
            }
        }
        let nothing = read(LISTS, OffsetFetchResponse::default());
        assert!(matches!(nothing, Err(ApiError::Malformed(_))));
    }
}
