//! Kafka's classic group protocol: join, sync, heartbeat; a leader among the members shares out the
//! partitions.

mod actions;
mod assignor;
mod member;
mod requests;

pub(super) use member::Member;
