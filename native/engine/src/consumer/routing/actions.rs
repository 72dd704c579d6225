//! What the routing of a partition asks to have done, and what it is told.

use std::time::Instant;

use crate::cluster::{Leader, NodeId, TopicId};
use crate::consumer::completed_fetch::{CompletedFetch, End};
use crate::consumer::config::{BeginOffset, Isolation};
use crate::consumer::subscription::NextFetch;
use brod_protocol::api::list_offsets::Found;
use brod_protocol::error::ErrorCode;

/// What is to be done, in this order.
#[derive(Debug)]
pub(crate) enum Action {
    /// The partition belongs to the fetcher of this broker from now on.
    Route(NodeId, Isolation),
    /// It belongs to no fetcher.
    Unroute,
    /// Put it into its fetcher's list. `behind`: messages of it wait at the broker.
    Enqueue { behind: bool },
    /// Its fetcher's fetch has lost it: the answer will be dropped.
    Revoke(FetchId),
    /// Metadata may be out of date.
    RefreshMetadata,
    /// Call [`Routing::wake`](super::Routing::wake) then.
    WakeAt(Instant),
    /// Ask where the leader's log ends for an epoch, and tell [`Routing::epoch_end`](super::Routing::epoch_end).
    AskEpochEnd {
        check: u64,
        leader: Leader,
        epoch: i32,
    },
    /// Find this offset, as long as it takes, and tell [`Routing::begin`](super::Routing::begin) or
    /// [`Routing::reset_failed`](super::Routing::reset_failed).
    FindOffset {
        generation: u64,
        to: BeginOffset,
        why: String,
    },
    /// Tell [`Routing::begin`](super::Routing::begin), as soon as no delivery is under way.
    Begin { generation: u64, position: Position },
    /// Hand on what has waited for room, and tell [`Routing::delivery_ends`](super::Routing::delivery_ends).
    Deliver(Box<Delivery>),
    /// Tell the subscriber that fetching has stopped.
    Fail {
        generation: u64,
        code: ErrorCode,
        text: String,
    },
    /// For operators.
    Warn(String),
}

/// Where a subscription begins or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub offset: i64,
    /// The leader epoch of what is before it; -1: unknown.
    pub epoch: i32,
    /// The broker said so before somebody subscribed. If there is no such offset by now, the log begins elsewhere.
    pub foreseen: bool,
}

impl Position {
    /// At an offset of which nothing else is known.
    pub(crate) fn at(offset: i64) -> Self {
        Position {
            offset,
            epoch: -1,
            foreseen: false,
        }
    }
}

impl From<Found> for Position {
    fn from(found: Found) -> Self {
        Position {
            epoch: found.leader_epoch,
            ..Position::at(found.offset)
        }
    }
}

/// Names a fetch; never used twice.
pub(crate) type FetchId = u64;

/// What a fetch is to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub next: NextFetch,
    pub leader_epoch: i32,
    /// Of the topic that the position belongs to, if it is known.
    pub topic_id: Option<TopicId>,
    /// The leader is not to name a replica that is nearer.
    pub from_leader: bool,
}

/// What was fetched, on its way to the subscriber.
#[derive(Debug)]
pub(crate) struct Delivery {
    /// Of the subscription that it was fetched for.
    pub generation: u64,
    /// The partition's end, as the subscriber sees it.
    pub high_watermark: i64,
    pub fetched: CompletedFetch,
}

/// Why a delivery has ended.
#[derive(Debug)]
pub(crate) enum DeliveryEnd {
    /// There is no more of it, for this reason.
    End(End),
    /// There is more of it than the window takes.
    Full(Box<CompletedFetch>),
    /// A defect of ours.
    Panic,
}

/// What to do with an answer.
#[derive(Debug)]
pub(crate) enum Answered {
    /// Nothing; the fetch asks for this next. None: it has lost the partition.
    Next(Option<NextFetch>),
    /// Hand it on, tell [`Routing::delivery_ends`](super::Routing::delivery_ends), and ask [`Routing::keep`](super::Routing::keep) what is next.
    Deliver(Box<Delivery>),
}

/// What became of [`Routing::begin`](super::Routing::begin).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begun {
    Yes,
    /// A delivery of an older generation is under way.
    Delivering,
    /// The generation is over.
    Over,
}

/// How a broker answered where an epoch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EpochEnd {
    /// There, for this epoch. -1: it does not know.
    At(i64, i32),
    /// It failed, and may be asked again.
    Passing,
    /// It cannot tell.
    Unknown,
}

/// A seek under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seek {
    /// Of the subscription that it belongs to.
    pub generation: u64,
    pub(super) number: u64,
}
