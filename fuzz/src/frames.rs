//! Frames and headers: wherever the bytes are cut, the same frames come out.

use brod_protocol::api::{longest_answer, sasl_authenticate};
use brod_protocol::frame::FrameReader;
use brod_protocol::header::{strip_request_header, strip_response_header};
use bytes::Bytes;

/// The first bytes: where to cut, whether frames are bare, the API and the version.
pub fn run(data: &[u8]) {
    let Some(([cut, bare, key, version], wire)) = super::head(data) else {
        return;
    };
    let (key, version) = (i16::from(key), i16::from(version as i8));
    let bare = bare % 2 == 0;
    let cut = usize::from(cut).min(wire.len());
    let most = longest_answer(key, version, wire);
    let whole = frames(&[wire], bare, most);
    let cut = [&wire[..cut], &wire[cut..]];
    assert_eq!(whole, frames(&cut, bare, most));
    for frame in whole.0 {
        _ = strip_response_header(frame.clone(), key, version);
        _ = strip_request_header(frame);
    }
    _ = sasl_authenticate::session_lifetime_ms(wire);
}

/// The frames, and whether what comes behind is none.
fn frames(parts: &[&[u8]], bare: bool, most: usize) -> (Vec<Bytes>, bool) {
    let mut reader = FrameReader::default();
    let mut all = Vec::new();
    for part in parts {
        reader.space().extend_from_slice(part);
        loop {
            let next = match bare {
                true => reader.next_bare_frame(),
                false => reader.next_frame(most),
            };
            match next {
                Ok(Some(frame)) => all.push(frame),
                Ok(None) => break,
                Err(_) => return (all, true),
            }
        }
    }
    (all, false)
}
