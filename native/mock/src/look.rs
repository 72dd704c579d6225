//! What tests see of a cluster without being its clients.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use brod_protocol::batch_reader::{batches, TimestampType};
use brod_protocol::otlp::{Data, Metric, Number, Value as Text};
use serde_json::{json, Value};

use crate::cluster::Cluster;
use crate::storage::Log;

/// All messages of a topic, those of aborted transactions too; bytes are in base 64, and null stays null.
pub(crate) fn messages(cluster: &Cluster, topic: &str) -> Result<Value, String> {
    let topic = cluster.topics.get(topic).ok_or("no such topic")?;
    let mut found = Vec::new();
    for (index, partition) in topic.partitions.iter().enumerate() {
        for stored in partition.log.all() {
            for batch in batches(stored.clone()) {
                let batch = batch.map_err(|error| error.to_string())?;
                if batch.is_control() {
                    continue;
                }
                let by_broker = batch.timestamp_type() == TimestampType::Append;
                let records = batch
                    .records(usize::MAX)
                    .map_err(|error| error.to_string())?;
                for record in records.iter() {
                    let record = record.map_err(|error| error.to_string())?;
                    if record.offset < partition.log.start() {
                        continue;
                    }
                    let in_base_64 = |span| STANDARD.encode(records.slice(span));
                    let headers = record.headers.clone().map(|(name, value)| {
                        let value = value.map(|value| STANDARD.encode(value));
                        json!([STANDARD.encode(name), value])
                    });
                    found.push(json!({
                        "partition": index,
                        "offset": record.offset,
                        "ts": record.timestamp,
                        "append_time": by_broker,
                        "key": record.key.map(in_base_64),
                        "value": record.value.map(in_base_64),
                        "headers": headers.collect::<Vec<_>>(),
                    }));
                }
            }
        }
    }
    Ok(Value::Array(found))
}

/// How many offsets of a topic a group has not committed, up to the last that holds a message for it; none where there is
/// no such topic.
pub(crate) fn lag(cluster: &Cluster, group: &str, topic: &str) -> Option<i64> {
    let partitions = &cluster.topics.get(topic)?.partitions;
    let groups = &cluster.coordination.groups;
    let behind = (0..).zip(partitions).map(|(index, partition)| {
        let committed = groups.committed(group, topic, index);
        let at = committed.map_or(0, |committed| committed.offset);
        (end_of_messages(&partition.log) - at.max(partition.log.start())).max(0)
    });
    Some(behind.sum())
}

/// No consumer commits what it never gets: markers, and messages of aborted transactions.
fn end_of_messages(log: &Log) -> i64 {
    let below = log.last_stable();
    let newest = log.all().rev().find_map(|bytes| {
        let batch = batches(bytes.clone()).next()?.ok()?;
        let (base, end) = (batch.base_offset, batch.last_offset() + 1);
        let aborted = batch.is_transactional()
            && log.aborted(base, end).any(|aborted| {
                aborted.producer == batch.producer_id
                    && aborted.first <= base
                    && base < aborted.last
            });
        (!batch.is_control() && !aborted && end <= below).then_some(end)
    });
    newest.unwrap_or_else(|| log.start())
}

/// The metrics that clients have pushed, by push: each with the values of its points and their attributes.
pub(crate) fn pushed(cluster: &Cluster) -> Value {
    let pushes = cluster.pushes.iter().map(|push| {
        json!({
            "client": push.client_id,
            "instance": push.instance.to_string(),
            "terminating": push.terminating,
            "metrics": push.data.metrics().map(metric).collect::<Vec<_>>(),
        })
    });
    pushes.collect()
}

fn metric(metric: &Metric) -> Value {
    let (kind, points) = match &metric.data {
        Some(Data::Gauge(gauge)) => ("gauge", &*gauge.data_points),
        Some(Data::Sum(sum)) => ("sum", &*sum.data_points),
        None => ("none", &[][..]),
    };
    let points = points.iter().map(|point| {
        let value = match point.value {
            // Short, and without an exponent.
            Some(Number::Double(value)) => json!((value * 1000.0).round() / 1000.0),
            Some(Number::Int(value)) => json!(value),
            None => Value::Null,
        };
        let attributes = point.attributes.iter().map(|attribute| {
            let value = attribute.value.as_ref().and_then(|any| any.value.as_ref());
            let value = value.map(|Text::Text(text)| text.as_str());
            (attribute.key.clone(), json!(value))
        });
        json!({ "value": value, "attributes": attributes.collect::<serde_json::Map<_, _>>() })
    });
    json!({ "name": metric.name, "kind": kind, "points": points.collect::<Vec<_>>() })
}
