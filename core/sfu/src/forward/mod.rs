//! One worker's media: opens what its peers send, keeps it for a moment, seals it for those who receive.
//!
//! Owns: the rtp streams of the worker's peers, one history arena per room, what each receiver can take.
//! Shape: a batched core. `ingest` takes datagrams, `flush` seals all that they mean into the egress
//! arena, subscriber by subscriber; `handle_timeout` does reports, requests and the division of bandwidth.
//! Guarantees: no allocation per forwarded packet; a ciphertext is opened once, in the arena; nothing
//! but ciphertext is in the egress; payload is never changed.
//! Not here: who may receive what (`control`), sockets and rings (`edge`).
//! Files: `ingest` (in), `send` (out), `feedback` (RTCP), `timer`, `allocate`, `instruct`; then the nouns.

mod allocate;
mod arena;
mod bounded;
mod egress;
mod feedback;
mod ingest;
mod instruct;
mod keyframe;
mod level;
mod loss;
mod numbering;
mod patience;
mod peer;
mod send;
mod slab;
mod subscription;
#[cfg(test)]
mod tests;
mod timer;
mod track;

use std::collections::{BTreeMap, VecDeque};

use model::{Codec, Path, PeerId, RoomId, SubscriptionId, Timestamp, TrackId, WorkerId};
use rtp::codec::Facts;
use rtp::srtp::{DtlsRole, KeyingMaterial, SrtpError, SrtpReceiver, SrtpSender};
use rtp::vp8;

use self::arena::Arena;
use self::peer::Peer;
use self::send::Planned;
use self::slab::Slab;
use self::subscription::Subscription;
use self::track::{Packet, Track};
use crate::{Report, limits};

pub use self::arena::Memory;
pub use self::egress::{Again, Egress, Train};

/// The SSRC under which this node sends its own RTCP.
const OUR_SSRC: u32 = 1;

/// A peer's row in its worker's Forward: found once, used for each datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSlot(u32);

/// What a Forward needs of its worker during a call.
pub trait Outside {
    /// Send all trains of `egress`, now.
    fn send(&mut self, egress: &Egress);
    /// Give a packet to another worker: its [`Forward::relayed`]. `false` when there is no room for it.
    fn relay(&mut self, to: WorkerId, packet: &RelayedPacket, payload: &[u8]) -> bool;
    /// Ask the publisher's worker for a key frame: its [`Forward::keyframe_wanted`].
    fn want_keyframe(&mut self, from: WorkerId, track: TrackId, spatial: u8);
    /// `value` is about to be used: a hint for the processor to bring it near. Nothing depends on it.
    fn expect_use<T: ?Sized>(&self, _value: &T) {}
}

/// What goes with a payload from the publisher's worker to another.
#[derive(Clone, Copy, Debug)]
pub struct RelayedPacket {
    track: TrackId,
    spatial: u8,
    index: u64,
    timestamp: u32,
    marker: bool,
    codec: Codec,
    facts: Facts,
    vp8: Option<vp8::Descriptor>,
    /// The publisher's clock: NTP and RTP time of one instant, and when that was.
    clock: Option<(u64, u32, Timestamp)>,
}

/// What was refused of peers: datagrams that were not opened, and what they asked for beyond their share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Accepted before, or so old that nobody knows.
    pub replayed: u64,
    /// Not sealed by the peer, changed on the way, or nothing that SRTP seals.
    pub unauthentic: u64,
    /// Retransmissions of which a receiver had its share.
    pub over_share: u64,
    /// Transport feedbacks that tell of what was not sent or is no longer known, or that came too often.
    pub feedbacks: u64,
    /// Packets of sound beyond what the codec can have use for.
    pub sound: u64,
}

impl Refused {
    /// Sorts one by its reason.
    const fn note(&mut self, error: SrtpError) {
        match error {
            SrtpError::Replayed | SrtpError::TooOld => self.replayed += 1,
            SrtpError::Packet(_)
            | SrtpError::Truncated(_)
            | SrtpError::Unauthentic
            | SrtpError::Unencrypted
            | SrtpError::NoRoom
            | SrtpError::Index(_)
            | SrtpError::Exhausted
            | SrtpError::KeyingMaterial { .. } => self.unauthentic += 1,
        }
    }
}

struct Room<M> {
    arena: Arena<M>,
    /// Peers and tracks that hold it open.
    holders: usize,
}

