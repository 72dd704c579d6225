//! What is sent again, and until when.

use super::*;

#[test]
fn a_retriable_error_is_retried_after_the_backoff_as_often_as_allowed() {
    let mut bench = Bench::new(|config| config.max_retries = 1);
    bench.call("a");
    let batch = bench.batch();
    assert!(matches!(
        bench.fail(batch, ErrorCode::NOT_ENOUGH_REPLICAS),
        Outcome::Retried
    ));
    assert!(matches!(bench.take(), Take::At(_)));
    bench.pass(500);
    let batch = bench.batch();
    bench.call("b");
    let (names, why) = failed(bench.fail(batch, ErrorCode::NOT_ENOUGH_REPLICAS));
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        why,
        Failure::RetriesUsedUp(Cause::Code(ErrorCode::NOT_ENOUGH_REPLICAS))
    );
    assert!(bench.buffer.stopped().is_some());
    assert_eq!(bench.call_with("c", &[b""]), Err(AppendError::Closed));
}

#[test]
fn waiting_for_a_leader_uses_up_no_retries() {
    let mut bench = Bench::new(|config| config.max_retries = 0);
    bench.call("a");
    for _ in 0..5 {
        let batch = bench.batch();
        let outcome = bench.fail(batch, ErrorCode::NOT_LEADER_FOR_PARTITION);
        assert!(matches!(outcome, Outcome::Retried));
        bench.pass(500);
    }
    let batch = bench.batch();
    assert!(matches!(
        bench.fail(batch, ErrorCode::REQUEST_TIMED_OUT),
        Outcome::Settled(..)
    ));
}

#[test]
fn what_the_former_leader_refused_is_sent_at_once_and_in_order() {
    let mut bench = Bench::new(|config| config.partition_onwire_limit = Some(2));
    bench.call("a");
    let a = bench.batch();
    bench.call("b");
    let b = bench.batch();
    for (batch, waits) in [(a, true), (b, false)] {
        let outcome = bench.fail(batch, ErrorCode::NOT_LEADER_FOR_PARTITION);
        assert!(matches!(outcome, Outcome::Retried));
        bench.buffer.leader_moved();
        if waits {
            assert!(matches!(bench.take(), Take::At(_)), "b is in flight");
        }
    }
    assert!(bench.buffer.wants_queueing(&bench.config));
    assert_eq!(names(&bench.batch()), ["a"]);
    assert_eq!(names(&bench.batch()), ["b"]);
}

#[test]
fn a_delivery_ends_with_its_time_even_with_retries_without_limit() {
    let mut bench = Bench::new(|config| {
        config.max_retries = -1;
        config.delivery_timeout = Duration::from_secs(2);
    });
    bench.call("a");
    for _ in 0..3 {
        let batch = bench.batch();
        assert!(matches!(
            bench.fail(batch, ErrorCode::REQUEST_TIMED_OUT),
            Outcome::Retried
        ));
        bench.pass(500);
    }
    bench.pass(1000);
    let batch = bench.batch();
    let (names, why) = failed(bench.fail(batch, ErrorCode::REQUEST_TIMED_OUT));
    assert_eq!(names, ["a"]);
    let cause = Cause::Code(ErrorCode::REQUEST_TIMED_OUT);
    assert_eq!(why, Failure::DeliveryTimeout(Some(cause)));
}

#[test]
fn what_is_never_sent_expires() {
    let mut bench = Bench::new(|config| config.delivery_timeout = Duration::from_secs(1));
    bench.call("a");
    assert!(bench.buffer.expire(&bench.config, bench.now).is_none());
    bench.pass(1000);
    let (names, why) = failed(bench.buffer.expire(&bench.config, bench.now).unwrap());
    assert_eq!((names, why), (vec!["a"], Failure::DeliveryTimeout(None)));
}

#[test]
fn a_partition_that_does_not_exist_uses_up_the_retries() {
    let mut bench = Bench::new(|config| config.max_retries = 1);
    bench.call("a");
    assert!(matches!(
        bench.buffer.unknown(&bench.config, bench.now),
        Some(Outcome::Retried)
    ));
    assert!(
        bench.buffer.unknown(&bench.config, bench.now).is_none(),
        "once a backoff"
    );
    bench.pass(500);
    let outcome = bench.buffer.unknown(&bench.config, bench.now).unwrap();
    let cause = Cause::Code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(failed(outcome), (vec!["a"], Failure::RetriesUsedUp(cause)));
}

#[test]
fn a_backoff_ends_with_the_time_of_the_delivery() {
    let mut bench = Bench::new(|config| {
        config.retry_backoff = Duration::from_secs(60);
        config.delivery_timeout = Duration::from_secs(2);
    });
    bench.call("a");
    let batch = bench.batch();
    let outcome = bench.fail(batch, ErrorCode::NOT_ENOUGH_REPLICAS);
    assert!(matches!(outcome, Outcome::Retried));
    let end = bench.now + Duration::from_secs(2);
    assert!(matches!(bench.take(), Take::At(at) if at == end));
    bench.pass(2000);
    assert!(matches!(bench.take(), Take::Expired));
}

#[test]
fn the_time_of_a_call_does_not_begin_with_a_refused_one() {
    let mut bench = Bench::new(|config| config.delivery_timeout = Duration::from_secs(1));
    let now = bench.now;
    let refused = bench.buffer.append(
        &bench.config,
        || now,
        |_, _: &mut Calls, _| Err("bad value"),
    );
    assert_eq!(refused, Err(AppendError::Refused("bad value")));
    bench.pass(1000);
    assert!(bench.buffer.expire(&bench.config, bench.now).is_none());
    bench.call("a");
    let batch = bench.batch();
    assert!(matches!(
        bench.fail(batch, ErrorCode::NOT_ENOUGH_REPLICAS),
        Outcome::Retried
    ));
}

#[test]
fn the_time_of_a_call_does_not_begin_with_the_batch_that_it_did_not_fit_into() {
    let mut bench = Bench::new(|config| {
        config.max_batch_size = 1;
        config.delivery_timeout = Duration::from_secs(1);
    });
    bench.call("a");
    bench.pass(600);
    bench.call("b");
    let a = bench.batch();
    bench.buffer.delivered(a, 0);
    bench.pass(600);
    assert!(bench.buffer.expire(&bench.config, bench.now).is_none());
}

#[test]
fn a_new_leader_gets_nothing_before_the_former_one_has_answered() {
    for mut bench in [Bench::new(|_| {}), Bench::idempotent(|_| {})] {
        bench.config.partition_onwire_limit = Some(5);
        let a = bench.sent("a");
        bench.leader.node = 2;
        bench.call("b");
        assert!(matches!(bench.take(), Take::Idle));
        let net = Cause::Net(NetError::Timeout);
        let outcome = bench.buffer.failed(&bench.config, bench.now, a, net);
        assert!(matches!(outcome, Outcome::Retried));
        assert!(bench.buffer.wants_queueing(&bench.config));
        bench.pass(500);
        assert_eq!(names(&bench.batch()), ["a"]);
        assert_eq!(names(&bench.batch()), ["b"]);
    }
}
