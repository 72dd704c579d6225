//! Bytes of responses, made from their shapes, and where the lengths in them are.

use brod_protocol::shape::{Fields, Kind, Null, Shape};

/// What a sample holds, beside all fields that its version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Of every array.
    pub elements: usize,
    /// Null stands where it may.
    pub nulls: bool,
    /// Every struct has tagged fields; known and unknown ones.
    pub tags: bool,
    /// Null stands in place of this text, bytes or array, counted from 0, whether it may or not.
    pub null_at: Option<usize>,
    /// Tags are there that later versions know.
    pub early: bool,
}

pub(crate) const FULL: Style = Style {
    elements: 2,
    nulls: false,
    tags: true,
    null_at: None,
    early: false,
};

pub(crate) const STYLES: [Style; 4] = [
    FULL,
    Style {
        nulls: true,
        ..FULL
    },
    Style {
        tags: false,
        ..FULL
    },
    Style {
        elements: 0,
        // One with no elements is left out.
        tags: false,
        ..FULL
    },
];

/// Unknown tags go up to this. Those of the crate that a shape lacks would be among them, and
/// their values would not decode.
const LAST_TAG: u32 = 12;
const UNKNOWN_VALUE: &[u8] = &[0xff; 3];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Short,
    Long,
    /// Of a length plus one; zero is null.
    Compact,
    /// Of tagged fields: how many there are, or the size of one.
    Plain,
}

/// A length in a sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Length {
    pub field: &'static str,
    pub at: usize,
    pub width: Width,
    pub null: Null,
}

pub(crate) struct Sample {
    pub bytes: Vec<u8>,
    pub lengths: Vec<Length>,
    /// What stands at [`Style::null_at`], if there is so much.
    pub null: Option<(&'static str, Null)>,
    /// How many texts, bytes and arrays.
    values: usize,
    /// Of tags that are there too early.
    pub early: usize,
    version: i16,
    flexible: bool,
    style: Style,
    counter: u8,
}

/// A response in which no number has its default, where it has one.
pub(crate) fn sample(shape: &Shape, version: i16, style: Style) -> Sample {
    let mut sample = Sample {
        bytes: Vec::new(),
        lengths: Vec::new(),
        null: None,
        values: 0,
        early: 0,
        version,
        flexible: version >= shape.flexible,
        style,
        counter: 0,
    };
    sample.fields(&shape.body);
    sample
}

impl Sample {
    fn fields(&mut self, fields: &Fields) {
        let version = self.version;
        for field in fields.plain.iter().filter(|f| f.is_in(version)) {
            self.value(field.name, field.kind);
        }
        if self.flexible {
            self.tagged(fields);
        }
    }

    fn value(&mut self, name: &'static str, kind: Kind) {
        let elements = self.style.elements;
        match kind {
            // A boolean comes back as 1.
            Kind::Fixed(1) => self.bytes.push(1),
            Kind::Fixed(size) => self.number(size),
            Kind::Text(null) => {
                if self.length(name, Width::Short, null, 5) {
                    self.bytes.extend_from_slice(b"hello");
                }
            }
            Kind::Blob(null) => {
                if self.length(name, Width::Long, null, 4) {
                    self.bytes.extend_from_slice(&[0xfe; 4]);
                }
            }
            Kind::Numbers(size) => {
                if self.length(name, Width::Long, Null::Refused, elements) {
                    (0..elements).for_each(|_| self.number(size));
                }
            }
            Kind::Texts(null) => {
                if self.length(name, Width::Long, null, elements) {
                    (0..elements).for_each(|_| self.value(name, Kind::Text(Null::Refused)));
                }
            }
            Kind::List(element, null) => {
                if self.length(name, Width::Long, null, elements) {
                    for _ in 0..elements {
                        let start = self.bytes.len();
                        self.fields(element);
                        assert!(self.bytes.len() > start, "{name} has empty elements");
                    }
                }
            }
            Kind::Struct(fields) => self.fields(fields),
        }
    }

