//! One signalling session on its WebSocket.
//!
//! Owns: the handshake, frames in and out, pings, and every reason for which a session ends.
//! Guarantees: bounded memory; a client that reads too slowly, says nothing, does not end what it says or sends what
//! does not decode is closed with the code for it; a session that the hub has forgotten, since it was put out or
//! replaced, has [`CLOSE_TIME_MAX`] to read why; the hub hears of every end exactly once.
//! Not here: what a message causes (`hub`), whether one may join (`http`).
//! Source: RFC 6455; LiveKit `pkg/service/wsprotocol.go`.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, Method, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use model::LogData;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{Error as SocketError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};
use wire::frame::{Encoding, Frame, UnencodableError, decode_request, encode_response};
use wire::limits::FRAME_MAX;
use wire::proto::SignalResponse;

use crate::frame_io::FrameIo;
use crate::http::Front;
use crate::limits::CLOSE_TIME_MAX;
use crate::listener::{Phase, discard};
use crate::session::{Outgoing, SessionId, ToHub};
use crate::unfinished;

/// Bytes that tungstenite takes at once from [`FrameIo`].
const READ_BUFFER: usize = 128;

/// The constant of RFC 6455 §1.3.
const HANDSHAKE_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Opcodes of RFC 6455 §5.2.
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// An admitted session before its WebSocket is there.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) upgrade: OnUpgrade,
    pub(crate) admission: Admission,
    pub(crate) outbox: mpsc::Receiver<Outgoing>,
    /// The hub says that the client reads too slowly. An error: it has forgotten the session.
    pub(crate) is_cut: oneshot::Receiver<()>,
}

/// That the hub let a session in. Dropping it tells the hub that the session's connection is gone,
/// whatever became of it: never upgraded, closed, or its task panicked.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) session: SessionId,
    pub(crate) hub: mpsc::Sender<Box<ToHub>>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Err(mpsc::error::TrySendError::Full(closed)) =
            self.hub.try_send(Box::new(ToHub::Closed(self.session)))
        else {
            return;
        };
        // The hub is behind; it still has to hear of this, unless the process is ending.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let hub = self.hub.clone();
            runtime.spawn(async move { hub.send(closed).await });
        }
    }
}

/// Whether a request asks for a WebSocket at all, and the answer's `Sec-WebSocket-Accept` if it does
/// so correctly.
pub(crate) enum Handshake {
    NotAsked,
    Wrong(&'static str),
    Accept(String),
}

impl Handshake {
    pub(crate) fn read(method: &Method, headers: &HeaderMap) -> Self {
        let asked = has_token(headers, &header::UPGRADE, "websocket")
            && has_token(headers, &header::CONNECTION, "upgrade");
        if !asked || method != Method::GET {
            return Self::NotAsked;
        }
        if !has_token(headers, &header::SEC_WEBSOCKET_VERSION, "13") {
            return Self::Wrong("the WebSocket version must be 13");
        }
        // The key is 16 bytes in base64; what they are does not matter.
        let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24) else {
            return Self::Wrong("the WebSocket key must be 16 bytes in base64");
        };
        let mut digest = ring::digest::Context::new(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY);
        digest.update(key.as_bytes());
        digest.update(HANDSHAKE_GUID);
        Self::Accept(STANDARD.encode(digest.finish()))
    }
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter();
    let mut tokens =
        values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tokens.any(|found| found.trim().eq_ignore_ascii_case(token))
}

