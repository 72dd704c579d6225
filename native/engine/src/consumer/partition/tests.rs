use bytes::Bytes;

use super::*;
use brod_protocol::isolation::Aborted;

fn unshared() -> Partition {
    Partition::new(Arc::new(AtomicI32::new(i32::MAX)))
}

fn partition(config: ConsumerConfig) -> (Partition, u64) {
    let mut partition = unshared();
    let generation = partition.start(config);
    assert!(partition.wish().is_none());
    assert!(partition.begin(generation, 0, -1));
    (partition, generation)
}

fn deliver(partition: &mut Partition, offsets: std::ops::Range<i64>, size: usize) {
    let mut delivered = Delivered::new();
    let end = offsets.end;
    offsets.for_each(|offset| delivered.add(offset, size));
    let generation = partition.generation();
    partition.delivery_starts();
    partition.delivered(generation, delivered, end, 0);
    partition.delivery_ends();
}

#[test]
fn fetches_until_both_limits_are_exceeded() {
    let (mut partition, _) = partition(ConsumerConfig {
        prefetch_count: 10,
        prefetch_bytes: 100,
        ..ConsumerConfig::default()
    });
    deliver(&mut partition, 0..10, 50);
    assert!(
        partition.wish().is_some(),
        "10 messages are not more than 10"
    );
    deliver(&mut partition, 10..11, 50);
    assert!(partition.wish().is_none());
    partition.ack(0);
    assert_eq!(partition.wish().map(|wish| wish.offset), Some(11));
    deliver(&mut partition, 11..12, 50);
    assert!(partition.wish().is_none());
    partition.ack(11);
    deliver(&mut partition, 12..1000, 0);
    assert!(partition.wish().is_some(), "many messages, few bytes");
    deliver(&mut partition, 1000..1001, 101);
    assert!(partition.wish().is_none());
}

/// Half of what may be out makes a set: 450 bytes.
fn with_room() -> Partition {
    let (partition, _) = partition(ConsumerConfig {
        prefetch_count: 10,
        prefetch_bytes: 100,
        max_bytes: 800,
        ..ConsumerConfig::default()
    });
    assert_eq!(partition.room(), Some(450));
    partition
}

fn answer() -> Answer {
    Answer::new(Bytes::new(), Aborted::default(), 0, 0)
}

#[test]
fn what_is_unpacked_and_not_acked_is_bounded() {
    let mut partition = with_room();
    deliver(&mut partition, 0..45, 10);
    assert_eq!(partition.room(), Some(450), "a second set just fits");
    deliver(&mut partition, 45..46, 1);
    assert_eq!(partition.room(), None);
    partition.wait_for_room(answer());
    assert!(partition.take_waiting().is_none());
    partition.ack(0);
    assert_eq!(partition.room(), Some(450));
    partition.ack(45);
    assert!(partition.wish().is_none(), "what waits comes first");
    assert!(partition.take_waiting().is_some());
    assert!(partition.take_waiting().is_none(), "it is taken");
    assert!(partition.wish().is_some());
}

#[test]
fn a_window_that_is_not_full_has_room_for_a_set() {
    let mut partition = with_room();
    deliver(&mut partition, 0..10, 1000);
    assert_eq!(
        partition.room(),
        Some(450),
        "10 messages are not more than 10"
    );
    deliver(&mut partition, 10..11, 0);
    assert_eq!(partition.room(), None);
}

#[test]
fn what_waits_belongs_to_the_subscription() {
    let mut partition = with_room();
    partition.wait_for_room(answer());
    partition.set_paused(true);
    assert!(partition.take_waiting().is_none());
    partition.set_paused(false);
    assert!(partition.take_waiting().is_some());
    let ends: [fn(&mut Partition); 4] = [
        |partition| partition.suspend(),
        |partition| partition.stop(),
        |partition| partition.forget_waiting(),
        |partition| {
            let generation = partition.restart();
            partition.begin(generation, 0, -1);
        },
    ];
    for end in ends {
        let mut partition = with_room();
        partition.wait_for_room(answer());
        end(&mut partition);
        assert!(partition.take_waiting().is_none());
    }
    let mut partition = with_room();
    partition.suspend();
    partition.wait_for_room(answer());
    let generation = partition.restart();
    partition.begin(generation, 0, -1);
    assert!(partition.take_waiting().is_none(), "it came too late");
}

