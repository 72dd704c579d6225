//! Producer ids and sequence numbers: nothing twice, nothing out of order.

use super::*;

#[test]
fn batches_in_flight_come_back_in_order_under_their_old_sequence_numbers() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = Some(9));
    let mut in_flight = Vec::new();
    for name in ["a", "b", "c"] {
        bench.call(name);
        in_flight.push(bench.send());
    }
    assert_eq!(
        in_flight
            .iter()
            .map(|(_, sequence)| *sequence)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    let mut in_flight = in_flight.into_iter().map(|(batch, _)| batch);
    let (a, b, c) = (
        in_flight.next().unwrap(),
        in_flight.next().unwrap(),
        in_flight.next().unwrap(),
    );
    assert!(matches!(
        bench.fail(a, ErrorCode::NOT_ENOUGH_REPLICAS),
        Outcome::Retried
    ));
    for late in [b, c] {
        let outcome = bench.fail(late, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert!(matches!(outcome, Outcome::Retried));
    }
    bench.pass(500);
    bench.sends(&[("a", 0), ("b", 1), ("c", 2)]);
}

#[test]
fn no_more_than_five_batches_are_in_flight_when_idempotent() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = Some(9));
    for name in ["a", "b", "c", "d", "e"] {
        bench.call(name);
        bench.batch();
    }
    bench.call("f");
    assert!(matches!(bench.take(), Take::Idle));
}

/// How many batches of a call each are taken at once.
fn taken_at_once(bench: &mut Bench) -> usize {
    for name in ["a", "b", "c", "d", "e", "f"] {
        bench.call(name);
    }
    std::iter::from_fn(|| match bench.take() {
        Take::Batch { batch, .. } => Some(batch),
        _ => None,
    })
    .count()
}

#[test]
fn a_broker_far_away_has_as_many_batches_of_a_partition_as_it_is_worth_if_their_order_is_kept() {
    let one_a_batch = |config: &mut ProducerConfig| config.max_batch_size = 1;
    for (worth, in_flight) in [(1, 1), (3, 3), (5, 5)] {
        let mut bench = Bench::idempotent(one_a_batch);
        bench.leader.worth = worth;
        assert_eq!(taken_at_once(&mut bench), in_flight);
    }
    let mut bench = Bench::new(one_a_batch);
    bench.leader.worth = 5;
    assert_eq!(taken_at_once(&mut bench), 1, "nothing keeps the order");
    let mut bench = Bench::idempotent(|config| {
        one_a_batch(config);
        config.partition_onwire_limit = Some(1);
    });
    bench.leader.worth = 5;
    assert_eq!(taken_at_once(&mut bench), 1, "it was asked for");
}

#[test]
fn a_producer_id_that_the_broker_forgot_is_replaced_and_the_sequence_starts_over() {
    let mut bench = Bench::idempotent(|_| {});
    let a = bench.sent("a");
    bench.buffer.delivered(a, 0);
    bench.call("b");
    let (b, sequence) = bench.send();
    assert_eq!(sequence, 1);
    assert!(matches!(
        bench.fail(b, ErrorCode::UNKNOWN_PRODUCER_ID),
        Outcome::Retried
    ));
    bench.pass(500);
    assert!(matches!(bench.take(), Take::NeedsIdentity(_)));
    bench
        .buffer
        .set_identity(Some(ProducerId { id: 8, epoch: 0 }));
    let (b, sequence) = bench.send();
    assert_eq!((names(&b), sequence), (vec!["b"], 0));
}

#[test]
fn a_repeat_that_the_broker_recognizes_is_a_success() {
    let mut bench = Bench::idempotent(|_| {});
    let a = bench.sent("a");
    let outcome = bench.fail(a, ErrorCode::DUPLICATE_SEQUENCE_NUMBER);
    assert!(matches!(outcome, Outcome::Delivered(_, -1)));
}

#[test]
fn what_is_behind_a_refused_batch_in_flight_goes_under_a_new_producer_id() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = Some(5));
    let a = bench.sent("a");
    let b = bench.sent("b");
    bench.call("c");
    failed(bench.fail(a, ErrorCode::MESSAGE_TOO_LARGE));
    assert!(matches!(bench.take(), Take::Idle), "b is in flight");
    assert!(!bench.buffer.wants_queueing(&bench.config));
    let outcome = bench.fail(b, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
    assert!(matches!(outcome, Outcome::Retried));
    assert!(bench.buffer.wants_queueing(&bench.config));
    assert!(matches!(bench.take(), Take::NeedsIdentity(_)));
    bench
        .buffer
        .set_identity(Some(ProducerId { id: 8, epoch: 0 }));
    bench.sends_the_first_alone(&[("b", 0), ("c", 1)]);
}

