//! DeleteTopics.

use std::collections::HashSet;
use std::time::Duration;

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::{ApiKey, DeleteTopicsRequest, DeleteTopicsResponse};

use super::{check, millis, topic_name, Api, ApiError};
use crate::shape::build::{fields, int16, int32, list, nullable_string, uuid};

/// This API.
pub const API: Api = Api::new(
    ("DeleteTopics", ApiKey::DeleteTopics),
    (1, 6),
    4,
    fields(&[
        int32("throttle_time_ms"),
        list(
            "responses",
            &fields(&[
                nullable_string("name"),
                uuid("topic_id").since(6),
                int16("error_code"),
                nullable_string("error_message").since(5),
            ]),
        ),
    ]),
);

/// From this version on the names are in another field.
const LISTS: i16 = 6;

/// Deletes topics. `within` is how long the controller may take to do it.
pub fn request(version: i16, names: &[String], within: Duration) -> DeleteTopicsRequest {
    let request = DeleteTopicsRequest::default().with_timeout_ms(millis(within));
    let names = names.iter().map(|name| topic_name(name));
    if version < LISTS {
        return request.with_topic_names(names.collect());
    }
    let state = |name| DeleteTopicState::default().with_name(Some(name));
    request.with_topics(names.map(state).collect())
}

/// Whether all topics that it was `asked` for were deleted. Fails with the first topic that failed; others may have been
/// deleted.
pub fn read<'a>(
    response: &DeleteTopicsResponse,
    asked: impl IntoIterator<Item = &'a str>,
) -> Result<(), ApiError> {
    let mut answered = HashSet::new();
    for topic in &response.responses {
        answered.extend(topic.name.as_ref().map(|name| name.as_str()));
        check(topic.error_code)?;
    }
    ApiError::check_all_named(API.name, asked, &answered)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire, versions};
    use super::*;
    use crate::error::ErrorCode;
    use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;

    #[test]
    fn a_deletion_names_the_topics_in_every_version() {
        for version in versions::<DeleteTopicsRequest>() {
            let names = ["a".to_owned(), "b".to_owned()];
            let read = as_read(&request(version, &names, Duration::from_secs(1)), version);
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
    fn a_deletion_fails_with_the_first_topic_that_failed() {
        let result = |code: ErrorCode| {
            DeletableTopicResult::default()
                .with_name(Some(topic_name("t")))
                .with_error_code(code.0)
        };
        let response = DeleteTopicsResponse::default().with_responses(vec![
            result(ErrorCode::NO_ERROR),
            result(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            result(ErrorCode::TOPIC_DELETION_DISABLED),
        ]);
        for version in versions::<DeleteTopicsRequest>() {
            let response = over_the_wire::<DeleteTopicsRequest>(&response, version);
            let code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
            assert_eq!(read(&response, ["t"]), Err(code.into()));
        }
    }

    #[test]
    fn a_topic_of_which_nothing_is_said_may_not_be_deleted() {
        let deleted = DeletableTopicResult::default().with_name(Some(topic_name("t")));
        let response = DeleteTopicsResponse::default().with_responses(vec![deleted]);
        for version in versions::<DeleteTopicsRequest>() {
            let response = over_the_wire::<DeleteTopicsRequest>(&response, version);
            assert_eq!(read(&response, ["t"]), Ok(()));
            let lacks = Err(ApiError::lacks("DeleteTopics", "u"));
            assert_eq!(read(&response, ["t", "u"]), lacks);
        }
    }
}
