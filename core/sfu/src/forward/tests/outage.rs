//! What a publisher's way loses for good: when a key frame is asked for, and what becomes of one that comes late.

use rtp::nack::Nack;

use super::*;

/// Between two pictures, of one packet each: 2.5 Mbit/s in packets of 1,250 bytes.
const EVERY_MS: u64 = 4;

/// A camera in its largest layer, of which not all arrives and nothing is sent again.
struct Outage {
    forward: Forward<Vec<u8>>,
    wire: Wire,
    ada: Client,
    ben: Client,
    now: u64,
    index: u64,
    /// When Ada was asked for a key frame.
    asked: Vec<u64>,
    /// Packets that Ada was asked for.
    missed: usize,
    /// Of what Ben got.
    sequences: Vec<u16>,
}

impl Outage {
    /// A second has passed, all of which arrived.
    fn begin() -> Self {
        let (forward, wire, ada, ben) = picture_call();
        let (asked, missed, sequences) = (Vec::new(), 0, Vec::new());
        let mut call =
            Self { forward, wire, ada, ben, now: 2, index: 999, asked, missed, sequences };
        call.keyframe();
        call.pass(1_000 / EVERY_MS);
        call.asked.clear();
        call
    }

    fn lose(&mut self, packets: u64) {
        self.go_on(packets, |_| None);
    }

    fn pass(&mut self, packets: u64) {
        self.go_on(packets, |_| Some(false));
    }

    fn keyframe(&mut self) {
        self.go_on(1, |_| Some(true));
    }

    /// So many pictures, of which it is said by place whether they are key frames; `None` of those that get lost.
    fn go_on(&mut self, pictures: u64, keyframe: impl Fn(u64) -> Option<bool>) {
        for n in 0..pictures {
            self.now += EVERY_MS;
            self.index += 1;
            if let Some(keyframe) = keyframe(n) {
                self.arrive(self.index, keyframe);
            }
            if at(self.now) >= self.forward.next_timeout() {
                self.forward.handle_timeout(at(self.now), &mut self.wire);
            }
            let (_, control) = self.ada.receive(&mut self.wire);
            for packet in control.iter().flat_map(|bytes| packets(bytes).flatten()) {
                if let RtcpPacket::PictureLoss { media_ssrc: 202, .. } = packet {
                    self.asked.push(self.now);
                } else if let RtcpPacket::Nack(nacks) = packet {
                    self.missed += nacks.sequence_numbers().count();
                }
            }
            let (media, _) = self.ben.receive(&mut self.wire);
            self.sequences.extend(media.iter().map(|packet| packet.header.sequence));
        }
    }

    fn arrive(&mut self, index: u64, keyframe: bool) {
        let payload = vp8(u16::try_from(index & 0x7fff).unwrap(), keyframe, 7);
        let bytes = self.ada.seal(&picture(2, index, &payload));
        self.ada.send(&mut self.forward, &mut self.wire, at(self.now), &bytes);
    }
}

#[test]
fn after_an_outage_that_is_too_long_to_repair_a_key_frame_is_asked_for_at_once_and_nothing_else() {
    for packets in [257, 500, 1_000] {
        let mut call = Outage::begin();
        call.lose(packets);
        let back = call.now;
        call.pass(10);
        assert!(call.asked.len() == 1 && call.asked[0] <= back + 24, "{packets}: {:?}", call.asked);
        call.keyframe();
        call.pass(500);
        assert_eq!((call.asked.len(), call.missed), (1, 0), "after {packets}");
        let is_whole = call.sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1));
        assert!(is_whole, "after {packets}");
    }
}

#[test]
fn what_does_not_come_however_often_it_is_asked_for_ends_with_a_key_frame() {
    for packets in [1, 256] {
        let mut call = Outage::begin();
        call.lose(packets);
        let lost = call.now;
        call.pass(500);
        let expected = usize::try_from(packets).unwrap() * usize::from(rtp::limits::NACK_TRIES_MAX);
        assert_eq!(call.missed, expected);
        let [asked] = call.asked[..] else { panic!("{packets}: {:?}", call.asked) };
        assert!((500..1_500).contains(&(asked - lost)), "after {} ms", asked - lost);
        call.keyframe();
        call.pass(1_000);
        assert_eq!(call.asked, [asked]);
    }
}

