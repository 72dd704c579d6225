//! Produce: record batches of many partitions in, one result a partition out.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{NodeEndpoint, PartitionProduceResponse};
use kafka_protocol::messages::{ApiKey, ProduceRequest};
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::{text, topic_name, Api, NamedLeader, TopicId, LEADER, NODE_ENDPOINT};
use crate::error::ErrorCode;
use crate::memory::Memory;
use crate::shape::build::{
    fields, int16, int32, int64, list, nullable_string, string, tagged, uuid,
};
use crate::shape::Fields;
use crate::{decode_response, WireError};

/// This API.
pub const API: Api = Api::new(
    ("Produce", ApiKey::Produce),
    (3, 13),
    9,
    Fields {
        plain: &[
            list(
                "responses",
                &fields(&[
                    string("name").until(12),
                    uuid("topic_id").since(13),
                    list("partition_responses", &PRODUCED),
                ]),
            ),
            int32("throttle_time_ms"),
        ],
        tagged: &[(0, list("node_endpoints", &NODE_ENDPOINT).since(10))],
    },
)
.by_id_from(13);

const PRODUCED: Fields = Fields {
    plain: &[
        int32("index"),
        int16("error_code"),
        int64("base_offset"),
        int64("log_append_time_ms"),
        int64("log_start_offset").since(5),
        list("record_errors", &RECORD_ERROR).since(8),
        nullable_string("error_message").since(8),
    ],
    tagged: &[(0, tagged("current_leader", &LEADER).since(10))],
};

const RECORD_ERROR: Fields = fields(&[
    int32("batch_index"),
    nullable_string("batch_index_error_message"),
]);

/// One partition's batch in a request.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its id, which versions need that name topics by it.
    pub topic_id: Option<TopicId>,
    /// The partition.
    pub partition: i32,
    /// In wire form.
    pub batch: Bytes,
}

/// What a broker says of one partition's batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartResult {
    /// Whether it was stored.
    pub code: ErrorCode,
    /// The offset of its first record; -1 where the broker does not say.
    pub base_offset: i64,
    /// Named along with a refusal by brokers that know KIP-951.
    pub leader: Option<NamedLeader>,
    /// Records that are to blame for a refusal, by their place in the batch from 0, and the broker's
    /// words (KIP-467). Empty in versions before 8.
    pub record_errors: Vec<(i32, Option<String>)>,
    /// The broker's words for the whole batch (KIP-467).
    pub message: Option<String>,
}

/// Encodes a request's body.
pub fn encode<'a>(
    version: i16,
    transactional_id: Option<&str>,
    acks: i16,
    timeout_ms: i32,
    parts: impl Iterator<Item = Part<'a>>,
) -> Result<Bytes, WireError> {
    let mut topics: Vec<TopicProduceData> = Vec::new();
    let mut places: HashMap<(&str, Option<TopicId>), usize> = HashMap::new();
    let mut last = None;
    let mut size = 128;
    for part in parts {
        size += part.batch.len() + 32;
        let topic = (part.topic, part.topic_id);
        let place = match last {
            // Neighbours are mostly of one topic.
            Some((last, place)) if last == topic => place,
            _ => *places.entry(topic).or_insert_with(|| {
                size += part.topic.len() + 32;
                let data = TopicProduceData::default().with_name(topic_name(part.topic));
                topics.push(data.with_topic_id(TopicId::on_wire(part.topic_id)));
                topics.len() - 1
            }),
        };
        last = Some((topic, place));
        topics[place].partition_data.push(
            PartitionProduceData::default()
                .with_index(part.partition)
                .with_records(Some(part.batch)),
        );
    }
    let request = ProduceRequest::default()
        .with_transactional_id(transactional_id.map(|id| text(id).into()))
        .with_acks(acks)
        .with_timeout_ms(timeout_ms)
        .with_topic_data(topics);
    let mut body = Memory::with_capacity(size);
    request
        .encode(&mut *body, version)
        .map_err(|error| WireError::Malformed(format!("Produce request not encodable: {error}")))?;
    Ok(body.freeze())
}

/// The results of one response. Brokers answer in the order of the request, so each partition is
/// looked for behind the one found last.
#[derive(Debug, Default)]
pub struct Results {
    topics: Vec<TopicResults>,
}

#[derive(Debug)]
struct TopicResults {
    /// Empty where there is an id.
    name: StrBytes,
    id: Option<TopicId>,
    partitions: Vec<(i32, PartResult)>,
    next: usize,
}

