//! Transactions, and the ids of producers.

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse, ProducerId, TransactionalId, TxnOffsetCommitRequest,
    TxnOffsetCommitResponse,
};

use super::groups::refusal;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;

/// The first version of AddPartitionsToTxn in which brokers ask, of several transactions.
const ADDS_MANY_FROM: i16 = 4;
/// From this version on all these APIs have a code for fenced producers (KIP-588).
const PRODUCER_FENCED_FROM: i16 = 2;
/// InitProducerId has it later.
const INIT_FENCED_FROM: i16 = 4;

/// Older clients know fenced producers by another code.
fn known(code: i16, version: i16, from: i16) -> i16 {
    match version < from && code == ErrorCode::PRODUCER_FENCED.0 {
        true => ErrorCode::INVALID_PRODUCER_EPOCH.0,
        false => code,
    }
}

pub(crate) fn init(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: InitProducerIdRequest,
) -> Answer<InitProducerIdResponse> {
    let refused = match &request.transactional_id {
        Some(id) => refusal(cluster, call, id),
        // Any broker has ids.
        None => call.refused(),
    };
    let mut response = match refused {
        Some(code) => InitProducerIdResponse::default()
            .with_error_code(code.0)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
        None => cluster.coordination.transactions.init(&request),
    };
    response.error_code = known(response.error_code, call.version, INIT_FENCED_FROM);
    cluster.settle(call.now);
    Answer::Now(response)
}

pub(crate) fn add_partitions(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: AddPartitionsToTxnRequest,
) -> Answer<AddPartitionsToTxnResponse> {
    if call.version < ADDS_MANY_FROM {
        let who = (
            request.v3_and_below_producer_id,
            request.v3_and_below_producer_epoch,
        );
        let id = &request.v3_and_below_transactional_id;
        let topics = &request.v3_and_below_topics;
        let results = add(cluster, call, id, who, topics, false);
        return Answer::Now(
            AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results),
        );
    }
    let results = request.transactions.iter().map(|txn| {
        let who = (txn.producer_id, txn.producer_epoch);
        let id = &txn.transactional_id;
        let results = add(cluster, call, id, who, &txn.topics, txn.verify_only);
        AddPartitionsToTxnResult::default()
            .with_transactional_id(id.clone())
            .with_topic_results(results)
    });
    let results = results.collect();
    Answer::Now(AddPartitionsToTxnResponse::default().with_results_by_transaction(results))
}

/// All of the partitions, or none.
fn add(
    cluster: &mut Cluster,
    call: &Call,
    id: &TransactionalId,
    who: (ProducerId, i16),
    topics: &[AddPartitionsToTxnTopic],
    verify_only: bool,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let elsewhere = !cluster.coordinates(call, id);
    let mut codes: Vec<Vec<ErrorCode>> = topics
        .iter()
        .map(|topic| {
            let codes = topic.partitions.iter().map(|index| {
                let unknown = cluster.topics.partition(&topic.name, *index).is_none();
                call.refused_for(&topic.name, *index)
                    .unwrap_or(match unknown {
                        _ if elsewhere => ErrorCode::NOT_COORDINATOR,
                        true => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                        false => ErrorCode::NO_ERROR,
                    })
            });
            codes.collect()
        })
        .collect();
    let places = || {
        let all = topics.iter();
        all.flat_map(|t| t.partitions.iter().map(|index| (t.name.clone(), *index)))
    };
    let transactions = &mut cluster.coordination.transactions;
    let failed = codes.iter().flatten().any(|code| !code.is_ok());
    let result = match (failed, verify_only) {
        (true, _) => Err(ErrorCode::OPERATION_NOT_ATTEMPTED),
        (false, true) => places().try_for_each(|place| transactions.verify(id, who, &place)),
        (false, false) => transactions.add_partitions(id, who, places(), call.now),
    };
    if let Err(code) = result {
        for each in codes.iter_mut().flatten().filter(|each| each.is_ok()) {
            *each = code;
        }
    }
    let results = topics.iter().zip(codes).map(|(topic, codes)| {
        let results = topic.partitions.iter().zip(codes).map(|(index, code)| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*index)
                .with_partition_error_code(known(code.0, call.version, PRODUCER_FENCED_FROM))
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(results.collect())
    });
    results.collect()
}

pub(crate) fn add_offsets(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: AddOffsetsToTxnRequest,
) -> Answer<AddOffsetsToTxnResponse> {
    let code = match refusal(cluster, call, &request.transactional_id) {
        Some(code) => code,
        None => {
            let transactions = &mut cluster.coordination.transactions;
            transactions.add_offsets(&request, call.now)
        }
    };
    let code = known(code.0, call.version, PRODUCER_FENCED_FROM);
    Answer::Now(AddOffsetsToTxnResponse::default().with_error_code(code))
}

pub(crate) fn end(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: EndTxnRequest,
) -> Answer<EndTxnResponse> {
    let mut response = match refusal(cluster, call, &request.transactional_id) {
        Some(code) => EndTxnResponse::default().with_error_code(code.0),
        None => {
            let transactions = &mut cluster.coordination.transactions;
            transactions.end(call.version, &request)
        }
    };
    response.error_code = known(response.error_code, call.version, PRODUCER_FENCED_FROM);
    cluster.settle(call.now);
    Answer::Now(response)
}

/// The group's coordinator is asked, not the transaction's.
pub(crate) fn commit_offsets(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: TxnOffsetCommitRequest,
) -> Answer<TxnOffsetCommitResponse> {
    let refused = refusal(cluster, call, &request.group_id).or_else(|| {
        let transactions = &mut cluster.coordination.transactions;
        transactions
            .check_offsets(call.version, &request, call.now)
            .err()
    });
    let groups = &mut cluster.coordination.groups;
    let response = groups.commit_in_transaction(&request, refused, &cluster.topics, call.now);
    Answer::Now(response)
}
