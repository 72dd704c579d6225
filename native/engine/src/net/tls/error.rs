//! What can go wrong with TLS.

use std::io;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, OtherError};

use super::super::FileError;

/// Why there is no TLS with a peer, or why it ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The broker's certificate leads to no root that is trusted. `ssl`: `unknown_ca`.
    #[error("the broker's certificate is signed by nobody who is trusted")]
    UnknownCa,
    /// The broker's certificate has expired. `ssl`: `certificate_expired`.
    #[error("the broker's certificate has expired")]
    Expired,
    /// The broker's certificate is not valid yet. `ssl`: `certificate_expired` too.
    #[error("the broker's certificate is not valid yet")]
    NotYetValid,
    /// The broker's certificate is for others. `ssl`: `handshake_failure` with
    /// `{bad_cert, hostname_check_failed}`.
    #[error("the broker's certificate is not for {wanted} (it is for {})", .found.join(", "))]
    WrongName {
        /// Host name or address.
        wanted: String,
        /// The names in the certificate.
        found: Vec<String>,
    },
    /// The chain has more certificates than `depth` allows. `ssl`: `handshake_failure` with
    /// `{bad_cert, max_path_length_reached}`.
    #[error("the broker's certificate chain is longer than allowed")]
    ChainTooLong,
    /// Another fault of the broker's certificate. `ssl`: `bad_certificate`.
    #[error("the broker's certificate is not acceptable: {0}")]
    BadCertificate(String),
    /// The peer ended it with an alert, by the name that Erlang's `ssl` gives it
    /// (`bad_certificate`, `handshake_failure`, `certificate_required`, ...).
    #[error("the broker ended TLS: {alert}")]
    PeerAlert {
        /// The alert's name.
        alert: &'static str,
        /// True where TLS was established as far as this side could tell: in TLS 1.3 a broker looks
        /// at the client's certificate when the client is already done.
        established: bool,
    },
    /// Both speak TLS but have no version, cipher suite or curve in common, or the peer breaks the
    /// protocol. `ssl`: `handshake_failure` or `protocol_version`.
    #[error("no agreement on TLS: {0}")]
    NoAgreement(String),
    /// The peer answered with something that is not TLS: a plaintext listener. `ssl`: `closed` or
    /// `unexpected_message`.
    #[error("the peer does not speak TLS")]
    PlaintextPeer,
    /// The peer hung up in the handshake, as a plaintext listener of Kafka does. `ssl`: `closed`.
    #[error("the peer closed the connection during the TLS handshake")]
    ClosedInHandshake,
    /// The handshake did not end in time. `ssl`: `timeout`.
    #[error("the TLS handshake did not end in time")]
    Stalled,
    /// The peer breaks TLS on an established connection (a record that cannot be decrypted, ...).
    #[error("TLS broke: {0}")]
    Broken(String),
    /// A file cannot be used. `ssl`: `{options, {cacertfile, Path, {error, enoent}}}`.
    #[error("{option} {}: {why}", .path.display())]
    File {
        /// The option that names it, as in Erlang.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: FileFault,
    },
    /// An option's value cannot be used. `ssl`: `{options, {Option, Text}}`.
    #[error("{option}: {why}")]
    Option {
        /// The option, as in Erlang.
        option: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl TlsError {
    /// What ended an established connection; None where that was not TLS.
    pub(in crate::net) fn of_established(error: &io::Error) -> Option<TlsError> {
        let error = rustls_error(error)?;
        Some(match error {
            Error::AlertReceived(alert) => TlsError::PeerAlert {
                alert: name(*alert),
                established: true,
            },
            other => TlsError::Broken(other.to_string()),
        })
    }

    /// What ended a handshake.
    pub(super) fn of_handshake(error: &io::Error) -> TlsError {
        match rustls_error(error) {
            Some(error) => of_rustls(error),
            None => TlsError::ClosedInHandshake,
        }
    }
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn of_rustls(error: &Error) -> TlsError {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::AlertReceived(alert) => TlsError::PeerAlert {
            alert: name(*alert),
            established: false,
        },
        // The first bytes are no record of TLS.
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsError::PlaintextPeer,
        other => TlsError::NoAgreement(other.to_string()),
    }
}

fn of_certificate(error: &CertificateError) -> TlsError {
    match error {
        CertificateError::UnknownIssuer => TlsError::UnknownCa,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsError::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsError::NotYetValid
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => TlsError::WrongName {
            wanted: expected.to_str().into_owned(),
            found: presented.clone(),
        },
        CertificateError::Other(OtherError(inner)) => match inner.downcast_ref() {
            Some(error) => TlsError::clone(error),
            None => TlsError::BadCertificate(inner.to_string()),
        },
        other => TlsError::BadCertificate(other.to_string()),
    }
}

/// An alert's name in Erlang's `ssl`.
fn name(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::CloseNotify => "close_notify",
        AlertDescription::UnexpectedMessage => "unexpected_message",
        AlertDescription::BadRecordMac => "bad_record_mac",
        AlertDescription::DecryptionFailed => "decryption_failed_reserved",
        AlertDescription::RecordOverflow => "record_overflow",
        AlertDescription::DecompressionFailure => "decompression_failure",
        AlertDescription::HandshakeFailure => "handshake_failure",
        AlertDescription::NoCertificate => "no_certificate_reserved",
        AlertDescription::BadCertificate => "bad_certificate",
        AlertDescription::UnsupportedCertificate => "unsupported_certificate",
        AlertDescription::CertificateRevoked => "certificate_revoked",
        AlertDescription::CertificateExpired => "certificate_expired",
        AlertDescription::CertificateUnknown => "certificate_unknown",
        AlertDescription::IllegalParameter => "illegal_parameter",
        AlertDescription::UnknownCA => "unknown_ca",
        AlertDescription::AccessDenied => "access_denied",
        AlertDescription::DecodeError => "decode_error",
        AlertDescription::DecryptError => "decrypt_error",
        AlertDescription::ExportRestriction => "export_restriction",
        AlertDescription::ProtocolVersion => "protocol_version",
        AlertDescription::InsufficientSecurity => "insufficient_security",
        AlertDescription::InternalError => "internal_error",
        AlertDescription::InappropriateFallback => "inappropriate_fallback",
        AlertDescription::UserCanceled => "user_canceled",
        AlertDescription::NoRenegotiation => "no_renegotiation",
        AlertDescription::MissingExtension => "missing_extension",
        AlertDescription::UnsupportedExtension => "unsupported_extension",
        AlertDescription::CertificateUnobtainable => "certificate_unobtainable",
        AlertDescription::UnrecognisedName => "unrecognized_name",
        AlertDescription::BadCertificateStatusResponse => "bad_certificate_status_response",
        AlertDescription::BadCertificateHashValue => "bad_certificate_hash_value",
        AlertDescription::UnknownPSKIdentity => "unknown_psk_identity",
        AlertDescription::CertificateRequired => "certificate_required",
        AlertDescription::NoApplicationProtocol => "no_application_protocol",
        _ => "unknown_alert",
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileFault {
    /// It cannot be read.
    #[error("{0}")]
    Io(FileError),
    /// It can be read, and does not hold what it should.
    #[error("{0}")]
    Content(String),
}
