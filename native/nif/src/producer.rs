//! Producing: the NIFs, and how the engine's results reach the callers.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

use brod_engine::producer::{
    Acks, Append, AppendError, Delivery, Failure, Idempotence, Partition, ProducerConfig,
};
use brod_engine::protocol::batch_writer::BatchWriter;
use brod_engine::protocol::compress::Codec;
use parking_lot::Mutex;
use rustler::types::atom::Atom;
use rustler::{
    Binary, Encoder, Env, LocalPid, Monitor, NifResult, OwnedEnv, Resource, ResourceArc, Term,
};

use crate::atoms;
use crate::client::Client;
use crate::dispatcher::Dispatcher;
use crate::options::{BadOption, Options};
use crate::raw::{identical, make_list, make_tuple, tuple, TermStore};
use crate::reason;
use crate::records::{now_ms, write, Allowance, Refusal};
use crate::runtime;

/// A batch of at most this many calls is answered straight from the engine, for latency. An
/// `enif_send` from a foreign thread costs several times a send inside the VM, so larger ones
/// are answered by the producer process.
const DIRECT_REPLIES: usize = 2;

/// Who made a call, as (target, reference, position of its first record) in a flat list.
#[derive(Default)]
pub struct ErlAcks {
    /// None until someone wants an answer.
    store: Option<TermStore>,
    /// Position of each call's first record in the batch, and whether a fun is its target.
    calls: Vec<Call>,
}

#[derive(Clone, Copy)]
struct Call {
    first: u32,
    is_fun: bool,
}

/// Terms per call in the store: target, reference, position.
const WIDTH: usize = 3;

impl ErlAcks {
    #[inline]
    fn add(&mut self, target: &Target<'_>, first: u32) {
        let (target, reference, is_fun) = match *target {
            Target::Nobody => return,
            Target::Process(pid, reference) => (pid, reference, false),
            Target::Fun(fun) => (fun, atoms::undefined().to_term(fun.get_env()), true),
        };
        let store = self.store.get_or_insert_with(TermStore::default);
        store.push(target);
        store.push(reference);
        store.push(first.encode(target.get_env()));
        self.calls.push(Call { first, is_fun });
    }

    fn part(store: &TermStore, calls: &[Call], from: usize, moved: u32) -> ErlAcks {
        let mut part = ErlAcks::default();
        store.with(|env, terms| {
            for (index, call) in calls.iter().enumerate() {
                let at = (from + index) * WIDTH;
                let to = part.store.get_or_insert_with(TermStore::default);
                let first = call.first.saturating_sub(moved);
                to.push(terms[at]);
                to.push(terms[at + 1]);
                to.push(first.encode(env));
                part.calls.push(Call {
                    first,
                    is_fun: call.is_fun,
                });
            }
        });
        part
    }
}

impl Acks for ErlAcks {
    type Mark = usize;

    fn mark(&self) -> usize {
        self.calls.len()
    }

    fn rollback(&mut self, mark: usize) {
        self.calls.truncate(mark);
        if let Some(store) = &mut self.store {
            store.truncate(mark * WIDTH);
        }
    }

    fn calls(&self) -> u32 {
        self.calls.len() as u32
    }

    fn split(self, at: u32) -> (Self, Self) {
        let Some(store) = &self.store else {
            return Default::default();
        };
        // A call ends where the next one starts; the last one before `at` may reach beyond it.
        let starts_before = self.calls.partition_point(|call| call.first < at);
        let next_starts_at = self
            .calls
            .get(starts_before)
            .is_some_and(|call| call.first == at);
        let kept = if next_starts_at {
            starts_before
        } else {
            starts_before.saturating_sub(1)
        };
        let (first, second) = self.calls.split_at(kept);
        (
            ErlAcks::part(store, first, 0, 0),
            ErlAcks::part(store, second, kept, at),
        )
    }
}

/// Who is to be told about a call.
#[derive(Clone, Copy)]
enum Target<'a> {
    Nobody,
    Process(Term<'a>, Term<'a>),
    Fun(Term<'a>),
}

impl<'a> Target<'a> {
    #[inline]
    fn new(env: Env<'a>, term: Term<'a>) -> NifResult<Self> {
        if term.is_ref() {
            return Ok(Target::Process(env.pid().encode(env), term));
        }
        if term.is_fun() {
            return Ok(Target::Fun(term));
        }
        if let Some(pair) = tuple(term).filter(|pair| pair.len() == 2 && pair.at(0).is_pid()) {
            return Ok(Target::Process(pair.at(0), pair.at(1)));
        }
        if identical(term, atoms::no_ack().to_term(env)) {
            return Ok(Target::Nobody);
        }
        Err(rustler::Error::BadArg)
    }
}

