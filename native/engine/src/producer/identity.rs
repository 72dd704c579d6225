//! Producer ids (KIP-98): one is shared by the partitions of a client, but no partition gets the
//! same one twice, because its sequence starts over with a new one.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::{seconds, Backoff, Cluster, PATIENCE, QUIET};
use crate::error::Error;
use crate::net::NetError;
use brod_protocol::api::init_producer_id;
use brod_protocol::api::init_producer_id::ProducerId;
use brod_protocol::error::ErrorCode;

/// Where the producer id of a partition's batches comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Nowhere: batches are not numbered.
    Nowhere,
    /// One for all partitions of a client, from any broker. Where there is none to be had, batches
    /// are not numbered, unless it is required.
    Client { required: bool },
    /// The transaction's coordinator, through [`super::partition::Partition::begin`].
    Transaction,
}

/// So many partitions get the same id. There may be ever new topics, and all that had it are remembered.
const SHARED_BY: usize = 10_000;

#[derive(Default)]
struct State {
    current: Option<ProducerId>,
    used: HashSet<(String, i32)>,
    /// The cluster did not give a producer id to this client. Who can do without does not ask again; who cannot asks
    /// each time that its producer starts: permissions come back.
    is_refused: bool,
}

impl State {
    /// The present id, if the partition may have it. If not, it is forgotten.
    fn share(&mut self, topic: &str, partition: i32) -> Option<ProducerId> {
        let current = self.current?;
        if self.used.len() < SHARED_BY && self.used.insert((topic.to_owned(), partition)) {
            return Some(current);
        }
        *self = State::default();
        None
    }
}

pub(super) struct Identities {
    cluster: Arc<Cluster>,
    state: tokio::sync::Mutex<State>,
}

impl Identities {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Identities {
            cluster,
            state: tokio::sync::Mutex::default(),
        }
    }

    /// A producer id that the partition has not had yet; `None` where there is none to be had
    /// and it is not `required`. Asks until the cluster answers or is closed.
    pub(super) async fn assign(
        &self,
        topic: &str,
        partition: i32,
        required: bool,
    ) -> Result<Option<ProducerId>, ErrorCode> {
        let mut state = self.state.lock().await;
        let mut backoff = Backoff::new(
            Duration::from_millis(50),
            Duration::from_secs(1),
            rand::random(),
        );
        // When to tell that there is none yet.
        let begun = Instant::now();
        let mut telling = begun + PATIENCE;
        loop {
            if state.is_refused && !required {
                return Ok(None);
            }
            if let Some(id) = state.share(topic, partition) {
                return Ok(Some(id));
            }
            match ask(&self.cluster).await {
                Ok(id) => state.current = Some(id),
                Err(error) => match refusal(&error) {
                    Some(code) if required => return Err(code),
                    Some(_) => state.is_refused = true,
                    None if self.cluster.closed().is_cancelled() => return Ok(None),
                    None => {
                        let now = Instant::now();
                        if now >= telling {
                            telling = now + QUIET;
                            let client = &*self.cluster.config().connect.client_id;
                            let lasts = seconds(now - begun);
                            tracing::warn!(client, %error, lasts, "no broker gives a producer id, messages wait");
                        }
                        tokio::time::sleep(backoff.next_wait()).await;
                    }
                },
            }
        }
    }
}

/// Any broker gives producer ids to those who have no transactional id.
async fn ask(cluster: &Cluster) -> Result<ProducerId, Error> {
    let request = |version| Ok(init_producer_id::request(version, None, None));
    let (_, response) = cluster.ask_any(request).await?;
    Ok(init_producer_id::read(&response)?)
}

/// The answers that will not change: the broker is too old or knows no idempotence, or the ACLs forbid it.
fn refusal(error: &Error) -> Option<ErrorCode> {
    match error {
        Error::Kafka { code, .. } if code.is_producer_id_refused() => Some(*code),
        Error::Net(NetError::UnsupportedApi { .. }) => Some(ErrorCode::UNSUPPORTED_VERSION),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ProducerId = ProducerId { id: 7, epoch: 0 };

    fn state() -> State {
        State {
            current: Some(ID),
            ..State::default()
        }
    }

    #[test]
    fn no_partition_gets_an_id_twice() {
        let mut state = state();
        assert_eq!(state.share("t", 0), Some(ID));
        assert_eq!(state.share("t", 1), Some(ID));
        assert_eq!(state.share("t", 0), None);
        assert_eq!(state.current, None);
    }

    #[test]
    fn who_had_an_id_is_not_remembered_for_ever() {
        let mut state = state();
        let shared = (0..).take_while(|at| state.share(&at.to_string(), 0).is_some());
        assert_eq!(shared.take(2 * SHARED_BY).count(), SHARED_BY);
        assert!(state.used.is_empty());
    }
}
