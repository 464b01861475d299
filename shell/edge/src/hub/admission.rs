//! Who knocks: joins, resumes, and the first messages of a session.

use std::sync::Arc;

use model::{Identity, ParticipantSid, PeerId, RoomId, RoomName, Timestamp};
use sfu::control::{self, Coming, DepartureReason, Input, Join, JoinError};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use wire::grant::Permission;
use wire::negotiation::{AcceptedCodecs, Negotiation};
use wire::proto;
use wire::proto::signal_response::Message;
use wire::sdp::{CandidateTransport, Offer};
use wire::token::{TokenKind, VerifiedToken};

use super::answer::told_of_room;
use super::bucket::{Names, Requests};
use super::news::silence;
use super::pace::Pace;
use super::seat::{Client, ResumeFault, Seat, Session};
use super::untold::Untold;
use super::{AUDIO_CODECS, Hub, REFRESH_EVERY, Timer, VIDEO_CODECS, seat, translate};
use crate::config::Next;
use crate::limits::REFUSALS_MAX;
use crate::log::{Kind, Pseudonym, Pseudonyms};
use crate::session::{Knock, Outgoing, Refusal, SessionId, Verdict};

/// Seconds between a client's pings, and after which it gives up without an answer.
const PING_INTERVAL_S: i32 = 5;
pub(super) const PING_TIMEOUT_S: i32 = 15;
const STOPPING: Refusal = Refusal::Unavailable("node is stopping");

impl Hub {
    pub(super) fn knock(&mut self, mut knock: Box<Knock>) -> Verdict {
        let admission = match self.judge(&knock) {
            Ok(admission) => admission,
            Err(refusal) => return Verdict::Refused(refusal),
        };
        let session = *knock.session.get_or_insert_with(|| self.next_session());
        if self.is_overtaken(session, &admission) {
            return Verdict::Refused(Refusal::Overtaken);
        }
        match self.reserve_answer(&mut knock, &admission.room) {
            Ok(None) => match self.let_in(session, *knock, admission) {
                Ok(()) => Verdict::Admitted(session),
                Err(refusal) => Verdict::Refused(refusal),
            },
            Ok(Some(wanted)) => Verdict::Later(knock, wanted),
            Err(refusal) => Verdict::Refused(refusal),
        }
    }

    /// What is to be known before it is paid for.
    fn judge(&self, knock: &Knock) -> Result<wire::join::Admission, Refusal> {
        if self.is_stopping {
            return Err(STOPPING);
        }
        let admission = wire::join::admission(&knock.token.claims)
            .map_err(|_| Refusal::NotAllowed("the token grants no join"))?;
        // It was believed before it waited for us.
        self.judge_again(&knock.token)?;
        Ok(admission)
    }

    /// Whether the identity has come in by a later knock: this one's client has most likely given up waiting, and would
    /// put out whoever is there.
    fn is_overtaken(&self, session: SessionId, admission: &wire::join::Admission) -> bool {
        let held = self.control.find(&admission.room, &admission.identity);
        let seat = held.and_then(|held| self.seats.get(&held.peer));
        seat.is_some_and(|seat| seat.latest > session)
    }

    /// Whether a join would be refused for want of a place.
    pub(super) fn may_join(
        &self,
        room: &RoomName,
        identity: &Identity,
        kind: TokenKind,
    ) -> Result<(), Refusal> {
        if self.is_stopping {
            return Err(STOPPING);
        }
        let may_create_room = self.config.are_rooms_made_by_joins;
        let found = self.control.may_join(room, identity, may_create_room, coming(kind));
        found.map(drop).map_err(refusal)
    }

    fn let_in(
        &mut self,
        session: SessionId,
        mut knock: Knock,
        admission: wire::join::Admission,
    ) -> Result<(), Refusal> {
        let room = self.control.room_named(&admission.room).map(|held| held.room);
        let room = room.and_then(|room| self.gatherings.get(&room));
        if let Some(room) = room {
            room.moderated.narrow(&mut knock.token, room.name(&admission.identity));
        }
        let permission = knock.token.permission(self.unix_s());
        let permission = permission.ok_or(Refusal::NotAllowed("the token grants no join"))?;
        if knock.join.reconnect {
            let held = self.control.find(&admission.room, &admission.identity);
            let sid = ParticipantSid::from_wire(&knock.join.participant_sid);
            let mut held = held.filter(|held| held.sid == sid).map(|held| held.peer);
            if let Some(peer) = held.take_if(|peer| self.timers.is_set(Timer::Lost(*peer))) {
                self.give_up(peer);
            }
            return match held {
                Some(peer) => self.resume(session, peer, knock),
                None => {
                    self.turn_away(&sid, &knock.outbox);
                    Ok(())
                }
            };
        }
        self.join(session, admission, permission, knock)
    }

