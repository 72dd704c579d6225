//! The NIFs that every message goes through, registered as rustler does its own, with less around them: rustler allocates a
//! vector for the arguments, and hands what comes back through two `Result`s. A tenth of what the call takes (ADR 51).

use std::ffi::{c_int, c_uint, CStr};
use std::panic::{catch_unwind, AssertUnwindSafe};

use rustler::sys::{enif_make_badarg, enif_raise_exception, ErlNifEnv, ErlNifTerm};
use rustler::types::atom::nif_panicked;
use rustler::{Env, Nif, SchedulerFlags, Term};

/// A function of `N` arguments for normal schedulers.
pub(crate) trait MessageNif<const N: usize> {
    /// In the module `brod_nif`.
    const NAME: &'static CStr;

    /// None is a `badarg`.
    fn call<'a>(env: Env<'a>, args: [Term<'a>; N]) -> Option<Term<'a>>;
}

/// What [`inventory::submit`](rustler::codegen_runtime::inventory::submit) takes.
pub(crate) const fn message_nif<const N: usize, T: MessageNif<N>>() -> Nif {
    Nif {
        name: T::NAME.as_ptr(),
        arity: N as c_uint,
        flags: SchedulerFlags::Normal as c_uint,
        raw_func: run::<N, T>,
    }
}

unsafe extern "C" fn run<const N: usize, T: MessageNif<N>>(
    env: *mut ErlNifEnv,
    _arity: c_int,
    args: *const ErlNifTerm,
) -> ErlNifTerm {
    // SAFETY: the VM's arguments: as many as the arity says, valid during this call; no other `Env` has this lifetime.
    let (env, args) = unsafe { (Env::new(&env, env), &*args.cast::<[ErlNifTerm; N]>()) };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the arguments are terms of this environment.
        let args = args.map(|term| unsafe { Term::new(env, term) });
        T::call(env, args).map(|term| term.as_c_arg())
    }));
    match outcome {
        Ok(Some(term)) => term,
        // SAFETY: the environment of this call, which returns what these say at once.
        Ok(None) => unsafe { enif_make_badarg(env.as_c_arg()) },
        // As rustler's own NIFs do.
        Err(_) => unsafe { enif_raise_exception(env.as_c_arg(), nif_panicked().as_c_arg()) },
    }
}
