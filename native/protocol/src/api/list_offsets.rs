//! ListOffsets: offsets of a partition by time.

use std::time::Duration;

use super::{check, millis, topic_name, Api, ApiError};
use crate::isolation::Isolation;
use crate::shape::build::{fields, int16, int32, int64, list, string};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{ApiKey, BrokerId, ListOffsetsRequest, ListOffsetsResponse};

/// This API.
pub const API: Api = Api::new(
    ("ListOffsets", ApiKey::ListOffsets),
    (1, 10),
    6,
    fields(&[
        int32("throttle_time_ms").since(2),
        list(
            "topics",
            &fields(&[
                string("name"),
                list(
                    "partitions",
                    &fields(&[
                        int32("partition_index"),
                        int16("error_code"),
                        int64("timestamp"),
                        int64("offset"),
                        int32("leader_epoch").since(4),
                    ]),
                ),
            ]),
        ),
    ]),
);

/// In place of a time: the offset behind the last message; the last stable one for readers of
/// committed messages only.
pub const LATEST: i64 = -1;

/// In place of a time: the offset of the first message that is kept.
pub const EARLIEST: i64 = -2;

/// One partition's offset at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AtTime<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// As the client knows it, so that a broker that lags behind says so (KIP-320); -1: does not matter.
    pub leader_epoch: i32,
    /// In ms since 1970: the first message at or after it. Or [`LATEST`], [`EARLIEST`].
    pub time: i64,
}

/// What a broker found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// -1: there is no message at or after that time.
    pub offset: i64,
    /// The epoch in which it was written; -1: unknown.
    pub leader_epoch: i32,
}

/// Asks for an offset of each, those of a topic side by side. `limit`: how long the broker may take where it has to
/// look into tiered storage.
pub fn request(
    version: i16,
    all: &[AtTime<'_>],
    isolation: Isolation,
    limit: Duration,
) -> ListOffsetsRequest {
    let partition = |at: &AtTime<'_>| {
        ListOffsetsPartition::default()
            .with_partition_index(at.partition)
            .with_current_leader_epoch(at.leader_epoch)
            .with_timestamp(at.time)
    };
    let topics = all.chunk_by(|at, next| at.topic == next.topic).map(|of| {
        ListOffsetsTopic::default()
            .with_name(topic_name(of[0].topic))
            .with_partitions(of.iter().map(partition).collect())
    });
    let mut request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(topics.collect());
    // Brokers older than this have no transactions.
    if version >= 2 {
        request.isolation_level = isolation.on_wire();
    }
    if version >= 10 {
        request.timeout_ms = millis(limit);
    }
    request
}

/// The offset of one of those that were asked for.
pub fn read(response: &ListOffsetsResponse, at: &AtTime<'_>) -> Result<Found, ApiError> {
    let topic = response
        .topics
        .iter()
        .find(|topic| topic.name.as_str() == at.topic);
    let found = topic
        .and_then(|topic| {
            let mut partitions = topic.partitions.iter();
            partitions.find(|p| p.partition_index == at.partition)
        })
        .ok_or_else(|| {
            let what = format_args!("{}-{}", at.topic, at.partition);
            ApiError::lacks(API.name, what)
        })?;
    check(found.error_code)?;
    Ok(Found {
        offset: found.offset,
        leader_epoch: found.leader_epoch,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;
    use kafka_protocol::messages::list_offsets_response::{
        ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
    };

    const AT: AtTime<'static> = AtTime {
        topic: "t",
        partition: 3,
        leader_epoch: 5,
        time: EARLIEST,
    };

    #[test]
    fn one_partitions_time_is_asked_for_in_every_version() {
        for version in versions::<ListOffsetsRequest>() {
            let request = request(
                version,
                &[AT],
                Isolation::ReadCommitted,
                Duration::from_secs(5),
            );
            let read = as_read(&request, version);
            assert_eq!(read.replica_id, BrokerId(-1));
            assert_eq!(read.isolation_level, i8::from(version >= 2));
            assert_eq!(read.timeout_ms, if version >= 10 { 5000 } else { 0 });
            assert_eq!(read.topics[0].name.as_str(), "t");
            let partition = &read.topics[0].partitions[0];
            assert_eq!((partition.partition_index, partition.timestamp), (3, -2));
            let epoch = if version >= 4 { 5 } else { -1 };
            assert_eq!(partition.current_leader_epoch, epoch);
        }
    }

    #[test]
    fn partitions_of_a_topic_are_asked_for_together() {
        let of = |topic, partition| AtTime {
            topic,
            partition,
            ..AT
        };
        let all = [of("t", 3), of("t", 1), of("u", 0)];
        let request = request(7, &all, Isolation::ReadUncommitted, Duration::ZERO);
        let read = as_read(&request, 7);
        let topics = read.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|p| p.partition_index);
            (topic.name.as_str(), partitions.collect::<Vec<_>>())
        });
        let asked: Vec<_> = topics.collect();
        assert_eq!(asked, [("t", vec![3, 1]), ("u", vec![0])]);
    }

    #[test]
    fn the_answer_is_an_offset_or_the_partitions_error() {
        let answer = |version, code: ErrorCode, index| {
            let partition = ListOffsetsPartitionResponse::default()
                .with_partition_index(index)
                .with_error_code(code.0)
                .with_offset(7);
            let topic = ListOffsetsTopicResponse::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![partition]);
            let response = ListOffsetsResponse::default().with_topics(vec![topic]);
            read(
                &over_the_wire::<ListOffsetsRequest>(&response, version),
                &AT,
            )
        };
        for version in versions::<ListOffsetsRequest>() {
            let found = Found {
                offset: 7,
                leader_epoch: -1,
            };
            assert_eq!(answer(version, ErrorCode::NO_ERROR, 3), Ok(found));
            let code = ErrorCode::NOT_LEADER_FOR_PARTITION;
            assert_eq!(answer(version, code, 3), Err(code.into()));
            let other = answer(version, ErrorCode::NO_ERROR, 4);
            assert!(matches!(other, Err(ApiError::Malformed(_))), "{other:?}");
        }
    }
}
