//! How the results of one partition's batches reach their callers: straight from the engine, through
//! a dispatcher, or through the producer process.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use brod_engine::producer::{Failure, Replies};
use parking_lot::Mutex;
use rustler::env::SavedTerm;
use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};

use crate::acks::{ErlAcks, Targets, WIDTH};
use crate::atoms;
use crate::dispatcher::Dispatcher;
use crate::raw::{make_list, make_tuple};
use crate::reason;
use crate::runtime;

/// A batch of at most this many calls is answered straight from the engine, for latency. An
/// `enif_send` from a foreign thread costs several times a send inside the VM, so larger ones
/// are answered by the producer process.
const DIRECT_REPLIES: usize = 2;

/// The acks of a batch of at most this many calls are copied into one message with those of others.
/// Larger ones are moved, in a message of their own.
const GATHERED_CALLS: usize = 32;

/// A caller that is held up.
pub(crate) struct Waiter {
    /// The caller.
    pub pid: LocalPid,
    /// What it waits under.
    pub id: u64,
}

/// Tells one partition's results to Erlang.
pub(crate) struct ErlReplies {
    topic: String,
    partition: i32,
    /// The producer process.
    process: LocalPid,
    /// Messages with acks that the process has not passed on yet. While there are any, nothing
    /// is answered past it: replies stay in order.
    passing_on: AtomicUsize,
    /// Passes on what needs no callback.
    dispatcher: Option<Dispatcher>,
    /// Number of the last message to the dispatcher.
    dispatched: AtomicU64,
    /// The process is gone or going: its callers are answered directly, with its exit reason on
    /// failure, and what has callbacks goes to its heir.
    orphaned: AtomicBool,
    will: Mutex<Option<Will>>,
}

/// What a process that closes its producer leaves behind.
struct Will {
    env: OwnedEnv,
    reason: SavedTerm,
    heir: LocalPid,
}

impl ErlReplies {
    /// For a producer that the process opens.
    pub(crate) fn new(
        topic: &str,
        partition: i32,
        process: LocalPid,
        dispatcher: Option<Dispatcher>,
    ) -> Self {
        ErlReplies {
            topic: topic.to_owned(),
            partition,
            process,
            passing_on: AtomicUsize::new(0),
            dispatcher,
            dispatched: AtomicU64::new(0),
            orphaned: AtomicBool::new(false),
            will: Mutex::new(None),
        }
    }

    /// The producer process.
    pub(crate) fn process(&self) -> LocalPid {
        self.process
    }

    /// The process has passed on one message.
    pub(crate) fn passed_on(&self) {
        self.passing_on.fetch_sub(1, Ordering::AcqRel);
    }

    /// The process goes, for this reason; `heir` runs callbacks from now on. Only the first will
    /// counts.
    pub(crate) fn leave(&self, reason: Term<'_>, heir: LocalPid) {
        let env = OwnedEnv::new();
        let reason = env.save(reason);
        self.will.lock().get_or_insert(Will { env, reason, heir });
    }

    /// From now on callers are answered without the process. True the first time.
    pub(crate) fn orphan(&self) -> bool {
        !self.orphaned.swap(true, Ordering::AcqRel)
    }

    /// The process is gone or going.
    pub(crate) fn is_orphan(&self) -> bool {
        self.orphaned.load(Ordering::Acquire)
    }

