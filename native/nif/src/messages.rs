//! Message sets as Erlang terms, built in one pass on the engine's threads.
//!
//! Keys and values are copied out of the memory that the fetch was read into, which may be much larger and
//! of which the VM knows nothing: a message that somebody keeps is to keep little else, and what it keeps
//! is to be seen in the VM's figures and to count for its garbage collector. Small ones are copied side by
//! side, with what lies between them, large ones on their own (ADR 14).

use brod_engine::consumer::{DecodedBatch, Delivered, MessageSet};
use brod_protocol::batch_reader::{BatchError, Record, Span, TimestampType};
use bytes::Bytes;
use rustler::{Binary, Encoder, Env, NewBinary, OwnedBinary, Resource, ResourceArc, Term};

use crate::atoms;
use crate::raw::{make_list, make_tuple, TermList};

/// The VM keeps binaries up to this size on the heap.
const HEAP_BINARY: usize = 64;

/// Smaller keys and values are copied in chunks of [`CHUNK`] bytes, which any of them keeps whole.
const LARGE: usize = 4 * 1024;
const CHUNK: usize = 16 * 1024;

/// Memory of an answer that Erlang binaries point into.
pub(crate) struct Buffer(Bytes);

#[rustler::resource_impl]
impl Resource for Buffer {}

/// How keys and values get to the VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payloads {
    /// As copies.
    Copied,
    /// As parts of the fetch's memory, whose size the VM does not see. For those who ask.
    Shared,
}

/// `[#kafka_message{}]`, and what is in it. Ends before a record that cannot be read. `memory` is
/// what the batches lie in, as far as they were not compressed.
pub(crate) fn message_list<'a>(
    env: Env<'a>,
    batches: &[DecodedBatch],
    memory: &Bytes,
    payloads: Payloads,
) -> (Term<'a>, Delivered) {
    let mut delivered = Delivered::new();
    let capacity = batches
        .iter()
        .map(|batch| batch.records.record_count() as usize)
        .sum();
    let mut list = TermList::with_capacity(env, capacity);
    let common = Common::new(env);
    // What was not compressed lies side by side, whatever batch it is of.
    let mut uncompressed = Source::new(payloads);
    for batch in batches {
        let mut own = Source::new(payloads);
        let (source, bytes, base) = match batch.position_in(memory) {
            Some(base) => (&mut uncompressed, memory, base),
            None => (&mut own, batch.records.bytes(), 0),
        };
        let part = Part {
            source,
            bytes,
            base,
        };
        if let Err(error) = add_batch(&common, part, batch, &mut list, &mut delivered) {
            delivered.failed = Some(error);
            break;
        }
    }
    (list.finish(), delivered)
}

/// Where the records of a batch lie: behind `base` of `bytes`.
struct Part<'a, 'b> {
    source: &'b mut Source<'a>,
    bytes: &'b Bytes,
    base: usize,
}

fn add_batch<'a>(
    common: &Common<'a>,
    mut part: Part<'a, '_>,
    batch: &DecodedBatch,
    list: &mut TermList<'a>,
    delivered: &mut Delivered,
) -> Result<(), BatchError> {
    let env = common.env;
    let ts_type = match batch.timestamp_type {
        TimestampType::Create => atoms::create().to_term(env),
        TimestampType::Append => atoms::append().to_term(env),
    };
    for record in batch.iter() {
        let record = record?;
        let len = |span: Option<Span>| span.map_or(0, |span| span.len);
        delivered.add(record.offset, len(record.key) + len(record.value));
        // A key beside a large value is not to drag parts of that into a chunk.
        let with_neighbours = len(record.value) < LARGE;
        let mut binary = |span| common.binary(&mut part, with_neighbours, span);
        let (key, value) = (binary(record.key), binary(record.value));
        let headers = match record.headers.len() {
            0 => common.no_headers,
            count => {
                delivered.add_headers(count);
                headers(env, &record)
            }
        };
        let fields = [
            common.tag,
            record.offset.encode(env),
            key,
            value,
            ts_type,
            record.timestamp.encode(env),
            headers,
        ];
        list.push(make_tuple(env, fields));
    }
    Ok(())
}

