//! How a cluster is set up.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Release;

/// A cluster as it starts. What is left out has the value that is said here.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many brokers; their ids count from 1. 3.
    pub brokers: i32,
    /// The port of each broker, from the first; brokers beyond the list, and 0, get any free port. None.
    pub ports: Vec<u16>,
    /// Topics that are there from the start, with how many partitions. None.
    pub topics: BTreeMap<String, i32>,
    /// The release of Kafka that the brokers look like. The newest, 4.1.
    pub version: Release,
    /// Whether topics are created by asking for them. True.
    pub auto_create_topics: bool,
    /// How many partitions topics have that come so, or are created without a number. 1.
    pub default_partitions: i32,
    /// How many bytes of batches a partition keeps; the oldest go first. Topics may say otherwise
    /// (`retention.bytes`). 1 GiB.
    pub retention_bytes: u64,
    /// Users and their passwords. Where there are any, clients must log in by SASL. None.
    pub users: BTreeMap<String, String>,
    /// How long a fetch without an offer waits at most, whatever it asks for, in ms. 5 minutes.
    pub max_fetch_wait_ms: i64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            brokers: 3,
            ports: Vec::new(),
            topics: BTreeMap::new(),
            version: Release::V4_1,
            auto_create_topics: true,
            default_partitions: 1,
            retention_bytes: 1 << 30,
            users: BTreeMap::new(),
            max_fetch_wait_ms: 300_000,
        }
    }
}
