//! Against the codec of the `kafka-protocol` crate, in both directions.

use crate::support::*;
use brod_protocol::batch_writer::SealOptions;
use brod_protocol::compress::Codec;
use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records as other;
use proptest::prelude::*;

fn to_other(offset: usize, rec: &Rec) -> other::Record {
    other::Record {
        transactional: true,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 7,
        producer_epoch: 3,
        timestamp_type: other::TimestampType::Creation,
        offset: offset as i64,
        sequence: 40 + offset as i32,
        timestamp: rec.timestamp,
        key: rec.key.clone().map(Bytes::from),
        value: rec.value.clone().map(Bytes::from),
        headers: rec
            .headers
            .iter()
            .map(|(name, value)| {
                let name = StrBytes::from_string(name.clone());
                (name, value.clone().map(Bytes::from))
            })
            .collect(),
    }
}

fn other_codec(codec: Codec) -> other::Compression {
    match codec {
        Codec::None => other::Compression::None,
        Codec::Gzip => other::Compression::Gzip,
        Codec::Snappy => other::Compression::Snappy,
        Codec::Lz4 => other::Compression::Lz4,
        Codec::Zstd => other::Compression::Zstd,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn another_implementation_reads_ours(recs in recs_strategy(20), codec in codec_strategy()) {
        let batch = writer(&recs).seal(SealOptions {
            producer_id: 7,
            producer_epoch: 3,
            base_sequence: 40,
            codec,
            level: None,
            transactional: true,
        }).expect("seals");
        let read = other::RecordBatchDecoder::decode(&mut batch.to_bytes().clone()).expect("decodes");
        let expected: Vec<_> =
            recs.iter().enumerate().map(|(offset, rec)| to_other(offset, rec)).collect();
        prop_assert_eq!(read.records, expected);
    }

    #[test]
    fn ours_reads_another_implementation(recs in recs_strategy(20), codec in codec_strategy()) {
        let records: Vec<_> =
            recs.iter().enumerate().map(|(offset, rec)| to_other(offset, rec)).collect();
        let mut buf = BytesMut::new();
        let options =
            other::RecordEncodeOptions { version: 2, compression: other_codec(codec) };
        other::RecordBatchEncoder::encode(&mut buf, &records, &options).expect("encodes");
        let bytes = buf.freeze();
        let batch = only_batch(&bytes);
        prop_assert_eq!(
            (batch.producer_id, batch.producer_epoch, batch.base_sequence),
            (7, 3, 40)
        );
        prop_assert!(batch.is_transactional());
        prop_assert_eq!(batch.codec().expect("known"), codec);
        prop_assert_eq!(read_recs(&bytes), recs);
    }
}
