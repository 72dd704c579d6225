//! Which of Kafka's APIs the engine speaks.

use brod_protocol::api;
use rustler::types::atom::Atom;
use rustler::{Encoder, Env, NifResult, Term};

/// Each with its oldest and newest version.
#[rustler::nif]
fn api_versions(env: Env<'_>) -> NifResult<Vec<(Atom, (i16, i16))>> {
    let named = |api: &&api::Api| Ok((Atom::from_str(env, &snake_case(api.name))?, api.versions));
    api::ALL.iter().map(named).collect()
}

/// One of them by Kafka's name of it, with its oldest and newest version.
pub(crate) fn named<'a>(env: Env<'a>, name: &str) -> (Term<'a>, (i16, i16)) {
    let known = api::ALL.iter().find(|api| api.name == name);
    let atom = known.and_then(|api| Atom::from_str(env, &snake_case(api.name)).ok());
    let term = atom.map_or_else(|| name.encode(env), |atom| atom.to_term(env));
    (term, known.map_or((-1, -1), |api| api.versions))
}

/// `FindCoordinator` as Erlang writes it.
pub(crate) fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn names_are_as_erlang_knows_them() {
        assert_eq!(snake_case("Fetch"), "fetch");
        assert_eq!(
            snake_case("OffsetForLeaderEpoch"),
            "offset_for_leader_epoch"
        );
    }
}
