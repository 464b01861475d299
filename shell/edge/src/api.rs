//! The server API over HTTP: a back end's request from its address to its answer.
//!
//! Owns: the order in which a request is judged, its body, how many are served at once and in a second, and what came
//! of them.
//! Guarantees: no body is read for a token without the right; a refusal is Twirp's and repeats nothing of the
//! request; a body and an answer have their time and their length; a connection ends with its answer, and with
//! it what was read and written there; a large answer keeps neither the hub nor signalling waiting.
//! Not here: which method needs which right (`wire::room_service`), what a request causes (`hub`).
//! Source: LiveKit `pkg/service/server.go`, `pkg/service/auth.go`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method as Verb, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use futures_util::StreamExt as _;
use hyper::body::Incoming;
use model::{LogData, RoomName};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wire::frame::Encoding;
use wire::limits::API_BODY_MAX;
use wire::room_service::{DENIED, Method, Request, Response as Answer};
use wire::token::{TokenError, TokenId, TokenKind, VerifiedToken};
use wire::twirp::{self, Code, Error};

use crate::budget::{Rate, SharedBudget};
use crate::http::{Disbelief, Front, bearer};
use crate::limits::{
    ANSWER_MAX, ANSWER_TIME_MAX, API_KEY_BURST, API_KEY_PER_SECOND, API_REQUESTS_EACH_MAX,
    API_REQUESTS_MAX, API_TOKEN_BURST, API_TOKEN_PER_SECOND, LARGE_ANSWER_BYTES,
};
use crate::listener::Phase;
use crate::metrics::Counter;
use crate::session::{Page, ToHub};

const NO_METHOD: Error = Error::new(Code::BadRoute, "no such method");
const NOT_POSTED: Error = Error::new(Code::BadRoute, "methods are asked for by POST");
const NO_ENCODING: Error =
    Error::new(Code::BadRoute, "the content type is application/protobuf or application/json");
const NO_TOKEN: Error =
    Error::new(Code::Unauthenticated, "no token: send `Authorization: Bearer …`");
const REFRESHED: Error = Error::new(
    Code::Unauthenticated,
    "the token was made here, for a client to come back with: ask with one of the back end's",
);
const TOO_MANY_WRONG: Error =
    Error::new(Code::ResourceExhausted, "too many wrong tokens came from your network");
const TOO_OFTEN: Error =
    Error::new(Code::ResourceExhausted, "too many requests with this token or key: slow down");
const BUSY: Error = Error::new(Code::ResourceExhausted, "too many requests at once");
const BODY_LATE: Error = Error::new(Code::DeadlineExceeded, "the body did not come in time");
const BODY_BROKEN: Error = Error::new(Code::Malformed, "the body breaks off");
const TOO_LONG: Error = Error::new(Code::TooLarge, "the body is too long");
const STOPPING: Error = Error::new(Code::Unavailable, "node is stopping");
const HUB_LATE: Error = Error::new(Code::DeadlineExceeded, "the node is too busy");
const ANSWER_TOO_LONG: Error =
    Error::new(Code::ResourceExhausted, "the answer is longer than the server gives: ask for less");
const FAILED: Error = Error::new(Code::Internal, "the request failed");

/// What the server API holds for all its requests.
#[derive(Debug)]
pub struct Api {
    free: Semaphore,
    /// Of requests, by token and by key.
    of_token: SharedBudget,
    of_key: SharedBudget,
    /// By token, and none that has none: of two that fell on one row of a [`SharedBudget`] one could keep the other
    /// out.
    taken: Mutex<BTreeMap<TokenId, usize>>,
    /// By method, and by why it was refused; none if it was answered.
    counts: BTreeMap<(Method, Option<Code>), Counter>,
}

impl Default for Api {
    fn default() -> Self {
        let codes = || Code::ALL.into_iter().map(Some).chain([None]);
        let all =
            Method::ALL.into_iter().flat_map(|method| codes().map(move |code| (method, code)));
        Self {
            free: Semaphore::new(API_REQUESTS_MAX),
            of_token: SharedBudget::new(Rate {
                burst: API_TOKEN_BURST,
                per_second: API_TOKEN_PER_SECOND,
            }),
            of_key: SharedBudget::new(Rate {
                burst: API_KEY_BURST,
                per_second: API_KEY_PER_SECOND,
            }),
            taken: Mutex::default(),
            counts: all.map(|key| (key, Counter::default())).collect(),
        }
    }
}

