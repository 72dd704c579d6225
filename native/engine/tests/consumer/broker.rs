//! A broker of one topic, `t`, with what a consumer asks of it, and faults on demand.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use brod_protocol::batch_writer::{BatchWriter, SealOptions};
use brod_protocol::compress::Codec;
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Decodable;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::server::{encoded, metadata, serve, topic, Versions};

const SESSION: i32 = 77;

pub(crate) const VERSIONS: Versions = &[
    (ApiKey::ApiVersions, 3),
    (ApiKey::Metadata, 9),
    (ApiKey::ListOffsets, 6),
    (ApiKey::OffsetForLeaderEpoch, 4),
    (ApiKey::Fetch, 12),
];

#[derive(Default)]
pub(crate) struct Log {
    /// By partition: last offset and bytes.
    batches: BTreeMap<i32, Vec<(i64, Bytes)>>,
    pub aborted: Vec<(i64, i64)>,
    /// Error codes of the next answers, by partition.
    pub errors: HashMap<i32, VecDeque<i16>>,
    /// Partitions that another broker leads: its node id and leader epoch, named in the refusal.
    pub moved: HashMap<i32, (i32, i32)>,
    /// Fetches refused for that reason.
    pub refused: u32,
    pub log_start: i64,
    /// What metadata says: the brokers with their ports, who leads (None: node 1), and the epoch.
    pub brokers: Vec<(i32, u16)>,
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    pub metadata_requests: u32,
    /// Where the log of any former leader epoch ends.
    pub epoch_end: i64,
    /// Questions for it, and whether they are never answered.
    pub epoch_requests: u32,
    pub epochs_hang: bool,
    /// A replica that consumers are sent to.
    pub preferred: Option<i32>,
    /// Questions for offsets by time.
    pub offset_requests: u32,
    /// Error code of all answers about offsets.
    pub offsets_error: i16,
    /// Hangs up on everyone.
    pub gone: bool,
    /// The most that a fetch has asked of a partition.
    pub max_bytes: i32,
    pub lose_session: bool,
    pub hang_up: bool,
    /// Fetches are not answered from now on.
    pub fetches_hang: bool,
    /// Batches that are larger than what a fetch asks of their partition are left out, but for the
    /// first one of an answer (KIP-74).
    pub is_strict: bool,
    /// By partition: offset and size.
    pub session: BTreeMap<i32, (i64, i32)>,
    /// The ends of logs that answers have told.
    told: HashMap<i32, i64>,
    /// Every fetch: its session epoch, and the partitions that it names.
    pub fetches: Vec<(i32, Vec<i32>)>,
}

/// What a batch is beside its records.
#[derive(Default, Clone, Copy)]
pub(crate) struct Kind {
    pub producer: Option<i64>,
    /// Some(commit): a control batch.
    pub control: Option<bool>,
    pub epoch: i32,
    pub codec: Codec,
}

pub(crate) struct Broker {
    pub node: i32,
    pub port: u16,
    log: Mutex<Log>,
    changed: Notify,
}

impl Broker {
    pub(crate) async fn start() -> Arc<Broker> {
        Broker::start_as(1).await
    }

    pub(crate) async fn start_as(node: i32) -> Arc<Broker> {
        Broker::start_with(node, VERSIONS).await
    }

