//! The node's one tokio runtime, started with the first client.

use std::sync::{Arc, OnceLock};
use std::{io, thread};

use parking_lot::{Mutex, RwLock};
use rustler::Encoder;
use rustler::{Env, LocalPid, OwnedEnv, Term};
use tokio::runtime::{Builder, Handle, Runtime};

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Held by who starts it.
static STARTING: Mutex<()> = Mutex::new(());

/// Threads that the engine works on when nothing else is configured: enough for a node's
/// traffic, few beside the schedulers.
fn default_threads() -> usize {
    std::thread::available_parallelism()
        .map_or(2, usize::from)
        .clamp(2, 4)
}

/// Starts the runtime unless it runs. `threads` counts only the first time. What could not be started is tried again with the
/// next call.
pub(crate) fn start(threads: Option<usize>) -> Result<Handle, String> {
    let _starting = STARTING.lock();
    if let Some(running) = handle() {
        return Ok(running);
    }
    let threads = threads.unwrap_or_else(default_threads);
    let runtime = has_threads(threads)
        .and_then(|()| {
            Builder::new_multi_thread()
                .worker_threads(threads)
                .thread_name("brod")
                .enable_all()
                .build()
        })
        .map_err(|error| format!("cannot start the engine's threads: {error}"))?;
    let handle = RUNTIME.get_or_init(|| runtime).handle().clone();
    crate::log::start(&handle);
    Ok(handle)
}

/// Whether the system gives so many threads, as behind a limit of processes it may not. Tokio panics where it gets too few, and
/// then waits for those that it got, for ever.
fn has_threads(count: usize) -> io::Result<()> {
    let gate = Arc::new(RwLock::new(()));
    let closed = gate.write();
    let mut waiting = Vec::with_capacity(count);
    let mut given = Ok(());
    while given.is_ok() && waiting.len() < count {
        let gate = gate.clone();
        given = thread::Builder::new()
            .spawn(move || drop(gate.read()))
            .map(|started| waiting.push(started));
    }
    drop(closed);
    // Their places are free once they are gone.
    for started in waiting {
        let _ = started.join();
    }
    given
}

/// The running runtime.
pub(crate) fn handle() -> Option<Handle> {
    RUNTIME.get().map(|runtime| runtime.handle().clone())
}

/// Sends a message built by `message`. False when the receiver is gone.
///
/// May be called on any thread that is not a scheduler's.
pub(crate) fn send<F>(to: &LocalPid, message: F) -> bool
where
    F: for<'a> FnOnce(Env<'a>) -> Term<'a>,
{
    OwnedEnv::new().send_and_clear(to, message).is_ok()
}

/// Who waits for the answer to an operation, and under which reference.
pub(crate) struct Asker {
    pid: LocalPid,
    env: OwnedEnv,
    reference: rustler::env::SavedTerm,
}

impl Asker {
    /// For the calling process: a new reference, to be returned to it.
    pub(crate) fn new<'a>(env: Env<'a>) -> (Asker, Term<'a>) {
        let reference = env.make_ref().encode(env);
        (Asker::under(env, reference), reference)
    }

    /// For the calling process, under a reference that it has made.
    pub(crate) fn under<'a>(env: Env<'a>, reference: Term<'a>) -> Asker {
        let own = OwnedEnv::new();
        let saved = own.save(reference);
        Asker {
            pid: env.pid(),
            env: own,
            reference: saved,
        }
    }

    /// Sends `{brod_reply, Ref, Result}`.
    pub(crate) fn reply<F>(mut self, result: F)
    where
        F: for<'a> FnOnce(Env<'a>) -> Term<'a>,
    {
        let saved = self.reference;
        // A caller that is gone needs no answer.
        let _ = self.env.send_and_clear(&self.pid, |env| {
            let reference = saved.load(env);
            (crate::atoms::brod_reply(), reference, result(env)).encode(env)
        });
    }
}
