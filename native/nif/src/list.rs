//! Lists from Erlang. rustler's decoder of `Vec` panics on one with an improper end.

use std::ops::Deref;

use rustler::{Decoder, NifResult, Term};

/// The elements of a proper list; any other term is a bad argument.
pub(crate) struct List<T>(Vec<T>);

impl<'a, T: Decoder<'a>> Decoder<'a> for List<T> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        term.list_length()?;
        term.decode().map(List)
    }
}

impl<T> List<T> {
    pub(crate) fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}
