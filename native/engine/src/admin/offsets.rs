//! Offsets of a partition by time.

use std::time::Duration;

use kafka_protocol::messages::ListOffsetsRequest;

use super::leader::at_leader;
use crate::cluster::{Cluster, Purpose};
use crate::error::Error;
use brod_protocol::api::list_offsets::{self, AtTime};
use brod_protocol::isolation::Isolation;

/// The offset of the first message at or after `time` (ms since 1970), -1 if there is none.
///
/// Two times have a meaning of their own: -1, the offset behind the last message (the last stable
/// one with [`Isolation::ReadCommitted`]), and -2, the offset of the first message that is kept.
pub async fn list_offsets(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    time: i64,
    isolation: Isolation,
    limit: Duration,
) -> Result<i64, Error> {
    let at = AtTime {
        topic,
        partition,
        leader_epoch: -1,
        time,
    };
    at_leader(cluster, topic, partition, limit, |node| async move {
        let connection = cluster.connection(node, Purpose::Main).await?;
        let version = connection.versions().pick::<ListOffsetsRequest>()?;
        let limit = cluster.config().request_timeout;
        let request = list_offsets::request(version, &[at], isolation, limit);
        let response = connection.call_version(&request, version, limit).await?;
        Ok(list_offsets::read(&response, &at)?.offset)
    })
    .await
}
