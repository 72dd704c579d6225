//! Transactions: the NIFs, and how callers learn what became of their records.

use std::ops::Range;

use brod_engine::error::Error;
use brod_engine::net::NetError;
use brod_engine::producer::{Acks, Append, AppendError, Failure, Replies, Split, WhenFull};
use brod_engine::txn::{GroupMember, OffsetsToAdd, TransactionConfig, Transactional, Trouble};
use brod_protocol::batch_writer::BatchWriter;
use brod_protocol::error::ErrorCode;
use rustler::schedule::consume_timeslice;
use rustler::types::atom::Atom;
use rustler::{Binary, Encoder, Env, LocalPid, Monitor, NifResult, Resource, ResourceArc, Term};

use crate::acks::{ErlAcks, Target, WIDTH};
use crate::apis;
use crate::atoms;
use crate::batch_input::{now_ms, write, Allowance, Refusal};
use crate::client::Client;
use crate::list::List;
use crate::options::{BadOption, Options};
use crate::producer;
use crate::reason;
use crate::replies::Waiter;
use crate::runtime::{self, Asker};

/// In bytes. A longer name would only cost time: no topic has it.
const LONGEST_TOPIC: usize = 249;

/// The producer of a transactional id, as Erlang holds it.
pub(crate) struct TxnResource {
    txn: Transactional<TxnReplies>,
}

#[rustler::resource_impl]
impl Resource for TxnResource {
    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.txn.close();
    }
}

type Txn = ResourceArc<TxnResource>;

/// Whom a batch's callers are, and whether some of them are told nothing.
#[derive(Default)]
pub(crate) struct TxnAcks {
    told: ErlAcks,
    has_untold: bool,
}

impl TxnAcks {
    fn add(&mut self, target: &Target<'_>, first: u32, records: u32) {
        self.has_untold |= matches!(target, Target::Nobody);
        self.told.add(target, first, records);
    }
}

impl Acks for TxnAcks {
    type Mark = (usize, bool);

    fn mark(&self) -> Self::Mark {
        (self.told.mark(), self.has_untold)
    }

    fn rollback(&mut self, (told, has_untold): Self::Mark) {
        self.told.rollback(told);
        self.has_untold = has_untold;
    }

    fn calls(&self) -> u32 {
        Acks::calls(&self.told)
    }

    fn call_at(&self, at: u32) -> Option<Range<u32>> {
        self.told.call_at(at)
    }

    fn split(self, at: u32) -> Split<Self> {
        // Which of them have a part of the untold calls is not known.
        let has_untold = self.has_untold;
        let with = |told| TxnAcks { told, has_untold };
        let parts = self.told.split(at);
        Split {
            before: with(parts.before),
            across: parts.across.map(|(acks, records)| (with(acks), records)),
            after: with(parts.after),
        }
    }

    fn has_untold(&self) -> bool {
        self.has_untold
    }
}

/// Tells a partition's results to callers: `{brod_reply, Ref, {ok, Offset} | {error, R}}`.
pub(crate) struct TxnReplies;

impl TxnReplies {
    fn tell(&self, acks: TxnAcks, result: impl for<'a> Fn(Env<'a>, u32) -> Term<'a>) {
        let Some(targets) = acks.told.targets else {
            return;
        };
        targets.store.with(|_, terms| {
            for (index, call) in targets.calls.iter().enumerate() {
                let (target, reference) = (terms[index * WIDTH], terms[index * WIDTH + 1]);
                let Ok(pid) = target.decode::<LocalPid>() else {
                    continue;
                };
                runtime::send(&pid, |env| {
                    let reference = reference.in_env(env);
                    (atoms::brod_reply(), reference, result(env, call.first)).encode(env)
                });
            }
        });
    }
}

impl Replies for TxnReplies {
    type Acks = TxnAcks;
    type Waiter = Waiter;

    fn delivered(&self, acks: TxnAcks, base_offset: i64) {
        self.tell(acks, |env, first| {
            let offset = match base_offset {
                ..0 => -1,
                base => base + i64::from(first),
            };
            (atoms::ok(), offset).encode(env)
        });
    }

    fn flush(&self) {}

    fn failed(&self, acks: TxnAcks, why: &Failure) {
        self.tell(acks, |env, _| {
            (atoms::error(), failure(env, why)).encode(env)
        });
    }

    fn room(&self, waiters: Vec<Waiter>) {
        for waiter in waiters {
            runtime::send(&waiter.pid, |env| {
                (atoms::brod_room(), waiter.id).encode(env)
            });
        }
    }

    fn sent(&self, _records: u32, _payload: usize) {}

    // Whoever produces next learns it.
    fn stopped(&self, _why: &Failure) {}
}

