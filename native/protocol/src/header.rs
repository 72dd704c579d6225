//! What stands between a message and its frame: bodies and headers, of requests and of responses, in
//! both directions. A client writes the ones and reads the others; a broker, such as a test's, the other
//! way round.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, Request};

use super::WireError;

/// Encodes a request's body in `version`.
pub fn encode<R: Request>(request: &R, version: i16) -> Result<Bytes, WireError> {
    body(request, version, "request")
}

/// Encodes the body of a response to `R` in `version`, as a broker does.
pub fn encode_response<R: Request>(response: &R::Response, version: i16) -> Result<Bytes, WireError>
where
    R::Response: Encodable,
{
    body(response, version, "response")
}

fn body(message: &impl Encodable, version: i16, what: &str) -> Result<Bytes, WireError> {
    let mut body = BytesMut::with_capacity(256);
    message
        .encode(&mut body, version)
        .map_err(|error| WireError::Malformed(format!("{what} not encodable: {error}")))?;
    Ok(body.freeze())
}

/// Decodes a request's body, as a broker does. Its lengths are not checked: it is for clients that one
/// trusts, such as those of a test.
pub fn decode_request<R: Request + Decodable>(
    mut body: Bytes,
    version: i16,
) -> Result<R, WireError> {
    R::decode(&mut body, version)
        .map_err(|error| WireError::Malformed(format!("request does not parse: {error}")))
}

/// The header of a request, as a broker reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API is asked.
    pub api_key: i16,
    /// In which version.
    pub version: i16,
    /// Comes back with the answer.
    pub correlation_id: i32,
    /// How the client calls itself.
    pub client_id: Option<String>,
}

/// Takes the header off a request frame (its length is gone already).
pub fn strip_request_header(mut frame: Bytes) -> Result<(RequestHeader, Bytes), WireError> {
    let cut = || WireError::Malformed("request header is cut off".into());
    let api_key = frame.try_get_i16().map_err(|_| cut())?;
    let version = frame.try_get_i16().map_err(|_| cut())?;
    let correlation_id = frame.try_get_i32().map_err(|_| cut())?;
    let length = frame.try_get_i16().map_err(|_| cut())?;
    let client_id = match usize::try_from(length) {
        Err(_) => None,
        Ok(length) if length > frame.len() => return Err(cut()),
        Ok(length) => {
            let text = String::from_utf8(frame.split_to(length).to_vec());
            Some(text.map_err(|_| WireError::Malformed("client id is no text".into()))?)
        }
    };
    let header_version =
        ApiKey::try_from(api_key).map_or(1, |key| key.request_header_version(version));
    if header_version >= 2 {
        skip_tagged_fields(&mut frame)?;
    }
    let header = RequestHeader {
        api_key,
        version,
        correlation_id,
        client_id,
    };
    Ok((header, frame))
}

/// Takes the header off a response frame (KIP-482). The correlation id is not looked at.
pub fn strip_response_header(
    mut frame: Bytes,
    api_key: i16,
    version: i16,
) -> Result<Bytes, WireError> {
    if frame.len() < 4 {
        return Err(WireError::Malformed("response header is cut off".into()));
    }
    frame.advance(4);
    let header_version = ApiKey::try_from(api_key)
        .map(|key| key.response_header_version(version))
        .unwrap_or(0);
    if header_version >= 1 {
        skip_tagged_fields(&mut frame)?;
    }
    Ok(frame)
}

fn skip_tagged_fields(frame: &mut Bytes) -> Result<(), WireError> {
    let cut = || WireError::Malformed("header is cut off".into());
    let count = read_uvarint(frame).ok_or_else(cut)?;
    for _ in 0..count {
        let _tag = read_uvarint(frame).ok_or_else(cut)?;
        let size = read_uvarint(frame).ok_or_else(cut)? as usize;
        if frame.len() < size {
            return Err(cut());
        }
        frame.advance(size);
    }
    Ok(())
}

fn read_uvarint(buf: &mut Bytes) -> Option<u32> {
    let mut value = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        if !buf.has_remaining() {
            return None;
        }
        let byte = buf.get_u8();
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::frame::{request_head, response_head, FrameReader, MAX_FRAME};
    use super::*;
    use kafka_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

    fn framed(head: Bytes, body: Bytes) -> Bytes {
        let mut reader = FrameReader::default();
        reader.space().extend_from_slice(&head);
        reader.space().extend_from_slice(&body);
        let frame = reader.next_frame(MAX_FRAME).unwrap();
        frame.expect("a whole one")
    }

    #[test]
    fn a_broker_reads_what_a_client_writes_and_the_other_way_round() {
        // The header is flexible from version 4 on.
        for version in 0..=4 {
            let key = HeartbeatRequest::KEY;
            let request = HeartbeatRequest::default().with_generation_id(7);
            let body = encode(&request, version).unwrap();
            let head = request_head(key, version, 9, "me", body.len()).unwrap();
            let (header, body) = strip_request_header(framed(head, body)).unwrap();
            let expected = RequestHeader {
                api_key: key,
                version,
                correlation_id: 9,
                client_id: Some("me".into()),
            };
            assert_eq!(header, expected);
            assert_eq!(
                decode_request::<HeartbeatRequest>(body, version),
                Ok(request)
            );

            let response = HeartbeatResponse::default().with_error_code(27);
            let body = encode_response::<HeartbeatRequest>(&response, version).unwrap();
            let head = response_head(key, version, 9, body.len()).unwrap();
            let frame = framed(head, body);
            assert_eq!(&frame[..4], 9_i32.to_be_bytes());
            let body = strip_response_header(frame, key, version).unwrap();
            let read = crate::decode_response::<HeartbeatRequest>(body, version);
            assert_eq!(read, Ok(response));
        }
    }

    #[test]
    fn a_request_header_that_is_cut_off_is_refused() {
        let head = request_head(HeartbeatRequest::KEY, 4, 9, "me", 0).unwrap();
        for end in 4..head.len() {
            assert!(strip_request_header(head.slice(4..end)).is_err(), "{end}");
        }
        assert!(strip_request_header(head.slice(4..)).is_ok());
    }
}
