//! Whom a batch owes answers, gathered while it fills.

use std::ops::Range;

use brod_engine::producer::{Acks, Split, WhenFull};
use brod_protocol::memory::Kept;
use rustler::{Env, LocalPid, Term};

use crate::atoms;
use crate::raw::{identical, tuple, TermStore};

/// Who made a call, as (target, reference, position of its first record) in a flat list.
#[derive(Default)]
pub(crate) struct ErlAcks {
    /// None until someone wants an answer.
    pub targets: Option<Targets>,
}

/// The calls of a batch.
#[derive(Default)]
pub(crate) struct Targets {
    /// [`WIDTH`] terms a call.
    pub store: TermStore,
    /// One a call.
    pub calls: Vec<Call>,
}

/// One call of a batch.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// Position of its first record.
    pub first: u32,
    /// How many it has. The next call's first record need not follow: calls that nobody waits for
    /// are not here.
    pub records: u32,
    /// Its target is a fun.
    pub is_fun: bool,
}

/// Terms per call in the store: target, reference, position.
pub(crate) const WIDTH: usize = 3;

/// What answered batches let go, without calls.
static SPARE: Kept<Targets> = Kept::new(256);

/// Larger ones are not kept.
const SPARE_TERMS: usize = 8 * 1024;

impl Targets {
    #[inline(always)]
    fn add(&mut self, target: &Target<'_>, first: u32, records: u32) {
        let is_fun = match *target {
            Target::Nobody => return,
            Target::Caller(pid, reference) => {
                self.store.push_pid(pid);
                self.store.push(reference);
                false
            }
            Target::Process(pid, reference) => {
                self.store.push(pid);
                self.store.push(reference);
                false
            }
            Target::Fun(fun) => {
                self.store.push(fun);
                self.store.push_new(|env| atoms::undefined().to_term(env));
                true
            }
        };
        self.store.push_number(first);
        self.calls.push(Call {
            first,
            records,
            is_fun,
        });
    }

    /// Whether a fun is among them.
    pub(crate) fn has_callbacks(&self) -> bool {
        self.calls.iter().any(|call| call.is_fun)
    }

    /// Copies them into a message, as one list. All targets are processes.
    pub(crate) fn copy_into(mut self, message: &mut TermStore) {
        message.push_list(&mut self.store);
        self.recycle();
    }

    /// Sends a message with all of them as a list, see [`TermStore::send_list`].
    pub(crate) fn send<F>(mut self, to: &LocalPid, message: F)
    where
        F: for<'a> FnOnce(Env<'a>, Term<'a>) -> Term<'a>,
    {
        self.store.send_list(to, message);
        self.recycle();
    }

    fn recycle(mut self) {
        self.calls.clear();
        if self.store.capacity() <= SPARE_TERMS {
            SPARE.put(self);
        }
    }
}

impl ErlAcks {
    /// Notes the target of a call with so many records; nothing when nobody is to be told.
    #[inline(always)]
    pub(crate) fn add(&mut self, target: &Target<'_>, first: u32, records: u32) {
        if !matches!(target, Target::Nobody) {
            let spare = || SPARE.take().unwrap_or_default();
            self.targets
                .get_or_insert_with(spare)
                .add(target, first, records);
        }
    }

    fn calls(&self) -> &[Call] {
        self.targets.as_ref().map_or(&[], |targets| &targets.calls)
    }
}

impl Targets {
    /// The calls from `from` up to `to`, whose positions count from record `moved` on.
    fn part(&self, from: usize, to: usize, moved: u32) -> ErlAcks {
        let mut part = Targets::default();
        self.store.with(|_, terms| {
            for (index, call) in self.calls.iter().enumerate().take(to).skip(from) {
                let (target, reference) = (terms[index * WIDTH], terms[index * WIDTH + 1]);
                let target = match call.is_fun {
                    true => Target::Fun(target),
                    false => Target::Process(target, reference),
                };
                part.add(&target, call.first.saturating_sub(moved), call.records);
            }
        });
        ErlAcks {
            targets: Some(part).filter(|part| !part.calls.is_empty()),
        }
    }
}

impl Acks for ErlAcks {
    type Mark = usize;

    fn mark(&self) -> usize {
        self.calls().len()
    }

    fn rollback(&mut self, mark: usize) {
        if let Some(targets) = &mut self.targets {
            targets.calls.truncate(mark);
            targets.store.truncate(mark * WIDTH);
        }
    }

    fn calls(&self) -> u32 {
        self.calls().len() as u32
    }

    fn call_at(&self, at: u32) -> Option<Range<u32>> {
        let calls = self.calls();
        let behind = calls.partition_point(|call| call.first <= at);
        let call = calls.get(behind.checked_sub(1)?)?;
        let records = call.first..call.first + call.records;
        records.contains(&at).then_some(records)
    }

    fn split(self, at: u32) -> Split<Self> {
        let targets = self.targets.unwrap_or_default();
        let calls = &targets.calls;
        let end = |call: &Call| call.first + call.records;
        let ended = calls.partition_point(|call| end(call) <= at);
        let begun = calls.partition_point(|call| call.first < at);
        // At most one call has begun and not ended.
        let across = calls[ended..begun].first().map(|call| {
            let alone = targets.part(ended, begun, call.first);
            (alone, call.first..end(call))
        });
        Split {
            before: targets.part(0, ended, 0),
            across,
            after: targets.part(begun, calls.len(), at),
        }
    }
}

/// Who is to be told about a call.
#[derive(Clone, Copy)]
pub(crate) enum Target<'a> {
    /// Nobody.
    Nobody,
    /// A process of this node, by a reference.
    Caller(LocalPid, Term<'a>),
    /// Any process, by a reference.
    Process(Term<'a>, Term<'a>),
    /// A callback.
    Fun(Term<'a>),
}

impl<'a> Target<'a> {
    /// A callback is not run after its call has failed for lack of room, so the call waits outside.
    pub(crate) fn when_full(&self) -> WhenFull {
        match self {
            Target::Nobody => WhenFull::Drop,
            Target::Fun(_) => WhenFull::Wait,
            Target::Caller(..) | Target::Process(..) => WhenFull::Take,
        }
    }

    /// From what `brod_nif:produce/4` is given.
    #[inline(always)]
    pub(crate) fn new(env: Env<'a>, term: Term<'a>) -> Option<Self> {
        if term.is_ref() {
            return Some(Target::Caller(env.pid(), term));
        }
        if term.is_fun() {
            return Some(Target::Fun(term));
        }
        if let Some(pair) = tuple(term).filter(|pair| pair.len() == 2 && pair.at(0).is_pid()) {
            return Some(Target::Process(pair.at(0), pair.at(1)));
        }
        if identical(term, atoms::no_ack().to_term(env)) {
            return Some(Target::Nobody);
        }
        None
    }
}