/// As brod's users know it: fenced producers hear of an epoch, whatever newer brokers call it.
fn code(env: Env<'_>, code: ErrorCode) -> Term<'_> {
    match code {
        ErrorCode::PRODUCER_FENCED => reason::code(env, ErrorCode::INVALID_PRODUCER_EPOCH),
        code => reason::code(env, code),
    }
}

/// Why records are not delivered, the `R` of `{error, R}`.
fn failure<'a>(env: Env<'a>, why: &Failure) -> Term<'a> {
    use brod_engine::producer::Cause;
    match why {
        Failure::NotRetriable(kafka) => code(env, *kafka),
        Failure::RetriesUsedUp(Cause::Code(kafka))
        | Failure::DeliveryTimeout(Some(Cause::Code(kafka))) => code(env, *kafka),
        Failure::RetriesUsedUp(Cause::Net(error))
        | Failure::DeliveryTimeout(Some(Cause::Net(error))) => reason::net(env, error),
        Failure::DeliveryTimeout(None) => atoms::timeout().to_term(env),
        Failure::Codec(text) => (atoms::encoding_failed(), text.as_str()).encode(env),
        // It was aborted, or its client is closed.
        Failure::Closed => code(env, ErrorCode::INVALID_TXN_STATE),
    }
}

/// Why a transaction cannot go on, the `R` of `{error, R}`.
fn trouble<'a>(env: Env<'a>, why: &Trouble) -> Term<'a> {
    match why {
        Trouble::Abortable(kafka) | Trouble::Fatal(kafka) => code(env, *kafka),
        Trouble::Timeout(Some(Error::Kafka { code: kafka, .. })) => code(env, *kafka),
        Trouble::Timeout(Some(error @ Error::Unreachable(_))) => reason::error(env, error),
        Trouble::Timeout(_) => atoms::timeout().to_term(env),
        Trouble::Expired => atoms::transaction_timed_out().to_term(env),
        Trouble::Unsupported(Error::Net(NetError::UnsupportedApi { api })) => {
            let (api, range) = apis::named(env, api);
            (atoms::not_supported(), api, range).encode(env)
        }
        Trouble::Unsupported(error) => reason::error(env, error),
        Trouble::Closed => atoms::client_down().to_term(env),
    }
}

#[rustler::nif]
fn txn_open<'a>(env: Env<'a>, client: Client, config: Term<'a>) -> NifResult<Term<'a>> {
    let options = Options::new(config).ok_or(rustler::Error::BadArg)?;
    let config = match decode_config(&options) {
        Ok(config) => config,
        Err(bad) => return Ok((atoms::error(), bad).encode(env)),
    };
    if client.cluster.closed().is_cancelled() {
        return Ok((atoms::error(), atoms::client_down()).encode(env));
    }
    let runtime = runtime::handle().ok_or(rustler::Error::BadArg)?;
    let _inside = runtime.enter();
    let txn = ResourceArc::new(TxnResource {
        txn: client.transactions.open(config),
    });
    if env.monitor(&txn, &env.pid()).is_none() {
        return Err(rustler::Error::BadArg);
    }
    Ok((atoms::ok(), txn).encode(env))
}

fn decode_config<'a>(options: &Options<'a>) -> Result<TransactionConfig, BadOption<'a>> {
    Ok(TransactionConfig {
        id: options.required("transactional_id", |id: &String| !id.is_empty())?,
        transaction_timeout: options.required_ms("transaction_timeout")?,
        attempt_timeout: options.required_ms("attempt_timeout")?,
        step_timeout: options.required_ms("step_timeout")?,
        backoff: options.required_ms("backoff")?,
        producer: producer::decode_config(&options.required_map("producer")?)?,
    })
}

/// Answers an asker with `ok | {error, R}`.
fn reply(asker: Asker) -> brod_engine::txn::Reply {
    Box::new(move |result| {
        asker.reply(|env| match &result {
            Ok(()) => atoms::ok().to_term(env),
            Err(why) => (atoms::error(), trouble(env, why)).encode(env),
        });
    })
}

#[rustler::nif]
fn txn_begin(env: Env<'_>, txn: Txn) -> Term<'_> {
    let (asker, reference) = Asker::new(env);
    txn.txn.begin(reply(asker));
    reference
}

#[rustler::nif]
fn txn_end(env: Env<'_>, txn: Txn, commit: bool) -> Term<'_> {
    let (asker, reference) = Asker::new(env);
    txn.txn.end(commit, reply(asker));
    reference
}

#[rustler::nif]
fn txn_close(txn: Txn) -> Atom {
    txn.txn.close();
    atoms::ok()
}

#[rustler::nif]
fn txn_refused(txn: Txn) -> Atom {
    txn.txn.note_refusal();
    atoms::ok()
}

type Member<'a> = (i32, Binary<'a>, Term<'a>);

// Dirty: the list may name thousands of partitions.
#[rustler::nif(schedule = "DirtyCpu")]
fn txn_offsets<'a>(
    env: Env<'a>,
    txn: Txn,
    group_id: Binary<'a>,
    member: Term<'a>,
    offsets: List<(Binary<'a>, i32, i64, Binary<'a>)>,
) -> NifResult<Term<'a>> {
    let member = match atoms::undefined() == member {
        true => None,
        false => {
            let (generation, member_id, instance_id): Member = member.decode()?;
            let instance_id = Binary::from_term(instance_id).ok();
            Some(GroupMember {
                generation,
                member_id: text(&member_id)?,
                instance_id: instance_id.map(|id| text(&id)).transpose()?,
            })
        }
    };
    let offsets = offsets
        .iter()
        .map(|(topic, partition, offset, metadata)| {
            Ok((text(topic)?, *partition, *offset, text(metadata)?))
        })
        .collect::<NifResult<_>>()?;
    let to_add = OffsetsToAdd {
        group_id: text(&group_id)?,
        member,
        offsets,
    };
    let (asker, reference) = Asker::new(env);
    txn.txn.add_offsets(to_add, reply(asker));
    Ok(reference)
}

