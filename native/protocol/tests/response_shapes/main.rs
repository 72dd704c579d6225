//! No response makes the decoder allocate for more than the response holds.
//!
//! The shapes that lengths are checked by are held against the crate that decodes: for every API
//! and version, bytes made from a shape must decode to their last byte and encode to themselves.

#![allow(unsafe_code)]

mod sample;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashSet;

use brod_protocol::api;
use brod_protocol::shape::{Fault, Null, Shape};
use brod_protocol::{decode_response, ApiVersions, WireError};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, Message, Request, StrBytes};
use proptest::prelude::*;
use sample::{encoded, sample, Sample, Style, Width, FULL, STYLES};

/// The system's allocator, remembering the largest block that each thread asked for.
struct Watching;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn saw(size: usize) {
    LARGEST.set(LARGEST.get().max(size));
}

// SAFETY: every call goes to `System` unchanged.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        saw(layout.size());
        System.alloc(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        saw(layout.size());
        System.alloc_zeroed(layout)
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        saw(size);
        System.realloc(ptr, layout, size)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        System.dealloc(ptr, layout);
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// The largest block that `body` may cost: elements take more memory than bytes on the wire, and
/// a tagged field costs a node of a map. An error may have a backtrace.
fn allowed(body: &[u8]) -> usize {
    16 * 1024 + 64 * body.len()
}

/// What is left of the bytes, and the message encoded again.
type CrateDecoded = Result<(usize, BytesMut), String>;

/// One response of all that the engine decodes.
struct Api {
    name: &'static str,
    key: i16,
    shape: &'static Shape,
    decode: fn(Bytes, i16) -> Result<(), WireError>,
    /// Decodes without a check.
    crate_decode: fn(&[u8], i16) -> CrateDecoded,
    asked_in: (i16, i16),
    picked: Option<i16>,
}

fn api<R: Request>() -> Api {
    let known = api::of(R::KEY).unwrap();
    Api {
        name: known.name,
        key: known.key,
        shape: &known.shape,
        decode: |body, version| decode_response::<R>(body, version).map(|_| ()),
        crate_decode: |body, version| {
            let mut body = Bytes::copy_from_slice(body);
            let response = R::Response::decode(&mut body, version).map_err(|e| e.to_string())?;
            let mut out = BytesMut::new();
            let encoded = response.encode(&mut out, version);
            encoded.map_err(|e| format!("does not encode: {e}"))?;
            Ok((body.len(), out))
        },
        asked_in: (<R as Message>::VERSIONS.min, <R as Message>::VERSIONS.max),
        picked: newest_broker().pick::<R>().ok(),
    }
}

/// Speaks whatever there is, and more.
fn newest_broker() -> ApiVersions {
    let keys = api::ALL.iter().map(|api| {
        ApiVersion::default()
            .with_api_key(api.key)
            .with_max_version(i16::MAX)
    });
    let response = ApiVersionsResponse::default().with_api_keys(keys.collect());
    ApiVersions::from_response(&response)
}

fn apis() -> Vec<Api> {
    vec![
        api::<ApiVersionsRequest>(),
        api::<CreateTopicsRequest>(),
        api::<DeleteTopicsRequest>(),
        api::<DescribeGroupsRequest>(),
        api::<FetchRequest>(),
        api::<FindCoordinatorRequest>(),
        api::<GetTelemetrySubscriptionsRequest>(),
        api::<HeartbeatRequest>(),
        api::<InitProducerIdRequest>(),
        api::<AddPartitionsToTxnRequest>(),
        api::<AddOffsetsToTxnRequest>(),
        api::<EndTxnRequest>(),
        api::<TxnOffsetCommitRequest>(),
        api::<SaslHandshakeRequest>(),
        api::<SaslAuthenticateRequest>(),
        api::<JoinGroupRequest>(),
        api::<LeaveGroupRequest>(),
        api::<ListGroupsRequest>(),
        api::<ListOffsetsRequest>(),
        api::<MetadataRequest>(),
        api::<OffsetCommitRequest>(),
        api::<OffsetFetchRequest>(),
        api::<OffsetForLeaderEpochRequest>(),
        api::<ProduceRequest>(),
        api::<PushTelemetryRequest>(),
        api::<SyncGroupRequest>(),
    ]
}

fn for_every_version(mut test: impl FnMut(&Api, i16)) {
    for api in apis() {
        for version in api.shape.oldest..=api.shape.newest {
            test(&api, version);
        }
    }
}

#[test]
fn every_shape_is_tested_here_and_has_every_version_that_is_asked_for() {
    let apis = apis();
    let keys: HashSet<i16> = apis.iter().map(|api| api.key).collect();
    assert_eq!(keys.len(), api::ALL.len());
    for api in apis {
        let key = ApiKey::try_from(api.key).unwrap();
        assert_eq!(format!("{key:?}"), api.name);
        assert!(api.shape.oldest <= api.asked_in.0 && api.asked_in.1 <= api.shape.newest);
        // KIP-482: headers became flexible along with the messages. Only this one's stayed.
        for version in api.shape.oldest..=api.shape.newest {
            let flexible = key.response_header_version(version) >= 1;
            let expected = version >= api.shape.flexible && key != ApiKey::ApiVersions;
            assert_eq!(flexible, expected, "{key:?} {version}");
        }
    }
}

#[test]
fn what_is_reported_is_what_is_picked() {
    for api in apis() {
        let (_, newest) = brod_protocol::api::of(api.key).unwrap().versions;
        assert_eq!(api.picked, Some(newest), "{}", api.name);
    }
}

#[test]
fn small_answers_that_would_take_much_memory_are_refused() {
    // 32 MB of empty groups, five bytes each.
    let count = 32 * 1024 * 1024 / 5;
    let mut body = vec![0, 0, 0, 0, 0, 0];
    body.extend_from_slice(&encoded(Width::Compact, count));
    body.resize(body.len() + 5 * count as usize, 1);
    for (at, byte) in body[10..].iter_mut().enumerate() {
        *byte = u8::from(at % 5 != 4);
    }
    LARGEST.set(0);
    let error = decode_response::<ListGroupsRequest>(body.into(), 5).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("bytes of memory"), "{text}");
    assert!(LARGEST.get() < 100_000, "{}", LARGEST.get());
}

