//! Shorthand for shapes.

use super::{Field, Fields, Kind, Null};

const fn field(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        since: 0,
        until: i16::MAX,
    }
}

impl Field {
    /// The first version that has it.
    pub const fn since(mut self, version: i16) -> Field {
        self.since = version;
        self
    }

    /// The last version that has it.
    pub const fn until(mut self, version: i16) -> Field {
        self.until = version;
        self
    }
}

/// A boolean.
pub const fn bool(name: &'static str) -> Field {
    field(name, Kind::Fixed(1))
}

/// A number of 8 bits.
pub const fn int8(name: &'static str) -> Field {
    field(name, Kind::Fixed(1))
}

/// A number of 16 bits.
pub const fn int16(name: &'static str) -> Field {
    field(name, Kind::Fixed(2))
}

/// A number of 32 bits.
pub const fn int32(name: &'static str) -> Field {
    field(name, Kind::Fixed(4))
}

/// A number of 64 bits.
pub const fn int64(name: &'static str) -> Field {
    field(name, Kind::Fixed(8))
}

/// A UUID.
pub const fn uuid(name: &'static str) -> Field {
    field(name, Kind::Fixed(16))
}

/// A string.
pub const fn string(name: &'static str) -> Field {
    field(name, Kind::Text(Null::Refused))
}

/// A string, or null.
pub const fn nullable_string(name: &'static str) -> Field {
    field(name, Kind::Text(Null::Allowed))
}

/// Bytes.
pub const fn bytes(name: &'static str) -> Field {
    field(name, Kind::Blob(Null::Refused))
}

/// Record batches, or null.
pub const fn records(name: &'static str) -> Field {
    field(name, Kind::Blob(Null::Allowed))
}

/// An array of numbers of 32 bits.
pub const fn int32s(name: &'static str) -> Field {
    field(name, Kind::Numbers(4))
}

/// An array of numbers of 8 bits.
pub const fn int8s(name: &'static str) -> Field {
    field(name, Kind::Numbers(1))
}

/// An array of strings.
pub const fn texts(name: &'static str) -> Field {
    field(name, Kind::Texts(Null::Refused))
}

/// An array of strings, or null.
pub const fn nullable_texts(name: &'static str) -> Field {
    field(name, Kind::Texts(Null::Allowed))
}

/// An array of structs.
pub const fn list(name: &'static str, element: &'static Fields) -> Field {
    field(name, Kind::List(element, Null::Refused))
}

/// An array of structs, or null.
pub const fn nullable_list(name: &'static str, element: &'static Fields) -> Field {
    field(name, Kind::List(element, Null::Allowed))
}

/// A struct that is a tagged field's value.
pub const fn tagged(name: &'static str, fields: &'static Fields) -> Field {
    field(name, Kind::Struct(fields))
}

/// The fields of a struct that has no tagged ones.
pub const fn fields(plain: &'static [Field]) -> Fields {
    Fields { plain, tagged: &[] }
}
