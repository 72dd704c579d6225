//! The partitions that are to be fetched from one broker, between those who say so and the lanes that
//! fetch them. `P` is a partition.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::config::Isolation;
use super::routing::FetchId;
use super::session::Key;
use crate::cluster::{NodeId, Purpose};
use crate::net::Connection;

/// What the first of the two lanes is at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstLane {
    Idle,
    /// In a poll that ends soon, to be joined by what the second lane has.
    Short,
    Busy,
}

/// What the lanes and those who feed them share.
pub(super) struct Board<P> {
    pub ready: Vec<Arc<P>>,
    /// One of them has messages waiting at the broker.
    pub behind: bool,
    /// Fetches that lost their partition.
    pub revoked: Vec<(Key, FetchId)>,
    pub first: FirstLane,
    pub second_holds: bool,
}

/// See the module.
pub(super) struct FetchQueue<P> {
    pub node: NodeId,
    pub isolation: Isolation,
    board: Mutex<Board<P>>,
    /// By lane.
    wake: [Notify; 2],
    /// By lane.
    connections: Mutex<[Option<Connection>; 2]>,
    ended: CancellationToken,
}

impl<P> FetchQueue<P> {
    fn new(node: NodeId, isolation: Isolation, ended: CancellationToken) -> Arc<Self> {
        Arc::new(FetchQueue {
            node,
            isolation,
            board: Mutex::new(Board {
                ready: Vec::new(),
                behind: false,
                revoked: Vec::new(),
                first: FirstLane::Busy,
                second_holds: false,
            }),
            wake: [Notify::new(), Notify::new()],
            connections: Mutex::default(),
            ended,
        })
    }

    pub(super) fn board(&self) -> MutexGuard<'_, Board<P>> {
        self.board.lock()
    }

    /// Waits until there is something for the lane.
    pub(super) async fn wait(&self, lane: usize) {
        self.wake[lane].notified().await;
    }

    /// Waits until nobody needs the broker any more.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Which connection a lane uses.
    pub(super) fn purpose(&self, lane: usize) -> Purpose {
        let isolation = match self.isolation {
            Isolation::ReadUncommitted => 0,
            Isolation::ReadCommitted => 2,
        };
        Purpose::Fetch(isolation + lane as u32)
    }

    /// The lane uses this connection, which is closed when nobody needs the broker any more.
    pub(super) fn uses(&self, lane: usize, connection: Connection) {
        self.connections.lock()[lane] = Some(connection);
    }

    /// Nobody waits for what is under way, and a fetcher that starts anew must not wait behind it.
    pub(super) fn hang_up(&self) {
        for connection in self.connections.lock().iter_mut().filter_map(Option::take) {
            connection.close();
        }
    }
}

/// A partition's hold on the queue: its lanes end with the last one.
pub(super) struct Feed<P>(Arc<FetchQueue<P>>);

impl<P> Feed<P> {
    /// The partition is to be fetched. `behind`: messages of it wait at the broker.
    pub(super) fn push(&self, partition: Arc<P>, behind: bool) {
        let mut board = self.0.board();
        board.ready.push(partition);
        board.behind |= behind;
        let lane = usize::from(board.first != FirstLane::Idle);
        drop(board);
        self.0.wake[lane].notify_one();
    }

    /// The answer to a fetch of this partition will be dropped.
    pub(super) fn revoked(&self, key: Key, fetch: FetchId) {
        self.0.board().revoked.push((key, fetch));
    }

    /// Whether this is the queue that it holds.
    pub(super) fn holds(&self, queue: &Arc<FetchQueue<P>>) -> bool {
        Arc::ptr_eq(&self.0, queue)
    }
}

impl<P> Drop for Feed<P> {
    fn drop(&mut self) {
        self.0.ended.cancel();
        self.0.hang_up();
    }
}

type Feeds<P> = HashMap<(NodeId, Isolation), Weak<Feed<P>>>;
type StartLanes<P> = Box<dyn Fn(Arc<FetchQueue<P>>) + Send + Sync>;

/// The queues of a client.
pub(super) struct FetchQueues<P> {
    feeds: Mutex<Feeds<P>>,
    start_lanes: StartLanes<P>,
    closed: CancellationToken,
}

impl<P> FetchQueues<P> {
    /// `start_lanes` is called for each new queue; `closed` ends them all.
    pub(super) fn new(
        closed: CancellationToken,
        start_lanes: impl Fn(Arc<FetchQueue<P>>) + Send + Sync + 'static,
    ) -> Self {
        FetchQueues {
            feeds: Mutex::default(),
            start_lanes: Box::new(start_lanes),
            closed,
        }
    }

    /// The queue of a broker, whose lanes are started if there are none.
    pub(super) fn feed(&self, node: NodeId, isolation: Isolation) -> Arc<Feed<P>> {
        let mut feeds = self.feeds.lock();
        if let Some(feed) = feeds.get(&(node, isolation)).and_then(Weak::upgrade) {
            return feed;
        }
        let queue = FetchQueue::new(node, isolation, self.closed.child_token());
        let feed = Arc::new(Feed(queue.clone()));
        feeds.insert((node, isolation), Arc::downgrade(&feed));
        (self.start_lanes)(queue);
        feed
    }
}
