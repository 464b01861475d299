//! What comes in: opens a peer's datagram in the room's arena and finds the track it belongs to.

use model::{Codec, Ration, Timestamp, TrackId, TrackKind};
use rtp::codec::Facts;
use rtp::extension::Extensions;
use rtp::nack::Arrival;
use rtp::packet::{Datagram, RtpHeader};
use rtp::reception::{MediaTime, Reception};
use rtp::rtcp::NtpTime;
use rtp::{rtx, sequence, vp8};

use super::arena::{EntryId, Memory};
use super::peer::{Format, Peer, Role, StreamRef};
use super::slab::Slab;
use super::track::{Packet, Track, sound_rate_max};
use super::{Forward, Outside, PeerSlot, Refused, RelayedPacket};
use crate::{Report, limits};

/// A packet after it was opened and its place among the tracks found.
struct Opened {
    header: RtpHeader,
    stream: StreamRef,
    codec: Codec,
    /// Original sequence number, extended; its place in the stream once that is known.
    index: u64,
    payload_at: usize,
    payload_len: usize,
    level: Option<u8>,
}

impl<M: Memory> Forward<M> {
    /// Takes one protected RTP or RTCP datagram of a peer. What does not authenticate, repeats, or
    /// belongs to nothing is wiped again; the oldest packets may have made room for it.
    pub fn ingest(
        &mut self,
        now: Timestamp,
        from: PeerSlot,
        datagram: &[u8],
        outside: &mut impl Outside,
    ) {
        if datagram.len() > limits::MEDIA_BYTES_MAX {
            return;
        }
        match Datagram::classify(datagram) {
            Datagram::Rtp => self.ingest_rtp(now, from, datagram, outside),
            Datagram::Rtcp => self.ingest_rtcp(now, from, datagram, outside),
            Datagram::Stun | Datagram::Dtls | Datagram::Unknown => {}
        }
    }

    fn ingest_rtp(
        &mut self,
        now: Timestamp,
        from: PeerSlot,
        datagram: &[u8],
        outside: &mut impl Outside,
    ) {
        let Some(peer) = self.peers.get_mut(from.0) else {
            return;
        };
        let Some(room) = self.rooms.get_mut(&peer.room) else {
            return;
        };
        let Some((entry, bytes)) = room.arena.push(now, datagram.len()) else {
            return;
        };
        bytes.copy_from_slice(datagram);
        let opened = open(peer, &self.tracks, now, bytes, &mut self.refused);
        let packet = opened.and_then(|opened| {
            if opened.stream.role == Role::Rtx {
                self.again.note(datagram.len());
            }
            let track = self.tracks.get_mut(opened.stream.track)?;
            let payload = bytes.get(opened.payload_at..opened.payload_at + opened.payload_len)?;
            let opened = place(peer, track, now, opened)?;
            accept(peer, track, now, entry, payload, &opened, &mut self.refused)
        });
        let Some(packet) = packet else {
            room.arena.retract();
            return;
        };
        if let Some(track) = self.tracks.get_mut(packet.track) {
            room.arena.keep(&mut track.newest_entry);
        }
        self.tell_live(now, &packet);
        self.relay(now, entry, &packet, outside);
        self.fresh.push(packet);
    }

    /// Takes a packet that another worker opened.
    pub fn relayed(&mut self, now: Timestamp, packet: &RelayedPacket, payload: &[u8]) {
        let Some(row) = self.track_rows.get(&packet.track).copied() else {
            return;
        };
        let Some(track) = self.tracks.get_mut(row) else {
            return;
        };
        let Some(room) = self.rooms.get_mut(&track.room) else {
            return;
        };
        track.wake(now);
        let Some(stream) = track.streams.get_mut(usize::from(packet.spatial)) else {
            return;
        };
        let entry = match room.arena.push(now, payload.len()) {
            Some((entry, bytes)) => {
                bytes.copy_from_slice(payload);
                room.arena.keep(&mut track.newest_entry);
                entry
            }
            None if payload.is_empty() => EntryId::default(),
            None => return,
        };
        stream.packet(now, payload.len());
        let is_late = stream.newest > Some(packet.index);
        stream.newest = stream.newest.max(Some(packet.index));
        if packet.facts.keyframe {
            stream.keyframe(packet.index, packet.timestamp, is_late);
        }
        // Under another SSRC there is none until the publisher tells it.
        stream.media_time = packet.clock.map(|(ntp, rtp_timestamp, at)| MediaTime {
            ntp: NtpTime(ntp),
            rtp_timestamp,
            at,
            clock_rate: packet.codec.clock_rate(),
        });
        if packet.marker && !is_late {
            track.picture(packet.spatial);
        }
        self.fresh.push(Packet {
            track: row,
            spatial: packet.spatial,
            entry,
            payload_at: 0,
            payload_len: u16::try_from(payload.len()).unwrap_or(0),
            index: packet.index,
            is_late,
            timestamp: packet.timestamp,
            marker: packet.marker,
            codec: packet.codec,
            facts: packet.facts,
            vp8: packet.vp8,
        });
    }

