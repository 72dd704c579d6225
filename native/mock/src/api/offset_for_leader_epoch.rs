//! OffsetForLeaderEpoch (KIP-101, KIP-320).

use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;

pub(crate) fn handle(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: OffsetForLeaderEpochRequest,
) -> Answer<OffsetForLeaderEpochResponse> {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let (name, index) = (topic.topic.as_str(), asked.partition);
            let part = EpochEndOffset::default().with_partition(index);
            let found = match call.refused_for(name, index) {
                Some(code) => Err(code),
                None => cluster.led(call.broker, name, index, asked.current_leader_epoch),
            };
            match found.map(|partition| {
                let current = partition.leader_epoch;
                partition.log.end_of(asked.leader_epoch, current)
            }) {
                Ok((epoch, end)) => part.with_leader_epoch(epoch).with_end_offset(end),
                Err(code) => part.with_error_code(code.0),
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic.clone())
            .with_partitions(partitions)
    });
    let topics = topics.collect();
    Answer::Now(OffsetForLeaderEpochResponse::default().with_topics(topics))
}
