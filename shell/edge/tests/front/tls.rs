//! What clients meet where TLS is spoken, over a real socket.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use edge::config::Limits;
use edge::tls::{CertifiedKey, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::house::{House, Hub, soon};

const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\nof the house\n-----END CERTIFICATE-----\n";

/// A certificate for `house.example` that vouches for itself.
fn pair() -> (CertifiedKey, CertificateDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["house.example".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = base64::prelude::BASE64_STANDARD.encode(key.serialized_der());
    let key = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
    (CertifiedKey::new(vec![certificate.to_vec()], &key).unwrap(), certificate)
}

struct TlsHouse {
    house: House,
    shown: watch::Sender<CertifiedKey>,
}

async fn open(certified: CertifiedKey, authority: Option<&str>) -> TlsHouse {
    let limits = Limits { handshake_time: Duration::from_millis(50), ..Limits::STANDARD };
    open_with(limits, certified, authority).await
}

async fn open_with(limits: Limits, certified: CertifiedKey, authority: Option<&str>) -> TlsHouse {
    let (shown, certified) = watch::channel(certified);
    let tls = Tls { certified, authority: authority.map(Arc::from) };
    TlsHouse { house: House::with_tls(limits, Hub::Admits, Some(tls)).await, shown }
}

async fn greet(
    house: &House,
    trusted: &CertificateDer<'static>,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("house.example").unwrap();
    let stream = house.connect().await;
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

async fn asked(mut stream: TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn requests_are_answered_under_both_versions_to_who_trusts_the_certificate() {
    let (certified, certificate) = pair();
    // Whole handshakes on a busy machine.
    let TlsHouse { house, .. } = open_with(Limits::STANDARD, certified, None).await;
    for version in [&TLS12, &TLS13] {
        let answer = asked(greet(&house, &certificate, version).await.unwrap()).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("OK"), "{answer}");
    }
    let (_, other) = pair();
    assert!(greet(&house, &other, &TLS13).await.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_who_comes_then_and_who_is_there_stays() {
    let ((one, first), (two, second)) = (pair(), pair());
    let TlsHouse { house, shown } = open_with(Limits::STANDARD, one, None).await;
    let before = greet(&house, &first, &TLS13).await.unwrap();
    shown.send(two).unwrap();
    assert!(greet(&house, &first, &TLS13).await.is_err());
    assert!(asked(greet(&house, &second, &TLS13).await.unwrap()).await.ends_with("OK"));
    assert!(asked(before).await.ends_with("OK"));
}

#[tokio::test]
async fn a_network_has_so_many_handshakes_under_way() {
    let limits = Limits { network_handshakes: 2, ..Limits::STANDARD };
    let (certified, certificate) = pair();
    let TlsHouse { house, shown: _shown } = open_with(limits, certified, None).await;
    let mut begun = vec![house.connect().await, house.connect().await];
    let mut refused = house.connect().await;
    let mut nothing = Vec::new();
    soon(refused.read_to_end(&mut nothing)).await.unwrap();
    assert!(nothing.is_empty());
    assert_eq!(house.metrics.tls_over_budget.total(), 1);
    begun.pop();
    while house.metrics.handshakes_failed.total() == 0 {
        tokio::task::yield_now().await;
    }
    greet(&house, &certificate, &TLS13).await.unwrap();
}

#[tokio::test]
async fn an_unfinished_handshake_is_cut() {
    let TlsHouse { house, .. } = open(pair().0, None).await;
    // Nothing, and the beginning of a ClientHello.
    for start in [&b""[..], &[22, 3, 1, 0, 200, 1]] {
        let mut stream = house.connect().await;
        stream.write_all(start).await.unwrap();
        let mut rest = Vec::new();
        soon(stream.read_to_end(&mut rest)).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }
    assert_eq!(house.metrics.handshakes_late.total(), 2);
    assert_eq!(house.metrics.handshakes_failed.total(), 0);
}

#[tokio::test]
async fn nothing_but_the_authority_is_given_in_the_clear() {
    let TlsHouse { house, .. } = open(pair().0, Some(AUTHORITY)).await;
    let given = house.ask("GET", "/ca.pem").await;
    assert_eq!((given.status, given.body.as_str()), (200, AUTHORITY));
    assert_eq!(given.header("content-type"), Some("application/x-x509-ca-cert"));
    for path in ["/", "/call/", "/rtc/v1?access_token=t", "//ca.pem"] {
        let refused = house.ask("GET", path).await;
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.body.contains("https://"), "{path}");
    }
    assert_eq!(house.metrics.connections_in_the_clear.total(), 5);
    let TlsHouse { house, .. } = open(pair().0, None).await;
    assert_eq!(house.ask("GET", "/ca.pem").await.status, 400);
}

#[tokio::test]
async fn what_is_no_handshake_is_counted() {
    let TlsHouse { house, .. } = open(pair().0, None).await;
    let mut stream = house.connect().await;
    stream.write_all(&[22, 9, 9, 0, 1, 0]).await.unwrap();
    let mut rest = Vec::new();
    // An alert, and the end.
    soon(stream.read_to_end(&mut rest)).await.ok();
    assert_eq!(house.metrics.handshakes_failed.total(), 1);
}
