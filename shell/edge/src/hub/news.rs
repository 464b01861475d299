//! What Control wants done, and what participants are told of it.
//!
//! Owns: news that wait until the end of a turn, so that everybody hears of ten joins in one message, and those that
//! wait for longer, since what one participant has others told is bounded (`pace`).
//! Guarantees: an update comes before the request for sections that it explains, and the newest comes in the end; that
//! somebody is gone never waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::{
    Identity, LogData, ParticipantSid, PeerId, RoomId, Sid as _, SubscriptionId, Timestamp,
    TrackId, TrackSid,
};
use prost::Message as _;
use sfu::control::{
    Departure, DepartureReason, Output, Profile, Publication, Score, Speaker, Visibility,
};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use wire::proto;
use wire::proto::SubscriptionError;
use wire::proto::leave_request::Action;
use wire::proto::signal_response::Message;

use super::bucket::{Debts, Names, Requests};
use super::gone::Leaver;
use super::pace::{Pace, time_of};
use super::{Hub, seat, translate};
use crate::config::Next;
use crate::limits::{GOODBYE_PROFILE_MAX, REFUSALS_MAX, UNPAID_MAX, UPDATE_BYTES_PER_SECOND};
use crate::log::Pseudonym;
use crate::session::Outgoing;
use crate::worker::ToWorker;

/// How often the numbers of a room are told (LiveKit: 5 s).
const ROOM_EVERY: Duration = Duration::from_secs(1);

/// What is to be told at the end of a turn.
#[derive(Debug, Default)]
pub(super) struct News {
    changed: BTreeMap<RoomId, BTreeSet<PeerId>>,
    departed: BTreeMap<RoomId, Vec<proto::ParticipantInfo>>,
    /// Clients whose sections may not suffice, or do not say what they should.
    asking: BTreeSet<PeerId>,
    /// Who began or ceased to speak, by whom that is told.
    speakers: BTreeMap<PeerId, Vec<Speaker>>,
    /// Those in `departed`, whom clients do not know any more once that is told.
    gone: BTreeMap<PeerId, ParticipantSid>,
    /// Participants that have changed and wait, by when they are told.
    held: BTreeSet<(Timestamp, PeerId)>,
    /// Rooms that have changed, by when they are told.
    rooms: BTreeSet<(Timestamp, RoomId)>,
}

impl News {
    /// The participant's negotiation may need another offer.
    pub(super) fn ask(&mut self, peer: PeerId) {
        self.asking.insert(peer);
    }

    /// The newest of each is told: somebody may be subscribed and told of a speaker again and again.
    fn note_speakers(&mut self, to: PeerId, speakers: Vec<Speaker>) {
        let held = self.speakers.entry(to).or_default();
        held.retain(|before| speakers.iter().all(|new| new.peer != before.peer));
        held.extend(speakers);
    }

    pub(super) fn due(&self) -> Option<Timestamp> {
        let held = self.held.first().map(|(at, _)| *at);
        [held, self.rooms.first().map(|(at, _)| *at)].into_iter().flatten().min()
    }
}

