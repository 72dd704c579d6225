//! What is done with each input, one decoder a file. Everything here must return: a panic, an input that takes
//! seconds or memory beyond a limit is a fault of the decoder.

pub mod batches;
pub mod codecs;
pub mod frames;
pub mod members;
mod memory;
pub mod message_sets;
pub mod old_brokers;
pub mod responses;
pub mod sasl;

pub use memory::limited;

/// The first bytes of an input say how the rest is read.
fn head<const N: usize>(data: &[u8]) -> Option<([u8; N], &[u8])> {
    let (head, rest) = data.split_at_checked(N)?;
    Some((head.try_into().ok()?, rest))
}
