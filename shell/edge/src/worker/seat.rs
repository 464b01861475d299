//! A peer with what its worker keeps beside it.
//!
//! Owns: the order between what must be known before media flows (slot, keys, destination), messages
//! that wait for room in a data channel, the peer's paths.
//! Guarantees: a slow reader of reliable messages holds back those who send them, and is given up when one has waited
//! for [`UNACKNOWLEDGED_TIME_MAX`]; one of lossy messages loses them.

use std::collections::VecDeque;
use std::sync::Arc;

use model::{Path, PeerId, Ration, Timestamp};
use peer::{
    ChannelId, IceCredentials, LOSSY_BUFFER_BYTES_MAX, PATHS_MAX, Peer, UNACKNOWLEDGED_TIME_MAX,
};
use rtp::srtp::KeyingMaterial;
use sfu::Forward;
use sfu::forward::PeerSlot;

use super::Channel;
use super::allowance::Allowance;
use super::lag::RoomLag;
use super::path::Proof;
use super::pile::Pile;
use super::queue::{Queue, Waiting};
use crate::limits::{PATH_PROVEN_EVERY, PATHS_PROVEN_MAX};
use crate::sys::Mapping;

pub(super) struct Seat {
    pub(super) peer: Peer,
    /// Once the forwarder knows the peer.
    pub(super) slot: Option<PeerSlot>,
    /// Until the forwarder has them.
    keys: Option<KeyingMaterial>,
    /// Where media goes.
    destination: Option<Path>,
    /// Of each of the three what the client has open, the newest last: livekit-client opens others in Safari before it
    /// shuts those that they replace. All together are no more than a peer may open.
    channels: [Vec<ChannelId>; 3],
    queue: Queue,
    pub(super) paths: VecDeque<Path>,
    /// Paths that may be proven yet.
    proofs: Ration,
    /// DTLS has begun.
    pub(super) is_shaking: bool,
    /// Its transport has, whoever ended it.
    pub(super) has_ended: bool,
    /// Of the client's own messages.
    pub(super) allowance: Allowance,
    /// When a check of the client last held, or ICE began.
    pub(super) checked_at: Timestamp,
    /// When the peer wants to be woken.
    pub(super) wake: Timestamp,
}

impl Seat {
    pub(super) fn new(peer: Peer, slot: Option<PeerSlot>, room: RoomLag, now: Timestamp) -> Self {
        Self {
            peer,
            slot,
            keys: None,
            destination: None,
            channels: Default::default(),
            queue: Queue::new(room),
            paths: VecDeque::new(),
            proofs: proofs(),
            is_shaking: false,
            has_ended: false,
            allowance: Allowance::new(now),
            checked_at: now,
            wake: Timestamp::MAX,
        }
    }

    /// The client proved that this path is its own. Gives back the oldest that it had before, if they are too many, but
    /// not the one that media takes.
    pub(super) fn prove(&mut self, path: Path, now: Timestamp) -> Option<Path> {
        self.checked_at = now;
        if self.paths.contains(&path) {
            return None;
        }
        // Whoever asked whether it may has been told.
        self.proofs.take(now, PATH_PROVEN_EVERY);
        // Most clients have one.
        self.paths.reserve_exact(1);
        self.paths.push_back(path);
        if self.paths.len() <= PATHS_MAX {
            return None;
        }
        let unused = self.paths.iter().position(|path| Some(*path) != self.destination)?;
        self.paths.remove(unused)
    }

    /// What the client has proven of a path that it sends over.
    pub(super) fn proof(&self, path: &Path, now: Timestamp) -> Proof {
        if self.peer.is_open(path, now) { Proof::Receives } else { Proof::Sends }
    }

    /// A path that is no more.
    pub(super) fn lose(&mut self, now: Timestamp, path: &Path) {
        self.paths.retain(|own| own != path);
        self.peer.lose(now, path);
    }

    /// Whether a check of this path may be heard.
    pub(super) fn may_prove(&self, now: Timestamp, path: &Path) -> bool {
        self.proofs.affords_at(PATH_PROVEN_EVERY) <= now || self.paths.contains(path)
    }

    /// The client begins ICE anew: it has as much time to be heard as one that has just come.
    pub(super) fn restart_ice(
        &mut self,
        now: Timestamp,
        local: &IceCredentials,
        remote: &IceCredentials,
    ) {
        self.peer.restart_ice(now, local, remote);
        self.proofs = proofs();
        self.checked_at = now;
    }

