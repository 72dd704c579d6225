//! Checks the lengths in a response before `kafka-protocol` decodes it.
//!
//! That crate allocates for as many elements as an array claims to have. A claim of 2^31 asks for
//! more memory than there is, and an allocation that fails ends the process: Erlang's, for us. So
//! a response is walked first, by the shapes in [`crate::api`]: every length in it must fit the
//! bytes behind it. Walking allocates nothing. The broker in memory checks requests so.

use std::fmt;

pub mod build;

/// The type of a response's body, in all versions.
pub struct Shape {
    /// The versions that `kafka-protocol` decodes.
    pub oldest: i16,
    /// See `oldest`.
    pub newest: i16,
    /// From this version on lengths are compact and there are tagged fields (KIP-482).
    pub flexible: i16,
    /// The fields of the response.
    pub body: Fields,
}

/// The fields of a struct, in the order of the wire.
pub struct Fields {
    /// All but the tagged ones.
    pub plain: &'static [Field],
    /// Those tagged fields that are decoded by their type, by tag; others are bytes to the decoder.
    pub tagged: &'static [(u32, Field)],
}

/// A field of a struct.
pub struct Field {
    /// As Kafka calls it, but with underscores.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The first and the last version that has it.
    pub since: i16,
    /// See `since`.
    pub until: i16,
}

/// The type of a field.
#[derive(Clone, Copy)]
pub enum Kind {
    /// So many bytes: numbers, booleans, UUIDs.
    Fixed(usize),
    /// A string.
    Text(Null),
    /// Bytes that are passed over here: records, and what group members tell each other.
    Blob(Null),
    /// An array of elements of so many bytes.
    Numbers(usize),
    /// An array of strings.
    Texts(Null),
    /// An array of structs.
    List(&'static Fields, Null),
    /// A struct that is a tagged field's value.
    Struct(&'static Fields),
}

/// Whether null may stand for a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Null {
    /// It may not.
    Refused,
    /// It may.
    Allowed,
}

/// Why a response is not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// Its name.
    pub field: &'static str,
    /// Where the field starts in the body; of an array, text or bytes: where the length is.
    pub at: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No shape is known for the version.
    Version(i16),
    /// The body ends within the field.
    Cut,
    /// More elements or bytes are claimed than there are bytes left.
    Claims {
        /// As the length says.
        claimed: usize,
        /// Bytes behind it.
        left: usize,
    },
    /// A negative length that does not stand for null.
    Negative(i32),
    /// Null where there must be a value.
    Null,
    /// A varint of more than 32 bits.
    Varint,
    /// A tagged field takes more or fewer bytes than it says.
    TagSize {
        /// As it says.
        said: usize,
        /// As it is.
        taken: usize,
    },
    /// Decoded, the response would take more memory than its size allows for.
    Memory {
        /// For a body of this size.
        limit: usize,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Malformed { field, at, fault } = self;
        match fault {
            Fault::Version(version) => return write!(f, "version {version} is not known"),
            Fault::Cut => write!(f, "it ends within {field}"),
            Fault::Claims { claimed, left } => {
                write!(f, "{field} claims {claimed}, bytes left: {left}")
            }
            Fault::Negative(length) => write!(f, "{field} has a length of {length}"),
            Fault::Null => write!(f, "{field} is null"),
            Fault::Varint => write!(f, "{field} has a varint that is too long"),
            Fault::TagSize { said, taken } => {
                write!(f, "{field} takes {taken} bytes and says {said}")
            }
            Fault::Memory { limit } => {
                write!(f, "with {field} it takes more than {limit} bytes of memory")
            }
        }?;
        write!(f, " (at byte {at})")
    }
}

impl Shape {
    /// Walks a body. Returns how many of its bytes the response takes. One that would take much more
    /// memory than it has bytes, as empty elements do, is refused.
    pub fn check(&self, body: &[u8], version: i16) -> Result<usize, Malformed> {
        if version < self.oldest || version > self.newest {
            return Err(Malformed {
                field: "",
                at: 0,
                fault: Fault::Version(version),
            });
        }
        let mut walk = Walk {
            body,
            at: 0,
            version,
            flexible: version >= self.flexible,
            memory: memory_for(body.len()),
        };
        walk.fields(&self.body)?;
        Ok(walk.at)
    }

