//! Produce: record batches of many partitions in, one result a partition out.

use std::collections::HashMap;

use bytes::{BufMut, Bytes};
use kafka_protocol::messages::produce_response::{NodeEndpoint, PartitionProduceResponse};
use kafka_protocol::messages::{ApiKey, ProduceRequest};
use kafka_protocol::protocol::StrBytes;

use super::{Api, NamedLeader, TopicId, LEADER, NODE_ENDPOINT};
use crate::body::{Body, BodyWriter};
use crate::error::ErrorCode;
use crate::shape::build::{
    fields, int16, int32, int64, list, nullable_string, string, tagged, uuid,
};
use crate::shape::Fields;
use crate::varint::put_unsigned_varint;
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
    pub batch: Body,
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

/// The batches of one topic in a request.
struct Topic<'a> {
    name: &'a str,
    id: Option<TopicId>,
    batches: Vec<(i32, Body)>,
}

/// What a partition and a topic have around their batches and names, at most.
const AROUND: usize = 32;

/// Encodes a request's body. Not by the message crate, which copies the batches.
pub fn encode<'a>(
    version: i16,
    transactional_id: Option<&str>,
    acks: i16,
    timeout_ms: i32,
    parts: impl Iterator<Item = Part<'a>>,
) -> Result<Body, WireError> {
    let topics = by_topic(parts);
    let around = |topic: &Topic<'_>| {
        let copied = |(_, batch): &(i32, Body)| AROUND + BodyWriter::copied(batch);
        AROUND + topic.name.len() + topic.batches.iter().map(copied).sum::<usize>()
    };
    let id_len = transactional_id.map_or(0, str::len);
    let size = AROUND + id_len + topics.iter().map(around).sum::<usize>();
    let layout = Layout {
        version,
        flexible: version >= 9,
    };
    let mut body = BodyWriter::with_capacity(size);
    layout.nullable_string(body.buf(), transactional_id)?;
    body.buf().put_i16(acks);
    body.buf().put_i32(timeout_ms);
    layout.count(body.buf(), topics.len())?;
    for topic in topics {
        match TopicId::on_wire(topic.id) {
            id if version >= 13 => body.buf().put_slice(id.as_bytes()),
            _ => layout.nullable_string(body.buf(), Some(topic.name))?,
        }
        layout.count(body.buf(), topic.batches.len())?;
        for (partition, batch) in topic.batches {
            body.buf().put_i32(partition);
            layout.count(body.buf(), batch.len())?;
            body.share(batch);
            layout.no_tags(body.buf());
        }
        layout.no_tags(body.buf());
    }
    layout.no_tags(body.buf());
    Ok(body.finish())
}

fn by_topic<'a>(parts: impl Iterator<Item = Part<'a>>) -> Vec<Topic<'a>> {
    let mut topics: Vec<Topic<'a>> = Vec::new();
    let mut places: HashMap<(&str, Option<TopicId>), usize> = HashMap::new();
    let mut last = None;
    for part in parts {
        let topic = (part.topic, part.topic_id);
        let place = match last {
            // Neighbours are mostly of one topic.
            Some((last, place)) if last == topic => place,
            _ => *places.entry(topic).or_insert_with(|| {
                topics.push(Topic {
                    name: part.topic,
                    id: part.topic_id,
                    batches: Vec::new(),
                });
                topics.len() - 1
            }),
        };
        last = Some((topic, place));
        topics[place].batches.push((part.partition, part.batch));
    }
    topics
}

/// How a version writes its fields: since KIP-482 lengths are varints of one more, and tagged fields may follow.
struct Layout {
    version: i16,
    flexible: bool,
}

impl Layout {
    /// Of a list, or of bytes.
    fn count(&self, buf: &mut impl BufMut, count: usize) -> Result<(), WireError> {
        let count = i32::try_from(count).map_err(|_| {
            let version = self.version;
            WireError::Malformed(format!(
                "Produce v{version} cannot carry {count} of anything"
            ))
        })?;
        match self.flexible {
            true => put_unsigned_varint(buf, count as u32 + 1),
            false => buf.put_i32(count),
        }
        Ok(())
    }

