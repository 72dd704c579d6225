use bytes::Bytes;

use super::*;
use brod_protocol::isolation::Aborted;

fn unshared() -> Subscription {
    Subscription::new(Arc::new(AtomicI32::new(i32::MAX)), 1)
}

fn subscription(config: ConsumerConfig) -> (Subscription, u64) {
    let mut subscription = unshared();
    let generation = subscription.start(config);
    assert!(subscription.next_fetch().is_none());
    assert!(subscription.begin(generation, 0, -1));
    (subscription, generation)
}

fn deliver(subscription: &mut Subscription, offsets: std::ops::Range<i64>, size: usize) {
    let mut delivered = Delivered::new();
    let end = offsets.end;
    offsets.for_each(|offset| delivered.add(offset, size));
    let generation = subscription.generation();
    subscription.delivery_starts();
    subscription.delivered(generation, delivered, end, 0);
    subscription.delivery_ends();
}

#[test]
fn fetches_until_both_limits_are_exceeded() {
    let (mut subscription, _) = subscription(ConsumerConfig {
        prefetch_count: 10,
        prefetch_bytes: 100,
        ..ConsumerConfig::default()
    });
    deliver(&mut subscription, 0..10, 50);
    assert!(
        subscription.next_fetch().is_some(),
        "10 messages are not more than 10"
    );
    deliver(&mut subscription, 10..11, 50);
    assert!(subscription.next_fetch().is_none());
    subscription.ack(0);
    assert_eq!(
        subscription.next_fetch().map(|fetch| fetch.offset),
        Some(11)
    );
    deliver(&mut subscription, 11..12, 50);
    assert!(subscription.next_fetch().is_none());
    subscription.ack(11);
    deliver(&mut subscription, 12..62, 0);
    assert!(
        subscription.next_fetch().is_some(),
        "many messages, few bytes"
    );
    deliver(&mut subscription, 62..63, 101);
    assert!(subscription.next_fetch().is_none());
}

#[test]
fn messages_without_key_and_value_fill_the_window_all_the_same() {
    let (mut subscription, _) = subscription(ConsumerConfig::default());
    deliver(&mut subscription, 0..102_400, 0);
    assert!(subscription.next_fetch().is_some());
    deliver(&mut subscription, 102_400..102_401, 0);
    assert!(subscription.next_fetch().is_none());
}

/// Half of what may be out makes a set: 450 bytes.
fn with_room() -> Subscription {
    let (subscription, _) = subscription(ConsumerConfig {
        prefetch_count: 10,
        prefetch_bytes: 100,
        max_bytes: 800,
        ..ConsumerConfig::default()
    });
    assert_eq!(subscription.room(), Some(450));
    subscription
}

fn answer() -> CompletedFetch {
    CompletedFetch::new(Bytes::new(), Aborted::default(), 0, 0)
}

#[test]
fn what_is_unpacked_and_not_acked_is_bounded() {
    let mut subscription = with_room();
    deliver(&mut subscription, 0..45, 10);
    assert_eq!(subscription.room(), Some(450), "a second set just fits");
    deliver(&mut subscription, 45..46, 1);
    assert_eq!(subscription.room(), None);
    subscription.wait_for_room(answer());
    assert!(subscription.take_waiting().is_none());
    subscription.ack(0);
    assert_eq!(subscription.room(), Some(450));
    subscription.ack(45);
    assert!(
        subscription.next_fetch().is_none(),
        "what waits comes first"
    );
    assert!(subscription.take_waiting().is_some());
    assert!(subscription.take_waiting().is_none(), "it is taken");
    assert!(subscription.next_fetch().is_some());
}

#[test]
fn a_window_that_is_not_full_has_room_for_a_set() {
    let mut subscription = with_room();
    deliver(&mut subscription, 0..10, 1000);
    assert_eq!(
        subscription.room(),
        Some(450),
        "10 messages are not more than 10"
    );
    deliver(&mut subscription, 10..11, 0);
    assert_eq!(subscription.room(), None);
}

