//! RTCP both ways, and what follows from it: retransmissions, key frames, reports, layers.

use std::time::Duration;

use model::{Codec, DataRate, Layer, Timestamp, TrackKind};
use rtp::bwe::PROBE_DURATION;
use rtp::nack::Nack;
use rtp::reception::MediaTime;
use rtp::rtcp::{self, ReportBlock, RtcpPacket, SenderReport};
use rtp::rtx::Resend;
use rtp::twcc::Feedback;

use super::allocate::{Demand, allocate};
use super::arena::Memory;
use super::bounded::Bounded;
use super::peer::{INITIAL_ESTIMATE, Peer, Probe, Role};
use super::send::PADDING_PACKET_LEN;
use super::slab::Slab;
use super::subscription::Subscription;
use super::track::{Origin, Track, sound_rate_max};
use super::{Forward, OUR_SSRC, Outside, PeerSlot};
use crate::{Report, limits};

/// Between two turns of the timer while anybody is here.
const TICK: Duration = Duration::from_millis(20);
/// The same while a probe runs, so that its padding is even.
const PROBE_TICK: Duration = Duration::from_millis(5);
/// The same for a peer that neither sends nor receives.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Between two sender or receiver reports to a peer.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two divisions of a receiver's bandwidth.
const ALLOCATE_INTERVAL: Duration = Duration::from_millis(200);
/// Sending this much of what the way carries fills its queue faster than a new layer's key frame comes: the old layer
/// would keep that frame waiting, or crowd it out.
const FLOODED_PERCENT: u64 = 200;
/// Between two words on a peer's quality.
const QUALITY_INTERVAL: Duration = Duration::from_secs(5);
/// NACK items in one datagram to a publisher.
const NACKS_OUT_MAX: usize = 64;
const CNAME: &[u8] = b"incamera";

