//! Whom a batch owes answers, gathered while it fills.

use brod_engine::producer::Acks;
use rustler::{Encoder, Env, NifResult, Term};

use crate::atoms;
use crate::raw::{identical, tuple, TermStore};

/// Who made a call, as (target, reference, position of its first record) in a flat list.
#[derive(Default)]
pub struct ErlAcks {
    /// None until someone wants an answer.
    pub store: Option<TermStore>,
    /// Position of each call's first record in the batch, and whether a fun is its target.
    pub calls: Vec<Call>,
}

/// One call of a batch.
#[derive(Clone, Copy)]
pub struct Call {
    /// Position of its first record.
    pub first: u32,
    /// Its target is a fun.
    pub is_fun: bool,
}

/// Terms per call in the store: target, reference, position.
pub const WIDTH: usize = 3;

impl ErlAcks {
    #[inline]
    /// Notes a call's target; nothing when nobody is to be told.
    pub fn add(&mut self, target: &Target<'_>, first: u32) {
        let (target, reference, is_fun) = match *target {
            Target::Nobody => return,
            Target::Process(pid, reference) => (pid, reference, false),
            Target::Fun(fun) => (fun, atoms::undefined().to_term(fun.get_env()), true),
        };
        let store = self.store.get_or_insert_with(TermStore::default);
        store.push(target);
        store.push(reference);
        store.push(first.encode(target.get_env()));
        if self.calls.is_empty() {
            self.calls.reserve(16);
        }
        self.calls.push(Call { first, is_fun });
    }

    fn part(store: &TermStore, calls: &[Call], from: usize, moved: u32) -> ErlAcks {
        let mut part = ErlAcks::default();
        store.with(|env, terms| {
            for (index, call) in calls.iter().enumerate() {
                let at = (from + index) * WIDTH;
                let to = part.store.get_or_insert_with(TermStore::default);
                let first = call.first.saturating_sub(moved);
                to.push(terms[at]);
                to.push(terms[at + 1]);
                to.push(first.encode(env));
                part.calls.push(Call {
                    first,
                    is_fun: call.is_fun,
                });
            }
        });
        part
    }
}

impl Acks for ErlAcks {
    type Mark = usize;

    fn mark(&self) -> usize {
        self.calls.len()
    }

    fn rollback(&mut self, mark: usize) {
        self.calls.truncate(mark);
        if let Some(store) = &mut self.store {
            store.truncate(mark * WIDTH);
        }
    }

    fn calls(&self) -> u32 {
        self.calls.len() as u32
    }

    fn split(self, at: u32) -> (Self, Self) {
        let Some(store) = &self.store else {
            return Default::default();
        };
        // A call ends where the next one starts; the last one before `at` may reach beyond it.
        let starts_before = self.calls.partition_point(|call| call.first < at);
        let next_starts_at = self
            .calls
            .get(starts_before)
            .is_some_and(|call| call.first == at);
        let kept = if next_starts_at {
            starts_before
        } else {
            starts_before.saturating_sub(1)
        };
        let (first, second) = self.calls.split_at(kept);
        (
            ErlAcks::part(store, first, 0, 0),
            ErlAcks::part(store, second, kept, at),
        )
    }
}

/// Who is to be told about a call.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// Nobody.
    Nobody,
    /// A process, by a reference.
    Process(Term<'a>, Term<'a>),
    /// A callback.
    Fun(Term<'a>),
}

impl<'a> Target<'a> {
    #[inline]
    /// From what `brod_nif:produce/4` is given.
    pub fn new(env: Env<'a>, term: Term<'a>) -> NifResult<Self> {
        if term.is_ref() {
            return Ok(Target::Process(env.pid().encode(env), term));
        }
        if term.is_fun() {
            return Ok(Target::Fun(term));
        }
        if let Some(pair) = tuple(term).filter(|pair| pair.len() == 2 && pair.at(0).is_pid()) {
            return Ok(Target::Process(pair.at(0), pair.at(1)));
        }
        if identical(term, atoms::no_ack().to_term(env)) {
            return Ok(Target::Nobody);
        }
        Err(rustler::Error::BadArg)
    }
}
