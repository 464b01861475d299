//! What the HTTP side and the hub say to each other about one signalling connection.
//!
//! A session is one participant's signalling connection. It is admitted by the hub before the
//! WebSocket upgrade, so that every refusal is an HTTP status; it ends with [`ToHub::Closed`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use model::{Identity, RoomId, RoomName};
use sfu::control::Census;
use tokio::sync::{mpsc, oneshot};
use wire::room_service::{Request, Response};
use wire::{proto, twirp};

use crate::pulse::Pulse;

/// One signalling connection, never used twice in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Who wants in, with everything already verified and parsed by the HTTP side.
#[derive(Debug)]
pub struct Knock {
    /// From the token: identity, room, grants, id. Verified.
    pub token: wire::token::VerifiedToken,
    /// From the query, inflated and decoded; bounded by `wire::limits`.
    pub join: proto::JoinRequest,
    /// Answers are encoded as the client's first frame is; the hub does not care.
    pub outbox: mpsc::Sender<Outgoing>,
    /// Told once, if the client reads too slowly: nothing of what waits in the outbox is written any more.
    pub cut: oneshot::Sender<()>,
}

/// Why the hub refuses: becomes an HTTP status before the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400: the join request or its offer does not parse; the text says which part, never its content.
    BadRequest(&'static str),
    /// 401: the token does not allow it.
    NotAllowed(&'static str),
    /// 404: no such room and rooms are not made on the fly.
    NoRoom,
    /// 503: the node is full or stopping.
    Unavailable(&'static str),
    /// 429: too many joins and resumes with this token, for so large a room.
    TooOften,
    /// 503 for now: the media workers have too much to do for anybody new.
    Busy,
}

/// To the hub, over one bounded channel shared by all connections.
#[derive(Debug)]
pub enum ToHub {
    /// A client knocks. On `Ok` the outbox already holds the first messages (JoinResponse first).
    Knock(Box<Knock>, oneshot::Sender<Result<SessionId, Refusal>>),
    /// A decoded signalling message.
    Request(SessionId, Box<proto::SignalRequest>),
    /// The WebSocket is gone, for whatever reason. The participant may resume.
    Closed(SessionId),
    /// From a media worker.
    Worker(crate::worker::FromWorker),
    /// A back end asks over the server API; its token has been judged.
    RoomService(Box<Request>, oneshot::Sender<Result<Response, twirp::Error>>),
    /// A back end lists a room's participants, some at a time.
    ParticipantPage {
        /// Of which room.
        room: RoomName,
        /// Those behind this one.
        after: Option<Identity>,
        /// The answer.
        reply: oneshot::Sender<ParticipantPage>,
    },
    /// A back end lists rooms, some at a time.
    RoomPage {
        /// Which; all if none is named.
        names: Arc<BTreeSet<String>>,
        /// Those made after this one.
        after: Option<RoomId>,
        /// The answer.
        reply: oneshot::Sender<RoomPage>,
    },
    /// Whether somebody is in a room.
    IsHere {
        /// In which.
        room: RoomName,
        /// Who.
        identity: Identity,
        /// The answer.
        reply: oneshot::Sender<bool>,
    },
    /// How much there is on the node.
    Census(oneshot::Sender<Census>),
    /// Whether the hub still answers: it does so here.
    Beat(Arc<Pulse>),
    /// The process stops: every participant is told to leave (`SERVER_SHUTDOWN`).
    Stop(oneshot::Sender<()>),
}

/// Some participants of a room, in the order of their identities; of a room that is not there, none.
pub type ParticipantPage = Page<proto::ParticipantInfo, Identity>;

/// Some rooms, in the order in which they were made.
pub type RoomPage = Page<proto::Room, RoomId>;

/// A part of a list.
pub struct Page<T, K> {
    /// What is listed: none may be, and more follow.
    pub items: Vec<T>,
    /// Their bytes in protobuf.
    pub len: usize,
    /// The last that was looked at, if there are more behind it.
    pub last: Option<K>,
}

impl<T, K> Default for Page<T, K> {
    fn default() -> Self {
        Self { items: Vec::new(), len: 0, last: None }
    }
}

impl<T, K> fmt::Debug for Page<T, K> {
    /// Prints nothing of it: all is about people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Page(…)")
    }
}

/// From the hub to one connection. The outbox is bounded: a reader too slow for it is cut.
#[derive(Debug)]
pub enum Outgoing {
    /// A signalling message.
    Response(Arc<proto::SignalResponse>),
    /// Close the WebSocket with this code once everything before it is written.
    Close(u16, &'static str),
}
