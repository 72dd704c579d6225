//! Producing: records go into their partition's open batch in the caller's thread; a task per
//! broker sends the batches of all its partitions together.

mod answers;
mod batch;
mod budget;
mod buffer;
mod config;
mod cut_calls;
mod distance;
mod failure;
mod identity;
mod lane;
mod partition;
mod queue;
mod request;
mod router;
mod sender;
mod timers;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

pub use buffer::AppendError;
pub use config::{Idempotence, ProducerConfig};
pub use failure::{Cause, Failure};
pub use partition::{Append, Partition};

use crate::cluster::{Cluster, NodeId};
use budget::Budget;
use identity::Identities;
use router::Router;
use sender::Sender;

/// Whom a batch's callers are, gathered while it fills. One value a batch.
pub trait Acks: Default + Send + 'static {
    /// A state to go back to.
    type Mark: Copy;

    /// The state now.
    fn mark(&self) -> Self::Mark;
    /// Undoes what came since `mark`.
    fn rollback(&mut self, mark: Self::Mark);
    /// How many calls are in it.
    fn calls(&self) -> u32;
    /// Takes apart, where a batch is split before record `at`.
    fn split(self, at: u32) -> Split<Self>;
}

/// The calls of a batch that is split.
pub struct Split<A> {
    /// All of their records are before the cut.
    pub before: A,
    /// The one call with records on both sides, if there is one, as the only call of its batch; and
    /// where its records are in the batch that is split.
    pub across: Option<(A, Range<u32>)>,
    /// All of their records are behind the cut. Positions count from there.
    pub after: A,
}

/// Who is told about a partition's records.
pub trait Delivery: Send + Sync + 'static {
    /// The callers of one batch.
    type Acks: Acks;
    /// A caller that is held up because the buffer is full.
    type Waiter: Send + 'static;

    /// All of the batch is stored, its first record at `base_offset` (-1: unknown).
    fn delivered(&self, acks: Self::Acks, base_offset: i64);
    /// All results of one response are told. Until then `delivered` may keep them.
    fn flush(&self);
    /// The batch will not be delivered.
    fn failed(&self, acks: Self::Acks, why: &Failure);
    /// These callers may go on.
    fn room(&self, waiters: Vec<Self::Waiter>);
    /// The producer has stopped by itself; everything before was delivered or failed.
    fn stopped(&self, why: &Failure);
    /// [`Partition::hand_over`] was called, and all results of before have been told.
    fn handed_over(&self) {}
    /// A request with `records` of this partition, `payload` bytes of keys, values and headers, is
    /// on the wire.
    fn sent(&self, records: u32, payload: usize);
}

/// All producers of one client.
pub struct Producers<D: Delivery> {
    cluster: Arc<Cluster>,
    runtime: tokio::runtime::Handle,
    identities: Identities,
    /// What its callers wait for is told to their partition.
    budget: Budget<Weak<Partition<D>>>,
    senders: Mutex<HashMap<NodeId, Arc<Sender<D>>>>,
    router: Router<D>,
    /// All that are open, and some that no longer are.
    opened: Mutex<Vec<Weak<Partition<D>>>>,
}

impl<D: Delivery> Producers<D> {
    /// Producers over `cluster`; `buffer_bytes` bounds what all of them buffer before callers
    /// are held up. Must be called on a tokio runtime.
    pub fn new(cluster: Arc<Cluster>, buffer_bytes: usize) -> Arc<Self> {
        let producers = Arc::new(Producers {
            identities: Identities::new(cluster.clone()),
            budget: Budget::new(buffer_bytes),
            senders: Mutex::default(),
            router: Router::new(),
            opened: Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
            cluster,
        });
        let task = router::run(producers.clone());
        producers
            .cluster
            .supervise(&producers.runtime, "producer router", task);
        producers
    }

    /// A producer for one partition. Which broker leads it, and its producer id, are asked for
    /// in the background.
    pub fn open(
        self: &Arc<Self>,
        topic: &str,
        index: i32,
        config: ProducerConfig,
        delivery: D,
    ) -> Arc<Partition<D>> {
        let partition = Partition::new(self.clone(), topic, index, config, delivery);
        self.note_opened(&partition);
        if partition.config().wants_idempotence() {
            self.give_identity(partition.clone());
        }
        partition
    }

    /// So that it is closed with the cluster, whether or not anyone has it in a queue by then.
    fn note_opened(&self, partition: &Arc<Partition<D>>) {
        let mut opened = self.opened.lock();
        if opened.len() == opened.capacity() {
            opened.retain(|partition| partition.strong_count() > 0);
        }
        opened.push(Arc::downgrade(partition));
        drop(opened);
        // After `close_all` nobody else would.
        if self.cluster.closed().is_cancelled() {
            let partition = partition.clone();
            self.runtime.spawn(async move { partition.close() });
        }
    }

    /// The cluster is closed: nothing is taken any more, and what waits fails.
    fn close_all(&self) {
        let opened = std::mem::take(&mut *self.opened.lock());
        for partition in opened.iter().filter_map(Weak::upgrade) {
            partition.close();
        }
    }

    /// Hands the partition to the sender of its leader, or to the router while there is none.
    fn route(self: &Arc<Self>, partition: Arc<Partition<D>>) {
        match partition.leader(&self.cluster.snapshot()) {
            Ok(node) => self.sender(node).push(partition),
            Err(_) => self.router.push(partition),
        }
    }

    fn sender(self: &Arc<Self>, node: NodeId) -> Arc<Sender<D>> {
        let mut senders = self.senders.lock();
        let sender = senders.entry(node).or_insert_with(|| {
            let sender = Arc::new(Sender::new(node));
            let task = sender::run(sender.clone(), self.clone());
            self.cluster.supervise(&self.runtime, "sender", task);
            sender
        });
        sender.clone()
    }

    /// Gets the partition a producer id, in the background, and queues it then.
    fn give_identity(self: &Arc<Self>, partition: Arc<Partition<D>>) {
        let producers = self.clone();
        self.runtime.spawn(async move {
            let idempotence = partition.config().idempotence;
            let identity = producers
                .identities
                .assign(partition.topic(), partition.index(), idempotence)
                .await;
            partition.identity_arrived(identity);
        });
    }
}
