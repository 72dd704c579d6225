//! What a client tells of itself: the metrics of KIP-714 that follow from the counters of [`crate::stats`].

use std::time::Duration;

use brod_protocol::api::get_telemetry_subscriptions::Subscription;
use brod_protocol::otlp::{
    Data, Gauge, KeyValue, Metric, MetricsData, Number, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, CUMULATIVE, DELTA,
};

const PRODUCER: &str = "org.apache.kafka.producer.";
const CONSUMER: &str = "org.apache.kafka.consumer.";

/// Counters at one time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sample {
    /// Since 1970.
    pub at: Duration,
    /// Connections made.
    pub connects: u64,
    /// Answers that asked for a pause, and the pauses together in ms.
    pub throttles: (u64, u64),
    /// Of brokers whose ids are known.
    pub brokers: Vec<BrokerSample>,
}

/// What went on with one broker.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct BrokerSample {
    pub node: i32,
    pub produce: Latency,
    pub fetch: Latency,
    pub commit: Latency,
}

/// How long answers took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Latency {
    pub count: u64,
    pub sum_us: u64,
    /// The longest since the last sample.
    pub max_us: u64,
}

impl Latency {
    fn since(self, before: Latency) -> Latency {
        Latency {
            count: self.count.saturating_sub(before.count),
            sum_us: self.sum_us.saturating_sub(before.sum_us),
            max_us: self.max_us,
        }
    }

    fn and(self, other: Latency) -> Latency {
        Latency {
            count: self.count + other.count,
            sum_us: self.sum_us + other.sum_us,
            max_us: self.max_us.max(other.max_us),
        }
    }

    fn average_ms(self) -> f64 {
        self.sum_us as f64 / self.count.max(1) as f64 / 1000.0
    }

    fn longest_ms(self) -> f64 {
        self.max_us as f64 / 1000.0
    }
}

/// What is wanted of what has happened between two samples. `start` is the time of the client's first.
pub(super) fn metrics(
    wanted: &Subscription,
    start: Duration,
    before: &Sample,
    now: &Sample,
) -> MetricsData {
    let mut told = Told {
        wanted,
        start,
        before,
        now,
        metrics: Vec::new(),
    };
    told.role(PRODUCER, |broker| broker.produce);
    told.role(CONSUMER, |broker| broker.fetch);
    if told.has(|broker| broker.produce) {
        let (throttles, ms) = now.throttles;
        let count = throttles.saturating_sub(before.throttles.0);
        let pauses = ms.saturating_sub(before.throttles.1);
        let average = pauses as f64 / count.max(1) as f64;
        told.gauge(PRODUCER, "produce.throttle.time.avg", "ms", average);
    }
    if told.has(|broker| broker.fetch) {
        told.latency(CONSUMER, "fetch.manager.fetch.latency", |broker| {
            broker.fetch
        });
    }
    if told.has(|broker| broker.commit) {
        told.latency(CONSUMER, "coordinator.commit.latency", |broker| {
            broker.commit
        });
    }
    MetricsData {
        resource_metrics: vec![ResourceMetrics {
            resource: None,
            scope_metrics: vec![ScopeMetrics {
                metrics: told.metrics,
            }],
        }],
    }
}

struct Told<'a> {
    wanted: &'a Subscription,
    start: Duration,
    before: &'a Sample,
    now: &'a Sample,
    metrics: Vec<Metric>,
}

type Of = fn(&BrokerSample) -> Latency;