impl Hub {
    /// Does what Control wants.
    pub(super) fn drain(&mut self) {
        while let Some(output) = self.control.poll() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Instruct(worker, instruction) => {
                (self.to_worker)(worker, ToWorker::Instruct(instruction));
            }
            Output::ParticipantChanged(peer) => self.note_change(peer),
            Output::Departed(departure) => self.see_off(*departure),
            Output::Hid(departure) => self.take_leave(*departure),
            Output::Muted(track) => self.tell_muted(track),
            Output::RoomChanged(room) => self.note_room(room),
            Output::RoomClosed(room) => {
                self.gatherings.remove(&room);
            }
            Output::Wanted(subscription) => {
                if !self.withholds(subscription) {
                    // It is gone again if this is `None`.
                    let _: Option<()> = self.want(subscription);
                }
            }
            Output::Unwanted { peer, track } => self.unwant(peer, &track),
            Output::FirstSubscriber(track) => self.tell_publisher(track, translate::subscribed),
            Output::QualityWanted { track, quality } => self.tell_publisher(track, |publication| {
                Message::SubscribedQualityUpdate(translate::wanted(publication, quality))
            }),
            Output::Speakers { to, speakers } => self.news.note_speakers(to, speakers),
            Output::Qualities { to, scores } => self.tell_qualities(to, &scores),
            Output::StreamState { to, track, paused } => self.tell_stream_state(to, track, paused),
            Output::Allowed { to, track, allowed } => self.note_allowed(to, track, allowed),
            Output::Unpublished { peer, track, sid, cid, tell } => {
                self.unpublish(peer, track, &sid, &cid, tell);
            }
        }
    }

    /// What a room says of itself has changed, or may have.
    pub(super) fn note_room(&mut self, room: RoomId) {
        if let Some(gathering) = self.gatherings.get(&room) {
            self.news.rooms.insert((gathering.told_next.max(self.now), room));
        }
    }

    /// Others are told at the end of the turn, or when what they were told before is paid for.
    fn note_change(&mut self, peer: PeerId) {
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        if let Some(at) = seat.pace.next(self.now) {
            self.news.held.insert((at, peer));
        } else {
            self.news.changed.entry(seat.room).or_default().insert(peer);
        }
    }

    /// Whether a subscription waits until its receiver has been told of the track.
    fn withholds(&mut self, subscription: SubscriptionId) -> bool {
        let Some(held) = self.control.subscription(subscription) else {
            return false;
        };
        let Some(publication) = self.control.publication(held.track) else {
            return false;
        };
        let receiver = self.seats.get(&held.peer);
        let is_known =
            receiver.is_some_and(|seat| seat.subscriptions.contains_key(&publication.sid));
        let publisher = self.seats.get_mut(&publication.peer);
        let untold = publisher.filter(|seat| !seat.told.contains(&held.track));
        !is_known && untold.is_some_and(|seat| seat.pace.withhold())
    }

    /// Asks for sections for those of a participant's tracks for which that has waited.
    fn want_withheld(&mut self, publisher: PeerId) {
        let tracks = self.control.participant(publisher).into_iter().flat_map(|held| &held.tracks);
        let tracks = tracks.filter_map(|track| self.control.publication(*track));
        let is_known = |peer: &PeerId, sid: &TrackSid| {
            self.seats.get(peer).is_some_and(|seat| seat.subscriptions.contains_key(sid))
        };
        let all = tracks.flat_map(|publication| {
            let receivers = publication.subscribers.iter();
            receivers.filter(|(peer, _)| !is_known(peer, &publication.sid)).map(|(_, id)| *id)
        });
        for subscription in all.collect::<Vec<_>>() {
            // It is gone again if this is `None`.
            let _: Option<()> = self.want(subscription);
        }
    }

    fn see_off(&mut self, departure: Departure) {
        let (peer, room, reason) = (departure.peer, departure.room, departure.reason);
        let (sid, identity) = (departure.sid.clone(), departure.identity.clone());
        if departure.visibility == Visibility::Visible {
            self.take_leave(departure);
        }
        self.note_debts(room, peer, &identity);
        if let Some(leave) = translate::leave(reason, self.next_for(peer)) {
            // Who did not connect in time may have lost its network, and is as welcome as before.
            let is_for_good = leave.action() == Action::Disconnect;
            if is_for_good && reason != DepartureReason::JoinTimeout {
                self.put_out.note(self.now, sid.clone(), reason);
            }
            self.send(peer, Message::Leave(leave));
        }
        let is_shutdown = reason == DepartureReason::Shutdown;
        let code = if is_shutdown { CloseCode::Away } else { CloseCode::Normal };
        self.push(peer, Outgoing::Close(code, "left"));
        if self.seats.get(&peer).is_some_and(|seat| seat.permission.recorder) {
            // Though it was hidden.
            self.note_room(room);
        }
        self.forget(peer);
        self.forget_words(room, sid, identity);
        self.news.asking.remove(&peer);
        if let Some(changed) = self.news.changed.get_mut(&room) {
            changed.remove(&peer);
        }
        let gone = if reason == DepartureReason::Left { "left" } else { "was put out" };
        let reason = LogData(reason);
        crate::log!(INFO, "participant gone", peer = peer, how = LogData(gone), reason = reason);
    }

    /// Others are told at the end of the turn that somebody is gone. That never waits, but goes onto the bill, and is
    /// short while too much is on it.
    fn take_leave(&mut self, mut departure: Departure) {
        let (peer, room) = (departure.peer, departure.room);
        let receivers = self.control.room(room).map_or(0, |held| held.participants.len());
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        if let Some(gathering) = self.gatherings.get_mut(&room) {
            gathering.gone.note(Leaver {
                at: self.now,
                sid: departure.sid.clone(),
                name: seat.name,
                version: departure.version,
                reason: departure.reason,
            });
        }
        // Whoever is seen again is not known until that is told.
        seat.told.clear();
        if seat.pace.must_wait(self.now).is_some() && is_long(&departure.profile) {
            departure.profile.metadata.clear();
            departure.profile.attributes.clear();
        }
        self.news.gone.insert(peer, departure.sid.clone());
        let info = translate::departed(departure, seat);
        seat.pace.pay(self.now, info.encoded_len(), receivers);
        self.news.departed.entry(room).or_default().push(info);
    }

    /// Whom a participant who is told to leave finds here.
    fn next_for(&self, peer: PeerId) -> Next {
        let Some(seat) = self.seats.get(&peer).filter(|_| self.is_stopping) else {
            return Next::Nobody;
        };
        let (token, access) = (&seat.token, self.config.access.borrow());
        let is_taken = access.keys.outlasts_process(token.issuer.expose(), &token.key);
        if is_taken && self.unix_s() < token.claims.expires_at {
            self.config.next
        } else {
            Next::Nobody
        }
    }

    /// Whoever goes and comes again may do no more than if it had stayed.
    fn note_debts(&mut self, room: RoomId, peer: PeerId, identity: &Identity) {
        let Some(seat) = self.seats.get(&peer) else {
            return;
        };
        if let Some(at) = seat.pace.waits_until() {
            self.news.held.remove(&(at, peer));
        }
        let name = seat.name;
        let debts = Debts {
            told: seat.pace.paid(),
            requests: seat.requests.paid(),
            names: seat.names.paid(),
        };
        let now = self.now;
        if debts.are_paid(now) {
            return;
        }
        let held = self.control.room(room);
        let again = held.and_then(|room| room.participants.get(identity));
        if let Some(again) = again.and_then(|peer| self.seats.get_mut(peer)) {
            again.pace = Pace::new(debts.told);
            again.requests = Requests::new(debts.requests);
            again.names = Names::new(debts.names);
            return;
        }
        let Some(gathering) = self.gatherings.get_mut(&room) else {
            return;
        };
        gathering.unpaid.retain(|(_, debts)| !debts.are_paid(now));
        if gathering.unpaid.len() >= UNPAID_MAX {
            gathering.unpaid.pop_front();
        }
        gathering.unpaid.push_back((name, debts));
    }

    /// What a newcomer owes from when it was there before.
    pub(super) fn debts(&mut self, room: RoomId, name: Pseudonym) -> Debts {
        let found = self.gatherings.get_mut(&room).and_then(|gathering| {
            let at = gathering.unpaid.iter().position(|(left, _)| *left == name)?;
            gathering.unpaid.remove(at)
        });
        found.map_or(Debts::none(self.now), |(_, debts)| debts)
    }

    fn unwant(&mut self, peer: PeerId, track: &TrackSid) {
        if let Some(seat) = self.seats.get_mut(&peer) {
            seat.note_subscription(track.clone(), None);
            seat.negotiation.unwant(track);
            self.news.ask(peer);
        }
    }

    fn unpublish(&mut self, peer: PeerId, track: TrackId, sid: &TrackSid, cid: &str, tell: bool) {
        self.tracks.remove(sid);
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        seat.cids.remove(cid);
        seat.cards.remove(&track);
        seat.muted_for.remove(&track);
        let queued = seat.queued.remove(cid);
        if tell {
            // Its section may be on its way: livekit-client goes on with a track that it has just announced.
            seat.negotiation.refuse(cid, None);
            let track_sid = sid.to_string();
            let told = proto::TrackUnpublishedResponse { track_sid };
            self.send(peer, Message::TrackUnpublished(told));
        } else {
            seat.negotiation.withdraw(cid);
        }
        if let Some(request) = queued.filter(|_| self.control.participant(peer).is_some()) {
            self.announce(peer, request);
        }
    }

    pub(super) fn tell_publisher(
        &mut self,
        track: TrackId,
        message: impl FnOnce(&Publication) -> Message,
    ) {
        if let Some(publication) = self.control.publication(track) {
            let (peer, message) = (publication.peer, message(publication));
            self.send(peer, message);
        }
    }

    pub(super) fn tell_speakers(&mut self, to: PeerId, speakers: &[Speaker]) {
        let each = speakers.iter().filter_map(|speaker| {
            Some(proto::SpeakerInfo {
                sid: self.control.participant(speaker.peer)?.sid.to_string(),
                level: speaker.level,
                active: speaker.is_active(),
            })
        });
        let speakers = each.collect();
        self.send(to, Message::SpeakersChanged(proto::SpeakersChanged { speakers }));
    }

    /// Who of those who are gone speaks no more, before that is told.
    fn tell_silences(&mut self) {
        let gone = std::mem::take(&mut self.news.gone);
        if gone.is_empty() {
            return;
        }
        let mut told = Vec::new();
        self.news.speakers.retain(|to, speakers| {
            let silent = speakers.extract_if(.., |speaker| gone.contains_key(&speaker.peer));
            let sids: Vec<&ParticipantSid> =
                silent.filter_map(|speaker| gone.get(&speaker.peer)).collect();
            if !sids.is_empty() {
                told.push((*to, silence(sids.into_iter().map(ToString::to_string))));
            }
            !speakers.is_empty()
        });
        for (to, silence) in told {
            self.send(to, silence);
        }
    }

    pub(super) fn tell_qualities(&mut self, to: PeerId, scores: &[(PeerId, Score)]) {
        let each = scores.iter().filter_map(|(peer, score)| {
            Some(proto::ConnectionQualityInfo {
                participant_sid: self.control.participant(*peer)?.sid.to_string(),
                quality: translate::quality(score.quality).into(),
                score: score.opinion,
            })
        });
        let updates = each.collect();
        self.send(to, Message::ConnectionQuality(proto::ConnectionQualityUpdate { updates }));
    }

    fn tell_stream_state(&mut self, to: PeerId, track: TrackId, paused: bool) {
        if let Some(info) = self.stream_state(track, paused) {
            let stream_states = vec![info];
            self.send(to, Message::StreamStateUpdate(proto::StreamStateUpdate { stream_states }));
        }
    }

    pub(super) fn stream_state(
        &self,
        track: TrackId,
        paused: bool,
    ) -> Option<proto::StreamStateInfo> {
        let (participant_sid, track_sid) = self.sids(track)?;
        let state = if paused { proto::StreamState::Paused } else { proto::StreamState::Active };
        Some(proto::StreamStateInfo { participant_sid, track_sid, state: state.into() })
    }

    /// A track's publisher and name, for clients.
    pub(super) fn sids(&self, track: TrackId) -> Option<(String, String)> {
        let publication = self.control.publication(track)?;
        let publisher = self.control.participant(publication.peer)?;
        Some((publisher.sid.to_string(), publication.sid.to_string()))
    }

    /// Tells everybody what waited for the end of the turn.
    pub(super) fn tell_news(&mut self) {
        self.tell_participants();
        for (to, speakers) in std::mem::take(&mut self.news.speakers) {
            self.tell_speakers(to, &speakers);
        }
        for peer in std::mem::take(&mut self.news.asking) {
            self.ask_for_sections(peer);
        }
        while let Some(&(at, room)) = self.news.rooms.first().filter(|(at, _)| *at <= self.now) {
            self.news.rooms.remove(&(at, room));
            self.tell_room(room);
        }
    }

    fn ask_for_sections(&mut self, peer: PeerId) {
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        // Without an offer there is nothing to add to. A client that is away is asked when it resumes.
        if !seat.is_placed {
            return;
        }
        let crowded = seat.negotiation.crowded_out();
        let refusals = seat.spare().min(REFUSALS_MAX);
        if let Some(needed) = seat.negotiation.requirement() {
            let needed = proto::MediaSectionsRequirement {
                num_audios: needed.audios,
                num_videos: needed.videos,
            };
            self.send(peer, Message::MediaSectionsRequirement(needed));
        }
        self.metrics.subscriptions_crowded_out.add(crowded.len() as u64);
        for track in crowded.into_iter().take(refusals) {
            self.refuse_track(peer, track.to_string(), SubscriptionError::SeUnknown);
        }
    }

    fn tell_room(&mut self, room: RoomId) {
        let Some(info) = self.room_info(room) else {
            return;
        };
        if let Some(gathering) = self.gatherings.get_mut(&room) {
            let time = time_of(info.encoded_len(), UPDATE_BYTES_PER_SECOND);
            gathering.told_next = self.now + ROOM_EVERY.max(time);
        }
        let update = proto::RoomUpdate { room: Some(info) };
        let message = seat::shared(Message::RoomUpdate(update));
        for peer in self.seated(room) {
            self.send_shared(peer, &message);
        }
    }

    /// Tells every room who changed and who is gone if that is about tracks of the participant's room; what is not,
    /// as that somebody joined, can wait.
    pub(super) fn tell_tracks(&mut self, peer: PeerId) {
        let Some(room) = self.seats.get(&peer).map(|seat| seat.room) else {
            return;
        };
        let mut changed = self.news.changed.get(&room).into_iter().flatten();
        let is_about_tracks = self.news.departed.contains_key(&room)
            || changed.any(|changed| {
                let seat = self.seats.get(changed);
                seat.is_some_and(|seat| !self.live_tracks(*changed).eq(seat.told.iter().copied()))
            });
        if is_about_tracks {
            self.tell_participants();
        }
    }

    /// Tells every room who changed and who is gone.
    fn tell_participants(&mut self) {
        self.tell_silences();
        let mut withheld = Vec::new();
        while let Some(&(at, peer)) = self.news.held.first().filter(|(at, _)| *at <= self.now) {
            self.news.held.remove(&(at, peer));
            if let Some(seat) = self.seats.get_mut(&peer) {
                withheld.extend(seat.pace.release().then_some(peer));
                self.news.changed.entry(seat.room).or_default().insert(peer);
            }
        }
        let changed = std::mem::take(&mut self.news.changed);
        let mut departed = std::mem::take(&mut self.news.departed);
        let rooms: BTreeSet<RoomId> = changed.keys().chain(departed.keys()).copied().collect();
        for room in rooms {
            let departed = departed.remove(&room).unwrap_or_default();
            self.tell_one_room(room, changed.get(&room), departed);
        }
        for publisher in withheld {
            self.want_withheld(publisher);
        }
    }

    fn tell_one_room(
        &mut self,
        room: RoomId,
        changed: Option<&BTreeSet<PeerId>>,
        departed: Vec<proto::ParticipantInfo>,
    ) {
        let changed = changed.into_iter().flatten();
        let changed = changed.filter_map(|peer| self.control.participant(*peer));
        let (visible, hidden): (Vec<_>, Vec<_>) = changed.partition(|held| held.is_visible());
        let hidden: Vec<PeerId> = hidden.into_iter().map(|held| held.peer).collect();
        let visible = visible.into_iter().map(|held| held.peer);
        let visible: Vec<(PeerId, proto::ParticipantInfo)> =
            visible.filter_map(|peer| Some((peer, self.participant_info(peer)?))).collect();
        for peer in hidden {
            if let Some(info) = self.participant_info(peer) {
                self.pay(peer, &info, 1);
                self.send(peer, update(vec![info]));
            }
        }
        let receivers = self.seated(room);
        for (peer, info) in &visible {
            self.pay(*peer, info, receivers.len());
            self.note_told(*peer);
        }
        if departed.is_empty() && visible.is_empty() {
            return;
        }
        let visible: Vec<_> = visible.into_iter().map(|(_, info)| info).collect();
        let mut others = Vec::new();
        for peer in receivers {
            // A client takes what is said of its identity for itself: its former presence is not for it.
            let held = self.control.participant(peer);
            let is_its = |info: &proto::ParticipantInfo| {
                held.is_some_and(|held| held.identity.expose() == info.identity)
            };
            if departed.iter().any(is_its) {
                let own = departed.iter().filter(|info| !is_its(info)).chain(&visible);
                let own = update(own.cloned().collect());
                self.send(peer, own);
            } else {
                others.push(peer);
            }
        }
        let message = seat::shared(update(departed.into_iter().chain(visible).collect()));
        for peer in others {
            self.send_shared(peer, &message);
        }
    }

    /// Everybody knows the participant's tracks.
    fn note_told(&mut self, peer: PeerId) {
        let told = self.live_tracks(peer).collect();
        if let Some(seat) = self.seats.get_mut(&peer) {
            seat.told = told;
        }
    }

    fn live_tracks(&self, peer: PeerId) -> impl Iterator<Item = TrackId> {
        let tracks = self.control.participant(peer).into_iter().flat_map(|held| &held.tracks);
        let is_live =
            |track: &TrackId| self.control.publication(*track).is_some_and(Publication::is_live);
        tracks.copied().filter(move |track| is_live(track))
    }

    /// What is told of a participant goes onto its bill.
    fn pay(&mut self, peer: PeerId, info: &proto::ParticipantInfo, receivers: usize) {
        if let Some(seat) = self.seats.get_mut(&peer) {
            seat.pace.pay(self.now, info.encoded_len(), receivers);
        }
    }

    /// The participants of a room that have a session.
    pub(super) fn seated(&self, room: RoomId) -> Vec<PeerId> {
        let all = self.control.participants(room).map(|held| held.peer);
        all.filter(|peer| self.seats.get(peer).is_some_and(|seat| seat.session.is_some())).collect()
    }

    pub(super) fn participant_info(&self, peer: PeerId) -> Option<proto::ParticipantInfo> {
        let participant = self.control.participant(peer)?;
        let tracks = participant.tracks.iter().filter_map(|id| self.control.publication(*id));
        Some(translate::participant(participant, tracks, self.seats.get(&peer)?))
    }

    pub(super) fn room_info(&self, room: RoomId) -> Option<proto::Room> {
        let held = self.control.room(room)?;
        let gathering = self.gatherings.get(&room)?;
        let mut info = proto::Room {
            sid: held.sid.as_str().to_owned(),
            name: held.name.expose().to_owned(),
            metadata: held.metadata.expose().to_owned(),
            empty_timeout: u32::try_from(held.empty.as_secs()).unwrap_or(u32::MAX),
            departure_timeout: u32::try_from(held.departure.as_secs()).unwrap_or(u32::MAX),
            // Zero says that nothing but the node limits it.
            max_participants: Some(held.participants_max)
                .filter(|most| *most < self.config.control.room_participants_max)
                .map_or(0, |most| u32::try_from(most).unwrap_or(u32::MAX)),
            creation_time: gathering.created_at_ms / 1000,
            creation_time_ms: gathering.created_at_ms,
            enabled_codecs: translate::codecs(&super::AUDIO_CODECS),
            ..Default::default()
        };
        info.enabled_codecs.extend(translate::codecs(&super::VIDEO_CODECS));
        for participant in self.control.participants(room) {
            let seat = self.seats.get(&participant.peer);
            info.active_recording |= seat.is_some_and(|seat| seat.permission.recorder);
            if participant.is_visible() {
                info.num_participants += 1;
                let tracks = participant.tracks.iter();
                let mut tracks = tracks.filter_map(|track| self.control.publication(*track));
                info.num_publishers += u32::from(tracks.any(|track| track.is_live()));
            }
        }
        Some(info)
    }
}

/// Whether it is too long to be said of who goes while something is to be paid for.
fn is_long(profile: &Profile) -> bool {
    let attributes = profile.attributes.iter().map(|(key, value)| key.len() + value.len());
    profile.metadata.len() + attributes.sum::<usize>() > GOODBYE_PROFILE_MAX
}

/// That they speak no more.
pub(super) fn silence(sids: impl Iterator<Item = String>) -> Message {
    let speakers = sids.map(|sid| proto::SpeakerInfo { sid, ..Default::default() }).collect();
    Message::SpeakersChanged(proto::SpeakersChanged { speakers })
}

fn update(participants: Vec<proto::ParticipantInfo>) -> Message {
    Message::Update(proto::ParticipantUpdate { participants })
}
