//! Fetches that wait for messages, and the sessions they belong to.

use std::collections::{BTreeMap, HashMap};

use brod_protocol::error::ErrorCode;
use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ProducerId, TopicName};
use uuid::Uuid;

use crate::api::text;
use crate::call::{Call, Millis};
use crate::cluster::Cluster;
use crate::storage::Share;

/// A partition as a fetch names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Empty: nothing is known of the id.
    pub topic: String,
    /// Nil where fetches go by name.
    pub id: Uuid,
    pub index: i32,
}

/// What a fetch wants of a partition.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub place: Place,
    pub offset: i64,
    /// The leader epoch that the client knows, or -1.
    pub epoch: i32,
    pub max_bytes: usize,
}

/// A session, on one broker.
#[derive(Debug)]
pub(crate) struct Session {
    pub broker: i32,
    /// Of the next request.
    pub epoch: i32,
    pub asked: Vec<Asked>,
    /// High watermark and start of the log as they were told last.
    pub said: BTreeMap<Place, (i64, i64)>,
}

/// A fetch that has not been answered.
#[derive(Debug)]
pub(crate) struct Parked {
    pub call: Call,
    /// 0: none.
    pub session: i32,
    pub asked: Vec<Asked>,
    pub committed: bool,
    pub min_bytes: usize,
    pub max_bytes: usize,
    pub deadline: Millis,
}

/// All fetches that wait, and all sessions.
#[derive(Debug, Default)]
pub(crate) struct Fetches {
    parked: Vec<Parked>,
    pub sessions: HashMap<i32, Session>,
}

impl Fetches {
    pub(crate) fn park(&mut self, parked: Parked) {
        self.parked.push(parked);
    }

    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        self.parked.iter().map(|parked| parked.deadline).min()
    }
}

/// Answers what can be answered by now.
pub(crate) fn wake(cluster: &mut Cluster, now: Millis) {
    for parked in std::mem::take(&mut cluster.fetches.parked) {
        match answer(cluster, &parked, now) {
            Some(response) => cluster.complete::<FetchRequest>(parked.call.waiter, response),
            None => cluster.fetches.parked.push(parked),
        }
    }
}

/// None: there is not enough to tell yet.
pub(crate) fn answer(cluster: &mut Cluster, parked: &Parked, now: Millis) -> Option<FetchResponse> {
    let mut size = 0;
    let mut is_due = now >= parked.deadline || parked.asked.is_empty();
    for asked in &parked.asked {
        match look(cluster, parked, asked) {
            Ok((below, _)) => {
                let log = &cluster
                    .topics
                    .partition(&asked.place.topic, asked.place.index)?
                    .log;
                size += log.readable(asked.offset, below, parked.min_bytes.max(1));
            }
            Err(_) => is_due = true,
        }
        if is_due || (size > 0 && size >= parked.min_bytes) {
            is_due = true;
            break;
        }
    }
    (is_due || parked.min_bytes == 0).then(|| build(cluster, parked))
}

/// Below which offset may be read, and where the log starts.
fn look(cluster: &mut Cluster, parked: &Parked, asked: &Asked) -> Result<(i64, i64), ErrorCode> {
    let place = &asked.place;
    if place.topic.is_empty() {
        return Err(ErrorCode::UNKNOWN_TOPIC_ID);
    }
    if let Some(code) = parked.call.refused_for(&place.topic, place.index) {
        return Err(code);
    }
    let partition = cluster.led(parked.call.broker, &place.topic, place.index, asked.epoch)?;
    let log = &partition.log;
    if asked.offset < log.start() || asked.offset > log.end() {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    Ok((
        if parked.committed {
            log.last_stable()
        } else {
            log.end()
        },
        log.start(),
    ))
}

fn build(cluster: &mut Cluster, parked: &Parked) -> FetchResponse {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    let mut left = parked.max_bytes;
    let mut is_empty = true;
    for asked in &parked.asked {
        let looked = look(cluster, parked, asked);
        let share = Share {
            bytes: left.min(asked.max_bytes),
            one_at_least: is_empty,
        };
        let data = of_partition(cluster, parked, asked, looked, share);
        let size = data.records.as_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(size);
        is_empty &= size == 0;
        if !is_news(cluster, parked, asked, &data) {
            continue;
        }
        match topics.iter_mut().find(|topic| {
            topic.topic.as_str() == asked.place.topic && topic.topic_id == asked.place.id
        }) {
            Some(topic) => topic.partitions.push(data),
            None => topics.push(
                FetchableTopicResponse::default()
                    .with_topic(TopicName(text(&asked.place.topic)))
                    .with_topic_id(asked.place.id)
                    .with_partitions(vec![data]),
            ),
        }
    }
    // So that each partition comes first at times: what has brought something goes to the end.
    if let Some(session) = cluster.fetches.sessions.get_mut(&parked.session) {
        if !session.asked.is_empty() {
            session.asked.rotate_left(1);
        }
    }
    let (client, taken) = (&parked.call.client_id, parked.max_bytes - left);
    let throttle = cluster.fetch_quotas.charge(client, taken, parked.call.now);
    FetchResponse::default()
        .with_throttle_time_ms(throttle as i32)
        .with_session_id(parked.session)
        .with_responses(topics)
}

fn of_partition(
    cluster: &Cluster,
    parked: &Parked,
    asked: &Asked,
    looked: Result<(i64, i64), ErrorCode>,
    share: Share,
) -> PartitionData {
    let data = PartitionData::default()
        .with_partition_index(asked.place.index)
        .with_preferred_read_replica(BrokerId(-1))
        .with_records(Some(Bytes::new()));
    let partition = cluster
        .topics
        .partition(&asked.place.topic, asked.place.index);
    let (Ok((below, start)), Some(partition)) = (looked, partition) else {
        let code = looked
            .err()
            .unwrap_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        return data
            .with_aborted_transactions(
                (code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION).then(Vec::new),
            )
            .with_error_code(code.0)
            .with_high_watermark(-1)
            .with_last_stable_offset(-1)
            .with_log_start_offset(-1);
    };
    let log = &partition.log;
    let aborted = parked.committed.then(|| {
        let aborted = log.aborted(asked.offset, below);
        let aborted = aborted.map(|aborted| {
            AbortedTransaction::default()
                .with_producer_id(ProducerId(aborted.producer))
                .with_first_offset(aborted.first)
        });
        aborted.collect()
    });
    data.with_high_watermark(partition.high_watermark())
        .with_last_stable_offset(log.last_stable())
        .with_log_start_offset(start)
        .with_aborted_transactions(aborted)
        .with_records(Some(log.read(asked.offset, below, share)))
}

/// In a session, what has not changed is left out.
fn is_news(cluster: &mut Cluster, parked: &Parked, asked: &Asked, data: &PartitionData) -> bool {
    let Some(session) = cluster.fetches.sessions.get_mut(&parked.session) else {
        return true;
    };
    let told = (data.high_watermark, data.log_start_offset);
    let before = session.said.insert(asked.place.clone(), told);
    let has_records = data
        .records
        .as_ref()
        .is_some_and(|records| !records.is_empty());
    has_records || data.error_code != 0 || before != Some(told)
}
