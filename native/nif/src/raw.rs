//! The only unsafe code: terms kept outside of a NIF call, in `library` how the VM loads all this, and in `message_nif` how it
//! calls what every message goes through.
//!
//! A message is gathered in an environment of its own while its batch fills, by NIF calls that
//! hold the batch's lock, and later sent from a tokio thread. rustler's `SavedTerm` would cost an
//! atomic operation and a check per term, so the terms are kept as plain words beside the
//! environment that owns them, in one type that never lets them apart.

#![allow(unsafe_code)]

pub(crate) mod library;
pub(crate) mod message_nif;

use std::mem::MaybeUninit;

use bytes::Bytes;
use rustler::sys::{
    enif_get_int, enif_get_list_cell, enif_get_tuple, enif_is_identical, enif_make_copy,
    enif_make_list_from_array, enif_make_tuple_from_array, ErlNifTerm,
};
use rustler::{Binary, Encoder, Env, LocalPid, OwnedEnv, Term};

/// Terms in an environment of their own.
pub(crate) struct TermStore {
    env: OwnedEnv,
    terms: Vec<ErlNifTerm>,
    /// Which of the first 128 terms are words that mean the same in every environment, a bit each.
    /// Stores of more are moved, not copied.
    plain: u128,
}

impl Default for TermStore {
    fn default() -> Self {
        TermStore {
            env: OwnedEnv::new(),
            terms: Vec::new(),
            plain: 0,
        }
    }
}

impl TermStore {
    /// Copies a term in.
    #[inline]
    pub(crate) fn push(&mut self, term: Term<'_>) {
        self.push_new(|env| term.in_env(env));
    }

    /// Adds a term that is made in the store's environment.
    pub(crate) fn push_new(&mut self, make: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        let terms = &mut self.terms;
        self.env.run(|env| terms.push(make(env).as_c_arg()));
    }

    /// Adds a process of this node.
    #[inline]
    pub(crate) fn push_pid(&mut self, pid: LocalPid) {
        self.plain |= bit(self.terms.len());
        let terms = &mut self.terms;
        self.env.run(|env| terms.push(pid.encode(env).as_c_arg()));
    }

    /// Adds a number.
    #[inline]
    pub(crate) fn push_number(&mut self, number: u32) {
        self.plain |= bit(self.terms.len());
        let terms = &mut self.terms;
        self.env
            .run(|env| terms.push(number.encode(env).as_c_arg()));
    }

    /// Adds a list of all terms of another store, which is empty then.
    pub(crate) fn push_list(&mut self, other: &mut TermStore) {
        let TermStore { env, terms, plain } = other;
        self.push_new(|env| {
            let to = env.as_c_arg();
            let to_copy = |(at, _): &(usize, _)| *plain & bit(*at) == 0;
            for (_, term) in terms.iter_mut().enumerate().filter(to_copy) {
                // SAFETY: the word is a term of the other environment, which lives until below.
                *term = unsafe { enif_make_copy(to, *term) };
            }
            // SAFETY: by now all words are terms of `env`: those that were not copied are pids of
            // this node and small integers (a u32 is one), which the VM keeps in the word itself.
            unsafe {
                let (words, count) = (terms.as_ptr(), terms.len() as u32);
                Term::new(env, enif_make_list_from_array(to, words, count))
            }
        });
        terms.clear();
        *plain = 0;
        env.clear();
    }

    /// Without terms.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Forgets the terms from `len` on. Their memory stays until the message is sent.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.terms.truncate(len);
        self.plain &= bit(len).wrapping_sub(1);
    }

    /// Runs `body` with the environment and the terms.
    pub(crate) fn with<R>(&self, body: impl for<'a> FnOnce(Env<'a>, &[Term<'a>]) -> R) -> R {
        self.env.run(|env| {
            // SAFETY: the words in `terms` are terms of `env`: `push` put them there, nothing
            // clears the environment while `self` is borrowed, and `body`, being generic over
            // the lifetime, cannot keep them.
            let terms: Vec<Term> = self
                .terms
                .iter()
                .map(|term| unsafe { Term::new(env, *term) })
                .collect();
            body(env, &terms)
        })
    }

    /// Sends a message made from all the terms as a list, without copying them, and is empty then.
    /// Returns false when the receiver is gone. Must not be called on a scheduler thread.
    pub(crate) fn send_list<F>(&mut self, to: &LocalPid, message: F) -> bool
    where
        F: for<'a> FnOnce(Env<'a>, Term<'a>) -> Term<'a>,
    {
        let TermStore { env, terms, plain } = self;
        let sent = env
            .send_and_clear(to, |env| {
                // SAFETY: `terms` are terms of `env`, see `with`; the array has the length given.
                let list = unsafe {
                    Term::new(
                        env,
                        enif_make_list_from_array(
                            env.as_c_arg(),
                            terms.as_ptr(),
                            terms.len() as u32,
                        ),
                    )
                };
                message(env, list)
            })
            .is_ok();
        terms.clear();
        *plain = 0;
        sent
    }

    /// How many terms fit without more memory.
    pub(crate) fn capacity(&self) -> usize {
        self.terms.capacity()
    }
}

/// A binary that stays where it is.
struct LentBinary {
    /// Holds it there.
    _env: OwnedEnv,
    bytes: *const [u8],
}

// SAFETY: an environment may be used by one thread after the other, and the bytes do not change.
unsafe impl Send for LentBinary {}

impl AsRef<[u8]> for LentBinary {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the environment has a term that refers to these bytes, and is cleared with `self`.
        unsafe { &*self.bytes }
    }
}

