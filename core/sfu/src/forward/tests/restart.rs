//! A publisher whose rtp stream begins anew under another SSRC, with numbers of its own.

use rtp::rtcp::{RtcpPacket, SenderReport, packets};

use super::*;

/// Where the numbers were and where they begin anew: below, just above, far above.
const RESTARTS: [(u64, u64); 3] = [(20_000, 7), (1_000, 1_100), (1_000, 60_000)];

fn is_asked(client: &mut Client, wire: &mut Wire, wanted: fn(&RtcpPacket<'_>) -> bool) -> bool {
    let (_, control) = client.receive(wire);
    control.iter().flat_map(|bytes| packets(bytes)).any(|packet| packet.as_ref().is_ok_and(wanted))
}

#[test]
fn sound_goes_on_under_another_ssrc_with_every_packet() {
    for (before, after) in RESTARTS {
        let (mut forward, mut wire, mut ada, mut ben) = sound_call();
        let send = |forward: &mut Forward<_>, wire: &mut Wire, ssrc, now, index| {
            let bytes = ada.seal(&Media { ssrc, ..sound(index, &[9; 80]) });
            ada.send(forward, wire, at(now), &bytes);
        };
        for n in 0..50 {
            send(&mut forward, &mut wire, 100, 20 * n, before + n);
        }
        for n in 0..50 {
            send(&mut forward, &mut wire, 555, 20 * (50 + n), after + n);
        }
        // What was on its way under the old one comes too late, and disturbs nothing.
        send(&mut forward, &mut wire, 100, 2000, before + 50);
        send(&mut forward, &mut wire, 555, 2000, after + 50);
        let (media, _) = ben.receive(&mut wire);
        assert_eq!(media.len(), 101, "after {before} came {after}");
        for pair in media.windows(2) {
            let [a, b] = [&pair[0].header, &pair[1].header];
            assert_eq!(b.sequence, a.sequence.wrapping_add(1));
            assert_eq!(b.timestamp.wrapping_sub(a.timestamp), 960);
        }
        forward.handle_timeout(at(2100), &mut wire);
        let missed = is_asked(&mut ada, &mut wire, |packet| matches!(packet, RtcpPacket::Nack(_)));
        assert!(!missed, "nothing is missing between the two");
    }
}

fn send(
    ada: &Client,
    forward: &mut Forward<Vec<u8>>,
    wire: &mut Wire,
    now: u64,
    media: &Media<'_>,
) {
    let bytes = ada.seal(media);
    ada.send(forward, wire, at(now), &bytes);
}

fn lost_picture(packet: &RtcpPacket<'_>) -> bool {
    matches!(packet, RtcpPacket::PictureLoss { media_ssrc: 555, .. })
}

#[test]
fn a_picture_goes_on_at_the_first_key_frame_under_another_ssrc() {
    for (before, after) in RESTARTS {
        let (mut forward, mut wire, mut ada, mut ben) = picture_call();
        for n in 0..30u16 {
            let payload = vp8(100 + n, n == 0, 1);
            let media = picture(2, before + u64::from(n), &payload);
            send(&ada, &mut forward, &mut wire, 33 * u64::from(n), &media);
        }
        ada.receive(&mut wire);
        for n in 1..30u16 {
            // The first key frame was lost, and another is asked for.
            let payload = vp8(9000 + n, n == 2, 2);
            let media = Media { ssrc: 555, ..picture(2, after + u64::from(n), &payload) };
            send(&ada, &mut forward, &mut wire, 1000 + 33 * u64::from(n), &media);
            if n == 1 {
                forward.handle_timeout(at(1040), &mut wire);
                assert!(is_asked(&mut ada, &mut wire, lost_picture));
            }
        }
        let (media, _) = ben.receive(&mut wire);
        let fills: Vec<_> = media.iter().map(|packet| packet.payload[299]).collect();
        assert_eq!(fills, [[1; 30].as_slice(), &[2; 28]].concat(), "after {before} came {after}");
        let id = |packet: &Received| u16::from_be_bytes([packet.payload[2], packet.payload[3]]);
        for pair in media.windows(2) {
            let [a, b] = [&pair[0].header, &pair[1].header];
            assert_eq!(b.sequence, a.sequence.wrapping_add(1));
            assert!((1..=10_000).contains(&b.timestamp.wrapping_sub(a.timestamp)));
            assert_eq!(id(&pair[1]), id(&pair[0]) + 1);
        }
    }
}

/// A retransmission of a packet of the largest layer.
fn again(ada: &Client, ssrc: u32, index: u64, original: u16) -> Vec<u8> {
    let payload = [&original.to_be_bytes()[..], &vp8(2, false, 3)].concat();
    ada.seal(&Media { payload_type: RTX, ssrc, ..picture(2, index, &payload) })
}

#[test]
fn what_is_lost_under_the_new_ssrc_is_repaired_and_repairs_of_the_old_come_too_late() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    for (ssrc, rtx_ssrc, first) in [(202, 302, 20_000u16), (555, 777, 7), (556, 778, 50_000)] {
        for (n, id) in [(0, 1), (2, 3)] {
            let payload = vp8(id, id == 1, 2);
            let media = Media { ssrc, ..picture(2, u64::from(first + n), &payload) };
            send(&ada, &mut forward, &mut wire, 5, &media);
        }
        let bytes = again(&ada, rtx_ssrc, 5, first + 1);
        ada.send(&mut forward, &mut wire, at(6), &bytes);
        if ssrc != 202 {
            let bytes = again(&ada, 302, u64::from(first), 20_005);
            ada.send(&mut forward, &mut wire, at(6), &bytes);
        }
        let (media, _) = ben.receive(&mut wire);
        let mut sequences: Vec<_> = media.iter().map(|packet| packet.header.sequence).collect();
        sequences.sort_unstable();
        assert!(sequences.len() == 3 && sequences.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
}

#[test]
fn however_often_an_ssrc_changes_a_bounded_number_is_remembered() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    // Each comes while the ones before may still be on their way.
    for n in 0..1000 {
        let media = Media { ssrc: 5000 + n, ..sound(7, &[9; 80]) };
        send(&ada, &mut forward, &mut wire, u64::from(n) * 20, &media);
    }
    assert_eq!(ben.receive(&mut wire).0.len(), 1000);
    let slot = forward.slot(ada.id).unwrap();
    assert!(forward.peers.get(slot.0).unwrap().ssrcs.len() <= 2 + 100);
}

#[test]
fn a_stream_may_come_back_to_the_ssrc_that_it_had() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    let (mut now, mut index) = (0, 100);
    for ssrc in [100, 555, 100, 555, 100] {
        for _ in 0..5 {
            let media = Media { ssrc, ..sound(index, &[9; 80]) };
            send(&ada, &mut forward, &mut wire, now, &media);
            (now, index) = (now + 20, index + 1);
        }
        now += 2_000;
    }
    assert_eq!(ben.receive(&mut wire).0.len(), 25);
}

