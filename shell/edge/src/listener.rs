//! Accepts TCP connections and carries each from its first byte to its last.
//!
//! Owns: how many there are, of one network too, whether one more request over one is heard, how long a TLS handshake
//! and a request's head may take and be, how long an answer may wait to be read, and the tasks in which a connection
//! lives, first as HTTP and, once upgraded, as a signalling session.
//! Guarantees: a panic in a connection ends that connection alone; a stop says 1001 to every session
//! and waits for all of them, but not for ever; where TLS is spoken, nobody is answered in the clear but
//! that it is, and with the certificate of our own authority, if there is one; while there is no certificate, nobody
//! is served under the one that stands for it.
//! Not here: accepting (`acceptor`), what is answered (`http`), what a session does (`socket`), certificates (`tls`).

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use model::LogData;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::rustls::server;
use tokio_rustls::server::TlsStream;
use wire::limits::REQUEST_LINE_MAX;

use crate::acceptor::Acceptor;
use crate::http::Front;
use crate::limits::{
    CLOSE_TIME_MAX, DISCARD_MAX, HANDSHAKE_REPLACED_TIME_MAX, HEAD_MAX, HEADERS_MAX,
};
use crate::metrics::Metrics;
use crate::networks::{Place, Whereabouts};
use crate::socket::{self, Seat};
use crate::stream::Stream;
use crate::tls::{Asker, CertifiedKey, Shown, Standing, Tls};
use crate::unread::{self, Unread};

/// What the listener and its connections are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Everyone may come.
    Open,
    /// Nobody may join any more.
    Stopping,
    /// Every connection is to end.
    Closing,
}

impl Phase {
    /// Waits until every connection is to end, or nobody is left to say so.
    pub(crate) async fn closing(phase: &mut watch::Receiver<Self>) {
        drop(phase.wait_for(|phase| *phase == Self::Closing).await);
    }
}

const TOO_LONG: &[u8] = b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 25\r\naccess-control-allow-origin: *\r\n\r\n\
    request line is too long\n";

/// The first byte of a TLS handshake (RFC 8446 §5.1); HTTP begins with a letter.
const HANDSHAKE: u8 = 22;

/// Where the certificate of our own authority is, in the clear.
pub const AUTHORITY_PATH: &str = "/ca.pem";

/// What is said to who speaks HTTP where TLS is spoken.
pub const TLS_SPOKEN_HERE: &str = "this port speaks TLS: use https:// or wss://";

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
    content-type: text/plain\r\ncontent-length: 13\r\naccess-control-allow-origin: *\r\n\r\n\
    node is full\n";

const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\nretry-after: 5\r\n\
    content-type: text/plain\r\ncontent-length: 39\r\naccess-control-allow-origin: *\r\n\r\n\
    too many connections from your network\n";

/// Serves until `phase` is [`Phase::Closing`] and every connection has ended, or
/// `front.limits.drain` after that. Without `tls` in the clear.
pub async fn serve(
    listeners: Vec<TcpListener>,
    tls: Option<Tls>,
    front: Arc<Front>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut connections = JoinSet::new();
    let farewell = |text: &'static [u8]| if tls.is_none() { text } else { &[] };
    let mut acceptor =
        Acceptor::new(listeners, "signalling", farewell(FULL), Arc::clone(&front.metrics));
    loop {
        tokio::select! {
            (stream, remote) = acceptor.next() => {
                let whereabouts = front.networks.whereabouts(remote.ip());
                if connections.len() >= front.limits.connections {
                    front.metrics.connections_refused.count();
                    // Best effort: an empty socket buffer takes it whole.
                    stream.try_write(farewell(FULL)).ok();
                } else if let Some(place) = front.networks.connect(whereabouts) {
                    front.metrics.connections_accepted.count();
                    let (front, phase) = (Arc::clone(&front), phase.clone());
                    connections.spawn(carry(stream, (whereabouts, place), tls.clone(), front, phase));
                } else {
                    front.metrics.connections_over_budget.count();
                    stream.try_write(farewell(TOO_MANY)).ok();
                }
            }
            Some(ended) = connections.join_next() => go_on(&mut connections, ended, &front, &phase),
            () = Phase::closing(&mut phase) => break,
        }
    }
    drop(acceptor);
    let all = async {
        while let Some(ended) = connections.join_next().await {
            go_on(&mut connections, ended, &front, &phase);
        }
    };
    if timeout(front.limits.drain, all).await.is_err() {
        let left = LogData(connections.len());
        crate::log!(WARN, "connections cut at the end of the drain", connections = left);
    }
}

/// A connection's task has ended: as a session, if it became one, it goes on in another, which has no room in it
/// for what HTTP and TLS handshakes need.
fn go_on(
    connections: &mut JoinSet<Option<(Seat, Place)>>,
    ended: Result<Option<(Seat, Place)>, JoinError>,
    front: &Arc<Front>,
    phase: &watch::Receiver<Phase>,
) {
    match ended {
        Ok(Some((seat, place))) => {
            let (front, phase) = (Arc::clone(front), phase.clone());
            connections.spawn(async move {
                socket::run(seat, front, phase).await;
                drop(place);
                None
            });
        }
        Ok(None) => {}
        Err(error) => note(&front.metrics, Err(error)),
    }
}

