//! Where a subscription begins or goes on: asks brokers about offsets, and tells the routing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::PartitionDriver;
use crate::cluster::{Backoff, Leader};
use crate::consumer::config::BeginOffset;
use crate::consumer::passing::{code_of, may_pass};
use crate::consumer::routing::{Begun, EpochEnd, Position, Seek};
use crate::error::Error;
use brod_protocol::error::ErrorCode;

/// Waits between questions for an offset that did not go through.
const OFFSET_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

impl PartitionDriver {
    /// Finds the position of a subscription, and starts fetching from there.
    pub(in crate::consumer) async fn find_position(
        self: &Arc<Self>,
        generation: u64,
        to: BeginOffset,
        limit: tokio::time::Instant,
    ) -> Result<(), Error> {
        match self.resolve(generation, to, Some(limit)).await {
            Ok(position) => self.begin(generation, position).await,
            Err(error) => {
                self.event(|routing| routing.has_no_position(generation));
                Err(error)
            }
        }
    }

    /// Goes on at another position. When that cannot be found out, the subscription goes on where it
    /// is: a seek that failed has done nothing.
    pub(in crate::consumer) async fn seek_to(
        self: &Arc<Self>,
        seek: Seek,
        to: BeginOffset,
        limit: tokio::time::Instant,
    ) -> Result<(), Error> {
        let position = self.resolve(seek.generation, to, Some(limit)).await?;
        let generation = self
            .event(|routing| routing.seek_ends(seek))
            .ok_or(Error::Closed)?;
        self.begin(generation, position).await
    }

    /// Finds another offset to go on at, as long as it takes.
    pub(super) async fn reset(self: Arc<Self>, generation: u64, to: BeginOffset, why: String) {
        match self.resolve(generation, to, None).await {
            // Another subscription or seek needs no error.
            Ok(position) => {
                let _ = self.begin(generation, position).await;
            }
            Err(Error::Closed) => {}
            Err(error) => {
                let code = code_of(&error).unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
                let text = format!("{why}; no offset to go on at: {error}");
                self.event(|routing| routing.reset_failed(generation, code, text));
            }
        }
    }

    /// The offset that is meant. Without `limit` it is tried until
    /// the generation is over.
    async fn resolve(
        &self,
        generation: u64,
        to: BeginOffset,
        limit: Option<tokio::time::Instant>,
    ) -> Result<Position, Error> {
        if let BeginOffset::Offset(offset) = to {
            return Ok(Position::at(offset));
        }
        let cluster = &self.environment.cluster;
        let mut backoff = Backoff::new(OFFSET_BACKOFF.0, OFFSET_BACKOFF.1, rand::random());
        loop {
            let isolation = {
                let state = self.state.lock();
                let subscription = state.routing.subscription();
                if subscription.generation() != generation {
                    return Err(Error::Closed);
                }
                subscription.config().isolation
            };
            let ask = self.environment.offsets.find(&self.key, to, isolation);
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
            if limit.is_some_and(|limit| tokio::time::Instant::now() + wait >= limit) {
                return Err(error);
            }
            cluster.request_refresh();
            tokio::select! {
                _ = cluster.closed().cancelled() => return Err(Error::Closed),
                _ = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Starts fetching from where a subscription was found to begin.
    pub(super) async fn begin(
        self: &Arc<Self>,
        generation: u64,
        position: Position,
    ) -> Result<(), Error> {
        loop {
            let mut ended = std::pin::pin!(self.delivery_ended.notified());
            ended.as_mut().enable();
            let (snapshot, now) = (self.environment.cluster.snapshot(), Instant::now());
            match self.event(|routing| routing.begin(generation, position, &snapshot, now)) {
                Begun::Yes => return Ok(()),
                Begun::Over => return Err(Error::Closed),
                Begun::Delivering => ended.await,
            }
        }
    }

    pub(super) async fn ask_epoch_end(self: Arc<Self>, check: u64, leader: Leader, epoch: i32) {
        let offsets = &self.environment.offsets;
        let end = match offsets.end_of_epoch(&self.key, leader, epoch).await {
            Ok((end, epoch)) => EpochEnd::At(end, epoch),
            Err(error) if may_pass(&error) => EpochEnd::Passing,
            Err(_) => EpochEnd::Unknown,
        };
        let (snapshot, now) = (self.environment.cluster.snapshot(), Instant::now());
        self.event(|routing| routing.epoch_end(check, end, &snapshot, now));
    }
}
