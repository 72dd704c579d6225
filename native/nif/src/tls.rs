//! TLS options from Erlang (docs/boundary.md), and what failed about TLS in the terms of `ssl`.

use std::path::PathBuf;

use brod_engine::net::tls::{
    CertificateFiles, FileFault, Identity, IdentitySource, KeyDer, KeyKind, PasswordSource, Roots,
    ServerName, TlsError, TlsOptions, TlsVersion,
};
use rustler::types::atom::Atom;
use rustler::{Binary, Encoder, Env, NifResult, Term};
use zeroize::Zeroizing;

use crate::atoms;
use crate::list::List;
use crate::options::Options;
use crate::reason::{posix, string};

/// Decodes the map that `brod_ssl_options` makes.
pub(crate) fn decode(term: Term<'_>) -> NifResult<TlsOptions> {
    let map = Options::new(term).ok_or_else(bad)?;
    Ok(TlsOptions {
        roots: roots(map.term("roots").ok_or_else(bad)?)?,
        verify_none: is_atom(map.term("verify").ok_or_else(bad)?, "verify_none"),
        identities: each(map.term("identities"), identity)?,
        server_name: map
            .term("server_name")
            .map_or(Ok(ServerName::Auto), server_name)?,
        versions: each(map.term("versions"), version)?,
        ciphers: each(map.term("ciphers"), text)?,
        depth: map.term("depth").map(|depth| depth.decode()).transpose()?,
        alpn: each(map.term("alpn"), bytes)?,
        no_resumption: map
            .term("resumption")
            .is_some_and(|resumption| is_atom(resumption, "false")),
    })
}

fn roots(term: Term<'_>) -> NifResult<Roots> {
    if is_atom(term, "system") {
        return Ok(Roots::System);
    }
    Ok(match source(term)? {
        Source::File(path) => Roots::File(path),
        Source::Der(certificates) => Roots::Der(each(Some(certificates), bytes)?),
    })
}

fn identity(term: Term<'_>) -> NifResult<Identity> {
    let map = Options::new(term).ok_or_else(bad)?;
    let certificate = source(map.term("cert").ok_or_else(bad)?)?;
    let key = source(map.term("key").ok_or_else(bad)?)?;
    let source = match (certificate, key) {
        (Source::File(certificates), Source::File(key)) => {
            IdentitySource::Files(CertificateFiles { certificates, key })
        }
        (Source::File(certificates), Source::Der(key)) => IdentitySource::FileAndKey {
            certificates,
            key: key_der(key)?,
        },
        (Source::Der(certificates), Source::File(key)) => IdentitySource::CertificateAndKeyFile {
            certificates: each(Some(certificates), bytes)?,
            key,
        },
        (Source::Der(certificates), Source::Der(key)) => IdentitySource::Der {
            certificates: each(Some(certificates), bytes)?,
            key: key_der(key)?,
        },
    };
    let password = map.term("password").map(bytes).transpose()?;
    Ok(Identity {
        source,
        password: password.map(|password| PasswordSource(Zeroizing::new(password))),
    })
}

enum Source<'a> {
    File(PathBuf),
    Der(Term<'a>),
}

