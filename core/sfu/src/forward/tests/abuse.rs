//! What a participant gets who asks for too much: a fixed share, at nobody else's expense.

use std::collections::{BTreeMap, BTreeSet};

use rtp::nack::Nack;
use rtp::twcc::FeedbackRecorder;

use super::*;

/// Under which Ben receives Ada's picture.
const SSRC: u32 = 7020;

/// Bytes that wait for a client.
fn bytes_to(wire: &Wire, port: u16) -> usize {
    wire.sent.iter().filter(|(to, _)| *to == port).map(|(_, bytes)| bytes.len()).sum()
}

/// Ben asks for all of the last 340 packets again every other millisecond, of which Ada sends one each `every`
/// milliseconds. How many came twice, and by how many bytes more than was sent at first.
fn asked_on_end(every: u64, until: u64) -> (u64, usize, usize, BTreeMap<u16, u32>) {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let (mut sent, mut first) = (0, None);
    let (mut bytes_first, mut bytes_again, mut times) = (0, 0, BTreeMap::new());
    for now in 1..until {
        if now % every == 0 {
            let keyframe = sent == 0;
            let bytes = ada.seal(&picture(
                2,
                1000 + sent,
                &[&vp8(2, keyframe, 7)[..], &[7; 1000]].concat(),
            ));
            let before = bytes_to(&wire, ben.port);
            ada.send(&mut forward, &mut wire, at(now), &bytes);
            bytes_first += bytes_to(&wire, ben.port) - before;
            sent += 1;
        }
        let (media, _) = ben.receive(&mut wire);
        for packet in media.iter().filter(|packet| packet.header.ssrc != SSRC) {
            let original = u16::from_be_bytes(*packet.payload.first_chunk().unwrap());
            *times.entry(original).or_insert(0) += 1;
        }
        let own = media.iter().find(|packet| packet.header.ssrc == SSRC);
        first = first.or(own.map(|packet| packet.header.sequence));
        let (Some(first), 0) = (first, now % 2) else { continue };
        let newest = first.wrapping_add(u16::try_from(sent).unwrap());
        let again = wire.again.bytes;
        ben.rtcp(&mut forward, &mut wire, at(now), |writer| {
            for n in 0..20_u16 {
                let pid = newest.wrapping_sub(17 * (n + 1));
                writer.nack(1, SSRC, &[Nack { pid, blp: 0xffff }]).unwrap();
            }
        });
        bytes_again += usize::try_from(wire.again.bytes - again).unwrap();
    }
    (sent, bytes_first, bytes_again, times)
}

#[test]
fn asking_for_every_packet_on_end_gets_each_three_times_at_most() {
    // So few that their share is not what bounds them.
    let (sent, _, _, times) = asked_on_end(200, 3_000);
    assert_eq!(times.len(), usize::try_from(sent).unwrap(), "each came again");
    assert_eq!(times.values().max(), Some(&3));
}

#[test]
fn asking_for_every_packet_on_end_gets_a_fifth_of_what_was_sent() {
    let (_, bytes_first, bytes_again, _) = asked_on_end(4, 20_000);
    assert!(bytes_first > 4_000_000, "{bytes_first}");
    let most = bytes_first / 5 + 65_536 + 1_500;
    assert!((most - 10_000..=most).contains(&bytes_again), "{bytes_again} of {bytes_first}");
}

#[test]
fn what_was_refused_is_counted() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let mut first = None;
    for now in 1..400 {
        let bytes =
            ada.seal(&picture(2, 999 + now, &[&vp8(2, now == 1, 7)[..], &[7; 1000]].concat()));
        ada.send(&mut forward, &mut wire, at(now), &bytes);
        first = first.or(ben.receive(&mut wire).0.first().map(|packet| packet.header.sequence));
    }
    let newest = first.unwrap().wrapping_add(398);
    for n in 0..10_u16 {
        ben.rtcp(&mut forward, &mut wire, at(400), |writer| {
            writer.nack(1, SSRC, &[Nack { pid: newest - 17 * (n + 1), blp: 0xffff }]).unwrap();
        });
    }
    assert!(forward.take_refused().over_share > 0);
}

