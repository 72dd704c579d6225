//! What a client has done so far, as terms.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use brod_engine::cluster::{Snapshot, Trouble};
use brod_engine::consumer::Info;
use brod_engine::net::Endpoint;
use brod_engine::stats::{BrokerStats, ConsumeStats, Event, Noted, Place, ProduceStats, BOUNDS_US};
use rustler::types::atom::Atom;
use rustler::{Encoder, Env, Term};

use crate::answers::binary;
use crate::apis::snake_case;
use crate::atoms;
use crate::client::Client;

/// On a dirty scheduler: there may be thousands of partitions.
#[rustler::nif(schedule = "DirtyCpu")]
fn client_stats(env: Env<'_>, client: Client, since: u64) -> Term<'_> {
    let cluster = &client.cluster;
    let (snapshot, stats) = (cluster.snapshot(), cluster.stats());
    let mut known = stats.brokers();
    for endpoint in snapshot.brokers.values() {
        if !known.iter().any(|(other, _)| other == endpoint) {
            known.push((endpoint.clone(), stats.broker(endpoint)));
        }
    }
    let brokers: Vec<_> = known
        .iter()
        .map(|(endpoint, stats)| broker(env, &snapshot, endpoint, stats))
        .collect();
    let partitions = client.producers.partitions();
    let mut by_place = BTreeMap::new();
    for partition in &partitions {
        // One that was started again is beside the former as long as somebody holds that; they have one set of counters.
        let place = (&**partition.topic(), partition.index());
        let (load, _) = by_place
            .entry(place)
            .or_insert(((0, 0, 0), partition.stats()));
        let more = partition.load();
        *load = (load.0 + more.0, load.1 + more.1, load.2 + more.2);
    }
    let producers: Vec<_> = by_place
        .into_iter()
        .map(|(place, (load, stats))| producer(env, place, load, stats))
        .collect();
    let mut consumers = Vec::new();
    let mut stopped_consumers: BTreeSet<Place> = stats.failing_consumers().into_iter().collect();
    client
        .consumers
        .each(|topic, partition, info, stats, stopped| {
            consumers.push(consumer(env, (topic, partition), &info, stats, stopped));
            if stopped {
                stopped_consumers.insert((topic.into(), partition));
            }
        });
    let stopped_producers: BTreeSet<Place> = stats.failing_producers().into_iter().collect();
    let now = Instant::now();
    let troubled = |what| {
        let topics = cluster.troubled(what, now);
        let names = topics.iter().map(|topic| binary(env, topic.as_bytes()));
        names.collect::<Vec<_>>().encode(env)
    };
    let events = stats.journal.since(since);
    let events: Vec<_> = events.iter().map(|noted| event(env, noted)).collect();
    map(
        env,
        &[
            ("brokers", brokers.encode(env)),
            ("producers", producers.encode(env)),
            ("consumers", consumers.encode(env)),
            ("stopped_producers", places(env, &stopped_producers)),
            ("stopped_consumers", places(env, &stopped_consumers)),
            ("unavailable_topics", troubled(Trouble::Unavailable)),
            ("refused_topics", troubled(Trouble::Refused)),
            ("events", events.encode(env)),
            ("controller", node(env, Some(snapshot.controller))),
            ("rebootstraps", stats.rebootstraps.get().encode(env)),
            ("client_instance_id", instance(env, *stats.instance.lock())),
            ("closed", cluster.closed().is_cancelled().encode(env)),
            ("bounds_us", BOUNDS_US.as_slice().encode(env)),
        ],
    )
}

fn places<'a>(env: Env<'a>, places: &BTreeSet<Place>) -> Term<'a> {
    let all: Vec<_> = places
        .iter()
        .map(|(topic, partition)| (binary(env, topic.as_bytes()), *partition))
        .collect();
    all.encode(env)
}

/// As UUIDs are written.
fn instance(env: Env<'_>, id: Option<[u8; 16]>) -> Term<'_> {
    let Some(id) = id else {
        return atoms::undefined().to_term(env);
    };
    let hex = format!("{:032x}", u128::from_be_bytes(id));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &hex[part]);
    binary(env, parts.join("-").as_bytes())
}

