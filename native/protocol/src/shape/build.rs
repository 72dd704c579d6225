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
    pub(crate) const fn since(mut self, version: i16) -> Field {
        self.since = version;
        self
    }

    pub(crate) const fn until(mut self, version: i16) -> Field {
        self.until = version;
        self
    }
}

pub(crate) const fn bool(name: &'static str) -> Field {
    field(name, Kind::Fixed(1))
}

pub(crate) const fn int8(name: &'static str) -> Field {
    field(name, Kind::Fixed(1))
}

pub(crate) const fn int16(name: &'static str) -> Field {
    field(name, Kind::Fixed(2))
}

pub(crate) const fn int32(name: &'static str) -> Field {
    field(name, Kind::Fixed(4))
}

pub(crate) const fn int64(name: &'static str) -> Field {
    field(name, Kind::Fixed(8))
}

pub(crate) const fn uuid(name: &'static str) -> Field {
    field(name, Kind::Fixed(16))
}

pub(crate) const fn string(name: &'static str) -> Field {
    field(name, Kind::Text(Null::Refused))
}

pub(crate) const fn nullable_string(name: &'static str) -> Field {
    field(name, Kind::Text(Null::Allowed))
}

pub(crate) const fn bytes(name: &'static str) -> Field {
    field(name, Kind::Blob(Null::Refused))
}

pub(crate) const fn records(name: &'static str) -> Field {
    field(name, Kind::Blob(Null::Allowed))
}

pub(crate) const fn int32s(name: &'static str) -> Field {
    field(name, Kind::Numbers(4))
}

pub(crate) const fn int8s(name: &'static str) -> Field {
    field(name, Kind::Numbers(1))
}

pub(crate) const fn texts(name: &'static str) -> Field {
    field(name, Kind::Texts)
}

pub(crate) const fn list(name: &'static str, element: &'static Fields) -> Field {
    field(name, Kind::List(element, Null::Refused))
}

pub(crate) const fn nullable_list(name: &'static str, element: &'static Fields) -> Field {
    field(name, Kind::List(element, Null::Allowed))
}

pub(crate) const fn tagged(name: &'static str, fields: &'static Fields) -> Field {
    field(name, Kind::Struct(fields))
}

pub(crate) const fn fields(plain: &'static [Field]) -> Fields {
    Fields { plain, tagged: &[] }
}