/// A large binary without copying it: the VM keeps those outside of processes, counts who refers to them, and
/// moves none that somebody looked at. None for terms that are no such binaries.
pub(crate) fn lend(term: Term<'_>) -> Option<Bytes> {
    /// Smaller ones are part of a heap, and a copy of them would be part of the environment's.
    const ON_HEAP: usize = 64;
    let env = OwnedEnv::new();
    let bytes = env.run(|env| {
        let binary = Binary::from_term(term.in_env(env)).ok()?;
        (binary.len() > ON_HEAP).then_some(binary.as_slice() as *const [u8])
    })?;
    Some(Bytes::from_owner(LentBinary { _env: env, bytes }))
}

/// None beyond the last bit.
fn bit(at: usize) -> u128 {
    u32::try_from(at)
        .ok()
        .and_then(|at| 1_u128.checked_shl(at))
        .unwrap_or(0)
}

/// The elements of a tuple, without allocating.
#[inline]
pub(crate) fn tuple<'a>(term: Term<'a>) -> Option<Elements<'a>> {
    let mut arity = 0;
    let mut elements = std::ptr::null();
    // SAFETY: both out arguments are valid; on success `elements` points at `arity` terms that
    // live as long as the tuple's environment.
    let words = unsafe {
        if enif_get_tuple(
            term.get_env().as_c_arg(),
            term.as_c_arg(),
            &mut arity,
            &mut elements,
        ) == 0
        {
            return None;
        }
        std::slice::from_raw_parts(elements, arity as usize)
    };
    Some(Elements {
        env: term.get_env(),
        words,
    })
}

/// See [`tuple`].
#[derive(Clone, Copy)]
pub(crate) struct Elements<'a> {
    env: Env<'a>,
    words: &'a [ErlNifTerm],
}

impl<'a> Elements<'a> {
    /// The tuple's size.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }

    /// Element by position from 0; the caller has looked at the size.
    #[inline]
    pub(crate) fn at(&self, position: usize) -> Term<'a> {
        // SAFETY: the words are terms of this environment.
        unsafe { Term::new(self.env, self.words[position]) }
    }
}

/// Head and tail of a list that is not empty.
#[inline]
pub(crate) fn cons<'a>(list: Term<'a>) -> Option<(Term<'a>, Term<'a>)> {
    let mut head = MaybeUninit::uninit();
    let mut tail = MaybeUninit::uninit();
    let env = list.get_env();
    // SAFETY: both out arguments are valid, and filled with terms of `env` on success.
    unsafe {
        let found = enif_get_list_cell(
            env.as_c_arg(),
            list.as_c_arg(),
            head.as_mut_ptr(),
            tail.as_mut_ptr(),
        );
        if found == 0 {
            return None;
        }
        Some((
            Term::new(env, head.assume_init()),
            Term::new(env, tail.assume_init()),
        ))
    }
}

/// A number that an i32 holds. rustler's `decode` says so in a `Result` of bytes and words, which takes longer to copy than
/// the number to be read.
#[inline]
pub(crate) fn int(term: Term<'_>) -> Option<i32> {
    let mut number = 0;
    // SAFETY: reads a valid term, and the out argument is valid.
    let found = unsafe { enif_get_int(term.get_env().as_c_arg(), term.as_c_arg(), &mut number) };
    (found != 0).then_some(number)
}

/// Makes a tuple.
#[inline]
pub(crate) fn make_tuple<'a, const N: usize>(env: Env<'a>, elements: [Term<'a>; N]) -> Term<'a> {
    let words = elements.map(|element| element.as_c_arg());
    // SAFETY: the words are terms of `env`.
    unsafe {
        Term::new(
            env,
            enif_make_tuple_from_array(env.as_c_arg(), words.as_ptr(), N as u32),
        )
    }
}

/// Makes a list.
pub(crate) fn make_list<'a>(env: Env<'a>, elements: &[Term<'a>]) -> Term<'a> {
    let words: Vec<_> = elements.iter().map(|element| element.as_c_arg()).collect();
    // SAFETY: the words are terms of `env`.
    unsafe {
        Term::new(
            env,
            enif_make_list_from_array(env.as_c_arg(), words.as_ptr(), words.len() as u32),
        )
    }
}

/// A list under construction.
pub(crate) struct TermList<'a> {
    env: Env<'a>,
    words: Vec<ErlNifTerm>,
}

impl<'a> TermList<'a> {
    /// Room for `capacity` elements.
    pub(crate) fn with_capacity(env: Env<'a>, capacity: usize) -> Self {
        TermList {
            env,
            words: Vec::with_capacity(capacity),
        }
    }

    /// Adds an element at the end.
    #[inline]
    pub(crate) fn push(&mut self, term: Term<'a>) {
        self.words.push(term.as_c_arg());
    }

    /// The list.
    pub(crate) fn finish(self) -> Term<'a> {
        let (env, words) = (self.env.as_c_arg(), &self.words);
        // SAFETY: `push` took only terms of this environment.
        unsafe {
            Term::new(
                self.env,
                enif_make_list_from_array(env, words.as_ptr(), words.len() as u32),
            )
        }
    }
}

/// Whether two terms are the same term.
#[inline]
pub(crate) fn identical(a: Term<'_>, b: Term<'_>) -> bool {
    // SAFETY: reads two valid terms.
    unsafe { enif_is_identical(a.as_c_arg(), b.as_c_arg()) != 0 }
}
