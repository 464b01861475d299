//! One peer's reception of one track: which packets pass, under which numbers.
//!
//! Guarantees: a layer changes only on a key frame; what the receiver sees is one continuous stream;
//! the payload is never changed but for the VP8 descriptor, which is not part of it.

use model::{Codec, DataRate, ExtensionKind, Layer, Timestamp, TrackKind};
use rtp::extension::{ExtensionForm, write_block};
use rtp::packet::FIXED_HEADER_LEN;
use rtp::rtx::ResendRing;
use rtp::sequence;
use rtp::vp8::{Descriptor, Vp8Rewrite, Vp8Rewriter};

use super::Outside;
use super::arena::EntryId;
use super::keyframe::KeyframeStart;
use super::numbering::{Last, Numbering};
use super::patience::Patience;
use super::peer::Peer;
use super::slab::Slab;
use super::track::Packet;
use crate::{SubscriptionSpec, limits};

/// Bytes of the header extension block at most: 4 + an element of 3 or 4.
pub(super) const EXTENSIONS_MAX: usize = 8;

/// What is needed to build a packet again, byte for byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) entry: EntryId,
    pub(super) payload_at: u16,
    pub(super) payload_len: u16,
    pub(super) index: u64,
    pub(super) timestamp: u32,
    pub(super) rewrite: Option<Vp8Rewrite>,
    pub(super) transport_sequence: u16,
    pub(super) send_time: u32,
    pub(super) padding: u8,
    pub(super) marker: bool,
}

/// The ids of the extensions that a subscription's packets carry; all its packets carry the same, so
/// that they are equal in size.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutgoingExtensions {
    transport_sequence: Option<u8>,
    send_time: Option<u8>,
}

impl OutgoingExtensions {
    fn new(spec: &SubscriptionSpec) -> Self {
        let transport_sequence = spec.extensions.id(ExtensionKind::TransportSequence);
        Self {
            transport_sequence,
            // A receiver that reports transport numbers needs no send times.
            send_time: match transport_sequence {
                Some(_) => None,
                None => spec.extensions.id(ExtensionKind::AbsSendTime),
            },
        }
    }

    pub(super) const fn is_transport_wide(&self) -> bool {
        self.transport_sequence.is_some()
    }

    /// Writes the block; its length depends on the ids alone. Zero without any.
    pub(super) fn write(&self, sent: &Sent, to: &mut [u8]) -> usize {
        let transport = sent.transport_sequence.to_be_bytes();
        let [_, time @ ..] = sent.send_time.to_be_bytes();
        let element: (u8, &[u8]) = match (self.transport_sequence, self.send_time) {
            (Some(id), _) => (id, &transport),
            (None, Some(id)) => (id, &time),
            (None, None) => return 0,
        };
        write_block(ExtensionForm::OneByte, &[element], to).unwrap_or(0)
    }
}

/// Where an ended subscription stopped.
///
/// Its SSRCs may come again: the same subscription moved to another section, or is described anew. Under the same keys
/// no number may be used twice, for GCM's sake; and a timestamp or picture id that goes back makes a receiver take all
/// that follows for late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) ssrc: u32,
    next_index: u64,
    next_rtx_index: u64,
    last: Option<Last>,
    vp8: Option<Vp8Rewrite>,
    packets: u32,
    octets: u32,
    reports: Reports,
}

/// The last sender reports: the middle of each one's NTP time, and when it went out. A receiver answers one after a
/// round trip and up to the time between two of its own reports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reports([Option<(u32, Timestamp)>; 4]);

impl Reports {
    pub(super) fn note(&mut self, middle: u32, now: Timestamp) {
        self.0.rotate_right(1);
        if let Some(newest) = self.0.first_mut() {
            *newest = Some((middle, now));
        }
    }

    /// When the one went out that has this middle.
    pub(super) fn sent_at(&self, middle: u32) -> Option<Timestamp> {
        let mut all = self.0.iter().flatten();
        all.find(|(held, _)| *held == middle).map(|(_, at)| *at)
    }
}

