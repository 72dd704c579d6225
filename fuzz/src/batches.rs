//! Record batches as a Fetch response carries them: read at once, and in parts as consumers do.

use brod_protocol::batch_reader::{batches, Batch};
use brod_protocol::crc32c;
use brod_protocol::isolation::Aborted;
use brod_protocol::records::{Records, Share};
use bytes::Bytes;

/// Of a batch, unpacked.
const LIMIT: usize = 1024 * 1024;

/// Where fields of a batch lie.
const LENGTH: usize = 8;
const CRC: usize = 17;
const ATTRIBUTES: usize = 21;

/// An even first byte: lengths and checksums are made right, so that more is seen than that they are wrong. The
/// second one says how many records are taken at once.
pub fn run(data: &[u8]) {
    run_repaired(data, repair);
}

/// The same for what is made right in another way.
pub(crate) fn run_repaired(data: &[u8], repair: fn(&mut [u8])) {
    let Some(([mode, share], rest)) = super::head(data) else {
        return;
    };
    let mut bytes = rest.to_vec();
    if mode % 2 == 0 {
        repair(&mut bytes);
    }
    read(bytes.into(), share);
}

/// Reads all batches of `bytes` in every way.
pub(crate) fn read(bytes: Bytes, share: u8) {
    let whole = bytes.len();
    let mut all = batches(bytes);
    let mut aborted = Aborted::new(vec![(0, 1), (5, 2)]);
    for batch in all.by_ref() {
        let Ok(batch) = batch else { continue };
        assert!(batch.last_offset() >= batch.base_offset);
        _ = aborted.shows(&batch, LIMIT);
        at_once_is_as_in_parts(&batch, share);
    }
    assert!(all.rest().len() <= whole);
}

/// What the first good records say, and whether all are.
type Seen = (
    Vec<(i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, usize)>,
    bool,
);

fn at_once_is_as_in_parts(batch: &Batch, share: u8) {
    let at_once = batch.records(LIMIT).map(|records| seen(&records));
    let Ok(mut unpacking) = batch.unpack(LIMIT) else {
        assert!(at_once.is_err());
        return;
    };
    let share = Share::of_memory(64 * usize::from(share));
    let (mut all, mut good) = (Vec::new(), true);
    let mut parts = 0;
    loop {
        match unpacking.next(share) {
            Ok(Some(records)) => {
                let (more, to_the_end) = seen(&records);
                all.extend(more);
                good &= to_the_end;
            }
            Ok(None) => break,
            Err(_) => {
                good = false;
                break;
            }
        }
        parts += 1;
        assert!(parts <= 2 * LIMIT, "no end of parts");
    }
    if let Ok((first, is_good)) = at_once {
        assert_eq!(good, is_good);
        assert!(!good || first == all);
    }
}

fn seen(records: &Records) -> Seen {
    let mut all = Vec::new();
    for record in records.iter() {
        let Ok(record) = record else {
            return (all, false);
        };
        _ = records.control_type(&record);
        let owned = |span| records.slice(span).to_vec();
        let headers = record.headers.clone().count();
        assert_eq!(headers, record.headers.len());
        let (key, value) = (record.key.map(owned), record.value.map(owned));
        all.push((record.offset, record.timestamp, key, value, headers));
    }
    (all, true)
}

/// Walks the batches, and gives each a length that fits and the checksum of its bytes.
fn repair(bytes: &mut [u8]) {
    let mut at = 0;
    while bytes.len() - at > ATTRIBUTES {
        let left = bytes.len() - at - LENGTH - 4;
        let field = &mut bytes[at + LENGTH..][..4];
        let length = i32::from_be_bytes(field.try_into().unwrap_or_default());
        let length = usize::try_from(length).map_or(left, |length| length.min(left));
        field.copy_from_slice(&(length as i32).to_be_bytes());
        let end = at + LENGTH + 4 + length;
        if end > at + ATTRIBUTES {
            let crc = crc32c(&bytes[at + ATTRIBUTES..end]);
            bytes[at + CRC..at + ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        }
        at = end;
    }
}
