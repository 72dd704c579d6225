//! Writes seeds/: for each target a few inputs that mean something. `cargo run --release --example seeds`

use std::fs;
use std::path::Path;

use brod_protocol::api;
use brod_protocol::batch_writer::{BatchWriter, SealOptions};
use brod_protocol::compress::{compress, Codec};
use brod_protocol::consumer_protocol::{Assignment, Subscription};
use brod_protocol::frame::response_head;
use sample::{sample, FULL};

#[allow(dead_code)]
#[path = "../native/protocol/tests/response_shapes/sample.rs"]
mod sample;

const CODECS: [Codec; 5] = [
    Codec::None,
    Codec::Gzip,
    Codec::Snappy,
    Codec::Lz4,
    Codec::Zstd,
];

fn main() {
    for (number, codec) in CODECS.into_iter().enumerate() {
        let mut writer = BatchWriter::new(256);
        for record in 0..4_i64 {
            let value = vec![b'v'; 40 * record as usize];
            let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"x")), (b"null", None)];
            writer.push(
                1000 + record,
                Some(b"key"),
                Some(&value),
                &headers[..record as usize % 3],
            );
        }
        let options = SealOptions {
            codec,
            ..SealOptions::default()
        };
        let batch = writer.seal(options).expect("seals").bytes;
        put("batches", &format!("{codec:?}"), &[&[0, 3], &batch[..]]);
        put(
            "batches",
            &format!("two-{codec:?}"),
            &[&[1, 0], &batch[..], &batch[..]],
        );
        let mut packed = Vec::new();
        compress(codec, None, &[b'a'; 500], &mut packed).expect("packs");
        put(
            "codecs",
            &format!("{codec:?}"),
            &[&[number as u8, 2], &packed],
        );
    }
    for (which, known) in api::ALL.iter().enumerate() {
        let shape = &known.shape;
        let mut versions = vec![
            shape.oldest,
            shape.newest,
            shape.flexible.clamp(shape.oldest, shape.newest),
        ];
        versions.dedup();
        for version in versions {
            let bytes = sample(shape, version, FULL).bytes;
            let head = [which as u8, (version - shape.oldest) as u8];
            put(
                "responses",
                &format!("{}-{version}", known.name),
                &[&head, &bytes],
            );
            let frame = response_head(known.key, version, 7, bytes.len()).expect("short");
            if version == shape.newest && known.key < 4 {
                let head = [3, 1, known.key as u8, version as u8];
                put("frames", known.name, &[&head, &frame, &bytes]);
            }
        }
    }
    put(
        "frames",
        "tokens",
        &[&[5, 0, 0, 0], &[0, 0, 0, 2, 1, 2], &[0, 0, 0, 0]],
    );
    let topics = ["t".to_owned(), "longer".to_owned()];
    let subscription = Subscription::encode(&topics, b"data").expect("short");
    put("members", "subscription", &[&subscription]);
    let partitions = vec![("t".to_owned(), vec![0, 1, 7]), ("u".to_owned(), vec![])];
    let grown = [("t".to_owned(), 3)].into();
    let assignment = Assignment::encode(&partitions, &grown).expect("short");
    put("members", "assignment", &[&assignment]);
    message_sets();
    old_brokers();
    sasl();
}

/// Those that Kafka and kcat wrote.
fn message_sets() {
    let logs = "../native/protocol/tests/data/message_sets";
    for entry in fs::read_dir(logs).expect("the tests' data") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if path.extension().is_some_and(|kind| kind == "log") {
            let log = fs::read(&path).expect("readable");
            if log.len() < 4000 {
                put("message_sets", &name, &[&[0, 1], &log]);
            }
        }
    }
}

/// A topic `t` with a partition, as brokers of 0.8 to 0.10 answer.
fn old_brokers() {
    let topic: &[u8] = &[0, 0, 0, 1, 0, 1, b't'];
    let partition: &[u8] = &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let offset: &[u8] = &[0; 8];
    let throttle: &[u8] = &[0; 4];
    put(
        "old_brokers",
        "produce-0",
        &[&[0, 0], topic, partition, offset],
    );
    put(
        "old_brokers",
        "produce-2",
        &[&[0, 2], topic, partition, offset, offset, throttle],
    );
    put(
        "old_brokers",
        "fetch-0",
        &[&[1, 0], topic, partition, offset, &[0, 0, 0, 0]],
    );
    put(
        "old_brokers",
        "fetch-2",
        &[&[1, 2], throttle, topic, partition, offset, &[0, 0, 0, 0]],
    );
    put(
        "old_brokers",
        "list-offsets-0",
        &[&[2, 0], topic, partition, &[0, 0, 0, 1], offset],
    );
    put("old_brokers", "create-topics-0", &[&[3, 0], topic, &[0, 0]]);
    put("old_brokers", "delete-topics-0", &[&[4, 0], topic, &[0, 0]]);
}

fn sasl() {
    let first = b"r=*server,s=QSXCR+Q6sek8bf92,i=4096";
    let last = b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=";
    let refused = b"e=invalid-proof";
    for (which, name) in ["scram-256", "scram-512"].iter().enumerate() {
        let head = [which as u8, first.len() as u8];
        put("sasl", name, &[&head, first, &[last.len() as u8], last]);
        put(
            "sasl",
            &format!("{name}-refused"),
            &[&head, first, &[refused.len() as u8], refused],
        );
    }
    let complaint = br#"{"status":"invalid_token","scope":"s"}"#;
    put(
        "sasl",
        "oauthbearer-refused",
        &[&[2, complaint.len() as u8], complaint, &[0]],
    );
    put("sasl", "plain", &[&[3, 0]]);
    let welcome = br#"{"version":"2020_10_22","request-id":"r"}"#;
    put("sasl", "aws", &[&[4, welcome.len() as u8], welcome]);
}

fn put(target: &str, name: &str, parts: &[&[u8]]) {
    let dir = Path::new("seeds").join(target);
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join(name.to_lowercase()), parts.concat()).expect("written");
}
