//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs, of topics.

use std::collections::BTreeMap;

use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse as Altered;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as Changed;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};

use super::text;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;
use crate::settings;
use crate::topics::{check_name, refuse, Refusal};

/// The type of resource that is a topic.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value comes from.
pub(super) const OF_TOPIC: i8 = 1;
pub(super) const DEFAULT: i8 = 5;

const SET: i8 = 0;
const DELETE: i8 = 1;

/// Adds to a list, and takes from it.
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) fn describe(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: DescribeConfigsRequest,
) -> Answer<DescribeConfigsResponse> {
    let results = request.resources.iter().map(|resource| {
        let name = resource.resource_name.as_str();
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let found = configs(cluster, call, resource.resource_type, name);
        let set = match found {
            Ok(set) => set,
            Err((code, why)) => {
                return result
                    .with_error_code(code.0)
                    .with_error_message(why.map(|why| text(&why)))
            }
        };
        let of_topics = settings::defaults().filter(|_| resource.resource_type == TOPIC);
        let defaults = of_topics.filter(|(key, _)| !set.contains_key(*key));
        let defaults = defaults.map(|(key, value)| (key, value, DEFAULT));
        let own = set
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str(), OF_TOPIC));
        let asked = |key: &str| match &resource.configuration_keys {
            Some(keys) => keys.iter().any(|wanted| wanted.as_str() == key),
            None => true,
        };
        let shown = own.chain(defaults).filter(|(key, _, _)| asked(key));
        let shown = shown.map(|(key, value, source)| {
            DescribeConfigsResourceResult::default()
                .with_name(text(key))
                .with_value(Some(text(value)))
                .with_config_source(source)
        });
        result.with_configs(shown.collect())
    });
    let results = results.collect();
    Answer::Now(DescribeConfigsResponse::default().with_results(results))
}

pub(crate) fn alter(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: AlterConfigsRequest,
) -> Answer<AlterConfigsResponse> {
    let responses = request.resources.iter().map(|resource| {
        let name = resource.resource_name.as_str();
        let (code, why) = change(
            cluster,
            call,
            resource.resource_type,
            name,
            request.validate_only,
            |configs| {
                configs.clear();
                let set = resource.configs.iter();
                set.map(|config| (config.name.as_str(), config.value.as_deref()))
                    .try_for_each(|(key, value)| put(configs, key, value))
            },
        );
        Altered::default()
            .with_error_code(code.0)
            .with_error_message(why.map(|why| text(&why)))
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
    });
    let responses = responses.collect();
    Answer::Now(AlterConfigsResponse::default().with_responses(responses))
}

pub(crate) fn alter_incrementally(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: IncrementalAlterConfigsRequest,
) -> Answer<IncrementalAlterConfigsResponse> {
    let responses = request.resources.iter().map(|resource| {
        let name = resource.resource_name.as_str();
        let (code, why) = change(
            cluster,
            call,
            resource.resource_type,
            name,
            request.validate_only,
            |configs| {
                let changes = resource.configs.iter();
                changes
                    .map(|config| (config.name.as_str(), config.value.as_deref(), config))
                    .try_for_each(|(key, value, config)| match config.config_operation {
                        SET => put(configs, key, value),
                        DELETE => {
                            configs.remove(key);
                            Ok(())
                        }
                        APPEND => change_list(configs, key, value, "APPEND"),
                        SUBTRACT => change_list(configs, key, value, "SUBTRACT"),
                        _ => Err((ErrorCode::UNKNOWN_SERVER_ERROR, None)),
                    })
            },
        );
        Changed::default()
            .with_error_code(code.0)
            .with_error_message(why.map(|why| text(&why)))
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
    });
    let responses = responses.collect();
    Answer::Now(IncrementalAlterConfigsResponse::default().with_responses(responses))
}

fn put(
    configs: &mut BTreeMap<String, String>,
    key: &str,
    value: Option<&str>,
) -> Result<(), Refusal> {
    let Some(value) = value else {
        let why = format!("Null value not supported for : {key}");
        return refuse(ErrorCode::INVALID_REQUEST, why);
    };
    settings::check(key, value).or_else(|why| refuse(ErrorCode::INVALID_CONFIG, why))?;
    configs.insert(key.to_owned(), value.to_owned());
    Ok(())
}

/// Adds words to a list, or takes them from it.
fn change_list(
    configs: &mut BTreeMap<String, String>,
    key: &str,
    value: Option<&str>,
    how: &str,
) -> Result<(), Refusal> {
    if !settings::is_list(key) {
        let why = format!("Can't {how} to key {key} because its type is not LIST.");
        return refuse(ErrorCode::INVALID_CONFIG, why);
    }
    let default = settings::defaults().find(|(name, _)| *name == key);
    let old = configs.get(key).map(String::as_str);
    let old = old.or(default.map(|(_, default)| default));
    let words = |list: Option<&str>| -> Vec<String> {
        let words = list.unwrap_or_default().split(',').map(str::trim);
        words.filter(|w| !w.is_empty()).map(str::to_owned).collect()
    };
    let (mut list, named) = (words(old), words(value));
    list.retain(|word| !named.contains(word));
    if how == "APPEND" {
        list.extend(named);
    }
    put(configs, key, Some(&list.join(",")))
}

fn configs(
    cluster: &Cluster,
    call: &Call,
    kind: i8,
    name: &str,
) -> Result<BTreeMap<String, String>, Refusal> {
    if let Some(code) = call.refused_for(name, -1) {
        return Err((code, Some(code.name().to_owned())));
    }
    if kind == BROKER {
        check_broker(call.broker, name)?;
    }
    if kind != TOPIC {
        // Of brokers nothing is configured.
        return Ok(BTreeMap::new());
    }
    check_name(name)?;
    let topic = cluster.topics.get(name);
    let topic = topic.ok_or((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None))?;
    Ok(topic.configs.clone())
}

/// A broker answers for itself, and for what all have in common, which has no name.
fn check_broker(broker: i32, name: &str) -> Result<(), Refusal> {
    let why = match name.parse::<i32>() {
        _ if name.is_empty() => return Ok(()),
        Ok(id) if id == broker => return Ok(()),
        Ok(id) => {
            format!("Unexpected broker id, expected {broker} or empty string, but received {id}")
        }
        Err(_) => format!("Broker id must be an integer, but it is: {name}"),
    };
    refuse(ErrorCode::INVALID_REQUEST, why)
}

fn change(
    cluster: &mut Cluster,
    call: &Call,
    kind: i8,
    name: &str,
    validate_only: bool,
    with: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), Refusal>,
) -> (ErrorCode, Option<String>) {
    // What is wrong with the settings is told before it is looked whether the topic is there.
    let found = configs(cluster, call, kind, name);
    let (mut configs, is_there) = match found {
        Ok(configs) => (configs, true),
        Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None)) => (BTreeMap::new(), false),
        Err(refusal) => return refusal,
    };
    if let Err(refusal) = with(&mut configs) {
        return refusal;
    }
    if !is_there {
        let why = format!("The topic '{name}' does not exist.");
        return (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Some(why));
    }
    if let Some(topic) = cluster
        .topics
        .get_mut(name)
        .filter(|_| kind == TOPIC && !validate_only)
    {
        topic.configs = configs;
    }
    (ErrorCode::default(), None)
}
