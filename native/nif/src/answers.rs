//! Results of operations as Erlang terms, in the shapes that docs/boundary.md gives them.

use brod_engine::admin::messages::{
    Broker, DescribedGroup, DescribedMember, ListedGroup, Metadata, Partition, Topic,
};
use brod_engine::admin::{BrokerGroups, CommittedTopic, Fetched};
use brod_engine::cluster::NodeId;
use brod_engine::error::Error;
use brod_engine::net::Endpoint;
use rustler::types::atom::Atom;
use rustler::{Encoder, Env, NewBinary, Term};

use crate::atoms;
use crate::messages::{message_list, Payloads};
use crate::reason;

mod keys {
    rustler::atoms! {
        brokers,
        client_host,
        client_id,
        cluster_id,
        committed_offset,
        controller_id,
        error_code,
        group_id,
        group_instance_id,
        group_state,
        host,
        is_internal,
        isr_nodes,
        leader_id,
        member_assignment,
        member_id,
        member_metadata,
        members,
        metadata,
        name,
        node_id,
        partition_index,
        partitions,
        port,
        protocol_data,
        protocol_type,
        rack,
        replica_nodes,
        topics,
    }
}

/// `ok | {error, R}`
pub(crate) fn done(env: Env<'_>, result: Result<(), Error>) -> Term<'_> {
    match result {
        Ok(()) => atoms::ok().to_term(env),
        Err(error) => failed(env, &error),
    }
}

/// As [`done`]; a refusal in the broker's words where it has some.
pub(crate) fn created(env: Env<'_>, result: Result<(), Error>) -> Term<'_> {
    match result {
        Err(Error::Kafka {
            message: Some(text),
            ..
        }) => (atoms::error(), text.as_str()).encode(env),
        other => done(env, other),
    }
}

/// `{ok, Integer}`
pub(crate) fn number(env: Env<'_>, result: Result<i64, Error>) -> Term<'_> {
    answer(env, result, |number| number.encode(env))
}

/// `{ok, {NodeId, Host, Port}}`
pub(crate) fn broker(env: Env<'_>, result: Result<(NodeId, Endpoint), Error>) -> Term<'_> {
    answer(env, result, |(node, endpoint)| {
        (node, endpoint.host.as_str(), endpoint.port).encode(env)
    })
}

/// `{ok, {StableOffset, [#kafka_message{}], NextIfEmpty}}`. Messages before one that cannot be read are
/// delivered: a fetch from there gives the error.
pub(crate) fn fetched(env: Env<'_>, result: Result<Fetched, Error>) -> Term<'_> {
    let fetched = match result {
        Ok(fetched) => fetched,
        Err(error) => return failed(env, &error),
    };
    let (messages, delivered) = message_list(
        env,
        &fetched.batches,
        &bytes::Bytes::new(),
        Payloads::Copied,
    );
    match delivered.failed {
        Some(error) if delivered.count == 0 => failed(env, &Error::CorruptBatch(error.to_string())),
        _ => (atoms::ok(), (fetched.stable_offset, messages, fetched.next)).encode(env),
    }
}

/// `{ok, Map}`
pub(crate) fn metadata(env: Env<'_>, result: Result<Metadata, Error>) -> Term<'_> {
    answer(env, result, |metadata| {
        let id = metadata.cluster_id.as_deref().unwrap_or_default();
        map(
            env,
            &[
                (
                    keys::brokers(),
                    list(env, &metadata.brokers, metadata_broker),
                ),
                (keys::cluster_id(), id.encode(env)),
                (keys::controller_id(), metadata.controller.encode(env)),
                (keys::topics(), list(env, &metadata.topics, metadata_topic)),
            ],
        )
    })
}

fn metadata_broker<'a>(env: Env<'a>, broker: &Broker) -> Term<'a> {
    let rack = broker.rack.as_deref().unwrap_or_default();
    map(
        env,
        &[
            (keys::host(), broker.host.as_str().encode(env)),
            (keys::node_id(), broker.node.encode(env)),
            (keys::port(), broker.port.encode(env)),
            (keys::rack(), rack.encode(env)),
        ],
    )
}

fn metadata_topic<'a>(env: Env<'a>, topic: &Topic) -> Term<'a> {
    let name = topic.name.as_deref().unwrap_or_default();
    map(
        env,
        &[
            (keys::error_code(), reason::code(env, topic.error)),
            (keys::is_internal(), topic.is_internal.encode(env)),
            (keys::name(), name.encode(env)),
            (
                keys::partitions(),
                list(env, &topic.partitions, metadata_partition),
            ),
        ],
    )
}

fn metadata_partition<'a>(env: Env<'a>, partition: &Partition) -> Term<'a> {
    map(
        env,
        &[
            (keys::error_code(), reason::code(env, partition.error)),
            (keys::isr_nodes(), partition.in_sync.encode(env)),
            (keys::leader_id(), partition.leader.encode(env)),
            (keys::partition_index(), partition.partition.encode(env)),
            (keys::replica_nodes(), partition.replicas.encode(env)),
        ],
    )
}

