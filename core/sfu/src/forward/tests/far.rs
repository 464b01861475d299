//! A receiver that is far away: what it misses comes again, and costs nobody a key frame.

use std::collections::BTreeMap;

use rtp::nack::Nack;
use rtp::rtcp::{NtpTime, ReportBlock, SenderReport};

use super::*;

const SSRC: u32 = 7020;
/// 333 packets a second, of which Ben misses one of so many.
const EVERY: u64 = 3;
const MISSES: u64 = 50;
/// How often Ben asks again for what has not come, as Chromium does.
const AGAIN: u64 = 100;

/// Of 10 s with this round trip: how many packets Ben missed, how many of them came again, how many key frames were
/// asked for once the round trip may be known, and what was said of it.
fn missed(round_trip: u64) -> (usize, usize, usize, Option<u32>) {
    let (mut forward, mut wire, mut ada, mut ben) = picture_call();
    // By their numbers: when the server hears of it first, and when no more.
    let mut missing: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
    let mut reports: BTreeMap<u64, u32> = BTreeMap::new();
    let (mut index, mut count, mut key_frames, mut told) = (1_000, 0, 0, None);
    let mut is_asked = true;
    for now in 1..=10_000 {
        if now % 1_000 == 0 {
            let ntp = NtpTime((now + 5_000) << 32);
            let rtp_timestamp = u32::try_from(now * 90).unwrap();
            let report = SenderReport { ssrc: 202, ntp, rtp_timestamp, packets: 1, octets: 1 };
            ada.rtcp(&mut forward, &mut wire, at(now), |writer| {
                writer.sender_report(&report, &[]).unwrap();
            });
        }
        if now % EVERY == 0 {
            let picture_id = u16::try_from(index & 0x7fff).unwrap();
            let payload = vp8(picture_id, std::mem::take(&mut is_asked), 7);
            let bytes = ada.seal(&picture(2, index, &payload));
            ada.send(&mut forward, &mut wire, at(now), &bytes);
            index += 1;
        }
        if at(now) >= forward.next_timeout() {
            forward.handle_timeout(at(now), &mut wire);
        }
        let (media, control) = ben.receive(&mut wire);
        for packet in media {
            if packet.header.ssrc == SSRC {
                count += 1;
                if count % MISSES == 0 {
                    missing.insert(packet.header.sequence, (now + round_trip, u64::MAX));
                }
            } else if let Some((number, _)) = rtp::rtx::parse(&packet.payload)
                && let Some((_, until)) = missing.get_mut(&number)
            {
                // It was sent in the millisecond before.
                *until = (*until).min(now - 1 + round_trip);
            }
        }
        for packet in control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok)) {
            if let RtcpPacket::SenderReport(report, _) = packet {
                reports.insert(now + round_trip, report.ntp.middle());
            }
        }
        if let Some(last_sender_report) = reports.remove(&now) {
            let block = ReportBlock { ssrc: SSRC, last_sender_report, ..ReportBlock::default() };
            ben.rtcp(&mut forward, &mut wire, at(now), |writer| {
                writer.receiver_report(1, &[block]).unwrap();
            });
        }
        for (&pid, &(from, until)) in &missing {
            if (from..until).contains(&now) && (now - from) % AGAIN == 0 {
                ben.rtcp(&mut forward, &mut wire, at(now), |writer| {
                    writer.nack(1, SSRC, &[Nack { pid, blp: 0 }]).unwrap();
                });
            }
        }
        let (_, control) = ada.receive(&mut wire);
        let asked = control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok));
        let asked = asked.filter(|packet| matches!(packet, RtcpPacket::PictureLoss { .. })).count();
        is_asked |= asked > 0;
        key_frames += if now > 1_000 + 4 * round_trip { asked } else { 0 };
        while let Some(report) = forward.poll_report() {
            if let Report::Quality { peer, rtt_ms, .. } = report {
                told = if peer == ben.id { rtt_ms } else { told };
            }
        }
    }
    let due = |&(_, &(from, _)): &(&u16, &(u64, u64))| from + round_trip < 10_000;
    let repaired = missing.iter().filter(due).filter(|(_, (_, until))| *until < u64::MAX);
    (missing.iter().filter(due).count(), repaired.count(), key_frames, told)
}

#[test]
fn what_a_receiver_misses_that_is_far_away_comes_again_without_a_key_frame() {
    for round_trip in [200, 400, 600, 1_100] {
        let (missing, repaired, key_frames, told) = missed(round_trip);
        assert!(missing >= 40, "{missing} were missed");
        // Those at the beginning let the memory of what was sent grow.
        assert!(repaired + 8 >= missing, "{repaired} of {missing} came again over {round_trip} ms");
        assert_eq!(key_frames, 0, "over {round_trip} ms");
        assert_eq!(told, u32::try_from(round_trip).ok());
    }
}
