//! How a leader shares out partitions.

use std::collections::{BTreeMap, HashSet};

use crate::group::{GroupMember, PartitionCounts, TopicPartitions};

/// A strategy that the engine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assignor {
    /// Each topic cut into one run of partitions per member, as Kafka's RangeAssignor.
    Range,
    /// All partitions of all topics dealt in turn, as Kafka's RoundRobinAssignor.
    RoundRobin,
}

impl Assignor {
    /// The strategy behind a protocol name. Unknown names are dealt in turn: the name is the
    /// user's to choose.
    pub(super) fn of_protocol(name: &str) -> Self {
        match name {
            "range" => Assignor::Range,
            _ => Assignor::RoundRobin,
        }
    }

    /// The partitions of every member, in the order of `members`; topics and partitions sorted.
    ///
    /// A member gets only partitions of topics that it asked for, and every partition of a topic
    /// that anyone asked for goes to exactly one member.
    pub(super) fn assign(
        self,
        members: &[GroupMember],
        counts: &PartitionCounts,
    ) -> Vec<(String, TopicPartitions)> {
        let mut turn: Vec<usize> = (0..members.len()).collect();
        turn.sort_by_key(|&i| turn_key(&members[i]));
        let topics: Vec<HashSet<&str>> = members
            .iter()
            .map(|m| m.subscription.topics.iter().map(String::as_str).collect())
            .collect();
        let mut shares: Vec<BTreeMap<&str, Vec<i32>>> = vec![BTreeMap::new(); members.len()];
        let mut next = 0;
        for (topic, &count) in counts {
            let takers: Vec<usize> = turn
                .iter()
                .copied()
                .filter(|&i| topics[i].contains(topic.as_str()))
                .collect();
            if takers.is_empty() {
                continue;
            }
            for partition in 0..count {
                let taker = match self {
                    Assignor::Range => takers[run_of(partition, count, takers.len())],
                    Assignor::RoundRobin => {
                        while !topics[turn[next]].contains(topic.as_str()) {
                            next = (next + 1) % turn.len();
                        }
                        let taker = turn[next];
                        next = (next + 1) % turn.len();
                        taker
                    }
                };
                shares[taker].entry(topic).or_default().push(partition);
            }
        }
        members
            .iter()
            .zip(shares)
            .map(|(member, share)| {
                let share = share.into_iter().map(|(t, p)| (t.to_owned(), p)).collect();
                (member.member_id.clone(), share)
            })
            .collect()
    }
}

/// Static members come first and keep their turn over restarts, when their member ids change.
fn turn_key(member: &GroupMember) -> (bool, String) {
    match &member.group_instance_id {
        Some(id) => (false, id.clone()),
        None => (true, member.member_id.clone()),
    }
}