/// One worker's media. `M`: the memory that rooms keep their history in.
pub struct Forward<M> {
    worker: WorkerId,
    map: fn(usize) -> Option<M>,
    random: Random,
    rooms: BTreeMap<RoomId, Room<M>>,
    peers: Slab<Peer>,
    peer_rows: BTreeMap<PeerId, u32>,
    /// By row of `peers`: before this the timer leaves it alone. Beside the rows, which are large: to look into ten
    /// thousand of them fifty times a second is a tenth of a core.
    idle_until: Vec<Timestamp>,
    tracks: Slab<Track>,
    track_rows: BTreeMap<TrackId, u32>,
    subscriptions: Slab<Subscription>,
    subscription_rows: BTreeMap<SubscriptionId, u32>,
    egress: Egress,
    /// Packets ingested since the last flush.
    fresh: Vec<Packet>,
    /// (peer row, subscription row) that a flush has to serve.
    work: Vec<(u32, u32)>,
    /// Packets of one peer in a flush.
    plan: Vec<Planned>,
    scratch: Box<[u8; limits::DATAGRAM_BYTES_MAX]>,
    demands: allocate::Demands,
    reports: VecDeque<Report>,
    refused: Refused,
    /// Of what has arrived.
    again: Again,
    /// When the timer looks at everything next.
    next_tick: Timestamp,
    /// When it goes on with the probes, and the rows of the peers of which each has one.
    next_probe: Timestamp,
    probing: Vec<u32>,
}

impl<M> std::fmt::Debug for Forward<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forward").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl<M: Memory> Forward<M> {
    /// `map` gives zeroed memory; `seed` starts the sequence numbers' randomness.
    #[must_use]
    pub fn new(worker: WorkerId, map: fn(usize) -> Option<M>, seed: u64) -> Self {
        Self {
            worker,
            map,
            random: Random(seed),
            rooms: BTreeMap::new(),
            peers: Slab::default(),
            peer_rows: BTreeMap::new(),
            idle_until: Vec::new(),
            tracks: Slab::default(),
            track_rows: BTreeMap::new(),
            subscriptions: Slab::default(),
            subscription_rows: BTreeMap::new(),
            egress: Egress::new(),
            fresh: Vec::with_capacity(1024),
            work: Vec::with_capacity(1024),
            plan: Vec::with_capacity(1024),
            scratch: Box::new([0; limits::DATAGRAM_BYTES_MAX]),
            demands: allocate::Demands::default(),
            reports: VecDeque::new(),
            refused: Refused::default(),
            again: Again::default(),
            next_tick: Timestamp::MAX,
            next_probe: Timestamp::MAX,
            probing: Vec::new(),
        }
    }

    /// DTLS ended: media of this peer flows from now on. Unknown peers are ignored.
    pub fn set_keys(&mut self, peer: PeerId, keys: &KeyingMaterial) {
        let receiver = SrtpReceiver::new(keys, DtlsRole::Server);
        let sender = SrtpSender::new(keys, DtlsRole::Server);
        if let Some(peer) = self.peer_mut(peer) {
            peer.keys = Some((Box::new(receiver), Box::new(sender)));
            peer.allocate_soon();
        }
    }

    /// ICE has another path for this peer: media to it leaves over it from now on.
    pub fn set_destination(&mut self, peer: PeerId, path: Path) {
        if let Some(peer) = self.peer_mut(peer) {
            peer.destination = Some(path);
            peer.allocate_soon();
        }
    }

    /// The row of a peer, valid until it is removed.
    #[must_use]
    pub fn slot(&self, peer: PeerId) -> Option<PeerSlot> {
        self.peer_rows.get(&peer).copied().map(PeerSlot)
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Timestamp {
        self.next_tick.min(self.next_probe)
    }

    /// What Control should know.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// What was refused since this was asked last.
    pub fn take_refused(&mut self) -> Refused {
        std::mem::take(&mut self.refused)
    }

    /// What publishers have sent once more since this was asked last.
    pub fn take_again(&mut self) -> Again {
        std::mem::take(&mut self.again)
    }

    fn report(&mut self, report: Report) {
        let waiting = self.reports.len();
        if !report.must_arrive() && waiting >= limits::REPORTS_MAX / 2 {
            return;
        }
        if waiting >= limits::REPORTS_MAX {
            self.reports.pop_front();
        }
        self.reports.push_back(report);
    }

    fn peer_mut(&mut self, peer: PeerId) -> Option<&mut Peer> {
        let row = self.peer_rows.get(&peer).copied()?;
        self.peers.get_mut(row)
    }
}

/// xorshift64*: where sequence numbers start is no secret, only unlikely to collide.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 |= 1;
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
