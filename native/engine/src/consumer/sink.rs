//! Where messages go: what the engine hands to a subscriber, and what it wants to know back.

use std::sync::Arc;

use bytes::Bytes;

use brod_protocol::batch_reader::BatchError;
pub use brod_protocol::decoded_batch::DecodedBatch;
use brod_protocol::error::ErrorCode;
use brod_protocol::records::HEADER_MEMORY;

/// A subscriber. Called on threads of the runtime, for one subscription never by two at a time.
pub trait Sink: Send + Sync + 'static {
    /// Takes messages, in order, and counts them while it walks over them.
    ///
    /// A set whose batches turn out to hold no message must not be passed on. When a record cannot be
    /// read, the sink passes on what comes before it and reports the error in [`Delivered::failed`].
    fn deliver(&self, set: MessageSet) -> Delivered;

    /// Fetching has stopped, until the next subscribe or seek. `generation`: see [`MessageSet`].
    fn error(&self, generation: u64, code: ErrorCode, text: String);
}

/// Messages of one partition, as one fetch returned them.
#[derive(Debug)]
pub struct MessageSet {
    /// The subscription (or seek) that this belongs to.
    pub generation: u64,
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// The partition's end as brod tells it: the last stable offset when reading committed messages
    /// only, else the high watermark.
    pub high_watermark: i64,
    /// In order of offsets; none is a control batch or aborted.
    pub batches: Vec<DecodedBatch>,
    /// The partition's part of the answer as it came; records that were not compressed lie in it.
    pub memory: Bytes,
}

/// What a sink passed on.
#[derive(Debug, Default)]
pub struct Delivered {
    /// Messages.
    pub count: i64,
    /// Their keys and values.
    pub bytes: i64,
    /// What the headers take in memory beside their bytes, about.
    pub(super) header_memory: i64,
    /// Ranges of offsets without a hole: the first offset, and how many messages came before it.
    pub(super) runs: Vec<(i64, i64)>,
    /// Offset of the last message; -1 before the first.
    pub(super) last: i64,
    /// Why the set was not read to its end.
    pub failed: Option<BatchError>,
}

impl Delivered {
    /// Nothing yet.
    pub fn new() -> Self {
        Delivered {
            last: -1,
            ..Delivered::default()
        }
    }

    /// Counts a message; `bytes` is the size of its key and value. One without either counts as a byte:
    /// there would be no end of them in a window.
    #[inline]
    pub fn add(&mut self, offset: i64, bytes: usize) {
        if self.runs.is_empty() || offset != self.last + 1 {
            self.runs.push((offset, self.count));
        }
        self.last = offset;
        self.count += 1;
        self.bytes += bytes.max(1) as i64;
    }

    /// Counts the headers of a message. They are no bytes in a window, as in brod; but one without an end of
    /// them would be one without an end.
    #[inline]
    pub fn add_headers(&mut self, count: usize) {
        self.header_memory += (count * HEADER_MEMORY) as i64;
    }

    /// The offset of the last message counted.
    pub fn last_offset(&self) -> Option<i64> {
        (!self.runs.is_empty()).then_some(self.last)
    }
}
