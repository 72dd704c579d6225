//! The state machine of one partition's producer: which records are in which batch, what is on
//! the wire, what is sent again, and what fails. No I/O, no clock: `now` is an argument.

mod completion;
mod identity;
mod waiting;

use std::collections::VecDeque;
use std::time::Instant;

use super::acks::Acks;
use super::batch::{add_sequence, Batch, ORDER_STEP};
use super::config::ProducerConfig;
use super::cut_calls::CutCalls;
use super::failure::Failure;
use super::identity::Source;
use super::size_limit::SizeLimit;
use super::transaction::Membership;
use crate::cluster::NodeId;
use brod_protocol::api::init_producer_id::ProducerId;
use brod_protocol::batch_writer::BatchWriter;
use brod_protocol::memory;

/// How far a partition is with getting a producer id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// Not idempotent.
    Off,
    /// To be asked for before the next batch.
    Needed,
    /// Asked for.
    Pending,
    /// Given.
    Is(ProducerId),
}

/// The broker that batches are taken for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination {
    pub node: NodeId,
    /// How many requests are worth to be in flight to it at once.
    pub worth: usize,
}

/// What the sender finds when it asks for a batch.
#[expect(
    clippy::large_enum_variant,
    reason = "taken apart at once, most often a batch: a box would be one more allocation for each"
)]
pub(super) enum Take<A> {
    /// Send this; with `more` there is another one behind it.
    Batch { batch: Batch<A>, more: bool },
    /// Nothing before this instant (linger, retry backoff).
    At(Instant),
    /// A producer id must be asked for first. Come back at this instant if it has not arrived.
    NeedsIdentity(Instant),
    /// The partition must be added to the transaction first. Come back at this instant if it has not
    /// been.
    NotInTransaction(Instant),
    /// It is larger than the room that is left.
    NoRoom,
    /// What is to be sent has waited for too long: see [`Buffer::expire`].
    Expired,
    /// Nothing to send, or enough in flight: an append or a completion changes that.
    Idle,
}

/// What a completion brings about.
pub(super) enum Outcome<A> {
    /// All in it is stored; `base_offset` -1 when unknown.
    Delivered(A, i64),
    /// It will be sent again.
    Retried,
    /// Results of more than one batch, or of calls that more than one batch had to be answered for.
    Settled(Vec<(A, Result<i64, Failure>)>),
}

/// See the module's text.
pub(super) struct Buffer<A> {
    open: Option<Batch<A>>,
    ready: VecDeque<Batch<A>>,
    in_flight: VecDeque<u64>,
    /// The broker that has them.
    in_flight_at: Option<NodeId>,
    /// How many of them were worth it when the sender last asked.
    worth: usize,
    cut_calls: CutCalls<A>,
    buffered_calls: u32,
    /// Bytes that left since the budget was last told.
    freed: usize,
    next_order: u64,
    next_sequence: i32,
    identity: Identity,
    /// A batch is stored under it. A broker that knows nothing of a producer takes any sequence number from it: it would
    /// take the second batch although the first one was refused.
    is_introduced: bool,
    membership: Membership,
    /// The transaction takes no more records: there is nothing to linger for.
    is_last: bool,
    /// Batches from this order on go under a new producer id, once nothing is in flight.
    renew_from: Option<u64>,
    retry_at: Option<Instant>,
    /// True while the sender has this partition in its queue, or waits for `timer`.
    queued: bool,
    /// When the sender will look at this partition again. A timer with another time is stale.
    timer: Option<Instant>,
    /// Set once the producer is to stop: nothing new is taken.
    stopping: Option<Failure>,
    /// Size of the last batch, as a guess for the next one's memory.
    last_size: usize,
    /// Bytes of keys, values and headers that the broker takes in a batch.
    batch_limit: SizeLimit,
}

/// Room for a batch that is probably like the last one. No more than a batch of `max_size` bytes may need: of the usual
/// size there is memory that was written into before, of a larger one each page is new.
fn room_like(last_size: usize, max_size: usize) -> usize {
    (last_size + last_size / 4)
        .min(max_size.saturating_add(memory::LAST_CALL))
        .max(512)
}

