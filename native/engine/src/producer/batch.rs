//! A batch from its first call to its last answer.

use std::ops::Range;
use std::time::Instant;

use super::acks::{Acks, Split};
use super::cut_calls::{CutCalls, Share};
use super::failure::{Cause, Failure};
use brod_protocol::api::init_producer_id::ProducerId;
use brod_protocol::batch_writer::{BatchWriter, SealOptions};
use brod_protocol::body;
use brod_protocol::compress::Codec;
use brod_protocol::sealed_batch::{self, SealedBatch, SplitError};

/// Between the order numbers of two batches, so that the parts of a batch that is split, and of
/// those parts, have their place in between.
pub(super) const ORDER_STEP: u64 = 1 << 24;

enum Body {
    Unsealed(BatchWriter),
    Sealed(SealedBatch),
}

/// A batch on its way. Belongs to the buffer while it waits, to the sender while in flight.
pub(super) struct Batch<A> {
    body: Body,
    /// The calls that are in it as a whole.
    pub(super) acks: A,
    /// What it has of calls that are in other batches too.
    pub(super) shares: Vec<Share>,
    /// Calls in it, for the buffer's count.
    pub(super) calls: u32,
    pub(super) records: u32,
    /// Bytes before compression, for the byte budget.
    pub(super) bytes: usize,
    pub(super) created: Instant,
    pub(super) attempts: u32,
    pub(super) last_cause: Option<Cause>,
    pub(super) order: u64,
    pub(super) sequence: Option<(ProducerId, i32)>,
    sealed_under: Option<(ProducerId, i32)>,
    /// Orders up to this far behind its own are its parts' when it is split.
    span: u64,
}

impl<A: Acks> Batch<A> {
    /// An open batch, with room for `capacity` bytes at first.
    pub(super) fn new(now: Instant, order: u64, capacity: usize) -> Self {
        Batch {
            body: Body::Unsealed(BatchWriter::new(capacity)),
            acks: A::default(),
            shares: Vec::new(),
            calls: 0,
            records: 0,
            bytes: 0,
            created: now,
            attempts: 0,
            last_cause: None,
            order,
            sequence: None,
            sealed_under: None,
            span: ORDER_STEP,
        }
    }

    /// Records in it.
    pub(super) fn records(&self) -> u32 {
        self.records
    }

    /// Bytes of its keys, values and headers.
    pub(super) fn payload(&self) -> usize {
        match &self.body {
            Body::Unsealed(writer) => writer.payload(),
            Body::Sealed(sealed) => sealed.payload,
        }
    }

    /// Bytes before compression.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True without records.
    pub(super) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Brings it into wire form, compressed, under its current sequence number.
    pub(super) fn seal(
        &mut self,
        codec: Codec,
        level: Option<i32>,
        transactional: bool,
    ) -> Result<body::Body, Failure> {
        let (id, epoch, sequence) = match self.sequence {
            Some((producer, sequence)) => (producer.id, producer.epoch, sequence),
            None => (-1, -1, -1),
        };
        let body = std::mem::replace(&mut self.body, Body::Unsealed(BatchWriter::new(0)));
        let sealed = match body {
            Body::Sealed(mut sealed) => {
                if self.sealed_under != self.sequence {
                    sealed.reseal(id, epoch, sequence);
                }
                sealed
            }
            Body::Unsealed(writer) => writer
                .seal(SealOptions {
                    producer_id: id,
                    producer_epoch: epoch,
                    base_sequence: sequence,
                    codec,
                    level,
                    transactional,
                })
                .map_err(|error| Failure::Codec(error.to_string()))?,
        };
        let in_request = sealed.body();
        self.sealed_under = self.sequence;
        self.body = Body::Sealed(sealed);
        Ok(in_request)
    }

    /// Writes one call: how many bytes it has. None: it does not fit beside what is there, and was taken out again.
    #[inline(always)]
    pub(super) fn add_call<E>(
        &mut self,
        max_size: usize,
        fill: &mut impl FnMut(&mut BatchWriter, &mut A, u32) -> Result<(), E>,
    ) -> Result<Option<usize>, E> {
        let Body::Unsealed(writer) = &mut self.body else {
            return Ok(None);
        };
        let mark = writer.mark();
        let acks_mark = self.acks.mark();
        let before = writer.len();
        if let Err(error) = fill(writer, &mut self.acks, self.records) {
            writer.rollback(mark);
            self.acks.rollback(acks_mark);
            return Err(error);
        }
        if writer.len() > max_size && self.calls > 0 {
            writer.rollback(mark);
            self.acks.rollback(acks_mark);
            return Ok(None);
        }
        self.records = writer.record_count();
        self.calls += 1;
        let added = writer.len() - before;
        self.bytes += added;
        Ok(Some(added))
    }

    /// One call that was encoded beforehand.
    pub(super) fn whole(now: Instant, order: u64, writer: BatchWriter, acks: A) -> Self {
        let mut batch = Batch::new(now, order, 0);
        batch.records = writer.record_count();
        batch.calls = 1;
        batch.bytes = writer.len();
        batch.acks = acks;
        batch.body = Body::Unsealed(writer);
        batch
    }

