//! Frames: a length, then a request or response header, then the message (Kafka protocol guide).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;

use super::WireError;
use crate::memory::{READ, SMALL};

/// The longest frame where nothing is known of what is in it. Answers have a limit of their own, see
/// [`crate::api::longest_answer`].
pub const MAX_FRAME: usize = 512 * 1024 * 1024;

/// The longest frame without a header. Brokers take tokens of half that size.
const MAX_BARE_FRAME: usize = 1024 * 1024;

/// How much is allocated at once on the word of a length prefix; what is longer grows as its
/// bytes arrive.
const TRUSTED_ALLOCATION: usize = 16 * 1024 * 1024;

/// Smallest free space offered to one read of the socket.
const READ_CHUNK: usize = 64 * 1024;

/// Writes the frame's length and the request header in front of an encoded body of `body_len`
/// bytes.
pub fn request_head(
    api_key: i16,
    version: i16,
    correlation_id: i32,
    client_id: &str,
    body_len: usize,
) -> Result<Bytes, WireError> {
    let header_version = ApiKey::try_from(api_key)
        .map(|key| key.request_header_version(version))
        .unwrap_or(1);
    let flexible = header_version >= 2;
    let id_len = i16::try_from(client_id.len()).map_err(|_| WireError::TooLong {
        what: "client id",
        length: client_id.len(),
    })?;
    let head_len = 8 + 2 + client_id.len() + usize::from(flexible);
    let frame_len = i32::try_from(head_len + body_len)
        .map_err(|_| WireError::Malformed("request larger than 2 GiB".into()))?;
    let mut head = BytesMut::with_capacity(4 + head_len);
    head.put_i32(frame_len);
    head.put_i16(api_key);
    head.put_i16(version);
    head.put_i32(correlation_id);
    head.put_i16(id_len);
    head.put_slice(client_id.as_bytes());
    if flexible {
        head.put_u8(0);
    }
    Ok(head.freeze())
}

/// Writes the frame's length and the response header in front of an encoded body of `body_len` bytes,
/// as a broker does.
pub fn response_head(
    api_key: i16,
    version: i16,
    correlation_id: i32,
    body_len: usize,
) -> Result<Bytes, WireError> {
    let flexible =
        ApiKey::try_from(api_key).is_ok_and(|key| key.response_header_version(version) >= 1);
    let head_len = 4 + usize::from(flexible);
    let frame_len = i32::try_from(head_len + body_len)
        .map_err(|_| WireError::Malformed("response larger than 2 GiB".into()))?;
    let mut head = BytesMut::with_capacity(4 + head_len);
    head.put_i32(frame_len);
    head.put_i32(correlation_id);
    if flexible {
        head.put_u8(0);
    }
    Ok(head.freeze())
}

/// Cuts frames off a growing receive buffer; a broker's or a client's.
#[derive(Default)]
pub struct FrameReader {
    buf: BytesMut,
    /// Where `buf` is memory that is read into again: its size.
    whole: Option<usize>,
}

impl FrameReader {
    /// Where the next read of the socket goes: the rest of the frame under way, or a chunk.
    pub fn space(&mut self) -> &mut BytesMut {
        let wanted = match self.declared() {
            Some(len) => (len + 4)
                .saturating_sub(self.buf.len())
                .min(TRUSTED_ALLOCATION),
            None => 0,
        };
        if self.buf.capacity() - self.buf.len() < wanted.max(READ_CHUNK / 16) {
            match self.buf.len() + wanted {
                large @ SMALL..=TRUSTED_ALLOCATION => self.move_into(READ.take(large)),
                _ => {
                    self.whole = None;
                    self.buf.reserve(wanted.max(READ_CHUNK));
                }
            }
        }
        &mut self.buf
    }

    fn move_into(&mut self, (mut memory, whole): (BytesMut, usize)) {
        memory.extend_from_slice(&self.buf);
        let before = std::mem::replace(&mut self.buf, memory);
        if let Some(whole) = self.whole.replace(whole) {
            READ.put(before, whole);
        }
    }

    fn declared(&self) -> Option<usize> {
        let prefix: [u8; 4] = self.buf.get(..4)?.try_into().ok()?;
        usize::try_from(i32::from_be_bytes(prefix)).ok()
    }

    /// The next whole frame without its length prefix, if it has arrived. It has a header, of which four
    /// bytes are the least, and is no longer than `most`.
    pub fn next_frame(&mut self, most: usize) -> Result<Option<Bytes>, WireError> {
        self.next_of(4, most)
    }

    /// As [`FrameReader::next_frame`], of a frame without a header: a SASL token, which may be empty.
    pub fn next_bare_frame(&mut self) -> Result<Option<Bytes>, WireError> {
        self.next_of(0, MAX_BARE_FRAME)
    }

