//! RTCP of peers, and what follows from it: retransmissions, key frames, what the way carries.

use std::time::Duration;

use model::{Codec, Timestamp, TrackKind};
use rtp::reception::MediaTime;
use rtp::rtcp::{self, ReportBlock, RtcpPacket, SenderReport};
use rtp::rtx::Resend;
use rtp::twcc::Feedback;

use super::arena::Memory;
use super::bounded::Bounded;
use super::peer::{Peer, Role};
use super::slab::Slab;
use super::subscription::Subscription;
use super::track::{Origin, Track};
use super::{Forward, OUR_SSRC, Outside, PeerSlot};
use crate::limits;

/// What one RTCP datagram of a peer asks for, gathered before anything is done about it.
#[derive(Default)]
struct Requests {
    /// (media SSRC, sequence number) of packets to send again.
    missing: Bounded<(u32, u16), { limits::NACKS_PER_DATAGRAM_MAX }>,
    /// Media SSRCs that need a key frame.
    keyframes: Bounded<u32, { limits::KEYFRAMES_PER_DATAGRAM_MAX }>,
}

impl<M: Memory> Forward<M> {
    pub(super) fn ingest_rtcp(
        &mut self,
        now: Timestamp,
        from: PeerSlot,
        datagram: &[u8],
        outside: &mut impl Outside,
    ) {
        let Some(peer) = self.peers.get_mut(from.0) else {
            return;
        };
        let Some(bytes) = self.scratch.get_mut(..datagram.len()) else {
            return;
        };
        bytes.copy_from_slice(datagram);
        let Some((receiver, _)) = peer.keys.as_mut() else {
            return;
        };
        let len = match receiver.unprotect_rtcp(bytes) {
            Ok(len) => len,
            Err(error) => return self.refused.note(error),
        };
        let mut requests = Requests::default();
        let mut feedbacks = 0;
        for packet in rtcp::packets(bytes.get(..len).unwrap_or_default()).flatten() {
            match packet {
                RtcpPacket::SenderReport(report, blocks) => {
                    heed_sender_report(peer, &mut self.tracks, now, &report);
                    heed_blocks(peer, &mut self.subscriptions, now, blocks.iter());
                }
                RtcpPacket::ReceiverReport { blocks, .. } => {
                    heed_blocks(peer, &mut self.subscriptions, now, blocks.iter());
                }
                RtcpPacket::TransportFeedback(feedback)
                    if feedbacks < limits::FEEDBACKS_PER_DATAGRAM_MAX =>
                {
                    feedbacks += 1;
                    if !heed_transport_feedback(peer, now, feedback.fci) {
                        self.refused.feedbacks += 1;
                    }
                }
                RtcpPacket::Nack(nacks) => nacks
                    .sequence_numbers()
                    .take(limits::NACKS_PER_DATAGRAM_MAX)
                    .for_each(|sequence| requests.missing.add((nacks.media_ssrc, sequence))),
                RtcpPacket::PictureLoss { media_ssrc, .. } => requests.keyframes.add(media_ssrc),
                RtcpPacket::FullIntraRequest(request) => request
                    .entries()
                    .take(limits::KEYFRAMES_PER_DATAGRAM_MAX)
                    .for_each(|entry| requests.keyframes.add(entry.ssrc)),
                RtcpPacket::TransportFeedback(_)
                | RtcpPacket::Bye(_)
                | RtcpPacket::Remb(_)
                | RtcpPacket::Other { .. } => {}
            }
        }
        bytes.fill(0);
        self.heed(now, from, &requests, outside);
        self.hand_over(outside);
    }

