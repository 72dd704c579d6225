//! Answers of brokers so old that they are rewritten before they are read.

use std::sync::OnceLock;
use std::time::Duration;

use brod_protocol::api::list_offsets::{self, AtTime};
use brod_protocol::api::{create_topics, delete_topics, fetch, produce};
use brod_protocol::body::Body;
use brod_protocol::isolation::Isolation;
use brod_protocol::{decode_response, encode, legacy};
use bytes::Bytes;
use kafka_protocol::messages::*;

/// Requests in the oldest version that is encoded: key, version, body.
fn requests() -> &'static [(i16, i16, Bytes)] {
    static ALL: OnceLock<Vec<(i16, i16, Bytes)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let second = Duration::from_secs(1);
        let at = AtTime {
            topic: "t",
            partition: 0,
            leader_epoch: -1,
            time: list_offsets::LATEST,
        };
        let version = |api: &brod_protocol::api::Api| api.versions.0;
        let body = |api, body: Result<Bytes, _>| {
            let api: &brod_protocol::api::Api = api;
            (api.key, version(api), body.expect("it encodes"))
        };
        let oldest = version(&produce::API);
        let produced = produce::encode(oldest, None, 1, 1000, std::iter::empty());
        let produced = produced.map(Body::into_bytes);
        let oldest = version(&fetch::API);
        let fetched = encode(&FetchRequest::default().with_max_bytes(1000), oldest);
        let oldest = version(&list_offsets::API);
        let listed = list_offsets::request(oldest, &[at], Isolation::ReadUncommitted, second);
        let listed = encode(&listed, oldest);
        let oldest = version(&create_topics::API);
        let created = encode(&create_topics::request(&[], second, false), oldest);
        let oldest = version(&delete_topics::API);
        let deleted = encode(
            &delete_topics::request(oldest, &["t".to_owned()], second),
            oldest,
        );
        vec![
            body(&produce::API, produced),
            body(&fetch::API, fetched),
            body(&list_offsets::API, listed),
            body(&create_topics::API, created),
            body(&delete_topics::API, deleted),
        ]
    })
}

/// The first byte is the request, the second one the version that the broker speaks.
pub fn run(data: &[u8]) {
    let Some(([which, version], answer)) = super::head(data) else {
        return;
    };
    let all = requests();
    let (key, oldest, body) = &all[usize::from(which) % all.len()];
    if *oldest == 0 {
        return;
    }
    let version = i16::from(version) % oldest;
    let Ok((_, sent)) = legacy::request(*key, version, body.clone()) else {
        return;
    };
    let Ok(answer) = sent.response(Bytes::copy_from_slice(answer)) else {
        return;
    };
    match ApiKey::try_from(*key) {
        Ok(ApiKey::Produce) => _ = produce::decode(answer, *oldest),
        Ok(ApiKey::Fetch) => {
            if let Ok(response) = decode_response::<FetchRequest>(answer, *oldest) {
                for (_, partition) in fetch::read(response).partitions() {
                    super::batches::read(partition.records, 1);
                }
            }
        }
        Ok(ApiKey::ListOffsets) => _ = decode_response::<ListOffsetsRequest>(answer, *oldest),
        Ok(ApiKey::CreateTopics) => _ = decode_response::<CreateTopicsRequest>(answer, *oldest),
        _ => _ = decode_response::<DeleteTopicsRequest>(answer, *oldest),
    }
}
