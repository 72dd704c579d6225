//! DeleteTopics.

use kafka_protocol::messages::ApiKey;

use super::Api;
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
