//! A front on a real socket, with a hub that says what the test wants, and a client of bytes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edge::answers::RoomAnswers;
use edge::api::Api;
use edge::config::Limits;
use edge::http::Front;
use edge::limits::{ANSWER_MAX, ANSWERS_ROOM_BYTES_MAX};
use edge::listener::{Phase, serve};
use edge::metrics::Metrics;
use edge::networks::{AddressesOf, Networks};
use edge::pulse::Pulse;
use edge::session::{
    Decoding, Outgoing, ParticipantPage, Refusal, RoomPage, SessionId, ToHub, Verdict,
};
use edge::tls::Tls;
use edge::unfinished::Unfinished;
use edge::visits::Visits;
use futures_util::StreamExt as _;
use model::{Identity, RoomId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};
use wire::access::Access;
use wire::grant::VideoGrant;
use wire::key::{ProjectKey, ProjectKeys, RefreshKey};
use wire::proto::{self, SignalRequest, SignalResponse};
use wire::token::{Claims, mint};
use wire::twirp;

/// Long enough for any answer on a busy machine, short enough to fail a test.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) const SESSION: SessionId = SessionId(41);

/// A gzipped join request, as every SDK sends one; an empty one decodes too.
pub(crate) const JOIN_REQUEST: &str = "EgA=";

/// What reached the hub.
#[derive(Debug)]
pub(crate) enum Heard {
    Knock,
    Request(Box<SignalRequest>),
    Closed(SessionId),
}

/// What the hub of a test does with those who knock.
pub(crate) enum Hub {
    /// Lets everybody in.
    Admits,
    /// Lets nobody in.
    Refuses(Refusal),
    /// Lets everybody in, once this says so.
    Ponders(oneshot::Receiver<()>),
    /// Lets everybody in who has waited for all of this, of which something is taken.
    Reserves(RoomAnswers),
}

pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) heard: mpsc::Receiver<Heard>,
    /// The outboxes of those let in.
    pub(crate) outboxes: mpsc::Receiver<mpsc::Sender<Outgoing>>,
    /// What cuts them.
    pub(crate) cuts: mpsc::Receiver<oneshot::Sender<()>>,
    /// Whose tokens are taken.
    pub(crate) access: watch::Sender<Arc<Access>>,
    pub(crate) phase: watch::Sender<Phase>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) served: JoinHandle<()>,
}

impl House {
    pub(crate) async fn open() -> Self {
        Self::with(Limits::STANDARD, Hub::Admits).await
    }

    pub(crate) async fn with(limits: Limits, hub: Hub) -> Self {
        Self::open_with(Instant::now(), limits, hub, None).await
    }

    pub(crate) async fn with_tls(limits: Limits, hub: Hub, tls: Option<Tls>) -> Self {
        Self::open_with(Instant::now(), limits, hub, tls).await
    }

    /// With a hub and a worker that last answered at `origin`.
    pub(crate) async fn since(origin: Instant, limits: Limits, hub: Hub) -> Self {
        Self::open_with(origin, limits, hub, None).await
    }

