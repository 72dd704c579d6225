//! Memory for batches, requests and answers, which is used again.
//!
//! What goes back to the system comes from there empty, page by page, at more cost than to compress
//! what is written into it.

use std::ops::{Deref, DerefMut};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

/// Nobody looks for smaller ones: an allocator keeps those at hand.
pub const SMALL: usize = 64 * 1024;
/// What the last call of a batch may go beyond the size that batches should have, for its memory to be of the usual size.
pub const LAST_CALL: usize = 64 * 1024;
/// The default of `max_batch_size`, and [`LAST_CALL`]. Pages that are never touched cost nothing.
pub const LARGE: usize = 1024 * 1024 + LAST_CALL;

/// An allocator keeps these at hand, too, as long as they are of about the same size.
const MEDIUM: usize = LARGE / 4;

/// Things that cost more to make than to keep for the next one who needs one.
pub struct Kept<T> {
    limit: usize,
    free: Mutex<Vec<T>>,
}

impl<T> Kept<T> {
    /// Keeps `limit` of them.
    pub const fn new(limit: usize) -> Self {
        Kept {
            limit,
            free: Mutex::new(Vec::new()),
        }
    }

    /// One of them, if there is any.
    pub fn take(&self) -> Option<T> {
        self.free.lock().pop()
    }

    /// Keeps one more, unless there are enough.
    pub fn put(&self, one: T) {
        let mut free = self.free.lock();
        if free.len() < self.limit {
            free.push(one);
        }
    }
}

/// Empty vectors of capacity [`LARGE`]: what eight partitions have open and on the wire.
static FREE: Kept<Vec<u8>> = Kept::new(16);

/// A vector that comes from what is kept, and goes back there.
#[derive(Debug)]
pub struct Memory(Vec<u8>);

impl Memory {
    /// Room for `size` bytes at least; for [`LARGE`] if it is more than [`SMALL`].
    pub fn with_capacity(size: usize) -> Self {
        if !(SMALL + 1..=LARGE).contains(&size) {
            return Memory(Vec::with_capacity(size));
        }
        Memory(FREE.take().unwrap_or_else(|| Vec::with_capacity(LARGE)))
    }

    /// As [`Self::with_capacity`], for something that will not grow: what is much smaller than [`LARGE`] does not take as
    /// much.
    pub fn of_size(size: usize) -> Self {
        match size {
            ..=MEDIUM => Memory(Vec::with_capacity(size)),
            _ => Memory::with_capacity(size),
        }
    }

    /// Makes room for `additional` bytes more, and for as much again.
    pub fn grow(&mut self, additional: usize) {
        let wanted = (self.len() + additional).max(self.capacity().saturating_mul(2));
        if wanted <= SMALL {
            self.0.reserve_exact(wanted - self.0.len());
            return;
        }
        let mut larger = Memory::with_capacity(wanted);
        larger.extend_from_slice(self);
        *self = larger;
    }

    /// What was written; the memory goes back when nobody holds that any more.
    pub fn freeze(mut self) -> Bytes {
        if self.capacity() == LARGE {
            Bytes::from_owner(self)
        } else {
            std::mem::take(&mut self.0).into()
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.0.capacity() != LARGE {
            return;
        }
        let mut memory = std::mem::take(&mut self.0);
        memory.clear();
        FREE.put(memory);
    }
}

impl Deref for Memory {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Memory {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What large frames are read into. Whoever has a frame holds its memory; once nobody does, another frame is read into it.
pub struct ReadMemory {
    limit: usize,
    /// With their sizes, the oldest first.
    lent: Mutex<Vec<(BytesMut, usize)>>,
}

/// For all connections: what two rounds of fetches bring.
pub static READ: ReadMemory = ReadMemory::new(32 * 1024 * 1024);

impl ReadMemory {
    /// Keeps `limit` bytes, those included that frames are still in.
    pub const fn new(limit: usize) -> Self {
        ReadMemory {
            limit,
            lent: Mutex::new(Vec::new()),
        }
    }

