//! Hands what was fetched to the subscriber, as far as its window has room.

use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::Instant;

use super::PartitionDriver;
use crate::consumer::completed_fetch::{CompletedFetch, End};
use crate::consumer::routing::{Delivery, DeliveryEnd};
use crate::consumer::sink::{DecodedBatch, Delivered, MessageSet, Sink};

impl PartitionDriver {
    /// Hands on what there is room for, to the one who had subscribed when it came.
    pub(super) fn deliver(self: &Arc<Self>, mut delivery: Delivery, sink: Option<Arc<dyn Sink>>) {
        let generation = delivery.generation;
        let hand_on = || match &sink {
            Some(sink) => self.hand_on_all(&**sink, &mut delivery),
            None => Some(DeliveryEnd::End(End::Done)),
        };
        let end = catch_unwind(AssertUnwindSafe(hand_on))
            .unwrap_or(Some(DeliveryEnd::Panic))
            .unwrap_or_else(|| self.full(delivery.fetched));
        let now = Instant::now();
        self.event(|routing| routing.delivery_ends(generation, end, now));
        self.delivery_ended.notify_waiters();
    }

    /// Waits for the end of a delivery that is under way, if there is one.
    pub(in crate::consumer) async fn quiet(&self) {
        loop {
            let mut ended = std::pin::pin!(self.delivery_ended.notified());
            ended.as_mut().enable();
            if !self.state.lock().routing.subscription().is_delivering() {
                return;
            }
            ended.await;
        }
    }

    /// The rest waits for room, or is fetched again.
    fn full(&self, mut rest: CompletedFetch) -> DeliveryEnd {
        self.stats.pauses.count();
        match rest.may_wait(&self.environment.held) {
            true => DeliveryEnd::Full(Box::new(rest)),
            false => DeliveryEnd::End(End::Done),
        }
    }

    /// None: the window is full.
    fn hand_on_all(
        self: &Arc<Self>,
        sink: &dyn Sink,
        delivery: &mut Delivery,
    ) -> Option<DeliveryEnd> {
        while let Some(room) = self.room() {
            let (set, end) = delivery.fetched.take(room);
            let stop = self.hand_on(sink, delivery, set);
            if let Some(end) = stop.or(end) {
                return Some(DeliveryEnd::End(end));
            }
        }
        None
    }

    fn room(&self) -> Option<usize> {
        self.state.lock().routing.room()
    }

    /// Some: nothing more is to be handed on.
    fn hand_on(
        self: &Arc<Self>,
        sink: &dyn Sink,
        delivery: &Delivery,
        set: Vec<DecodedBatch>,
    ) -> Option<End> {
        let mut delivered = Delivered::new();
        if !set.is_empty() {
            delivered = sink.deliver(MessageSet {
                generation: delivery.generation,
                topic: self.topic.clone(),
                partition: self.partition,
                high_watermark: delivery.high_watermark,
                batches: set,
                memory: delivery.fetched.memory().clone(),
            });
        }
        self.stats.records.add(delivered.count.max(0) as u64);
        self.stats.bytes.add(delivered.bytes.max(0) as u64);
        let failed = delivered.failed.take();
        let (mut position, epoch) = delivery.fetched.reached();
        if failed.is_some() {
            position = delivered.last_offset().map_or(0, |last| last + 1);
        }
        let generation = delivery.generation;
        let is_present =
            self.event(|routing| routing.delivered(generation, delivered, (position, epoch)));
        match failed {
            Some(error) => Some(End::Unreadable(error)),
            None => (!is_present).then_some(End::Done),
        }
    }
}
