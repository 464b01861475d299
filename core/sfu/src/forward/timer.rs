//! What is due: feedback to publishers, requests, reports, probes, expiry.
//!
//! Not here: what RTCP asks for (`feedback`), how a receiver's bandwidth is divided (`allocate`).

use std::time::Duration;

use model::{Layer, Timestamp, TrackKind};
use rtp::bwe::PROBE_DURATION;
use rtp::nack::Nack;
use rtp::rtcp::SenderReport;

use super::arena::Memory;
use super::bounded::Bounded;
use super::peer::Probe;
use super::send::PADDING_PACKET_LEN;
use super::{Forward, OUR_SSRC, Outside, PeerSlot};
use crate::Report;

/// Between two turns of the timer while anybody is here.
const TICK: Duration = Duration::from_millis(20);
/// The same of a probe, so that its padding is even.
const PROBE_TICK: Duration = Duration::from_millis(5);
/// The same for a peer that neither sends nor receives.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two sender or receiver reports to a peer.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two divisions of a receiver's bandwidth.
const ALLOCATE_INTERVAL: Duration = Duration::from_millis(200);
/// Between two words on a peer's quality.
const QUALITY_INTERVAL: Duration = Duration::from_secs(5);
/// NACK items in one datagram to a publisher.
const NACKS_OUT_MAX: usize = 64;
const CNAME: &[u8] = b"incamera";

impl<M: Memory> Forward<M> {
    /// Does what is due: feedback, requests, reports, layers, probes, expiry.
    pub fn handle_timeout(&mut self, now: Timestamp, outside: &mut impl Outside) {
        let is_for_probes = (self.next_probe..self.next_tick).contains(&now);
        let mut probing = std::mem::take(&mut self.probing);
        if is_for_probes {
            probing.retain(|&row| self.tick_probe(now, row, outside));
        } else {
            probing.clear();
            self.tick(now, &mut probing, outside);
        }
        self.hand_over(outside);
        self.next_probe = if probing.is_empty() { Timestamp::MAX } else { now + PROBE_TICK };
        self.probing = probing;
    }

    /// Looks at everything, and notes who probes.
    fn tick(&mut self, now: Timestamp, probing: &mut Vec<u32>, outside: &mut impl Outside) {
        for room in self.rooms.values_mut() {
            room.arena.expire(now);
        }
        for row in 0..self.tracks.len() {
            self.tick_track(now, row, outside);
        }
        for row in 0..self.peers.len() {
            if self.idle_until.get(row as usize).is_some_and(|until| now < *until) {
                continue;
            }
            self.tick_uplink(now, row, outside);
            self.tick_downlink(now, row, outside);
            if self.tick_probe(now, row, outside) {
                probing.push(row);
            }
            self.rest(now, row);
        }
        let rows = self.peers.len() as usize;
        if self.idle_until.len() > rows {
            self.idle_until.truncate(rows);
            self.idle_until.shrink_to(rows);
        }
        // As long as there is a history, its packets grow old.
        self.next_tick = if self.rooms.is_empty() { Timestamp::MAX } else { now + TICK };
    }

    /// Leaves a peer alone for a while that neither sends nor receives.
    fn rest(&mut self, now: Timestamp, row: u32) {
        let is_idle = self
            .peers
            .get(row)
            .is_none_or(|peer| peer.tracks.is_empty() && peer.subscriptions.is_empty());
        if is_idle {
            self.wake_at(now + IDLE_INTERVAL, row);
        }
    }

    /// The timer looks at a peer from then on.
    pub(super) fn wake_at(&mut self, at: Timestamp, row: u32) {
        let row = row as usize;
        if self.idle_until.len() <= row {
            self.idle_until.resize(row + 1, Timestamp::ZERO);
        }
        if let Some(place) = self.idle_until.get_mut(row) {
            *place = at;
        }
    }

