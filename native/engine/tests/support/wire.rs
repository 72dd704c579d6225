//! How a scripted broker reads requests and writes answers.

use std::future::Future;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestHeader};
use kafka_protocol::protocol::{Decodable, Encodable};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The APIs that a broker offers, and the newest version of each.
pub(crate) type Versions = &'static [(ApiKey, i16)];

/// A request as it came.
pub(crate) struct Request {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    correlation_id: i32,
    pub(crate) body: Bytes,
}

/// Reads a request; None at the end of the connection.
pub(crate) async fn request<S: AsyncRead + Unpin>(socket: &mut S) -> Option<Request> {
    let size = socket.read_i32().await.ok()?;
    let mut frame = vec![0; size as usize];
    socket.read_exact(&mut frame).await.ok()?;
    let mut frame = Bytes::from(frame);
    let key = ApiKey::try_from(i16::from_be_bytes([frame[0], frame[1]])).unwrap();
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let header = RequestHeader::decode(&mut frame, key.request_header_version(version)).unwrap();
    Some(Request {
        key,
        version,
        correlation_id: header.correlation_id,
        body: frame,
    })
}

/// Writes the answer to a request; None if nobody is there any more.
pub(crate) async fn answer<S: AsyncWrite + Unpin>(
    socket: &mut S,
    request: &Request,
    body: &[u8],
) -> Option<()> {
    let mut head = BytesMut::new();
    head.put_i32(request.correlation_id);
    if request.key.response_header_version(request.version) == 1 {
        head.put_u8(0);
    }
    let size = (head.len() + body.len()) as i32;
    let whole = [&size.to_be_bytes()[..], &head, body].concat();
    socket.write_all(&whole).await.ok()?;
    // TLS may hold it.
    socket.flush().await.ok()
}

/// Serves one connection. `script` is given the API, the version and the body of a request, and gives the
/// body of the answer; None hangs up.
pub(crate) async fn talk<S, A, F>(mut socket: S, offered: Versions, script: A) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(ApiKey, i16, Bytes) -> F,
    F: Future<Output = Option<BytesMut>>,
{
    loop {
        let request = request(&mut socket).await?;
        let body = match request.key {
            ApiKey::ApiVersions => versions(offered, request.version),
            key => script(key, request.version, request.body.clone()).await?,
        };
        answer(&mut socket, &request, &body).await?;
    }
}

/// The answer to the version query.
pub(crate) fn versions(versions: Versions, version: i16) -> BytesMut {
    encoded(&api_versions(versions), version)
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