fn broker<'a>(
    env: Env<'a>,
    snapshot: &Snapshot,
    endpoint: &Endpoint,
    stats: &BrokerStats,
) -> Term<'a> {
    let mut nodes = snapshot.brokers.iter();
    let id = nodes.find(|(_, other)| *other == endpoint);
    let apis: Vec<_> = stats
        .apis()
        .map(|(key, api)| {
            let name = brod_protocol::api::of(key).map(|api| snake_case(api.name));
            let name = name.unwrap_or_else(|| key.to_string());
            let latency = &api.latency;
            map(
                env,
                &[
                    ("api", binary(env, name.as_bytes())),
                    ("bytes_sent", api.bytes_sent.get().encode(env)),
                    ("bytes_received", api.bytes_received.get().encode(env)),
                    ("latency_sum_us", latency.sum_us().encode(env)),
                    ("latency_buckets", latency.buckets().as_slice().encode(env)),
                ],
            )
        })
        .collect();
    map(
        env,
        &[
            ("host", binary(env, endpoint.host.as_bytes())),
            ("port", endpoint.port.encode(env)),
            ("node", node(env, id.map(|(node, _)| *node))),
            ("connections", stats.connections().encode(env)),
            ("connects", stats.connects.get().encode(env)),
            ("connect_failures", stats.connect_failures.get().encode(env)),
            ("disconnects", stats.disconnects.get().encode(env)),
            ("closes", stats.closes.get().encode(env)),
            ("authentications", stats.authentications.get().encode(env)),
            (
                "authentication_failures",
                stats.auth_failures.get().encode(env),
            ),
            ("bytes_sent", stats.bytes_sent.get().encode(env)),
            ("bytes_received", stats.bytes_received.get().encode(env)),
            ("throttles", stats.throttles.get().encode(env)),
            ("throttled_ms", stats.throttled_ms.get().encode(env)),
            ("apis", apis.encode(env)),
        ],
    )
}

fn producer<'a>(
    env: Env<'a>,
    (topic, partition): (&str, i32),
    (buffered, in_flight, waiting): (u32, usize, usize),
    stats: &ProduceStats,
) -> Term<'a> {
    map(
        env,
        &[
            ("topic", binary(env, topic.as_bytes())),
            ("partition", partition.encode(env)),
            ("buffered_calls", buffered.encode(env)),
            ("in_flight_batches", in_flight.encode(env)),
            ("waiting_callers", waiting.encode(env)),
            ("batches_sent", stats.batches_sent.get().encode(env)),
            ("records_sent", stats.records_sent.get().encode(env)),
            ("bytes_sent", stats.bytes_sent.get().encode(env)),
            ("batches_acked", stats.batches_acked.get().encode(env)),
            ("batches_failed", stats.batches_failed.get().encode(env)),
            ("batches_retried", stats.batches_retried.get().encode(env)),
        ],
    )
}

fn consumer<'a>(
    env: Env<'a>,
    (topic, partition): (&str, i32),
    info: &Info,
    stats: &ConsumeStats,
    stopped: bool,
) -> Term<'a> {
    let number = |value: Option<i64>| match value {
        Some(value) => value.encode(env),
        None => atoms::undefined().to_term(env),
    };
    map(
        env,
        &[
            ("topic", binary(env, topic.as_bytes())),
            ("partition", partition.encode(env)),
            ("position", number(info.position)),
            ("next_offset", number(info.next_offset)),
            ("high_watermark", number(info.high_watermark)),
            ("lag", number(info.lag)),
            ("pending_count", info.pending_count.encode(env)),
            ("pending_bytes", info.pending_bytes.encode(env)),
            ("paused", info.paused.encode(env)),
            ("active", info.active.encode(env)),
            ("stopped", stopped.encode(env)),
            ("node", node(env, info.node)),
            ("fetches", stats.fetches.get().encode(env)),
            ("bytes_fetched", stats.bytes_fetched.get().encode(env)),
            ("records", stats.records.get().encode(env)),
            ("bytes", stats.bytes.get().encode(env)),
            ("pauses", stats.pauses.get().encode(env)),
            ("errors", stats.errors.get().encode(env)),
        ],
    )
}

/// `{Number, Broker, Kind, Value}`
fn event<'a>(env: Env<'a>, noted: &Noted) -> Term<'a> {
    let text = |text: &String| binary(env, text.as_bytes());
    let (kind, value) = match &noted.event {
        Event::Connected(us) => ("connected", us.encode(env)),
        Event::ConnectFailed(why) => ("connect_failed", text(why)),
        Event::Disconnected(why) => ("disconnected", text(why)),
        Event::Closed(why) => ("closed", binary(env, why.as_bytes())),
        Event::Authenticated(mechanism) => ("authenticated", text(mechanism)),
        Event::AuthenticationFailed(why) => ("authentication_failed", text(why)),
        Event::Throttled(ms) => ("throttled", ms.encode(env)),
        Event::Rebootstrapped => ("rebootstrapped", atoms::undefined().to_term(env)),
    };
    let kind = Atom::from_str(env, kind).unwrap_or_else(|_| atoms::undefined());
    (noted.number, text(&noted.broker), kind, value).encode(env)
}

fn node(env: Env<'_>, node: Option<i32>) -> Term<'_> {
    match node.filter(|node| *node >= 0) {
        Some(node) => node.encode(env),
        None => atoms::undefined().to_term(env),
    }
}

fn map<'a>(env: Env<'a>, pairs: &[(&str, Term<'a>)]) -> Term<'a> {
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| (Atom::from_str(env, name).ok(), value))
        .collect();
    Term::map_from_pairs(env, &pairs).unwrap_or_else(|_| atoms::undefined().to_term(env))
}
