//! Coming and going: admission, placement on a worker, departure, the life of a room.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Identity, ParticipantSid, PeerId, RoomId, RoomName, RoomSid, Sid, SubscriptionId, Timestamp,
    TrackId, WorkerId,
};

use super::speaker::Speakers;
use super::{
    Allowance, Coming, Control, Departure, DepartureReason, Join, JoinError, OpenError, Output,
    Participant, Permission, ProfileChange, ProfileError, Room, RoomMetadata, RoomSettings, State,
    Timer, Visibility,
};
use crate::Instruction;

impl Control {
    /// Lets somebody in and gives the peer that will be its.
    ///
    /// # Errors
    /// [`JoinError`]; nothing has changed then.
    pub fn join(&mut self, now: Timestamp, mut join: Join) -> Result<PeerId, JoinError> {
        if !join.profile.is_within_limits() {
            return Err(JoinError::ProfileTooLarge);
        }
        let known = self.names.get(&join.room).copied();
        let Join { room, identity, may_create_room, coming, .. } = &join;
        if let Some(old) = self.may_join(room, identity, *may_create_room, *coming)? {
            self.depart(now, old, DepartureReason::Duplicate);
        }
        let room = match known {
            Some(room) => room,
            None => {
                let mut settings = std::mem::take(&mut join.room_settings);
                if self.rooms.len() >= crate::limits::ROOMS_MAX {
                    // Those of a crowd close in time.
                    settings.departure = None;
                }
                let room = self.make_room(join.room.clone());
                self.set_room(room, settings);
                room
            }
        };
        let peer = self.admit(now, room, join);
        self.weigh_dynacast(now);
        Ok(peer)
    }

    /// Whether there is a place for somebody, and who leaves for it: the participant of the same identity.
    ///
    /// # Errors
    /// [`JoinError`]: there is no such room, or room or node is full or busy.
    pub fn may_join(
        &self,
        room: &RoomName,
        identity: &Identity,
        may_create_room: bool,
        coming: Coming,
    ) -> Result<Option<PeerId>, JoinError> {
        let room = self.names.get(room).and_then(|room| self.rooms.get(room));
        if room.is_none() && !may_create_room {
            return Err(JoinError::NoRoom);
        }
        let duplicate = room.and_then(|room| room.participants.get(identity)).copied();
        let leaving = usize::from(duplicate.is_some());
        if self.participants.len() - leaving >= self.config.participants_max {
            return Err(JoinError::NodeFull);
        }
        if room.is_some_and(|room| room.participants.len() - leaving >= room.participants_max) {
            return Err(JoinError::RoomFull);
        }
        let is_new = duplicate.is_none() && coming == Coming::New;
        if is_new && self.is_busy() {
            return Err(JoinError::NodeBusy);
        }
        Ok(duplicate)
    }

    /// Changes the profile of a participant at its own wish.
    ///
    /// # Errors
    /// [`ProfileError`]; nothing has changed then.
    pub fn update_profile(
        &mut self,
        peer: PeerId,
        change: ProfileChange,
    ) -> Result<(), ProfileError> {
        let may = self.participants.get(&peer).is_some_and(|held| held.permission.update_profile);
        if may { self.change_profile(peer, change) } else { Err(ProfileError::NotAllowed) }
    }

    /// Changes the profile of a participant, whatever it may do itself.
    ///
    /// # Errors
    /// [`ProfileError`]; nothing has changed then. [`ProfileError::NotAllowed`] if there is no such participant.
    pub fn change_profile(
        &mut self,
        peer: PeerId,
        change: ProfileChange,
    ) -> Result<(), ProfileError> {
        let participant = self.participants.get_mut(&peer).ok_or(ProfileError::NotAllowed)?;
        let profile = participant.profile.with(change).ok_or(ProfileError::TooLarge)?;
        if profile != participant.profile {
            participant.profile = profile;
            self.touch(peer);
        }
        Ok(())
    }

    fn make_room(&mut self, name: RoomName) -> RoomId {
        let room = RoomId(self.rooms_made);
        self.rooms_made = self.rooms_made.wrapping_add(1);
        self.names.insert(name.clone(), room);
        let held = Room {
            room,
            sid: RoomSid::from_entropy(self.entropy.sid()),
            name,
            participants: BTreeMap::new(),
            participants_max: self.config.room_participants.min(self.config.room_participants_max),
            metadata: RoomMetadata::default(),
            empty: self.config.empty,
            departure: self.config.departure,
            speakers: Speakers::default(),
            closes_at: None,
            quality_news: BTreeSet::new(),
            quality_due: None,
            quality_next: Timestamp::ZERO,
        };
        self.rooms.insert(room, held);
        room
    }