    /// `result` of a `#brod_produce_reply{}` for calls that failed: `{error, {producer_down, R}}`.
    fn failed_result<'a>(&self, env: Env<'a>, why: &Failure) -> Term<'a> {
        (
            atoms::error(),
            (atoms::producer_down(), self.failure_reason(env, why)),
        )
            .encode(env)
    }

    fn failure_reason<'a>(&self, env: Env<'a>, why: &Failure) -> Term<'a> {
        if *why == Failure::Closed {
            if let Some(Will {
                env: own, reason, ..
            }) = &*self.will.lock()
            {
                return own.run(|own| reason.load(own).in_env(env));
            }
            // A process that has left no will was killed.
            if self.is_orphan() {
                return atoms::killed().to_term(env);
            }
        }
        reason::failure(env, why, &self.topic, self.partition)
    }

    /// Whom to tell about a batch, when it is to be a process at all.
    fn heir(&self) -> Option<LocalPid> {
        self.will.lock().as_ref().map(|will| will.heir)
    }

    /// A message with a batch's acks, for the producer process or its heir.
    fn acks_message<'a>(
        &self,
        env: Env<'a>,
        list: Term<'a>,
        base_offset: i64,
        why: Option<&Failure>,
    ) -> Term<'a> {
        match why {
            None => {
                let (tag, offset) = (atoms::brod_acks().to_term(env), base_offset.encode(env));
                make_tuple(env, [tag, offset, list])
            }
            Some(why) => {
                let reason = self.failure_reason(env, why);
                make_tuple(env, [atoms::brod_nacks().to_term(env), reason, list])
            }
        }
    }

    /// True when nothing of this producer is in a mailbox on the way to its callers.
    fn all_passed_on(&self) -> bool {
        self.passing_on.load(Ordering::Acquire) == 0 && self.dispatcher_done()
    }

    fn dispatcher_done(&self) -> bool {
        let last = self.dispatched.load(Ordering::Acquire);
        self.dispatcher
            .as_ref()
            .is_none_or(|dispatcher| dispatcher.has_done(last))
    }

    /// Hands a batch to the producer process. What the dispatcher still has goes first, so then
    /// the batch goes through it too.
    fn pass_to_process(&self, acks: ErlAcks, base_offset: i64, why: Option<&Failure>) {
        let Some(targets) = acks.targets else { return };
        self.passing_on.fetch_add(1, Ordering::AcqRel);
        match self.dispatcher.as_ref().filter(|_| !self.dispatcher_done()) {
            None => {
                targets.send(&self.process, |env, list| {
                    self.acks_message(env, list, base_offset, why)
                });
            }
            Some(dispatcher) => self.dispatch(dispatcher, targets, |env, number, list| {
                let message = self.acks_message(env, list, base_offset, why);
                (atoms::brod_forward(), number, self.process, message).encode(env)
            }),
        }
    }

    fn dispatch<F>(&self, dispatcher: &Dispatcher, targets: Targets, message: F)
    where
        F: for<'a> FnOnce(Env<'a>, u64, Term<'a>) -> Term<'a>,
    {
        let number = dispatcher.send(|to, number| {
            targets.send(to, |env, list| message(env, number, list));
        });
        self.dispatched.store(number, Ordering::Release);
    }

    /// Sends the producer process a message behind all that is under way to it and its callers.
    fn send_last(&self, message: impl for<'a> Fn(Env<'a>) -> Term<'a>) {
        let Some(dispatcher) = self.dispatcher.as_ref().filter(|_| !self.dispatcher_done()) else {
            runtime::send(&self.process, message);
            return;
        };
        let number = dispatcher.send(|to, number| {
            runtime::send(to, |env| {
                (atoms::brod_forward(), number, self.process, message(env)).encode(env)
            });
        });
        self.dispatched.store(number, Ordering::Release);
    }

    /// Tells a batch's result without the producer process.
    fn settle_orphans(&self, acks: ErlAcks, base_offset: i64, why: Option<&Failure>) {
        let Some(targets) = acks.targets else { return };
        if !targets.has_callbacks() {
            return self.reply_directly(&targets, base_offset, why);
        }
        if let Some(heir) = self.heir() {
            targets.send(&heir, |env, list| {
                self.acks_message(env, list, base_offset, why)
            });
            return;
        }
        match self.standing_heir() {
            Some(heir) => targets.send(&heir, |env, list| {
                let message = self.acks_message(env, list, base_offset, why);
                self.orphaned_message(env, message)
            }),
            None => self.reply_directly(&targets, base_offset, why),
        }
    }

    /// The dispatcher's process: it sees to the callbacks of a process that was killed.
    fn standing_heir(&self) -> Option<LocalPid> {
        let alive = |dispatcher: &&Dispatcher| dispatcher.is_alive();
        self.dispatcher.as_ref().filter(alive).map(|d| d.process())
    }

    fn down_message<'a>(&self, env: Env<'a>, why: &Failure) -> Term<'a> {
        (atoms::brod_down(), self.failure_reason(env, why)).encode(env)
    }

    fn orphaned_message<'a>(&self, env: Env<'a>, message: Term<'a>) -> Term<'a> {
        let tag = atoms::brod_orphaned();
        (tag, self.process, &self.topic, self.partition, message).encode(env)
    }

    /// After [`Self::orphan`]: says how many messages went with the process, if it was killed.
    pub(crate) fn tell_lost(&self) {
        let lost = self.passing_on.load(Ordering::Acquire);
        if lost == 0 || self.heir().is_some() {
            return;
        }
        if let Some(heir) = self.standing_heir() {
            runtime::send(&heir, |env| {
                self.orphaned_message(env, (atoms::brod_lost(), lost).encode(env))
            });
        }
    }

    /// Sends each caller its reply from here. Funs are for processes of Erlang alone.
    fn reply_directly(&self, targets: &Targets, base_offset: i64, why: Option<&Failure>) {
        targets.store.with(|_, terms| {
            for (index, call) in targets
                .calls
                .iter()
                .enumerate()
                .filter(|(_, call)| !call.is_fun)
            {
                let (target, reference) = (terms[index * WIDTH], terms[index * WIDTH + 1]);
                let Ok(pid) = target.decode::<LocalPid>() else {
                    continue;
                };
                let offset = if base_offset < 0 {
                    -1
                } else {
                    base_offset + i64::from(call.first)
                };
                runtime::send(&pid, |env| {
                    let result = match why {
                        None => atoms::brod_produce_req_acked().to_term(env),
                        Some(why) => self.failed_result(env, why),
                    };
                    self.reply(
                        env,
                        target.in_env(env),
                        reference.in_env(env),
                        offset,
                        result,
                    )
                });
            }
        });
    }

    fn reply<'a>(
        &self,
        env: Env<'a>,
        caller: Term<'a>,
        reference: Term<'a>,
        offset: i64,
        result: Term<'a>,
    ) -> Term<'a> {
        let callee = self.process.encode(env);
        let call_ref = [
            atoms::brod_call_ref().to_term(env),
            caller,
            callee,
            reference,
        ];
        let call_ref = make_tuple(env, call_ref);
        let reply = atoms::brod_produce_reply().to_term(env);
        make_tuple(env, [reply, call_ref, offset.encode(env), result])
    }
}

