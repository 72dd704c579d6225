//! ListGroups: the groups that a broker coordinates.

use kafka_protocol::messages::ApiKey;

use super::Api;
use crate::shape::build::{fields, int16, int32, list, string};

/// This API.
pub const API: Api = Api::new(
    ("ListGroups", ApiKey::ListGroups),
    (0, 5),
    3,
    fields(&[
        int32("throttle_time_ms").since(1),
        int16("error_code"),
        list(
            "groups",
            &fields(&[
                string("group_id"),
                string("protocol_type"),
                string("group_state").since(4),
                string("group_type").since(5),
            ]),
        ),
    ]),
);
