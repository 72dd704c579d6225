//! Options from Erlang: a map, checked key by key.

use std::time::Duration;

use rustler::types::atom::Atom;
use rustler::{Decoder, Encoder, Env, Term};

use crate::atoms;

/// An option with a value that it cannot have.
pub struct BadOption<'a> {
    name: &'static str,
    value: Term<'a>,
}

impl<'a> Encoder for BadOption<'a> {
    /// `{bad_option, Name, Value}`
    fn encode<'b>(&self, env: Env<'b>) -> Term<'b> {
        let name = Atom::from_str(env, self.name).unwrap_or_else(|_| atoms::undefined());
        (atoms::bad_option(), name, self.value.in_env(env)).encode(env)
    }
}

type Checked<'a, T> = Result<T, BadOption<'a>>;

/// A map of options.
pub struct Options<'a>(Term<'a>);

impl<'a> Options<'a> {
    /// Wraps a map; None for anything else.
    pub fn new(map: Term<'a>) -> Option<Self> {
        map.is_map().then_some(Options(map))
    }

    /// An option's value; `undefined` counts as not set.
    pub fn term(&self, name: &'static str) -> Option<Term<'a>> {
        let env = self.0.get_env();
        let key = Atom::from_str(env, name).ok()?;
        let value = self.0.map_get(key).ok()?;
        (!crate::raw::identical(value, atoms::undefined().to_term(env))).then_some(value)
    }

    /// An option of any decodable type that passes `check`.
    pub fn get<T: Decoder<'a>>(
        &self,
        name: &'static str,
        default: T,
        check: impl Fn(&T) -> bool,
    ) -> Checked<'a, T> {
        match self.term(name) {
            None => Ok(default),
            Some(value) => match value.decode::<T>() {
                Ok(decoded) if check(&decoded) => Ok(decoded),
                _ => Err(BadOption { name, value }),
            },
        }
    }

    /// Milliseconds, not negative; `infinity` is a long time.
    pub fn duration_ms(&self, name: &'static str, default: Duration) -> Checked<'a, Duration> {
        match self.term(name) {
            None => Ok(default),
            Some(value) if atoms::infinity() == value => Ok(Duration::from_secs(365 * 86_400)),
            Some(value) => match value.decode::<u32>() {
                Ok(ms) => Ok(Duration::from_millis(ms.into())),
                Err(_) => Err(BadOption { name, value }),
            },
        }
    }

    /// One of the atoms in `choices`.
    pub fn choice<T: Copy>(
        &self,
        name: &'static str,
        default: T,
        choices: &[(&str, T)],
    ) -> Checked<'a, T> {
        let Some(value) = self.term(name) else {
            return Ok(default);
        };
        let chosen = value.atom_to_string().ok();
        choices
            .iter()
            .find(|(choice, _)| chosen.as_deref() == Some(*choice))
            .map(|(_, chosen)| *chosen)
            .ok_or(BadOption { name, value })
    }

    /// An option that has to be there, of any decodable type, that passes `check`.
    pub fn required<T: Decoder<'a>>(
        &self,
        name: &'static str,
        check: impl Fn(&T) -> bool,
    ) -> Checked<'a, T> {
        let value = self.present(name)?;
        match value.decode::<T>() {
            Ok(decoded) if check(&decoded) => Ok(decoded),
            _ => Err(BadOption { name, value }),
        }
    }

    /// As [`Options::duration_ms`] of an option that has to be there.
    pub fn required_ms(&self, name: &'static str) -> Checked<'a, Duration> {
        self.present(name)?;
        self.duration_ms(name, Duration::ZERO)
    }

    /// One of the atoms in `choices`, of an option that has to be there.
    pub fn required_choice<T: Copy>(
        &self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Checked<'a, T> {
        let value = self.present(name)?;
        let chosen = value.atom_to_string().ok();
        choices
            .iter()
            .find(|(choice, _)| chosen.as_deref() == Some(*choice))
            .map(|(_, chosen)| *chosen)
            .ok_or(BadOption { name, value })
    }

    fn present(&self, name: &'static str) -> Checked<'a, Term<'a>> {
        let undefined = atoms::undefined().to_term(self.0.get_env());
        self.term(name).ok_or(BadOption {
            name,
            value: undefined,
        })
    }

    /// What is wrong with an option that was decoded by hand.
    pub fn bad(&self, name: &'static str, value: Term<'a>) -> BadOption<'a> {
        BadOption { name, value }
    }
}
