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
    /// Brokers speak TLS, and nothing else. They do not.
    pub tls: Option<Tls>,
    /// The port on loopback where commands are taken as well, a line of JSON each; 0 is any free one. None.
    pub control_port: Option<u16>,
    /// What faults take their chance from. 0.
    pub seed: u64,
    /// Which metrics clients are asked for (KIP-714). None: brokers do not have the API.
    pub client_metrics: Option<ClientMetrics>,
    /// How long a fetch without an offer waits at most, whatever it asks for, in ms. 5 minutes.
    pub max_fetch_wait_ms: i64,
}

/// Where the brokers' certificate comes from, as PEM files. Without them the mock makes one, for localhost and
/// 127.0.0.1, by an authority of its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The chain, the brokers' own first.
    pub cert_file: Option<String>,
    /// Its key.
    pub key_file: Option<String>,
    /// Clients must show a certificate of this authority.
    pub client_ca_file: Option<String>,
}

/// What clients are asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientMetrics {
    /// What the names of the metrics begin with. All.
    pub names: Vec<String>,
    /// How often, in ms. 100.
    pub interval_ms: i32,
    /// Whether sums tell what came since the last push. They do not.
    pub delta: bool,
    /// The codecs that are taken, by their numbers in record batches, the best first. zstd, lz4, gzip, snappy.
    pub codecs: Vec<i8>,
}

impl Default for ClientMetrics {
    fn default() -> Self {
        ClientMetrics {
            names: vec![String::new()],
            interval_ms: 100,
            delta: false,
            codecs: vec![4, 3, 1, 2],
        }
    }
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
            tls: None,
            control_port: None,
            seed: 0,
            client_metrics: None,
            max_fetch_wait_ms: 300_000,
        }
    }
}
