//! What the producers of a client have in common: where a partition's batches go, who gives it a
//! producer id, and how many bytes all may buffer.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::acks::Replies;
use super::budget::Budget;
use super::config::ProducerConfig;
use super::identity::{Identities, Source};
use super::inbox::{Inbox, Leaderless};
use super::partition::{Host, Partition};
use crate::cluster::{Cluster, NodeId};
use crate::stats::ProduceStats;
use crate::tasks::boxed;

/// See the module's text.
pub(super) struct Shared<R: Replies> {
    pub cluster: Arc<Cluster>,
    /// What its callers wait for is told to their partition.
    pub budget: Arc<Budget<Weak<Partition<R>>>>,
    pub leaderless: Leaderless<R>,
    /// Number of the first lane to each broker; no others use the same ones.
    pub first_lane: u32,
    runtime: Handle,
    identities: Identities,
    inboxes: Mutex<HashMap<NodeId, Arc<Inbox<R>>>>,
    /// New ones, which need a task.
    new_inboxes: mpsc::UnboundedSender<Arc<Inbox<R>>>,
    /// All that are open, and some that no longer are.
    opened: Mutex<Vec<Weak<Partition<R>>>>,
}

impl<R: Replies> Shared<R> {
    /// Must be called on a tokio runtime.
    pub(super) fn new(
        cluster: Arc<Cluster>,
        buffer_bytes: usize,
        first_lane: u32,
        new_inboxes: mpsc::UnboundedSender<Arc<Inbox<R>>>,
    ) -> Arc<Self> {
        Arc::new(Shared {
            identities: Identities::new(cluster.clone()),
            budget: Arc::new(Budget::new(buffer_bytes)),
            leaderless: Leaderless::new(),
            inboxes: Mutex::default(),
            new_inboxes,
            first_lane,
            opened: Mutex::default(),
            runtime: Handle::current(),
            cluster,
        })
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// So that it is closed with the cluster, whether or not anyone has it in a queue by then.
    pub(super) fn note_opened(&self, partition: &Arc<Partition<R>>) {
        let mut opened = self.opened.lock();
        if opened.len() == opened.capacity() {
            opened.retain(|partition| partition.strong_count() > 0);
        }
        opened.push(Arc::downgrade(partition));
        drop(opened);
        // After `close_all` nobody else would.
        if self.cluster.closed().is_cancelled() {
            let partition = partition.clone();
            self.runtime.spawn(boxed(async move { partition.close() }));
        }
    }

    /// All that are open.
    pub(super) fn partitions(&self) -> Vec<Arc<Partition<R>>> {
        let opened = self.opened.lock();
        opened.iter().filter_map(Weak::upgrade).collect()
    }

    /// The cluster is closed: nothing is taken any more, and what waits fails.
    pub(super) fn close_all(&self) {
        let opened = std::mem::take(&mut *self.opened.lock());
        for partition in opened.iter().filter_map(Weak::upgrade) {
            partition.close();
        }
    }

    /// The queue into the task of a broker.
    pub(super) fn inbox(&self, node: NodeId) -> Arc<Inbox<R>> {
        let mut inboxes = self.inboxes.lock();
        let inbox = inboxes.entry(node).or_insert_with(|| {
            let inbox = Arc::new(Inbox::new(node));
            // Nobody listens once the cluster is closed; its partitions are closed with it.
            let _ = self.new_inboxes.send(inbox.clone());
            inbox
        });
        inbox.clone()
    }

    /// Gets the partition a producer id, in the background, and queues it then. Not for those that
    /// get it elsewhere, or none.
    pub(super) fn give_identity(self: &Arc<Self>, partition: Arc<Partition<R>>) {
        let Source::Client { required } = partition.config().identity_source() else {
            return;
        };
        let shared = self.clone();
        self.runtime.spawn(boxed(async move {
            let identity = shared
                .identities
                .assign(partition.topic(), partition.index(), required)
                .await;
            partition.identity_arrived(identity);
        }));
    }
}

impl<R: Replies> Host<R> for Shared<R> {
    fn route(&self, partition: Arc<Partition<R>>) {
        match partition.leader(&self.cluster.snapshot()) {
            Ok(node) => self.inbox(node).push(partition),
            Err(_) => self.leaderless.push(partition),
        }
    }

    fn spawn(&self, task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.runtime.spawn(task);
    }

    fn stats(&self, topic: &Arc<str>, index: i32, config: &ProducerConfig) -> Arc<ProduceStats> {
        match config.transactional_id() {
            None => self.cluster.stats().produced(topic, index),
            // A transaction is no producer of the client's.
            Some(_) => Arc::default(),
        }
    }
}
