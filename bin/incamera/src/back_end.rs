//! Asking a server over its server API, as a customer's back end does.
//!
//! Owns: where the server is, with what right it is asked, one request and its answer.
//! Guarantees: an answer is bounded in size and time; the token goes into a header, never into an address; what a
//! server says of its refusal does not steer the terminal.
//! Not here: what is asked (`room`), whose certificate is believed (`trust`).

use std::cell::OnceCell;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use std::{env, fs};

use clap::Args;
use edge::listener::TLS_SPOKEN_HERE;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::http::response::Parts;
use hyper::{Method, Request, Uri, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::time::timeout;
use wire::grant::VideoGrant;
use wire::limits::TOKEN_MAX;
use wire::token::Claims;
use zeroize::Zeroizing;

use crate::exchange::exchange;
use crate::token::Signing;
use crate::trust::Trust;
use crate::{Failure, harmless};

const URL_VARIABLE: &str = "INCAMERA_URL";
const URL_DEFAULT: &str = "http://127.0.0.1:7880";
const NO_URL: &str = "a server's address is wanted, as http://127.0.0.1:7880";
const STANDARD_INPUT: &str = "/dev/stdin";
const TOKEN_VARIABLE: &str = "INCAMERA_TOKEN";
/// How long a token of ours is good: for one request, between clocks that differ.
const TOKEN_TIME_S: u64 = 60;
/// Bytes of an answer: what a server gives at most, in JSON.
const ANSWER_MAX: usize = 256 << 20;
/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Which server is asked, and with what right.
#[derive(Args)]
pub(crate) struct BackEnd {
    /// The server [default: INCAMERA_URL, else http://127.0.0.1:7880]
    #[arg(long, value_name = "URL")]
    url: Option<Uri>,
    /// Authorities for https, as PEM [default: SSL_CERT_FILE, else the system's]
    #[arg(long, value_name = "PATH")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
    /// Read a token from standard input instead of signing one [default: INCAMERA_TOKEN, if it is set]
    #[arg(long, conflicts_with_all = ["api_key", "api_secret", "api_secret_file", "private_key_file"])]
    token_stdin: bool,
    /// What was read there: it is there once, and a command may ask twice.
    #[arg(skip)]
    token_read: OnceCell<Zeroizing<String>>,
}

/// What a server says of a request that it refuses.
#[derive(Deserialize)]
struct Refusal {
    code: String,
    msg: String,
}

impl BackEnd {
    /// Asks for a method of RoomService; `grant` is the right that it needs. Gives the answer as JSON.
    pub(crate) fn ask(
        &self,
        method: &str,
        request: &impl Serialize,
        grant: VideoGrant,
    ) -> Result<String, Failure> {
        let url = self.url()?;
        let place = Place::of(&url)?;
        let trust = place.is_sealed.then(|| Trust::new(self.ca_file.as_deref(), "--ca-file"));
        let trust = trust.transpose()?;
        let token = self.token(grant)?;
        let body = serde_json::to_vec(request)?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (head, bytes) = runtime.block_on(async {
            let request = place.request(method, &token, body)?;
            let asking = place.ask(trust.as_ref(), request);
            timeout(PATIENCE, asking).await.map_err(|_| "the server does not answer in time")?
        })?;
        let status = head.status.as_u16();
        let answer = String::from_utf8(bytes.into()).map_err(|_| "the answer is no text")?;
        if status == 200 {
            return Ok(answer);
        }
        match serde_json::from_str::<Refusal>(&answer) {
            Ok(Refusal { code, msg }) => {
                let (code, msg) = (harmless::text(&code), harmless::text(&msg));
                Err(format!("the server refuses: {msg} ({code})").into())
            }
            Err(_) if answer.contains(TLS_SPOKEN_HERE) => {
                Err("the server speaks TLS: ask it as https://".into())
            }
            Err(_) => Err(format!("this is no server of ours: it answers {status}").into()),
        }
    }

    /// As [`Self::ask`], with the answer read.
    pub(crate) fn ask_for<T: DeserializeOwned>(
        &self,
        method: &str,
        request: &impl Serialize,
        grant: VideoGrant,
    ) -> Result<(T, String), Failure> {
        let answer = self.ask(method, request, grant)?;
        let read = serde_json::from_str(&answer);
        Ok((read.map_err(|_| "the answer cannot be read: another version's?")?, answer))
    }

    /// Whether the token is read where this file is, which then has nothing else.
    pub(crate) fn takes_token_from(&self, path: &Path) -> bool {
        let found = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
        let of_token = || found(Path::new(STANDARD_INPUT));
        self.token_stdin
            && matches!((found(path), of_token()), (Ok(one), Ok(other)) if one == other)
    }

    fn url(&self) -> Result<Uri, Failure> {
        match (&self.url, env::var(URL_VARIABLE)) {
            (Some(url), _) => Ok(url.clone()),
            (None, Ok(text)) => Ok(text.parse().map_err(|_| NO_URL)?),
            (None, Err(_)) => Ok(Uri::from_static(URL_DEFAULT)),
        }
    }

    /// The one that is given, or one that is signed here.
    fn token(&self, video: VideoGrant) -> Result<Zeroizing<String>, Failure> {
        if self.token_stdin {
            let token = match self.token_read.get() {
                Some(token) => token,
                None => {
                    let token = read_token()?;
                    self.token_read.get_or_init(|| token)
                }
            };
            return Ok(token.clone());
        }
        if !self.signing.is_given()
            && let Ok(token) = env::var(TOKEN_VARIABLE)
        {
            return Ok(token.into());
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
        let claims = Claims {
            not_before: Some(now),
            expires_at: now.saturating_add(TOKEN_TIME_S),
            video: Some(video),
            ..Claims::default()
        };
        self.signing.mint(&claims).map(Zeroizing::new)
    }
}

fn read_token() -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let limit = u64::try_from(TOKEN_MAX)?.saturating_add(1);
    io::stdin().take(limit).read_to_string(&mut text)?;
    Ok(text.trim().to_owned().into())
}

/// Where a server is.
struct Place<'a> {
    host: &'a str,
    port: u16,
    is_sealed: bool,
    /// What every path there begins with, without a slash at its end.
    base: &'a str,
}

