//! Which messages readers see, and what is hidden from those who read committed messages only.

use std::collections::HashSet;

use crate::batch_reader::{Batch, BatchError, ControlType};

/// Whether messages of transactions that are open or aborted are seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isolation {
    /// They are.
    ReadUncommitted,
    /// They are not.
    ReadCommitted,
}

impl Isolation {
    /// Where what is seen of a log ends. The last stable offset is -1 where the broker is too old for transactions.
    pub fn end(self, high_watermark: i64, last_stable_offset: i64) -> i64 {
        match self {
            Isolation::ReadCommitted if last_stable_offset >= 0 => last_stable_offset,
            _ => high_watermark,
        }
    }

    /// The number in requests.
    pub const fn on_wire(self) -> i8 {
        match self {
            Isolation::ReadUncommitted => 0,
            Isolation::ReadCommitted => 1,
        }
    }
}

/// Knows which producers' transactions are aborted while the batches of one answer pass by.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Aborted {
    /// Those that begin later, the last one first: first offset and producer id.
    later: Vec<(i64, i64)>,
    /// Producers whose present transaction is aborted.
    producers: HashSet<i64>,
}

impl Aborted {
    /// From the list that comes with an answer: where a transaction begins, and its producer's id.
    pub fn new(mut later: Vec<(i64, i64)>) -> Self {
        later.sort_unstable_by(|a, b| b.cmp(a));
        Aborted {
            later,
            producers: HashSet::new(),
        }
    }

    /// Whether the next batch is for the subscriber. To be asked of every batch, in order.
    pub fn shows(&mut self, batch: &Batch, max_bytes: usize) -> Result<bool, BatchError> {
        while let Some((first, producer)) = self.later.last() {
            if *first > batch.last_offset() {
                break;
            }
            self.producers.insert(*producer);
            self.later.pop();
        }
        if batch.is_control() {
            if self.producers.contains(&batch.producer_id) && is_abort(batch, max_bytes)? {
                self.producers.remove(&batch.producer_id);
            }
            return Ok(false);
        }
        Ok(!(batch.is_transactional() && self.producers.contains(&batch.producer_id)))
    }
}

fn is_abort(batch: &Batch, max_bytes: usize) -> Result<bool, BatchError> {
    let records = batch.records(max_bytes)?;
    for record in records.iter() {
        if records.control_type(&record?)? == ControlType::Abort {
            return Ok(true);
        }
    }
    Ok(false)
}