    /// Another worker's subscriber waits for a key frame.
    pub fn keyframe_wanted(&mut self, track: TrackId, spatial: u8) {
        let row = self.track_rows.get(&track).copied();
        if let Some(track) = row.and_then(|row| self.tracks.get_mut(row))
            && let Some(stream) = track.streams.get_mut(usize::from(spatial))
        {
            stream.keyframe_wanted = Some(Timestamp::ZERO);
        }
    }

    fn relay(
        &mut self,
        now: Timestamp,
        entry: EntryId,
        packet: &Packet,
        outside: &mut impl Outside,
    ) {
        let Some(track) = self.tracks.get_mut(packet.track) else {
            return;
        };
        if track.relays.is_empty() {
            return;
        }
        let at = usize::from(packet.payload_at);
        let payload = self
            .rooms
            .get(&track.room)
            .and_then(|room| room.arena.get(entry))
            .and_then(|bytes| bytes.get(at..at + usize::from(packet.payload_len)));
        let Some(payload) = payload else {
            return;
        };
        let media_time =
            track.streams.get(usize::from(packet.spatial)).and_then(|stream| stream.media_time);
        let relayed = RelayedPacket {
            track: track.id,
            spatial: packet.spatial,
            index: packet.index,
            timestamp: packet.timestamp,
            marker: packet.marker,
            codec: packet.codec,
            facts: packet.facts,
            vp8: packet.vp8,
            clock: media_time.map(|time| (time.ntp.0, time.rtp_timestamp, time.at)),
        };
        let mut is_taken = true;
        for &worker in &track.relays {
            is_taken &= outside.relay(worker, &relayed, payload);
        }
        // There nobody can ask for it again, and none of those who do ask was sent it.
        if !is_taken
            && track.kind == TrackKind::Video
            && let Some(stream) = track.streams.get_mut(usize::from(packet.spatial))
        {
            stream.give_up(now, sequence::low_bits(packet.index));
        }
    }

    fn tell_live(&mut self, now: Timestamp, packet: &Packet) {
        let Some(track) = self.tracks.get_mut(packet.track) else {
            return;
        };
        let id = track.id;
        if let Some(stream) = track.streams.get_mut(usize::from(packet.spatial))
            && stream.is_news(now, packet.codec)
        {
            // A layer that appears may be what somebody waits for.
            for &subscription in &track.subscriptions {
                if let Some(subscription) = self.subscriptions.get(subscription)
                    && let Some(peer) = self.peers.get_mut(subscription.peer)
                {
                    peer.allocate_soon();
                }
            }
            self.next_tick = self.next_tick.min(now);
            self.report(Report::LayerLive {
                track: id,
                spatial: packet.spatial,
                codec: packet.codec,
            });
        }
    }
}

/// Opens a packet in place and finds its rtp stream.
fn open(
    peer: &mut Peer,
    tracks: &Slab<Track>,
    now: Timestamp,
    bytes: &mut [u8],
    refused: &mut Refused,
) -> Option<Opened> {
    let (receiver, _) = peer.keys.as_mut()?;
    let unprotected =
        receiver.unprotect_rtp(bytes).inspect_err(|error| refused.note(*error)).ok()?;
    let packet = bytes.get(..unprotected.packet_len())?;
    let header = &unprotected.header;
    let extensions = Extensions::read(header, packet, &peer.receive);
    if let Some(sequence) = extensions.transport_sequence {
        peer.feedback.get_or_insert_default().received(sequence, now);
        peer.feedback_ssrc = header.ssrc;
    }
    let stream = match peer.ssrcs.get(&header.ssrc) {
        Some(stream @ StreamRef { role: Role::Past { until }, .. }) => {
            if now < *until {
                return None;
            }
            StreamRef { role: Role::Media, ..*stream }
        }
        Some(stream) => *stream,
        None => latch(peer, tracks, header, &extensions)?,
    };
    let payload = header.payload_range(packet).ok()?;
    let (mut payload_at, mut index) = (payload.start, unprotected.index);
    let codec = match (peer.format(header.payload_type)?, stream.role) {
        (Format::Media(codec), Role::Media) => codec,
        (Format::Rtx(codec), Role::Rtx) => {
            let (original, _) = rtx::parse(packet.get(payload.clone())?)?;
            payload_at += rtx::OSN_LEN;
            let repaired = tracks.get(stream.track)?.streams.get(usize::from(stream.spatial))?;
            // The original's place is reckoned from the newest packet of its stream.
            index = sequence::nearest_index(repaired.newest?, original)?;
            codec
        }
        (Format::Media(_) | Format::Rtx(_), _) => return None,
    };
    let payload_len = payload.end.checked_sub(payload_at)?;
    Some(Opened {
        header: *header,
        stream,
        codec,
        index,
        payload_at,
        payload_len,
        level: extensions.audio_level.map(|level| level.level),
    })
}

