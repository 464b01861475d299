//! Answers HTTP: health, the two paths of signalling, the server API, the call page.
//!
//! Owns: which path is which, what a refusal looks like to an HTTP client, CORS.
//! Guarantees: nothing is parsed of a request line that is too long; a refusal says its reason and
//! nothing of the token or the request; no address is logged, since tokens ride in them.
//! Not here: connections (`listener`), sessions (`socket`), the server API (`api`), whether a token is good
//! (`wire`), whether there is room (`hub`).
//! Source: LiveKit `pkg/service/rtcservice.go` and `server.go`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use model::RoomName;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout_at;
use wire::access::Access;
use wire::join::{self, JoinError, JoinQuery, Profile};
use wire::limits::REQUEST_LINE_MAX;
use wire::proto::JoinRequest;
use wire::room_service;
use wire::token::{TokenError, VerifiedToken};
use wire::twirp;

use crate::api::{self, Api};
use crate::config::Limits;
use crate::limits::{HEAD_MAX, OUTBOX_MAX};
use crate::listener::{Phase, Seats};
use crate::metrics::Metrics;
use crate::networks::{Networks, Whereabouts};
use crate::page;
use crate::pulse::Pulse;
use crate::session::{Decoding, Knock, Refusal, SessionId, ToHub, Verdict};
use crate::socket::{Admission, Handshake, Seat};
use crate::tls::Shown;
use crate::unfinished::Unfinished;
use crate::visits::Visits;

/// What `/livez` says, whether or not participants may be sent here.
pub const ALIVE: &str = "alive\n";
/// What is said while an authority has given none.
const NO_CERTIFICATE: &str = "no certificate yet";

/// When whoever came at a busy time may try again: several times what it takes to notice that there is room.
const RETRY_AFTER_S: u16 = 5;

/// What every connection needs to answer.
#[derive(Debug)]
pub struct Front {
    /// Whose tokens let in.
    pub access: watch::Receiver<Arc<Access>>,
    /// Who decides about joins.
    pub hub: mpsc::Sender<Box<ToHub>>,
    /// What may be on its way there, decoded.
    pub decoding: Decoding,
    /// What may have begun to come and not be whole.
    pub unfinished: Unfinished,
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
    /// What connections may cost.
    pub limits: Limits,
    /// Whether joins are still taken, and when to end.
    pub phase: watch::Receiver<Phase>,
    /// What the server API holds.
    pub api: Api,
    /// Whether the hub and the workers answer.
    pub pulse: Arc<Pulse>,
    /// What one network may have.
    pub networks: Networks,
    /// How often one token may ask to come in.
    pub visits: Visits,
    /// The certificate that clients are shown, under TLS.
    pub shown: Option<watch::Receiver<Shown>>,
}

/// Why a request is not answered as it wishes.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("request line is too long")]
    LineTooLong,
    #[error("request head is too long")]
    HeadTooLong,
    #[error("no token: send `Authorization: Bearer …` or `?access_token=…`")]
    NoToken,
    #[error("{0}")]
    Token(TokenError),
    #[error("join_request is required")]
    NoJoinRequest,
    #[error("{0}")]
    Join(JoinError),
    #[error("{0}")]
    Handshake(&'static str),
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("{0}")]
    NotAllowed(&'static str),
    // The client SDK for JavaScript looks for these words.
    #[error("requested room does not exist")]
    NoRoom,
    #[error("the room is full")]
    RoomFull,
    #[error("{0}")]
    Unavailable(&'static str),
    #[error("the node is too busy for newcomers: try again in a while, or another one")]
    Busy,
    #[error("too much of what others are told of large rooms is unread: try again in a while")]
    Crowded,
    #[error("too many wrong tokens came from your network: try again in a while")]
    TooManyWrong,
    #[error("too many requests came from your network: try again in a while")]
    TooMany,
    #[error("too many requests to join with this token: try again in a while")]
    TooOften,
    #[error("the same participant has come in by a later request")]
    Overtaken,
    #[error("no such path")]
    NoPath,
    #[error("this server speaks /rtc/v1 alone: clients with one peer connection")]
    OldPath,
    /// The same as an answer to why a join failed: livekit-client takes a 404 for a server that speaks nothing but the
    /// old protocol, and then asks on the old path without end.
    #[error("this server speaks /rtc/v1 alone: clients with one peer connection")]
    OldClient,
    #[error(
        "a join is a WebSocket, and this request asks for none: does a proxy leave out `Upgrade`?"
    )]
    NoUpgrade,
    #[error("method not allowed")]
    NoMethod,
}

