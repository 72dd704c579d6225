//! A leader that takes batches and does not answer.

use super::*;
use broker::State;

/// Two brokers, of which the first leads and holds a batch.
struct Holding {
    brokers: [Arc<Broker>; 2],
    _cluster: Arc<Cluster>,
    producer: Producer,
}

impl Holding {
    async fn since(leader_epoch: i32) -> Holding {
        let brokers = [Broker::start_as(1).await, Broker::start_as(2).await];
        let [first, second] = &brokers;
        let both = vec![(1, first.port), (2, second.port)];
        for broker in &brokers {
            broker
                .change(|state| (state.brokers, state.leader_epoch) = (both.clone(), leader_epoch));
        }
        first.change(|state| state.held = Some(0));
        let (cluster, producer) = Producer::start(first, Duration::from_millis(10)).await;
        producer.send("a");
        until("held", || first.change(|state| state.is_holding)).await;
        Holding {
            brokers,
            _cluster: cluster,
            producer,
        }
    }

    fn change(&self, change: impl Fn(&mut State)) {
        self.brokers
            .iter()
            .for_each(|broker| broker.change(&change));
    }

    fn asked(&self) -> u32 {
        self.brokers.iter().map(|b| b.change(|s| s.asked)).sum()
    }

    fn values(&self) -> [Vec<String>; 2] {
        [0, 1].map(|at| self.brokers[at].change(|state| state.values.clone()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hanging_broker_has_goes_to_the_next_leader_as_soon_as_there_is_one() {
    let mut holding = Holding::since(0).await;
    holding.change(|state| (state.leader, state.leader_epoch) = (Some(2), 1));
    // An answer is waited for twice as long as this test waits.
    assert_eq!(holding.producer.result().await, Ok(0));
    assert_eq!(holding.values(), [vec![], vec!["a".to_owned()]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_epochs_are_unknown_a_leader_is_replaced_that_no_metadata_names_any_more() {
    let mut holding = Holding::since(-1).await;
    let second = (2, holding.brokers[1].port);
    holding.change(|state| (state.leader, state.brokers) = (Some(2), vec![second]));
    assert_eq!(holding.producer.result().await, Ok(0));
    assert_eq!(holding.values(), [vec![], vec!["a".to_owned()]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_broker_is_waited_for_where_another_one_leads_without_an_election() {
    for epoch in [0, -1] {
        let mut holding = Holding::since(epoch).await;
        holding.change(|state| state.leader = Some(2));
        let asked = holding.asked();
        // Once each second while the broker is late.
        until("looked", || holding.asked() >= asked + 3).await;
        holding.change(|state| state.held = None);
        assert_eq!(holding.producer.result().await, Ok(0));
        assert_eq!(
            holding.values(),
            [vec!["a".to_owned()], vec![]],
            "epoch {epoch}"
        );
    }
}

/// A producer whose answers may take a twentieth of the time that a test waits, though brokers may take `ack_timeout`.
async fn impatient(broker: &Broker, max_retries: i32) -> (Arc<Cluster>, Producer) {
    let cluster = ClusterConfig {
        request_timeout: LIMIT / 20,
        ..ClusterConfig::default()
    };
    let config = ProducerConfig {
        max_retries,
        retry_backoff: Duration::from_millis(10),
        idempotence: Idempotence::Off,
        ..ProducerConfig::default()
    };
    let (cluster, [producer]) = Producer::start_with(broker, cluster, config, [0]).await;
    (cluster, producer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_not_answered_within_request_timeout_is_sent_again() {
    let broker = Broker::start_as(1).await;
    broker.change(|state| state.held = Some(0));
    let (_cluster, mut producer) = impatient(&broker, -1).await;
    producer.send("a");
    until("sent again", || broker.change(|state| state.arrived >= 2)).await;
    broker.change(|state| state.held = None);
    assert!(producer.result().await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_never_answered_within_request_timeout_uses_up_its_retries() {
    let broker = Broker::start_as(1).await;
    broker.change(|state| state.held = Some(0));
    let (_cluster, mut producer) = impatient(&broker, 2).await;
    producer.send("a");
    let why = Failure::RetriesUsedUp(Cause::Net(NetError::Timeout));
    assert_eq!(producer.result().await, Err(why));
}
