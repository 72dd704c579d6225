//! Consuming: the NIFs, and how message sets reach the subscribers.

use std::time::Duration;

use brod_engine::consumer::{
    BeginOffset, Consumer, ConsumerConfig, Delivered, Isolation, MessageSet, OffsetResetPolicy,
    OpenError, Sink,
};
use brod_engine::error::Error;
use brod_engine::tasks::boxed;
use brod_protocol::error::ErrorCode;
use rustler::types::atom::Atom;
use rustler::{
    Binary, Encoder, Env, LocalPid, Monitor, NifResult, OwnedEnv, Resource, ResourceArc, Term,
};
use tokio::sync::oneshot;

use crate::atoms;
use crate::client::Client;
use crate::messages::{message_set, Payloads};
use crate::options::{BadOption, Options};
use crate::raw::tuple;
use crate::reason;
use crate::runtime::{self, Asker};

/// No broker is asked to wait longer.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// A set of messages takes milliseconds at most.
const QUIET_LIMIT: Duration = Duration::from_secs(1);

/// One partition's consumer, as Erlang holds it.
pub(crate) struct ConsumerResource {
    consumer: Consumer,
    runtime: tokio::runtime::Handle,
}

#[rustler::resource_impl]
impl Resource for ConsumerResource {
    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.consumer.close();
    }
}

type Handle = ResourceArc<ConsumerResource>;

/// One subscription.
struct ErlSink {
    /// The `brod_consumer` process: messages come in its name.
    consumer: LocalPid,
    subscriber: LocalPid,
    /// The consumer process's number for the subscription.
    number: u64,
    payloads: Payloads,
    /// Dropped with the subscription, at the latest when the consumer process dies.
    handle: Handle,
}

impl Sink for ErlSink {
    fn deliver(&self, set: MessageSet) -> Delivered {
        let mut message = OwnedEnv::new();
        let mut delivered = Delivered::new();
        let (term, count) = message.run(|env| {
            let (term, counted) = message_set(env, &set, self.payloads);
            delivered = counted;
            let term = (self.consumer, term).encode(env);
            (message.save(term), delivered.count)
        });
        if count > 0 {
            // A subscriber that is gone is noticed by the consumer process.
            let _ = message.send_and_clear(&self.subscriber, |env| term.load(env));
        }
        delivered
    }

    fn error(&self, _generation: u64, code: ErrorCode, text: String) {
        runtime::send(&self.consumer, |env| {
            let code = reason::code(env, code);
            (
                atoms::brod_fetch_error(),
                self.handle.clone(),
                self.number,
                code,
                text.as_str(),
            )
                .encode(env)
        });
    }
}

#[rustler::nif]
fn consumer_open<'a>(
    env: Env<'a>,
    client: Client,
    topic: Binary<'a>,
    partition: i32,
    config: Term<'a>,
) -> NifResult<Term<'a>> {
    let options = Options::new(config).ok_or(rustler::Error::BadArg)?;
    if let Err(bad) = decode_config(&options) {
        return Ok((atoms::error(), bad).encode(env));
    }
    let runtime = runtime::handle().ok_or(rustler::Error::BadArg)?;
    // What is no text is no topic's name either.
    let topic = std::str::from_utf8(&topic).unwrap_or_default();
    let consumer = match client.consumers.open(topic, partition) {
        Ok(consumer) => consumer,
        Err(OpenError::AlreadyOpen) => {
            return Ok((atoms::error(), atoms::already_open()).encode(env));
        }
        Err(OpenError::InvalidTopic) => {
            let code = reason::code(env, ErrorCode::INVALID_TOPIC_EXCEPTION);
            return Ok((atoms::error(), code).encode(env));
        }
    };
    let handle = ResourceArc::new(ConsumerResource { consumer, runtime });
    if env.monitor(&handle, &env.pid()).is_none() {
        return Err(rustler::Error::BadArg);
    }
    Ok((atoms::ok(), handle).encode(env))
}

#[rustler::nif]
fn consumer_subscribe<'a>(
    env: Env<'a>,
    handle: Handle,
    subscriber: LocalPid,
    number: u64,
    config: Term<'a>,
) -> NifResult<Term<'a>> {
    let options = Options::new(config).ok_or(rustler::Error::BadArg)?;
    let (config, payloads) = match decode_config(&options) {
        Ok(decoded) => decoded,
        Err(_) => return Err(rustler::Error::BadArg),
    };
    let sink = ErlSink {
        consumer: env.pid(),
        subscriber,
        number,
        payloads,
        handle: handle.clone(),
    };
    let answer = handle.consumer.subscribe(config, std::sync::Arc::new(sink));
    Ok(answer_later(env, &handle, answer))
}

fn answer_later<'a>(
    env: Env<'a>,
    handle: &Handle,
    answer: oneshot::Receiver<Result<(), Error>>,
) -> Term<'a> {
    let (asker, reference) = Asker::new(env);
    handle.runtime.spawn(boxed(async move {
        let result = answer.await.unwrap_or(Err(Error::Closed));
        asker.reply(|env| match &result {
            Ok(()) => atoms::ok().to_term(env),
            Err(error) => (atoms::error(), reason::error(env, error)).encode(env),
        });
    }));
    reference
}

