//! What an authority is asked over: HTTP under TLS, one connection for each request.
//!
//! Guarantees: an answer is bounded in size and time; nothing is asked without TLS, and nobody whose certificate is not
//! believed; no redirection is followed; however long an authority wants to be waited for, nothing is reckoned with it
//! that could overflow.
//! Not here: what is asked (`order`), whose certificate is believed (`trust`).

use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hyper::body::Bytes;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Request, StatusCode, Uri};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use serde::de::IgnoredAny;
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
/// The longest wait that can be meant: no order takes more than a day.
const WAIT_S_MAX: u64 = 86_400;

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

    /// The same of an order that it wants to be asked about later than an attempt waits for it.
    pub(crate) fn heed(&self, failure: &Failure) {
        if let Some(Error::Timeout(Some(at))) = failure.downcast_ref() {
            let wait = at.saturating_duration_since(Instant::now());
            self.wish.store(whole_seconds(wait), Ordering::Relaxed);
        }
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
            exchange(sealed, request, ANSWER_MAX).await
        };
        let answered = timeout(PATIENCE, answering).await;
        let (mut head, body) =
            answered.map_err(|_| "does not answer in time".into()).flatten().map_err(within)?;
        let wait = settle_wait(&mut head.headers, SystemTime::now());
        let status = head.status;
        if let Some(seconds) = wait
            && (status == StatusCode::TOO_MANY_REQUESTS
                || status == StatusCode::SERVICE_UNAVAILABLE)
        {
            self.wish.store(seconds, Ordering::Relaxed);
        }
        if !status.is_success() && serde_json::from_slice::<IgnoredAny>(&body).is_err() {
            // As of something before the authority. Whoever reads on would say that this is no JSON.
            return Err(within(format!("says {status}").into()));
        }
        Ok(BytesResponse { parts: head, body: Box::new(body) })
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

/// For how many seconds the authority wants to be waited for. Whoever reads the head after this, and reckons with what
/// it finds, finds seconds, a day of them at most, or nothing.
fn settle_wait(head: &mut HeaderMap, now: SystemTime) -> Option<u64> {
    let said = head.remove(RETRY_AFTER)?;
    let seconds = seconds(said.to_str().ok()?.trim(), now)?;
    if seconds <= WAIT_S_MAX {
        head.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    Some(seconds)
}

/// As RFC 9110 §10.2.3 has it: seconds, or a date.
fn seconds(said: &str, now: SystemTime) -> Option<u64> {
    if !said.is_empty() && said.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(said.parse().unwrap_or(u64::MAX));
    }
    let date = httpdate::parse_http_date(said).ok()?;
    Some(whole_seconds(date.duration_since(now).unwrap_or_default()))
}

/// None of them too few.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What is made of it, and what is left for others to read.
    fn settled(said: &str, now: SystemTime) -> (Option<u64>, Option<u64>) {
        let mut head = HeaderMap::new();
        head.insert(RETRY_AFTER, HeaderValue::from_str(said).unwrap());
        let wait = settle_wait(&mut head, now);
        let left = head.get(RETRY_AFTER);
        (wait, left.map(|left| left.to_str().unwrap().parse().unwrap()))
    }

    #[test]
    fn however_long_an_authority_wants_to_be_waited_for_it_can_be_reckoned_with() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (said, wait, left) in [
            ("0", Some(0), Some(0)),
            (" 30 ", Some(30), Some(30)),
            ("86400", Some(86_400), Some(86_400)),
            ("86401", Some(86_401), None),
            ("18446744073709551615", Some(u64::MAX), None),
            ("99999999999999999999999999", Some(u64::MAX), None),
            ("Fri, 15 Jan 2027 08:10:00 GMT", Some(600), Some(600)),
            ("Friday, 15-Jan-27 08:10:00 GMT", Some(600), Some(600)),
            ("Fri Jan 15 08:10:00 2027", Some(600), Some(600)),
            ("Fri, 31 Dec 1999 23:59:59 GMT", Some(0), Some(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(251_602_300_799), None),
            ("", None, None),
            ("-1", None, None),
            ("+5", None, None),
            ("1.5", None, None),
            ("soon", None, None),
        ] {
            assert_eq!(settled(said, now), (wait, left), "{said}");
        }
        let earlier = now - Duration::from_millis(1);
        assert_eq!(
            settled("Fri, 15 Jan 2027 08:10:00 GMT", earlier).0,
            Some(601),
            "not too early by a part of a second"
        );
        assert_eq!(settle_wait(&mut HeaderMap::new(), now), None);
    }
}
