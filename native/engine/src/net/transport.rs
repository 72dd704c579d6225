//! Streams to brokers: names resolved, sockets opened, TLS on top where it is asked for.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::race::{Race, Step};
use super::{lookup, Endpoint, NetError, Resolver, SocketOptions};

/// A connection that has been silent for so long is probed.
const SILENCE: Duration = Duration::from_secs(60);

/// What is not answered is probed again after so long.
const PROBE_AGAIN: Duration = Duration::from_secs(10);

/// The addresses of a host, as they are now. A name that is an address is not looked up.
pub(super) async fn resolve(
    endpoint: &Endpoint,
    resolver: &Resolver,
) -> Result<Vec<SocketAddr>, NetError> {
    if let Ok(address) = endpoint.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, endpoint.port)]);
    }
    lookup::look_up(endpoint, resolver).await
}

/// The first of the addresses that takes the connection. Those that have refused are taken out of
/// `addresses`, and so is the one that is connected to.
pub(super) async fn connect(
    addresses: &mut Vec<SocketAddr>,
    options: &SocketOptions,
) -> Result<TcpStream, NetError> {
    let mut race = Race::new(addresses, Instant::now());
    let mut attempts = JoinSet::new();
    let mut last = NetError::HostNotFound;
    loop {
        let until = match race.step(Instant::now()) {
            Step::Start(address) => {
                let options = options.clone();
                attempts.spawn(async move { (address, connect_one(address, &options).await) });
                continue;
            }
            Step::Wait(until) => until,
            Step::Lost => return Err(last),
        };
        let ended = tokio::select! {
            Some(ended) = attempts.join_next() => ended,
            _ = sleep_until(until) => continue,
        };
        // A task that panicked counts as one that failed.
        let Ok((address, result)) = ended else {
            race.failed(Instant::now());
            continue;
        };
        addresses.retain(|other| *other != address);
        match result {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                race.failed(Instant::now());
                last = error.into();
            }
        }
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

async fn connect_one(address: SocketAddr, options: &SocketOptions) -> std::io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(options.nodelay)?;
    let raw = socket2::SockRef::from(&socket);
    if options.keepalive {
        raw.set_tcp_keepalive(&probes())?;
    }
    // Before connecting: the window is agreed on in the first packets.
    if let Some(size) = options.send_buffer {
        raw.set_send_buffer_size(size)?;
    }
    if let Some(size) = options.receive_buffer {
        raw.set_recv_buffer_size(size)?;
    }
    if let Some(linger) = options.linger {
        raw.set_linger(Some(linger))?;
    }
    if let Some(tos) = options.tos {
        match address {
            SocketAddr::V4(_) => raw.set_tos_v4(tos)?,
            SocketAddr::V6(_) => set_traffic_class(&raw, tos)?,
        }
    }
    if let Some(device) = &options.bind_to_device {
        bind_to_device(&raw, device)?;
    }
    if let Some(local) = options.local_address {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    socket.connect(address).await
}

/// What passes connections on (load balancers, NAT) forgets those that are silent for some minutes, and tells nobody: what is
/// sent next goes nowhere. The system's two hours are too late for that.
fn probes() -> socket2::TcpKeepalive {
    let probes = socket2::TcpKeepalive::new().with_time(SILENCE);
    #[cfg(any(target_os = "linux", target_os = "macos", windows))]
    let probes = probes.with_interval(PROBE_AGAIN);
    probes
}

#[cfg(unix)]
fn set_traffic_class(socket: &socket2::Socket, class: u32) -> std::io::Result<()> {
    socket.set_tclass_v6(class)
}

#[cfg(not(unix))]
fn set_traffic_class(_: &socket2::Socket, _: u32) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn bind_to_device(socket: &socket2::Socket, device: &str) -> std::io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

#[cfg(not(target_os = "linux"))]
fn bind_to_device(_: &socket2::Socket, _: &str) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silent_connections_are_probed_unless_told_otherwise() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        for keepalive in [true, false] {
            let options = SocketOptions {
                keepalive,
                ..SocketOptions::default()
            };
            let stream = connect_one(address, &options).await.unwrap();
            let raw = socket2::SockRef::from(&stream);
            assert_eq!(raw.keepalive().unwrap(), keepalive);
            let silence = raw.tcp_keepalive_time().unwrap();
            assert_eq!(silence == SILENCE, keepalive);
        }
    }
}
