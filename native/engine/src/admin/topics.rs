//! Topics: create and delete.

use std::time::Duration;

use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};
use kafka_protocol::protocol::Request;

use super::retry::Retry;
use super::{call, string, topic_name};
use crate::cluster::{Cluster, Purpose};
use crate::error::{check, Error};
use brod_protocol::error::ErrorCode;

/// A topic to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// -1: as `assignments` say, or the broker's default.
    pub num_partitions: i32,
    /// -1: as `assignments` say, or the broker's default.
    pub replication_factor: i16,
    /// The brokers of each partition; empty: the cluster decides.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Settings, with `None` for the broker's default.
    pub configs: Vec<(String, Option<String>)>,
}

/// Creates topics; with `validate_only` only checks whether it could. `timeout` is how long the
/// controller may take to do it.
///
/// Fails with the first topic that failed, in the broker's words; others may have been created.
pub async fn create_topics(
    cluster: &Cluster,
    topics: &[NewTopic],
    timeout: Duration,
    validate_only: bool,
    limit: Duration,
) -> Result<(), Error> {
    let request = |_version| {
        CreateTopicsRequest::default()
            .with_topics(topics.iter().map(creatable).collect())
            .with_timeout_ms(millis(timeout))
            .with_validate_only(validate_only)
    };
    at_controller(cluster, request, limit, created).await
}

/// Deletes topics. `timeout` is how long the controller may take to do it.
///
/// Fails with the first topic that failed; others may have been deleted.
pub async fn delete_topics(
    cluster: &Cluster,
    names: &[String],
    timeout: Duration,
    limit: Duration,
) -> Result<(), Error> {
    let request = |version| deletion(version, names, timeout);
    at_controller(cluster, request, limit, deleted).await
}

/// Sends a request to the controller. It is sent again only where the first one had no effect.
async fn at_controller<R: Request>(
    cluster: &Cluster,
    request: impl Fn(i16) -> R,
    limit: Duration,
    result: impl Fn(&R::Response) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut retry = Retry::within(limit);
    loop {
        // Nothing to wait for where not a single broker answers.
        let controller = match cluster.controller().await {
            Err(error @ Error::Unreachable(_)) => return Err(error),
            controller => controller,
        };
        let attempt = async {
            let connection = cluster.connection(controller?, Purpose::Admin).await?;
            result(&call(cluster, &connection, &request).await?)
        };
        let failure = match attempt.await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let without_effect = matches!(failure, Error::Unreachable(_))
            || failure.code() == Some(ErrorCode::NOT_CONTROLLER);
        if !without_effect {
            return Err(failure);
        }
        retry.after(failure).await?;
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let assignments = topic.assignments.iter().map(|(partition, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*partition)
            .with_broker_ids(brokers.iter().copied().map(BrokerId).collect())
    });
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(string(name))
            .with_value(value.as_deref().map(string))
    });
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.num_partitions)
        .with_replication_factor(topic.replication_factor)
        .with_assignments(assignments.collect())
        .with_configs(configs.collect())
}

/// Up to version 5 the names are in one field, later in another.
fn deletion(version: i16, names: &[String], timeout: Duration) -> DeleteTopicsRequest {
    let request = DeleteTopicsRequest::default().with_timeout_ms(millis(timeout));
    let names = names.iter().map(|name| topic_name(name));
    if version <= 5 {
        return request.with_topic_names(names.collect());
    }
    let state = |name| DeleteTopicState::default().with_name(Some(name));
    request.with_topics(names.map(state).collect())
}

fn created(response: &CreateTopicsResponse) -> Result<(), Error> {
    match response.topics.iter().find(|topic| topic.error_code != 0) {
        None => Ok(()),
        Some(topic) => Err(Error::Kafka {
            code: ErrorCode(topic.error_code),
            message: topic
                .error_message
                .as_ref()
                .map(|text| text.to_string())
                .filter(|text| !text.is_empty()),
        }),
    }
}

fn deleted(response: &DeleteTopicsResponse) -> Result<(), Error> {
    response
        .responses
        .iter()
        .try_for_each(|topic| check(topic.error_code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use brod_protocol::encode;
    use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
    use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
    use kafka_protocol::protocol::{Decodable, Message};

    fn new_topic() -> NewTopic {
        NewTopic {
            name: "t".into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![(0, vec![1, 2]), (1, vec![2, 3])],
            configs: vec![
                ("retention.ms".into(), Some("1000".into())),
                ("cleanup.policy".into(), None),
            ],
        }
    }

    #[test]
    fn a_topic_goes_over_the_wire_whole_in_every_version() {
        let versions = CreateTopicsRequest::VERSIONS;
        for version in versions.min..=versions.max {
            let request = CreateTopicsRequest::default()
                .with_topics(vec![creatable(&new_topic())])
                .with_timeout_ms(5);
            let mut bytes = encode(&request, version).unwrap();
            let read = CreateTopicsRequest::decode(&mut bytes, version).unwrap();
            let topic = &read.topics[0];
            assert_eq!((topic.num_partitions, topic.replication_factor), (-1, -1));
            assert_eq!(topic.assignments[1].partition_index, 1);
            assert_eq!(
                topic.assignments[1].broker_ids,
                vec![BrokerId(2), BrokerId(3)]
            );
            assert_eq!(topic.configs[0].value.as_deref(), Some("1000"));
            assert_eq!(topic.configs[1].value, None);
        }
    }

    #[test]
    fn a_deletion_names_the_topics_in_every_version() {
        let versions = DeleteTopicsRequest::VERSIONS;
        for version in versions.min..=versions.max {
            let names = ["a".to_owned(), "b".to_owned()];
            let request = deletion(version, &names, Duration::from_secs(1));
            let mut bytes = encode(&request, version).unwrap();
            let read = DeleteTopicsRequest::decode(&mut bytes, version).unwrap();
            let named = read.topics.iter().filter_map(|topic| topic.name.as_ref());
            let names: Vec<_> = named
                .chain(&read.topic_names)
                .map(|name| name.to_string())
                .collect();
            assert_eq!(names, ["a", "b"], "version {version}");
            assert_eq!(read.timeout_ms, 1000);
        }
    }

    #[test]
    fn the_first_topic_that_failed_is_the_error_in_the_brokers_words() {
        let good = CreatableTopicResult::default();
        let bad = |text: Option<&str>| {
            CreatableTopicResult::default()
                .with_error_code(ErrorCode::TOPIC_ALREADY_EXISTS.0)
                .with_error_message(text.map(string))
        };
        let response =
            |topics: Vec<CreatableTopicResult>| CreateTopicsResponse::default().with_topics(topics);
        let error = |text: Option<&str>| Error::Kafka {
            code: ErrorCode::TOPIC_ALREADY_EXISTS,
            message: text.map(str::to_owned),
        };
        assert_eq!(created(&response(vec![good.clone()])), Ok(()));
        let failed = response(vec![good, bad(Some("it exists")), bad(Some("second"))]);
        assert_eq!(created(&failed), Err(error(Some("it exists"))));
        for nothing in [None, Some("")] {
            assert_eq!(created(&response(vec![bad(nothing)])), Err(error(None)));
        }
    }

    #[test]
    fn a_deletion_fails_with_the_first_topic_that_failed() {
        let result = |code: ErrorCode| DeletableTopicResult::default().with_error_code(code.0);
        let response = DeleteTopicsResponse::default().with_responses(vec![
            result(ErrorCode::NO_ERROR),
            result(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            result(ErrorCode::TOPIC_DELETION_DISABLED),
        ]);
        assert_eq!(
            deleted(&response),
            Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.into())
        );
    }
}
