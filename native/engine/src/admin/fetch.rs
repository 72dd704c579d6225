//! One fetch of one partition, without a consumer.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;

use super::call;
use super::leader::at_leader;
use crate::cluster::{Cluster, Purpose};
use crate::error::Error;
use brod_protocol::api::fetch::{self, FetchRequest};
use brod_protocol::batch_reader::{batches, Batch, BatchError};
use brod_protocol::decoded_batch::DecodedBatch;
use brod_protocol::error::ErrorCode;
use brod_protocol::isolation::Isolation;
use brod_protocol::records::Share;

/// Connections per broker for single fetches: those of different partitions seldom wait for each
/// other. Counted down from the highest lane, out of the way of the consumers'.
const LANES: u64 = 8;

/// How to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchOptions {
    /// How long the broker may wait for `min_bytes`.
    pub max_wait: Duration,
    /// What the broker collects before it answers.
    pub min_bytes: i32,
    /// What it may return; a larger message comes all the same.
    pub max_bytes: i32,
    /// Which messages are seen.
    pub isolation: Isolation,
    /// What a batch may unpack to, and one message take with its headers; more is an error.
    pub max_batch_bytes: usize,
    /// What the messages of one call take in memory, about, if they are more than one.
    pub max_memory: usize,
}

/// What a fetch returned.
#[derive(Debug)]
pub struct Fetched {
    /// The end of what can be seen: the last stable offset when reading committed messages only,
    /// else the high watermark.
    pub stable_offset: i64,
    /// Where to go on if there are no messages: behind what is not to be seen.
    pub next: i64,
    /// In order of offsets; none is a control batch or aborted. Empty at the end of the partition.
    pub batches: Vec<DecodedBatch>,
}

/// Fetches messages from `offset` on.
///
/// Goes on where there is nothing to be seen (aborted transactions, holes left by compaction)
/// until it finds a message or the end. A leader that moves is followed. Asks for more where brokers before
/// KIP-74 return a message that is larger than `max_bytes` cut off.
pub async fn fetch_once(
    cluster: &Cluster,
    topic: &str,
    partition: i32,
    offset: i64,
    mut options: FetchOptions,
    limit: Duration,
) -> Result<Fetched, Error> {
    let purpose = purpose(topic, partition);
    let mut position = offset;
    loop {
        let request = |_version| request(topic, partition, position, options);
        let purpose = &purpose;
        let response = at_leader(cluster, topic, partition, limit, |node| async move {
            let connection = cluster.connection(node, purpose.clone()).await?;
            let response = call(cluster, &connection, request).await?;
            Ok(fetch::read(response).only(topic, partition)?)
        })
        .await?;
        let records = response.records.clone();
        match interpret(response, position, options) {
            Ok(Step::Done(fetched)) => return Ok(fetched),
            Ok(Step::Again(next)) => position = next,
            Err(error) => options.max_bytes = enough_for_first(records, options).ok_or(error)?,
        }
    }
}

#[derive(Debug)]
enum Step {
    Done(Fetched),
    /// To be fetched from this offset on.
    Again(i64),
}

fn purpose(topic: &str, partition: i32) -> Purpose {
    let mut hasher = DefaultHasher::new();
    (topic, partition).hash(&mut hasher);
    Purpose::Fetch(u32::MAX - (hasher.finish() % LANES) as u32)
}

/// A request outside of any fetch session, by name: callers have named the topic, and mean whichever has
/// that name now.
fn request(topic: &str, partition: i32, offset: i64, options: FetchOptions) -> FetchRequest {
    let head = fetch::Head {
        max_wait: options.max_wait,
        min_bytes: options.min_bytes,
        max_bytes: options.max_bytes,
        isolation: options.isolation,
        session_id: 0,
        session_epoch: -1,
        rack_id: "",
    };
    let ask = fetch::Ask {
        topic_id: None,
        offset,
        leader_epoch: -1,
        max_bytes: options.max_bytes,
    };
    fetch::request(&head, [(fetch::key(topic, partition), ask)], [])
}

/// What the messages from `offset` on are, or where to look next.
fn interpret(answer: fetch::Partition, offset: i64, options: FetchOptions) -> Result<Step, Error> {
    let stable_offset = options
        .isolation
        .end(answer.high_watermark, answer.last_stable_offset);
    let mut aborted = answer.aborted;
    let mut read = batches(answer.records);
    let mut shown = Shown::new(options);
    let mut next = offset;
    let mut take_in = |batch: Result<Batch, BatchError>| {
        let batch = batch?;
        let seen = aborted.shows(&batch, options.max_batch_bytes)?;
        if batch.last_offset() < offset {
            return Ok(());
        }
        next = batch.last_offset() + 1;
        match seen {
            true => shown.add(&batch, offset),
            false => Ok(()),
        }
    };
    let damage = read.by_ref().find_map(|batch| take_in(batch).err());
    let Shown { batches: shown, .. } = shown;
    if let (Some(damage), true) = (damage, shown.is_empty()) {
        return Err(unreadable(damage));
    }
    if next > offset && shown.is_empty() && next < stable_offset {
        return Ok(Step::Again(next));
    }
    if let (Some(size), true) = (read.incomplete(), next == offset) {
        let found = read.rest().len();
        return Err(unreadable(BatchError::FirstCutOff { size, found }));
    }
    Ok(Step::Done(Fetched {
        stable_offset,
        next,
        batches: shown,
    }))
}

/// What is to be asked for instead, if the first batch is cut off because it is larger than was asked for. At least
/// twice as much: a broker is not to have it grow forever.
fn enough_for_first(records: Bytes, options: FetchOptions) -> Option<i32> {
    let mut read = batches(records);
    if read.next().is_some() {
        return None;
    }
    let size = read
        .incomplete()
        .filter(|size| *size <= options.max_batch_bytes)?;
    let size = i32::try_from(size)
        .ok()
        .filter(|size| *size > options.max_bytes)?;
    Some(size.max(options.max_bytes.saturating_mul(2)))
}

/// What is given out, in as much memory as one call may take. The next call gets what is behind it.
struct Shown {
    batches: Vec<DecodedBatch>,
    room: usize,
    max_batch_bytes: usize,
}

impl Shown {
    fn new(options: FetchOptions) -> Self {
        Shown {
            batches: Vec::new(),
            room: options.max_memory,
            max_batch_bytes: options.max_batch_bytes,
        }
    }

    /// The records of a batch from `offset` on. Compaction may have left none of them. An error that
    /// comes first counts as the batch's: callers meet a later one on their walk.
    fn add(&mut self, batch: &Batch, offset: i64) -> Result<(), BatchError> {
        if self.room == 0 {
            return Ok(());
        }
        let mut parts = batch.unpack(self.max_batch_bytes)?;
        while let Some(records) = parts.next(Share::of_memory(self.room))? {
            let part = DecodedBatch {
                records,
                from: offset,
                timestamp_type: batch.timestamp_type(),
            };
            if part.iter().next().transpose()?.is_none() {
                continue;
            }
            self.room = self.room.saturating_sub(part.records.memory());
            self.batches.push(part);
            if self.room == 0 {
                break;
            }
        }
        Ok(())
    }
}

fn unreadable(error: BatchError) -> Error {
    match error.code() {
        ErrorCode::CORRUPT_MESSAGE => Error::CorruptBatch(error.to_string()),
        code => Error::Kafka {
            code,
            message: Some(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests;