    fn nullable_string(&self, buf: &mut impl BufMut, text: Option<&str>) -> Result<(), WireError> {
        let Some(text) = text else {
            match self.flexible {
                true => buf.put_u8(0),
                false => buf.put_i16(-1),
            }
            return Ok(());
        };
        let too_long = |_| WireError::TooLong {
            what: "a name",
            length: text.len(),
        };
        let length = i16::try_from(text.len()).map_err(too_long)?;
        match self.flexible {
            true => put_unsigned_varint(buf, length as u32 + 1),
            false => buf.put_i16(length),
        }
        buf.put_slice(text.as_bytes());
        Ok(())
    }

    fn no_tags(&self, buf: &mut impl BufMut) {
        if self.flexible {
            buf.put_u8(0);
        }
    }
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
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::produce_response::{
        BatchIndexAndErrorMessage, LeaderIdAndEpoch, TopicProduceResponse,
    };
    use kafka_protocol::messages::{BrokerId, ProduceResponse};
    use kafka_protocol::protocol::{Decodable, Encodable};

    use super::super::{text, topic_name};

    #[test]
    fn batches_are_gathered_by_topic_in_every_version() {
        for version in versions::<ProduceRequest>() {
            let part = |topic, partition, batch| Part {
                topic,
                topic_id: None,
                partition,
                batch: Bytes::from_static(batch).into(),
            };
            let parts = [part("a", 0, b"1"), part("b", 5, b"2"), part("a", 1, b"3")];
            let body = encode(version, Some("txn"), -1, 1000, parts.into_iter()).unwrap();
            let read = ProduceRequest::decode(&mut body.into_bytes(), version).unwrap();
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

    #[test]
    fn every_version_is_written_as_the_message_crate_does() {
        let sizes = [0, 1, 100, 127, 128, 10_000, 16_383, 16_384, 100_000];
        let batch = |index: usize| Bytes::from(vec![index as u8; sizes[index % sizes.len()]]);
        for version in versions::<ProduceRequest>() {
            let topic_id = (version >= 13).then(|| id(7));
            for (transactional_id, count) in
                [(None, 0), (Some("txn"), 1), (None, 40), (Some(""), 200)]
            {
                let part = |index| Part {
                    topic: "topic",
                    topic_id,
                    partition: index as i32,
                    batch: batch(index).into(),
                };
                let written =
                    encode(version, transactional_id, 1, 30_000, (0..count).map(part)).unwrap();
                let data = (0..count).map(|index| {
                    PartitionProduceData::default()
                        .with_index(index as i32)
                        .with_records(Some(batch(index)))
                });
                let topic = TopicProduceData::default().with_partition_data(data.collect());
                let topic = match topic_id {
                    Some(_) => topic.with_topic_id(TopicId::on_wire(topic_id)),
                    None => topic.with_name(topic_name("topic")),
                };
                let mut expected = BytesMut::new();
                ProduceRequest::default()
                    .with_transactional_id(transactional_id.map(|id| text(id).into()))
                    .with_acks(1)
                    .with_timeout_ms(30_000)
                    .with_topic_data((count > 0).then_some(topic).into_iter().collect())
                    .encode(&mut expected, version)
                    .unwrap();
                assert!(
                    written.into_bytes() == expected,
                    "version {version}, {count}"
                );
            }
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_an_error() {
        let name = "x".repeat(40_000);
        for version in versions::<ProduceRequest>() {
            let error = encode(version, Some(&name), 1, 1, std::iter::empty()).unwrap_err();
            assert!(matches!(error, WireError::TooLong { .. }), "{error}");
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
                batch: Bytes::from_static(b"1").into(),
            };
            let parts = [
                part("a", 1, 0),
                part("a", 2, 1),
                part("b", 3, 0),
                part("a", 1, 2),
            ];
            let body = encode(version, None, -1, 1000, parts.into_iter()).unwrap();
            let read = ProduceRequest::decode(&mut body.into_bytes(), version).unwrap();
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
