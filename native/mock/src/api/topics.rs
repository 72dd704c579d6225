//! CreateTopics and DeleteTopics. Any broker does what the controller would.

use std::collections::BTreeMap;

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{
    CreatableTopicConfigs, CreatableTopicResult,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use uuid::Uuid;

use super::configs::{DEFAULT, OF_TOPIC};
use super::text;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;
use crate::settings;
use crate::topics::{check_name, refuse, Refusal};

pub(crate) fn create(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: CreateTopicsRequest,
) -> Answer<CreateTopicsResponse> {
    let mut answers: Vec<CreatableTopicResult> = Vec::new();
    for topic in &request.topics {
        if answers.iter().any(|known| known.name == topic.name) {
            continue;
        }
        let times = request.topics.iter().filter(|t| t.name == topic.name);
        let created = match times.count() {
            1 => create_one(cluster, call, topic, request.validate_only),
            _ => refuse(ErrorCode::INVALID_REQUEST, "Duplicate topic name."),
        };
        let result = CreatableTopicResult::default().with_name(topic.name.clone());
        answers.push(match created {
            Ok((id, partitions, replication)) => result
                .with_topic_id(id)
                .with_num_partitions(partitions)
                .with_replication_factor(replication)
                .with_configs(Some(configs_of(topic))),
            Err((code, why)) => result
                .with_error_code(code.0)
                .with_error_message(Some(text(why.as_deref().unwrap_or(code.name()))))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        });
    }
    Answer::Now(CreateTopicsResponse::default().with_topics(answers))
}

/// What holds for a topic that is created so.
fn configs_of(topic: &CreatableTopic) -> Vec<CreatableTopicConfigs> {
    let all = settings::defaults().map(|(name, default)| {
        let own = topic.configs.iter().find(|own| own.name.as_str() == name);
        let own = own.and_then(|own| own.value.as_deref());
        CreatableTopicConfigs::default()
            .with_name(text(name))
            .with_value(Some(text(own.unwrap_or(default))))
            .with_config_source(if own.is_some() { OF_TOPIC } else { DEFAULT })
    });
    all.collect()
}

fn create_one(
    cluster: &mut Cluster,
    call: &Call,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<(Uuid, i32, i16), Refusal> {
    let name = topic.name.as_str();
    if let Some(code) = call.refused_for(name, -1) {
        return Err((code, None));
    }
    check_name(name)?;
    if let Some(other) = cluster.topics.collides_with(name) {
        let why = format!("Topic '{name}' collides with existing topic: {other}");
        return refuse(ErrorCode::INVALID_TOPIC_EXCEPTION, why);
    }
    if cluster.topics.get(name).is_some() {
        let why = format!("Topic '{name}' already exists.");
        return refuse(ErrorCode::TOPIC_ALREADY_EXISTS, why);
    }
    let mut configs = BTreeMap::new();
    for config in &topic.configs {
        let key = config.name.as_str();
        let Some(value) = &config.value else {
            let why = format!("Null value not supported for topic configs: {key}");
            return refuse(ErrorCode::INVALID_CONFIG, why);
        };
        settings::check(key, value).or_else(|why| refuse(ErrorCode::INVALID_CONFIG, why))?;
        configs.insert(key.to_owned(), value.to_string());
    }
    let assigned = assigned(cluster, topic)?;
    let brokers = cluster.brokers.len() as i16;
    let (partitions, replication) = match (&assigned, topic.num_partitions) {
        (Some(assigned), _) => (assigned.len() as i32, assigned[0].len() as i16),
        (None, count) => {
            let copies = check_copies(topic.replication_factor, brokers)?;
            let count = match count {
                -1 => cluster.config.default_partitions,
                count if count > 0 => count,
                _ => {
                    let why = "Number of partitions was set to an invalid non-positive value.";
                    return refuse(ErrorCode::INVALID_PARTITIONS, why);
                }
            };
            check_enough(copies, brokers)?;
            (count, copies)
        }
    };
    if validate_only {
        return Ok((Uuid::nil(), partitions, replication));
    }
    match assigned {
        None => cluster.create_topic(name, partitions, replication, configs),
        Some(assigned) => cluster.topics.create(name, assigned, configs),
    }
    let id = cluster
        .topics
        .get(name)
        .map_or(Uuid::nil(), |topic| topic.id);
    Ok((id, partitions, replication))
}

fn check_copies(wanted: i16, brokers: i16) -> Result<i16, Refusal> {
    match wanted {
        -1 => Ok(brokers.min(3)),
        wanted if wanted > 0 => Ok(wanted),
        _ => refuse(
            ErrorCode::INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
    }
}

fn check_enough(wanted: i16, brokers: i16) -> Result<(), Refusal> {
    if wanted <= brokers {
        return Ok(());
    }
    let why = format!(
        "Unable to replicate the partition {wanted} time(s): The target replication factor of {wanted} \
         cannot be reached because only {brokers} broker(s) are registered."
    );
    refuse(ErrorCode::INVALID_REPLICATION_FACTOR, why)
}

/// The replicas of each partition, where the request names them.
fn assigned(cluster: &Cluster, topic: &CreatableTopic) -> Result<Option<Vec<Vec<i32>>>, Refusal> {
    if topic.assignments.is_empty() {
        return Ok(None);
    }
    let both = |what: &str| {
        let why =
            format!("A manual partition assignment was specified, but {what} was not set to -1.");
        refuse(ErrorCode::INVALID_REQUEST, why)
    };
    if topic.replication_factor != -1 {
        return both("replication factor");
    }
    if topic.num_partitions != -1 {
        return both("numPartitions");
    }
    let mut found: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    let mut copies = None;
    for one in &topic.assignments {
        let index = one.partition_index;
        if found.contains_key(&index) {
            let why = format!("Found multiple manual partition assignments for partition {index}");
            return refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why);
        }
        let ids: Vec<i32> = one.broker_ids.iter().map(|id| id.0).collect();
        check_replicas(cluster, &ids, *copies.get_or_insert(ids.len()))?;
        found.insert(index, ids);
    }
    if !(0..).zip(found.keys()).all(|(n, index)| n == *index) {
        let why = "partitions should be a consecutive 0-based integer sequence";
        return refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why);
    }
    Ok(Some(found.into_values().collect()))
}

/// Replicas that somebody has chosen for a partition, whose topic has so many of each.
pub(super) fn check_replicas(cluster: &Cluster, ids: &[i32], copies: usize) -> Result<(), Refusal> {
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    let twice = sorted.windows(2).find(|pair| pair[0] == pair[1]);
    let unknown = sorted.iter().find(|id| !cluster.brokers.contains_key(id));
    let why = if ids.is_empty() {
        "an empty replica list.".to_owned()
    } else if let Some(pair) = twice {
        format!("the broker {} more than once.", pair[0])
    } else if let Some(id) = unknown {
        format!("broker {id}, but no such broker is registered.")
    } else if ids.len() != copies {
        format!(
            "a partition with {} replica(s), but this is not consistent with previous partitions, which have \
             {copies} replica(s).",
            ids.len()
        )
    } else {
        return Ok(());
    };
    let why = format!("The manual partition assignment includes {why}");
    refuse(ErrorCode::INVALID_REPLICA_ASSIGNMENT, why)
}

pub(crate) fn delete(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: DeleteTopicsRequest,
) -> Answer<DeleteTopicsResponse> {
    let by_name = request.topic_names.into_iter();
    let by_name = by_name.map(|name| DeleteTopicState::default().with_name(Some(name)));
    let all: Vec<_> = by_name.chain(request.topics).collect();
    let mut responses: Vec<DeletableTopicResult> = Vec::new();
    for topic in &all {
        if all.iter().filter(|other| *other == topic).count() == 1 {
            responses.push(delete_one(cluster, call, topic.clone()));
            continue;
        }
        let refused = DeletableTopicResult::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_error_code(ErrorCode::INVALID_REQUEST.0)
            .with_error_message(Some(text("Duplicate topic name.")));
        if !responses.contains(&refused) {
            responses.push(refused);
        }
    }
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
