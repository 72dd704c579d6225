//! Outages, refusals, and clients that end.

use super::*;

#[test]
fn a_member_put_out_while_its_owner_revokes_refuses_commits_and_joins_anew() {
    let mut bench = Bench::stable(config());
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::REBALANCE_IN_PROGRESS)),
    );
    bench.revoked(RevokeReason::Rebalance);
    // The broker waits for the rebalance timeout and goes on without this member.
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::UNKNOWN_MEMBER_ID)),
    );
    assert!(bench.told.is_empty());
    assert!(bench.member.commit_target(1).is_err());
    bench.pass(Duration::from_secs(60), None);
    assert!(bench.heartbeats.is_empty());
    bench.join(2);
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id.is_empty()));
}

#[test]
fn commits_of_another_generation_are_refused() {
    let mut bench = Bench::stable(config());
    let target = CommitTarget {
        node: 1,
        member_id: "me".into(),
    };
    assert_eq!(bench.member.commit_target(1), Ok(Some(target)));
    for generation in [0, 2] {
        assert_eq!(
            bench.member.commit_target(generation),
            Err(ErrorCode::ILLEGAL_GENERATION)
        );
    }
    let error = ErrorCode::ILLEGAL_GENERATION.into();
    bench.member.commit_failed(1, 1, &error, bench.now);
    bench.act();
    bench.revoked(RevokeReason::Lost(ErrorCode::ILLEGAL_GENERATION));
    assert!(bench.member.commit_target(1).is_err());
}

fn static_member() -> Bench {
    Bench::stable(GroupConfig {
        group_instance_id: Some("i".into()),
        ..config()
    })
}

#[test]
fn a_fenced_static_member_says_so_and_waits_before_it_joins_again() {
    let mut bench = static_member();
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::FENCED_INSTANCE_ID)),
    );
    bench.revoked(RevokeReason::Lost(ErrorCode::FENCED_INSTANCE_ID));
    bench.join(2);
    bench.pass(Duration::from_millis(9_900), None);
    assert!(bench.sent.is_empty());
    bench.pass(Duration::from_millis(100), None);
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id.is_empty()));
    bench.answer(Answer::Joined(err(ErrorCode::FENCED_INSTANCE_ID)));
    bench.pass(Duration::from_millis(9_900), None);
    assert!(bench.sent.is_empty());
    bench.pass(Duration::from_millis(100), None);
    bench.joined(follower(2));
}

#[test]
fn an_owner_hears_of_fencing_while_it_revokes() {
    let mut bench = static_member();
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::REBALANCE_IN_PROGRESS)),
    );
    bench.revoked(RevokeReason::Rebalance);
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::FENCED_INSTANCE_ID)),
    );
    bench.revoked(RevokeReason::Lost(ErrorCode::FENCED_INSTANCE_ID));
    assert!(bench.member.commit_target(1).is_err());
}

#[test]
fn a_coordinator_that_moves_does_not_end_the_generation() {
    let mut bench = Bench::stable(config());
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::NOT_COORDINATOR)),
    );
    assert_eq!(bench.member.commit_target(1), Ok(None), "commits wait");
    bench.pass(Duration::from_millis(200), None);
    bench.found(2);
    assert_eq!(bench.events(), [Event::Coordinator(broker(2).endpoint)]);
    assert_eq!(bench.heartbeats.len(), 1, "the new one hears of us at once");
    assert_eq!(bench.heartbeats[0].node, 2);
    // What the old one still says counts no more.
    let error = ErrorCode::NOT_COORDINATOR.into();
    bench.member.commit_failed(1, 1, &error, bench.now);
    bench.act();
    assert_eq!(bench.member.coordinator(), Some(&broker(2)));
    bench.answer_heartbeats(Ok(()));
    assert!(bench.member.commit_target(1).unwrap().is_some());
}

#[test]
fn an_outage_shorter_than_the_session_goes_unnoticed() {
    let mut bench = Bench::stable(config());
    bench.pass(
        Duration::from_secs(5),
        Some(Err(Error::Net(NetError::Closed))),
    );
    for _ in 0..15 {
        bench.pass(Duration::from_millis(1_200), None);
        bench.answer(Answer::Coordinator(Err(Error::Unreachable(Vec::new()))));
    }
    bench.pass(Duration::from_millis(1_200), None);
    bench.found(1);
    bench.answer_heartbeats(Ok(()));
    bench.pass(Duration::from_secs(100), Some(Ok(())));
    assert!(bench.told.is_empty());
    assert!(bench.member.commit_target(1).unwrap().is_some());
}

#[test]
fn a_session_without_a_heartbeat_ends_the_generation() {
    let mut bench = Bench::stable(config());
    bench.pass(Duration::from_secs(29), None);
    assert!(bench.told.is_empty());
    bench.pass(Duration::from_secs(2), None);
    bench.revoked(RevokeReason::HeartbeatTimeout);
    assert!(bench.member.commit_target(1).is_err());
    bench.heartbeats.clear();
    bench.pass(Duration::from_secs(60), None);
    assert!(bench.heartbeats.is_empty() && bench.told.is_empty());
    bench.join(2);
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id == "me"));
}