    fn join(
        &mut self,
        id: SessionId,
        admission: wire::join::Admission,
        permission: Permission,
        knock: Knock,
    ) -> Result<(), Refusal> {
        let Knock { token, join, outbox, cut, part, .. } = knock;
        let offer = join.publisher_offer.as_ref();
        let parsed = offer.map(|offer| Offer::parse(&offer.sdp)).transpose();
        let parsed = parsed.map_err(|_| Refusal::BadRequest("the offer does not parse"))?;
        let profile = wire::join::Profile::of_join(&token.claims, &join)
            .map_err(|_| Refusal::BadRequest("the profile is too large or may not be set"))?;
        let room_config = token.claims.room_config().ok();
        let room_settings = room_config.and_then(translate::room_settings).ok_or(
            Refusal::BadRequest("the token's roomConfig is malformed, too large, or not to be had"),
        )?;
        if token.claims.wants_agents() {
            self.note_agents();
        }
        let settings = join.connection_settings.unwrap_or_default();
        let wanted = Join {
            room: admission.room,
            alias: self.aliases.alias(admission.identity.expose()),
            identity: admission.identity,
            profile: control::Profile {
                name: profile.name,
                metadata: profile.metadata,
                attributes: profile.attributes,
            },
            visibility: translate::visibility(&permission),
            permission: translate::permission(&permission),
            auto_subscribe: settings.auto_subscribe,
            adaptive_stream: settings.adaptive_stream,
            may_create_room: self.config.are_rooms_made_by_joins,
            coming: coming(token.kind),
            room_settings,
        };
        let peer = self.control.join(self.now, wanted).map_err(refusal)?;
        self.current = Some(peer);
        self.take_seat(peer, token, permission, &join, Session { id, outbox, cut });
        if let Some(parsed) = &parsed {
            self.make_peer(peer, &parsed.transport);
        }
        let response = self.join_response(peer);
        self.push(peer, told_of_room(Message::Join(response), part.unwrap_or_default()));
        self.drain();
        let beyond = join.add_track_requests.len().saturating_sub(REFUSALS_MAX);
        self.metrics.requests_ignored.add(beyond as u64);
        for request in join.add_track_requests.into_iter().take(REFUSALS_MAX) {
            self.add_track(peer, request);
        }
        if let (Some(offer), Some(parsed)) = (offer, parsed) {
            // The response has told it of all tracks.
            self.answer(peer, offer.id, &parsed);
        }
        self.refresh_token(peer);
        self.apply_rights(peer);
        self.metrics.participants_joined.count();
        self.log_join(peer);
        Ok(())
    }

    /// Tokens of LiveKit's first steps ask for agents, and a call is a call without them. The log says it once.
    fn note_agents(&self) {
        if self.metrics.agents_ignored.total() == 0 {
            crate::log!(WARN, "a token's roomConfig asks for agents: this server dispatches none");
        }
        self.metrics.agents_ignored.count();
    }

    /// Lines about a participant name its peer; this one says which person's and which room's it is.
    fn log_join(&mut self, peer: PeerId) {
        if self.pseudonyms.is_stale(self.unix_ms) {
            self.pseudonyms = Pseudonyms::new(self.unix_ms, &self.random());
        }
        let Some(participant) = self.control.participant(peer) else {
            return;
        };
        let Some(room) = self.control.room(participant.room) else {
            return;
        };
        crate::log!(
            INFO,
            "participant joined",
            peer = peer,
            subject = self.pseudonyms.of(Kind::Identity, participant.identity.expose()),
            room = self.pseudonyms.of_open(participant.room),
            room_subject = self.pseudonyms.of(Kind::Room, room.name.expose()),
        );
    }

    fn next_session(&mut self) -> SessionId {
        self.sessions_made += 1;
        SessionId(self.sessions_made)
    }

