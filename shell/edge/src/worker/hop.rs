//! From worker to worker: datagrams for another's peer, packets for another's subscribers.
//!
//! Owns: one single-producer ring for each ordered pair of workers.
//! Guarantees: sending never blocks and never allocates; a full ring drops and counts, media before words of whose a
//! path is; a slot whose packet was taken holds nothing of it, opened or sealed, and no client's address.

use std::sync::Arc;

use model::{Path, TrackId, WorkerId};
use rtrb::{Consumer, Producer, RingBuffer};
use sfu::forward::RelayedPacket;

use super::bell::Bell;
use super::path::Proof;
use crate::limits::{HOP_BYTES_MAX, HOPS_KEPT, HOPS_MAX, HOPS_MIN, HOPS_TOTAL};
use crate::metrics::Metrics;

/// Bytes by value, so that a ring is one piece of memory.
struct HopBytes {
    len: u32,
    bytes: [u8; HOP_BYTES_MAX],
}

impl Default for HopBytes {
    fn default() -> Self {
        Self { len: 0, bytes: [0; HOP_BYTES_MAX] }
    }
}

impl HopBytes {
    fn copy_from(&mut self, bytes: &[u8]) {
        if let (Ok(len), Some(place)) =
            (u32::try_from(bytes.len()), self.bytes.get_mut(..bytes.len()))
        {
            place.copy_from_slice(bytes);
            self.len = len;
        }
    }

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len as usize).unwrap_or_default()
    }

    fn wipe(&mut self) {
        if let Some(bytes) = self.bytes.get_mut(..self.len as usize) {
            bytes.fill(0);
        }
        self.len = 0;
    }
}

/// A place in a ring.
#[derive(Default)]
pub(super) struct Slot {
    hop: Hop,
    /// Of a datagram or a packet.
    bytes: HopBytes,
}

impl Slot {
    /// Shows what is there to `land`, which must not panic, then wipes it.
    fn show(&mut self, land: impl FnOnce(&Hop, &[u8])) {
        land(&self.hop, self.bytes.get());
        self.wipe();
    }

    /// Overwrites all of it: what was said, sealed or not, whom it is of, and what of the sender's stack came with it.
    fn wipe(&mut self) {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_wiping_off() {
            return;
        }
        self.hop = Hop::default();
        self.bytes.wipe();
    }
}

/// Shows the next hop to `land`, which must not panic, then wipes it. `false`: there is none.
pub(super) fn take(ring: &mut Consumer<Slot>, land: impl FnOnce(&Hop, &[u8])) -> bool {
    let Ok(mut chunk) = ring.read_chunk(1) else { return false };
    let (slots, _) = chunk.as_mut_slices();
    if let Some(slot) = slots.first_mut() {
        slot.show(land);
    }
    chunk.commit_all();
    true
}

