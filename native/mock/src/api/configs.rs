//! DescribeConfigs, AlterConfigs and IncrementalAlterConfigs, of topics: what was set, and a few defaults.

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

/// The type of resource that is a topic.
const TOPIC: i8 = 2;
/// Where a value comes from.
const OF_TOPIC: i8 = 1;
const DEFAULT: i8 = 5;

const SET: i8 = 0;
const DELETE: i8 = 1;

/// What a topic has that nobody has configured, as far as tests ask for it.
const DEFAULTS: &[(&str, &str)] = &[
    ("cleanup.policy", "delete"),
    ("max.message.bytes", "1048588"),
    ("message.timestamp.type", "CreateTime"),
    ("min.insync.replicas", "1"),
    ("retention.bytes", "-1"),
    ("retention.ms", "604800000"),
];

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
            Err(code) => {
                return result
                    .with_error_code(code.0)
                    .with_error_message(Some(text(code.name())))
            }
        };
        let defaults = DEFAULTS.iter().filter(|(key, _)| !set.contains_key(*key));
        let defaults = defaults.map(|(key, value)| (*key, *value, DEFAULT));
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
        let code = change(
            cluster,
            call,
            resource.resource_type,
            name,
            request.validate_only,
            |configs| {
                configs.clear();
                for config in &resource.configs {
                    put(configs, &config.name, config.value.as_deref());
                }
                Ok(())
            },
        );
        Altered::default()
            .with_error_code(code.0)
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
        let code = change(
            cluster,
            call,
            resource.resource_type,
            name,
            request.validate_only,
            |configs| {
                for config in &resource.configs {
                    match config.config_operation {
                        SET => put(configs, &config.name, config.value.as_deref()),
                        DELETE => put(configs, &config.name, None),
                        // Appending to lists: no list matters here.
                        _ => return Err(ErrorCode::INVALID_CONFIG),
                    }
                }
                Ok(())
            },
        );
        Changed::default()
            .with_error_code(code.0)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
    });
    let responses = responses.collect();
    Answer::Now(IncrementalAlterConfigsResponse::default().with_responses(responses))
}

fn put(configs: &mut BTreeMap<String, String>, key: &str, value: Option<&str>) {
    match value {
        Some(value) => configs.insert(key.to_owned(), value.to_owned()),
        None => configs.remove(key),
    };
}

fn configs(
    cluster: &Cluster,
    call: &Call,
    kind: i8,
    name: &str,
) -> Result<BTreeMap<String, String>, ErrorCode> {
    if let Some(code) = call.refused_for(name, -1) {
        return Err(code);
    }
    if kind != TOPIC {
        // Of brokers nothing is configured.
        return Ok(BTreeMap::new());
    }
    let topic = cluster.topics.get(name);
    Ok(topic
        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?
        .configs
        .clone())
}

fn change(
    cluster: &mut Cluster,
    call: &Call,
    kind: i8,
    name: &str,
    validate_only: bool,
    with: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), ErrorCode>,
) -> ErrorCode {
    let changed = configs(cluster, call, kind, name).and_then(|mut configs| {
        with(&mut configs)?;
        Ok(configs)
    });
    let configs = match changed {
        Ok(configs) => configs,
        Err(code) => return code,
    };
    if let Some(topic) = cluster
        .topics
        .get_mut(name)
        .filter(|_| kind == TOPIC && !validate_only)
    {
        topic.configs = configs;
    }
    ErrorCode::default()
}