    fn take_seat(
        &mut self,
        peer: PeerId,
        token: VerifiedToken,
        permission: Permission,
        join: &proto::JoinRequest,
        session: Session,
    ) {
        let Some(held) = self.control.participant(peer) else {
            return;
        };
        let (id, room, identity) = (session.id, held.room, held.identity.clone());
        let name = self.gather(room).name(&identity);
        let accepted =
            AcceptedCodecs { audio: AUDIO_CODECS.to_vec(), video: VIDEO_CODECS.to_vec() };
        let mut local = self.local_transport(peer, 0);
        if self.is_switching(room, name) {
            local.candidates.retain(|candidate| candidate.transport != CandidateTransport::Udp);
        }
        let debts = self.debts(room, name);
        let seat = Seat {
            room,
            name,
            session: Some(session),
            latest: id,
            token,
            permission,
            client: Client::of(join.client_info.as_ref()),
            joined_at_ms: self.unix_ms_wire(),
            joined: self.now,
            heard: self.now,
            local_ice: local.ice.clone(),
            negotiation: Negotiation::new(local, accepted),
            is_placed: false,
            ice_generation: 0,
            cids: Default::default(),
            cards: Default::default(),
            queued: Default::default(),
            subscriptions: Default::default(),
            ssrcs: Default::default(),
            order: Default::default(),
            is_reliable: false,
            requests: Requests::new(debts.requests),
            names: Names::new(debts.names),
            muted_for: Default::default(),
            told: Default::default(),
            pace: Pace::new(debts.told),
            permit: None,
            untold: Untold::new(),
            is_synced: false,
            resume_fault: None,
        };
        self.sessions.insert(id, peer);
        if seat.permission.recorder {
            // That the room is recorded, whoever is hidden.
            self.note_room(room);
        }
        self.seats.insert(peer, Box::new(seat));
    }

    /// Whether it asked for TCP alone before it came, which counts once: a client whom that does not suit comes again.
    fn is_switching(&mut self, room: RoomId, name: Pseudonym) -> bool {
        let Some(gathering) = self.gatherings.get_mut(&room) else {
            return false;
        };
        let before = gathering.switching.len();
        gathering.switching.retain(|waiting| *waiting != name);
        gathering.switching.len() < before
    }

    /// What a room needs beside Control's, unless it is there.
    pub(super) fn gather(&mut self, room: RoomId) -> &super::Gathering {
        let created_at_ms = self.unix_ms_wire();
        let (random, answers) = (&self.random, &self.answers);
        self.gatherings.entry(room).or_insert_with(|| super::Gathering {
            created_at_ms,
            replay: Default::default(),
            replay_at: None,
            nonces: Default::default(),
            names: Pseudonyms::new(0, &super::bytes(random)),
            moderated: Default::default(),
            gone: Default::default(),
            told_next: Timestamp::ZERO,
            unpaid: Default::default(),
            lag: Default::default(),
            switching: Default::default(),
            answers: answers.of_room(),
        })
    }

    fn join_response(&self, peer: PeerId) -> proto::JoinResponse {
        let room = self.seats.get(&peer).map(|seat| seat.room);
        let others = room.into_iter().flat_map(|room| self.control.participants(room));
        let others = others.filter(|other| other.peer != peer && other.is_visible());
        let can_publish = self
            .seats
            .get(&peer)
            .is_some_and(|seat| seat.permission.publish != wire::grant::Publish::Nothing);
        let codecs = [&AUDIO_CODECS[..], &VIDEO_CODECS[..]].concat();
        let server = translate::server();
        proto::JoinResponse {
            room: room.and_then(|room| self.room_info(room)),
            participant: self.participant_info(peer),
            other_participants: others.filter_map(|o| self.participant_info(o.peer)).collect(),
            server_version: server.version.clone(),
            server_region: server.region.clone(),
            server_info: Some(server),
            subscriber_primary: false,
            ping_timeout: PING_TIMEOUT_S,
            ping_interval: PING_INTERVAL_S,
            enabled_publish_codecs: translate::codecs(&codecs),
            fast_publish: can_publish,
            ..Default::default()
        }
    }