#[test]
fn what_waits_belongs_to_the_subscription() {
    let mut subscription = with_room();
    subscription.wait_for_room(answer());
    subscription.set_paused(true);
    assert!(subscription.take_waiting().is_none());
    subscription.set_paused(false);
    assert!(subscription.take_waiting().is_some());
    let ends: [fn(&mut Subscription); 4] = [
        |subscription| subscription.suspend(),
        |subscription| subscription.stop(),
        |subscription| subscription.forget_waiting(),
        |subscription| {
            let generation = subscription.restart();
            subscription.begin(generation, 0, -1);
        },
    ];
    for end in ends {
        let mut subscription = with_room();
        subscription.wait_for_room(answer());
        end(&mut subscription);
        assert!(subscription.take_waiting().is_none());
    }
    let mut subscription = with_room();
    subscription.suspend();
    subscription.wait_for_room(answer());
    let generation = subscription.restart();
    subscription.begin(generation, 0, -1);
    assert!(subscription.take_waiting().is_none(), "it came too late");
}

#[test]
fn an_ack_counts_when_the_subscription_ends_during_its_delivery() {
    let (mut subscription, generation) = subscription(ConsumerConfig::default());
    subscription.answered(3, 3);
    let mut delivered = Delivered::new();
    (0..3).for_each(|offset| delivered.add(offset, 1));
    subscription.delivery_starts();
    subscription.ack(1);
    subscription.stop();
    subscription.delivered(generation, delivered, 3, 0);
    subscription.delivery_ends();
    assert_eq!(subscription.next_offset(), Some(2));
}

#[test]
fn an_ack_may_overtake_the_end_of_its_delivery() {
    let (mut subscription, generation) = subscription(ConsumerConfig::default());
    let mut delivered = Delivered::new();
    (0..3).for_each(|offset| delivered.add(offset, 1));
    subscription.delivery_starts();
    assert!(
        subscription.next_fetch().is_none(),
        "the position is about to change"
    );
    subscription.ack(1);
    subscription.delivered(generation, delivered, 3, 0);
    subscription.delivery_ends();
    assert_eq!(subscription.next_offset(), Some(2));
    assert_eq!(subscription.info().pending_count, 1);
}

#[test]
fn what_was_not_delivered_cannot_be_acked() {
    let (mut subscription, _) = subscription(ConsumerConfig::default());
    subscription.ack(100);
    assert_eq!(subscription.next_offset(), Some(0));
    deliver(&mut subscription, 0..2, 1);
    subscription.ack(100);
    assert_eq!(subscription.next_offset(), Some(2));
}

#[test]
fn a_new_generation_drops_what_belongs_to_the_old_one() {
    let (mut subscription, old) = subscription(ConsumerConfig::default());
    subscription.delivery_starts();
    let new = subscription.restart();
    assert!(
        !subscription.begin(new, 50, -1),
        "the old delivery is under way"
    );
    let mut delivered = Delivered::new();
    delivered.add(7, 1);
    subscription.delivered(old, delivered, 8, 0);
    subscription.delivery_ends();
    assert!(!subscription.begin(old, 8, -1));
    assert!(subscription.begin(new, 50, -1));
    assert_eq!(subscription.info().pending_count, 0);
    assert_eq!(
        subscription.next_fetch().map(|fetch| fetch.offset),
        Some(50)
    );
}

#[test]
fn acks_outlive_the_subscription() {
    let (mut subscription, _) = subscription(ConsumerConfig::default());
    assert_eq!(unshared().next_offset(), None);
    deliver(&mut subscription, 0..5, 1);
    subscription.ack(2);
    subscription.stop();
    assert_eq!(subscription.next_offset(), Some(3));
    let generation = subscription.start(ConsumerConfig::default());
    subscription.begin(generation, 3, -1);
    deliver(&mut subscription, 3..5, 1);
    subscription.ack(4);
    subscription.suspend();
    assert_eq!(subscription.next_offset(), Some(5));
}

#[test]
fn lag_counts_to_the_end_that_the_subscriber_sees() {
    let (mut subscription, _) = subscription(ConsumerConfig::default());
    assert_eq!(subscription.info().lag, None);
    subscription.answered(10, 8);
    deliver(&mut subscription, 0..5, 1);
    subscription.ack(1);
    assert_eq!(subscription.info().lag, Some(6));
    assert!(subscription.next_fetch().is_some_and(|fetch| fetch.behind));
    deliver(&mut subscription, 5..8, 1);
    assert!(subscription.next_fetch().is_some_and(|fetch| !fetch.behind));
}

