//! Producing: the NIFs.

use std::ffi::CStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use brod_engine::producer::{Append, AppendError, Idempotence, Partition, ProducerConfig};
use brod_engine::tasks::boxed;
use brod_protocol::batch_writer::BatchWriter;
use brod_protocol::error::ErrorCode;
use rustler::codegen_runtime::inventory;
use rustler::schedule::consume_timeslice;
use rustler::types::atom::Atom;
use rustler::{Binary, Encoder, Env, LocalPid, Monitor, NifResult, Resource, ResourceArc, Term};

use crate::acks::{ErlAcks, Target};
use crate::atoms;
use crate::batch_input::{now_ms, write, Allowance, Refusal};
use crate::client::Client;
use crate::codecs::CODECS;
use crate::directory::{self, Place, Process};
use crate::dispatcher::Dispatcher;
use crate::options::{BadOption, Options};
use crate::raw::message_nif::{message_nif, MessageNif};
use crate::raw::{int, make_tuple};
use crate::reason;
use crate::replies::{ErlReplies, Waiter};
use crate::runtime;

/// One partition's producer, as Erlang holds it.
pub(crate) struct ProducerResource {
    partition: Arc<Partition<ErlReplies>>,
    runtime: tokio::runtime::Handle,
    /// The client's name, once callers find the producer by it.
    published: OnceLock<Atom>,
}

impl ProducerResource {
    /// Closes from a thread of the engine: telling callers is not for a scheduler.
    fn close(&self) {
        if self.partition.replies().orphan() {
            let partition = self.partition.clone();
            self.runtime.spawn(boxed(async move {
                partition.replies().tell_lost();
                partition.close();
                partition.hand_over();
            }));
        }
    }

    /// Callers find it no more. After a failure they should until its process is gone, and learn
    /// that it is closed.
    fn withdraw(&self, env: Env<'_>) {
        let process = Process::new(self.partition.replies().process().encode(env));
        directory::leave(&process, |other| self.is(other));
        if let Some(client) = self.published.get() {
            directory::withdraw(&self.place(*client), |other| self.is(other));
        }
    }

    fn is(&self, other: &Producer) -> bool {
        std::ptr::eq(&**other, self)
    }

    fn place(&self, client: Atom) -> Place<'_> {
        Place {
            client,
            topic: self.partition.topic().as_bytes(),
            partition: self.partition.index(),
        }
    }
}

#[rustler::resource_impl]
impl Resource for ProducerResource {
    fn down<'a>(&'a self, env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.withdraw(env);
        self.close();
    }
}

/// In bytes. A longer name would only cost time: no topic has it.
pub(crate) const LONGEST_TOPIC: usize = 249;

/// A handle to a producer.
pub(crate) type Producer = ResourceArc<ProducerResource>;

