use super::*;
use brod_protocol::api::metadata::Broker;

fn all(_: &str) -> bool {
    true
}

fn response(node: i32, epoch: i32, id: u128) -> Metadata {
    let partition = Partition {
        error: ErrorCode(0),
        partition: 0,
        leader: node,
        leader_epoch: epoch,
        replicas: vec![],
        in_sync: vec![],
        offline: vec![],
    };
    let topic = Topic {
        error: ErrorCode(0),
        name: Some("t".into()),
        id: id.to_be_bytes(),
        is_internal: false,
        partitions: vec![partition],
    };
    let broker = Broker {
        node,
        host: "h".into(),
        port: 9092,
        rack: None,
    };
    Metadata {
        brokers: vec![broker],
        cluster_id: None,
        controller: -1,
        topics: vec![topic],
    }
}

fn with_brokers(brokers: Vec<Broker>, response: Metadata) -> Metadata {
    Metadata {
        brokers,
        ..response
    }
}

fn without_topics(response: Metadata) -> Metadata {
    Metadata {
        topics: vec![],
        ..response
    }
}

#[test]
fn a_leader_of_an_older_epoch_is_ignored_unless_the_topic_is_new() {
    let mut snapshot = Snapshot::default();
    snapshot.update(&response(1, 5, 7), all);
    let both = [response(1, 0, 7).brokers, response(2, 0, 7).brokers].concat();
    snapshot.update(&with_brokers(both, response(2, 4, 7)), all);
    assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 1, epoch: 5 }));
    snapshot.update(&response(2, 0, 8), all);
    assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 2, epoch: 0 }));
}

#[test]
fn what_is_said_time_and_again_is_believed_though_it_is_older() {
    // An epoch and an id that the topic never had.
    for (damaged, answers) in [
        (response(2, i32::MAX, 7), BELIEVED_AFTER),
        (response(2, 6, 8), ID_BELIEVED_AFTER),
    ] {
        let mut snapshot = Snapshot::default();
        snapshot.update(&response(1, 5, 7), all);
        snapshot.update(&damaged, all);
        let believed = |snapshot: &Snapshot| {
            let leader = snapshot.topics["t"].partitions[&0].leader;
            leader == Some(Leader { node: 1, epoch: 5 })
                && snapshot.topic_id("t") == TopicId::new(7_u128.to_be_bytes())
        };
        for _ in 1..answers {
            snapshot.update(&response(1, 5, 7), all);
            assert!(!believed(&snapshot));
        }
        snapshot.update(&response(1, 5, 7), all);
        assert!(believed(&snapshot));
        snapshot.update(&response(1, 6, 7), all);
        assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 1, epoch: 6 }));
    }
}

#[test]
fn a_leader_named_with_an_epoch_that_never_was_is_not_believed_for_ever() {
    let mut snapshot = Snapshot::default();
    let both = || [response(1, 0, 7).brokers, response(2, 0, 7).brokers].concat();
    let truth = || with_brokers(both(), response(1, 5, 7));
    snapshot.update(&truth(), all);
    for _ in 1..BELIEVED_AFTER {
        snapshot.set_leader("t", 0, Leader { node: 2, epoch: 9 }, None);
        snapshot.update(&truth(), all);
    }
    assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 2, epoch: 9 }));
    snapshot.update(&truth(), all);
    assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 1, epoch: 5 }));
}

#[test]
fn a_broker_that_lags_behind_is_not_believed_while_others_contradict_it() {
    for (old, new) in [
        (response(2, 4, 7), response(1, 5, 7)),
        (response(2, 9, 6), response(1, 5, 7)),
    ] {
        let mut snapshot = Snapshot::default();
        snapshot.update(&old, all);
        for _ in 0..ID_BELIEVED_AFTER * 2 {
            snapshot.update(&new, all);
            snapshot.update(&old, all);
        }
        let leader = snapshot.topics["t"].partitions[&0].leader;
        assert_eq!(leader, Some(Leader { node: 1, epoch: 5 }));
        assert_eq!(snapshot.topic_id("t"), TopicId::new(7_u128.to_be_bytes()));
    }
}

#[test]
fn a_leader_that_is_no_broker_any_more_is_none() {
    let mut snapshot = Snapshot::default();
    snapshot.update(&response(1, 5, 7), all);
    snapshot.update(&without_topics(response(2, 5, 7)), all);
    assert_eq!(
        snapshot.leader("t", 0),
        Err(ErrorCode::LEADER_NOT_AVAILABLE)
    );
}