impl Replies for ErlReplies {
    type Acks = ErlAcks;
    type Waiter = Waiter;

    fn delivered(&self, acks: ErlAcks, base_offset: i64) {
        if self.is_orphan() {
            return self.settle_orphans(acks, base_offset, None);
        }
        let Some(targets) = &acks.targets else { return };
        if targets.has_callbacks() || self.passing_on.load(Ordering::Acquire) > 0 {
            return self.pass_to_process(acks, base_offset, None);
        }
        let calls = targets.calls.len();
        if calls <= DIRECT_REPLIES && self.all_passed_on() {
            return self.reply_directly(targets, base_offset, None);
        }
        let alive = |dispatcher: &&Dispatcher| dispatcher.is_alive();
        let Some(dispatcher) = self.dispatcher.as_ref().filter(alive) else {
            return self.pass_to_process(acks, base_offset, None);
        };
        let Some(targets) = acks.targets else { return };
        if calls <= GATHERED_CALLS {
            let number = dispatcher.gather(self.process, base_offset, targets);
            self.dispatched.store(number, Ordering::Release);
        } else {
            self.dispatch(dispatcher, targets, |env, number, list| {
                let acks = [self.process.encode(env), base_offset.encode(env), list];
                (atoms::brod_acks(), number, make_list(env, &acks)).encode(env)
            });
        }
    }

    fn flush(&self) {
        if let Some(dispatcher) = &self.dispatcher {
            dispatcher.flush();
        }
    }

    fn failed(&self, acks: ErlAcks, why: &Failure) {
        if self.is_orphan() {
            return self.settle_orphans(acks, -1, Some(why));
        }
        self.pass_to_process(acks, -1, Some(why));
    }

    fn room(&self, waiters: Vec<Waiter>) {
        if self.is_orphan() || waiters.len() <= DIRECT_REPLIES {
            for waiter in waiters {
                runtime::send(&waiter.pid, |env| {
                    (atoms::brod_room(), waiter.id).encode(env)
                });
            }
            return;
        }
        runtime::send(&self.process, |env| {
            let terms: Vec<Term> = waiters
                .iter()
                .flat_map(|waiter| [waiter.pid.encode(env), waiter.id.encode(env)])
                .collect();
            (atoms::brod_room(), make_list(env, &terms)).encode(env)
        });
    }

    fn stopped(&self, why: &Failure) {
        if !self.is_orphan() {
            self.send_last(|env| self.down_message(env, why));
        } else if let Some(heir) = self.heir() {
            runtime::send(&heir, |env| self.down_message(env, why));
        } else if let Some(heir) = self.standing_heir() {
            runtime::send(&heir, |env| {
                self.orphaned_message(env, self.down_message(env, why))
            });
        }
    }

    fn handed_over(&self) {
        self.send_last(|env| atoms::brod_handed_over().to_term(env));
    }

    fn dropped(&self, calls: u64) {
        runtime::send(&self.process, |env| {
            (atoms::brod_dropped(), calls).encode(env)
        });
    }

    fn sent(&self, records: u32, payload: usize) {
        // brod's measure: 8 bytes a message are counted for what surrounds it.
        let bytes = payload + 8 * records as usize;
        runtime::send(&self.process, |env| {
            (atoms::brod_request_sent(), records, bytes).encode(env)
        });
    }
}