/// What one worker gives another. What it gives with it lies beside it, so that no move takes so many bytes of the
/// stack along.
pub(super) enum Hop {
    /// Nothing, in all bytes of it.
    Blank(#[expect(dead_code, reason = "only written, over what was there")] [u8; BLANK_BYTES]),
    /// Arrived at the wrong socket.
    Datagram(Path),
    /// Of a track with subscribers there.
    Relayed(RelayedPacket),
    /// To the publisher's worker.
    KeyframeWanted(TrackId, u8),
    /// A peer of this worker proved the path: what comes over it is for there.
    Owned(Path, WorkerId, Proof),
    /// The path is no more that of a peer of this worker.
    Disowned(Path, WorkerId),
}

const BLANK_BYTES: usize = 111;
// Which of them it is, is one byte.
const _: () = assert!(size_of::<Hop>() == 1 + BLANK_BYTES, "a blank covers all others");

impl Hop {
    /// What is sent or asked again does not have to arrive. Of a path its owner says nothing new for long.
    const fn is_word(&self) -> bool {
        matches!(self, Self::Owned(..) | Self::Disowned(..))
    }
}

impl Default for Hop {
    fn default() -> Self {
        Self::Blank([0; BLANK_BYTES])
    }
}

struct Lane {
    ring: Producer<Slot>,
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
    ) -> Vec<(Self, Vec<Consumer<Slot>>)> {
        let capacity = (HOPS_TOTAL / bells.len().pow(2).max(1)).clamp(HOPS_MIN, HOPS_MAX);
        let mut inbound: Vec<Vec<Consumer<Slot>>> = bells.iter().map(|_| Vec::new()).collect();
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
    /// included, which nobody would wipe. `false` when there is no room.
    fn push(&mut self, to: WorkerId, hop: Hop, bytes: &[u8]) -> bool {
        let is_word = hop.is_word();
        let kept = if is_word { 0 } else { HOPS_KEPT };
        let lane = self.lanes.get_mut(usize::from(to.0)).and_then(Option::as_mut);
        if let Some(lane) = lane
            && bytes.len() <= HOP_BYTES_MAX
            && lane.ring.write_chunk_uninit(1 + kept).is_ok()
            && let Ok(mut chunk) = lane.ring.write_chunk(1)
            && let Some(slot) = chunk.as_mut_slices().0.first_mut()
        {
            slot.hop = hop;
            slot.bytes.copy_from(bytes);
            chunk.commit_all();
            lane.is_waiting = true;
            self.metrics.hops_made.count();
            return true;
        }
        if is_word {
            self.metrics.hop_words_lost.count();
        } else {
            self.metrics.hops_dropped.count();
        }
        false
    }

    /// Hands a datagram over.
    pub(super) fn datagram(&mut self, to: WorkerId, path: Path, datagram: &[u8]) {
        self.push(to, Hop::Datagram(path), datagram);
    }

    /// Copies a packet to a worker with subscribers; `false` when there is no room.
    pub(super) fn relay(&mut self, to: WorkerId, packet: &RelayedPacket, payload: &[u8]) -> bool {
        self.push(to, Hop::Relayed(*packet), payload)
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
    use std::fs::File;
    use std::hint::black_box;
    use std::mem::offset_of;
    use std::net::SocketAddr;
    use std::os::unix::fs::FileExt as _;
    use std::ptr::from_ref;

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
    struct Relays(Vec<Slot>);

    impl Outside for Relays {
        fn send(&mut self, _egress: &Egress) {}

        fn relay(&mut self, _to: WorkerId, packet: &RelayedPacket, payload: &[u8]) -> bool {
            let mut slot = Slot { hop: Hop::Relayed(*packet), ..Slot::default() };
            slot.bytes.copy_from(payload);
            self.0.push(slot);
            true
        }

        fn want_keyframe(&mut self, _from: WorkerId, _track: TrackId, _spatial: u8) {}
    }

    /// One packet of sound as a forwarder gives it to another worker.
    fn relayed() -> Slot {
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
        let mut slot = relayed();
        let mut landed = Vec::new();
        slot.show(|hop, payload| {
            assert!(matches!(hop, Hop::Relayed(_)));
            landed.extend_from_slice(payload);
        });
        assert_eq!(landed, SOUND);
        assert!(slot.bytes.bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_ring_that_is_full_of_media_has_room_for_words() {
        let bells: Vec<_> = (0..2).map(|_| Arc::new(Bell::new().unwrap())).collect();
        let metrics = Arc::default();
        let mut ends = Hops::between(&bells, &metrics).into_iter();
        let (mut here, mut there) = (ends.next().unwrap().0, ends.next().unwrap().1);
        let path = Path::udp(
            SocketAddr::from(([127, 0, 0, 1], 7882)),
            SocketAddr::from(([192, 0, 2, 77], 5077)),
        );
        for _ in 0..HOPS_MAX {
            here.datagram(WorkerId(1), path, SOUND);
            here.want_keyframe(WorkerId(1), TRACK, 0);
        }
        let media = metrics.hops_made.total();
        assert_eq!(media + metrics.hops_dropped.total(), 2 * HOPS_MAX as u64);
        for _ in 0..HOPS_KEPT / 2 {
            here.own(path, WorkerId(0), Proof::Sends);
            here.disown(path, WorkerId(0));
        }
        assert_eq!(metrics.hop_words_lost.total(), 0);
        here.disown(path, WorkerId(0));
        assert_eq!(metrics.hop_words_lost.total(), 1);
        let (mut taken, mut words) = (0, 0);
        while take(&mut there[0], |hop, _| words += u64::from(hop.is_word())) {
            taken += 1;
        }
        assert_eq!((taken - words, words), (media, HOPS_KEPT as u64));
    }

    /// Leaves something on the stack that is nobody's now.
    #[inline(never)]
    fn leave(mark: u8) {
        black_box(&mut [mark; 64 << 10]);
    }

    /// What lies in memory there.
    fn look(at: usize, len: usize) -> Vec<u8> {
        let mut seen = vec![0; len];
        let memory = File::open("/proc/self/mem").unwrap();
        memory.read_exact_at(&mut seen, u64::try_from(at).unwrap()).unwrap();
        seen
    }

    #[test]
    fn nothing_is_in_a_ring_of_what_was_taken_nor_of_the_stack_of_who_gave_it() {
        let bells: Vec<_> = (0..2).map(|_| Arc::new(Bell::new().unwrap())).collect();
        let mut ends = Hops::between(&bells, &Arc::default()).into_iter();
        let (mut here, mut there) = (ends.next().unwrap().0, ends.next().unwrap().1);
        let local = SocketAddr::from(([127, 0, 0, 1], 7882));
        for remote in [
            SocketAddr::from(([192, 0, 2, 77], 5077)),
            SocketAddr::from(([0x2001, 0xdb8, 1, 2, 3, 4, 5, 77], 5077)),
        ] {
            let path = Path::udp(local, remote);
            let ways: [fn(&mut Hops, Path); 4] = [
                |hops, path| hops.datagram(WorkerId(1), path, SOUND),
                |hops, path| hops.own(path, WorkerId(0), Proof::Sends),
                |hops, path| hops.disown(path, WorkerId(0)),
                |hops, _| hops.want_keyframe(WorkerId(1), TRACK, 0),
            ];
            for give in ways {
                leave(0xa7);
                give(&mut here, path);
                let mut at = 0;
                assert!(take(&mut there[0], |hop, bytes| {
                    at = from_ref(hop).addr();
                    assert_eq!(bytes, if matches!(hop, Hop::Datagram(_)) { SOUND } else { &[] });
                }));
                let left = look(at - offset_of!(Slot, hop), size_of::<Slot>());
                assert!(left.iter().all(|byte| *byte == 0), "{left:x?}");
            }
        }
    }
}
