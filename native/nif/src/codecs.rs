//! Checksums, codecs and error codes for batches and responses that Erlang takes apart itself. The engine's own
//! do not come by here.

use brod_protocol::compress::{compress as pack, decompress as unpack, Codec};
use brod_protocol::error::ErrorCode;
use rustler::types::atom::Atom;
use rustler::{Binary, Encoder, Env, NifResult, Term};

use crate::answers::binary;
use crate::{atoms, reason};

/// The name that brod's users match; the number for a code newer than this client.
#[rustler::nif]
fn error_name(env: Env<'_>, code: i16) -> Term<'_> {
    reason::code(env, ErrorCode(code))
}

/// As record batches have it.
#[rustler::nif(schedule = "DirtyCpu")]
fn crc32c(bytes: Binary<'_>) -> u32 {
    brod_protocol::crc32c(&bytes)
}

/// Raises `badarg` for a codec that is none.
#[rustler::nif(schedule = "DirtyCpu")]
fn compress<'a>(env: Env<'a>, codec: Atom, bytes: Binary<'a>) -> NifResult<Term<'a>> {
    let mut out = Vec::new();
    pack(named(env, codec)?, None, &bytes, &mut out).map_err(|_| rustler::Error::BadArg)?;
    Ok(binary(env, &out))
}

/// `{ok, Bytes} | {error, Text}`; at most `limit` bytes.
#[rustler::nif(schedule = "DirtyCpu")]
fn decompress<'a>(
    env: Env<'a>,
    codec: Atom,
    bytes: Binary<'a>,
    limit: usize,
) -> NifResult<Term<'a>> {
    Ok(match unpack(named(env, codec)?, &bytes, limit) {
        Ok(out) => (atoms::ok(), binary(env, &out)).encode(env),
        Err(error) => (atoms::error(), error.to_string()).encode(env),
    })
}

/// As options and users name them.
pub(crate) const CODECS: [(&str, Codec); 5] = [
    ("no_compression", Codec::None),
    ("gzip", Codec::Gzip),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
    ("zstd", Codec::Zstd),
];

fn named(env: Env<'_>, codec: Atom) -> NifResult<Codec> {
    let name = codec.to_term(env).atom_to_string()?;
    let found = CODECS.iter().find(|(known, _)| *known == name);
    found.map(|(_, codec)| *codec).ok_or(rustler::Error::BadArg)
}
