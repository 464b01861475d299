//! One participant's wish for, and state of, receiving one publication.
//!
//! Owns: the difference between what should be received and what is, and what follows from it: sections
//! to negotiate, instructions to workers, relays between them.
//! Guarantees: a relay runs exactly while the other worker has a placed subscription.
//! Source: LiveKit `pkg/rtc/subscriptionmanager.go`, `subscribedtrack.go`.

use model::{
    Codec, Layer, PeerId, Quality, SubscriptionId, Timestamp, TrackId, TrackKind, TrackSource,
    WorkerId,
};
use rtp::extension::ExtensionMap;

use super::dynacast::Decision;
use super::publication::Size;
use super::{Control, Output, Speaker, State, Timer};
use crate::limits::SUBSCRIPTIONS_MAX;
use crate::message::SENT_EXTENSIONS;
use crate::{Instruction, SubscriptionSpec};

/// What a participant wants of one track. On the wire: `UpdateTrackSettings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The picture.
    pub want: Want,
    /// Pictures per second; 0 for all.
    pub fps: u32,
}

/// Which picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// None: the subscription is paused.
    Nothing,
    /// Of this quality.
    Quality(Quality),
    /// Large enough for this.
    Size(Size),
}

impl Settings {
    /// All that there is.
    pub const LARGEST: Self = Self { want: Want::Quality(Quality::High), fps: 0 };
    /// The smallest picture.
    pub const SMALLEST: Self = Self { want: Want::Quality(Quality::Low), fps: 0 };
}

/// Where a subscription arrives, once negotiated with its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The codec negotiated for it.
    pub codec: Codec,
    /// The receiver's payload type for it.
    pub payload_type: u8,
    /// Same for retransmissions.
    pub rtx_payload_type: Option<u8>,
    /// The SSRC announced to the receiver.
    pub ssrc: u32,
    /// Same for retransmissions.
    pub rtx_ssrc: u32,
    /// Header extensions that the receiver takes.
    pub extensions: ExtensionMap,
}

/// A subscription that exists: placed, or waiting for a section.
#[derive(Debug)]
pub struct Subscription {
    /// Its name in this process.
    pub subscription: SubscriptionId,
    /// Who receives.
    pub peer: PeerId,
    /// What.
    pub track: TrackId,
    /// Where; `None` until the receiver's next answer.
    pub(super) placement: Option<Placement>,
    /// What its worker was told.
    pub(super) limit: Option<Layer>,
    /// What the publication counts it for.
    pub(super) wanted: Quality,
    /// Its worker has stopped it for want of bandwidth; what one says that begins anew comes after all of before.
    pub(super) paused: bool,
}

impl Subscription {
    /// Whether it stands still for want of bandwidth. `None`: it has no section.
    #[must_use]
    pub fn is_paused(&self) -> Option<bool> {
        self.placement.as_ref().map(|_| self.paused)
    }
}

