use super::*;
use kafka_protocol::protocol::StrBytes;

fn id() -> TransactionalId {
    StrBytes::from_static_str("t").into()
}

fn place(index: i32) -> (TopicName, i32) {
    (StrBytes::from_static_str("topic").into(), index)
}

fn init() -> InitProducerIdRequest {
    InitProducerIdRequest::default()
        .with_transactional_id(Some(id()))
        .with_transaction_timeout_ms(1000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1)
}

fn started(txns: &mut Transactions) -> (ProducerId, i16) {
    let response = txns.init(&init());
    assert_eq!(response.error_code, 0);
    (response.producer_id, response.producer_epoch)
}

fn end((producer_id, epoch): (ProducerId, i16), committed: bool) -> EndTxnRequest {
    EndTxnRequest::default()
        .with_transactional_id(id())
        .with_producer_id(producer_id)
        .with_producer_epoch(epoch)
        .with_committed(committed)
}

#[test]
fn a_transaction_ends_in_all_its_partitions_and_can_be_ended_twice() {
    let mut txns = Transactions::default();
    let who = started(&mut txns);
    assert_eq!(
        txns.add_partitions(&id(), who, [place(0), place(1)], 0),
        Ok(())
    );
    assert_eq!(txns.deadline(), Some(1000));
    assert_eq!(txns.end(4, &end(who, true)).error_code, 0);
    let ended = txns.take_ended();
    assert_eq!(ended.len(), 1);
    assert!(ended[0].committed && ended[0].partitions.len() == 2);
    assert_eq!(
        txns.end(4, &end(who, true)).error_code,
        0,
        "its answer was lost"
    );
    let other = txns.end(4, &end(who, false)).error_code;
    assert_eq!(other, ErrorCode::INVALID_TXN_STATE.0);
    assert_eq!(txns.take_ended(), []);
    assert_eq!(txns.deadline(), None);
}

#[test]
fn from_version_5_on_each_transaction_has_an_epoch_of_its_own() {
    let mut txns = Transactions::default();
    let who = started(&mut txns);
    assert_eq!(txns.add_partitions(&id(), who, [place(0)], 0), Ok(()));
    let ended = txns.end(5, &end(who, true));
    assert_eq!((ended.error_code, ended.producer_epoch), (0, who.1 + 1));
    let again = txns.end(5, &end(who, true));
    assert_eq!((again.error_code, again.producer_epoch), (0, who.1 + 1));
    assert_eq!(txns.take_ended().len(), 1);
    let late = txns.add_partitions(&id(), who, [place(0)], 0);
    assert_eq!(late, Err(ErrorCode::PRODUCER_FENCED));
}

#[test]
fn a_new_producer_of_the_same_id_aborts_and_fences_the_old_one() {
    let mut txns = Transactions::default();
    let old = started(&mut txns);
    assert_eq!(txns.add_partitions(&id(), old, [place(0)], 0), Ok(()));
    let new = started(&mut txns);
    assert_eq!(new.0, old.0);
    assert!(new.1 > old.1);
    let ended = txns.take_ended();
    assert!(!ended[0].committed && ended[0].epoch > old.1);
    assert_eq!(
        txns.end(4, &end(old, true)).error_code,
        ErrorCode::PRODUCER_FENCED.0
    );
    let revived = init().with_producer_id(old.0).with_producer_epoch(old.1);
    assert_eq!(txns.init(&revived).error_code, ErrorCode::PRODUCER_FENCED.0);
    let goes_on = init().with_producer_id(new.0).with_producer_epoch(new.1);
    assert_eq!(txns.init(&goes_on).producer_epoch, new.1 + 1);
    assert_eq!(
        txns.init(&goes_on).producer_epoch,
        new.1 + 1,
        "its answer was lost"
    );
}

#[test]
fn a_transaction_that_is_open_for_too_long_is_aborted() {
    let mut txns = Transactions::default();
    let who = started(&mut txns);
    assert_eq!(txns.add_partitions(&id(), who, [place(0)], 10), Ok(()));
    txns.expire(1009);
    assert_eq!(txns.take_ended(), []);
    txns.expire(1010);
    assert!(!txns.take_ended()[0].committed);
    assert_eq!(
        txns.end(4, &end(who, true)).error_code,
        ErrorCode::PRODUCER_FENCED.0
    );
}
