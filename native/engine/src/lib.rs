//! A Kafka client engine. Knows nothing of Erlang: `native/nif` puts it behind brod's API.

#![forbid(unsafe_code)]

pub mod admin;
pub mod cluster;
pub mod consumer;
pub mod error;
pub mod group;
pub mod net;
pub mod producer;
pub mod stats;
pub mod tasks;
pub mod telemetry;
pub mod txn;