    /// The signal connection of a participant that is still here is replaced.
    fn resume(&mut self, id: SessionId, peer: PeerId, knock: Knock) -> Result<(), Refusal> {
        self.current = Some(peer);
        self.push(peer, Outgoing::Close(CloseCode::Normal, "resumed elsewhere"));
        let gone = Refusal::Unavailable("the participant is gone");
        let seat = self.seats.get_mut(&peer).ok_or(gone)?;
        if let Some(old) =
            seat.session.replace(Session { id, outbox: knock.outbox, cut: knock.cut })
        {
            self.sessions.remove(&old.id);
        }
        seat.latest = id;
        let old = std::mem::replace(&mut seat.token, knock.token);
        let (was, is) = (&old.claims, &seat.token.claims);
        // Others are told it again only with another version.
        let is_another_kind = (&was.kind, &was.kind_details) != (&is.kind, &is.kind_details);
        if old.is_changed {
            // The client may have come with the token that it had before. Rights of that, and their ends, are not those
            // of another.
            let is_its = seat.token.is_of_one_with(&old);
            let claims = &mut seat.token.claims;
            if let Some((was, is)) = old.claims.permission().zip(claims.permission())
                && let Some(grant) = &mut claims.video
            {
                grant.set_permission(&if is_its { was } else { is.within(&was) });
            }
            claims.name = old.claims.name;
            claims.metadata = old.claims.metadata;
            claims.attributes = old.claims.attributes;
            seat.token.is_changed = true;
        }
        seat.is_synced = false;
        self.sessions.insert(id, peer);
        match seat.resume_fault {
            Some(ResumeFault::BeforeMessages(left)) => {
                seat.resume_fault = left.checked_sub(1).map(ResumeFault::BeforeMessages);
                self.push(peer, Outgoing::Close(CloseCode::Normal, "simulated"));
                return Ok(());
            }
            Some(ResumeFault::AfterMessages) | None => {}
        }
        let heard = seat.heard;
        let last_message_seq = seat.order.last();
        seat.negotiation.forget_requests();
        let fault = seat.resume_fault.take();
        let room = seat.room;
        self.send(
            peer,
            Message::Reconnect(proto::ReconnectResponse {
                server_info: Some(translate::server()),
                last_message_seq,
                ..Default::default()
            }),
        );
        self.tell_mutes(peer);
        let gone = self.gone_since(peer, heard);
        if !gone.is_empty() {
            // It may have heard of none of it that they spoke no more, and knows them until it is told this.
            self.send(peer, silence(gone.iter().map(|it| it.sid.clone())));
            self.send(peer, Message::Update(proto::ParticipantUpdate { participants: gone }));
        }
        let all = self.control.participants(room);
        let all = all.filter(|held| held.is_visible() || held.peer == peer);
        let participants = all.filter_map(|held| self.participant_info(held.peer)).collect();
        let mut part = knock.part.unwrap_or_default();
        let of_room = part.split(self.room_weight(room));
        let update = Message::Update(proto::ParticipantUpdate { participants });
        self.push(peer, told_of_room(update, part));
        if let Some(room) = self.room_info(room) {
            let update = Message::RoomUpdate(proto::RoomUpdate { room: Some(room) });
            self.push(peer, told_of_room(update, of_room));
        }
        self.tell_missed(peer);
        self.refresh_token(peer);
        if let Some(state) = &knock.join.sync_state {
            self.sync(peer, state);
        }
        if let Some(offer) = knock.join.publisher_offer {
            self.offer(peer, &offer);
        }
        self.news.ask(peer);
        self.apply_rights(peer);
        if is_another_kind {
            self.tell(Input::Touch(peer));
        }
        if fault.is_some() {
            self.push(peer, Outgoing::Close(CloseCode::Normal, "simulated"));
        }
        self.metrics.participants_resumed.count();
        crate::log!(INFO, "participant resumed", peer = peer);
        Ok(())
    }

    /// A resume of somebody who is not here: it must join afresh, or stays out, and only a message says so.
    fn turn_away(&self, sid: &ParticipantSid, outbox: &mpsc::Sender<Outgoing>) {
        self.metrics.resumes_unknown.count();
        let put_out = self.put_out.why(self.now, sid);
        // livekit-client obeys a goodbye to stay out only within a session: one that comes first it takes for a fault,
        // and joins afresh.
        let welcome = put_out.map(|_| {
            let server_info = Some(translate::server());
            Message::Reconnect(proto::ReconnectResponse { server_info, ..Default::default() })
        });
        let reason = put_out.unwrap_or(DepartureReason::Mismatch);
        let leave = translate::leave(reason, Next::Nobody).map(Message::Leave);
        let messages = welcome.into_iter().chain(leave);
        let messages = messages.map(|message| Outgoing::Response(seat::shared(message)));
        for outgoing in messages.chain([Outgoing::Close(CloseCode::Normal, "not here")]) {
            // The outbox is empty: there is room.
            drop(outbox.try_send(outgoing));
        }
    }

    /// Gives the client a token for reconnects, which lasts as long as its own; ten minutes if a moderator changed it.
    pub(super) fn refresh_token(&mut self, peer: PeerId) {
        let Some(seat) = self.seats.get(&peer) else {
            return;
        };
        let access = Arc::clone(&self.config.access.borrow());
        if let Some(token) = wire::token::mint_refresh(&access.keys, &seat.token, self.unix_s()) {
            self.send(peer, Message::RefreshToken(token));
        }
        self.timers.set(self.now + REFRESH_EVERY, Timer::Refresh(peer));
    }
}

/// Only whoever was let in has a token of ours.
const fn coming(token: TokenKind) -> Coming {
    match token {
        TokenKind::Original => Coming::New,
        TokenKind::Refresh => Coming::Returning,
    }
}

const fn refusal(error: JoinError) -> Refusal {
    match error {
        JoinError::ProfileTooLarge => Refusal::BadRequest("the profile is too large"),
        JoinError::NoRoom => Refusal::NoRoom,
        JoinError::RoomFull => Refusal::RoomFull,
        JoinError::NodeFull => Refusal::Unavailable("the node is full"),
        JoinError::NodeBusy => Refusal::Busy,
    }
}