    /// A number of 32 bits among the body's own fields, without decoding what stands before it. None where
    /// the version lacks it or the body does not parse.
    pub fn int32(&self, name: &str, body: &[u8], version: i16) -> Option<i32> {
        let mut walk = Walk {
            body,
            at: 0,
            version,
            flexible: version >= self.flexible,
            memory: memory_for(body.len()),
        };
        let fields = self.body.plain.iter();
        for field in fields.filter(|field| field.is_in(version)) {
            if field.name == name {
                let bytes = body.get(walk.at..walk.at + 4)?;
                return Some(i32::from_be_bytes(bytes.try_into().ok()?));
            }
            walk.value(field.name, field.kind).ok()?;
        }
        None
    }
}

impl Field {
    /// Whether the version has it.
    pub fn is_in(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }
}

struct Walk<'a> {
    body: &'a [u8],
    at: usize,
    version: i16,
    flexible: bool,
    /// How much the decoder may still allocate.
    memory: usize,
}

/// What a body of this size may take when it is decoded. Elements as brokers send them take up to seven
/// times as much as on the wire; empty ones take fifty times as much.
fn memory_for(size: usize) -> usize {
    const SMALL: usize = 16 * 1024 * 1024;
    const MOST: usize = 512 * 1024 * 1024;
    size.saturating_mul(8).saturating_add(SMALL).min(MOST)
}

/// What the decoder takes for a value, about, in whatever version: texts and bytes share the body's
/// memory.
fn size_of(kind: Kind) -> usize {
    match kind {
        Kind::Fixed(size) => size.next_multiple_of(8),
        Kind::Text(_) | Kind::Blob(_) => 32,
        Kind::Numbers(_) | Kind::Texts(_) | Kind::List(..) => 24,
        Kind::Struct(fields) => fields.size(),
    }
}

/// A tagged field that is not known, in a map.
const UNKNOWN_SIZE: usize = 64;
/// The map itself, once it has anything.
const MAP_SIZE: usize = 512;

impl Fields {
    fn size(&self) -> usize {
        let plain = self.plain.iter().map(|field| size_of(field.kind));
        let tagged = self.tagged.iter().map(|(_, field)| size_of(field.kind));
        plain.chain(tagged).sum::<usize>() + 24
    }
}

/// The parts of a struct that have no name in Kafka's schemas.
const TAG_COUNT: &str = "the number of tagged fields";
const TAG: &str = "a tag";
const UNKNOWN_TAGGED: &str = "a tagged field";

