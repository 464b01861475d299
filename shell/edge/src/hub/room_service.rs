//! What back ends ask of rooms over the server API.
//!
//! Guarantees: a request that is refused has changed nothing; an answer shows what came of the request, and
//! whoever it concerns has been told by the end of the turn; a page keeps nobody waiting.
//! Not here: HTTP, tokens, and which right a method needs (`http`, `wire::room_service`).
//! Source: LiveKit `pkg/service/roomservice.go`, `pkg/service/roommanager.go`.

use std::collections::BTreeSet;
use std::ops::Bound;

use model::{Identity, PeerId, RoomId, RoomName, TrackId, TrackSid};
use sfu::control::{DepartureReason, Input, Profile, ProfileChange, RoomMetadata};
use wire::grant::{Permission, VideoGrant};
use wire::proto;
use wire::proto::participant_info::Kind;
use wire::proto::signal_response::Message;
use wire::room_service::{Request, Response};
use wire::token::RoomConfig;
use wire::twirp::{Code, Error};

use super::{Hub, translate};
use crate::limits::{PAGE_BYTES, PAGE_LOOKS, REFRESH_PROFILE_MAX, ROOM_LOOKS};
use crate::session::{ParticipantPage, RoomPage};

const NO_ROOM: Error = Error::new(Code::NotFound, "requested room does not exist");
const TOO_MANY_ROOMS: Error =
    Error::new(Code::ResourceExhausted, "the node holds as many rooms as it may");
const NO_PARTICIPANT: Error = Error::new(Code::NotFound, "participant does not exist");
const NO_TRACK: Error = Error::new(Code::NotFound, "track is not found");
/// Whether a microphone is on is for its owner to say.
const NO_UNMUTE: Error = Error::new(Code::FailedPrecondition, "remote unmute not enabled");
const TOO_LARGE: Error = Error::new(
    Code::InvalidArgument,
    "name, metadata or attributes are longer than the server takes",
);
const PACKET_TOO_LONG: Error =
    Error::new(Code::InvalidArgument, "the data is longer than a data packet holds");
const UNPAGED: Error = Error::new(Code::Internal, "lists are given in pages");

impl Hub {
    /// Does what is asked.
    pub(super) fn room_service(&mut self, request: Request) -> Result<Response, Error> {
        match request {
            Request::CreateRoom(request) => self.create_room(*request),
            Request::DeleteRoom(request) => {
                let room = self.room_of(&request.room)?;
                self.tell(Input::Close(room));
                Ok(Response::Done)
            }
            // They are asked for in pages.
            Request::ListRooms(_) | Request::ListParticipants(_) => Err(UNPAGED),
            Request::GetParticipant(request) => {
                let peer = self.participant_of(&request.room, &request.identity)?;
                self.shown(peer)
            }
            Request::RemoveParticipant(request) => {
                let peer = self.participant_of(&request.room, &request.identity)?;
                self.tell(Input::Depart(peer, DepartureReason::Removed));
                Ok(Response::Done)
            }
            Request::MutePublishedTrack(request) => self.mute_published(&request),
            Request::UpdateParticipant(request) => self.update_participant(*request),
            Request::UpdateSubscriptions(request) => {
                let peer = self.participant_of(&request.room, &request.identity)?;
                self.update_subscriptions(peer, &request);
                Ok(Response::Done)
            }
            Request::SendData(request) => {
                let room = self.room_of(&request.room)?;
                let sent = wire::data::announce(request).map_err(|_| PACKET_TOO_LONG)?;
                self.broadcast(room, sent.0, sent.1);
                Ok(Response::Done)
            }
            Request::UpdateRoomMetadata(request) => {
                let room = self.room_of(&request.room)?;
                let metadata = RoomMetadata::new(request.metadata).ok_or(TOO_LARGE)?;
                self.tell(Input::Describe(room, metadata));
                self.room_info(room).map(Response::Room).ok_or(NO_ROOM)
            }
        }
    }

    fn room_of(&self, name: &str) -> Result<RoomId, Error> {
        self.control.room_named(&RoomName::new(name)).map(|held| held.room).ok_or(NO_ROOM)
    }

    fn participant_of(&self, room: &str, identity: &str) -> Result<PeerId, Error> {
        let held = self.control.find(&RoomName::new(room), &Identity::new(identity));
        held.map(|held| held.peer).ok_or(NO_PARTICIPANT)
    }

    fn shown(&self, peer: PeerId) -> Result<Response, Error> {
        let info = self.participant_info(peer).ok_or(NO_PARTICIPANT)?;
        Ok(Response::Participant(Box::new(info)))
    }

    fn create_room(&mut self, request: proto::CreateRoomRequest) -> Result<Response, Error> {
        let settings = translate::room_settings(RoomConfig {
            empty_timeout: request.empty_timeout,
            departure_timeout: request.departure_timeout,
            max_participants: request.max_participants,
            metadata: request.metadata,
        });
        let settings = settings.ok_or(TOO_LARGE)?;
        let room = self
            .control
            .open(self.now, RoomName::new(&request.name), settings)
            .map_err(|_| TOO_MANY_ROOMS)?;
        self.gather(room);
        self.drain();
        self.room_info(room).map(Response::Room).ok_or(NO_ROOM)
    }

