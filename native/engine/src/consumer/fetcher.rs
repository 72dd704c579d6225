//! Fetches all partitions of one broker and isolation level over two connections.
//!
//! The first lane asks for everything there is to fetch, in a fetch session, and stays in a long poll
//! when there is nothing new. A broker answers a connection's requests in order, so a partition
//! whose window opens meanwhile would wait: the second lane fetches those, with short polls, and
//! hands them to the first one as soon as that is free. It also fetches while the answer of the
//! first one is being delivered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;

use super::driver::PartitionDriver;
use super::fetch_queue::{FetchQueue, FirstLane};
use super::poll::{Limits, Poll};
use super::routing::{Claimed, FetchId};
use super::session::{Ask, Key, Session};
use super::subscription::NextFetch;
use crate::cluster::{Cluster, LATE};
use crate::error::Error;
use brod_protocol::api::fetch::{self, FetchRequest};
use brod_protocol::error::ErrorCode;

/// Other tasks get a turn after this many bytes.
const TURN_BYTES: usize = 64 * 1024;

/// Starts the lanes of a queue.
pub(super) fn start(
    cluster: &Arc<Cluster>,
    runtime: &Handle,
    rack_id: &Arc<str>,
    queue: &Arc<FetchQueue<PartitionDriver>>,
) {
    for number in 0..2 {
        let lane = Lane::new(cluster.clone(), rack_id.clone(), queue.clone(), number);
        cluster.supervise(runtime, "fetcher", lane.run());
    }
}

struct Held {
    partition: Arc<PartitionDriver>,
    fetch: FetchId,
    next: NextFetch,
    /// See [`Claimed`].
    from_leader: bool,
    /// Number of the last answer that named it.
    named_in: u64,
}

/// One connection's fetches, one at a time.
struct Lane {
    cluster: Arc<Cluster>,
    /// Sent to brokers, which may name a replica that is nearer than the leader (KIP-392).
    rack_id: Arc<str>,
    queue: Arc<FetchQueue<PartitionDriver>>,
    number: usize,
    held: HashMap<Key, Held>,
    session: Session,
    answers: u64,
    /// Answers without messages since the last one with some.
    quiet: u32,
}

impl Lane {
    fn new(
        cluster: Arc<Cluster>,
        rack_id: Arc<str>,
        queue: Arc<FetchQueue<PartitionDriver>>,
        number: usize,
    ) -> Self {
        Lane {
            cluster,
            rack_id,
            queue,
            number,
            held: HashMap::new(),
            session: Session::default(),
            answers: 0,
            quiet: 0,
        }
    }

    fn is_first(&self) -> bool {
        self.number == 0
    }

    async fn run(mut self) {
        let queue = self.queue.clone();
        tokio::select! {
            _ = queue.ended() => {}
            _ = self.fetch() => {}
        }
        // The client may be closed, or a connection have been opened, after the last feed went.
        queue.hang_up();
    }

    async fn fetch(&mut self) {
        loop {
            let poll = self.gather().await;
            let limits = Limits::new(poll, self.held.values().map(|held| held.next));
            let limits = limits.answered_within(self.cluster.config().request_timeout);
            match self.exchange(&limits).await {
                Ok(answer) => self.take_in(answer, &limits).await,
                Err(error) => self.give_up(&error),
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
                for partition in ready {
                    self.claim(partition);
                }
                if !self.held.is_empty() {
                    return poll;
                }
                if !self.is_first() {
                    self.queue.board().second_holds = false;
                }
            } else {
                self.queue.wait(self.number).await;
            }
        }
    }

