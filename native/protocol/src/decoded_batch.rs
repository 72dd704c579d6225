//! A batch, or a part of it, as consumers see it.

use bytes::Bytes;

use super::batch_reader::{BatchError, Record, Records, TimestampType};

/// A decompressed batch.
#[derive(Debug)]
pub struct DecodedBatch {
    /// All of its records, those before the offset asked for included: use [`DecodedBatch::iter`].
    pub records: Records,
    /// Records of lower offsets were not asked for.
    pub from: i64,
    /// What the timestamps mean.
    pub timestamp_type: TimestampType,
}

impl DecodedBatch {
    /// Where in `memory` the records lie; None: they have memory of their own.
    pub fn position_in(&self, memory: &Bytes) -> Option<usize> {
        let records = self.records.bytes().as_ptr_range();
        let whole = memory.as_ptr_range();
        let inside = whole.start <= records.start && records.end <= whole.end;
        inside.then(|| records.start as usize - whole.start as usize)
    }

    /// The records that were asked for. Ends after the first error.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Result<Record<'_>, Box<BatchError>>> {
        let from = self.from;
        let is_wanted = move |record: &Result<Record<'_>, _>| {
            record.as_ref().map_or(true, |record| record.offset >= from)
        };
        self.records.iter().filter(is_wanted)
    }
}