    /// Makes a room that waits for its first participant, or changes one that is there; an empty one waits anew.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed then.
    pub fn open(
        &mut self,
        now: Timestamp,
        name: RoomName,
        settings: RoomSettings,
    ) -> Result<RoomId, OpenError> {
        let known = self.names.get(&name).copied();
        if known.is_none() && self.rooms.len() >= crate::limits::ROOMS_MAX {
            return Err(OpenError::NodeFull);
        }
        let id = known.unwrap_or_else(|| self.make_room(name));
        self.set_room(id, settings);
        let empty = self.rooms.get(&id).filter(|room| room.participants.is_empty());
        if let Some(at) = empty.map(|room| now + room.empty) {
            self.close_at(id, Some(at));
        }
        self.outputs.push_back(Output::RoomChanged(id));
        Ok(id)
    }

    /// When the room closes from now on, if it does.
    fn close_at(&mut self, id: RoomId, at: Option<Timestamp>) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let before = std::mem::replace(&mut room.closes_at, at);
        if let Some(before) = before {
            self.timers.remove(&(before, Timer::Close(id)));
        }
        if let Some(at) = at {
            self.timers.insert((at, Timer::Close(id)));
        }
    }

    fn set_room(&mut self, id: RoomId, settings: RoomSettings) {
        let most = self.config.room_participants_max;
        if let Some(room) = self.rooms.get_mut(&id) {
            room.metadata = settings.metadata.unwrap_or_else(|| room.metadata.clone());
            room.participants_max =
                settings.participants_max.unwrap_or(room.participants_max).min(most);
            room.empty = settings.empty.unwrap_or(room.empty);
            room.departure = settings.departure.unwrap_or(room.departure);
        }
    }

    fn admit(&mut self, now: Timestamp, room: RoomId, join: Join) -> PeerId {
        let peer = PeerId { worker: self.choose_worker(room), index: self.peers_made };
        self.peers_made = self.peers_made.wrapping_add(1);
        let (join_deadline, visibility) = (now + self.config.join_within, join.visibility);
        if let Some(held) = self.rooms.get_mut(&room) {
            held.participants.insert(join.identity.clone(), peer);
        }
        self.close_at(room, None);
        let participant = Participant {
            peer,
            room,
            sid: ParticipantSid::from_entropy(self.entropy.sid()),
            identity: join.identity,
            state: State::Joining,
            version: 1,
            profile: join.profile,
            permission: join.permission,
            visibility: join.visibility,
            tracks: BTreeSet::new(),
            subscriptions: BTreeMap::new(),
            is_full: false,
            score: None,
            auto_subscribe: join.auto_subscribe,
            adaptive_stream: join.adaptive_stream,
            wishes: BTreeMap::new(),
            decided: BTreeSet::new(),
            kept_out: BTreeSet::new(),
            settings: BTreeMap::new(),
            allowance: Allowance::default(),
            alias: join.alias,
            join_deadline,
        };
        self.participants.insert(peer, Box::new(participant));
        if let Some(load) = self.loads.get_mut(usize::from(peer.worker.0)) {
            *load += 1;
        }
        self.timers.insert((join_deadline, Timer::Join(peer)));
        self.instruct(peer.worker, Instruction::AddPeer { peer, room });
        self.outputs.push_back(Output::ParticipantChanged(peer));
        self.count_anew(room, visibility);
        self.introduce(peer);
        peer
    }

    /// A room stays on one worker while it is small, so that its packets cross no ring, and while that worker has
    /// time; then it takes the next, whatever else is there, and all of them again. Whoever may come in though nobody
    /// has any time goes to the one that has the most.
    fn choose_worker(&self, room: RoomId) -> WorkerId {
        if self.is_busy() {
            let least = self.workers().min_by_key(|worker| self.capacity.share(*worker));
            return least.unwrap_or(WorkerId(0));
        }
        let mut loads: Vec<(usize, usize)> = self.loads.iter().map(|all| (0, *all)).collect();
        for peer in self.rooms.get(&room).into_iter().flat_map(|held| held.participants.values()) {
            if let Some((here, _)) = loads.get_mut(usize::from(peer.worker.0)) {
                *here += 1;
            }
        }
        let workers = || {
            let all = self.workers().zip(loads.iter().copied());
            all.filter(|(worker, _)| !self.capacity.is_full(*worker))
        };
        let spill_at = self.config.spill_at.max(1);
        workers()
            .find(|(_, (here, _))| (1..spill_at).contains(here))
            .or_else(|| workers().min_by_key(|(_, (here, all))| (here / spill_at, *all)))
            .map_or(WorkerId(0), |(worker, _)| worker)
    }

    /// A participant's state only goes forward.
    pub(super) fn advance(&mut self, peer: PeerId, state: State) {
        let participant = self.participants.get_mut(&peer);
        if let Some(participant) = participant.filter(|held| held.state < state) {
            participant.state = state;
            self.touch(peer);
        }
    }

    pub(super) fn depart(&mut self, now: Timestamp, peer: PeerId, reason: DepartureReason) {
        let Some(participant) = self.participants.get(&peer) else {
            return;
        };
        let subscriptions: Vec<SubscriptionId> =
            participant.subscriptions.values().copied().collect();
        let tracks: Vec<TrackId> = participant.tracks.iter().copied().collect();
        for subscription in subscriptions {
            self.end_subscription(subscription);
        }
        for track in tracks {
            self.unpublish(now, track, false);
        }
        let Some(participant) = self.participants.remove(&peer) else {
            return;
        };
        if let Some(load) = self.loads.get_mut(usize::from(peer.worker.0)) {
            *load -= 1;
        }
        self.timers.remove(&(participant.join_deadline, Timer::Join(peer)));
        self.instruct(peer.worker, Instruction::RemovePeer { peer });
        let (room, visibility) = (participant.room, participant.visibility);
        self.outputs.push_back(Output::Departed(Box::new(Departure {
            peer,
            room,
            sid: participant.sid,
            identity: participant.identity.clone(),
            profile: participant.profile,
            version: participant.version + 1,
            visibility,
            reason,
        })));
        self.vacate(now, room, peer, &participant.identity);
        self.count_anew(room, visibility);
    }

    /// Somebody does what may change a room's numbers. Those who are hidden are not among them, and nobody learns when
    /// they come and go.
    pub(super) fn count_anew(&mut self, id: RoomId, visibility: Visibility) {
        let is_told = self.rooms.get(&id).is_some_and(|room| !room.participants.is_empty());
        if is_told && visibility == Visibility::Visible {
            self.outputs.push_back(Output::RoomChanged(id));
        }
    }

    fn vacate(&mut self, now: Timestamp, id: RoomId, peer: PeerId, identity: &Identity) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.participants.remove(identity);
        room.speakers.forget(peer);
        if room.participants.is_empty() {
            let at = now + room.departure;
            self.close_at(id, Some(at));
        }
    }

    pub(super) fn check_joined(&mut self, now: Timestamp, peer: PeerId) {
        let late = self.participants.get(&peer).is_some_and(|held| held.state < State::Active);
        if late {
            self.depart(now, peer, DepartureReason::JoinTimeout);
        }
    }

    pub(super) fn check_empty(&mut self, now: Timestamp, id: RoomId) {
        let due = self.rooms.get(&id).and_then(|room| room.closes_at);
        if due.is_none_or(|at| at > now) {
            return;
        }
        self.end_room(id);
    }

    fn end_room(&mut self, id: RoomId) {
        self.close_at(id, None);
        if let Some(room) = self.rooms.remove(&id) {
            self.names.remove(&room.name);
            self.outputs.push_back(Output::RoomClosed(id));
        }
    }

    pub(super) fn close(&mut self, now: Timestamp, id: RoomId) {
        let peers = self.rooms.get(&id).map(|room| room.participants.values().copied().collect());
        let peers: Vec<PeerId> = peers.unwrap_or_default();
        for peer in peers {
            self.depart(now, peer, DepartureReason::RoomDeleted);
        }
        self.end_room(id);
    }

    pub(super) fn describe(&mut self, id: RoomId, metadata: RoomMetadata) {
        if let Some(room) = self.rooms.get_mut(&id) {
            room.metadata = metadata;
            self.outputs.push_back(Output::RoomChanged(id));
        }
    }

    /// Others receive a participant's tracks while they know of it.
    pub(super) fn show(&mut self, peer: PeerId, visibility: Visibility) {
        let Some(participant) = self.participants.get_mut(&peer) else {
            return;
        };
        if std::mem::replace(&mut participant.visibility, visibility) == visibility {
            return;
        }
        self.touch(peer);
        let Some(participant) = self.participants.get(&peer) else {
            return;
        };
        let (room, tracks) = (participant.room, participant.tracks.clone());
        if visibility == Visibility::Hidden {
            let gone = Departure {
                peer,
                room,
                sid: participant.sid.clone(),
                identity: participant.identity.clone(),
                profile: participant.profile.clone(),
                version: participant.version,
                visibility: Visibility::Visible,
                reason: DepartureReason::Left,
            };
            self.outputs.push_back(Output::Hid(Box::new(gone)));
        }
        for track in tracks {
            self.reconcile_track(track);
        }
        self.note_firsts(peer);
        self.outputs.push_back(Output::RoomChanged(room));
    }

    pub(super) fn permit(&mut self, now: Timestamp, peer: PeerId, permission: Permission) {
        let Some(participant) = self.participants.get_mut(&peer) else {
            return;
        };
        participant.permission = permission;
        let tracks: Vec<TrackId> = participant.tracks.iter().copied().collect();
        for track in tracks {
            let allowed = self.participants.get(&peer).zip(self.tracks.get(&track)).is_some_and(
                |(publisher, held)| publisher.permission.publish.allow(held.kind, held.source),
            );
            if !allowed {
                self.unpublish(now, track, true);
            }
        }
        self.touch(peer);
        self.reconcile_receiver(peer);
    }
}