/// Which of LiveKit's two signalling paths was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// `/rtc`: with a `join_request` the same as the other; without one it is the older protocol,
    /// which is not spoken here, and 404 is how its clients hear of that.
    Unversioned,
    /// `/rtc/v1`.
    V1,
}

/// Somebody whose token lets in.
struct Visitor {
    token: VerifiedToken,
    admission: join::Admission,
    join: Option<JoinRequest>,
}

impl Front {
    /// Answers one request.
    pub(crate) async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let (mut parts, body) = request.into_parts();
        let length = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if length > REQUEST_LINE_MAX {
            return Ok(ended(with_cors(Refused::LineTooLong.answer())));
        }
        if head_length(&parts) > HEAD_MAX {
            return Ok(ended(with_cors(Refused::HeadTooLong.answer())));
        }
        // Another OPTIONS is a question like any other: HAProxy asks a node's health by it.
        let is_preflight = parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if parts.method == Method::OPTIONS && is_preflight {
            let answer = with_cors(StatusCode::NO_CONTENT.into_response());
            return Ok(if parts.uri.query().is_some() { ended(answer) } else { answer });
        }
        // Base addresses that end in a slash give two (LiveKit tolerates it, and tests that it does).
        let path = parts.uri.path().trim_start_matches('/').to_owned();
        if let Some(page) = page_path(&path) {
            let answered = must_be_get(&parts.method).map(|()| page::answer(page, &parts.headers));
            return Ok(answered.unwrap_or_else(|refused| refused.answer()));
        }
        if let Some(method) = path.strip_prefix(room_service::PREFIX) {
            return Ok(ended(with_cors(self.room_service(method, &parts, body).await)));
        }
        if path.starts_with(twirp::PREFIX) {
            return Ok(ended(with_cors(api::unserved(&path))));
        }
        let shows_token = path.starts_with("rtc");
        let answered = match path.as_str() {
            "" => must_be_check(&parts.method).map(|()| self.health()),
            "livez" => must_be_check(&parts.method).map(|()| ALIVE.into_response()),
            "readyz" => must_be_check(&parts.method).map(|()| self.readiness()),
            "rtc" => self.join(Version::Unversioned, &mut parts).await,
            "rtc/v1" => self.join(Version::V1, &mut parts).await,
            "rtc/validate" => self.validate(Version::Unversioned, &parts).await,
            "rtc/v1/validate" => self.validate(Version::V1, &parts).await,
            _ => Err(Refused::NoPath),
        };
        let is_strangers = answered.as_ref().err().is_some_and(Refused::is_strangers);
        let response = with_cors(answered.unwrap_or_else(|refused| refused.answer()));
        let goes_on = is_strangers || response.status() == StatusCode::SWITCHING_PROTOCOLS;
        Ok(if shows_token && !goes_on { ended(response) } else { response })
    }

    /// Answers one request more than its network may send.
    pub(crate) fn refuse_more(&self) -> Response<Body> {
        self.metrics.http_over_budget.count();
        with_cors(Refused::TooMany.answer())
    }

    /// As LiveKit answers: what clients and its load balancers ask before they connect.
    fn health(&self) -> Response<Body> {
        match self.pulse.silent(Instant::now()) {
            None => "OK".into_response(),
            Some(_) => (StatusCode::NOT_ACCEPTABLE, "Not Ready\n").into_response(),
        }
    }

    /// Answers under a certificate that no client should accept: whether we live, and that there is none yet.
    pub(crate) fn without_certificate(&self, request: &Request<Incoming>) -> Response<Body> {
        let answer = match request.uri().path().trim_start_matches('/') {
            "livez" => must_be_check(request.method()).map(|()| ALIVE.into_response()),
            "readyz" => must_be_check(request.method()).map(|()| self.readiness()),
            _ => Err(Refused::Unavailable(NO_CERTIFICATE)),
        };
        with_cors(answer.unwrap_or_else(|refused| refused.answer()))
    }

    /// What is amiss with the certificate that clients are shown.
    fn certificate_fault(&self) -> Option<&'static str> {
        let valid_to = self.shown.as_ref()?.borrow().valid_to();
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        match valid_to {
            None => Some(NO_CERTIFICATE),
            Some(valid_to) if valid_to < since.as_secs() => Some("the certificate has expired"),
            Some(_) => None,
        }
    }

    /// Whether new participants should be sent here.
    fn readiness(&self) -> Response<Body> {
        let unready = if *self.phase.borrow() != Phase::Open {
            Some("stopping".to_owned())
        } else if let Some(silent) = self.pulse.silent(Instant::now()) {
            Some(format!("{silent} does not answer"))
        } else if self.pulse.is_busy() {
            Some("busy: the media workers have too much to do for anybody new".to_owned())
        } else if self.pulse.participants() >= self.limits.participants {
            Some("full: as many participants as the node takes are here".to_owned())
        } else {
            self.certificate_fault().map(str::to_owned)
        };
        match unready {
            None => "ready\n".into_response(),
            Some(reason) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
            }
        }
    }

    /// Everything that a join is judged by, and whether there is a place for it: clients ask it after a failed join, to
    /// learn why. Without a `join_request`, token and room alone are judged.
    async fn validate(&self, version: Version, parts: &Parts) -> Result<Response<Body>, Refused> {
        must_be_get(&parts.method)?;
        self.must_be_open()?;
        let visitor = self.admit(version, parts).map_err(|refused| {
            if matches!(refused, Refused::TooOften) {
                self.metrics.validations_refused_rate.count();
            }
            if matches!(refused, Refused::OldPath) { Refused::OldClient } else { refused }
        })?;
        self.must_have_place(visitor).await?;
        Ok("success".into_response())
    }

    /// Whether the hub would find a place. Who resumes has one, or is told in its session to come afresh.
    async fn must_have_place(&self, visitor: Visitor) -> Result<(), Refused> {
        if visitor.join.is_some_and(|join| join.reconnect) {
            return Ok(());
        }
        let stopping = || Refused::Unavailable("node is stopping");
        let (reply, answer) = oneshot::channel();
        let join::Admission { room, identity } = visitor.admission;
        let kind = visitor.token.kind;
        let asked = self.hub.send(Box::new(ToHub::MayJoin { room, identity, kind, reply })).await;
        asked.map_err(|_| stopping())?;
        Ok(answer.await.map_err(|_| stopping())??)
    }

    async fn join(&self, version: Version, parts: &mut Parts) -> Result<Response<Body>, Refused> {
        let accept = match Handshake::read(&parts.method, &parts.headers) {
            Handshake::Accept(accept) => accept,
            Handshake::Wrong(reason) => return Err(Refused::Handshake(reason)),
            Handshake::NotAsked => return Err(not_asked(version, parts)),
        };
        let (Some(upgrade), Some(Seats(seats))) =
            (parts.extensions.remove::<OnUpgrade>(), parts.extensions.remove::<Seats>())
        else {
            return Err(Refused::Handshake("this connection cannot become a WebSocket"));
        };
        let outcome = self.seat(version, parts, upgrade).await;
        match outcome {
            Ok(seat) => {
                self.metrics.joins_admitted.count();
                // There is one answer that upgrades in a connection, so there is a place for it.
                drop(seats.try_send(seat));
                Ok(switching_protocols(&accept))
            }
            Err(refused) => {
                refused.count(&self.metrics);
                Err(refused)
            }
        }
    }

    async fn seat(
        &self,
        version: Version,
        parts: &Parts,
        upgrade: OnUpgrade,
    ) -> Result<Seat, Refused> {
        self.must_be_open()?;
        let visitor = self.admit(version, parts)?;
        let join = visitor.join.ok_or(Refused::NoJoinRequest)?;
        let (outbox, messages) = mpsc::channel(OUTBOX_MAX);
        let (cut, is_cut) = oneshot::channel();
        let token = visitor.token;
        let knock = Box::new(Knock { token, join, outbox, cut, part: None, session: None });
        let (hub, answer_wait) = (self.hub.clone(), self.limits.answer_wait);
        // In a task of its own: when the client hangs up meanwhile, hyper drops this future, but an
        // admission by then on its way must still reach its end and be dropped there.
        let knocking = tokio::spawn(async move {
            let session = knock_until_answered(&hub, knock, answer_wait).await;
            session.map(|session| Admission { session, hub })
        });
        match knocking.await {
            Ok(Ok(admission)) => Ok(Seat { upgrade, admission, outbox: messages, is_cut }),
            Ok(Err(refusal)) => Err(refusal.into()),
            Err(_) => Err(Refused::Unavailable("the join failed")),
        }
    }

    fn must_be_open(&self) -> Result<(), Refused> {
        match *self.phase.borrow() {
            Phase::Open => Ok(()),
            Phase::Stopping | Phase::Closing => Err(Refused::Unavailable("node is stopping")),
        }
    }

    fn admit(&self, version: Version, parts: &Parts) -> Result<Visitor, Refused> {
        let query = JoinQuery::parse(parts.uri.query().unwrap_or_default());
        let query = query.map_err(Refused::Join)?;
        if version == Version::Unversioned && query.join_request.is_none() {
            return Err(Refused::OldPath);
        }
        let from_query = query.access_token.as_ref().map(|token| token.expose().as_str());
        let text = bearer(&parts.headers).or(from_query).ok_or(Refused::NoToken)?;
        let token = self.believe(parts, text).map_err(|disbelief| match disbelief {
            Disbelief::Wrong(error) => Refused::Token(error),
            Disbelief::Unheard => Refused::TooManyWrong,
        })?;
        // Whatever comes of it: one that admits nowhere was judged as well.
        let room = token.claims.video.as_ref().map_or("", |video| &video.room);
        if !self.visits.may_come(&token, &RoomName::new(room)) {
            return Err(Refused::TooOften);
        }
        let admission = join::admission(&token.claims).map_err(Refused::Join)?;
        let config = token.claims.room_config();
        config.map_err(|error| Refused::Join(JoinError::RoomConfig(error)))?;
        let decoded = query.join_request.as_deref().map(|request| {
            let (decoded, inflated) = join::decode_counted(request);
            self.visits.charge(&token, &admission.room, inflated);
            decoded
        });
        let join = decoded.transpose().map_err(Refused::Join)?;
        if let Some(join) = &join {
            Profile::of_join(&token.claims, join).map_err(Refused::Join)?;
        }
        Ok(Visitor { token, admission, join })
    }
}

