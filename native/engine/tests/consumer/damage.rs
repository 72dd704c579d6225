//! Batches that are not what they should be: the one who subscribes to them is told, and nobody else
//! notices.

use brod_engine::consumer::{BeginOffset, ConsumerConfig};
use brod_protocol::compress::Codec;
use brod_protocol::error::ErrorCode;

use crate::broker::{batch, batch_with, checksummed, Broker, Kind};
use crate::{connect, earliest, until, Event, Subscriber};

/// A good batch, then one that `damage` has changed, on one of two partitions.
async fn tells_one(config: ConsumerConfig, kind: Kind, damage: fn(&mut [u8]), code: ErrorCode) {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    broker.append(0, 0, &["a"], Kind::default());
    let value = "b".repeat(1000);
    let mut bytes = batch(1, &[&value, "c"], kind).to_vec();
    damage(&mut bytes);
    broker.append_raw(0, 2, checksummed(bytes));
    let mut other = Subscriber::start(&consumers, 1, earliest()).await;
    let mut subscriber = Subscriber::start(&consumers, 0, config).await;
    assert_eq!(subscriber.offsets(1).await, [0]);
    loop {
        match subscriber.next().await {
            // Those before the damage may come.
            Event::Message(offset, _) => assert!(offset > 0),
            told => break assert_eq!(told, Event::Error(code)),
        }
    }
    assert!(!subscriber.consumer.info().active);
    broker.append(1, 0, &["x"], Kind::default());
    assert_eq!(other.offsets(1).await, [0]);
    // Nothing of what the batch says of itself is asked for.
    assert!(broker.change(|log| log.max_bytes) <= ConsumerConfig::default().max_bytes);
}

#[tokio::test]
async fn a_length_that_lies() {
    let code = ErrorCode::CORRUPT_MESSAGE;
    let damage = |bytes: &mut [u8]| bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    tells_one(earliest(), Kind::default(), damage, code).await;
    let damage = |bytes: &mut [u8]| bytes[8..12].copy_from_slice(&(-1i32).to_be_bytes());
    tells_one(earliest(), Kind::default(), damage, code).await;
}

#[tokio::test]
async fn a_record_count_that_lies() {
    let code = ErrorCode::CORRUPT_MESSAGE;
    let damage = |bytes: &mut [u8]| bytes[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    tells_one(earliest(), Kind::default(), damage, code).await;
    let damage = |bytes: &mut [u8]| bytes[57..61].copy_from_slice(&1i32.to_be_bytes());
    tells_one(earliest(), Kind::default(), damage, code).await;
}

#[tokio::test]
async fn an_unknown_codec() {
    let code = ErrorCode::UNSUPPORTED_COMPRESSION_TYPE;
    tells_one(earliest(), Kind::default(), |bytes| bytes[22] |= 7, code).await;
}

#[tokio::test]
async fn a_batch_that_ends_at_the_last_of_all_offsets() {
    let code = ErrorCode::CORRUPT_MESSAGE;
    let damage = |bytes: &mut [u8]| bytes[..8].copy_from_slice(&(i64::MAX - 1).to_be_bytes());
    tells_one(earliest(), Kind::default(), damage, code).await;
}

#[tokio::test]
async fn a_batch_that_unpacks_to_more_than_allowed() {
    let config = ConsumerConfig {
        max_batch_bytes: 10,
        ..earliest()
    };
    let kind = Kind {
        codec: Codec::Zstd,
        ..Kind::default()
    };
    tells_one(config, kind, |_| (), ErrorCode::MESSAGE_TOO_LARGE).await;
}

#[tokio::test]
async fn a_message_whose_headers_cost_more_than_allowed_can_be_passed_over() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    // Two bytes each on the wire, and next to nothing compressed.
    let headers = vec![("", None); 100_000];
    broker.append(0, 0, &["a"], Kind::default());
    broker.append_raw(0, 1, batch_with(1, "b", &headers, Codec::Gzip));
    broker.append(0, 2, &["c"], Kind::default());
    let config = ConsumerConfig {
        max_batch_bytes: 1_000_000,
        ..earliest()
    };
    let mut other = Subscriber::start(&consumers, 1, config.clone()).await;
    let mut subscriber = Subscriber::start(&consumers, 0, config).await;
    assert_eq!(subscriber.offsets(1).await, [0]);
    let error = Event::Error(ErrorCode::MESSAGE_TOO_LARGE);
    assert_eq!(subscriber.next().await, error);
    broker.append(1, 0, &["x"], Kind::default());
    assert_eq!(other.offsets(1).await, [0]);
    subscriber.seek(BeginOffset::Offset(2)).await;
    assert_eq!(subscriber.offsets(1).await, [2]);
}

#[tokio::test]
async fn an_offset_that_goes_back_for_good() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    let old = batch(0, &["a", "b"], Kind::default());
    broker.append_raw(0, 1, old.clone());
    let mut subscriber = Subscriber::start(&consumers, 0, earliest()).await;
    assert_eq!(subscriber.offsets(2).await, [0, 1]);
    let before = broker.change(|log| log.fetches.len());
    broker.append_raw(0, 2, old);
    let error = Event::Error(ErrorCode::CORRUPT_MESSAGE);
    assert_eq!(subscriber.next().await, error);
    assert!(!subscriber.consumer.info().active);
    // A few tries, with waits between them.
    let tries = broker.change(|log| log.fetches.len()) - before;
    assert!(tries < 20, "{tries}");
}

#[tokio::test]
async fn a_message_larger_than_max_bytes() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    let value = "x".repeat(5000);
    broker.append(0, 0, &[&value, "b"], Kind::default());
    let config = ConsumerConfig {
        max_bytes: 100,
        ..earliest()
    };
    let mut subscriber = Subscriber::start(&consumers, 0, config).await;
    assert_eq!(subscriber.offsets(2).await, [0, 1]);
    until("the position passes it", || {
        subscriber.consumer.info().position == Some(2)
    })
    .await;
}
