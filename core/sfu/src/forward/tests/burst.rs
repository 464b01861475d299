//! What a receiver's way loses at once, and cannot be sent again.

use rtp::nack::Nack;

use super::*;

/// Under which Ben receives Ada's picture.
const SSRC: u32 = 7020;
/// Between two pictures, of one packet each.
const EVERY_MS: u64 = 4;

/// A camera in its largest layer, which answers each request for a key frame 60 ms later.
struct Burst {
    forward: Forward<Vec<u8>>,
    wire: Wire,
    ada: Client,
    ben: Client,
    now: u64,
    sent: u64,
    bytes: usize,
    asked: Vec<u64>,
    /// Numbers of the packets that Ben was sent, in the order of their coming, and how many again.
    sequences: Vec<u16>,
    again: usize,
}

impl Burst {
    /// A second has passed, with packets of so many bytes.
    fn begin(bytes: usize) -> Self {
        let (forward, wire, ada, ben) = picture_call();
        let (asked, sequences) = (vec![2], Vec::new());
        let mut call =
            Self { forward, wire, ada, ben, now: 2, sent: 0, bytes, asked, sequences, again: 0 };
        call.pass(1_000);
        call.asked.clear();
        call
    }

    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / EVERY_MS {
            self.now += EVERY_MS;
            let is_due = self.asked.last().is_some_and(|at| (60..64).contains(&(self.now - at)));
            let id = u16::try_from(self.sent & 0x7fff).unwrap();
            let mut payload = vp8(id, is_due, 7);
            payload.resize(self.bytes, 7);
            let bytes = self.ada.seal(&picture(2, 1_000 + self.sent, &payload));
            self.ada.send(&mut self.forward, &mut self.wire, at(self.now), &bytes);
            self.sent += 1;
            if at(self.now) >= self.forward.next_timeout() {
                self.forward.handle_timeout(at(self.now), &mut self.wire);
            }
            self.heard();
        }
    }

    fn heard(&mut self) {
        let (_, control) = self.ada.receive(&mut self.wire);
        for packet in control.iter().flat_map(|bytes| packets(bytes).flatten()) {
            if matches!(packet, RtcpPacket::PictureLoss { media_ssrc: 202, .. }) {
                self.asked.push(self.now);
            }
        }
        for packet in self.ben.receive(&mut self.wire).0 {
            if packet.header.ssrc == SSRC {
                self.sequences.push(packet.header.sequence);
            } else {
                self.again += 1;
            }
        }
    }

    /// Ben asks in one datagram, as libwebrtc does, for so many packets, of which this is the first.
    fn miss(&mut self, first: u16, count: u16) {
        let items: Vec<Nack> = (0..count)
            .step_by(17)
            .map(|n| {
                let blp = u32::from(count - n - 1).min(16);
                let blp = u16::try_from((1_u32 << blp) - 1).unwrap();
                Nack { pid: first.wrapping_add(n), blp }
            })
            .collect();
        self.ben.rtcp(&mut self.forward, &mut self.wire, at(self.now), |writer| {
            writer.nack(1, SSRC, &items).unwrap();
        });
        self.heard();
    }

    fn last(&self) -> u16 {
        *self.sequences.last().unwrap()
    }
}

#[test]
fn what_is_lost_and_can_be_sent_again_is_so_and_no_key_frame_asked_for() {
    let mut call = Burst::begin(1_000);
    let first = call.last() - 40;
    for _ in 0..3 {
        call.miss(first, 40);
        // Asked for again before it can have come.
        call.miss(first, 40);
        call.pass(40);
    }
    assert_eq!((call.again, call.asked.len()), (40, 0));
}

#[test]
fn a_burst_beyond_what_is_kept_or_may_be_sent_again_has_a_key_frame_asked_for_at_once() {
    // Small packets are no longer there, large ones more than may be sent again.
    for (bytes, lost) in [(300, 200), (1_200, 60)] {
        let mut call = Burst::begin(bytes);
        let first = call.last() - lost;
        // It asks each round trip, until the key frame that it was sent has come to it.
        for _ in 0..3 {
            call.miss(first, lost);
            call.pass(40);
        }
        let [asked] = call.asked[..] else { panic!("{bytes}: {:?}", call.asked) };
        assert!(asked + 120 == call.now, "at once");
        call.pass(5_000);
        assert_eq!(call.asked, [asked], "{bytes}");
    }
}

#[test]
fn what_came_before_the_last_key_frame_or_was_never_sent_is_asked_for_in_vain_and_disturbs_nobody()
{
    let mut call = Burst::begin(300);
    let old = call.last();
    call.ben.rtcp(&mut call.forward, &mut call.wire, at(call.now), |writer| {
        writer.picture_loss(1, SSRC).unwrap();
    });
    call.pass(3_000);
    assert_eq!(call.asked.len(), 1);
    for _ in 0..50 {
        let next = call.last().wrapping_add(1);
        call.miss(old - 200, 64);
        call.miss(next, 64);
        call.miss(next ^ 0x8000, 64);
        call.pass(100);
    }
    assert_eq!(call.asked.len(), 1);
}

#[test]
fn a_packet_that_was_sent_again_three_times_in_vain_has_a_key_frame_asked_for() {
    let mut call = Burst::begin(300);
    let lost = call.last();
    for round in 0..4 {
        assert_eq!((call.again, call.asked.len()), (round, 0));
        call.miss(lost, 1);
        // The round trip is not known and taken for 100 ms.
        call.now += 100;
    }
    assert_eq!((call.again, call.asked.len()), (3, 1));
}

#[test]
fn to_miss_what_cannot_come_all_the_time_has_a_key_frame_asked_for_every_two_seconds() {
    let mut call = Burst::begin(300);
    for _ in 0..1_000 {
        let first = call.last().wrapping_sub(250);
        call.miss(first, 64);
        call.miss(call.last().wrapping_sub(60), 64);
        call.pass(20);
    }
    let steps: Vec<u64> = call.asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps[3..].iter().all(|step| *step >= 2_000), "{steps:?}");
    assert!(steps.len() >= 8, "{steps:?}");
}

#[test]
fn nothing_is_asked_for_in_the_layer_that_is_being_left() {
    let mut call = Burst::begin(300);
    let payload = vp8(1, false, 0);
    let bytes = call.ada.seal(&picture(0, 1_000, &payload));
    call.ada.send(&mut call.forward, &mut call.wire, at(call.now), &bytes);
    let subscription = SubscriptionId(call.ben.id.index);
    let layer = Some(Layer { spatial: 0, temporal: 3 });
    let limit = Instruction::Limit { subscription, layer };
    call.forward.instruct(at(call.now), limit, &mut call.wire);
    call.miss(call.last() - 200, 64);
    call.pass(200);
    assert_eq!(call.asked, []);
}
