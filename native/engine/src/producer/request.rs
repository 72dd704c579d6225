//! What goes into one Produce request: which batches go together, how many fit, and their form on the wire.

use super::acks::Replies;
use super::config::ProducerConfig;
use super::lane::Item;
use super::partition::Partition;
use super::size_limit::SizeLimit;
use brod_protocol::body::Body;
use brod_protocol::compress::Codec;

/// Batches that are compressed are gathered for as many requests as would hold them uncompressed.
const REQUESTS_OF_COMPRESSED: usize = 4;

/// What surrounds a batch in a request, beside its topic's name.
pub(super) const AROUND_BATCH: usize = 64;

/// Compressing so many bytes takes less time than to hand the worker's other tasks over.
const COMPRESSED_IN_PASSING: usize = 64 * 1024;

/// How many bytes of batches are gathered at once.
pub(super) fn gathered(config: &ProducerConfig, limit: &SizeLimit) -> usize {
    let limit = limit.at_most(config.max_request_size);
    match config.codec {
        Codec::None => limit,
        _ => limit.saturating_mul(REQUESTS_OF_COMPRESSED),
    }
}

/// How many batches go in one request; at least one.
pub(super) fn fitting<R: Replies>(items: &[Item<R>], batches: &[Body], limit: usize) -> usize {
    let mut left = limit;
    let sizes = items.iter().zip(batches);
    let sizes =
        sizes.map(|(item, batch)| batch.len() + AROUND_BATCH + item.partition.topic().len());
    let fit = sizes.take_while(|size| match left.checked_sub(*size) {
        Some(less) => {
            left = less;
            true
        }
        None => false,
    });
    fit.count().max(1)
}

/// Brings the batches into wire form. What cannot be is failed and taken out.
pub(super) fn seal<R: Replies>(items: &mut Vec<Item<R>>) -> Vec<Body> {
    let to_compress = items
        .iter()
        .filter(|item| item.partition.config().codec != Codec::None)
        .map(|item| item.batch.bytes())
        .sum::<usize>();
    let mut seal_all = || {
        let mut batches = Vec::with_capacity(items.len());
        let mut kept = Vec::with_capacity(items.len());
        for mut item in items.drain(..) {
            let config = item.partition.config();
            match item.batch.seal(
                config.codec,
                config.compression_level,
                config.transaction.is_some(),
            ) {
                Ok(bytes) => {
                    batches.push(bytes);
                    kept.push(item);
                }
                Err(why) => {
                    let Item {
                        partition, batch, ..
                    } = item;
                    partition.event(|buffer, _| Some(buffer.not_encodable(batch, why)));
                }
            }
        }
        *items = kept;
        batches
    };
    if to_compress > COMPRESSED_IN_PASSING {
        // It takes milliseconds: other tasks of this worker go on elsewhere.
        tokio::task::block_in_place(seal_all)
    } else {
        seal_all()
    }
}

/// A request has one acks setting, one timeout, one transaction and one version for all its partitions.
pub(super) fn goes_with<R: Replies>(a: &Partition<R>, b: &Partition<R>) -> bool {
    let (a, b) = (a.config(), b.config());
    a.required_acks == b.required_acks
        && a.ack_timeout == b.ack_timeout
        && a.transactional_id() == b.transactional_id()
        && a.produce_version == b.produce_version
}
