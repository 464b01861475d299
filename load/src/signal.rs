//! The signalling of one client: `/rtc/v1` over a WebSocket, in protobuf.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use wire::grant::VideoGrant;
use wire::key::ProjectKey;
use wire::proto::{
    JoinRequest, SignalRequest, SignalResponse, WrappedJoinRequest, signal_request, signal_response,
};
use wire::token::{Claims, mint};

use crate::Failure;

/// The key pair of `incamera dev`.
const API_KEY: &str = "devkey";
const API_SECRET: &[u8] = b"secret";
const TOKEN_SECONDS: u64 = 3_600;
/// Of an HTTP answer to the upgrade.
const HEAD_LEN_MAX: usize = 8 << 10;
/// Bytes read from the socket at once.
const READ_BUFFER: usize = 1 << 10;

pub(crate) struct Signal(WebSocketStream<TcpStream>);

impl Signal {
    pub(crate) async fn join(
        stream: TcpStream,
        server: SocketAddr,
        room: &str,
        identity: &str,
        request: &JoinRequest,
    ) -> Result<Self, Failure> {
        let mut stream = stream;
        let wrapped =
            WrappedJoinRequest { join_request: request.encode_to_vec(), ..Default::default() };
        let head = format!(
            "GET /rtc/v1?access_token={}&join_request={} HTTP/1.1\r\nhost: {server}\r\n\
             connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            token(room, identity)?,
            URL_SAFE.encode(wrapped.encode_to_vec()).replace('=', "%3D"),
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
            if answer.len() > HEAD_LEN_MAX {
                return Err("an endless answer".into());
            }
        }
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            return Err(String::from_utf8_lossy(&answer).into_owned().into());
        }
        // Ten thousand of them, and what they hold is not to be measured.
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER).write_buffer_size(0);
        Ok(Self(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await))
    }

    /// The next message that says something.
    pub(crate) async fn next(&mut self) -> Result<signal_response::Message, Failure> {
        while let Some(message) = self.0.next().await {
            if let Message::Binary(bytes) = message?
                && let Some(message) = SignalResponse::decode(bytes)?.message
            {
                return Ok(message);
            }
        }
        Err("the server hung up".into())
    }

    pub(crate) async fn send(&mut self, message: signal_request::Message) -> Result<(), Failure> {
        let request = SignalRequest { message: Some(message) };
        Ok(self.0.send(Message::Binary(request.encode_to_vec().into())).await?)
    }
}

fn token(room: &str, identity: &str) -> Result<String, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let video = VideoGrant { room: room.to_owned(), room_join: true, ..VideoGrant::default() };
    let claims = Claims {
        identity: identity.to_owned(),
        expires_at: now + TOKEN_SECONDS,
        video: Some(video),
        ..Claims::default()
    };
    Ok(mint(&ProjectKey::hs256_short(API_KEY, API_SECRET)?, &claims))
}
