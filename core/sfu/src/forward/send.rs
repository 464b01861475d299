//! What goes out: seals the packets of a batch for every receiver, back to back per destination.
//!
//! Guarantees: per forwarded packet one copy, into the egress arena, and one seal in place there; no
//! allocation, no lock, no system call.

use model::Timestamp;
use rtp::packet::{FIXED_HEADER_LEN, FixedHeader};
use rtp::rtcp::{CompoundWriter, NoRoom};
use rtp::srtp::SrtpSender;
use rtp::{rtx, sequence};

use super::arena::Memory;
use super::peer::{Downlink, Peer};
use super::subscription::{EXTENSIONS_MAX, Sent, Subscription};
use super::{Forward, Outside, PeerSlot};
use crate::limits;

/// Packets of a frame differ by a byte or two; padding them equal lets them share a train.
const PADDING_MAX: u16 = 4;
/// RTP padding counts itself in one byte (RFC 3550 §5.1).
pub(super) const PADDING_PACKET_LEN: u8 = 255;

/// How many receivers ahead their rows, what these point to, and what that points to are asked for: each takes as long
/// as one or two receivers' packets.
const EXPECTED_AHEAD: [usize; 3] = [6, 4, 2];
/// Packets of one stream in a batch, mostly: those of a picture.
const EXPECTED_PACKETS: u16 = 8;

/// A packet that a flush will send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    subscription: u32,
    /// Bytes of its header and payload.
    size: u16,
    sent: Sent,
}

impl<M: Memory> Forward<M> {
    /// Seals all that was ingested since the last flush for everyone who receives it, and sends it.
    pub fn flush(&mut self, now: Timestamp, outside: &mut impl Outside) {
        if self.fresh.is_empty() {
            return;
        }
        self.work.clear();
        let mut previous = u32::MAX;
        for packet in &self.fresh {
            if packet.track == previous {
                continue;
            }
            previous = packet.track;
            let Some(track) = self.tracks.get(packet.track) else {
                continue;
            };
            for &subscription in &track.subscriptions {
                if let Some(row) = self.subscriptions.get(subscription) {
                    self.work.push((row.peer, subscription));
                }
            }
        }
        self.work.sort_unstable();
        self.work.dedup();
        let work = std::mem::take(&mut self.work);
        let groups = || work.chunk_by(|(a, _), (b, _)| a == b);
        let [mut rows, mut boxes, mut slots] = EXPECTED_AHEAD.map(|ahead| groups().skip(ahead));
        for group in groups() {
            self.expect_rows(rows.next().unwrap_or_default(), outside);
            self.expect_boxes(boxes.next().unwrap_or_default(), outside);
            self.expect_slots(slots.next().unwrap_or_default(), outside);
            self.plan(now, group);
            self.carry_out(now, outside);
        }
        self.work = work;
        self.fresh.clear();
        self.hand_over(outside);
    }

    /// Between two batches the processor forgets the receivers, and would wait for memory a dozen times for each. What
    /// the next ones need is asked for ahead: here their rows.
    fn expect_rows(&self, group: &[(u32, u32)], outside: &impl Outside) {
        for &(peer, subscription) in group {
            if let Some(place) = self.peers.place(peer) {
                outside.expect_use(place);
            }
            if let Some(place) = self.subscriptions.place(subscription) {
                outside.expect_use(place);
            }
        }
    }

    /// What the rows point to.
    fn expect_boxes(&self, group: &[(u32, u32)], outside: &impl Outside) {
        let peer = group.first().and_then(|(peer, _)| self.peers.get(*peer));
        if let Some((_, sender)) = peer.and_then(|peer| peer.keys.as_ref()) {
            outside.expect_use(&**sender);
        }
        if let Some(downlink) = peer.and_then(|peer| peer.downlink.as_ref()) {
            outside.expect_use(&downlink.history);
            outside.expect_use(&downlink.transport_sequence);
            outside.expect_use(&downlink.probe);
        }
        let packets = self.fresh.len().min(usize::from(EXPECTED_PACKETS));
        for &(_, subscription) in group {
            if let Some(subscription) = self.subscriptions.get(subscription) {
                subscription.expect_packets(packets, outside);
            }
        }
    }

