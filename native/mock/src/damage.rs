//! Answers that come damaged, as from a broken proxy or from something that is no broker.

use crate::faults::Random;

/// Behind the length and the correlation id comes what the API says.
const LENGTH: usize = 4;
const HEADER: usize = 8;

/// Numbers that lengths and counts are not, or nearly not.
const EXTREMES: [i32; 8] = [
    -1,
    0,
    1,
    0xffff,
    0x7fff_ffff,
    i32::MIN,
    0x7f7f_7f7f,
    -0x7f7f_7f80,
];

/// A frame that was damaged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damaged {
    /// What goes out.
    pub(crate) bytes: Vec<u8>,
    /// It says how long it is, so that another one may follow.
    pub(crate) is_whole: bool,
}

/// Damages a frame in one way of many.
pub(crate) fn damaged(frame: &[u8], random: &mut Random) -> Damaged {
    let mut bytes = frame.to_vec();
    let whole = |bytes| Damaged {
        bytes: with_length(bytes),
        is_whole: true,
    };
    match random.below(8) {
        0 => {
            for _ in 0..=random.below(8) {
                let at = LENGTH + random.below(bytes.len() - LENGTH);
                bytes[at] ^= 1 << random.below(8);
            }
            whole(bytes)
        }
        // Cut off, and all there is.
        1 => {
            bytes.truncate(HEADER + random.below(bytes.len() - HEADER + 1));
            whole(bytes)
        }
        // Cut off, and the rest never comes.
        2 => {
            bytes.truncate(random.below(bytes.len()));
            Damaged {
                bytes,
                is_whole: false,
            }
        }
        // A length that lies.
        3 => {
            let length = match random.below(2) {
                0 => random.extreme(),
                _ => (bytes.len() - LENGTH + 8).saturating_sub(random.below(16)) as i32,
            };
            bytes[..LENGTH].copy_from_slice(&length.to_be_bytes());
            Damaged {
                bytes,
                is_whole: false,
            }
        }
        // The answer to something else.
        4 => {
            bytes[LENGTH + random.below(HEADER - LENGTH)] ^= 1 << random.below(8);
            whole(bytes)
        }
        5 => {
            let at = HEADER + random.below((bytes.len() - HEADER).saturating_sub(4) + 1);
            let end = bytes.len().min(at + 4);
            bytes[at..end].copy_from_slice(&random.extreme().to_be_bytes()[..end - at]);
            whole(bytes)
        }
        // A piece comes twice, or is missing.
        6 => {
            let (from, to) = random.range(HEADER, bytes.len());
            let piece = bytes[from..to].to_vec();
            bytes.splice(to..to, piece);
            whole(bytes)
        }
        _ => {
            let (from, to) = random.range(HEADER, bytes.len());
            bytes.drain(from..to);
            whole(bytes)
        }
    }
}

fn with_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = (bytes.len() - LENGTH) as i32;
    bytes[..LENGTH].copy_from_slice(&length.to_be_bytes());
    bytes
}

impl Random {
    fn extreme(&mut self) -> i32 {
        EXTREMES[self.below(EXTREMES.len())]
    }

    /// A part of what lies between the two.
    fn range(&mut self, from: usize, to: usize) -> (usize, usize) {
        let (a, b) = (self.below(to - from + 1), self.below(to - from + 1));
        (from + a.min(b), from + a.max(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever is drawn, and however short the frame is: it is damaged, most of the time, and one that is whole
    /// says how long it is.
    #[test]
    fn any_frame_can_be_damaged() {
        let mut random = Random::new(7);
        for size in [8, 9, 12, 40, 3000] {
            let frame = with_length(vec![1; size]);
            let mut same = 0;
            for _ in 0..2000 {
                let Damaged { bytes, is_whole } = damaged(&frame, &mut random);
                same += u32::from(bytes == frame);
                if is_whole {
                    let length = i32::from_be_bytes(bytes[..LENGTH].try_into().unwrap());
                    assert_eq!(length as usize, bytes.len() - LENGTH);
                }
            }
            assert!(same < 1500, "{same} of 2000 of {size} bytes");
        }
    }
}
