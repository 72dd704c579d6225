//! Hides what readers of committed messages must not see: the batches of aborted transactions.

use std::collections::HashSet;

use kafka_protocol::messages::fetch_response::AbortedTransaction;

use brod_protocol::batch_reader::{Batch, BatchError, ControlType};

/// Knows which producers' transactions are aborted while the batches of one answer pass by.
#[derive(Debug, Default)]
pub struct Aborted {
    /// Those that begin later, the last one first: first offset and producer id.
    later: Vec<(i64, i64)>,
    /// Producers whose present transaction is aborted.
    producers: HashSet<i64>,
}

impl Aborted {
    /// From the list that comes with an answer, which is null for readers of everything.
    pub fn new(list: Option<&[AbortedTransaction]>) -> Self {
        let mut later: Vec<_> = list
            .unwrap_or_default()
            .iter()
            .map(|transaction| (transaction.first_offset, transaction.producer_id.0))
            .collect();
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
