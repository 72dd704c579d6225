//! A leader that takes batches and does not answer.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hanging_broker_has_goes_to_the_next_leader_as_soon_as_there_is_one() {
    let (first, second) = (Broker::start_as(1).await, Broker::start_as(2).await);
    let brokers = vec![(1, first.port), (2, second.port)];
    first.change(|state| state.brokers = brokers.clone());
    second.change(|state| state.brokers = brokers);
    first.change(|state| state.held = Some(0));
    let (_cluster, mut producer) = Producer::start(&first, Duration::from_millis(10)).await;
    producer.send("a");
    until("held", || first.change(|state| state.is_holding)).await;
    for broker in [&first, &second] {
        broker.change(|state| (state.leader, state.leader_epoch) = (Some(2), 1));
    }
    // An answer is waited for twice as long as this test waits.
    assert_eq!(producer.result().await, Ok(0));
    assert_eq!(second.change(|state| state.values.clone()), ["a"]);
}
