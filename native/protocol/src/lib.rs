//! Everything that is about the bytes of the Kafka protocol and its versions, without I/O: frames and
//! headers in both directions, one file an API ([`api`]), record batches, their compression and what it
//! may cost to unpack them, and error codes with their classes. The messages themselves come from
//! `kafka-protocol`; the lengths in responses, and the memory that they would take, are checked here
//! before it decodes them.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

pub mod api;
pub mod batch_reader;
pub mod batch_writer;
pub mod body;
mod classes;
pub mod compress;
pub mod consumer_protocol;
mod decode;
pub mod decoded_batch;
mod decompress;
pub mod error;
pub mod frame;
pub mod header;
pub mod isolation;
pub mod legacy;
mod lz4;
pub mod memory;
pub mod otlp;
pub mod records;
pub mod sealed_batch;
pub mod shape;
mod snappy;
pub mod throttle;
pub mod unpack;
pub mod varint;
mod versions;
mod wire_error;

pub use crc32c::crc32c;
pub use decode::decode_response;
pub use header::{decode_request, encode, encode_response};
pub use versions::ApiVersions;
pub use wire_error::WireError;

/// Where the fields of a v2 record batch lie, in bytes from its start.
mod layout {
    pub(crate) const BASE_OFFSET: usize = 0;
    pub(crate) const BATCH_LENGTH: usize = 8;
    pub(crate) const PARTITION_LEADER_EPOCH: usize = 12;
    pub(crate) const MAGIC: usize = 16;
    pub(crate) const CRC: usize = 17;
    pub(crate) const ATTRIBUTES: usize = 21;
    pub(crate) const LAST_OFFSET_DELTA: usize = 23;
    pub(crate) const BASE_TIMESTAMP: usize = 27;
    pub(crate) const MAX_TIMESTAMP: usize = 35;
    pub(crate) const PRODUCER_ID: usize = 43;
    pub(crate) const PRODUCER_EPOCH: usize = 51;
    pub(crate) const BASE_SEQUENCE: usize = 53;
    pub(crate) const RECORD_COUNT: usize = 57;
    /// Size of the header; the records section starts here.
    pub(crate) const HEADER: usize = 61;
    /// What the batch length field does not count: the base offset and itself.
    pub(crate) const LENGTH_PREFIX: usize = 12;

    pub(crate) const MAGIC_V2: i8 = 2;

    pub(crate) const LOG_APPEND_TIME_BIT: i16 = 0x08;
    pub(crate) const TRANSACTIONAL_BIT: i16 = 0x10;
    pub(crate) const CONTROL_BIT: i16 = 0x20;
}
