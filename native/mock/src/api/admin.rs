//! CreatePartitions, DeleteRecords and DescribeCluster.

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreatePartitionsResponse, DeleteRecordsRequest,
    DeleteRecordsResponse, DescribeClusterRequest, DescribeClusterResponse,
};

use super::text;
use super::topics::check_replicas;
use crate::call::{Answer, Call, Connection};
use crate::cluster::{Cluster, CLUSTER_ID};
use crate::topics::{refuse, Partition, Refusal};

pub(crate) fn create_partitions(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: CreatePartitionsRequest,
) -> Answer<CreatePartitionsResponse> {
    let results = request.topics.iter().map(|topic| {
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        match grow(cluster, call, topic, request.validate_only) {
            Ok(()) => result,
            Err((code, why)) => result
                .with_error_code(code.0)
                .with_error_message(why.map(|why| text(&why))),
        }
    });
    let results = results.collect();
    Answer::Now(CreatePartitionsResponse::default().with_results(results))
}

fn grow(
    cluster: &mut Cluster,
    call: &Call,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), Refusal> {
    let name = asked.name.as_str();
    if let Some(code) = call.refused_for(name, -1) {
        return Err((code, None));
    }
    let topic = cluster
        .topics
        .get(name)
        .ok_or((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None))?;
    let (known, count) = (topic.partitions.len() as i32, asked.count);
    let more = count - known;
    if more <= 0 {
        let why = match more {
            0 => format!("Topic already has {known} partition(s)."),
            _ => format!(
                "The topic {name} currently has {known} partition(s); {count} would not be an increase."
            ),
        };
        return refuse(ErrorCode::INVALID_PARTITIONS, why);
    }
    let copies = topic
        .partitions
        .first()
        .map_or(0, |partition| partition.replicas.len());
    let replicas = match &asked.assignments {
        None => cluster.spread(more, copies as i16),
        Some(assigned) if assigned.len() != more as usize => {
            let why = format!(
                "Attempted to add {more} additional partition(s), but only {} assignment(s) were specified.",
                assigned.len()
            );
            return refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why);
        }
        Some(assigned) => {
            let ids = assigned
                .iter()
                .map(|one| one.broker_ids.iter().map(|id| id.0).collect());
            let ids: Vec<Vec<i32>> = ids.collect();
            for one in &ids {
                check_replicas(cluster, one, copies)?;
            }
            ids
        }
    };
    let topic = cluster.topics.get_mut(name).filter(|_| !validate_only);
    if let Some(topic) = topic {
        topic
            .partitions
            .extend(replicas.into_iter().map(Partition::new));
    }
    Ok(())
}

pub(crate) fn delete_records(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: DeleteRecordsRequest,
) -> Answer<DeleteRecordsResponse> {
    let topics = request.topics.iter().map(|topic| {
        let name = topic.name.as_str();
        let partitions = topic.partitions.iter().map(|asked| {
            let part =
                DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            match delete_before(cluster, call, name, asked.partition_index, asked.offset) {
                Ok(start) => part.with_low_watermark(start),
                Err(code) => part.with_low_watermark(-1).with_error_code(code.0),
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    });
    let topics = topics.collect();
    crate::fetches::wake(cluster, call.now);
    Answer::Now(DeleteRecordsResponse::default().with_topics(topics))
}

fn delete_before(
    cluster: &mut Cluster,
    call: &Call,
    topic: &str,
    index: i32,
    offset: i64,
) -> Result<i64, ErrorCode> {
    if let Some(code) = call.refused_for(topic, index) {
        return Err(code);
    }
    let policy = cluster.configured(topic, "cleanup.policy");
    if policy.is_some_and(|policy| !policy.contains("delete")) {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    let log = &mut cluster.led(call.broker, topic, index, -1)?.log;
    // -1 is all that there is.
    let before = if offset == -1 { log.end() } else { offset };
    if before < log.start() || before > log.end() {
        return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    log.delete_before(before);
    Ok(log.start())
}

pub(crate) fn describe_cluster(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: DescribeClusterRequest,
) -> Answer<DescribeClusterResponse> {
    if let Some(code) = call.refused() {
        return Answer::Now(DescribeClusterResponse::default().with_error_code(code.0));
    }
    let running = cluster.brokers.iter().filter(|(_, broker)| broker.running);
    let brokers = running.map(|(id, broker)| {
        DescribeClusterBroker::default()
            .with_broker_id(BrokerId(*id))
            .with_host(text(&broker.host))
            .with_port(broker.port.into())
    });
    Answer::Now(
        DescribeClusterResponse::default()
            .with_endpoint_type(request.endpoint_type)
            .with_cluster_id(text(CLUSTER_ID))
            .with_controller_id(BrokerId(cluster.controller().unwrap_or(-1)))
            .with_brokers(brokers.collect()),
    )
}
