//! Asks brokers about offsets: where a log begins and ends, and where a leader epoch ended.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::ListOffsetsRequest;
use tokio::time::Instant;

use super::config::{BeginOffset, Isolation};
use super::shared::{Seek, Shared};
use super::Consumers;
use crate::cluster::{Backoff, Leader, Purpose};
use crate::error::Error;
use crate::net::NetError;
use brod_protocol::api::list_offsets::{self, AtTime, EARLIEST, LATEST};
use brod_protocol::api::offset_for_leader_epoch::{self, InPartition};
use brod_protocol::error::ErrorCode;

/// For one question to a broker. One that hangs is not to be waited for, and the next question goes
/// over another connection: a request whose time is up closes its own.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Whether a subscription waits through the error.
pub fn may_pass(error: &Error) -> bool {
    match error {
        Error::Kafka { code, .. } => code.is_retriable_for_consumer(),
        Error::Net(NetError::UnsupportedApi { .. }) => false,
        Error::Net(_) | Error::Unreachable(_) | Error::Timeout => true,
        Error::Closed | Error::CorruptBatch(_) => false,
    }
}

/// The code that tells of an error.
pub fn code_of(error: &Error) -> Option<ErrorCode> {
    match error {
        Error::Net(NetError::UnsupportedApi { .. }) => Some(ErrorCode::UNSUPPORTED_VERSION),
        _ => error.code(),
    }
}

impl Consumers {
    /// Finds the position of a subscription, and starts fetching from there.
    pub(super) async fn position(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        generation: u64,
        to: BeginOffset,
        limit: Instant,
    ) -> Result<(), Error> {
        match self.resolve(shared, generation, to, Some(limit)).await {
            Ok((offset, epoch)) => self.begin(shared, generation, offset, epoch).await,
            Err(error) => {
                let mut state = shared.lock();
                if state.rules.generation() == generation {
                    state.rules.suspend();
                }
                Err(error)
            }
        }
    }

    /// Goes on at another position. When that cannot be found out, the subscription goes on where it
    /// is: a seek that failed has done nothing.
    pub(super) async fn seek_to(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        seek: Seek,
        to: BeginOffset,
        limit: Instant,
    ) -> Result<(), Error> {
        let (offset, epoch) = self
            .resolve(shared, seek.generation, to, Some(limit))
            .await?;
        let generation = shared.restart(&seek).ok_or(Error::Closed)?;
        self.begin(shared, generation, offset, epoch).await
    }

    /// Starts fetching from where a subscription was found to begin.
    pub(super) async fn begin(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        generation: u64,
        offset: i64,
        epoch: i32,
    ) -> Result<(), Error> {
        loop {
            let mut ended = std::pin::pin!(shared.delivery_ended.notified());
            ended.as_mut().enable();
            {
                let mut state = shared.lock();
                if state.rules.begin(generation, offset, epoch) {
                    break;
                }
                if state.rules.generation() != generation || !state.rules.is_delivering() {
                    return Err(Error::Closed);
                }
            }
            ended.await;
        }
        self.route(shared);
        Ok(())
    }

    /// The offset that is meant, and its leader epoch (-1: unknown). Without `limit` it is tried until
    /// the generation is over.
    pub(super) async fn resolve(
        &self,
        shared: &Shared,
        generation: u64,
        to: BeginOffset,
        limit: Option<Instant>,
    ) -> Result<(i64, i32), Error> {
        if let BeginOffset::Offset(offset) = to {
            return Ok((offset, -1));
        }
        let mut backoff = Backoff::new(
            Duration::from_millis(100),
            Duration::from_secs(1),
            rand::random(),
        );
        loop {
            let isolation = {
                let state = shared.lock();
                if state.rules.generation() != generation {
                    return Err(Error::Closed);
                }
                state.rules.config().isolation
            };
            let ask = self.list_offset(shared, to, isolation);
            let found = match limit {
                Some(limit) => tokio::time::timeout_at(limit, ask)
                    .await
                    .unwrap_or(Err(Error::Timeout)),
                None => ask.await,
            };
            let error = match found {
                Err(error) if may_pass(&error) => error,
                settled => return settled,
            };
            let wait = backoff.next_wait();
            if limit.is_some_and(|limit| Instant::now() + wait >= limit) {
                return Err(error);
            }
            self.cluster.request_refresh();
            tokio::select! {
                _ = self.cluster.closed().cancelled() => return Err(Error::Closed),
                _ = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The offset and its leader epoch (-1: unknown).
    async fn list_offset(
        &self,
        shared: &Shared,
        to: BeginOffset,
        isolation: Isolation,
    ) -> Result<(i64, i32), Error> {
        let leader = self.leader(shared).await?;
        let time = match to {
            BeginOffset::Offset(offset) => return Ok((offset, -1)),
            BeginOffset::Earliest => EARLIEST,
            BeginOffset::Latest => LATEST,
            BeginOffset::Timestamp(time) => time,
        };
        let found = self.list_offset_at(shared, leader, time, isolation).await?;
        if found.0 < 0 {
            // No message of that time or later.
            return self.list_offset_at(shared, leader, LATEST, isolation).await;
        }
        Ok(found)
    }

    async fn list_offset_at(
        &self,
        shared: &Shared,
        leader: Leader,
        time: i64,
        isolation: Isolation,
    ) -> Result<(i64, i32), Error> {
        let connection = self.cluster.connection(leader.node, Purpose::Main).await?;
        let version = connection.versions().pick::<ListOffsetsRequest>()?;
        let at = AtTime {
            topic: &shared.topic,
            partition: shared.partition,
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
        shared: &Shared,
        leader: Leader,
        epoch: i32,
    ) -> Result<(i64, i32), Error> {
        let of = InPartition {
            topic: &shared.topic,
            partition: shared.partition,
            leader_epoch: leader.epoch,
            epoch,
        };
        let request = offset_for_leader_epoch::request(&of);
        let response = self.cluster.call(leader.node, &request, ASK_LIMIT).await?;
        let end = offset_for_leader_epoch::read(&response, &of)?;
        Ok((end.offset, end.epoch))
    }

    async fn leader(&self, shared: &Shared) -> Result<Leader, Error> {
        let known = |consumers: &Self| {
            let snapshot = consumers.cluster.snapshot();
            snapshot.leader(&shared.topic, shared.partition).ok()
        };
        if let Some(leader) = known(self) {
            return Ok(leader);
        }
        let _one_at_a_time = self.lookup.lock().await;
        match known(self) {
            Some(leader) => Ok(leader),
            None => self.cluster.leader(&shared.topic, shared.partition).await,
        }
    }
}