#[test]
fn an_ack_counts_when_the_subscription_ends_during_its_delivery() {
    let (mut partition, generation) = partition(ConsumerConfig::default());
    partition.answered(3, 3);
    let mut delivered = Delivered::new();
    (0..3).for_each(|offset| delivered.add(offset, 1));
    partition.delivery_starts();
    partition.ack(1);
    partition.stop();
    partition.delivered(generation, delivered, 3, 0);
    partition.delivery_ends();
    assert_eq!(partition.next_offset(), Some(2));
}

#[test]
fn an_ack_may_overtake_the_end_of_its_delivery() {
    let (mut partition, generation) = partition(ConsumerConfig::default());
    let mut delivered = Delivered::new();
    (0..3).for_each(|offset| delivered.add(offset, 1));
    partition.delivery_starts();
    assert!(
        partition.wish().is_none(),
        "the position is about to change"
    );
    partition.ack(1);
    partition.delivered(generation, delivered, 3, 0);
    partition.delivery_ends();
    assert_eq!(partition.next_offset(), Some(2));
    assert_eq!(partition.info().pending_count, 1);
}

#[test]
fn what_was_not_delivered_cannot_be_acked() {
    let (mut partition, _) = partition(ConsumerConfig::default());
    partition.ack(100);
    assert_eq!(partition.next_offset(), Some(0));
    deliver(&mut partition, 0..2, 1);
    partition.ack(100);
    assert_eq!(partition.next_offset(), Some(2));
}

#[test]
fn a_new_generation_drops_what_belongs_to_the_old_one() {
    let (mut partition, old) = partition(ConsumerConfig::default());
    partition.delivery_starts();
    let new = partition.restart();
    assert!(
        !partition.begin(new, 50, -1),
        "the old delivery is under way"
    );
    let mut delivered = Delivered::new();
    delivered.add(7, 1);
    partition.delivered(old, delivered, 8, 0);
    partition.delivery_ends();
    assert!(!partition.begin(old, 8, -1));
    assert!(partition.begin(new, 50, -1));
    assert_eq!(partition.info().pending_count, 0);
    assert_eq!(partition.wish().map(|wish| wish.offset), Some(50));
}

#[test]
fn acks_outlive_the_subscription() {
    let (mut partition, _) = partition(ConsumerConfig::default());
    assert_eq!(unshared().next_offset(), None);
    deliver(&mut partition, 0..5, 1);
    partition.ack(2);
    partition.stop();
    assert_eq!(partition.next_offset(), Some(3));
    let generation = partition.start(ConsumerConfig::default());
    partition.begin(generation, 3, -1);
    deliver(&mut partition, 3..5, 1);
    partition.ack(4);
    partition.suspend();
    assert_eq!(partition.next_offset(), Some(5));
}

#[test]
fn lag_counts_to_the_end_that_the_subscriber_sees() {
    let (mut partition, _) = partition(ConsumerConfig::default());
    assert_eq!(partition.info().lag, None);
    partition.answered(10, 8);
    deliver(&mut partition, 0..5, 1);
    partition.ack(1);
    assert_eq!(partition.info().lag, Some(6));
    assert!(partition.wish().is_some_and(|wish| wish.behind));
    deliver(&mut partition, 5..8, 1);
    assert!(partition.wish().is_some_and(|wish| !wish.behind));
}

#[test]
fn an_offset_reset_keeps_what_is_out() {
    let (mut partition, generation) = partition(ConsumerConfig {
        offset_reset_policy: OffsetResetPolicy::ResetToLatest,
        ..ConsumerConfig::default()
    });
    deliver(&mut partition, 0..3, 1);
    assert_eq!(partition.reset(), Some(OffsetResetPolicy::ResetToLatest));
    assert!(partition.wish().is_none());
    assert!(partition.begin(generation, 100, 4));
    assert_eq!(partition.info().pending_count, 3);
    assert_eq!(partition.next_offset(), Some(0));
    partition.ack(2);
    assert_eq!(partition.next_offset(), Some(100));
}

