//! What clients meet where TLS is spoken, over a real socket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use edge::config::Limits;
use edge::limits::HANDSHAKE_REPLACED_TIME_MAX;
use edge::tls::{CertifiedKey, Challenges, Shown, Tls};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use crate::house::{House, Hub, soon};

const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\nof the house\n-----END CERTIFICATE-----\n";

/// A certificate for `house.example` that vouches for itself.
fn pair() -> (CertifiedKey, CertificateDer<'static>) {
    pair_until(u64::MAX)
}

fn pair_until(valid_to: u64) -> (CertifiedKey, CertificateDer<'static>) {
    let (key, certificate) = key_and_certificate(Vec::new());
    (CertifiedKey::new(vec![certificate.to_vec()], &key, valid_to).unwrap(), certificate)
}

fn key_and_certificate(
    extensions: Vec<rcgen::CustomExtension>,
) -> (String, CertificateDer<'static>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["house.example".to_owned()]).unwrap();
    params.custom_extensions = extensions;
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let key = base64::prelude::BASE64_STANDARD.encode(key.serialized_der());
    (format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n"), certificate)
}

struct TlsHouse {
    house: House,
    shown: watch::Sender<Shown>,
}

async fn open(certified: CertifiedKey, authority: Option<&str>) -> TlsHouse {
    let limits = Limits { handshake_time: Duration::from_millis(50), ..Limits::STANDARD };
    open_with(limits, certified, authority).await
}

async fn open_with(limits: Limits, certified: CertifiedKey, authority: Option<&str>) -> TlsHouse {
    open_showing(limits, Shown::new(certified), authority).await
}

async fn open_showing(limits: Limits, shown: Shown, authority: Option<&str>) -> TlsHouse {
    let (shown, seen) = watch::channel(shown);
    let tls = Tls { shown: seen, authority: authority.map(Arc::from) };
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

async fn asked(stream: TlsStream<TcpStream>) -> String {
    asked_for("/", stream).await
}

async fn asked_for(path: &str, mut stream: TlsStream<TcpStream>) -> String {
    let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
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
    shown.send(Shown::new(two)).unwrap();
    assert!(greet(&house, &first, &TLS13).await.is_err());
    assert!(asked(greet(&house, &second, &TLS13).await.unwrap()).await.ends_with("OK"));
    assert!(asked(before).await.ends_with("OK"));
}

/// It holds the key that was replaced, perhaps because others have it.
#[tokio::test]
async fn a_handshake_that_is_under_way_ends_soon_after_its_certificate_was_replaced() {
    let ((one, first), (two, _)) = (pair(), pair());
    let TlsHouse { house, shown } = open_with(Limits::STANDARD, one.clone(), None).await;
    let mut roots = RootCertStore::empty();
    roots.add(first).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("house.example").unwrap();
    let mut hello = Vec::new();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut hello).unwrap();
    let mut stream = house.connect().await;
    stream.write_all(&hello).await.unwrap();
    // The certificate, and nothing more is said.
    let mut first = [0; 100];
    soon(stream.read_exact(&mut first)).await.unwrap();
    // What else is told meanwhile, as answers for an authority or the same again, is no reason.
    shown.send(Shown::new(one.clone()).answering(Challenges::default())).unwrap();
    let longer = HANDSHAKE_REPLACED_TIME_MAX + Duration::from_millis(300);
    let more = async { while stream.read_u8().await.is_ok() {} };
    assert!(timeout(longer, more).await.is_err(), "it is cut");
    let replaced = Instant::now();
    shown.send(Shown::new(two)).unwrap();
    soon(stream.read_to_end(&mut Vec::new())).await.unwrap();
    assert!(replaced.elapsed() < Duration::from_secs(2), "{:?}", replaced.elapsed());
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
    soon(async {
        while house.metrics.handshakes_failed.total() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
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
async fn a_crowd_of_handshakes_keeps_nobody_from_one_and_leaves_nothing() {
    let (certified, certificate) = pair();
    let TlsHouse { house, .. } = open_with(Limits::STANDARD, certified, None).await;
    // Four hundred that stop after the first bytes of their hello, and five hundred that break off once it has cost the
    // server a signature.
    let mut begun = Vec::new();
    for _ in 0..400 {
        let mut stream = house.connect().await;
        stream.write_all(&[22, 3, 1, 0, 200, 1]).await.unwrap();
        begun.push(stream);
    }
    for _ in 0..500 {
        drop(greet(&house, &certificate, &TLS13).await.unwrap());
    }
    let answer = asked(greet(&house, &certificate, &TLS13).await.unwrap()).await;
    assert!(answer.ends_with("OK"), "{answer}");
    assert_eq!(house.metrics.handshakes_late.total(), 0, "they are all still there");
    drop(begun);
    soon(async {
        while house.metrics.handshakes_failed.total() < 400 {
            tokio::task::yield_now().await;
        }
    })
    .await;
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

/// Greets as an authority does that asks whether `name` is ours; the certificate that it is shown.
async fn challenge(house: &House, name: &str, protocols: &[&[u8]]) -> Option<Vec<u8>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS12, &TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = house.connect().await;
    let mut stream = soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.ok()?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first)?.to_vec();
    if stream.get_ref().1.alpn_protocol() == Some(b"acme-tls/1") {
        // Nothing is said to an authority.
        assert_eq!(soon(stream.read(&mut [0; 16])).await.unwrap(), 0);
    }
    Some(shown)
}

/// Who looks at a certificate rather than believing it.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn an_authority_is_shown_its_answer_and_nobody_else_is() {
    let (key, answer) =
        key_and_certificate(vec![rcgen::CustomExtension::new_acme_identifier(&[7; 32])]);
    let (certified, served) = pair();
    let TlsHouse { house, shown } = open_with(Limits::STANDARD, certified, None).await;
    let (asks, http): (&[&[u8]], &[&[u8]]) = (&[b"acme-tls/1"], &[b"http/1.1"]);
    // Nobody has been asked for anything.
    assert_eq!(challenge(&house, "house.example", asks).await, None);
    let sealed = CertifiedKey::for_challenge(answer.to_vec(), &key).unwrap();
    let sealed = [("house.example".to_owned(), sealed)].into();
    shown.send_modify(|shown| {
        *shown = shown.clone().answering(Challenges { sealed, ..Challenges::default() })
    });
    assert_eq!(challenge(&house, "HOUSE.example", asks).await, Some(answer.to_vec()));
    assert_eq!(challenge(&house, "other.example", asks).await, None);
    assert_eq!(challenge(&house, "house.example", http).await, Some(served.to_vec()));
    let both: &[&[u8]] = &[b"acme-tls/1", b"http/1.1"];
    assert_eq!(challenge(&house, "house.example", both).await, Some(served.to_vec()));
    assert_eq!(house.metrics.challenges_answered.total(), 1);
    assert!(asked(greet(&house, &served, &TLS13).await.unwrap()).await.ends_with("OK"));
}

#[tokio::test]
async fn without_a_certificate_it_lives_and_serves_nobody() {
    let (placeholder, of_nobody) = pair();
    let shown = Shown::awaiting(placeholder);
    let TlsHouse { house, shown } = open_showing(Limits::STANDARD, shown, None).await;
    for (path, status, body) in [
        ("/livez", "200", "alive\n"),
        ("/readyz", "503", "no certificate yet\n"),
        ("/", "503", "no certificate yet"),
        ("/call/", "503", "no certificate yet"),
        ("/rtc/v1?access_token=t", "503", "no certificate yet"),
        ("/twirp/livekit.RoomService/ListRooms", "503", "no certificate yet"),
    ] {
        let answer = asked_for(path, greet(&house, &of_nobody, &TLS13).await.unwrap()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.trim_end().ends_with(body.trim_end()), "{path}: {answer}");
    }
    let (certified, served) = pair();
    shown.send(Shown::new(certified)).unwrap();
    let answer = asked_for("/readyz", greet(&house, &served, &TLS13).await.unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (certified, ended) = pair_until(1_700_000_000);
    shown.send(Shown::new(certified)).unwrap();
    let answer = asked_for("/readyz", greet(&house, &ended, &TLS13).await.unwrap()).await;
    assert!(answer.ends_with("the certificate has expired\n"), "{answer}");
}
