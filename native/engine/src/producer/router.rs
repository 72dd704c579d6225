//! Partitions that have something to send but no leader to send it to. Those that have nothing to
//! send any more are let go: they come back with the next call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::acks::Replies;
use super::failure::Cause;
use super::partition::Partition;
use super::shared::Shared;
use crate::cluster::{Backoff, Cluster, Snapshot};
use brod_protocol::error::ErrorCode;

/// Longest wait before leaders are looked for again.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// Looks for leaders until the cluster is closed.
pub(super) async fn run<R: Replies>(shared: Arc<Shared<R>>) {
    let cluster = shared.cluster.clone();
    let mut changes = cluster.changes();
    let mut backoff = Backoff::new(Duration::from_millis(20), MAX_WAIT, rand::random());
    loop {
        if shared.leaderless.is_empty() {
            backoff.reset();
            tokio::select! {
                _ = cluster.closed().cancelled() => break,
                _ = shared.leaderless.notify.notified() => {}
            }
        }
        let leaderless = shared.leaderless.take();
        let snapshot = cluster.snapshot();
        let now = Instant::now();
        let mut left = Vec::new();
        let mut refused = false;
        for partition in leaderless {
            match partition.leader(&snapshot) {
                Ok(node) => shared.inbox(node).push(partition),
                Err(code) => {
                    refused |= code.is_topic_refused();
                    waits(&cluster, &snapshot, &partition, code, now);
                    if !partition.leaves_queue_if_empty() {
                        left.push(partition);
                    }
                }
            }
        }
        if refused {
            // Permissions come back: the next call is not told what was true for this one.
            cluster.request_refresh();
        }
        if left.is_empty() {
            continue;
        }
        shared.leaderless.put_back(left);
        cluster.request_refresh();
        tokio::select! {
            _ = cluster.closed().cancelled() => break,
            _ = changes.changed() => {}
            _ = tokio::time::sleep(backoff.next_wait()) => {}
        }
    }
    drop(shared.leaderless.take());
    shared.close_all();
}

/// There is no leader: what this means for what waits for one.
fn waits<R: Replies>(
    cluster: &Cluster,
    snapshot: &Snapshot,
    partition: &Arc<Partition<R>>,
    code: ErrorCode,
    now: Instant,
) {
    if code.is_topic_refused() {
        partition.refused(code);
    } else if !snapshot.topics.contains_key(partition.topic()) {
        // Not told yet. If that is because no broker can be reached, it is why the calls wait.
        if let Some(error) = cluster.refresh_failure() {
            partition.waits_because(Cause::Net(error));
        }
    } else {
        partition.waits_because(Cause::Code(code));
        if snapshot.is_unknown(partition.topic(), partition.index()) {
            partition.unknown(now);
        }
    }
    partition.expire(now);
}