    /// Empty memory for `size` bytes at least, and how large all of it is, for [`Self::put`].
    pub fn take(&self, size: usize) -> (BytesMut, usize) {
        let mut lent = self.lent.lock();
        let fits = lent.iter_mut().rposition(|(memory, whole)| {
            // Larger ones are for larger frames.
            (size..=size.saturating_mul(4)).contains(whole) && memory.try_reclaim(size)
        });
        if let Some(index) = fits {
            return lent.remove(index);
        }
        drop(lent);
        // Frames differ in size; pages that are never touched cost nothing.
        let whole = size.next_power_of_two();
        (BytesMut::with_capacity(whole), whole)
    }

    /// Memory of `whole` bytes that a frame was cut off. Others may hold the frame still.
    pub fn put(&self, mut memory: BytesMut, whole: usize) {
        if whole > self.limit {
            return;
        }
        memory.clear();
        let mut lent = self.lent.lock();
        lent.push((memory, whole));
        let mut kept: usize = lent.iter().map(|(_, size)| size).sum();
        while kept > self.limit {
            // The frame in it may be held for ever.
            kept -= lent.remove(0).1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_into_again_once_nobody_holds_the_frame() {
        let kept = ReadMemory::new(1 << 20);
        let (mut memory, whole) = kept.take(100_000);
        memory.extend_from_slice(&[7; 100_000]);
        let frame = memory.split_to(100_000).freeze();
        let place = frame.as_ptr();
        kept.put(memory, whole);
        let (other, size) = kept.take(90_000);
        assert_ne!(other.as_ptr(), place);
        assert_eq!(frame, &[7; 100_000][..]);
        kept.put(other, size);
        drop(frame);
        // Both are free, and the newest goes first.
        let (newest, _) = kept.take(90_000);
        let (again, _) = kept.take(100_000);
        assert_ne!(newest.as_ptr(), place);
        assert_eq!(again.as_ptr(), place);
        assert!(again.is_empty() && again.capacity() >= 100_000);
    }

    #[test]
    fn no_more_is_kept_than_the_limit_and_the_oldest_goes() {
        let kept = ReadMemory::new(1 << 20);
        let taken: Vec<_> = (0..5).map(|_| kept.take(1 << 18)).collect();
        let oldest = taken[0].0.as_ptr();
        for (memory, whole) in taken {
            kept.put(memory, whole);
        }
        assert_eq!(kept.lent.lock().len(), 4);
        assert!((kept.lent.lock().iter()).all(|(memory, _)| memory.as_ptr() != oldest));
        kept.put(BytesMut::with_capacity(2 << 20), 2 << 20);
        assert_eq!(kept.lent.lock().len(), 4);
    }

    #[test]
    fn what_is_written_stays_through_every_growth() {
        let mut memory = Memory::with_capacity(10);
        let mut expected = Vec::new();
        for size in [5, 100, 50_000, 100_000, 2_000_000] {
            let piece = vec![size as u8; size];
            memory.grow(size);
            assert!(memory.capacity() - memory.len() >= size);
            memory.extend_from_slice(&piece);
            expected.extend_from_slice(&piece);
        }
        assert!(memory.freeze() == expected);
    }

    #[test]
    fn memory_comes_back_empty_once_nobody_holds_it() {
        let mut memory = Memory::with_capacity(SMALL + 1);
        assert_eq!(memory.capacity(), LARGE);
        memory.extend_from_slice(b"abc");
        let bytes = memory.freeze();
        let held = bytes.clone();
        drop(bytes);
        assert_eq!(held, &b"abc"[..]);
        drop(held);
        // Another test may take what came back; whatever comes is empty.
        for _ in 0..2 * FREE.limit {
            let again = Memory::with_capacity(LARGE);
            assert!(again.is_empty() && again.capacity() == LARGE);
        }
        assert!(FREE.free.lock().len() <= FREE.limit);
    }
}
