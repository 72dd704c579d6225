//! Asking whichever broker answers: for metadata, and for what any broker can tell.

use kafka_protocol::messages::MetadataRequest;
use rand::seq::SliceRandom;
use rand::Rng;
use tokio::time::timeout;

use super::{is_topic_name, Cluster, NodeId, Purpose, Snapshot};
use crate::error::Error;
use crate::net::{Connection, Endpoint, NetError};
use crate::stats::Event;
use brod_protocol::api::metadata::{self, Metadata, Topic};
use brod_protocol::api::ApiError;
use brod_protocol::error::ErrorCode;

impl Cluster {
    /// Connects to the first bootstrap endpoint that answers, and learns the brokers.
    ///
    /// Fails with [`Error::Unreachable`] and what happened at each endpoint.
    pub async fn connect(&self) -> Result<(), Error> {
        self.fetch_metadata(Some(&[]), false).await.map(|_| ())
    }

    /// Asks any broker for the metadata of `topics` (`None`: all), and takes in what it says of those that
    /// somebody is interested in.
    pub async fn fetch_metadata(
        &self,
        topics: Option<&[String]>,
        auto_create: bool,
    ) -> Result<Metadata, Error> {
        // The answer for names that no topic can have is known.
        let (legal, illegal) = topics
            .unwrap_or_default()
            .iter()
            .cloned()
            .partition::<Vec<_>, _>(|name| is_topic_name(name));
        let asked = topics.map(|_| &*legal);
        let ask = |connection| self.ask_metadata(connection, asked, auto_create);
        let (connection, answer) = match self.try_brokers(ask).await? {
            (_, Err(refusal)) if is_sent_back(&refusal) => {
                self.start_anew();
                self.try_brokers(ask).await?
            }
            answered => answered,
        };
        let mut response = answer?;
        response
            .brokers
            .retain(|broker| u16::try_from(broker.port).is_ok());
        self.modify(|snapshot| {
            snapshot.update(&response, |name| self.interests.contains(name));
        });
        self.keep(connection).await;
        response
            .topics
            .extend(illegal.into_iter().map(|name| Topic {
                error: ErrorCode::INVALID_TOPIC_EXCEPTION,
                name: Some(name),
                id: [0; 16],
                is_internal: false,
                partitions: Vec::new(),
            }));
        Ok(response)
    }

    async fn ask_metadata(
        &self,
        connection: Connection,
        topics: Option<&[String]>,
        auto_create: bool,
    ) -> Result<Result<Metadata, ApiError>, NetError> {
        let version = connection.versions().pick::<MetadataRequest>()?;
        let request = metadata::request(version, topics, auto_create);
        let limit = self.config.metadata_timeout;
        let response = connection.call_version(&request, version, limit).await?;
        Ok(metadata::read(response))
    }

    /// The brokers that are known are no help any more (KIP-1102): forgets them and all that they said, and
    /// hangs up on them. Who is asked next is where the cluster was first found.
    fn start_anew(&self) {
        let client = &*self.config.connect.client_id;
        tracing::warn!(client, "brokers ask to find the cluster anew");
        let stats = self.stats();
        stats.rebootstraps.count();
        stats.journal.note(&"", Event::Rebootstrapped);
        self.modify(Snapshot::forget);
        self.connections.hang_up();
    }

    /// Runs `ask` against known brokers, those with an open connection first, then the bootstrap
    /// endpoints, until one answers.
    pub(super) async fn try_brokers<T, F>(
        &self,
        ask: impl Fn(Connection) -> F,
    ) -> Result<(Connection, T), Error>
    where
        F: std::future::Future<Output = Result<T, NetError>>,
    {
        let snapshot = self.snapshot();
        let is_open = |node| self.connections.is_open(node);
        let nodes = in_order(&snapshot, is_open, &mut rand::rng());
        let mut failures = Vec::new();
        for (node, endpoint) in nodes {
            if self.closed.is_cancelled() {
                return Err(Error::Closed);
            }
            // A broker that is down must not hold up the question: others can answer it.
            let attempt = async {
                let connection = self.connections.get(node, endpoint, Purpose::Main).await?;
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
}

fn is_sent_back(refusal: &ApiError) -> bool {
    let code = ErrorCode::REBOOTSTRAP_REQUIRED;
    matches!(refusal, ApiError::Refused { code: said, .. } if *said == code)
}

/// The brokers in the order in which to ask them. Those with an open connection come first: a broker that hangs
/// would cost its time limit each time. A client that has just connected goes on asking the endpoint it was given.
fn in_order<'a>(
    snapshot: &'a Snapshot,
    is_open: impl Fn(NodeId) -> bool,
    random: &mut impl Rng,
) -> Vec<(NodeId, &'a Endpoint)> {
    let brokers = snapshot.brokers.iter();
    let mut brokers: Vec<_> = brokers.map(|(node, endpoint)| (*node, endpoint)).collect();
    brokers.shuffle(random);
    brokers.sort_by_key(|(node, _)| !is_open(*node));
    brokers
}
