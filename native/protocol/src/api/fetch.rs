//! Fetch: record batches of many partitions (KIP-74, sessions: KIP-227).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::{
    FetchableTopicResponse, NodeEndpoint, PartitionData,
};
pub use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::{ApiKey, BrokerId, FetchResponse, TopicName};

use super::{
    check, millis, text, topic_name, Api, ApiError, NamedLeader, TopicId, LEADER, NODE_ENDPOINT,
};
use crate::error::ErrorCode;
use crate::isolation::{Aborted, Isolation};
use crate::shape::build::{
    fields, int16, int32, int64, list, nullable_list, records, string, tagged, uuid,
};
use crate::shape::Fields;

/// This API.
pub const API: Api = Api::new(
    ("Fetch", ApiKey::Fetch),
    (4, 18),
    12,
    Fields {
        plain: &[
            int32("throttle_time_ms"),
            int16("error_code").since(7),
            int32("session_id").since(7),
            list(
                "responses",
                &fields(&[
                    string("topic").until(12),
                    uuid("topic_id").since(13),
                    list("partitions", &FETCHED),
                ]),
            ),
        ],
        tagged: &[(0, list("node_endpoints", &NODE_ENDPOINT).since(16))],
    },
)
.by_id_from(13);

/// Whether topics are named by ids in this version.
pub fn is_by_id(version: i16) -> bool {
    version >= 13
}

const FETCHED: Fields = Fields {
    plain: &[
        int32("partition_index"),
        int16("error_code"),
        int64("high_watermark"),
        int64("last_stable_offset"),
        int64("log_start_offset").since(5),
        nullable_list(
            "aborted_transactions",
            &fields(&[int64("producer_id"), int64("first_offset")]),
        ),
        int32("preferred_read_replica").since(11),
        records("records"),
    ],
    tagged: &[
        (
            0,
            tagged(
                "diverging_epoch",
                &fields(&[int32("epoch"), int64("end_offset")]),
            ),
        ),
        (1, tagged("current_leader", &LEADER)),
        (
            2,
            tagged(
                "snapshot_id",
                &fields(&[int64("end_offset"), int32("epoch")]),
            ),
        ),
    ],
};

/// More than a broker asked for so much may answer all the same: a batch that is larger comes whole
/// (KIP-74), and what stands around the batches.
const SLACK: usize = 256 * 1024 * 1024;

/// See [`super::longest_answer`]: what the request allows, and one larger batch.
pub(super) fn longest_answer(version: i16, body: &[u8]) -> usize {
    // Behind the replica id, which went in version 15, the longest wait and the least bytes.
    let at = if version < 15 { 12 } else { 8 };
    let max_bytes = body.get(at..).and_then(|rest| rest.first_chunk());
    let max_bytes = max_bytes.map_or(0, |bytes| i32::from_be_bytes(*bytes));
    usize::try_from(max_bytes)
        .unwrap_or(0)
        .saturating_add(SLACK)
}

/// A partition in requests and answers.
pub type Key = (TopicName, i32);

/// The key of a partition.
pub fn key(topic: &str, partition: i32) -> Key {
    (topic_name(topic), partition)
}

/// What is asked for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Of the topic. None: not known, so that it is named by its name.
    pub topic_id: Option<TopicId>,
    /// The first offset.
    pub offset: i64,
    /// As the client knows it (KIP-320); -1: does not matter.
    pub leader_epoch: i32,
    /// What may come; a larger batch comes all the same, if it is the first.
    pub max_bytes: i32,
}

/// A request, but for its partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head<'a> {
    /// How long the broker may wait for `min_bytes`.
    pub max_wait: Duration,
    /// What it collects before it answers.
    pub min_bytes: i32,
    /// What all partitions together may return.
    pub max_bytes: i32,
    /// Which messages are seen.
    pub isolation: Isolation,
    /// 0: none yet.
    pub session_id: i32,
    /// -1: outside of any session.
    pub session_epoch: i32,
    /// For brokers that send readers to a replica nearby (KIP-392).
    pub rack_id: &'a str,
}

