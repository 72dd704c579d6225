//! DescribeGroups: the state of groups and who is in them.

use kafka_protocol::messages::ApiKey;

use super::Api;
use crate::shape::build::{bytes, fields, int16, int32, list, nullable_string, string};
use crate::shape::Fields;

/// This API.
// From 6 on an unknown group is an error and no longer a group in state `Dead`, which is what
// callers know.
pub const API: Api = Api::new(
    ("DescribeGroups", ApiKey::DescribeGroups),
    (0, 6),
    5,
    fields(&[
        int32("throttle_time_ms").since(1),
        list(
            "groups",
            &fields(&[
                int16("error_code"),
                nullable_string("error_message").since(6),
                string("group_id"),
                string("group_state"),
                string("protocol_type"),
                string("protocol_data"),
                list("members", &DESCRIBED_MEMBER),
                int32("authorized_operations").since(3),
            ]),
        ),
    ]),
)
.up_to(5);

const DESCRIBED_MEMBER: Fields = fields(&[
    string("member_id"),
    nullable_string("group_instance_id").since(4),
    string("client_id"),
    string("client_host"),
    bytes("member_metadata"),
    bytes("member_assignment"),
]);
