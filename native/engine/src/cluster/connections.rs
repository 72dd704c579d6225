//! The connections to the brokers of one cluster: opened when first needed, opened again after a
//! failure with backoff, never two attempts at once for the same use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::health::Health;
use super::metadata::NodeId;
use super::refusals::Refusals;
use crate::net::{ConnectOptions, Connection, Endpoint, NetError};

/// What a connection is for. Requests that a broker may hold back have connections of their own,
/// because a broker answers a connection's requests in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Metadata, and what else is answered at once.
    Main,
    /// Produce, by lane: a broker waits for the replicas of what it was sent.
    Produce(u32),
    /// Topics: a broker waits until the others know.
    Admin,
    /// Fetch, by lane.
    Fetch(u32),
    /// What coordinators of transactions are asked, by lane: they wait for the replicas of what they note.
    Transaction(u32),
    /// The group protocol of one member; unique within the client.
    Group(u64),
}

impl Purpose {
    /// Whether it may be used when the client is closed: a member of a group commits what it has and
    /// leaves, and then forgets its connection.
    pub fn outlives_client(&self) -> bool {
        matches!(self, Purpose::Group(_))
    }
}

struct Slot {
    connection: Option<Connection>,
    backoff: Backoff,
    not_before: Option<Instant>,
    failed: Option<Failed>,
}

/// The last attempt, if it failed.
struct Failed {
    at: Instant,
    endpoint: Endpoint,
    why: NetError,
}

type SharedSlot = Arc<tokio::sync::Mutex<Slot>>;

/// See the module's text.
pub(super) struct Connections {
    options: ConnectOptions,
    backoff: Backoff,
    health: Mutex<Health>,
    slots: Mutex<HashMap<(NodeId, Purpose), SharedSlot>>,
    refusals: Mutex<Refusals>,
}

impl Connections {
    /// `first` and `max` bound the wait between attempts to reach a broker that is down.
    pub(super) fn new(options: ConnectOptions, first: Duration, max: Duration) -> Self {
        let backoff = Backoff::new(first, max, rand::random());
        Connections {
            options,
            backoff,
            health: Mutex::default(),
            slots: Mutex::new(HashMap::new()),
            refusals: Mutex::default(),
        }
    }

    /// An open connection to the node, which listens at `endpoint`.
    ///
    /// Waits for the backoff of an earlier failure to pass, then tries once. An attempt that fails has failed for all who
    /// wait for it: one after the other would take the time of an attempt for each of them.
    pub(super) async fn get(
        &self,
        node: NodeId,
        endpoint: &Endpoint,
        purpose: Purpose,
    ) -> Result<Connection, NetError> {
        let slot = self.slot(node, purpose);
        let asked = Instant::now();
        let mut slot = slot.lock().await;
        if let Some(failed) = &slot.failed {
            if failed.at > asked && failed.endpoint == *endpoint {
                return Err(failed.why.clone());
            }
        }
        if let Some(connection) = &slot.connection {
            if !connection.is_closed() && connection.endpoint() == endpoint {
                return Ok(connection.clone());
            }
        }
        slot.connection = None;
        if let Some(not_before) = slot.not_before {
            tokio::time::sleep_until(not_before).await;
        }
        match self.open(endpoint).await {
            Ok(connection) => {
                self.broker_back(node, endpoint);
                slot.backoff.reset();
                slot.failed = None;
                // A broker that takes connections and drops them at once is not asked in a loop.
                slot.not_before = Some(Instant::now() + Duration::from_millis(20));
                slot.connection = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                self.broker_lost(node, endpoint, &error);
                let at = Instant::now();
                slot.not_before = Some(at + slot.backoff.next_wait());
                slot.failed = Some(Failed {
                    at,
                    endpoint: endpoint.clone(),
                    why: error.clone(),
                });
                Err(error)
            }
        }
    }

    fn broker_lost(&self, node: NodeId, endpoint: &Endpoint, error: &NetError) {
        if self.health.lock().failed(node, std::time::Instant::now()) {
            let client = &*self.options.client_id;
            tracing::warn!(client, broker = %endpoint, node, %error, "broker lost");
        }
    }

    fn broker_back(&self, node: NodeId, endpoint: &Endpoint) {
        let back = self
            .health
            .lock()
            .connected(node, std::time::Instant::now());
        if let Some(outage) = back {
            let client = &*self.options.client_id;
            let after = format!("{:.1} s", outage.as_secs_f64());
            tracing::info!(client, broker = %endpoint, node, after, "broker back");
        }
    }

