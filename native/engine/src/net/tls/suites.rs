//! Cipher suites by the names that people give them.

use rustls::{CipherSuite, SupportedCipherSuite};

/// IANA's name and OpenSSL's, which is also what Erlang's `ssl` takes as a string. Those of TLS 1.3 have one
/// name.
const NAMES: &[(CipherSuite, &str, &str)] = &[
    (
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        "TLS_AES_256_GCM_SHA384",
        "TLS_AES_256_GCM_SHA384",
    ),
    (
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_128_GCM_SHA256",
    ),
    (
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "ECDHE-RSA-CHACHA20-POLY1305",
    ),
];

/// The suites among `supported` that are named, in the order of the names. None named: all.
pub(super) fn choose(
    supported: &[SupportedCipherSuite],
    names: &[String],
) -> Vec<SupportedCipherSuite> {
    if names.is_empty() {
        return supported.to_vec();
    }
    let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
    for name in names {
        let known = NAMES
            .iter()
            .find(|(_, iana, openssl)| iana == name || openssl == name);
        let suite = known.and_then(|(id, ..)| supported.iter().find(|s| s.suite() == *id));
        if let Some(suite) = suite {
            if !chosen.contains(suite) {
                chosen.push(*suite);
            }
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_known_by_both_of_their_names() {
        let supported = rustls::crypto::ring::default_provider().cipher_suites;
        assert_eq!(supported.len(), NAMES.len());
        for (id, iana, openssl) in NAMES {
            for name in [iana, openssl] {
                let chosen = choose(&supported, &[name.to_string()]);
                assert_eq!(chosen.len(), 1, "{name}");
                assert_eq!(chosen[0].suite(), *id);
            }
        }
    }

    #[test]
    fn unknown_names_are_passed_over() {
        let supported = rustls::crypto::ring::default_provider().cipher_suites;
        let names = ["AES128-SHA".into(), "TLS_AES_128_GCM_SHA256".into()];
        assert_eq!(choose(&supported, &names).len(), 1);
        assert_eq!(choose(&supported, &names[..1]).len(), 0);
    }
}