/// Why a session ends, seen from here.
enum Ending {
    /// Nobody is there any more.
    Gone,
    /// The client closed: its close frame is to be answered.
    Closed,
    /// We close with this code.
    Close(CloseCode, &'static str),
    /// We close with this code, and what the client still sends is not to be understood.
    Refuse(CloseCode, &'static str),
    /// Cut without a word: the client reads nothing or is not there.
    Cut,
}

/// Runs a session to its end.
pub(crate) async fn run(seat: Seat, front: Arc<Front>, phase: watch::Receiver<Phase>) {
    let Seat { upgrade, admission, outbox, is_cut } = seat;
    let Ok(upgraded) = upgrade.await else { return };
    let message = front.unfinished.of_connection(front.limits.message_time);
    let socket = websocket(FrameIo::new(TokioIo::new(upgraded), message)).await;
    let mut session = Session { socket, encoding: Encoding::default(), admission, front };
    let metrics = Arc::clone(&session.front.metrics);
    let (forgets, forgotten) = oneshot::channel();
    let ending = tokio::select! {
        biased;
        // Whatever is being written or waits to be: a slow reader would be at it for long.
        () = cut(is_cut, forgets) => Ending::Cut,
        ending = session.converse(outbox, phase) => ending,
        // Last, so that what can be written is, however late we are.
        () = overdue(forgotten) => {
            metrics.sockets_slow.count();
            Ending::Cut
        }
    };
    session.end(ending).await;
}

type Socket = WebSocketStream<FrameIo<TokioIo<Upgraded>>>;

async fn websocket(io: FrameIo<TokioIo<Upgraded>>) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(FRAME_MAX))
        .max_frame_size(Some(FRAME_MAX));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// Waits until the hub cuts the session. If it forgets it instead, `forgets` is dropped.
async fn cut(is_cut: oneshot::Receiver<()>, forgets: oneshot::Sender<()>) {
    if is_cut.await.is_ok() {
        return;
    }
    drop(forgets);
    std::future::pending().await
}

/// Waits until a session that the hub has forgotten, and to which it has said its last, has had its time to read that.
async fn overdue(forgotten: oneshot::Receiver<()>) {
    drop(forgotten.await);
    sleep(CLOSE_TIME_MAX).await;
}

struct Session {
    socket: Socket,
    /// As the client's last frame; protobuf before it has sent one.
    encoding: Encoding,
    admission: Admission,
    front: Arc<Front>,
}

impl Session {
    async fn converse(
        &mut self,
        mut outbox: mpsc::Receiver<Outgoing>,
        mut phase: watch::Receiver<Phase>,
    ) -> Ending {
        let (ping_every, silence) = (self.front.limits.ping_every, self.front.limits.silence);
        let mut ping = interval_at(Instant::now() + ping_every, ping_every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let step = tokio::select! {
                incoming = self.socket.next() => {
                    heard = Instant::now();
                    self.receive(incoming).await
                }
                outgoing = outbox.recv() => self.send(outgoing).await,
                _ = ping.tick() => self.write(Message::Ping(Vec::new().into())).await,
                () = sleep_until(heard + silence) => {
                    self.front.metrics.sockets_silent.count();
                    ControlFlow::Break(Ending::Cut)
                }
                () = Phase::closing(&mut phase) => {
                    return self.say_goodbye(&mut outbox).await;
                }
            };
            if let ControlFlow::Break(ending) = step {
                return ending;
            }
        }
    }

    async fn receive(
        &mut self,
        incoming: Option<Result<Message, SocketError>>,
    ) -> ControlFlow<Ending> {
        let message = match incoming {
            None => return ControlFlow::Break(Ending::Gone),
            Some(Err(error)) => return ControlFlow::Break(self.refuse(&error)),
            Some(Ok(message)) => message,
        };
        let frame = match &message {
            Message::Binary(bytes) => Frame::Binary(bytes),
            Message::Text(text) => Frame::Text(text),
            Message::Close(_) => return ControlFlow::Break(Ending::Closed),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {
                return ControlFlow::Continue(());
            }
        };
        self.encoding = frame.encoding();
        let part = self.front.decoding.take(frame.len()).await;
        let request = match decode_request(frame) {
            Ok(request) => request,
            Err(error) => {
                let code = CloseCode::from(error.close_code());
                let metrics = &self.front.metrics;
                let counter = if code == CloseCode::Size {
                    &metrics.sockets_oversized
                } else {
                    &metrics.sockets_undecodable
                };
                counter.count();
                return ControlFlow::Break(Ending::Close(code, "message cannot be decoded"));
            }
        };
        self.front.metrics.messages_received.count();
        #[cfg(feature = "sabotage")]
        if let Some(wire::proto::signal_request::Message::UpdateMetadata(update)) = &request.message
        {
            crate::sabotage::panic_if_asked("connection", update.metadata.as_bytes());
        }
        drop(message);
        // A full inbox holds back this client until the hub has caught up.
        let request = ToHub::Request(self.admission.session, Box::new(request), part);
        if self.admission.hub.send(Box::new(request)).await.is_err() {
            return ControlFlow::Break(Ending::Close(CloseCode::Away, "node is stopping"));
        }
        self.shed().await
    }

