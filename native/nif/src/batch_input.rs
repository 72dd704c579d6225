//! Keys and values as brod's users give them, written into a batch without an intermediate form.
//!
//! A value is iodata, `undefined`, `{Ts, Value}`, a map with `key`, `value`, `ts`, `headers`, or a
//! list of `{K, V}`, `{Ts, K, V}` and maps, where a `V` may be such a list again. As in brod, empty
//! and undefined keys and values both go out as null, and the key given beside a list of messages
//! only picks the partition. A map may lack its `value` if it has one of the others and nothing else:
//! with a misspelt one it is refused.

use std::time::{SystemTime, UNIX_EPOCH};

use brod_protocol::batch_writer::{BatchWriter, Header};
use rustler::{Binary, Term};

use crate::atoms;
use crate::raw::{cons, identical, lend, tuple};

/// Why a call was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not a key or value that brod knows.
    BadArg,
    /// More than a normal scheduler should work on.
    TooMuch,
}

/// How much one call may still write.
pub(crate) struct Allowance {
    bytes: usize,
    records: usize,
    /// Cells of lists that may be looked at.
    steps: usize,
}

/// Values of so many bytes stay where they are: what holds one of them there costs as much as to copy less
/// (ADR 48).
const LENT: usize = 32 * 1024;

/// What one header costs, in cells.
const HEADER_STEPS: usize = 4;

impl Allowance {
    const NORMAL: Allowance = Allowance {
        bytes: 48 * 1024,
        records: 256,
        steps: 1024,
    };

    /// What takes some tens of microseconds.
    pub(crate) fn for_normal_scheduler() -> Self {
        Self::NORMAL
    }

    /// How much of a time slice (1 ms, in percent) was used of what a normal scheduler may do:
    /// a message costs no more than any other call, all of the allowance about 40 us.
    pub(crate) fn used_percent(&self) -> i32 {
        let records = Self::NORMAL.records.saturating_sub(self.records) / 128;
        let bytes = Self::NORMAL.bytes.saturating_sub(self.bytes) / (24 * 1024);
        let steps = Self::NORMAL.steps.saturating_sub(self.steps) / 512;
        (records + bytes + steps) as i32
    }

    /// For dirty schedulers.
    pub(crate) fn unlimited() -> Self {
        Allowance {
            bytes: usize::MAX,
            records: usize::MAX,
            steps: usize::MAX,
        }
    }

    fn step(&mut self, count: usize) -> Result<(), Refusal> {
        self.steps = self.steps.checked_sub(count).ok_or(Refusal::TooMuch)?;
        Ok(())
    }

    /// Refuses iodata that takes too long to flatten, before it is. No recursion: lists may be nested
    /// deeper than a stack is.
    fn walk(&mut self, iodata: Term<'_>) -> Result<(), Refusal> {
        if self.steps == usize::MAX {
            return Ok(());
        }
        let mut later = Vec::new();
        let mut rest = iodata;
        loop {
            let Some((head, tail)) = cons(rest) else {
                self.copy(rest)?;
                match later.pop() {
                    Some(tail) => rest = tail,
                    None => return Ok(()),
                }
                continue;
            };
            self.step(1)?;
            if cons(head).is_some() {
                later.push(tail);
                rest = head;
            } else {
                self.copy(head)?;
                rest = tail;
            }
        }
    }

    fn copy(&mut self, part: Term<'_>) -> Result<(), Refusal> {
        if let Ok(binary) = Binary::from_term(part) {
            self.bytes = self
                .bytes
                .checked_sub(binary.len())
                .ok_or(Refusal::TooMuch)?;
        }
        Ok(())
    }

    #[inline]
    fn take(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.records == 0 || self.bytes < bytes {
            return Err(Refusal::TooMuch);
        }
        self.records -= 1;
        self.bytes -= bytes;
        Ok(())
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        })
}

struct Records<'w> {
    writer: &'w mut BatchWriter,
    allowance: &'w mut Allowance,
    /// For pairs, which have no time, and for a map without one that is the first of all.
    now: i64,
    /// The time of the first one, which other maps without a time have, as in kafka_protocol.
    first: Option<i64>,
}

