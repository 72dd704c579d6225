//! The rules of one partition's subscription, without I/O: what to fetch next, if anything.

use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::Arc;
use std::time::Duration;

use super::completed_fetch::CompletedFetch;
use super::config::{ConsumerConfig, SHARED_MAX_BYTES, SHARED_PREFETCH_BYTES};
use super::info::Info;
use super::sink::Delivered;
use super::window::Window;
use crate::cluster::Backoff;

/// First and longest wait before a partition is tried again after an error.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A fetch asks for a partition's share of a round, and for this at least: a request per message
/// would cost more than the memory is worth.
const LEAST_FETCH: i32 = 16 * 1024;
/// The window holds this many shares, and so many bytes at least, if `prefetch_bytes` is more.
const WINDOW_SHARES: i64 = 2;
const LEAST_WINDOW: i64 = 8 * 1024;

/// What headers may take that are out, and in any case for each message of `prefetch_count`. Ordinary ones do
/// not come near; messages of nothing but headers would fill the memory before they fill a window.
const MOST_HEADERS: i64 = 32 * 1024 * 1024;
const HEADERS_OF_ONE: i64 = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not subscribed, or stopped by an error.
    Stopped,
    /// Subscribed; the position is being asked for.
    Resolving,
    Fetching,
}

/// What a fetch of a partition asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NextFetch {
    pub offset: i64,
    pub max_bytes: i32,
    pub min_bytes: i32,
    pub max_wait: Duration,
    /// The last answer told of data at the offset, so the next one will come at once.
    pub behind: bool,
}

/// State of one partition.
pub(super) struct Subscription {
    config: ConsumerConfig,
    /// See [`Subscription::new`].
    share: Arc<AtomicI32>,
    generation: u64,
    phase: Phase,
    position: i64,
    /// First offset that was not acked, as far as acks alone tell.
    acked: Option<i64>,
    /// Leader epoch of the last batch consumed; -1 unknown.
    last_epoch: i32,
    window: Window,
    paused: bool,
    /// A sink is being called: the position is about to change.
    delivering: bool,
    /// An ack that overtook the end of the delivery that it belongs to.
    early_ack: Option<i64>,
    /// High watermark and last stable offset.
    end: Option<(i64, i64)>,
    /// More than its share, because its batches are larger.
    grown: i32,
    /// What the batch at the position takes, if it did not fit into an answer.
    needed: i32,
    /// Fetched, and waits for room.
    waiting: Option<CompletedFetch>,
    /// Fetches at the position that brought nothing to go on with.
    fruitless: u32,
    backoff: Backoff,
}

impl Subscription {
    /// Not subscribed. `share`: what one fetch of each of the client's partitions may return. `seed`: what
    /// its waits vary by.
    pub(super) fn new(share: Arc<AtomicI32>, seed: u64) -> Self {
        Subscription {
            config: ConsumerConfig::default(),
            share,
            generation: 0,
            phase: Phase::Stopped,
            position: 0,
            acked: None,
            last_epoch: -1,
            window: Window::default(),
            paused: false,
            delivering: false,
            early_ack: None,
            end: None,
            grown: 0,
            needed: 0,
            waiting: None,
            fruitless: 0,
            backoff: Backoff::new(RETRY.0, RETRY.1, seed),
        }
    }

    /// A new subscription; its position is told by [`Subscription::begin`] with the generation that
    /// this returns.
    pub(super) fn start(&mut self, config: ConsumerConfig) -> u64 {
        self.config = config;
        self.paused = false;
        self.restart()
    }

    /// As [`Subscription::start`], with the same settings.
    pub(super) fn restart(&mut self) -> u64 {
        self.leave_position(Phase::Resolving);
        self.generation += 1;
        self.window.clear();
        self.early_ack = None;
        self.grown = 0;
        self.last_epoch = -1;
        self.forget_failures();
        self.generation
    }

    /// The position of a subscription is known. False: the generation is over, or a delivery of an
    /// older one is still under way (see [`Subscription::is_delivering`]).
    pub(super) fn begin(&mut self, generation: u64, offset: i64, leader_epoch: i32) -> bool {
        if self.generation != generation || self.phase != Phase::Resolving || self.delivering {
            return false;
        }
        self.phase = Phase::Fetching;
        self.position = offset;
        self.last_epoch = leader_epoch;
        // An offset reset keeps what is out: it is still with the subscriber. Where it goes back, that was read in
        // a log that is no more, and nobody can tell its acks from those of what comes.
        if self.window.last().is_some_and(|last| offset <= last) {
            self.window.clear();
        }
        if self.window.count() == 0 {
            self.acked = Some(offset);
        }
        true
    }

    /// The offset is out of range, and another one is looked for: [`Subscription::begin`] goes on within the same
    /// subscription.
    pub(super) fn reset(&mut self) {
        self.leave_position(Phase::Resolving);
        self.last_epoch = -1;
    }