/// A caller that is held up.
pub struct Waiter {
    pid: LocalPid,
    id: u64,
}

/// Tells one partition's results to Erlang.
pub struct ErlDelivery {
    topic: String,
    partition: i32,
    /// The producer process.
    process: LocalPid,
    /// Messages with acks that the process has not passed on yet. While there are any, nothing
    /// is answered past it: replies stay in order.
    passing_on: AtomicUsize,
    /// Passes on what needs no callback.
    dispatcher: Option<Dispatcher>,
    /// Number of the last message to the dispatcher.
    dispatched: AtomicU64,
    /// The process is gone or going: its callers are answered directly, with its exit reason on
    /// failure, and what has callbacks goes to its heir.
    orphaned: AtomicBool,
    will: Mutex<Option<Will>>,
}

/// What a process that closes its producer leaves behind.
struct Will {
    reason: Saved,
    heir: LocalPid,
}

struct Saved {
    env: OwnedEnv,
    term: rustler::env::SavedTerm,
}

impl ErlDelivery {
    /// `result` of a `#brod_produce_reply{}` for calls that failed: `{error, {producer_down, R}}`.
    fn failed_result<'a>(&self, env: Env<'a>, why: &Failure) -> Term<'a> {
        (
            atoms::error(),
            (atoms::producer_down(), self.failure_reason(env, why)),
        )
            .encode(env)
    }

    fn failure_reason<'a>(&self, env: Env<'a>, why: &Failure) -> Term<'a> {
        if *why == Failure::Closed {
            if let Some(Will { reason, .. }) = &*self.will.lock() {
                return reason.env.run(|own| reason.term.load(own).in_env(env));
            }
        }
        reason::failure(env, why, &self.topic, self.partition)
    }

    /// Whom to tell about a batch, when it is to be a process at all.
    fn heir(&self) -> Option<LocalPid> {
        self.will.lock().as_ref().map(|will| will.heir)
    }

    /// A message with a batch's acks, for the producer process or its heir.
    fn acks_message<'a>(
        &self,
        env: Env<'a>,
        list: Term<'a>,
        base_offset: i64,
        why: Option<&Failure>,
    ) -> Term<'a> {
        match why {
            None => {
                let (tag, offset) = (atoms::brod_acks().to_term(env), base_offset.encode(env));
                make_tuple(env, [tag, offset, list])
            }
            Some(why) => {
                let reason = self.failure_reason(env, why);
                make_tuple(env, [atoms::brod_nacks().to_term(env), reason, list])
            }
        }
    }

    /// True when nothing of this producer is in a mailbox on the way to its callers.
    fn all_passed_on(&self) -> bool {
        self.passing_on.load(Ordering::Acquire) == 0 && self.dispatcher_done()
    }

    fn dispatcher_done(&self) -> bool {
        let last = self.dispatched.load(Ordering::Acquire);
        self.dispatcher
            .as_ref()
            .is_none_or(|dispatcher| dispatcher.has_done(last))
    }

    /// Hands a batch to the producer process. What the dispatcher still has goes first, so then
    /// the batch goes through it too.
    fn pass_to_process(&self, acks: ErlAcks, base_offset: i64, why: Option<&Failure>) {
        let Some(store) = acks.store else { return };
        self.passing_on.fetch_add(1, Ordering::AcqRel);
        match self.dispatcher.as_ref().filter(|_| !self.dispatcher_done()) {
            None => {
                store.send_list(&self.process, |env, list| {
                    self.acks_message(env, list, base_offset, why)
                });
            }
            Some(dispatcher) => self.dispatch(dispatcher, store, |env, number, list| {
                let message = self.acks_message(env, list, base_offset, why);
                (atoms::brod_forward(), number, self.process, message).encode(env)
            }),
        }
    }

    fn dispatch<F>(&self, dispatcher: &Dispatcher, store: TermStore, message: F)
    where
        F: for<'a> FnOnce(Env<'a>, u64, Term<'a>) -> Term<'a>,
    {
        let number = dispatcher.send(|to, number| {
            store.send_list(to, |env, list| message(env, number, list));
        });
        self.dispatched.store(number, Ordering::Release);
    }

    /// Tells a batch's result without the producer process.
    fn settle_orphans(&self, acks: ErlAcks, base_offset: i64, why: Option<&Failure>) {
        let callbacks = acks.calls.iter().any(|call| call.is_fun);
        match self.heir().filter(|_| callbacks) {
            Some(heir) => {
                if let Some(store) = acks.store {
                    store.send_list(&heir, |env, list| {
                        self.acks_message(env, list, base_offset, why)
                    });
                }
            }
            None => self.reply_directly(acks, base_offset, why),
        }
    }

    /// Sends each caller its reply from here. Funs are for processes of Erlang alone.
    fn reply_directly(&self, acks: ErlAcks, base_offset: i64, why: Option<&Failure>) {
        let Some(store) = &acks.store else { return };
        store.with(|_, terms| {
            for (index, call) in acks
                .calls
                .iter()
                .enumerate()
                .filter(|(_, call)| !call.is_fun)
            {
                let (target, reference) = (terms[index * WIDTH], terms[index * WIDTH + 1]);
                let Ok(pid) = target.decode::<LocalPid>() else {
                    continue;
                };
                let offset = if base_offset < 0 {
                    -1
                } else {
                    base_offset + i64::from(call.first)
                };
                runtime::send(&pid, |env| {
                    let result = match why {
                        None => atoms::brod_produce_req_acked().to_term(env),
                        Some(why) => self.failed_result(env, why),
                    };
                    self.reply(
                        env,
                        target.in_env(env),
                        reference.in_env(env),
                        offset,
                        result,
                    )
                });
            }
        });
    }

    fn reply<'a>(
        &self,
        env: Env<'a>,
        caller: Term<'a>,
        reference: Term<'a>,
        offset: i64,
        result: Term<'a>,
    ) -> Term<'a> {
        let callee = self.process.encode(env);
        let call_ref = [
            atoms::brod_call_ref().to_term(env),
            caller,
            callee,
            reference,
        ];
        let call_ref = make_tuple(env, call_ref);
        let reply = atoms::brod_produce_reply().to_term(env);
        make_tuple(env, [reply, call_ref, offset.encode(env), result])
    }
}

