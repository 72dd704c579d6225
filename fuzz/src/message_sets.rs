//! Messages of the formats before record batches, plain and in wrappers.

/// Where fields of a message lie, from the beginning of its offset.
const LENGTH: usize = 8;
const CRC: usize = 12;
const MAGIC: usize = 16;
const LEAST: usize = 26;

/// As in [`super::batches`], with the checksums of messages.
pub fn run(data: &[u8]) {
    super::batches::run_repaired(data, repair);
}

fn repair(bytes: &mut [u8]) {
    let mut at = 0;
    while bytes.len() - at >= LEAST {
        bytes[at + MAGIC] %= 2;
        let left = bytes.len() - at - LENGTH - 4;
        let field = &mut bytes[at + LENGTH..][..4];
        let length = i32::from_be_bytes(field.try_into().unwrap_or_default());
        let length = usize::try_from(length).map_or(left, |length| length.clamp(LEAST - 12, left));
        field.copy_from_slice(&(length as i32).to_be_bytes());
        let end = at + LENGTH + 4 + length;
        let crc = crc32(&bytes[at + MAGIC..end]);
        bytes[at + CRC..at + MAGIC].copy_from_slice(&crc.to_be_bytes());
        at = end;
    }
}

/// The one of zip and gzip, a bit at a time: inputs are small.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
