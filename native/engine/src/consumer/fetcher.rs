//! Fetches all partitions of one broker and isolation level over two connections.
//!
//! The first lane asks for everything there is to fetch, in a fetch session, and stays in a long poll
//! when there is nothing new. A broker answers a connection's requests in order, so a partition
//! whose window opens meanwhile would wait: the second lane fetches those, with short polls, and
//! hands them to the first one as soon as that is free. It also fetches while the answer of the
//! first one is being delivered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use kafka_protocol::messages::{FetchRequest, FetchResponse};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::config::Isolation;
use super::offsets::code_of;
use super::partition::Wish;
use super::poll::{Limits, Poll};
use super::request::fetch_request;
use super::session::{Ask, Key, Plan, Session};
use super::shared::Shared;
use super::Consumers;
use crate::cluster::{Cluster, NodeId, Purpose};
use crate::error::Error;
use crate::net::Connection;
use brod_protocol::error::ErrorCode;

/// What an answer may take beyond the poll.
const GRACE: Duration = Duration::from_secs(10);
/// Other tasks get a turn after this many bytes.
const TURN_BYTES: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum FirstLane {
    Idle,
    /// In a poll that ends soon, to be joined by what the second lane has.
    Short,
    Busy,
}

/// What the lanes and those who feed them share.
struct Board {
    ready: Vec<Arc<Shared>>,
    /// One of them has messages waiting at the broker.
    behind: bool,
    /// Fetches that lost their partition.
    revoked: Vec<(Key, u64)>,
    first: FirstLane,
    second_holds: bool,
}

struct Fetcher {
    consumers: Weak<Consumers>,
    cluster: Arc<Cluster>,
    node: NodeId,
    isolation: Isolation,
    rack_id: String,
    board: Mutex<Board>,
    wake: [Notify; 2],
    /// By lane.
    connections: Mutex<[Option<Connection>; 2]>,
    ended: CancellationToken,
}

/// Keeps a fetcher going; it ends with the last one.
pub struct FetcherHandle(Arc<Fetcher>);

impl FetcherHandle {
    pub fn start(consumers: &Arc<Consumers>, node: NodeId, isolation: Isolation) -> Arc<Self> {
        let fetcher = Arc::new(Fetcher {
            consumers: Arc::downgrade(consumers),
            cluster: consumers.cluster.clone(),
            node,
            isolation,
            rack_id: consumers.rack_id.clone(),
            board: Mutex::new(Board {
                ready: Vec::new(),
                behind: false,
                revoked: Vec::new(),
                first: FirstLane::Busy,
                second_holds: false,
            }),
            wake: [Notify::new(), Notify::new()],
            connections: Mutex::default(),
            ended: consumers.cluster.closed().child_token(),
        });
        for number in 0..2 {
            let lane = Lane::new(fetcher.clone(), number).run();
            consumers
                .cluster
                .supervise(&consumers.runtime, "fetcher", lane);
        }
        Arc::new(FetcherHandle(fetcher))
    }

    pub fn node(&self) -> NodeId {
        self.0.node
    }

    /// A partition is to be fetched. `behind`: messages of it wait at the broker.
    pub fn push(&self, shared: Arc<Shared>, behind: bool) {
        let mut board = self.0.board.lock();
        board.ready.push(shared);
        board.behind |= behind;
        let lane = usize::from(board.first != FirstLane::Idle);
        drop(board);
        self.0.wake[lane].notify_one();
    }

    /// The answer to a fetch of this partition will be dropped.
    pub fn revoked(&self, key: Key, claim: u64) {
        self.0.board.lock().revoked.push((key, claim));
    }
}

impl Drop for FetcherHandle {
    fn drop(&mut self) {
        self.0.ended.cancel();
        self.0.hang_up();
    }
}

impl Fetcher {
    /// Nobody waits for what is under way, and a fetcher that starts anew must not wait behind it.
    fn hang_up(&self) {
        for connection in self.connections.lock().iter_mut().filter_map(Option::take) {
            connection.close();
        }
    }

    fn purpose(&self, lane: usize) -> Purpose {
        let isolation = match self.isolation {
            Isolation::ReadUncommitted => 0,
            Isolation::ReadCommitted => 2,
        };
        Purpose::Fetch(isolation + lane as u32)
    }
}

struct Held {
    shared: Arc<Shared>,
    claim: u64,
    wish: Wish,
    /// Number of the last answer that named it.
    named_in: u64,
}