    /// Whether media goes there.
    pub(super) fn is_aimed_at(&self, path: &Path) -> bool {
        self.destination.as_ref() == Some(path)
    }

    /// Where media goes from now on.
    pub(super) fn aim(&mut self, id: PeerId, path: Path, forward: &mut Forward<Mapping>) {
        if self.destination != Some(path) {
            self.destination = Some(path);
            if self.slot.is_some() {
                forward.set_destination(id, path);
            }
        }
    }

    /// DTLS gave the keys.
    pub(super) fn key(&mut self, id: PeerId, keys: KeyingMaterial, forward: &mut Forward<Mapping>) {
        self.keys = Some(keys);
        if self.slot.is_some() {
            self.introduce(id, forward);
        }
    }

    /// The forwarder may know the peer now.
    pub(super) fn meet(&mut self, id: PeerId, forward: &mut Forward<Mapping>) {
        self.slot = forward.slot(id);
        if self.slot.is_some() {
            self.introduce(id, forward);
        }
    }

    fn introduce(&mut self, id: PeerId, forward: &mut Forward<Mapping>) {
        if let Some(keys) = self.keys.take() {
            forward.set_keys(id, &keys);
        }
        if let Some(path) = self.destination {
            forward.set_destination(id, path);
        }
    }

    /// A data channel opened; which of the three it is.
    pub(super) fn open(&mut self, id: ChannelId, label: &str) -> Option<Channel> {
        let channel = match label {
            "_reliable" => Channel::Reliable,
            "_lossy" => Channel::Lossy,
            "_data_track" => Channel::DataTrack,
            _ => return None,
        };
        self.channels.get_mut(channel as usize)?.push(id);
        Some(channel)
    }

    /// A data channel closed; another may have taken its place.
    pub(super) fn shut(&mut self, id: ChannelId, pile: &mut Pile) {
        for open in &mut self.channels {
            open.retain(|held| *held != id);
        }
        self.queue.shut(id, pile);
    }

    /// Which of the three a channel is.
    pub(super) fn channel(&self, id: ChannelId) -> Option<Channel> {
        [Channel::Reliable, Channel::Lossy, Channel::DataTrack].into_iter().find(|channel| {
            self.channels.get(*channel as usize).is_some_and(|open| open.contains(&id))
        })
    }

    /// Where the client listens.
    fn newest(&self, channel: Channel) -> Option<ChannelId> {
        self.channels.get(channel as usize)?.last().copied()
    }

    /// Sends a message that was said at `since`, now or when there is room. Whether the peer lags from now on.
    pub(super) fn send(
        &mut self,
        now: Timestamp,
        since: Timestamp,
        channel: Channel,
        message: Arc<[u8]>,
        pile: &mut Pile,
    ) -> bool {
        let Some(id) = self.newest(channel) else {
            return false;
        };
        if channel != Channel::Reliable {
            if self.peer.buffered(id) <= LOSSY_BUFFER_BYTES_MAX {
                // Without room it is dropped, as loss on the way would drop it.
                let _has_room = self.peer.send(now, since, id, &message);
            }
            return false;
        }
        if self.queue.is_empty() && self.peer.send(now, since, id, &message) {
            return false;
        }
        self.queue.push(Waiting { channel: id, since, message }, pile)
    }

    /// Sends what waited, as far as there is room. Whether something was sent.
    pub(super) fn pump(&mut self, now: Timestamp, pile: &mut Pile) -> bool {
        let mut is_sent = false;
        while let Some(Waiting { channel, since, message }) = self.queue.front() {
            if !self.peer.send(now, *since, *channel, message) {
                break;
            }
            self.queue.pop(pile);
            is_sent = true;
        }
        is_sent
    }

    /// Nothing waits any more.
    pub(super) fn give_back(&mut self, pile: &mut Pile) {
        self.queue.clear(pile);
    }

    /// Reads the peer's reliable messages as they come, or slowly while those who are to have them do not keep up, or
    /// while they come faster than they may. `is_crowded`: it is the server itself that does not keep up.
    pub(super) fn pace(&mut self, now: Timestamp, is_crowded: bool) {
        let is_held = is_crowded || self.queue.is_held_back() || !self.allowance.is_ample(now);
        self.peer.hold_back(now, is_held);
    }

