//! Partitions that have something to send but no leader to send it to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::partition::Partition;
use super::{Delivery, Producers};
use crate::cluster::Backoff;

/// Longest wait before leaders are looked for again.
const MAX_WAIT: Duration = Duration::from_millis(500);

pub(super) struct Router<D: Delivery> {
    homeless: Mutex<Vec<Arc<Partition<D>>>>,
    notify: Notify,
}

impl<D: Delivery> Router<D> {
    pub(super) fn new() -> Self {
        Router {
            homeless: Mutex::default(),
            notify: Notify::new(),
        }
    }

    pub(super) fn push(&self, partition: Arc<Partition<D>>) {
        self.homeless.lock().push(partition);
        self.notify.notify_one();
    }
}

/// Looks for leaders until the cluster is closed.
pub(super) async fn run<D: Delivery>(producers: Arc<Producers<D>>) {
    let cluster = producers.cluster.clone();
    let mut changes = cluster.changes();
    let mut backoff = Backoff::new(Duration::from_millis(20), MAX_WAIT);
    loop {
        if producers.router.homeless.lock().is_empty() {
            backoff.reset();
            tokio::select! {
                _ = cluster.closed().cancelled() => break,
                _ = producers.router.notify.notified() => {}
            }
        }
        let homeless = std::mem::take(&mut *producers.router.homeless.lock());
        let snapshot = cluster.snapshot();
        let now = Instant::now();
        let mut left = Vec::new();
        for partition in homeless {
            match partition.leader(&snapshot) {
                Ok(node) => producers.sender(node).push(partition),
                Err(_) => left.push(partition),
            }
        }
        if left.is_empty() {
            continue;
        }
        for partition in &left {
            if snapshot.is_unknown(partition.topic(), partition.index()) {
                partition.unknown(now);
            }
            partition.expire(now);
        }
        producers.router.homeless.lock().extend(left);
        cluster.request_refresh();
        tokio::select! {
            _ = cluster.closed().cancelled() => break,
            _ = changes.changed() => {}
            _ = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
    for partition in std::mem::take(&mut *producers.router.homeless.lock()) {
        partition.close();
    }
}