/// `{ok, [#{name, partitions}]}`
pub(crate) fn committed(env: Env<'_>, result: Result<Vec<CommittedTopic>, Error>) -> Term<'_> {
    answer(env, result, |topics| {
        list(env, &topics, |env, topic| {
            let partitions = list(env, &topic.partitions, |env, partition| {
                map(
                    env,
                    &[
                        (keys::committed_offset(), partition.offset.encode(env)),
                        (keys::error_code(), reason::code(env, partition.error)),
                        (keys::metadata(), partition.metadata.as_str().encode(env)),
                        (keys::partition_index(), partition.partition.encode(env)),
                    ],
                )
            });
            map(
                env,
                &[
                    (keys::name(), topic.name.as_str().encode(env)),
                    (keys::partitions(), partitions),
                ],
            )
        })
    })
}

/// `{ok, [{Group, ProtocolType}]}`
pub(crate) fn groups(env: Env<'_>, result: Result<Vec<ListedGroup>, Error>) -> Term<'_> {
    answer(env, result, |groups| list(env, &groups, group))
}

/// `{ok, [{{Host, Port}, [{Group, ProtocolType}] | {error, R}}]}`
pub(crate) fn all_groups(env: Env<'_>, result: Result<Vec<BrokerGroups>, Error>) -> Term<'_> {
    answer(env, result, |brokers| {
        list(env, &brokers, |env, (endpoint, groups)| {
            let groups = match groups {
                Ok(groups) => list(env, groups, group),
                Err(error) => failed(env, error),
            };
            let host = reason::string(env, &endpoint.host);
            ((host, endpoint.port), groups).encode(env)
        })
    })
}

fn group<'a>(env: Env<'a>, group: &ListedGroup) -> Term<'a> {
    (group.group_id.as_str(), group.protocol_type.as_str()).encode(env)
}

/// `{ok, [Map]}`
pub(crate) fn described(env: Env<'_>, result: Result<Vec<DescribedGroup>, Error>) -> Term<'_> {
    answer(env, result, |groups| {
        list(env, &groups, |env, group| {
            map(
                env,
                &[
                    (keys::error_code(), reason::code(env, group.error)),
                    (keys::group_id(), group.group_id.as_str().encode(env)),
                    (keys::group_state(), group.state.as_str().encode(env)),
                    (keys::members(), list(env, &group.members, member)),
                    (keys::protocol_data(), group.protocol.as_str().encode(env)),
                    (
                        keys::protocol_type(),
                        group.protocol_type.as_str().encode(env),
                    ),
                ],
            )
        })
    })
}

fn member<'a>(env: Env<'a>, member: &DescribedMember) -> Term<'a> {
    let instance = member.instance_id.as_str();
    map(
        env,
        &[
            (keys::client_host(), member.client_host.as_str().encode(env)),
            (keys::client_id(), member.client_id.as_str().encode(env)),
            (keys::group_instance_id(), instance.encode(env)),
            (keys::member_assignment(), binary(env, &member.assignment)),
            (keys::member_id(), member.member_id.as_str().encode(env)),
            (keys::member_metadata(), binary(env, &member.metadata)),
        ],
    )
}

/// `{ok, Term} | {error, R}`
fn answer<'a, T>(
    env: Env<'a>,
    result: Result<T, Error>,
    encode: impl FnOnce(T) -> Term<'a>,
) -> Term<'a> {
    match result {
        Ok(value) => (atoms::ok(), encode(value)).encode(env),
        Err(error) => failed(env, &error),
    }
}

fn failed<'a>(env: Env<'a>, error: &Error) -> Term<'a> {
    (atoms::error(), reason::error(env, error)).encode(env)
}

/// A copy of the bytes.
pub(crate) fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}

fn list<'a, T>(env: Env<'a>, items: &[T], encode: impl Fn(Env<'a>, &T) -> Term<'a>) -> Term<'a> {
    let terms: Vec<Term> = items.iter().map(|item| encode(env, item)).collect();
    terms.encode(env)
}

/// The keys are different from each other, so that a map always comes out.
fn map<'a>(env: Env<'a>, pairs: &[(Atom, Term<'a>)]) -> Term<'a> {
    Term::map_from_pairs(env, pairs).unwrap_or_else(|_| Term::map_new(env))
}
