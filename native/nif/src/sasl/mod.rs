//! SASL as far as Erlang takes part in it: options, questions to a client's provider process, plugins.

mod ask;
mod options;
mod plugin;

pub(crate) use ask::AskResource;
pub(crate) use options::decode;
