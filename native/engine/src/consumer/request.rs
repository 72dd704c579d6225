//! Puts a Fetch request together.

use indexmap::IndexMap;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::config::Isolation;
use super::poll::Limits;
use super::session::Plan;

/// A request for what `plan` says.
pub fn fetch_request(
    plan: Plan,
    limits: &Limits,
    isolation: Isolation,
    rack_id: &str,
) -> FetchRequest {
    let mut topics: IndexMap<TopicName, Vec<FetchPartition>> = IndexMap::new();
    for ((topic, partition), ask) in plan.ask {
        topics.entry(topic).or_default().push(
            FetchPartition::default()
                .with_partition(partition)
                .with_current_leader_epoch(ask.leader_epoch)
                .with_fetch_offset(ask.offset)
                .with_partition_max_bytes(ask.max_bytes),
        );
    }
    let mut forgotten: IndexMap<TopicName, Vec<i32>> = IndexMap::new();
    for (topic, partition) in plan.forget {
        forgotten.entry(topic).or_default().push(partition);
    }
    let topics = topics.into_iter().map(|(topic, partitions)| {
        FetchTopic::default()
            .with_topic(topic)
            .with_partitions(partitions)
    });
    let forgotten = forgotten.into_iter().map(|(topic, partitions)| {
        ForgottenTopic::default()
            .with_topic(topic)
            .with_partitions(partitions)
    });
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(i32::try_from(limits.max_wait.as_millis()).unwrap_or(i32::MAX))
        .with_min_bytes(limits.min_bytes)
        .with_max_bytes(limits.max_bytes)
        .with_isolation_level(isolation.on_wire())
        .with_session_id(plan.session_id)
        .with_session_epoch(plan.session_epoch)
        .with_topics(topics.collect())
        .with_forgotten_topics_data(forgotten.collect())
        .with_rack_id(StrBytes::from_string(rack_id.to_owned()))
}