/// One connection's fetches, one at a time.
struct Lane {
    fetcher: Arc<Fetcher>,
    number: usize,
    held: HashMap<Key, Held>,
    session: Session,
    answers: u64,
    /// Answers without messages since the last one with some.
    quiet: u32,
    /// The broker holds the next answer back for as long.
    throttle: Duration,
}

impl Lane {
    fn new(fetcher: Arc<Fetcher>, number: usize) -> Self {
        Lane {
            fetcher,
            number,
            held: HashMap::new(),
            session: Session::default(),
            answers: 0,
            quiet: 0,
            throttle: Duration::ZERO,
        }
    }

    fn is_first(&self) -> bool {
        self.number == 0
    }

    async fn run(mut self) {
        let fetcher = self.fetcher.clone();
        tokio::select! {
            _ = fetcher.ended.cancelled() => {}
            _ = self.fetch() => {}
        }
        // The client may be closed, or a connection have been opened, after the last handle went.
        fetcher.hang_up();
    }

    async fn fetch(&mut self) {
        loop {
            let poll = self.gather().await;
            let limits = Limits::new(poll, self.held.values().map(|held| held.wish));
            let answer = self.exchange(&limits).await;
            let Some(consumers) = self.fetcher.consumers.upgrade() else {
                return;
            };
            match answer {
                Ok(response) => self.take_in(&consumers, response, &limits).await,
                Err(error) => self.give_up(&consumers, &error),
            }
            if !self.is_first() {
                self.release();
            }
        }
    }

    /// Waits until there is something to fetch.
    async fn gather(&mut self) -> Poll {
        loop {
            let taken = if self.is_first() {
                self.take_first()
            } else {
                self.take_second()
            };
            if let Some((ready, poll)) = taken {
                for shared in ready {
                    self.claim(shared);
                }
                if !self.held.is_empty() {
                    return poll;
                }
                if !self.is_first() {
                    self.fetcher.board.lock().second_holds = false;
                }
            } else {
                self.fetcher.wake[self.number].notified().await;
            }
        }
    }

    fn take_first(&mut self) -> Option<(Vec<Arc<Shared>>, Poll)> {
        let mut board = self.fetcher.board.lock();
        for (key, claim) in board.revoked.drain(..) {
            if self.held.get(&key).is_some_and(|held| held.claim == claim) {
                self.held.remove(&key);
                self.session.drop(&key);
            }
        }
        if board.ready.is_empty() && self.held.is_empty() {
            board.first = FirstLane::Idle;
            return None;
        }
        let poll = if board.second_holds {
            board.first = FirstLane::Short;
            Poll::first_lane_soon()
        } else {
            board.first = FirstLane::Busy;
            Poll::first_lane(self.quiet)
        };
        board.behind = false;
        Some((std::mem::take(&mut board.ready), poll))
    }

    fn take_second(&mut self) -> Option<(Vec<Arc<Shared>>, Poll)> {
        let mut board = self.fetcher.board.lock();
        let for_the_first_lane = match board.first {
            FirstLane::Idle => true,
            FirstLane::Short => !board.behind,
            FirstLane::Busy => false,
        };
        if board.ready.is_empty() || for_the_first_lane {
            return None;
        }
        if board.behind {
            self.quiet = 0;
        }
        board.second_holds = true;
        board.behind = false;
        Some((
            std::mem::take(&mut board.ready),
            Poll::second_lane(self.quiet),
        ))
    }

    /// Makes the partition this lane's, unless it moved or is not to be fetched any more.
    fn claim(&mut self, shared: Arc<Shared>) {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let mut state = shared.lock();
        let Some(route) = &state.route else { return };
        if !Arc::ptr_eq(&route.fetcher.0, &self.fetcher) {
            return;
        }
        let leader_epoch = route.leader.epoch;
        state.queued = false;
        if state.claim.is_some() {
            return;
        }
        let Some(wish) = state.rules.wish() else {
            return;
        };
        let claim = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        state.claim = Some(claim);
        drop(state);
        let held = Held {
            claim,
            wish,
            named_in: 0,
            shared: shared.clone(),
        };
        self.session.want(&shared.key, ask(&wish, leader_epoch));
        self.held.insert(shared.key.clone(), held);
    }