/// `{file, Path}` or `{der, _}`
fn source(term: Term<'_>) -> NifResult<Source<'_>> {
    let (kind, value): (Term, Term) = term.decode()?;
    if is_atom(kind, "file") {
        Ok(Source::File(text(value)?.into()))
    } else {
        Ok(Source::Der(value))
    }
}

fn key_der(term: Term<'_>) -> NifResult<KeyDer> {
    let (kind, der): (Term, Term) = term.decode()?;
    let kind = match kind.atom_to_string()?.as_str() {
        "RSAPrivateKey" => KeyKind::Pkcs1,
        "ECPrivateKey" => KeyKind::Sec1,
        "PrivateKeyInfo" => KeyKind::Pkcs8,
        _ => return Err(bad()),
    };
    let der = Zeroizing::new(bytes(der)?);
    Ok(KeyDer { kind, der })
}

fn server_name(term: Term<'_>) -> NifResult<ServerName> {
    if is_atom(term, "disable") {
        return Ok(ServerName::Disabled);
    }
    text(term).map(ServerName::Name)
}

fn version(term: Term<'_>) -> NifResult<TlsVersion> {
    match term.atom_to_string()?.as_str() {
        "tlsv1.2" => Ok(TlsVersion::V1_2),
        "tlsv1.3" => Ok(TlsVersion::V1_3),
        _ => Err(bad()),
    }
}

fn each<'a, T>(
    list: Option<Term<'a>>,
    decode: impl Fn(Term<'a>) -> NifResult<T>,
) -> NifResult<Vec<T>> {
    let Some(list) = list else {
        return Ok(Vec::new());
    };
    list.decode::<List<Term>>()?
        .into_vec()
        .into_iter()
        .map(decode)
        .collect()
}

fn bytes(term: Term<'_>) -> NifResult<Vec<u8>> {
    Ok(term.decode::<Binary>()?.as_slice().to_vec())
}

fn text(term: Term<'_>) -> NifResult<String> {
    String::from_utf8(bytes(term)?).map_err(|_| bad())
}

fn is_atom(term: Term<'_>, name: &str) -> bool {
    term.atom_to_string().is_ok_and(|atom| atom == name)
}

fn bad() -> rustler::Error {
    rustler::Error::BadArg
}

/// Why there is no TLS with a broker, in the terms that brod passes on from `ssl` (contract 9b).
pub(crate) fn reason<'a>(env: Env<'a>, error: &TlsError) -> Term<'a> {
    let text = error.to_string();
    match error {
        TlsError::UnknownCa => alert(env, "unknown_ca", &text),
        TlsError::Expired | TlsError::NotYetValid => alert(env, "certificate_expired", &text),
        TlsError::WrongName { .. } => {
            let text = format!("{text}\n {{bad_cert,hostname_check_failed}}");
            alert(env, "handshake_failure", &text)
        }
        TlsError::ChainTooLong => {
            let text = format!("{text}\n {{bad_cert,max_path_length_reached}}");
            alert(env, "handshake_failure", &text)
        }
        TlsError::BadCertificate(_) => alert(env, "bad_certificate", &text),
        TlsError::PeerAlert {
            alert: name,
            established: false,
        } => alert(env, name, &text),
        // The version query was under way.
        TlsError::PeerAlert {
            alert: name,
            established: true,
        } => tls_alert(env, name, &text),
        TlsError::NoAgreement(_) => alert(env, "handshake_failure", &text),
        TlsError::PlaintextPeer => alert(env, "unexpected_message", &text),
        TlsError::ClosedInHandshake => upgrade(env, atoms::closed().to_term(env)),
        TlsError::Stalled => upgrade(env, atoms::timeout().to_term(env)),
        TlsError::Broken(_) => (atoms::tls_error(), string(env, &text)).encode(env),
        TlsError::File { option, path, why } => {
            let why = match why {
                FileFault::Io(why) => posix(env, *why),
                FileFault::Content(text) => string(env, text),
            };
            let path = string(env, &path.to_string_lossy());
            let fault = (atom(env, option), path, (atoms::error(), why));
            upgrade(env, (atoms::options(), fault).encode(env))
        }
        TlsError::Option { option, why } => {
            let fault = (atom(env, option), string(env, why));
            upgrade(env, (atoms::options(), fault).encode(env))
        }
    }
}

fn alert<'a>(env: Env<'a>, name: &str, text: &str) -> Term<'a> {
    upgrade(env, tls_alert(env, name, text))
}

fn tls_alert<'a>(env: Env<'a>, name: &str, text: &str) -> Term<'a> {
    (atoms::tls_alert(), (atom(env, name), string(env, text))).encode(env)
}

fn upgrade<'a>(env: Env<'a>, why: Term<'a>) -> Term<'a> {
    (atoms::failed_to_upgrade_to_ssl(), why).encode(env)
}

fn atom<'a>(env: Env<'a>, name: &str) -> Term<'a> {
    Atom::from_str(env, name).map_or_else(
        |_| atoms::undefined().to_term(env),
        |atom| atom.to_term(env),
    )
}
