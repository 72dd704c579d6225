//! Metrics of a client for whoever operates its cluster (KIP-714): pushed where brokers ask for them, and nothing at all
//! where they do not.

mod driver;
mod metrics;
mod state;

pub use driver::start;