    async fn exchange(&mut self, limits: &Limits) -> Result<FetchResponse, Error> {
        let fetcher = &self.fetcher;
        let purpose = fetcher.purpose(self.number);
        let connection = fetcher.cluster.connection(fetcher.node, purpose).await?;
        fetcher.connections.lock()[self.number] = Some(connection.clone());
        let version = connection.versions().pick::<FetchRequest>()?;
        let plan = if self.is_first() {
            self.session.plan(version)
        } else {
            Plan::without_session(self.session.wanted())
        };
        let request = fetch_request(plan, limits, fetcher.isolation, &fetcher.rack_id);
        let limit = limits.max_wait + self.throttle + GRACE;
        Ok(connection.call_version(&request, version, limit).await?)
    }

    async fn take_in(
        &mut self,
        consumers: &Arc<Consumers>,
        response: FetchResponse,
        limits: &Limits,
    ) {
        self.throttle = Duration::from_millis(response.throttle_time_ms.max(0) as u64);
        let code = ErrorCode(response.error_code);
        if !code.is_ok() {
            if !self.session.failed(code) {
                self.give_up(consumers, &code.into());
            }
            return;
        }
        if self.is_first() {
            self.session.answered(response.session_id);
        }
        self.answers += 1;
        let mut answered = 0;
        let mut turn = 0;
        for topic in response.responses {
            for data in topic.partitions {
                let key = (topic.topic.clone(), data.partition_index);
                let Some(held) = self.held.get_mut(&key) else {
                    continue;
                };
                let size = data.records.as_ref().map_or(0, |records| records.len());
                answered += size;
                held.named_in = self.answers;
                let node = self.fetcher.node;
                let wish = consumers.take_in(node, &held.shared, held.claim, data);
                self.go_on(&key, wish);
                turn += size;
                if turn >= TURN_BYTES {
                    turn = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
        self.quiet = match answered {
            0 => self.quiet.saturating_add(1),
            _ => 0,
        };
        if self.throttle.is_zero() && answered > 0 {
            self.ask_for_larger_batches(consumers, limits.left_by(answered));
        }
    }

    /// What the partition is to be asked for next. None: it is not this lane's any more.
    fn go_on(&mut self, key: &Key, wish: Option<Wish>) {
        let held = self.held.get_mut(key);
        match wish.zip(held) {
            Some((wish, held)) => {
                held.wish = wish;
                self.session.update(key, wish.offset, wish.max_bytes);
            }
            None => {
                self.held.remove(key);
                self.session.drop(key);
            }
        }
    }

    /// In a session an answer does not name partitions that have nothing new. One that has messages
    /// nonetheless was passed over: its next batch is larger than what was asked of it, if the
    /// answer had `room` for as much.
    fn ask_for_larger_batches(&mut self, consumers: &Arc<Consumers>, room: i32) {
        let passed_over = |held: &Held| {
            held.named_in != self.answers && held.wish.behind && held.wish.max_bytes <= room
        };
        let all = self.held.iter().filter(|(_, held)| passed_over(held));
        let wishes: Vec<_> = all
            .map(|(key, held)| (key.clone(), consumers.passed_over(&held.shared, held.claim)))
            .collect();
        for (key, wish) in wishes {
            self.go_on(&key, wish);
        }
    }

    /// The fetch failed as a whole: all of its partitions are routed anew.
    fn give_up(&mut self, consumers: &Arc<Consumers>, error: &Error) {
        tracing::debug!(%error, node = self.fetcher.node, "fetch failed");
        let fatal = code_of(error);
        for held in std::mem::take(&mut self.held).into_values() {
            self.session.drop(&held.shared.key);
            match fatal {
                Some(code) => consumers.failed(&held.shared, held.claim, code, error.to_string()),
                None => {
                    let mut state = held.shared.lock();
                    if state.claim == Some(held.claim) {
                        state.preferred = None;
                        consumers.retry_later(&held.shared, &mut state);
                    }
                }
            }
        }
        self.session.failed(ErrorCode::NETWORK_EXCEPTION);
        self.quiet = 0;
    }

    /// Gives the partitions back, to whichever lane is free next.
    fn release(&mut self) {
        self.fetcher.board.lock().second_holds = false;
        for held in std::mem::take(&mut self.held).into_values() {
            self.session.drop(&held.shared.key);
            let mut state = held.shared.lock();
            if state.claim == Some(held.claim) {
                state.claim = None;
                state.enqueue(&held.shared);
            }
        }
    }
}

fn ask(wish: &Wish, leader_epoch: i32) -> Ask {
    Ask {
        offset: wish.offset,
        leader_epoch,
        max_bytes: wish.max_bytes,
    }
}
