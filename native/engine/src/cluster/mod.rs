//! The cluster as this client sees it: which broker leads what, and how to reach it.

mod backoff;
mod connections;
mod metadata;
mod supervision;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::{Request, StrBytes};
use parking_lot::{Mutex, RwLock};
use rand::seq::SliceRandom;
use tokio::sync::{watch, Notify};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use backoff::Backoff;
use connections::Connections;
pub use connections::Purpose;
pub use metadata::{Leader, NodeId, PartitionInfo, Snapshot, TopicInfo};
pub use supervision::OnFailure;

use crate::error::Error;
use crate::net::{ConnectOptions, Connection, Endpoint, NetError};
use brod_protocol::error::ErrorCode;

/// Configuration of a cluster connection.
#[derive(Clone)]
pub struct ClusterConfig {
    /// Where to start; any broker will do.
    pub bootstrap: Vec<Endpoint>,
    /// How connections are made.
    pub connect: ConnectOptions,
    /// Limit for one request, unless the operation has its own.
    pub request_timeout: Duration,
    /// Limit for one metadata request to one broker, after which another one is asked.
    pub metadata_timeout: Duration,
    /// Metadata of the topics in use is asked for again at this age.
    pub metadata_max_age: Duration,
    /// First and longest wait between attempts to reach a broker.
    pub reconnect_backoff: (Duration, Duration),
    /// Shortest time between two metadata requests that errors asked for.
    pub refresh_backoff: Duration,
    /// Whom to tell when the client fails by a defect of its own.
    pub on_failure: Option<OnFailure>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        ClusterConfig {
            bootstrap: Vec::new(),
            connect: ConnectOptions::default(),
            request_timeout: Duration::from_secs(240),
            metadata_timeout: Duration::from_secs(5),
            metadata_max_age: Duration::from_secs(300),
            reconnect_backoff: (Duration::from_millis(50), Duration::from_secs(1)),
            refresh_backoff: Duration::from_millis(100),
            on_failure: None,
        }
    }
}

/// A cluster and the connections to it. Shared by everything that one client does.
pub struct Cluster {
    config: ClusterConfig,
    connections: Connections,
    snapshot: RwLock<Arc<Snapshot>>,
    /// Topics whose leaders are of interest, and to how many.
    wanted: Mutex<HashMap<String, usize>>,
    refresh: Notify,
    /// Why the last refresh failed, if it did.
    refresh_failure: Mutex<Option<NetError>>,
    changes: watch::Sender<u64>,
    closed: CancellationToken,
}

impl Cluster {
    /// Starts the refresher on the current tokio runtime; connects to nobody yet.
    pub fn start(config: ClusterConfig) -> Arc<Cluster> {
        let (first, max) = config.reconnect_backoff;
        let cluster = Arc::new(Cluster {
            connections: Connections::new(config.connect.clone(), first, max),
            config,
            snapshot: RwLock::default(),
            wanted: Mutex::default(),
            refresh: Notify::new(),
            refresh_failure: Mutex::default(),
            changes: watch::Sender::new(0),
            closed: CancellationToken::new(),
        });
        let runtime = tokio::runtime::Handle::current();
        cluster.supervise(&runtime, "metadata", refresher(cluster.clone()));
        cluster
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// Closes all connections and ends the refresher.
    pub fn close(&self) {
        self.closed.cancel();
        self.connections.close();
    }

    /// Cancelled when the cluster is closed; tasks that serve it end then.
    pub fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// The cluster as last seen.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().clone()
    }

    /// Counts up with every change of the snapshot.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Declares interest in a topic: its metadata is kept fresh from now on.
    pub fn watch_topic(&self, topic: &str) {
        let mut wanted = self.wanted.lock();
        match wanted.get_mut(topic) {
            Some(count) => *count += 1,
            None => {
                wanted.insert(topic.to_owned(), 1);
            }
        }
    }

    /// Takes back one declaration of interest.
    pub fn unwatch_topic(&self, topic: &str) {
        let mut wanted = self.wanted.lock();
        if let Some(count) = wanted.get_mut(topic) {
            *count -= 1;
            if *count == 0 {
                wanted.remove(topic);
            }
        }
    }

    /// Asks the refresher for fresh metadata soon: something that was known turned out wrong.
    pub fn request_refresh(&self) {
        self.refresh.notify_one();
    }

