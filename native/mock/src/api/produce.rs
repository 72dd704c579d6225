//! Produce.

use brod_protocol::batch_reader::batches;
use brod_protocol::error::ErrorCode;
use bytes::Bytes;
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{
    BrokerId, ProduceRequest, ProduceResponse, ProducerId, TopicName, TransactionalId,
};

use super::text;
use crate::call::{Answer, Call, Connection, Millis};
use crate::cluster::Cluster;
use crate::storage::How;

/// From this version on topics are named by ids.
const BY_ID: i16 = 13;
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
                (None, _) => Err(ErrorCode::UNKNOWN_TOPIC_ID),
                (_, acks) if !(-1..=1).contains(&acks) => Err(ErrorCode::INVALID_REQUIRED_ACKS),
                (Some(name), _) => begin(
                    cluster,
                    call,
                    &request.transactional_id,
                    name,
                    data.index,
                    &records,
                )
                .and_then(|()| append(cluster, call, name, data.index, records)),
            };
            let part = PartitionProduceResponse::default().with_index(data.index);
            answered.partition_responses.push(match result {
                Ok(appended) => part
                    .with_base_offset(appended.base)
                    .with_log_start_offset(appended.start)
                    .with_log_append_time_ms(appended.time),
                Err(code) => {
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
                    part.with_log_start_offset(-1)
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
) -> Result<Appended, ErrorCode> {
    if let Some(code) = call.refused_for(topic, index) {
        return Err(code);
    }
    let retention = cluster.setting(topic, "retention.bytes", cluster.config.retention_bytes);
    let largest = cluster.setting(topic, "max.message.bytes", 1_048_588);
    let by_broker = cluster.configured(topic, "message.timestamp.type") == Some("LogAppendTime");
    let is_compacted = cluster
        .configured(topic, "cleanup.policy")
        .is_some_and(|policy| policy.contains("compact"));
    let stamp = by_broker.then(|| call.now + cluster.skew_of(call.broker));
    let partition = cluster.led(call.broker, topic, index, -1)?;
    if records.len() as u64 > largest {
        return Err(ErrorCode::MESSAGE_TOO_LARGE);
    }
    if is_compacted && lacks_a_key(&records) {
        return Err(ErrorCode::INVALID_RECORD);
    }
    let epoch = partition.leader_epoch;
    let base = partition.log.append(records, How { epoch, stamp })?;
    partition.log.retain(retention);
    Ok(Appended {
        base,
        start: partition.log.start(),
        time: stamp.unwrap_or(-1),
    })
}

/// What no compaction could tell apart is refused, with all of its batch.
fn lacks_a_key(records: &Bytes) -> bool {
    let mut all = batches(records.clone()).flatten();
    all.any(|batch| {
        let records = batch.records(usize::MAX);
        records.is_ok_and(|records| records.iter().flatten().any(|record| record.key.is_none()))
    })
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