#[test]
fn large_answers_as_brokers_give_them_are_read() {
    let group = |number: usize| {
        list_groups_response::ListedGroup::default()
            .with_group_id(StrBytes::from_string(format!("g{number}")).into())
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_group_state(StrBytes::from_static_str("Stable"))
            .with_group_type(StrBytes::from_static_str("classic"))
    };
    let groups = ListGroupsResponse::default().with_groups((0..300_000).map(group).collect());
    let mut body = BytesMut::new();
    groups.encode(&mut body, 5).unwrap();
    assert!(decode_response::<ListGroupsRequest>(body.freeze(), 5).is_ok());
    let partition = |index| {
        metadata_response::MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_replica_nodes(vec![BrokerId(1)])
            .with_isr_nodes(vec![BrokerId(1)])
    };
    let topic = metadata_response::MetadataResponseTopic::default()
        .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
        .with_partitions((0..300_000).map(partition).collect());
    let metadata = MetadataResponse::default().with_topics(vec![topic]);
    for version in [1, 9, 12] {
        let mut body = BytesMut::new();
        metadata.encode(&mut body, version).unwrap();
        let read = decode_response::<MetadataRequest>(body.freeze(), version);
        assert!(read.is_ok(), "version {version}");
    }
}

#[test]
fn what_the_crate_encodes_is_accepted_to_its_last_byte() {
    for_every_version(|api, version| {
        let name = api.name;
        for style in STYLES {
            let Sample { bytes, .. } = sample(api.shape, version, style);
            let (left, encoded) = (api.crate_decode)(&bytes, version)
                .unwrap_or_else(|error| panic!("{name} {version} {style:?}: {error}"));
            assert_eq!(left, 0, "{name} {version} {style:?}");
            assert_eq!(encoded, bytes, "{name} {version} {style:?}");
            assert_eq!(api.shape.check(&encoded, version), Ok(encoded.len()));
            assert_eq!((api.decode)(encoded.freeze(), version), Ok(()));
        }
    });
}

