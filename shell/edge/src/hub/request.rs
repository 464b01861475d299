//! What clients ask for, message by message.

use std::time::Duration;

use model::{DataRate, PeerId, TrackId, TrackKind, TrackSid};
use prost::Message as _;
use sfu::Instruction;
use sfu::control::{
    DepartureReason, Input, ProfileChange, ProfileError, PublishError, Size, Speaker,
};
use sfu::limits::CID_MAX;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use wire::convert::kind_from_wire;
use wire::limits::{ANNOUNCED_MAX, TRACKS_NAMED_MAX};
use wire::proto;
use wire::proto::SubscriptionError;
use wire::proto::request_response::{Reason, Request};
use wire::proto::signal_request::Message as Asked;
use wire::proto::signal_response::Message;
use wire::proto::simulate_scenario::Scenario;
use wire::sdp::CandidateTransport;

use super::seat::{ResumeFault, Seat};
use super::{AUDIO_CODECS, Hub, Timer, VIDEO_CODECS, translate};
use crate::limits::{
    BYTES_PER_REQUEST, FEATURES_MAX, OWN_BYTES_PER_REQUEST, REFUSALS_MAX, REQUESTS_KEPT,
    SWITCHES_MAX, TRACKS_TOLD_PER_REQUEST,
};
use crate::session::Outgoing;
use crate::worker::ToWorker;

/// How loud a simulated speaker is (LiveKit: 0.9).
const SIMULATED_LEVEL: f32 = 0.9;
/// How long at most.
const SIMULATED_MAX: Duration = Duration::from_secs(30);

// What developers are told of requests that are refused.
const NO_DATA_TRACKS: &str = "this server has no data tracks";
const NO_BLOBS: &str = "this server keeps no data blobs";
const NO_SUCH_TRACKS: &str = "tracks are of audio or video";
const ONE_CODEC: &str = "this server takes a track in one codec";
const MAY_NOT_PUBLISH: &str = "the participant may not publish tracks of this kind and source";
const TOO_MANY_TRACKS: &str =
    "the participant sends and receives as many tracks as one session description holds";
const BAD_CID: &str = "the track's cid is empty, too long, or another track's";
const TRACKS_TOO_OFTEN: &str = "tracks come faster than a room of this size can be told of them";
const TRACK_TOO_LONG: &str = "a name or a list of the track is longer than the server takes";
const MAY_NOT_UPDATE: &str = "the participant may not change its own name, metadata and attributes";
const PROFILE_TOO_LARGE: &str =
    "a name has 256 bytes at most, metadata 512 KiB, attributes 64 KiB together";

impl Hub {
    pub(super) fn request(&mut self, peer: PeerId, request: proto::SignalRequest) {
        let now = self.now;
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        seat.heard = now;
        let Some(asked) = request.message else {
            return self.metrics.requests_ignored.count();
        };
        #[cfg(feature = "sabotage")]
        if let Asked::UpdateMetadata(update) = &asked {
            crate::sabotage::panic_if_asked("hub", update.metadata.as_bytes());
        }
        // Without pings a client gives up, and nobody else is charged for leaving. What a permission and a resume cost
        // is found later, and nothing of them may be lost.
        let is_free = matches!(
            asked,
            Asked::Leave(_) | Asked::Ping(_) | Asked::PingReq(_) | Asked::SubscriptionPermission(_)
        ) || (matches!(asked, Asked::SyncState(_)) && !seat.is_synced);
        if !is_free && !seat.requests.take(now, cost(&asked)) {
            return self.metrics.requests_over_rate.count();
        }
        self.serve(peer, asked);
    }

