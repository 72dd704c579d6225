//! The offsets that a group has committed.

use std::time::Duration;

use kafka_protocol::messages::OffsetFetchRequest;

use super::coordinator::find_coordinator;
use super::retry::Retry;
use crate::cluster::{Cluster, Purpose};
use crate::error::Error;
use brod_protocol::api::find_coordinator::CoordinatorKind;
use brod_protocol::api::offset_fetch::{self, CommittedTopic};

/// The offsets that `group` has committed, in the partitions named or (`None`) in all. `stable`: where a
/// transaction is open that may commit others, that is the partition's error (KIP-447).
pub async fn offset_fetch(
    cluster: &Cluster,
    group: &str,
    partitions: Option<&[(String, Vec<i32>)]>,
    stable: bool,
    limit: Duration,
) -> Result<Vec<CommittedTopic>, Error> {
    let mut retry = Retry::within(limit);
    loop {
        let (node, _) = find_coordinator(cluster, CoordinatorKind::Group, group, limit).await?;
        let attempt = async {
            let connection = cluster.connection(node, Purpose::Main).await?;
            let version = connection.versions().pick::<OffsetFetchRequest>()?;
            let request = offset_fetch::request(version, group, partitions, stable);
            let limit = cluster.config().request_timeout;
            let response = connection.call_version(&request, version, limit).await?;
            let found = offset_fetch::read(version, response)?;
            offset_fetch::check_complete(&found, partitions.unwrap_or_default())?;
            Ok(found)
        };
        match attempt.await {
            Ok(topics) => return Ok(topics),
            Err(error) => retry.after(error).await?,
        }
    }
}
