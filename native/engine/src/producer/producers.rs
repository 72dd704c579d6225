//! All producers of a client, and the tasks that send for them.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::acks::Replies;
use super::config::ProducerConfig;
use super::inbox::Inbox;
use super::lane::LANES;
use super::partition::Partition;
use super::shared::Shared;
use super::{router, sender};
use crate::cluster::Cluster;

/// All producers of one client.
pub struct Producers<R: Replies>(Arc<Shared<R>>);

impl<R: Replies> Producers<R> {
    /// Producers over `cluster`; `buffer_bytes` bounds what all of them buffer before callers
    /// are held up. Must be called on a tokio runtime.
    pub fn new(cluster: Arc<Cluster>, buffer_bytes: usize) -> Self {
        Self::apart(cluster, buffer_bytes, 0)
    }

    /// As [`Producers::new`], with connections of their own: for those that others' requests must not
    /// hold up. Each `group` has its own.
    pub fn apart(cluster: Arc<Cluster>, buffer_bytes: usize, group: u32) -> Self {
        let (inboxes, new_inboxes) = mpsc::unbounded_channel();
        let first_lane = group * LANES as u32;
        let shared = Shared::new(cluster.clone(), buffer_bytes, first_lane, inboxes);
        let start = |what, task| cluster.supervise(shared.runtime(), what, task);
        start(
            "producer senders",
            Box::pin(senders(shared.clone(), new_inboxes)) as Task,
        );
        start("producer router", Box::pin(router::run(shared.clone())));
        Producers(shared)
    }

    /// All that are open, and some that are about to be gone.
    pub fn partitions(&self) -> Vec<Arc<Partition<R>>> {
        self.0.partitions()
    }

    /// A producer for one partition. Which broker leads it, and its producer id, are asked for
    /// in the background.
    pub fn open(
        &self,
        topic: &str,
        index: i32,
        config: ProducerConfig,
        replies: R,
    ) -> Arc<Partition<R>> {
        let shared = &self.0;
        let interest = shared.cluster.watch_topic(topic);
        let budget = shared.budget.clone();
        let partition = Partition::new(
            shared.clone(),
            budget,
            interest,
            topic,
            index,
            config,
            replies,
        );
        shared.note_opened(&partition);
        shared.give_identity(partition.clone());
        partition
    }
}

type Task = std::pin::Pin<Box<dyn std::future::Future<Output = ()> + Send>>;

/// Starts a task for each broker that something is to be sent to, until the cluster is closed.
async fn senders<R: Replies>(
    shared: Arc<Shared<R>>,
    mut inboxes: mpsc::UnboundedReceiver<Arc<Inbox<R>>>,
) {
    let cluster = shared.cluster.clone();
    loop {
        tokio::select! {
            _ = cluster.closed().cancelled() => break,
            Some(inbox) = inboxes.recv() => {
                let task = sender::run(inbox, shared.clone());
                cluster.supervise(shared.runtime(), "sender", task);
            }
        }
    }
}