#[test]
fn failures_are_counted_by_position() {
    let (mut partition, _) = partition(ConsumerConfig::default());
    partition.answered(10, 10);
    assert!(!partition.fails_for_good(3));
    // There is data, so an answer without any does not make it good.
    partition.came(0);
    assert!(!partition.fails_for_good(3));
    assert!(partition.fails_for_good(3));
    deliver(&mut partition, 0..1, 1);
    assert!(!partition.fails_for_good(2));
    deliver(&mut partition, 1..10, 1);
    partition.came(0);
    assert!(!partition.fails_for_good(2));
    let generation = partition.restart();
    assert!(partition.begin(generation, 0, -1));
    assert!(!partition.fails_for_good(2));
}

#[test]
fn waits_grow_until_the_position_moves() {
    let (mut partition, _) = partition(ConsumerConfig::default());
    let mut last = Duration::ZERO;
    for _ in 0..3 {
        // An answer is not enough.
        partition.answered(10, 10);
        let wait = partition.retry_wait();
        assert!(wait > last, "{wait:?} after {last:?}");
        last = wait;
    }
    deliver(&mut partition, 0..1, 1);
    assert!(partition.retry_wait() < last / 2);
}

#[test]
fn a_partition_whose_batches_are_larger_than_its_share_is_given_more() {
    let mut partition = Partition::new(Arc::new(AtomicI32::new(LEAST_FETCH)));
    let generation = partition.start(ConsumerConfig {
        max_bytes: 3 * LEAST_FETCH,
        ..ConsumerConfig::default()
    });
    assert!(partition.begin(generation, 0, -1));
    let asked = |partition: &Partition| partition.wish().map(|wish| wish.max_bytes);
    assert_eq!(asked(&partition), Some(LEAST_FETCH));
    partition.answered(0, 0);
    partition.came(0);
    assert_eq!(
        asked(&partition),
        Some(LEAST_FETCH),
        "there is nothing to fetch"
    );
    partition.answered(10, 10);
    partition.came(0);
    assert_eq!(asked(&partition), Some(2 * LEAST_FETCH));
    partition.came(0);
    assert_eq!(asked(&partition), Some(3 * LEAST_FETCH));
    partition.came(3 * LEAST_FETCH as usize);
    deliver(&mut partition, 0..5, 1);
    assert_eq!(asked(&partition), Some(3 * LEAST_FETCH));
    // Smaller batches take it back step by step.
    partition.came(100);
    assert_eq!(asked(&partition), Some(2 * LEAST_FETCH));
    partition.came(100);
    assert_eq!(asked(&partition), Some(LEAST_FETCH));
    partition.came(0);
    let generation = partition.restart();
    assert!(partition.begin(generation, 0, -1));
    assert_eq!(asked(&partition), Some(LEAST_FETCH), "another subscription");
}

#[test]
fn one_of_many_partitions_prefetches_less() {
    let mut partition = Partition::new(Arc::new(AtomicI32::new(10_000)));
    let generation = partition.start(ConsumerConfig::default());
    assert!(partition.begin(generation, 0, -1));
    deliver(&mut partition, 0..20, 1000);
    assert!(
        partition.wish().is_some(),
        "20,000 bytes fill two shares to the brim"
    );
    deliver(&mut partition, 20..21, 1);
    assert!(partition.wish().is_none());
}

#[test]
fn settings_above_the_defaults_are_not_shared() {
    let mut partition = Partition::new(Arc::new(AtomicI32::new(100)));
    let asked = |partition: &Partition| partition.wish().map(|wish| wish.max_bytes);
    let (large, fetch) = (10_000_000, 5_000_000);
    let generation = partition.start(ConsumerConfig {
        prefetch_count: 0,
        prefetch_bytes: large,
        max_bytes: fetch,
        ..ConsumerConfig::default()
    });
    assert!(partition.begin(generation, 0, -1));
    assert_eq!(asked(&partition), Some(fetch));
    deliver(&mut partition, 0..10, 1_000_000);
    assert!(partition.wish().is_some(), "no more than was set is out");
    deliver(&mut partition, 10..11, 1);
    assert!(partition.wish().is_none());

    let generation = partition.start(ConsumerConfig {
        prefetch_count: 0,
        prefetch_bytes: i64::MAX,
        ..ConsumerConfig::default()
    });
    assert!(partition.begin(generation, 0, -1));
    deliver(&mut partition, 0..1, 1);
    assert!(partition.room().is_some());
    assert_eq!(
        asked(&partition),
        Some(LEAST_FETCH),
        "the default is shared"
    );
}