    /// What that points to.
    fn expect_slots(&self, group: &[(u32, u32)], outside: &impl Outside) {
        let peer = group.first().and_then(|(peer, _)| self.peers.get(*peer));
        if let Some(downlink) = peer.and_then(|peer| peer.downlink.as_ref()) {
            for ahead in [1, EXPECTED_PACKETS] {
                let sequence = downlink.transport_sequence.wrapping_add(ahead);
                if let Some(place) = downlink.history.place(sequence) {
                    outside.expect_use(place);
                }
            }
        }
    }

    /// Packets that were ingested since the last flush.
    #[must_use]
    pub const fn pending(&self) -> usize {
        self.fresh.len()
    }

    /// Forgets a batch in the midst of which something broke, so that the next one starts clean.
    pub fn abandon(&mut self) {
        self.fresh.clear();
        self.work.clear();
        self.plan.clear();
        self.egress.clear();
        // Something may have been copied there and not sealed.
        self.egress.rinse();
    }

    /// Zeroes what has left: sealed as it is, the keys that open it are here as long as its receivers are.
    pub fn rinse(&mut self) {
        self.egress.rinse();
    }

    /// Sends what is sealed.
    pub(super) fn hand_over(&mut self, outside: &mut impl Outside) {
        if !self.egress.is_empty() {
            outside.send(&self.egress);
            self.egress.clear();
        }
    }

    /// Decides what one peer gets of this batch.
    fn plan(&mut self, now: Timestamp, group: &[(u32, u32)]) {
        self.plan.clear();
        let can_send =
            group.first().and_then(|(peer, _)| self.peers.get(*peer)).is_some_and(Peer::is_reached);
        if !can_send {
            return;
        }
        for &(_, row) in group {
            let Some(subscription) = self.subscriptions.get_mut(row) else {
                continue;
            };
            let (header, track) = (subscription.header_len, subscription.track);
            for packet in self.fresh.iter().filter(|packet| packet.track == track) {
                if let Some(sent) = subscription.accept(now, packet) {
                    let size = header + sent.payload_len;
                    self.plan.push(Planned { subscription: row, size, sent });
                }
            }
            if subscription.lacks_keyframe().is_some()
                && let Some(track) = self.tracks.get_mut(track)
            {
                track.is_awaited = true;
            }
        }
        equalize(&mut self.plan);
    }

    fn carry_out(&mut self, now: Timestamp, outside: &mut impl Outside) {
        let plan = std::mem::take(&mut self.plan);
        for planned in &plan {
            if self.egress.is_full() {
                self.hand_over(outside);
            }
            self.send(now, planned);
        }
        self.plan = plan;
    }

    fn send(&mut self, now: Timestamp, planned: &Planned) -> Option<()> {
        let subscription = self.subscriptions.get_mut(planned.subscription)?;
        let peer = self.peers.get_mut(subscription.peer)?;
        let room = self.rooms.get(&peer.room)?;
        let mut sent = planned.sent;
        let at = usize::from(sent.payload_at);
        let payload = room.arena.get(sent.entry)?.get(at..at + usize::from(sent.payload_len))?;
        let downlink = peer.downlink.as_mut()?;
        if subscription.extensions.is_transport_wide() {
            sent.transport_sequence = downlink.next_transport_sequence();
        }
        sent.send_time = abs_send_time(now);
        let (_, sender) = peer.keys.as_ref()?;
        let len = write(subscription, &sent, payload, sender, self.egress.space())?;
        let path = peer.destination?;
        self.egress.push(path, len);
        note(downlink, subscription, now, sent.transport_sequence, len);
        subscription.sent.sent(sequence::low_bits(sent.index), now, sent);
        subscription.packets = subscription.packets.wrapping_add(1);
        subscription.octets = subscription.octets.wrapping_add(u32::from(sent.payload_len));
        subscription.earn(len);
        Some(())
    }

