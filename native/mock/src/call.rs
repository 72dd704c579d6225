//! What a handler of an API is given beside its request, and what it gives back.

use brod_protocol::error::ErrorCode;

use crate::sasl::Login;

/// Milliseconds since 1970. It never goes back: deadlines are held against it as well. What a broker writes
/// as a timestamp is this plus its skew.
pub type Millis = i64;

/// Names a request that is answered later: what a handler keeps, and hands to
/// [`Cluster::complete`](crate::Cluster::complete) with the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Waiter {
    /// Unique in the cluster.
    pub id: u64,
    /// The version in which the answer goes out.
    pub version: i16,
    /// The throttle time that it tells, in ms.
    pub throttle: i32,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    /// By which it is answered later.
    pub waiter: Waiter,
    /// Which broker was asked.
    pub broker: i32,
    /// In which version.
    pub version: i16,
    /// How the client calls itself.
    pub client_id: String,
    /// When it came.
    pub now: Millis,
    /// A fault's error code, if one was scripted for this call.
    pub refusal: Option<Refusal>,
}

impl Call {
    /// The error code that was scripted for this call as a whole.
    pub fn refused(&self) -> Option<ErrorCode> {
        let refusal = self.refusal.as_ref()?;
        refusal.topic.is_none().then_some(refusal.code)
    }

    /// The error code that was scripted for what this call says of a partition. Handlers whose answers have
    /// a code a partition ask this alone.
    pub fn refused_for(&self, topic: &str, partition: i32) -> Option<ErrorCode> {
        let refusal = self.refusal.as_ref()?;
        let fits = refusal.topic.as_deref().is_none_or(|name| name == topic)
            && refusal.partition.is_none_or(|index| index == partition);
        fits.then_some(refusal.code)
    }
}

/// A fault: the request is not applied, and answered with a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: ErrorCode,
    /// Only for this topic.
    pub topic: Option<String>,
    /// Only for partitions of this number.
    pub partition: Option<i32>,
}

/// What a broker knows of one connection.
#[derive(Debug)]
pub struct Connection {
    /// Unique in the cluster.
    pub id: u64,
    /// Which broker it goes to.
    pub broker: i32,
    /// Who is at the other end, once SASL or TLS has told.
    pub principal: Option<String>,
    pub(crate) login: Option<Login>,
    /// Nothing more is read until then (KIP-219).
    pub(crate) muted_until: Millis,
}

/// What a handler says to a request.
#[derive(Debug)]
pub enum Answer<R> {
    /// This, at once.
    Now(R),
    /// Something, later: the handler has kept the [`Waiter`].
    Later,
    /// Nothing: a Produce with acks 0.
    Never,
    /// The connection is closed, as brokers do where they cannot say what is wrong.
    Close,
}
