//! Produce.

use brod_protocol::batch_reader::batches;
use brod_protocol::error::ErrorCode;
use bytes::Bytes;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
    TopicProduceResponse,
};
use kafka_protocol::messages::{
    BrokerId, ProduceRequest, ProduceResponse, ProducerId, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use super::text;
use crate::call::{Answer, Call, Connection, Millis};
use crate::cluster::Cluster;
use crate::storage::How;
use crate::versions::Release;

/// From this version on topics are named by ids.
const BY_ID: i16 = 13;
/// From this version on records that are refused are named (KIP-467).
const NAMES_BAD_FROM: i16 = 8;
/// From this version on partitions are added to a transaction by writing to them (KIP-890).
const ADDS_FROM: i16 = 12;

pub(crate) fn handle(
    cluster: &mut Cluster,
    connection: &mut Connection,
    call: &Call,
    request: ProduceRequest,
) -> Answer<ProduceResponse> {
    let mut response = ProduceResponse::default();
    let mut size = 0;
    for topic in request.topic_data {
        let name = match call.version >= BY_ID {
            true => cluster.topics.name_of(topic.topic_id).map(str::to_owned),
            false => Some(topic.name.to_string()),
        };
        let mut answered = TopicProduceResponse::default()
            .with_name(TopicName(text(name.as_deref().unwrap_or_default())))
            .with_topic_id(topic.topic_id);
        for data in topic.partition_data {
            let records = data.records.unwrap_or_default();
            size += records.len();
            let result = match (&name, request.acks) {
                (None, _) => Err(ErrorCode::UNKNOWN_TOPIC_ID.into()),
                (_, acks) if !(-1..=1).contains(&acks) => {
                    Err(ErrorCode::INVALID_REQUIRED_ACKS.into())
                }
                (Some(name), _) => begin(
                    cluster,
                    call,
                    &request.transactional_id,
                    name,
                    data.index,
                    &records,
                )
                .map_err(Refused::from)
                .and_then(|()| append(cluster, call, name, data.index, records)),
            };
            let part = PartitionProduceResponse::default().with_index(data.index);
            answered.partition_responses.push(match result {
                Ok(appended) => part
                    .with_base_offset(appended.base)
                    .with_log_start_offset(appended.start)
                    .with_log_append_time_ms(appended.time),
                Err(Refused { code, bad }) => {
                    let leader = name
                        .as_ref()
                        .filter(|_| code == ErrorCode::NOT_LEADER_FOR_PARTITION);
                    let leader = leader.and_then(|name| named_leader(cluster, name, data.index));
                    let mut part = part.with_error_code(code.0).with_base_offset(-1);
                    if let Some((current, endpoint)) = leader {
                        part = part.with_current_leader(current);
                        if !response.node_endpoints.contains(&endpoint) {
                            response.node_endpoints.push(endpoint);
                        }
                    }
                    let refused = name.as_ref().filter(|_| !bad.is_empty());
                    let start = refused
                        .and_then(|name| cluster.topics.partition(name, data.index))
                        .map_or(-1, |partition| partition.log.start());
                    if call.version >= NAMES_BAD_FROM {
                        let words = words(code, bad.len());
                        let bad = bad.into_iter();
                        let bad =
                            bad.map(|at| BatchIndexAndErrorMessage::default().with_batch_index(at));
                        part = part
                            .with_record_errors(bad.collect())
                            .with_error_message(words);
                    }
                    part.with_log_start_offset(start)
                }
            });
        }
        response.responses.push(answered);
    }
    crate::fetches::wake(cluster, call.now);
    let throttle = cluster
        .produce_quotas
        .charge(&call.client_id, size, call.now);
    connection.muted_until = connection.muted_until.max(call.now + throttle);
    response.throttle_time_ms = throttle as i32;
    let failed = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    match request.acks {
        // A client that asks for no answer learns of a failure by losing its connection.
        0 if failed.into_iter().any(|part| part.error_code != 0) => Answer::Close,
        0 => Answer::Never,
        _ => Answer::Now(response),
    }
}

/// A transactional batch goes into a transaction that has its partition. From [`ADDS_FROM`] on Produce itself
/// adds it.
fn begin(
    cluster: &mut Cluster,
    call: &Call,
    id: &Option<TransactionalId>,
    topic: &str,
    index: i32,
    records: &Bytes,
) -> Result<(), ErrorCode> {
    let batch = batches(records.clone()).next();
    let (Some(id), Some(Ok(batch))) = (id, batch) else {
        return Ok(());
    };
    if !batch.is_transactional() || cluster.topics.partition(topic, index).is_none() {
        return Ok(());
    }
    let who = (ProducerId(batch.producer_id), batch.producer_epoch);
    let place = (TopicName(text(topic)), index);
    let transactions = &mut cluster.coordination.transactions;
    let begun = match call.version >= ADDS_FROM {
        true => transactions.add_partitions(id, who, [place], call.now),
        false => transactions.verify(id, who, &place),
    };
    begun.map_err(|code| match code {
        // Produce has no code of its own for it.
        ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
        code => code,
    })
}

/// `message.timestamp.after.max.ms` since Kafka 4.0.
const MOST_AHEAD_MS: u64 = 3_600_000;

struct Appended {
    base: i64,
    /// Of the log.
    start: i64,
    /// -1: the messages' own times stand.
    time: Millis,
}

fn append(
    cluster: &mut Cluster,
    call: &Call,
    topic: &str,
    index: i32,
    records: Bytes,
) -> Result<Appended, Refused> {
    if let Some(code) = call.refused_for(topic, index) {
        return Err(code.into());
    }
    let retention = cluster.setting(topic, "retention.bytes", cluster.config.retention_bytes);
    let largest = cluster.setting(topic, "max.message.bytes", 1_048_588);
    let by_broker = cluster.configured(topic, "message.timestamp.type") == Some("LogAppendTime");
    let is_compacted = cluster
        .configured(topic, "cleanup.policy")
        .is_some_and(|policy| policy.contains("compact"));
    let newest_release = cluster.config.version == Release::V4_1;
    let ahead = if newest_release {
        MOST_AHEAD_MS
    } else {
        u64::MAX
    };
    let ahead = cluster.setting(topic, "message.timestamp.after.max.ms", ahead);
    let behind = cluster.setting(topic, "message.timestamp.before.max.ms", u64::MAX);
    let broker_time = call.now + cluster.skew_of(call.broker);
    let stamp = by_broker.then_some(broker_time);
    let partition = cluster.led(call.broker, topic, index, -1)?;
    if records.len() as u64 > largest {
        return Err(ErrorCode::MESSAGE_TOO_LARGE.into());
    }
    let limits = (!by_broker).then_some((broker_time, ahead, behind));
    check_records(&records, limits, is_compacted)?;
    let epoch = partition.leader_epoch;
    let base = partition.log.append(records, How { epoch, stamp })?;
    partition.log.retain(retention);
    Ok(Appended {
        base,
        start: partition.log.start(),
        time: stamp.unwrap_or(-1),
    })
}

/// Why a partition's batch is not taken, and which of its records are bad (KIP-467).
struct Refused {
    code: ErrorCode,
    bad: Vec<i32>,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        let bad = Vec::new();
        Refused { code, bad }
    }
}

