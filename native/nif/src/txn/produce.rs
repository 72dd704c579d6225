//! Messages on their way into a transaction.

use std::ffi::CStr;
use std::sync::Arc;

use brod_engine::producer::{Append, AppendError, Failure, Partition, WhenFull};
use brod_engine::txn::Trouble;
use brod_protocol::batch_writer::BatchWriter;
use brod_protocol::error::ErrorCode;
use rustler::codegen_runtime::inventory;
use rustler::schedule::consume_timeslice;
use rustler::{Binary, Encoder, Env, NifResult, Term};

use super::replies::{failure, trouble, TxnAcks, TxnReplies};
use super::{Txn, TxnResource};
use crate::acks::Target;
use crate::atoms;
use crate::batch_input::{now_ms, write, Allowance, Refusal};
use crate::directory;
use crate::producer::{new_waiter, LONGEST_TOPIC};
use crate::raw::int;
use crate::raw::message_nif::{message_nif, MessageNif};
use crate::reason;
use crate::replies::Waiter;

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

/// As [`txn_produce`] with the process of a transaction, for a partition that it has been given messages for already: the way of
/// every message but the first. `undefined`: it has not, or it takes no messages.
struct TxnProduceKnown;

inventory::submit!(message_nif::<6, TxnProduceKnown>());

impl MessageNif<6> for TxnProduceKnown {
    const NAME: &'static CStr = c"txn_produce_known";

    fn call<'a>(env: Env<'a>, args: [Term<'a>; 6]) -> Option<Term<'a>> {
        let [process, target, topic, index, key, value] = args;
        let undefined = Some(atoms::undefined().to_term(env));
        let Ok(topic) = Binary::from_term(topic) else {
            return undefined;
        };
        let Some(index) = int(index) else {
            return undefined;
        };
        let Ok(topic) = std::str::from_utf8(topic.as_slice()) else {
            return undefined;
        };
        let target = Target::new(env, target)?;
        let outcome = directory::transaction_of(process, |txn| {
            let mut call = Call::new(env, target, key, value, Allowance::for_normal_scheduler);
            let appended = txn
                .txn
                .with_known_partition(topic, index, |partition| call.append(partition))?;
            Some(call.answer(txn, Ok(appended)).ok())
        });
        outcome.flatten().unwrap_or(undefined)
    }
}

/// `ok`, `{wait, Id}`, `dirty`, or `{error, R}`.
fn produce<'a>(
    env: Env<'a>,
    txn: &TxnResource,
    target: Term<'a>,
    (topic, index): (&Binary<'a>, i32),
    (key, value): (Term<'a>, Term<'a>),
    allowance: fn() -> Allowance,
) -> NifResult<Term<'a>> {
    let target = Target::new(env, target).ok_or(rustler::Error::BadArg)?;
    if topic.len() > LONGEST_TOPIC {
        let code = reason::code(env, ErrorCode::INVALID_TOPIC_EXCEPTION);
        return Ok((atoms::error(), code).encode(env));
    }
    let topic = std::str::from_utf8(topic).map_err(|_| rustler::Error::BadArg)?;
    let mut call = Call::new(env, target, key, value, allowance);
    let appended = txn.txn.with_partition(
        topic,
        index,
        || TxnReplies,
        |partition| call.append(partition),
    );
    call.answer(txn, appended)
}

/// What became of a call, and why the partition has stopped, if it has.
type Appended = Result<Append, (AppendError<Refusal>, Option<Failure>)>;

/// One call's messages on their way into a partition.
struct Call<'a> {
    env: Env<'a>,
    target: Target<'a>,
    key: Term<'a>,
    value: Term<'a>,
    allowance: fn() -> Allowance,
    /// Under this number the caller is told that there is room.
    waiter: Option<u64>,
    /// How much of the scheduler's timeslice was used.
    percent: i32,
}

impl<'a> Call<'a> {
    fn new(
        env: Env<'a>,
        target: Target<'a>,
        key: Term<'a>,
        value: Term<'a>,
        allowance: fn() -> Allowance,
    ) -> Self {
        Call {
            env,
            target,
            key,
            value,
            allowance,
            waiter: None,
            percent: 0,
        }
    }

    fn append(&mut self, partition: &Arc<Partition<TxnReplies>>) -> Appended {
        let now = now_ms();
        let Call {
            env,
            target,
            key,
            value,
            allowance,
            waiter,
            percent,
        } = self;
        let appended = partition.append(
            WhenFull::Take,
            |writer: &mut BatchWriter, acks: &mut TxnAcks, first| {
                let mut allowance = allowance();
                let records = write(writer, &mut allowance, now, *key, *value)?;
                *percent += allowance.used_percent();
                acks.add(target, first, records);
                Ok(())
            },
            || room_for(*env, target, waiter),
        );
        appended.map_err(|error| (error, partition.stop_reason()))
    }

    fn answer(self, txn: &TxnResource, appended: Result<Appended, Trouble>) -> NifResult<Term<'a>> {
        let env = self.env;
        if self.percent > 0 {
            consume_timeslice(env, self.percent.min(100));
        }
        let refused = |why: Term<'a>| (atoms::error(), why).encode(env);
        Ok(match (appended, self.waiter) {
            (Err(why), _) => refused(trouble(env, &why)),
            (Ok(Ok(Append::Wait)), Some(id)) => (atoms::wait(), id).encode(env),
            (Ok(Ok(_)), _) => atoms::ok().to_term(env),
            (Ok(Err((AppendError::Refused(Refusal::TooMuch), _))), _) => {
                atoms::dirty().to_term(env)
            }
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
}

/// Who waits for an answer is held up by that already.
fn room_for(env: Env<'_>, target: &Target<'_>, id: &mut Option<u64>) -> Option<Waiter> {
    if !matches!(target, Target::Nobody) {
        return None;
    }
    let waiter = new_waiter(env);
    *id = Some(waiter.id);
    Some(waiter)
}
