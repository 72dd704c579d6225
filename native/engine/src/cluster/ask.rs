//! Asking whichever broker answers: for metadata, and for what any broker can tell.

use futures_util::stream::{FuturesUnordered, StreamExt};
use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::protocol::Request;
use rand::seq::SliceRandom;
use rand::Rng;
use tokio::time::{sleep, timeout};

use super::{is_topic_name, Cluster, NodeId, Purpose, Snapshot, LATE};
use crate::error::Error;
use crate::net::{Connection, Endpoint, NetError};
use crate::stats::Event;
use brod_protocol::api::metadata::{self, Metadata, Topic};
use brod_protocol::api::ApiError;
use brod_protocol::error::ErrorCode;

/// A broker is late, too, that has not answered in this part of a short time that it has.
const LATE_PART: u32 = 5;

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
        let (client, now) = (&*self.config.connect.client_id, &response.cluster_id);
        if let Some(before) = replaced(&mut self.id.lock(), now.as_deref()) {
            let (broker, now) = (connection.endpoint(), now.as_deref());
            tracing::warn!(client, %broker, before, now, "the broker is of another cluster");
        }
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
        Ok(metadata::read(version, response))
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
        self.coordinators.lock().clear();
        self.connections.hang_up();
    }

    /// Asks what any broker can tell. `request` is given the version that the asked one speaks, and the answer
    /// comes with it.
    ///
    /// Fails with [`Error::Unreachable`] where none answers, and otherwise as the first one that does.
    pub async fn ask_any<R: Request>(
        &self,
        request: impl Fn(i16) -> Result<R, Error>,
    ) -> Result<(i16, R::Response), Error> {
        let limit = self.config.metadata_timeout;
        let ask = |connection: Connection| {
            let version = connection.versions().pick::<R>();
            let request = version
                .map_err(Error::from)
                .and_then(|version| Ok((version, request(version)?)));
            async move {
                // What the broker does not know is an answer, too.
                let (version, request) = match request {
                    Ok(request) => request,
                    Err(error) => return Ok(Err(error)),
                };
                let response = connection.call_version(&request, version, limit).await?;
                Ok(Ok((version, response)))
            }
        };
        self.try_brokers(ask).await?.1
    }

    /// Runs `ask` against known brokers, those with an open connection first, then the bootstrap
    /// endpoints, until one answers. One that is late is not given up, but the next is asked, too: brokers that
    /// hang would cost their time limit each, and who waits has no more time than that.
    pub(super) async fn try_brokers<T, F>(
        &self,
        ask: impl Fn(Connection) -> F,
    ) -> Result<(Connection, T), Error>
    where
        F: std::future::Future<Output = Result<T, NetError>>,
    {
        let limit = self.config.metadata_timeout;
        let attempt = |node: Option<NodeId>, endpoint: Endpoint| {
            let ask = &ask;
            async move {
                let answer = async {
                    let connection = match node {
                        Some(node) => {
                            let get = self.connections.get(node, &endpoint, Purpose::Main);
                            // It may have to wait until it may try again.
                            timeout(limit, get)
                                .await
                                .unwrap_or(Err(NetError::Timeout))?
                        }
                        None => self.connections.open(&endpoint).await?,
                    };
                    let answer = ask(connection.clone()).await?;
                    Ok((connection, answer))
                };
                answer.await.map_err(|error| (endpoint, error))
            }
        };
        let mut to_ask = self.whom_to_ask().into_iter();
        let mut asked = FuturesUnordered::new();
        let mut failures = Vec::new();
        loop {
            let next = to_ask.next();
            let is_asked = next.is_some();
            asked.extend(next.map(|(node, endpoint)| attempt(node, endpoint)));
            tokio::select! {
                biased;
                () = self.closed.cancelled() => return Err(Error::Closed),
                answer = asked.next() => match answer {
                    Some(Ok(answer)) => return Ok(answer),
                    Some(Err(failure)) => failures.push(failure),
                    None => return Err(Error::Unreachable(failures)),
                },
                () = sleep((limit / LATE_PART).min(LATE)), if is_asked => {}
            }
        }
    }

    /// In their order: the known brokers, then the bootstrap endpoints that are none of them.
    fn whom_to_ask(&self) -> Vec<(Option<NodeId>, Endpoint)> {
        let snapshot = self.snapshot();
        let is_open = |node| self.connections.is_open(node);
        let brokers = in_order(&snapshot, is_open, &mut rand::rng());
        let mut whom: Vec<(Option<NodeId>, Endpoint)> = brokers
            .into_iter()
            .map(|(node, endpoint)| (Some(node), endpoint.clone()))
            .collect();
        for endpoint in &self.config.bootstrap {
            if whom.iter().all(|(_, known)| known != endpoint) {
                whom.push((None, endpoint.clone()));
            }
        }
        whom
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

/// Keeps the id of the cluster. Some: another one was known.
fn replaced(known: &mut Option<String>, now: Option<&str>) -> Option<String> {
    let now = now.filter(|now| known.as_deref() != Some(*now))?;
    known.replace(now.to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_cluster_is_noticed_each_time_it_changes() {
        let mut known = None;
        // Brokers before 0.10.1 do not say.
        let told = [Some("a"), Some("a"), None, Some("b"), Some("b"), Some("a")];
        let before = told.map(|now| replaced(&mut known, now));
        let [a, b] = ["a", "b"].map(|id| Some(id.to_owned()));
        assert_eq!(before, [None, None, None, a, None, b]);
    }
}