    /// Bytes in a request: those of the wire form, or as many as it can have at most.
    pub(super) fn request_bytes(&self) -> usize {
        match &self.body {
            Body::Unsealed(writer) => writer.len(),
            Body::Sealed(sealed) => sealed.len(),
        }
    }

    /// Bytes that it needs memory of its own for, while it is open.
    pub(super) fn memory(&self) -> usize {
        match &self.body {
            Body::Unsealed(writer) => writer.copied(),
            Body::Sealed(_) => 0,
        }
    }

    /// The records of the call that this one belongs to.
    pub(super) fn call_at(&self, record: u32) -> Range<u32> {
        let share = self.shares.iter().map(Share::records);
        let share = share.into_iter().find(|records| records.contains(&record));
        share
            .or_else(|| self.acks.call_at(record))
            .unwrap_or(record..record + 1)
    }

    /// Takes a batch that was sent apart before record `at`, each part with its share of the sequence
    /// numbers. Gives it back with the reason when that cannot be.
    pub(super) fn split(
        self,
        at: u32,
        cut_calls: &mut CutCalls<A>,
    ) -> Result<(Self, Self), (Box<Self>, Failure)> {
        let (batch, (first, second)) = self.rewritten(|sealed| sealed_batch::split(sealed, at))?;
        Ok(batch.cut(at, first, second, cut_calls))
    }

    /// Takes a batch apart into such as have `limit` bytes of keys, values and headers at most, as far as records do.
    pub(super) fn split_by_size(
        self,
        limit: usize,
        cut_calls: &mut CutCalls<A>,
    ) -> Result<Vec<Self>, (Box<Self>, Failure)> {
        let (mut rest, mut writers) =
            self.rewritten(|sealed| sealed_batch::split_by_size(sealed, limit))?;
        let mut parts = Vec::with_capacity(writers.len());
        let last = writers.pop();
        for writer in writers {
            let at = writer.record_count();
            let (part, behind) = rest.cut(at, writer, BatchWriter::new(0), cut_calls);
            parts.push(part);
            rest = behind;
        }
        if let Some(last) = last {
            rest.body = Body::Unsealed(last);
        }
        parts.push(rest);
        Ok(parts)
    }

    /// What `rewrite` makes of its bytes.
    fn rewritten<T>(
        mut self,
        rewrite: impl FnOnce(&SealedBatch) -> Result<T, SplitError>,
    ) -> Result<(Self, T), (Box<Self>, Failure)> {
        // What is open is read back like one that was sent.
        if let Err(why) = self.seal(Codec::None, None, false) {
            return Err((Box::new(self), why));
        }
        let rewritten = match &self.body {
            Body::Sealed(sealed) => {
                rewrite(sealed).map_err(|error| Failure::Codec(error.to_string()))
            }
            Body::Unsealed(_) => Err(Failure::Codec("the batch is not sealed".into())),
        };
        match rewritten {
            Ok(rewritten) => Ok((self, rewritten)),
            Err(why) => Err((Box::new(self), why)),
        }
    }

    /// The part before record `at` and the one behind it, whose records are in `first` and `second`.
    fn cut(
        self,
        at: u32,
        first: BatchWriter,
        second: BatchWriter,
        cut_calls: &mut CutCalls<A>,
    ) -> (Self, Self) {
        let Split {
            before: first_acks,
            across,
            after: second_acks,
        } = self.acks.split(at);
        let second_calls = second_acks.calls();
        let mut shares = self.shares;
        shares.extend(across.map(|(acks, records)| cut_calls.enter(acks, records)));
        let (mut first_shares, mut second_shares) = (Vec::new(), Vec::new());
        for share in shares {
            let (before, behind) = cut_calls.cut(share, at);
            first_shares.extend(before);
            second_shares.extend(behind);
        }
        let portion = |whole: u64| whole * u64::from(at) / u64::from(self.records.max(1));
        let (bytes, span) = (portion(self.bytes as u64) as usize, portion(self.span));
        let part = |writer, acks, shares, span| Batch {
            body: Body::Unsealed(writer),
            acks,
            shares,
            calls: 0,
            records: 0,
            bytes: 0,
            created: self.created,
            attempts: self.attempts,
            last_cause: None,
            order: self.order,
            sequence: self.sequence,
            sealed_under: None,
            span,
        };
        let first = Batch {
            calls: self.calls.saturating_sub(second_calls),
            records: at,
            bytes,
            ..part(first, first_acks, first_shares, span)
        };
        let second = Batch {
            calls: second_calls,
            records: self.records - at,
            bytes: self.bytes - bytes,
            order: self.order + span,
            sequence: self
                .sequence
                .map(|(id, start)| (id, add_sequence(start, at))),
            ..part(second, second_acks, second_shares, self.span - span)
        };
        (first, second)
    }
}

/// Sequence numbers wrap to 0 after i32::MAX.
pub(super) fn add_sequence(sequence: i32, records: u32) -> i32 {
    ((i64::from(sequence) + i64::from(records)) & 0x7fff_ffff) as i32
}
