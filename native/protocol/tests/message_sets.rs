//! Segments of a real Kafka 0.10.2.2 (`data/message_sets`): what its own producer and kcat wrote, in topics of
//! message format 0.9 (magic 0) and 0.10 (magic 1), with timestamps of the producer and of the broker. Beside
//! each stands what kcat read of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use brod_protocol::batch_reader::{batches, TimestampType};
use brod_protocol::compress::Codec;

const LIMIT: usize = 1024 * 1024;
const CODECS: [(&str, Codec); 4] = [
    ("none", Codec::None),
    ("gzip", Codec::Gzip),
    ("snappy", Codec::Snappy),
    ("lz4", Codec::Lz4),
];

/// Offset, timestamp, key and value.
type Message = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>);

fn file(name: &str) -> Vec<u8> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/message_sets");
    fs::read(data.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A line: offset, timestamp, length of the key (-1: none), key, length of the value, value.
fn as_kcat_read(name: &str) -> Vec<Message> {
    let text = String::from_utf8(file(&format!("{name}.txt"))).expect("text");
    let messages = text.lines().map(|line| {
        let (offset, rest) = line.split_once(' ').expect("an offset");
        let (timestamp, rest) = rest.split_once(' ').expect("a timestamp");
        let (key, rest) = field(rest);
        let (value, _) = field(rest.strip_prefix(' ').expect("a value"));
        let number = |text: &str| text.parse().expect("a number");
        (number(offset), number(timestamp), key, value)
    });
    messages.collect()
}

fn field(text: &str) -> (Option<Vec<u8>>, &str) {
    let (length, rest) = text.split_once(' ').expect("a length");
    match length.parse::<i32>().expect("a length") {
        -1 => (None, rest),
        length => {
            let (field, rest) = rest.split_at(length as usize);
            (Some(field.as_bytes().to_vec()), rest)
        }
    }
}

struct Read {
    messages: Vec<Message>,
    codecs: BTreeSet<String>,
    times: BTreeSet<bool>,
}

fn read(name: &str) -> Read {
    let mut read = Read {
        messages: Vec::new(),
        codecs: BTreeSet::new(),
        times: BTreeSet::new(),
    };
    for batch in batches(file(&format!("{name}.log")).into()) {
        let batch = batch.unwrap_or_else(|error| panic!("{name}: {error}"));
        read.codecs
            .insert(format!("{:?}", batch.codec().expect("known")));
        read.times
            .insert(batch.timestamp_type() == TimestampType::Append);
        let records = batch.records(LIMIT);
        let records = records.unwrap_or_else(|error| panic!("{name}: {error}"));
        for record in records.iter() {
            let record = record.unwrap_or_else(|error| panic!("{name}: {error}"));
            let bytes = |span: Option<_>| span.map(|span| records.slice(span).to_vec());
            read.messages.push((
                record.offset,
                record.timestamp,
                bytes(record.key),
                bytes(record.value),
            ));
        }
    }
    read
}

#[test]
fn what_a_real_old_broker_stored_is_read_as_kcat_reads_it() {
    for writer in ["kafka", "kcat"] {
        for format in ["0", "1", "append"] {
            for (codec, expected) in CODECS {
                let name = format!("{writer}-{format}-{codec}");
                let read = read(&name);
                let mut as_kcat_read = as_kcat_read(&name);
                if format == "0" {
                    // There is no time in such a message; kcat writes 0.
                    as_kcat_read.iter_mut().for_each(|message| message.1 = -1);
                }
                assert_eq!(as_kcat_read.len(), 10, "{name}");
                assert_eq!(read.messages, as_kcat_read, "{name}");
                assert_eq!(read.codecs, [format!("{expected:?}")].into(), "{name}");
                assert_eq!(read.times, [format == "append"].into(), "{name}");
                let has_times = read.messages.iter().all(|message| message.1 > 0);
                assert_eq!(has_times, format != "0", "{name}");
            }
        }
    }
}

#[test]
fn a_damaged_segment_is_an_error_wherever_the_damage_is() {
    for (codec, _) in CODECS {
        let whole = file(&format!("kafka-1-{codec}.log"));
        // Of the first message: its size, its checksum, and what that covers.
        let size = u32::from_be_bytes(whole[8..12].try_into().expect("4 bytes")) as usize;
        for at in 12..12 + size {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            let first = batches(damaged.into()).next().expect("something");
            let read = first.and_then(|batch| batch.records(LIMIT).map(|_| ()));
            assert!(read.is_err(), "{codec}, byte {at}");
        }
    }
}
