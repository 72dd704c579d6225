//! What brokers before Kafka 0.11 speak: versions of requests that the message crate does not know any
//! more, and message sets ([`message_set`]) in place of record batches.
//!
//! All other code writes and reads the oldest version that the crate knows. A request to an old broker is
//! rewritten right before it goes out ([`request`]), its answer when it comes in ([`Sent::response`]); a
//! message set becomes batches where batches are read. Old brokers are not the hot path: everything is
//! copied.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::api::{self, Api};
use crate::error::ErrorCode;
use crate::WireError;

pub mod message_set;

/// What requests are rewritten down to.
pub(crate) const OLDEST: i16 = 0;

/// The APIs that are rewritten.
const REWRITTEN: [&Api; 5] = [
    &api::produce::API,
    &api::fetch::API,
    &api::list_offsets::API,
    &api::create_topics::API,
    &api::delete_topics::API,
];

/// The API of this key, if its requests are rewritten.
pub(crate) fn rewritten(api_key: i16) -> Option<&'static Api> {
    REWRITTEN.into_iter().find(|api| api.key == api_key)
}

/// The oldest version of an API that a broker may speak.
pub(crate) fn oldest(api: &Api) -> i16 {
    rewritten(api.key).map_or(api.versions.0, |_| OLDEST)
}

/// A request that was rewritten.
#[derive(Debug)]
pub struct Sent {
    api_key: i16,
    version: i16,
    /// Partitions that were left out of a Produce request, with the error that a newer broker would
    /// answer.
    refused: Vec<(Bytes, i32, ErrorCode)>,
}

/// Rewrites the body of a request from the oldest version that the crate knows to `version`, below it.
pub fn request(api_key: i16, version: i16, body: Bytes) -> Result<(Bytes, Sent), WireError> {
    let mut sent = Sent {
        api_key,
        version,
        refused: Vec::new(),
    };
    let mut from = Reader(body);
    let mut to = BytesMut::with_capacity(from.0.len() + 64);
    if api_key == api::produce::API.key {
        produce_request(&mut from, &mut to, &mut sent)?;
    } else if api_key == api::fetch::API.key {
        fetch_request(&mut from, &mut to, version)?;
    } else if api_key == api::list_offsets::API.key {
        list_offsets_request(&mut from, &mut to)?;
    } else if api_key == api::create_topics::API.key && version == 0 {
        let topics = from.0.len().saturating_sub(1);
        to.put_slice(&from.take(topics)?);
        // It would be created in earnest.
        if from.u8()? != 0 {
            return Err(WireError::UnsupportedApi {
                api: "CreateTopics with validate_only".to_owned(),
            });
        }
    } else {
        to.put_slice(&from.0);
    }
    Ok((to.freeze(), sent))
}

impl Sent {
    /// The version that it was rewritten to.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// Rewrites the body of the answer to the oldest version that the crate knows.
    pub fn response(self, body: Bytes) -> Result<Bytes, WireError> {
        let mut from = Reader(body);
        let mut to = BytesMut::with_capacity(from.0.len() + 64);
        if self.api_key == api::produce::API.key {
            self.produce_response(&mut from, &mut to)?;
        } else if self.api_key == api::fetch::API.key {
            fetch_response(&mut from, &mut to, self.version)?;
        } else if self.api_key == api::list_offsets::API.key {
            list_offsets_response(&mut from, &mut to)?;
        } else if self.api_key == api::create_topics::API.key {
            to.put_i32(0);
            create_topics_response(&mut from, &mut to, self.version)?;
        } else {
            to.put_i32(0);
            to.put_slice(&from.0);
        }
        Ok(to.freeze())
    }

    fn produce_response(self, from: &mut Reader, to: &mut BytesMut) -> Result<(), WireError> {
        let mut topics = Vec::new();
        for _ in 0..from.count()? {
            let name = from.text()?;
            let mut partitions = Vec::new();
            for _ in 0..from.count()? {
                let (index, code, offset) = (from.i32()?, from.i16()?, from.i64()?);
                let appended = if self.version >= 2 { from.i64()? } else { -1 };
                partitions.push((index, code, offset, appended));
            }
            topics.push((name, partitions));
        }
        let throttle = if self.version >= 1 { from.i32()? } else { 0 };
        for (name, index, code) in self.refused {
            let refused = (index, code.0, -1, -1);
            match topics.iter_mut().find(|(topic, _)| *topic == name) {
                Some((_, partitions)) => partitions.push(refused),
                None => topics.push((name, vec![refused])),
            }
        }
        put_count(to, topics.len());
        for (name, partitions) in topics {
            put_text(to, &name);
            put_count(to, partitions.len());
            for (index, code, offset, appended) in partitions {
                to.put_i32(index);
                to.put_i16(code);
                to.put_i64(offset);
                to.put_i64(appended);
            }
        }
        to.put_i32(throttle);
        Ok(())
    }
}

