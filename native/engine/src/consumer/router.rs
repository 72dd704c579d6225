//! Decides which broker a partition is fetched from, and what follows from an error.

use std::sync::{Arc, Weak};

use parking_lot::MutexGuard;
use tokio::time::Instant;

use super::config::{BeginOffset, Isolation, OffsetResetPolicy};
use super::fetcher::FetcherHandle;
use super::offsets::{code_of, may_pass};
use super::shared::{suspend, Check, Route, Shared, State, Waiting};
use super::Consumers;
use crate::cluster::{Cluster, Leader, NodeId};
use crate::error::Error;
use brod_protocol::error::ErrorCode;

/// Moves partitions when their leaders change, until the client closes.
pub async fn follow_changes(consumers: Weak<Consumers>, cluster: Arc<Cluster>) {
    let mut changes = cluster.changes();
    loop {
        tokio::select! {
            _ = cluster.closed().cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
        let Some(consumers) = consumers.upgrade() else {
            return;
        };
        let all: Vec<_> = consumers.partitions.lock().values().cloned().collect();
        for shared in all {
            consumers.route(&shared);
        }
    }
}

impl Consumers {
    /// Gives the partition to the fetcher of the broker to fetch it from, if it is to be fetched.
    /// Changes nothing if that is where it is.
    pub(super) fn route(self: &Arc<Self>, shared: &Arc<Shared>) {
        let snapshot = self.cluster.snapshot();
        let leader = snapshot.leader(&shared.topic, shared.partition).ok();
        let mut guard = shared.lock();
        let state = &mut *guard;
        if !state.rules.is_fetching() {
            return;
        }
        if let Some(check) = &state.check {
            if leader.is_none_or(|leader| leader == check.leader) {
                return;
            }
            // That leader may never answer, and what it says is of no use any more.
            state.check = None;
        }
        if let Some(waiting) = &state.waiting {
            if leader.is_none() || waiting.leader == leader {
                return;
            }
            state.waiting = None;
        }
        let Some(leader) = leader else {
            self.retry_later(shared, state);
            return;
        };
        if leader.epoch > *state.validated.get_or_insert(leader.epoch) {
            if state.rules.last_epoch() >= 0 {
                self.validate(shared, state, leader);
                return;
            }
            state.validated = Some(leader.epoch);
        }
        state.preferred = state
            .preferred
            .filter(|(node, until)| Instant::now() < *until && snapshot.brokers.contains_key(node));
        let node = state.preferred.map_or(leader.node, |(node, _)| node);
        let stays = state
            .route
            .as_ref()
            .is_some_and(|route| route.fetcher.node() == node && route.leader == leader);
        if !stays {
            state.unroute();
            let fetcher = self.fetcher(node, state.rules.config().isolation);
            state.route = Some(Route { fetcher, leader });
        }
        state.enqueue(shared);
    }

    fn fetcher(self: &Arc<Self>, node: NodeId, isolation: Isolation) -> Arc<FetcherHandle> {
        let mut fetchers = self.fetchers.lock();
        if let Some(fetcher) = fetchers.get(&(node, isolation)).and_then(Weak::upgrade) {
            return fetcher;
        }
        let fetcher = FetcherHandle::start(self, node, isolation);
        fetchers.insert((node, isolation), Arc::downgrade(&fetcher));
        fetcher
    }

    /// Routes the partition anew after a while, with metadata that is fresh by then.
    pub(super) fn retry_later(self: &Arc<Self>, shared: &Arc<Shared>, state: &mut State) {
        let wait = state.rules.retry_wait();
        let token = state.next_token();
        state.waiting = Some(Waiting {
            token,
            leader: state.leader(),
        });
        state.check = None;
        state.unroute();
        self.cluster.request_refresh();
        let consumers = self.clone();
        let shared = shared.clone();
        self.runtime.spawn(async move {
            tokio::select! {
                _ = consumers.cluster.closed().cancelled() => return,
                _ = tokio::time::sleep(wait) => {}
            }
            let is_present = {
                let mut state = shared.lock();
                state
                    .waiting
                    .take_if(|waiting| waiting.token == token)
                    .is_some()
            };
            if is_present {
                consumers.route(&shared);
            }
        });
    }

    /// An answer reported an error for a partition. `claim`: the fetch that it answers.
    pub(super) fn failed(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        claim: u64,
        code: ErrorCode,
        text: String,
    ) {
        let mut state = shared.lock();
        if state.claim != Some(claim) {
            return;
        }
        if code == ErrorCode::OFFSET_OUT_OF_RANGE {
            let followed = state.preferred.take().is_some();
            let from_follower = |route: &Route| route.fetcher.node() != route.leader.node;
            if followed && state.route.as_ref().is_some_and(from_follower) {
                // The follower lags behind; only the leader knows.
                self.retry_later(shared, &mut state);
                return;
            }
            self.out_of_range(shared, state, text);
        } else if code.is_retriable_for_consumer() {
            state.preferred = None;
            self.retry_later(shared, &mut state);
        } else {
            suspend(state, code, text);
        }
    }

    /// The position does not exist in the log.
    fn out_of_range(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        mut state: MutexGuard<'_, State>,
        text: String,
    ) {
        let to = match state.rules.reset() {
            Some(OffsetResetPolicy::ResetToEarliest) => BeginOffset::Earliest,
            Some(OffsetResetPolicy::ResetToLatest) => BeginOffset::Latest,
            Some(OffsetResetPolicy::ResetBySubscriber) | None => {
                suspend(state, ErrorCode::OFFSET_OUT_OF_RANGE, text);
                return;
            }
        };
        state.unroute();
        state.validated = None;
        let generation = state.rules.generation();
        drop(state);
        let consumers = self.clone();
        let shared = shared.clone();
        self.runtime.spawn(async move {
            match consumers.resolve(&shared, generation, to, None).await {
                // Another subscription or seek needs no error.
                Ok((offset, epoch)) => {
                    let _ = consumers.begin(&shared, generation, offset, epoch).await;
                }
                Err(Error::Closed) => {}
                Err(error) => {
                    let state = shared.lock();
                    if state.rules.generation() == generation {
                        let code = code_of(&error).unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
                        suspend(
                            state,
                            code,
                            format!("{text}; no offset to go on at: {error}"),
                        );
                    }
                }
            }
        });
    }

    /// A new leader may have lost what was consumed from the former one (KIP-320): compares where
    /// the epoch of the last batch ended before fetching on.
    fn validate(self: &Arc<Self>, shared: &Arc<Shared>, state: &mut State, leader: Leader) {
        state.unroute();
        // It may not be in the new leader's log.
        state.rules.forget_waiting();
        let token = state.next_token();
        state.check = Some(Check { token, leader });
        let epoch = state.rules.last_epoch();
        let consumers = self.clone();
        let shared = shared.clone();
        self.runtime.spawn(async move {
            let end = consumers.end_of_epoch(&shared, leader, epoch).await;
            let mut state = shared.lock();
            if state
                .check
                .as_ref()
                .is_none_or(|check| check.token != token)
            {
                return;
            }
            match end {
                Err(error) if may_pass(&error) => {
                    consumers.retry_later(&shared, &mut state);
                    return;
                }
                Ok((end, epoch)) if end >= 0 && end < state.rules.position() => {
                    state.check = None;
                    state.validated = Some(leader.epoch);
                    consumers.truncated(&shared, state, end, epoch);
                    return;
                }
                // Brokers that cannot tell are trusted; what the client may not do shows in
                // the fetch.
                Ok(_) | Err(_) => {
                    state.check = None;
                    state.validated = Some(leader.epoch);
                }
            }
            drop(state);
            consumers.route(&shared);
        });
    }

    /// The log was cut off at `end`, which is before the position. What comes behind `end` is new,
    /// so that is where those go on who do not want to be asked: neither the oldest nor the newest
    /// message is meant, as is when the position is gone and nothing else is known.
    fn truncated(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        mut state: MutexGuard<'_, State>,
        end: i64,
        epoch: i32,
    ) {
        let position = state.rules.position();
        let text =
            format!("the log was truncated to {end} when its leader changed; {position} was next");
        if state.rules.reset().is_none() {
            suspend(state, ErrorCode::OFFSET_OUT_OF_RANGE, text);
            return;
        }
        tracing::warn!(topic = %shared.topic, partition = shared.partition, "{text}");
        let generation = state.rules.generation();
        drop(state);
        let consumers = self.clone();
        let shared = shared.clone();
        self.runtime.spawn(async move {
            // Another subscription or seek needs no error.
            let _ = consumers.begin(&shared, generation, end, epoch).await;
        });
    }
}