/// Whether one of ten datagrams is lost.
struct Loss(u32);

impl Loss {
    fn strikes(&mut self) -> bool {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16).is_multiple_of(10)
    }
}

/// What a receiver misses of a stream, and when and how often it asked, as libwebrtc does.
#[derive(Default)]
struct Missing {
    newest: Option<u16>,
    asked: BTreeMap<u16, (u64, u32)>,
}

impl Missing {
    fn come(&mut self, sequence: u16) {
        let newest = *self.newest.get_or_insert(sequence);
        let ahead = sequence.wrapping_sub(newest);
        if ahead < 0x8000 {
            for gap in 1..ahead {
                self.asked.insert(newest.wrapping_add(gap), (0, 0));
            }
            self.newest = Some(sequence);
        }
        self.asked.remove(&sequence);
    }

    /// What to ask for: once a round trip, ten times at most.
    fn due(&mut self, now: u64, rtt: u64) -> Vec<u16> {
        let due = self.asked.iter_mut().filter(|(_, (at, tries))| *tries < 10 && now >= *at + rtt);
        due.map(|(sequence, (at, tries))| {
            (*at, *tries) = (now, *tries + 1);
            *sequence
        })
        .collect()
    }
}

#[test]
fn a_tenth_that_is_lost_both_ways_over_200_ms_is_repaired() {
    const WAY: u64 = 100;
    const PACKETS: u64 = 6_000;
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let (mut loss, mut missing) = (Loss(7), Missing::default());
    let mut down: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    let mut up: BTreeMap<u64, Vec<u16>> = BTreeMap::new();
    let (mut come, mut sent) = (BTreeSet::new(), 0);
    for now in 1..PACKETS * 5 + 2_000 {
        if now % 5 == 0 && sent < PACKETS {
            let payload = [&vp8(2, sent == 0, 7)[..], &[7; 900]].concat();
            let bytes = ada.seal(&picture(2, 1000 + sent, &payload));
            ada.send(&mut forward, &mut wire, at(now), &bytes);
            sent += 1;
        }
        for asked in up.remove(&now).unwrap_or_default() {
            ben.rtcp(&mut forward, &mut wire, at(now), |writer| {
                writer.nack(1, SSRC, &[Nack { pid: asked, blp: 0 }]).unwrap();
            });
        }
        let leaving = wire.sent.extract_if(.., |(port, _)| *port == ben.port);
        let arriving: Vec<_> =
            leaving.map(|(_, bytes)| bytes).filter(|_| !loss.strikes()).collect();
        down.entry(now + WAY).or_default().extend(arriving);
        for bytes in down.remove(&now).unwrap_or_default() {
            wire.sent.push((ben.port, bytes));
        }
        for packet in ben.receive(&mut wire).0 {
            let sequence = if packet.header.ssrc == SSRC {
                packet.header.sequence
            } else {
                u16::from_be_bytes(*packet.payload.first_chunk().unwrap())
            };
            missing.come(sequence);
            come.insert(sequence);
        }
        if now % 20 == 0 && !loss.strikes() {
            up.entry(now + WAY).or_default().extend(missing.due(now, 2 * WAY));
        }
    }
    // Lost and sent again three times in vain: one of ten thousand; and those at the end, of which nobody knows.
    let lost = sent - u64::try_from(come.len()).unwrap();
    assert!(lost <= 6, "{lost} of {sent}");
    assert_eq!(forward.take_refused().over_share, 0, "its share is enough");
    let again = wire.again.packets * 100 / sent;
    assert!((9..=15).contains(&again), "{again} %");
}