#[test]
fn what_a_receiver_misses_before_the_publisher_could_send_it_again_is_waited_for() {
    // What does not come at all is given up after a while.
    for (is_late, rounds) in [(true, 20), (false, 5)] {
        let mut call = Outage::begin();
        for _ in 0..rounds {
            call.lose(1);
            let lost = call.index;
            call.pass(2);
            let hole = call.sequences.last().unwrap() - 2;
            assert_eq!(call.sequences[call.sequences.len() - 2], hole + 1);
            // Each round trip of its own, as libwebrtc does.
            for _ in 0..3 {
                call.ben.rtcp(&mut call.forward, &mut call.wire, at(call.now), |writer| {
                    writer.nack(1, 7020, &[Nack { pid: hole, blp: 0 }]).unwrap();
                });
                call.pass(5);
            }
            if is_late {
                call.arrive(lost, false);
                call.pass(1);
                assert!(call.sequences.contains(&hole));
            }
        }
        assert_eq!(call.asked, [], "{is_late}");
    }
}

#[test]
fn a_key_frame_that_came_since_is_enough_and_one_that_nobody_receives_is_none() {
    let mut call = Outage::begin();
    call.lose(3);
    call.pass(100);
    call.keyframe();
    call.pass(1_000);
    assert_eq!(call.asked, []);

    let subscription = SubscriptionId(call.ben.id.index);
    call.forward.instruct(at(call.now), Instruction::Unsubscribe { subscription }, &mut call.wire);
    call.lose(3);
    call.pass(1_000);
    assert_eq!(call.asked, []);

    let relay = Instruction::Relay { track: TRACK, to: WorkerId(1), on: true };
    call.forward.instruct(at(call.now), relay, &mut call.wire);
    call.lose(3);
    call.pass(1_000);
    assert_eq!(call.asked.len(), 1, "somebody may have it on the other worker");
}

#[test]
fn a_way_that_loses_all_the_time_has_a_key_frame_asked_for_now_and_then() {
    let mut call = Outage::begin();
    for _ in 0..20 {
        let asked = call.asked.len();
        // A second, of which a twentieth is lost.
        call.go_on(1_000 / EVERY_MS, |n| (!n.is_multiple_of(20)).then_some(false));
        if call.asked.len() > asked {
            call.keyframe();
        }
    }
    let steps: Vec<u64> = call.asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| (2_000..3_500).contains(step)) && steps.len() > 4, "{steps:?}");
}

#[test]
fn what_another_worker_has_no_room_for_ends_with_a_key_frame_that_is_asked_for_at_once() {
    for packets in [1, 200] {
        let mut call = Outage::begin();
        call.pass(500);
        let relay = Instruction::Relay { track: TRACK, to: WorkerId(1), on: true };
        call.forward.instruct(at(call.now), relay, &mut call.wire);
        call.asked.clear();
        call.wire.full = call.index + 10..call.index + 10 + packets;
        let full = call.now + 10 * EVERY_MS;
        call.pass(500);
        let [asked] = call.asked[..] else { panic!("{packets}: {:?}", call.asked) };
        assert!(asked <= full + 24, "after {} ms", asked - full);
        call.keyframe();
        call.pass(1_000);
        assert_eq!(call.asked, [asked]);
    }
}

/// Ben asks for a key frame twice, and for the second one too soon: meanwhile one comes, in its turn or late. When is
/// Ada asked?
fn asked_though(is_late: bool) -> Vec<u64> {
    let mut call = Outage::begin();
    call.ben.rtcp(&mut call.forward, &mut call.wire, at(call.now), |writer| {
        writer.picture_loss(1, 7020).unwrap();
    });
    call.pass(1);
    assert_eq!(call.asked, [call.now]);
    let mut late = call.index + 1;
    call.lose(1);
    call.pass(20);
    call.ben.rtcp(&mut call.forward, &mut call.wire, at(call.now), |writer| {
        writer.picture_loss(1, 7020).unwrap();
    });
    if !is_late {
        late = call.index + 1;
    }
    call.arrive(late, true);
    call.index = call.index.max(late);
    call.pass(150);
    call.asked
}