#[test]
fn retransmissions_may_come_before_the_media_of_a_new_ssrc_and_keep_theirs() {
    for rtx_ssrc in [302, 777] {
        let (mut forward, mut wire, ada, mut ben) = picture_call();
        let first = picture(2, 20_000, &[]);
        let key = vp8(1, true, 2);
        send(&ada, &mut forward, &mut wire, 0, &Media { payload: &key, ..first });
        // Of a packet that is not missing: the SSRC is heard, and nothing comes of it.
        let early = again(&ada, rtx_ssrc, 5, 20_000);
        ada.send(&mut forward, &mut wire, at(1), &early);
        for (n, id) in [(0, 1), (2, 3)] {
            let payload = vp8(id, id == 1, 2);
            let media = Media { ssrc: 555, ..picture(2, 7 + n, &payload) };
            send(&ada, &mut forward, &mut wire, 5, &media);
        }
        ben.receive(&mut wire);
        let repair = again(&ada, rtx_ssrc, 6, 8);
        ada.send(&mut forward, &mut wire, at(6), &repair);
        assert_eq!(ben.receive(&mut wire).0.len(), 1, "under {rtx_ssrc}");
    }
}

#[test]
fn another_worker_forgets_the_clock_of_the_ssrc_that_a_stream_had() {
    let (mut forward, mut wire, mut ada, _) = sound_call();
    let (mut other, mut there, mut cy) =
        relayed_to(&mut forward, &mut wire, TrackKind::Audio, Codec::Opus);
    let is_report = |packet: &RtcpPacket<'_>| matches!(packet, RtcpPacket::SenderReport(..));
    for (n, ssrc, has_clock) in [(0, 100, false), (1, 100, true), (2, 555, false), (3, 555, true)] {
        let now = 2_000 * (n + 1);
        if has_clock {
            ada.rtcp(&mut forward, &mut wire, at(now), |writer| {
                let ntp = rtp::rtcp::NtpTime(u64::from(ssrc) << 32);
                let (rtp_timestamp, packets, octets) = (7 * ssrc, 1, 80);
                let report = SenderReport { ssrc, ntp, rtp_timestamp, packets, octets };
                writer.sender_report(&report, &[]).unwrap();
            });
        }
        send(&ada, &mut forward, &mut wire, now, &Media { ssrc, ..sound(1_000 + n, &[9; 80]) });
        for (packet, payload) in wire.relayed.drain(..) {
            other.relayed(at(now), &packet, &payload);
        }
        other.flush(at(now), &mut there);
        other.handle_timeout(at(now + 1), &mut there);
        assert_eq!(is_asked(&mut cy, &mut there, is_report), has_clock, "packet {n}");
    }
}
