//! Every response of every version that the client speaks, to the end: what is decoded is read as the engine does.

use brod_protocol::api::{self, Api};
use brod_protocol::throttle::throttle_time;
use brod_protocol::{decode_response, encode_response};
use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Request;

/// The first byte is the API, by its place in [`api::ALL`]; the second one the version, from the oldest one on.
pub fn run(data: &[u8]) {
    let Some(([which, version], body)) = super::head(data) else {
        return;
    };
    let api = api::ALL[usize::from(which) % api::ALL.len()];
    let versions = api.shape.newest - api.shape.oldest + 1;
    let version = api.shape.oldest + i16::from(version) % versions;
    read(api, version, Bytes::copy_from_slice(body));
}

/// That it is encoded again says little: the crate decodes unknown tags that it encodes to something else.
fn decoded<R>(body: &Bytes, version: i16) -> Option<R::Response>
where
    R: Request,
    R::Response: PartialEq + std::fmt::Debug + Clone,
{
    let response = decode_response::<R>(body.clone(), version).ok()?;
    if let Ok(again) = encode_response::<R>(&response, version) {
        _ = decode_response::<R>(again, version);
    }
    Some(response)
}

fn read(api: &Api, version: i16, body: Bytes) {
    _ = throttle_time(api.key, version, &body);
    macro_rules! read {
        ($request:ty, $read:expr) => {
            if let Some(response) = decoded::<$request>(&body, version) {
                _ = $read(response);
            }
        };
    }
    let at = api::list_offsets::AtTime {
        topic: "t",
        partition: 0,
        leader_epoch: -1,
        time: -1,
    };
    let epoch = api::offset_for_leader_epoch::InPartition {
        topic: "t",
        partition: 0,
        leader_epoch: -1,
        epoch: 0,
    };
    match ApiKey::try_from(api.key).expect("ours are known") {
        ApiKey::ApiVersions => _ = api::api_versions::read(version, body),
        ApiKey::Produce => _ = api::produce::decode(body, version),
        ApiKey::Fetch => read!(FetchRequest, |response| {
            for (_, partition) in api::fetch::read(response).partitions() {
                super::batches::read(partition.records, 3);
            }
        }),
        ApiKey::ListOffsets => read!(ListOffsetsRequest, |r| api::list_offsets::read(&r, &at)
            .is_ok()),
        ApiKey::Metadata => read!(MetadataRequest, |r| api::metadata::read(version, r)),
        ApiKey::OffsetCommit => read!(OffsetCommitRequest, |r| api::offset_commit::read(
            &r,
            [("t", 0)]
        )
        .is_ok()),
        ApiKey::OffsetFetch => read!(OffsetFetchRequest, |r| api::offset_fetch::read(version, r)),
        ApiKey::FindCoordinator => read!(FindCoordinatorRequest, |r| api::find_coordinator::read(
            version, r
        )),
        ApiKey::JoinGroup => read!(JoinGroupRequest, |r| {
            super::members::in_join(&r);
            api::join_group::read(r)
        }),
        ApiKey::Heartbeat => read!(HeartbeatRequest, |r| api::heartbeat::read(&r).is_ok()),
        ApiKey::LeaveGroup => read!(LeaveGroupRequest, |r| api::leave_group::read(
            version, &r, "m"
        )
        .is_ok()),
        ApiKey::SyncGroup => read!(SyncGroupRequest, |r| api::sync_group::read(r)
            .map(|bytes| super::members::run(&bytes))),
        ApiKey::DescribeGroups => read!(DescribeGroupsRequest, |r| api::describe_groups::read(
            r,
            ["g"]
        )),
        ApiKey::ListGroups => read!(ListGroupsRequest, api::list_groups::read),
        ApiKey::CreateTopics => read!(CreateTopicsRequest, |r| api::create_topics::read(&r, ["t"])
            .is_ok()),
        ApiKey::DeleteTopics => read!(DeleteTopicsRequest, |r| api::delete_topics::read(&r, ["t"])
            .is_ok()),
        ApiKey::InitProducerId => read!(InitProducerIdRequest, |r| api::init_producer_id::read(&r)
            .is_ok()),
        ApiKey::OffsetForLeaderEpoch => {
            read!(OffsetForLeaderEpochRequest, |r| {
                api::offset_for_leader_epoch::read(&r, &epoch).is_ok()
            })
        }
        ApiKey::AddPartitionsToTxn => {
            read!(AddPartitionsToTxnRequest, |r| {
                api::add_partitions_to_txn::read(&r, [("t", 0)]).is_ok()
            })
        }
        ApiKey::AddOffsetsToTxn => {
            read!(AddOffsetsToTxnRequest, |r| api::add_offsets_to_txn::read(
                &r
            )
            .is_ok())
        }
        ApiKey::EndTxn => read!(EndTxnRequest, |r| api::end_txn::read(version, &r).is_ok()),
        ApiKey::TxnOffsetCommit => {
            read!(TxnOffsetCommitRequest, |r| api::txn_offset_commit::read(
                &r,
                [("t", 0)]
            )
            .is_ok())
        }
        ApiKey::SaslHandshake => read!(SaslHandshakeRequest, |r| api::sasl_handshake::read(&r)
            .is_ok()),
        ApiKey::SaslAuthenticate => read!(SaslAuthenticateRequest, api::sasl_authenticate::read),
        ApiKey::GetTelemetrySubscriptions => {
            read!(GetTelemetrySubscriptionsRequest, |r| {
                api::get_telemetry_subscriptions::read(&r).is_ok()
            });
        }
        ApiKey::PushTelemetry => read!(PushTelemetryRequest, |r| api::push_telemetry::read(&r)
            .is_ok()),
        other => unreachable!("{other:?} is in api::ALL and not here"),
    }
}
