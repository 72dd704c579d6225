//! Takes in one partition's part of a fetch answer: checks, decompresses, hands on.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, PartitionData};
use tokio::time::Instant;

use super::partition::Wish;
use super::shared::Shared;
use super::sink::{DecodedBatch, Delivered, MessageSet, Sink};
use super::transactions::Aborted;
use super::Consumers;
use crate::cluster::{Leader, NodeId};
use crate::protocol::batch_reader::{batches, Batch, BatchError};
use crate::protocol::compress::CodecError;
use crate::protocol::error::ErrorCode;

/// A set is handed on when it has grown to this many decompressed bytes: well compressed batches
/// must not pile up.
const SET_BYTES: usize = 4 * 1024 * 1024;

/// What became of an answer's records.
enum End {
    /// They are delivered, or are not for the subscriber.
    Done,
    /// The first batch is cut off; it takes this many bytes.
    TooLarge(usize),
    /// Nothing at or behind the position that was asked for.
    Nothing,
    Unreadable(BatchError),
    Panic,
}

/// What of a partition does not change while records are delivered.
struct Job<'a> {
    shared: &'a Shared,
    sink: Arc<dyn Sink>,
    generation: u64,
    /// Where the next record to deliver is.
    position: i64,
    end: i64,
    max_batch_bytes: usize,
    memory: Bytes,
}

impl Consumers {
    /// Takes in what `node` answered to the fetch `claim`. Returns what to fetch next, if the fetch
    /// keeps the partition.
    pub(super) fn take_in(
        self: &Arc<Self>,
        node: NodeId,
        shared: &Arc<Shared>,
        claim: u64,
        data: PartitionData,
    ) -> Option<Wish> {
        let code = ErrorCode(data.error_code);
        if !code.is_ok() {
            let text = format!("broker {node} refused the fetch: {code}");
            self.failed(shared, claim, code, text);
            self.learn_leader(shared, &data);
            return None;
        }
        let mut state = shared.lock();
        if state.claim != Some(claim) {
            return None;
        }
        state
            .rules
            .answered(data.high_watermark, data.last_stable_offset);
        let preferred = data.preferred_read_replica.0;
        if preferred >= 0 && preferred != node {
            let until = Instant::now() + self.cluster.config().metadata_max_age;
            state.preferred = Some((preferred, until));
            state.unroute();
            drop(state);
            self.route(shared);
            return None;
        }
        let records = data.records.unwrap_or_default();
        if records.is_empty() {
            state.rules.came_empty();
            return state.keep(claim);
        }
        let sink = state.sink.clone()?;
        state.rules.delivery_starts();
        let mut job = Job {
            shared,
            sink,
            generation: state.rules.generation(),
            position: state.rules.position(),
            end: state.rules.visible_end().unwrap_or(data.high_watermark),
            max_batch_bytes: state.rules.config().max_batch_bytes,
            memory: records,
        };
        drop(state);
        let aborted = data.aborted_transactions.as_deref();
        let end = catch_unwind(AssertUnwindSafe(|| job.run(aborted)));
        self.finish(shared, claim, job.generation, end.unwrap_or(End::Panic))
    }

    fn finish(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        claim: u64,
        generation: u64,
        end: End,
    ) -> Option<Wish> {
        let mut state = shared.lock();
        state.rules.delivery_ends();
        shared.delivery_ended.notify_waiters();
        if state.rules.generation() != generation {
            return None;
        }
        match end {
            End::Done => {}
            End::TooLarge(size) => state.rules.does_not_fit(size),
            End::Nothing => {
                self.retry_later(shared, &mut state);
                return None;
            }
            End::Unreadable(error) => {
                if is_corruption(&error) && state.rules.is_first_corruption() {
                    tracing::warn!(%error, topic = %shared.topic, partition = shared.partition);
                    self.retry_later(shared, &mut state);
                } else {
                    drop(state);
                    shared.suspend(code_of(&error), error.to_string());
                }
                return None;
            }
            End::Panic => {
                drop(state);
                let text = "the engine failed on a fetched batch".to_owned();
                shared.suspend(ErrorCode::UNKNOWN_SERVER_ERROR, text);
                return None;
            }
        }
        let wish = state.keep(claim);
        // Taken from this fetch meanwhile, as by a pause and resume: another one may go on.
        state.enqueue(shared);
        wish
    }

