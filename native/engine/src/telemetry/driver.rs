//! Asks brokers what they want, and pushes it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brod_protocol::api::get_telemetry_subscriptions::{self, Subscription};
use brod_protocol::api::{push_telemetry, ApiError};
use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::{ApiKey, PushTelemetryRequest};
use tokio::time::timeout;

use super::metrics::{metrics, BrokerSample, Latency, Sample};
use super::state::{Failure, State, Step};
use crate::cluster::Cluster;
use crate::error::Error;
use crate::net::{Connection, Endpoint, NetError};
use crate::tasks::boxed;

/// Limit for one request.
const LIMIT: Duration = Duration::from_secs(10);
/// Limit for the last push, with the connection that it takes: nobody waits for it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Starts to push, until the cluster is closed. What goes wrong with it is nothing that the client's users see.
pub fn start(cluster: &Arc<Cluster>) {
    tokio::spawn(boxed(run(cluster.clone())));
}

async fn run(cluster: Arc<Cluster>) {
    let mut changes = cluster.changes();
    // Before that no broker is known.
    tokio::select! {
        _ = cluster.closed().cancelled() => return,
        known = changes.changed() => if known.is_err() { return },
    }
    let mut pusher = Pusher {
        state: State::new(Instant::now()),
        first: None,
        last: Sample::default(),
        broker: None,
        cluster,
    };
    while let Some(due) = pusher.state.due {
        tokio::select! {
            _ = pusher.cluster.closed().cancelled() => return pusher.farewell().await,
            _ = tokio::time::sleep_until(due.into()) => {}
        }
        let closed = pusher.cluster.closed().clone();
        let done = tokio::select! {
            _ = closed.cancelled() => false,
            () = pusher.step() => true,
        };
        if !done {
            return pusher.farewell().await;
        }
    }
}

struct Pusher {
    cluster: Arc<Cluster>,
    state: State,
    /// When the first sample was taken, since 1970.
    first: Option<Duration>,
    last: Sample,
    /// Who was pushed to, or asked, last.
    broker: Option<Endpoint>,
}

impl Pusher {
    async fn step(&mut self) {
        match self.state.step() {
            Step::Subscribe => {
                let answer = self.subscribe().await;
                self.tell("subscription", answer.as_ref().err());
                if let Ok(subscription) = &answer {
                    let instance = subscription.instance;
                    *self.cluster.stats().instance.lock() = Some(instance);
                    self.last = sample(&self.cluster);
                    self.first.get_or_insert(self.last.at);
                }
                let chance = rand::random();
                self.state.subscribed(answer, Instant::now(), chance);
            }
            Step::Push => {
                let answer = self.push().await;
                self.tell("push", answer.as_ref().err());
                self.state.pushed(answer, Instant::now());
            }
        }
    }

    fn tell(&self, what: &'static str, failure: Option<&Failure>) {
        let client = &*self.cluster.config().connect.client_id;
        match failure {
            // As in most clusters.
            None | Some(Failure::Unsupported | Failure::Nobody) => {}
            Some(failure) => tracing::debug!(client, what, ?failure, "metrics for the cluster"),
        }
    }

    /// Nobody is dialled to hear that nothing is wanted.
    async fn subscribe(&mut self) -> Result<Subscription, Failure> {
        let open = self.cluster.open_connections();
        if open.is_empty() {
            return Err(Failure::Nobody);
        }
        let takes = |connection: &Connection| {
            let key = ApiKey::GetTelemetrySubscriptions as i16;
            connection.versions().range(key).is_some()
        };
        let connection = open.into_iter().find(takes).ok_or(Failure::Unsupported)?;
        self.broker = Some(connection.endpoint().clone());
        let request = get_telemetry_subscriptions::request(self.state.instance);
        let response = connection.call(&request, LIMIT).await?;
        Ok(get_telemetry_subscriptions::read(&response)?)
    }

    async fn push(&mut self) -> Result<(), Failure> {
        let Some((request, now)) = self.request(false)? else {
            return Ok(());
        };
        let connection = self.cluster.any_connection().await?;
        self.broker = Some(connection.endpoint().clone());
        let response = connection.call(&request, LIMIT).await?;
        push_telemetry::read(&response)?;
        self.last = now;
        Ok(())
    }

    /// None where there is nothing to tell.
    fn request(
        &self,
        terminating: bool,
    ) -> Result<Option<(PushTelemetryRequest, Sample)>, Failure> {
        let Some(subscription) = self.state.subscription() else {
            return Ok(None);
        };
        let now = sample(&self.cluster);
        let first = self.first.unwrap_or(now.at);
        let told = metrics(subscription, first, &self.last, &now);
        if told.metrics().next().is_none() && !terminating {
            return Ok(None);
        }
        let request = push_telemetry::request(subscription, &told.to_bytes(), terminating)
            .map_err(|_| Failure::Refused(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE))?;
        match request.metrics.len() > subscription.max_bytes {
            true => Err(Failure::Refused(ErrorCode::TELEMETRY_TOO_LARGE)),
            false => Ok(Some((request, now))),
        }
    }

    /// What came last is told, too, on a connection of its own: all others are closed.
    async fn farewell(self) {
        let Ok(Some((request, _))) = self.request(true) else {
            return;
        };
        let Some(broker) = &self.broker else { return };
        let options = &self.cluster.config().connect;
        let told = async {
            let connection = Connection::open(broker, options).await?;
            let result = connection.call(&request, FAREWELL).await;
            connection.close();
            result
        };
        let _ = timeout(FAREWELL, told).await;
    }
}

impl From<NetError> for Failure {
    fn from(error: NetError) -> Self {
        match error {
            NetError::UnsupportedApi { .. } => Failure::Unsupported,
            _ => Failure::Lost,
        }
    }
}

impl From<Error> for Failure {
    fn from(_: Error) -> Self {
        Failure::Lost
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Refused { code, .. } => Failure::Refused(code),
            _ => Failure::Lost,
        }
    }
}

/// Takes the longest times since the last sample with it.
fn sample(cluster: &Cluster) -> Sample {
    let snapshot = cluster.snapshot();
    let mut sample = Sample {
        at: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
        ..Sample::default()
    };
    for (endpoint, stats) in cluster.stats().brokers() {
        sample.connects += stats.connects.get();
        sample.throttles.0 += stats.throttles.get();
        sample.throttles.1 += stats.throttled_ms.get();
        let mut nodes = snapshot.brokers.iter();
        let Some((node, _)) = nodes.find(|(_, other)| **other == endpoint) else {
            continue;
        };
        let mut broker = BrokerSample {
            node: *node,
            ..BrokerSample::default()
        };
        for (key, api) in stats.apis() {
            let of = match ApiKey::try_from(key) {
                Ok(ApiKey::Produce) => &mut broker.produce,
                Ok(ApiKey::Fetch) => &mut broker.fetch,
                Ok(ApiKey::OffsetCommit) => &mut broker.commit,
                _ => continue,
            };
            *of = Latency {
                count: api.latency.buckets().iter().sum(),
                sum_us: api.latency.sum_us(),
                max_us: api.latency.take_max_us(),
            };
        }
        sample.brokers.push(broker);
    }
    sample
}