/// One of the requests that are served at once.
struct Place<'a> {
    api: &'a Api,
    token: TokenId,
    _free: SemaphorePermit<'a>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.api.taken();
        if let Some(count) = taken.get_mut(&self.token) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.token);
            }
        }
    }
}

impl Api {
    /// Whether one more request is within the rates of its token and of its key.
    fn may_ask(&self, token: &VerifiedToken) -> bool {
        self.of_token.take(&token.id) && self.of_key.take(&token.issuer)
    }

    /// `None`: all are taken, or the token's share of them.
    fn place(&self, token: TokenId) -> Option<Place<'_>> {
        let free = self.free.try_acquire().ok()?;
        let mut taken = self.taken();
        let count = taken.entry(token).or_default();
        if *count >= API_REQUESTS_EACH_MAX {
            return None;
        }
        *count += 1;
        Some(Place { api: self, token, _free: free })
    }

    fn taken(&self) -> MutexGuard<'_, BTreeMap<TokenId, usize>> {
        // Held for one look and one change, in neither of which a map can break.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, method: Method, refused: Option<Code>) {
        if let Some(counter) = self.counts.get(&(method, refused)) {
            counter.count();
        }
    }

    /// How often each method has been answered, or refused for each reason; nothing that never was.
    pub fn totals(&self) -> impl Iterator<Item = (Method, Option<Code>, u64)> {
        let all = self.counts.iter();
        let all = all.map(|((method, code), counter)| (*method, *code, counter.total()));
        all.filter(|(_, _, total)| *total > 0)
    }
}

impl Front {
    /// Answers one request to the method of this name.
    pub(crate) async fn room_service(
        &self,
        name: &str,
        parts: &Parts,
        body: Incoming,
    ) -> Response<Body> {
        let Some(method) = Method::named(name) else {
            return refusal(&NO_METHOD);
        };
        let outcome = self.serve_method(method, parts, body).await;
        self.api.count(method, outcome.as_ref().err().map(|error| error.code));
        match outcome {
            Ok((encoding, bytes)) => {
                let kind = HeaderValue::from_static(twirp::content_type(encoding));
                ([(header::CONTENT_TYPE, kind)], bytes).into_response()
            }
            Err(error) => refusal(&error),
        }
    }

    async fn serve_method(
        &self,
        method: Method,
        parts: &Parts,
        body: Incoming,
    ) -> Result<(Encoding, Vec<u8>), Error> {
        if parts.method != Verb::POST {
            return Err(NOT_POSTED);
        }
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let encoding = kind.and_then(twirp::encoding_of).ok_or(NO_ENCODING)?;
        let token = self.back_end(parts)?;
        if !method.is_granted(&token.claims, None) {
            return Err(DENIED);
        }
        if *self.phase.borrow() != Phase::Open {
            return Err(STOPPING);
        }
        if !self.api.may_ask(&token) {
            return Err(TOO_OFTEN);
        }
        let _place = self.api.place(token.id).ok_or(BUSY)?;
        let body = timeout(self.limits.body_time, read(body)).await.map_err(|_| BODY_LATE)??;
        let request = Request::decode(method, encoding, &body)?;
        drop(body);
        if !method.is_granted(&token.claims, request.room()) {
            return Err(DENIED);
        }
        // The body took its time.
        self.access.borrow().judge_again(&token).map_err(unbelieved)?;
        let response = self.ask_hub(request).await?;
        crate::log!(INFO, "a back end was answered", method = LogData(method.name()));
        Ok((encoding, encode(response, encoding).await?))
    }

    /// Who asks: somebody with a token that a back end has signed. Where only the public half of its key is here, what
    /// the server signs with moderates nothing.
    fn back_end(&self, parts: &Parts) -> Result<VerifiedToken, Error> {
        let text = bearer(&parts.headers).ok_or(NO_TOKEN)?;
        let token = self.believe(parts, text).map_err(|disbelief| match disbelief {
            Disbelief::Wrong(error) => unbelieved(error),
            Disbelief::Unheard => TOO_MANY_WRONG,
        })?;
        match token.kind {
            TokenKind::Original => Ok(token),
            TokenKind::Refresh => Err(REFRESHED),
        }
    }