/// Asks for partitions, and has the session forget others. It has names and ids, of which each version shows
/// what it knows.
pub fn request(
    head: &Head<'_>,
    ask: impl IntoIterator<Item = (Key, Ask)>,
    forget: impl IntoIterator<Item = (Key, Option<TopicId>)>,
) -> FetchRequest {
    // A topic that was made again stands beside the one before, until all partitions know.
    type Topic = (TopicName, Option<TopicId>);
    let mut topics: IndexMap<Topic, Vec<FetchPartition>> = IndexMap::new();
    for ((topic, partition), ask) in ask {
        topics.entry((topic, ask.topic_id)).or_default().push(
            FetchPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(ask.leader_epoch)
                .with_fetch_offset(ask.offset)
                .with_partition_max_bytes(ask.max_bytes),
        );
    }
    let mut forgotten: IndexMap<Topic, Vec<i32>> = IndexMap::new();
    for ((topic, partition), id) in forget {
        forgotten.entry((topic, id)).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|((topic, id), partitions)| {
        FetchTopic::default()
            .with_topic(topic)
            .with_topic_id(TopicId::on_wire(id))
            .with_partitions(partitions)
    });
    let forgotten = forgotten.into_iter().map(|((topic, id), partitions)| {
        ForgottenTopic::default()
            .with_topic(topic)
            .with_topic_id(TopicId::on_wire(id))
            .with_partitions(partitions)
    });
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(millis(head.max_wait))
        .with_min_bytes(head.min_bytes)
        .with_max_bytes(head.max_bytes)
        .with_isolation_level(head.isolation.on_wire())
        .with_session_id(head.session_id)
        .with_session_epoch(head.session_epoch)
        .with_topics(topics.collect())
        .with_forgotten_topics_data(forgotten.collect())
        .with_rack_id(text(head.rack_id))
}

/// What a broker answered.
#[derive(Debug)]
pub struct Answer {
    /// Of the whole.
    pub error: ErrorCode,
    /// 0: there is no session, as where the broker has no room for one more.
    pub session_id: i32,
    /// The client is to ask for less: the broker may have left out what there was no quota for.
    pub is_throttled: bool,
    topics: Vec<FetchableTopicResponse>,
    /// Where the brokers listen that refusals name.
    endpoints: Vec<NodeEndpoint>,
}

impl Answer {
    /// Puts names to topics that are named by their ids. What has none was not asked for, and is dropped.
    pub fn put_names(&mut self, name: impl Fn(TopicId) -> Option<TopicName>) {
        self.topics.retain_mut(|topic| {
            let Some(id) = TopicId::of(topic.topic_id) else {
                return true;
            };
            let named = name(id);
            let is_known = named.is_some();
            topic.topic = named.unwrap_or_default();
            is_known
        });
    }

    /// The partitions that it names, in the broker's order. They are converted one by one: an answer may
    /// have thousands.
    pub fn partitions(self) -> impl Iterator<Item = (Key, Partition)> {
        let endpoints: Arc<[NodeEndpoint]> = self.endpoints.into();
        self.topics.into_iter().flat_map(move |topic| {
            let (name, endpoints) = (topic.topic, endpoints.clone());
            topic.partitions.into_iter().map(move |data| {
                let key = (name.clone(), data.partition_index);
                (key, partition(data, &endpoints))
            })
        })
    }

    /// What it says of the one partition that was asked for, by name.
    pub fn only(self, topic: &str, partition: i32) -> Result<Partition, ApiError> {
        check(self.error.0)?;
        let asked = key(topic, partition);
        let is_throttled = self.is_throttled;
        let found = self.partitions().find(|(place, _)| *place == asked);
        let (_, found) = found.ok_or_else(|| match is_throttled {
            true => ErrorCode::THROTTLING_QUOTA_EXCEEDED.into(),
            false => ApiError::lacks(API.name, format_args!("{topic}-{partition}")),
        })?;
        check(found.error.0)?;
        Ok(found)
    }
}

/// What a broker answered of one partition.
#[derive(Debug, Default)]
pub struct Partition {
    /// Of this partition.
    pub error: ErrorCode,
    /// Where the replicated log ends.
    pub high_watermark: i64,
    /// Where readers of committed messages stop; -1: the broker is too old for transactions.
    pub last_stable_offset: i64,
    /// The aborted transactions among the records; none for readers of everything.
    pub aborted: Aborted,
    /// The node id of a replica that is nearer than the leader and is to be asked instead (KIP-392).
    pub preferred_replica: Option<i32>,
    /// Whom the partition moved to, where a refusal says so (KIP-951). Apache Kafka does from version 16
    /// on; the field is there since 12.
    pub leader: Option<NamedLeader>,
    /// Record batches, the last of which may be cut off.
    pub records: Bytes,
}