    /// Sends a packet again that the receiver misses: over RTX, or byte for byte as it was.
    pub(super) fn resend(&mut self, now: Timestamp, row: u32, sent: &Sent) -> Option<()> {
        let subscription = self.subscriptions.get_mut(row)?;
        let peer = self.peers.get_mut(subscription.peer)?;
        let room = self.rooms.get(&peer.room)?;
        let at = usize::from(sent.payload_at);
        let packet = room.arena.get_young(sent.entry, now, limits::RESEND_AGE_MAX)?;
        let payload = packet.get(at..at + usize::from(sent.payload_len))?;
        let (_, sender) = peer.keys.as_ref()?;
        let path = peer.destination?;
        let downlink = peer.downlink.as_mut()?;
        let space = self.egress.space();
        let len = if subscription.spec.rtx_payload_type.is_some() {
            let mut again = *sent;
            if subscription.extensions.is_transport_wide() {
                again.transport_sequence = downlink.next_transport_sequence();
            }
            again.send_time = abs_send_time(now);
            let len = write_rtx(subscription, &again, payload, sender, space)?;
            note(downlink, subscription, now, again.transport_sequence, len);
            len
        } else {
            write(subscription, sent, payload, sender, space)?
        };
        subscription.spend(len);
        self.egress.push_again(path, len);
        Some(())
    }

    /// Sends a packet of nothing but padding, which probes the way to the receiver. Its length.
    pub(super) fn send_padding(&mut self, now: Timestamp, row: u32) -> Option<usize> {
        let subscription = self.subscriptions.get_mut(row)?;
        let payload_type = subscription.spec.rtx_payload_type?;
        let peer = self.peers.get_mut(subscription.peer)?;
        let (_, sender) = peer.keys.as_ref()?;
        let path = peer.destination?;
        let downlink = peer.downlink.as_mut()?;
        let sent = Sent {
            transport_sequence: downlink.next_transport_sequence(),
            send_time: abs_send_time(now),
            padding: PADDING_PACKET_LEN,
            index: subscription.rtx_index,
            ..Sent::default()
        };
        let ssrc = subscription.spec.rtx_ssrc;
        let space = self.egress.space();
        let header = write_header(subscription, &sent, payload_type, ssrc, space)?;
        let end = header + usize::from(PADDING_PACKET_LEN);
        pad(space, header, PADDING_PACKET_LEN)?;
        let len = seal(sender, space, header, end, sent.index)?;
        subscription.rtx_index += 1;
        self.egress.push(path, len);
        note(downlink, subscription, now, sent.transport_sequence, len);
        Some(len)
    }

