//! What TLS and SCRAM cost the client's thread, in CPU time, so that a busy machine matters little. Run by hand:
//! `cargo test --release -p brod_engine --lib costs -- --ignored --nocapture --test-threads 1` (docs/adr/0012).

use std::io::Write;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Sha256, Sha512};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::*;

const HANDSHAKES: u32 = 300;
const MIB: usize = 1024 * 1024;
const BULK: usize = 1000 * MIB;

/// CPU time that this thread has had.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// A server of TLS 1.3 that sends so many bytes over each connection and then waits for its end.
fn server(bytes: usize) -> (Endpoint, Vec<u8>) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let root = certificate.to_vec();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let chunk = vec![7; MIB];
        for socket in listener.incoming().map_while(Result::ok) {
            let session = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(session, socket);
            for _ in 0..bytes.div_ceil(MIB) {
                if stream.write_all(&chunk).is_err() {
                    break;
                }
            }
            let _ = std::io::Read::read(&mut stream, &mut [0; 1]);
        }
    });
    let host = "localhost".into();
    (Endpoint { host, port }, root)
}

fn trusting(root: Vec<u8>, no_resumption: bool, cipher: &str) -> Arc<Tls> {
    Tls::new(TlsOptions {
        roots: Roots::Der(vec![root]),
        no_resumption,
        ciphers: vec![cipher.to_owned()],
        ..TlsOptions::default()
    })
    .unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn open(tls: &Arc<Tls>, endpoint: &Endpoint) -> Stream {
    let socket = TcpStream::connect(("127.0.0.1", endpoint.port))
        .await
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    tls.connect(socket, endpoint, until).await.unwrap()
}

#[test]
#[ignore = "measures"]
fn a_handshake_of_tls_1_3() {
    for no_resumption in [true, false] {
        let (endpoint, root) = server(0);
        let tls = trusting(root, no_resumption, "TLS_AES_256_GCM_SHA384");
        runtime().block_on(async {
            let begin = cpu();
            for _ in 0..HANDSHAKES {
                let mut stream = open(&tls, &endpoint).await;
                tokio::io::AsyncWriteExt::write_all(&mut stream, b"x")
                    .await
                    .unwrap();
                // Tickets come after the handshake.
                let _ = stream.read(&mut [0; 1]).await;
            }
            let each = (cpu() - begin) / HANDSHAKES;
            println!("handshake, resumption {}: {each:?}", !no_resumption);
            assert!(each < Duration::from_millis(2));
        });
    }
}

#[test]
#[ignore = "measures"]
fn the_keys_of_scram() {
    let derive = |hash: &str, derive: &dyn Fn()| {
        let begin = cpu();
        (0..100).for_each(|_| derive());
        let each = (cpu() - begin) / 100;
        println!("PBKDF2, 4,096 iterations, {hash}: {each:?}");
        assert!(each < Duration::from_millis(5));
    };
    derive("SHA-256", &|| {
        std::hint::black_box(pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(
            b"password",
            b"salt",
            4096,
        ));
    });
    derive("SHA-512", &|| {
        std::hint::black_box(pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(
            b"password",
            b"salt",
            4096,
        ));
    });
}

async fn receive(mut stream: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; MIB];
    let mut left = BULK;
    while left > 0 {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0);
        left = left.saturating_sub(read);
    }
}

#[test]
#[ignore = "measures"]
fn what_is_received_with_and_without_answering() {
    for cipher in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"] {
        let (endpoint, root) = server(BULK);
        let tls = trusting(root, true, cipher);
        for round in 0..3 {
            for answering in [false, true] {
                let took = runtime().block_on(async {
                    let stream = open(&tls, &endpoint).await;
                    let begin = cpu();
                    if answering {
                        receive(Answering(stream)).await;
                    } else {
                        receive(stream).await;
                    }
                    cpu() - begin
                });
                println!(
                    "{cipher}, round {round}, answering {answering}: 1,000 MiB in {took:?} of CPU"
                );
            }
        }
    }
}