/// Reads the answer.
pub fn read(response: FetchResponse) -> Answer {
    Answer {
        error: ErrorCode(response.error_code),
        session_id: response.session_id,
        is_throttled: response.throttle_time_ms > 0,
        topics: response.responses,
        endpoints: response.node_endpoints,
    }
}

fn partition(data: PartitionData, endpoints: &[NodeEndpoint]) -> Partition {
    let error = ErrorCode(data.error_code);
    let aborted = data.aborted_transactions.unwrap_or_default().into_iter();
    let aborted = aborted.map(|one| (one.first_offset, one.producer_id.0));
    let named = data.current_leader;
    let is_named = !error.is_ok() && named.leader_id.0 >= 0 && named.leader_epoch >= 0;
    let replica = data.preferred_read_replica.0;
    Partition {
        error,
        high_watermark: data.high_watermark,
        last_stable_offset: data.last_stable_offset,
        aborted: Aborted::new(aborted.collect()),
        preferred_replica: (replica >= 0).then_some(replica),
        leader: is_named.then(|| {
            let listens = endpoints.iter().find(|at| at.node_id == named.leader_id);
            NamedLeader {
                node: named.leader_id.0,
                epoch: named.leader_epoch,
                endpoint: listens.map(|at| (at.host.to_string(), at.port)),
            }
        }),
        records: data.records.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{all_versions, as_read, over_the_wire, versions};
    use super::*;
    use kafka_protocol::messages::fetch_response::{AbortedTransaction, LeaderIdAndEpoch};
    use kafka_protocol::messages::ProducerId;

    fn head() -> Head<'static> {
        Head {
            max_wait: Duration::from_millis(250),
            min_bytes: 1,
            max_bytes: 5_000_000,
            isolation: Isolation::ReadCommitted,
            session_id: 0,
            session_epoch: -1,
            rack_id: "",
        }
    }

    #[test]
    fn partitions_are_gathered_by_topic_in_every_version() {
        let ask = |topic, partition, offset| {
            let ask = Ask {
                topic_id: None,
                offset,
                leader_epoch: 7,
                max_bytes: 100,
            };
            ((topic_name(topic), partition), ask)
        };
        let asks = [ask("a", 0, 10), ask("b", 0, 11), ask("a", 1, 12)];
        for version in versions::<FetchRequest>() {
            let read = as_read(&request(&head(), asks.clone(), []), version);
            assert_eq!((read.max_wait_ms, read.isolation_level), (250, 1));
            assert_eq!(read.topics.len(), 2);
            let second = &read.topics[0].partitions[1];
            assert_eq!((second.partition, second.fetch_offset), (1, 12));
            assert_eq!(second.partition_max_bytes, 100);
            let epoch = if version >= 9 { 7 } else { -1 };
            assert_eq!(second.current_leader_epoch, epoch);
            if version >= 7 {
                let forget = [(key("a", 0), None), (key("a", 1), None)];
                let read = as_read(&request(&head(), [], forget), version);
                assert_eq!(read.forgotten_topics_data[0].partitions, [0, 1]);
            }
        }
    }

    #[test]
    fn an_answer_may_be_what_was_asked_for_and_one_larger_batch() {
        for version in all_versions::<FetchRequest>() {
            let body = crate::encode(&request(&head(), [], []), version).unwrap();
            let limit = super::super::longest_answer(API.key, version, &body);
            assert_eq!(limit, 5_000_000 + SLACK);
        }
        assert_eq!(longest_answer(12, b"cut off"), SLACK);
    }

    /// An answer of two topics, as far as the version has its fields.
    fn response(version: i16) -> FetchResponse {
        let aborted = AbortedTransaction::default()
            .with_producer_id(ProducerId(7))
            .with_first_offset(40);
        let full = PartitionData::default()
            .with_partition_index(3)
            .with_high_watermark(50)
            .with_last_stable_offset(45)
            .with_aborted_transactions(Some(vec![aborted]))
            .with_preferred_read_replica(BrokerId(if version >= 11 { 2 } else { -1 }))
            .with_records(Some(Bytes::from_static(b"batches")));
        let mut refused = PartitionData::default()
            .with_error_code(ErrorCode::NOT_LEADER_FOR_PARTITION.0)
            .with_preferred_read_replica(BrokerId(-1));
        if version >= 12 {
            refused.current_leader = LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(4))
                .with_leader_epoch(9);
        }
        let topic = |name, partitions| {
            FetchableTopicResponse::default()
                .with_topic(topic_name(name))
                .with_partitions(partitions)
        };
        FetchResponse::default()
            .with_throttle_time_ms(10)
            .with_session_id(if version >= 7 { 77 } else { 0 })
            .with_responses(vec![topic("a", vec![full]), topic("b", vec![refused])])
    }

    #[test]
    fn partitions_are_read_in_every_version() {
        for version in versions::<FetchRequest>() {
            let response = over_the_wire::<FetchRequest>(&response(version), version);
            let answer = read(response);
            assert!(answer.error.is_ok() && answer.is_throttled);
            assert_eq!(answer.session_id, if version >= 7 { 77 } else { 0 });
            let [(full_key, full), (refused_key, refused)] =
                answer.partitions().collect::<Vec<_>>().try_into().unwrap();
            assert_eq!((full_key, refused_key), (key("a", 3), key("b", 0)));
            assert!(full.error.is_ok());
            assert_eq!((full.high_watermark, full.last_stable_offset), (50, 45));
            assert_eq!(full.preferred_replica, (version >= 11).then_some(2));
            assert_eq!(full.records, &b"batches"[..]);
            assert_eq!(full.aborted, Aborted::new(vec![(40, 7)]));
            assert_eq!(full.leader, None);
            assert_eq!(refused.error, ErrorCode::NOT_LEADER_FOR_PARTITION);
            assert_eq!(refused.preferred_replica, None);
            assert!(refused.records.is_empty());
            let leader = NamedLeader {
                node: 4,
                epoch: 9,
                endpoint: None,
            };
            assert_eq!(refused.leader, (version >= 12).then_some(leader));
        }
    }

    fn id(number: u8) -> TopicId {
        TopicId::new([number; 16]).unwrap()
    }

    fn by_id() -> std::ops::RangeInclusive<i16> {
        let (oldest, newest) = API.by_id.unwrap();
        assert!(is_by_id(oldest) && !is_by_id(API.versions.1));
        oldest..=newest
    }

    #[test]
    fn topics_are_named_by_ids_and_one_that_was_made_again_stands_beside_the_one_before() {
        let ask = |topic, partition, topic_id| {
            let ask = Ask {
                topic_id: Some(id(topic_id)),
                offset: 1,
                leader_epoch: 2,
                max_bytes: 3,
            };
            (key(topic, partition), ask)
        };
        let asks = [
            ask("a", 0, 1),
            ask("a", 1, 2),
            ask("b", 0, 3),
            ask("a", 2, 1),
        ];
        let forget = [(key("a", 3), Some(id(1))), (key("a", 4), Some(id(2)))];
        for version in by_id() {
            let read = as_read(&request(&head(), asks.clone(), forget.clone()), version);
            let asked: Vec<_> = read
                .topics
                .iter()
                .map(|topic| {
                    assert_eq!(topic.topic.as_str(), "");
                    let partitions = topic.partitions.iter().map(|p| p.partition);
                    (*topic.topic_id.as_bytes(), partitions.collect::<Vec<_>>())
                })
                .collect();
            let expected = [
                ([1; 16], vec![0, 2]),
                ([2; 16], vec![1]),
                ([3; 16], vec![0]),
            ];
            assert_eq!(asked, expected);
            let forgotten = read.forgotten_topics_data;
            assert_eq!(*forgotten[0].topic_id.as_bytes(), [1; 16]);
            assert_eq!(*forgotten[1].topic_id.as_bytes(), [2; 16]);
            assert_eq!(
                (&*forgotten[0].partitions, &*forgotten[1].partitions),
                (&[3][..], &[4][..])
            );
        }
    }

    #[test]
    fn topics_of_an_answer_get_their_names_back_and_what_was_not_asked_for_is_dropped() {
        for version in by_id() {
            let topic = |number| {
                FetchableTopicResponse::default()
                    .with_topic_id(TopicId::on_wire(Some(id(number))))
                    .with_partitions(vec![PartitionData::default()])
            };
            let response = FetchResponse::default().with_responses(vec![topic(1), topic(2)]);
            let mut answer = read(over_the_wire::<FetchRequest>(&response, version));
            answer.put_names(|asked| (asked == id(2)).then(|| topic_name("b")));
            let keys: Vec<_> = answer.partitions().map(|(key, _)| key).collect();
            assert_eq!(keys, [key("b", 0)]);
        }
    }

    #[test]
    fn a_refused_fetch_says_where_the_new_leader_listens_from_version_16_on() {
        for version in by_id() {
            let mut refused = PartitionData::default()
                .with_error_code(ErrorCode::NOT_LEADER_FOR_PARTITION.0)
                .with_preferred_read_replica(BrokerId(-1));
            refused.current_leader = LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(4))
                .with_leader_epoch(9);
            let topic = FetchableTopicResponse::default()
                .with_topic_id(TopicId::on_wire(Some(id(1))))
                .with_partitions(vec![refused]);
            let listens = NodeEndpoint::default()
                .with_node_id(BrokerId(4))
                .with_host(text("h"))
                .with_port(9092);
            let endpoints = if version >= 16 { vec![listens] } else { vec![] };
            let response = FetchResponse::default()
                .with_responses(vec![topic])
                .with_node_endpoints(endpoints);
            let mut answer = read(over_the_wire::<FetchRequest>(&response, version));
            answer.put_names(|_| Some(topic_name("a")));
            let (_, partition) = answer.partitions().next().unwrap();
            let leader = NamedLeader {
                node: 4,
                epoch: 9,
                endpoint: (version >= 16).then(|| ("h".into(), 9092)),
            };
            assert_eq!(partition.leader, Some(leader));
        }
    }

    #[test]
    fn errors_of_the_answer_and_of_its_only_partition_are_errors() {
        let code = ErrorCode::OFFSET_OUT_OF_RANGE;
        let partition = PartitionData::default().with_error_code(code.0);
        let topic = FetchableTopicResponse::default()
            .with_topic(topic_name("t"))
            .with_partitions(vec![partition]);
        let of_partition = FetchResponse::default().with_responses(vec![topic]);
        let of_all = FetchResponse::default().with_error_code(code.0);
        for response in [of_partition.clone(), of_all] {
            let answer = read(response).only("t", 0);
            assert_eq!(answer.unwrap_err(), code.into());
        }
        for response in [of_partition, FetchResponse::default()] {
            let answer = read(response).only("t", 3);
            assert_eq!(answer.unwrap_err(), ApiError::lacks("Fetch", "t-3"));
        }
    }

    #[test]
    fn what_there_was_no_quota_for_is_to_be_asked_for_again() {
        let response = FetchResponse::default().with_throttle_time_ms(10);
        let answer = read(response).only("t", 0);
        assert_eq!(
            answer.unwrap_err(),
            ErrorCode::THROTTLING_QUOTA_EXCEEDED.into()
        );
    }

    #[test]
    fn an_error_of_the_whole_is_read() {
        let code = ErrorCode::FETCH_SESSION_ID_NOT_FOUND;
        let response = FetchResponse::default().with_error_code(code.0);
        let answer = read(over_the_wire::<FetchRequest>(&response, 12));
        assert_eq!(answer.error, code);
        assert_eq!(answer.partitions().count(), 0);
    }

    #[test]
    fn a_leader_without_a_number_or_an_epoch_is_none() {
        for (node, epoch) in [(-1, 5), (3, -1)] {
            let leader = LeaderIdAndEpoch::default()
                .with_leader_id(BrokerId(node))
                .with_leader_epoch(epoch);
            let code = ErrorCode::NOT_LEADER_FOR_PARTITION.0;
            let data = PartitionData::default()
                .with_error_code(code)
                .with_current_leader(leader);
            assert_eq!(partition(data, &[]).leader, None);
        }
    }
}
