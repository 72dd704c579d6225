//! What becomes of the batches of a request: each one's result goes to its partition.

use std::sync::Arc;
use std::time::Instant;

use super::acks::Replies;
use super::batch::Batch;
use super::failure::Cause;
use super::lane::Item;
use super::partition::Partition;
use super::shared::Shared;
use crate::cluster::{Cluster, Leader, NodeId, TopicId};
use crate::net::{Endpoint, NetError};
use brod_protocol::api::produce::{PartResult, Results};

/// So many characters of what a broker says are told.
const LONGEST_WORDS: usize = 500;

/// They are written, and no answer was asked for.
pub(super) fn written<R: Replies>(items: Vec<Item<R>>) {
    tell_all(items, |partition, _, batch| {
        partition.event(|buffer, _| Some(buffer.delivered(batch, -1)));
    });
}

/// The broker `node` has answered.
pub(super) fn answered<R: Replies>(
    shared: &Shared<R>,
    node: NodeId,
    items: Vec<Item<R>>,
    mut results: Results,
    now: Instant,
) {
    tell_all(items, |partition, topic_id, batch| {
        let result = results.find(partition.topic(), topic_id, partition.index());
        finish(shared, node, partition, batch, result, now);
    });
}

/// Nobody knows what the broker did with them.
pub(super) fn failed<R: Replies>(items: Vec<Item<R>>, error: &NetError, now: Instant) {
    tell_all(items, |partition, _, batch| {
        let cause = Cause::Net(error.clone());
        partition.event(|buffer, config| Some(buffer.failed(config, now, batch, cause)));
    });
}

/// Has each batch's result told, and lets go what was kept to be told together.
fn tell_all<R: Replies>(
    items: Vec<Item<R>>,
    mut tell: impl FnMut(&Arc<Partition<R>>, Option<TopicId>, Batch<R::Acks>),
) {
    let mut told = Vec::with_capacity(items.len());
    for item in items {
        tell(&item.partition, item.topic_id, item.batch);
        told.push(item.partition);
    }
    for partition in told {
        partition.replies().flush();
    }
}

fn finish<R: Replies>(
    shared: &Shared<R>,
    node: NodeId,
    partition: &Arc<Partition<R>>,
    batch: Batch<R::Acks>,
    result: Option<PartResult>,
    now: Instant,
) {
    let Some(result) = result else {
        let error = NetError::Protocol("the Produce response lacks a partition".into());
        partition
            .event(|buffer, config| Some(buffer.failed(config, now, batch, Cause::Net(error))));
        return;
    };
    if result.code.is_ok() {
        partition.event(|buffer, _| Some(buffer.delivered(batch, result.base_offset)));
        return;
    }
    let cluster = &shared.cluster;
    if let Some(named) = &result.leader {
        let (topic, index) = (partition.topic(), partition.index());
        let leader = Leader {
            node: named.node,
            epoch: named.epoch,
        };
        let listens = named.endpoint.as_ref();
        let endpoint = listens.and_then(|(host, port)| Endpoint::named(host, *port));
        cluster.learn_leader(topic, index, leader, endpoint.as_ref());
    }
    if result.code.is_leader_in_doubt() {
        cluster.request_refresh();
    }
    if result.code.is_refused_for_now() {
        cluster.batch_refused(partition.topic(), partition.index(), result.code, now);
    }
    if !result.code.is_retriable_for_producer() {
        tell_words(cluster, partition, &result);
    }
    let cause = Cause::Code(result.code);
    let leader = partition.leader(&cluster.snapshot());
    let moved = cause.is_leader_change() && leader.is_ok_and(|other| other != node);
    let bad_records = result.record_errors.iter();
    let bad_records: Vec<u32> = bad_records
        .filter_map(|(at, _)| u32::try_from(*at).ok())
        .collect();
    partition.event(|buffer, config| {
        if !bad_records.is_empty() && result.code.is_of_the_records() {
            return Some(buffer.records_refused(batch, result.code, &bad_records));
        }
        let outcome = buffer.failed(config, now, batch, cause);
        if moved {
            buffer.leader_moved();
        }
        Some(outcome)
    });
}

/// A refusal for good in the broker's own words (KIP-467), where it has any: callers get its code alone.
fn tell_words<R: Replies>(cluster: &Cluster, partition: &Partition<R>, result: &PartResult) {
    let mut of_records = result.record_errors.iter();
    let of_one = of_records.find_map(|(_, words)| words.as_deref());
    let Some(words) = result.message.as_deref().or(of_one) else {
        return;
    };
    let words: String = words.chars().take(LONGEST_WORDS).collect();
    let named = result.record_errors.len();
    tracing::warn!(
        client = &*cluster.config().connect.client_id,
        topic = &**partition.topic(),
        partition = partition.index(),
        records = (named > 0).then_some(named),
        says = ?words,
        "the broker refuses messages as {}",
        result.code,
    );
}