    /// The log is another one: what is out and what was acked says nothing of it. A new generation, for
    /// [`Subscription::reset`] to say where to go on.
    pub(super) fn leaves_log(&mut self) {
        self.restart();
        self.acked = None;
        self.end = None;
    }

    /// The subscription ends; what is known of acks stays.
    pub(super) fn stop(&mut self) {
        self.leave_position(Phase::Stopped);
        self.generation += 1;
        self.window.clear();
    }

    /// An error stops fetching; acks still count.
    pub(super) fn suspend(&mut self) {
        self.leave_position(Phase::Stopped);
    }

    /// What was fetched there and not delivered is not wanted any more.
    fn leave_position(&mut self, next: Phase) {
        self.acked = self.next_offset();
        self.phase = next;
        self.needed = 0;
        self.waiting = None;
    }

    /// Whether there is a position to fetch from, now or when the window opens.
    pub(super) fn is_fetching(&self) -> bool {
        self.phase == Phase::Fetching
    }

    /// Whether a sink is being called.
    pub(super) fn is_delivering(&self) -> bool {
        self.delivering
    }

    /// Counts subscriptions and seeks.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// The settings of the subscription.
    pub(super) fn config(&self) -> &ConsumerConfig {
        &self.config
    }

    /// The offset to fetch next.
    pub(super) fn position(&self) -> i64 {
        self.position
    }

    /// Leader epoch of the last batch consumed; -1 unknown.
    pub(super) fn last_epoch(&self) -> i32 {
        self.last_epoch
    }

    /// What to fetch now, if anything.
    pub(super) fn next_fetch(&self) -> Option<NextFetch> {
        if !self.is_open() || self.delivering || self.waiting.is_some() || self.is_full() {
            return None;
        }
        Some(NextFetch {
            offset: self.position,
            max_bytes: self.fetch_size(),
            min_bytes: self.config.min_bytes.max(1),
            max_wait: self.config.max_wait,
            behind: self.visible_end().is_none_or(|end| self.position < end),
        })
    }

    fn is_open(&self) -> bool {
        self.phase == Phase::Fetching && !self.paused
    }

    fn is_full(&self) -> bool {
        self.is_beyond_prefetch() || self.has_many_headers()
    }

    fn is_beyond_prefetch(&self) -> bool {
        self.window.count() > self.config.prefetch_count
            && self.window.bytes() > self.prefetch_bytes()
    }

    fn has_many_headers(&self) -> bool {
        let of_all = self.config.prefetch_count.saturating_mul(HEADERS_OF_ONE);
        self.window.header_memory() > of_all.max(MOST_HEADERS)
    }

    /// How many bytes of what was fetched the next set may have: half of what may be out in all, so
    /// that one is made while the subscriber works on another. None: there is no room for as many.
    pub(super) fn room(&self) -> Option<usize> {
        let set = self.out_limit() / 2;
        let waits =
            self.is_beyond_prefetch() && self.window.bytes().saturating_add(set) > self.out_limit();
        if !self.is_open() || waits || self.has_many_headers() {
            return None;
        }
        Some(usize::try_from(set).unwrap_or(usize::MAX))
    }

    /// The rest of an answer, for which there is no room. Of no effect if the subscription is over.
    pub(super) fn wait_for_room(&mut self, answer: CompletedFetch) {
        if self.phase == Phase::Fetching {
            self.waiting = Some(answer);
        }
    }

    /// What waits, if there is room for it.
    pub(super) fn take_waiting(&mut self) -> Option<CompletedFetch> {
        self.room()?;
        self.waiting.take()
    }

