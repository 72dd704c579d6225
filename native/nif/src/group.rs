//! Group members: the NIFs, and how the engine's events reach the owner.

use std::sync::OnceLock;
use std::time::Duration;

use brod_engine::error::Error;
use brod_engine::group::{
    AssignBy, Assigned, CommitOutcome, DownReason, Event, Group, GroupConfig, GroupMember,
    JoinTerms, OffsetToCommit, TopicPartitions,
};
use bytes::Bytes;
use rustler::types::atom::Atom;
use rustler::{Binary, Encoder, Env, LocalPid, Monitor, NifResult, Resource, ResourceArc, Term};

use crate::answers::binary;
use crate::atoms;
use crate::client::Client;
use crate::list::List;
use crate::options::{BadOption, Options};
use crate::raw::make_tuple;
use crate::reason;
use crate::runtime::{self, Asker};

/// A member, as Erlang holds it.
pub(crate) struct GroupResource {
    /// Set before the handle is handed out. Apart from it because the member's events carry the
    /// handle; that circle ends when the member is closed, at the latest with its owner.
    group: OnceLock<Group>,
    is_static: bool,
}

#[rustler::resource_impl]
impl Resource for GroupResource {
    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        if let Some(group) = self.group.get() {
            group.close(!self.is_static, Box::new(|_| {}));
        }
    }
}

type Handle = ResourceArc<GroupResource>;

fn member(handle: &Handle) -> NifResult<&Group> {
    handle.group.get().ok_or(rustler::Error::BadArg)
}

#[rustler::nif]
fn group_open<'a>(env: Env<'a>, client: Client, config: Term<'a>) -> NifResult<Term<'a>> {
    let options = Options::new(config).ok_or(rustler::Error::BadArg)?;
    let config = match decode_config(&options) {
        Ok(config) => config,
        Err(bad) => return Ok((atoms::error(), bad).encode(env)),
    };
    if client.cluster.closed().is_cancelled() {
        return Ok((atoms::error(), atoms::client_down()).encode(env));
    }
    let runtime = runtime::handle().ok_or(rustler::Error::BadArg)?;
    let handle = ResourceArc::new(GroupResource {
        group: OnceLock::new(),
        is_static: config.group_instance_id.is_some(),
    });
    if env.monitor(&handle, &env.pid()).is_none() {
        return Err(rustler::Error::BadArg);
    }
    let (owner, named) = (env.pid(), handle.clone());
    let sink = move |join_id: i64, event: Event| {
        // An owner that is gone is noticed by the monitor.
        runtime::send(&owner, |env| {
            let event = encode_event(env, &event);
            (atoms::brod_group(), named.clone(), join_id, event).encode(env)
        });
    };
    let _inside = runtime.enter();
    let group = Group::open(client.cluster.clone(), config, Box::new(sink));
    let _ = handle.group.set(group);
    Ok((atoms::ok(), handle).encode(env))
}

// Dirty, like what follows: the lists may name thousands of topics and partitions.
#[rustler::nif(schedule = "DirtyCpu")]
fn group_join(
    handle: Handle,
    join_id: i64,
    topics: List<Binary<'_>>,
    user_data: Binary<'_>,
) -> NifResult<Atom> {
    let topics = topics.iter().map(text).collect::<NifResult<_>>()?;
    member(&handle)?.join(JoinTerms {
        join_id,
        topics,
        user_data: Bytes::copy_from_slice(&user_data),
    });
    Ok(atoms::ok())
}

type Shares<'a> = List<(Binary<'a>, List<(Binary<'a>, List<i32>)>)>;

#[rustler::nif(schedule = "DirtyCpu")]
fn group_assign(handle: Handle, join_id: i64, shares: Shares<'_>) -> NifResult<Atom> {
    let shares = shares
        .into_vec()
        .into_iter()
        .map(|(member_id, topics)| {
            let topics = topics
                .into_vec()
                .into_iter()
                .map(|(topic, partitions)| Ok((text(&topic)?, partitions.into_vec())))
                .collect::<NifResult<TopicPartitions>>()?;
            Ok((text(&member_id)?, topics))
        })
        .collect::<NifResult<_>>()?;
    member(&handle)?.assign(join_id, shares);
    Ok(atoms::ok())
}

#[rustler::nif(schedule = "DirtyCpu")]
fn group_commit<'a>(
    env: Env<'a>,
    handle: Handle,
    generation: i32,
    offsets: List<(Binary<'a>, i32, i64, Binary<'a>)>,
    timeout_ms: u32,
) -> NifResult<Term<'a>> {
    let offsets = offsets
        .iter()
        .map(|(topic, partition, offset, metadata)| {
            Ok(OffsetToCommit {
                topic: text(topic)?,
                partition: *partition,
                offset: *offset,
                metadata: text(metadata)?,
            })
        })
        .collect::<NifResult<_>>()?;
    let group = member(&handle)?;
    let (asker, reference) = Asker::new(env);
    let reply = |result: Result<CommitOutcome, Error>| {
        asker.reply(|env| match &result {
            Ok(refused) if refused.is_empty() => atoms::ok().to_term(env),
            Ok(refused) => {
                let refused: Vec<Term> = refused
                    .iter()
                    .map(|(topic, partition, code)| {
                        let code = reason::code(env, *code);
                        (binary(env, topic.as_bytes()), *partition, code).encode(env)
                    })
                    .collect();
                (atoms::partial(), refused).encode(env)
            }
            Err(error) => (atoms::error(), reason::error(env, error)).encode(env),
        });
    };
    let limit = Duration::from_millis(timeout_ms.into());
    group.commit(generation, offsets, limit, Box::new(reply));
    Ok(reference)
}

