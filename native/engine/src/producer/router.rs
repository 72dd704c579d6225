//! Partitions that have something to send but no leader to send it to. Those that have nothing to
//! send any more are let go: they come back with the next call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::partition::Partition;
use super::{Cause, Delivery, Producers};
use crate::cluster::{Backoff, Cluster, Snapshot};
use brod_protocol::error::ErrorCode;

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
    let mut backoff = Backoff::new(Duration::from_millis(20), MAX_WAIT, rand::random());
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
                Err(code) => {
                    waits(&cluster, &snapshot, &partition, code, now);
                    if !partition.leaves_queue_if_empty() {
                        left.push(partition);
                    }
                }
            }
        }
        if left.is_empty() {
            continue;
        }
        producers.router.homeless.lock().extend(left);
        cluster.request_refresh();
        tokio::select! {
            _ = cluster.closed().cancelled() => break,
            _ = changes.changed() => {}
            _ = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
    producers.router.homeless.lock().clear();
    producers.close_all();
}

/// There is no leader: what this means for what waits for one.
fn waits<D: Delivery>(
    cluster: &Cluster,
    snapshot: &Snapshot,
    partition: &Arc<Partition<D>>,
    code: ErrorCode,
    now: Instant,
) {
    if !snapshot.topics.contains_key(partition.topic()) {
        // Not told yet. If that is because no broker can be reached, it is why the calls wait.
        if let Some(error) = cluster.refresh_failure() {
            partition.waits_because(Cause::Net(error));
        }
    } else if code.is_topic_refused() {
        partition.refused(code);
    } else {
        partition.waits_because(Cause::Code(code));
        if snapshot.is_unknown(partition.topic(), partition.index()) {
            partition.unknown(now);
        }
    }
    partition.expire(now);
}