    async fn open_with(origin: Instant, limits: Limits, hub: Hub, tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (to_hub, inbox) = mpsc::channel(8);
        let (phase, watched) = watch::channel(Phase::Open);
        let metrics = Arc::new(Metrics::default());
        let pulse = Arc::new(Pulse::new(origin, 1));
        let (admits, access) = watch::channel(access([key()]));
        let front = Front {
            access,
            hub: to_hub,
            decoding: Decoding::default(),
            unfinished: Unfinished::default(),
            metrics: Arc::clone(&metrics),
            limits,
            phase: watched.clone(),
            api: Api::default(),
            pulse: Arc::clone(&pulse),
            networks: Networks::new(&limits, AddressesOf::Clients),
            visits: Visits::default(),
            shown: tls.as_ref().map(|tls| tls.shown.clone()),
        };
        let (tell, heard) = mpsc::channel(1024);
        let (give, outboxes) = mpsc::channel(8);
        let (give_cut, cuts) = mpsc::channel(8);
        tokio::spawn(answer(hub, inbox, tell, (give, give_cut)));
        let served = tokio::spawn(serve(vec![listener], tls, Arc::new(front), watched));
        Self { address, heard, outboxes, cuts, access: admits, phase, metrics, pulse, served }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends one request and returns the whole answer.
    pub(crate) async fn ask(&self, method: &str, target: &str) -> Answer {
        self.ask_with(method, target, "").await
    }

    /// As [`Self::ask`], with more header lines, each ended by CRLF.
    pub(crate) async fn ask_with(&self, method: &str, target: &str, headers: &str) -> Answer {
        let mut stream = self.connect().await;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        Answer::read(&mut stream).await
    }

    /// Sends one request with a body and returns the whole answer.
    pub(crate) async fn post(&self, target: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect().await;
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        Answer::read(&mut stream).await
    }

    /// Opens a WebSocket at a target that must upgrade.
    pub(crate) async fn join(&self, target: &str) -> Client {
        let mut stream = self.connect().await;
        stream.write_all(upgrade(target).as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        assert!(!head.to_lowercase().contains("sec-websocket-extensions"), "{head}");
        Client(WebSocketStream::from_raw_socket(stream, Role::Client, None).await)
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        soon(self.heard.recv()).await.unwrap()
    }

    /// Waits until the hub hears that the session's connection is gone; skips all else.
    pub(crate) async fn hear_closed(&mut self) {
        loop {
            if let Heard::Closed(session) = self.hear().await {
                assert_eq!(session, SESSION);
                return;
            }
        }
    }
}

async fn answer(
    mut hub: Hub,
    mut inbox: mpsc::Receiver<Box<ToHub>>,
    tell: mpsc::Sender<Heard>,
    (give, give_cut): (mpsc::Sender<mpsc::Sender<Outgoing>>, mpsc::Sender<oneshot::Sender<()>>),
) {
    while let Some(message) = inbox.recv().await {
        let heard = match *message {
            ToHub::Knock(knock, reply) => {
                tell.send(Heard::Knock).await.unwrap();
                let answer = match &mut hub {
                    Hub::Refuses(refusal) => Verdict::Refused(*refusal),
                    Hub::Admits => Verdict::Admitted(SESSION),
                    Hub::Ponders(word) => {
                        word.await.unwrap();
                        Verdict::Admitted(SESSION)
                    }
                    Hub::Reserves(room) if knock.part.is_none() => {
                        let wanted = room.take(ANSWERS_ROOM_BYTES_MAX).expect_err("taken");
                        reply.send(Verdict::Later(knock, wanted)).expect("somebody waits");
                        continue;
                    }
                    Hub::Reserves(_) => Verdict::Admitted(SESSION),
                };
                if matches!(answer, Verdict::Admitted(_)) {
                    // Fails when the client has hung up meanwhile.
                    knock.outbox.try_send(Outgoing::Response(pong(0))).ok();
                    give.send(knock.outbox).await.unwrap();
                    give_cut.send(knock.cut).await.unwrap();
                }
                reply.send(answer).expect("somebody waits, whatever became of the client");
                continue;
            }
            ToHub::Request(_, request, _) => Heard::Request(request),
            ToHub::Closed(session) => Heard::Closed(session),
            ToHub::RoomService(request, reply) => {
                drop(request);
                let nobody = twirp::Error::new(twirp::Code::NotFound, "nobody is here");
                // Fails when the client has hung up meanwhile.
                drop(reply.send(Err(nobody)));
                continue;
            }
            ToHub::ParticipantPage { reply, .. } => {
                // Endless: there is always somebody more.
                let len = ANSWER_MAX / 4;
                let last = Some(Identity::new("ada"));
                drop(reply.send(ParticipantPage { len, last, ..Default::default() }));
                continue;
            }
            ToHub::RoomPage { names, after, reply } => {
                // Two, one a page; endless for who names what no page can hold.
                let is_endless = names.contains("endless");
                let len = if is_endless { ANSWER_MAX / 4 } else { 5 };
                let name = if after.is_none() { "red" } else { "blue" };
                let room = proto::Room { name: name.into(), ..Default::default() };
                let last = (after.is_none() || is_endless).then_some(RoomId(7));
                drop(reply.send(RoomPage { items: vec![room], len, last }));
                continue;
            }
            ToHub::MayJoin { room, identity, reply, .. } => {
                let is_here = (room.expose(), identity.expose()) == ("den", "eve");
                let answer = match &hub {
                    Hub::Refuses(refusal) if !is_here => Err(*refusal),
                    Hub::Admits | Hub::Refuses(_) | Hub::Ponders(_) | Hub::Reserves(_) => Ok(()),
                };
                reply.send(answer).expect("somebody waits");
                continue;
            }
            ToHub::Worker(_) | ToHub::Census(_) | ToHub::Beat(_) | ToHub::Stop(_) => continue,
        };
        tell.send(heard).await.unwrap();
    }
}

/// The smallest response there is.
pub(crate) fn pong(number: i64) -> Arc<SignalResponse> {
    let message = Some(proto::signal_response::Message::Pong(number));
    Arc::new(SignalResponse { message })
}

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("in time")
}

pub(crate) fn upgrade(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    )
}

pub(crate) fn access(keys: impl IntoIterator<Item = ProjectKey>) -> Arc<Access> {
    let keys = keys.into_iter().map(Into::into);
    Arc::new(Access::new(ProjectKeys::new(RefreshKey::new(&[9; 32]), keys).unwrap()))
}

fn key() -> ProjectKey {
    ProjectKey::hs256_short("devkey", b"secret").unwrap()
}

/// A token of somebody who may join, changed as the test wants.
pub(crate) fn token(change: impl FnOnce(&mut Claims)) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let video = VideoGrant { room: "den".into(), room_join: true, ..VideoGrant::default() };
    let mut claims = Claims {
        identity: "ada".into(),
        expires_at: now.as_secs() + 600,
        video: Some(video),
        ..Claims::default()
    };
    change(&mut claims);
    mint(&key(), &claims)
}

/// The target of a join that is in order.
pub(crate) fn good_join() -> String {
    format!("/rtc/v1?access_token={}&join_request={JOIN_REQUEST}", token(|_| {}))
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Reads until the server closes.
    pub(crate) async fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        soon(stream.read_to_end(&mut bytes)).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A WebSocket client.
pub(crate) struct Client(pub(crate) WebSocketStream<TcpStream>);

impl Client {
    /// The next frame that is no ping.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            match soon(self.0.next()).await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The code of the close frame with which the server ends the session; skips messages. Finishes the
    /// closing handshake.
    pub(crate) async fn close_code(mut self) -> Option<u16> {
        loop {
            if let Message::Close(frame) = self.next().await? {
                while self.next().await.is_some() {}
                return Some(frame?.code.into());
            }
        }
    }
}
