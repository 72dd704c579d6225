//! A Kafka in memory: a cluster of brokers in one process, for tests. It starts in milliseconds, keeps
//! real record batches, and breaks on command.
//!
//! [`Cluster`] is the whole of it as one state machine without I/O: requests and the time go in, answers and
//! the next deadline come out. [`Server`] gives each broker a port on loopback and drives the cluster;
//! the control port ([`control`]) is how tests look into it and script its faults.

#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod api;
mod call;
mod cluster;
mod config;
pub mod control;
mod coordination;
mod damage;
mod dispatch;
mod faults;
mod fetches;
mod group;
mod look;
mod sasl;
mod server;

mod settings;
mod shapes;
mod storage;
mod throttle;
mod tls;
mod topics;
mod txn;
mod versions;

pub use call::{Answer, Call, Connection, Millis, Waiter};
pub use cluster::{Applied, Cluster};
pub use config::{ClientMetrics, Config, Tls};
pub use faults::{Action, Fault, Plan};
pub use server::{Server, ServerError};
pub use tls::TlsError;
pub use versions::Release;
