//! What an authority is asked over: HTTP under TLS, one connection for each request.
//!
//! Guarantees: an answer is bounded in size and time; nothing is asked without TLS, and nobody whose certificate is not
//! believed; no redirection is followed.
//! Not here: what is asked (`order`), whose certificate is believed (`trust`).

use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER};
use hyper::{Request, StatusCode, Uri};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::Failure;
use crate::exchange::exchange;
use crate::trust::Trust;

/// How long one of its addresses may keep us waiting for a connection, so that the next has a turn.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer: a chain has some thousands, a directory fewer.
const ANSWER_MAX: usize = 1 << 20;

/// Asks an authority.
#[derive(Clone)]
pub(crate) struct Client {
    trust: Trust,
    /// The seconds for which the authority wants to be left alone, as it said last; zero if it did not.
    wish: Arc<AtomicU64>,
}

impl Client {
    pub(crate) fn new(trust: Trust) -> Self {
        Self { trust, wish: Arc::new(AtomicU64::new(0)) }
    }

    /// Reads what is at an address: status and body.
    pub(crate) async fn get(&self, url: &str) -> Result<(StatusCode, Bytes), Failure> {
        let request = Request::get(url).body(BodyWrapper::default())?;
        let mut answer = self.clone().ask(request).await?;
        Ok((answer.parts.status, answer.body.into_bytes().await?))
    }

    /// For how many seconds the authority wants to be left alone, if it has said so since this was last asked.
    pub(crate) fn take_wish(&self) -> Option<u64> {
        Some(self.wish.swap(0, Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }

    async fn ask(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Failure> {
        let uri = request.uri().clone();
        let host = uri.host().unwrap_or_default().to_owned();
        let named = uri.authority().map(ToString::to_string).unwrap_or_default();
        let within = |failure: Failure| -> Failure { format!("{named}: {failure}").into() };
        let answering = async {
            let request = origin_form(request)?;
            let address = (host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(443));
            let stream = connect(address).await?;
            let sealed = self.trust.greet(address.0, stream).await?;
            let (head, body) = exchange(sealed, request, ANSWER_MAX).await?;
            Ok::<_, Failure>(BytesResponse { parts: head, body: Box::new(body) })
        };
        let answered = timeout(PATIENCE, answering).await;
        let answer =
            answered.map_err(|_| "does not answer in time".into()).flatten().map_err(within)?;
        self.note(&answer);
        Ok(answer)
    }

    /// Remembers for how long the authority wants to be left alone.
    fn note(&self, answer: &BytesResponse) {
        let status = answer.parts.status;
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = answer.parts.headers.get(RETRY_AFTER).and_then(seconds);
            if let Some(seconds) = seconds {
                self.wish.store(seconds, Ordering::Relaxed);
            }
        }
    }
}

/// To the first of a name's addresses that answers.
async fn connect(address: (&str, u16)) -> Result<TcpStream, Failure> {
    let mut failure: Failure = "its name has no address".into();
    for address in lookup_host(address).await? {
        match timeout(CONNECT_PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = error.into(),
            Err(_) => failure = "does not answer in time".into(),
        }
    }
    Err(failure)
}

/// As RFC 9110 §10.2.3 has it in its shorter form; a date is not looked at.
fn seconds(value: &HeaderValue) -> Option<u64> {
    u64::from_str(value.to_str().ok()?.trim()).ok()
}

/// The request as it is said to the server itself, without TLS not at all.
fn origin_form(
    mut request: Request<BodyWrapper<Bytes>>,
) -> Result<Request<BodyWrapper<Bytes>>, Failure> {
    let uri = request.uri();
    if uri.scheme_str() != Some("https") {
        return Err("is not asked without TLS".into());
    }
    let host = uri.authority().ok_or("names no host")?.as_str().to_owned();
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    *request.uri_mut() = Uri::from_str(&path)?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(&host)?);
    request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let asking = self.clone().ask(request);
        Box::pin(async move { asking.await.map_err(Error::Other) })
    }
}