impl Walk<'_> {
    fn fields(&mut self, fields: &Fields) -> Result<(), Malformed> {
        for field in fields.plain {
            if field.is_in(self.version) {
                self.value(field.name, field.kind)?;
            }
        }
        if self.flexible {
            self.tagged(fields.tagged)?;
        }
        Ok(())
    }

    fn value(&mut self, name: &'static str, kind: Kind) -> Result<(), Malformed> {
        match kind {
            Kind::Fixed(size) => {
                if size > self.body.len() - self.at {
                    return Err(malformed(name, self.at, Fault::Cut));
                }
                self.at += size;
            }
            Kind::Text(null) => {
                let size = self.length(name, Width::Short, null, 1)?;
                self.at += size;
            }
            Kind::Blob(null) => {
                let size = self.length(name, Width::Long, null, 1)?;
                self.at += size;
            }
            Kind::Numbers(size) => {
                let count = self.length(name, Width::Long, Null::Refused, size)?;
                self.spend(name, count * size)?;
                self.at += count * size;
            }
            Kind::Texts(null) => {
                let count = self.length(name, Width::Long, null, 1)?;
                let each = Kind::Text(Null::Refused);
                self.spend(name, count.saturating_mul(size_of(each)))?;
                for _ in 0..count {
                    self.value(name, each)?;
                }
            }
            Kind::List(element, null) => {
                // No element is empty, in any version; that they are all there shows in walking.
                let count = self.length(name, Width::Long, null, 1)?;
                self.spend(name, count.saturating_mul(element.size()))?;
                for _ in 0..count {
                    self.fields(element)?;
                }
            }
            Kind::Struct(fields) => self.fields(fields)?,
        }
        Ok(())
    }

    fn tagged(&mut self, known: &[(u32, Field)]) -> Result<(), Malformed> {
        let start = self.at;
        let count = self.uvarint(TAG_COUNT)? as usize;
        // A tag and a size.
        self.fits(TAG_COUNT, start, count, 2)?;
        let mut map = MAP_SIZE;
        for _ in 0..count {
            let tag = self.uvarint(TAG)?;
            let start = self.at;
            let known = known
                .iter()
                .find(|(number, field)| *number == tag && field.is_in(self.version));
            let name = known.map_or(UNKNOWN_TAGGED, |(_, field)| field.name);
            let said = self.uvarint(name)? as usize;
            self.fits(name, start, said, 1)?;
            let Some((_, field)) = known else {
                self.spend(name, UNKNOWN_SIZE + std::mem::take(&mut map))?;
                self.at += said;
                continue;
            };
            // The decoder does not look at the size; the two must not part.
            let before = self.at;
            self.value(name, field.kind)?;
            let taken = self.at - before;
            if taken != said {
                return Err(malformed(name, start, Fault::TagSize { said, taken }));
            }
        }
        Ok(())
    }

    /// Reads the length of a field whose elements take `element` bytes at least, which must then be
    /// there. Null has none.
    fn length(
        &mut self,
        name: &'static str,
        width: Width,
        null: Null,
        element: usize,
    ) -> Result<usize, Malformed> {
        let start = self.at;
        let length = if self.flexible {
            // One more than the length; zero is null.
            (self.uvarint(name)? as usize).checked_sub(1)
        } else {
            let length = match width {
                Width::Short => i16::from_be_bytes(self.take(name)?).into(),
                Width::Long => i32::from_be_bytes(self.take(name)?),
            };
            match usize::try_from(length) {
                Ok(length) => Some(length),
                Err(_) if length == -1 => None,
                Err(_) => return Err(malformed(name, start, Fault::Negative(length))),
            }
        };
        match length {
            Some(length) => {
                self.fits(name, start, length, element)?;
                Ok(length)
            }
            None if null == Null::Allowed => Ok(0),
            None => Err(malformed(name, start, Fault::Null)),
        }
    }

    fn spend(&mut self, name: &'static str, memory: usize) -> Result<(), Malformed> {
        self.memory = self.memory.checked_sub(memory).ok_or_else(|| {
            let limit = memory_for(self.body.len());
            malformed(name, self.at, Fault::Memory { limit })
        })?;
        Ok(())
    }

    fn fits(
        &self,
        name: &'static str,
        start: usize,
        claimed: usize,
        element: usize,
    ) -> Result<(), Malformed> {
        let left = self.body.len() - self.at;
        if claimed > left / element {
            return Err(malformed(name, start, Fault::Claims { claimed, left }));
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self, name: &'static str) -> Result<[u8; N], Malformed> {
        match self.body[self.at..].first_chunk() {
            Some(bytes) => {
                self.at += N;
                Ok(*bytes)
            }
            None => Err(malformed(name, self.at, Fault::Cut)),
        }
    }

    fn uvarint(&mut self, name: &'static str) -> Result<u32, Malformed> {
        let start = self.at;
        let mut value = 0;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take(name)?;
            // The decoder drops what does not fit, and then reads another length.
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed(name, start, Fault::Varint))
    }
}

/// Of a length that is not compact.
#[derive(Clone, Copy)]
enum Width {
    Short,
    Long,
}

fn malformed(field: &'static str, at: usize, fault: Fault) -> Malformed {
    Malformed { field, at, fault }
}
