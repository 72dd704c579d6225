//! Throttle times: as faults, in any answer that has a field for them, and as quotas of a client in bytes a second.

use std::collections::BTreeMap;

use kafka_protocol::messages::*;

use crate::call::Millis;

/// How much a client may take at once before it is throttled, in ms of its rate.
const BURST: Millis = 1000;

/// An answer that can tell its client to wait.
pub(crate) trait Throttled {
    fn throttle(&mut self, ms: i32);
}

macro_rules! throttled {
    ($($response:ty),* $(,)?) => {
        $(impl Throttled for $response {
            fn throttle(&mut self, ms: i32) {
                self.throttle_time_ms = self.throttle_time_ms.max(ms);
            }
        })*
    };
}

throttled!(
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnResponse,
    AlterClientQuotasResponse,
    AlterConfigsResponse,
    ApiVersionsResponse,
    ConsumerGroupDescribeResponse,
    ConsumerGroupHeartbeatResponse,
    CreatePartitionsResponse,
    CreateTopicsResponse,
    DeleteGroupsResponse,
    DeleteRecordsResponse,
    DeleteTopicsResponse,
    DescribeClientQuotasResponse,
    DescribeClusterResponse,
    DescribeConfigsResponse,
    DescribeGroupsResponse,
    EndTxnResponse,
    FetchResponse,
    FindCoordinatorResponse,
    GetTelemetrySubscriptionsResponse,
    HeartbeatResponse,
    IncrementalAlterConfigsResponse,
    InitProducerIdResponse,
    JoinGroupResponse,
    LeaveGroupResponse,
    ListGroupsResponse,
    ListOffsetsResponse,
    MetadataResponse,
    OffsetCommitResponse,
    OffsetDeleteResponse,
    OffsetFetchResponse,
    OffsetForLeaderEpochResponse,
    ProduceResponse,
    PushTelemetryResponse,
    SyncGroupResponse,
    TxnOffsetCommitResponse,
);

impl Throttled for SaslHandshakeResponse {
    fn throttle(&mut self, _ms: i32) {}
}

impl Throttled for SaslAuthenticateResponse {
    fn throttle(&mut self, _ms: i32) {}
}

/// What one client may do.
#[derive(Debug, Clone, Copy)]
struct Quota {
    /// 0: no limit.
    bytes_a_second: u64,
    /// When what was done so far is paid for.
    paid_at: Millis,
}

/// The quotas of a cluster, by client id: of what clients produce, or of what they fetch.
#[derive(Debug, Default)]
pub(crate) struct Quotas(BTreeMap<String, Quota>);

impl Quotas {
    /// 0 is no limit.
    pub(crate) fn set(&mut self, client: &str, bytes_a_second: u64) {
        let quota = Quota {
            bytes_a_second,
            paid_at: 0,
        };
        self.0.insert(client.to_owned(), quota);
    }

    /// In bytes a second; None: no limit.
    pub(crate) fn of(&self, client: &str) -> Option<u64> {
        let rate = self.0.get(client)?.bytes_a_second;
        (rate > 0).then_some(rate)
    }

    /// Those that have or had one.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// How long the client has to wait, in ms, for it has moved so many bytes.
    pub(crate) fn charge(&mut self, client: &str, bytes: usize, now: Millis) -> Millis {
        let quota = self.0.get_mut(client);
        let Some(quota) = quota.filter(|quota| quota.bytes_a_second > 0) else {
            return 0;
        };
        let cost = bytes as u64 * 1000 / quota.bytes_a_second;
        quota.paid_at = quota.paid_at.max(now).saturating_add(cost as Millis);
        (quota.paid_at - now - BURST).max(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_waits_for_what_it_did_beyond_its_quota_and_others_do_not() {
        let mut quotas = Quotas::default();
        quotas.set("a", 1000);
        assert_eq!(quotas.charge("a", 1000, 0), 0);
        assert_eq!(quotas.charge("a", 500, 0), 500);
        assert_eq!(quotas.charge("b", 9000, 0), 0);
        assert_eq!(quotas.charge("a", 100, 5000), 0, "all is paid for by then");
        quotas.set("a", 0);
        assert_eq!(quotas.charge("a", 9000, 5000), 0);
    }
}
