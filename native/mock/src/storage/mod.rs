//! What a partition keeps: batches as bytes, and what a broker remembers of their producers.

mod compact;
mod log;
mod producers;
mod wire;

pub(crate) use log::{How, Log, Share};
