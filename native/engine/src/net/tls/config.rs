//! From our options to rustls' configuration.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{self, CertificateDer};
use rustls::{version, ClientConfig, RootCertStore, SupportedProtocolVersion};

use super::error::TlsError;
use super::identity::{self, Identities};
use super::options::{Roots, ServerName, TlsOptions, TlsVersion};
use super::verify::{Trust, Verifier};
use super::{files, suites};

/// The files that the options name.
pub(super) fn files(options: &TlsOptions) -> Vec<PathBuf> {
    let mut paths: Vec<_> = options
        .identities
        .iter()
        .flat_map(identity::paths)
        .collect();
    if let (Roots::File(path), false) = (&options.roots, options.verify_none) {
        paths.push(path.clone());
    }
    paths
}

/// Reads all that the options name.
pub(super) fn build(options: &TlsOptions) -> Result<ClientConfig, TlsError> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = suites::choose(&provider.cipher_suites, &options.ciphers);
    if provider.cipher_suites.is_empty() {
        return Err(TlsError::Option {
            option: "ciphers",
            why: format!("none of {} is supported", options.ciphers.join(", ")),
        });
    }
    let provider = Arc::new(provider);
    let verifier = Verifier {
        trust: trust(options)?,
        algorithms: provider.signature_verification_algorithms,
    };
    let identities = options
        .identities
        .iter()
        .map(|identity| identity::load(identity, &provider))
        .collect::<Result<Vec<_>, _>>()?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(options))
        .map_err(|error| TlsError::Option {
            option: "ciphers",
            why: error.to_string(),
        })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(Identities(identities)));
    config.alpn_protocols = options.alpn.clone();
    config.enable_sni = options.server_name != ServerName::Disabled;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn versions(options: &TlsOptions) -> Vec<&'static SupportedProtocolVersion> {
    if options.versions.is_empty() {
        return rustls::ALL_VERSIONS.to_vec();
    }
    let version = |version: &TlsVersion| match version {
        TlsVersion::V1_2 => &version::TLS12,
        TlsVersion::V1_3 => &version::TLS13,
    };
    options.versions.iter().map(version).collect()
}

fn trust(options: &TlsOptions) -> Result<Option<Trust>, TlsError> {
    if options.verify_none {
        return Ok(None);
    }
    let certificates: Vec<CertificateDer<'static>> = match &options.roots {
        Roots::System => rustls_native_certs::load_native_certs().certs,
        Roots::File(path) => identity::certificates_of_file("cacertfile", path)?,
        Roots::Der(list) => list.iter().cloned().map(CertificateDer::from).collect(),
    };
    let mut roots = RootCertStore::empty();
    // Operating systems have roots that rustls does not take, and OTP skips such ones too.
    let (taken, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if taken == 0 {
        return Err(match &options.roots {
            Roots::System => TlsError::Option {
                option: "cacertfile",
                why: "the system has no root certificates; name a file, or set verify_none".into(),
            },
            Roots::File(path) => {
                files::content("cacertfile", path, "none of its certificates can be used")
            }
            Roots::Der(_) => TlsError::Option {
                option: "cacerts",
                why: "none of the certificates can be used".into(),
            },
        });
    }
    Ok(Some(Trust {
        roots: Arc::new(roots),
        certificates: match &options.roots {
            // Nobody is its own operating system's root.
            Roots::System => Vec::new(),
            _ => certificates,
        },
        depth: options.depth,
        check_name: options.server_name != ServerName::Disabled,
    }))
}

/// The name that goes to rustls. It is sent and checked as far as [`build`] has asked for it.
pub(super) fn server_name(
    option: &ServerName,
    host: &str,
) -> Result<pki_types::ServerName<'static>, TlsError> {
    let name = match option {
        ServerName::Auto => host,
        ServerName::Name(name) => name,
        ServerName::Disabled => "disabled.invalid",
    };
    // The root's dot is no part of a certificate's name.
    let name = name.strip_suffix('.').unwrap_or(name);
    pki_types::ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Option {
        option: "server_name_indication",
        why: format!("{name} is no host name"),
    })
}
