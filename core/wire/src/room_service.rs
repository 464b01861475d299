//! LiveKit's `RoomService`: what the customer's back end may ask of rooms, decoded, judged and answered.
//!
//! Owns: which methods there are, which right each needs, its request and its response in both encodings.
//! Guarantees: what is decoded costs no more than [`crate::limits`] say; an answer can be read as JSON whatever
//! numbers clients brought; neither requests nor responses print.
//! Not here: whether a token is good (`access`), what a request causes (`sfu`, `edge`), the JSON of answers (`json`).
//! Source: LiveKit `livekit_room.proto`, `pkg/service/roomservice.go`, `pkg/service/auth.go`.

mod json;

use std::fmt;

use prost::Message;
use serde::de::DeserializeOwned;

use crate::claims::Claims;
use crate::frame::Encoding;
use crate::limits::{API_BODY_MAX, DESTINATIONS_MAX, NAME_MAX, TRACKS_NAMED_MAX};
use crate::present::Present;
use crate::proto::{self, ParticipantInfo, TrackInfo};
use crate::shape;
use crate::twirp::{Code, Error};

/// What every address of the server API's methods begins with.
pub const PREFIX: &str = "twirp/livekit.RoomService/";

/// Bytes of a mark by which repeats of a message are dropped: those of a UUID.
const NONCE_LEN: usize = 16;

const UNDECODABLE: Error = Error::new(Code::Malformed, "the body cannot be decoded");
const NO_ROOM_NAMED: Error = Error::new(Code::InvalidArgument, "no room is named");
const NOT_SERVED: Error = Error::new(Code::Unimplemented, "this server does not serve this method");
/// As LiveKit says it, and with its code: its clients know no other for a missing right.
pub const DENIED: Error = Error::new(Code::Unauthenticated, "permissions denied");

/// A method of LiveKit's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are LiveKit's and say it")]
pub enum Method {
    CreateRoom,
    ListRooms,
    DeleteRoom,
    ListParticipants,
    GetParticipant,
    RemoveParticipant,
    MutePublishedTrack,
    UpdateParticipant,
    UpdateSubscriptions,
    SendData,
    UpdateRoomMetadata,
    ForwardParticipant,
    MoveParticipant,
    PerformRpc,
}

impl Method {
    /// Every method, in LiveKit's order.
    pub const ALL: [Self; 14] = [
        Self::CreateRoom,
        Self::ListRooms,
        Self::DeleteRoom,
        Self::ListParticipants,
        Self::GetParticipant,
        Self::RemoveParticipant,
        Self::MutePublishedTrack,
        Self::UpdateParticipant,
        Self::UpdateSubscriptions,
        Self::SendData,
        Self::UpdateRoomMetadata,
        Self::ForwardParticipant,
        Self::MoveParticipant,
        Self::PerformRpc,
    ];

    /// As addresses have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateRoom => "CreateRoom",
            Self::ListRooms => "ListRooms",
            Self::DeleteRoom => "DeleteRoom",
            Self::ListParticipants => "ListParticipants",
            Self::GetParticipant => "GetParticipant",
            Self::RemoveParticipant => "RemoveParticipant",
            Self::MutePublishedTrack => "MutePublishedTrack",
            Self::UpdateParticipant => "UpdateParticipant",
            Self::UpdateSubscriptions => "UpdateSubscriptions",
            Self::SendData => "SendData",
            Self::UpdateRoomMetadata => "UpdateRoomMetadata",
            Self::ForwardParticipant => "ForwardParticipant",
            Self::MoveParticipant => "MoveParticipant",
            Self::PerformRpc => "PerformRpc",
        }
    }

    /// The method of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Whether a token with these claims may ask for it: in that room, or in any while none is known yet.
    #[must_use]
    pub fn is_granted(self, claims: &Claims, room: Option<&str>) -> bool {
        let Some(video) = &claims.video else { return false };
        match self {
            Self::CreateRoom | Self::DeleteRoom => video.room_create,
            Self::ListRooms => video.room_list,
            Self::ListParticipants
            | Self::GetParticipant
            | Self::RemoveParticipant
            | Self::MutePublishedTrack
            | Self::UpdateParticipant
            | Self::UpdateSubscriptions
            | Self::SendData
            | Self::UpdateRoomMetadata
            | Self::ForwardParticipant
            | Self::MoveParticipant
            | Self::PerformRpc => {
                video.room_admin && room.is_none_or(|room| !room.is_empty() && room == video.room)
            }
        }
    }
}

