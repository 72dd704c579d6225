//! Which calls are taken, which callers are held up, and when they may go on: as the partition's own
//! limit and the client's budget of bytes have it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::{Partition, State};
use crate::producer::acks::Replies;
use crate::producer::buffer::AppendError;
use brod_protocol::batch_writer::BatchWriter;

/// Bytes taken from the client's budget at once: the counter is shared by all callers of all
/// partitions, and touching it for every call would cost as much as the call. Given back when the
/// buffer has run empty.
const RESERVE: usize = 16 * 1024;

const DROPPED_TOLD_EVERY: Duration = Duration::from_secs(1);

/// What becomes of a call while the buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It is taken, and its caller held up: at most one call a caller over the limit.
    Take,
    /// It is not taken, and its caller held up. For calls whose caller may give up the wait, and must
    /// not be answered then.
    Wait,
    /// It is dropped where all partitions together buffer too much, and taken otherwise. For callers
    /// that never wait.
    Drop,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Append {
    /// Go on.
    Done,
    /// Taken, and the buffer is full: the caller's waiter was kept, and is told when there is room.
    Wait,
    /// As [`Append::Wait`], but not taken: the caller comes again then.
    Full,
    /// Not taken.
    Dropped,
}

impl<R: Replies> Partition<R> {
    /// Adds one call's records to the open batch, in this thread; see [`Buffer::append`](crate::producer::buffer::Buffer::append) for
    /// `fill`. Past the limits `waiter` is asked for who is to be held up, if anyone.
    #[inline(always)]
    pub fn append<E>(
        self: &Arc<Self>,
        when_full: WhenFull,
        fill: impl FnMut(&mut BatchWriter, &mut R::Acks, u32) -> Result<(), E>,
        waiter: impl FnOnce() -> Option<R::Waiter>,
    ) -> Result<Append, AppendError<E>> {
        let mut state = self.state.lock();
        if when_full != WhenFull::Take && self.is_full(&state, when_full) {
            return Ok(self.turn_away(state, waiter));
        }
        let bytes = state.buffer.append(&self.config, Instant::now, fill)?;
        Ok(self.after_append(state, bytes, waiter))
    }

    /// Adds one large call, encoded beforehand, as a batch of its own.
    pub fn append_batch(
        self: &Arc<Self>,
        when_full: WhenFull,
        writer: BatchWriter,
        acks: R::Acks,
        waiter: impl FnOnce() -> Option<R::Waiter>,
    ) -> Result<Append, AppendError<R::Acks>> {
        let mut state = self.state.lock();
        if when_full != WhenFull::Take && self.is_full(&state, when_full) {
            return Ok(self.turn_away(state, waiter));
        }
        let bytes = state.buffer.append_batch(Instant::now(), writer, acks)?;
        Ok(self.after_append(state, bytes, waiter))
    }

    fn is_full(&self, state: &State<R>, when_full: WhenFull) -> bool {
        let calls = state.buffer.buffered_calls();
        let full = when_full == WhenFull::Wait && calls >= self.config.partition_buffer_limit;
        !state.buffer.is_stopping() && (full || self.budget.is_exceeded())
    }

    /// The call is not taken. Who does not wait loses it.
    fn turn_away(
        self: &Arc<Self>,
        mut state: parking_lot::MutexGuard<'_, State<R>>,
        waiter: impl FnOnce() -> Option<R::Waiter>,
    ) -> Append {
        let Some(waiter) = waiter() else {
            drop(state);
            self.count_dropped();
            return Append::Dropped;
        };
        state.applicants.push_back(waiter);
        // With room for calls it waits for bytes, even if there are some again by now: whoever gave them back did not find it.
        let has_room = state.buffer.buffered_calls() < self.config.partition_buffer_limit;
        let waits = has_room && !state.waits_for_bytes;
        state.waits_for_bytes |= waits;
        drop(state);
        if waits {
            self.wait_for_bytes();
        }
        Append::Full
    }

