//! Producing: records go into their partition's open batch in the caller's thread; a task per
//! broker sends the batches of all its partitions together.

mod acks;
mod batch;
mod budget;
mod buffer;
mod config;
mod cut_calls;
mod distance;
mod failure;
mod identity;
mod inbox;
mod lane;
mod partition;
mod producers;
mod queue;
mod request;
mod responses;
mod router;
mod sender;
mod shared;
mod size_limit;
mod timers;
mod transaction;

pub use acks::{Acks, Replies, Split};
pub use buffer::AppendError;
pub use config::{Idempotence, ProducerConfig};
pub use failure::{Cause, Failure};
pub use partition::{Append, Partition, WhenFull};
pub use producers::Producers;
pub use transaction::Transaction;
