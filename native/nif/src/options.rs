//! Options from Erlang: a map, checked key by key.

use std::time::Duration;

use rustler::types::atom::Atom;
use rustler::{Decoder, Encoder, Env, Term};

use crate::atoms;

/// An option that is not there, or that has a value that it cannot have.
pub(crate) struct BadOption<'a> {
    name: &'static str,
    /// None: it is not there.
    value: Option<Term<'a>>,
}

impl<'a> Encoder for BadOption<'a> {
    /// `{bad_option, Name, Value}` or `{missing_option, Name}`
    fn encode<'b>(&self, env: Env<'b>) -> Term<'b> {
        let name = Atom::from_str(env, self.name).unwrap_or_else(|_| atoms::undefined());
        match self.value {
            Some(value) => (atoms::bad_option(), name, value.in_env(env)).encode(env),
            None => (atoms::missing_option(), name).encode(env),
        }
    }
}

type Checked<'a, T> = Result<T, BadOption<'a>>;

/// A map of options. Erlang's tables of options have the defaults: whoever opens something in the engine gives
/// all its options, and those that are not set as `undefined`.
pub(crate) struct Options<'a>(Term<'a>);

impl<'a> Options<'a> {
    /// Wraps a map; None for anything else.
    pub(crate) fn new(map: Term<'a>) -> Option<Self> {
        map.is_map().then_some(Options(map))
    }

    /// An option that must be there.
    fn present(&self, name: &'static str) -> Checked<'a, Term<'a>> {
        let env = self.0.get_env();
        let key = Atom::from_str(env, name).ok();
        key.and_then(|key| self.0.map_get(key).ok())
            .ok_or(BadOption { name, value: None })
    }

    /// An option that must be there and be set.
    pub(crate) fn required<T: Decoder<'a>>(
        &self,
        name: &'static str,
        check: impl Fn(&T) -> bool,
    ) -> Checked<'a, T> {
        let value = self.present(name)?;
        match value.decode::<T>() {
            Ok(decoded) if check(&decoded) => Ok(decoded),
            _ => Err(self.bad(name, value)),
        }
    }

    /// An option that must be there; None where it is `undefined`.
    pub(crate) fn optional<T: Decoder<'a>>(
        &self,
        name: &'static str,
        check: impl Fn(&T) -> bool,
    ) -> Checked<'a, Option<T>> {
        let value = self.present(name)?;
        if atoms::undefined() == value {
            return Ok(None);
        }
        self.required(name, check).map(Some)
    }

    /// Milliseconds that must be there, not negative; `infinity` is a long time.
    pub(crate) fn required_ms(&self, name: &'static str) -> Checked<'a, Duration> {
        let value = self.present(name)?;
        self.as_duration(name, value)
    }

    /// One of the atoms in `choices`, which must be there.
    pub(crate) fn required_choice<T: Copy>(
        &self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Checked<'a, T> {
        let value = self.present(name)?;
        self.chosen(name, value, choices)
    }

    /// Options within options, which must be there.
    pub(crate) fn required_map(&self, name: &'static str) -> Checked<'a, Options<'a>> {
        let value = self.present(name)?;
        Options::new(value).ok_or_else(|| self.bad(name, value))
    }

    /// An option's value; `undefined` counts as not set.
    pub(crate) fn term(&self, name: &'static str) -> Option<Term<'a>> {
        let env = self.0.get_env();
        let key = Atom::from_str(env, name).ok()?;
        let value = self.0.map_get(key).ok()?;
        (!crate::raw::identical(value, atoms::undefined().to_term(env))).then_some(value)
    }

    fn as_duration(&self, name: &'static str, value: Term<'a>) -> Checked<'a, Duration> {
        if atoms::infinity() == value {
            return Ok(Duration::from_secs(365 * 86_400));
        }
        match value.decode::<u32>() {
            Ok(ms) => Ok(Duration::from_millis(ms.into())),
            Err(_) => Err(self.bad(name, value)),
        }
    }

    fn chosen<T: Copy>(
        &self,
        name: &'static str,
        value: Term<'a>,
        choices: &[(&str, T)],
    ) -> Checked<'a, T> {
        let chosen = value.atom_to_string().ok();
        choices
            .iter()
            .find(|(choice, _)| chosen.as_deref() == Some(*choice))
            .map(|(_, chosen)| *chosen)
            .ok_or_else(|| self.bad(name, value))
    }

    /// What is wrong with an option that was decoded by hand.
    pub(crate) fn bad(&self, name: &'static str, value: Term<'a>) -> BadOption<'a> {
        let value = Some(value);
        BadOption { name, value }
    }
}
