//! The node's figures over HTTP, on a port of their own.
//!
//! Owns: who may read them, and the few connections that do.
//! Guarantees: whoever reads costs neither clients nor the hub more than one count; a hub that does not answer
//! leaves its figures out, and the rest is answered.
//! Not here: what the text says (`exposition`).
//! Source: LiveKit `pkg/service/server.go` (`prometheus`).

use std::convert::Infallible;
use std::fs;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use wire::rinse;

use crate::acceptor::Acceptor;
use crate::budget::{Held, Network, SharedBudget};
use crate::exposition::{self, Figures, Process};
use crate::http::Front;
use crate::limits::{
    CENSUS_TIME_MAX, HEAD_MAX, HEAD_TIME_MAX, HEADERS_MAX, SCRAPERS_EACH_MAX, SCRAPERS_MAX,
};
use crate::listener::{Phase, count_end};
use crate::session::ToHub;
use crate::unread::Unread;

/// What is said at every other path than that of the figures.
pub const FIGURES_ELSEWHERE: &str = "figures are at /metrics";

/// How many times a second the kernel counts processor time, for user space on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Who may read: a name and a password, as a digest of both.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Login([u8; 32]);

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(…)")
    }
}

impl Login {
    /// Of this name, which has no colon, and this password.
    #[must_use]
    pub fn new(username: &str, password: &str) -> Self {
        let pair = zeroize::Zeroizing::new(format!("{username}:{password}"));
        Self::of(pair.as_bytes())
    }

    fn of(pair: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(rinse::sha256(&[pair]).as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// Whether a request's headers say both. Digests are compared: how long that takes says nothing of either.
    fn admits(self, headers: &HeaderMap) -> bool {
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let encoded = value.and_then(|value| value.split_once(' '));
        let encoded = encoded.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"));
        let pair = encoded.and_then(|(_, pair)| STANDARD.decode(pair.trim()).ok());
        pair.is_some_and(|pair| Self::of(&zeroize::Zeroizing::new(pair)) == self)
    }
}

/// What every connection needs to answer.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) front: Arc<Front>,
    pub(crate) login: Option<Login>,
    pub(crate) node_id: String,
    pub(crate) started: SystemTime,
}

/// Serves until the server closes.
pub(crate) async fn serve(
    listener: TcpListener,
    scrape: Arc<Scrape>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut connections = JoinSet::new();
    let metrics = Arc::clone(&scrape.front.metrics);
    let mut acceptor = Acceptor::new(vec![listener], "metrics", &[], metrics);
    let places = SharedBudget::of_places(SCRAPERS_EACH_MAX);
    loop {
        tokio::select! {
            (stream, remote) = acceptor.next() => {
                let place = places.hold(Network::of_one(remote.ip()));
                match place.filter(|_| connections.len() < SCRAPERS_MAX) {
                    Some(place) => {
                        connections.spawn(connection(stream, place, Arc::clone(&scrape)));
                    }
                    None => scrape.front.metrics.scrapes_refused.count(),
                }
            }
            Some(_) = connections.join_next() => {}
            () = Phase::closing(&mut phase) => break,
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, _place: Held, scrape: Arc<Scrape>) {
    let answer = service_fn(|request| Arc::clone(&scrape).answer(request));
    let stream = Unread::new(stream, scrape.front.limits.unread_time);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = served.await {
        count_end(&scrape.front.metrics, &error);
    }
}

impl Scrape {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        if request.uri().path() != "/metrics" || !is_read {
            return Ok((StatusCode::NOT_FOUND, format!("{FIGURES_ELSEWHERE}\n")).into_response());
        }
        if self.login.is_some_and(|login| !login.admits(request.headers())) {
            let realm = HeaderValue::from_static("Basic realm=\"metrics\"");
            let wanted = [(header::WWW_AUTHENTICATE, realm)];
            let reason = "name and password are wanted here\n";
            return Ok((StatusCode::UNAUTHORIZED, wanted, reason).into_response());
        }
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        Ok(([(header::CONTENT_TYPE, kind)], self.text().await).into_response())
    }

    async fn text(&self) -> String {
        let started = self.started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        exposition::text(&Figures {
            node_id: &self.node_id,
            metrics: &self.front.metrics,
            answered: self.front.api.totals().collect(),
            census: self.census().await,
            process: Process { started: started.as_secs(), ..process() },
            silent: self.front.pulse.silent(Instant::now()).is_some(),
            busy: self.front.pulse.busy().collect(),
            is_busy: self.front.pulse.is_busy(),
            certificate_valid_to: self.front.shown.as_ref().and_then(|it| it.borrow().valid_to()),
        })
    }

    async fn census(&self) -> Option<sfu::control::Census> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            self.front.hub.send(Box::new(ToHub::Census(reply))).await.ok()?;
            answer.await.ok()
        };
        timeout(CENSUS_TIME_MAX, asking).await.ok().flatten()
    }
}

/// What the kernel says of this process. It keeps it in memory: to read it waits for no disk.
fn process() -> Process {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident_kib =
        resident.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in parentheses, may hold spaces; user and system time are the 12th and 13th after it.
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest);
    let times = after_name.map(|rest| rest.split_whitespace().skip(11).take(2));
    let ticks = times.map(|times| times.filter_map(|text| text.parse::<f64>().ok()).sum::<f64>());
    let descriptors = fs::read_dir("/proc/self/fd").map(|all| all.count().saturating_sub(1)).ok();
    Process {
        resident_bytes: resident_kib.map(|kib| kib * 1024),
        cpu_seconds: ticks.map(|ticks| ticks / TICKS_PER_SECOND),
        descriptors,
        started: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saying(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn name_and_password_are_both_wanted() {
        let login = Login::new("grafana", "pass:word");
        let encoded = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert!(login.admits(&saying(&encoded("grafana:pass:word"))));
        for wrong in [
            encoded("grafana:password"),
            encoded("Grafana:pass:word"),
            encoded("grafana"),
            encoded(""),
            "Basic ???".to_owned(),
            format!("Bearer {}", STANDARD.encode("grafana:pass:word")),
        ] {
            assert!(!login.admits(&saying(&wrong)), "{wrong}");
        }
        assert!(!login.admits(&HeaderMap::new()));
        assert_eq!(format!("{login:?}"), "Login(…)");
    }

    #[test]
    fn the_kernel_says_what_the_process_takes() {
        let found = process();
        assert!(found.resident_bytes.unwrap() > 100_000);
        assert!(found.cpu_seconds.unwrap() >= 0.0 && found.cpu_seconds.unwrap() < 3600.0);
        assert!(found.descriptors.unwrap() >= 3);
    }
}
