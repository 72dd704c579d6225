//! Produce requests: batches of many partitions in, one result a partition out.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};

use crate::cluster::{Leader, NodeId};
use crate::net::{Endpoint, NetError};
use brod_protocol::error::ErrorCode;
use brod_protocol::memory::Memory;

/// One partition's batch in a request.
pub(super) struct Part<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub batch: Bytes,
}

/// What a broker says of one partition's batch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PartResult {
    pub code: ErrorCode,
    pub base_offset: i64,
    /// Named along with a refusal by brokers that know KIP-951, and where it listens.
    pub leader: Option<(Leader, Option<Endpoint>)>,
}

/// Encodes a request's body.
pub(super) fn encode_request<'a>(
    transactional_id: Option<&str>,
    parts: impl Iterator<Item = Part<'a>>,
    acks: i16,
    timeout_ms: i32,
    version: i16,
) -> Result<Bytes, NetError> {
    let mut topics: Vec<TopicProduceData> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut last = None;
    let mut size = 128;
    for part in parts {
        size += part.batch.len() + 32;
        let place = match last {
            // Neighbours are mostly of one topic.
            Some((topic, place)) if topic == part.topic => place,
            _ => *places.entry(part.topic).or_insert_with(|| {
                size += part.topic.len() + 32;
                let name = TopicName(StrBytes::from_string(part.topic.to_owned()));
                topics.push(TopicProduceData::default().with_name(name));
                topics.len() - 1
            }),
        };
        last = Some((part.topic, place));
        topics[place].partition_data.push(
            PartitionProduceData::default()
                .with_index(part.partition)
                .with_records(Some(part.batch)),
        );
    }
    let request = ProduceRequest::default()
        .with_transactional_id(
            transactional_id.map(|id| StrBytes::from_string(id.to_owned()).into()),
        )
        .with_acks(acks)
        .with_timeout_ms(timeout_ms)
        .with_topic_data(topics);
    let mut body = Memory::with_capacity(size);
    request
        .encode(&mut *body, version)
        .map_err(|error| NetError::Protocol(format!("Produce request not encodable: {error}")))?;
    Ok(body.freeze())
}

/// The results of one response. Brokers answer in the order of the request, so each partition is
/// looked for behind the one found last.
#[derive(Default)]
pub(super) struct Results {
    topics: Vec<TopicResults>,
}

struct TopicResults {
    name: StrBytes,
    partitions: Vec<(i32, PartResult)>,
    next: usize,
}

impl Results {
    /// What the broker says of a partition.
    pub fn find(&mut self, topic: &str, partition: i32) -> Option<PartResult> {
        let topic = self
            .topics
            .iter_mut()
            .find(|results| results.name.as_str() == topic)?;
        let is_it = |(index, _): &(i32, PartResult)| *index == partition;
        let at = match topic.partitions.get(topic.next) {
            Some(next) if is_it(next) => topic.next,
            _ => topic.partitions.iter().position(is_it)?,
        };
        topic.next = at + 1;
        topic.partitions.get(at).map(|(_, result)| result.clone())
    }
}

/// Decodes a response's body.
pub(super) fn decode_response(body: Bytes, version: i16) -> Result<Results, NetError> {
    let response = brod_protocol::decode_response::<ProduceRequest>(body, version)?;
    let named = response.node_endpoints;
    let endpoint = |node: NodeId| {
        let named = named.iter().find(|named| named.node_id.0 == node)?;
        Endpoint::named(&named.host, named.port)
    };
    let topics = response.responses.into_iter().map(|topic| {
        let partitions = topic.partition_responses.iter();
        TopicResults {
            name: topic.name.0,
            partitions: partitions.map(|p| part_result(p, endpoint)).collect(),
            next: 0,
        }
    });
    Ok(Results {
        topics: topics.collect(),
    })
}

fn part_result(
    partition: &PartitionProduceResponse,
    endpoint: impl Fn(NodeId) -> Option<Endpoint>,
) -> (i32, PartResult) {
    let named = &partition.current_leader;
    let leader = Leader {
        node: named.leader_id.0,
        epoch: named.leader_epoch,
    };
    let leader = (leader.node >= 0).then(|| (leader, endpoint(leader.node)));
    let result = PartResult {
        code: ErrorCode(partition.error_code),
        base_offset: partition.base_offset,
        leader,
    };
    (partition.index, result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::produce_response::TopicProduceResponse;
    use kafka_protocol::messages::ProduceResponse;

    fn response(topics: &[(&'static str, &[i32])]) -> Bytes {
        let topics = topics.iter().map(|(name, partitions)| {
            let partitions = partitions.iter().map(|index| {
                PartitionProduceResponse::default()
                    .with_index(*index)
                    .with_base_offset(i64::from(*index) * 10)
            });
            TopicProduceResponse::default()
                .with_name(TopicName(StrBytes::from_static_str(name)))
                .with_partition_responses(partitions.collect())
        });
        let response = ProduceResponse::default().with_responses(topics.collect());
        let mut body = BytesMut::new();
        response.encode(&mut body, 9).unwrap();
        body.freeze()
    }

    #[test]
    fn results_are_found_in_any_order() {
        let body = response(&[("a", &[0, 1, 2]), ("b", &[5])]);
        let mut results = decode_response(body, 9).unwrap();
        let mut offset = |topic, index| results.find(topic, index).map(|r| r.base_offset);
        assert_eq!(offset("a", 0), Some(0));
        assert_eq!(offset("b", 5), Some(50));
        assert_eq!(offset("a", 2), Some(20));
        assert_eq!(offset("a", 1), Some(10));
        assert_eq!(offset("a", 3), None);
        assert_eq!(offset("c", 0), None);
    }
}