    #[expect(deprecated, reason = "older clients send layers, and every message is listed")]
    fn serve(&mut self, peer: PeerId, asked: Asked) {
        match asked {
            Asked::Offer(offer) => self.offer(peer, &offer),
            Asked::Trickle(_) => self.metrics.candidates_received.count(),
            Asked::AddTrack(request) => self.add_track(peer, request),
            Asked::Mute(mute) => self.mute(peer, &mute),
            Asked::Subscription(update) => self.subscription(peer, &update),
            Asked::TrackSetting(update) => self.track_setting(peer, &update),
            Asked::Leave(_) => self.tell(Input::Depart(peer, DepartureReason::Left)),
            Asked::SubscriptionPermission(update) => self.permit_receivers(peer, update),
            Asked::SyncState(state) => self.sync(peer, &state),
            Asked::Simulate(scenario) => self.simulate(peer, scenario.scenario),
            Asked::Ping(_) => self.send(peer, Message::Pong(self.unix_ms_wire())),
            Asked::PingReq(ping) => self.send(
                peer,
                Message::PongResp(proto::Pong {
                    last_ping_timestamp: ping.timestamp,
                    timestamp: self.unix_ms_wire(),
                }),
            ),
            Asked::UpdateMetadata(update) => self.update_metadata(peer, update),
            Asked::UpdateAudioTrack(update) => self.update_audio_track(peer, update),
            Asked::UpdateVideoTrack(update) => self.update_video_track(peer, update),
            Asked::PublishDataTrackRequest(request) => {
                let request = Request::PublishDataTrack(request);
                self.respond(peer, 0, Reason::UnsupportedType, NO_DATA_TRACKS, Some(request));
            }
            Asked::UnpublishDataTrackRequest(request) => {
                let request = Request::UnpublishDataTrack(request);
                self.respond(peer, 0, Reason::UnsupportedType, NO_DATA_TRACKS, Some(request));
            }
            Asked::StoreDataBlobRequest(request) => {
                self.respond(peer, request.request_id, Reason::UnsupportedType, NO_BLOBS, None);
            }
            Asked::GetDataBlobRequest(request) => {
                self.respond(peer, request.request_id, Reason::UnsupportedType, NO_BLOBS, None);
            }
            // Answers are for offers, of which we make none; layers are said by track settings.
            Asked::Answer(_) | Asked::UpdateLayers(_) | Asked::UpdateDataSubscription(_) => {
                self.metrics.requests_ignored.count();
            }
        }
    }

    /// `why` is for the developer: one sentence, which repeats nothing of the request.
    pub(super) fn respond(
        &mut self,
        peer: PeerId,
        id: u32,
        reason: Reason,
        why: &str,
        request: Option<Request>,
    ) {
        self.send(
            peer,
            Message::RequestResponse(proto::RequestResponse {
                request_id: id,
                reason: reason.into(),
                message: why.to_owned(),
                request,
            }),
        );
    }

    /// Says why the client does not receive a track.
    pub(super) fn refuse_track(&mut self, peer: PeerId, track_sid: String, why: SubscriptionError) {
        let response = proto::SubscriptionResponse { track_sid, err: why.into() };
        self.send(peer, Message::SubscriptionResponse(response));
    }

    /// A track of the participant's own, by its name for clients.
    pub(super) fn own_track(&self, peer: PeerId, sid: &str) -> Option<TrackId> {
        let track = *self.tracks.get(&TrackSid::from_wire(sid))?;
        (self.control.publication(track)?.peer == peer).then_some(track)
    }

    fn mute(&mut self, peer: PeerId, mute: &proto::MuteTrackRequest) {
        let Some(track) = self.own_track(peer, &mute.sid) else {
            return self.metrics.requests_ignored.count();
        };
        if let Some(seat) = self.seats.get_mut(&peer) {
            seat.muted_for.remove(&track);
        }
        self.tell(Input::Mute { peer, track, muted: mute.muted });
    }