/// Of a set that is on its way the subscriber is to know when this returns: one who subscribes again where it was would
/// take it for a part of the new subscription. On a dirty scheduler, as it may be large.
#[rustler::nif(schedule = "DirtyIo")]
fn consumer_unsubscribe(handle: Handle) -> Atom {
    handle.consumer.unsubscribe();
    let _ = handle
        .runtime
        .block_on(async { tokio::time::timeout(QUIET_LIMIT, handle.consumer.quiet()).await });
    atoms::ok()
}

#[rustler::nif]
fn consumer_ack(handle: &ConsumerResource, offset: i64) -> Atom {
    handle.consumer.ack(offset);
    atoms::ok()
}

#[rustler::nif]
fn consumer_pause(handle: Handle) -> Atom {
    handle.consumer.pause();
    atoms::ok()
}

#[rustler::nif]
fn consumer_resume(handle: Handle) -> Atom {
    handle.consumer.resume();
    atoms::ok()
}

#[rustler::nif]
fn consumer_close(handle: Handle) -> Atom {
    handle.consumer.close();
    atoms::ok()
}

#[rustler::nif]
fn consumer_seek<'a>(env: Env<'a>, handle: Handle, to: Term<'a>) -> NifResult<Term<'a>> {
    let to = begin_offset(to).ok_or(rustler::Error::BadArg)?;
    let answer = handle.consumer.seek(to);
    Ok(answer_later(env, &handle, answer))
}

#[rustler::nif]
fn consumer_info<'a>(env: Env<'a>, handle: Handle) -> NifResult<Term<'a>> {
    let info = handle.consumer.info();
    let number = |value: Option<i64>| match value {
        Some(value) => value.encode(env),
        None => atoms::undefined().to_term(env),
    };
    let pairs = [
        ("next_offset", number(info.next_offset)),
        ("position", number(info.position)),
        ("high_watermark", number(info.high_watermark)),
        ("last_stable_offset", number(info.last_stable_offset)),
        ("lag", number(info.lag)),
        ("pending_count", info.pending_count.encode(env)),
        ("pending_bytes", info.pending_bytes.encode(env)),
        ("paused", info.paused.encode(env)),
        ("active", info.active.encode(env)),
        ("node", number(info.node.map(i64::from))),
    ];
    let pairs = pairs.map(|(name, value)| (Atom::from_str(env, name).ok(), value));
    Term::map_from_pairs(env, &pairs)
}

fn begin_offset(term: Term<'_>) -> Option<BeginOffset> {
    if let Ok(offset) = term.decode::<i64>() {
        // brod's numbers for the ends of a partition.
        return match offset {
            -1 => Some(BeginOffset::Latest),
            -2 => Some(BeginOffset::Earliest),
            offset if offset >= 0 => Some(BeginOffset::Offset(offset)),
            _ => None,
        };
    }
    if let Some(pair) = tuple(term).filter(|pair| pair.len() == 2) {
        let is_timestamp = pair
            .at(0)
            .atom_to_string()
            .is_ok_and(|tag| tag == "timestamp");
        let ms = pair.at(1).decode().ok().filter(|ms| *ms >= 0)?;
        return is_timestamp.then_some(BeginOffset::Timestamp(ms));
    }
    match term.atom_to_string().ok()?.as_str() {
        "earliest" => Some(BeginOffset::Earliest),
        "latest" => Some(BeginOffset::Latest),
        _ => None,
    }
}

/// Every key has to be there: brod_consumer_options has the defaults.
fn decode_config<'a>(options: &Options<'a>) -> Result<(ConsumerConfig, Payloads), BadOption<'a>> {
    let policies = [
        ("reset_by_subscriber", OffsetResetPolicy::ResetBySubscriber),
        ("reset_to_earliest", OffsetResetPolicy::ResetToEarliest),
        ("reset_to_latest", OffsetResetPolicy::ResetToLatest),
    ];
    let isolations = [
        ("read_committed", Isolation::ReadCommitted),
        ("read_uncommitted", Isolation::ReadUncommitted),
    ];
    let begin: Term<'a> = options.required("begin_offset", |_| true)?;
    let config = ConsumerConfig {
        begin_offset: begin_offset(begin).ok_or_else(|| options.bad("begin_offset", begin))?,
        min_bytes: options.required("min_bytes", |bytes| *bytes >= 0)?,
        max_bytes: options.required("max_bytes", |bytes| *bytes >= 0)?,
        max_wait: options.required_ms("max_wait_time")?.min(LONGEST_WAIT),
        prefetch_count: options.required("prefetch_count", |count| *count >= 0)?,
        prefetch_bytes: options.required("prefetch_bytes", |bytes| *bytes >= 0)?,
        offset_reset_policy: options.required_choice("offset_reset_policy", &policies)?,
        isolation: options.required_choice("isolation_level", &isolations)?,
        max_batch_bytes: options.required("max_batch_bytes", |bytes| *bytes > 0)?,
    };
    let payloads = match options.required("share_fetched_memory", |_| true)? {
        true => Payloads::Shared,
        false => Payloads::Copied,
    };
    Ok((config, payloads))
}