    fn tick_track(&mut self, now: Timestamp, row: u32, outside: &mut impl Outside) {
        let Some(track) = self.tracks.get_mut(row) else {
            return;
        };
        let id = track.id;
        let mut wanted = [false; Layer::SPATIAL_MAX];
        let mut flows = [false; Layer::SPATIAL_MAX];
        for ((stream, wanted), flows) in track.streams.iter_mut().zip(&mut wanted).zip(&mut flows) {
            stream.measure(now, track.muted);
            *flows = stream.is_live(now);
            *wanted = stream.keyframe_wanted.is_some_and(|due| due <= now);
        }
        let level = if track.kind == TrackKind::Audio { track.level.poll(now) } else { None };
        let is_awaited = std::mem::take(&mut track.is_awaited);
        for &subscription in track.subscriptions.iter().filter(|_| is_awaited) {
            let subscription = self.subscriptions.get_mut(subscription);
            if let Some(spatial) = subscription.and_then(|it| it.awaits_keyframe(now, &self.peers))
                && let Some(wanted) = wanted.get_mut(usize::from(spatial))
            {
                *wanted = true;
            }
        }
        for (spatial, (wanted, flows)) in (0..).zip(wanted.into_iter().zip(flows)) {
            if wanted && flows {
                self.want_keyframe(now, row, spatial, outside);
            }
        }
        if let Some(level) = level {
            self.report(Report::Level { track: id, level });
        }
    }

    /// What a publisher is told: transport feedback, missing packets, receiver reports.
    fn tick_uplink(&mut self, now: Timestamp, row: u32, outside: &mut impl Outside) {
        loop {
            let Some(peer) = self.peers.get_mut(row) else {
                return;
            };
            let ssrc = peer.feedback_ssrc;
            let Some(feedback) = peer.feedback.as_mut() else { break };
            let mut fci = [0; rtp::limits::FEEDBACK_LEN_MAX];
            let Some(len) = feedback.poll(now, &mut fci) else { break };
            self.send_rtcp(PeerSlot(row), outside, |writer| {
                let fci = fci.get(..len).unwrap_or_default();
                writer.transport_feedback(OUR_SSRC, ssrc, fci)
            });
        }
        let Some(peer) = self.peers.get_mut(row) else {
            return;
        };
        let rtt = peer.rtt;
        let is_report_due = now.since(peer.reported) >= REPORT_INTERVAL;
        for at in 0..peer.tracks.len() {
            self.tick_streams(now, row, at, rtt, is_report_due, outside);
        }
    }

    fn tick_streams(
        &mut self,
        now: Timestamp,
        row: u32,
        at: usize,
        rtt: Duration,
        is_report_due: bool,
        outside: &mut impl Outside,
    ) {
        for spatial in 0..Layer::SPATIAL_MAX {
            let track = self.peers.get(row).and_then(|peer| peer.tracks.get(at)).copied();
            let Some(stream) = track
                .and_then(|track| self.tracks.get_mut(track))
                .and_then(|track| track.streams.get_mut(spatial))
            else {
                return;
            };
            let Some(ssrc) = stream.spec.ssrc else {
                continue;
            };
            let mut nacks = Bounded::<_, NACKS_OUT_MAX>::of(Nack { pid: 0, blp: 0 });
            let given_up = stream.nack.poll(now, rtt, |nack| nacks.add(nack));
            let reception = stream.reception.as_mut().filter(|_| is_report_due);
            let (since, block) =
                reception.map_or(((0, 0), None), |it| (it.since_report(), it.report(now)));
            if let Some(peer) = self.peers.get_mut(row) {
                let (lost, expected) = since;
                peer.loss_up.add(lost, expected);
            }
            if block.is_some() || !nacks.items().is_empty() {
                self.send_rtcp(PeerSlot(row), outside, |writer| {
                    if let Some(block) = block {
                        writer.receiver_report(OUR_SSRC, &[block])?;
                    }
                    writer.nack(OUR_SSRC, ssrc, nacks.items()).map(drop)
                });
            }
            if let (Some(track), Some(sequence)) = (track, given_up) {
                self.give_up(now, track, spatial, sequence);
            }
        }
    }

    /// A packet of a stream will not come any more, which matters to those who have it, here or on another worker.
    fn give_up(&mut self, now: Timestamp, row: u32, spatial: usize, sequence: u16) {
        let Some(track) = self.tracks.get_mut(row) else {
            return;
        };
        let is_received = !track.relays.is_empty()
            || track.subscriptions.iter().any(|&row| {
                let current = self.subscriptions.get(row).and_then(|it| it.current);
                current.map(usize::from) == Some(spatial)
            });
        if track.kind == TrackKind::Video
            && is_received
            && let Some(stream) = track.streams.get_mut(spatial)
        {
            stream.give_up(now, sequence);
        }
    }