#[test]
fn an_offset_reset_keeps_what_is_out() {
    let (mut subscription, generation) = subscription(ConsumerConfig::default());
    deliver(&mut subscription, 0..3, 1);
    subscription.reset();
    assert!(subscription.next_fetch().is_none());
    assert!(subscription.begin(generation, 100, 4));
    assert_eq!(subscription.info().pending_count, 3);
    assert_eq!(subscription.next_offset(), Some(0));
    subscription.ack(2);
    assert_eq!(subscription.next_offset(), Some(100));
}

/// What is out was read in a log that was cut off before it; the subscriber acks it all the same, late or never.
#[test]
fn a_position_that_goes_back_does_not_wait_for_acks_of_what_was_read_behind_it() {
    let (mut subscription, generation) = subscription(ConsumerConfig {
        prefetch_count: 5,
        prefetch_bytes: 100,
        ..ConsumerConfig::default()
    });
    deliver(&mut subscription, 20..30, 9);
    subscription.reset();
    assert!(subscription.begin(generation, 10, 4));
    assert_eq!(subscription.next_offset(), Some(10));
    deliver(&mut subscription, 10..25, 9);
    assert!(subscription.next_fetch().is_none(), "the window is full");
    subscription.ack(12);
    assert_eq!(subscription.next_offset(), Some(13));
    subscription.ack(24);
    assert_eq!(subscription.info().pending_count, 0);
    assert_eq!(
        subscription.next_fetch().map(|fetch| fetch.offset),
        Some(25)
    );
}

#[test]
fn failures_are_counted_by_position() {
    let (mut subscription, _) = subscription(ConsumerConfig::default());
    subscription.answered(10, 10);
    assert!(!subscription.fails_for_good(3));
    // There is data, so an answer without any does not make it good.
    subscription.adapt_size(0);
    assert!(!subscription.fails_for_good(3));
    assert!(subscription.fails_for_good(3));
    deliver(&mut subscription, 0..1, 1);
    assert!(!subscription.fails_for_good(2));
    deliver(&mut subscription, 1..10, 1);
    subscription.adapt_size(0);
    assert!(!subscription.fails_for_good(2));
    let generation = subscription.restart();
    assert!(subscription.begin(generation, 0, -1));
    assert!(!subscription.fails_for_good(2));
}

#[test]
fn waits_grow_until_the_position_moves() {
    let (mut subscription, _) = subscription(ConsumerConfig::default());
    let mut last = Duration::ZERO;
    for _ in 0..3 {
        // An answer is not enough.
        subscription.answered(10, 10);
        let wait = subscription.retry_wait();
        assert!(wait > last, "{wait:?} after {last:?}");
        last = wait;
    }
    deliver(&mut subscription, 0..1, 1);
    assert!(subscription.retry_wait() < last / 2);
}

#[test]
fn a_message_that_an_old_broker_cuts_off_is_asked_for_whole_and_only_that_one() {
    let (mut subscription, _) = subscription(ConsumerConfig {
        max_bytes: 1000,
        max_batch_bytes: 50_000,
        ..ConsumerConfig::default()
    });
    let asked =
        |subscription: &Subscription| subscription.next_fetch().map(|fetch| fetch.max_bytes);
    assert!(!subscription.needs(1000), "it would have come whole");
    assert!(!subscription.needs(50_001), "more than a batch may have");
    assert_eq!(asked(&subscription), Some(1000));
    assert!(subscription.needs(10_000));
    assert_eq!(asked(&subscription), Some(10_000));
    assert!(!subscription.needs(10_000), "it has been asked for");
    assert!(subscription.needs(10_001));
    assert_eq!(asked(&subscription), Some(20_000), "twice as much at least");
    deliver(&mut subscription, 0..1, 10_001);
    assert_eq!(asked(&subscription), Some(1000));
}