impl<A: Acks> Buffer<A> {
    /// An empty buffer.
    pub(super) fn new(config: &ProducerConfig) -> Self {
        let (identity, membership) = match config.identity_source() {
            Source::Nowhere => (Identity::Off, Membership::Unneeded),
            Source::Client { .. } => (Identity::Needed, Membership::Unneeded),
            Source::Transaction => (Identity::Pending, Membership::Idle),
        };
        Buffer {
            open: None,
            ready: VecDeque::new(),
            in_flight: VecDeque::new(),
            in_flight_at: None,
            worth: 1,
            cut_calls: CutCalls::new(),
            buffered_calls: 0,
            freed: 0,
            next_order: 0,
            next_sequence: 0,
            identity,
            is_introduced: false,
            membership,
            is_last: false,
            renew_from: None,
            retry_at: None,
            queued: false,
            timer: None,
            stopping: None,
            last_size: 0,
            batch_limit: SizeLimit::of_batches(),
        }
    }

    /// Adds one call, and says by how many bytes the buffer grew. `fill` writes its records into the batch and its target into
    /// the acks; it is given the position of the call's first record, and may be called twice, when the call turns out not to
    /// fit into the batch that was open.
    ///
    /// The result is a number alone, and what else there is to know after a call is asked for: a struct of small fields in a
    /// `Result` is written byte by byte and read as words, for which the processor waits (2 % of what producing costs).
    #[inline(always)]
    pub(super) fn append<E>(
        &mut self,
        config: &ProducerConfig,
        now: impl Fn() -> Instant,
        mut fill: impl FnMut(&mut BatchWriter, &mut A, u32) -> Result<(), E>,
    ) -> Result<usize, AppendError<E>> {
        if self.stopping.is_some() {
            return Err(AppendError::Closed);
        }
        let max_size = self.batch_limit.at_most(config.max_batch_size);
        let batch = match &mut self.open {
            Some(batch) => batch,
            None => {
                let capacity = room_like(self.last_size, max_size);
                let batch = Batch::new(now(), self.next_order, capacity);
                self.next_order += ORDER_STEP;
                self.open.insert(batch)
            }
        };
        let added = match batch.add_call(max_size, &mut fill) {
            Ok(added) => added,
            Err(refusal) => {
                if batch.is_empty() {
                    // The next call's time begins with that call.
                    self.open = None;
                }
                return Err(AppendError::Refused(refusal));
            }
        };
        let bytes = match added {
            Some(added) => added,
            None => self.append_to_next(max_size, now(), &mut fill)?,
        };
        self.buffered_calls += 1;
        Ok(bytes)
    }

    /// The call that does not fit into the batch that was open begins the next one.
    #[cold]
    fn append_to_next<E>(
        &mut self,
        max_size: usize,
        now: Instant,
        fill: &mut impl FnMut(&mut BatchWriter, &mut A, u32) -> Result<(), E>,
    ) -> Result<usize, AppendError<E>> {
        self.close_open();
        let capacity = room_like(self.last_size, max_size);
        let mut batch = Batch::new(now, self.next_order, capacity);
        self.next_order += ORDER_STEP;
        let added = batch
            .add_call(usize::MAX, fill)
            .map_err(AppendError::Refused)?;
        self.open = Some(batch);
        Ok(added.unwrap_or_default())
    }

    /// Adds one call as a batch of its own, encoded beforehand: what is large is not copied
    /// under the lock. Says by how many bytes the buffer grew.
    pub(super) fn append_batch(
        &mut self,
        now: Instant,
        writer: BatchWriter,
        acks: A,
    ) -> Result<usize, AppendError<A>> {
        if self.stopping.is_some() {
            return Err(AppendError::Refused(acks));
        }
        self.close_open();
        let bytes = writer.len();
        let batch = Batch::whole(now, self.next_order, writer, acks);
        self.next_order += ORDER_STEP;
        self.ready.push_back(batch);
        self.buffered_calls += 1;
        Ok(bytes)
    }

    /// After an append, whether the caller is to be held up.
    #[inline]
    pub(super) fn is_over_limit(&self, config: &ProducerConfig) -> bool {
        self.buffered_calls > config.partition_buffer_limit
    }

    /// The batch that would be sent next.
    fn next(&self) -> Option<&Batch<A>> {
        self.ready.front().or(self.open.as_ref())
    }

    /// What would be sent next has to wait for a new producer id.
    fn renews(&self) -> bool {
        let next = self.next().map(|batch| batch.order);
        self.renew_from.is_some_and(|from| next >= Some(from))
    }

    /// What would be sent next needs another producer id, and a transaction has only one.
    fn needs_next_transaction(&self) -> bool {
        self.membership != Membership::Unneeded && self.in_flight.is_empty() && self.renews()
    }