impl Delivery for ErlDelivery {
    type Acks = ErlAcks;
    type Waiter = Waiter;

    fn delivered(&self, acks: ErlAcks, base_offset: i64) {
        if self.orphaned.load(Ordering::Acquire) {
            return self.settle_orphans(acks, base_offset, None);
        }
        let callbacks = acks.calls.iter().any(|call| call.is_fun);
        if callbacks || self.passing_on.load(Ordering::Acquire) > 0 {
            return self.pass_to_process(acks, base_offset, None);
        }
        if acks.calls.len() <= DIRECT_REPLIES && self.all_passed_on() {
            return self.reply_directly(acks, base_offset, None);
        }
        match self
            .dispatcher
            .as_ref()
            .filter(|dispatcher| dispatcher.is_alive())
        {
            None => self.pass_to_process(acks, base_offset, None),
            Some(dispatcher) => {
                let Some(store) = acks.store else { return };
                self.dispatch(dispatcher, store, |env, number, list| {
                    let (tag, process) = (atoms::brod_acks(), self.process);
                    (tag, number, process, base_offset, list).encode(env)
                });
            }
        }
    }

    fn failed(&self, acks: ErlAcks, why: &Failure) {
        if self.orphaned.load(Ordering::Acquire) {
            return self.settle_orphans(acks, -1, Some(why));
        }
        self.pass_to_process(acks, -1, Some(why));
    }

    fn room(&self, waiters: Vec<Waiter>) {
        if self.orphaned.load(Ordering::Acquire) || waiters.len() <= DIRECT_REPLIES {
            for waiter in waiters {
                runtime::send(&waiter.pid, |env| {
                    (atoms::brod_room(), waiter.id).encode(env)
                });
            }
            return;
        }
        runtime::send(&self.process, |env| {
            let terms: Vec<Term> = waiters
                .iter()
                .flat_map(|waiter| [waiter.pid.encode(env), waiter.id.encode(env)])
                .collect();
            (atoms::brod_room(), make_list(env, &terms)).encode(env)
        });
    }

    fn stopped(&self, why: &Failure) {
        let to = if self.orphaned.load(Ordering::Acquire) {
            self.heir()
        } else {
            Some(self.process)
        };
        if let Some(pid) = to {
            runtime::send(&pid, |env| {
                (atoms::brod_down(), self.failure_reason(env, why)).encode(env)
            });
        }
    }

    fn sent(&self, records: u32, payload: usize) {
        // brod's measure: 8 bytes a message are counted for what surrounds it.
        let bytes = payload + 8 * records as usize;
        runtime::send(&self.process, |env| {
            (atoms::brod_request_sent(), records, bytes).encode(env)
        });
    }
}