#[rustler::nif]
fn group_close<'a>(env: Env<'a>, handle: Handle, leave: bool) -> NifResult<Term<'a>> {
    let group = member(&handle)?;
    let (asker, reference) = Asker::new(env);
    let reply = |result: Result<(), Error>| {
        asker.reply(|env| match &result {
            Ok(()) => atoms::ok().to_term(env),
            Err(error) => (atoms::error(), reason::error(env, error)).encode(env),
        });
    };
    group.close(leave, Box::new(reply));
    Ok(reference)
}

/// Erlang's table of options has the defaults; here every key is there.
fn decode_config<'a>(options: &Options<'a>) -> Result<GroupConfig, BadOption<'a>> {
    let choices = [("engine", AssignBy::Engine), ("owner", AssignBy::Owner)];
    Ok(GroupConfig {
        group_id: options.required("group_id", |_| true)?,
        session_timeout: options.required_ms("session_timeout_ms")?,
        rebalance_timeout: options.required_ms("rebalance_timeout_ms")?,
        heartbeat_interval: options
            .required_ms("heartbeat_interval_ms")?
            .max(Duration::from_millis(10)),
        max_rejoin_attempts: options.required("max_rejoin_attempts", |_| true)?,
        rejoin_delay: options.required_ms("rejoin_delay_ms")?,
        retention_ms: options.required("retention_ms", |_| true)?,
        group_instance_id: match options.term("group_instance_id") {
            Some(term) if atoms::null() == term => None,
            _ => options.optional("group_instance_id", |_| true)?,
        },
        protocols: options
            .required("protocols", |names: &List<String>| !names.is_empty())?
            .into_vec(),
        assignment: options.required_choice("assignment", &choices)?,
        fetch_offsets: options.required("fetch_offsets", |_| true)?,
        create_topics: options.required("create_topics", |_| true)?,
        growth_check_interval: options
            .required_ms("growth_check_interval_ms")?
            .max(Duration::from_millis(100)),
    })
}

fn text(binary: &Binary<'_>) -> NifResult<String> {
    let text = std::str::from_utf8(binary).map_err(|_| rustler::Error::BadArg)?;
    Ok(text.to_owned())
}

/// An event as docs/boundary.md has it.
fn encode_event<'a>(env: Env<'a>, event: &Event) -> Term<'a> {
    match event {
        Event::Revoke(why) => {
            let why = Atom::from_str(env, why.name()).unwrap_or_else(|_| atoms::undefined());
            (atoms::revoke(), why).encode(env)
        }
        Event::Assign {
            members,
            partitions,
        } => {
            let members: Vec<Term> = members.iter().map(|m| encode_member(env, m)).collect();
            let partitions: Vec<Term> = partitions
                .iter()
                .map(|(topic, partition)| (binary(env, topic.as_bytes()), *partition).encode(env))
                .collect();
            (atoms::assign(), members, partitions).encode(env)
        }
        Event::Assigned(assigned) => {
            (atoms::assigned(), encode_assigned(env, assigned)).encode(env)
        }
        Event::UnknownTopics(topics) => {
            let topics: Vec<Term> = topics.iter().map(|t| binary(env, t.as_bytes())).collect();
            (atoms::unknown_topics(), topics).encode(env)
        }
        Event::Coordinator(endpoint) => {
            let host = binary(env, endpoint.host.as_bytes());
            (atoms::coordinator(), (host, endpoint.port)).encode(env)
        }
        Event::Retrying { attempt, reason } => {
            (atoms::retrying(), *attempt, reason::error(env, reason)).encode(env)
        }
        Event::Down(DownReason::ClientDown) => (atoms::down(), atoms::client_down()).encode(env),
        Event::Down(DownReason::MaxRejoinAttempts(last)) => {
            let why = (atoms::max_rejoin_attempts(), reason::error(env, last));
            (atoms::down(), why).encode(env)
        }
    }
}

/// `{MemberId, #kafka_group_member_metadata{}}`
fn encode_member<'a>(env: Env<'a>, member: &GroupMember) -> Term<'a> {
    let subscription = &member.subscription;
    let topics: Vec<Term> = subscription
        .topics
        .iter()
        .map(|topic| binary(env, topic.as_bytes()))
        .collect();
    let metadata = make_tuple(
        env,
        [
            atoms::kafka_group_member_metadata().to_term(env),
            subscription.version.encode(env),
            topics.encode(env),
            binary(env, &subscription.user_data),
        ],
    );
    (binary(env, member.member_id.as_bytes()), metadata).encode(env)
}

fn encode_assigned<'a>(env: Env<'a>, assigned: &Assigned) -> Term<'a> {
    let partitions: Vec<Term> = assigned
        .partitions
        .iter()
        .map(|p| {
            let offset = match p.offset {
                Some(offset) => offset.encode(env),
                None => atoms::undefined().to_term(env),
            };
            let topic = binary(env, p.topic.as_bytes());
            let metadata = binary(env, p.metadata.as_bytes());
            (topic, p.partition, offset, metadata).encode(env)
        })
        .collect();
    let pairs = [
        (
            atoms::member_id(),
            binary(env, assigned.member_id.as_bytes()),
        ),
        (atoms::generation(), assigned.generation.encode(env)),
        (atoms::leader(), assigned.leader.encode(env)),
        (atoms::protocol(), binary(env, assigned.protocol.as_bytes())),
        (atoms::partitions(), partitions.encode(env)),
    ];
    // The keys are distinct, the only thing that can be wrong with them.
    Term::map_from_pairs(env, &pairs).unwrap_or_else(|_| atoms::undefined().to_term(env))
}