/// Records whose own times are too far from the broker's, where there are `limits` (its time, ahead, behind), and
/// records without a key, which no compaction could tell apart. One of them has all of the batch refused.
fn check_records(
    records: &Bytes,
    limits: Option<(Millis, u64, u64)>,
    needs_keys: bool,
) -> Result<(), Refused> {
    // -1 is no time.
    let is_out_of_time = |time: Millis| {
        limits.is_some_and(|(now, ahead, behind)| {
            let most = if time > now { ahead } else { behind };
            time != -1 && time.abs_diff(now) > most
        })
    };
    let (mut bad, mut code) = (Vec::new(), ErrorCode::INVALID_RECORD);
    for batch in batches(records.clone()).flatten() {
        // Few topics need a look at each record.
        let has_limit = limits.is_some_and(|(_, _, behind)| behind < i64::MAX as u64);
        if !needs_keys && !has_limit && !is_out_of_time(batch.max_timestamp) {
            continue;
        }
        let Ok(records) = batch.records(usize::MAX) else {
            continue;
        };
        for (index, record) in (0..).zip(records.iter().flatten()) {
            // Of each record the first that is wrong counts.
            let lacks_key = needs_keys && record.key.is_none();
            if !lacks_key && is_out_of_time(record.timestamp) {
                code = ErrorCode::INVALID_TIMESTAMP;
                bad.push(index);
            } else if lacks_key {
                bad.push(index);
            }
        }
    }
    match bad.is_empty() {
        true => Ok(()),
        false => Err(Refused { code, bad }),
    }
}

/// Why records are refused, where it is known which they are.
fn words(code: ErrorCode, bad: usize) -> Option<StrBytes> {
    let why = match code {
        ErrorCode::INVALID_TIMESTAMP => "too far from the broker's time",
        _ => "without a key, for a topic that is compacted",
    };
    (bad > 0).then(|| text(&format!("{bad} records are {why}")))
}

/// KIP-951.
fn named_leader(
    cluster: &Cluster,
    topic: &str,
    index: i32,
) -> Option<(LeaderIdAndEpoch, NodeEndpoint)> {
    let partition = cluster.topics.partition(topic, index)?;
    let id = partition.leader?;
    let broker = cluster.brokers.get(&id)?;
    let leader = LeaderIdAndEpoch::default()
        .with_leader_id(BrokerId(id))
        .with_leader_epoch(partition.leader_epoch);
    let endpoint = NodeEndpoint::default()
        .with_node_id(BrokerId(id))
        .with_host(text(&broker.host))
        .with_port(broker.port.into());
    Some((leader, endpoint))
}