pub(crate) fn note(metrics: &Metrics, ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        // Where, the hook has logged.
        metrics.connections_panicked.count();
    }
}

/// The session that it became, with its network's place, which the network has less until this is dropped.
async fn carry(
    stream: TcpStream,
    (whereabouts, place): (Whereabouts, Place),
    tls: Option<Tls>,
    front: Arc<Front>,
    mut phase: watch::Receiver<Phase>,
) -> Option<(Seat, Place)> {
    // Signalling messages are small and wait for nothing.
    stream.set_nodelay(true).ok();
    let Some(tls) = tls else {
        let seat = connection(Stream::Clear(stream), whereabouts, front, phase).await?;
        return Some((seat, place));
    };
    let Some(shaking) = front.networks.shake(whereabouts) else {
        front.metrics.tls_over_budget.count();
        return None;
    };
    let greeted = tokio::select! {
        greeted = timeout(front.limits.handshake_time, greet(stream, &tls)) => greeted,
        () = Phase::closing(&mut phase) => return None,
    };
    drop(shaking);
    match greeted {
        Ok(Ok(Greeted::Sealed(stream, Standing::Vouched))) => {
            let seat = connection(Stream::Sealed(stream), whereabouts, front, phase).await?;
            return Some((seat, place));
        }
        Ok(Ok(Greeted::Sealed(stream, Standing::Awaiting))) => {
            let answer = |request: &Request<Incoming>| front.without_certificate(request);
            briefly(Stream::Sealed(stream), answer, &front, phase).await;
        }
        Ok(Ok(Greeted::InTheClear(stream))) => {
            front.metrics.connections_in_the_clear.count();
            let answer = |request: &Request<Incoming>| {
                let authority = tls.authority.as_deref();
                in_the_clear(authority.filter(|_| request.uri().path() == AUTHORITY_PATH))
            };
            briefly(Stream::Clear(stream), answer, &front, phase).await;
        }
        Ok(Ok(Greeted::ByAuthority)) => front.metrics.challenges_answered.count(),
        Ok(Ok(Greeted::Outlasted)) => front.metrics.handshakes_late.count(),
        Ok(Err(_)) => front.metrics.handshakes_failed.count(),
        Err(_) => front.metrics.handshakes_late.count(),
    }
    None
}

/// Waits until clients are shown another certificate, and some more.
async fn replaced(mut shown: watch::Receiver<Shown>, certified: &CertifiedKey) {
    if shown.wait_for(|shown| !shown.has(certified)).await.is_err() {
        // Nobody is left to replace it.
        std::future::pending::<()>().await;
    }
    sleep(HANDSHAKE_REPLACED_TIME_MAX).await;
}

/// How somebody begins to talk where TLS is spoken.
enum Greeted {
    Sealed(Box<TlsStream<TcpStream>>, Standing),
    InTheClear(TcpStream),
    ByAuthority,
    /// The handshake was not over when its certificate had been replaced for a while.
    Outlasted,
}

async fn greet(stream: TcpStream, tls: &Tls) -> io::Result<Greeted> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first != [HANDSHAKE] {
        return Ok(Greeted::InTheClear(stream));
    }
    let begun = LazyConfigAcceptor::new(server::Acceptor::default(), stream).await?;
    let asker = tls.shown.borrow().to(&begun.client_hello());
    match asker {
        Asker::Client(certified, standing) => tokio::select! {
            sealed = begun.into_stream(certified.config()) => {
                Ok(Greeted::Sealed(Box::new(sealed?), standing))
            }
            () = replaced(tls.shown.clone(), &certified) => Ok(Greeted::Outlasted),
        },
        Asker::Authority(config) => {
            // It may have hung up by now: it has seen what it came for.
            begun.into_stream(config).await?.shutdown().await.ok();
            Ok(Greeted::ByAuthority)
        }
    }
}

/// Gives one answer that needs nothing but the request's head.
async fn briefly(
    stream: Stream,
    answer: impl Fn(&Request<Incoming>) -> Response<Body>,
    front: &Front,
    mut phase: watch::Receiver<Phase>,
) {
    let answer = service_fn(|request: Request<Incoming>| {
        std::future::ready(Ok::<_, Infallible>(answer(&request)))
    });
    let stream = Unread::new(stream, front.limits.unread_time);
    let io = TokioIo::new(FirstLine::new(stream));
    let connection = http(front).keep_alive(false).serve_connection(io, answer);
    tokio::select! {
        outcome = connection => if let Err(error) = outcome {
            count_end(&front.metrics, &error);
        },
        () = Phase::closing(&mut phase) => {}
    }
}

/// A connection ended badly.
pub(crate) fn count_end(metrics: &Metrics, error: &hyper::Error) {
    if unread::ended(error) {
        metrics.connections_unread.count();
    } else {
        metrics.connections_malformed.count();
    }
}