impl<'a> Place<'a> {
    fn of(url: &'a Uri) -> Result<Self, Failure> {
        let is_sealed = match url.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") => true,
            _ => return Err(NO_URL.into()),
        };
        let host = url.host().ok_or("--url names no host")?.trim_matches(['[', ']']);
        let port = url.port_u16().unwrap_or(if is_sealed { 443 } else { 80 });
        Ok(Self { host, port, is_sealed, base: url.path().trim_end_matches('/') })
    }

    fn named(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    fn request(
        &self,
        method: &str,
        token: &str,
        body: Vec<u8>,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}/twirp/livekit.RoomService/{method}", self.base))
            .header(header::HOST, self.named())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::new(Bytes::from(body)))?;
        Ok(request)
    }

    async fn ask(
        &self,
        trust: Option<&Trust>,
        request: Request<Full<Bytes>>,
    ) -> Result<(Parts, Bytes), Failure> {
        let stream = TcpStream::connect((self.host, self.port)).await;
        let stream = stream.map_err(|error| format!("cannot reach {}: {error}", self.named()))?;
        if let Some(trust) = trust {
            return exchange(trust.greet(self.host, stream).await?, request, ANSWER_MAX).await;
        }
        let address = stream.peer_addr()?.ip();
        if !address.is_loopback() {
            warn_of_clear_text(address)?;
        }
        exchange(stream, request, ANSWER_MAX).await
    }
}

fn warn_of_clear_text(address: IpAddr) -> io::Result<()> {
    writeln!(io::stderr(), "incamera: the token goes to {address} without TLS")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_as_sdks_take_it() {
        let check = |text: &str| {
            let url: Uri = text.parse().unwrap();
            let place = Place::of(&url).ok()?;
            Some(format!("{} {} {}", place.is_sealed, place.named(), place.base))
        };
        assert_eq!(check("http://127.0.0.1:7880").as_deref(), Some("false 127.0.0.1:7880 "));
        assert_eq!(check("ws://calls.example/").as_deref(), Some("false calls.example:80 "));
        assert_eq!(check("http://[::1]:7880/base/").as_deref(), Some("false [::1]:7880 /base"));
        assert_eq!(check("https://calls.example").as_deref(), Some("true calls.example:443 "));
        assert_eq!(check("wss://[fd00::7]:1").as_deref(), Some("true [fd00::7]:1 "));
        assert_eq!(check("ftp://calls.example"), None);
        assert_eq!(check("127.0.0.1:7880"), None);
    }
}
