//! CreateTopics.

use kafka_protocol::messages::ApiKey;

use super::Api;
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