/// One partition's producer, as Erlang holds it.
pub struct ProducerResource {
    partition: Arc<Partition<ErlDelivery>>,
    runtime: tokio::runtime::Handle,
}

impl ProducerResource {
    /// Closes from a thread of the engine: telling callers is not for a scheduler.
    fn close(&self, will: Option<Will>) {
        let delivery = self.partition.delivery();
        if let Some(will) = will {
            delivery.will.lock().get_or_insert(will);
        }
        if !delivery.orphaned.swap(true, Ordering::AcqRel) {
            let partition = self.partition.clone();
            self.runtime.spawn(async move { partition.close() });
        }
    }
}

#[rustler::resource_impl]
impl Resource for ProducerResource {
    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.close(None);
    }
}

type Producer = ResourceArc<ProducerResource>;

#[rustler::nif]
fn producer_open<'a>(
    env: Env<'a>,
    client: Client,
    topic: Binary<'a>,
    partition: i32,
    config: Term<'a>,
) -> NifResult<Term<'a>> {
    let options = Options::new(config).ok_or(rustler::Error::BadArg)?;
    let topic = std::str::from_utf8(&topic).map_err(|_| rustler::Error::BadArg)?;
    let config = match decode_config(&options) {
        Ok(config) => config,
        Err(bad) => return Ok((atoms::error(), bad).encode(env)),
    };
    let runtime = runtime::handle().ok_or(rustler::Error::BadArg)?;
    let delivery = ErlDelivery {
        topic: topic.to_owned(),
        partition,
        process: env.pid(),
        passing_on: AtomicUsize::new(0),
        dispatcher: pick_dispatcher(&client, partition),
        dispatched: AtomicU64::new(0),
        orphaned: AtomicBool::new(false),
        will: Mutex::new(None),
    };
    let partition = client.producers.open(topic, partition, config, delivery);
    let producer = ResourceArc::new(ProducerResource { partition, runtime });
    if env.monitor(&producer, &env.pid()).is_none() {
        return Err(rustler::Error::BadArg);
    }
    Ok((atoms::ok(), producer).encode(env))
}

/// Neighbouring partitions go to different dispatchers, and a partition always to the same.
fn pick_dispatcher(client: &Client, partition: i32) -> Option<Dispatcher> {
    let dispatchers = client.dispatchers.read();
    let index = (partition.unsigned_abs() as usize).checked_rem(dispatchers.len())?;
    dispatchers.get(index).cloned()
}

#[rustler::nif]
fn produce<'a>(
    env: Env<'a>,
    producer: Producer,
    target: Term<'a>,
    key: Term<'a>,
    value: Term<'a>,
) -> NifResult<Term<'a>> {
    let target = Target::new(env, target)?;
    let now = now_ms();
    let mut waiter_id = None;
    let result = producer.partition.append(
        |writer, acks, first| {
            write(writer, Allowance::for_normal_scheduler(), now, key, value)?;
            if writer.record_count() == first {
                return Err(Refusal::BadArg);
            }
            acks.add(&target, first);
            Ok(())
        },
        || waiter(env, &target, &mut waiter_id),
    );
    match result {
        Ok(appended) => Ok(taken(env, &producer, appended, waiter_id)),
        Err(AppendError::Closed) => Ok((atoms::error(), atoms::closed()).encode(env)),
        Err(AppendError::Refused(Refusal::TooMuch)) => Ok(atoms::dirty().to_term(env)),
        Err(AppendError::Refused(Refusal::BadArg)) => Err(rustler::Error::BadArg),
    }
}

#[rustler::nif(schedule = "DirtyCpu")]
fn produce_dirty<'a>(
    env: Env<'a>,
    producer: Producer,
    target: Term<'a>,
    key: Term<'a>,
    value: Term<'a>,
) -> NifResult<Term<'a>> {
    let target = Target::new(env, target)?;
    let mut writer = BatchWriter::new(64 * 1024);
    write(&mut writer, Allowance::unlimited(), now_ms(), key, value)
        .map_err(|_| rustler::Error::BadArg)?;
    if writer.is_empty() {
        return Err(rustler::Error::BadArg);
    }
    let mut acks = ErlAcks::default();
    acks.add(&target, 0);
    let mut waiter_id = None;
    let result = producer
        .partition
        .append_batch(writer, acks, || waiter(env, &target, &mut waiter_id));
    Ok(match result {
        Ok(appended) => taken(env, &producer, appended, waiter_id),
        Err(_) => (atoms::error(), atoms::closed()).encode(env),
    })
}

