//! One partition as its consumer's handle, the fetchers and the router share it.

use std::sync::atomic::AtomicI32;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::config::ConsumerConfig;
use super::fetcher::FetcherHandle;
use super::partition::{Partition, Wish};
use super::session::Key;
use super::sink::Sink;
use super::{Consumers, Info};
use crate::cluster::{Leader, NodeId};
use brod_protocol::error::ErrorCode;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;

/// Which fetcher a partition belongs to.
pub struct Route {
    pub fetcher: Arc<FetcherHandle>,
    /// As known when the route was chosen.
    pub leader: Leader,
}

/// A wait after an error.
pub struct Waiting {
    /// Tells this wait from an earlier one.
    pub token: u64,
    /// Who led the partition when it failed: if that changes, the wait is pointless.
    pub leader: Option<Leader>,
}

/// The log of a new leader is being compared with what was consumed.
pub struct Check {
    /// Tells this check from an earlier one.
    pub token: u64,
    pub leader: Leader,
}

/// What the lock protects. It is held for moments only, never while a sink is called.
pub struct State {
    key: Key,
    pub rules: Partition,
    pub sink: Option<Arc<dyn Sink>>,
    pub route: Option<Route>,
    /// The fetch that has the partition; an answer to any other is dropped.
    pub claim: Option<u64>,
    /// It is in its fetcher's list of partitions to fetch.
    pub queued: bool,
    pub waiting: Option<Waiting>,
    pub check: Option<Check>,
    /// Newest leader epoch for which the log is known to hold what was consumed.
    pub validated: Option<i32>,
    /// A replica that the leader named, and until when it counts (KIP-392).
    pub preferred: Option<(NodeId, Instant)>,
    /// The last seek.
    seek: u64,
    last_token: u64,
}

pub struct Shared {
    pub topic: Arc<str>,
    pub partition: i32,
    /// Topic and partition as in requests.
    pub key: Key,
    state: Mutex<State>,
    /// A delivery has ended.
    pub delivery_ended: Notify,
}

impl Shared {
    pub fn new(topic: &str, partition: i32, share: Arc<AtomicI32>) -> Self {
        let name = TopicName(StrBytes::from_string(topic.to_owned()));
        Shared {
            topic: topic.into(),
            partition,
            key: (name.clone(), partition),
            state: Mutex::new(State {
                key: (name, partition),
                rules: Partition::new(share),
                sink: None,
                route: None,
                claim: None,
                queued: false,
                waiting: None,
                check: None,
                validated: None,
                preferred: None,
                seek: 0,
                last_token: 0,
            }),
            delivery_ended: Notify::new(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// A new subscription; returns its generation.
    pub fn start(&self, config: ConsumerConfig, sink: Arc<dyn Sink>) -> u64 {
        let mut state = self.lock();
        state.detach();
        let former = state.sink.replace(sink);
        let generation = state.rules.start(config);
        // Dropping a sink may close this very partition, which takes the lock.
        drop(state);
        drop(former);
        generation
    }

    /// A seek whose offset may have to be asked for. None: there is no subscription.
    pub fn seek_starts(&self) -> Option<Seek> {
        let mut state = self.lock();
        state.sink.as_ref()?;
        state.seek = state.next_token();
        Some(Seek {
            generation: state.rules.generation(),
            token: state.seek,
        })
    }

    /// The offset of a seek is known: a new generation of the subscription begins. None: that is
    /// another one by now, or there was another seek.
    pub fn restart(&self, seek: &Seek) -> Option<u64> {
        let mut state = self.lock();
        if state.rules.generation() != seek.generation || state.seek != seek.token {
            return None;
        }
        state.revoke();
        state.forget_log();
        Some(state.rules.restart())
    }

    pub fn stop(&self) {
        let mut state = self.lock();
        state.rules.stop();
        let sink = state.sink.take();
        state.detach();
        // As above.
        drop(state);
        drop(sink);
    }

    pub fn ack(self: &Arc<Self>, consumers: &Arc<Consumers>, offset: i64) {
        let mut state = self.lock();
        state.rules.ack(offset);
        consumers.go_on(self, &mut state);
        state.enqueue(self);
    }

    pub fn set_paused(self: &Arc<Self>, consumers: &Arc<Consumers>, paused: bool) {
        let mut state = self.lock();
        state.rules.set_paused(paused);
        if paused {
            state.revoke();
        } else {
            consumers.go_on(self, &mut state);
            state.enqueue(self);
        }
    }

    pub fn info(&self) -> Info {
        let state = self.lock();
        Info {
            node: state.route.as_ref().map(|route| route.fetcher.node()),
            ..state.rules.info()
        }
    }
}

/// A seek under way.
pub struct Seek {
    /// Of the subscription that it belongs to.
    pub generation: u64,
    token: u64,
}

/// Stops fetching and tells the subscriber why. Takes the lock that the caller found out with which
/// subscription it is about, so that no other one is hit.
pub fn suspend(mut state: MutexGuard<'_, State>, code: ErrorCode, text: String) {
    state.rules.suspend();
    state.unroute();
    state.waiting = None;
    state.check = None;
    let generation = state.rules.generation();
    let sink = state.sink.clone();
    drop(state);
    if let Some(sink) = sink {
        sink.error(generation, code, text);
    }
}

impl State {
    /// Puts the partition into its fetcher's list, if it is to be fetched and nobody does yet.
    pub fn enqueue(&mut self, shared: &Arc<Shared>) {
        if self.queued || self.claim.is_some() {
            return;
        }
        let (Some(route), Some(wish)) = (&self.route, self.rules.wish()) else {
            return;
        };
        self.queued = true;
        route.fetcher.push(shared.clone(), wish.behind);
    }

    /// What the fetch `claim` asks for next. None: it does not have the partition (any more).
    pub fn keep(&mut self, claim: u64) -> Option<Wish> {
        if self.claim != Some(claim) {
            return None;
        }
        let wish = self.rules.wish();
        if wish.is_none() {
            self.claim = None;
        }
        wish
    }

    /// Takes the partition from the fetch that has it, whose answer will be dropped.
    pub fn revoke(&mut self) {
        if let (Some(claim), Some(route)) = (self.claim.take(), &self.route) {
            route.fetcher.revoked(self.key.clone(), claim);
        }
    }

    /// No fetcher has the partition any more.
    pub fn unroute(&mut self) {
        self.revoke();
        self.route = None;
        // The entry in the list of the former fetcher, if there is one, is passed over.
        self.queued = false;
    }

    /// As [`State::unroute`], and forgets what belonged to a subscription.
    fn detach(&mut self) {
        self.unroute();
        self.forget_log();
        self.preferred = None;
    }

    /// The position is about to be another one: what was to be done about the old one is not.
    fn forget_log(&mut self) {
        self.waiting = None;
        self.check = None;
        self.validated = None;
    }

    /// Who is asked, or was last.
    pub fn leader(&self) -> Option<Leader> {
        let route = self.route.as_ref().map(|route| route.leader);
        route.or(self.check.as_ref().map(|check| check.leader))
    }

    /// A number for a wait or a check, unlike the ones before.
    pub fn next_token(&mut self) -> u64 {
        self.last_token += 1;
        self.last_token
    }
}