/// What is asked.
#[derive(Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are LiveKit's and say it")]
pub enum Request {
    CreateRoom(Box<proto::CreateRoomRequest>),
    ListRooms(proto::ListRoomsRequest),
    DeleteRoom(proto::DeleteRoomRequest),
    ListParticipants(proto::ListParticipantsRequest),
    GetParticipant(proto::RoomParticipantIdentity),
    RemoveParticipant(proto::RoomParticipantIdentity),
    MutePublishedTrack(proto::MuteRoomTrackRequest),
    UpdateParticipant(Box<proto::UpdateParticipantRequest>),
    UpdateSubscriptions(proto::UpdateSubscriptionsRequest),
    SendData(proto::SendDataRequest),
    UpdateRoomMetadata(proto::UpdateRoomMetadataRequest),
}

impl fmt::Debug for Request {
    /// Prints the method alone: nearly all else is about people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(…)", self.method().name())
    }
}

impl Request {
    /// Which method it is for.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::CreateRoom(_) => Method::CreateRoom,
            Self::ListRooms(_) => Method::ListRooms,
            Self::DeleteRoom(_) => Method::DeleteRoom,
            Self::ListParticipants(_) => Method::ListParticipants,
            Self::GetParticipant(_) => Method::GetParticipant,
            Self::RemoveParticipant(_) => Method::RemoveParticipant,
            Self::MutePublishedTrack(_) => Method::MutePublishedTrack,
            Self::UpdateParticipant(_) => Method::UpdateParticipant,
            Self::UpdateSubscriptions(_) => Method::UpdateSubscriptions,
            Self::SendData(_) => Method::SendData,
            Self::UpdateRoomMetadata(_) => Method::UpdateRoomMetadata,
        }
    }

    /// The room that it is about; none if it is about all.
    #[must_use]
    pub fn room(&self) -> Option<&str> {
        match self {
            Self::CreateRoom(request) => Some(&request.name),
            Self::ListRooms(_) => None,
            Self::DeleteRoom(request) => Some(&request.room),
            Self::ListParticipants(request) => Some(&request.room),
            Self::GetParticipant(request) | Self::RemoveParticipant(request) => Some(&request.room),
            Self::MutePublishedTrack(request) => Some(&request.room),
            Self::UpdateParticipant(request) => Some(&request.room),
            Self::UpdateSubscriptions(request) => Some(&request.room),
            Self::SendData(request) => Some(&request.room),
            Self::UpdateRoomMetadata(request) => Some(&request.room),
        }
    }

    /// Decodes a body of at most [`API_BODY_MAX`] bytes.
    ///
    /// # Errors
    /// It is too long, costs too much, cannot be decoded, names no room, asks for what is not served, or breaks a
    /// bound that can be seen without the room.
    pub fn decode(method: Method, encoding: Encoding, body: &[u8]) -> Result<Self, Error> {
        let request = match method {
            // `metadata`.
            Method::CreateRoom => Self::CreateRoom(Box::new(parse(encoding, body, &[&[5]])?)),
            Method::ListRooms => Self::ListRooms(parse(encoding, body, &[])?),
            Method::DeleteRoom => Self::DeleteRoom(parse(encoding, body, &[])?),
            Method::ListParticipants => Self::ListParticipants(parse(encoding, body, &[])?),
            Method::GetParticipant => Self::GetParticipant(parse(encoding, body, &[])?),
            Method::RemoveParticipant => Self::RemoveParticipant(parse(encoding, body, &[])?),
            Method::MutePublishedTrack => Self::MutePublishedTrack(parse(encoding, body, &[])?),
            // `metadata`, `name` and the values of `attributes`.
            Method::UpdateParticipant => {
                Self::UpdateParticipant(Box::new(parse(encoding, body, &[&[3], &[5], &[6, 2]])?))
            }
            Method::UpdateSubscriptions => Self::UpdateSubscriptions(parse(encoding, body, &[])?),
            // `data`.
            Method::SendData => Self::SendData(parse(encoding, body, &[&[2]])?),
            // `metadata`.
            Method::UpdateRoomMetadata => Self::UpdateRoomMetadata(parse(encoding, body, &[&[2]])?),
            Method::ForwardParticipant | Method::MoveParticipant | Method::PerformRpc => {
                return Err(NOT_SERVED);
            }
        };
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<(), Error> {
        if self.room() == Some("") {
            return Err(NO_ROOM_NAMED);
        }
        match self {
            Self::CreateRoom(request) if request.name.len() > NAME_MAX => {
                Err(Error::new(Code::InvalidArgument, "the room name is too long"))
            }
            Self::CreateRoom(request) if wants_more_than_a_room(request) => Err(Error::new(
                Code::Unimplemented,
                "this server makes rooms with metadata, timeouts and a number of participants, no more",
            )),
            // LiveKit ignores it, and whoever asks would believe the tokens revoked.
            Self::RemoveParticipant(request) if request.revoke_token_ts != 0 => {
                Err(Error::new(Code::Unimplemented, "tokens are revoked by the revocation file"))
            }
            #[expect(deprecated, reason = "older back ends still name receivers so")]
            Self::SendData(request)
                if request.destination_sids.len() + request.destination_identities.len()
                    > DESTINATIONS_MAX =>
            {
                Err(Error::new(Code::InvalidArgument, "too many receivers"))
            }
            Self::SendData(request) if ![0, NONCE_LEN].contains(&request.nonce.len()) => {
                Err(Error::new(Code::InvalidArgument, "a nonce has 16 bytes"))
            }
            Self::UpdateSubscriptions(request) if tracks_named(request) > TRACKS_NAMED_MAX => {
                Err(Error::new(Code::InvalidArgument, "too many tracks"))
            }
            Self::CreateRoom(_)
            | Self::ListRooms(_)
            | Self::DeleteRoom(_)
            | Self::ListParticipants(_)
            | Self::GetParticipant(_)
            | Self::RemoveParticipant(_)
            | Self::MutePublishedTrack(_)
            | Self::UpdateParticipant(_)
            | Self::UpdateSubscriptions(_)
            | Self::SendData(_)
            | Self::UpdateRoomMetadata(_) => Ok(()),
        }
    }
}