impl Front {
    /// Judges a token, unless too many wrong ones have come from its network.
    pub(crate) fn believe(&self, parts: &Parts, token: &str) -> Result<VerifiedToken, Disbelief> {
        let whereabouts = parts.extensions.get::<Whereabouts>().copied();
        if whereabouts.is_some_and(|whereabouts| !self.networks.may_show_token(whereabouts)) {
            self.metrics.tokens_over_budget.count();
            return Err(Disbelief::Unheard);
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let access = Arc::clone(&self.access.borrow());
        let believed = access.verify(token, now.as_secs());
        if let (Err(_), Some(whereabouts)) = (&believed, whereabouts) {
            self.networks.showed_wrong_token(whereabouts);
        }
        believed.map_err(Disbelief::Wrong)
    }
}

/// What is said to a request to join that asks for no WebSocket.
fn not_asked(version: Version, parts: &Parts) -> Refused {
    let query = JoinQuery::parse(parts.uri.query().unwrap_or_default());
    match version {
        Version::Unversioned if query.is_ok_and(|query| query.join_request.is_none()) => {
            Refused::OldPath
        }
        Version::Unversioned | Version::V1 => Refused::NoUpgrade,
    }
}

/// Knocks, and again when there is room for what is told of the room, unless the client has hung up by then.
async fn knock_until_answered(
    hub: &mpsc::Sender<Box<ToHub>>,
    mut knock: Box<Knock>,
    time_max: Duration,
) -> Result<SessionId, Refusal> {
    const STOPPING: Refusal = Refusal::Unavailable("node is stopping");
    const HUNG_UP: Refusal = Refusal::Unavailable("the client has hung up");
    let until = tokio::time::Instant::now() + time_max;
    loop {
        let (reply, answer) = oneshot::channel();
        hub.send(Box::new(ToHub::Knock(knock, reply))).await.map_err(|_| STOPPING)?;
        match answer.await.map_err(|_| STOPPING)? {
            Verdict::Admitted(session) => return Ok(session),
            Verdict::Refused(refusal) => return Err(refusal),
            Verdict::Later(again, wanted) => {
                knock = again;
                let part = tokio::select! {
                    biased;
                    // Dropped with the request.
                    () = knock.outbox.closed() => return Err(HUNG_UP),
                    part = timeout_at(until, wanted.wait()) => part.map_err(|_| Refusal::Crowded)?,
                };
                knock.part = Some(part);
            }
        }
    }
}

/// Why a token is not believed.
pub(crate) enum Disbelief {
    /// It is not good.
    Wrong(TokenError),
    /// It was not looked at: see [`Networks::may_show_token`].
    Unheard,
}

/// What is asked of the call page, if the path is one of its.
fn page_path(path: &str) -> Option<&str> {
    match path.strip_prefix("call")? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

/// Bytes of a head, written in the shortest way. hyper looks at its bound only while a head goes on, so that one
/// that comes in few pieces may be longer than it.
fn head_length(parts: &Parts) -> usize {
    const LINE: usize = "  HTTP/1.1\r\n".len();
    const HEADER: usize = ": \r\n".len();
    const END: usize = "\r\n".len();
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + HEADER + value.len());
    LINE + parts.method.as_str().len() + target + headers.sum::<usize>() + END
}

fn must_be_get(method: &Method) -> Result<(), Refused> {
    if method == Method::GET || method == Method::HEAD { Ok(()) } else { Err(Refused::NoMethod) }
}

/// What a load balancer may ask by: HAProxy says OPTIONS if it is told nothing else.
fn must_be_check(method: &Method) -> Result<(), Refused> {
    if method == Method::OPTIONS { Ok(()) } else { must_be_get(method) }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What the buffers of an open connection still hold of a token, of names and metadata is not ours to zero, and the
/// sessions that they are of may begin and end on others: it ends with this answer.
fn ended(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    let value = if headers.contains_key(header::UPGRADE) { "upgrade, close" } else { "close" };
    headers.insert(header::CONNECTION, HeaderValue::from_static(value));
    response
}

fn switching_protocols(accept: &str) -> Response<Body> {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Any page may talk to us: what protects a room is its token. Refusals carry these too, since a
/// browser shows a page nothing of an answer without them.
fn with_cors(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "OPTIONS, HEAD, GET, POST, PATCH, DELETE"),
        // The star does not stand for this one (Fetch §4.10).
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*, authorization"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BadRequest(reason) => Self::BadRequest(reason),
            Refusal::NotAllowed(reason) => Self::NotAllowed(reason),
            Refusal::NoRoom => Self::NoRoom,
            Refusal::RoomFull => Self::RoomFull,
            Refusal::Unavailable(reason) => Self::Unavailable(reason),
            Refusal::Busy => Self::Busy,
            Refusal::Overtaken => Self::Overtaken,
            Refusal::TooOften => Self::TooOften,
            Refusal::Crowded => Self::Crowded,
        }
    }
}