    pub(super) fn add_track(&mut self, peer: PeerId, request: proto::AddTrackRequest) {
        if let Some(track) = self.pending_again(peer, &request.cid) {
            return self.tell_published(peer, track);
        }
        if !self.pay_for_receivers(peer) {
            let why = (Reason::LimitExceeded, TRACKS_TOO_OFTEN);
            return self.refuse_announced(peer, &request, why);
        }
        if !translate::is_bounded(&request) {
            let why = (Reason::LimitExceeded, TRACK_TOO_LONG);
            return self.refuse_announced(peer, &request, why);
        }
        // Of a track that is published already, in another codec beside that which it has.
        if !request.sid.is_empty() {
            let why = (Reason::UnsupportedType, ONE_CODEC);
            return self.refuse_announced(peer, &request, why);
        }
        if self.queue(peer, &request) {
            // Its section may come in the offer in which that one ends.
            self.note_refused(peer, &request);
            let named = proto::AddTrackRequest { cid: request.cid, ..Default::default() };
            return self.respond(peer, 0, Reason::Queued, "", Some(Request::AddTrack(named)));
        }
        self.announce(peer, request);
    }

    /// Whether a track waits for the end of a live one of the same name. Native clients announce a track again before
    /// the offer in which its former section ends.
    fn queue(&mut self, peer: PeerId, request: &proto::AddTrackRequest) -> bool {
        let Some(seat) = self.seats.get_mut(&peer) else {
            return false;
        };
        let cid = request.cid.as_str();
        let has_place = seat.queued.len() < ANNOUNCED_MAX || seat.queued.contains_key(cid);
        let waits = seat.cids.contains_key(cid) && has_place;
        if waits {
            seat.queued.insert(cid.into(), request.clone());
        }
        waits
    }

    /// A track that is paid for, bounded, and waits for no other's end.
    pub(super) fn announce(&mut self, peer: PeerId, request: proto::AddTrackRequest) {
        let (refused, why) = match translate::announcement(&request) {
            None => (Reason::UnsupportedType, NO_SUCH_TRACKS),
            Some(announcement) if !self.has_place(peer, announcement.kind, &request) => {
                (Reason::LimitExceeded, TOO_MANY_TRACKS)
            }
            Some(announcement) => {
                let kind = announcement.kind;
                match self.control.publish(peer, announcement) {
                    Ok(track) => return self.expect(peer, track, kind, request),
                    Err(PublishError::NotAllowed) => (Reason::NotAllowed, MAY_NOT_PUBLISH),
                    Err(PublishError::TooMany) => (Reason::LimitExceeded, TOO_MANY_TRACKS),
                    Err(PublishError::BadCid) => (Reason::InvalidRequest, BAD_CID),
                }
            }
        };
        // Another track's name still stands for that one.
        if refused != Reason::InvalidRequest {
            self.note_refused(peer, &request);
        }
        self.respond(peer, 0, refused, why, Some(Request::AddTrack(request)));
    }

    /// Whether the client's description has a place for a track. A section beyond the last is rejected, and
    /// livekit-client stops its transceiver: the track would be published and never heard of.
    fn has_place(&self, peer: PeerId, kind: TrackKind, request: &proto::AddTrackRequest) -> bool {
        let expected = translate::expected(request, kind, &[]);
        self.seats.get(&peer).is_some_and(|seat| seat.negotiation.has_place_for(&expected))
    }

