//! ListOffsets: where a partition starts and ends, and what was written when.

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;

/// From this version on answers have an epoch; older ones cannot be written with one.
const WITH_EPOCH: i16 = 4;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// KIP-734.
const NEWEST: i64 = -3;
/// Of what lies on the broker itself (KIP-405): all.
const EARLIEST_LOCAL: i64 = -4;
/// Of what lies elsewhere (KIP-1005): nothing.
const LATEST_TIERED: i64 = -5;
/// The first versions that have the last three.
const SINCE: &[(i64, i16)] = &[(NEWEST, 7), (EARLIEST_LOCAL, 8), (LATEST_TIERED, 9)];

pub(crate) fn handle(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: ListOffsetsRequest,
) -> Answer<ListOffsetsResponse> {
    let committed = request.isolation_level == 1;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let part =
                ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            let epoch = asked.current_leader_epoch;
            let name = topic.name.as_str();
            match find(
                cluster,
                call,
                name,
                asked.partition_index,
                epoch,
                asked.timestamp,
                committed,
            ) {
                Ok((offset, timestamp, epoch)) => part
                    .with_offset(offset)
                    .with_timestamp(timestamp)
                    .with_leader_epoch(if call.version >= WITH_EPOCH {
                        epoch
                    } else {
                        -1
                    }),
                Err(code) => part
                    .with_error_code(code.0)
                    .with_offset(-1)
                    .with_timestamp(-1),
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    });
    let topics = topics.collect();
    Answer::Now(ListOffsetsResponse::default().with_topics(topics))
}

/// Offset, timestamp, leader epoch.
fn find(
    cluster: &mut Cluster,
    call: &Call,
    topic: &str,
    index: i32,
    epoch: i32,
    timestamp: i64,
    committed: bool,
) -> Result<(i64, i64, i32), ErrorCode> {
    if let Some(code) = call.refused_for(topic, index) {
        return Err(code);
    }
    if SINCE
        .iter()
        .any(|(time, since)| *time == timestamp && call.version < *since)
    {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let partition = cluster.led(call.broker, topic, index, epoch)?;
    let log = &partition.log;
    let end = if committed {
        log.last_stable()
    } else {
        log.end()
    };
    let (offset, timestamp) = match timestamp {
        LATEST if committed => return Ok((end, -1, partition.leader_epoch)),
        LATEST => return Ok((partition.high_watermark(), -1, partition.leader_epoch)),
        EARLIEST | EARLIEST_LOCAL => (log.start(), -1),
        LATEST_TIERED => (-1, -1),
        NEWEST => log.newest().unwrap_or((-1, -1)),
        time => log
            .at_time(time)
            .filter(|(offset, _)| *offset < end)
            .unwrap_or((-1, -1)),
    };
    Ok((offset, timestamp, log.epoch_of(offset)))
}