    fn take_first(&mut self) -> Option<(Vec<Arc<PartitionDriver>>, Poll)> {
        let mut board = self.queue.board();
        for (key, fetch) in board.revoked.drain(..) {
            if self.held.get(&key).is_some_and(|held| held.fetch == fetch) {
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

    fn take_second(&mut self) -> Option<(Vec<Arc<PartitionDriver>>, Poll)> {
        let mut board = self.queue.board();
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
    fn claim(&mut self, partition: Arc<PartitionDriver>) {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let fetch = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(claimed) = partition.claim(&self.queue, fetch) else {
            return;
        };
        let key = partition.key().clone();
        self.session.want(&key, ask(&claimed));
        let held = Held {
            partition,
            fetch,
            next: claimed.next,
            from_leader: claimed.from_leader,
            named_in: 0,
        };
        self.held.insert(key, held);
    }

    async fn exchange(&mut self, limits: &Limits) -> Result<fetch::Answer, Error> {
        let queue = &self.queue;
        let purpose = queue.purpose(self.number);
        let connecting = self.cluster.connection(queue.node, purpose);
        let late = Instant::now() + LATE;
        let connection = self.cluster.watched(late, connecting).await?;
        queue.uses(self.number, connection.clone());
        let knows_ids = self.session.knows_ids();
        let version = connection
            .versions()
            .pick_knowing::<FetchRequest>(knows_ids)?;
        let plan = if self.is_first() {
            self.session.plan(version)
        } else {
            self.session.plan_apart()
        };
        // A leader that names a replica to a partition gives it nothing else. Others stay with their leader meanwhile.
        let rack_id = match self.held.values().any(|held| held.from_leader) {
            true => "",
            false => &*self.rack_id,
        };
        let head = fetch::Head {
            max_wait: limits.max_wait,
            min_bytes: limits.min_bytes,
            max_bytes: limits.max_bytes,
            isolation: queue.isolation,
            session_id: plan.session_id,
            session_epoch: plan.session_epoch,
            rack_id,
        };
        let request = fetch::request(&head, plan.ask, plan.forget);
        let limit = limits.answer;
        let late = connection.ready_at(Instant::now()) + limits.max_wait + LATE;
        let call = connection.call_version(&request, version, limit);
        // Partitions go to their new leaders as soon as those are known.
        Ok(fetch::read(self.cluster.watched(late, call).await?))
    }

    async fn take_in(&mut self, mut answer: fetch::Answer, limits: &Limits) {
        let is_throttled = answer.is_throttled;
        let code = answer.error;
        if !code.is_ok() {
            if !self.session.failed(code) {
                self.give_up(&code.into());
            }
            return;
        }
        if self.is_first() {
            self.session.answered(answer.session_id);
        }
        answer.put_names(|id| self.session.topic(id));
        self.answers += 1;
        let mut answered = 0;
        let mut turn = 0;
        for (key, partition) in answer.partitions() {
            let Some(held) = self.held.get_mut(&key) else {
                continue;
            };
            let size = partition.records.len();
            answered += size;
            held.named_in = self.answers;
            let driver = &held.partition;
            let next = driver.answered(held.fetch, self.queue.node, partition);
            self.go_on(&key, next);
            turn += size;
            if turn >= TURN_BYTES {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
        self.quiet = match answered {
            0 => self.quiet.saturating_add(1),
            _ => 0,
        };
        if !is_throttled && answered > 0 {
            self.ask_for_larger_batches(limits.left_by(answered));
        }
    }

    /// What the partition is to be asked for next. None: it is not this lane's any more.
    fn go_on(&mut self, key: &Key, next: Option<NextFetch>) {
        let held = self.held.get_mut(key);
        match next.zip(held) {
            Some((next, held)) => {
                held.next = next;
                self.session.update(key, next.offset, next.max_bytes);
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
    fn ask_for_larger_batches(&mut self, room: i32) {
        let passed_over = |held: &Held| {
            held.named_in != self.answers && held.next.behind && held.next.max_bytes <= room
        };
        let all = self.held.iter().filter(|(_, held)| passed_over(held));
        let next: Vec<_> = all
            .map(|(key, held)| (key.clone(), held.partition.passed_over(held.fetch)))
            .collect();
        for (key, next) in next {
            self.go_on(&key, next);
        }
    }

    /// The fetch failed as a whole: all of its partitions are routed anew.
    fn give_up(&mut self, error: &Error) {
        tracing::debug!(%error, node = self.queue.node, "fetch failed");
        for held in std::mem::take(&mut self.held).into_values() {
            self.session.drop(held.partition.key());
            held.partition.fetch_failed(held.fetch, error);
        }
        self.session.failed(ErrorCode::NETWORK_EXCEPTION);
        self.quiet = 0;
    }

    /// Gives the partitions back, to whichever lane is free next.
    fn release(&mut self) {
        self.queue.board().second_holds = false;
        for held in std::mem::take(&mut self.held).into_values() {
            self.session.drop(held.partition.key());
            held.partition.release(held.fetch);
        }
    }
}

fn ask(claimed: &Claimed) -> Ask {
    Ask {
        topic_id: claimed.topic_id,
        offset: claimed.next.offset,
        leader_epoch: claimed.leader_epoch,
        max_bytes: claimed.next.max_bytes,
    }
}