#[rustler::nif]
fn producer_open<'a>(
    env: Env<'a>,
    client: Client,
    topic: Binary<'a>,
    partition: i32,
    config: Term<'a>,
) -> NifResult<Term<'a>> {
    let options = Options::new(config).ok_or(rustler::Error::BadArg)?;
    if topic.len() > LONGEST_TOPIC {
        let code = reason::code(env, ErrorCode::INVALID_TOPIC_EXCEPTION);
        return Ok((atoms::error(), code).encode(env));
    }
    let topic = std::str::from_utf8(&topic).map_err(|_| rustler::Error::BadArg)?;
    let config = match decode_config(&options) {
        Ok(config) => config,
        Err(bad) => return Ok((atoms::error(), bad).encode(env)),
    };
    let runtime = runtime::handle().ok_or(rustler::Error::BadArg)?;
    let dispatcher = pick_dispatcher(&client, partition);
    let replies = ErlReplies::new(topic, partition, env.pid(), dispatcher);
    let partition = client.producers.open(topic, partition, config, replies);
    let producer = ResourceArc::new(ProducerResource {
        partition,
        runtime,
        published: OnceLock::new(),
    });
    directory::enter(Process::new(env.pid().encode(env)), producer.clone());
    if env.monitor(&producer, &env.pid()).is_none() {
        producer.withdraw(env);
        producer.close();
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
fn producer_publish(env: Env<'_>, producer: Producer, client: Atom) -> Atom {
    // One producer is one client's.
    let client = *producer.published.get_or_init(|| client);
    directory::publish(producer.place(client), producer.clone());
    // If its process went in the meantime, it was not found there.
    if producer.partition.replies().is_orphan() {
        producer.withdraw(env);
    }
    atoms::ok()
}

#[rustler::nif]
fn producer_withdraw(env: Env<'_>, producer: Producer) -> Atom {
    producer.withdraw(env);
    atoms::ok()
}

/// To a producer's process.
struct Produce;

inventory::submit!(message_nif::<4, Produce>());

impl MessageNif<4> for Produce {
    const NAME: &'static CStr = c"produce";

    fn call<'a>(env: Env<'a>, args: [Term<'a>; 4]) -> Option<Term<'a>> {
        let [process, target, key, value] = args;
        let undefined = Some(atoms::undefined().to_term(env));
        directory::of(process, undefined, |producer| {
            append(env, producer, target, key, value)
        })
    }
}

/// To the partition of a client's topic.
struct ProduceTo;

inventory::submit!(message_nif::<6, ProduceTo>());

impl MessageNif<6> for ProduceTo {
    const NAME: &'static CStr = c"produce_to";

    fn call<'a>(env: Env<'a>, args: [Term<'a>; 6]) -> Option<Term<'a>> {
        let [client, topic, partition, target, key, value] = args;
        let undefined = Some(atoms::undefined().to_term(env));
        let client = Atom::from_term(client).ok()?;
        let Ok(topic) = Binary::from_term(topic) else {
            return undefined;
        };
        let Some(partition) = int(partition) else {
            return undefined;
        };
        let place = Place {
            client,
            topic: topic.as_slice(),
            partition,
        };
        directory::at(&place, undefined, |producer| {
            append(env, producer, target, key, value)
        })
    }
}

/// None: these are no target, key and value.
#[inline(always)]
fn append<'a>(
    env: Env<'a>,
    producer: &Producer,
    target: Term<'a>,
    key: Term<'a>,
    value: Term<'a>,
) -> Option<Term<'a>> {
    let target = Target::new(env, target)?;
    let now = now_ms();
    let mut waiter_id = None;
    let mut percent = 0;
    let result = producer.partition.append(
        target.when_full(),
        |writer, acks, first| {
            let mut allowance = Allowance::for_normal_scheduler();
            let records = write(writer, &mut allowance, now, key, value)?;
            percent += allowance.used_percent();
            acks.add(&target, first, records);
            Ok(())
        },
        || waiter(env, &target, &mut waiter_id),
    );
    if percent > 0 {
        consume_timeslice(env, percent);
    }
    let outcome = match result {
        Ok(appended) => match what_to_wait_for(env, appended, waiter_id) {
            Some(wait) => wait,
            None => return Some(process(env, producer)),
        },
        Err(AppendError::Closed) => (atoms::error(), atoms::closed()).encode(env),
        Err(AppendError::Refused(Refusal::TooMuch)) => atoms::dirty().to_term(env),
        Err(AppendError::Refused(Refusal::BadArg)) => return None,
    };
    // What is left to do needs the producer that answered, not one that may follow it.
    Some(make_tuple(env, [producer.encode(env), outcome]))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn produce_dirty<'a>(
    env: Env<'a>,
    producer: &'a ProducerResource,
    target: Term<'a>,
    key: Term<'a>,
    value: Term<'a>,
) -> NifResult<Term<'a>> {
    let target = Target::new(env, target).ok_or(rustler::Error::BadArg)?;
    let mut writer = BatchWriter::new(64 * 1024);
    let mut allowance = Allowance::unlimited();
    let records = write(&mut writer, &mut allowance, now_ms(), key, value)
        .map_err(|_| rustler::Error::BadArg)?;
    let mut acks = ErlAcks::default();
    acks.add(&target, 0, records);
    let mut waiter_id = None;
    let result = producer
        .partition
        .append_batch(target.when_full(), writer, acks, || {
            waiter(env, &target, &mut waiter_id)
        });
    Ok(match result {
        Ok(appended) => {
            what_to_wait_for(env, appended, waiter_id).unwrap_or_else(|| process(env, producer))
        }
        Err(_) => (atoms::error(), atoms::closed()).encode(env),
    })
}

