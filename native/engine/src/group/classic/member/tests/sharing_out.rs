//! What the leader looks at and shares out, and which partitions are new.

use super::*;

#[test]
fn a_leader_shares_out_what_the_members_asked_for() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.joined(leader(1));
    assert_eq!(
        bench.request(),
        &Request::CountPartitions {
            topics: vec!["a".into()],
            create: true
        }
    );
    bench.counted(3);
    let Request::Sync { assignments, .. } = bench.request() else {
        panic!("{:?}", bench.sent)
    };
    let expected: Vec<(String, TopicPartitions)> = vec![
        ("him".into(), vec![("a".into(), vec![0, 2])]),
        ("me".into(), vec![("a".into(), vec![1])]),
    ];
    assert_eq!(assignments, &expected);
}

#[test]
fn the_owner_shares_out_when_it_wants_to_and_heartbeats_go_on() {
    let mut bench = Bench::new(GroupConfig {
        assignment: AssignBy::Owner,
        ..config()
    });
    bench.join(1);
    bench.found(1);
    bench.joined(leader(1));
    bench.counted(2);
    let Some((
        1,
        Event::Assign {
            members,
            partitions,
        },
    )) = bench.told.last()
    else {
        panic!("{:?}", bench.told)
    };
    assert_eq!(members[0].member_id, "me");
    assert_eq!(partitions, &[("a".to_string(), 0), ("a".to_string(), 1)]);
    bench.pass(Duration::from_secs(60), Some(Ok(())));
    assert!(bench.sent.is_empty());
    let shares = vec![("me".to_string(), vec![("a".to_string(), vec![0, 1])])];
    bench.member.assign(0, shares.clone(), bench.now);
    bench.act();
    assert!(bench.sent.is_empty(), "an answer to an older join");
    bench.member.assign(1, shares.clone(), bench.now);
    bench.act();
    assert!(matches!(bench.request(), Request::Sync { assignments, .. } if *assignments == shares));
}

#[test]
fn an_answer_of_the_owner_to_an_older_generation_is_not_taken() {
    let mut bench = Bench::new(GroupConfig {
        assignment: AssignBy::Owner,
        ..config()
    });
    bench.join(1);
    bench.found(1);
    bench.joined(leader(1));
    bench.counted(2);
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::REBALANCE_IN_PROGRESS)),
    );
    bench.joined(leader(2));
    bench.counted(2);
    bench.member.assign(1, Vec::new(), bench.now);
    bench.act();
    assert!(bench.sent.is_empty());
    bench.member.assign(1, Vec::new(), bench.now);
    bench.act();
    assert!(matches!(
        bench.request(),
        Request::Sync { generation: 2, .. }
    ));
}

#[test]
fn partitions_that_came_on_top_start_a_rebalance() {
    let mut bench = Bench::stable_leader(config());
    let seen = |count| PartitionCounts::from([("a".to_string(), count)]);
    for count in [2, 1, 0] {
        bench.member.partitions_seen(&seen(count), bench.now);
        bench.act();
        assert!(bench.told.is_empty());
    }
    bench.member.partitions_seen(&seen(3), bench.now);
    bench.act();
    bench.revoked(RevokeReason::PartitionsAdded);
    assert!(bench.member.commit_target(1).is_ok());
}

#[test]
fn a_topic_that_was_made_again_with_fewer_partitions_starts_a_rebalance_and_is_new() {
    let mut bench = Bench::stable_leader(config());
    let one = PartitionCounts::from([("a".to_string(), 1)]);
    bench.member.partitions_seen(&one, bench.now);
    bench.pass(SHRUNK_FOR, Some(Ok(())));
    assert_eq!(bench.refreshes, 1, "it is looked for again");
    bench.member.partitions_seen(&one, bench.now);
    bench.act();
    bench.revoked(RevokeReason::PartitionsGone);
    bench.join(2);
    bench.joined(leader(2));
    bench.counted(1);
    bench.answer(given(vec![("a".into(), vec![0])]));
    bench.told.clear();
    bench.answer(Answer::Offsets(Ok(vec![partition(0, None)])));
    let [Event::Assigned(assigned)] = &bench.events()[..] else {
        panic!("{:?}", bench.told)
    };
    assert_eq!(assigned.partitions, [partition(0, Some(0))]);
}

#[test]
fn brokers_of_which_one_does_not_know_all_partitions_yet_start_no_rebalance() {
    let mut bench = Bench::stable_leader(config());
    for count in [1, 2].repeat(10) {
        let seen = PartitionCounts::from([("a".to_string(), count)]);
        bench.member.partitions_seen(&seen, bench.now);
        bench.pass(SHRUNK_FOR, Some(Ok(())));
    }
    assert!(bench.told.is_empty(), "{:?}", bench.told);
}

