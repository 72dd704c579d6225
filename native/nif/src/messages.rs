//! Message sets as Erlang terms, built in one pass on the engine's threads.
//!
//! Keys and values longer than a heap binary are sub-binaries of the memory that the fetch was
//! read into; shorter ones are copied into the message, which costs the same and pins nothing.

use brod_engine::consumer::{DecodedBatch, Delivered, MessageSet};
use brod_engine::protocol::batch_reader::{BatchError, Record, Records, Span, TimestampType};
use bytes::Bytes;
use rustler::{Binary, Encoder, Env, NewBinary, OwnedBinary, Resource, ResourceArc, Term};

use crate::atoms;
use crate::raw::{make_list, make_tuple, TermList};

/// The VM keeps binaries up to this size on the heap.
const HEAP_BINARY: usize = 64;

/// Sets up to this size are copied out of the answer that they came in, which may be much larger
/// and would be kept whole by any of its parts.
const COPIED_SET: usize = 64 * 1024;

/// Memory of an answer that Erlang binaries point into.
struct Buffer(Bytes);

#[rustler::resource_impl]
impl Resource for Buffer {}

/// `[#kafka_message{}]`, and what is in it. Ends before a record that cannot be read.
pub fn message_list<'a>(env: Env<'a>, batches: &[DecodedBatch]) -> (Term<'a>, Delivered) {
    let mut delivered = Delivered::new();
    let capacity = batches
        .iter()
        .map(|batch| batch.records.record_count as usize)
        .sum();
    let mut list = TermList::with_capacity(env, capacity);
    for batch in batches {
        if let Err(error) = add_batch(env, batch, &mut list, &mut delivered) {
            delivered.failed = Some(error);
            break;
        }
    }
    (list.finish(), delivered)
}

fn add_batch<'a>(
    env: Env<'a>,
    batch: &DecodedBatch,
    list: &mut TermList<'a>,
    delivered: &mut Delivered,
) -> Result<(), BatchError> {
    let parent = parent_binary(env, &batch.records);
    let shape = Shape {
        tag: atoms::kafka_message().to_term(env),
        ts_type: match batch.timestamp_type {
            TimestampType::Create => atoms::create().to_term(env),
            TimestampType::Append => atoms::append().to_term(env),
        },
        empty: NewBinary::new(env, 0).into(),
        no_headers: Term::list_new_empty(env),
        parent,
    };
    for record in batch.iter() {
        let record = record?;
        let len = |span: Option<Span>| span.map_or(0, |span| span.len);
        delivered.add(record.offset, len(record.key) + len(record.value));
        list.push(shape.message(env, &batch.records, &record));
    }
    Ok(())
}

fn parent_binary<'a>(env: Env<'a>, records: &Records) -> Binary<'a> {
    if records.bytes.len() <= COPIED_SET {
        return copied(&records.bytes).release(env);
    }
    ResourceArc::new(Buffer(records.bytes.clone())).make_binary(env, |buffer| &buffer.0)
}

fn copied(bytes: &[u8]) -> OwnedBinary {
    let mut copy = OwnedBinary::new(bytes.len());
    copy.as_mut_slice().copy_from_slice(bytes);
    copy
}

/// What the messages of one batch have in common.
struct Shape<'a> {
    tag: Term<'a>,
    ts_type: Term<'a>,
    empty: Term<'a>,
    no_headers: Term<'a>,
    parent: Binary<'a>,
}

impl<'a> Shape<'a> {
    #[inline]
    fn message(&self, env: Env<'a>, records: &Records, record: &Record<'_>) -> Term<'a> {
        let headers = match record.headers.len() {
            0 => self.no_headers,
            _ => headers(env, record),
        };
        make_tuple(
            env,
            [
                self.tag,
                record.offset.encode(env),
                self.bytes(env, records, record.key),
                self.bytes(env, records, record.value),
                self.ts_type,
                record.timestamp.encode(env),
                headers,
            ],
        )
    }

    /// Null and empty are both `<<>>`, as in brod.
    #[inline]
    fn bytes(&self, env: Env<'a>, records: &Records, span: Option<Span>) -> Term<'a> {
        match span {
            None => self.empty,
            Some(span) if span.len == 0 => self.empty,
            Some(span) if span.len <= HEAP_BINARY => {
                NewBinary::from_slice(env, records.slice(span)).into()
            }
            Some(span) => self
                .parent
                .make_subbinary(span.start, span.len)
                .map_or(self.empty, |binary| binary.to_term(env)),
        }
    }
}

fn headers<'a>(env: Env<'a>, record: &Record<'_>) -> Term<'a> {
    let binary = |bytes: &[u8]| -> Term<'a> { NewBinary::from_slice(env, bytes).into() };
    let pairs: Vec<Term> = record
        .headers
        .clone()
        .map(|(name, value)| make_tuple(env, [binary(name), binary(value.unwrap_or_default())]))
        .collect();
    make_list(env, &pairs)
}

/// `#kafka_message_set{}`
pub fn message_set<'a>(env: Env<'a>, set: &MessageSet) -> (Term<'a>, Delivered) {
    let (messages, delivered) = message_list(env, &set.batches);
    let term = make_tuple(
        env,
        [
            atoms::kafka_message_set().to_term(env),
            NewBinary::from_slice(env, set.topic.as_bytes()).into(),
            set.partition.encode(env),
            set.high_watermark.encode(env),
            messages,
        ],
    );
    (term, delivered)
}
