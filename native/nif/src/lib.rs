//! The boundary: brod's engine as a NIF library. The only crate that names rustler.
//!
//! `docs/boundary.md` is the contract with `src/brod_nif.erl`.

mod acks;
mod answers;
mod apis;
mod atoms;
mod batch_input;
mod client;
mod codecs;
mod connection;
mod consumer;
mod directory;
mod dispatcher;
mod group;
mod list;
mod log;
mod messages;
mod ops;
mod options;
mod producer;
mod raw;
mod reason;
mod replies;
mod runtime;
mod sasl;
mod stats;
mod tls;
mod txn;

use raw::library::{Library, ResourceType};

/// What [`raw::library`] shows the VM, instead of `rustler::init!`.
static LIBRARY: Library = Library {
    name: c"brod_nif",
    resources: &[
        ResourceType::of::<client::ClientResource>(),
        ResourceType::of::<connection::ConnectionResource>(),
        ResourceType::of::<consumer::ConsumerResource>(),
        ResourceType::of::<dispatcher::DispatcherResource>(),
        ResourceType::of::<group::GroupResource>(),
        ResourceType::of::<messages::Buffer>(),
        ResourceType::of::<producer::ProducerResource>(),
        ResourceType::of::<sasl::AskResource>(),
        ResourceType::of::<txn::TxnResource>(),
    ],
};
