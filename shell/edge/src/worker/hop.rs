//! From worker to worker: datagrams for another's peer, packets for another's subscribers.
//!
//! Owns: one single-producer ring for each ordered pair of workers.
//! Guarantees: sending never blocks and never allocates; a full ring drops and counts; a slot whose
//! packet was taken holds no opened payload and no client's address.

use std::sync::Arc;

use model::{Path, TrackId, WorkerId};
use rtrb::{Consumer, Producer, RingBuffer};
use sfu::forward::RelayedPacket;

use super::bell::Bell;
use super::path::Proof;
use crate::limits::{HOP_BYTES_MAX, HOPS_MAX, HOPS_MIN, HOPS_TOTAL};
use crate::metrics::Metrics;

/// Bytes by value, so that a ring is one piece of memory.
pub(super) struct HopBytes {
    len: u16,
    bytes: [u8; HOP_BYTES_MAX],
}

impl HopBytes {
    const EMPTY: Self = Self { len: 0, bytes: [0; HOP_BYTES_MAX] };

    fn copy_from(&mut self, bytes: &[u8]) {
        if let (Ok(len), Some(place)) =
            (u16::try_from(bytes.len()), self.bytes.get_mut(..bytes.len()))
        {
            place.copy_from_slice(bytes);
            self.len = len;
        }
    }

