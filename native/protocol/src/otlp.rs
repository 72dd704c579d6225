//! Metrics as OpenTelemetry writes them: `MetricsData` of its protocol, version 1, as far as clients of Kafka need it
//! (KIP-714). Names and numbers of fields are those of opentelemetry/proto/metrics/v1.

use prost::Message;

/// All that is told at a time.
#[derive(Clone, PartialEq, Message)]
pub struct MetricsData {
    /// By whom it is told.
    #[prost(message, repeated, tag = "1")]
    pub resource_metrics: Vec<ResourceMetrics>,
}

/// What one client tells.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceMetrics {
    /// The client. Brokers know it.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// By what part of the client.
    #[prost(message, repeated, tag = "2")]
    pub scope_metrics: Vec<ScopeMetrics>,
}

/// Who tells.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// What is known of it.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// What one part of a client tells.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeMetrics {
    /// Metrics, each with a name of its own.
    #[prost(message, repeated, tag = "2")]
    pub metrics: Vec<Metric>,
}

/// A metric.
#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Of its values.
    #[prost(string, tag = "3")]
    pub unit: String,
    /// Values of the moment, or values that add up.
    #[prost(oneof = "Data", tags = "5, 7")]
    pub data: Option<Data>,
}

/// The values of a metric.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Data {
    /// Values of the moment.
    #[prost(message, tag = "5")]
    Gauge(Gauge),
    /// Values that add up.
    #[prost(message, tag = "7")]
    Sum(Sum),
}

/// Values of the moment.
#[derive(Clone, PartialEq, Message)]
pub struct Gauge {
    /// One for each set of attributes.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<NumberDataPoint>,
}

/// Values that add up.
#[derive(Clone, PartialEq, Message)]
pub struct Sum {
    /// One for each set of attributes.
    #[prost(message, repeated, tag = "1")]
    pub data_points: Vec<NumberDataPoint>,
    /// From when they are added up: [`DELTA`] or [`CUMULATIVE`].
    #[prost(int32, tag = "2")]
    pub aggregation_temporality: i32,
    /// Whether they only grow.
    #[prost(bool, tag = "3")]
    pub is_monotonic: bool,
}

/// Since the last time.
pub const DELTA: i32 = 1;
/// Since the start.
pub const CUMULATIVE: i32 = 2;

/// A value.
#[derive(Clone, PartialEq, Message)]
pub struct NumberDataPoint {
    /// Since when, in ns since 1970.
    #[prost(fixed64, tag = "2")]
    pub start_time_unix_nano: u64,
    /// Of when, in ns since 1970.
    #[prost(fixed64, tag = "3")]
    pub time_unix_nano: u64,
    /// The value.
    #[prost(oneof = "Number", tags = "4, 6")]
    pub value: Option<Number>,
    /// Of what.
    #[prost(message, repeated, tag = "7")]
    pub attributes: Vec<KeyValue>,
}

/// A number.
#[derive(Clone, Copy, PartialEq, prost::Oneof)]
pub enum Number {
    /// With fractions.
    #[prost(double, tag = "4")]
    Double(f64),
    /// Whole.
    #[prost(sfixed64, tag = "6")]
    Int(i64),
}

/// An attribute.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// The value of an attribute.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// Text is all that is used here.
    #[prost(oneof = "Value", tags = "1")]
    pub value: Option<Value>,
}

/// See [`AnyValue`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    /// A text.
    #[prost(string, tag = "1")]
    Text(String),
}

impl KeyValue {
    /// An attribute that is a text.
    pub fn text(key: &str, value: &str) -> Self {
        KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(Value::Text(value.to_owned())),
            }),
        }
    }
}

impl MetricsData {
    /// Its bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Of bytes; None if they are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        MetricsData::decode(bytes).ok()
    }

    /// All metrics in it.
    pub fn metrics(&self) -> impl Iterator<Item = &Metric> {
        let scopes = self.resource_metrics.iter().flat_map(|r| &r.scope_metrics);
        scopes.flat_map(|scope| &scope.metrics)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_the_protocol_says() {
        let data = MetricsData {
            resource_metrics: vec![ResourceMetrics {
                resource: None,
                scope_metrics: vec![ScopeMetrics {
                    metrics: vec![Metric {
                        name: "m".into(),
                        unit: "1".into(),
                        data: Some(Data::Sum(Sum {
                            data_points: vec![NumberDataPoint {
                                start_time_unix_nano: 1,
                                time_unix_nano: 2,
                                value: Some(Number::Int(-3)),
                                attributes: vec![KeyValue::text("k", "v")],
                            }],
                            aggregation_temporality: DELTA,
                            is_monotonic: true,
                        })),
                    }],
                }],
            }],
        };
        let point: &[&[u8]] = &[
            &[0x11, 1, 0, 0, 0, 0, 0, 0, 0],
            &[0x19, 2, 0, 0, 0, 0, 0, 0, 0],
            &[0x31, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x3a, 8, 0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v'],
        ];
        let point = point.concat();
        let sum = [&[0x0a, point.len() as u8], &*point, &[0x10, 1, 0x18, 1]].concat();
        let metric = [
            &[0x0a, 1, b'm', 0x1a, 1, b'1', 0x3a, sum.len() as u8],
            &*sum,
        ]
        .concat();
        let scope = [&[0x12, metric.len() as u8], &*metric].concat();
        let resource = [&[0x12, scope.len() as u8], &*scope].concat();
        let bytes = [&[0x0a, resource.len() as u8], &*resource].concat();
        assert_eq!(data.to_bytes(), bytes);
        assert_eq!(MetricsData::from_bytes(&bytes), Some(data));
        assert_eq!(MetricsData::from_bytes(b"no metrics"), None);
    }
}
