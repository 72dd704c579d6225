//! CreateTopics.

use std::collections::HashSet;
use std::time::Duration;

use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::{ApiKey, BrokerId, CreateTopicsRequest, CreateTopicsResponse};

use super::{millis, text, topic_name, Api, ApiError};
use crate::shape::build::{
    bool, fields, int16, int32, int8, list, nullable_list, nullable_string, string, uuid,
};
use crate::shape::Fields;

/// This API.
pub const API: Api = Api::new(
    ("CreateTopics", ApiKey::CreateTopics),
    (2, 7),
    5,
    fields(&[
        int32("throttle_time_ms"),
        list(
            "topics",
            &Fields {
                plain: &[
                    string("name"),
                    uuid("topic_id").since(7),
                    int16("error_code"),
                    nullable_string("error_message"),
                    int32("num_partitions").since(5),
                    int16("replication_factor").since(5),
                    nullable_list("configs", &TOPIC_CONFIG).since(5),
                ],
                tagged: &[(0, int16("topic_config_error_code"))],
            },
        ),
    ]),
);

const TOPIC_CONFIG: Fields = fields(&[
    string("name"),
    nullable_string("value"),
    bool("read_only"),
    int8("config_source"),
    bool("is_sensitive"),
]);

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

/// Creates topics; with `validate_only` only checks whether it could. `within` is how long the
/// controller may take to do it.
pub fn request(topics: &[NewTopic], within: Duration, validate_only: bool) -> CreateTopicsRequest {
    CreateTopicsRequest::default()
        .with_topics(topics.iter().map(creatable).collect())
        .with_timeout_ms(millis(within))
        .with_validate_only(validate_only)
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let assignments = topic.assignments.iter().map(|(partition, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*partition)
            .with_broker_ids(brokers.iter().copied().map(BrokerId).collect())
    });
    let configs = topic.configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(text(name))
            .with_value(value.as_deref().map(text))
    });
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(topic.num_partitions)
        .with_replication_factor(topic.replication_factor)
        .with_assignments(assignments.collect())
        .with_configs(configs.collect())
}

/// Whether all topics that it was `asked` for were created. Fails with the first topic that failed, in the broker's words;
/// others may have been created.
pub fn read<'a>(
    response: &CreateTopicsResponse,
    asked: impl IntoIterator<Item = &'a str>,
) -> Result<(), ApiError> {
    let mut answered = HashSet::new();
    for topic in &response.topics {
        answered.insert(topic.name.as_str());
        ApiError::check(topic.error_code, topic.error_message.as_deref())?;
    }
    ApiError::check_all_named(API.name, asked, &answered)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;
    use kafka_protocol::messages::create_topics_response::CreatableTopicResult;

    #[test]
    fn a_topic_goes_over_the_wire_whole_in_every_version() {
        let topic = NewTopic {
            name: "t".into(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: vec![(0, vec![1, 2]), (1, vec![2, 3])],
            configs: vec![
                ("retention.ms".into(), Some("1000".into())),
                ("cleanup.policy".into(), None),
            ],
        };
        for version in versions::<CreateTopicsRequest>() {
            let request = request(std::slice::from_ref(&topic), Duration::from_millis(5), true);
            let read = as_read(&request, version);
            assert_eq!((read.timeout_ms, read.validate_only), (5, true));
            let topic = &read.topics[0];
            assert_eq!((topic.num_partitions, topic.replication_factor), (-1, -1));
            assert_eq!(topic.assignments[1].partition_index, 1);
            let brokers = [BrokerId(2), BrokerId(3)];
            assert_eq!(topic.assignments[1].broker_ids, brokers);
            assert_eq!(topic.configs[0].value.as_deref(), Some("1000"));
            assert_eq!(topic.configs[1].value, None);
        }
    }

    #[test]
    fn the_first_topic_that_failed_is_the_error_in_the_brokers_words() {
        let named = |name| CreatableTopicResult::default().with_name(topic_name(name));
        let good = || named("t");
        let bad = |words: Option<&str>| {
            named("u")
                .with_error_code(ErrorCode::TOPIC_ALREADY_EXISTS.0)
                .with_error_message(words.map(text))
        };
        let error = |words: Option<&str>| ApiError::Refused {
            code: ErrorCode::TOPIC_ALREADY_EXISTS,
            message: words.map(str::to_owned),
        };
        for version in versions::<CreateTopicsRequest>() {
            let answer = |topics: Vec<CreatableTopicResult>| {
                let response = CreateTopicsResponse::default().with_topics(topics);
                let response = over_the_wire::<CreateTopicsRequest>(&response, version);
                read(&response, ["t"])
            };
            assert_eq!(answer(vec![good()]), Ok(()));
            let lacks = Err(ApiError::lacks("CreateTopics", "t"));
            assert_eq!(answer(vec![named("v")]), lacks);
            let failed = vec![good(), bad(Some("it exists")), bad(Some("second"))];
            assert_eq!(answer(failed), Err(error(Some("it exists"))));
            for nothing in [None, Some("")] {
                assert_eq!(answer(vec![bad(nothing)]), Err(error(None)));
            }
        }
    }
}
