//! The cluster as this client sees it: which broker leads what, and how to reach it.

mod ask;
mod backoff;
mod connections;
mod health;
mod interest;
mod late;
mod lost;
mod metadata;
mod refresh;
mod refusals;
mod supervision;
mod troubles;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::protocol::Request;
use parking_lot::{Mutex, RwLock};
use rand::seq::IteratorRandom;
use tokio::sync::{watch, Notify};
use tokio_util::sync::CancellationToken;

pub use backoff::Backoff;
pub use brod_protocol::api::TopicId;
use connections::Connections;
pub use connections::Purpose;
use interest::Interests;
pub use interest::{is_topic_name, Interest};
pub use late::{unless_moved, LATE};
pub use metadata::{Leader, NodeId, PartitionInfo, Snapshot, TopicInfo};
pub use supervision::OnFailure;
pub use troubles::Trouble;
use troubles::Troubles;
pub(crate) use troubles::{seconds, PATIENCE, QUIET};

use crate::error::Error;
use crate::net::{ConnectOptions, Connection, Endpoint, NetError};
use crate::stats::Stats;
use brod_protocol::api::metadata::Metadata;
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
    /// Time between two looks whether brokers that could not be reached are back.
    pub lost_check: Duration,
    /// Whom to tell when the client fails by a defect of its own.
    pub on_failure: Option<OnFailure>,
}

/// Whoever looks a topic up uses it within that time, if at all.
const LOOKED_UP: Duration = Duration::from_secs(10);

/// With so many topics of interest no others are kept for that: somebody may look at all that there are.
const FEW_TOPICS: usize = 256;

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
            lost_check: Duration::from_secs(5),
            on_failure: None,
        }
    }
}

