//! Offsets of a partition by time.

use std::time::Duration;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, ListOffsetsResponse};

use super::leader::at_leader;
use super::{call, topic_name};
use crate::cluster::{Cluster, Purpose};
use crate::consumer::Isolation;
use crate::error::{check, Error};
use brod_protocol::error::ErrorCode;

/// The offset of the first message at or after `time` (ms since 1970), -1 if there is none.
///
/// Two times have a meaning of their own: -1, the offset behind the last message (the last stable
/// one with [`Isolation::ReadCommitted`]), and -2, the offset of the first message that is kept.
pub async fn list_offsets(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    time: i64,
    isolation: Isolation,
    limit: Duration,
) -> Result<i64, Error> {
    let request = |version| request(version, topic, partition, time, isolation);
    at_leader(cluster, topic, partition, limit, |node| async move {
        let connection = cluster.connection(node, Purpose::Main).await?;
        offset_in(&call(cluster, &connection, request).await?)
    })
    .await
}

fn request(
    version: i16,
    topic: &str,
    partition: i32,
    time: i64,
    isolation: Isolation,
) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(partition)
        .with_current_leader_epoch(-1)
        .with_timestamp(time);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    // Brokers older than this have no transactions.
    if version < 2 {
        return request;
    }
    request.with_isolation_level(isolation.on_wire())
}

/// The one offset that was asked for.
fn offset_in(response: &ListOffsetsResponse) -> Result<i64, Error> {
    let topic = response.topics.first();
    let partition = topic
        .and_then(|topic| topic.partitions.first())
        .ok_or(ErrorCode::UNKNOWN_SERVER_ERROR)?;
    check(partition.error_code)?;
    Ok(partition.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use brod_protocol::encode;
    use kafka_protocol::messages::list_offsets_response::{
        ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
    };
    use kafka_protocol::protocol::{Decodable, Message};

    #[test]
    fn the_request_can_be_written_in_every_version() {
        let versions = ListOffsetsRequest::VERSIONS;
        for version in versions.min..=versions.max {
            let request = request(version, "t", 3, -2, Isolation::ReadCommitted);
            let mut bytes = encode(&request, version).unwrap();
            let read = ListOffsetsRequest::decode(&mut bytes, version).unwrap();
            let partition = &read.topics[0].partitions[0];
            assert_eq!((partition.partition_index, partition.timestamp), (3, -2));
        }
    }

    #[test]
    fn the_answer_is_an_offset_or_the_partitions_error() {
        let response = |code: ErrorCode, offset| {
            let partition = ListOffsetsPartitionResponse::default()
                .with_error_code(code.0)
                .with_offset(offset);
            let topic = ListOffsetsTopicResponse::default().with_partitions(vec![partition]);
            ListOffsetsResponse::default().with_topics(vec![topic])
        };
        assert_eq!(offset_in(&response(ErrorCode::NO_ERROR, 7)), Ok(7));
        let code = ErrorCode::NOT_LEADER_FOR_PARTITION;
        assert_eq!(offset_in(&response(code, -1)), Err(code.into()));
        assert!(offset_in(&ListOffsetsResponse::default()).is_err());
    }
}