    /// Why the last refresh of the metadata failed; None if it did not.
    pub fn refresh_failure(&self) -> Option<NetError> {
        self.refresh_failure.lock().clone()
    }

    /// Takes in a leader that a broker named in a response, and where it listens if the response
    /// tells that (KIP-951). One that is not newer than the one known is ignored.
    pub fn learn_leader(
        &self,
        topic: &str,
        partition: i32,
        leader: Leader,
        endpoint: Option<&Endpoint>,
    ) {
        self.modify(|snapshot| {
            snapshot.set_leader(topic, partition, leader, endpoint);
        });
    }

    fn modify(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut current = self.snapshot.write();
        let mut next = Snapshot::clone(&current);
        change(&mut next);
        let version = next.version;
        *current = Arc::new(next);
        drop(current);
        self.changes.send_replace(version);
    }

    /// Connects to the first bootstrap endpoint that answers, and learns the brokers.
    ///
    /// Fails with [`Error::Unreachable`] and what happened at each endpoint.
    pub async fn connect(&self) -> Result<(), Error> {
        self.fetch_metadata(Some(&[]), false).await.map(|_| ())
    }

    /// Asks any broker for the metadata of `topics` (`None`: all), and takes it in.
    pub async fn fetch_metadata(
        &self,
        topics: Option<&[String]>,
        auto_create: bool,
    ) -> Result<MetadataResponse, Error> {
        let (connection, mut response) = self
            .try_brokers(|connection| self.ask_metadata(connection, topics, auto_create))
            .await?;
        response
            .brokers
            .retain(|broker| u16::try_from(broker.port).is_ok());
        self.modify(|snapshot| snapshot.update(&response, topics.is_none()));
        self.keep(connection).await;
        Ok(response)
    }

    async fn ask_metadata(
        &self,
        connection: Connection,
        topics: Option<&[String]>,
        auto_create: bool,
    ) -> Result<MetadataResponse, NetError> {
        let version = connection.versions().pick::<MetadataRequest>()?;
        let named = topics.map(|topics| {
            let by_name = |topic: &String| {
                let name = TopicName(StrBytes::from_string(topic.clone()));
                MetadataRequestTopic::default().with_name(Some(name))
            };
            topics.iter().map(by_name).collect::<Vec<_>>()
        });
        // Version 0 has no null list: an empty one means all. Before version 4 the broker
        // creates topics as it is configured to.
        let named = if version == 0 {
            Some(named.unwrap_or_default())
        } else {
            named
        };
        let request = MetadataRequest::default()
            .with_topics(named)
            .with_allow_auto_topic_creation(auto_create || version < 4);
        connection
            .call_version(&request, version, self.config.metadata_timeout)
            .await
    }

