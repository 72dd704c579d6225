//! Transactions: the NIFs.

mod produce;
mod replies;

use brod_engine::txn::{GroupMember, OffsetsToAdd, TransactionConfig, Transactional};
use rustler::types::atom::Atom;
use rustler::{Binary, Encoder, Env, LocalPid, Monitor, NifResult, Resource, ResourceArc, Term};

use self::replies::trouble;
pub(crate) use self::replies::TxnReplies;
use crate::atoms;
use crate::client::Client;
use crate::directory::{self, Process};
use crate::list::List;
use crate::options::{BadOption, Options};
use crate::producer;
use crate::runtime::{self, Asker};

/// The producer of a transactional id, as Erlang holds it.
pub(crate) struct TxnResource {
    txn: Transactional<TxnReplies>,
    /// The process that opened it.
    owner: LocalPid,
}

impl TxnResource {
    fn close(&self, env: Env<'_>) {
        let process = Process::new(self.owner.encode(env));
        directory::leave_transaction(&process, |other| std::ptr::eq(&**other, self));
        self.txn.close();
    }
}

#[rustler::resource_impl]
impl Resource for TxnResource {
    fn down<'a>(&'a self, env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.close(env);
    }
}

/// A handle to one.
pub(crate) type Txn = ResourceArc<TxnResource>;

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
        owner: env.pid(),
    });
    if env.monitor(&txn, &env.pid()).is_none() {
        return Err(rustler::Error::BadArg);
    }
    directory::enter_transaction(Process::new(txn.owner.encode(env)), txn.clone());
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
fn txn_close(env: Env<'_>, txn: Txn) -> Atom {
    txn.close(env);
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
