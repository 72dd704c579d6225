//! A broker far away has several requests on the wire.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::broker::Broker;
use crate::{until, Producer};

/// Brings what it reads there some time later, and only while the road is open.
async fn travel(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin,
    time: Duration,
    mut open: watch::Receiver<bool>,
) -> Option<()> {
    let (departures, mut arrivals) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            let _ = departures.send((Instant::now() + time, bytes[..count].to_vec()));
        }
    });
    while let Some((at, bytes)) = arrivals.recv().await {
        tokio::time::sleep_until(at.into()).await;
        open.wait_for(|open| *open).await.ok()?;
        to.write_all(&bytes).await.ok()?;
    }
    Some(())
}

/// A way to the broker that takes this long in each direction. The way back can be closed.
async fn road_to(port: u16, time: Duration) -> (u16, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().port();
    let (back, back_open) = watch::channel(true);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let (_, always) = watch::channel(true);
            tokio::spawn(travel(near_in, far_out, time, always));
            tokio::spawn(travel(far_in, near_out, time, back_open.clone()));
        }
    });
    (here, back)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_requests_are_on_their_way_to_a_broker_far_away() {
    let broker = Broker::start_as(1).await;
    let (port, way_back) = road_to(broker.port, Duration::from_millis(10)).await;
    broker.change(|state| state.brokers = vec![(1, port)]);
    let (_cluster, mut producers) =
        Producer::start_all(&broker, Duration::from_secs(60), [0, 1, 2, 3, 4, 5, 6, 7]).await;
    producers[0].send("first");
    assert_eq!(producers[0].result().await, Ok(0));
    way_back.send(false).unwrap();
    for (producer, stored) in producers[..5].iter().zip(2..) {
        producer.send("a");
        until("a request arrives", || {
            broker.change(|state| state.values.len() == stored)
        })
        .await;
    }
    for producer in &producers[5..] {
        producer.send("a");
    }
    way_back.send(true).unwrap();
    for producer in &mut producers {
        assert!(producer.result().await.is_ok());
    }
    // The first, five, and one with all that came behind them.
    assert_eq!(broker.change(|state| state.requests), 7);
}