    /// Makes tungstenite anew. What it has taken for a message stays otherwise, as large as the largest one, until
    /// others have overwritten it: somebody else's name maybe, or the 230 KB of an offer with 40 tracks to receive.
    /// Nothing else of the client's is in it, since the message was whole and [`FrameIo`] gave it no more.
    async fn shed(&mut self) -> ControlFlow<Ending> {
        // Pongs and the like that wait there.
        let flushed = timeout(self.front.limits.write_time, self.socket.flush()).await;
        self.written(flushed)?;
        let io = self.socket.get_mut().hand_over();
        self.socket = websocket(io).await;
        ControlFlow::Continue(())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others all mean that nobody is there")]
    fn refuse(&self, error: &SocketError) -> Ending {
        let metrics = &self.front.metrics;
        match error {
            SocketError::Capacity(_) => {
                metrics.sockets_oversized.count();
                Ending::Refuse(CloseCode::Size, "message is too long")
            }
            SocketError::Utf8(_) => {
                metrics.sockets_undecodable.count();
                Ending::Refuse(CloseCode::Invalid, "text is not UTF-8")
            }
            SocketError::Io(error) if unfinished::is_late(error) => {
                metrics.sockets_unfinished.count();
                Ending::Refuse(CloseCode::Policy, "message is not whole in time")
            }
            SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ending::Gone,
            SocketError::Protocol(_) => {
                metrics.sockets_broken.count();
                Ending::Refuse(CloseCode::Protocol, "not the WebSocket protocol")
            }
            _ => Ending::Gone,
        }
    }

    async fn send(&mut self, outgoing: Option<Outgoing>) -> ControlFlow<Ending> {
        match outgoing {
            Some(Outgoing::Response(response)) => {
                let frame = Framed::of(&response, self.encoding);
                // It may be the only one that has it, and the client take long.
                drop(response);
                self.say(frame).await
            }
            Some(Outgoing::Answer(answer)) => {
                let (response, mut part) = *answer;
                let frame = Framed::of(&response, self.encoding);
                drop(response);
                // In JSON what must be escaped takes up to six times as much.
                if !part.fit(frame.as_ref().map_or(0, Framed::held)) {
                    self.front.metrics.joins_refused_crowded.count();
                    return ControlFlow::Break(Ending::Close(CloseCode::Again, "come again later"));
                }
                let said = self.say(frame).await;
                drop(part);
                said
            }
            Some(Outgoing::Close(code, reason)) => ControlFlow::Break(Ending::Close(code, reason)),
            // The hub has forgotten the participant without a word.
            None => ControlFlow::Break(Ending::Cut),
        }
    }

    /// Writes a response past tungstenite, whose buffer stays as large as the largest, some 6 KiB, and would hold
    /// a copy, of somebody's name maybe, until the next one as long or the end of the connection.
    async fn say(&mut self, frame: Result<Framed, UnencodableError>) -> ControlFlow<Ending> {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                let session = LogData(self.admission.session.0);
                crate::log!(WARN, "not sent", error = LogData(error), session = session);
                return ControlFlow::Continue(());
            }
        };
        self.front.metrics.messages_sent.count();
        let said = async {
            // Pongs and the like that are half written come first.
            self.socket.flush().await.map_err(drop)?;
            let io = self.socket.get_mut();
            io.write_all(frame.bytes()).await.map_err(drop)?;
            io.flush().await.map_err(drop)
        };
        let said = timeout(self.front.limits.write_time, said).await;
        self.written(said)
    }

    async fn write(&mut self, message: Message) -> ControlFlow<Ending> {
        let sent = timeout(self.front.limits.write_time, self.socket.send(message)).await;
        self.written(sent)
    }