/// Only a caller that waits for its own call can be held up.
fn waiter(env: Env<'_>, target: &Target<'_>, id: &mut Option<u64>) -> Option<Waiter> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if matches!(target, Target::Nobody) {
        return None;
    }
    let new = NEXT.fetch_add(1, Ordering::Relaxed);
    *id = Some(new);
    Some(Waiter {
        pid: env.pid(),
        id: new,
    })
}

/// The producer process, or whom to wait for.
fn taken<'a>(
    env: Env<'a>,
    producer: &Producer,
    appended: Append,
    waiter_id: Option<u64>,
) -> Term<'a> {
    match (appended, waiter_id) {
        (Append::Wait, Some(id)) => (atoms::wait(), id).encode(env),
        _ => producer.partition.delivery().process.encode(env),
    }
}

#[rustler::nif]
fn producer_process(producer: Producer) -> LocalPid {
    producer.partition.delivery().process
}

#[rustler::nif]
fn producer_cancel_wait(producer: Producer, id: u64) -> Atom {
    producer.partition.forget_waiter(|waiter| waiter.id == id);
    atoms::ok()
}

#[rustler::nif]
fn producer_acks_done(producer: Producer) -> Atom {
    producer
        .partition
        .delivery()
        .passing_on
        .fetch_sub(1, Ordering::AcqRel);
    atoms::ok()
}

#[rustler::nif]
fn producer_close<'a>(producer: Producer, reason: Term<'a>, heir: LocalPid) -> Atom {
    let env = OwnedEnv::new();
    let term = env.save(reason);
    let reason = Saved { env, term };
    producer.close(Some(Will { reason, heir }));
    atoms::ok()
}

#[rustler::nif]
fn producer_info<'a>(env: Env<'a>, producer: Producer) -> NifResult<Term<'a>> {
    let (buffered, on_wire, waiting) = producer.partition.load();
    Term::map_from_pairs(
        env,
        &[
            ("buffered_calls", buffered as usize),
            ("on_wire_batches", on_wire),
            ("waiting", waiting),
        ]
        .map(|(name, count)| (Atom::from_str(env, name).ok(), count)),
    )
}

fn decode_config<'a>(options: &Options<'a>) -> Result<ProducerConfig, BadOption<'a>> {
    let default = ProducerConfig::default();
    let codecs = [
        ("no_compression", Codec::None),
        ("gzip", Codec::Gzip),
        ("snappy", Codec::Snappy),
        ("lz4", Codec::Lz4),
        ("zstd", Codec::Zstd),
    ];
    let idempotence = [
        ("auto", Idempotence::Auto),
        ("true", Idempotence::On),
        ("false", Idempotence::Off),
    ];
    let ms = |name, default: Duration| options.duration_ms(name, default);
    Ok(ProducerConfig {
        partition_buffer_limit: options.get(
            "partition_buffer_limit",
            default.partition_buffer_limit,
            |_| true,
        )?,
        partition_onwire_limit: options.get(
            "partition_onwire_limit",
            default.partition_onwire_limit,
            |limit| *limit > 0,
        )?,
        max_batch_size: options.get("max_batch_size", default.max_batch_size, |size| *size > 0)?,
        max_retries: options.get("max_retries", default.max_retries, |_| true)?,
        retry_backoff: ms("retry_backoff_ms", default.retry_backoff)?,
        required_acks: options.get("required_acks", default.required_acks, |acks| {
            (-1..=1).contains(acks)
        })?,
        ack_timeout: ms("ack_timeout", default.ack_timeout)?,
        codec: options.choice("compression", default.codec, &codecs)?,
        compression_level: match options.term("compression_level") {
            None => None,
            Some(level) => Some(
                level
                    .decode()
                    .map_err(|_| options.bad("compression_level", level))?,
            ),
        },
        max_linger: ms("max_linger_ms", default.max_linger)?,
        max_linger_count: options.get("max_linger_count", default.max_linger_count, |_| true)?,
        delivery_timeout: ms("delivery_timeout_ms", default.delivery_timeout)?,
        idempotence: options.choice("enable_idempotence", default.idempotence, &idempotence)?,
        produce_version: match options.term("produce_req_vsn") {
            None => None,
            Some(version) => Some(
                version
                    .decode()
                    .map_err(|_| options.bad("produce_req_vsn", version))?,
            ),
        },
        report_requests: options.get("telemetry", false, |_| true)?,
    })
}
