//! PLAIN (RFC 4616).

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Reply;

pub(super) fn message(bytes: &[u8], passwords: &BTreeMap<String, String>) -> Reply {
    let wrong = || Reply::Refused("Authentication failed: Invalid username or password".into());
    let Ok(text) = std::str::from_utf8(bytes) else {
        return wrong();
    };
    let mut parts = text.split('\0');
    let (Some(acts_as), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return wrong();
    };
    let known = passwords.get(user).is_some_and(|known| known == password);
    if !known || !(acts_as.is_empty() || acts_as == user) {
        return wrong();
    }
    Reply::Welcome {
        bytes: Bytes::new(),
        principal: user.to_owned(),
        lifetime: None,
    }
}