    fn next_of(&mut self, least: usize, most: usize) -> Result<Option<Bytes>, WireError> {
        let Some(prefix) = self.buf.get(..4) else {
            return Ok(None);
        };
        let declared = i32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]);
        let len = match usize::try_from(declared) {
            Ok(len) if (least..=most).contains(&len) => len,
            // A broker's, if not a sane one: others answer with text, which declares more.
            Ok(len) if (MAX_BARE_FRAME..=MAX_FRAME).contains(&len) => {
                return Err(WireError::FrameTooLong { length: len, most })
            }
            _ => {
                return Err(WireError::NotKafka(format!(
                    "it answers with a frame of {declared} bytes"
                )))
            }
        };
        if self.buf.len() < 4 + len {
            return Ok(None);
        }
        self.buf.advance(4);
        let frame = self.buf.split_to(len).freeze();
        // What follows rarely is more than the head of a frame.
        if let Some(whole) = self.whole.take_if(|_| self.buf.len() <= READ_CHUNK) {
            let rest = BytesMut::from(&self.buf[..]);
            READ.put(std::mem::replace(&mut self.buf, rest), whole);
        }
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_out_whole_wherever_it_was_cut() {
        let wire: &[u8] = &[0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 4, 9, 9, 9, 9];
        for cut in 0..wire.len() {
            let mut reader = FrameReader::default();
            let mut frames = Vec::new();
            for part in [&wire[..cut], &wire[cut..]] {
                reader.space().extend_from_slice(part);
                while let Some(frame) = reader.next_frame(MAX_FRAME).unwrap() {
                    frames.push(frame.to_vec());
                }
            }
            assert_eq!(frames, vec![vec![1, 2, 3, 4, 5], vec![9, 9, 9, 9]]);
        }
    }

    #[test]
    fn large_frames_come_out_whole_and_keep_what_is_in_them() {
        let sizes = [
            100_000,
            70_000,
            4,
            3_000_000,
            200_000,
            5,
            17 << 20,
            90_000,
            65_536,
        ];
        let frame =
            |at: usize| -> Vec<u8> { (0..sizes[at]).map(|i| (at + i % 251) as u8).collect() };
        let mut wire = Vec::new();
        for (at, size) in sizes.iter().enumerate() {
            wire.put_u32(*size as u32);
            wire.extend_from_slice(&frame(at));
        }
        for step in [1 << 10, 50_000, 1 << 20] {
            let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
            for part in wire.chunks(step) {
                let mut part = part;
                while !part.is_empty() {
                    let space = reader.space();
                    let room = (space.capacity() - space.len()).min(part.len());
                    assert!(room > 0);
                    space.extend_from_slice(&part[..room]);
                    part = &part[room..];
                    while let Some(frame) = reader.next_frame(MAX_FRAME).unwrap() {
                        frames.push(frame);
                    }
                }
            }
            assert_eq!(frames.len(), sizes.len());
            assert!((0..sizes.len()).all(|at| frames[at] == frame(at)));
        }
    }

    #[test]
    fn a_token_may_be_empty_and_an_answer_may_not() {
        let mut reader = FrameReader::default();
        reader.space().extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(reader.next_bare_frame().unwrap(), Some(Bytes::new()));
        assert!(matches!(
            reader.next_frame(MAX_FRAME),
            Err(WireError::NotKafka(_))
        ));
    }

    #[test]
    fn an_answer_that_is_longer_than_it_may_be_is_refused_before_it_comes() {
        let mut reader = FrameReader::default();
        reader.space().put_i32(33 * 1024 * 1024);
        let most = 32 * 1024 * 1024;
        let error = reader.next_frame(most).unwrap_err();
        assert!(matches!(error, WireError::FrameTooLong { .. }), "{error}");
        assert!(reader.next_frame(2 * most).unwrap().is_none());
    }

    #[test]
    fn a_client_id_that_is_too_long_is_an_error() {
        let id = "x".repeat(i16::MAX as usize + 1);
        assert!(request_head(3, 1, 7, &id[1..], 0).is_ok());
        let result = request_head(3, 1, 7, &id, 0);
        assert!(matches!(result, Err(WireError::TooLong { .. })));
    }

    #[test]
    fn an_answer_in_http_is_told_apart() {
        let mut reader = FrameReader::default();
        reader
            .space()
            .extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n");
        assert!(matches!(
            reader.next_frame(MAX_FRAME),
            Err(WireError::NotKafka(_))
        ));
    }

    #[test]
    fn a_declared_length_is_not_allocated_before_its_bytes_arrive() {
        let mut reader = FrameReader::default();
        reader
            .space()
            .extend_from_slice(&(MAX_FRAME as i32).to_be_bytes());
        assert!(reader.next_frame(MAX_FRAME).unwrap().is_none());
        assert!(reader.space().capacity() <= 2 * TRUSTED_ALLOCATION);
    }

    #[test]
    fn the_head_of_a_flexible_request_ends_with_no_tagged_fields() {
        let head = request_head(ApiKey::Metadata as i16, 12, 7, "id", 3).unwrap();
        assert_eq!(
            &head[..],
            [0, 0, 0, 16, 0, 3, 0, 12, 0, 0, 0, 7, 0, 2, b'i', b'd', 0]
        );
        let head = request_head(ApiKey::Metadata as i16, 1, 7, "id", 3).unwrap();
        assert_eq!(head.len(), 16);
    }
}
