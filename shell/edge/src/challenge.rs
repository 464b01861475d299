//! Answers an authority that asks over HTTP, in the clear, whether a name is this server's.
//!
//! Owns: the few connections that it does so on, at a port of their own.
//! Guarantees: nothing else is answered there; whoever asks holds one of few places, and not for long.
//! Not here: what is answered, and until when (the command line); the same over TLS (`listener`).
//! Source: RFC 8555 §8.3.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::acceptor::Acceptor;
use crate::budget::{Network, SharedBudget};
use crate::limits::{
    CHALLENGE_TIME_MAX, CHALLENGERS_EACH_MAX, CHALLENGERS_MAX, HEAD_MAX, HEAD_TIME_MAX, HEADERS_MAX,
};
use crate::listener::{Phase, count_end, note};
use crate::metrics::Metrics;
use crate::tls::Shown;

/// Where an authority asks, before the token.
const PATH: &str = "/.well-known/acme-challenge/";

/// What is said to everybody else.
pub const ONLY_AN_AUTHORITY: &str = "only an authority is answered here";

/// Serves until the server closes.
pub(crate) async fn serve(
    listeners: Vec<TcpListener>,
    shown: watch::Receiver<Shown>,
    metrics: Arc<Metrics>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut connections = JoinSet::new();
    let mut acceptor = Acceptor::new(listeners, "challenges", &[], Arc::clone(&metrics));
    let places = SharedBudget::of_places(CHALLENGERS_EACH_MAX);
    loop {
        tokio::select! {
            (stream, remote) = acceptor.next() => {
                let place = places.hold(Network::of(remote.ip()));
                match place.filter(|_| connections.len() < CHALLENGERS_MAX) {
                    Some(place) => {
                        let (shown, metrics) = (shown.clone(), Arc::clone(&metrics));
                        connections.spawn(async move {
                            connection(stream, shown, metrics).await;
                            drop(place);
                        });
                    }
                    None => metrics.challenges_refused.count(),
                }
            }
            Some(ended) = connections.join_next() => note(&metrics, ended),
            () = Phase::closing(&mut phase) => break,
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, shown: watch::Receiver<Shown>, metrics: Arc<Metrics>) {
    let answer = service_fn(|request: Request<Incoming>| {
        ready(Ok::<_, Infallible>(answer(&request, &shown.borrow(), &metrics)))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), answer);
    if let Ok(Err(error)) = timeout(CHALLENGE_TIME_MAX, served).await {
        count_end(&metrics, &error);
    }
}

fn answer(request: &Request<Incoming>, shown: &Shown, metrics: &Metrics) -> Response<Body> {
    let token = request.uri().path().strip_prefix(PATH);
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match token.filter(|_| is_read).and_then(|token| shown.in_the_clear(token)) {
        Some(text) => {
            metrics.challenges_answered.count();
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            (kind, text.to_owned()).into_response()
        }
        None => (StatusCode::NOT_FOUND, format!("{ONLY_AN_AUTHORITY}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::tls::{CertifiedKey, Challenges};
    use base64::Engine as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    fn shown() -> Shown {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        let key = base64::prelude::BASE64_STANDARD.encode(key.serialized_der());
        let key = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
        let clear = [("token".to_owned(), "token.thumb".to_owned())].into();
        let challenges = Challenges { clear, ..Challenges::default() };
        Shown::awaiting(CertifiedKey::new(vec![certificate], &key, 0).unwrap())
            .answering(challenges)
    }

    /// Where an authority is answered.
    struct House {
        address: SocketAddr,
        metrics: Arc<Metrics>,
        phase: watch::Sender<Phase>,
        /// For as long as this is kept the same is shown.
        _shown: watch::Sender<Shown>,
        serving: JoinHandle<()>,
    }

    impl House {
        async fn open() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (kept, shown) = watch::channel(shown());
            let (phase, watched) = watch::channel(Phase::Open);
            let metrics = Arc::new(Metrics::default());
            let serving = serve(vec![listener], shown, Arc::clone(&metrics), watched);
            Self { address, metrics, phase, _shown: kept, serving: tokio::spawn(serving) }
        }

        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }
    }

    #[tokio::test]
    async fn who_finds_no_place_is_not_counted_as_a_client_that_did_not() {
        let house = House::open().await;
        let mut held = Vec::new();
        for _ in 0..CHALLENGERS_EACH_MAX {
            held.push(house.connect().await);
        }
        let mut other = house.connect().await;
        assert_eq!(other.read(&mut [0]).await.unwrap(), 0, "cut");
        let House { metrics, .. } = &house;
        let counted = (metrics.challenges_refused.total(), metrics.connections_refused.total());
        assert_eq!(counted, (1, 0));
    }

    #[tokio::test]
    async fn a_token_that_is_asked_for_is_answered_and_nothing_else_is() {
        let house = House::open().await;
        for (request, expect) in [
            ("GET /.well-known/acme-challenge/token", "token.thumb"),
            ("GET /.well-known/acme-challenge/other", "only an authority is answered here\n"),
            ("POST /.well-known/acme-challenge/token", "only an authority is answered here\n"),
            ("GET /", "only an authority is answered here\n"),
            ("GET /readyz", "only an authority is answered here\n"),
        ] {
            let mut stream = house.connect().await;
            stream
                .write_all(format!("{request} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
                .await
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with(&format!("\r\n\r\n{expect}")), "{request}: {answer}");
        }
        assert_eq!(house.metrics.challenges_answered.total(), 1);
        house.phase.send(Phase::Closing).unwrap();
        house.serving.await.unwrap();
    }
}