    pub(crate) async fn start_with(node: i32, versions: Versions) -> Arc<Broker> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Log {
            brokers: vec![(node, port)],
            ..Log::default()
        };
        let broker = Arc::new(Broker {
            node,
            port,
            log: Mutex::new(log),
            changed: Notify::new(),
        });
        let server = broker.clone();
        serve(
            listener,
            move || versions,
            move |key, version, body| server.clone().answer(key, version, body),
        );
        broker
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Log) -> T) -> T {
        let result = change(&mut self.log.lock());
        self.changed.notify_waiters();
        result
    }

    /// Appends a batch of `values` at offset `base`.
    pub(crate) fn append(&self, partition: i32, base: i64, values: &[&str], kind: Kind) {
        let bytes = batch(base, values, kind);
        self.append_raw(partition, base + values.len() as i64 - 1, bytes);
    }

    pub(crate) fn append_raw(&self, partition: i32, last: i64, bytes: Bytes) {
        self.change(|log| {
            log.batches
                .entry(partition)
                .or_default()
                .push((last, bytes))
        });
    }

    /// Appends `value` to the empty logs of so many partitions, all at once.
    pub(crate) fn append_to_all(&self, partitions: i32, value: &str) {
        let bytes = batch(0, &[value], Kind::default());
        self.change(|log| {
            for partition in 0..partitions {
                log.batches.insert(partition, vec![(0, bytes.clone())]);
            }
        });
    }

    /// What the partition has from now on.
    pub(crate) fn replace_all(&self, partition: i32, batches: Vec<(i64, Bytes)>) {
        self.change(|log| log.batches.insert(partition, batches));
    }

    pub(crate) fn replace_last(&self, partition: i32, bytes: Bytes) {
        self.change(|log| {
            let stored = log
                .batches
                .get_mut(&partition)
                .and_then(|all| all.last_mut());
            stored.unwrap().1 = bytes;
        });
    }

    async fn answer(
        self: Arc<Self>,
        key: ApiKey,
        version: i16,
        mut body: Bytes,
    ) -> Option<BytesMut> {
        if self.log.lock().gone {
            return None;
        }
        let answer = match key {
            ApiKey::Metadata => {
                let mut log = self.log.lock();
                log.metadata_requests += 1;
                let leader = log.leader.unwrap_or(1);
                encoded(&metadata(&log.brokers, leader, log.leader_epoch), version)
            }
            ApiKey::ListOffsets => {
                let request = ListOffsetsRequest::decode(&mut body, version).unwrap();
                encoded(&self.list_offsets(&request), version)
            }
            ApiKey::OffsetForLeaderEpoch => {
                let hangs = self.change(|log| {
                    log.epoch_requests += 1;
                    log.epochs_hang
                });
                if hangs {
                    std::future::pending::<()>().await;
                }
                let end = EpochEndOffset::default().with_end_offset(self.log.lock().epoch_end);
                let topic = OffsetForLeaderTopicResult::default()
                    .with_topic(topic())
                    .with_partitions(vec![end]);
                let response = OffsetForLeaderEpochResponse::default().with_topics(vec![topic]);
                encoded(&response, version)
            }
            ApiKey::Fetch => {
                let request = FetchRequest::decode(&mut body, version).unwrap();
                if self.change(|log| std::mem::take(&mut log.hang_up)) {
                    return None;
                }
                let answer = self.fetch(request).await;
                if self.log.lock().fetches_hang {
                    std::future::pending::<()>().await;
                }
                encoded(&answer, version)
            }
            other => panic!("unexpected {other:?}"),
        };
        Some(answer)
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let mut log = self.log.lock();
        log.offset_requests += 1;
        let found = request.topics[0].partitions.iter().map(|asked| {
            let offset = match asked.timestamp {
                -2 => log.log_start,
                _ => log.end(asked.partition_index),
            };
            ListOffsetsPartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(log.offsets_error)
                .with_offset(offset)
        });
        let topic = ListOffsetsTopicResponse::default()
            .with_name(topic())
            .with_partitions(found.collect());
        ListOffsetsResponse::default().with_topics(vec![topic])
    }

    async fn fetch(&self, request: FetchRequest) -> FetchResponse {
        let named: BTreeMap<i32, (i64, i32)> = request
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|asked| {
                let what = (asked.fetch_offset, asked.partition_max_bytes);
                (asked.partition, what)
            })
            .collect();
        let mut session_id = 0;
        let asked = {
            let mut log = self.log.lock();
            let asked = request.topics.iter().flat_map(|topic| &topic.partitions);
            let most = asked.map(|partition| partition.partition_max_bytes).max();
            log.max_bytes = log.max_bytes.max(most.unwrap_or(0));
            let names = named.keys().copied().collect();
            log.fetches.push((request.session_epoch, names));
            match request.session_epoch {
                -1 => named,
                0 => {
                    session_id = SESSION;
                    log.session = named;
                    log.session.clone()
                }
                _ if std::mem::take(&mut log.lose_session) => {
                    return FetchResponse::default().with_error_code(70);
                }
                _ => {
                    assert_eq!(request.session_id, SESSION);
                    session_id = SESSION;
                    log.session.extend(named);
                    for topic in &request.forgotten_topics_data {
                        for partition in &topic.partitions {
                            log.session.remove(partition);
                        }
                    }
                    log.session.clone()
                }
            }
        };
        let limit = Duration::from_millis(request.max_wait_ms as u64);
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let mut partitions = self.log.lock().read(&asked);
            let is_late = tokio::time::Instant::now() >= deadline;
            if is_late && partitions.is_empty() && request.session_epoch < 1 {
                // Nothing new is left out in a session only.
                let log = self.log.lock();
                partitions = asked.keys().map(|&at| log.nothing_of(at)).collect();
            }
            if !partitions.is_empty() || is_late {
                let topic = FetchableTopicResponse::default()
                    .with_topic(topic())
                    .with_partitions(partitions);
                return FetchResponse::default()
                    .with_session_id(session_id)
                    .with_responses(vec![topic]);
            }
            let _ = tokio::time::timeout_at(deadline, changed).await;
        }
    }
}

