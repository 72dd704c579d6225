//! What a topic may be configured with, as brokers of Kafka 4.1 have it: which names there are, what they take, and what
//! holds where nothing is set. Most of it changes nothing here, but what Kafka refuses is refused.

use Kind::{Flag, GzipLevel, Int, Long, OneOf, Ratio, Replicas, Several};

/// What a setting takes.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// 32 bits, from the least to the largest.
    Int(i64, i64),
    /// 64 bits, and the least.
    Long(i64),
    /// From 0 to 1.
    Ratio,
    Flag,
    OneOf(&'static [&'static str]),
    /// A list of these.
    Several(&'static [&'static str]),
    /// A list of replicas, which is not read.
    Replicas,
    GzipLevel,
}

const ANY: i64 = i64::MIN;
const MAX_INT: i64 = i32::MAX as i64;
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const ENDLESS: &str = "9223372036854775807";

/// Name, default, and what it takes.
const SETTINGS: &[(&str, &str, Kind)] = &[
    ("cleanup.policy", "delete", Several(&["compact", "delete"])),
    ("compression.gzip.level", "-1", GzipLevel),
    ("compression.lz4.level", "9", Int(1, 17)),
    ("compression.type", "producer", OneOf(CODECS)),
    ("compression.zstd.level", "3", Int(-131_072, 22)),
    ("delete.retention.ms", "86400000", Long(0)),
    ("file.delete.delay.ms", "60000", Long(0)),
    ("flush.messages", ENDLESS, Long(1)),
    ("flush.ms", ENDLESS, Long(0)),
    ("follower.replication.throttled.replicas", "", Replicas),
    ("index.interval.bytes", "4096", Int(0, MAX_INT)),
    ("leader.replication.throttled.replicas", "", Replicas),
    ("local.retention.bytes", "-2", Long(-2)),
    ("local.retention.ms", "-2", Long(-2)),
    ("max.compaction.lag.ms", ENDLESS, Long(1)),
    ("max.message.bytes", "1048588", Int(0, MAX_INT)),
    ("message.timestamp.after.max.ms", "3600000", Long(0)),
    ("message.timestamp.before.max.ms", ENDLESS, Long(0)),
    (
        "message.timestamp.type",
        "CreateTime",
        OneOf(&["CreateTime", "LogAppendTime"]),
    ),
    ("min.cleanable.dirty.ratio", "0.5", Ratio),
    ("min.compaction.lag.ms", "0", Long(0)),
    ("min.insync.replicas", "1", Int(1, MAX_INT)),
    ("preallocate", "false", Flag),
    ("remote.log.copy.disable", "false", Flag),
    ("remote.log.delete.on.disable", "false", Flag),
    ("remote.storage.enable", "false", Flag),
    ("retention.bytes", "-1", Long(ANY)),
    ("retention.ms", "604800000", Long(-1)),
    ("segment.bytes", "1073741824", Int(1_048_576, MAX_INT)),
    ("segment.index.bytes", "10485760", Int(4, MAX_INT)),
    ("segment.jitter.ms", "0", Long(0)),
    ("segment.ms", "604800000", Long(1)),
    ("unclean.leader.election.enable", "false", Flag),
];

/// All names, with what holds where nothing is set.
pub(crate) fn defaults() -> impl Iterator<Item = (&'static str, &'static str)> {
    SETTINGS.iter().map(|(name, default, _)| (*name, *default))
}

/// Whether something can be added to it.
pub(crate) fn is_list(name: &str) -> bool {
    kind(name).is_some_and(|kind| matches!(kind, Several(_) | Replicas))
}

fn kind(name: &str) -> Option<Kind> {
    let row = SETTINGS.iter().find(|(known, _, _)| *known == name);
    row.map(|(_, _, kind)| *kind)
}

/// What Kafka says of a value that it does not take.
pub(crate) fn check(name: &str, value: &str) -> Result<(), String> {
    let kind = kind(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
    let invalid = |value: &str, why: String| {
        Err(format!(
            "Invalid value {value} for configuration {name}: {why}"
        ))
    };
    let value = value.trim();
    let number = |kind: &str| format!("Not a number of type {kind}");
    match kind {
        Int(least, largest) => match value.parse::<i32>().map(i64::from) {
            Err(_) => invalid(value, number("INT")),
            Ok(found) if found < least => invalid(value, format!("Value must be at least {least}")),
            Ok(found) if found > largest => {
                invalid(value, format!("Value must be no more than {largest}"))
            }
            Ok(_) => Ok(()),
        },
        Long(least) => match value.parse::<i64>() {
            Err(_) => invalid(value, number("LONG")),
            Ok(found) if found < least => invalid(value, format!("Value must be at least {least}")),
            Ok(_) => Ok(()),
        },
        Ratio => match value.parse::<f64>() {
            Err(_) => invalid(value, number("DOUBLE")),
            Ok(found) if found < 0.0 => {
                invalid(&format!("{found:?}"), "Value must be at least 0".into())
            }
            Ok(found) if found > 1.0 => {
                invalid(&format!("{found:?}"), "Value must be no more than 1".into())
            }
            Ok(_) => Ok(()),
        },
        Flag if ["true", "false"].contains(&value.to_lowercase().as_str()) => Ok(()),
        Flag => invalid(value, "Expected value to be either true or false".into()),
        OneOf(words) if words.contains(&value) => Ok(()),
        OneOf(words) => invalid(value, one_of(words)),
        Several(words) => {
            let mut found = value.split(',').map(str::trim);
            match found.find(|word| !word.is_empty() && !words.contains(word)) {
                Some(word) => invalid(word, one_of(words)),
                None => Ok(()),
            }
        }
        Replicas => Ok(()),
        GzipLevel => match value.parse::<i32>() {
            Err(_) => invalid(value, number("INT")),
            Ok(-1 | 1..=9) => Ok(()),
            Ok(_) => invalid(value, "Value must be between 1 and 9 or equal to -1".into()),
        },
    }
}

fn one_of(words: &[&str]) -> String {
    format!("String must be one of: {}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_taken() {
        for (name, default) in defaults() {
            assert_eq!(check(name, default), Ok(()));
        }
    }

    #[test]
    fn what_kafka_refuses_is_refused_in_its_words() {
        let refused = |name, value| check(name, value).unwrap_err();
        assert_eq!(
            refused("no.such", "1"),
            "Unknown topic config name: no.such"
        );
        assert_eq!(
            refused("retention.ms", "x"),
            "Invalid value x for configuration retention.ms: Not a number of type LONG"
        );
        assert_eq!(
            refused("cleanup.policy", "compact,x"),
            "Invalid value x for configuration cleanup.policy: String must be one of: compact, delete"
        );
        assert_eq!(
            refused("min.cleanable.dirty.ratio", "-99"),
            "Invalid value -99.0 for configuration min.cleanable.dirty.ratio: Value must be at least 0"
        );
        assert_eq!(check("cleanup.policy", "compact, delete"), Ok(()));
        assert_eq!(check("retention.ms", " 5 "), Ok(()));
    }
}
