//! Calls whose records are in several batches, since a batch that was too large has been split in
//! their middle. Each is answered once, when all of its records are stored or have failed.

use std::ops::Range;

use super::failure::Failure;

/// The records of a cut call that are in one batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Share {
    call: u64,
    /// Their positions in the batch.
    records: Range<u32>,
    /// The call's first record is among them.
    pub starts: bool,
}

impl Share {
    /// Their positions in the batch.
    pub(super) fn records(&self) -> Range<u32> {
        self.records.clone()
    }
}

struct CutCall<A> {
    id: u64,
    acks: A,
    /// Shares in batches that are neither stored nor failed.
    open: u32,
    base_offset: i64,
    failure: Option<Failure>,
}

/// See the module's text. Nearly always empty.
pub(super) struct CutCalls<A> {
    calls: Vec<CutCall<A>>,
    next_id: u64,
}

impl<A> CutCalls<A> {
    pub(super) fn new() -> Self {
        CutCalls {
            calls: Vec::new(),
            next_id: 0,
        }
    }

    /// Enters a call that is to be cut. As long as it is whole it has one share.
    pub(super) fn enter(&mut self, acks: A, records: Range<u32>) -> Share {
        let id = self.next_id;
        self.next_id += 1;
        self.calls.push(CutCall {
            id,
            acks,
            open: 1,
            base_offset: -1,
            failure: None,
        });
        Share {
            call: id,
            records,
            starts: true,
        }
    }

    /// What is before the batch's record `at`, and what is behind it, where the batch that then
    /// begins counts from 0.
    pub(super) fn cut(&mut self, share: Share, at: u32) -> (Option<Share>, Option<Share>) {
        let Range { start, end } = share.records;
        if end <= at {
            return (Some(share), None);
        }
        let behind = Share {
            records: start.saturating_sub(at)..end - at,
            starts: share.starts && start >= at,
            ..share.clone()
        };
        if start >= at {
            return (None, Some(behind));
        }
        if let Some(call) = self.calls.iter_mut().find(|call| call.id == share.call) {
            call.open += 1;
        }
        let before = Share {
            records: start..at,
            ..share
        };
        (Some(before), Some(behind))
    }

    /// The share's batch is stored at this offset (-1: unknown), or has failed. Hands out the call
    /// with its own result when that was the last of it: the offset of its first record, or why the
    /// first of its records to fail did.
    pub(super) fn settle(
        &mut self,
        share: &Share,
        result: &Result<i64, Failure>,
    ) -> Option<(A, Result<i64, Failure>)> {
        let at = self.calls.iter().position(|call| call.id == share.call)?;
        let call = &mut self.calls[at];
        match result {
            Ok(offset) if share.starts && *offset >= 0 => {
                call.base_offset = offset + i64::from(share.records.start);
            }
            Ok(_) => {}
            Err(why) => {
                call.failure.get_or_insert_with(|| why.clone());
            }
        }
        call.open -= 1;
        if call.open > 0 {
            return None;
        }
        let call = self.calls.swap_remove(at);
        Some((call.acks, call.failure.map_or(Ok(call.base_offset), Err)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Failure = Failure::Closed;

    #[test]
    fn a_call_is_answered_with_its_last_share_and_the_offset_of_its_first_record() {
        let mut calls = CutCalls::new();
        let whole = calls.enter("call", 2..9);
        let (first, rest) = calls.cut(whole, 4);
        let (first, rest) = (first.unwrap(), rest.unwrap());
        assert_eq!((&first.records, first.starts), (&(2..4), true));
        assert_eq!((&rest.records, rest.starts), (&(0..5), false));
        let (second, third) = calls.cut(rest, 3);
        let (second, third) = (second.unwrap(), third.unwrap());
        assert_eq!((&second.records, &third.records), (&(0..3), &(0..2)));
        assert_eq!(calls.settle(&second, &Ok(14)), None);
        assert_eq!(calls.settle(&first, &Ok(10)), None);
        assert_eq!(calls.settle(&third, &Ok(17)), Some(("call", Ok(12))));
        assert!(calls.calls.is_empty());
    }

    #[test]
    fn a_share_that_the_cut_does_not_touch_stays_whole() {
        let mut calls = CutCalls::new();
        let share = calls.enter("call", 2..4);
        assert_eq!(calls.cut(share.clone(), 4), (Some(share.clone()), None));
        let (none, behind) = calls.cut(share, 1);
        let behind = behind.unwrap();
        assert_eq!(none, None);
        assert_eq!((&behind.records, behind.starts), (&(1..3), true));
        assert_eq!(calls.settle(&behind, &Ok(-1)), Some(("call", Ok(-1))));
    }

    #[test]
    fn a_call_of_which_a_share_has_failed_has_failed_but_only_when_all_is_over() {
        let mut calls = CutCalls::new();
        let whole = calls.enter("call", 0..2);
        let (first, second) = calls.cut(whole, 1);
        assert_eq!(calls.settle(&first.unwrap(), &Err(REFUSED)), None);
        let told = calls.settle(&second.unwrap(), &Ok(5));
        assert_eq!(told, Some(("call", Err(REFUSED))));
    }
}
