//! Fetch: record batches of many partitions (KIP-74, sessions: KIP-227).

use std::time::Duration;

use indexmap::IndexMap;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::AbortedTransaction;
use kafka_protocol::messages::{ApiKey, BrokerId, FetchRequest, TopicName};

use super::{millis, text, topic_name, Api, LEADER, NODE_ENDPOINT};
use crate::isolation::{Aborted, Isolation};
use crate::shape::build::{
    fields, int16, int32, int64, list, nullable_list, records, string, tagged, uuid,
};
use crate::shape::Fields;

/// This API.
// 13 names topics by their ids, which would need a lookup per response on the hot path. What that
// costs: brokers name the new leader in a refused fetch from 16 on only (KIP-951).
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
.up_to(12);

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

/// The transactions that the answer says are aborted; the list is null for readers of everything.
pub fn aborted(list: Option<&[AbortedTransaction]>) -> Aborted {
    let list = list.unwrap_or_default().iter();
    Aborted::new(
        list.map(|one| (one.first_offset, one.producer_id.0))
            .collect(),
    )
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

/// Asks for partitions, and has the session forget others.
pub fn request(
    head: &Head<'_>,
    ask: impl IntoIterator<Item = (Key, Ask)>,
    forget: impl IntoIterator<Item = Key>,
) -> FetchRequest {
    let mut topics: IndexMap<TopicName, Vec<FetchPartition>> = IndexMap::new();
    for ((topic, partition), ask) in ask {
        topics.entry(topic).or_default().push(
            FetchPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(ask.leader_epoch)
                .with_fetch_offset(ask.offset)
                .with_partition_max_bytes(ask.max_bytes),
        );
    }
    let mut forgotten: IndexMap<TopicName, Vec<i32>> = IndexMap::new();
    for (topic, partition) in forget {
        forgotten.entry(topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        FetchTopic::default()
            .with_topic(topic)
            .with_partitions(partitions)
    });
    let forgotten = forgotten.into_iter().map(|(topic, partitions)| {
        ForgottenTopic::default()
            .with_topic(topic)
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

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, versions};
    use super::*;

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
                let forget = [(topic_name("a"), 0), (topic_name("a"), 1)];
                let read = as_read(&request(&head(), [], forget), version);
                assert_eq!(read.forgotten_topics_data[0].partitions, [0, 1]);
            }
        }
    }

    #[test]
    fn an_answer_may_be_what_was_asked_for_and_one_larger_batch() {
        for version in versions::<FetchRequest>() {
            let body = crate::encode(&request(&head(), [], []), version).unwrap();
            let limit = super::super::longest_answer(API.key, version, &body);
            assert_eq!(limit, 5_000_000 + SLACK);
        }
        assert_eq!(longest_answer(12, b"cut off"), SLACK);
    }
}
