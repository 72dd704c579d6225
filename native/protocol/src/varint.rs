//! Zigzag variable-length integers, as the fields of a record are written.
//!
//! Small absolute values take few bytes: -64..=63 one byte, -8192..=8191 two, and so on.

use bytes::BufMut;

/// The most bytes a 32-bit value takes.
pub const MAX_VARINT: usize = 5;
/// The most bytes a 64-bit value takes.
pub const MAX_VARLONG: usize = 10;

#[inline]
fn zigzag32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)) as u32
}

#[inline]
fn zigzag64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Bytes that `value` takes as a varint: 1 to 5.
#[inline]
pub fn varint_size(value: i32) -> usize {
    varlong_size(i64::from(value))
}

/// Bytes that `value` takes as a varlong: 1 to 10.
#[inline]
pub fn varlong_size(value: i64) -> usize {
    let bits = 64 - (zigzag64(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Writes `value` at `out[at..]` and returns the position after it.
///
/// Panics when fewer than `varint_size(value)` bytes are left.
#[inline]
pub fn put_varint(out: &mut [u8], at: usize, value: i32) -> usize {
    put_unsigned(out, at, u64::from(zigzag32(value)))
}

/// Writes `value` at `out[at..]` and returns the position after it.
///
/// Panics when fewer than `varlong_size(value)` bytes are left.
#[inline]
pub fn put_varlong(out: &mut [u8], at: usize, value: i64) -> usize {
    put_unsigned(out, at, zigzag64(value))
}

#[inline]
fn put_unsigned(out: &mut [u8], mut at: usize, mut rest: u64) -> usize {
    while rest >= 0x80 {
        out[at] = rest as u8 | 0x80;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    at + 1
}

/// Appends `value` as a varint.
#[inline]
pub fn write_varint(out: &mut Vec<u8>, value: i32) {
    if (-64..=63).contains(&value) {
        out.push(zigzag32(value) as u8);
        return;
    }
    let mut bytes = [0; MAX_VARINT];
    let end = put_varint(&mut bytes, 0, value);
    out.extend_from_slice(&bytes[..end]);
}

/// Appends `value` as a varlong.
#[inline]
pub fn write_varlong(out: &mut Vec<u8>, value: i64) {
    let mut bytes = [0; MAX_VARLONG];
    let end = put_varlong(&mut bytes, 0, value);
    out.extend_from_slice(&bytes[..end]);
}

/// Appends a varint that is not zigzag, as lengths are since KIP-482.
#[inline]
pub fn put_unsigned_varint(out: &mut impl BufMut, value: u32) {
    let mut bytes = [0; MAX_VARINT];
    let end = put_unsigned(&mut bytes, 0, u64::from(value));
    out.put_slice(&bytes[..end]);
}

/// Reads a varint at `pos` and moves `pos` behind it.
///
/// `None` when the bytes end too early or do not fit 32 bits; `pos` then stays where it was.
#[inline]
pub fn read_varint(buf: &[u8], pos: &mut usize) -> Option<i32> {
    // Most have a byte: a function is not called for them.
    let raw = match *buf.get(*pos)? {
        first @ 0..=0x7f => {
            *pos += 1;
            u32::from(first)
        }
        _ => read_long_varint(buf, pos)?,
    };
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Reads a varlong at `pos` and moves `pos` behind it.
///
/// `None` when the bytes end too early or do not fit 64 bits; `pos` then stays where it was.
#[inline]
pub fn read_varlong(buf: &[u8], pos: &mut usize) -> Option<i64> {
    let raw = match *buf.get(*pos)? {
        first @ 0..=0x7f => {
            *pos += 1;
            u64::from(first)
        }
        _ => read_unsigned(buf, pos, MAX_VARLONG)?,
    };
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

#[inline(never)]
fn read_long_varint(buf: &[u8], pos: &mut usize) -> Option<u32> {
    let mut end = *pos;
    let raw = u32::try_from(read_unsigned(buf, &mut end, MAX_VARINT)?).ok()?;
    *pos = end;
    Some(raw)
}

/// One of two bytes or more.
#[inline]
fn read_unsigned(buf: &[u8], pos: &mut usize, max_bytes: usize) -> Option<u64> {
    // Most lengths of records and values have two.
    let (first, second) = (*buf.get(*pos)?, *buf.get(*pos + 1)?);
    let mut value = u64::from(first & 0x7f) | u64::from(second & 0x7f) << 7;
    if second < 0x80 {
        *pos += 2;
        return Some(value);
    }
    for (i, &byte) in buf[*pos..].iter().enumerate().take(max_bytes).skip(2) {
        // The tenth byte holds the one bit that is left of 64.
        if i == MAX_VARLONG - 1 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *pos += i + 1;
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn varint_bytes(value: i32) -> Vec<u8> {
        let mut out = Vec::new();
        write_varint(&mut out, value);
        out
    }

    #[test]
    fn known_encodings() {
        assert_eq!(varint_bytes(0), [0x00]);
        assert_eq!(varint_bytes(-1), [0x01]);
        assert_eq!(varint_bytes(63), [0x7e]);
        assert_eq!(varint_bytes(-64), [0x7f]);
        assert_eq!(varint_bytes(64), [0x80, 0x01]);
        assert_eq!(varint_bytes(i32::MAX), [0xfe, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(varint_bytes(i32::MIN), [0xff, 0xff, 0xff, 0xff, 0x0f]);
    }

    #[test]
    fn refuses_what_is_cut_or_too_long() {
        let mut pos = 0;
        assert_eq!(read_varint(&[], &mut pos), None);
        assert_eq!(read_varint(&[0x80], &mut pos), None);
        assert_eq!(
            read_varint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], &mut pos),
            None
        );
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0x1f], &mut pos), None);
        assert_eq!(read_varlong(&[0xff; 10], &mut pos), None);
        let mut too_big = [0xff; 10];
        too_big[9] = 0x02;
        assert_eq!(read_varlong(&too_big, &mut pos), None);
        assert_eq!(pos, 0);
        let mut beyond = 7;
        assert_eq!(read_varint(&[0x00], &mut beyond), None);
    }

    proptest! {
        #[test]
        fn varint_round_trip(value: i32) {
            let out = varint_bytes(value);
            prop_assert_eq!(out.len(), varint_size(value));
            let mut pos = 0;
            prop_assert_eq!(read_varint(&out, &mut pos), Some(value));
            prop_assert_eq!(pos, out.len());
        }

        #[test]
        fn varlong_round_trip(value: i64, shift in 0u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            write_varlong(&mut out, value);
            prop_assert_eq!(out.len(), varlong_size(value));
            let mut pos = 0;
            prop_assert_eq!(read_varlong(&out, &mut pos), Some(value));
            prop_assert_eq!(pos, out.len());
        }
    }
}