#[test]
fn a_late_heartbeat_answer_does_not_touch_the_next_generation() {
    let mut bench = Bench::stable(config());
    bench.pass(Duration::from_secs(5), None);
    bench.join(2);
    bench.joined(follower(2));
    bench.synced();
    bench.offsets();
    bench.told.clear();
    bench.answer_heartbeats(err(ErrorCode::ILLEGAL_GENERATION));
    assert!(bench.told.is_empty());
    assert!(bench.member.commit_target(2).unwrap().is_some());
}

#[test]
fn an_outage_during_the_join_is_sat_out_and_reported_now_and_then() {
    let mut bench = Bench::new(config());
    bench.join(1);
    for _ in 0..100 {
        bench.answer(Answer::Coordinator(Err(Error::Unreachable(Vec::new()))));
        bench.pass(Duration::from_millis(1_200), None);
    }
    let reports = bench.events();
    assert!((10..=13).contains(&reports.len()), "{}", reports.len());
    for report in reports {
        assert!(matches!(report, Event::Retrying { attempt: 0, .. }));
    }
    bench.found(1);
    bench.answer(Answer::Joined(err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS)));
    bench.pass(Duration::from_millis(1_200), None);
    assert!(
        matches!(bench.request(), Request::Join { .. }),
        "same broker"
    );
    bench.answer(Answer::Joined(err(ErrorCode::NOT_COORDINATOR)));
    bench.pass(Duration::from_millis(1_200), None);
    bench.found(2);
    bench.joined(follower(1));
    bench.synced();
}

#[test]
fn refusals_are_counted_and_end_the_member() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.told.clear();
    let code = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
    for attempt in 1..=2 {
        bench.answer(Answer::Joined(err(code)));
        let reason = code.into();
        assert_eq!(bench.events(), [Event::Retrying { attempt, reason }]);
        bench.pass(Duration::from_millis(990), None);
        assert!(bench.sent.is_empty());
        bench.pass(Duration::from_millis(10), None);
    }
    bench.answer(Answer::Joined(err(code)));
    let last = DownReason::MaxRejoinAttempts(code.into());
    assert_eq!(bench.events(), [Event::Down(last)]);
    bench.join(2);
    bench.pass(Duration::from_secs(60), None);
    assert!(bench.sent.is_empty() && bench.told.is_empty());
}

#[test]
fn a_join_that_goes_through_forgets_earlier_refusals() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    for round in 1..=5 {
        bench.answer(Answer::Joined(err(ErrorCode::GROUP_MAX_SIZE_REACHED)));
        bench.pass(Duration::from_secs(1), None);
        bench.joined(follower(round));
        bench.synced();
        bench.offsets();
        bench.join(1 + i64::from(round));
    }
    assert!(!bench.events().iter().any(|e| matches!(e, Event::Down(_))));
}

#[test]
fn a_lost_member_id_during_the_join_is_part_of_the_protocol() {
    let mut bench = Bench::stable(config());
    bench.join(2);
    bench.answer(Answer::Joined(err(ErrorCode::UNKNOWN_MEMBER_ID)));
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id.is_empty()));
    bench.joined(follower(2));
    bench.answer(Answer::Synced(err(ErrorCode::REBALANCE_IN_PROGRESS)));
    bench.joined(follower(3));
    bench.answer(Answer::Synced(err(ErrorCode::UNKNOWN_MEMBER_ID)));
    assert!(matches!(bench.request(), Request::Join { member_id, .. } if member_id.is_empty()));
    assert!(bench.told.is_empty());
}

#[test]
fn after_its_client_was_closed_a_member_lives_on_until_it_leaves() {
    let mut bench = Bench::stable(config());
    bench.member.client_closed();
    bench.member.client_closed();
    bench.act();
    assert_eq!(bench.events(), [Event::Down(DownReason::ClientDown)]);
    let target = |bench: &Bench| bench.member.commit_target(1).unwrap().map(|t| t.node);
    assert_eq!(target(&bench), Some(1));
    let beat = Error::Net(NetError::Closed);
    bench.pass(Duration::from_secs(6), Some(Err(beat)));
    assert_eq!(
        target(&bench),
        Some(1),
        "no other coordinator is looked for"
    );
    bench.pass(Duration::from_secs(60), Some(Ok(())));
    assert_eq!(target(&bench), Some(1));
    bench.pass(
        Duration::from_secs(5),
        Some(err(ErrorCode::UNKNOWN_MEMBER_ID)),
    );
    assert!(bench.member.commit_target(1).is_err());
    bench.join(2);
    assert!(bench.told.is_empty() && bench.sent.is_empty());
}

#[test]
fn a_member_without_a_generation_ends_with_its_client() {
    let mut bench = Bench::new(config());
    bench.join(1);
    bench.found(1);
    bench.told.clear();
    bench.member.client_closed();
    bench.act();
    assert_eq!(bench.events(), [Event::Down(DownReason::ClientDown)]);
    assert!(bench.member.deadline().is_none());
    assert!(bench.member.is_held());
}
