//! Metadata: brokers, topics, leaders.

use kafka_protocol::messages::ApiKey;

use super::Api;
use crate::shape::build::{
    bool, fields, int16, int32, int32s, list, nullable_string, string, uuid,
};
use crate::shape::Fields;

/// This API.
pub const API: Api = Api::new(
    ("Metadata", ApiKey::Metadata),
    (0, 13),
    9,
    fields(&[
        int32("throttle_time_ms").since(3),
        list(
            "brokers",
            &fields(&[
                int32("node_id"),
                string("host"),
                int32("port"),
                nullable_string("rack").since(1),
            ]),
        ),
        nullable_string("cluster_id").since(2),
        int32("controller_id").since(1),
        list(
            "topics",
            &fields(&[
                int16("error_code"),
                nullable_string("name"),
                uuid("topic_id").since(10),
                bool("is_internal").since(1),
                list("partitions", &METADATA_PARTITION),
                int32("topic_authorized_operations").since(8),
            ]),
        ),
        int32("cluster_authorized_operations").since(8).until(10),
        int16("error_code").since(13),
    ]),
);

const METADATA_PARTITION: Fields = fields(&[
    int16("error_code"),
    int32("partition_index"),
    int32("leader_id"),
    int32("leader_epoch").since(7),
    int32s("replica_nodes"),
    int32s("isr_nodes"),
    int32s("offline_replicas").since(5),
]);