    fn close_open(&mut self) {
        if let Some(batch) = self.open.take() {
            self.last_size = batch.memory();
            self.ready.push_back(batch);
        }
    }

    fn in_flight_limit(&self, config: &ProducerConfig) -> usize {
        match self.identity {
            Identity::Off => config.in_flight_limit(false, self.worth),
            _ if self.is_introduced => config.in_flight_limit(true, self.worth),
            _ => 1,
        }
    }

    /// The next batch to send to the broker `to`, of at most `room` bytes, if there is one now. What another broker has is
    /// waited for, or it would come back behind what follows it. Anything but `At`,
    /// `NoRoom` and a batch with more behind it takes the partition out of the sender's queue.
    pub(super) fn take(
        &mut self,
        config: &ProducerConfig,
        now: Instant,
        room: usize,
        to: Destination,
    ) -> Take<A> {
        self.queued = false;
        self.timer = None;
        self.worth = to.worth;
        let is_elsewhere = !self.in_flight.is_empty() && self.in_flight_at != Some(to.node);
        if is_elsewhere || self.in_flight.len() >= self.in_flight_limit(config) {
            return Take::Idle;
        }
        let Some(next) = self.next() else {
            return Take::Idle;
        };
        let expiry = next.created + config.delivery_timeout;
        if let Some(at) = self.retry_at {
            if now < at {
                return self.later_if_not_expired(now, at, expiry);
            }
            self.retry_at = None;
        }
        if self.renews() {
            if !self.in_flight.is_empty() {
                return Take::Idle;
            }
            if self.needs_next_transaction() {
                return Take::Expired;
            }
            self.renew_from = None;
            self.identity = Identity::Needed;
            self.forget_sequences();
        }
        if self.ready.is_empty() {
            let Some(open) = &self.open else {
                return Take::Idle;
            };
            let until = open.created + config.max_linger;
            if now < until && !self.has_enough(config, open) && self.stopping.is_none() {
                return self.later(until);
            }
        }
        if self.next().is_some_and(|next| next.request_bytes() > room) {
            self.queued = true;
            return Take::NoRoom;
        }
        if self.ready.is_empty() {
            self.close_open();
        }
        let producer = match self.identity {
            Identity::Off => None,
            Identity::Is(producer) => Some(producer),
            Identity::Needed => {
                self.identity = Identity::Pending;
                self.later(expiry);
                return Take::NeedsIdentity(expiry);
            }
            Identity::Pending => return self.later_if_not_expired(now, expiry, expiry),
        };
        match self.membership {
            Membership::Unneeded | Membership::Inside => {}
            Membership::Gathering | Membership::Outside => {
                self.membership = Membership::Joining;
                self.later(expiry);
                return Take::NotInTransaction(expiry);
            }
            Membership::Idle | Membership::Joining => {
                return self.later_if_not_expired(now, expiry, expiry)
            }
        }
        self.split_what_is_refused();
        let Some(mut batch) = self.ready.pop_front() else {
            return Take::Idle;
        };
        if let (Some(producer), None) = (producer, batch.sequence) {
            batch.sequence = Some((producer, self.next_sequence));
            self.next_sequence = add_sequence(self.next_sequence, batch.records);
        }
        self.buffered_calls -= batch.calls;
        self.in_flight.push_back(batch.order);
        self.in_flight_at = Some(to.node);
        let more = self.is_sendable(config);
        self.queued = more;
        Take::Batch { batch, more }
    }

    /// Nothing waits and nothing is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.next().is_none()
    }

    /// Why the producer stops, once nothing is left to be sent or answered.
    pub(super) fn stopped(&self) -> Option<&Failure> {
        self.stopping.as_ref().filter(|_| self.is_idle())
    }

    /// Takes nothing any more.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Why it takes nothing any more.
    pub(super) fn stop_reason(&self) -> Option<&Failure> {
        self.stopping.as_ref()
    }

    /// Bytes that left the buffer since this was last asked.
    pub(super) fn take_freed(&mut self) -> usize {
        std::mem::take(&mut self.freed)
    }

    /// Calls that are not in flight yet.
    pub(super) fn buffered_calls(&self) -> u32 {
        self.buffered_calls
    }

    /// Records in the batch that would be sent next.
    pub(super) fn next_records(&self) -> u32 {
        self.next().map_or(0, Batch::records)
    }

    /// Batches in flight.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

/// An append that was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum AppendError<E> {
    /// The producer stops or has stopped.
    Closed,
    /// `fill` refused; nothing was added.
    Refused(E),
}

#[cfg(test)]
mod tests;