fn produce_request(from: &mut Reader, to: &mut BytesMut, sent: &mut Sent) -> Result<(), WireError> {
    // Transactional ids are younger.
    from.nullable_text()?;
    // The acks and the time to wait for them.
    to.put_slice(&from.take(6)?);
    let magic = if sent.version >= 2 { 1 } else { 0 };
    let topics = from.count()?;
    put_count(to, topics);
    for _ in 0..topics {
        let name = from.text()?;
        put_text(to, &name);
        let mut partitions = Vec::new();
        for _ in 0..from.count()? {
            let (index, batch) = (from.i32()?, from.blob()?);
            match message_set::from_batch(batch, magic) {
                Ok(set) => partitions.push((index, set)),
                Err(code) => sent.refused.push((name.clone(), index, code)),
            }
        }
        put_count(to, partitions.len());
        for (index, set) in partitions {
            to.put_i32(index);
            put_count(to, set.len());
            to.put_slice(&set);
        }
    }
    Ok(())
}

fn fetch_request(from: &mut Reader, to: &mut BytesMut, version: i16) -> Result<(), WireError> {
    // Replica id, the longest wait, the least bytes.
    to.put_slice(&from.take(12)?);
    let max_bytes = from.take(4)?;
    if version >= 3 {
        to.put_slice(&max_bytes);
    }
    // The isolation level: there are no transactions.
    from.u8()?;
    to.put_slice(&from.0);
    Ok(())
}

fn fetch_response(from: &mut Reader, to: &mut BytesMut, version: i16) -> Result<(), WireError> {
    to.put_i32(if version >= 1 { from.i32()? } else { 0 });
    each_partition(from, to, |from, to| {
        // Index and error code.
        to.put_slice(&from.take(6)?);
        let high_watermark = from.i64()?;
        to.put_i64(high_watermark);
        // Everything is stable, and nothing aborted.
        to.put_i64(high_watermark);
        to.put_i32(-1);
        let records = from.blob()?;
        put_count(to, records.len());
        to.put_slice(&records);
        Ok(())
    })
}

fn list_offsets_request(from: &mut Reader, to: &mut BytesMut) -> Result<(), WireError> {
    // The replica id.
    to.put_slice(&from.take(4)?);
    each_partition(from, to, |from, to| {
        // Index and time.
        to.put_slice(&from.take(12)?);
        // One offset.
        to.put_i32(1);
        Ok(())
    })
}

fn list_offsets_response(from: &mut Reader, to: &mut BytesMut) -> Result<(), WireError> {
    each_partition(from, to, |from, to| {
        // Index and error code.
        to.put_slice(&from.take(6)?);
        let mut found = -1;
        for n in 0..from.count()? {
            let offset = from.i64()?;
            if n == 0 {
                found = offset;
            }
        }
        // The time of the message is not told.
        to.put_i64(-1);
        to.put_i64(found);
        Ok(())
    })
}

fn create_topics_response(
    from: &mut Reader,
    to: &mut BytesMut,
    version: i16,
) -> Result<(), WireError> {
    if version >= 1 {
        to.put_slice(&from.0);
        return Ok(());
    }
    let topics = from.count()?;
    put_count(to, topics);
    for _ in 0..topics {
        put_text(to, &from.text()?);
        to.put_i16(from.i16()?);
        // No words along with the code.
        to.put_i16(-1);
    }
    Ok(())
}

/// Copies topics and their partitions; `partition` rewrites one of them.
fn each_partition(
    from: &mut Reader,
    to: &mut BytesMut,
    partition: impl Fn(&mut Reader, &mut BytesMut) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let topics = from.count()?;
    put_count(to, topics);
    for _ in 0..topics {
        put_text(to, &from.text()?);
        let partitions = from.count()?;
        put_count(to, partitions);
        for _ in 0..partitions {
            partition(from, to)?;
        }
    }
    Ok(())
}

fn put_count(to: &mut BytesMut, count: usize) {
    // What was read had it in as many bits.
    to.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
}

fn put_text(to: &mut BytesMut, text: &[u8]) {
    to.put_i16(i16::try_from(text.len()).unwrap_or(i16::MAX));
    to.put_slice(text);
}

/// Reads what may be cut off anywhere.
struct Reader(Bytes);

fn cut<T>(_: T) -> WireError {
    WireError::Malformed("a message of an old version is cut off".into())
}

impl Reader {
    fn take(&mut self, len: usize) -> Result<Bytes, WireError> {
        match len <= self.0.len() {
            true => Ok(self.0.split_to(len)),
            false => Err(cut(())),
        }
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        self.0.try_get_u8().map_err(cut)
    }

    fn i16(&mut self) -> Result<i16, WireError> {
        self.0.try_get_i16().map_err(cut)
    }

    fn i32(&mut self) -> Result<i32, WireError> {
        self.0.try_get_i32().map_err(cut)
    }

    fn i64(&mut self) -> Result<i64, WireError> {
        self.0.try_get_i64().map_err(cut)
    }

    /// The length of an array or of bytes; null counts as none.
    fn count(&mut self) -> Result<usize, WireError> {
        let count = usize::try_from(self.i32()?.max(0)).map_err(cut)?;
        // Every element has a byte at least.
        match count <= self.0.len() {
            true => Ok(count),
            false => Err(cut(())),
        }
    }

    fn blob(&mut self) -> Result<Bytes, WireError> {
        let len = self.count()?;
        self.take(len)
    }

    fn text(&mut self) -> Result<Bytes, WireError> {
        self.nullable_text()?.ok_or_else(|| cut(()))
    }

    fn nullable_text(&mut self) -> Result<Option<Bytes>, WireError> {
        match usize::try_from(self.i16()?) {
            Ok(len) => self.take(len).map(Some),
            Err(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