/// A cluster and the connections to it. Shared by everything that one client does.
pub struct Cluster {
    config: ClusterConfig,
    connections: Connections,
    snapshot: RwLock<Arc<Snapshot>>,
    /// Coordinators that metadata does not name, and where they listen.
    coordinators: Mutex<HashMap<NodeId, Endpoint>>,
    /// Topics whose leaders are of interest.
    interests: Arc<Interests>,
    refresh: Notify,
    /// The cluster's id, as a broker said last.
    id: Mutex<Option<String>>,
    /// Why the last refresh failed, if it did.
    refresh_failure: Mutex<Option<NetError>>,
    /// What of the topics of interest is to be told.
    troubles: Mutex<Troubles>,
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
            coordinators: Mutex::default(),
            interests: Arc::default(),
            refresh: Notify::new(),
            id: Mutex::default(),
            refresh_failure: Mutex::default(),
            troubles: Mutex::default(),
            changes: watch::Sender::new(0),
            closed: CancellationToken::new(),
        });
        let runtime = tokio::runtime::Handle::current();
        cluster.supervise(&runtime, "metadata", refresh::run(cluster.clone()));
        cluster.supervise(&runtime, "lost brokers", lost::run(cluster.clone()));
        cluster
    }

    /// The configuration it was started with.
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// What has been done so far.
    pub fn stats(&self) -> &Stats {
        &self.config.connect.stats
    }

    /// A leader has refused a batch, which is sent again: told where it lasts.
    pub fn batch_refused(&self, topic: &Arc<str>, partition: i32, error: ErrorCode, now: Instant) {
        let lasts = self.troubles.lock().seen(Trouble::Refused, topic, now);
        if let Some(lasts) = lasts.map(seconds) {
            let client = &*self.config.connect.client_id;
            tracing::warn!(client, %topic, partition, %error, lasts, "batches are refused and sent again");
        }
    }

    /// Topics of which the log has said that they are in this trouble, if they still are.
    pub fn troubled(&self, what: Trouble, now: Instant) -> Vec<Arc<str>> {
        self.troubles.lock().lasting(what, now)
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

    /// Declares interest in a topic: its metadata is kept fresh for as long as the result lives. A name that
    /// no topic can have is taken and does nothing: brokers are not asked for it.
    #[must_use = "the interest ends with this value"]
    pub fn watch_topic(&self, topic: &str) -> Interest {
        self.interests.hold(topic)
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
        // A broker says so in each refusal of a batch: what is known costs nobody anything.
        if !self.snapshot().is_news(topic, partition, leader, endpoint) {
            return;
        }
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

    /// An open connection to a broker.
    pub async fn connection(&self, node: NodeId, purpose: Purpose) -> Result<Connection, Error> {
        let closable = !purpose.outlives_client();
        if closable && self.closed.is_cancelled() {
            return Err(Error::Closed);
        }
        let Some(endpoint) = self.endpoint(node) else {
            self.request_refresh();
            return Err(ErrorCode::BROKER_NOT_AVAILABLE.into());
        };
        tokio::select! {
            _ = self.closed.cancelled(), if closable => Err(Error::Closed),
            result = self.connections.get(node, &endpoint, purpose) => match result {
                Ok(connection) => Ok(connection),
                Err(error) => {
                    self.request_refresh();
                    Err(Error::Unreachable(vec![(endpoint, error)]))
                }
            },
        }
    }

    /// The connections for metadata and the like that are open.
    pub fn open_connections(&self) -> Vec<Connection> {
        self.connections.open_ones()
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

    /// Forgets the connections of a purpose, to whichever brokers, that are not used again.
    pub fn forget_connections(&self, purpose: &Purpose) {
        self.connections.forget_all(purpose);
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
        if !is_topic_name(topic) {
            return Ok(self.snapshot().leader(topic, partition)?);
        }
        let _interest = self.watch_topic(topic);
        self.fetch_metadata(Some(&[topic.to_owned()]), false)
            .await?;
        let leader = self.snapshot().leader(topic, partition)?;
        // Only topics that exist, of which there is no end of names.
        self.interests
            .linger(topic, Instant::now() + self.config.metadata_max_age);
        Ok(leader)
    }

    /// As [`Self::fetch_metadata`], for whoever is about to use a topic: if it exists, its leaders are known from then on, so
    /// that what is produced first does not wait for the next refresh.
    pub async fn look_up(
        &self,
        topics: Option<&[String]>,
        auto_create: bool,
    ) -> Result<Metadata, Error> {
        let topic = match topics {
            Some([topic]) if self.interests.len() < FEW_TOPICS => topic,
            _ => return self.fetch_metadata(topics, auto_create).await,
        };
        let _interest = self.watch_topic(topic);
        let metadata = self.fetch_metadata(topics, auto_create).await?;
        if metadata.topics.iter().all(|topic| topic.error.is_ok()) {
            self.interests.linger(topic, Instant::now() + LOOKED_UP);
        }
        Ok(metadata)
    }

    /// The broker that is the cluster's controller; any of them where none that is there is named. Not every service that
    /// speaks Kafka's protocol has one, and where there is one the others say that they are not it.
    pub async fn controller(&self) -> Result<NodeId, Error> {
        self.fetch_metadata(Some(&[]), false).await?;
        let snapshot = self.snapshot();
        let brokers = &snapshot.brokers;
        let named = brokers.get_key_value(&snapshot.controller);
        let any = || brokers.iter().choose(&mut rand::rng());
        match named.or_else(any) {
            Some((node, _)) => Ok(*node),
            None => Err(ErrorCode::NOT_CONTROLLER.into()),
        }
    }

    /// Takes in where a coordinator listens that is none of the brokers that metadata names: a service that is not Kafka,
    /// or what stands in front of one, may have other ids for them.
    pub fn learn_coordinator(&self, node: NodeId, endpoint: &Endpoint) {
        if !self.snapshot().brokers.contains_key(&node) {
            self.coordinators.lock().insert(node, endpoint.clone());
        }
    }

    /// Where a broker listens.
    pub fn endpoint(&self, node: NodeId) -> Option<Endpoint> {
        let known = self.snapshot().brokers.get(&node).cloned();
        known.or_else(|| self.coordinators.lock().get(&node).cloned())
    }
}