    /// Seals the compound packet that `write` makes and queues it for a peer.
    pub(super) fn send_rtcp(
        &mut self,
        peer: PeerSlot,
        outside: &mut impl Outside,
        write: impl FnOnce(&mut CompoundWriter<'_>) -> Result<(), NoRoom>,
    ) {
        if self.egress.is_full() {
            self.hand_over(outside);
        }
        let Some(Peer { keys: Some((_, sender)), destination: Some(path), .. }) =
            self.peers.get_mut(peer.0)
        else {
            return;
        };
        let space = self.egress.space();
        let Some(room) = space.len().checked_sub(sender.profile().rtcp_overhead()) else {
            return;
        };
        let mut writer = CompoundWriter::new(space.get_mut(..room).unwrap_or_default());
        if write(&mut writer).is_err() || writer.is_empty() {
            return;
        }
        let len = writer.len();
        if let Ok(len) = sender.protect_rtcp(space, len) {
            self.egress.push(*path, len);
        }
    }
}

/// Notes a datagram for the receiver's transport feedback.
fn note(
    downlink: &mut Downlink,
    subscription: &Subscription,
    now: Timestamp,
    transport_sequence: u16,
    len: usize,
) {
    if subscription.extensions.is_transport_wide() {
        downlink.history.sent(transport_sequence, now, u16::try_from(len).unwrap_or(u16::MAX));
        downlink.awaited.get_or_insert(now);
        if let Some(probe) = &mut downlink.probe {
            probe.sent += len as u64;
        }
    }
}

/// Pads neighbours that are nearly equal to the same size, so that they go out as one train.
fn equalize(plan: &mut [Planned]) {
    let mut rest = plan;
    while let Some(first) = rest.first() {
        let (mut smallest, mut largest) = (first.size, first.size);
        let mut len = 1;
        for planned in rest.get(1..).unwrap_or_default() {
            let (low, high) = (smallest.min(planned.size), largest.max(planned.size));
            if high - low > PADDING_MAX {
                break;
            }
            (smallest, largest) = (low, high);
            len += 1;
        }
        let Some((run, after)) = rest.split_at_mut_checked(len) else {
            return;
        };
        for planned in run {
            planned.sent.padding = u8::try_from(largest - planned.size).unwrap_or(0);
        }
        rest = after;
    }
}

fn write_header(
    subscription: &Subscription,
    sent: &Sent,
    payload_type: u8,
    ssrc: u32,
    to: &mut [u8],
) -> Option<usize> {
    let (fixed, rest) = to.split_first_chunk_mut::<FIXED_HEADER_LEN>()?;
    let extensions = subscription.extensions.write(sent, rest.get_mut(..EXTENSIONS_MAX)?);
    *fixed = FixedHeader {
        marker: sent.marker,
        has_padding: sent.padding > 0,
        has_extension: extensions > 0,
        payload_type,
        sequence: sequence::low_bits(sent.index),
        timestamp: sent.timestamp,
        ssrc,
    }
    .to_bytes();
    Some(FIXED_HEADER_LEN + extensions)
}

/// Builds and seals a packet; the same `sent` gives the same bytes.
fn write(
    subscription: &Subscription,
    sent: &Sent,
    payload: &[u8],
    sender: &SrtpSender,
    to: &mut [u8],
) -> Option<usize> {
    let (payload_type, ssrc) = (subscription.spec.payload_type, subscription.spec.ssrc);
    let header = write_header(subscription, sent, payload_type, ssrc, to)?;
    let end = put_payload(sent, payload, header, to)?;
    seal(sender, to, header, end, sent.index)
}

/// Builds and seals a retransmission (RFC 4588).
fn write_rtx(
    subscription: &mut Subscription,
    sent: &Sent,
    payload: &[u8],
    sender: &SrtpSender,
    to: &mut [u8],
) -> Option<usize> {
    let payload_type = subscription.spec.rtx_payload_type?;
    let outer = Sent { index: subscription.rtx_index, ..*sent };
    let ssrc = subscription.spec.rtx_ssrc;
    let header = write_header(subscription, &outer, payload_type, ssrc, to)?;
    let body = header + rtx::OSN_LEN;
    to.get_mut(header..body)?.copy_from_slice(&rtx::header(sequence::low_bits(sent.index)));
    let end = put_payload(sent, payload, body, to)?;
    let len = seal(sender, to, header, end, outer.index)?;
    subscription.rtx_index += 1;
    Some(len)
}

/// Seals the packet that ends at `end`; what cannot be sealed is wiped.
fn seal(
    sender: &SrtpSender,
    bytes: &mut [u8],
    header: usize,
    end: usize,
    index: u64,
) -> Option<usize> {
    let sealed = sender.protect_rtp(bytes, header, end - header, index).ok();
    if sealed.is_none()
        && let Some(plain) = bytes.get_mut(..end)
    {
        plain.fill(0);
    }
    sealed
}

/// Copies the payload to `at`, with the codec's descriptor rewritten, and pads it. Where it ends.
fn put_payload(sent: &Sent, payload: &[u8], at: usize, to: &mut [u8]) -> Option<usize> {
    let place = to.get_mut(at..at + payload.len())?;
    place.copy_from_slice(payload);
    if let Some(rewrite) = &sent.rewrite {
        rewrite.apply(place);
    }
    let end = at + payload.len();
    if sent.padding > 0 {
        pad(to, end, sent.padding)?;
    }
    Some(end + usize::from(sent.padding))
}

/// RTP padding: zeros, then how many bytes it is.
fn pad(to: &mut [u8], at: usize, len: u8) -> Option<()> {
    let place = to.get_mut(at..at + usize::from(len))?;
    place.fill(0);
    *place.last_mut()? = len;
    Some(())
}

/// Seconds in 6.18 fixed point, modulo 64 (abs-send-time).
fn abs_send_time(now: Timestamp) -> u32 {
    let micros = now.as_micros() % 64_000_000;
    u32::try_from((micros << 18) / 1_000_000).unwrap_or(0) & 0x00ff_ffff
}

const _: () = assert!(
    limits::MEDIA_BYTES_MAX + EXTENSIONS_MAX + FIXED_HEADER_LEN <= limits::DATAGRAM_BYTES_MAX
);