    /// Since when something waits here. What the data channels hold is the peer's to time.
    pub(super) fn waits_since(&self) -> Option<Timestamp> {
        self.queue.oldest()
    }

    /// When the oldest of what waits here has waited too long.
    pub(super) fn overdue_at(&self) -> Timestamp {
        self.waits_since().map_or(Timestamp::MAX, |oldest| oldest + UNACKNOWLEDGED_TIME_MAX)
    }
}

/// As many as a client needs to begin ICE.
fn proofs() -> Ration {
    Ration::new(PATH_PROVEN_EVERY * PATHS_PROVEN_MAX)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Instant;

    use model::WorkerId;
    use peer::{Fingerprint, PeerFactory, Remote};

    use super::*;

    fn credentials() -> IceCredentials {
        IceCredentials { ufrag: "ufrag".into(), pwd: "p".repeat(22).into() }
    }

    fn seat() -> Seat {
        let factory = PeerFactory::new(Instant::now()).unwrap();
        let fingerprint = Fingerprint { algorithm: "sha-256".into(), bytes: [7; 32].into() };
        let remote = Remote { ice: credentials(), fingerprint };
        let peer = Peer::new(&factory, &credentials(), &remote, Timestamp::ZERO);
        Seat::new(peer, None, RoomLag::default(), Timestamp::ZERO)
    }

    fn path(number: usize) -> Path {
        let ours = SocketAddr::from(([127, 0, 0, 1], 7882));
        let port = u16::try_from(1000 + number).unwrap();
        Path::udp(ours, SocketAddr::from(([192, 0, 2, 1], port)))
    }

    #[test]
    fn a_peer_may_prove_only_so_many_paths_until_it_restarts_ice() {
        let mut seat = seat();
        let (most, start) = (PATHS_PROVEN_MAX as usize, Timestamp::ZERO);
        for number in 0..most {
            assert!(seat.may_prove(start, &path(number)));
            seat.prove(path(number), start);
            seat.prove(path(number), start);
        }
        assert!(!seat.may_prove(start, &path(most)));
        assert!(seat.may_prove(start, &path(most - 1)), "it stays reachable where it is");
        let later = start + PATH_PROVEN_EVERY;
        assert!(seat.may_prove(later, &path(most)), "it has earned another");
        seat.prove(path(most), later);
        assert!(!seat.may_prove(later, &path(most + 1)));
        seat.restart_ice(later, &credentials(), &credentials());
        assert!(seat.may_prove(later, &path(most + 1)));
        assert_eq!(seat.checked_at, later, "and is not yet given up");
    }

    #[test]
    fn a_channel_that_takes_the_place_of_another_before_that_is_shut_is_heard_and_heard_on() {
        let mut seat = seat();
        let mut pile = Pile::default();
        let [old, new, other] = [1, 2, 3].map(ChannelId);
        for (id, label) in [(old, "_reliable"), (other, "_lossy"), (new, "_reliable")] {
            seat.open(id, label);
        }
        let both = [old, new].map(|id| seat.channel(id));
        assert_eq!(both, [Some(Channel::Reliable); 2], "both are heard");
        assert_eq!(seat.newest(Channel::Reliable), Some(new));
        seat.shut(old, &mut pile);
        assert_eq!((seat.channel(old), seat.channel(new)), (None, Some(Channel::Reliable)));
        assert_eq!(seat.newest(Channel::Reliable), Some(new));
        seat.shut(new, &mut pile);
        assert_eq!((seat.channel(new), seat.newest(Channel::Reliable)), (None, None));
        assert_eq!(seat.newest(Channel::Lossy), Some(other));
    }

    #[test]
    fn the_path_that_media_takes_is_not_given_up_for_newer_ones() {
        let mut seat = seat();
        let mut forward = Forward::new(WorkerId(0), |bytes| Mapping::new(bytes).ok(), 7);
        let id = PeerId { worker: WorkerId(0), index: 0 };
        for number in 0..2 {
            assert_eq!(seat.prove(path(number), Timestamp::ZERO), None);
        }
        seat.aim(id, path(0), &mut forward);
        let given_up: Vec<Path> = (2..PATHS_MAX + 3)
            .filter_map(|number| seat.prove(path(number), Timestamp::ZERO))
            .collect();
        assert_eq!(given_up, [path(1), path(2), path(3)], "the oldest of the others");
        assert!(seat.paths.contains(&path(0)) && seat.paths.len() == PATHS_MAX);
    }
}
