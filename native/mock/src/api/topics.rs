//! CreateTopics and DeleteTopics. Any broker does what the controller would.

use std::collections::BTreeMap;

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use uuid::Uuid;

use super::text;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;
use crate::topics::{has_illegal_characters, is_valid_name};

pub(crate) fn create(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: CreateTopicsRequest,
) -> Answer<CreateTopicsResponse> {
    let topics = request.topics.iter().map(|topic| {
        let result = CreatableTopicResult::default().with_name(topic.name.clone());
        match create_one(cluster, call, topic, request.validate_only) {
            Ok((id, partitions, replication)) => result
                .with_topic_id(id)
                .with_num_partitions(partitions)
                .with_replication_factor(replication)
                .with_configs(Some(Vec::new())),
            Err(code) => result
                .with_error_code(code.0)
                .with_error_message(Some(match code {
                    ErrorCode::TOPIC_ALREADY_EXISTS => {
                        text(&format!("Topic '{}' already exists.", topic.name.as_str()))
                    }
                    ErrorCode::INVALID_REPLICATION_FACTOR if topic.replication_factor > 0 => {
                        let (wanted, brokers) = (topic.replication_factor, cluster.brokers.len());
                        text(&format!(
                            "Unable to replicate the partition {wanted} time(s): The target replication factor of {wanted} \
                             cannot be reached because only {brokers} broker(s) are registered."
                        ))
                    }
                    ErrorCode::INVALID_TOPIC_EXCEPTION if has_illegal_characters(&topic.name) => {
                        let name = topic.name.as_str();
                        text(&format!(
                            "Topic name is invalid: '{name}' contains one or more characters other than \
                             ASCII alphanumerics, '.', '_' and '-'"
                        ))
                    }
                    code => text(code.name()),
                }))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        }
    });
    let topics = topics.collect();
    Answer::Now(CreateTopicsResponse::default().with_topics(topics))
}

fn create_one(
    cluster: &mut Cluster,
    call: &Call,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<(Uuid, i32, i16), ErrorCode> {
    let name = topic.name.as_str();
    if let Some(code) = call.refused_for(name, -1) {
        return Err(code);
    }
    if !is_valid_name(name) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if cluster.topics.get(name).is_some() {
        return Err(ErrorCode::TOPIC_ALREADY_EXISTS);
    }
    let assigned: Vec<Vec<i32>> = topic
        .assignments
        .iter()
        .map(|partition| partition.broker_ids.iter().map(|id| id.0).collect())
        .collect();
    let partitions = match topic.num_partitions {
        -1 if assigned.is_empty() => cluster.config.default_partitions,
        -1 => assigned.len() as i32,
        count if count > 0 => count,
        _ => return Err(ErrorCode::INVALID_PARTITIONS),
    };
    let brokers = cluster.brokers.len() as i16;
    if topic.replication_factor == 0 || topic.replication_factor > brokers {
        return Err(ErrorCode::INVALID_REPLICATION_FACTOR);
    }
    let unknown = |id: &i32| !cluster.brokers.contains_key(id);
    if assigned
        .iter()
        .any(|ids| ids.is_empty() || ids.iter().any(unknown))
    {
        return Err(ErrorCode::INVALID_REPLICA_ASSIGNMENT);
    }
    let replication = match topic.replication_factor {
        -1 => assigned
            .first()
            .map_or(brokers.min(3), |ids| ids.len() as i16),
        count => count,
    };
    if validate_only {
        return Ok((Uuid::nil(), partitions, replication));
    }
    let configs: BTreeMap<String, String> = topic
        .configs
        .iter()
        .filter_map(|config| Some((config.name.to_string(), config.value.as_ref()?.to_string())))
        .collect();
    match assigned.is_empty() {
        true => cluster.create_topic(name, partitions, replication, configs),
        false => cluster.topics.create(name, assigned, configs),
    }
    let id = cluster
        .topics
        .get(name)
        .map_or(Uuid::nil(), |topic| topic.id);
    Ok((id, partitions, replication))
}

pub(crate) fn delete(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: DeleteTopicsRequest,
) -> Answer<DeleteTopicsResponse> {
    let by_name = request.topic_names.into_iter();
    let by_name = by_name.map(|name| DeleteTopicState::default().with_name(Some(name)));
    let responses = by_name
        .chain(request.topics)
        .map(|topic| delete_one(cluster, call, topic));
    let responses = responses.collect();
    crate::fetches::wake(cluster, call.now);
    Answer::Now(DeleteTopicsResponse::default().with_responses(responses))
}

fn delete_one(cluster: &mut Cluster, call: &Call, topic: DeleteTopicState) -> DeletableTopicResult {
    let result = DeletableTopicResult::default().with_topic_id(topic.topic_id);
    let name = match topic.name {
        Some(name) => name.to_string(),
        None => match cluster.topics.name_of(topic.topic_id) {
            Some(name) => name.to_owned(),
            None => return result.with_error_code(ErrorCode::UNKNOWN_TOPIC_ID.0),
        },
    };
    let id = cluster
        .topics
        .get(&name)
        .map_or(Uuid::nil(), |topic| topic.id);
    let code = match call.refused_for(&name, -1) {
        Some(code) => code,
        None if cluster.topics.delete(&name) => {
            cluster.coordination.groups.forget_topic(&name);
            ErrorCode::default()
        }
        None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    };
    let message = (!code.is_ok()).then(|| text(code.name()));
    result
        .with_name(Some(TopicName(text(&name))))
        .with_topic_id(id)
        .with_error_code(code.0)
        .with_error_message(message)
}