fn text(binary: &Binary<'_>) -> NifResult<String> {
    let text = std::str::from_utf8(binary).map_err(|_| rustler::Error::BadArg)?;
    Ok(text.to_owned())
}

#[rustler::nif]
fn txn_produce<'a>(
    env: Env<'a>,
    txn: Txn,
    target: Term<'a>,
    topic: Binary<'a>,
    partition: i32,
    key: Term<'a>,
    value: Term<'a>,
) -> NifResult<Term<'a>> {
    produce(
        env,
        &txn,
        target,
        (&topic, partition),
        (key, value),
        Allowance::for_normal_scheduler,
    )
}

#[rustler::nif(schedule = "DirtyCpu")]
fn txn_produce_dirty<'a>(
    env: Env<'a>,
    txn: Txn,
    target: Term<'a>,
    topic: Binary<'a>,
    partition: i32,
    key: Term<'a>,
    value: Term<'a>,
) -> NifResult<Term<'a>> {
    produce(
        env,
        &txn,
        target,
        (&topic, partition),
        (key, value),
        Allowance::unlimited,
    )
}

/// `ok`, `{wait, Id}`, `dirty`, or `{error, R}`.
fn produce<'a>(
    env: Env<'a>,
    txn: &TxnResource,
    target: Term<'a>,
    (topic, index): (&Binary<'a>, i32),
    (key, value): (Term<'a>, Term<'a>),
    allowance: impl Fn() -> Allowance,
) -> NifResult<Term<'a>> {
    let target = Target::new(env, target)?;
    if topic.len() > LONGEST_TOPIC {
        let code = reason::code(env, ErrorCode::INVALID_TOPIC_EXCEPTION);
        return Ok((atoms::error(), code).encode(env));
    }
    let topic = std::str::from_utf8(topic).map_err(|_| rustler::Error::BadArg)?;
    let now = now_ms();
    let (mut waiter, mut percent) = (None, 0);
    let appended = txn.txn.with_partition(
        topic,
        index,
        || TxnReplies,
        |partition| {
            let appended = partition.append(
                WhenFull::Take,
                |writer: &mut BatchWriter, acks: &mut TxnAcks, first| {
                    let mut allowance = allowance();
                    let records = write(writer, &mut allowance, now, key, value)?;
                    percent += allowance.used_percent();
                    acks.add(&target, first, records);
                    Ok(())
                },
                || room_for(env, &target, &mut waiter),
            );
            appended.map_err(|error| (error, partition.stop_reason()))
        },
    );
    if percent > 0 {
        consume_timeslice(env, percent.min(100));
    }
    let refused = |why: Term<'a>| (atoms::error(), why).encode(env);
    Ok(match (appended, waiter) {
        (Err(why), _) => refused(trouble(env, &why)),
        (Ok(Ok(Append::Wait)), Some(id)) => (atoms::wait(), id).encode(env),
        (Ok(Ok(_)), _) => atoms::ok().to_term(env),
        (Ok(Err((AppendError::Refused(Refusal::TooMuch), _))), _) => atoms::dirty().to_term(env),
        (Ok(Err((AppendError::Refused(Refusal::BadArg), _))), _) => {
            return Err(rustler::Error::BadArg)
        }
        (Ok(Err((AppendError::Closed, stopped))), _) => match (txn.txn.trouble(), stopped) {
            (Some(why), _) => refused(trouble(env, &why)),
            (None, Some(why)) => refused(failure(env, &why)),
            (None, None) => refused(atoms::closed().to_term(env)),
        },
    })
}

/// Who waits for an answer is held up by that already.
fn room_for(env: Env<'_>, target: &Target<'_>, id: &mut Option<u64>) -> Option<Waiter> {
    if !matches!(target, Target::Nobody) {
        return None;
    }
    let waiter = producer::new_waiter(env);
    *id = Some(waiter.id);
    Some(waiter)
}
