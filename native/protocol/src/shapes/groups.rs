//! Groups: their members and their offsets.

use kafka_protocol::messages::ApiKey;

use super::super::shape::{Fields, Shape};
use super::{bool, bytes, fields, int16, int32, int64, list, nullable_string, shape, string, uuid};

pub(super) const FIND_COORDINATOR: Shape = shape(
    ("FindCoordinator", ApiKey::FindCoordinator),
    (0, 6),
    3,
    fields(&[
        int32("throttle_time_ms").since(1),
        int16("error_code").until(3),
        nullable_string("error_message").since(1).until(3),
        int32("node_id").until(3),
        string("host").until(3),
        int32("port").until(3),
        list(
            "coordinators",
            &fields(&[
                string("key"),
                int32("node_id"),
                string("host"),
                int32("port"),
                int16("error_code"),
                nullable_string("error_message"),
            ]),
        )
        .since(4),
    ]),
);

pub(super) const JOIN_GROUP: Shape = shape(
    ("JoinGroup", ApiKey::JoinGroup),
    (0, 9),
    6,
    fields(&[
        int32("throttle_time_ms").since(2),
        int16("error_code"),
        int32("generation_id"),
        nullable_string("protocol_type").since(7),
        nullable_string("protocol_name"),
        string("leader"),
        bool("skip_assignment").since(9),
        string("member_id"),
        list(
            "members",
            &fields(&[
                string("member_id"),
                nullable_string("group_instance_id").since(5),
                bytes("metadata"),
            ]),
        ),
    ]),
);

pub(super) const SYNC_GROUP: Shape = shape(
    ("SyncGroup", ApiKey::SyncGroup),
    (0, 5),
    4,
    fields(&[
        int32("throttle_time_ms").since(1),
        int16("error_code"),
        nullable_string("protocol_type").since(5),
        nullable_string("protocol_name").since(5),
        bytes("assignment"),
    ]),
);

pub(super) const HEARTBEAT: Shape = shape(
    ("Heartbeat", ApiKey::Heartbeat),
    (0, 4),
    4,
    fields(&[int32("throttle_time_ms").since(1), int16("error_code")]),
);

pub(super) const LEAVE_GROUP: Shape = shape(
    ("LeaveGroup", ApiKey::LeaveGroup),
    (0, 5),
    4,
    fields(&[
        int32("throttle_time_ms").since(1),
        int16("error_code"),
        list(
            "members",
            &fields(&[
                string("member_id"),
                nullable_string("group_instance_id"),
                int16("error_code"),
            ]),
        )
        .since(3),
    ]),
);

pub(super) const DESCRIBE_GROUPS: Shape = shape(
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
);

const DESCRIBED_MEMBER: Fields = fields(&[
    string("member_id"),
    nullable_string("group_instance_id").since(4),
    string("client_id"),
    string("client_host"),
    bytes("member_metadata"),
    bytes("member_assignment"),
]);

pub(super) const LIST_GROUPS: Shape = shape(
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

pub(super) const OFFSET_COMMIT: Shape = shape(
    ("OffsetCommit", ApiKey::OffsetCommit),
    (2, 10),
    8,
    fields(&[
        int32("throttle_time_ms").since(3),
        list(
            "topics",
            &fields(&[
                string("name").until(9),
                uuid("topic_id").since(10),
                list(
                    "partitions",
                    &fields(&[int32("partition_index"), int16("error_code")]),
                ),
            ]),
        ),
    ]),
);

pub(super) const OFFSET_FETCH: Shape = shape(
    ("OffsetFetch", ApiKey::OffsetFetch),
    (1, 10),
    6,
    fields(&[
        int32("throttle_time_ms").since(3),
        list(
            "topics",
            &fields(&[string("name"), list("partitions", &FETCHED_OFFSET)]),
        )
        .until(7),
        int16("error_code").since(2).until(7),
        list(
            "groups",
            &fields(&[
                string("group_id"),
                list(
                    "topics",
                    &fields(&[
                        string("name").until(9),
                        uuid("topic_id").since(10),
                        list("partitions", &FETCHED_OFFSET),
                    ]),
                ),
                int16("error_code"),
            ]),
        )
        .since(8),
    ]),
);

const FETCHED_OFFSET: Fields = fields(&[
    int32("partition_index"),
    int64("committed_offset"),
    int32("committed_leader_epoch").since(5),
    nullable_string("metadata"),
    int16("error_code"),
]);
