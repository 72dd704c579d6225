//! TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brod_engine::net::tls::{
    CertificateFiles, FileFault, Identity, IdentitySource, KeyDer, KeyKind, Roots, ServerName, Tls,
    TlsError, TlsOptions, TlsVersion,
};
use brod_engine::net::{ConnectOptions, Connection, Endpoint, NetError};
use rustls::version::{TLS12, TLS13};
use rustls::SupportedProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::authority::{self_signed, server, Authority, Certified};
use crate::broker::{listen, listen_tls, tls};
use crate::{ask, options};

const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

fn trusting(authority: &Authority) -> TlsOptions {
    TlsOptions {
        roots: Roots::Der(vec![authority.certificate.to_vec()]),
        ..TlsOptions::default()
    }
}

fn with(tls: TlsOptions) -> ConnectOptions {
    ConnectOptions {
        tls: Some(Tls::new(tls).unwrap()),
        ..options()
    }
}

/// Connects and asks for metadata.
async fn try_tls(endpoint: &Endpoint, tls: TlsOptions) -> Result<usize, NetError> {
    let connection = Connection::open(endpoint, &with(tls)).await?;
    ask(&connection).await
}

async fn tls_error(endpoint: &Endpoint, tls: TlsOptions) -> TlsError {
    match try_tls(endpoint, tls).await {
        Err(NetError::Tls(error)) => error,
        other => panic!("no error of TLS: {other:?}"),
    }
}

fn ip(endpoint: &Endpoint) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port: endpoint.port,
    }
}

#[tokio::test]
async fn a_broker_that_a_trusted_authority_vouches_for_is_let_in_by_name_and_by_address() {
    let authority = Authority::new("ca");
    let certified = authority.sign(server(&["localhost", "127.0.0.1"]));
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let endpoint = listen_tls(tls(&certified, None, versions)).await;
        for endpoint in [endpoint.clone(), ip(&endpoint)] {
            assert_eq!(try_tls(&endpoint, trusting(&authority)).await, Ok(1));
        }
    }
}

#[tokio::test]
async fn a_broker_of_a_foreign_authority_is_not() {
    let certified = Authority::new("theirs").sign(server(&["localhost"]));
    let endpoint = listen_tls(tls(&certified, None, BOTH)).await;
    let ours = trusting(&Authority::new("ours"));
    assert_eq!(tls_error(&endpoint, ours).await, TlsError::UnknownCa);
}

#[tokio::test]
async fn a_broker_that_vouches_for_itself_is_let_in_only_when_it_is_named_as_trusted() {
    let mut authority_itself = server(&["localhost"]);
    authority_itself.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    for params in [server(&["localhost"]), authority_itself] {
        let certified = self_signed(params);
        let endpoint = listen_tls(tls(&certified, None, BOTH)).await;
        let ours = trusting(&Authority::new("ours"));
        assert_eq!(tls_error(&endpoint, ours).await, TlsError::UnknownCa);
        let itself = TlsOptions {
            roots: Roots::Der(vec![certified.chain[0].to_vec()]),
            ..TlsOptions::default()
        };
        assert_eq!(try_tls(&endpoint, itself).await, Ok(1));
    }
}

#[tokio::test]
async fn an_expired_certificate_is_told_as_such_and_so_is_one_that_is_not_valid_yet() {
    let authority = Authority::new("ca");
    let mut expired = server(&["localhost"]);
    expired.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let mut early = server(&["localhost"]);
    early.not_before = rcgen::date_time_ymd(3001, 1, 1);
    for (params, error) in [(expired, TlsError::Expired), (early, TlsError::NotYetValid)] {
        let endpoint = listen_tls(tls(&authority.sign(params), None, BOTH)).await;
        assert_eq!(tls_error(&endpoint, trusting(&authority)).await, error);
    }
}

