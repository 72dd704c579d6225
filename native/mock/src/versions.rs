//! Which APIs the mock knows, and in which versions the releases of Kafka that it can look like offer them.

use kafka_protocol::messages::ApiKey;
use serde::Deserialize;

/// A release of Kafka that a broker can look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Release {
    /// 0.11, the first with record batches.
    #[serde(rename = "0.11")]
    V0_11,
    /// 1.1
    #[serde(rename = "1.1")]
    V1_1,
    /// 2.8
    #[serde(rename = "2.8")]
    V2_8,
    /// 3.9
    #[serde(rename = "3.9")]
    V3_9,
    /// 4.1
    #[serde(rename = "4.1")]
    V4_1,
}

const NONE: i16 = -1;

/// An API, the oldest version that is spoken here, and the newest one of each release.
type Row = (ApiKey, i16, [i16; 5]);

/// What is answered, as far as `dispatch` has a handler for it. The newest versions are those of Kafka's
/// releases, or what the message crate knows if that is less.
const TABLE: &[Row] = &[
    (ApiKey::Produce, 3, [3, 5, 9, 11, 13]),
    (ApiKey::Fetch, 4, [5, 7, 12, 17, 18]),
    (ApiKey::ListOffsets, 1, [2, 2, 6, 9, 10]),
    (ApiKey::Metadata, 0, [4, 5, 11, 12, 13]),
    (ApiKey::ApiVersions, 0, [1, 1, 3, 4, 4]),
    (ApiKey::CreateTopics, 2, [2, 2, 7, 7, 7]),
    (ApiKey::AlterConfigs, 0, [0, 0, 2, 2, 2]),
    (ApiKey::AlterClientQuotas, 0, [NONE, NONE, 1, 1, 1]),
    (ApiKey::DescribeClientQuotas, 0, [NONE, NONE, 1, 1, 1]),
    (ApiKey::CreatePartitions, 0, [NONE, 0, 3, 3, 3]),
    (ApiKey::DeleteRecords, 0, [0, 0, 2, 2, 2]),
    (ApiKey::DescribeCluster, 0, [NONE, NONE, 0, 1, 2]),
    (ApiKey::DescribeConfigs, 1, [NONE, 1, 4, 4, 4]),
    (ApiKey::IncrementalAlterConfigs, 0, [NONE, NONE, 1, 1, 1]),
    (ApiKey::DeleteTopics, 1, [1, 1, 6, 6, 6]),
    (ApiKey::OffsetForLeaderEpoch, 2, [NONE, NONE, 4, 4, 4]),
    (ApiKey::SaslHandshake, 0, [0, 1, 1, 1, 1]),
    (ApiKey::SaslAuthenticate, 0, [NONE, 0, 2, 2, 2]),
    (ApiKey::FindCoordinator, 0, [1, 1, 3, 5, 6]),
    (ApiKey::JoinGroup, 0, [2, 2, 7, 9, 9]),
    (ApiKey::SyncGroup, 0, [1, 1, 5, 5, 5]),
    (ApiKey::Heartbeat, 0, [1, 1, 4, 4, 4]),
    (ApiKey::LeaveGroup, 0, [1, 1, 4, 5, 5]),
    (ApiKey::ListGroups, 0, [1, 1, 4, 5, 5]),
    (ApiKey::DescribeGroups, 0, [1, 1, 5, 5, 6]),
    (ApiKey::DeleteGroups, 0, [NONE, 1, 2, 2, 2]),
    (ApiKey::OffsetDelete, 0, [NONE, NONE, 0, 0, 0]),
    (
        ApiKey::ConsumerGroupHeartbeat,
        0,
        [NONE, NONE, NONE, NONE, 1],
    ),
    (
        ApiKey::ConsumerGroupDescribe,
        0,
        [NONE, NONE, NONE, NONE, 1],
    ),
    (ApiKey::OffsetCommit, 2, [3, 3, 8, 9, 9]),
    (ApiKey::OffsetFetch, 1, [3, 3, 7, 9, 9]),
    (ApiKey::InitProducerId, 0, [0, 0, 4, 5, 5]),
    (ApiKey::AddPartitionsToTxn, 0, [0, 0, 3, 5, 5]),
    (ApiKey::AddOffsetsToTxn, 0, [0, 0, 3, 4, 4]),
    (ApiKey::EndTxn, 0, [0, 0, 3, 4, 5]),
    (ApiKey::TxnOffsetCommit, 0, [0, 0, 3, 4, 5]),
    (
        ApiKey::GetTelemetrySubscriptions,
        0,
        [NONE, NONE, NONE, 0, 0],
    ),
    (ApiKey::PushTelemetry, 0, [NONE, NONE, NONE, 0, 0]),
];

impl Release {
    fn column(self) -> usize {
        match self {
            Release::V0_11 => 0,
            Release::V1_1 => 1,
            Release::V2_8 => 2,
            Release::V3_9 => 3,
            Release::V4_1 => 4,
        }
    }

    /// All that a broker of this release offers: API, oldest and newest version.
    pub fn apis(self) -> impl Iterator<Item = (ApiKey, i16, i16)> {
        TABLE.iter().filter_map(move |(key, oldest, newest)| {
            let newest = newest[self.column()];
            (newest != NONE && newest >= *oldest).then_some((*key, *oldest, newest))
        })
    }

    /// Whether a broker of this release answers to this version of this API.
    pub fn answers(self, key: ApiKey, version: i16) -> bool {
        let row = self.apis().find(|(api, _, _)| *api == key);
        row.is_some_and(|(_, oldest, newest)| (oldest..=newest).contains(&version))
    }
}
