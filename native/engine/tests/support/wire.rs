//! How a scripted broker reads requests and writes answers.

use std::future::Future;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The APIs that a broker offers, and the newest version of each.
pub(crate) type Versions = &'static [(ApiKey, i16)];

/// Serves one connection. `answer` is given the API, the version and the body of a request, and gives the
/// body of the answer; None hangs up.
pub(crate) async fn talk<S, A, F>(mut socket: S, versions: Versions, answer: A) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(ApiKey, i16, Bytes) -> F,
    F: Future<Output = Option<BytesMut>>,
{
    loop {
        let size = socket.read_i32().await.ok()?;
        let mut frame = vec![0; size as usize];
        socket.read_exact(&mut frame).await.ok()?;
        let mut frame = Bytes::from(frame);
        let key = ApiKey::try_from(i16::from_be_bytes([frame[0], frame[1]])).unwrap();
        let version = i16::from_be_bytes([frame[2], frame[3]]);
        let header =
            RequestHeader::decode(&mut frame, key.request_header_version(version)).unwrap();
        let body = match key {
            ApiKey::ApiVersions => encoded(&api_versions(versions), version),
            _ => answer(key, version, frame).await?,
        };
        let mut head = BytesMut::new();
        head.put_i32(header.correlation_id);
        if key.response_header_version(version) == 1 {
            head.put_u8(0);
        }
        let size = (head.len() + body.len()) as i32;
        let whole = [&size.to_be_bytes()[..], &head, &body].concat();
        socket.write_all(&whole).await.ok()?;
        // TLS may hold it.
        socket.flush().await.ok()?;
    }
}

/// A response as it goes on the wire.
pub(crate) fn encoded(response: &impl Encodable, version: i16) -> BytesMut {
    let mut body = BytesMut::new();
    response.encode(&mut body, version).unwrap();
    body
}

fn api_versions(versions: Versions) -> ApiVersionsResponse {
    let keys = versions.iter().map(|(key, max)| {
        ApiVersion::default()
            .with_api_key(*key as i16)
            .with_max_version(*max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}
