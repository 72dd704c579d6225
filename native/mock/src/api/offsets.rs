//! Offsets that groups commit, and fetch.

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};

use super::groups::refusal;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;

/// The first version of OffsetFetch that has a code for the whole, and that asks for several groups.
const FETCH_HAS_CODE_FROM: i16 = 2;
const FETCHES_MANY_FROM: i16 = 8;

pub(crate) fn commit(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: OffsetCommitRequest,
) -> Answer<OffsetCommitResponse> {
    let refused = |topic: &str, partition: i32| {
        let scripted = call.refused_for(topic, partition);
        let elsewhere = !cluster.coordinates(call, &request.group_id);
        scripted.or(elsewhere.then_some(ErrorCode::NOT_COORDINATOR))
    };
    let mut accepted = request.clone();
    for topic in &mut accepted.topics {
        let name = topic.name.clone();
        let partitions = &mut topic.partitions;
        partitions.retain(|p| refused(&name, p.partition_index).is_none());
    }
    let mut response = OffsetCommitResponse::default();
    for topic in &request.topics {
        let results = topic.partitions.iter().filter_map(|p| {
            let code = refused(&topic.name, p.partition_index)?;
            Some(partition_result(p.partition_index, code))
        });
        let result = OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(results.collect());
        response.topics.push(result);
    }
    if accepted
        .topics
        .iter()
        .all(|topic| topic.partitions.is_empty())
    {
        return Answer::Now(response);
    }
    let groups = &mut cluster.coordination.groups;
    let committed = groups.commit(&accepted, &cluster.topics, call.now);
    for (all, more) in response.topics.iter_mut().zip(committed.topics) {
        all.partitions.extend(more.partitions);
    }
    Answer::Now(response)
}

fn partition_result(partition: i32, code: ErrorCode) -> OffsetCommitResponsePartition {
    OffsetCommitResponsePartition::default()
        .with_partition_index(partition)
        .with_error_code(code.0)
}

pub(crate) fn fetch(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: OffsetFetchRequest,
) -> Answer<OffsetFetchResponse> {
    let groups = &cluster.coordination.groups;
    let mut response = groups.fetch_offsets(call.version, &request);
    if call.version >= FETCHES_MANY_FROM {
        for group in &mut response.groups {
            if let Some(code) = refusal(cluster, call, &group.group_id) {
                *group = OffsetFetchResponseGroup::default()
                    .with_group_id(group.group_id.clone())
                    .with_error_code(code.0);
            }
        }
        return Answer::Now(response);
    }
    let Some(code) = refusal(cluster, call, &request.group_id) else {
        return Answer::Now(response);
    };
    if call.version >= FETCH_HAS_CODE_FROM {
        return Answer::Now(OffsetFetchResponse::default().with_error_code(code.0));
    }
    let topics = response.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|p| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_committed_offset(-1)
                .with_error_code(code.0)
        });
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions.collect())
    });
    Answer::Now(OffsetFetchResponse::default().with_topics(topics.collect()))
}