    async fn ask_hub(&self, request: Request) -> Result<Answer, Error> {
        let asking = async {
            if let Request::ListParticipants(request) = &request {
                return self.list_participants(&request.room).await;
            }
            if let Request::ListRooms(request) = &request {
                return self.list_rooms(&request.names).await;
            }
            let (reply, answer) = oneshot::channel();
            let message = ToHub::RoomService(Box::new(request), reply);
            self.hub.send(Box::new(message)).await.map_err(|_| STOPPING)?;
            // The hub drops the reply when it panics, and when it stops.
            answer.await.map_err(|_| FAILED)?
        };
        timeout(ANSWER_TIME_MAX, asking).await.map_err(|_| HUB_LATE)?
    }

    async fn list_participants(&self, room: &str) -> Result<Answer, Error> {
        let room = RoomName::new(room);
        let ask = |after, reply| ToHub::ParticipantPage { room: room.clone(), after, reply };
        self.list(ask).await.map(Answer::Participants)
    }

    /// Of all rooms, or those that are named.
    async fn list_rooms(&self, names: &[String]) -> Result<Answer, Error> {
        let names: Arc<BTreeSet<String>> = Arc::new(names.iter().cloned().collect());
        let ask = |after, reply| ToHub::RoomPage { names: Arc::clone(&names), after, reply };
        self.list(ask).await.map(Answer::Rooms)
    }

    /// Asks the hub for a list, some of it at a time: it does other things meanwhile, so that what was there throughout
    /// is listed.
    async fn list<T, K>(
        &self,
        ask: impl Fn(Option<K>, oneshot::Sender<Page<T, K>>) -> ToHub,
    ) -> Result<Vec<T>, Error> {
        let (mut items, mut len, mut after) = (Vec::new(), 0, None);
        loop {
            let (reply, answer) = oneshot::channel();
            self.hub.send(Box::new(ask(after, reply))).await.map_err(|_| STOPPING)?;
            let page = answer.await.map_err(|_| FAILED)?;
            len += page.len;
            if len > ANSWER_MAX {
                return Err(ANSWER_TOO_LONG);
            }
            items.extend(page.items);
            after = page.last;
            if after.is_none() {
                return Ok(items);
            }
        }
    }
}

fn unbelieved(error: TokenError) -> Error {
    Error { code: Code::Unauthenticated, message: Cow::Owned(error.to_string()) }
}

/// Puts an answer into its form; a large one where it keeps no signalling waiting.
async fn encode(response: Answer, encoding: Encoding) -> Result<Vec<u8>, Error> {
    if response.encoded_len() < LARGE_ANSWER_BYTES {
        return Ok(response.encode(encoding));
    }
    spawn_blocking(move || response.encode(encoding)).await.map_err(|_| FAILED)
}

/// Reads a body. Of one that is too long the rest is read too, up to as much again: to close with bytes unread
/// would reset the connection, and could take the refusal with it.
async fn read(body: Incoming) -> Result<Vec<u8>, Error> {
    let mut stream = Body::new(body).into_data_stream();
    let mut bytes = Vec::new();
    let mut len = 0_usize;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| BODY_BROKEN)?;
        len += piece.len();
        if len > 2 * API_BODY_MAX {
            break;
        }
        if len > API_BODY_MAX {
            bytes = Vec::new();
        } else {
            bytes.extend_from_slice(&piece);
        }
    }
    if len > API_BODY_MAX { Err(TOO_LONG) } else { Ok(bytes) }
}

/// Answers a request to a service that is not here.
pub(crate) fn unserved(path: &str) -> Response<Body> {
    refusal(&twirp::unserved(path))
}

fn refusal(error: &Error) -> Response<Body> {
    let status = StatusCode::from_u16(error.code.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, kind)], error.to_json()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visits::tests::token;

    #[test]
    fn a_token_has_a_rate_and_so_has_its_key() {
        let api = Api::default();
        let asked = |token: &VerifiedToken, most: u64| {
            u64::try_from((0..most).take_while(|_| api.may_ask(token)).count()).unwrap()
        };
        // Some are given back meanwhile.
        let first = asked(&token("one", 0), 10 * API_TOKEN_BURST);
        assert!((API_TOKEN_BURST..2 * API_TOKEN_BURST).contains(&first), "{first}");
        let mut of_key = first;
        for name in 1..100 {
            of_key += asked(&token("one", name), API_TOKEN_BURST / 2);
        }
        assert!((API_KEY_BURST..2 * API_KEY_BURST).contains(&of_key), "{of_key}");
        // Two may share a row, eight do not.
        let others = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let others = (100..).zip(others).filter(|(name, key)| api.may_ask(&token(key, *name)));
        assert!(others.count() >= 7);
    }
}
