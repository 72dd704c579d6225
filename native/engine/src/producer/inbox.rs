//! The queues into the tasks: of the brokers, and of those that look for leaders.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::acks::Replies;
use super::lane::LANES;
use super::partition::Partition;
use crate::cluster::NodeId;

/// The queue into a broker's task.
pub(super) struct Inbox<R: Replies> {
    pub node: NodeId,
    lanes: Mutex<[Waiting<R>; LANES]>,
    /// There is something to do.
    pub notify: Notify,
}

struct Waiting<R: Replies> {
    partitions: Vec<Arc<Partition<R>>>,
    /// With how many of them the task can do something. Waking a thread costs more than a message.
    wake_at: usize,
}

impl<R: Replies> Inbox<R> {
    pub(super) fn new(node: NodeId) -> Self {
        Inbox {
            node,
            lanes: Mutex::new(std::array::from_fn(|_| Waiting {
                partitions: Vec::new(),
                wake_at: 1,
            })),
            notify: Notify::new(),
        }
    }

    /// The partition has something to send.
    pub(super) fn push(&self, partition: Arc<Partition<R>>) {
        let mut lanes = self.lanes.lock();
        let waiting = &mut lanes[partition.lane()];
        waiting.partitions.push(partition);
        let wakes = waiting.partitions.len() >= waiting.wake_at;
        drop(lanes);
        if wakes {
            self.notify.notify_one();
        }
    }

    /// Hands each lane's partitions to `take`, which answers how many more are worth to wake for.
    pub(super) fn empty(
        &self,
        mut take: impl FnMut(usize, std::vec::Drain<'_, Arc<Partition<R>>>) -> usize,
    ) {
        for (lane, waiting) in self.lanes.lock().iter_mut().enumerate() {
            waiting.wake_at = take(lane, waiting.partitions.drain(..)).max(1);
        }
    }
}

/// Partitions that have something to send but no leader to send it to.
pub(super) struct Leaderless<R: Replies> {
    partitions: Mutex<Vec<Arc<Partition<R>>>>,
    pub notify: Notify,
}

impl<R: Replies> Leaderless<R> {
    pub(super) fn new() -> Self {
        Leaderless {
            partitions: Mutex::default(),
            notify: Notify::new(),
        }
    }

    pub(super) fn push(&self, partition: Arc<Partition<R>>) {
        self.partitions.lock().push(partition);
        self.notify.notify_one();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.partitions.lock().is_empty()
    }

    pub(super) fn take(&self) -> Vec<Arc<Partition<R>>> {
        std::mem::take(&mut *self.partitions.lock())
    }

    /// They still have no leader.
    pub(super) fn put_back(&self, partitions: Vec<Arc<Partition<R>>>) {
        self.partitions.lock().extend(partitions);
    }
}
