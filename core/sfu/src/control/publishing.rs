//! Tracks from announcement to end, and what subscribers say about them.

use std::collections::BTreeMap;

use model::{PeerId, SubscriptionId, Timestamp, TrackId, TrackSid, WorkerId};

use super::dynacast::Dynacast;
use super::{
    Allowance, Announcement, Control, Media, Output, Participant, Publication, PublishError,
    Settings, Size, Timer, Want,
};
use crate::{Instruction, TrackSpec, limits};

impl Control {
    /// Notes a track that a participant will publish.
    ///
    /// # Errors
    /// [`PublishError`]; nothing has changed then.
    pub fn publish(
        &mut self,
        peer: PeerId,
        announcement: Announcement,
    ) -> Result<TrackId, PublishError> {
        let participant = self.participants.get(&peer).ok_or(PublishError::NotAllowed)?;
        if !participant.permission.publish.allow(announcement.kind, announcement.source) {
            return Err(PublishError::NotAllowed);
        }
        let held = || participant.tracks.iter().filter_map(|track| self.tracks.get(track));
        if announcement.cid.is_empty()
            || announcement.cid.len() > limits::CID_MAX
            || held().any(|publication| publication.cid == announcement.cid)
        {
            return Err(PublishError::BadCid);
        }
        let pending = held().filter(|publication| !publication.is_live()).count();
        if pending >= limits::PENDING_MAX || participant.tracks.len() >= limits::PUBLICATIONS_MAX {
            return Err(PublishError::TooMany);
        }
        let room = participant.room;
        let track = TrackId(self.tracks_made);
        self.tracks_made = self.tracks_made.wrapping_add(1);
        let mut layers = announcement.layers;
        layers.truncate(limits::STREAMS_MAX);
        layers.sort_by_key(|layer| layer.quality);
        let (kind, source) = (announcement.kind, announcement.source);
        let publication = Publication {
            track,
            sid: TrackSid::for_track(kind, source, self.entropy.sid()),
            peer,
            room,
            cid: announcement.cid,
            kind,
            source,
            encryption: announcement.encryption,
            muted: announcement.muted,
            size: announcement.size,
            layers,
            media: None,
            subscribers: BTreeMap::new(),
            relays: BTreeMap::new(),
            was_subscribed: false,
            dynacast: Dynacast::new(),
        };
        self.tracks.insert(track, publication);
        if let Some(participant) = self.participants.get_mut(&peer) {
            participant.tracks.insert(track);
        }
        Ok(track)
    }

    /// The media is negotiated: the room learns of the track and receives it.
    pub(super) fn start(&mut self, peer: PeerId, track: TrackId, media: Media) {
        let Some(publication) = self.tracks.get_mut(&track).filter(|held| held.peer == peer) else {
            return;
        };
        let mut media = media;
        media.streams.truncate(limits::STREAMS_MAX);
        if media.streams.is_empty() || media.codec.kind() != publication.kind {
            return;
        }
        let spec = TrackSpec {
            track,
            room: publication.room,
            peer,
            kind: publication.kind,
            mid: media.mid.clone(),
            streams: media.streams.clone(),
        };
        let muted = publication.muted;
        if let Some(held) = &mut publication.media {
            // What its packets are in is known better by now, and told when it changes.
            *held = Media { codec: held.codec, ..media };
            return;
        }
        publication.media = Some(media);
        self.instruct(peer.worker, Instruction::AddTrack(spec));
        if muted {
            self.instruct(peer.worker, Instruction::MuteTrack { track, muted });
        }
        self.touch(peer);
        if let Some(held) = self.participants.get(&peer) {
            self.count_anew(held.room, held.visibility);
        }
        self.reconcile_track(track);
        self.unweighed.insert(track);
    }

    /// Ends a publication, pending or live. `tell` the publisher if it was not its wish.
    pub(super) fn unpublish(&mut self, now: Timestamp, track: TrackId, tell: bool) {
        let Some(publication) = self.tracks.get(&track) else {
            return;
        };
        let (peer, room, was_live) = (publication.peer, publication.room, publication.is_live());
        let subscriptions: Vec<SubscriptionId> =
            publication.subscribers.values().copied().collect();
        for subscription in subscriptions {
            self.unsubscribe(subscription);
        }
        let Some(publication) = self.tracks.remove(&track) else {
            return;
        };
        for participant in self.rooms.get(&room).into_iter().flat_map(|r| r.participants.values()) {
            if let Some(participant) = self.participants.get_mut(participant) {
                participant.wishes.remove(&track);
                participant.decided.remove(&track);
                participant.kept_out.remove(&track);
                participant.settings.remove(&track);
            }
        }
        if let Some(publisher) = self.participants.get_mut(&peer) {
            publisher.tracks.remove(&track);
        }
        let (sid, cid) = (publication.sid, publication.cid);
        if was_live {
            self.instruct(peer.worker, Instruction::RemoveTrack { track });
        }
        self.outputs.push_back(Output::Unpublished { peer, track, sid, cid, tell });
        if !was_live {
            return;
        }
        if let Some(held) = self.rooms.get_mut(&room)
            && let Some(at) = held.speakers.hear(now, peer, track, None)
        {
            self.timers.insert((at, Timer::Speakers(room)));
        }
        if let Some(held) = self.participants.get(&peer) {
            self.count_anew(held.room, held.visibility);
        }
        self.touch(peer);
    }

    pub(super) fn mute(&mut self, now: Timestamp, peer: PeerId, track: TrackId, muted: bool) {
        let Some(publication) = self.tracks.get_mut(&track).filter(|held| held.peer == peer) else {
            return;
        };
        if publication.muted == muted {
            return;
        }
        publication.muted = muted;
        if !publication.is_live() {
            return;
        }
        // Receivers' numbers begin anew after a silence, and each worker numbers for its own.
        let relays: Vec<WorkerId> = publication.relays.keys().copied().collect();
        for worker in std::iter::once(peer.worker).chain(relays) {
            self.instruct(worker, Instruction::MuteTrack { track, muted });
        }
        self.touch(peer);
        if muted {
            self.hear_level(now, track, None);
        }
    }