    /// What waits is not to be delivered; it may be fetched again.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting = None;
    }

    /// The most that may be out when messages are not compressed: a fetch is made while the window
    /// has room. How well they compress is not to make it more.
    fn out_limit(&self) -> i64 {
        self.prefetch_bytes()
            .saturating_add(i64::from(self.fetch_size()))
    }

    /// Of many partitions each one prefetches less, unless it was set to more than the default.
    fn prefetch_bytes(&self) -> i64 {
        if self.config.prefetch_bytes > SHARED_PREFETCH_BYTES {
            return self.config.prefetch_bytes;
        }
        let shares = i64::from(self.share.load(Ordering::Relaxed)) * WINDOW_SHARES;
        self.config.prefetch_bytes.min(shares.max(LEAST_WINDOW))
    }

    fn fetch_size(&self) -> i32 {
        let share = self.share.load(Ordering::Relaxed).max(LEAST_FETCH);
        let fair = if self.config.max_bytes > SHARED_MAX_BYTES {
            self.config.max_bytes
        } else {
            self.config.max_bytes.min(share.max(self.grown))
        };
        fair.max(self.needed).max(1)
    }

    /// The first batch of an answer takes `size` bytes and is cut off, as brokers before KIP-74 do with one that
    /// is larger than was asked for. False: as much was asked for, or it is more than a batch may have.
    pub(super) fn needs(&mut self, size: usize) -> bool {
        let asked = self.fetch_size();
        let is_more = |size: &i32| *size > asked;
        let allowed = size <= self.config.max_batch_bytes;
        let Some(size) = i32::try_from(size).ok().filter(is_more).filter(|_| allowed) else {
            return false;
        };
        // Twice as much at least: a broker is not to have it grow forever.
        self.needed = size.max(asked.saturating_mul(2));
        true
    }

    /// An answer has so many bytes of records.
    ///
    /// None, with data at the position, means that the next batch did not fit beside those of other
    /// partitions: only the first partition of an answer may exceed its size (KIP-74).
    pub(super) fn adapt_size(&mut self, bytes: usize) {
        if bytes == 0 {
            if self.visible_end().is_some_and(|end| self.position < end) {
                self.grown = self.fetch_size().saturating_mul(2);
            } else {
                self.forget_failures();
            }
        } else if i32::try_from(bytes).is_ok_and(|bytes| bytes < self.grown / 2) {
            // The batches are smaller again.
            self.grown /= 2;
        }
    }

    /// The partition works: earlier errors do not count.
    fn forget_failures(&mut self) {
        self.fruitless = 0;
        self.backoff.reset();
    }

    /// Everything up to `offset` is acked.
    ///
    /// What was not delivered cannot be acked; but an ack may come before the delivery that it
    /// belongs to is counted, and waits for it then.
    pub(super) fn ack(&mut self, offset: i64) {
        if self.delivering {
            self.early_ack = self.early_ack.max(Some(offset));
        }
        let Some(last) = self.window.last() else {
            return;
        };
        let offset = offset.min(last);
        self.window.ack(offset);
        self.acked = self.acked.max(Some(offset + 1));
    }

    /// Stops or goes on fetching.
    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// An answer came, with the end of the log.
    pub(super) fn answered(&mut self, high_watermark: i64, last_stable_offset: i64) {
        self.end = Some((high_watermark, last_stable_offset));
    }

    /// The end as subscribers see it.
    pub(super) fn visible_end(&self) -> Option<i64> {
        let isolation = self.config.isolation;
        self.end
            .map(|(high_watermark, last_stable)| isolation.end(high_watermark, last_stable))
    }

    /// A sink is about to be called.
    pub(super) fn delivery_starts(&mut self) {
        self.delivering = true;
        self.early_ack = None;
    }

    /// The sink has taken `delivered`, and everything before `position` is dealt with. Of no effect
    /// if the subscription is over.
    pub(super) fn delivered(
        &mut self,
        generation: u64,
        delivered: Delivered,
        position: i64,
        epoch: i32,
    ) {
        if self.generation != generation {
            return;
        }
        self.window.push(delivered);
        if position > self.position {
            self.position = position;
            self.needed = 0;
            self.last_epoch = epoch;
            self.forget_failures();
        }
        if let Some(offset) = self.early_ack {
            self.ack(offset);
        }
    }

    /// All sets of an answer are delivered.
    pub(super) fn delivery_ends(&mut self) {
        self.delivering = false;
        self.early_ack = None;
    }

    /// An answer to a fetch at the position brought nothing to go on with. True: the `tries`th one
    /// at the position.
    pub(super) fn fails_for_good(&mut self, tries: u32) -> bool {
        self.fruitless += 1;
        self.fruitless >= tries
    }

    /// How long to wait after one more error.
    pub(super) fn retry_wait(&mut self) -> Duration {
        self.backoff.next_wait()
    }

    /// First offset that was not acked.
    pub(super) fn next_offset(&self) -> Option<i64> {
        let counted = if self.phase == Phase::Fetching && self.window.count() == 0 {
            Some(self.position)
        } else {
            self.acked
        };
        let early = self.early_ack.map(|offset| offset.saturating_add(1));
        counted.max(early.min(self.visible_end()))
    }

    /// A view of it all, but for the node.
    pub(super) fn info(&self) -> Info {
        let next_offset = self.next_offset();
        Info {
            generation: self.generation,
            next_offset,
            position: (self.phase == Phase::Fetching).then_some(self.position),
            high_watermark: self.end.map(|end| end.0),
            last_stable_offset: self.end.map(|end| end.1),
            lag: self
                .visible_end()
                .zip(next_offset)
                .map(|(end, next)| end.saturating_sub(next).max(0)),
            pending_count: self.window.count(),
            pending_bytes: self.window.bytes(),
            paused: self.paused,
            active: self.phase != Phase::Stopped,
            node: None,
        }
    }
}

#[cfg(test)]
mod tests;