impl Refused {
    fn status(&self) -> StatusCode {
        match self {
            Self::Join(error) => {
                StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST)
            }
            Self::LineTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NoToken | Self::Token(_) | Self::NotAllowed(_) => StatusCode::UNAUTHORIZED,
            Self::NoJoinRequest | Self::Handshake(_) | Self::BadRequest(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::RoomFull | Self::OldClient => StatusCode::FORBIDDEN,
            Self::NoRoom | Self::NoPath | Self::OldPath => StatusCode::NOT_FOUND,
            Self::NoUpgrade => StatusCode::UPGRADE_REQUIRED,
            Self::NoMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Overtaken => StatusCode::CONFLICT,
            Self::TooManyWrong | Self::TooMany | Self::TooOften => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) | Self::Busy | Self::Crowded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// There was no token, or one was looked at that nobody of ours has signed.
    fn is_strangers(&self) -> bool {
        matches!(self, Self::NoToken) || matches!(self, Self::Token(error) if error.is_strangers())
    }

    fn count(&self, metrics: &Metrics) {
        if matches!(self, Self::Busy) {
            return metrics.joins_refused_busy.count();
        }
        if matches!(self, Self::TooOften) {
            return metrics.joins_refused_rate.count();
        }
        if matches!(self, Self::Crowded) {
            return metrics.joins_refused_crowded.count();
        }
        let counter = match self.status() {
            StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS => {
                &metrics.joins_refused_token
            }
            StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => &metrics.joins_refused_room,
            StatusCode::SERVICE_UNAVAILABLE => &metrics.joins_refused_unavailable,
            _ => &metrics.joins_refused_request,
        };
        counter.count();
    }

    fn answer(&self) -> Response<Body> {
        let mut response = (self.status(), format!("{self}\n")).into_response();
        if matches!(self, Self::NoMethod) {
            let allowed = HeaderValue::from_static("GET, HEAD, OPTIONS");
            response.headers_mut().insert(header::ALLOW, allowed);
        }
        if matches!(self, Self::NoUpgrade) {
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let comes_again = matches!(self, Self::Busy | Self::Crowded | Self::TooManyWrong);
        let is_too_much = matches!(self, Self::TooMany | Self::TooOften);
        if comes_again || is_too_much {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
        }
        if is_too_much {
            // It was read, and maybe its token judged; who goes on pays for connections, of which its network has a
            // rate.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
