//! The prefetch window: what was delivered and is not acked yet.

use std::collections::VecDeque;

use super::sink::Delivered;

/// One delivered set. Kept per set, not per message: an ack inside it is worked out from the runs
/// of its offsets, of which there is one unless the topic is compacted.
#[derive(Debug)]
struct Set {
    runs: Vec<(i64, i64)>,
    last: i64,
    count: i64,
    bytes: i64,
    header_memory: i64,
    acked_count: i64,
}

impl Set {
    /// How many of the messages have an offset up to `offset`.
    fn count_up_to(&self, offset: i64) -> i64 {
        if offset >= self.last {
            return self.count;
        }
        let behind = self.runs.partition_point(|(first, _)| *first <= offset);
        let Some(run) = behind.checked_sub(1) else {
            return 0;
        };
        let (first, before) = self.runs[run];
        let end = self.runs.get(behind).map_or(self.count, |next| next.1);
        end.min(before + offset - first + 1)
    }

    /// What of a size is out once so many messages are acked: as if all were alike.
    fn left(&self, size: i64, acked: i64) -> i64 {
        let acked = i128::from(size) * i128::from(acked) / i128::from(self.count);
        size - acked as i64
    }
}

/// Messages and bytes that are out.
#[derive(Debug, Default)]
pub(super) struct Window {
    sets: VecDeque<Set>,
    count: i64,
    bytes: i64,
    header_memory: i64,
}

impl Window {
    /// Counts a delivered set.
    pub(super) fn push(&mut self, delivered: Delivered) {
        if delivered.count == 0 {
            return;
        }
        self.count += delivered.count;
        self.bytes += delivered.bytes;
        self.header_memory += delivered.header_memory;
        self.sets.push_back(Set {
            runs: delivered.runs,
            last: delivered.last,
            count: delivered.count,
            bytes: delivered.bytes,
            header_memory: delivered.header_memory,
            acked_count: 0,
        });
    }

    /// Takes out everything up to `offset`. The count is exact; bytes of a set that is acked in
    /// part are taken in proportion.
    pub(super) fn ack(&mut self, offset: i64) {
        while let Some(set) = self.sets.front_mut() {
            let acked = set.count_up_to(offset);
            let before = set.acked_count;
            if acked <= before {
                return;
            }
            let freed = |size| set.left(size, before) - set.left(size, acked);
            self.count -= acked - before;
            self.bytes -= freed(set.bytes);
            self.header_memory -= freed(set.header_memory);
            if acked < set.count {
                set.acked_count = acked;
                return;
            }
            self.sets.pop_front();
        }
    }

    /// Offset of the newest message that is out.
    pub(super) fn last(&self) -> Option<i64> {
        self.sets.back().map(|set| set.last)
    }

    /// Messages that are out.
    pub(super) fn count(&self) -> i64 {
        self.count
    }

    /// Their keys and values.
    pub(super) fn bytes(&self) -> i64 {
        self.bytes
    }

    /// What their headers take beside their bytes.
    pub(super) fn header_memory(&self) -> i64 {
        self.header_memory
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Window::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(offsets: &[i64], size: usize) -> Delivered {
        let mut delivered = Delivered::new();
        for offset in offsets {
            delivered.add(*offset, size);
            delivered.add_headers(3);
        }
        delivered
    }

    #[test]
    fn counts_exactly_through_holes() {
        let offsets = [3, 4, 5, 9, 10, 20];
        for acked in 0..25 {
            let mut window = Window::default();
            window.push(delivered(&offsets, 10));
            window.ack(acked);
            let left = offsets.iter().filter(|offset| **offset > acked).count() as i64;
            assert_eq!(
                (window.count(), window.bytes(), window.header_memory()),
                (left, left * 10, left * 3 * 128),
                "{acked}"
            );
        }
    }

    #[test]
    fn an_ack_reaches_over_sets_and_repeats_do_nothing() {
        let mut window = Window::default();
        window.push(delivered(&[0, 1, 2], 1));
        window.push(delivered(&[3, 4], 100));
        window.ack(1);
        window.ack(0);
        window.ack(1);
        assert_eq!((window.count(), window.bytes()), (3, 201));
        window.ack(3);
        assert_eq!((window.count(), window.bytes()), (1, 100));
        assert_eq!(window.last(), Some(4));
        window.ack(100);
        assert_eq!(
            (window.count(), window.bytes(), window.last()),
            (0, 0, None)
        );
    }

    #[test]
    fn a_set_without_messages_is_nothing() {
        let mut window = Window::default();
        window.push(Delivered::new());
        window.ack(10);
        assert_eq!((window.count(), window.last()), (0, None));
    }
}
