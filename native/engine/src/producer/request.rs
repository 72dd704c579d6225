//! Produce requests: batches of many partitions in, one result a partition out.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use crate::cluster::Leader;
use crate::net::NetError;
use crate::protocol::error::ErrorCode;

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
    /// Named along with a refusal by brokers that know KIP-951.
    pub leader: Option<Leader>,
}

/// Encodes a request's body.
pub(super) fn encode_request<'a>(
    parts: impl Iterator<Item = Part<'a>>,
    acks: i16,
    timeout_ms: i32,
    version: i16,
) -> Result<Bytes, NetError> {
    let mut topics: Vec<TopicProduceData> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut size = 128;
    for part in parts {
        size += part.batch.len() + 32;
        let place = *places.entry(part.topic).or_insert_with(|| {
            size += part.topic.len() + 32;
            let name = TopicName(StrBytes::from_string(part.topic.to_owned()));
            topics.push(TopicProduceData::default().with_name(name));
            topics.len() - 1
        });
        topics[place].partition_data.push(
            PartitionProduceData::default()
                .with_index(part.partition)
                .with_records(Some(part.batch)),
        );
    }
    let request = ProduceRequest::default()
        .with_acks(acks)
        .with_timeout_ms(timeout_ms)
        .with_topic_data(topics);
    let mut body = BytesMut::with_capacity(size);
    request
        .encode(&mut body, version)
        .map_err(|error| NetError::Protocol(format!("Produce request not encodable: {error}")))?;
    Ok(body.freeze())
}

/// Results by topic and partition.
pub(super) type Results = HashMap<String, HashMap<i32, PartResult>>;

/// Decodes a response's body.
pub(super) fn decode_response(mut body: Bytes, version: i16) -> Result<Results, NetError> {
    let response = ProduceResponse::decode(&mut body, version)
        .map_err(|error| NetError::Protocol(format!("Produce response: {error}")))?;
    let mut results = Results::with_capacity(response.responses.len());
    for topic in response.responses {
        let by_partition = results.entry(topic.name.to_string()).or_default();
        by_partition.reserve(topic.partition_responses.len());
        for partition in topic.partition_responses {
            let named = &partition.current_leader;
            let leader = (named.leader_id.0 >= 0).then_some(Leader {
                node: named.leader_id.0,
                epoch: named.leader_epoch,
            });
            by_partition.insert(
                partition.index,
                PartResult {
                    code: ErrorCode(partition.error_code),
                    base_offset: partition.base_offset,
                    leader,
                },
            );
        }
    }
    Ok(results)
}