    /// Runs `ask` against known brokers, those with an open connection first, then the bootstrap
    /// endpoints, until one answers.
    async fn try_brokers<T, F>(
        &self,
        ask: impl Fn(Connection) -> F,
    ) -> Result<(Connection, T), Error>
    where
        F: std::future::Future<Output = Result<T, NetError>>,
    {
        let snapshot = self.snapshot();
        let mut nodes: Vec<_> = snapshot.brokers.iter().collect();
        nodes.shuffle(&mut rand::rng());
        // Those that answered last are asked first: a broker that hangs would cost its time limit
        // each time. A client that has just connected goes on asking the endpoint it was given.
        nodes.sort_by_key(|(node, _)| !self.connections.is_open(**node));
        let mut failures = Vec::new();
        for (node, endpoint) in nodes {
            if self.closed.is_cancelled() {
                return Err(Error::Closed);
            }
            // A broker that is down must not hold up the question: others can answer it.
            let attempt = async {
                let connection = self.connections.get(*node, endpoint, Purpose::Main).await?;
                ask(connection.clone())
                    .await
                    .map(|answer| (connection, answer))
            };
            match timeout(self.config.metadata_timeout, attempt).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => failures.push((endpoint.clone(), error)),
                Err(_) => failures.push((endpoint.clone(), NetError::Timeout)),
            }
        }
        for endpoint in &self.config.bootstrap {
            if self.closed.is_cancelled() {
                return Err(Error::Closed);
            }
            if failures.iter().any(|(tried, _)| tried == endpoint) {
                continue;
            }
            let attempt = async {
                let connection = self.connections.open(endpoint).await?;
                ask(connection.clone())
                    .await
                    .map(|answer| (connection, answer))
            };
            match attempt.await {
                Ok(answer) => return Ok(answer),
                Err(error) => failures.push((endpoint.clone(), error)),
            }
        }
        Err(Error::Unreachable(failures))
    }

    /// Keeps a bootstrap connection for the broker that it turned out to lead to.
    async fn keep(&self, connection: Connection) {
        let snapshot = self.snapshot();
        let node = snapshot
            .brokers
            .iter()
            .find(|(_, e)| *e == connection.endpoint());
        if let Some((node, _)) = node {
            self.connections.adopt(*node, connection).await;
        }
    }

    /// An open connection to a broker.
    pub async fn connection(&self, node: NodeId, purpose: Purpose) -> Result<Connection, Error> {
        if self.closed.is_cancelled() {
            return Err(Error::Closed);
        }
        let endpoint = self.snapshot().brokers.get(&node).cloned();
        let Some(endpoint) = endpoint else {
            self.request_refresh();
            return Err(ErrorCode::BROKER_NOT_AVAILABLE.into());
        };
        tokio::select! {
            _ = self.closed.cancelled() => Err(Error::Closed),
            result = self.connections.get(node, &endpoint, purpose) => match result {
                Ok(connection) => Ok(connection),
                Err(error) => {
                    self.request_refresh();
                    Err(Error::Unreachable(vec![(endpoint, error)]))
                }
            },
        }
    }

    /// An open connection to any broker.
    pub async fn any_connection(&self) -> Result<Connection, Error> {
        let (connection, ()) = self.try_brokers(|_| async { Ok(()) }).await?;
        Ok(connection)
    }

    /// Forgets a connection that is not used again.
    pub fn forget_connection(&self, node: NodeId, purpose: Purpose) {
        self.connections.forget(node, purpose);
    }

    /// Sends a request to a node's main connection and waits for the answer.
    pub async fn call<R: Request>(
        &self,
        node: NodeId,
        request: &R,
        limit: Duration,
    ) -> Result<R::Response, Error> {
        let connection = self.connection(node, Purpose::Main).await?;
        Ok(connection.call(request, limit).await?)
    }

    /// The partition's leader as known, asking the brokers when it is not.
    ///
    /// Asks once: a partition that has no leader right now is an error.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<Leader, Error> {
        if let Ok(leader) = self.snapshot().leader(topic, partition) {
            return Ok(leader);
        }
        self.watch_topic(topic);
        self.fetch_metadata(Some(&[topic.to_owned()]), false)
            .await?;
        Ok(self.snapshot().leader(topic, partition)?)
    }

    /// The broker that is the cluster's controller.
    pub async fn controller(&self) -> Result<NodeId, Error> {
        self.fetch_metadata(Some(&[]), false).await?;
        match self.snapshot().controller {
            -1 => Err(ErrorCode::NOT_CONTROLLER.into()),
            node => Ok(node),
        }
    }

    /// Where a broker listens.
    pub fn endpoint(&self, node: NodeId) -> Option<Endpoint> {
        self.snapshot().brokers.get(&node).cloned()
    }
}

/// Keeps the metadata of the wanted topics fresh: on demand, and by age.
async fn refresher(cluster: Arc<Cluster>) {
    let config = &cluster.config;
    let mut backoff = Backoff::new(config.refresh_backoff, Duration::from_secs(2));
    loop {
        tokio::select! {
            _ = cluster.closed.cancelled() => return,
            _ = cluster.refresh.notified() => {}
            _ = tokio::time::sleep(config.metadata_max_age) => {}
        }
        let topics: Vec<String> = cluster.wanted.lock().keys().cloned().collect();
        let refreshed = tokio::select! {
            _ = cluster.closed.cancelled() => return,
            refreshed = cluster.fetch_metadata(Some(&topics), false) => refreshed,
        };
        let wait = match refreshed {
            Ok(_) => {
                *cluster.refresh_failure.lock() = None;
                backoff.reset();
                config.refresh_backoff
            }
            Err(error) => {
                tracing::warn!(%error, "metadata refresh failed");
                if let Error::Unreachable(failures) = &error {
                    let last = failures.last().map(|(_, why)| why.clone());
                    *cluster.refresh_failure.lock() = last;
                }
                cluster.refresh.notify_one();
                backoff.next_wait()
            }
        };
        tokio::select! {
            _ = cluster.closed.cancelled() => return,
            _ = tokio::time::sleep(wait) => {}
        }
    }
}
