//! What a partition keeps: batches as bytes, and what a broker remembers of their producers.

mod log;
mod producers;

pub(crate) use log::{Log, Share};
