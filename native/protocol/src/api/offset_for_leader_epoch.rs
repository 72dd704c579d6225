//! OffsetForLeaderEpoch: where the log of a leader epoch ends (KIP-320).

use super::{check, topic_name, Api, ApiError};
use crate::shape::build::{fields, int16, int32, int64, list, string};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};

/// This API.
pub const API: Api = Api::new(
    ("OffsetForLeaderEpoch", ApiKey::OffsetForLeaderEpoch),
    (2, 4),
    4,
    fields(&[
        int32("throttle_time_ms"),
        list(
            "topics",
            &fields(&[
                string("topic"),
                list(
                    "partitions",
                    &fields(&[
                        int16("error_code"),
                        int32("partition"),
                        int32("leader_epoch"),
                        int64("end_offset"),
                    ]),
                ),
            ]),
        ),
    ]),
);

/// One partition's leader epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InPartition<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// As the client knows it.
    pub leader_epoch: i32,
    /// The one whose end is asked for.
    pub epoch: i32,
}

/// Where an epoch ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The offset behind its last message.
    pub offset: i64,
    /// The epoch itself, or the last one before it that the leader knows. -1: it knows none.
    pub epoch: i32,
}

/// Asks for the end of one epoch.
pub fn request(of: &InPartition<'_>) -> OffsetForLeaderEpochRequest {
    let partition = OffsetForLeaderPartition::default()
        .with_partition(of.partition)
        .with_current_leader_epoch(of.leader_epoch)
        .with_leader_epoch(of.epoch);
    let topic = OffsetForLeaderTopic::default()
        .with_topic(topic_name(of.topic))
        .with_partitions(vec![partition]);
    OffsetForLeaderEpochRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic])
}

/// The one end that was asked for.
pub fn read(
    response: &OffsetForLeaderEpochResponse,
    of: &InPartition<'_>,
) -> Result<EpochEnd, ApiError> {
    let mut topics = response.topics.iter();
    let topic = topics.find(|topic| topic.topic.as_str() == of.topic);
    let found = topic
        .and_then(|topic| {
            let mut partitions = topic.partitions.iter();
            partitions.find(|p| p.partition == of.partition)
        })
        .ok_or_else(|| {
            let what = format_args!("{}-{}", of.topic, of.partition);
            ApiError::lacks(API.name, what)
        })?;
    check(found.error_code)?;
    Ok(EpochEnd {
        offset: found.end_offset,
        epoch: found.leader_epoch,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;
    use kafka_protocol::messages::offset_for_leader_epoch_response::{
        EpochEndOffset, OffsetForLeaderTopicResult,
    };

    const OF: InPartition<'static> = InPartition {
        topic: "t",
        partition: 3,
        leader_epoch: 6,
        epoch: 5,
    };

    #[test]
    fn one_epoch_is_asked_for_in_every_version() {
        for version in versions::<OffsetForLeaderEpochRequest>() {
            let read = as_read(&request(&OF), version);
            let partition = &read.topics[0].partitions[0];
            assert_eq!(read.topics[0].topic.as_str(), "t");
            assert_eq!((partition.partition, partition.leader_epoch), (3, 5));
            assert_eq!(partition.current_leader_epoch, 6);
        }
    }

    #[test]
    fn the_end_or_the_partitions_error_is_read_in_every_version() {
        for version in versions::<OffsetForLeaderEpochRequest>() {
            let answer = |code: ErrorCode, name: &str| {
                let end = EpochEndOffset::default()
                    .with_partition(3)
                    .with_error_code(code.0)
                    .with_leader_epoch(4)
                    .with_end_offset(70);
                let topic = OffsetForLeaderTopicResult::default()
                    .with_topic(topic_name(name))
                    .with_partitions(vec![end]);
                let response = OffsetForLeaderEpochResponse::default().with_topics(vec![topic]);
                let response = over_the_wire::<OffsetForLeaderEpochRequest>(&response, version);
                read(&response, &OF)
            };
            let end = EpochEnd {
                offset: 70,
                epoch: 4,
            };
            assert_eq!(answer(ErrorCode::NO_ERROR, "t"), Ok(end));
            let code = ErrorCode::FENCED_LEADER_EPOCH;
            assert_eq!(answer(code, "t"), Err(code.into()));
            assert!(answer(ErrorCode::NO_ERROR, "u").is_err());
        }
    }
}