#[tokio::test]
async fn a_certificate_for_others_is_told_with_whom_it_is_for() {
    let authority = Authority::new("ca");
    let certified = authority.sign(server(&["kafka.example.com"]));
    let endpoint = listen_tls(tls(&certified, None, BOTH)).await;
    let error = tls_error(&endpoint, trusting(&authority)).await;
    let TlsError::WrongName { wanted, found } = &error else {
        panic!("{error}");
    };
    assert_eq!(wanted, "localhost");
    assert!(found[0].contains("kafka.example.com"), "{found:?}");
    let by_address = tls_error(&ip(&endpoint), trusting(&authority)).await;
    assert!(
        matches!(by_address, TlsError::WrongName { .. }),
        "{by_address}"
    );
}

#[tokio::test]
async fn the_name_to_check_can_be_given_or_not_be_checked() {
    let authority = Authority::new("ca");
    let certified = authority.sign(server(&["*.example.com"]));
    let endpoint = listen_tls(tls(&certified, None, BOTH)).await;
    let named = |server_name| TlsOptions {
        server_name,
        ..trusting(&authority)
    };
    let fits = ServerName::Name("b1.example.com".into());
    assert_eq!(try_tls(&endpoint, named(fits)).await, Ok(1));
    assert_eq!(try_tls(&endpoint, named(ServerName::Disabled)).await, Ok(1));
    // A star covers one label.
    let deeper = ServerName::Name("b1.eu.example.com".into());
    let error = tls_error(&endpoint, named(deeper)).await;
    assert!(matches!(error, TlsError::WrongName { .. }), "{error}");
    // The chain is checked all the same.
    let foreign = TlsOptions {
        server_name: ServerName::Disabled,
        ..trusting(&Authority::new("ours"))
    };
    assert_eq!(tls_error(&endpoint, foreign).await, TlsError::UnknownCa);
}

#[tokio::test]
async fn nothing_is_checked_where_nothing_is_to_be() {
    let mut params = server(&["elsewhere"]);
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let endpoint = listen_tls(tls(&self_signed(params), None, BOTH)).await;
    let unchecked = TlsOptions {
        verify_none: true,
        ..TlsOptions::default()
    };
    assert_eq!(try_tls(&endpoint, unchecked).await, Ok(1));
}

#[tokio::test]
async fn no_more_authorities_stand_between_than_depth_allows() {
    let root = Authority::new("root");
    let intermediate = root.intermediate("between");
    let mut certified = intermediate.sign(server(&["localhost"]));
    certified.chain.push(intermediate.certificate.clone());
    let endpoint = listen_tls(tls(&certified, None, BOTH)).await;
    let deep = |depth| TlsOptions {
        depth: Some(depth),
        ..trusting(&root)
    };
    assert_eq!(try_tls(&endpoint, deep(1)).await, Ok(1));
    assert_eq!(tls_error(&endpoint, deep(0)).await, TlsError::ChainTooLong);
}

#[tokio::test]
async fn versions_and_ciphers_are_offered_as_told() {
    let authority = Authority::new("ca");
    let certified = authority.sign(server(&["localhost"]));
    let old = listen_tls(tls(&certified, None, &[&TLS12])).await;
    let only_new = TlsOptions {
        versions: vec![TlsVersion::V1_3],
        ..trusting(&authority)
    };
    let error = tls_error(&old, only_new).await;
    let refused = TlsError::PeerAlert {
        alert: "protocol_version",
        established: false,
    };
    assert_eq!(error, refused);
    let suite = |name: &str| TlsOptions {
        ciphers: vec![name.into()],
        ..trusting(&authority)
    };
    let fits = suite("ECDHE-ECDSA-AES256-GCM-SHA384");
    assert_eq!(try_tls(&old, fits).await, Ok(1));
    let error = tls_error(&old, suite("ECDHE-RSA-AES256-GCM-SHA384")).await;
    let refused = TlsError::PeerAlert {
        alert: "handshake_failure",
        established: false,
    };
    assert_eq!(error, refused);
    let unknown = Tls::new(suite("NULL-MD5")).unwrap_err();
    assert!(
        matches!(&unknown, TlsError::Option { option: "ciphers", why } if why.contains("NULL-MD5")),
        "{unknown}"
    );
}