impl Told<'_> {
    /// What is told of producers, or of consumers, by a client that has been one.
    fn role(&mut self, role: &str, of: Of) {
        if !self.has(of) {
            return;
        }
        let made = self.now.connects.saturating_sub(self.before.connects);
        let passed = self.now.at.saturating_sub(self.before.at).as_secs_f64();
        let rate = if passed > 0.0 {
            made as f64 / passed
        } else {
            0.0
        };
        self.gauge(role, "connection.creation.rate", "1/s", rate);
        self.total(role, "connection.creation.total", made, self.now.connects);
        let (mut averages, mut longest) = (Vec::new(), Vec::new());
        for broker in &self.now.brokers {
            let took = self.since(broker, of);
            if took.count > 0 {
                averages.push((broker.node, took.average_ms()));
                longest.push((broker.node, took.longest_ms()));
            }
        }
        self.by_node(role, "node.request.latency.avg", averages);
        self.by_node(role, "node.request.latency.max", longest);
    }

    /// Whether anything of the kind was ever asked.
    fn has(&self, of: Of) -> bool {
        self.now.brokers.iter().any(|broker| of(broker).count > 0)
    }

    fn since(&self, broker: &BrokerSample, of: Of) -> Latency {
        let mut earlier = self.before.brokers.iter();
        let before = earlier.find(|before| before.node == broker.node);
        of(broker).since(before.map(of).unwrap_or_default())
    }

    /// Of all brokers together.
    fn latency(&mut self, role: &str, name: &str, of: Of) {
        let brokers = self.now.brokers.iter();
        let took = brokers
            .map(|broker| self.since(broker, of))
            .fold(Latency::default(), Latency::and);
        self.gauge(role, &format!("{name}.avg"), "ms", took.average_ms());
        self.gauge(role, &format!("{name}.max"), "ms", took.longest_ms());
    }

    fn gauge(&mut self, role: &str, name: &str, unit: &str, value: f64) {
        let points = vec![self.point(Number::Double(value), Vec::new(), self.before.at)];
        let gauge = Gauge {
            data_points: points,
        };
        self.tell(role, name, unit, Data::Gauge(gauge));
    }

    fn by_node(&mut self, role: &str, name: &str, values: Vec<(i32, f64)>) {
        let points = values.into_iter().map(|(node, value)| {
            let node = vec![KeyValue::text("node_id", &node.to_string())];
            self.point(Number::Double(value), node, self.before.at)
        });
        let gauge = Gauge {
            data_points: points.collect(),
        };
        if !gauge.data_points.is_empty() {
            self.tell(role, name, "ms", Data::Gauge(gauge));
        }
    }

    fn total(&mut self, role: &str, name: &str, since: u64, all: u64) {
        let (value, from, temporality) = match self.wanted.delta {
            true => (since, self.before.at, DELTA),
            false => (all, self.start, CUMULATIVE),
        };
        let value = Number::Int(i64::try_from(value).unwrap_or(i64::MAX));
        let sum = Sum {
            data_points: vec![self.point(value, Vec::new(), from)],
            aggregation_temporality: temporality,
            is_monotonic: true,
        };
        self.tell(role, name, "1", Data::Sum(sum));
    }

    fn point(&self, value: Number, attributes: Vec<KeyValue>, from: Duration) -> NumberDataPoint {
        NumberDataPoint {
            start_time_unix_nano: nanos(from),
            time_unix_nano: nanos(self.now.at),
            value: Some(value),
            attributes,
        }
    }

    fn tell(&mut self, role: &str, name: &str, unit: &str, data: Data) {
        let name = format!("{role}{name}");
        if self.wanted.wants(&name) {
            self.metrics.push(Metric {
                name,
                unit: unit.to_owned(),
                data: Some(data),
            });
        }
    }
}