/// Which of `runs` runs of consecutive partitions the partition is in; the first runs are longer
/// by one where the count does not divide evenly.
fn run_of(partition: i32, count: i32, runs: usize) -> usize {
    let (partition, count) = (partition as usize, count as usize);
    let (size, longer) = (count / runs, count % runs);
    if partition < longer * (size + 1) {
        partition / (size + 1)
    } else {
        longer + (partition - longer * (size + 1)) / size
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Subscription;
    use proptest::prelude::*;

    fn member(id: &str, topics: &[&str]) -> GroupMember {
        GroupMember {
            member_id: id.into(),
            group_instance_id: None,
            subscription: Subscription {
                topics: topics.iter().map(|t| t.to_string()).collect(),
                ..Subscription::default()
            },
        }
    }

    fn counts(of: &[(&str, i32)]) -> PartitionCounts {
        of.iter().map(|(t, n)| (t.to_string(), *n)).collect()
    }

    fn share(assigned: &[(String, TopicPartitions)], id: &str) -> TopicPartitions {
        assigned.iter().find(|(m, _)| m == id).unwrap().1.clone()
    }

    #[test]
    fn dealt_in_turn_over_topics() {
        let members = [member("m2", &["a", "b"]), member("m1", &["a", "b"])];
        let assigned = Assignor::RoundRobin.assign(&members, &counts(&[("a", 3), ("b", 3)]));
        assert_eq!(
            share(&assigned, "m1"),
            [("a".into(), vec![0, 2]), ("b".into(), vec![1])]
        );
        assert_eq!(
            share(&assigned, "m2"),
            [("a".into(), vec![1]), ("b".into(), vec![0, 2])]
        );
    }

    #[test]
    fn range_gives_runs_the_first_longer() {
        let members = [member("m1", &["a"]), member("m2", &["a"])];
        let assigned = Assignor::Range.assign(&members, &counts(&[("a", 5)]));
        assert_eq!(share(&assigned, "m1"), [("a".into(), vec![0, 1, 2])]);
        assert_eq!(share(&assigned, "m2"), [("a".into(), vec![3, 4])]);
    }

    #[test]
    fn members_get_only_what_they_asked_for() {
        let members = [
            member("m1", &["a"]),
            member("m2", &["a", "b"]),
            member("m3", &[]),
        ];
        let assigned = Assignor::RoundRobin.assign(&members, &counts(&[("a", 2), ("b", 2)]));
        assert_eq!(share(&assigned, "m1"), [("a".into(), vec![0])]);
        assert_eq!(
            share(&assigned, "m2"),
            [("a".into(), vec![1]), ("b".into(), vec![0, 1])]
        );
        assert_eq!(share(&assigned, "m3"), []);
    }

    #[test]
    fn static_members_keep_their_turn_when_their_ids_change() {
        let with_instance = |id: &str, instance: &str| GroupMember {
            group_instance_id: Some(instance.into()),
            ..member(id, &["a"])
        };
        for (first, second) in [("x", "y"), ("y", "x")] {
            let members = [with_instance(first, "i1"), with_instance(second, "i2")];
            let assigned = Assignor::RoundRobin.assign(&members, &counts(&[("a", 1)]));
            assert_eq!(share(&assigned, first), [("a".into(), vec![0])]);
        }
    }

    fn groups() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<i32>)> {
        let subscriptions =
            proptest::collection::vec(proptest::collection::vec(0u8..5, 0..6), 1..9);
        (subscriptions, proptest::collection::vec(0i32..20, 5))
    }

    proptest! {
        #[test]
        fn each_partition_once_to_one_who_asked((subscriptions, sizes) in groups()) {
            let members: Vec<_> = subscriptions.iter().enumerate().map(|(i, topics)| {
                let topics: Vec<_> = topics.iter().map(|t| format!("t{t}")).collect();
                let topics: Vec<_> = topics.iter().map(String::as_str).collect();
                member(&format!("m{i}"), &topics)
            }).collect();
            let counts: PartitionCounts =
                sizes.iter().enumerate().map(|(i, n)| (format!("t{i}"), *n)).collect();
            for assignor in [Assignor::Range, Assignor::RoundRobin] {
                let mut seen = HashSet::new();
                for (m, (id, share)) in members.iter().zip(assignor.assign(&members, &counts)) {
                    prop_assert_eq!(&m.member_id, &id);
                    for (topic, partitions) in share {
                        prop_assert!(m.subscription.topics.contains(&topic));
                        for p in partitions {
                            prop_assert!(seen.insert((topic.clone(), p)));
                        }
                    }
                }
                let wanted = counts.iter()
                    .filter(|(t, _)| members.iter().any(|m| m.subscription.topics.contains(t)))
                    .map(|(_, n)| *n as usize)
                    .sum::<usize>();
                prop_assert_eq!(seen.len(), wanted);
            }
        }

        #[test]
        fn balanced_within_one_when_all_ask_for_the_same(m in 1usize..9, sizes in proptest::collection::vec(0i32..20, 1..5)) {
            let counts: PartitionCounts =
                sizes.iter().enumerate().map(|(i, n)| (format!("t{i}"), *n)).collect();
            let topics: Vec<_> = counts.keys().map(String::as_str).collect();
            let members: Vec<_> = (0..m).map(|i| member(&format!("m{i}"), &topics)).collect();
            let sizes: Vec<usize> = Assignor::RoundRobin.assign(&members, &counts).iter()
                .map(|(_, share)| share.iter().map(|(_, p)| p.len()).sum())
                .collect();
            let (min, max) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            prop_assert!(max - min <= 1);
        }
    }
}