fn presenting(authority: &Authority, client: &Certified) -> TlsOptions {
    let identity = Identity {
        source: IdentitySource::Der {
            certificates: client.chain.iter().map(|der| der.to_vec()).collect(),
            key: KeyDer {
                kind: KeyKind::Pkcs8,
                der: client.key.serialize_der().into(),
            },
        },
        password: None,
    };
    TlsOptions {
        identities: vec![identity],
        ..trusting(authority)
    }
}

#[tokio::test]
async fn a_client_proves_who_it_is() {
    let authority = Authority::new("ca");
    let certified = authority.sign(server(&["localhost"]));
    let client = authority.sign(server(&[]));
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let endpoint = listen_tls(tls(&certified, Some(&authority), versions)).await;
        assert_eq!(
            try_tls(&endpoint, presenting(&authority, &client)).await,
            Ok(1)
        );
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_learns_what_the_broker_says_to_that() {
    let authority = Authority::new("ca");
    let certified = authority.sign(server(&["localhost"]));
    for (versions, established) in [(&[&TLS12][..], false), (&[&TLS13], true)] {
        let endpoint = listen_tls(tls(&certified, Some(&authority), versions)).await;
        let error = try_tls(&endpoint, trusting(&authority)).await.unwrap_err();
        let alert = NetError::Tls(TlsError::PeerAlert {
            alert: "certificate_required",
            established,
        });
        let expected = match established {
            false => alert,
            true => NetError::NotAnswered {
                api: "api_versions",
                cause: Box::new(alert),
            },
        };
        assert_eq!(error, expected);
    }
}

#[tokio::test]
async fn a_client_in_plaintext_at_a_tls_port_learns_that_it_was_not_answered() {
    let certified = Authority::new("ca").sign(server(&["localhost"]));
    let endpoint = listen_tls(tls(&certified, None, BOTH)).await;
    let opened = Connection::open(&endpoint, &options()).await;
    let expected = NetError::NotAnswered {
        api: "api_versions",
        cause: Box::new(NetError::Closed),
    };
    assert_eq!(opened.err(), Some(expected));
}

#[tokio::test]
async fn a_client_in_tls_at_a_plaintext_port_learns_that_it_was_hung_up_on() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint {
        host: "127.0.0.1".into(),
        port: listener.local_addr().unwrap().port(),
    };
    // Kafka takes the client's hello for a length of 369 MB, and hangs up.
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read_u32().await;
        }
    });
    let error = tls_error(&endpoint, trusting(&Authority::new("ours"))).await;
    assert_eq!(error, TlsError::ClosedInHandshake);
}

