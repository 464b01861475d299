//! What the HTTP side and the hub say to each other about one signalling connection.
//!
//! A session is one participant's signalling connection. It is admitted by the hub before the
//! WebSocket upgrade, so that every refusal is an HTTP status; it ends with [`ToHub::Closed`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use model::{Identity, RoomId, RoomName};
use sfu::control::Census;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use wire::limits::FIELDS_MAX;
use wire::room_service::{Request, Response};
use wire::token::TokenKind;
use wire::{proto, twirp};

use crate::answers::{AnswerPart, Wanted};
use crate::limits::{DECODED_FIELDS_MAX, FRAME_MIDDLE, FRAME_SMALL};
use crate::pulse::Pulse;

/// One signalling connection, never used twice in a process; whoever knocks later has a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// Who wants in, with everything already verified and parsed by the HTTP side.
pub struct Knock {
    /// From the token: identity, room, grants, id. Verified.
    pub token: wire::token::VerifiedToken,
    /// From the query, inflated and decoded; bounded by `wire::limits`.
    pub join: proto::JoinRequest,
    /// Answers are encoded as the client's first frame is; the hub does not care.
    pub outbox: mpsc::Sender<Outgoing>,
    /// Told once, if the client reads too slowly: nothing of what waits in the outbox is written any more.
    pub cut: oneshot::Sender<()>,
    /// What it has waited for, if it had to: then it is paid for as well.
    pub part: Option<AnswerPart>,
    /// Given when it knocks for the first time, so that it tells who came before whom.
    pub session: Option<SessionId>,
}

/// What the hub says to who knocks.
pub enum Verdict {
    /// Come in. The outbox already holds the first messages (JoinResponse first).
    Admitted(SessionId),
    /// Do not.
    Refused(Refusal),
    /// Knock again when there is room for the answer.
    Later(Box<Knock>, Wanted),
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
    /// 403: as many as the room holds are there. LiveKit's clients ask why, and show the words of a 401 or 403 alone.
    RoomFull,
    /// 503: the node is full or stopping, the room has more to say than can be told, or the join went wrong.
    Unavailable(&'static str),
    /// 409: while it waited, the same identity knocked again and was let in.
    Overtaken,
    /// 429: too many joins and resumes with this token, for so large a room.
    TooOften,
    /// 503 for now: the media workers have too much to do for anybody new.
    Busy,
    /// 503 for now: others have not read yet what they are told of large rooms.
    Crowded,
}

/// What all messages that the hub has not had yet may take: [`DECODED_FIELDS_MAX`] for small ones, as much for those of
/// a call of ordinary size and for others, so that a mute waits behind no offer, and an offer behind none that is huge.
#[derive(Debug)]
pub struct Decoding {
    small: Arc<Semaphore>,
    middle: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A part of it, given back when it is dropped.
#[derive(Debug, Default)]
pub struct DecodingPart {
    _held: Option<OwnedSemaphorePermit>,
}

impl Default for Decoding {
    fn default() -> Self {
        let all = [(); 3].map(|()| Arc::new(Semaphore::new(DECODED_FIELDS_MAX)));
        let [small, middle, large] = all;
        Self { small, middle, large }
    }
}

impl Decoding {
    /// Waits until there is room for a frame of `len` bytes: a field takes two of them at least.
    pub(crate) async fn take(&self, len: usize) -> DecodingPart {
        let whose = if len <= FRAME_SMALL {
            &self.small
        } else if len <= FRAME_MIDDLE {
            &self.middle
        } else {
            &self.large
        };
        let fields = u32::try_from(len.div_ceil(2).min(FIELDS_MAX)).unwrap_or(u32::MAX);
        // It is never closed.
        DecodingPart { _held: Arc::clone(whose).acquire_many_owned(fields).await.ok() }
    }
}

/// To the hub, over one bounded channel shared by all connections. Each lies in a box of its own, which is zeroed when
/// it was taken: a channel keeps what went through it until it needs the place, and with it what lay on the sender's
/// stack where a message has nothing, as the address of whom a worker has heard last.
pub enum ToHub {
    /// A client knocks.
    Knock(Box<Knock>, oneshot::Sender<Verdict>),
    /// A decoded signalling message, and its part of what may be decoded at once.
    Request(SessionId, Box<proto::SignalRequest>, DecodingPart),
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
    /// Whether there is a place for somebody.
    MayJoin {
        /// In which room.
        room: RoomName,
        /// Who.
        identity: Identity,
        /// Of the token: whether it has been let in before.
        kind: TokenKind,
        /// The answer.
        reply: oneshot::Sender<Result<(), Refusal>>,
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

/// Nothing of them prints: all is about people, or said by them.
macro_rules! opaque {
    ($($name:ident $(<$($of:ident),*>)?),*) => {$(
        impl $(<$($of),*>)? fmt::Debug for $name $(<$($of),*>)? {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    )*};
}

opaque!(Knock, Verdict, ToHub, Page<T, K>, Outgoing);

/// From the hub to one connection. The outbox is bounded: a reader too slow for it is cut.
pub enum Outgoing {
    /// A signalling message.
    Response(Arc<proto::SignalResponse>),
    /// One about a whole room for this client alone, and the room that it takes. In one box: a connection has places
    /// for 32 of these and more.
    Answer(Box<(proto::SignalResponse, AnswerPart)>),
    /// Close the WebSocket with this code once everything before it is written.
    Close(CloseCode, &'static str),
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn only_so_much_is_decoded_at_once_and_small_frames_do_not_wait() {
        let all = Decoding::default();
        let largest = [(); 4].map(|()| all.take(wire::limits::FRAME_MAX).now_or_never().unwrap());
        assert!(all.take(FRAME_MIDDLE + 1).now_or_never().is_none());
        let offers = [(); 4].map(|()| all.take(FRAME_MIDDLE).now_or_never().unwrap());
        assert!(all.take(FRAME_SMALL + 1).now_or_never().is_none());
        let worst = [(); 128].map(|()| all.take(FRAME_SMALL).now_or_never().unwrap());
        assert!(
            all.take(2).now_or_never().is_none(),
            "nor of those that do not wait for large ones"
        );
        drop((largest, offers));
        for len in [FRAME_SMALL + 1, FRAME_MIDDLE + 1] {
            assert!(all.take(len).now_or_never().is_some());
        }
        drop(worst);
        assert!(all.take(2).now_or_never().is_some());
    }

    #[test]
    fn what_is_said_does_not_print() {
        let ask = proto::SignalRequest {
            message: Some(proto::signal_request::Message::Offer(proto::SessionDescription {
                sdp: "a=ice-pwd:the-password".to_owned(),
                ..Default::default()
            })),
        };
        assert_eq!(
            format!("{:?}", ToHub::Request(SessionId(1), Box::new(ask), DecodingPart::default())),
            "ToHub(…)"
        );
        let refresh = proto::signal_response::Message::RefreshToken("a-token".to_owned());
        let told = Arc::new(proto::SignalResponse { message: Some(refresh) });
        assert_eq!(format!("{:?}", Outgoing::Response(told)), "Outgoing(…)");
    }
}