    /// What a receiver is told: sender reports; and what it can take is divided anew.
    fn tick_downlink(&mut self, now: Timestamp, row: u32, outside: &mut impl Outside) {
        let Some(peer) = self.peers.get_mut(row) else {
            return;
        };
        let is_report_due = now.since(peer.reported) >= REPORT_INTERVAL;
        if is_report_due {
            peer.reported = now;
        }
        if now.since(peer.quality_told) >= QUALITY_INTERVAL && peer.keys.is_some() {
            peer.quality_told = now;
            let report = Report::Quality {
                peer: peer.id,
                loss_up: peer.loss_up.judge(),
                loss_down: peer.loss_down.judge(),
                rtt_ms: peer
                    .has_rtt
                    .then(|| u32::try_from(peer.rtt.as_millis()).unwrap_or(u32::MAX)),
            };
            self.report(report);
        }
        let Some(peer) = self.peers.get(row) else {
            return;
        };
        let Some(downlink) = &peer.downlink else {
            return;
        };
        if downlink.allocated.is_none_or(|at| now.since(at) >= ALLOCATE_INTERVAL) {
            self.allocate(now, row, outside);
        }
        if is_report_due {
            self.report_sending(now, row, outside);
        }
    }

    fn report_sending(&mut self, now: Timestamp, row: u32, outside: &mut impl Outside) {
        let count = self.peers.get(row).map_or(0, |peer| peer.subscriptions.len());
        for at in 0..count {
            let place = self.peers.get(row).and_then(|peer| peer.subscriptions.get(at)).copied();
            let Some(subscription) = place.and_then(|row| self.subscriptions.get_mut(row)) else {
                return;
            };
            let media_time = subscription.current.and_then(|spatial| {
                let track = self.tracks.get(subscription.track)?;
                track.streams.get(usize::from(spatial))?.media_time
            });
            let Some(media_time) = media_time else {
                continue;
            };
            let (ntp, rtp_timestamp) = media_time.at(now);
            let report = SenderReport {
                ssrc: subscription.spec.ssrc,
                ntp,
                rtp_timestamp: rtp_timestamp.wrapping_add(subscription.timestamp_offset()),
                packets: subscription.packets,
                octets: subscription.octets,
            };
            subscription.reports.note(ntp.middle(), now);
            self.send_rtcp(PeerSlot(row), outside, |writer| {
                writer.sender_report(&report, &[])?;
                writer.cname(report.ssrc, CNAME)
            });
        }
    }

    /// Sends the padding of a running probe, or begins one; is one running?
    fn tick_probe(&mut self, now: Timestamp, row: u32, outside: &mut impl Outside) -> bool {
        let Some(peer) = self.peers.get_mut(row) else {
            return false;
        };
        let may_probe = peer
            .downlink
            .as_ref()
            .is_some_and(|downlink| downlink.probe.is_some() || downlink.estimator.may_probe(now));
        if !may_probe {
            return false;
        }
        let carrier = peer.subscriptions.iter().copied().find(|&row| {
            self.subscriptions.get(row).is_some_and(|subscription| {
                // A picture that is paused for want of bandwidth comes back by a probe alone, once all are.
                subscription.spec.rtx_payload_type.is_some()
                    && subscription.extensions.is_transport_wide()
                    && (subscription.current.is_some() || subscription.paused == Some(true))
            })
        });
        let (Some(carrier), Some(downlink)) = (carrier, &mut peer.downlink) else {
            return false;
        };
        if downlink.probe.is_none() {
            downlink.probe = downlink.estimator.probe_wanted(now).map(|rate| Probe {
                rate,
                since: now,
                until: now + PROBE_DURATION,
                sent: 0,
            });
        }
        let Some(probe) = downlink.probe else {
            return false;
        };
        if now >= probe.until {
            downlink.probe = None;
            return false;
        }
        let elapsed = u64::try_from((now.since(probe.since) + PROBE_TICK).as_micros());
        let due = probe.rate.as_bps().saturating_mul(elapsed.unwrap_or(0)) / 8_000_000;
        let mut missing = due.saturating_sub(probe.sent);
        while missing > u64::from(PADDING_PACKET_LEN) {
            if self.egress.is_full() {
                self.hand_over(outside);
            }
            let Some(len) = self.send_padding(now, carrier) else {
                break;
            };
            missing = missing.saturating_sub(len as u64);
        }
        true
    }
}
