//! OffsetCommit: stores how far a group has got.

use std::collections::HashSet;

use super::{by_topic, group_id, text, topic_name, Api, ApiError, Membership};
use crate::error::ErrorCode;
use crate::shape::build::{fields, int16, int32, list, string, uuid};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{ApiKey, OffsetCommitRequest, OffsetCommitResponse};

/// This API.
// 10 names topics by their ids.
pub const API: Api = Api::new(
    ("OffsetCommit", ApiKey::OffsetCommit),
    (2, 10),
    8,
    fields(&[
        int32("throttle_time_ms").since(3),
        list(
            "topics",
            &fields(&[
                string("name").until(9),
                uuid("topic_id").since(10),
                list(
                    "partitions",
                    &fields(&[int32("partition_index"), int16("error_code")]),
                ),
            ]),
        ),
    ]),
)
.up_to(9);

/// First version that knows static members (KIP-345).
const STATIC_MEMBERS: i16 = 7;

/// Last version that carries a retention time.
const LAST_WITH_RETENTION: i16 = 4;

/// One offset to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit<'a> {
    /// Topic of the partition.
    pub topic: &'a str,
    /// Number of the partition.
    pub partition: i32,
    /// The next offset to consume.
    pub offset: i64,
    /// Stored along with it.
    pub metadata: &'a str,
}

/// The version to commit in: the newest one that is spoken by both, but one that carries a retention
/// time where the user wants one (`retention_ms` is not negative) and the broker still takes it.
/// `oldest`: the broker's.
pub fn version_for(newest: i16, oldest: i16, member: &Membership<'_>, retention_ms: i64) -> i16 {
    let wanted = retention_ms >= 0 && member.instance_id.is_none();
    if wanted && oldest <= LAST_WITH_RETENTION {
        return newest.min(LAST_WITH_RETENTION);
    }
    newest
}

/// Commits offsets of `member`'s group. Versions without a retention time drop it.
pub fn request<'a>(
    version: i16,
    member: &Membership<'_>,
    retention_ms: i64,
    offsets: impl IntoIterator<Item = Commit<'a>>,
) -> Result<OffsetCommitRequest, ApiError> {
    let parts = offsets.into_iter().map(|commit| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(commit.partition)
            .with_committed_offset(commit.offset)
            .with_committed_metadata(Some(text(commit.metadata)));
        (commit.topic, partition)
    });
    let topics = by_topic(parts).into_iter().map(|(topic, partitions)| {
        OffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions)
    });
    Ok(OffsetCommitRequest::default()
        .with_group_id(group_id(member.group_id))
        .with_generation_id_or_member_epoch(member.generation)
        .with_member_id(text(member.member_id))
        .with_group_instance_id(member.instance_id(version, STATIC_MEMBERS)?)
        .with_retention_time_ms(retention_ms)
        .with_topics(topics.collect()))
}

/// The partitions that the broker refused one by one, of those that it was `asked` for. An error about the member or the group is
/// the request's.
pub fn read<'a>(
    response: &OffsetCommitResponse,
    asked: impl IntoIterator<Item = (&'a str, i32)>,
) -> Result<Vec<(String, i32, ErrorCode)>, ApiError> {
    let mut refused = Vec::new();
    let mut answered = HashSet::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            answered.insert((topic.name.as_str(), partition.partition_index));
            let code = ErrorCode(partition.error_code);
            if code.concerns_group() {
                return Err(code.into());
            }
            if !code.is_ok() {
                refused.push((topic.name.to_string(), partition.partition_index, code));
            }
        }
    }
    ApiError::check_complete(API.name, asked, &answered)?;
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use kafka_protocol::messages::offset_commit_response::{
        OffsetCommitResponsePartition, OffsetCommitResponseTopic,
    };

    const MEMBER: Membership<'static> = Membership {
        group_id: "g",
        instance_id: None,
        member_id: "m",
        generation: 4,
    };

    fn commit(topic: &str, partition: i32, offset: i64) -> Commit<'_> {
        Commit {
            topic,
            partition,
            offset,
            metadata: "words",
        }
    }

    #[test]
    fn offsets_are_gathered_by_topic_in_every_version() {
        let offsets = [commit("a", 0, 7), commit("b", 0, 8), commit("a", 1, 9)];
        for version in versions::<OffsetCommitRequest>() {
            let read = as_read(&request(version, &MEMBER, 60, offsets).unwrap(), version);
            assert_eq!(
                (read.group_id.as_str(), read.member_id.as_str()),
                ("g", "m")
            );
            assert_eq!(read.generation_id_or_member_epoch, 4);
            let retention = if version <= LAST_WITH_RETENTION {
                60
            } else {
                -1
            };
            assert_eq!(read.retention_time_ms, retention, "version {version}");
            assert_eq!(read.topics.len(), 2);
            let partitions = &read.topics[0].partitions;
            assert_eq!(partitions[1].partition_index, 1);
            assert_eq!(partitions[1].committed_offset, 9);
            assert_eq!(partitions[1].committed_metadata.as_deref(), Some("words"));
        }
    }

    #[test]
    fn a_retention_time_goes_to_brokers_that_take_one() {
        let fixed = Membership {
            instance_id: Some("i"),
            ..MEMBER
        };
        assert_eq!(version_for(9, 0, &MEMBER, 60), 4);
        assert_eq!(version_for(3, 0, &MEMBER, 60), 3);
        assert_eq!(version_for(9, 5, &MEMBER, 60), 9);
        assert_eq!(version_for(9, 0, &MEMBER, -1), 9);
        assert_eq!(version_for(9, 0, &fixed, 60), 9);
    }

    #[test]
    fn refusals_are_a_partitions_or_the_groups() {
        let answer = |version, code: ErrorCode| {
            let partition = OffsetCommitResponsePartition::default()
                .with_partition_index(3)
                .with_error_code(code.0);
            let topic = OffsetCommitResponseTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![partition]);
            let response = OffsetCommitResponse::default().with_topics(vec![topic]);
            let response = over_the_wire::<OffsetCommitRequest>(&response, version);
            read(&response, [("t", 3)])
        };
        for version in versions::<OffsetCommitRequest>() {
            assert_eq!(answer(version, ErrorCode::NO_ERROR), Ok(vec![]));
            let code = ErrorCode::OFFSET_METADATA_TOO_LARGE;
            assert_eq!(answer(version, code), Ok(vec![("t".into(), 3, code)]));
            let code = ErrorCode::ILLEGAL_GENERATION;
            assert_eq!(answer(version, code), Err(code.into()));
        }
    }

    #[test]
    fn an_offset_of_which_nothing_is_said_may_not_be_committed() {
        let lacks = Err(ApiError::lacks("OffsetCommit", "t-3"));
        assert_eq!(read(&OffsetCommitResponse::default(), [("t", 3)]), lacks);
    }
}
