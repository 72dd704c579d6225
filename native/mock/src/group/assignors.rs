//! The assignors that brokers have for KIP-848 groups.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

/// Partitions by topic id.
pub(super) type Partitions = BTreeMap<Uuid, BTreeSet<i32>>;

/// What a member wants, and what it has.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    pub(super) topics: BTreeSet<Uuid>,
    pub(super) has: Partitions,
}

type Shares = BTreeMap<StrBytes, Partitions>;

/// All members get as many, give or take one, and keep what they have where that allows it.
pub(super) fn uniform(members: &BTreeMap<StrBytes, Wish>, counts: &BTreeMap<Uuid, i32>) -> Shares {
    let mut shares: Shares = members
        .keys()
        .map(|id| (id.clone(), Partitions::new()))
        .collect();
    let mut sizes: BTreeMap<&StrBytes, usize> = members.keys().map(|id| (id, 0)).collect();
    let wanted = |topic: &Uuid| members.values().any(|wish| wish.topics.contains(topic));
    let all = counts.iter().filter(|(topic, _)| wanted(topic));
    let all = all.flat_map(|(topic, count)| (0..*count).map(|index| (*topic, index)));
    let mut free: BTreeSet<(Uuid, i32)> = all.collect();
    let most = free.len().div_ceil(members.len().max(1));
    // So many may have one more than the others.
    let mut larger = free.len() - members.len() * (free.len() / members.len().max(1));
    if larger == 0 {
        larger = members.len();
    }
    for (id, wish) in members {
        let had = wish
            .has
            .iter()
            .filter(|(topic, _)| wish.topics.contains(*topic));
        for key in had.flat_map(|(topic, set)| set.iter().map(|index| (*topic, *index))) {
            let size = sizes.entry(id).or_default();
            let room = *size + 1 < most || (*size + 1 == most && larger > 0);
            if room && free.remove(&key) {
                *size += 1;
                larger -= usize::from(*size == most);
                give(&mut shares, id, key);
            }
        }
    }
    for key in free {
        let able = members
            .iter()
            .filter(|(_, wish)| wish.topics.contains(&key.0));
        if let Some((id, _)) = able.min_by_key(|(id, _)| sizes[id]) {
            *sizes.entry(id).or_default() += 1;
            give(&mut shares, id, key);
        }
    }
    shares
}

/// Each topic is cut into ranges, of which the first members get the first.
pub(super) fn range(members: &BTreeMap<StrBytes, Wish>, counts: &BTreeMap<Uuid, i32>) -> Shares {
    let mut shares: Shares = members
        .keys()
        .map(|id| (id.clone(), Partitions::new()))
        .collect();
    for (topic, count) in counts {
        let able = members
            .iter()
            .filter(|(_, wish)| wish.topics.contains(topic));
        let able: Vec<_> = able.map(|(id, _)| id).collect();
        let total = usize::try_from(*count).unwrap_or(0);
        for index in 0..total {
            // The first `total % n` have one more.
            let (each, more) = (total / able.len().max(1), total % able.len().max(1));
            let nth = match index < (each + 1) * more {
                true => index / (each + 1),
                false => more + (index - (each + 1) * more) / each.max(1),
            };
            if let Some(id) = able.get(nth) {
                give(&mut shares, id, (*topic, i32::try_from(index).unwrap_or(0)));
            }
        }
    }
    shares
}

fn give(shares: &mut Shares, id: &StrBytes, (topic, index): (Uuid, i32)) {
    let share = shares.entry(id.clone()).or_default();
    share.entry(topic).or_default().insert(index);
}
