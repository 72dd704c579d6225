//! The server's messages of SCRAM (RFC 5802, section 7), and how a name is written into ours.

use base64::engine::general_purpose::STANDARD;
use base64::Engine;

/// Fewer make a password that leaks cheap to guess; more would let a broker keep this client busy.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4_096..=1_000_000;
const SALT_LIMIT: usize = 1_024;

/// What the server says first: its nonce, and how the password is salted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFirst<'a> {
    /// The client's nonce with the server's behind it.
    pub(super) nonce: &'a str,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

/// What the server says last.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerFinal<'a> {
    /// The server's proof.
    Verifier(Vec<u8>),
    /// The server refuses, in its own words.
    Error(&'a str),
}

impl<'a> ServerFirst<'a> {
    pub(super) fn parse(text: &'a str, client_nonce: &str) -> Result<Self, &'static str> {
        let mut attributes = text.split(',');
        let mut attribute = |name: &str| {
            let attribute = attributes.next().unwrap_or_default();
            attribute.strip_prefix(name)
        };
        if text.starts_with("m=") {
            return Err("it asks for an extension that this client does not know");
        }
        let nonce = attribute("r=").ok_or("its first message has no nonce")?;
        match nonce.strip_prefix(client_nonce) {
            Some(added) if !added.is_empty() && added.bytes().all(|b| b.is_ascii_graphic()) => {}
            _ => return Err("its nonce does not go on from the client's"),
        }
        let salt = attribute("s=").ok_or("its first message has no salt")?;
        let salt = STANDARD
            .decode(salt)
            .map_err(|_| "its salt is not base64")?;
        if salt.is_empty() || salt.len() > SALT_LIMIT {
            return Err("its salt is empty or too long");
        }
        let iterations = attribute("i=").ok_or("its first message has no iteration count")?;
        if !iterations.bytes().all(|b| b.is_ascii_digit()) {
            return Err("its iteration count is no number");
        }
        match iterations.parse() {
            Ok(iterations) if ITERATIONS.contains(&iterations) => Ok(ServerFirst {
                nonce,
                salt,
                iterations,
            }),
            _ => Err("its iteration count is not between 4096 and 1000000"),
        }
    }
}

impl<'a> ServerFinal<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, &'static str> {
        let first = text.split(',').next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Ok(ServerFinal::Error(error));
        }
        let verifier = first
            .strip_prefix("v=")
            .ok_or("its last message has no proof")?;
        let verifier = STANDARD
            .decode(verifier)
            .map_err(|_| "its proof is not base64")?;
        Ok(ServerFinal::Verifier(verifier))
    }
}

/// A name as SCRAM's messages have it, where `,` and `=` separate.
pub(super) fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_says_nonce_salt_and_iterations() {
        let first = ServerFirst::parse("r=abcXYZ,s=AQI=,i=4096,x=later", "abc");
        let expected = ServerFirst {
            nonce: "abcXYZ",
            salt: vec![1, 2],
            iterations: 4096,
        };
        assert_eq!(first, Ok(expected));
    }

    #[test]
    fn a_first_message_that_is_not_right_is_refused() {
        for text in [
            "",
            ",,,",
            "r=abc,s=AQI=,i=4096",
            "r=abXYZ,s=AQI=,i=4096",
            "r=XYZabc,s=AQI=,i=4096",
            "r=abcX\u{7f},s=AQI=,i=4096",
            "s=AQI=,r=abcXYZ,i=4096",
            "r=abcXYZ",
            "r=abcXYZ,s=,i=4096",
            "r=abcXYZ,s=A,i=4096",
            "r=abcXYZ,s=AQI=",
            "r=abcXYZ,s=AQI=,i=",
            "r=abcXYZ,s=AQI=,i=-4096",
            "r=abcXYZ,s=AQI=,i=+4096",
            "r=abcXYZ,s=AQI=,i=4095",
            "r=abcXYZ,s=AQI=,i=1000001",
            "r=abcXYZ,s=AQI=,i=99999999999999999999",
            "m=must,r=abcXYZ,s=AQI=,i=4096",
        ] {
            assert!(ServerFirst::parse(text, "abc").is_err(), "{text}");
        }
        let long = STANDARD.encode(vec![0; SALT_LIMIT + 1]);
        assert!(ServerFirst::parse(&format!("r=abcXYZ,s={long},i=4096"), "abc").is_err());
    }

    #[test]
    fn the_bounds_of_the_iteration_count_are_allowed() {
        for iterations in ["4096", "1000000"] {
            let text = format!("r=abcX,s=AQI=,i={iterations}");
            assert!(ServerFirst::parse(&text, "abc").is_ok());
        }
    }

    #[test]
    fn commas_and_equals_signs_in_names_are_escaped() {
        assert_eq!(escape("a=b,c=2C"), "a=3Db=2Cc=3D2C");
    }
}
