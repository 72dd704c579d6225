//! Produce: record batches of many partitions.

use kafka_protocol::messages::ApiKey;

use super::{Api, LEADER, NODE_ENDPOINT};
use crate::shape::build::{
    fields, int16, int32, int64, list, nullable_string, string, tagged, uuid,
};
use crate::shape::Fields;

/// This API.
// 13 names topics by their ids, which would need a lookup per response on the hot path.
pub const API: Api = Api::new(
    ("Produce", ApiKey::Produce),
    (3, 13),
    9,
    Fields {
        plain: &[
            list(
                "responses",
                &fields(&[
                    string("name").until(12),
                    uuid("topic_id").since(13),
                    list("partition_responses", &PRODUCED),
                ]),
            ),
            int32("throttle_time_ms"),
        ],
        tagged: &[(0, list("node_endpoints", &NODE_ENDPOINT).since(10))],
    },
)
.up_to(12);

const PRODUCED: Fields = Fields {
    plain: &[
        int32("index"),
        int16("error_code"),
        int64("base_offset"),
        int64("log_append_time_ms"),
        int64("log_start_offset").since(5),
        list("record_errors", &RECORD_ERROR).since(8),
        nullable_string("error_message").since(8),
    ],
    tagged: &[(0, tagged("current_leader", &LEADER).since(10))],
};

const RECORD_ERROR: Fields = fields(&[
    int32("batch_index"),
    nullable_string("batch_index_error_message"),
]);
