//! The shapes of the requests that are answered, in all versions that any release offers. By them a request's lengths are
//! held against its bytes before it is decoded: see [`brod_protocol::shape`].

use brod_protocol::shape::build::*;
use brod_protocol::shape::{Fields, Shape};
use kafka_protocol::messages::ApiKey;

/// None: nobody answers to it.
pub(crate) fn of(key: ApiKey) -> Option<&'static Shape> {
    let row = SHAPES.iter().find(|(of, _)| *of == key);
    row.map(|(_, shape)| shape)
}

/// Which versions there are is looked at before: see [`crate::versions`].
const fn shape(flexible: i16, body: Fields) -> Shape {
    Shape {
        oldest: 0,
        newest: i16::MAX,
        flexible,
        body,
    }
}

static SHAPES: &[(ApiKey, Shape)] = &[
    (
        ApiKey::AlterClientQuotas,
        shape(
            1,
            fields(&[
                list(
                    "entries",
                    &fields(&[
                        list(
                            "entity",
                            &fields(&[string("entity_type"), nullable_string("entity_name")]),
                        ),
                        list(
                            "ops",
                            &fields(&[string("key"), int64("value"), bool("remove")]),
                        ),
                    ]),
                ),
                bool("validate_only"),
            ]),
        ),
    ),
    (
        ApiKey::DescribeClientQuotas,
        shape(
            1,
            fields(&[
                list(
                    "components",
                    &fields(&[
                        string("entity_type"),
                        int8("match_type"),
                        nullable_string("match"),
                    ]),
                ),
                bool("strict"),
            ]),
        ),
    ),
    (
        ApiKey::Produce,
        shape(
            9,
            fields(&[
                nullable_string("transactional_id").since(3),
                int16("acks"),
                int32("timeout_ms"),
                list(
                    "topic_data",
                    &fields(&[
                        string("name").until(12),
                        uuid("topic_id").since(13),
                        list(
                            "partition_data",
                            &fields(&[int32("index"), records("records")]),
                        ),
                    ]),
                ),
            ]),
        ),
    ),
    (
        ApiKey::Fetch,
        shape(
            12,
            Fields {
                plain: &[
                    int32("replica_id").until(14),
                    int32("max_wait_ms"),
                    int32("min_bytes"),
                    int32("max_bytes").since(3),
                    int8("isolation_level").since(4),
                    int32("session_id").since(7),
                    int32("session_epoch").since(7),
                    list(
                        "topics",
                        &fields(&[
                            string("topic").until(12),
                            uuid("topic_id").since(13),
                            list(
                                "partitions",
                                &Fields {
                                    plain: &[
                                        int32("partition"),
                                        int32("current_leader_epoch").since(9),
                                        int64("fetch_offset"),
                                        int32("last_fetched_epoch").since(12),
                                        int64("log_start_offset").since(5),
                                        int32("partition_max_bytes"),
                                    ],
                                    tagged: &[
                                        (0, uuid("replica_directory_id").since(17)),
                                        (1, int64("high_watermark").since(18)),
                                    ],
                                },
                            ),
                        ]),
                    ),
                    list(
                        "forgotten_topics_data",
                        &fields(&[
                            string("topic").since(7).until(12),
                            uuid("topic_id").since(13),
                            int32s("partitions").since(7),
                        ]),
                    )
                    .since(7),
                    string("rack_id").since(11),
                ],
                tagged: &[
                    (0, nullable_string("cluster_id").since(12)),
                    (
                        1,
                        tagged(
                            "replica_state",
                            &fields(&[
                                int32("replica_id").since(15),
                                int64("replica_epoch").since(15),
                            ]),
                        )
                        .since(15),
                    ),
                ],
            },
        ),
    ),
    (
        ApiKey::ListOffsets,
        shape(
            6,
            fields(&[
                int32("replica_id"),
                int8("isolation_level").since(2),
                list(
                    "topics",
                    &fields(&[
                        string("name"),
                        list(
                            "partitions",
                            &fields(&[
                                int32("partition_index"),
                                int32("current_leader_epoch").since(4),
                                int64("timestamp"),
                            ]),
                        ),
                    ]),
                ),
                int32("timeout_ms").since(10),
            ]),
        ),
    ),
    (
        ApiKey::Metadata,
        shape(
            9,
            fields(&[
                nullable_list(
                    "topics",
                    &fields(&[uuid("topic_id").since(10), nullable_string("name")]),
                ),
                bool("allow_auto_topic_creation").since(4),
                bool("include_cluster_authorized_operations")
                    .since(8)
                    .until(10),
                bool("include_topic_authorized_operations").since(8),
            ]),
        ),
    ),
    (
        ApiKey::ApiVersions,
        shape(
            3,
            fields(&[
                string("client_software_name").since(3),
                string("client_software_version").since(3),
            ]),
        ),
    ),
    (
        ApiKey::CreateTopics,
        shape(
            5,
            fields(&[
                list(
                    "topics",
                    &fields(&[
                        string("name"),
                        int32("num_partitions"),
                        int16("replication_factor"),
                        list(
                            "assignments",
                            &fields(&[int32("partition_index"), int32s("broker_ids")]),
                        ),
                        list(
                            "configs",
                            &fields(&[string("name"), nullable_string("value")]),
                        ),
                    ]),
                ),
                int32("timeout_ms"),
                bool("validate_only").since(1),
            ]),
        ),
    ),
    (
        ApiKey::AlterConfigs,
        shape(
            2,
            fields(&[
                list(
                    "resources",
                    &fields(&[
                        int8("resource_type"),
                        string("resource_name"),
                        list(
                            "configs",
                            &fields(&[string("name"), nullable_string("value")]),
                        ),
                    ]),
                ),
                bool("validate_only"),
            ]),
        ),
    ),
    (
        ApiKey::CreatePartitions,
        shape(
            2,
            fields(&[
                list(
                    "topics",
                    &fields(&[
                        string("name"),
                        int32("count"),
                        nullable_list("assignments", &fields(&[int32s("broker_ids")])),
                    ]),
                ),
                int32("timeout_ms"),
                bool("validate_only"),
            ]),
        ),
    ),
    (
        ApiKey::DeleteRecords,
        shape(
            2,
            fields(&[
                list(
                    "topics",
                    &fields(&[
                        string("name"),
                        list(
                            "partitions",
                            &fields(&[int32("partition_index"), int64("offset")]),
                        ),
                    ]),
                ),
                int32("timeout_ms"),
            ]),
        ),
    ),
    (
        ApiKey::DescribeCluster,
        shape(
            0,
            fields(&[
                bool("include_cluster_authorized_operations"),
                int8("endpoint_type").since(1),
                bool("include_fenced_brokers").since(2),
            ]),
        ),
    ),
    (
        ApiKey::DescribeConfigs,
        shape(
            4,
            fields(&[
                list(
                    "resources",
                    &fields(&[
                        int8("resource_type"),
                        string("resource_name"),
                        nullable_texts("configuration_keys"),
                    ]),
                ),
                bool("include_synonyms").since(1),
                bool("include_documentation").since(3),
            ]),
        ),
    ),
    (
        ApiKey::IncrementalAlterConfigs,
        shape(
            1,
            fields(&[
                list(
                    "resources",
                    &fields(&[
                        int8("resource_type"),
                        string("resource_name"),
                        list(
                            "configs",
                            &fields(&[
                                string("name"),
                                int8("config_operation"),
                                nullable_string("value"),
                            ]),
                        ),
                    ]),
                ),
                bool("validate_only"),
            ]),
        ),
    ),
    (
        ApiKey::DeleteTopics,
        shape(
            4,
            fields(&[
                list(
                    "topics",
                    &fields(&[nullable_string("name").since(6), uuid("topic_id").since(6)]),
                )
                .since(6),
                texts("topic_names").until(5),
                int32("timeout_ms"),
            ]),
        ),
    ),
    (
        ApiKey::OffsetForLeaderEpoch,
        shape(
            4,
            fields(&[
                int32("replica_id").since(3),
                list(
                    "topics",
                    &fields(&[
                        string("topic"),
                        list(
                            "partitions",
                            &fields(&[
                                int32("partition"),
                                int32("current_leader_epoch").since(2),
                                int32("leader_epoch"),
                            ]),
                        ),
                    ]),
                ),
            ]),
        ),
    ),
    (
        ApiKey::SaslHandshake,
        shape(i16::MAX, fields(&[string("mechanism")])),
    ),
    (
        ApiKey::SaslAuthenticate,
        shape(2, fields(&[bytes("auth_bytes")])),
    ),
    (
        ApiKey::FindCoordinator,
        shape(
            3,
            fields(&[
                string("key").until(3),
                int8("key_type").since(1),
                texts("coordinator_keys").since(4),
            ]),
        ),
    ),
    (
        ApiKey::JoinGroup,
        shape(
            6,
            fields(&[
                string("group_id"),
                int32("session_timeout_ms"),
                int32("rebalance_timeout_ms").since(1),
                string("member_id"),
                nullable_string("group_instance_id").since(5),
                string("protocol_type"),
                list("protocols", &fields(&[string("name"), bytes("metadata")])),
                nullable_string("reason").since(8),
            ]),
        ),
    ),
    (
        ApiKey::SyncGroup,
        shape(
            4,
            fields(&[
                string("group_id"),
                int32("generation_id"),
                string("member_id"),
                nullable_string("group_instance_id").since(3),
                nullable_string("protocol_type").since(5),
                nullable_string("protocol_name").since(5),
                list(
                    "assignments",
                    &fields(&[string("member_id"), bytes("assignment")]),
                ),
            ]),
        ),
    ),
    (
        ApiKey::Heartbeat,
        shape(
            4,
            fields(&[
                string("group_id"),
                int32("generation_id"),
                string("member_id"),
                nullable_string("group_instance_id").since(3),
            ]),
        ),
    ),
    (
        ApiKey::LeaveGroup,
        shape(
            4,
            fields(&[
                string("group_id"),
                string("member_id").until(2),
                list(
                    "members",
                    &fields(&[
                        string("member_id").since(3),
                        nullable_string("group_instance_id").since(3),
                        nullable_string("reason").since(5),
                    ]),
                )
                .since(3),
            ]),
        ),
    ),
    (
        ApiKey::ListGroups,
        shape(
            3,
            fields(&[
                texts("states_filter").since(4),
                texts("types_filter").since(5),
            ]),
        ),
    ),
    (
        ApiKey::DescribeGroups,
        shape(
            5,
            fields(&[
                texts("groups"),
                bool("include_authorized_operations").since(3),
            ]),
        ),
    ),
    (
        ApiKey::DeleteGroups,
        shape(2, fields(&[texts("groups_names")])),
    ),
    (
        ApiKey::OffsetDelete,
        shape(
            i16::MAX,
            fields(&[
                string("group_id"),
                list(
                    "topics",
                    &fields(&[
                        string("name"),
                        list("partitions", &fields(&[int32("partition_index")])),
                    ]),
                ),
            ]),
        ),
    ),
    (
        ApiKey::ConsumerGroupHeartbeat,
        shape(
            0,
            fields(&[
                string("group_id"),
                string("member_id"),
                int32("member_epoch"),
                nullable_string("instance_id"),
                nullable_string("rack_id"),
                int32("rebalance_timeout_ms"),
                nullable_texts("subscribed_topic_names"),
                nullable_string("subscribed_topic_regex").since(1),
                nullable_string("server_assignor"),
                nullable_list(
                    "topic_partitions",
                    &fields(&[uuid("topic_id"), int32s("partitions")]),
                ),
            ]),
        ),
    ),
    (
        ApiKey::ConsumerGroupDescribe,
        shape(
            0,
            fields(&[texts("group_ids"), bool("include_authorized_operations")]),
        ),
    ),
    (
        ApiKey::OffsetCommit,
        shape(
            8,
            fields(&[
                string("group_id"),
                int32("generation_id_or_member_epoch").since(1),
                string("member_id").since(1),
                nullable_string("group_instance_id").since(7),
                int64("retention_time_ms").since(2).until(4),
                list(
                    "topics",
                    &fields(&[
                        string("name").until(9),
                        uuid("topic_id").since(10),
                        list(
                            "partitions",
                            &fields(&[
                                int32("partition_index"),
                                int64("committed_offset"),
                                int32("committed_leader_epoch").since(6),
                                nullable_string("committed_metadata"),
                            ]),
                        ),
                    ]),
                ),
            ]),
        ),
    ),
    (
        ApiKey::OffsetFetch,
        shape(
            6,
            fields(&[
                string("group_id").until(7),
                nullable_list(
                    "topics",
                    &fields(&[
                        string("name").until(7),
                        int32s("partition_indexes").until(7),
                    ]),
                )
                .until(7),
                list(
                    "groups",
                    &fields(&[
                        string("group_id").since(8),
                        nullable_string("member_id").since(9),
                        int32("member_epoch").since(9),
                        nullable_list(
                            "topics",
                            &fields(&[
                                string("name").since(8).until(9),
                                uuid("topic_id").since(10),
                                int32s("partition_indexes").since(8),
                            ]),
                        )
                        .since(8),
                    ]),
                )
                .since(8),
                bool("require_stable").since(7),
            ]),
        ),
    ),
    (
        ApiKey::InitProducerId,
        shape(
            2,
            fields(&[
                nullable_string("transactional_id"),
                int32("transaction_timeout_ms"),
                int64("producer_id").since(3),
                int16("producer_epoch").since(3),
                bool("enable2_pc").since(6),
                bool("keep_prepared_txn").since(6),
            ]),
        ),
    ),
    (
        ApiKey::AddPartitionsToTxn,
        shape(
            3,
            fields(&[
                list(
                    "transactions",
                    &fields(&[
                        string("transactional_id").since(4),
                        int64("producer_id").since(4),
                        int16("producer_epoch").since(4),
                        bool("verify_only").since(4),
                        list("topics", &fields(&[string("name"), int32s("partitions")])).since(4),
                    ]),
                )
                .since(4),
                string("v3_and_below_transactional_id").until(3),
                int64("v3_and_below_producer_id").until(3),
                int16("v3_and_below_producer_epoch").until(3),
                list(
                    "v3_and_below_topics",
                    &fields(&[string("name"), int32s("partitions")]),
                )
                .until(3),
            ]),
        ),
    ),
    (
        ApiKey::AddOffsetsToTxn,
        shape(
            3,
            fields(&[
                string("transactional_id"),
                int64("producer_id"),
                int16("producer_epoch"),
                string("group_id"),
            ]),
        ),
    ),
    (
        ApiKey::EndTxn,
        shape(
            3,
            fields(&[
                string("transactional_id"),
                int64("producer_id"),
                int16("producer_epoch"),
                bool("committed"),
            ]),
        ),
    ),
    (
        ApiKey::TxnOffsetCommit,
        shape(
            3,
            fields(&[
                string("transactional_id"),
                string("group_id"),
                int64("producer_id"),
                int16("producer_epoch"),
                int32("generation_id").since(3),
                string("member_id").since(3),
                nullable_string("group_instance_id").since(3),
                list(
                    "topics",
                    &fields(&[
                        string("name"),
                        list(
                            "partitions",
                            &fields(&[
                                int32("partition_index"),
                                int64("committed_offset"),
                                int32("committed_leader_epoch").since(2),
                                nullable_string("committed_metadata"),
                            ]),
                        ),
                    ]),
                ),
            ]),
        ),
    ),
    (
        ApiKey::GetTelemetrySubscriptions,
        shape(0, fields(&[uuid("client_instance_id")])),
    ),
    (
        ApiKey::PushTelemetry,
        shape(
            0,
            fields(&[
                uuid("client_instance_id"),
                int32("subscription_id"),
                bool("terminating"),
                int8("compression_type"),
                bytes("metrics"),
            ]),
        ),
    ),
];