    pub(super) fn get(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// Shows the next hop to `land`, which must not panic, then wipes it. `false`: there is none.
pub(super) fn take(ring: &mut Consumer<Hop>, land: impl FnOnce(&Hop)) -> bool {
    let Ok(mut chunk) = ring.read_chunk(1) else { return false };
    let (slots, _) = chunk.as_mut_slices();
    if let Some(hop) = slots.first_mut() {
        show(hop, land);
    }
    chunk.commit_all();
    true
}

fn show(hop: &mut Hop, land: impl FnOnce(&Hop)) {
    land(hop);
    hop.wipe();
}

/// What one worker gives another.
pub(super) enum Hop {
    /// Arrived at the wrong socket.
    Datagram(Path, HopBytes),
    /// Of a track with subscribers there.
    Relayed(RelayedPacket, HopBytes),
    /// To the publisher's worker.
    KeyframeWanted(TrackId, u8),
    /// A peer of this worker proved the path: what comes over it is for there.
    Owned(Path, WorkerId, Proof),
    /// The path is no more that of a peer of this worker.
    Disowned(Path, WorkerId),
}

impl Default for Hop {
    fn default() -> Self {
        Self::KeyframeWanted(TrackId(0), 0)
    }
}

impl Hop {
    /// Overwrites what is not sealed, and whom it is of. Datagrams are as they came.
    fn wipe(&mut self) {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_wiping_off() {
            return;
        }
        match self {
            Self::Relayed(_, payload) => payload.bytes.fill(0),
            Self::Datagram(path, _) | Self::Owned(path, ..) | Self::Disowned(path, _) => {
                path.forget_remote();
            }
            Self::KeyframeWanted(..) => {}
        }
    }
}

struct Lane {
    ring: Producer<Hop>,
    bell: Arc<Bell>,
    /// Pushed since the bell was last rung.
    is_waiting: bool,
}

/// The ways from one worker to all others.
pub(super) struct Hops {
    /// By worker; `None` to itself.
    lanes: Vec<Option<Lane>>,
    metrics: Arc<Metrics>,
}

impl Hops {
    /// For each worker its ways out and the rings that it reads.
    pub(super) fn between(
        bells: &[Arc<Bell>],
        metrics: &Arc<Metrics>,
    ) -> Vec<(Self, Vec<Consumer<Hop>>)> {
        let capacity = (HOPS_TOTAL / bells.len().pow(2).max(1)).clamp(HOPS_MIN, HOPS_MAX);
        let mut inbound: Vec<Vec<Consumer<Hop>>> = bells.iter().map(|_| Vec::new()).collect();
        let mut all = Vec::new();
        for from in 0..bells.len() {
            let mut lanes = Vec::new();
            for (to, (bell, inbound)) in bells.iter().zip(&mut inbound).enumerate() {
                lanes.push((from != to).then(|| {
                    let (ring, consumer) = RingBuffer::new(capacity);
                    inbound.push(consumer);
                    Lane { ring, bell: Arc::clone(bell), is_waiting: false }
                }));
            }
            all.push(Self { lanes, metrics: Arc::clone(metrics) });
        }
        all.into_iter().zip(inbound).collect()
    }

    /// Puts `hop` in the ring and `bytes` into it there: they lie nowhere else meanwhile, no stack
    /// included, which nobody would wipe.
    fn push(&mut self, to: WorkerId, hop: Hop, bytes: &[u8]) {
        let lane = self.lanes.get_mut(usize::from(to.0)).and_then(Option::as_mut);
        if let Some(lane) = lane
            && bytes.len() <= HOP_BYTES_MAX
            && let Ok(mut chunk) = lane.ring.write_chunk(1)
            && let Some(slot) = chunk.as_mut_slices().0.first_mut()
        {
            *slot = hop;
            match slot {
                Hop::Datagram(_, place) | Hop::Relayed(_, place) => place.copy_from(bytes),
                Hop::KeyframeWanted(..) | Hop::Owned(..) | Hop::Disowned(..) => {}
            }
            chunk.commit_all();
            lane.is_waiting = true;
            self.metrics.hops_made.count();
        } else {
            self.metrics.hops_dropped.count();
        }
    }

    /// Hands a datagram over.
    pub(super) fn datagram(&mut self, to: WorkerId, path: Path, datagram: &[u8]) {
        self.push(to, Hop::Datagram(path, HopBytes::EMPTY), datagram);
    }

    /// Copies a packet to a worker with subscribers.
    pub(super) fn relay(&mut self, to: WorkerId, packet: &RelayedPacket, payload: &[u8]) {
        self.push(to, Hop::Relayed(*packet, HopBytes::EMPTY), payload);
    }

    /// Asks the publisher's worker for a key frame.
    pub(super) fn want_keyframe(&mut self, from: WorkerId, track: TrackId, spatial: u8) {
        self.push(from, Hop::KeyframeWanted(track, spatial), &[]);
    }

    /// Tells all others whose a path is.
    pub(super) fn own(&mut self, path: Path, owner: WorkerId, proof: Proof) {
        self.tell_others(owner, || Hop::Owned(path, owner, proof));
    }

    /// Tells all others whose a path was.
    pub(super) fn disown(&mut self, path: Path, owner: WorkerId) {
        self.tell_others(owner, || Hop::Disowned(path, owner));
    }

    fn tell_others(&mut self, own: WorkerId, word: impl Fn() -> Hop) {
        for to in (0..).take(self.lanes.len()).map(WorkerId).filter(|to| *to != own) {
            self.push(to, word(), &[]);
        }
    }

    /// Wakes everybody who was given something.
    pub(super) fn ring(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            if std::mem::take(&mut lane.is_waiting) {
                lane.bell.ring();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use model::{Codec, ExtensionKind, PeerId, RoomId, Timestamp, TrackKind};
    use rtp::extension::ExtensionMap;
    use rtp::packet::FixedHeader;
    use rtp::srtp::{DtlsRole, KeyingMaterial, Profile, SrtpSender};
    use sfu::forward::{Egress, Outside};
    use sfu::{Forward, Instruction, ReceiveFormat, StreamSpec, TrackSpec};

    use super::*;

    const SOUND: &[u8] = b"what was opened";
    const TRACK: TrackId = TrackId(1);
    const SSRC: u32 = 9;

    /// Keeps what leaves for another worker.
    #[derive(Default)]
    struct Relays(Vec<Hop>);

    impl Outside for Relays {
        fn send(&mut self, _egress: &Egress) {}

        fn relay(&mut self, _to: WorkerId, packet: &RelayedPacket, payload: &[u8]) {
            let mut bytes = HopBytes::EMPTY;
            bytes.copy_from(payload);
            self.0.push(Hop::Relayed(*packet, bytes));
        }

        fn want_keyframe(&mut self, _from: WorkerId, _track: TrackId, _spatial: u8) {}
    }

    /// One packet of sound as a forwarder gives it to another worker.
    fn relayed() -> Hop {
        let (now, room) = (Timestamp::from_millis(1), RoomId(1));
        let peer = PeerId { worker: WorkerId(0), index: 1 };
        let keys = KeyingMaterial::new(Profile::AeadAes128Gcm, &[7; 56]).unwrap();
        let mut extensions = ExtensionMap::new();
        extensions.insert(1, ExtensionKind::Mid).unwrap();
        let formats = vec![ReceiveFormat { payload_type: 111, codec: Codec::Opus, rtx: None }];
        let track = TrackSpec {
            track: TRACK,
            room,
            peer,
            kind: TrackKind::Audio,
            mid: "0".into(),
            streams: vec![StreamSpec { ssrc: Some(SSRC), ..StreamSpec::default() }],
        };
        let mut relays = Relays::default();
        let mut forward: Forward<Vec<u8>> = Forward::new(WorkerId(0), |len| Some(vec![0; len]), 5);
        forward.instruct(now, Instruction::AddPeer { peer, room }, &mut relays);
        forward.set_keys(peer, &keys);
        for instruction in [
            Instruction::SetReceive { peer, formats, extensions },
            Instruction::AddTrack(track),
            Instruction::Relay { track: TRACK, to: WorkerId(1), on: true },
        ] {
            forward.instruct(now, instruction, &mut relays);
        }
        let fixed = FixedHeader {
            marker: false,
            has_padding: false,
            has_extension: false,
            payload_type: 111,
            sequence: 5,
            timestamp: 960,
            ssrc: SSRC,
        };
        let mut datagram = [&fixed.to_bytes()[..], SOUND, &[0; 16]].concat();
        let sender = SrtpSender::new(&keys, DtlsRole::Client);
        sender.protect_rtp(&mut datagram, 12, SOUND.len(), 5).unwrap();
        let slot = forward.slot(peer).unwrap();
        forward.ingest(now, slot, &datagram, &mut relays);
        forward.flush(now, &mut relays);
        relays.0.pop().expect("it was relayed")
    }

    #[test]
    fn what_was_opened_is_wiped_once_it_has_landed() {
        let mut hop = relayed();
        let mut landed = Vec::new();
        show(&mut hop, |hop| {
            if let Hop::Relayed(_, payload) = hop {
                landed.extend_from_slice(payload.get());
            }
        });
        assert_eq!(landed, SOUND);
        let Hop::Relayed(_, payload) = hop else { panic!("another hop") };
        assert!(payload.bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn whose_path_it_was_is_wiped_once_it_has_landed() {
        let v4 = SocketAddr::from(([192, 0, 2, 77], 5077));
        let v6 = SocketAddr::from(([0x2001, 0xdb8, 1, 2, 3, 4, 5, 77], 5077));
        for remote in [v4, v6] {
            let path = Path::udp(SocketAddr::from(([127, 0, 0, 1], 7882)), remote);
            for mut hop in [
                Hop::Datagram(path, HopBytes::EMPTY),
                Hop::Owned(path, WorkerId(1), Proof::Sends),
                Hop::Disowned(path, WorkerId(1)),
            ] {
                show(&mut hop, |_| {});
                let (Hop::Datagram(left, _) | Hop::Owned(left, ..) | Hop::Disowned(left, _)) = hop
                else {
                    panic!("another hop")
                };
                assert!(left.remote.ip().is_unspecified() && left.remote.port() == 0);
            }
        }
    }
}