    fn heed(
        &mut self,
        now: Timestamp,
        from: PeerSlot,
        requests: &Requests,
        outside: &mut impl Outside,
    ) {
        let Some(rtt) = self.peers.get(from.0).map(|peer| peer.rtt) else {
            return;
        };
        for &(ssrc, sequence) in requests.missing.items() {
            if let Some(row) = self.received_as(from, ssrc)
                && !self.repair(now, row, sequence, rtt, outside)
            {
                self.go_on_without(now, row, sequence, outside);
            }
        }
        for &ssrc in requests.keyframes.items() {
            let row = self.received_as(from, ssrc);
            if let Some(subscription) = row.and_then(|row| self.subscriptions.get_mut(row))
                && let Some(spatial) = subscription.layer_asked(now)
            {
                let (track, due) = (subscription.track, subscription.patience.due(now));
                self.want_keyframe_at(due, now, track, spatial, outside);
            }
        }
    }

    /// Sends a packet again that a receiver misses; `false` when it does not have it soon.
    fn repair(
        &mut self,
        now: Timestamp,
        row: u32,
        sequence: u16,
        rtt: Duration,
        outside: &mut impl Outside,
    ) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(row) else {
            return true;
        };
        let has_room = subscription.may_resend();
        match subscription.sent.resend(sequence, now, rtt, has_room) {
            Resend::Granted(sent) => {
                if self.egress.is_full() {
                    self.hand_over(outside);
                }
                self.resend(now, row, &sent).is_some()
            }
            Resend::TooSoon => true,
            Resend::Refused => {
                self.refused.over_share += 1;
                false
            }
            Resend::Exhausted | Resend::Unknown => false,
        }
    }

    /// Asks for the key frame with which a picture goes on that lacks a packet: its receiver would stand still, and
    /// ask for it after seconds.
    fn go_on_without(
        &mut self,
        now: Timestamp,
        row: u32,
        sequence: u16,
        outside: &mut impl Outside,
    ) {
        if let Some(subscription) = self.subscriptions.get_mut(row)
            && let Some(spatial) = subscription.layer_lacking(sequence)
        {
            let (track, due) = (subscription.track, subscription.patience.due(now));
            self.want_keyframe_at(due, now, track, spatial, outside);
        }
    }

    /// The subscription that a peer receives under this SSRC.
    fn received_as(&self, peer: PeerSlot, ssrc: u32) -> Option<u32> {
        self.peers.get(peer.0)?.subscriptions.iter().copied().find(|&row| {
            self.subscriptions.get(row).is_some_and(|subscription| subscription.spec.ssrc == ssrc)
        })
    }

    /// Asks the publisher for a key frame, as soon as the last request is long enough ago.
    pub(super) fn want_keyframe(
        &mut self,
        now: Timestamp,
        row: u32,
        spatial: u8,
        outside: &mut impl Outside,
    ) {
        self.want_keyframe_at(now, now, row, spatial, outside);
    }

    /// The same not before `due`, unless one comes until then.
    fn want_keyframe_at(
        &mut self,
        due: Timestamp,
        now: Timestamp,
        row: u32,
        spatial: u8,
        outside: &mut impl Outside,
    ) {
        let Some(track) = self.tracks.get_mut(row) else {
            return;
        };
        let (id, origin, muted) = (track.id, track.origin, track.muted);
        let Some(stream) = track.streams.get_mut(usize::from(spatial)) else {
            return;
        };
        // A camera that is off would make a key frame of nothing for each request.
        if muted {
            return;
        }
        let due = stream.keyframe_asked.map_or(due, |at| due.max(at + limits::KEYFRAME_INTERVAL));
        if now < due {
            let wanted = stream.keyframe_wanted.map_or(due, |before| before.min(due));
            stream.keyframe_wanted = Some(wanted);
            return;
        }
        match origin {
            Origin::Worker(worker) => {
                stream.keyframe_asked = Some(now);
                stream.keyframe_wanted = None;
                outside.want_keyframe(worker, id, spatial);
            }
            Origin::Peer(peer) => {
                let Some(ssrc) = stream.spec.ssrc else {
                    return;
                };
                stream.keyframe_asked = Some(now);
                stream.keyframe_wanted = None;
                self.send_rtcp(PeerSlot(peer), outside, |writer| {
                    writer.picture_loss(OUR_SSRC, ssrc)
                });
            }
        }
    }
}