#[test]
fn null_is_refused_where_the_crate_refuses_it_and_nowhere_else() {
    for_every_version(|api, version| {
        for place in 0.. {
            let style = Style {
                null_at: Some(place),
                ..FULL
            };
            let Sample { bytes, null, .. } = sample(api.shape, version, style);
            let Some((field, null)) = null else { break };
            let what = format!("{} {version} {field}", api.name);
            let decoded = (api.crate_decode)(&bytes, version);
            let checked = api.shape.check(&bytes, version);
            if null == Null::Allowed {
                assert_eq!(decoded.map(|(left, _)| left), Ok(0), "{what}");
                assert_eq!(checked, Ok(bytes.len()), "{what}");
            } else {
                let error = decoded.expect_err(&what);
                assert!(error.contains("length is negative (-1)"), "{what}: {error}");
                let refused = checked.expect_err(&what);
                assert_eq!((refused.field, refused.fault), (field, Fault::Null));
            }
        }
    });
}

/// To the shape it is an unknown one, whose value is passed over.
#[test]
fn a_tagged_field_of_a_later_version_is_not_decoded() {
    let mut told = 0;
    for_every_version(|api, version| {
        let style = Style {
            early: true,
            ..FULL
        };
        let Sample { bytes, early, .. } = sample(api.shape, version, style);
        if early > 0 {
            let error = (api.crate_decode)(&bytes, version).unwrap_err();
            let what = format!("{} {version}: {error}", api.name);
            assert!(error.contains("is not valid for version"), "{what}");
            told += 1;
        }
    });
    // Produce 9, Fetch 12 to 15.
    assert_eq!(told, 5);
}

#[test]
fn what_is_cut_off_is_refused() {
    for_every_version(|api, version| {
        let Sample { bytes, .. } = sample(api.shape, version, FULL);
        for end in 0..bytes.len() {
            assert!(api.shape.check(&bytes[..end], version).is_err());
            let cut = Bytes::copy_from_slice(&bytes[..end]);
            let result = (api.decode)(cut, version);
            assert!(matches!(result, Err(WireError::Malformed(_))), "{result:?}");
        }
    });
}

#[test]
fn a_version_that_is_not_known_is_refused() {
    for api in apis() {
        for version in [i16::MIN, api.shape.oldest - 1, api.shape.newest + 1] {
            let fault = api.shape.check(&[0; 100], version).unwrap_err().fault;
            assert_eq!(fault, Fault::Version(version));
        }
    }
}

/// Every length that a field cannot have.
fn lies(length: &sample::Length, left: usize) -> Vec<Vec<u8>> {
    let numbers: &[i64] = match length.width {
        Width::Short => &[i16::MAX.into(), i16::MIN.into(), -2],
        Width::Long => &[i32::MAX.into(), i32::MIN.into(), -2],
        Width::Compact => &[u32::MAX as i64 - 1, i32::MAX.into()],
        Width::Plain => &[u32::MAX.into(), i32::MAX.into()],
    };
    let encode = |number: &i64| encoded(length.width, *number);
    let mut lies: Vec<_> = numbers.iter().map(encode).collect();
    lies.push(encode(&(left as i64 + 1)));
    match length.width {
        Width::Compact | Width::Plain => {
            // More than 32 bits, and no end.
            lies.push(vec![0xff, 0xff, 0xff, 0xff, 0x10]);
            lies.push(vec![0xff; 10]);
        }
        Width::Short | Width::Long => {}
    }
    if length.null == Null::Refused && length.width != Width::Plain {
        lies.push(encode(&-1));
    }
    lies
}