impl Control {
    /// Brings one pair in line with what should be.
    pub(super) fn reconcile(&mut self, peer: PeerId, track: TrackId) {
        let held = self
            .participants
            .get(&peer)
            .and_then(|subscriber| subscriber.subscriptions.get(&track))
            .copied();
        match (self.should_receive(peer, track), held) {
            (true, None) => self.subscribe(peer, track),
            (false, Some(subscription)) => self.unsubscribe(subscription),
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// Brings all pairs of one track in line, of which the room learns.
    pub(super) fn reconcile_track(&mut self, track: TrackId) {
        let Some(room) = self.tracks.get(&track).and_then(|held| self.rooms.get(&held.room)) else {
            return;
        };
        let peers: Vec<PeerId> = room.participants.values().copied().collect();
        for peer in peers {
            self.reconcile(peer, track);
            self.tell_kept_out(peer, track);
        }
    }

    /// Brings all pairs of a newcomer in line, who learns of all tracks.
    pub(super) fn introduce(&mut self, peer: PeerId) {
        for track in self.tracks_around(peer) {
            self.reconcile(peer, track);
            self.tell_kept_out(peer, track);
        }
    }

    /// Brings all pairs of one participant, as receiver, in line.
    pub(super) fn reconcile_receiver(&mut self, peer: PeerId) {
        for track in self.tracks_around(peer) {
            self.reconcile(peer, track);
        }
    }

    /// Subscribes one of those who have room again to what was left out, what they have asked for first: one after
    /// each input, since all of a large room may have it when somebody leaves.
    pub(super) fn refill(&mut self) {
        let Some(peer) = self.unfilled.pop_first() else {
            return;
        };
        let wishes = self.participants.get(&peer).into_iter().flat_map(|held| &held.wishes);
        let mut tracks: Vec<TrackId> =
            wishes.filter(|(_, wanted)| **wanted).map(|(track, _)| *track).collect();
        tracks.extend(self.tracks_around(peer));
        for track in tracks {
            self.reconcile(peer, track);
            if self.participants.get(&peer).is_some_and(|held| held.is_full) {
                return;
            }
        }
    }

    /// Whether the participant does not receive a track that it should because it has so many others.
    #[must_use]
    pub fn leaves_out(&self, peer: PeerId, track: TrackId) -> bool {
        let held = self.participants.get(&peer);
        held.is_some_and(|held| held.is_full && !held.subscriptions.contains_key(&track))
            && self.should_receive(peer, track)
    }

    /// Tracks of the participant's room that are others'.
    fn tracks_around(&self, peer: PeerId) -> Vec<TrackId> {
        let room = self.participants.get(&peer).and_then(|held| self.rooms.get(&held.room));
        let Some(room) = room else {
            return Vec::new();
        };
        room.participants
            .values()
            .filter(|other| **other != peer)
            .filter_map(|other| self.participants.get(other))
            .flat_map(|other| other.tracks.iter().copied())
            .collect()
    }

    fn should_receive(&self, peer: PeerId, track: TrackId) -> bool {
        let (Some(subscriber), Some(publication)) =
            (self.participants.get(&peer), self.tracks.get(&track))
        else {
            return false;
        };
        let Some(publisher) = self.participants.get(&publication.peer) else {
            return false;
        };
        publication.is_live()
            && publication.peer != peer
            && publication.room == subscriber.room
            && publisher.is_visible()
            && subscriber.permission.subscribe
            && subscriber.wishes(track)
            && publisher.allowance.of(subscriber).allows(&publication.sid)
    }

    fn subscribe(&mut self, peer: PeerId, track: TrackId) {
        let (Some(subscriber), Some(publication)) =
            (self.participants.get_mut(&peer), self.tracks.get_mut(&track))
        else {
            return;
        };
        if subscriber.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            subscriber.is_full = true;
            return;
        }
        let subscription = SubscriptionId(self.subscriptions_made);
        self.subscriptions_made = self.subscriptions_made.wrapping_add(1);
        subscriber.subscriptions.insert(track, subscription);
        publication.subscribers.insert(peer, subscription);
        let wanted = publication.quality(subscriber.settings(track));
        publication.dynacast.count(None, Some(wanted));
        let held = Subscription {
            subscription,
            peer,
            track,
            placement: None,
            limit: None,
            wanted,
            paused: false,
        };
        self.subscriptions.insert(subscription, held);
        self.outputs.push_back(Output::Wanted(subscription));
        let publisher = publication.peer;
        self.unweighed.insert(track);
        self.tell_about(peer, publisher);
    }

    /// What a new receiver should know of a publisher: at once that it speaks, and with other such news how well it is
    /// connected.
    fn tell_about(&mut self, peer: PeerId, publisher: PeerId) {
        let Some(held) = self.participants.get(&publisher) else {
            return;
        };
        let room = self.rooms.get(&held.room);
        if let Some(speaker) = room.and_then(|room| room.speakers.told(publisher)) {
            self.outputs.push_back(Output::Speakers { to: peer, speakers: vec![speaker] });
        }
        if held.score.is_some() {
            self.owe_quality(held.room, peer, publisher);
        }
    }

    pub(super) fn unsubscribe(&mut self, subscription: SubscriptionId) {
        if let Some((to, publisher)) = self.end_subscription(subscription) {
            self.tell_unheard(to, publisher);
        }
    }

    /// The same of somebody who is to be told nothing. Whose it was, and whose track it is of.
    pub(super) fn end_subscription(
        &mut self,
        subscription: SubscriptionId,
    ) -> Option<(PeerId, PeerId)> {
        if let Some(held) = self.subscriptions.get_mut(&subscription) {
            // There is nobody to be told that it goes on.
            held.paused = false;
        }
        self.unplace(subscription);
        let held = self.subscriptions.remove(&subscription)?;
        self.unweighed.insert(held.track);
        if let Some(subscriber) = self.participants.get_mut(&held.peer) {
            subscriber.subscriptions.remove(&held.track);
            // Not with each that ends: to find what was left out all tracks of the room are gone through.
            let has_room = subscriber.subscriptions.len() <= SUBSCRIPTIONS_MAX / 2;
            if has_room && std::mem::take(&mut subscriber.is_full) {
                self.unfilled.insert(held.peer);
            }
        }
        let publication = self.tracks.get_mut(&held.track)?;
        publication.subscribers.remove(&held.peer);
        publication.dynacast.count(Some(held.wanted), None);
        let (sid, publisher) = (publication.sid.clone(), publication.peer);
        self.outputs.push_back(Output::Unwanted { peer: held.peer, track: sid });
        Some((held.peer, publisher))
    }

    /// Whoever receives nothing of a speaker any more is not told when it falls silent, and takes it for silent now.
    fn tell_unheard(&mut self, to: PeerId, publisher: PeerId) {
        let Some(held) = self.participants.get(&publisher) else {
            return;
        };
        let room = self.rooms.get(&held.room);
        let mut tracks = held.tracks.iter().filter_map(|track| self.tracks.get(track));
        if room.is_some_and(|room| room.speakers.told(publisher).is_some())
            && !tracks.any(|track| track.subscribers.contains_key(&to))
        {
            let speakers = vec![Speaker { peer: publisher, level: 0.0 }];
            self.outputs.push_back(Output::Speakers { to, speakers });
        }
    }

    /// Its publisher may be told that somebody receives it: who is connected, has a section for it, and may be
    /// known of.
    fn note_first(&mut self, subscription: SubscriptionId) {
        let Some(held) = self.subscriptions.get(&subscription) else {
            return;
        };
        let receives = self
            .participants
            .get(&held.peer)
            .is_some_and(|subscriber| subscriber.state == State::Active && subscriber.is_visible());
        if receives
            && held.placement.is_some()
            && let Some(publication) = self.tracks.get_mut(&held.track)
            && !std::mem::replace(&mut publication.was_subscribed, true)
        {
            self.outputs.push_back(Output::FirstSubscriber(held.track));
        }
    }

    /// The same of all that somebody has a section for.
    pub(super) fn note_firsts(&mut self, peer: PeerId) {
        let held = self.participants.get(&peer).into_iter().flat_map(|held| &held.subscriptions);
        for subscription in held.map(|(_, subscription)| *subscription).collect::<Vec<_>>() {
            self.note_first(subscription);
        }
    }

    /// The receiver's answer has a section for the subscription.
    pub(super) fn place(&mut self, subscription: SubscriptionId, mut placement: Placement) {
        // Others may come and go (Firefox names more in its second offer): nothing begins anew for them.
        placement.extensions = placement.extensions.only(&SENT_EXTENSIONS);
        let Some(held) = self.subscriptions.get(&subscription) else {
            return;
        };
        if held.placement.as_ref() == Some(&placement) {
            return;
        }
        self.unplace(subscription);
        let Some(held) = self.subscriptions.get_mut(&subscription) else {
            return;
        };
        let (Some(subscriber), Some(publication)) =
            (self.participants.get(&held.peer), self.tracks.get(&held.track))
        else {
            return;
        };
        let limit = publication.limit(subscriber.settings(held.track));
        let is_screen = publication.source == TrackSource::ScreenShare;
        held.limit = limit;
        held.placement = Some(placement.clone());
        let (track, peer) = (held.track, held.peer);
        self.open_relay(track, peer.worker);
        let spec = SubscriptionSpec {
            subscription,
            track,
            peer,
            codec: placement.codec,
            payload_type: placement.payload_type,
            rtx_payload_type: placement.rtx_payload_type,
            ssrc: placement.ssrc,
            rtx_ssrc: placement.rtx_ssrc,
            extensions: placement.extensions,
            limit,
            is_screen,
        };
        self.instruct(peer.worker, Instruction::Subscribe(spec));
        self.note_first(subscription);
    }

    /// The subscription has no section any more; it may get another.
    pub(super) fn unplace(&mut self, subscription: SubscriptionId) {
        let Some(held) = self.subscriptions.get_mut(&subscription) else {
            return;
        };
        if held.placement.take().is_none() {
            return;
        }
        let (track, to, worker) = (held.track, held.peer, held.peer.worker);
        if std::mem::take(&mut held.paused) {
            self.outputs.push_back(Output::StreamState { to, track, paused: false });
        }
        self.instruct(worker, Instruction::Unsubscribe { subscription });
        self.close_relay(track, worker);
    }

    fn open_relay(&mut self, track: TrackId, to: WorkerId) {
        let Some(publication) = self.tracks.get_mut(&track) else {
            return;
        };
        let from = publication.peer.worker;
        if from == to {
            return;
        }
        let count = publication.relays.entry(to).or_default();
        *count += 1;
        if *count > 1 {
            return;
        }
        let (room, kind, muted) = (publication.room, publication.kind, publication.muted);
        self.instruct(to, Instruction::AddRelayedTrack { track, room, kind, from });
        if muted {
            self.instruct(to, Instruction::MuteTrack { track, muted });
        }
        self.instruct(from, Instruction::Relay { track, to, on: true });
    }

    fn close_relay(&mut self, track: TrackId, to: WorkerId) {
        let Some(publication) = self.tracks.get_mut(&track) else {
            return;
        };
        let from = publication.peer.worker;
        let Some(count) = publication.relays.get_mut(&to) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        publication.relays.remove(&to);
        self.instruct(from, Instruction::Relay { track, to, on: false });
        self.instruct(to, Instruction::RemoveTrack { track });
    }

    /// The publisher sends another codec than its receivers negotiated: they negotiate again.
    pub(super) fn change_codec(&mut self, track: TrackId, codec: Codec) {
        let Some(publication) = self.tracks.get_mut(&track) else {
            return;
        };
        let Some(media) = publication.media.as_mut().filter(|media| media.codec != codec) else {
            return;
        };
        if publication.kind != TrackKind::Video || codec.kind() != TrackKind::Video {
            return;
        }
        media.codec = codec;
        let peer = publication.peer;
        let subscriptions: Vec<SubscriptionId> =
            publication.subscribers.values().copied().collect();
        self.touch(peer);
        for subscription in subscriptions {
            self.unplace(subscription);
            self.outputs.push_back(Output::Wanted(subscription));
        }
    }

    /// What `peer` wants of `track` may have changed.
    pub(super) fn apply_settings(&mut self, peer: PeerId, track: TrackId) {
        let (Some(subscriber), Some(publication)) =
            (self.participants.get(&peer), self.tracks.get_mut(&track))
        else {
            return;
        };
        let settings = subscriber.settings(track);
        let (limit, wanted) = (publication.limit(settings), publication.quality(settings));
        let held = publication.subscribers.get(&peer).and_then(|id| self.subscriptions.get_mut(id));
        let Some(held) = held else {
            return;
        };
        if held.wanted != wanted {
            publication.dynacast.count(Some(held.wanted), Some(wanted));
            held.wanted = wanted;
            self.unweighed.insert(track);
        }
        if held.placement.is_some() && held.limit != limit {
            held.limit = limit;
            let subscription = held.subscription;
            self.instruct(peer.worker, Instruction::Limit { subscription, layer: limit });
        }
    }

    /// Tells publishers of the highest quality that anybody wants of their tracks, when it is time.
    pub(super) fn weigh_dynacast(&mut self, now: Timestamp) {
        while let Some(track) = self.unweighed.pop_first() {
            self.weigh(now, track);
        }
    }

    fn weigh(&mut self, now: Timestamp, track: TrackId) {
        let Some(publication) = self.tracks.get_mut(&track) else {
            return;
        };
        if publication.kind != TrackKind::Video || !publication.is_live() {
            return;
        }
        match publication.dynacast.weigh(now) {
            Decision::Keep => {}
            Decision::Tell(quality) => {
                self.outputs.push_back(Output::QualityWanted { track, quality });
            }
            Decision::Wait(at) => {
                self.timers.insert((at, Timer::Dynacast(track)));
            }
        }
    }
}
