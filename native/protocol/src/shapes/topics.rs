//! Brokers, topics and what is in them.

use kafka_protocol::messages::ApiKey;

use super::super::shape::{Fields, Shape};
use super::{
    bool, fields, int16, int32, int32s, int64, int8, list, nullable_list, nullable_string, records,
    shape, string, tagged, uuid,
};

/// The one that a partition moved to (KIP-951).
const LEADER: Fields = fields(&[int32("leader_id"), int32("leader_epoch")]);

const NODE_ENDPOINT: Fields = fields(&[
    int32("node_id"),
    string("host"),
    int32("port"),
    nullable_string("rack"),
]);

pub(super) const PRODUCE: Shape = shape(
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
);

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

pub(super) const FETCH: Shape = shape(
    ("Fetch", ApiKey::Fetch),
    (4, 18),
    12,
    Fields {
        plain: &[
            int32("throttle_time_ms"),
            int16("error_code").since(7),
            int32("session_id").since(7),
            list(
                "responses",
                &fields(&[
                    string("topic").until(12),
                    uuid("topic_id").since(13),
                    list("partitions", &FETCHED),
                ]),
            ),
        ],
        tagged: &[(0, list("node_endpoints", &NODE_ENDPOINT).since(16))],
    },
);

const FETCHED: Fields = Fields {
    plain: &[
        int32("partition_index"),
        int16("error_code"),
        int64("high_watermark"),
        int64("last_stable_offset"),
        int64("log_start_offset").since(5),
        nullable_list(
            "aborted_transactions",
            &fields(&[int64("producer_id"), int64("first_offset")]),
        ),
        int32("preferred_read_replica").since(11),
        records("records"),
    ],
    tagged: &[
        (
            0,
            tagged(
                "diverging_epoch",
                &fields(&[int32("epoch"), int64("end_offset")]),
            ),
        ),
        (1, tagged("current_leader", &LEADER)),
        (
            2,
            tagged(
                "snapshot_id",
                &fields(&[int64("end_offset"), int32("epoch")]),
            ),
        ),
    ],
};

pub(super) const LIST_OFFSETS: Shape = shape(
    ("ListOffsets", ApiKey::ListOffsets),
    (1, 10),
    6,
    fields(&[
        int32("throttle_time_ms").since(2),
        list(
            "topics",
            &fields(&[
                string("name"),
                list(
                    "partitions",
                    &fields(&[
                        int32("partition_index"),
                        int16("error_code"),
                        int64("timestamp"),
                        int64("offset"),
                        int32("leader_epoch").since(4),
                    ]),
                ),
            ]),
        ),
    ]),
);

pub(super) const OFFSET_FOR_LEADER_EPOCH: Shape = shape(
    ("OffsetForLeaderEpoch", ApiKey::OffsetForLeaderEpoch),
    (2, 4),
    4,
    fields(&[
        int32("throttle_time_ms"),
        list(
            "topics",
            &fields(&[
                string("topic"),
                list(
                    "partitions",
                    &fields(&[
                        int16("error_code"),
                        int32("partition"),
                        int32("leader_epoch"),
                        int64("end_offset"),
                    ]),
                ),
            ]),
        ),
    ]),
);

pub(super) const METADATA: Shape = shape(
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

pub(super) const API_VERSIONS: Shape = shape(
    ("ApiVersions", ApiKey::ApiVersions),
    (0, 4),
    3,
    Fields {
        plain: &[
            int16("error_code"),
            list(
                "api_keys",
                &fields(&[int16("api_key"), int16("min_version"), int16("max_version")]),
            ),
            int32("throttle_time_ms").since(1),
        ],
        tagged: &[
            (0, list("supported_features", &FEATURE)),
            (1, int64("finalized_features_epoch")),
            (2, list("finalized_features", &FEATURE)),
            (3, bool("zk_migration_ready")),
        ],
    },
);

/// A name, and a range of versions.
const FEATURE: Fields = fields(&[string("name"), int16("version"), int16("version")]);

pub(super) const CREATE_TOPICS: Shape = shape(
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

pub(super) const DELETE_TOPICS: Shape = shape(
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

pub(super) const INIT_PRODUCER_ID: Shape = shape(
    ("InitProducerId", ApiKey::InitProducerId),
    (0, 6),
    2,
    fields(&[
        int32("throttle_time_ms"),
        int16("error_code"),
        int64("producer_id"),
        int16("producer_epoch"),
        int64("ongoing_txn_producer_id").since(6),
        int16("ongoing_txn_producer_epoch").since(6),
    ]),
);