#[tokio::test]
async fn a_key_that_is_not_the_certificates_is_told_before_anything_is_connected() {
    let authority = Authority::new("ca");
    let mut client = authority.sign(server(&[]));
    client.key = authority.sign(server(&[])).key;
    let error = Tls::new(presenting(&authority, &client)).unwrap_err();
    assert!(
        matches!(&error, TlsError::Option { option: "key", why } if why.contains("not that of")),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_missing_or_empty_is_named_with_its_option() {
    let file = |path: &Path| TlsOptions {
        roots: Roots::File(path.to_owned()),
        ..TlsOptions::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let missing = TlsError::File {
        option: "cacertfile",
        path: path.clone(),
        why: FileFault::Io(std::io::Error::from_raw_os_error(2).into()),
    };
    assert_eq!(Tls::new(file(&path)).unwrap_err(), missing);
    std::fs::write(&path, "nothing of use").unwrap();
    let empty = Tls::new(file(&path)).unwrap_err();
    assert!(empty.to_string().contains("no certificate"), "{empty}");
}

/// Writes a file as its successor: with another size, since a clock may be coarse.
fn write(path: &Path, text: String) {
    let before = std::fs::metadata(path).map_or(0, |meta| meta.len());
    let padding = if text.len() as u64 == before {
        "\n"
    } else {
        ""
    };
    std::fs::write(path, text + padding).unwrap();
}

#[tokio::test]
async fn certificates_that_change_on_disk_are_read_again_and_damaged_ones_are_not_used() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let dir = tempfile::tempdir().unwrap();
    let (ca, cert, key) = (
        dir.path().join("ca.pem"),
        dir.path().join("cert.pem"),
        dir.path().join("key.pem"),
    );
    let write_all = |authority: &Authority| {
        let client = authority.sign(server(&[]));
        write(&ca, authority.pem());
        write(&cert, client.chain_pem());
        write(&key, client.key.serialize_pem());
    };
    write_all(&old);
    let options = with(TlsOptions {
        roots: Roots::File(ca.clone()),
        identities: vec![Identity {
            source: IdentitySource::Files(CertificateFiles {
                certificates: cert.clone(),
                key: key.clone(),
            }),
            password: None,
        }],
        ..TlsOptions::default()
    });
    let broker_of = async |authority: &Authority| {
        let certified = authority.sign(server(&["localhost"]));
        listen_tls(tls(&certified, Some(authority), BOTH)).await
    };
    let (of_old, of_new) = (broker_of(&old).await, broker_of(&new).await);
    let open = async |endpoint| Connection::open(endpoint, &options).await.map(|_| ());
    assert_eq!(open(&of_old).await, Ok(()));
    assert_eq!(open(&of_new).await, Err(NetError::Tls(TlsError::UnknownCa)));
    // Half of a rotation: the key is that of the former certificate.
    write(&cert, new.sign(server(&[])).chain_pem());
    assert_eq!(open(&of_old).await, Ok(()));
    write_all(&new);
    assert_eq!(open(&of_new).await, Ok(()));
    assert_eq!(open(&of_old).await, Err(NetError::Tls(TlsError::UnknownCa)));
    write(&ca, "damaged".into());
    assert_eq!(open(&of_new).await, Ok(()));
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_told_apart_from_one_that_hangs_up() {
    let talks = listen(|mut socket| async move {
        let mut hello = [0; 16];
        let _ = socket.read(&mut hello).await;
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = socket.read(&mut [0; 512]).await;
    })
    .await;
    let hangs_up = listen(|mut socket| async move {
        let _ = socket.read(&mut [0; 16]).await;
    })
    .await;
    let ours = || trusting(&Authority::new("ours"));
    assert_eq!(tls_error(&talks, ours()).await, TlsError::PlaintextPeer);
    assert_eq!(
        tls_error(&hangs_up, ours()).await,
        TlsError::ClosedInHandshake
    );
}

#[tokio::test]
async fn a_peer_that_stalls_in_the_handshake_costs_no_more_than_the_connect_timeout() {
    let stalls =
        listen(|mut socket| async move { while let Ok(1..) = socket.read(&mut [0; 512]).await {} })
            .await;
    let options = ConnectOptions {
        connect_timeout: Duration::from_millis(300),
        ..with(trusting(&Authority::new("ours")))
    };
    let opened = Connection::open(&ip(&stalls), &options).await;
    assert_eq!(opened.err(), Some(NetError::Tls(TlsError::Stalled)));
}

#[tokio::test]
async fn an_alert_in_the_handshake_is_told_by_its_name() {
    let alerts = listen(|mut socket| async move {
        let _ = socket.read(&mut [0; 512]).await;
        // A record of type alert: fatal, access_denied.
        let _ = socket.write_all(&[21, 3, 3, 0, 2, 2, 49]).await;
        let _ = socket.read(&mut [0; 512]).await;
    })
    .await;
    let error = tls_error(&alerts, trusting(&Authority::new("ours"))).await;
    let alert = TlsError::PeerAlert {
        alert: "access_denied",
        established: false,
    };
    assert_eq!(error, alert);
}

/// A broker whose answers pass through `spoil` behind its TLS.
async fn spoiling(
    certified: &Certified,
    spoil: impl Fn(usize) -> Option<usize> + Clone + Send + Sync + 'static,
) -> Endpoint {
    let honest = listen_tls(tls(certified, None, &[&TLS13])).await;
    listen(move |socket| {
        let (honest, spoil) = (ip(&honest), spoil.clone());
        async move {
            let broker = (honest.host.as_str(), honest.port);
            let broker = tokio::net::TcpStream::connect(broker).await.unwrap();
            let (mut from_client, mut to_client) = socket.into_split();
            let (mut from_broker, mut to_broker) = broker.into_split();
            tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_client, &mut to_broker).await;
            });
            let (mut bytes, mut seen) = (vec![0; 16384], 0);
            while let Ok(read @ 1..) = from_broker.read(&mut bytes).await {
                match spoil(seen) {
                    None => {
                        let _ = to_client.write_all(&bytes[..read]).await;
                    }
                    // Changes the last byte.
                    Some(0) => {
                        bytes[read - 1] ^= 1;
                        let _ = to_client.write_all(&bytes[..read]).await;
                    }
                    // Cuts it short and hangs up.
                    Some(cut) => {
                        let _ = to_client.write_all(&bytes[..read - cut]).await;
                        return;
                    }
                }
                seen += 1;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_record_that_is_cut_off_or_changed_ends_the_connection_and_nobody_hangs() {
    let authority = Authority::new("ca");
    let certified = authority.sign(server(&["localhost"]));
    let from = Arc::new(std::sync::atomic::AtomicUsize::new(usize::MAX));
    for (cut, expected) in [(3, NetError::Closed), (0, broken())] {
        let trigger = from.clone();
        let endpoint = spoiling(&certified, move |seen| {
            let at = trigger.load(std::sync::atomic::Ordering::SeqCst);
            (seen >= at).then_some(cut)
        })
        .await;
        from.store(usize::MAX, std::sync::atomic::Ordering::SeqCst);
        let options = with(trusting(&authority));
        let connection = Connection::open(&endpoint, &options).await.unwrap();
        assert_eq!(ask(&connection).await, Ok(1));
        from.store(0, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(kind(ask(&connection).await), kind(Err(expected)));
        assert!(connection.is_closed());
    }
}

fn broken() -> NetError {
    NetError::Tls(TlsError::Broken(String::new()))
}

/// Errors apart from their texts.
fn kind(result: Result<usize, NetError>) -> Result<usize, NetError> {
    result.map_err(|error| match error {
        NetError::Tls(TlsError::Broken(_)) => broken(),
        other => other,
    })
}

#[tokio::test]
async fn sessions_are_resumed_unless_that_is_turned_off() {
    let authority = Authority::new("ca");
    let certified = authority.sign(server(&["localhost"]));
    for versions in [&[&TLS12][..], &[&TLS13]] {
        for no_resumption in [false, true] {
            let acceptor = tls(&certified, None, versions);
            let (resumed, mut seen) = tokio::sync::mpsc::unbounded_channel();
            let endpoint = listen(move |socket| {
                let (acceptor, resumed) = (acceptor.clone(), resumed.clone());
                async move {
                    let stream = acceptor.accept(socket).await.unwrap();
                    let kind = stream.get_ref().1.handshake_kind();
                    let _ = resumed.send(kind == Some(rustls::HandshakeKind::Resumed));
                    let versions = crate::broker::VERSIONS;
                    let answer = crate::broker::answer_metadata;
                    let _ = crate::server::talk(stream, versions, answer).await;
                }
            })
            .await;
            let options = with(TlsOptions {
                no_resumption,
                ..trusting(&authority)
            });
            for expected in [false, !no_resumption] {
                let connection = Connection::open(&endpoint, &options).await.unwrap();
                assert_eq!(ask(&connection).await, Ok(1));
                assert_eq!(seen.recv().await, Some(expected));
            }
        }
    }
}

#[test]
fn options_and_errors_show_no_secrets() {
    let identity = Identity {
        source: IdentitySource::Der {
            certificates: vec![],
            key: KeyDer {
                kind: KeyKind::Pkcs8,
                der: b"top secret".to_vec().into(),
            },
        },
        password: Some(brod_engine::net::tls::PasswordSource(
            b"top secret".to_vec().into(),
        )),
    };
    let options = TlsOptions {
        identities: vec![identity],
        verify_none: true,
        ..TlsOptions::default()
    };
    let shown = format!("{options:?} {:?}", Tls::new(options.clone()).err());
    let bytes = format!("{:?}", b"top secret");
    assert!(!shown.contains("top secret") && !shown.contains(&bytes[1..20]));
}