fn in_the_clear(authority: Option<&str>) -> Response<Body> {
    match authority {
        Some(certificate) => {
            let kind = [(header::CONTENT_TYPE, "application/x-x509-ca-cert")];
            (kind, certificate.to_owned()).into_response()
        }
        None => (StatusCode::BAD_REQUEST, format!("{TLS_SPOKEN_HERE}\n")).into_response(),
    }
}

fn http(front: &Front) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(front.limits.head_time)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX);
    builder
}

/// The session that the connection became, if it did.
async fn connection(
    stream: Stream,
    whereabouts: Whereabouts,
    front: Arc<Front>,
    mut phase: watch::Receiver<Phase>,
) -> Option<Seat> {
    let (seats, mut seated) = mpsc::channel(1);
    {
        let has_asked = AtomicBool::new(false);
        let answer = service_fn(|mut request: Request<Incoming>| {
            let is_first = !has_asked.swap(true, Ordering::Relaxed);
            let is_heard = is_first || front.networks.may_ask_again(whereabouts);
            request.extensions_mut().insert(Seats(seats.clone()));
            request.extensions_mut().insert(whereabouts);
            let front = Arc::clone(&front);
            async move { if is_heard { front.answer(request).await } else { Ok(front.refuse_more()) } }
        });
        let stream = Unread::new(stream, front.limits.unread_time);
        let io = TokioIo::new(FirstLine::new(stream));
        let mut connection = http(&front).serve_connection(io, answer).with_upgrades();
        let mut served = Pin::new(&mut connection);
        let outcome = tokio::select! {
            outcome = &mut served => outcome,
            () = Phase::closing(&mut phase) => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = outcome {
            count_end(&front.metrics, &error);
            if let Some(parts) = connection.into_parts() {
                parts.io.into_inner().refuse().await;
            }
            return None;
        }
    }
    seated.try_recv().ok()
}

/// Where the answer to a join puts the session that begins once the answer is written.
#[derive(Clone)]
pub(crate) struct Seats(pub(crate) mpsc::Sender<Seat>);

/// A connection whose first line is measured while it is read, before anything is parsed.
///
/// Lines of later requests are measured by hyper against the whole head, and in `http`.
struct FirstLine {
    stream: Unread<Stream>,
    measure: Measure,
}

enum Measure {
    /// Bytes that the line may still have.
    Within(usize),
    Ended,
    TooLong,
}

impl FirstLine {
    const fn new(stream: Unread<Stream>) -> Self {
        Self { stream, measure: Measure::Within(REQUEST_LINE_MAX) }
    }

    /// Says why, if hyper could not, and lets the client read it.
    async fn refuse(mut self) {
        if matches!(self.measure, Measure::TooLong) {
            let answer = self.stream.write_all(TOO_LONG);
            if matches!(timeout(CLOSE_TIME_MAX, answer).await, Ok(Ok(()))) {
                discard(&mut self.stream).await;
            }
        }
    }
}

/// Closes our side, then reads and drops what still comes: to close with bytes unread would reset
/// the connection and could take our last words with it.
pub(crate) async fn discard<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let rest = async {
        stream.shutdown().await?;
        let mut buffer = [0; 1024];
        let mut read = 0;
        while read < DISCARD_MAX {
            match stream.read(&mut buffer).await? {
                0 => break,
                length => read += length,
            }
        }
        io::Result::Ok(())
    };
    // Nothing is owed to a client that goes on, nor to one that is gone.
    drop(timeout(CLOSE_TIME_MAX, rest).await);
}

impl Measure {
    fn add(&mut self, fresh: &[u8]) {
        if let Self::Within(left) = *self {
            let end = fresh.iter().position(|byte| *byte == b'\n');
            *self = match (end, left.checked_sub(end.unwrap_or(fresh.len()))) {
                (_, None) => Self::TooLong,
                (Some(_), Some(_)) => Self::Ended,
                (None, Some(left)) => Self::Within(left),
            };
        }
    }
}

impl AsyncRead for FirstLine {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(pin!(&mut self.stream).poll_read(context, buffer))?;
        self.measure.add(buffer.filled().get(before..).unwrap_or_default());
        if matches!(self.measure, Measure::TooLong) {
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::other("request line is too long")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for FirstLine {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        pin!(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        pin!(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(pieces: &[&[u8]]) -> Measure {
        let mut measure = Measure::Within(8);
        for piece in pieces {
            measure.add(piece);
        }
        measure
    }

    #[test]
    fn a_line_is_measured_over_its_pieces() {
        assert!(matches!(measured(&[b"GET", b" /"]), Measure::Within(3)));
        assert!(matches!(measured(&[b"GET /abc\nand more of it"]), Measure::Ended));
        assert!(matches!(measured(&[b"GET /abcd\n"]), Measure::TooLong));
        assert!(matches!(measured(&[b"GET /abc", b"d"]), Measure::TooLong));
        assert!(matches!(measured(&[b"GET\n", &[b'x'; 64]]), Measure::Ended));
    }
}
