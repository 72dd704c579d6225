//! Brokers that could not be reached are looked for although nobody needs them just now: who was told that one is lost, by
//! a line or by the client's health, is told when it is back.

use std::sync::Arc;

use super::{Cluster, Purpose};

/// Runs until the cluster is closed.
pub(super) async fn run(cluster: Arc<Cluster>) {
    loop {
        tokio::select! {
            _ = cluster.closed.cancelled() => return,
            _ = tokio::time::sleep(cluster.config.lost_check) => {}
        }
        for (node, endpoint) in &cluster.snapshot().brokers {
            if cluster.connections.is_unreachable(endpoint) {
                // Whoever connects notes what came of it.
                let _ = cluster.connection(*node, Purpose::Main).await;
            }
        }
    }
}