fn tracks_named(request: &proto::UpdateSubscriptionsRequest) -> usize {
    let listed = request.participant_tracks.iter().map(|tracks| tracks.track_sids.len());
    request.track_sids.len() + listed.sum::<usize>()
}

/// Whether a room is to have what rooms do not have here: whoever asks would believe that it does.
fn wants_more_than_a_room(request: &proto::CreateRoomRequest) -> bool {
    let proto::CreateRoomRequest {
        name: _,
        metadata: _,
        empty_timeout: _,
        departure_timeout: _,
        max_participants: _,
        room_preset,
        node_id,
        tags,
        egress,
        min_playout_delay,
        max_playout_delay,
        sync_streams,
        replay_enabled,
        agents,
    } = request;
    !room_preset.is_empty()
        || !node_id.is_empty()
        || !tags.is_empty()
        || egress.is_some()
        || *min_playout_delay > 0
        || *max_playout_delay > 0
        || *sync_streams
        || *replay_enabled
        || !agents.is_empty()
}

/// `texts` are the paths of those that may be long: see [`shape::check_protobuf`].
fn parse<T: Message + Default + DeserializeOwned>(
    encoding: Encoding,
    body: &[u8],
    texts: &[&[u32]],
) -> Result<T, Error> {
    if body.len() > API_BODY_MAX {
        return Err(Error::new(Code::TooLarge, "the body is too long"));
    }
    let costly =
        |_| Error::new(Code::Malformed, "the body holds too many values or nests too deeply");
    match encoding {
        Encoding::Protobuf => {
            shape::check_protobuf(body, texts).map_err(costly)?;
            T::decode(body).map_err(|_| UNDECODABLE)
        }
        Encoding::Json => {
            shape::check_json(body).map_err(costly)?;
            let given = serde_json::from_slice(body).or_else(|_| {
                let Present(given) = serde_json::from_slice(body)?;
                serde_json::from_value(given)
            });
            given.map_err(|_| UNDECODABLE)
        }
    }
}