    /// What comes of something that was to be written in time.
    fn written<E>(&self, outcome: Result<Result<(), E>, Elapsed>) -> ControlFlow<Ending> {
        match outcome {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) => ControlFlow::Break(Ending::Gone),
            Err(_) => {
                self.front.metrics.sockets_slow.count();
                ControlFlow::Break(Ending::Cut)
            }
        }
    }

    /// The node stops: what the hub has said is still written.
    async fn say_goodbye(&mut self, outbox: &mut mpsc::Receiver<Outgoing>) -> Ending {
        while let Ok(outgoing) = outbox.try_recv() {
            if let ControlFlow::Break(ending) = self.send(Some(outgoing)).await {
                return ending;
            }
        }
        Ending::Close(CloseCode::Away, "node is stopping")
    }

    async fn end(&mut self, ending: Ending) {
        match ending {
            Ending::Gone | Ending::Cut => {}
            // Reading on writes the answer to the client's close frame.
            Ending::Closed => self.hear_out(CLOSE_TIME_MAX).await,
            Ending::Close(code, reason) => {
                if self.close(code, reason).await.is_ok() {
                    self.hear_out(CLOSE_TIME_MAX).await;
                }
            }
            Ending::Refuse(code, reason) => {
                self.socket.get_mut().give_up();
                if self.close(code, reason).await.is_ok() {
                    discard(self.socket.get_mut()).await;
                }
            }
        }
    }

    async fn close(&mut self, code: CloseCode, reason: &'static str) -> Result<(), ()> {
        let frame = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        match timeout(CLOSE_TIME_MAX, self.socket.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(()),
        }
    }

    async fn hear_out(&mut self, time: Duration) {
        let rest = async { while let Some(Ok(_)) = self.socket.next().await {} };
        // A client that does not finish the handshake is owed nothing more.
        drop(timeout(time, rest).await);
    }
}

/// A whole message of a server: one frame, unmasked (RFC 6455 §5.2).
struct Framed {
    /// Room for the longest head, of which the end is used, and the payload.
    buffer: Vec<u8>,
    start: usize,
}

impl Framed {
    const HEAD_LEN_MAX: usize = 10;

    fn of(response: &SignalResponse, encoding: Encoding) -> Result<Self, UnencodableError> {
        let opcode = match encoding {
            Encoding::Protobuf => BINARY,
            Encoding::Json => TEXT,
        };
        let mut buffer = vec![0; Self::HEAD_LEN_MAX];
        encode_response(response, encoding, &mut buffer)?;
        Ok(Self::around(buffer, opcode))
    }

    /// Puts the head before a payload behind which there is room for it.
    fn around(mut buffer: Vec<u8>, opcode: u8) -> Self {
        const FINAL: u8 = 0x80;
        let len = buffer.len().saturating_sub(Self::HEAD_LEN_MAX);
        let mut head = vec![FINAL | opcode];
        match (u8::try_from(len), u16::try_from(len)) {
            (Ok(len @ ..126), _) => head.push(len),
            (_, Ok(len)) => {
                head.push(126);
                head.extend(len.to_be_bytes());
            }
            (_, Err(_)) => {
                head.push(127);
                head.extend((len as u64).to_be_bytes());
            }
        }
        let start = Self::HEAD_LEN_MAX.saturating_sub(head.len());
        for (to, from) in buffer.iter_mut().skip(start).zip(head) {
            *to = from;
        }
        Self { buffer, start }
    }

    /// What it takes in memory.
    const fn held(&self) -> usize {
        self.buffer.capacity()
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn handshake(change: Option<(HeaderName, &'static str)>) -> Handshake {
        let mut headers = HeaderMap::from_iter([
            (header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
            (header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")),
            (header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==")),
        ]);
        if let Some((name, value)) = change {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Handshake::read(&Method::GET, &headers)
    }

    #[test]
    fn frames_are_those_of_rfc_6455() {
        let framed = |opcode, payload: &[u8]| {
            Framed::around([&[0; Framed::HEAD_LEN_MAX], payload].concat(), opcode)
        };
        let hello = framed(TEXT, b"Hello");
        assert_eq!(hello.bytes(), [0x81, 5, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        for (len, header) in [
            (125, &[0x82, 125][..]),
            (126, &[0x82, 126, 0, 126]),
            (256, &[0x82, 126, 1, 0]),
            (65_535, &[0x82, 126, 255, 255]),
            (65_536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = framed(BINARY, &vec![7; len]);
            let frame = frame.bytes();
            assert_eq!((&frame[..header.len()], frame.len()), (header, header.len() + len));
            assert!(frame[header.len()..].iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn the_example_of_rfc_6455_is_accepted_as_it_says() {
        let Handshake::Accept(accept) = handshake(None) else { panic!("refused") };
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn half_a_handshake_is_none() {
        assert!(matches!(handshake(Some((header::CONNECTION, "keep-alive"))), Handshake::NotAsked));
        assert!(matches!(handshake(Some((header::UPGRADE, "h2c"))), Handshake::NotAsked));
        assert!(matches!(
            handshake(Some((header::SEC_WEBSOCKET_VERSION, "8"))),
            Handshake::Wrong(_)
        ));
        assert!(matches!(handshake(Some((header::SEC_WEBSOCKET_KEY, "x"))), Handshake::Wrong(_)));
    }
}