    /// An error may name the leader to turn to (KIP-951). Apache Kafka does so from Fetch 16 on, which
    /// this client does not speak yet; the field is there since 12. Where that leader listens is told
    /// from 16 on only.
    fn learn_leader(&self, shared: &Shared, data: &PartitionData) {
        let leader = &data.current_leader;
        if leader.leader_id.0 >= 0 && leader.leader_epoch >= 0 {
            let leader = Leader {
                node: leader.leader_id.0,
                epoch: leader.leader_epoch,
            };
            self.cluster
                .learn_leader(&shared.topic, shared.partition, leader, None);
        }
    }
}

impl Job<'_> {
    fn run(&mut self, aborted: Option<&[AbortedTransaction]>) -> End {
        let asked = self.position;
        let mut batches = batches(self.memory.clone());
        let mut aborted = Aborted::new(aborted);
        let mut set = Vec::new();
        let mut set_bytes = 0;
        // What the set, with the batches that are left out, reaches up to.
        let mut reached = (self.position, -1);
        let mut failure = None;
        for batch in batches.by_ref() {
            let decoded = batch.and_then(|batch| {
                let decoded = self.decode(&batch, &mut aborted)?;
                Ok((batch, decoded))
            });
            let (batch, decoded) = match decoded {
                Ok(decoded) => decoded,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
            if batch.last_offset() >= reached.0 {
                reached = (batch.last_offset() + 1, batch.partition_leader_epoch);
            }
            if let Some(decoded) = decoded {
                self.position = reached.0;
                set_bytes += decoded.records.bytes.len();
                set.push(decoded);
            }
            if set_bytes >= SET_BYTES {
                set_bytes = 0;
                if let Err(end) = self.hand_on(std::mem::take(&mut set), reached) {
                    return end;
                }
            }
        }
        if let Err(end) = self.hand_on(set, reached) {
            return end;
        }
        match failure {
            Some(error) => End::Unreadable(error),
            None if reached.0 > asked => End::Done,
            None => match batches.incomplete() {
                Some(size) => End::TooLarge(size),
                None => End::Nothing,
            },
        }
    }

    /// None: not for the subscriber.
    fn decode(
        &self,
        batch: &Batch,
        aborted: &mut Aborted,
    ) -> Result<Option<DecodedBatch>, BatchError> {
        let shows = aborted.shows(batch, self.max_batch_bytes)?;
        if !shows || batch.last_offset() < self.position || batch.record_count == 0 {
            return Ok(None);
        }
        Ok(Some(DecodedBatch {
            records: batch.records(self.max_batch_bytes)?,
            from: self.position,
            timestamp_type: batch.timestamp_type(),
        }))
    }

    fn hand_on(&self, set: Vec<DecodedBatch>, reached: (i64, i32)) -> Result<(), End> {
        let mut delivered = Delivered::new();
        if !set.is_empty() {
            delivered = self.sink.deliver(MessageSet {
                generation: self.generation,
                topic: self.shared.topic.clone(),
                partition: self.shared.partition,
                high_watermark: self.end,
                batches: set,
                memory: self.memory.clone(),
            });
        }
        let failed = delivered.failed.take();
        let (position, epoch) = match failed {
            None => reached,
            Some(_) => (
                delivered.last_offset().map_or(0, |last| last + 1),
                reached.1,
            ),
        };
        let mut state = self.shared.lock();
        let rules = &mut state.rules;
        rules.delivered(self.generation, delivered, position, epoch);
        match failed {
            Some(error) => Err(End::Unreadable(error)),
            None if rules.generation() != self.generation => Err(End::Done),
            None => Ok(()),
        }
    }
}

/// Whether bytes were damaged, so that reading them again may help.
fn is_corruption(error: &BatchError) -> bool {
    code_of(error) == ErrorCode::CORRUPT_MESSAGE
}

fn code_of(error: &BatchError) -> ErrorCode {
    match error {
        BatchError::UnsupportedMagic { .. } => ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
        BatchError::UnknownCodec { .. } => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        BatchError::Codec {
            source: CodecError::LimitExceeded { .. },
            ..
        } => ErrorCode::MESSAGE_TOO_LARGE,
        _ => ErrorCode::CORRUPT_MESSAGE,
    }
}
