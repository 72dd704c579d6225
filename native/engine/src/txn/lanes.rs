//! Which connections a transaction uses. Transactions that are open at the same time keep out of each other's way,
//! and one after the other uses those that are there already.

use std::sync::Arc;

use parking_lot::Mutex;

/// Connections to each broker that transactions share. On one, a broker works on one request at a time, each waits for
/// replicas, and some for the markers of the transaction before.
const LANES: usize = 8;

/// How many transactions are open on each.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<[u32; LANES]>);

/// A transaction's own share of one.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Lanes>,
    number: usize,
}

impl Lanes {
    /// The one with the fewest, until the answer is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Lane {
        let mut open = self.0.lock();
        let fewest = open.iter_mut().enumerate().min_by_key(|(_, open)| **open);
        let number = fewest.map_or(0, |(number, open)| {
            *open += 1;
            number
        });
        Lane {
            lanes: self.clone(),
            number,
        }
    }
}

impl Lane {
    /// Counts from 0.
    pub(super) fn number(&self) -> u32 {
        self.number as u32
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.lanes.0.lock()[self.number] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other_uses_one_lane_and_those_side_by_side_have_their_own() {
        let lanes = Arc::new(Lanes::default());
        for _ in 0..3 {
            assert_eq!(lanes.enter().number(), 0);
        }
        let all: Vec<_> = (0..LANES).map(|_| lanes.enter()).collect();
        let numbers: Vec<_> = all.iter().map(Lane::number).collect();
        assert_eq!(numbers, (0..LANES as u32).collect::<Vec<_>>());
        let shared = lanes.enter();
        assert_eq!(shared.number(), 0, "all have one");
        assert_eq!(lanes.enter().number(), 1);
        drop(all);
        assert_eq!(*lanes.0.lock(), [1, 0, 0, 0, 0, 0, 0, 0]);
    }
}