#[test]
fn asking_for_pictures_on_end_reaches_the_publisher_now_and_then() {
    let (mut forward, mut wire, mut ada, mut ben) = picture_call();
    let (mut asked, mut index) = (0_usize, 1000);
    for now in 1..3_000 {
        if now % 20 == 0 {
            let bytes = ada.seal(&picture(2, index, &vp8(2, index == 1000, 7)));
            ada.send(&mut forward, &mut wire, at(now), &bytes);
            index += 1;
        }
        ben.receive(&mut wire);
        ben.rtcp(&mut forward, &mut wire, at(now), |writer| {
            writer.picture_loss(1, SSRC).unwrap();
        });
        forward.handle_timeout(at(now), &mut wire);
        let (_, control) = ada.receive(&mut wire);
        let all = control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok));
        asked += all.filter(|packet| matches!(packet, RtcpPacket::PictureLoss { .. })).count();
    }
    // At once, and then every half second.
    assert_eq!(asked, 6, "requests reached ada");
}

/// When Ada, who sends a key frame 50 ms after each request, is asked for one of the layer that Ben and Cy receive.
/// Whether they ask is said of the time, in turns of 20 ms.
fn asked_of_ada(until: u64, asks: impl Fn(u64) -> [bool; 2]) -> Vec<u64> {
    let (mut forward, mut wire, mut ada, ben) = picture_call();
    let cy = Client::join(&mut forward, &mut wire, 30);
    forward.instruct(at(2), subscription(TRACK, cy.id, Codec::Vp8), &mut wire);
    let mut receivers = [(ben, SSRC), (cy, 7030)];
    let (mut asked, mut is_begun) = (Vec::new(), false);
    for now in (20..until).step_by(20) {
        let is_due = asked.last().is_some_and(|at| (40..60).contains(&(now - at)));
        is_begun |= is_due;
        let bytes = ada.seal(&picture(2, 1_000 + now / 20, &vp8(2, is_due, 7)));
        ada.send(&mut forward, &mut wire, at(now), &bytes);
        for ((receiver, ssrc), asks) in receivers.iter_mut().zip(asks(now)) {
            receiver.receive(&mut wire);
            if asks && is_begun {
                receiver.rtcp(&mut forward, &mut wire, at(now), |writer| {
                    writer.picture_loss(1, *ssrc).unwrap();
                });
            }
        }
        forward.handle_timeout(at(now), &mut wire);
        let (_, control) = ada.receive(&mut wire);
        let mut all = control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok));
        if all.any(|it| matches!(it, RtcpPacket::PictureLoss { media_ssrc: 202, .. })) {
            asked.push(now);
        }
    }
    asked
}

/// Most likely they have another channel key, of which nobody here knows.
#[test]
fn those_who_can_use_no_key_frame_have_one_sent_every_two_seconds() {
    for asks in [[true, false], [true, true]] {
        let asked = asked_of_ada(40_000, |_| asks);
        let steps: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps[..3].is_sorted() && steps[0] <= 600, "{steps:?}");
        // Whoever can use one at last has it by then.
        assert!(steps[3..].iter().all(|step| (2_000..2_200).contains(step)), "{steps:?}");
    }
}

#[test]
fn who_has_asked_for_nothing_for_a_while_and_others_are_not_kept_waiting() {
    let asked = asked_of_ada(40_000, |now| {
        [(0..15_000).contains(&now) || (30_000..30_020).contains(&now), now == 14_000]
    });
    let next = |from: u64| asked.iter().copied().find(|at| *at >= from).unwrap();
    assert!(next(14_000) < 14_540, "another's wish: {asked:?}");
    assert_eq!(next(16_500), 30_000, "{asked:?}");
}

#[test]
fn nonsense_for_feedback_brings_no_more_than_it_costs() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let bytes = ada.seal(&picture(2, 1000, &vp8(2, true, 7)));
    ada.send(&mut forward, &mut wire, at(1), &bytes);
    ben.receive(&mut wire);
    let (mut brought, mut cost) = (0, 0);
    let mut noise = 7_u32;
    for now in 2..5_000 {
        let fci: Vec<u8> = (0..64)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                noise.to_be_bytes()[0]
            })
            .collect();
        cost += fci.len();
        ben.rtcp(&mut forward, &mut wire, at(now), |writer| {
            writer.transport_feedback(1, SSRC, &fci).unwrap();
        });
        forward.handle_timeout(at(now), &mut wire);
        brought += bytes_to(&wire, ben.port);
        ben.receive(&mut wire);
    }
    assert!(brought <= cost, "{brought} bytes for {cost}");
}

