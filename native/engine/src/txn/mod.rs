//! Transactions (KIP-98): one producer a transactional id, which writes to any partitions, and commits
//! offsets, as one.
//!
//! [`state`] decides, [`driver`] carries that out and keeps the time: a task a transactional id that asks the
//! coordinator. [`gate`] holds the producers of the partitions that the transaction writes to.

mod common;
mod config;
mod driver;
mod gate;
mod handle;
mod kept;
mod lanes;
mod link;
mod requests;
mod state;
mod trouble;

pub use config::{GroupMember, OffsetsToAdd, TransactionConfig};
pub use handle::{Transactional, Transactions};
pub use link::Reply;
pub use state::Trouble;
