//! Which handler answers to which API.

use brod_protocol::WireError;
use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest};
use kafka_protocol::protocol::{Decodable, Encodable, Request};

use crate::api;
use crate::call::{Answer, Call, Connection};
use crate::cluster::Cluster;

/// Decodes a request, has it answered, and encodes the answer's body.
pub(crate) fn dispatch(
    cluster: &mut Cluster,
    connection: &mut Connection,
    call: &Call,
    api_key: i16,
    body: Bytes,
) -> Result<Answer<Bytes>, WireError> {
    let Ok(key) = ApiKey::try_from(api_key) else {
        return Ok(Answer::Close);
    };
    if !cluster.config.version.answers(key, call.version) {
        // The one refusal that tells a newer client what it may ask (KIP-511).
        return match key {
            ApiKey::ApiVersions => {
                let response = api::api_versions::unsupported(cluster);
                brod_protocol::encode_response::<ApiVersionsRequest>(&response, 0).map(Answer::Now)
            }
            _ => Ok(Answer::Close),
        };
    }
    let on = On {
        cluster,
        connection,
        call,
        body,
    };
    match key {
        ApiKey::ApiVersions => on.call(api::api_versions::handle),
        ApiKey::CreateTopics => on.call(api::topics::create),
        ApiKey::DeleteTopics => on.call(api::topics::delete),
        ApiKey::Fetch => on.call(api::fetch::handle),
        ApiKey::ListOffsets => on.call(api::list_offsets::handle),
        ApiKey::OffsetForLeaderEpoch => on.call(api::offset_for_leader_epoch::handle),
        ApiKey::Produce => on.call(api::produce::handle),
        ApiKey::Metadata => on.call(api::metadata::handle),
        _ => Ok(Answer::Close),
    }
}

struct On<'a> {
    cluster: &'a mut Cluster,
    connection: &'a mut Connection,
    call: &'a Call,
    body: Bytes,
}

impl On<'_> {
    fn call<R>(
        self,
        handler: impl FnOnce(&mut Cluster, &mut Connection, &Call, R) -> Answer<R::Response>,
    ) -> Result<Answer<Bytes>, WireError>
    where
        R: Request + Decodable,
        R::Response: Encodable,
    {
        let version = self.call.version;
        let request = brod_protocol::decode_request::<R>(self.body, version)?;
        Ok(
            match handler(self.cluster, self.connection, self.call, request) {
                Answer::Now(response) => {
                    Answer::Now(brod_protocol::encode_response::<R>(&response, version)?)
                }
                Answer::Later => Answer::Later,
                Answer::Never => Answer::Never,
                Answer::Close => Answer::Close,
            },
        )
    }
}