    /// Has the count told once in a while.
    fn count_dropped(self: &Arc<Self>) {
        if self.dropped.fetch_add(1, Ordering::Relaxed) > 0 {
            return;
        }
        let partition = self.clone();
        self.host.spawn(Box::pin(async move {
            tokio::time::sleep(DROPPED_TOLD_EVERY).await;
            let count = partition.dropped.swap(0, Ordering::Relaxed);
            partition.replies.dropped(count);
        }));
    }

    #[inline(always)]
    fn after_append(
        self: &Arc<Self>,
        mut state: parking_lot::MutexGuard<'_, State<R>>,
        bytes: usize,
        waiter: impl FnOnce() -> Option<R::Waiter>,
    ) -> Append {
        let wakes = state.buffer.wakes(&self.config);
        let is_over_limit = state.buffer.is_over_limit(&self.config);
        let out_of_bytes = self.take_bytes(&mut state, bytes);
        let mut result = Append::Done;
        if is_over_limit || out_of_bytes {
            if let Some(waiter) = waiter() {
                state.waiters.push_back(waiter);
                result = Append::Wait;
            }
        }
        let waits = out_of_bytes && result == Append::Wait && !state.waits_for_bytes;
        state.waits_for_bytes |= waits;
        drop(state);
        if wakes {
            self.host.route(self.clone());
        }
        if waits {
            self.wait_for_bytes();
        }
        result
    }

    /// Counts bytes in, from what is reserved if that is enough. True when the budget is used up.
    #[inline(always)]
    fn take_bytes(&self, state: &mut State<R>, bytes: usize) -> bool {
        if let Some(left) = state.reserved.checked_sub(bytes) {
            state.reserved = left;
            return self.budget.is_exceeded();
        }
        state.reserved += RESERVE;
        self.budget.add(bytes + RESERVE)
    }

    /// Takes back a waiter that gave up. True if it was still there.
    pub fn forget_waiter(&self, is_it: impl Fn(&R::Waiter) -> bool) -> bool {
        let mut state = self.state.lock();
        let before = state.waiters.len() + state.applicants.len();
        state.waiters.retain(|waiter| !is_it(waiter));
        state.applicants.retain(|waiter| !is_it(waiter));
        state.waiters.len() + state.applicants.len() < before
    }

    /// The budget tells when there are bytes; `waits_for_bytes` is set. If there are some already,
    /// another thread goes on from here: this may be a caller's.
    fn wait_for_bytes(self: &Arc<Self>) {
        let waiting = self.budget.wait(Arc::downgrade(self));
        if !waiting.is_empty() {
            self.host
                .spawn(Box::pin(async move { tell_of_bytes(waiting) }));
        }
    }

    /// There are bytes, as long as no other caller takes them.
    fn bytes_freed(self: &Arc<Self>) {
        let mut state = self.state.lock();
        state.waits_for_bytes = false;
        self.let_go(state);
    }

    /// Lets the callers go on for whom there is room again.
    pub(super) fn let_go(self: &Arc<Self>, mut state: parking_lot::MutexGuard<'_, State<R>>) {
        if state.waiters.is_empty() && state.applicants.is_empty() {
            return;
        }
        if self.budget.is_exceeded() {
            let waits = !std::mem::replace(&mut state.waits_for_bytes, true);
            drop(state);
            if waits {
                self.wait_for_bytes();
            }
            return;
        }
        let (calls, limit) = (
            state.buffer.buffered_calls(),
            self.config.partition_buffer_limit,
        );
        let over = calls.saturating_sub(limit) as usize;
        let free = state.waiters.len().saturating_sub(over);
        let mut released: Vec<_> = state.waiters.drain(..free).collect();
        if calls < limit {
            // All: one that has gone meanwhile would leave its room unused.
            released.extend(state.applicants.drain(..));
        }
        drop(state);
        if !released.is_empty() {
            self.replies.room(released);
        }
    }
}

/// Lets their callers go on, as far as the bytes go.
pub(super) fn tell_of_bytes<R: Replies>(waiting: Vec<Weak<Partition<R>>>) {
    for partition in waiting.iter().filter_map(Weak::upgrade) {
        partition.bytes_freed();
    }
}