/// Writes all the records of one call, and returns how many they are. A call of none is refused.
#[inline(always)]
pub(crate) fn write<'a>(
    writer: &mut BatchWriter,
    allowance: &mut Allowance,
    now: i64,
    key: Term<'a>,
    value: Term<'a>,
) -> Result<u32, Refusal> {
    let before = writer.record_count();
    write_all(writer, allowance, now, key, value)?;
    match writer.record_count() - before {
        0 => Err(Refusal::BadArg),
        records => Ok(records),
    }
}

#[inline(always)]
fn write_all<'a>(
    writer: &mut BatchWriter,
    allowance: &mut Allowance,
    now: i64,
    key: Term<'a>,
    value: Term<'a>,
) -> Result<(), Refusal> {
    let mut records = Records {
        writer,
        allowance,
        now,
        first: None,
    };
    match Binary::from_term(value) {
        Ok(binary) => records.write(now, key, value, Some(binary), &[]),
        Err(_) => records.other(key, value),
    }
}

/// A list is a batch by its first element; any other list is iodata.
#[inline]
fn is_batch(value: Term<'_>) -> bool {
    cons(value).is_some_and(|(head, _)| head.is_tuple() || head.is_map())
}

impl Records<'_> {
    /// What is not one binary.
    fn other<'a>(&mut self, key: Term<'a>, value: Term<'a>) -> Result<(), Refusal> {
        if value.is_map() {
            return self.map(value, Some(key));
        }
        if let Some(parts) = tuple(value) {
            return match parts.len() {
                2 => self.push(timestamp(parts.at(0))?, key, parts.at(1)),
                _ => Err(Refusal::BadArg),
            };
        }
        if is_batch(value) {
            return self.batch(value);
        }
        self.push(self.now, key, value)
    }

    /// No recursion: batches may be nested deeper than a scheduler's stack is.
    fn batch<'a>(&mut self, mut list: Term<'a>) -> Result<(), Refusal> {
        let mut outer: Vec<Term<'a>> = Vec::new();
        loop {
            if let Some((head, tail)) = cons(list) {
                self.allowance.step(1)?;
                list = match self.element(head)? {
                    Some(inner) => {
                        if !tail.is_empty_list() {
                            outer.push(tail);
                        }
                        inner
                    }
                    None => tail,
                };
            } else if !list.is_empty_list() {
                return Err(Refusal::BadArg);
            } else if let Some(rest) = outer.pop() {
                list = rest;
            } else {
                return Ok(());
            }
        }
    }

    /// Writes an element of a batch, or returns the batch that it is.
    fn element<'a>(&mut self, element: Term<'a>) -> Result<Option<Term<'a>>, Refusal> {
        if element.is_map() {
            return self.map(element, None).map(|()| None);
        }
        let parts = tuple(element).ok_or(Refusal::BadArg)?;
        let (ts, key, value) = match parts.len() {
            2 => (self.now, parts.at(0), parts.at(1)),
            3 => (timestamp(parts.at(0))?, parts.at(1), parts.at(2)),
            _ => return Err(Refusal::BadArg),
        };
        if is_batch(value) {
            return Ok(Some(value));
        }
        self.push(ts, key, value).map(|()| None)
    }

    fn map<'a>(&mut self, map: Term<'a>, default_key: Option<Term<'a>>) -> Result<(), Refusal> {
        let env = map.get_env();
        let get = |name: rustler::Atom| map.map_get(name).ok();
        let value = match get(atoms::value()) {
            Some(value) => value,
            None => {
                let others = [atoms::key(), atoms::ts(), atoms::headers()];
                let known = others.into_iter().filter_map(get).count();
                if known == 0 || map.map_size().ok() != Some(known) {
                    return Err(Refusal::BadArg);
                }
                atoms::undefined().to_term(env)
            }
        };
        let key = get(atoms::key())
            .or(default_key)
            .unwrap_or_else(|| atoms::undefined().to_term(env));
        let ts = match get(atoms::ts()) {
            Some(ts) => timestamp(ts)?,
            None => self.first.unwrap_or(self.now),
        };
        match get(atoms::headers()) {
            Some(headers) => self.push_with_headers(ts, key, value, headers),
            None => self.push(ts, key, value),
        }
    }

    fn push(&mut self, ts: i64, key: Term<'_>, value: Term<'_>) -> Result<(), Refusal> {
        self.first.get_or_insert(ts);
        let written = self.bytes(value)?;
        self.write(ts, key, value, written, &[])
    }

    fn push_with_headers(
        &mut self,
        ts: i64,
        key: Term<'_>,
        value: Term<'_>,
        headers: Term<'_>,
    ) -> Result<(), Refusal> {
        self.first.get_or_insert(ts);
        let headers = self.headers(headers)?;
        let slices: Vec<Header<'_>> = headers
            .iter()
            .map(|(name, value)| (name.as_slice(), Some(slice(value))))
            .collect();
        let written = self.bytes(value)?;
        self.write(ts, key, value, written, &slices)
    }

    /// `written` are the bytes of `value`.
    #[inline(always)]
    fn write(
        &mut self,
        ts: i64,
        key: Term<'_>,
        value: Term<'_>,
        written: Option<Binary<'_>>,
        headers: &[Header<'_>],
    ) -> Result<(), Refusal> {
        let key = self.bytes(key)?;
        let lent = written
            .as_ref()
            .filter(|bytes| bytes.len() >= LENT)
            .and_then(|_| lend(value));
        let copied = match lent {
            None => slice(&key).len() + slice(&written).len(),
            Some(_) => slice(&key).len(),
        };
        let in_header = |(name, value): &Header<'_>| name.len() + value.map_or(0, <[u8]>::len);
        let in_headers: usize = headers.iter().map(in_header).sum();
        self.allowance.take(copied + in_headers)?;
        let (key, value) = (non_empty(&key), non_empty(&written));
        match lent {
            None => self.writer.push(ts, key, value, headers),
            Some(value) => self.writer.push_lent(ts, key, value, headers),
        }
        Ok(())
    }

    /// iodata, or `undefined` for None.
    #[inline]
    fn bytes<'a>(&mut self, term: Term<'a>) -> Result<Option<Binary<'a>>, Refusal> {
        if let Ok(binary) = Binary::from_term(term) {
            return Ok(Some(binary));
        }
        if identical(term, atoms::undefined().to_term(term.get_env())) {
            return Ok(None);
        }
        self.iodata(term).map(Some)
    }

    fn iodata<'a>(&mut self, term: Term<'a>) -> Result<Binary<'a>, Refusal> {
        if let Ok(binary) = Binary::from_term(term) {
            return Ok(binary);
        }
        self.allowance.walk(term)?;
        Binary::from_iolist(term).map_err(|_| Refusal::BadArg)
    }

    /// `[{Name, Value}]`, both iodata, a value also `undefined`.
    fn headers<'a>(
        &mut self,
        mut list: Term<'a>,
    ) -> Result<Vec<(Binary<'a>, Option<Binary<'a>>)>, Refusal> {
        let mut headers = Vec::new();
        while let Some((head, tail)) = cons(list) {
            self.allowance.step(HEADER_STEPS)?;
            let parts = tuple(head)
                .filter(|parts| parts.len() == 2)
                .ok_or(Refusal::BadArg)?;
            headers.push((self.iodata(parts.at(0))?, self.bytes(parts.at(1))?));
            list = tail;
        }
        if list.is_empty_list() {
            Ok(headers)
        } else {
            Err(Refusal::BadArg)
        }
    }
}

/// What is undefined is empty.
fn slice<'b>(part: &'b Option<Binary<'_>>) -> &'b [u8] {
    part.as_ref().map_or(&[], |bytes| bytes.as_slice())
}

fn non_empty<'b>(part: &'b Option<Binary<'_>>) -> Option<&'b [u8]> {
    Some(slice(part)).filter(|bytes| !bytes.is_empty())
}

fn timestamp(term: Term<'_>) -> Result<i64, Refusal> {
    term.decode().map_err(|_| Refusal::BadArg)
}