impl Log {
    fn end(&self, partition: i32) -> i64 {
        let last = self.batches.get(&partition).and_then(|all| all.last());
        last.map_or(self.log_start, |(last, _)| last + 1)
    }

    /// What an answer says of a partition without messages.
    fn nothing_of(&self, partition: i32) -> PartitionData {
        let end = self.end(partition);
        PartitionData::default()
            .with_partition_index(partition)
            .with_high_watermark(end)
            .with_last_stable_offset(end)
            .with_preferred_read_replica(BrokerId(-1))
    }

    fn read(&mut self, asked: &BTreeMap<i32, (i64, i32)>) -> Vec<PartitionData> {
        let mut answer: Vec<PartitionData> = Vec::new();
        let mut is_first = true;
        for (&partition, &(offset, max_bytes)) in asked {
            let end = self.end(partition);
            let data = self.nothing_of(partition);
            if let Some((node, epoch)) = self.moved.get(&partition) {
                self.refused += 1;
                let leader = LeaderIdAndEpoch::default()
                    .with_leader_id(BrokerId(*node))
                    .with_leader_epoch(*epoch);
                answer.push(data.with_error_code(6).with_current_leader(leader));
                continue;
            }
            let code = self
                .errors
                .get_mut(&partition)
                .and_then(VecDeque::pop_front);
            if let Some(code) = code {
                answer.push(data.with_error_code(code));
                continue;
            }
            if let Some(node) = self.preferred {
                answer.push(data.with_preferred_read_replica(BrokerId(node)));
                continue;
            }
            if offset < self.log_start || offset > end {
                answer.push(data.with_error_code(1));
                continue;
            }
            let all = self.batches.get(&partition);
            let wanted = all
                .into_iter()
                .flatten()
                .filter(|(last, _)| *last >= offset);
            let bytes: Vec<u8> = wanted.flat_map(|(_, bytes)| bytes.to_vec()).collect();
            if self.is_strict && !is_first && bytes.len() > max_bytes as usize {
                // A session tells nothing where nothing has changed (KIP-227).
                if self.told.insert(partition, end) != Some(end) {
                    answer.push(data);
                }
                continue;
            }
            if !bytes.is_empty() {
                is_first = false;
                let aborted = self.aborted.iter().map(|(producer, first)| {
                    AbortedTransaction::default()
                        .with_producer_id(ProducerId(*producer))
                        .with_first_offset(*first)
                });
                answer.push(
                    data.with_records(Some(bytes.into()))
                        .with_aborted_transactions(Some(aborted.collect())),
                );
            }
        }
        answer
    }
}

/// A batch as it lies in a log.
pub(crate) fn batch(base: i64, values: &[&str], kind: Kind) -> Bytes {
    let mut writer = BatchWriter::new(0);
    for value in values {
        let control_key = kind.control.map(|commit| [0, 0, 0, u8::from(commit)]);
        let key = control_key.as_ref().map(|key| &key[..]);
        writer.push(1, key, Some(value.as_bytes()), &[]);
    }
    let options = SealOptions {
        producer_id: kind.producer.unwrap_or(-1),
        transactional: kind.producer.is_some(),
        codec: kind.codec,
        ..SealOptions::default()
    };
    let mut sealed = &writer.seal(options).unwrap().to_bytes()[..];
    let mut bytes = vec![0; sealed.len()];
    sealed.copy_to_slice(&mut bytes);
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[12..16].copy_from_slice(&kind.epoch.to_be_bytes());
    if kind.control.is_some() {
        bytes[22] |= 0x20;
    }
    checksummed(bytes)
}

/// A batch with one message that has headers.
pub(crate) fn batch_with(
    base: i64,
    value: &str,
    headers: &[(&str, Option<&[u8]>)],
    codec: Codec,
) -> Bytes {
    let mut writer = BatchWriter::new(0);
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_bytes(), *value))
        .collect();
    writer.push(1, None, Some(value.as_bytes()), &headers);
    let options = SealOptions {
        codec,
        ..SealOptions::default()
    };
    let mut bytes = writer.seal(options).unwrap().to_bytes().to_vec();
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    checksummed(bytes)
}

/// The batch, with the checksum that its bytes have now.
pub(crate) fn checksummed(mut bytes: Vec<u8>) -> Bytes {
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}
