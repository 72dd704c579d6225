//! TxnOffsetCommit: offsets that a group has got to once a transaction commits (KIP-98). With the member
//! and its generation, one that has lost its partitions cannot commit (KIP-447).

use std::collections::HashSet;

use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ApiKey, ProducerId as WireId, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

use super::init_producer_id::ProducerId;
use super::offset_commit::Commit;
use super::{by_topic, check, group_id, text, topic_name, Api, ApiError, Membership};
use crate::shape::build::{fields, int16, int32, list, string};

/// This API.
pub const API: Api = Api::new(
    ("TxnOffsetCommit", ApiKey::TxnOffsetCommit),
    (0, 5),
    3,
    fields(&[
        int32("throttle_time_ms"),
        list(
            "topics",
            &fields(&[
                string("name"),
                list(
                    "partitions",
                    &fields(&[int32("partition_index"), int16("error_code")]),
                ),
            ]),
        ),
    ]),
);

/// First version that says who commits (KIP-447).
pub const NAMES_MEMBER: i16 = 3;

/// The version that adds the group to the transaction by itself (KIP-890).
pub const ADDS_GROUP: i16 = 5;

/// Commits offsets of `member`'s group with the transaction of `id`. The group's coordinator is to be asked. A
/// generation below 0 names no member.
pub fn request<'a>(
    version: i16,
    id: &str,
    producer: ProducerId,
    member: &Membership<'_>,
    offsets: impl IntoIterator<Item = Commit<'a>>,
) -> Result<TxnOffsetCommitRequest, ApiError> {
    let parts = offsets.into_iter().map(|commit| {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(commit.partition)
            .with_committed_offset(commit.offset)
            .with_committed_metadata(Some(text(commit.metadata)));
        (commit.topic, partition)
    });
    let topics = by_topic(parts).into_iter().map(|(topic, partitions)| {
        TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions)
    });
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(text(id).into())
        .with_producer_id(WireId(producer.id))
        .with_producer_epoch(producer.epoch)
        .with_group_id(group_id(member.group_id))
        .with_topics(topics.collect());
    if version < NAMES_MEMBER {
        return Ok(request);
    }
    Ok(request
        .with_generation_id(member.generation)
        .with_member_id(text(member.member_id))
        .with_group_instance_id(member.instance_id(version, NAMES_MEMBER)?))
}

/// Whether all offsets that it was `asked` for are part of the transaction: the first refusal is the request's.
pub fn read<'a>(
    response: &TxnOffsetCommitResponse,
    asked: impl IntoIterator<Item = (&'a str, i32)>,
) -> Result<(), ApiError> {
    let mut answered = HashSet::new();
    for topic in &response.topics {
        for partition in &topic.partitions {
            answered.insert((topic.name.as_str(), partition.partition_index));
            check(partition.error_code)?;
        }
    }
    ApiError::check_complete(API.name, asked, &answered)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;
    use kafka_protocol::messages::txn_offset_commit_response::{
        TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
    };

    const PRODUCER: ProducerId = ProducerId { id: 7, epoch: 2 };

    const MEMBER: Membership<'static> = Membership {
        group_id: "g",
        instance_id: Some("i"),
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
    fn offsets_are_gathered_by_topic_and_say_who_commits_them_in_every_version() {
        let offsets = [commit("a", 0, 7), commit("b", 0, 8), commit("a", 1, 9)];
        for version in versions::<TxnOffsetCommitRequest>() {
            let request = request(version, "t", PRODUCER, &MEMBER, offsets).unwrap();
            let read = as_read(&request, version);
            assert_eq!(read.transactional_id.as_str(), "t");
            assert_eq!(read.group_id.as_str(), "g");
            assert_eq!((read.producer_id.0, read.producer_epoch), (7, 2));
            assert_eq!(read.topics.len(), 2);
            let partition = &read.topics[0].partitions[1];
            assert_eq!(partition.partition_index, 1);
            assert_eq!(partition.committed_offset, 9);
            assert_eq!(partition.committed_metadata.as_deref(), Some("words"));
            let member = (read.generation_id, read.member_id.as_str());
            let instance = read.group_instance_id.as_deref();
            match version {
                NAMES_MEMBER.. => assert_eq!((member, instance), ((4, "m"), Some("i"))),
                _ => assert_eq!((member, instance), ((-1, ""), None)),
            }
        }
    }

    #[test]
    fn one_refusal_is_the_requests_in_every_version() {
        for version in versions::<TxnOffsetCommitRequest>() {
            let answer = |codes: &[ErrorCode]| {
                let partitions = codes.iter().map(|code| {
                    TxnOffsetCommitResponsePartition::default().with_error_code(code.0)
                });
                let topic = TxnOffsetCommitResponseTopic::default()
                    .with_name(topic_name("a"))
                    .with_partitions(partitions.collect());
                let response = TxnOffsetCommitResponse::default().with_topics(vec![topic]);
                let response = over_the_wire::<TxnOffsetCommitRequest>(&response, version);
                read(&response, [("a", 0)])
            };
            assert_eq!(answer(&[ErrorCode::NO_ERROR]), Ok(()));
            let code = ErrorCode::ILLEGAL_GENERATION;
            let refused = answer(&[ErrorCode::NO_ERROR, code]);
            assert_eq!(refused, Err(code.into()));
        }
    }

    #[test]
    fn an_offset_of_which_nothing_is_said_may_not_be_part_of_the_transaction() {
        let lacks = Err(ApiError::lacks("TxnOffsetCommit", "a-0"));
        assert_eq!(read(&TxnOffsetCommitResponse::default(), [("a", 0)]), lacks);
    }
}
