//! GetTelemetrySubscriptions: which of its metrics a client is asked for (KIP-714).

use std::time::Duration;

use kafka_protocol::messages::{
    ApiKey, GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
};
use uuid::Uuid;

use super::{check, Api, ApiError, SHORT};
use crate::compress::Codec;
use crate::shape::build::{bool, fields, int16, int32, int8s, texts, uuid};

/// This API.
pub const API: Api = Api::new(
    (
        "GetTelemetrySubscriptions",
        ApiKey::GetTelemetrySubscriptions,
    ),
    (0, 0),
    0,
    fields(&[
        int32("throttle_time_ms"),
        int16("error_code"),
        uuid("client_instance_id"),
        int32("subscription_id"),
        int8s("accepted_compression_types"),
        int32("push_interval_ms"),
        int32("telemetry_max_bytes"),
        bool("delta_temporality"),
        texts("requested_metrics"),
    ]),
)
.answers(SHORT);

/// What the cluster's operators want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The name of this client among all, which the broker has given it.
    pub instance: [u8; 16],
    /// Its number: what is pushed under another one is refused.
    pub id: i32,
    /// The first of the codecs that the broker takes and that is known here.
    pub codec: Codec,
    /// So often metrics are pushed.
    pub interval: Duration,
    /// The longest push that is taken, in bytes.
    pub max_bytes: usize,
    /// Whether sums tell what came since the last push; else since the start.
    pub delta: bool,
    /// What the names of the metrics begin with that are wanted; nothing is wanted where there are none.
    pub prefixes: Vec<String>,
}

/// Asks for the first time with an id of zeros, later with the one that the broker has given.
pub fn request(instance: [u8; 16]) -> GetTelemetrySubscriptionsRequest {
    GetTelemetrySubscriptionsRequest::default().with_client_instance_id(Uuid::from_bytes(instance))
}

/// What is wanted.
pub fn read(response: &GetTelemetrySubscriptionsResponse) -> Result<Subscription, ApiError> {
    check(response.error_code)?;
    let mut codecs = response.accepted_compression_types.iter();
    let codec = codecs.find_map(|number| {
        let known = (0..=4).contains(number);
        known.then(|| Codec::from_attributes((*number).into()))?
    });
    let prefixes = response.requested_metrics.iter();
    Ok(Subscription {
        instance: response.client_instance_id.into_bytes(),
        id: response.subscription_id,
        codec: codec.unwrap_or_default(),
        interval: Duration::from_millis(response.push_interval_ms.max(0) as u64),
        max_bytes: response.telemetry_max_bytes.max(0) as usize,
        delta: response.delta_temporality,
        prefixes: prefixes.map(|prefix| prefix.to_string()).collect(),
    })
}

impl Subscription {
    /// Whether the metric of this name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{as_read, over_the_wire};
    use super::*;
    use crate::api::text;
    use crate::error::ErrorCode;

    #[test]
    fn a_client_says_who_it_is_and_hears_what_is_wanted() {
        let read_back = as_read(&request([7; 16]), 0);
        assert_eq!(read_back.client_instance_id.into_bytes(), [7; 16]);
        let response = GetTelemetrySubscriptionsResponse::default()
            .with_client_instance_id(Uuid::from_bytes([9; 16]))
            .with_subscription_id(-3)
            .with_accepted_compression_types(vec![99, -1, 4, 1])
            .with_push_interval_ms(60_000)
            .with_telemetry_max_bytes(1000)
            .with_delta_temporality(true)
            .with_requested_metrics(vec![text("org.apache.kafka.producer."), text("x")]);
        let response = over_the_wire::<GetTelemetrySubscriptionsRequest>(&response, 0);
        let subscription = read(&response).unwrap();
        assert_eq!(
            subscription,
            Subscription {
                instance: [9; 16],
                id: -3,
                codec: Codec::Zstd,
                interval: Duration::from_secs(60),
                max_bytes: 1000,
                delta: true,
                prefixes: vec!["org.apache.kafka.producer.".into(), "x".into()],
            }
        );
        assert!(subscription.wants("org.apache.kafka.producer.connection.creation.total"));
        assert!(!subscription.wants("org.apache.kafka.consumer.connection.creation.total"));
    }

    #[test]
    fn an_empty_name_asks_for_everything_and_no_name_for_nothing() {
        let response = GetTelemetrySubscriptionsResponse::default();
        assert!(!read(&response).unwrap().wants("a"));
        let response = response.with_requested_metrics(vec![text("")]);
        assert!(read(&response).unwrap().wants("a"));
    }

    #[test]
    fn a_refusal_is_one() {
        let response = GetTelemetrySubscriptionsResponse::default()
            .with_error_code(ErrorCode::THROTTLING_QUOTA_EXCEEDED.0);
        assert_eq!(
            read(&response),
            Err(ErrorCode::THROTTLING_QUOTA_EXCEEDED.into())
        );
    }
}