impl Ended {
    /// Of SSRCs that were not in use yet: `random` says where sequence numbers start.
    pub(super) const fn unused(ssrc: u32, random: u64) -> Self {
        Self {
            ssrc,
            next_index: (random & 0x7fff) + 1,
            next_rtx_index: ((random >> 16) & 0x7fff) + 1,
            last: None,
            vp8: None,
            packets: 0,
            octets: 0,
            reports: Reports([None; 4]),
        }
    }
}

/// Of what was sent, the part that may be sent again.
struct Share {
    /// In parts of a byte, [`limits::RESEND_SHARE`] to one. Less than nothing once the last packet was longer than what
    /// was left.
    left: i32,
    most: i32,
}

impl Share {
    const fn new(is_video: bool) -> Self {
        let burst = if is_video { limits::RESEND_BURST_VIDEO } else { limits::RESEND_BURST_AUDIO };
        let most = burst * limits::RESEND_SHARE;
        Self { left: most, most }
    }
}

pub(super) struct Subscription {
    pub(super) spec: SubscriptionSpec,
    /// Row of the receiving peer.
    pub(super) peer: u32,
    /// Row of the track.
    pub(super) track: u32,
    pub(super) extensions: OutgoingExtensions,
    /// Bytes before the payload, the same for all its packets.
    pub(super) header_len: u16,
    /// The layer to reach: what is wanted, flows, and fits.
    pub(super) target: Option<Layer>,
    /// What that brought when it was chosen.
    cost: DataRate,
    /// The rtp stream that is being forwarded.
    pub(super) current: Option<u8>,
    /// When the key frame came with which it began, and what it brought when it was chosen.
    pub(super) began: (Timestamp, DataRate),
    /// Stopped for want of bandwidth; `None` until that is found out, which is reported whatever it is: what was said
    /// of the same pair in another section may be on its way.
    pub(super) paused: Option<bool>,
    numbering: Numbering,
    vp8: Option<Box<Vp8Rewriter>>,
    pub(super) sent: ResendRing<Sent>,
    /// Bytes that may be sent again now.
    share: Share,
    /// Extended sequence number of the next retransmission or padding.
    pub(super) rtx_index: u64,
    pub(super) packets: u32,
    pub(super) octets: u32,
    /// Of `packets`, those that a report of the receiver's was about.
    pub(super) heard: u32,
    pub(super) reports: Reports,
    /// By the numbers that it went out under.
    keyframe_newest: KeyframeStart,
    pub(super) patience: Patience,
    /// What its receiver wished for last, or was given, may begin. What is left when something is taken may as well.
    is_granted: bool,
}

impl Subscription {
    /// `before`: where the last one under these SSRCs stopped.
    pub(super) fn new(
        spec: SubscriptionSpec,
        (peer, track): (u32, u32),
        before: Ended,
        patience: Patience,
    ) -> Self {
        let is_video = spec.codec.kind() == TrackKind::Video;
        let extensions = OutgoingExtensions::new(&spec);
        let block = extensions.write(&Sent::default(), &mut [0; EXTENSIONS_MAX]);
        Self {
            extensions,
            header_len: u16::try_from(FIXED_HEADER_LEN + block).unwrap_or(0),
            target: if is_video { None } else { spec.limit },
            cost: DataRate::ZERO,
            current: None,
            began: (Timestamp::ZERO, DataRate::ZERO),
            paused: None,
            numbering: Numbering::new(before.next_index, before.last, spec.codec.clock_rate()),
            vp8: (spec.codec == Codec::Vp8).then(|| Box::new(Vp8Rewriter::after(before.vp8, 0))),
            share: Share::new(is_video),
            sent: ResendRing::new(if is_video {
                limits::RESEND_VIDEO
            } else {
                limits::RESEND_AUDIO
            }),
            rtx_index: before.next_rtx_index,
            packets: before.packets,
            heard: before.packets,
            octets: before.octets,
            reports: before.reports,
            keyframe_newest: KeyframeStart::default(),
            patience,
            is_granted: false,
            peer,
            track,
            spec,
        }
    }

