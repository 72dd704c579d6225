//! Topics of many partitions are written over two connections to a broker.

use std::time::Duration;

use crate::broker::Broker;
use crate::{until, Producer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_not_answered_holds_up_its_own_lane_alone() {
    let broker = Broker::start_as(1).await;
    let partitions = [0, 1, 64];
    let (_cluster, [mut held, mut beside, mut other]) =
        Producer::start_all(&broker, Duration::from_secs(60), partitions).await;
    broker.change(|state| state.held = Some(0));
    held.send("held");
    until("held", || broker.change(|state| state.is_holding)).await;
    beside.send("beside");
    for offset in 0..20 {
        other.send("other");
        assert_eq!(other.result().await, Ok(offset));
    }
    assert!(held.results.try_recv().is_err());
    broker.change(|state| state.held = None);
    assert!(held.result().await.is_ok() && beside.result().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_whose_connection_breaks_is_connected_again() {
    let broker = Broker::start_as(1).await;
    let (_cluster, producers) =
        Producer::start_all(&broker, Duration::from_millis(10), [64, 0, 64]).await;
    for (offset, mut producer) in (0..).zip(producers) {
        broker.change(|state| state.hang_up = true);
        producer.send("a");
        assert_eq!(producer.result().await, Ok(offset));
    }
}
