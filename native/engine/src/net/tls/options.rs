//! What can be set about TLS, in plain Rust: what Erlang's `ssl` calls its client options.

use std::path::PathBuf;

use zeroize::Zeroizing;

/// See the fields. [`TlsOptions::default`] verifies against the system's roots and presents no
/// certificate.
#[derive(Debug, Clone, Default)]
pub struct TlsOptions {
    /// Whom to trust (`cacertfile`, `cacerts`).
    pub roots: Roots,
    /// True: the broker's certificate is not checked at all (`{verify, verify_none}`).
    pub verify_none: bool,
    /// Certificates and keys to prove who the client is (`certfile` and `keyfile`, `cert` and `key`,
    /// `certs_keys`). The first one that fits what the broker asks for is used.
    pub identities: Vec<Identity>,
    /// The name to ask the broker for and to check its certificate against. Names are compared as HTTPS
    /// does (RFC 6125): `*.example.com` covers one label, which is also what `customize_hostname_check`
    /// with `public_key:pkix_verify_hostname_match_fun(https)` asks for.
    pub server_name: ServerName,
    /// The versions to offer (`versions`). Empty: all that are supported.
    pub versions: Vec<TlsVersion>,
    /// Cipher suites by OpenSSL's, Erlang's or IANA's names, e.g. `ECDHE-RSA-AES128-GCM-SHA256` or
    /// `TLS_AES_128_GCM_SHA256` (`ciphers`). Empty: all that are supported. Unknown names are passed
    /// over as long as one is known, as `ssl` does.
    pub ciphers: Vec<String>,
    /// How many certificates may stand between the broker's and the root (`depth`).
    pub depth: Option<u8>,
    /// Protocols to offer (`alpn_advertised_protocols`).
    pub alpn: Vec<Vec<u8>>,
    /// False: every handshake is a full one (`{reuse_sessions, false}`).
    pub no_resumption: bool,
}

/// Whom to trust.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Roots {
    /// The operating system's list.
    #[default]
    System,
    /// The certificates of a PEM file; read again when it changes.
    File(PathBuf),
    /// Certificates in DER.
    Der(Vec<Vec<u8>>),
}

/// A certificate chain and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate and the key.
    pub source: IdentitySource,
    /// Decrypts the key.
    pub password: Option<PasswordSource>,
}

/// Where a certificate and its key come from. Files are read again when they change on disk; the two
/// kinds can be mixed, as `ssl` allows it.
#[derive(Debug, Clone)]
pub enum IdentitySource {
    /// Both from PEM files.
    Files(CertificateFiles),
    /// The chain in DER, the client's own certificate first, and the key.
    Der {
        /// The chain.
        certificates: Vec<Vec<u8>>,
        /// The key.
        key: KeyDer,
    },
    /// The chain from a PEM file, the key in DER.
    FileAndKey {
        /// The chain's file.
        certificates: PathBuf,
        /// The key.
        key: KeyDer,
    },
    /// The chain in DER, the key from a PEM file.
    CertificateAndKeyFile {
        /// The chain.
        certificates: Vec<Vec<u8>>,
        /// The key's file.
        key: PathBuf,
    },
}

/// PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the client's own certificate first.
    pub certificates: PathBuf,
    /// The key: PKCS#1, PKCS#8 or SEC1. The file of the certificates when it holds both.
    pub key: PathBuf,
}

/// A private key in DER.
#[derive(Clone)]
pub struct KeyDer {
    /// What the bytes are.
    pub kind: KeyKind,
    /// The bytes.
    pub der: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for KeyDer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyDer({:?})", self.kind)
    }
}

/// Kinds of private keys, by their names in Erlang's `public_key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// `'RSAPrivateKey'`: PKCS#1.
    Pkcs1,
    /// `'ECPrivateKey'`: SEC1.
    Sec1,
    /// `'PrivateKeyInfo'`: PKCS#8.
    Pkcs8,
    /// `'EncryptedPrivateKeyInfo'`: PKCS#8 that a password encrypts.
    EncryptedPkcs8,
}

/// A password. It is kept out of logs and debug output, and wiped from memory when dropped.
#[derive(Clone)]
pub struct PasswordSource(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for PasswordSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordSource(..)")
    }
}

/// The name to ask the broker for (SNI) and to check its certificate against.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ServerName {
    /// The host that is connected to. An address is checked against the certificate's addresses.
    #[default]
    Auto,
    /// This name, whatever host is connected to (`{server_name_indication, Name}`).
    Name(String),
    /// No name is sent and none checked; the chain is (`{server_name_indication, disable}`).
    Disabled,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// `'tlsv1.2'`
    V1_2,
    /// `'tlsv1.3'`
    V1_3,
}