/// Only a caller that waits for its own call can be held up.
fn waiter(env: Env<'_>, target: &Target<'_>, id: &mut Option<u64>) -> Option<Waiter> {
    if matches!(target, Target::Nobody) {
        return None;
    }
    let waiter = new_waiter(env);
    *id = Some(waiter.id);
    Some(waiter)
}

/// The calling process, under a number of its own.
pub(crate) fn new_waiter(env: Env<'_>) -> Waiter {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Waiter {
        pid: env.pid(),
        id: NEXT.fetch_add(1, Ordering::Relaxed),
    }
}

/// For a caller that is held up.
fn what_to_wait_for(env: Env<'_>, appended: Append, waiter_id: Option<u64>) -> Option<Term<'_>> {
    match (appended, waiter_id) {
        (Append::Wait, Some(id)) => Some((atoms::wait(), id).encode(env)),
        (Append::Full, Some(id)) => Some((atoms::full(), id).encode(env)),
        _ => None,
    }
}

fn process<'a>(env: Env<'a>, producer: &ProducerResource) -> Term<'a> {
    producer.partition.replies().process().encode(env)
}

#[rustler::nif]
fn producer_process(producer: Producer) -> LocalPid {
    producer.partition.replies().process()
}

#[rustler::nif]
fn producer_cancel_wait(producer: Producer, id: u64) -> Atom {
    producer.partition.forget_waiter(|waiter| waiter.id == id);
    atoms::ok()
}

#[rustler::nif]
fn producer_acks_done(producer: &ProducerResource) -> Atom {
    producer.partition.replies().passed_on();
    atoms::ok()
}

/// The reason, which is copied, may be large.
#[rustler::nif(schedule = "DirtyCpu")]
fn producer_close<'a>(producer: Producer, reason: Term<'a>, heir: LocalPid) -> Atom {
    producer.partition.replies().leave(reason, heir);
    producer.close();
    atoms::ok()
}

#[rustler::nif]
fn producer_info<'a>(env: Env<'a>, producer: Producer) -> NifResult<Term<'a>> {
    let (buffered, in_flight, waiting) = producer.partition.load();
    Term::map_from_pairs(
        env,
        &[
            ("buffered_calls", buffered as usize),
            ("in_flight_batches", in_flight),
            ("waiting", waiting),
        ]
        .map(|(name, count)| (Atom::from_str(env, name).ok(), count)),
    )
}

/// Every option must be there: their defaults are in `brod_producer_options`.
pub(crate) fn decode_config<'a>(options: &Options<'a>) -> Result<ProducerConfig, BadOption<'a>> {
    let idempotence = [
        ("auto", Idempotence::Auto),
        ("true", Idempotence::On),
        ("false", Idempotence::Off),
    ];
    let acks = |acks: &i16| (-1..=1).contains(acks);
    Ok(ProducerConfig {
        partition_buffer_limit: options.required("partition_buffer_limit", |_| true)?,
        partition_onwire_limit: options.optional("partition_onwire_limit", |limit| *limit > 0)?,
        max_batch_size: options.required("max_batch_size", |size| *size > 0)?,
        max_request_size: options.required("max_request_size", |size| *size > 0)?,
        max_retries: options.required("max_retries", |_| true)?,
        retry_backoff: options.required_ms("retry_backoff_ms")?,
        required_acks: options.required("required_acks", acks)?,
        ack_timeout: options.required_ms("ack_timeout")?,
        codec: options.required_choice("compression", &CODECS)?,
        compression_level: options.optional("compression_level", |_| true)?,
        max_linger: options.required_ms("max_linger_ms")?,
        max_linger_count: options.required("max_linger_count", |_| true)?,
        delivery_timeout: options.required_ms("delivery_timeout_ms")?,
        idempotence: options.required_choice("enable_idempotence", &idempotence)?,
        transaction: None,
        produce_version: options.optional("produce_req_vsn", |_| true)?,
        report_requests: options.required("telemetry", |_| true)?,
    })
}
