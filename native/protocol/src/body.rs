//! A request's body, in pieces that follow each other: what is large is sent from where it is.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::memory::{READ, SMALL};

/// What is shorter is copied: a piece of its own costs more, as only so many go to the socket at once.
const SHARED: usize = 8 * 1024;

/// See the module's text.
#[derive(Debug, Clone, Default)]
pub struct Body {
    /// Empty if all of it is.
    first: Bytes,
    rest: VecDeque<Bytes>,
    len: usize,
}

impl Body {
    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        self.len += piece.len();
        match self.first.is_empty() {
            true => self.first = piece,
            false => self.rest.push_back(piece),
        }
    }

    fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.rest)
    }

    /// All of it in one piece.
    pub fn into_bytes(mut self) -> Bytes {
        match self.rest.is_empty() {
            true => self.first,
            false => self.copy_to_bytes(self.len),
        }
    }
}

impl From<Bytes> for Body {
    fn from(first: Bytes) -> Body {
        Body {
            len: first.len(),
            first,
            rest: VecDeque::new(),
        }
    }
}

impl Buf for Body {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        &self.first
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.len, "nothing is behind the end");
        self.len -= count;
        while count >= self.first.len() && count > 0 {
            count -= self.first.len();
            self.first = self.rest.pop_front().unwrap_or_default();
        }
        self.first.advance(count);
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let filled = self.pieces().filter(|piece| !piece.is_empty()).zip(slices);
        filled
            .map(|(piece, slice)| *slice = IoSlice::new(piece))
            .count()
    }
}

/// Writes a body.
pub(crate) struct BodyWriter {
    memory: BytesMut,
    /// Where it comes from what is used again.
    whole: Option<usize>,
    pieces: VecDeque<Bytes>,
}

impl BodyWriter {
    /// With room for `size` bytes that are not shared.
    pub(crate) fn with_capacity(size: usize) -> Self {
        let (memory, whole) = match size {
            ..=SMALL => (BytesMut::with_capacity(size), None),
            _ => {
                let (memory, whole) = READ.take(size);
                (memory, Some(whole))
            }
        };
        BodyWriter {
            memory,
            whole,
            pieces: VecDeque::new(),
        }
    }

    /// How many of the bytes that are given to [`Self::share`] need room of their own.
    pub(crate) fn copied(body: &Body) -> usize {
        let copied = body.pieces().filter(|piece| Self::copies(piece));
        copied.map(Bytes::len).sum()
    }

    fn copies(piece: &Bytes) -> bool {
        piece.len() < SHARED
    }

    /// Where the next bytes are written.
    pub(crate) fn buf(&mut self) -> &mut impl BufMut {
        &mut self.memory
    }

    /// Adds another body, without copying its larger pieces.
    pub(crate) fn share(&mut self, body: Body) {
        for piece in std::iter::once(body.first).chain(body.rest) {
            if Self::copies(&piece) {
                self.memory.put_slice(&piece);
            } else {
                self.cut();
                self.pieces.push_back(piece);
            }
        }
    }

    fn cut(&mut self) {
        if !self.memory.is_empty() {
            self.pieces.push_back(self.memory.split().freeze());
        }
    }

    /// The body.
    pub(crate) fn finish(mut self) -> Body {
        self.cut();
        if let Some(whole) = self.whole {
            READ.put(self.memory, whole);
        }
        let len = self.pieces.iter().map(Bytes::len).sum();
        Body {
            first: self.pieces.pop_front().unwrap_or_default(),
            rest: self.pieces,
            len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_pieces_are_what_was_written_however_they_are_read(
            sizes in proptest::collection::vec((any::<bool>(), 0_usize..3 * SHARED), 0..8),
            steps in proptest::collection::vec(1_usize..2 * SHARED, 1..20),
        ) {
            let mut writer = BodyWriter::with_capacity(16);
            let mut expected = Vec::new();
            for (at, (is_shared, size)) in sizes.into_iter().enumerate() {
                let bytes = vec![at as u8; size];
                expected.extend_from_slice(&bytes);
                match is_shared {
                    true => writer.share(Bytes::from(bytes).into()),
                    false => writer.buf().put_slice(&bytes),
                }
            }
            let mut body = writer.finish();
            prop_assert_eq!(body.len(), expected.len());
            prop_assert_eq!(body.clone().into_bytes(), &expected[..]);
            let (mut read, mut step) = (Vec::new(), steps.iter().cycle());
            while body.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 3];
                let filled = body.chunks_vectored(&mut slices);
                prop_assert!(filled > 0 && slices[..filled].iter().all(|slice| !slice.is_empty()));
                prop_assert_eq!(&*slices[0], body.chunk());
                let there: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
                let written = there.len().min(*step.next().unwrap());
                read.extend_from_slice(&there[..written]);
                body.advance(written);
            }
            prop_assert_eq!(read, expected);
            prop_assert!(body.is_empty());
        }
    }

    #[test]
    fn what_is_large_is_not_copied() {
        let large = Bytes::from(vec![1; SHARED]);
        let mut writer = BodyWriter::with_capacity(16);
        writer.buf().put_u8(0);
        writer.share(large.clone().into());
        let mut body = writer.finish();
        body.advance(1);
        assert_eq!(body.chunk().as_ptr(), large.as_ptr());
    }
}