/// What a feedback says that tells in one run of so many packets that all were lost.
fn all_lost(base: u16, count: u16) -> Vec<u8> {
    let [[b0, b1], [c0, c1]] = [base.to_be_bytes(), count.to_be_bytes()];
    vec![b0, b1, c0, c1, 0, 0, 1, 0, c0, c1, 0, 0]
}

/// A second of a picture of 100 packets, numbered for the transport from 1 on.
fn hundred_sent() -> (Forward<Vec<u8>>, Wire, Client) {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    for n in 0..100 {
        let bytes = ada.seal(&picture(2, 1000 + n, &vp8(2, n == 0, 7)));
        ada.send(&mut forward, &mut wire, at(10 * n + 10), &bytes);
    }
    assert_eq!(ben.receive(&mut wire).0.len(), 100);
    (forward, wire, ben)
}

#[test]
fn feedback_about_what_was_never_sent_or_is_long_forgotten_is_not_read() {
    let (mut forward, mut wire, mut ben) = hundred_sent();
    let foreign = [(101, 1), (100, 2), (1, 2048), (40_000, 2048), (65_000, 500), (50, 0)];
    for (base, count) in foreign {
        ben.rtcp(&mut forward, &mut wire, at(1_100), |writer| {
            writer.transport_feedback(1, SSRC, &all_lost(base, count)).unwrap();
        });
        assert_eq!(forward.take_refused().feedbacks, 1, "{count} from {base}");
    }
    // What begins before that is read for the sake of its end.
    for (base, count) in [(1, 100), (100, 1), (65_000, 600)] {
        ben.rtcp(&mut forward, &mut wire, at(1_100), |writer| {
            writer.transport_feedback(1, SSRC, &all_lost(base, count)).unwrap();
        });
        assert_eq!(forward.take_refused().feedbacks, 0, "{count} from {base}");
    }
}

#[test]
fn a_flood_of_feedback_has_a_share() {
    const SECONDS: u64 = 4;
    for (count, from) in [(2048, 40), (1, 101), (100, 80)] {
        let (mut forward, mut wire, mut ben) = hundred_sent();
        let (mut read, mut sent) = (0, 0);
        for now in 1_000..1_000 + SECONDS * 1_000 {
            ben.rtcp(&mut forward, &mut wire, at(now), |writer| {
                for _ in 0..4 {
                    let base = 101_u16.wrapping_sub(count);
                    writer.transport_feedback(1, SSRC, &all_lost(base, count)).unwrap();
                }
            });
            sent += 4;
            read += 4 - forward.take_refused().feedbacks;
        }
        let looked_up = read * u64::from(count);
        assert!(read <= (SECONDS + 1) * 100, "{read} of {sent} of {count}");
        assert!(looked_up <= (SECONDS + 1) * 20_000, "{looked_up} packets");
        assert!(read >= from * (SECONDS + 1) / 5, "{read} of {count}");
    }
}

#[test]
fn who_tells_of_all_that_comes_is_always_heard() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let mut recorder = FeedbackRecorder::new();
    let (mut number, mut told) = (0_u16, 0);
    for now in 1..5_000 {
        // 1,000 packets and, as 128 are told of at once, some 27 feedbacks a second.
        let bytes = ada.seal(&picture(2, 999 + now, &vp8(2, now == 1, 7)));
        ada.send(&mut forward, &mut wire, at(now), &bytes);
        for _ in ben.receive(&mut wire).0 {
            number = number.wrapping_add(1);
            // One of a hundred is lost.
            if !number.is_multiple_of(100) {
                recorder.received(number, at(now));
            }
        }
        let mut fci = [0; rtp::limits::FEEDBACK_LEN_MAX];
        while let Some(len) = recorder.poll(at(now), &mut fci) {
            told += 1;
            ben.rtcp(&mut forward, &mut wire, at(now), |writer| {
                writer.transport_feedback(1, SSRC, &fci[..len]).unwrap();
            });
        }
    }
    assert!(told >= 95, "{told}");
    assert_eq!(forward.take_refused().feedbacks, 0);
}
