//! Carries out what Control says: who is here, what is published, who receives it.

use model::{PeerId, Ration, RoomId, Timestamp, TrackId, TrackKind};

use super::arena::{Arena, EntryId, Memory};
use super::level::LevelMeter;
use super::patience::Patience;
use super::peer::{Peer, Role, StreamRef};
use super::subscription::{Ended, Subscription};
use super::track::{Origin, Stream, Track};
use super::{Forward, Outside, Room};
use crate::{Instruction, Report, StreamSpec, SubscriptionSpec, TrackSpec, limits};

impl<M: Memory> Forward<M> {
    /// Carries out one instruction. What it names and does not exist is ignored: the peer has gone.
    pub fn instruct(
        &mut self,
        now: Timestamp,
        instruction: Instruction,
        outside: &mut impl Outside,
    ) {
        match instruction {
            Instruction::AddPeer { peer, room } => self.add_peer(now, peer, room),
            Instruction::RemovePeer { peer } => self.remove_peer(peer),
            Instruction::SetReceive { peer, formats, extensions } => {
                if let Some(peer) = self.peer_mut(peer) {
                    peer.set_formats(formats);
                    peer.receive = extensions;
                }
            }
            Instruction::AddTrack(spec) => self.add_track(spec),
            Instruction::AddRelayedTrack { track, room, kind, from } => {
                let streams = vec![StreamSpec::default(); model::Layer::SPATIAL_MAX];
                self.insert_track(track, room, kind, Origin::Worker(from), "".into(), streams);
            }
            Instruction::Relay { track, to, on } => {
                if let Some(track) = self.track_mut(track) {
                    track.relays.retain(|&worker| worker != to);
                    if on {
                        track.relays.push(to);
                    }
                }
            }
            Instruction::MuteTrack { track, muted } => {
                let Some(row) = self.track_rows.get(&track).copied() else {
                    return;
                };
                if let Some(track) = self.tracks.get_mut(row) {
                    track.muted = muted;
                    for &subscription in &track.subscriptions {
                        if let Some(subscription) = self.subscriptions.get_mut(subscription) {
                            // What comes after the silence begins anew instead of leaving a gap.
                            subscription.current = None;
                            if let Some(peer) = self.peers.get_mut(subscription.peer) {
                                peer.allocate_soon();
                            }
                        }
                    }
                    self.next_tick = self.next_tick.min(now);
                }
            }
            Instruction::RemoveTrack { track } => self.remove_track(track),
            Instruction::Subscribe(spec) => self.subscribe(now, spec),
            Instruction::Limit { subscription, layer } => {
                let row = self.subscription_rows.get(&subscription).copied();
                if let Some(row) = row
                    && let Some(subscription) = self.subscriptions.get_mut(row)
                {
                    subscription.limit(layer);
                    let peer = subscription.peer;
                    self.allocate(now, peer, outside);
                }
            }
            Instruction::Cap { peer, rate } => {
                if let Some(row) = self.peer_rows.get(&peer).copied()
                    && let Some(peer) = self.peers.get_mut(row)
                {
                    peer.downlink().cap = rate;
                    for &at in &peer.subscriptions {
                        if let Some(subscription) = self.subscriptions.get_mut(at) {
                            subscription.wish();
                        }
                    }
                    self.allocate(now, row, outside);
                }
            }
            Instruction::Unsubscribe { subscription } => {
                if let Some(row) = self.subscription_rows.get(&subscription).copied() {
                    self.remove_subscription(row);
                }
            }
        }
    }

    fn add_peer(&mut self, now: Timestamp, id: PeerId, room: RoomId) {
        if self.peer_rows.contains_key(&id) || !self.hold_room(room) {
            return;
        }
        let row = self.peers.insert(Peer::new(id, room, now));
        self.peer_rows.insert(id, row);
        self.wake_at(now, row);
        self.next_tick = self.next_tick.min(now);
    }

    fn remove_peer(&mut self, id: PeerId) {
        if let Some(path) = self.peer_mut(id).and_then(|peer| peer.destination.as_mut()) {
            path.forget_remote();
        }
        let Some(peer) = self.peer_rows.remove(&id).and_then(|row| self.peers.remove(row)) else {
            return;
        };
        for row in peer.subscriptions {
            self.remove_subscription(row);
        }
        for row in peer.tracks {
            if let Some(track) = self.tracks.get(row).map(|track| track.id) {
                self.remove_track(track);
            }
        }
        self.release_room(peer.room);
    }

    fn add_track(&mut self, spec: TrackSpec) {
        let Some(row) = self.peer_rows.get(&spec.peer).copied() else {
            return;
        };
        let announced: Vec<_> =
            spec.streams.iter().map(|stream| (stream.ssrc, stream.rtx_ssrc)).collect();
        let origin = Origin::Peer(row);
        let Some(track) =
            self.insert_track(spec.track, spec.room, spec.kind, origin, spec.mid, spec.streams)
        else {
            return;
        };
        self.wake_at(Timestamp::ZERO, row);
        if let Some(peer) = self.peers.get_mut(row) {
            peer.tracks.push(track);
            for (spatial, (ssrc, rtx_ssrc)) in (0..).zip(announced) {
                for (ssrc, role) in [(ssrc, Role::Media), (rtx_ssrc, Role::Rtx)] {
                    if let Some(ssrc) = ssrc {
                        peer.learn(ssrc, StreamRef { track, spatial, role });
                    }
                }
            }
        }
    }

