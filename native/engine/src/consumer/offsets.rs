//! Asks brokers about offsets: where a log begins and ends, and where a leader epoch ended.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::ListOffsetsRequest;

use super::config::{BeginOffset, Isolation};
use super::session::Key;
use crate::cluster::{Cluster, Leader, Purpose};
use crate::error::Error;
use brod_protocol::api::list_offsets::{self, AtTime, EARLIEST, LATEST};
use brod_protocol::api::offset_for_leader_epoch::{self, InPartition};

/// For one question to a broker. One that hangs is not to be waited for, and the next question goes
/// over another connection: a request whose time is up closes its own.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Asks the brokers of one cluster.
pub(super) struct Offsets {
    cluster: Arc<Cluster>,
    /// Held while topics are looked up, so that a thousand subscribes ask once.
    lookup: tokio::sync::Mutex<()>,
}

impl Offsets {
    /// For a cluster.
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Offsets {
            cluster,
            lookup: tokio::sync::Mutex::default(),
        }
    }

    /// The offset that is meant, and its leader epoch (-1: unknown).
    pub(super) async fn find(
        &self,
        key: &Key,
        to: BeginOffset,
        isolation: Isolation,
    ) -> Result<(i64, i32), Error> {
        let leader = self.leader(key).await?;
        let time = match to {
            BeginOffset::Offset(offset) => return Ok((offset, -1)),
            BeginOffset::Earliest => EARLIEST,
            BeginOffset::Latest => LATEST,
            BeginOffset::Timestamp(time) => time,
        };
        let found = self.list_offset_at(key, leader, time, isolation).await?;
        if found.0 < 0 {
            // No message of that time or later.
            return self.list_offset_at(key, leader, LATEST, isolation).await;
        }
        Ok(found)
    }

    async fn list_offset_at(
        &self,
        key: &Key,
        leader: Leader,
        time: i64,
        isolation: Isolation,
    ) -> Result<(i64, i32), Error> {
        let connection = self.cluster.connection(leader.node, Purpose::Main).await?;
        let version = connection.versions().pick::<ListOffsetsRequest>()?;
        let at = AtTime {
            topic: &key.0,
            partition: key.1,
            leader_epoch: leader.epoch,
            time,
        };
        let request = list_offsets::request(version, &at, isolation, ASK_LIMIT);
        let response = connection
            .call_version(&request, version, ASK_LIMIT)
            .await?;
        let found = list_offsets::read(&response, &at)?;
        Ok((found.offset, found.leader_epoch))
    }

    /// Where the leader's log ends for a leader epoch, or for the last one before it that the leader
    /// knows, and which one that is. -1: it knows none.
    pub(super) async fn end_of_epoch(
        &self,
        key: &Key,
        leader: Leader,
        epoch: i32,
    ) -> Result<(i64, i32), Error> {
        let of = InPartition {
            topic: &key.0,
            partition: key.1,
            leader_epoch: leader.epoch,
            epoch,
        };
        let request = offset_for_leader_epoch::request(&of);
        let response = self.cluster.call(leader.node, &request, ASK_LIMIT).await?;
        let end = offset_for_leader_epoch::read(&response, &of)?;
        Ok((end.offset, end.epoch))
    }

    async fn leader(&self, key: &Key) -> Result<Leader, Error> {
        let known = |offsets: &Self| {
            let snapshot = offsets.cluster.snapshot();
            snapshot.leader(&key.0, key.1).ok()
        };
        if let Some(leader) = known(self) {
            return Ok(leader);
        }
        let _one_at_a_time = self.lookup.lock().await;
        match known(self) {
            Some(leader) => Ok(leader),
            None => self.cluster.leader(&key.0, key.1).await,
        }
    }
}
