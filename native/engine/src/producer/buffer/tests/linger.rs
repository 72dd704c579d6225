//! What a batch waits for before it is sent.

use super::*;

#[test]
fn a_batch_lingers_for_the_time_or_the_count() {
    let linger = |config: &mut ProducerConfig| {
        config.max_linger = Duration::from_millis(10);
        config.max_linger_count = 3;
    };
    let mut bench = Bench::new(linger);
    bench.call("a");
    assert!(matches!(bench.take(), Take::At(_)));
    bench.pass(10);
    assert_eq!(names(&bench.batch()), ["a"]);
    let mut bench = Bench::new(linger);
    for name in ["a", "b", "c"] {
        bench.call(name);
    }
    assert_eq!(names(&bench.batch()), ["a", "b", "c"]);
}

#[test]
fn the_count_ends_a_linger_that_has_begun() {
    let mut bench = Bench::new(|config| {
        config.max_linger = Duration::from_millis(10);
        config.max_linger_count = 3;
    });
    assert!(bench.call("a").wake);
    let Take::At(timer) = bench.take() else {
        panic!("no linger");
    };
    assert!(bench.buffer.waits_for(timer));
    assert!(!bench.call("b").wake);
    assert!(bench.call("c").wake);
    assert!(!bench.buffer.waits_for(timer));
    assert!(!bench.call("d").wake);
    assert_eq!(names(&bench.batch()), ["a", "b", "c", "d"]);
}

#[test]
fn one_that_has_stopped_waits_for_no_timer() {
    let mut bench = Bench::new(|config| {
        config.max_linger = Duration::from_millis(10);
        config.max_linger_count = 3;
    });
    bench.call("a");
    let Take::At(timer) = bench.take() else {
        panic!("no linger");
    };
    assert!(bench.buffer.waits_for(timer));
    bench.buffer.stop(Failure::Closed);
    assert!(!bench.buffer.waits_for(timer));
}

/// Time enough for more calls, in batches that take no second one.
fn lingers_with_room_for_one(config: &mut ProducerConfig) {
    config.max_linger = Duration::from_millis(10);
    config.max_linger_count = 100;
    config.max_batch_size = 75;
}

#[test]
fn a_full_batch_ends_a_linger_that_has_begun() {
    let mut bench = Bench::new(lingers_with_room_for_one);
    bench.call("a");
    assert!(matches!(bench.take(), Take::At(_)));
    assert!(bench.call("b").wake);
    assert_eq!(names(&bench.batch()), ["a"]);
}

#[test]
fn a_call_that_fills_a_batch_does_not_linger() {
    let mut bench = Bench::new(lingers_with_room_for_one);
    bench.call_with("a", &[&[0; 20]]).unwrap();
    let batch = bench.batch();
    bench.buffer.delivered(batch, 0);
    // Nor do others beside it.
    bench.call("b");
    assert!(matches!(bench.take(), Take::At(_)));
    assert!(bench.call_with("c", &[&[0; 20]]).unwrap().wake);
}

#[test]
fn callers_that_are_held_up_end_a_linger() {
    let mut bench = Bench::new(|config| {
        config.max_linger = Duration::from_millis(10);
        config.max_linger_count = 100;
        config.partition_buffer_limit = 1;
    });
    bench.call("a");
    assert!(matches!(bench.take(), Take::At(_)));
    let second = bench.call("b");
    assert!(second.over_limit && second.wake);
    assert_eq!(names(&bench.batch()), ["a", "b"]);
}
