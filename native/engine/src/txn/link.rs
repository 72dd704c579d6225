//! The transaction as its producers see it, and the way of commands to its task.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use tokio::sync::{mpsc, Notify};

use super::common::Common;
use super::config::OffsetsToAdd;
use super::state::{Place, Trouble};
use super::trouble;
use crate::producer::{Failure, Transaction};
use brod_protocol::api::init_producer_id::ProducerId;
use brod_protocol::error::ErrorCode;

/// The last version of Produce in which partitions are added to transactions beforehand (KIP-890).
const LAST_V1_PRODUCE: i16 = 11;

/// Takes the result of one call. Called exactly once, from the engine's threads; must not block.
pub type Reply = Box<dyn FnOnce(Result<(), Trouble>) + Send>;

/// Who waits for the result of one call. Whoever is told nothing else, whatever the reason, is told that the client is closed:
/// so it is dropped on the engine's threads alone.
pub(super) struct Caller(Option<Reply>);

impl Caller {
    /// Tells the result.
    pub(super) fn tell(mut self, result: Result<(), Trouble>) {
        if let Some(reply) = self.0.take() {
            reply(result);
        }
    }
}

impl From<Reply> for Caller {
    fn from(reply: Reply) -> Self {
        Caller(Some(reply))
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(reply) = self.0.take() {
            reply(Err(Trouble::Closed));
        }
    }
}

/// What the task of a transactional id is told.
pub(super) enum Command {
    Begin(Caller),
    Add(Place),
    Failed(Trouble),
    /// See [`Link::set_untouched`].
    Anew(ProducerId, ErrorCode),
    /// A batch was stored: see [`Link::await_first`].
    Stored,
    /// See [`Transaction::late`].
    Late,
    /// Something was refused before it came to a producer.
    Refused,
    Offsets(OffsetsToAdd, Caller),
    End(bool, Caller),
    Close,
}

/// See the module's text.
pub(super) struct Link {
    id: String,
    common: Arc<Common>,
    commands: mpsc::UnboundedSender<Command>,
    /// Batches add their partition to the transaction.
    adds_itself: AtomicBool,
    /// The task wants to hear of producers that have nothing to do any more.
    awaits_idle: AtomicBool,
    idle: Notify,
    /// The task wants to hear of the next batch that is stored.
    awaits_first: AtomicBool,
    untouched: AtomicBool,
    /// See [`super::state::State::expires_at`].
    expires_at: Mutex<Option<Instant>>,
}

impl Link {
    /// For the transactional id whose task takes `commands`.
    pub(super) fn new(
        id: String,
        common: Arc<Common>,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Self {
        Link {
            id,
            common,
            commands,
            adds_itself: AtomicBool::new(false),
            awaits_idle: AtomicBool::new(false),
            idle: Notify::new(),
            awaits_first: AtomicBool::new(false),
            untouched: AtomicBool::new(false),
            expires_at: Mutex::default(),
        }
    }

    /// Gives the command back if the task has ended.
    pub(super) fn send(&self, command: Command) -> Result<(), Command> {
        self.commands.send(command).map_err(|unsent| unsent.0)
    }

    /// Whether batches add their partition to the transaction (KIP-890).
    pub(super) fn set_adds_itself(&self, adds: bool) {
        self.adds_itself.store(adds, Ordering::Release);
    }

    /// [`Self::settled`] is told from now on, or no more. Whoever turns it on looks by itself first.
    pub(super) fn await_idle(&self, awaits: bool) {
        self.awaits_idle.store(awaits, Ordering::SeqCst);
    }

    /// [`Command::Stored`] comes once a batch is stored.
    pub(super) fn await_first(&self) {
        self.awaits_first.store(true, Ordering::Release);
    }

    /// The transaction's producer id was not asked for, and nothing is stored under it yet: should there be another producer,
    /// batches wait for another id, and [`Command::Anew`] comes. Ends with the first of it that is stored.
    pub(super) fn set_untouched(&self, untouched: bool) {
        self.untouched.store(untouched, Ordering::SeqCst);
    }

    /// From when on a fenced producer means that the transaction was open for too long.
    pub(super) fn set_expires_at(&self, expires_at: Option<Instant>) {
        *self.expires_at.lock() = expires_at;
    }

    /// Still so.
    pub(super) fn is_untouched(&self) -> bool {
        self.untouched.load(Ordering::SeqCst)
    }

    /// Some producer has nothing to do any more.
    pub(super) async fn settled(&self) {
        self.idle.notified().await;
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Link").field(&self.id).finish()
    }
}

impl Transaction for Link {
    fn id(&self) -> &str {
        &self.id
    }

    fn produce_version(&self) -> i16 {
        match self.adds_itself.load(Ordering::Acquire) {
            true => i16::MAX,
            false => LAST_V1_PRODUCE,
        }
    }

    fn add(&self, topic: &Arc<str>, partition: i32) {
        let _ = self.send(Command::Add((topic.clone(), partition)));
    }

    fn failed(&self, why: Failure, untold: bool) -> Failure {
        let is_over = |at: Instant| Instant::now() >= at;
        let why = match why {
            Failure::NotRetriable(code)
                if trouble::may_mean_expiry(code)
                    && self.expires_at.lock().is_some_and(is_over) =>
            {
                Failure::TransactionTimedOut
            }
            why => why,
        };
        if let Some(trouble) = trouble::of_failure(&why, untold) {
            let _ = self.send(Command::Failed(trouble));
        }
        why
    }

    fn begins_anew(&self, this: ProducerId, code: ErrorCode) -> bool {
        self.is_untouched() && self.send(Command::Anew(this, code)).is_ok()
    }

    fn stored(&self) {
        if self.is_untouched() {
            self.set_untouched(false);
        }
        let awaits = &self.awaits_first;
        if awaits.load(Ordering::Acquire) && awaits.swap(false, Ordering::AcqRel) {
            let _ = self.send(Command::Stored);
        }
    }

    fn settled(&self) {
        if self.awaits_idle.load(Ordering::SeqCst) {
            self.idle.notify_one();
        }
    }

    fn late(&self) {
        let _ = self.send(Command::Late);
    }

    fn coordinator_moved(&self) -> Option<Instant> {
        self.common.coordinators.moved(&self.id)
    }
}