impl Results {
    /// What the broker says of a partition of a topic, which the request named so.
    pub fn find(
        &mut self,
        topic: &str,
        topic_id: Option<TopicId>,
        partition: i32,
    ) -> Option<PartResult> {
        let topic = self.topics.iter_mut().find(|results| match results.id {
            Some(_) => results.id == topic_id,
            None => results.name.as_str() == topic,
        })?;
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
pub fn decode(body: Bytes, version: i16) -> Result<Results, WireError> {
    let response = decode_response::<ProduceRequest>(body, version)?;
    let named = response.node_endpoints;
    let topics = response.responses.into_iter().map(|topic| {
        let partitions = topic.partition_responses.into_iter();
        TopicResults {
            name: topic.name.0,
            id: TopicId::of(topic.topic_id),
            partitions: partitions.map(|p| part_result(p, &named)).collect(),
            next: 0,
        }
    });
    Ok(Results {
        topics: topics.collect(),
    })
}

fn part_result(partition: PartitionProduceResponse, named: &[NodeEndpoint]) -> (i32, PartResult) {
    let leader = &partition.current_leader;
    let node = leader.leader_id.0;
    let leader = (node >= 0).then(|| {
        let listens = named.iter().find(|named| named.node_id.0 == node);
        NamedLeader {
            node,
            epoch: leader.leader_epoch,
            endpoint: listens.map(|named| (named.host.to_string(), named.port)),
        }
    });
    let errors = partition.record_errors.into_iter().map(|error| {
        let words = error.batch_index_error_message;
        (error.batch_index, words.map(|text| text.to_string()))
    });
    let code = match ErrorCode(partition.error_code) {
        // Callers name topics by their names: to them it is the same.
        ErrorCode::UNKNOWN_TOPIC_ID => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        code => code,
    };
    let result = PartResult {
        code,
        base_offset: partition.base_offset,
        leader,
        record_errors: errors.collect(),
        message: partition.error_message.map(|text| text.to_string()),
    };
    (partition.index, result)
}

#[cfg(test)]
mod tests {
    use super::super::testing::versions;
    use super::*;
    use bytes::BytesMut;
    use kafka_protocol::messages::produce_response::{
        BatchIndexAndErrorMessage, LeaderIdAndEpoch, TopicProduceResponse,
    };
    use kafka_protocol::messages::{BrokerId, ProduceResponse};
    use kafka_protocol::protocol::Decodable;

    #[test]
    fn batches_are_gathered_by_topic_in_every_version() {
        for version in versions::<ProduceRequest>() {
            let part = |topic, partition, batch| Part {
                topic,
                topic_id: None,
                partition,
                batch: Bytes::from_static(batch),
            };
            let parts = [part("a", 0, b"1"), part("b", 5, b"2"), part("a", 1, b"3")];
            let mut body = encode(version, Some("txn"), -1, 1000, parts.into_iter()).unwrap();
            let read = ProduceRequest::decode(&mut body, version).unwrap();
            assert_eq!((read.acks, read.timeout_ms), (-1, 1000));
            let id = read.transactional_id.as_ref().map(|id| id.as_str());
            assert_eq!(id, Some("txn"));
            assert_eq!(read.topic_data.len(), 2);
            assert_eq!(read.topic_data[0].name.as_str(), "a");
            let second = &read.topic_data[0].partition_data[1];
            assert_eq!(second.index, 1);
            assert_eq!(second.records.as_deref(), Some(&b"3"[..]));
        }
    }

    fn response(topics: &[(&'static str, &[i32])]) -> ProduceResponse {
        let topics = topics.iter().map(|(name, partitions)| {
            let partitions = partitions.iter().map(|index| {
                PartitionProduceResponse::default()
                    .with_index(*index)
                    .with_base_offset(i64::from(*index) * 10)
            });
            TopicProduceResponse::default()
                .with_name(topic_name(name))
                .with_partition_responses(partitions.collect())
        });
        ProduceResponse::default().with_responses(topics.collect())
    }

    fn read(response: &ProduceResponse, version: i16) -> Results {
        let mut body = BytesMut::new();
        response.encode(&mut body, version).unwrap();
        decode(body.freeze(), version).unwrap()
    }

    #[test]
    fn results_are_found_in_any_order_in_every_version() {
        let response = response(&[("a", &[0, 1, 2]), ("b", &[5])]);
        for version in versions::<ProduceRequest>() {
            let mut results = read(&response, version);
            let mut offset = |topic, index| results.find(topic, None, index).map(|r| r.base_offset);
            assert_eq!(offset("a", 0), Some(0));
            assert_eq!(offset("b", 5), Some(50));
            assert_eq!(offset("a", 2), Some(20));
            assert_eq!(offset("a", 1), Some(10));
            assert_eq!(offset("a", 3), None);
            assert_eq!(offset("c", 0), None);
        }
    }

    fn id(number: u8) -> TopicId {
        TopicId::new([number; 16]).unwrap()
    }

    fn by_id() -> std::ops::RangeInclusive<i16> {
        let (oldest, newest) = API.by_id.unwrap();
        oldest..=newest
    }

    #[test]
    fn topics_are_named_by_ids_and_one_that_was_made_again_stands_beside_the_one_before() {
        for version in by_id() {
            let part = |topic, number, partition| Part {
                topic,
                topic_id: Some(id(number)),
                partition,
                batch: Bytes::from_static(b"1"),
            };
            let parts = [
                part("a", 1, 0),
                part("a", 2, 1),
                part("b", 3, 0),
                part("a", 1, 2),
            ];
            let mut body = encode(version, None, -1, 1000, parts.into_iter()).unwrap();
            let read = ProduceRequest::decode(&mut body, version).unwrap();
            let written = read.topic_data.iter().map(|topic| {
                assert_eq!(topic.name.as_str(), "");
                let partitions = topic.partition_data.iter().map(|data| data.index);
                (*topic.topic_id.as_bytes(), partitions.collect::<Vec<_>>())
            });
            let expected = [
                ([1; 16], vec![0, 2]),
                ([2; 16], vec![1]),
                ([3; 16], vec![0]),
            ];
            assert_eq!(written.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn results_are_found_by_ids_and_an_unknown_id_is_an_unknown_topic() {
        for version in by_id() {
            let topic = |number, code: ErrorCode| {
                let part = PartitionProduceResponse::default()
                    .with_base_offset(i64::from(number))
                    .with_error_code(code.0);
                TopicProduceResponse::default()
                    .with_topic_id(TopicId::on_wire(Some(id(number))))
                    .with_partition_responses(vec![part])
            };
            let topics = vec![
                topic(1, ErrorCode::UNKNOWN_TOPIC_ID),
                topic(2, ErrorCode::NO_ERROR),
            ];
            let mut results = read(&ProduceResponse::default().with_responses(topics), version);
            let gone = results.find("a", Some(id(1)), 0).unwrap();
            assert_eq!(gone.code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
            assert_eq!(results.find("a", Some(id(2)), 0).unwrap().base_offset, 2);
            assert_eq!(results.find("a", Some(id(3)), 0), None);
            assert_eq!(results.find("a", None, 0), None);
        }
    }

    #[test]
    fn a_refusal_says_which_records_are_to_blame_and_who_leads_now() {
        for version in versions::<ProduceRequest>() {
            let mut response = response(&[("a", &[0])]);
            let partition = &mut response.responses[0].partition_responses[0];
            partition.error_code = ErrorCode::INVALID_RECORD.0;
            if version >= 8 {
                let error = BatchIndexAndErrorMessage::default()
                    .with_batch_index(2)
                    .with_batch_index_error_message(Some(text("no key")));
                partition.record_errors = vec![error];
                partition.error_message = Some(text("bad"));
            }
            if version >= 10 {
                partition.current_leader = LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(3))
                    .with_leader_epoch(9);
                let listens = NodeEndpoint::default()
                    .with_node_id(BrokerId(3))
                    .with_host(text("h"))
                    .with_port(9092);
                response.node_endpoints = vec![listens];
            }
            let result = read(&response, version).find("a", None, 0).unwrap();
            assert_eq!(result.code, ErrorCode::INVALID_RECORD);
            let blamed = vec![(2, Some("no key".to_owned()))];
            let (errors, message) = match version {
                8.. => (blamed, Some("bad".to_owned())),
                _ => (vec![], None),
            };
            assert_eq!((result.record_errors, result.message), (errors, message));
            let leader = NamedLeader {
                node: 3,
                epoch: 9,
                endpoint: Some(("h".into(), 9092)),
            };
            assert_eq!(result.leader, (version >= 10).then_some(leader));
        }
    }
}