fn copied<'a>(env: Env<'a>, bytes: &[u8]) -> Binary<'a> {
    let mut copy = OwnedBinary::new(bytes.len());
    copy.as_mut_slice().copy_from_slice(bytes);
    copy.release(env)
}

/// Where binaries that are not on the heap come from.
enum Source<'a> {
    /// Copies.
    Copied(Chunk<'a>),
    /// The memory itself, once there is one.
    Shared(Option<Binary<'a>>),
}

impl Source<'_> {
    fn new(payloads: Payloads) -> Self {
        match payloads {
            Payloads::Copied => Source::Copied(Chunk::default()),
            Payloads::Shared => Source::Shared(None),
        }
    }
}

/// The last chunk that was copied, and where in the records it begins.
#[derive(Default)]
struct Chunk<'a> {
    copy: Option<Binary<'a>>,
    start: usize,
}

impl<'a> Chunk<'a> {
    /// A part of a chunk.
    #[inline]
    fn part(&mut self, env: Env<'a>, bytes: &[u8], span: Span) -> Option<Term<'a>> {
        let end = span.start + span.len;
        let copy = match self.copy {
            Some(copy) if self.start <= span.start && end <= self.start + copy.len() => copy,
            _ => {
                self.start = span.start;
                let copy = copied(env, &bytes[span.start..bytes.len().min(span.start + CHUNK)]);
                *self.copy.insert(copy)
            }
        };
        part_of(env, copy, span.start - self.start, span.len)
    }
}

#[inline]
fn part_of<'a>(env: Env<'a>, binary: Binary<'a>, start: usize, len: usize) -> Option<Term<'a>> {
    let part = binary.make_subbinary(start, len).ok()?;
    Some(part.to_term(env))
}

/// What the messages of one set have in common.
struct Common<'a> {
    env: Env<'a>,
    tag: Term<'a>,
    empty: Term<'a>,
    no_headers: Term<'a>,
}

impl<'a> Common<'a> {
    fn new(env: Env<'a>) -> Self {
        Common {
            env,
            tag: atoms::kafka_message().to_term(env),
            empty: NewBinary::new(env, 0).into(),
            no_headers: Term::list_new_empty(env),
        }
    }

    /// Null and empty are both `<<>>`, as in brod.
    #[inline]
    fn binary(
        &self,
        part: &mut Part<'a, '_>,
        with_neighbours: bool,
        span: Option<Span>,
    ) -> Term<'a> {
        let Some(mut span) = span.filter(|span| span.len > 0) else {
            return self.empty;
        };
        span.start += part.base;
        let own = &part.bytes[span.start..span.start + span.len];
        if span.len <= HEAP_BINARY {
            return NewBinary::from_slice(self.env, own).into();
        }
        let term = match part.source {
            Source::Shared(memory) => {
                let memory = memory.get_or_insert_with(|| shared(self.env, part.bytes));
                part_of(self.env, *memory, span.start, span.len)
            }
            Source::Copied(chunk) if with_neighbours && span.len < LARGE => {
                chunk.part(self.env, part.bytes, span)
            }
            Source::Copied(_) => None,
        };
        term.unwrap_or_else(|| copied(self.env, own).to_term(self.env))
    }
}

fn shared<'a>(env: Env<'a>, bytes: &Bytes) -> Binary<'a> {
    ResourceArc::new(Buffer(bytes.clone())).make_binary(env, |buffer| &buffer.0)
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
pub(crate) fn message_set<'a>(
    env: Env<'a>,
    set: &MessageSet,
    payloads: Payloads,
) -> (Term<'a>, Delivered) {
    let (messages, delivered) = message_list(env, &set.batches, &set.memory, payloads);
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