    /// A datagram of so many bytes was sent, of which a share may be sent again.
    pub(super) fn earn(&mut self, len: usize) {
        let parts = i32::try_from(len).unwrap_or(0);
        self.share.left = self.share.left.saturating_add(parts).min(self.share.most);
    }

    /// Whether a packet may be sent again: as long as anything is left.
    pub(super) const fn may_resend(&self) -> bool {
        self.share.left > 0
    }

    /// A datagram of so many bytes was sent again.
    pub(super) fn spend(&mut self, len: usize) {
        let parts = i32::try_from(len).unwrap_or(i32::MAX).saturating_mul(limits::RESEND_SHARE);
        self.share.left = self.share.left.saturating_sub(parts);
    }

    /// Where another subscription under the same SSRCs has to go on.
    pub(super) fn end(&self) -> Ended {
        Ended {
            ssrc: self.spec.ssrc,
            next_index: self.numbering.next_index(),
            next_rtx_index: self.rtx_index,
            last: self.numbering.last(),
            vp8: self.vp8.as_ref().and_then(|vp8| vp8.last()),
            packets: self.packets,
            octets: self.octets,
            reports: self.reports,
        }
    }

    /// What its receiver wants from now on, at most.
    pub(super) fn limit(&mut self, limit: Option<Layer>) {
        let before = std::mem::replace(&mut self.spec.limit, limit);
        if limit.map(|layer| layer.spatial) != before.map(|layer| layer.spatial) {
            self.wish();
        }
    }

    /// Its receiver wishes for what may have to begin with a key frame.
    pub(super) const fn wish(&mut self) {
        self.is_granted = false;
    }

    /// The highest layer that it may be given now: of what its way took it has none again at once. A wish it has.
    /// `None` before it may have any.
    pub(super) fn ceiling(&self, now: Timestamp) -> Option<u8> {
        if !self.is_granted || self.patience.may_rise(now, true) {
            return Some(u8::MAX);
        }
        let target = self.target.map(|target| target.spatial);
        target.or_else(|| self.patience.may_rise(now, false).then_some(0))
    }

    /// What it is to have from now on, at what rate; `is_taken`: it could have more, if its way carried that.
    pub(super) fn aim(
        &mut self,
        now: Timestamp,
        target: Option<Layer>,
        cost: DataRate,
        is_taken: bool,
    ) {
        let before = self.target.map(|target| target.spatial);
        let spatial = target.map(|target| target.spatial);
        if spatial != before {
            self.cost = cost;
        }
        if spatial > before {
            self.patience.rose(now);
            self.wish();
        } else if spatial < before && is_taken && self.is_granted {
            self.patience.fell(now);
        }
        match target {
            Some(_) => self.target = target,
            None => self.stop(),
        }
    }

    /// Whether a key frame may be asked for to begin with. A wish is paid for once, however often that takes.
    pub(super) fn may_begin(&mut self, now: Timestamp) -> bool {
        self.is_granted = self.is_granted || self.patience.begin(now);
        self.is_granted
    }

    /// Does a key frame of the target's rtp stream have to come before anything can go on, and may it be asked for? One
    /// that comes before its peer can have it is lost.
    pub(super) fn awaits_keyframe(&mut self, now: Timestamp, peers: &Slab<Peer>) -> Option<u8> {
        let spatial = self.lacks_keyframe()?;
        let may_have = peers.get(self.peer).is_some_and(Peer::is_reached) && self.may_begin(now);
        may_have.then_some(spatial)
    }

    /// The same whether it may, and its peer can have it, or not.
    pub(super) fn lacks_keyframe(&self) -> Option<u8> {
        let target = self.target?;
        (self.current != Some(target.spatial) && self.spec.codec.kind() == TrackKind::Video)
            .then_some(target.spatial)
    }

    /// The layer of which its receiver means a key frame that asks for one: that it has, or that is to begin.
    pub(super) fn layer_asked(&mut self, now: Timestamp) -> Option<u8> {
        let target = self.target?;
        self.current.or_else(|| self.may_begin(now).then_some(target.spatial))
    }