fn nanos(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use brod_protocol::compress::Codec;
    use brod_protocol::otlp::{AnyValue, Value};

    fn wanted(delta: bool, prefixes: &[&str]) -> Subscription {
        Subscription {
            instance: [1; 16],
            id: 1,
            codec: Codec::None,
            interval: Duration::from_secs(10),
            max_bytes: 1000,
            delta,
            prefixes: prefixes.iter().map(|prefix| prefix.to_string()).collect(),
        }
    }

    fn latency(count: u64, sum_us: u64, max_us: u64) -> Latency {
        Latency {
            count,
            sum_us,
            max_us,
        }
    }

    fn samples() -> (Sample, Sample) {
        let broker = |node, produce| BrokerSample {
            node,
            produce,
            ..BrokerSample::default()
        };
        let before = Sample {
            at: Duration::from_secs(100),
            connects: 3,
            throttles: (1, 50),
            brokers: vec![broker(1, latency(10, 10_000, 0))],
        };
        let now = Sample {
            at: Duration::from_secs(110),
            connects: 8,
            throttles: (3, 350),
            brokers: vec![
                broker(1, latency(30, 50_000, 9_000)),
                broker(2, latency(1, 500, 500)),
                broker(3, latency(0, 0, 0)),
            ],
        };
        (before, now)
    }

    /// Name, node, value.
    fn told(data: &MetricsData) -> Vec<(String, Option<String>, f64)> {
        let mut all = Vec::new();
        for metric in data.metrics() {
            let points = match metric.data.as_ref().unwrap() {
                Data::Gauge(gauge) => &gauge.data_points,
                Data::Sum(sum) => &sum.data_points,
            };
            for point in points {
                let node = point.attributes.first().map(|attribute| {
                    assert_eq!(attribute.key, "node_id");
                    let Some(AnyValue {
                        value: Some(Value::Text(node)),
                    }) = &attribute.value
                    else {
                        panic!("{attribute:?}");
                    };
                    node.clone()
                });
                let value = match point.value.unwrap() {
                    Number::Double(value) => value,
                    Number::Int(value) => value as f64,
                };
                let name = metric.name.strip_prefix("org.apache.kafka.").unwrap();
                all.push((name.to_owned(), node, value));
            }
        }
        all
    }

    #[test]
    fn a_producer_tells_what_came_since_the_last_push_and_a_total_since_the_start() {
        let (before, now) = samples();
        let data = metrics(&wanted(false, &[""]), Duration::ZERO, &before, &now);
        let plain = |name: &str, value| (name.to_owned(), None, value);
        let of = |name: &str, node: &str, value| (name.to_owned(), Some(node.to_owned()), value);
        assert_eq!(
            told(&data),
            [
                plain("producer.connection.creation.rate", 0.5),
                plain("producer.connection.creation.total", 8.0),
                of("producer.node.request.latency.avg", "1", 2.0),
                of("producer.node.request.latency.avg", "2", 0.5),
                of("producer.node.request.latency.max", "1", 9.0),
                of("producer.node.request.latency.max", "2", 0.5),
                plain("producer.produce.throttle.time.avg", 150.0),
            ]
        );
        let sum = data.metrics().find_map(|metric| match &metric.data {
            Some(Data::Sum(sum)) => Some(sum.clone()),
            _ => None,
        });
        let sum = sum.unwrap();
        assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
        assert_eq!(sum.data_points[0].start_time_unix_nano, 0);
        assert_eq!(sum.data_points[0].time_unix_nano, 110_000_000_000);
    }

    #[test]
    fn a_broker_that_asks_for_differences_gets_them() {
        let (before, now) = samples();
        let names = ["org.apache.kafka.producer.connection.creation.total"];
        let data = metrics(&wanted(true, &names), Duration::ZERO, &before, &now);
        let total = "producer.connection.creation.total".to_owned();
        assert_eq!(told(&data), [(total, None, 5.0)]);
        let Some(Data::Sum(sum)) = &data.metrics().next().unwrap().data else {
            panic!("no sum");
        };
        assert_eq!(sum.aggregation_temporality, 1);
        assert_eq!(sum.data_points[0].start_time_unix_nano, 100_000_000_000);
    }

    #[test]
    fn a_consumer_tells_of_fetches_and_commits_and_who_was_neither_tells_nothing() {
        let (before, mut now) = samples();
        now.brokers.truncate(1);
        now.brokers[0].produce = Latency::default();
        now.brokers[0].fetch = latency(2, 8_000, 6_000);
        now.brokers[0].commit = latency(1, 3_000, 3_000);
        let data = metrics(&wanted(false, &[""]), Duration::ZERO, &before, &now);
        let names = told(&data)
            .into_iter()
            .map(|(name, _, value)| (name, value));
        let told: std::collections::HashMap<_, _> = names.collect();
        assert_eq!(told["consumer.fetch.manager.fetch.latency.avg"], 4.0);
        assert_eq!(told["consumer.fetch.manager.fetch.latency.max"], 6.0);
        assert_eq!(told["consumer.coordinator.commit.latency.avg"], 3.0);
        assert!(!told.keys().any(|name| name.starts_with("producer.")));
        let nothing = metrics(
            &wanted(false, &[""]),
            Duration::ZERO,
            &before,
            &Sample::default(),
        );
        assert_eq!(nothing.metrics().count(), 0);
    }
}