fn heed_sender_report(
    peer: &Peer,
    tracks: &mut Slab<Track>,
    now: Timestamp,
    report: &SenderReport,
) {
    let Some(place) = peer.ssrcs.get(&report.ssrc).filter(|place| place.role == Role::Media) else {
        return;
    };
    let Some(track) = tracks.get_mut(place.track) else {
        return;
    };
    let kind = track.kind;
    if let Some(stream) = track.streams.get_mut(usize::from(place.spatial))
        && let Some(reception) = &mut stream.reception
    {
        reception.sender_report(report, now);
        stream.media_time = Some(MediaTime {
            ntp: report.ntp,
            rtp_timestamp: report.rtp_timestamp,
            at: now,
            clock_rate: match kind {
                TrackKind::Audio => Codec::Opus.clock_rate(),
                TrackKind::Video => Codec::Vp8.clock_rate(),
            },
        });
    }
}

fn heed_blocks(
    peer: &mut Peer,
    subscriptions: &mut Slab<Subscription>,
    now: Timestamp,
    blocks: impl Iterator<Item = ReportBlock>,
) {
    // Feedback tells more where packets are numbered: a report counts as lost what its publisher's way lost.
    let has_feedback = peer.downlink.as_ref().is_some_and(|downlink| downlink.has_feedback);
    for block in blocks {
        let mut rows = peer.subscriptions.iter();
        let Some(row) = rows.find(|&&row| {
            subscriptions.get(row).is_some_and(|subscription| subscription.spec.ssrc == block.ssrc)
        }) else {
            continue;
        };
        let Some(subscription) = subscriptions.get_mut(*row) else {
            continue;
        };
        let packets = subscription.packets.wrapping_sub(subscription.heard);
        subscription.heard = subscription.packets;
        if !has_feedback || !subscription.extensions.is_transport_wide() {
            let lost = u64::from(packets) * u64::from(block.fraction_lost);
            peer.loss_down.add(u32::try_from(lost.div_ceil(256)).unwrap_or(packets), packets);
        }
        if let Some(at) = subscription.reports.sent_at(block.last_sender_report) {
            // The report carried the publisher's clock, so the time is reckoned from our own note of it.
            let rtt = now.since(at).saturating_sub(block.held());
            peer.rtt = if peer.has_rtt { (peer.rtt * 7 + rtt) / 8 } else { rtt };
            peer.has_rtt = true;
            let rtt = peer.rtt;
            if let Some(downlink) = &mut peer.downlink {
                downlink.estimator.set_rtt(rtt);
            }
        }
    }
}

/// `false` when the feedback is refused: twenty bytes can tell of thousands of packets, so none is looked up before it
/// is clear that they were sent and that the peer has not asked for too much of this.
fn heed_transport_feedback(peer: &mut Peer, now: Timestamp, fci: &[u8]) -> bool {
    let (Some(feedback), Some(downlink)) = (Feedback::parse(fci), &mut peer.downlink) else {
        return false;
    };
    let downlink = &mut **downlink;
    downlink.has_feedback = true;
    let statuses = u32::from(feedback.status_count());
    let cost = limits::FEEDBACK_COST + limits::FEEDBACK_STATUS_COST * statuses;
    if !downlink.history.covers(downlink.transport_sequence, &feedback)
        || !downlink.feedback.take(now, cost)
    {
        return false;
    }
    let loss = &mut peer.loss_down;
    let results = downlink.history.results(now, &feedback).inspect(|result| {
        if result.was_lost {
            loss.found();
        } else {
            loss.add(u32::from(result.arrival.is_none()), 1);
        }
    });
    downlink.estimator.feedback(now, results);
    true
}
