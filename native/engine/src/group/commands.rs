//! What the owner of a member tells its task, and how it hears back.

use super::commits::Commit;
use super::{CommitOutcome, Event, JoinTerms, TopicPartitions};
use crate::error::Error;

/// Takes the member's events, with the JoinId that they belong to. Called in order, from the
/// engine's threads; must not block.
pub type EventSink = Box<dyn FnMut(i64, Event) + Send>;

/// Takes the result of one call. Called exactly once, from the engine's threads; must not block.
pub type Reply<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

/// What the owner wants done.
pub(super) enum Command {
    Join(JoinTerms),
    Assign(i64, Vec<(String, TopicPartitions)>),
    Commit(Commit<Reply<CommitOutcome>>),
    Close(bool, Reply<()>),
}