/// Reused by each allocation.
#[derive(Debug, Default)]
pub(super) struct Demands {
    rows: Vec<u32>,
    demands: Vec<Demand>,
    choices: Vec<Option<u8>>,
}

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
        for packet in rtcp::packets(bytes.get(..len).unwrap_or_default()).map_while(Result::ok) {
            match packet {
                RtcpPacket::SenderReport(report, blocks) => {
                    heed_sender_report(peer, &mut self.tracks, now, &report);
                    heed_blocks(peer, &self.subscriptions, now, blocks.iter());
                }
                RtcpPacket::ReceiverReport { blocks, .. } => {
                    heed_blocks(peer, &self.subscriptions, now, blocks.iter());
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
            let Some(row) = self.received_as(from, ssrc) else {
                continue;
            };
            let Some(subscription) = self.subscriptions.get_mut(row) else {
                continue;
            };
            if !subscription.may_resend() {
                self.refused.over_share += 1;
                continue;
            }
            if let Resend::Granted(sent) = subscription.sent.resend(sequence, now, rtt) {
                if self.egress.is_full() {
                    self.hand_over(outside);
                }
                self.resend(now, row, &sent);
            }
        }
        for &ssrc in requests.keyframes.items() {
            let place = self
                .received_as(from, ssrc)
                .and_then(|row| self.subscriptions.get(row))
                .and_then(|row| Some((row.track, row.current.or(Some(row.target?.spatial))?)));
            if let Some((track, spatial)) = place {
                self.want_keyframe(now, track, spatial, outside);
            }
        }
    }

    /// The subscription that a peer receives under this SSRC.
    fn received_as(&self, peer: PeerSlot, ssrc: u32) -> Option<u32> {
        self.peers.get(peer.0)?.subscriptions.iter().copied().find(|&row| {
            self.subscriptions.get(row).is_some_and(|subscription| subscription.spec.ssrc == ssrc)
        })
    }

    /// Asks the publisher for a key frame, as soon as the last request is long enough ago.
    fn want_keyframe(&mut self, now: Timestamp, row: u32, spatial: u8, outside: &mut impl Outside) {
        let Some(track) = self.tracks.get_mut(row) else {
            return;
        };
        let (id, origin) = (track.id, track.origin);
        let Some(stream) = track.streams.get_mut(usize::from(spatial)) else {
            return;
        };
        if stream.keyframe_asked.is_some_and(|at| now.since(at) < limits::KEYFRAME_INTERVAL) {
            stream.keyframe_wanted = true;
            return;
        }
        match origin {
            Origin::Worker(worker) => {
                stream.keyframe_asked = Some(now);
                stream.keyframe_wanted = false;
                outside.want_keyframe(worker, id, spatial);
            }
            Origin::Peer(peer) => {
                let Some(ssrc) = stream.spec.ssrc else {
                    return;
                };
                stream.keyframe_asked = Some(now);
                stream.keyframe_wanted = false;
                self.send_rtcp(PeerSlot(peer), outside, |writer| {
                    writer.picture_loss(OUR_SSRC, ssrc)
                });
            }
        }
    }

    /// Does what is due: feedback, requests, reports, layers, probes, expiry.
    pub fn handle_timeout(&mut self, now: Timestamp, outside: &mut impl Outside) {
        for room in self.rooms.values_mut() {
            room.arena.expire(now);
        }
        let mut probing = false;
        for row in 0..self.tracks.len() {
            self.tick_track(now, row, outside);
        }
        for row in 0..self.peers.len() {
            if self.idle_until.get(row as usize).is_some_and(|until| now < *until) {
                continue;
            }
            self.tick_uplink(now, row, outside);
            self.tick_downlink(now, row, outside);
            probing |= self.tick_probe(now, row, outside);
            self.rest(now, row);
        }
        self.hand_over(outside);
        // As long as there is a history, its packets grow old.
        self.next_tick = if self.rooms.is_empty() {
            Timestamp::MAX
        } else {
            now + if probing { PROBE_TICK } else { TICK }
        };
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
            stream.measure(now);
            *flows = !track.muted && stream.is_live(now);
            *wanted = stream.keyframe_wanted;
        }
        let level = if track.kind == TrackKind::Audio { track.level.poll(now) } else { None };
        for &subscription in &track.subscriptions {
            if let Some(spatial) =
                self.subscriptions.get(subscription).and_then(|row| row.awaits_keyframe())
                && let Some(wanted) = wanted.get_mut(usize::from(spatial))
            {
                *wanted = true;
            }
        }
        for (spatial, (wanted, flows)) in (0..).zip(wanted.into_iter().zip(flows)) {
            // A camera that is off would make a key frame of nothing for each request.
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
            stream.nack.poll(now, rtt, |nack| nacks.add(nack));
            let block = if is_report_due {
                stream.reception.as_mut().and_then(|reception| reception.report(now))
            } else {
                None
            };
            if let (Some(block), Some(peer)) = (&block, self.peers.get_mut(row)) {
                peer.loss_up = peer.loss_up.max(block.fraction_lost);
            }
            if block.is_some() || !nacks.items().is_empty() {
                self.send_rtcp(PeerSlot(row), outside, |writer| {
                    if let Some(block) = block {
                        writer.receiver_report(OUR_SSRC, &[block])?;
                    }
                    writer.nack(OUR_SSRC, ssrc, nacks.items()).map(drop)
                });
            }
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
                loss_up: f32::from(std::mem::take(&mut peer.loss_up)) / 256.0,
                loss_down: f32::from(std::mem::take(&mut peer.loss_down)) / 256.0,
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
            subscription.reported = Some((ntp.middle(), now));
            self.send_rtcp(PeerSlot(row), outside, |writer| {
                writer.sender_report(&report, &[])?;
                writer.cname(report.ssrc, CNAME)
            });
        }
    }

    /// Divides what a receiver can take among its subscriptions.
    pub(super) fn allocate(&mut self, now: Timestamp, row: u32, outside: &mut impl Outside) {
        let mut demands = std::mem::take(&mut self.demands);
        demands.rows.clear();
        demands.demands.clear();
        let Some(peer) = self.peers.get_mut(row) else {
            self.demands = demands;
            return;
        };
        let (mut sound, mut wished) = (DataRate::ZERO, DataRate::ZERO);
        let mut sending = DataRate::ZERO;
        for &at in &peer.subscriptions {
            let Some(subscription) = self.subscriptions.get_mut(at) else {
                continue;
            };
            let Some(track) = self.tracks.get(subscription.track) else {
                continue;
            };
            if track.kind == TrackKind::Audio {
                match subscription.spec.limit {
                    Some(layer) => subscription.target = Some(layer),
                    None => subscription.stop(),
                }
                // What it brings at once is no reason to stop a picture.
                let most = sound_rate_max(subscription.spec.codec);
                sound = sound.saturating_add(track.rate(0).min(most));
                continue;
            }
            let Some(best) =
                subscription.spec.limit.and_then(|wanted| track.best_layer(now, wanted))
            else {
                subscription.stop();
                continue;
            };
            let demand = demand(track, now, best, subscription.current);
            sending = sending.saturating_add(demand.sending());
            wished = wished.saturating_add(track.rate(best.spatial));
            demands.rows.push(at);
            demands.demands.push(demand);
        }
        let downlink = peer.downlink();
        downlink.allocated = Some(now);
        let cap = downlink.cap.unwrap_or(DataRate::MAX);
        downlink.estimator.set_demand(wished.saturating_add(sound).min(cap));
        let carries =
            if downlink.has_feedback { downlink.estimator.estimate() } else { DataRate::MAX };
        let carries = carries.min(cap);
        let budget = carries.saturating_sub(sound);
        allocate(budget, &demands.demands, &mut demands.choices);
        // What is merely assumed of the way is no reason to stop a picture.
        let is_flooded = carries < INITIAL_ESTIMATE && sending > budget.percent(FLOODED_PERCENT);
        for (&at, &choice) in demands.rows.iter().zip(&demands.choices) {
            if is_flooded && let Some(subscription) = self.subscriptions.get_mut(at) {
                subscription.fall(choice);
            }
            self.choose(now, at, choice, outside);
        }
        self.demands = demands;
    }

    fn choose(&mut self, now: Timestamp, row: u32, choice: Option<u8>, outside: &mut impl Outside) {
        let Some(subscription) = self.subscriptions.get_mut(row) else {
            return;
        };
        let id = subscription.spec.subscription;
        let temporal = subscription.spec.limit.map_or(0, |layer| layer.temporal);
        let was_paused = subscription.paused;
        subscription.paused = choice.is_none();
        match choice {
            Some(spatial) => subscription.target = Some(Layer { spatial, temporal }),
            None => subscription.stop(),
        }
        let (paused, track) = (subscription.paused, subscription.track);
        if let Some(spatial) = subscription.awaits_keyframe() {
            self.want_keyframe(now, track, spatial, outside);
        }
        if paused != was_paused {
            self.report(Report::Bandwidth { subscription: id, paused });
        }
    }

    /// Sends the padding of a running probe, or begins one; is one running?
    fn tick_probe(&mut self, now: Timestamp, row: u32, outside: &mut impl Outside) -> bool {
        let Some(peer) = self.peers.get_mut(row) else {
            return false;
        };
        let carrier = peer.subscriptions.iter().copied().find(|&row| {
            self.subscriptions.get(row).is_some_and(|subscription| {
                subscription.spec.rtx_payload_type.is_some()
                    && subscription.extensions.is_transport_wide()
                    && subscription.current.is_some()
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

fn demand(track: &Track, now: Timestamp, best: Layer, current: Option<u8>) -> Demand {
    let mut rates = [DataRate::ZERO; Layer::SPATIAL_MAX];
    for (rate, stream) in rates.iter_mut().zip(&track.streams) {
        if stream.is_live(now) {
            // A layer that has just begun has no rate yet, and is no less there.
            *rate = stream.rate.max(DataRate::from_bps(1));
        }
    }
    Demand { rates, best: best.spatial, current }
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
    subscriptions: &Slab<Subscription>,
    now: Timestamp,
    blocks: impl Iterator<Item = ReportBlock>,
) {
    for block in blocks {
        peer.loss_down = peer.loss_down.max(block.fraction_lost);
        let reported = peer.subscriptions.iter().find_map(|&row| {
            let subscription = subscriptions.get(row)?;
            let (middle, at) = subscription.reported?;
            (subscription.spec.ssrc == block.ssrc && middle == block.last_sender_report)
                .then_some(at)
        });
        if let Some(at) = reported {
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
    downlink.estimator.feedback(now, downlink.history.results(now, &feedback));
    true
}