    /// All rooms, or those that are named, behind one.
    pub(super) fn room_page(&self, names: &BTreeSet<String>, after: Option<RoomId>) -> RoomPage {
        let mut page = RoomPage::default();
        let mut looks = 0;
        for room in self.control.rooms(after) {
            looks += 1;
            if names.is_empty() || names.contains(room.name.expose()) {
                page.items.extend(self.room_info(room.room));
                page.len += page.items.last().map_or(0, encoded_len);
                looks += ROOM_LOOKS + room.participants.len();
            }
            if page.len >= PAGE_BYTES || looks >= PAGE_LOOKS {
                page.last = Some(room.room);
                return page;
            }
        }
        page
    }

    /// Hidden ones too: they hide from participants. A room that does not exist holds nobody, as at LiveKit.
    pub(super) fn participant_page(
        &self,
        room: &RoomName,
        after: Option<&Identity>,
    ) -> ParticipantPage {
        let mut page = ParticipantPage::default();
        let Some(room) = self.control.room_named(room) else { return page };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for (identity, peer) in room.participants.range((from, Bound::Unbounded)) {
            page.items.extend(self.participant_info(*peer));
            page.len += page.items.last().map_or(0, encoded_len);
            if page.len >= PAGE_BYTES {
                page.last = Some(identity.clone());
                return page;
            }
        }
        page
    }

    fn mute_published(&mut self, request: &proto::MuteRoomTrackRequest) -> Result<Response, Error> {
        let peer = self.participant_of(&request.room, &request.identity)?;
        let track = self.own_track(peer, &request.track_sid).ok_or(NO_TRACK)?;
        if !request.muted {
            return Err(NO_UNMUTE);
        }
        self.tell(Input::MuteFor(track));
        let card = self.seats.get(&peer).and_then(|seat| seat.cards.get(&track));
        let (publication, card) = self.control.publication(track).zip(card).ok_or(NO_TRACK)?;
        Ok(Response::Track(Box::new(translate::track(publication, card))))
    }

    /// The publisher mutes itself: it must know, and says so when it does.
    pub(super) fn tell_muted(&mut self, track: TrackId) {
        let publisher = self.control.publication(track).map(|publication| publication.peer);
        if let Some(seat) = publisher.and_then(|peer| self.seats.get_mut(&peer)) {
            seat.muted_for.insert(track);
        }
        self.tell_publisher(track, |publication| {
            let sid = publication.sid.to_string();
            Message::Mute(proto::MuteTrackRequest { sid, muted: true })
        });
    }

    fn update_participant(
        &mut self,
        request: proto::UpdateParticipantRequest,
    ) -> Result<Response, Error> {
        let peer = self.participant_of(&request.room, &request.identity)?;
        let change = ProfileChange {
            name: Some(request.name).filter(|name| !name.is_empty()),
            metadata: Some(request.metadata).filter(|metadata| !metadata.is_empty()),
            attributes: request.attributes.into_iter().collect(),
        };
        let is_change =
            change.name.is_some() || change.metadata.is_some() || !change.attributes.is_empty();
        if is_change {
            self.control.change_profile(peer, change).map_err(|_| TOO_LARGE)?;
            self.drain();
        }
        if let Some(permission) = &request.permission {
            self.permit(peer, Permission::from(permission));
        }
        self.renew(peer);
        self.shown(peer)
    }

    /// The participant may do this from now on, while its token's rights last, and after a reconnect as well.
    fn permit(&mut self, peer: PeerId, mut permission: Permission) {
        let now = self.unix_s();
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        // What an agent is, its token says.
        permission.agent |= seat.token.claims.participant_kind() == Kind::Agent;
        if let Some(gathering) = self.gatherings.get_mut(&seat.room) {
            gathering.moderated.note(seat.name, now, permission.clone());
        }
        let grant = seat.token.claims.video.get_or_insert_with(VideoGrant::default);
        grant.set_permission(&permission);
        // Without any right left, it is about to be put out.
        let Some(permission) = seat.token.ends.apply(permission, now) else {
            return;
        };
        self.set_rights(peer, permission);
    }

    /// Gives the client a token that says what a moderator has made of the participant, for reconnects.
    fn renew(&mut self, peer: PeerId) {
        let profile = self.control.participant(peer).map(|held| &held.profile);
        let (Some(profile), Some(seat)) = (profile, self.seats.get_mut(&peer)) else {
            return;
        };
        seat.token.is_changed = true;
        if size(profile) <= REFRESH_PROFILE_MAX {
            let claims = &mut seat.token.claims;
            claims.name.clone_from(&profile.name);
            claims.metadata.clone_from(&profile.metadata);
            claims.attributes.clone_from(&profile.attributes);
        }
        self.refresh_token(peer);
    }

    fn update_subscriptions(&mut self, peer: PeerId, request: &proto::UpdateSubscriptionsRequest) {
        let named = request.participant_tracks.iter().flat_map(|tracks| &tracks.track_sids);
        // No more than may be named: the request was checked.
        for sid in request.track_sids.iter().chain(named) {
            if let Some(track) = self.tracks.get(&TrackSid::from_wire(sid)).copied() {
                self.tell(Input::WishFor { peer, track, wanted: request.subscribe });
            }
        }
    }
}

fn encoded_len(message: &impl prost::Message) -> usize {
    message.encoded_len()
}

/// Bytes of a profile.
fn size(profile: &Profile) -> usize {
    let attributes: usize =
        profile.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    profile.name.len() + profile.metadata.len() + attributes
}