    /// The client may offer it all the same: livekit-client does so at the same time, and takes it back later.
    fn note_refused(&mut self, peer: PeerId, request: &proto::AddTrackRequest) {
        if request.cid.len() <= CID_MAX
            && let Some(seat) = self.seats.get_mut(&peer)
        {
            seat.negotiation.refuse(&request.cid, kind_from_wire(request.r#type));
        }
    }

    /// Its name is all that the client needs to know which, if that is not what is too long.
    fn refuse_announced(
        &mut self,
        peer: PeerId,
        request: &proto::AddTrackRequest,
        (reason, why): (Reason, &str),
    ) {
        self.note_refused(peer, request);
        let cid = Some(&request.cid).filter(|cid| cid.len() <= CID_MAX).cloned();
        let cid = cid.unwrap_or_default();
        let named = proto::AddTrackRequest { cid, ..Default::default() };
        self.respond(peer, 0, reason, why, Some(Request::AddTrack(named)));
    }

    /// What a track, or a change of all its layers, costs beside the request. Whether that is paid.
    fn pay_for_receivers(&mut self, peer: PeerId) -> bool {
        let held = self.control.participant(peer);
        let room = held.and_then(|held| self.control.room(held.room));
        let receivers = room.map_or(0, |room| room.participants.len());
        let price = u32::try_from(receivers / TRACKS_TOLD_PER_REQUEST).unwrap_or(u32::MAX);
        let now = self.now;
        let seat = self.seats.get_mut(&peer);
        let is_paid = seat.is_some_and(|seat| seat.requests.take(now, price));
        if !is_paid {
            self.metrics.requests_over_rate.count();
        }
        is_paid
    }

    /// The track that was announced under this name and whose media has not come.
    fn pending_again(&self, peer: PeerId, cid: &str) -> Option<TrackId> {
        let track = *self.seats.get(&peer)?.cids.get(cid)?;
        (!self.control.publication(track)?.is_live()).then_some(track)
    }

    /// The media of an announced track may have come already.
    fn expect(
        &mut self,
        peer: PeerId,
        track: TrackId,
        kind: TrackKind,
        request: proto::AddTrackRequest,
    ) {
        let sid = self.control.publication(track).map(|publication| publication.sid.clone());
        let (Some(sid), Some(seat)) = (sid, self.seats.get_mut(&peer)) else {
            return;
        };
        self.tracks.insert(sid, track);
        seat.cids.insert(request.cid.as_str().into(), track);
        let accepted = [&AUDIO_CODECS[..], &VIDEO_CODECS[..]].concat();
        let expected = translate::expected(&request, kind, &accepted);
        seat.cards.insert(track, translate::card(request));
        // Control holds as few pending tracks as the negotiation.
        let section = seat.negotiation.announce(expected).ok().flatten();
        self.tell_published(peer, track);
        if let Some(section) = section {
            self.start(peer, &section);
        }
    }

    pub(super) fn tell_published(&mut self, peer: PeerId, track: TrackId) {
        let publication = self.control.publication(track);
        let card = self.seats.get_mut(&peer).and_then(|seat| seat.cards.get_mut(&track));
        if let (Some(publication), Some(card)) = (publication, card) {
            card.answered_at = Some(self.now);
            let cid = publication.cid.to_string();
            let track = Some(translate::track(publication, card));
            self.send(peer, Message::TrackPublished(proto::TrackPublishedResponse { cid, track }));
        }
    }

    pub(super) fn subscription(&mut self, peer: PeerId, update: &proto::UpdateSubscription) {
        let named = update.participant_tracks.iter().flat_map(|tracks| &tracks.track_sids);
        let mut refusals = REFUSALS_MAX;
        for sid in update.track_sids.iter().chain(named).take(TRACKS_NAMED_MAX) {
            match self.tracks.get(&TrackSid::from_wire(sid)).copied() {
                Some(track) => {
                    self.tell(Input::Wish { peer, track, wanted: update.subscribe });
                    if refusals > 0 && self.control.leaves_out(peer, track) {
                        refusals -= 1;
                        self.refuse_track(peer, sid.clone(), SubscriptionError::SeUnknown);
                    }
                }
                None if update.subscribe && refusals > 0 => {
                    refusals -= 1;
                    self.refuse_track(peer, sid.clone(), SubscriptionError::SeTrackNotfound);
                }
                None => self.metrics.requests_ignored.count(),
            }
        }
    }

    fn track_setting(&mut self, peer: PeerId, update: &proto::UpdateTrackSettings) {
        let settings = translate::settings(update);
        for sid in update.track_sids.iter().take(TRACKS_NAMED_MAX) {
            match self.tracks.get(&TrackSid::from_wire(sid)).copied() {
                Some(track) => self.tell(Input::Settings { peer, track, settings }),
                None => self.metrics.requests_ignored.count(),
            }
        }
    }

    fn update_metadata(&mut self, peer: PeerId, update: proto::UpdateParticipantMetadata) {
        let change = ProfileChange {
            name: Some(update.name).filter(|name| !name.is_empty()),
            metadata: Some(update.metadata).filter(|metadata| !metadata.is_empty()),
            attributes: update.attributes.into_iter().collect(),
        };
        let before = self.version(peer);
        let (reason, why) = match self.control.update_profile(peer, change) {
            Ok(()) => (Reason::Ok, ""),
            Err(ProfileError::NotAllowed) => (Reason::NotAllowed, MAY_NOT_UPDATE),
            Err(ProfileError::TooLarge) => (Reason::LimitExceeded, PROFILE_TOO_LARGE),
        };
        self.drain();
        if self.version(peer) != before {
            self.tell_own_change(peer);
        }
        self.respond(peer, update.request_id, reason, why, None);
    }

    fn version(&self, peer: PeerId) -> Option<u32> {
        self.control.participant(peer).map(|held| held.version)
    }

    /// Tells a participant of a change of its own that the room is told later: livekit-client waits 5 s for that, and
    /// not for the answer. It pays for it as long as much is left for its other requests.
    fn tell_own_change(&mut self, peer: PeerId) {
        let now = self.now;
        let may = |seat: &&mut Box<Seat>| {
            seat.pace.waits_until().is_some() && seat.requests.affords_at(REQUESTS_KEPT) <= now
        };
        if self.seats.get_mut(&peer).filter(may).is_none() {
            return;
        }
        let Some(own) = self.participant_info(peer) else {
            return;
        };
        let price = u32::try_from(own.encoded_len() / OWN_BYTES_PER_REQUEST).unwrap_or(u32::MAX);
        if self.seats.get_mut(&peer).is_some_and(|seat| seat.requests.take(now, price)) {
            self.send(peer, Message::Update(proto::ParticipantUpdate { participants: vec![own] }));
        }
    }

    fn update_audio_track(&mut self, peer: PeerId, update: proto::UpdateLocalAudioTrack) {
        if update.features.len() > FEATURES_MAX {
            return self.metrics.requests_ignored.count();
        }
        let track = self.own_track(peer, &update.track_sid);
        let card = track.and_then(|track| self.seats.get_mut(&peer)?.cards.get_mut(&track));
        let Some(card) = card else {
            return self.metrics.requests_ignored.count();
        };
        let features: Vec<_> = update.features().collect();
        if card.audio_features != features {
            card.audio_features = features;
            self.tell(Input::Touch(peer));
        }
    }

    fn update_video_track(&mut self, peer: PeerId, update: proto::UpdateLocalVideoTrack) {
        let Some(track) = self.own_track(peer, &update.track_sid) else {
            return self.metrics.requests_ignored.count();
        };
        let size = Size { width: update.width, height: update.height };
        if self.pay_for_receivers(peer) {
            self.tell(Input::Resize { peer, track, size });
        }
    }

    /// Faults that a client asks for, to see whether it survives them. They hit itself alone.
    fn simulate(&mut self, peer: PeerId, scenario: Option<Scenario>) {
        match scenario {
            Some(Scenario::SpeakerUpdate(seconds)) => {
                let seconds = u64::try_from(seconds).unwrap_or(0);
                let until = self.now + Duration::from_secs(seconds).min(SIMULATED_MAX);
                self.timers.set(until, Timer::Hush(peer));
                self.simulate_speaker(peer, SIMULATED_LEVEL);
            }
            Some(Scenario::NodeFailure(_) | Scenario::Migration(_)) => {
                self.push(peer, Outgoing::Close(CloseCode::Away, "simulated"));
                if let Some(seat) = self.seats.get_mut(&peer)
                    && let Some(session) = seat.session.take()
                {
                    self.sessions.remove(&session.id);
                }
                self.tell(Input::Depart(peer, DepartureReason::Mismatch));
            }
            Some(Scenario::ServerLeave(_)) => {
                self.tell(Input::Depart(peer, DepartureReason::Shutdown));
            }
            Some(Scenario::LeaveRequestFullReconnect(_)) => {
                self.tell(Input::Depart(peer, DepartureReason::Mismatch));
            }
            Some(Scenario::DisconnectSignalOnResume(_)) => {
                self.fail_resume(peer, ResumeFault::AfterMessages);
            }
            Some(Scenario::DisconnectSignalOnResumeNoMessages(_)) => {
                self.fail_resume(peer, ResumeFault::BeforeMessages(2));
            }
            Some(Scenario::SwitchCandidateProtocol(protocol)) => self.switch(peer, protocol),
            // Bits per second; 0 lifts it.
            Some(Scenario::SubscriberBandwidth(rate)) => {
                let rate = u64::try_from(rate).ok().filter(|rate| *rate > 0);
                let rate = rate.map(DataRate::from_bps);
                let instruction = Instruction::Cap { peer, rate };
                (self.to_worker)(peer.worker, ToWorker::Instruct(instruction));
            }
            None => self.metrics.requests_ignored.count(),
        }
    }

    /// The client comes again at once, as LiveKit's do after this, and then is told of TCP alone, if we have that.
    /// Over TURN it cannot.
    fn switch(&mut self, peer: PeerId, protocol: i32) {
        let mut candidates = self.config.candidates.iter();
        let has_tcp = candidates.any(|it| it.transport != CandidateTransport::Udp);
        let is_wanted = proto::CandidateProtocol::try_from(protocol)
            .is_ok_and(|protocol| protocol == proto::CandidateProtocol::Tcp);
        let seat = self.seats.get(&peer);
        let gathering = seat.and_then(|seat| self.gatherings.get_mut(&seat.room));
        let (Some(seat), Some(gathering), true) = (seat, gathering, has_tcp && is_wanted) else {
            return self.metrics.requests_ignored.count();
        };
        let name = seat.name;
        gathering.switching.retain(|waiting| *waiting != name);
        if gathering.switching.len() >= SWITCHES_MAX {
            gathering.switching.pop_front();
        }
        gathering.switching.push_back(name);
    }

    fn fail_resume(&mut self, peer: PeerId, fault: ResumeFault) {
        if let Some(seat) = self.seats.get_mut(&peer) {
            seat.resume_fault = Some(fault);
        }
    }

    /// Tells the participant, and nobody else, that it speaks.
    pub(super) fn simulate_speaker(&mut self, peer: PeerId, level: f32) {
        self.tell_speakers(peer, &[Speaker { peer, level }]);
    }
}

/// What a request costs: one, or one for each track that it names, or more if it is long. LiveKit's clients name a
/// track both by itself and among its participant's.
pub(super) fn cost(asked: &Asked) -> u32 {
    let cost = if let Asked::Subscription(update) = asked {
        let listed = update.participant_tracks.iter().map(|tracks| tracks.track_sids.len());
        listed.sum::<usize>().max(update.track_sids.len())
    } else if let Asked::TrackSetting(update) = asked {
        update.track_sids.len()
    } else if let Asked::Offer(offer) = asked {
        1 + offer.sdp.len() / BYTES_PER_REQUEST
    } else if let Asked::UpdateMetadata(update) = asked {
        let attributes = update.attributes.iter().map(|(key, value)| key.len() + value.len());
        1 + (update.metadata.len() + attributes.sum::<usize>()) / BYTES_PER_REQUEST
    } else {
        1
    };
    u32::try_from(cost.max(1)).unwrap_or(u32::MAX)
}
