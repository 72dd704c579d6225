//! PushTelemetry: metrics of a client, for whoever operates the cluster (KIP-714).

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, PushTelemetryRequest, PushTelemetryResponse};
use uuid::Uuid;

use super::get_telemetry_subscriptions::Subscription;
use super::{check, Api, ApiError, SHORT};
use crate::compress::{compress, CodecError};
use crate::shape::build::{fields, int16, int32};

/// This API.
pub const API: Api = Api::new(
    ("PushTelemetry", ApiKey::PushTelemetry),
    (0, 0),
    0,
    fields(&[int32("throttle_time_ms"), int16("error_code")]),
)
.answers(SHORT);

/// Hands in encoded metrics ([`crate::otlp`]), compressed as was agreed. `terminating`: they are the last ones.
pub fn request(
    subscription: &Subscription,
    metrics: &[u8],
    terminating: bool,
) -> Result<PushTelemetryRequest, CodecError> {
    let mut compressed = Vec::new();
    compress(subscription.codec, None, metrics, &mut compressed)?;
    Ok(PushTelemetryRequest::default()
        .with_client_instance_id(Uuid::from_bytes(subscription.instance))
        .with_subscription_id(subscription.id)
        .with_terminating(terminating)
        .with_compression_type(subscription.codec as i8)
        .with_metrics(Bytes::from(compressed)))
}

/// Whether they were taken.
pub fn read(response: &PushTelemetryResponse) -> Result<(), ApiError> {
    check(response.error_code)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::testing::{as_read, over_the_wire};
    use super::*;
    use crate::compress::{decompress, Codec};
    use crate::error::ErrorCode;

    #[test]
    fn metrics_are_handed_in_as_was_agreed() {
        for codec in [
            Codec::None,
            Codec::Gzip,
            Codec::Snappy,
            Codec::Lz4,
            Codec::Zstd,
        ] {
            let subscription = Subscription {
                instance: [1; 16],
                id: 5,
                codec,
                interval: Duration::from_secs(1),
                max_bytes: 100,
                delta: false,
                prefixes: Vec::new(),
            };
            let read = as_read(&request(&subscription, b"metrics", true).unwrap(), 0);
            assert_eq!(read.client_instance_id.into_bytes(), [1; 16]);
            assert_eq!((read.subscription_id, read.terminating), (5, true));
            assert_eq!(read.compression_type, codec as i8);
            let plain = decompress(codec, &read.metrics, 100).unwrap();
            assert_eq!(&*plain, b"metrics");
        }
    }

    #[test]
    fn a_refusal_is_one() {
        let response =
            PushTelemetryResponse::default().with_error_code(ErrorCode::UNKNOWN_SUBSCRIPTION_ID.0);
        let response = over_the_wire::<PushTelemetryRequest>(&response, 0);
        assert_eq!(
            read(&response),
            Err(ErrorCode::UNKNOWN_SUBSCRIPTION_ID.into())
        );
    }
}
