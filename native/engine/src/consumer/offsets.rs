//! Asks brokers about offsets: where a log begins and ends, and where a leader epoch ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use parking_lot::Mutex;

use super::config::{BeginOffset, Isolation};
use super::foresight::{Foresight, Log};
use super::routing::Position;
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
    foresight: Mutex<Foresight>,
}

impl Offsets {
    /// For a cluster.
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Offsets {
            cluster,
            lookup: tokio::sync::Mutex::default(),
            foresight: Mutex::default(),
        }
    }

    /// A partition has a consumer, whose begin may be asked for soon.
    pub(super) fn opened(&self, topic: &Arc<str>, partition: i32) {
        self.foresight.lock().opened(topic, partition);
    }

    /// It has one no more, or is about to be read from elsewhere.
    pub(super) fn forget(&self, topic: &str, partition: i32) {
        self.foresight.lock().forget(topic, partition);
    }

    /// The offset that is meant.
    pub(super) async fn find(
        &self,
        key: &Key,
        to: BeginOffset,
        isolation: Isolation,
    ) -> Result<Position, Error> {
        let leader = self.leader(key).await?;
        let time = match to {
            BeginOffset::Offset(offset) => return Ok(Position::at(offset)),
            BeginOffset::Earliest => return self.earliest(key, leader).await,
            BeginOffset::Latest => LATEST,
            BeginOffset::Timestamp(time) => time,
        };
        let found = self.list_offset_at(key, leader, time, isolation).await?;
        if found.offset < 0 {
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
    ) -> Result<Position, Error> {
        let at = at_time(key, key.1, leader, time);
        let response = self.list_offsets(leader, &[at], isolation).await?;
        Ok(list_offsets::read(&response, &at)?.into())
    }

    /// Where the log begins, which the leader is asked for others, too, that seem to be next.
    async fn earliest(&self, key: &Key, leader: Leader) -> Result<Position, Error> {
        let snapshot = self.cluster.snapshot();
        let of_log = |leader| Log {
            leader,
            topic_id: snapshot.topic_id(&key.0),
        };
        let now = Instant::now();
        let mut asked = vec![(key.1, leader)];
        {
            let mut foresight = self.foresight.lock();
            let known = foresight.wanted(&key.0, key.1, of_log(leader), now);
            if let Some(position) = known {
                return Ok(position);
            }
            let led = |partition| snapshot.leader(&key.0, partition).ok();
            let led_there = |partition| led(partition).filter(|by| by.node == leader.node);
            asked.extend(foresight.ahead(&key.0, key.1, led_there));
        }
        let at = |&(partition, leader)| at_time(key, partition, leader, EARLIEST);
        let all: Vec<_> = asked.iter().map(at).collect();
        let answer = self.list_offsets(leader, &all, Isolation::ReadUncommitted);
        let response = answer.await?;
        let mut foresight = self.foresight.lock();
        for (at, (partition, leader)) in all.iter().zip(asked).skip(1) {
            // What is wrong with one is said to whoever asks for it.
            if let Ok(found) = list_offsets::read(&response, at) {
                let begins = (found.offset, found.leader_epoch);
                foresight.learn(&key.0, partition, of_log(leader), begins, now);
            }
        }
        Ok(list_offsets::read(&response, &all[0])?.into())
    }

    async fn list_offsets(
        &self,
        leader: Leader,
        all: &[AtTime<'_>],
        isolation: Isolation,
    ) -> Result<ListOffsetsResponse, Error> {
        let connection = self.cluster.connection(leader.node, Purpose::Main).await?;
        let version = connection.versions().pick::<ListOffsetsRequest>()?;
        let request = list_offsets::request(version, all, isolation, ASK_LIMIT);
        let asked = connection.call_version(&request, version, ASK_LIMIT);
        Ok(asked.await?)
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

fn at_time(key: &Key, partition: i32, leader: Leader, time: i64) -> AtTime<'_> {
    AtTime {
        topic: &key.0,
        partition,
        leader_epoch: leader.epoch,
        time,
    }
}