    pub(super) fn mute_for(&mut self, now: Timestamp, track: TrackId) {
        let Some(publication) = self.tracks.get(&track) else {
            return;
        };
        let peer = publication.peer;
        self.mute(now, peer, track, true);
        self.outputs.push_back(Output::Muted(track));
    }

    pub(super) fn resize(&mut self, peer: PeerId, track: TrackId, size: Size) {
        let Some(publication) = self.tracks.get_mut(&track).filter(|held| held.peer == peer) else {
            return;
        };
        if std::mem::replace(&mut publication.size, size) == size {
            return;
        }
        let subscribers: Vec<PeerId> = publication.subscribers.keys().copied().collect();
        if publication.is_live() {
            self.touch(peer);
        }
        for subscriber in subscribers {
            self.apply_settings(subscriber, track);
        }
    }

    pub(super) fn wish(&mut self, peer: PeerId, track: TrackId, wanted: bool) {
        let Some(participant) = self.visible_track(peer, track) else {
            return;
        };
        participant.wishes.insert(track, wanted);
        participant.decided.remove(&track);
        let is_anew = !participant.subscriptions.contains_key(&track);
        if wanted && is_anew && participant.adaptive_stream {
            // An adaptive client that subscribes anew says again what it shows only when it sees a
            // picture, so a pause of before must not outlast the subscription.
            participant
                .settings
                .retain(|held, settings| *held != track || settings.want != Want::Nothing);
        }
        self.reconcile(peer, track);
        if wanted {
            // Clients believe that they may receive what they ask for until they are told otherwise.
            self.tell_kept_out(peer, track);
        }
    }

    pub(super) fn wish_for(&mut self, peer: PeerId, track: TrackId, wanted: bool) {
        self.wish(peer, track, wanted);
        if let Some(participant) = self.visible_track(peer, track) {
            participant.decided.insert(track);
        }
    }

    pub(super) fn set(&mut self, peer: PeerId, track: TrackId, settings: Settings) {
        let Some(participant) = self.visible_track(peer, track) else {
            return;
        };
        participant.settings.insert(track, settings);
        self.apply_settings(peer, track);
    }

    /// The participant, if the track is another's in its room. Keeps its maps as small as the room.
    fn visible_track(&mut self, peer: PeerId, track: TrackId) -> Option<&mut Participant> {
        let publication = self.tracks.get(&track)?;
        let participant = self.participants.get_mut(&peer)?;
        (publication.room == participant.room && publication.peer != peer).then_some(participant)
    }

    pub(super) fn allow(&mut self, peer: PeerId, allowance: Allowance) {
        let Some(publisher) = self.participants.get_mut(&peer) else {
            return;
        };
        let before = std::mem::replace(&mut publisher.allowance, allowance);
        for (to, track, allowed) in self.allowance_changes(peer, &before) {
            self.tell_allowed(to, track, allowed);
            self.reconcile(to, track);
        }
    }

    /// Of tracks that others know of.
    fn allowance_changes(&self, peer: PeerId, before: &Allowance) -> Vec<(PeerId, TrackId, bool)> {
        let Some(publisher) = self.participants.get(&peer).filter(|held| held.is_visible()) else {
            return Vec::new();
        };
        let tracks = publisher.tracks.iter().filter_map(|track| self.tracks.get(track));
        let tracks: Vec<&Publication> = tracks.filter(|held| held.is_live()).collect();
        let mut changes = Vec::new();
        for other in self.participants(publisher.room).filter(|other| other.peer != peer) {
            let (was, is) = (before.of(other), publisher.allowance.of(other));
            if was == is {
                continue;
            }
            for publication in &tracks {
                let allowed = is.allows(&publication.sid);
                if allowed != was.allows(&publication.sid) {
                    changes.push((other.peer, publication.track, allowed));
                }
            }
        }
        changes
    }

    /// Whether a participant may receive what it was ever told that it may not.
    pub fn allowed(&self, to: PeerId) -> impl Iterator<Item = (TrackId, bool)> {
        let receiver = self.participants.get(&to);
        let kept_out = receiver.into_iter().flat_map(|held| &held.kept_out);
        let tracks = kept_out.filter_map(|track| self.tracks.get(track));
        tracks.filter_map(move |held| {
            let publisher = self.participants.get(&held.peer).filter(|it| it.is_visible())?;
            Some((held.track, publisher.allowance.of(receiver?).allows(&held.sid)))
        })
    }

    fn tell_allowed(&mut self, to: PeerId, track: TrackId, allowed: bool) {
        if let Some(receiver) = self.participants.get_mut(&to).filter(|_| !allowed) {
            receiver.kept_out.insert(track);
        }
        self.outputs.push_back(Output::Allowed { to, track, allowed });
    }

    /// Somebody learns of a track or asks for it, and that it is kept out of it: clients believe that they may receive
    /// what they are told of and what they ask for.
    pub(super) fn tell_kept_out(&mut self, to: PeerId, track: TrackId) {
        let (Some(receiver), Some(publication)) =
            (self.participants.get(&to), self.tracks.get(&track))
        else {
            return;
        };
        let Some(publisher) = self.participants.get(&publication.peer) else {
            return;
        };
        let is_told = publication.is_live() && publisher.is_visible() && publication.peer != to;
        if is_told && !publisher.allowance.of(receiver).allows(&publication.sid) {
            self.tell_allowed(to, track, false);
        }
    }
}
