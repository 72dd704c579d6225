//! GetTelemetrySubscriptions and PushTelemetry: metrics that clients push (KIP-714).

use brod_protocol::compress::{decompress, Codec};
use brod_protocol::error::ErrorCode;
use brod_protocol::otlp::MetricsData;
use kafka_protocol::messages::{
    GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, PushTelemetryRequest,
    PushTelemetryResponse,
};
use uuid::Uuid;

use super::text;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;
use crate::config::ClientMetrics;

/// The longest push that is taken, in bytes, as it comes and unpacked.
const MAX_BYTES: i32 = 1024 * 1024;
/// As many pushes are kept.
const KEPT: usize = 1000;

/// What was pushed at a time.
#[derive(Debug)]
pub(crate) struct Push {
    pub client_id: String,
    pub instance: Uuid,
    pub terminating: bool,
    pub data: MetricsData,
}

/// Another one for another subscription.
fn id(wanted: &ClientMetrics) -> i32 {
    let names = wanted.names.iter().flat_map(|name| name.bytes());
    names.fold(wanted.interval_ms, |id, byte| {
        id.wrapping_mul(31).wrapping_add(byte.into())
    })
}

pub(crate) fn subscriptions(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: GetTelemetrySubscriptionsRequest,
) -> Answer<GetTelemetrySubscriptionsResponse> {
    let response = GetTelemetrySubscriptionsResponse::default();
    if let Some(code) = call.refused() {
        return Answer::Now(response.with_error_code(code.0));
    }
    let instance = match request.client_instance_id.is_nil() {
        true => Uuid::from_u128(0xb40d << 64 | u128::from(cluster.new_id())),
        false => request.client_instance_id,
    };
    let Some(wanted) = &cluster.config.client_metrics else {
        return Answer::Close;
    };
    Answer::Now(
        response
            .with_client_instance_id(instance)
            .with_subscription_id(id(wanted))
            .with_accepted_compression_types(wanted.codecs.clone())
            .with_push_interval_ms(wanted.interval_ms)
            .with_telemetry_max_bytes(MAX_BYTES)
            .with_delta_temporality(wanted.delta)
            .with_requested_metrics(wanted.names.iter().map(|name| text(name)).collect()),
    )
}

pub(crate) fn push(
    cluster: &mut Cluster,
    _connection: &mut Connection,
    call: &Call,
    request: PushTelemetryRequest,
) -> Answer<PushTelemetryResponse> {
    let code = match call.refused() {
        Some(code) => code,
        None => match take(cluster, call, request) {
            Ok(()) => ErrorCode::default(),
            Err(code) => code,
        },
    };
    Answer::Now(PushTelemetryResponse::default().with_error_code(code.0))
}

fn take(
    cluster: &mut Cluster,
    call: &Call,
    request: PushTelemetryRequest,
) -> Result<(), ErrorCode> {
    let wanted = cluster.config.client_metrics.as_ref();
    let wanted = wanted.ok_or(ErrorCode::INVALID_REQUEST)?;
    if request.client_instance_id.is_nil() {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    if request.subscription_id != id(wanted) {
        return Err(ErrorCode::UNKNOWN_SUBSCRIPTION_ID);
    }
    let codec = request.compression_type;
    if codec != 0 && !wanted.codecs.contains(&codec) {
        return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
    }
    if request.metrics.len() > MAX_BYTES as usize {
        return Err(ErrorCode::TELEMETRY_TOO_LARGE);
    }
    let codec = Codec::from_attributes(codec.into()).ok_or(ErrorCode::INVALID_REQUEST)?;
    let plain = decompress(codec, &request.metrics, MAX_BYTES as usize);
    let data = plain.ok().and_then(|plain| MetricsData::from_bytes(&plain));
    if cluster.pushes.len() == KEPT {
        cluster.pushes.pop_front();
    }
    cluster.pushes.push_back(Push {
        client_id: call.client_id.to_string(),
        instance: request.client_instance_id,
        terminating: request.terminating,
        data: data.ok_or(ErrorCode::INVALID_RECORD)?,
    });
    Ok(())
}