#[cfg(test)]
#[allow(dead_code)]
#[path = "../../protocol/tests/response_shapes/sample.rs"]
mod sample;

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use kafka_protocol::messages::RequestKind;

    use super::sample::{encoded, sample, Width, FULL, STYLES};
    use super::*;
    use crate::Release;

    #[test]
    fn requests_made_from_shapes_are_read_to_their_last_byte_and_written_as_they_were() {
        for (key, oldest, newest) in [Release::V0_11, Release::V4_1]
            .iter()
            .flat_map(|r| r.apis())
        {
            let shape = of(key).unwrap_or_else(|| panic!("{key:?} has no shape"));
            for version in oldest..=newest {
                for style in STYLES {
                    let bytes = Bytes::from(sample(shape, version, style).bytes);
                    assert_eq!(shape.check(&bytes, version), Ok(bytes.len()));
                    let mut rest = bytes.clone();
                    let request = RequestKind::decode(key, &mut rest, version)
                        .unwrap_or_else(|e| panic!("{key:?} {version} {style:?}: {e}"));
                    assert!(rest.is_empty(), "{key:?} {version} {style:?}");
                    if style.nulls {
                        // A tagged field that is null is not written.
                        continue;
                    }
                    let mut again = BytesMut::new();
                    request.encode(&mut again, version).unwrap();
                    assert_eq!(again, bytes, "{key:?} {version} {style:?}");
                }
            }
        }
    }

    #[test]
    fn an_array_that_claims_more_elements_than_there_are_bytes_is_refused_wherever_it_is() {
        let mut arrays = 0;
        for (key, oldest, newest) in Release::V4_1.apis() {
            let shape = of(key).unwrap();
            for version in oldest..=newest {
                let sample = sample(shape, version, FULL);
                for length in &sample.lengths {
                    if length.width == Width::Plain {
                        continue;
                    }
                    let most = match length.width {
                        Width::Short => i16::MAX.into(),
                        _ => i64::from(i32::MAX),
                    };
                    let body = sample.with(length, &encoded(length.width, most));
                    let field = length.field;
                    assert!(
                        shape.check(&body, version).is_err(),
                        "{key:?} {version} {field}"
                    );
                    arrays += 1;
                }
            }
        }
        assert!(arrays > 500, "{arrays}");
    }
}