#[test]
fn a_refused_batch_that_may_be_stored_keeps_its_sequence_number() {
    let mut bench = Bench::idempotent(|_| {});
    let a = bench.sent("a");
    bench.call("b");
    let outcome = bench.fail(a, ErrorCode::REQUEST_TIMED_OUT);
    assert!(matches!(outcome, Outcome::Retried));
    bench.pass(500);
    let (a, _) = bench.send();
    failed(bench.fail(a, ErrorCode::TOPIC_AUTHORIZATION_FAILED));
    assert!(matches!(bench.take(), Take::NeedsIdentity(_)));
}

#[test]
fn an_earlier_batch_keeps_its_sequence_number_when_a_later_one_is_refused() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = Some(5));
    let a = bench.sent("a");
    let b = bench.sent("b");
    bench.call("c");
    let outcome = bench.fail(a, ErrorCode::REQUEST_TIMED_OUT);
    assert!(matches!(outcome, Outcome::Retried));
    failed(bench.fail(b, ErrorCode::MESSAGE_TOO_LARGE));
    bench.pass(500);
    bench.sends(&[("a", 0), ("c", 1)]);
}

#[test]
fn nothing_overtakes_a_batch_whose_producer_id_is_being_replaced() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = Some(5));
    let a = bench.sent("a");
    let b = bench.sent("b");
    bench.call("c");
    let outcome = bench.fail(a, ErrorCode::UNKNOWN_PRODUCER_ID);
    assert!(matches!(outcome, Outcome::Retried));
    bench.pass(500);
    assert!(matches!(bench.take(), Take::Idle), "b is in flight");
    let net = Cause::Net(NetError::Closed);
    let outcome = bench.buffer.failed(&bench.config, bench.now, b, net);
    assert!(matches!(outcome, Outcome::Retried));
    bench.pass(500);
    assert!(matches!(bench.take(), Take::NeedsIdentity(_)));
    bench
        .buffer
        .set_identity(Some(ProducerId { id: 8, epoch: 0 }));
    bench.sends_the_first_alone(&[("a", 0), ("b", 1), ("c", 2)]);
}

#[test]
fn a_call_does_not_wait_for_a_producer_id_for_ever() {
    let mut bench = Bench::new(|config| {
        config.idempotence = Idempotence::Auto;
        config.delivery_timeout = Duration::from_secs(1);
    });
    assert!(bench.call("a").wake);
    let Take::NeedsIdentity(timer) = bench.take() else {
        panic!("needs no producer id");
    };
    assert_eq!(timer, bench.now + Duration::from_secs(1));
    assert!(bench.buffer.waits_for(timer));
    assert!(!bench.call("b").wake, "the timer looks again");
    bench.pass(999);
    assert!(matches!(bench.take(), Take::At(at) if at == timer));
    bench.pass(1);
    assert!(matches!(bench.take(), Take::Expired));
    let (names, why) = failed(bench.buffer.expire(&bench.config, bench.now).unwrap());
    assert_eq!(names, ["a", "b"]);
    assert_eq!(why, Failure::DeliveryTimeout(None));
}

#[test]
fn a_producer_id_ends_the_wait_for_it() {
    let mut bench = Bench::new(|config| config.idempotence = Idempotence::Auto);
    bench.buffer.identity_asked();
    assert!(bench.call("a").wake);
    assert!(matches!(bench.take(), Take::At(_)));
    bench.buffer.set_identity(Some(ID));
    assert!(bench.buffer.wants_queueing(&bench.config));
    assert_eq!(names(&bench.batch()), ["a"]);
}

#[test]
fn a_topic_that_was_made_again_gets_batches_of_another_producer_id() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = Some(2));
    let old = bench.sent("old");
    bench.buffer.topic_made_again();
    bench.call("new");
    assert!(matches!(bench.take(), Take::Idle), "old is in flight");
    bench.buffer.delivered(old, 0);
    assert!(matches!(bench.take(), Take::NeedsIdentity(_)));
    bench
        .buffer
        .set_identity(Some(ProducerId { id: 8, epoch: 0 }));
    let (batch, sequence) = bench.send();
    assert_eq!((names(&batch), sequence), (vec!["new"], 0));
}

#[test]
fn the_first_batch_under_a_producer_id_goes_alone() {
    let mut bench = Bench::idempotent(|config| config.partition_onwire_limit = Some(5));
    bench.buffer.set_identity(Some(ID));
    for name in ["too large", "large"] {
        bench.call(name);
    }
    let first = bench.batch();
    let appended = bench.call("b");
    assert!(!appended.wake);
    // Had it gone out: a broker that knows nothing of this producer would have stored it, before the halves of the first.
    assert!(matches!(bench.take(), Take::Idle));
    let outcome = bench.fail(first, ErrorCode::MESSAGE_TOO_LARGE);
    assert!(matches!(outcome, Outcome::Retried));
    assert!(bench.buffer.wants_queueing(&bench.config));
    let (half, sequence) = bench.send();
    assert_eq!((names(&half), sequence), (vec!["too large"], 0));
    assert!(matches!(bench.take(), Take::Idle));
    bench.buffer.delivered(half, 0);
    assert!(bench.buffer.wants_queueing(&bench.config));
    bench.sends(&[("large", 1), ("b", 2)]);
}