#[test]
fn a_named_leader_counts_if_it_is_newer_and_can_be_reached() {
    let mut snapshot = Snapshot::default();
    let at = |port| Endpoint::named("h", port).unwrap();
    let leader = |node, epoch| Leader { node, epoch };
    snapshot.update(&response(1, 5, 7), all);
    assert!(!snapshot.set_leader("t", 0, leader(2, 5), Some(&at(1))));
    assert!(!snapshot.set_leader("t", 0, leader(2, 4), Some(&at(1))));
    assert!(!snapshot.set_leader("t", 0, leader(2, 6), None));
    assert_eq!(snapshot.leader("t", 0), Ok(leader(1, 5)));
    assert!(!snapshot.brokers.contains_key(&2));
    let version = snapshot.version;
    assert!(snapshot.set_leader("t", 0, leader(2, 6), Some(&at(1))));
    assert_eq!(snapshot.leader("t", 0), Ok(leader(2, 6)));
    assert_eq!(snapshot.brokers.get(&2), Some(&at(1)));
    assert!(snapshot.version > version);
    assert!(snapshot.set_leader("t", 0, leader(1, 7), None));
}

#[test]
fn a_learned_broker_stays_until_metadata_names_it_or_another_one_leads() {
    let mut snapshot = Snapshot::default();
    let learned = Endpoint::named("h", 1).unwrap();
    let leader = |node, epoch| Leader { node, epoch };
    snapshot.update(&response(1, 5, 7), all);
    snapshot.set_leader("t", 0, leader(2, 6), Some(&learned));
    // From a broker that lags behind, and one about another topic.
    snapshot.update(&response(1, 5, 7), all);
    snapshot.update(&without_topics(response(1, 5, 7)), all);
    assert_eq!(snapshot.leader("t", 0), Ok(leader(2, 6)));
    assert_eq!(snapshot.brokers.get(&2), Some(&learned));
    snapshot.update(&response(2, 6, 7), all);
    assert_eq!(
        snapshot.brokers.get(&2),
        Endpoint::named("h", 9092).as_ref()
    );
    snapshot.set_leader("t", 0, leader(3, 7), Some(&learned));
    snapshot.update(&response(1, 8, 7), all);
    assert!(!snapshot.brokers.contains_key(&3));
}

#[test]
fn no_leader_and_no_partition_are_told_apart() {
    let mut snapshot = Snapshot::default();
    snapshot.update(&response(-1, 5, 7), all);
    assert_eq!(
        snapshot.leader("t", 0),
        Err(ErrorCode::LEADER_NOT_AVAILABLE)
    );
    assert_eq!(
        snapshot.leader("t", 1),
        Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    );
    assert_eq!(
        snapshot.leader("x", 0),
        Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    );
}

#[test]
fn an_error_of_a_broker_that_lags_behind_does_not_let_older_leaders_in() {
    let mut snapshot = Snapshot::default();
    snapshot.update(&response(1, 5, 7), all);
    let mut unknown = response(1, 0, 0);
    unknown.topics[0].error = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    unknown.topics[0].partitions.clear();
    snapshot.update(&unknown, all);
    assert!(snapshot.is_unknown("t", 0));
    let both = [response(1, 0, 7).brokers, response(2, 0, 7).brokers].concat();
    snapshot.update(&with_brokers(both, response(2, 4, 7)), all);
    assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 1, epoch: 5 }));
}

#[test]
fn a_topic_that_was_made_again_never_becomes_the_old_one() {
    let mut snapshot = Snapshot::default();
    snapshot.update(&response(1, 5, 7), all);
    let old = snapshot.topic_id("t");
    snapshot.update(&response(1, 0, 8), all);
    let new = snapshot.topic_id("t");
    assert!(new.is_some() && new != old);
    // From a broker that lags behind, and from one that is too old to tell.
    snapshot.update(&response(1, 6, 7), all);
    snapshot.update(&response(1, 1, 0), all);
    assert_eq!(snapshot.topic_id("t"), new);
    assert_eq!(snapshot.leader("t", 0), Ok(Leader { node: 1, epoch: 1 }));
}

#[test]
fn topics_that_nobody_is_interested_in_are_not_kept() {
    let mut snapshot = Snapshot::default();
    snapshot.update(&response(1, 5, 7), |name| name != "t");
    assert!(snapshot.topics.is_empty());
    snapshot.update(&response(1, 5, 7), all);
    assert!(snapshot.leader("t", 0).is_ok());
    snapshot.update(&without_topics(response(1, 5, 7)), |_| false);
    assert!(snapshot.topics.is_empty());
}