    /// Whether the last attempt to connect there has failed.
    pub(super) fn is_unreachable(&self, endpoint: &Endpoint) -> bool {
        self.health.lock().is_unreachable(endpoint)
    }

    /// Whether the node can be asked without connecting first.
    pub(super) fn is_open(&self, node: NodeId) -> bool {
        let slot = self.slots.lock().get(&(node, Purpose::Main)).cloned();
        slot.is_some_and(|slot| match slot.try_lock() {
            Ok(slot) => slot
                .connection
                .as_ref()
                .is_some_and(|open| !open.is_closed()),
            // Somebody is connecting.
            Err(_) => false,
        })
    }

    /// The open connections for what is answered at once.
    pub(super) fn open_ones(&self) -> Vec<Connection> {
        let slots = self.slots.lock();
        let main = slots
            .iter()
            .filter(|((_, purpose), _)| *purpose == Purpose::Main);
        let open = main.filter_map(|(_, slot)| slot.try_lock().ok()?.connection.clone());
        open.filter(|connection| !connection.is_closed()).collect()
    }

    /// Opens a connection that belongs to the caller alone, to an endpoint of unknown node id. A broker that
    /// has refused the client's credentials a moment ago is not asked again, but quoted.
    pub(super) async fn open(&self, endpoint: &Endpoint) -> Result<Connection, NetError> {
        self.refusals
            .lock()
            .may_ask(endpoint, Instant::now().into())?;
        let opened = Connection::open(endpoint, &self.options).await;
        self.health.lock().attempted(endpoint, opened.is_ok());
        let mut refusals = self.refusals.lock();
        match &opened {
            Ok(_) => refusals.succeeded(endpoint),
            Err(error) => refusals.failed(endpoint, error, Instant::now().into()),
        }
        opened
    }

    /// Makes an open connection the node's main one, unless there is one already.
    pub(super) async fn adopt(&self, node: NodeId, connection: Connection) {
        let slot = self.slot(node, Purpose::Main);
        let mut slot = slot.lock().await;
        if slot.connection.as_ref().is_none_or(Connection::is_closed) {
            slot.connection = Some(connection);
        }
    }

    /// Forgets a use that will not come back, closing its connection when idle.
    pub(super) fn forget(&self, node: NodeId, purpose: Purpose) {
        self.slots.lock().remove(&(node, purpose));
    }

    /// The same, whichever brokers it was of.
    pub(super) fn forget_all(&self, purpose: &Purpose) {
        self.slots.lock().retain(|(_, other), _| other != purpose);
    }

    /// Closes all but those that outlive the client.
    pub(super) fn close(&self) {
        self.close_those(|purpose| !purpose.outlives_client());
    }

    /// Closes all. Whoever needs one again gets a new one.
    pub(super) fn hang_up(&self) {
        self.close_those(|_| true);
    }

    fn close_those(&self, are_meant: impl Fn(&Purpose) -> bool) {
        let mut slots = self.slots.lock();
        for (_, slot) in slots.extract_if(|(_, purpose), _| are_meant(purpose)) {
            // A slot that is locked is connecting; its connection closes with its last user.
            if let Ok(mut slot) = slot.try_lock() {
                if let Some(connection) = slot.connection.take() {
                    connection.close();
                }
            }
        }
    }

    fn slot(&self, node: NodeId, purpose: Purpose) -> SharedSlot {
        let mut slots = self.slots.lock();
        let backoff = &self.backoff;
        let slot = slots.entry((node, purpose)).or_insert_with(|| {
            let slot = Slot {
                connection: None,
                backoff: backoff.clone(),
                not_before: None,
                failed: None,
            };
            Arc::new(tokio::sync::Mutex::new(slot))
        });
        slot.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_attempt_that_fails_has_failed_for_all_who_wait_for_it() {
        let second = Duration::from_secs(1);
        let connections = Connections::new(ConnectOptions::default(), second, second);
        let nobody = Endpoint {
            host: "127.0.0.1".into(),
            port: 1,
        };
        let get = || connections.get(1, &nobody, Purpose::Main);
        assert!(get().await.is_err());
        let start = Instant::now();
        let all = futures_util::future::join_all((0..30).map(|_| get())).await;
        assert!(all.iter().all(|one| matches!(one, Err(NetError::Refused))));
        // One backoff, not thirty.
        assert!(start.elapsed() < 15 * second, "{:?}", start.elapsed());
    }
}