/// What is answered.
#[derive(Clone, PartialEq)]
pub enum Response {
    /// Nothing but that it is done.
    Done,
    /// Rooms.
    Rooms(Vec<proto::Room>),
    /// One room.
    Room(proto::Room),
    /// Participants.
    Participants(Vec<ParticipantInfo>),
    /// One participant.
    Participant(Box<ParticipantInfo>),
    /// The track that was muted.
    Track(Box<TrackInfo>),
}

impl fmt::Debug for Response {
    /// Prints the kind alone: all else is about people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "Done",
            Self::Rooms(_) => "Rooms(…)",
            Self::Room(_) => "Room(…)",
            Self::Participants(_) => "Participants(…)",
            Self::Participant(_) => "Participant(…)",
            Self::Track(_) => "Track(…)",
        })
    }
}

impl Response {
    /// Bytes of the answer in protobuf, more or less.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Done => 0,
            Self::Rooms(rooms) => rooms.iter().map(Message::encoded_len).sum(),
            Self::Room(room) => room.encoded_len(),
            Self::Participants(participants) => participants.iter().map(Message::encoded_len).sum(),
            Self::Participant(participant) => participant.encoded_len(),
            Self::Track(track) => track.encoded_len(),
        }
    }

    /// The body of the answer.
    #[must_use]
    pub fn encode(self, encoding: Encoding) -> Vec<u8> {
        match encoding {
            Encoding::Protobuf => self.into_protobuf(),
            Encoding::Json => self.to_json(),
        }
    }

    fn into_protobuf(self) -> Vec<u8> {
        match self {
            // Every empty response looks the same.
            Self::Done => Vec::new(),
            Self::Rooms(rooms) => proto::ListRoomsResponse { rooms }.encode_to_vec(),
            Self::Room(room) => room.encode_to_vec(),
            Self::Participants(participants) => {
                proto::ListParticipantsResponse { participants }.encode_to_vec()
            }
            Self::Participant(participant) => participant.encode_to_vec(),
            Self::Track(track) => {
                proto::MuteRoomTrackResponse { track: Some(*track) }.encode_to_vec()
            }
        }
    }

    fn to_json(&self) -> Vec<u8> {
        match self {
            Self::Done => b"{}".to_vec(),
            Self::Rooms(rooms) => json::list("rooms", rooms, json::room),
            Self::Room(room) => json::room(room).to_string().into_bytes(),
            Self::Participants(participants) => {
                json::list("participants", participants, json::participant)
            }
            Self::Participant(participant) => {
                json::participant(participant).to_string().into_bytes()
            }
            Self::Track(track) => {
                serde_json::json!({ "track": json::track(track) }).to_string().into_bytes()
            }
        }
    }
}

#[cfg(test)]
mod tests;