    /// The layer whose picture cannot go on without the packet of this number, as it was sent since the last key frame
    /// and no other layer's is on its way. What did not come from the publisher yet may come, and is sent then.
    pub(super) fn layer_lacking(&self, sequence: u16) -> Option<u8> {
        let spatial = self
            .current
            .filter(|spatial| self.target.is_some_and(|target| target.spatial == *spatial))?;
        let next = self.numbering.next_index();
        let index = sequence::nearest_index(next, sequence)?;
        let is_needed = (self.keyframe_newest.index()?..next).contains(&index);
        (is_needed && self.numbering.was_given(index)).then_some(spatial)
    }

    /// Nothing passes until the next key frame.
    pub(super) fn stop(&mut self) {
        self.target = None;
        self.current = None;
    }

    /// Leaves a layer that is higher than what is chosen without waiting for a key frame. What was sent of it is not
    /// sent again.
    pub(super) fn fall(&mut self, choice: Option<u8>) {
        if self.current > choice {
            self.current = None;
            self.sent.clear();
        }
    }

    /// Decides about a packet of the track; `Some` when it goes out.
    pub(super) fn accept(&mut self, now: Timestamp, packet: &Packet) -> Option<Sent> {
        if packet.codec != self.spec.codec {
            return None;
        }
        let target = self.target?;
        let before = self.current;
        if self.current == Some(packet.spatial) && self.numbering.is_leap(packet.index) {
            self.current = None;
        }
        if self.current != Some(packet.spatial) {
            let may_start = match packet.codec.kind() {
                TrackKind::Audio => true,
                // Those that follow a late one were dropped here, and nobody has them to send again.
                TrackKind::Video => {
                    packet.spatial == target.spatial && packet.facts.keyframe && !packet.is_late
                }
            };
            if may_start {
                self.numbering.start(now, packet.spatial, packet.index, packet.timestamp);
                if let Some(vp8) = &mut self.vp8 {
                    vp8.switch_to(packet.spatial);
                }
                self.current = Some(packet.spatial);
                if self.current != before {
                    self.began = (now, self.cost);
                }
            } else if self.current.is_none() {
                return None;
            }
        }
        if packet.payload_len == 0 {
            // Padding by which the publisher probes its own way: it ends here and leaves no gap.
            if self.current == Some(packet.spatial) {
                self.numbering.skip(packet.index);
            }
            return None;
        }
        let rewrite = match (&mut self.vp8, &packet.vp8) {
            (Some(vp8), Some(descriptor)) => {
                // With one that comes late nothing begins anew: what follows it has its numbers.
                let keyframe = descriptor.keyframe && !packet.is_late;
                let descriptor = Descriptor { keyframe, ..*descriptor };
                let rewrite = vp8.rewrite(packet.spatial, &descriptor, target.temporal);
                if rewrite.is_none() {
                    if self.current == Some(packet.spatial) {
                        self.numbering.skip(packet.index);
                    }
                    return None;
                }
                rewrite
            }
            _ => None,
        };
        let numbers = self.numbering.next(now, packet.spatial, packet.index, packet.timestamp)?;
        if packet.facts.keyframe && packet.codec.kind() == TrackKind::Video {
            self.patience.sent(now);
            self.keyframe_newest.note(numbers.index, numbers.timestamp);
        }
        Some(Sent {
            entry: packet.entry,
            payload_at: packet.payload_at,
            payload_len: packet.payload_len,
            index: numbers.index,
            timestamp: numbers.timestamp,
            rewrite,
            transport_sequence: 0,
            send_time: 0,
            padding: 0,
            marker: packet.marker,
        })
    }

    /// What its next `count` packets will change, for [`Outside::expect_use`].
    pub(super) fn expect_packets(&self, count: usize, outside: &impl Outside) {
        if let Some(vp8) = &self.vp8 {
            outside.expect_use(&**vp8);
        }
        let first = self.numbering.next_index();
        for index in (first..).take(count) {
            if let Some(place) = self.sent.place(sequence::low_bits(index)) {
                outside.expect_use(place);
            }
        }
    }

    /// What to add to the forwarded rtp stream's timestamps.
    pub(super) fn timestamp_offset(&self) -> u32 {
        self.numbering.timestamp_offset()
    }
}
