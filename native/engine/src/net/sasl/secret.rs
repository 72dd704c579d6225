//! Memory for passwords, tokens and keys.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that nobody may see: overwritten when dropped, and never part of any text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// What is hidden. Whoever copies it has to overwrite the copy.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// What is hidden, where it is text.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Concatenates, in memory that is allocated once: a vector that grows leaves copies behind.
    pub(crate) fn concat(parts: &[&[u8]]) -> Self {
        let mut whole = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        for part in parts {
            whole.extend_from_slice(part);
        }
        whole.into()
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Secret(Zeroizing::new(bytes))
    }
}

impl From<Secret> for Zeroizing<Vec<u8>> {
    fn from(secret: Secret) -> Self {
        secret.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        text.as_bytes().to_vec().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_display_show_a_secret() {
        let secret = Secret::from("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {secret:#?}"),
            ["[hidden]"; 3].join(" ")
        );
    }

    #[test]
    fn the_parts_of_a_secret_are_put_together_in_their_order() {
        assert_eq!(Secret::concat(&[b"a", b"", b"bc"]).expose(), b"abc");
        assert_eq!(**Zeroizing::from(Secret::from("abc")), b"abc"[..]);
    }
}