#[test]
fn a_key_frame_that_comes_late_is_not_the_one_that_is_asked_for() {
    assert_eq!(asked_though(false).len(), 1);
    let asked = asked_though(true);
    assert_eq!(asked.len(), 2);
    assert!((500..530).contains(&(asked[1] - asked[0])), "{asked:?}");
}

#[test]
fn nor_is_it_on_another_worker() {
    for (is_late, expected) in [(false, 0), (true, 1)] {
        let (mut forward, mut wire, ada, _ben) = picture_call();
        let (mut other, mut there, mut cy) =
            relayed_to(&mut forward, &mut wire, TrackKind::Video, Codec::Vp8);
        let mut relay = |other: &mut Forward<_>, there: &mut Wire, now, index, keyframe| {
            let payload = vp8(u16::try_from(index).unwrap(), keyframe, 7);
            let bytes = ada.seal(&picture(2, index, &payload));
            ada.send(&mut forward, &mut wire, at(now), &bytes);
            for (packet, payload) in wire.relayed.drain(..) {
                other.relayed(at(now), &packet, &payload);
            }
            other.flush(at(now), there);
            other.handle_timeout(at(now), there);
        };
        for (now, index) in [(20, 1_000), (40, 1_001), (60, 1_003)] {
            relay(&mut other, &mut there, now, index, index == 1_001);
        }
        assert_eq!(there.keyframes.drain(..).count(), 1);
        cy.rtcp(&mut other, &mut there, at(70), |writer| writer.picture_loss(1, 7030).unwrap());
        relay(&mut other, &mut there, 80, if is_late { 1_002 } else { 1_004 }, true);
        for now in (100..1_000).step_by(20) {
            relay(&mut other, &mut there, now, 1_000 + now / 10, false);
        }
        assert_eq!(there.keyframes.len(), expected, "{is_late}");
    }
}

#[test]
fn a_key_frame_that_comes_long_after_what_follows_it_disturbs_no_numbers() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let mut ids = Vec::new();
    for n in 0..100_u16 {
        let now = 10 + u64::from(n) * 10;
        let key = vp8(100 + 10, true, 7);
        let payload = if n == 10 || n == 90 { key } else { vp8(100 + n, n == 0, 7) };
        // The eleventh comes eighty later.
        if n != 10 {
            let index = 1_000 + u64::from(if n == 90 { 10 } else { n });
            let bytes = ada.seal(&picture(2, index, &payload));
            ada.send(&mut forward, &mut wire, at(now), &bytes);
        }
        let (media, _) = ben.receive(&mut wire);
        let id = |packet: &Received| u16::from_be_bytes([packet.payload[2], packet.payload[3]]);
        ids.extend(media.iter().map(id));
    }
    let first = ids[0];
    let expected = (0..100).filter(|n| *n != 10 && *n != 90).map(|n| first + n);
    assert_eq!(ids, expected.collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_read_keeps_nothing_else_of_its_datagram_from_being_heard() {
    let mut call = Outage::begin();
    let mut bytes = vec![0; 200];
    let mut writer = CompoundWriter::new(&mut bytes[..100]);
    writer.receiver_report(1, &[]).unwrap();
    let mut len = writer.len();
    // Of a request for packets, the header and nobody's name.
    bytes[len..len + 8].copy_from_slice(&[0x81, 205, 0, 1, 0, 0, 0, 1]);
    len += 8;
    let mut writer = CompoundWriter::new(&mut bytes[len..150]);
    writer.picture_loss(1, 7020).unwrap();
    len += writer.len();
    let len = call.ben.sender.protect_rtcp(&mut bytes, len).unwrap();
    call.ben.send(&mut call.forward, &mut call.wire, at(call.now), &bytes[..len]);
    call.pass(10);
    assert_eq!(call.asked.len(), 1);
}