#[test]
fn a_leader_has_the_topics_looked_at_now_and_then_and_a_follower_does_not() {
    let mut leader = Bench::stable_leader(config());
    let mut follower = Bench::stable(config());
    assert_eq!(leader.watched, BTreeSet::from(["a".to_string()]));
    for (bench, refreshes) in [(&mut leader, 3), (&mut follower, 0)] {
        bench.pass(Duration::from_secs(185), Some(Ok(())));
        assert_eq!(bench.refreshes, refreshes);
        assert!(bench.told.is_empty());
    }
}

#[test]
fn a_partition_that_came_while_the_member_was_there_is_read_from_its_begin() {
    for joined in [leader, follower] {
        let mut bench = Bench::new(config());
        bench.join(1);
        bench.found(1);
        bench.joined_of(joined(1), 1);
        if joined(1).leader {
            bench.counted(1);
        }
        bench.answer(given(vec![("a".into(), vec![0])]));
        bench.answer(Answer::Offsets(Ok(vec![partition(0, None)])));
        bench.join(2);
        bench.joined_of(joined(2), 3);
        if joined(2).leader {
            bench.counted(3);
        }
        bench.answer(given(vec![("a".into(), vec![0, 1, 2])]));
        bench.told.clear();
        let found = vec![
            partition(0, None),
            partition(1, None),
            partition(2, Some(4)),
        ];
        bench.answer(Answer::Offsets(Ok(found)));
        let [Event::Assigned(assigned)] = &bench.events()[..] else {
            panic!("{:?}", bench.told)
        };
        let offsets: Vec<_> = assigned.partitions.iter().map(|p| p.offset).collect();
        assert_eq!(offsets, [None, Some(0), Some(4)]);
    }
}

#[test]
fn who_joins_when_a_partition_is_first_shared_out_is_told_that_it_is_new() {
    let mut old = Bench::stable_leader(config());
    old.join(2);
    old.joined(leader(2));
    old.counted(3);
    let Request::Sync { grown_from, .. } = old.request() else {
        panic!("{:?}", old.sent)
    };
    assert_eq!(grown_from, &PartitionCounts::from([("a".into(), 2)]));

    let mut new = Bench::new(config());
    new.join(1);
    new.found(1);
    new.joined_of(follower(2), 3);
    new.answer(Answer::Synced(Ok(Assignment {
        partitions: vec![("a".into(), vec![1, 2])],
        grown_from: grown_from.clone(),
    })));
    assert_eq!(new.assigned_offsets([1, 2]), [None, Some(0)]);
}

#[test]
fn a_partition_is_new_until_something_of_it_is_committed() {
    let mut bench = Bench::stable_leader(config());
    for generation in 2..=3 {
        bench.join(generation.into());
        bench.joined(leader(generation));
        bench.counted(3);
        bench.answer(given(vec![("a".into(), vec![0, 2])]));
        assert_eq!(bench.assigned_offsets([0, 2]), [None, Some(0)]);
    }
}

#[test]
fn a_topic_that_was_not_shown_before_is_not_new() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.joined(leader(1));
    bench.answer(Answer::Partitions(Ok(Counted {
        hidden: BTreeSet::from(["a".to_string()]),
        ..counted(0)
    })));
    bench.answer(given(vec![]));
    bench.join(2);
    bench.joined(leader(2));
    bench.counted(2);
    bench.answer(given(vec![("a".into(), vec![0, 1])]));
    assert_eq!(bench.assigned_offsets([0, 1]), [None, None]);
}

#[test]
fn topics_that_are_not_there_are_told_once_created_and_soon_looked_for_again() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    let unknown = Event::UnknownTopics(vec!["a".into()]);
    for round in 1..=2 {
        bench.told.clear();
        bench.joined(leader(round));
        let request = bench.request();
        assert!(matches!(
            request,
            Request::CountPartitions { create: true, .. }
        ));
        bench.counted(0);
        bench.answer(given(vec![]));
        assert_eq!(bench.events().contains(&unknown), round == 1);
        bench.pass(Duration::from_secs(4), Some(Ok(())));
        assert_eq!(bench.refreshes, 2 * round as u32);
        bench.join(1 + i64::from(round));
    }
}

#[test]
fn a_leader_whose_assignment_the_broker_keeps_sends_none() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.joined(Joined {
        skip_assignment: true,
        ..leader(1)
    });
    bench.counted(2);
    assert!(matches!(bench.request(), Request::Sync { assignments, .. } if assignments.is_empty()));
}

#[test]
fn a_leader_looks_at_its_topics_for_as_long_as_it_lives() {
    for missing in [false, true] {
        let mut bench = Bench::new(config());
        bench.join(1);
        bench.found(1);
        bench.joined(leader(1));
        bench.counted(if missing { 0 } else { 2 });
        bench.answer(given(vec![]));
        bench.pass(300 * config().growth_check_interval, Some(Ok(())));
        assert!(bench.refreshes >= 290, "{missing}: {}", bench.refreshes);
    }
}