/// Finds the rtp stream of an SSRC that was not announced, by section and restriction id.
fn latch(
    peer: &mut Peer,
    tracks: &Slab<Track>,
    header: &RtpHeader,
    extensions: &Extensions<'_>,
) -> Option<StreamRef> {
    let mid = extensions.mid?;
    let (rid, role) = match (extensions.rid, extensions.repaired_rid) {
        (_, Some(rid)) => (Some(rid), Role::Rtx),
        (rid, None) => match peer.format(header.payload_type) {
            Some(Format::Rtx(_)) => (rid, Role::Rtx),
            Some(Format::Media(_)) | None => (rid, Role::Media),
        },
    };
    let row = peer
        .tracks
        .iter()
        .copied()
        .find(|&row| tracks.get(row).is_some_and(|track| track.mid.as_bytes() == mid))?;
    let spatial =
        tracks.get(row)?.streams.iter().position(|stream| match (&stream.spec.rid, rid) {
            (Some(known), Some(rid)) => known.as_bytes() == rid,
            (None, _) => true,
            (Some(_), None) => false,
        })?;
    let stream = StreamRef { track: row, spatial: u8::try_from(spatial).ok()?, role };
    peer.learn(header.ssrc, stream).then_some(stream)
}

/// Finds a packet's place in its rtp stream, which may begin anew under this packet's SSRC.
fn place(peer: &mut Peer, track: &mut Track, now: Timestamp, opened: Opened) -> Option<Opened> {
    let ssrc = opened.header.ssrc;
    if opened.stream.role == Role::Rtx {
        return Some(opened);
    }
    let stream = track.streams.get_mut(usize::from(opened.stream.spatial))?;
    if stream.newest.is_some() && stream.spec.ssrc != Some(ssrc) {
        peer.supersede(now, ssrc, opened.stream);
        stream.begin_anew();
    }
    stream.spec.ssrc = Some(ssrc);
    Some(Opened { index: stream.base + opened.index, ..opened })
}

/// Does the bookkeeping of a packet; `None` when it is not to be forwarded.
fn accept(
    peer: &mut Peer,
    track: &mut Track,
    now: Timestamp,
    entry: EntryId,
    payload: &[u8],
    opened: &Opened,
    refused: &mut Refused,
) -> Option<Packet> {
    let header = &opened.header;
    let muted = track.muted;
    track.wake(now);
    let stream = track.streams.get_mut(usize::from(opened.stream.spatial))?;
    let is_late = stream.newest > Some(opened.index);
    if opened.stream.role == Role::Media {
        let reception = stream
            .reception
            .get_or_insert_with(|| Reception::new(header.ssrc, opened.codec.clock_rate()));
        reception.packet(opened.index, header.timestamp, now);
        stream.newest = stream.newest.max(Some(opened.index));
    }
    let sequence = sequence::low_bits(opened.index);
    // What is sent again comes after what was sent later. Else it is of the numbers that the stream had before.
    if opened.stream.role == Role::Rtx && !stream.nack.lacks(sequence) {
        return None;
    }
    let arrival = stream.nack.received(sequence, now);
    if matches!(arrival, Arrival::Duplicate | Arrival::Stale) {
        return None;
    }
    let len = payload.len() + header.header_len;
    // It counts as received: to ask for it again would bring yet more.
    if track.kind == TrackKind::Audio && !may_bring(peer, &mut track.sound, now, opened.codec, len)
    {
        refused.sound += 1;
        return None;
    }
    stream.packet(now, payload.len());
    if let Some(level) = opened.level {
        track.level.packet(if muted { 127 } else { level }, header.timestamp);
    }
    if muted {
        return None;
    }
    let facts = Facts::of(opened.codec, payload, header.marker);
    if facts.keyframe && track.kind == TrackKind::Video {
        stream.keyframe(opened.index, header.timestamp, is_late);
    }
    if header.marker && !is_late {
        track.picture(opened.stream.spatial);
    }
    Some(Packet {
        track: opened.stream.track,
        spatial: opened.stream.spatial,
        entry,
        payload_at: u16::try_from(opened.payload_at).ok()?,
        payload_len: u16::try_from(payload.len()).ok()?,
        index: opened.index,
        is_late,
        timestamp: header.timestamp,
        marker: header.marker,
        codec: opened.codec,
        facts,
        vp8: if opened.codec == Codec::Vp8 { vp8::Descriptor::parse(payload) } else { None },
    })
}

/// Takes that much sound from what a track may bring, and from what its publisher may with all of them.
fn may_bring(
    peer: &mut Peer,
    of_track: &mut Ration,
    now: Timestamp,
    codec: Codec,
    bytes: usize,
) -> bool {
    of_track.take(now, sound_rate_max(codec).time_of(bytes as u64))
        && peer.sound.take(now, limits::SOUND_RATE_MAX.time_of(bytes as u64))
}
