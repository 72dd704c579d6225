//! Well compressed batches: what they unpack to is delivered as the window has room.

use brod_engine::consumer::{BeginOffset, ConsumerConfig};
use brod_protocol::compress::Codec;

use crate::broker::{Broker, Kind};
use crate::{connect, earliest, until, Event, Subscriber};

/// Sets of 15,000 bytes, and 30,000 out in all; the broker answers with everything that it has.
fn little_room() -> ConsumerConfig {
    ConsumerConfig {
        prefetch_count: 1,
        prefetch_bytes: 10_000,
        max_bytes: 20_000,
        ..earliest()
    }
}

fn compressed() -> Kind {
    Kind {
        codec: Codec::Lz4,
        ..Kind::default()
    }
}

fn fetches_that_ask(broker: &Broker) -> usize {
    broker.change(|log| {
        log.fetches
            .iter()
            .filter(|fetch| !fetch.1.is_empty())
            .count()
    })
}

#[tokio::test]
async fn what_a_fetch_brings_beyond_the_window_waits_for_acks() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    let value = "x".repeat(1000);
    let mut offset = 0;
    // Batches with less than a set has, and one with much more.
    for records in [1, 5, 10, 100, 3] {
        broker.append(0, offset, &vec![&value[..]; records], compressed());
        offset += records as i64;
    }
    let mut subscriber = Subscriber::start(&consumers, 0, little_room()).await;
    let pending = || subscriber.consumer.info().pending_bytes;
    until("the window fills", || pending() > 15_000).await;
    let mut received = Vec::new();
    while received.len() < offset as usize {
        let event = subscriber.next().await;
        let Event::Message(offset, _) = event else {
            panic!("{event:?} after {received:?}")
        };
        received.push(offset);
        // A set may exceed its size by a message.
        let pending = subscriber.consumer.info().pending_bytes;
        assert!(pending <= 32_000, "{pending} at {offset}");
        subscriber.consumer.ack(offset);
    }
    assert_eq!(received, (0..offset).collect::<Vec<_>>());
    broker.append(0, offset, &["end"], Kind::default());
    assert_eq!(subscriber.offsets(1).await, [offset]);
}

#[tokio::test]
async fn what_waits_is_not_fetched_again_unless_the_subscriber_seeks() {
    let broker = Broker::start().await;
    let consumers = connect(&broker).await;
    let value = "x".repeat(1000);
    broker.append(0, 0, &[&value[..]; 100], compressed());
    let mut subscriber = Subscriber::start(&consumers, 0, little_room()).await;
    let first = subscriber.offsets(5).await;
    assert_eq!(first, [0, 1, 2, 3, 4]);
    let fetched = fetches_that_ask(&broker);
    subscriber.consumer.pause();
    let mut paused = Vec::new();
    while let Ok(event) = subscriber.events.try_recv() {
        let Event::Message(offset, _) = event else {
            panic!("{event:?}")
        };
        subscriber.consumer.ack(offset);
        paused.push(offset);
    }
    assert!(paused.len() < 95, "{paused:?}");
    subscriber.consumer.resume();
    let rest = subscriber.offsets(60 - paused.len()).await;
    assert_eq!([paused, rest].concat(), (5..65).collect::<Vec<_>>());
    assert_eq!(fetches_that_ask(&broker), fetched);
    subscriber.seek(BeginOffset::Offset(98)).await;
    while let Ok(event) = subscriber.events.try_recv() {
        assert!(matches!(event, Event::Message(..98, _)), "{event:?}");
    }
    assert_eq!(subscriber.offsets(2).await, [98, 99]);
}