#[test]
fn a_length_that_lies_is_refused_where_it_is() {
    let mut told = 0;
    for_every_version(|api, version| {
        let whole = sample(api.shape, version, FULL);
        for length in &whole.lengths {
            for lie in lies(length, whole.left_after(length)) {
                let body = whole.with(length, &lie);
                let what = format!("{} {version} {length:?} {lie:?}", api.name);
                let refused = api.shape.check(&body, version).expect_err(&what);
                assert_eq!(
                    (refused.field, refused.at),
                    (length.field, length.at),
                    "{what}"
                );
                let limit = allowed(&body);
                LARGEST.set(0);
                let result = (api.decode)(body.into(), version);
                assert!(LARGEST.get() <= limit, "{what}: {}", LARGEST.get());
                assert!(matches!(result, Err(WireError::Malformed(_))), "{what}");
                told += 1;
            }
        }
    });
    assert!(told > 5_000, "{told}");
}

#[test]
fn a_known_tagged_field_of_another_size_is_refused() {
    let body = |size| {
        let mut body = vec![0, 0, 1, 0, 0, 0, 0, 1, 1, size];
        body.extend_from_slice(&[0; 9]);
        body
    };
    let shape = &api::api_versions::API.shape;
    assert_eq!(shape.check(&body(8), 3), Ok(18));
    for said in [0, 7, 9] {
        let refused = shape.check(&body(said), 3).unwrap_err();
        let said = said.into();
        assert_eq!(refused.fault, Fault::TagSize { said, taken: 8 });
    }
}

#[test]
fn the_error_says_what_was_wrong() {
    let result =
        decode_response::<MetadataRequest>(Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 9]), 0);
    let text = result.unwrap_err().to_string();
    assert_eq!(
        text,
        "protocol error: Metadata response of version 0: brokers claims 2147483647, \
         bytes left: 1 (at byte 0)"
    );
}

/// The decoder's reasons to refuse what the shapes let pass; none is about lengths.
fn is_no_length(error: &str) -> bool {
    error.contains("utf-8") || error.contains("is not valid for version")
}

/// Decodes damaged bytes as the engine does and holds what the shape says of them against what the
/// crate makes of them.
fn decode_damaged(api: &Api, version: i16, body: &[u8]) {
    let limit = allowed(body);
    let checked = api.shape.check(body, version);
    let owned = Bytes::copy_from_slice(body);
    LARGEST.set(0);
    let decoded = (api.decode)(owned, version);
    let largest = LARGEST.get();
    assert!(largest <= limit, "{largest} for {} bytes", body.len());
    match (checked, decoded) {
        (Err(_), decoded) => assert!(decoded.is_err()),
        (Ok(taken), Ok(())) => {
            let (left, _) = (api.crate_decode)(body, version).unwrap();
            assert_eq!(body.len() - left, taken);
        }
        (Ok(_), Err(WireError::Malformed(error))) => assert!(is_no_length(&error), "{error}"),
        (Ok(_), Err(error)) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn damage_is_decoded_or_refused(
        api: prop::sample::Index,
        version: prop::sample::Index,
        style: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let apis = apis();
        let api = api.get(&apis);
        let versions: Vec<_> = (api.shape.oldest..=api.shape.newest).collect();
        let version = *version.get(&versions);
        let mut body = sample(api.shape, version, *style.get(&STYLES)).bytes;
        for (at, byte) in changes {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        decode_damaged(api, version, &body);
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        api: prop::sample::Index,
        version: prop::sample::Index,
        body in prop::collection::vec(prop_oneof![3 => 0..4u8, 1 => any::<u8>()], 0..200),
    ) {
        let apis = apis();
        let api = api.get(&apis);
        let versions: Vec<_> = (api.shape.oldest..=api.shape.newest).collect();
        decode_damaged(api, *version.get(&versions), &body);
    }
}
