//! Dispatchers: processes that pass acks on for many producers.
//!
//! A response answers hundreds of partitions. Waking each one's process for the few replies of
//! its batch costs more than the replies; one process that has them all in its mailbox passes
//! them on in one go, and callers find more of theirs when they run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustler::types::atom::Atom;
use rustler::{Encoder, Env, LocalPid, Monitor, NifResult, Resource, ResourceArc, Term};

use crate::acks::Targets;
use crate::atoms;
use crate::client::Client;
use crate::raw::{make_tuple, TermStore};

/// One dispatcher process and how far it has got.
pub(crate) struct DispatcherResource {
    process: LocalPid,
    /// The client's name, for the log.
    client: String,
    /// Held while sending, so that messages arrive in order.
    outbox: Mutex<Outbox>,
    done: AtomicU64,
    alive: AtomicBool,
}

#[derive(Default)]
struct Outbox {
    /// Number of the last message sent.
    sent: u64,
    /// Small batches that go together in the next message, as (producer process, base offset,
    /// targets). A message of their own would cost more than their replies.
    gathered: TermStore,
}

impl Outbox {
    fn flush(&mut self, to: &LocalPid) {
        if self.gathered.is_empty() {
            return;
        }
        self.sent += 1;
        let number = self.sent;
        self.gathered.send_list(to, |env, list| {
            let tag = atoms::brod_acks().to_term(env);
            make_tuple(env, [tag, number.encode(env), list])
        });
    }
}

#[rustler::resource_impl]
impl Resource for DispatcherResource {
    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        let outbox = self.outbox.lock();
        self.alive.store(false, Ordering::Release);
        let sent = outbox.sent + u64::from(!outbox.gathered.is_empty());
        let messages = sent.saturating_sub(self.done.load(Ordering::Acquire));
        drop(outbox);
        self.tell_lost(messages);
    }
}

/// A handle to a dispatcher.
pub(crate) type Dispatcher = ResourceArc<DispatcherResource>;

impl DispatcherResource {
    /// What was in the mailbox of a process that was killed is gone, callbacks with it.
    fn tell_lost(&self, messages: u64) {
        if messages > 0 {
            tracing::error!(
                client = &*self.client,
                messages,
                "a dispatcher ended with messages of acks that it had not passed on: who waits for one of them without \
                 watching its producer does not hear of it, and callbacks of these are not called"
            );
        }
    }

    /// The process.
    pub(crate) fn process(&self) -> LocalPid {
        self.process
    }

    /// False once its process has ended.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Whether the message with this number, and all before it, have been passed on.
    pub(crate) fn has_done(&self, number: u64) -> bool {
        self.done.load(Ordering::Acquire) >= number || !self.is_alive()
    }

    /// Has `send` send a message with the number that it is given; returns the number.
    pub(crate) fn send(&self, send: impl FnOnce(&LocalPid, u64)) -> u64 {
        let mut outbox = self.outbox.lock();
        outbox.flush(&self.process);
        outbox.sent += 1;
        send(&self.process, outbox.sent);
        // It has ended since somebody looked.
        if !self.is_alive() {
            self.tell_lost(1);
        }
        outbox.sent
    }

    /// Puts a batch's acks into the next message, which leaves with [`Self::flush`]; returns that
    /// message's number.
    pub(crate) fn gather(&self, producer: LocalPid, base_offset: i64, targets: Targets) -> u64 {
        let mut outbox = self.outbox.lock();
        let gathered = &mut outbox.gathered;
        gathered.push_pid(producer);
        gathered.push_new(|env| base_offset.encode(env));
        targets.copy_into(gathered);
        outbox.sent + 1
    }

    /// Sends what was gathered.
    pub(crate) fn flush(&self) {
        self.outbox.lock().flush(&self.process);
    }
}

#[rustler::nif]
fn dispatcher_open<'a>(env: Env<'a>, client: Client) -> NifResult<Term<'a>> {
    let dispatcher = ResourceArc::new(DispatcherResource {
        process: env.pid(),
        client: client.cluster.config().connect.client_id.to_string(),
        outbox: Mutex::default(),
        done: AtomicU64::new(0),
        alive: AtomicBool::new(true),
    });
    if env.monitor(&dispatcher, &env.pid()).is_none() {
        return Err(rustler::Error::BadArg);
    }
    client.dispatchers.write().push(dispatcher.clone());
    Ok((atoms::ok(), dispatcher).encode(env))
}

#[rustler::nif]
fn dispatcher_done(dispatcher: &DispatcherResource, number: u64) -> Atom {
    dispatcher.done.store(number, Ordering::Release);
    atoms::ok()
}