    fn tagged(&mut self, fields: &Fields) {
        if !self.style.tags {
            self.bytes.push(0);
            return;
        }
        let known = |tag| fields.tagged.iter().find(|(number, _)| *number == tag);
        let version = self.version;
        let is_early = |tag| known(tag).is_some_and(|(_, field)| !field.is_in(version));
        let tags: Vec<u32> = (0..=LAST_TAG)
            .filter(|tag| self.style.early || !is_early(*tag))
            .collect();
        self.plain("the number of tagged fields", tags.len());
        for tag in tags {
            put_uvarint(&mut self.bytes, tag);
            let known = known(tag).filter(|(_, field)| field.is_in(version));
            let Some((_, field)) = known else {
                self.early += usize::from(is_early(tag));
                self.plain("a tagged field", UNKNOWN_VALUE.len());
                self.bytes.extend_from_slice(UNKNOWN_VALUE);
                continue;
            };
            // Written apart, because its size comes first.
            let before = self.bytes.len();
            let lengths = self.lengths.len();
            self.value(field.name, field.kind);
            let value = self.bytes.split_off(before);
            let within = self.lengths.split_off(lengths);
            self.plain(field.name, value.len());
            let moved = self.bytes.len() - before;
            self.bytes.extend_from_slice(&value);
            self.lengths.extend(within.into_iter().map(|mut length| {
                length.at += moved;
                length
            }));
        }
    }

    fn number(&mut self, size: usize) {
        for _ in 0..size {
            self.counter = self.counter % 100 + 1;
            self.bytes.push(self.counter);
        }
    }

    /// False: null was written.
    fn length(&mut self, field: &'static str, width: Width, null: Null, length: usize) -> bool {
        let width = if self.flexible { Width::Compact } else { width };
        self.lengths.push(Length {
            field,
            at: self.bytes.len(),
            width,
            null,
        });
        let is_chosen = self.style.null_at == Some(self.values);
        self.values += 1;
        if is_chosen {
            self.null = Some((field, null));
        }
        let is_null = is_chosen || self.style.nulls && null == Null::Allowed;
        let length = if is_null { -1 } else { length as i64 };
        self.bytes.extend_from_slice(&encoded(width, length));
        !is_null
    }

    fn plain(&mut self, field: &'static str, value: usize) {
        self.lengths.push(Length {
            field,
            at: self.bytes.len(),
            width: Width::Plain,
            null: Null::Refused,
        });
        put_uvarint(&mut self.bytes, value as u32);
    }

    /// The sample with other bytes in place of a length.
    pub(crate) fn with(&self, length: &Length, other: &[u8]) -> Vec<u8> {
        let (before, after) = self.bytes.split_at(length.at);
        [before, other, &after[length.size(after)..]].concat()
    }

    /// How many bytes follow a length.
    pub(crate) fn left_after(&self, length: &Length) -> usize {
        let after = &self.bytes[length.at..];
        after.len() - length.size(after)
    }
}

impl Length {
    fn size(&self, bytes: &[u8]) -> usize {
        match self.width {
            Width::Short => 2,
            Width::Long => 4,
            Width::Compact | Width::Plain => bytes.iter().position(|b| *b < 0x80).unwrap() + 1,
        }
    }
}

/// A length as it goes on the wire; -1 is null.
pub(crate) fn encoded(width: Width, length: i64) -> Vec<u8> {
    let mut out = Vec::new();
    match width {
        Width::Short => out.extend_from_slice(&(length as i16).to_be_bytes()),
        Width::Long => out.extend_from_slice(&(length as i32).to_be_bytes()),
        Width::Compact => put_uvarint(&mut out, (length + 1) as u32),
        Width::Plain => put_uvarint(&mut out, length as u32),
    }
    out
}

fn put_uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