#[test]
fn a_partition_whose_batches_are_larger_than_its_share_is_given_more() {
    let mut subscription = Subscription::new(Arc::new(AtomicI32::new(LEAST_FETCH)), 1);
    let generation = subscription.start(ConsumerConfig {
        max_bytes: 3 * LEAST_FETCH,
        ..ConsumerConfig::default()
    });
    assert!(subscription.begin(generation, 0, -1));
    let asked =
        |subscription: &Subscription| subscription.next_fetch().map(|fetch| fetch.max_bytes);
    assert_eq!(asked(&subscription), Some(LEAST_FETCH));
    subscription.answered(0, 0);
    subscription.adapt_size(0);
    assert_eq!(
        asked(&subscription),
        Some(LEAST_FETCH),
        "there is nothing to fetch"
    );
    subscription.answered(10, 10);
    subscription.adapt_size(0);
    assert_eq!(asked(&subscription), Some(2 * LEAST_FETCH));
    subscription.adapt_size(0);
    assert_eq!(asked(&subscription), Some(3 * LEAST_FETCH));
    subscription.adapt_size(3 * LEAST_FETCH as usize);
    deliver(&mut subscription, 0..5, 1);
    assert_eq!(asked(&subscription), Some(3 * LEAST_FETCH));
    // Smaller batches take it back step by step.
    subscription.adapt_size(100);
    assert_eq!(asked(&subscription), Some(2 * LEAST_FETCH));
    subscription.adapt_size(100);
    assert_eq!(asked(&subscription), Some(LEAST_FETCH));
    subscription.adapt_size(0);
    let generation = subscription.restart();
    assert!(subscription.begin(generation, 0, -1));
    assert_eq!(
        asked(&subscription),
        Some(LEAST_FETCH),
        "another subscription"
    );
}

#[test]
fn one_of_many_partitions_prefetches_less() {
    let mut subscription = Subscription::new(Arc::new(AtomicI32::new(10_000)), 1);
    let generation = subscription.start(ConsumerConfig::default());
    assert!(subscription.begin(generation, 0, -1));
    deliver(&mut subscription, 0..20, 1000);
    assert!(
        subscription.next_fetch().is_some(),
        "20,000 bytes fill two shares to the brim"
    );
    deliver(&mut subscription, 20..21, 1);
    assert!(subscription.next_fetch().is_none());
}

#[test]
fn settings_above_the_defaults_are_not_shared() {
    let mut subscription = Subscription::new(Arc::new(AtomicI32::new(100)), 1);
    let asked =
        |subscription: &Subscription| subscription.next_fetch().map(|fetch| fetch.max_bytes);
    let (large, fetch) = (10_000_000, 5_000_000);
    let generation = subscription.start(ConsumerConfig {
        prefetch_count: 0,
        prefetch_bytes: large,
        max_bytes: fetch,
        ..ConsumerConfig::default()
    });
    assert!(subscription.begin(generation, 0, -1));
    assert_eq!(asked(&subscription), Some(fetch));
    deliver(&mut subscription, 0..10, 1_000_000);
    assert!(
        subscription.next_fetch().is_some(),
        "no more than was set is out"
    );
    deliver(&mut subscription, 10..11, 1);
    assert!(subscription.next_fetch().is_none());

    let generation = subscription.start(ConsumerConfig {
        prefetch_count: 0,
        prefetch_bytes: i64::MAX,
        ..ConsumerConfig::default()
    });
    assert!(subscription.begin(generation, 0, -1));
    deliver(&mut subscription, 0..1, 1);
    assert!(subscription.room().is_some());
    assert_eq!(
        asked(&subscription),
        Some(LEAST_FETCH),
        "the default is shared"
    );
}

#[test]
fn messages_of_nothing_but_headers_wait_for_acks_all_the_same() {
    let fetched = |prefetch_count| {
        let (mut subscription, generation) = subscription(ConsumerConfig {
            prefetch_count,
            ..ConsumerConfig::default()
        });
        let mut delivered = Delivered::new();
        for offset in 0..600 {
            delivered.add(offset, 0);
            delivered.add_headers(500);
        }
        subscription.delivery_starts();
        assert!(subscription.room().is_some());
        subscription.delivered(generation, delivered, 600, 0);
        subscription
    };
    let mut full = fetched(10);
    assert_eq!(full.room(), None, "38 MB of headers");
    full.delivery_ends();
    assert_eq!(full.next_fetch(), None);
    full.ack(299);
    assert!(full.next_fetch().is_some());
    assert!(full.room().is_some());
    // Whoever asks for many messages gets them.
    assert!(fetched(100_000).room().is_some());
}
