//! Message sets as Erlang terms, built in one pass on the engine's threads.
//!
//! Keys and values longer than a heap binary are sub-binaries of the memory that the fetch was
//! read into; shorter ones are copied into the message, which costs the same and pins nothing.

use brod_engine::consumer::{DecodedBatch, Delivered, MessageSet};
use brod_protocol::batch_reader::{BatchError, Record, Records, Span, TimestampType};
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

/// `[#kafka_message{}]`, and what is in it. Ends before a record that cannot be read. `memory` is
/// what the batches lie in, as far as they were not compressed.
pub fn message_list<'a>(
    env: Env<'a>,
    batches: &[DecodedBatch],
    memory: &Bytes,
) -> (Term<'a>, Delivered) {
    let mut delivered = Delivered::new();
    let capacity = batches
        .iter()
        .map(|batch| batch.records.record_count() as usize)
        .sum();
    let mut list = TermList::with_capacity(env, capacity);
    let mut common = Common::new(env);
    for batch in batches {
        if let Err(error) = add_batch(&mut common, batch, memory, &mut list, &mut delivered) {
            delivered.failed = Some(error);
            break;
        }
    }
    (list.finish(), delivered)
}

fn add_batch<'a>(
    common: &mut Common<'a>,
    batch: &DecodedBatch,
    memory: &Bytes,
    list: &mut TermList<'a>,
    delivered: &mut Delivered,
) -> Result<(), BatchError> {
    let env = common.env;
    let (parent, base) = match batch.position_in(memory) {
        Some(base) => (
            *common
                .memory
                .get_or_insert_with(|| parent_binary(env, memory)),
            base,
        ),
        None => (parent_binary(env, batch.records.bytes()), 0),
    };
    let ts_type = match batch.timestamp_type {
        TimestampType::Create => atoms::create().to_term(env),
        TimestampType::Append => atoms::append().to_term(env),
    };
    for record in batch.iter() {
        let record = record?;
        let len = |span: Option<Span>| span.map_or(0, |span| span.len);
        delivered.add(record.offset, len(record.key) + len(record.value));
        let bytes = |span| common.bytes(&batch.records, &parent, base, span);
        let headers = match record.headers.len() {
            0 => common.no_headers,
            _ => headers(env, &record),
        };
        let fields = [
            common.tag,
            record.offset.encode(env),
            bytes(record.key),
            bytes(record.value),
            ts_type,
            record.timestamp.encode(env),
            headers,
        ];
        list.push(make_tuple(env, fields));
    }
    Ok(())
}

fn parent_binary<'a>(env: Env<'a>, bytes: &Bytes) -> Binary<'a> {
    if bytes.len() <= COPIED_SET {
        return copied(bytes).release(env);
    }
    ResourceArc::new(Buffer(bytes.clone())).make_binary(env, |buffer| &buffer.0)
}

fn copied(bytes: &[u8]) -> OwnedBinary {
    let mut copy = OwnedBinary::new(bytes.len());
    copy.as_mut_slice().copy_from_slice(bytes);
    copy
}

/// What the messages of one set have in common.
struct Common<'a> {
    env: Env<'a>,
    tag: Term<'a>,
    empty: Term<'a>,
    no_headers: Term<'a>,
    /// The set's memory, once a message needs it.
    memory: Option<Binary<'a>>,
}

impl<'a> Common<'a> {
    fn new(env: Env<'a>) -> Self {
        Common {
            env,
            tag: atoms::kafka_message().to_term(env),
            empty: NewBinary::new(env, 0).into(),
            no_headers: Term::list_new_empty(env),
            memory: None,
        }
    }

    /// Null and empty are both `<<>>`, as in brod. The records begin at `base` of `parent`.
    #[inline]
    fn bytes(
        &self,
        records: &Records,
        parent: &Binary<'a>,
        base: usize,
        span: Option<Span>,
    ) -> Term<'a> {
        match span {
            None => self.empty,
            Some(span) if span.len == 0 => self.empty,
            Some(span) if span.len <= HEAP_BINARY => {
                NewBinary::from_slice(self.env, records.slice(span)).into()
            }
            Some(span) => parent
                .make_subbinary(base + span.start, span.len)
                .map_or(self.empty, |binary| binary.to_term(self.env)),
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
    let (messages, delivered) = message_list(env, &set.batches, &set.memory);
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
