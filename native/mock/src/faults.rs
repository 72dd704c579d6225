//! Scripted faults: which calls they meet, and what happens to those.

use brod_protocol::error::ErrorCode;
use serde::Deserialize;

use crate::call::{Millis, Refusal};

/// What happens to a call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is applied and answered so many ms later.
    Delay(u32),
    /// It is applied at once, and answered so many ms later.
    DelayAnswer(u32),
    /// It is applied at once, and answered at random within so many ms: the same ones for the same seed.
    Jitter(u32),
    /// It is applied and answered with this throttle time, and for so many ms nothing more is read from the connection
    /// (KIP-219).
    Throttle(u32),
    /// It is neither applied nor answered.
    Drop,
    /// The connection is reset before it is applied.
    ResetBefore,
    /// It is applied, and the connection is reset instead of an answer.
    ResetAfter,
    /// It is not applied, and answered with this code.
    Error(i16),
    /// Only so many bytes of its answer go out; then the connection is reset.
    Truncate(usize),
    /// It is applied, and its answer comes with this byte of the frame inverted.
    Corrupt(usize),
    /// It is applied; one in so many of its answers, drawn at random, comes damaged: bits, lengths, the correlation id,
    /// or cut off.
    Damage(u32),
}

/// A fault and the calls that it meets: from the `nth` fitting one on, `times` of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Kafka's name of the API, as in `"Produce"`; left out: any.
    #[serde(default)]
    pub api: Option<String>,
    /// Left out: any.
    #[serde(default)]
    pub broker: Option<i32>,
    /// Error codes only for this topic. It does not say which calls are counted.
    #[serde(default)]
    pub topic: Option<String>,
    /// Error codes only for partitions of this number.
    #[serde(default)]
    pub partition: Option<i32>,
    /// Counts from 1, which it is if left out.
    #[serde(default = "one")]
    pub nth: u64,
    /// 1 if left out.
    #[serde(default = "one")]
    pub times: u64,
    /// What happens.
    pub action: Action,
    #[serde(skip)]
    seen: u64,
}

fn one() -> u64 {
    1
}

/// What is to be done with a call.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Plan {
    /// To wait before it is applied.
    pub before: Millis,
    /// To wait before its answer goes out.
    pub after: Millis,
    /// Neither applied nor answered.
    pub drop: bool,
    /// See [`Action::Throttle`].
    pub throttle: Millis,
    /// See [`Action::ResetBefore`].
    pub reset_before: bool,
    /// See [`Action::ResetAfter`].
    pub reset_after: bool,
    /// See [`Action::Truncate`].
    pub truncate: Option<usize>,
    /// See [`Action::Corrupt`].
    pub corrupt: Option<usize>,
    /// See [`Action::Damage`]: what its kind is drawn from.
    pub damage: Option<u64>,
    /// See [`Action::Error`].
    pub refusal: Option<Refusal>,
}

/// All that are scripted.
#[derive(Debug)]
pub(crate) struct Faults {
    all: Vec<Fault>,
    met: u64,
    random: Random,
}

impl Faults {
    /// With none; the seed is that of [`Action::Jitter`].
    pub(crate) fn new(seed: u64) -> Self {
        Faults {
            all: Vec::new(),
            met: 0,
            random: Random::new(seed),
        }
    }

    pub(crate) fn add(&mut self, fault: Fault) {
        self.all.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }

    /// How many calls have met a fault so far.
    pub(crate) fn met(&self) -> u64 {
        self.met
    }

    /// What happens to the next call of this API on this broker.
    pub(crate) fn plan(&mut self, api: &str, broker: i32) -> Plan {
        let mut plan = Plan::default();
        for fault in &mut self.all {
            let fits = fault.api.as_deref().is_none_or(|name| name == api)
                && fault.broker.is_none_or(|id| id == broker);
            if !fits {
                continue;
            }
            fault.seen += 1;
            if fault.seen < fault.nth || fault.seen - fault.nth >= fault.times {
                continue;
            }
            self.met += 1;
            match fault.action {
                Action::Damage(one_in) => match self.random.below(one_in as usize) {
                    0 => plan.damage = Some(self.random.next()),
                    _ => self.met -= 1,
                },
                Action::Delay(ms) => plan.before += Millis::from(ms),
                Action::DelayAnswer(ms) => plan.after += Millis::from(ms),
                Action::Jitter(ms) => plan.after += self.random.up_to(ms),
                Action::Throttle(ms) => plan.throttle = plan.throttle.max(Millis::from(ms)),
                Action::Drop => plan.drop = true,
                Action::ResetBefore => plan.reset_before = true,
                Action::ResetAfter => plan.reset_after = true,
                Action::Truncate(bytes) => plan.truncate = Some(bytes),
                Action::Corrupt(at) => plan.corrupt = Some(at),
                Action::Error(code) => {
                    plan.refusal = Some(Refusal {
                        code: ErrorCode(code),
                        topic: fault.topic.clone(),
                        partition: fault.partition,
                    });
                }
            }
        }
        self.all
            .retain(|fault| fault.seen < (fault.nth - 1).saturating_add(fault.times));
        plan
    }
}

/// SplitMix64: nothing here needs better chance, and a test is to see the same again.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn up_to(&mut self, most: u32) -> Millis {
        (self.next() % (u64::from(most) + 1)) as Millis
    }

    /// A number below this one; 0 below none.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % (limit.max(1) as u64)) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_is_within_its_limit_and_the_same_for_the_same_seed() {
        let waits = |seed| {
            let mut faults = Faults::new(seed);
            let script = r#"{"times": 50, "action": {"jitter": 9}}"#;
            faults.add(serde_json::from_str(script).unwrap());
            let waits = (0..50).map(|_| faults.plan("Fetch", 1).after);
            waits.collect::<Vec<_>>()
        };
        assert!(waits(1).iter().all(|wait| (0..=9).contains(wait)));
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
    }

    #[test]
    fn one_in_so_many_answers_is_damaged_and_the_others_have_met_nothing() {
        let mut faults = Faults::new(1);
        let script = r#"{"times": 100000, "action": {"damage": 4}}"#;
        faults.add(serde_json::from_str(script).unwrap());
        let damaged = (0..4000).filter(|_| faults.plan("Fetch", 1).damage.is_some());
        let damaged = damaged.count() as u64;
        assert!((800..1200).contains(&damaged), "{damaged}");
        assert_eq!(faults.met(), damaged);
    }

    #[test]
    fn a_fault_meets_the_calls_that_it_names_and_no_others() {
        let mut faults = Faults::new(0);
        let script =
            r#"{"api": "Produce", "broker": 2, "nth": 2, "times": 2, "action": {"error": 6}}"#;
        faults.add(serde_json::from_str(script).unwrap());
        assert_eq!(faults.plan("Fetch", 2), Plan::default());
        assert_eq!(faults.plan("Produce", 1), Plan::default());
        let met: Vec<bool> = (0..5)
            .map(|_| faults.plan("Produce", 2).refusal.is_some())
            .collect();
        assert_eq!(met, [false, true, true, false, false]);
        assert_eq!(faults.met(), 2);
    }
}