    fn insert_track(
        &mut self,
        id: TrackId,
        room: RoomId,
        kind: TrackKind,
        origin: Origin,
        mid: Box<str>,
        streams: Vec<StreamSpec>,
    ) -> Option<u32> {
        if self.track_rows.contains_key(&id) || !self.hold_room(room) {
            return None;
        }
        let row = self.tracks.insert(Track {
            id,
            room,
            kind,
            origin,
            mid,
            streams: streams.into_iter().take(limits::STREAMS_MAX).map(Stream::new).collect(),
            subscriptions: Vec::new(),
            relays: Vec::new(),
            muted: false,
            is_awaited: false,
            last_packet: Timestamp::ZERO,
            woke: Timestamp::ZERO,
            newest_entry: EntryId::default(),
            level: LevelMeter::default(),
            sound: Ration::new(limits::SOUND_BURST),
        });
        self.track_rows.insert(id, row);
        Some(row)
    }

    fn remove_track(&mut self, id: TrackId) {
        let Some(row) = self.track_rows.remove(&id) else {
            return;
        };
        let Some(track) = self.tracks.remove(row) else {
            return;
        };
        if let Some(room) = self.rooms.get_mut(&track.room) {
            room.arena.erase(track.newest_entry);
        }
        // Packets of this batch that were not flushed would name a row that may be used again.
        self.fresh.retain(|packet| packet.track != row);
        for subscription in track.subscriptions {
            self.remove_subscription(subscription);
        }
        if let Origin::Peer(peer) = track.origin
            && let Some(peer) = self.peers.get_mut(peer)
        {
            peer.tracks.retain(|&track| track != row);
            peer.keep_ssrcs(|_, stream| stream.track != row);
        }
        self.release_room(track.room);
    }

    fn subscribe(&mut self, now: Timestamp, spec: SubscriptionSpec) {
        let (Some(peer_row), Some(track_row)) =
            (self.peer_rows.get(&spec.peer).copied(), self.track_rows.get(&spec.track).copied())
        else {
            return;
        };
        let id = spec.subscription;
        if let Some(old) = self.subscription_rows.get(&id).copied() {
            self.remove_subscription(old);
        }
        let peer = self.peers.get(peer_row);
        let patience = peer.map_or_else(Patience::new, |peer| peer.patience(spec.track));
        let unused = Ended::unused(spec.ssrc, self.random.next());
        let before = peer.and_then(|peer| peer.ended(spec.ssrc)).unwrap_or(unused);
        let subscription = Subscription::new(spec, (peer_row, track_row), before, patience);
        let row = self.subscriptions.insert(subscription);
        self.subscription_rows.insert(id, row);
        if let Some(track) = self.tracks.get_mut(track_row) {
            track.subscriptions.push(row);
        }
        if let Some(peer) = self.peers.get_mut(peer_row) {
            peer.subscriptions.push(row);
            // At the next turn of the timer: others may follow this one, and would be asked for what is then too much.
            peer.downlink().allocated = None;
        }
        self.wake_at(now, peer_row);
        self.next_tick = self.next_tick.min(now);
    }

    fn remove_subscription(&mut self, row: u32) {
        let Some(subscription) = self.subscriptions.remove(row) else {
            return;
        };
        self.subscription_rows.remove(&subscription.spec.subscription);
        if let Some(track) = self.tracks.get_mut(subscription.track) {
            track.subscriptions.retain(|&other| other != row);
        }
        if let Some(peer) = self.peers.get_mut(subscription.peer) {
            peer.subscriptions.retain(|&other| other != row);
            peer.end(subscription.end());
            peer.keep_patience(subscription.spec.track, subscription.patience);
        }
    }

    fn track_mut(&mut self, track: TrackId) -> Option<&mut Track> {
        let row = self.track_rows.get(&track).copied()?;
        self.tracks.get_mut(row)
    }

    /// Keeps the room's history mapped; `false` when there is no memory for it.
    fn hold_room(&mut self, room: RoomId) -> bool {
        if !self.rooms.contains_key(&room) {
            let Some(memory) = (self.map)(limits::ARENA_BYTES_MAX) else {
                return false;
            };
            self.rooms.insert(room, Room { arena: Arena::new(memory), holders: 0 });
        }
        if let Some(room) = self.rooms.get_mut(&room) {
            room.holders += 1;
        }
        true
    }

    fn release_room(&mut self, id: RoomId) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.holders -= 1;
        if room.holders == 0 {
            let bytes = room.arena.clear();
            self.rooms.remove(&id);
            self.report(Report::HistoryReleased { room: id, bytes });
        }
    }
}
