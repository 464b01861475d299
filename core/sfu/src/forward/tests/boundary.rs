//! A layer that just fits: its key frames are larger than the rest, and are no reason to leave it.

use model::DataRate;

use super::*;

/// Frames of the lower and of the higher layer, at 25 a second: 150 and 500 kbit/s.
const FRAMES: [usize; 2] = [750, 2_500];
const PACKET: usize = 1_000;

/// A call with a camera in so many layers and a receiver that may have so much.
pub(super) struct Boundary<const LAYERS: usize = 2> {
    pub(super) forward: Forward<Vec<u8>>,
    pub(super) wire: Wire,
    pub(super) ada: Client,
    pub(super) ben: Client,
    pub(super) now: u64,
    indexes: [u64; LAYERS],
    asked: [bool; LAYERS],
    pub(super) requests: usize,
    /// Bytes of a frame of each layer, at 25 a second.
    frames: [usize; LAYERS],
    /// In percent of what frames have; of none there is nothing.
    pub(super) size: usize,
    /// How many times as large a key frame is.
    keys: [usize; LAYERS],
}

impl Boundary {
    fn begin(kbps: u64) -> Self {
        let mut call = Self::of(FRAMES, [8; 2]);
        call.cap(kbps);
        call
    }
}

impl<const LAYERS: usize> Boundary<LAYERS> {
    pub(super) fn of(frames: [usize; LAYERS], keys: [usize; LAYERS]) -> Self {
        let (mut forward, mut wire) = (worker(0), Wire::default());
        let ada = Client::join(&mut forward, &mut wire, 10);
        let ben = Client::join(&mut forward, &mut wire, 20);
        let rids = &["q", "h", "f"][..LAYERS];
        forward.instruct(at(0), track(ada.id, TrackKind::Video, rids), &mut wire);
        forward.instruct(at(0), subscription(TRACK, ben.id, Codec::Vp8), &mut wire);
        let (indexes, asked) = ([1_000; LAYERS], [false; LAYERS]);
        let (now, requests, size) = (0, 0, 100);
        Self { forward, wire, ada, ben, now, indexes, asked, requests, frames, size, keys }
    }

    pub(super) fn cap(&mut self, kbps: u64) {
        let rate = Some(DataRate::from_kbps(kbps));
        let cap = Instruction::Cap { peer: self.ben.id, rate };
        self.forward.instruct(at(self.now), cap, &mut self.wire);
    }

    /// So many milliseconds pass. How many bytes of each layer does Ben get?
    pub(super) fn pass(&mut self, millis: u64) -> [usize; LAYERS] {
        let mut got = [0; LAYERS];
        let until = self.now + millis;
        while self.now < until {
            self.now += 20;
            if self.now.is_multiple_of(40) && self.size > 0 {
                for layer in 0..LAYERS {
                    self.frame(u8::try_from(layer).unwrap());
                }
            }
            self.forward.handle_timeout(at(self.now), &mut self.wire);
            let (_, control) = self.ada.receive(&mut self.wire);
            for packet in control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok)) {
                if let RtcpPacket::PictureLoss { media_ssrc, .. } = packet {
                    self.asked[usize::try_from(media_ssrc - 200).unwrap()] = true;
                    self.requests += 1;
                }
            }
            for packet in self.ben.receive(&mut self.wire).0 {
                got[usize::from(*packet.payload.last().unwrap())] += packet.payload.len();
            }
        }
        got
    }

    /// How often the picture was paused since this was asked last.
    fn pauses(&mut self) -> usize {
        let reports = std::iter::from_fn(|| self.forward.poll_report());
        reports.filter(|report| matches!(report, Report::Bandwidth { paused: true, .. })).count()
    }

    fn frame(&mut self, layer: u8) {
        let at_layer = usize::from(layer);
        let is_key = std::mem::take(&mut self.asked[at_layer]);
        let times = if is_key { self.keys[at_layer] } else { 1 };
        let mut left = self.frames[at_layer] * self.size / 100 * times;
        let mut is_first = true;
        let picture_id = u16::try_from((self.now / 40) & 0x7fff).unwrap();
        while left > 0 {
            let len = left.min(PACKET);
            left -= len;
            let mut payload = vp8(picture_id, is_key && is_first, layer);
            payload.resize(len.max(40), layer);
            if !is_first {
                payload[0] = 0x80;
            }
            is_first = false;
            self.indexes[at_layer] += 1;
            let media = picture(layer, self.indexes[at_layer], &payload);
            let timestamp = u32::try_from(self.now * 90).unwrap();
            let bytes = self.ada.seal(&Media { timestamp, marker: left == 0, ..media });
            self.ada.send(&mut self.forward, &mut self.wire, at(self.now), &bytes);
        }
    }
}

#[test]
fn a_layer_that_fits_is_not_left_for_its_key_frame() {
    let mut call = Boundary::begin(650);
    call.pass(10_000);
    call.requests = 0;
    let got = call.pass(30_000);
    assert!(got[0] == 0 && call.requests == 0, "{} requests, {got:?} bytes", call.requests);
    // Ben misses something: the key frame that he asks for is none either.
    call.ben.rtcp(&mut call.forward, &mut call.wire, at(call.now), |writer| {
        writer.picture_loss(1, 7020).unwrap();
    });
    let got = call.pass(5_000);
    assert!(got[0] == 0 && call.requests == 1, "{} requests, {got:?} bytes", call.requests);
    // Nor is one of the layer below that somebody else has asked for, large as it may be.
    (call.requests, call.keys[0], call.asked[0]) = (0, 60, true);
    let got = call.pass(5_000);
    assert!(got[0] == 0 && call.requests == 0, "{} requests, {got:?} bytes", call.requests);
}

#[test]
fn a_layer_that_fits_no_more_is_left_within_two_seconds() {
    let mut call = Boundary::begin(650);
    call.pass(10_000);
    call.size = 150;
    call.pass(2_000);
    let got = call.pass(1_000);
    assert!(got[0] > 0 && got[1] == 0, "{got:?} bytes");
}

#[test]
fn a_lower_cap_is_kept_to_at_once() {
    let mut call = Boundary::begin(650);
    call.pass(10_000);
    call.cap(300);
    call.pass(100);
    let got = call.pass(1_000);
    assert!(got[0] > 0 && got[1] == 0, "{got:?} bytes");
}

#[test]
fn an_only_layer_that_fits_is_not_paused_for_the_key_frame_that_it_begins_with() {
    // Ben is there when the camera begins, or comes later.
    for before in [0, 3_000, 20_000] {
        let mut call = Boundary::of([3_900], [9]);
        if before > 0 {
            let subscription = SubscriptionId(call.ben.id.index);
            let unsubscribe = Instruction::Unsubscribe { subscription };
            call.forward.instruct(at(0), unsubscribe, &mut call.wire);
            call.pass(before);
            let again = self::subscription(TRACK, call.ben.id, Codec::Vp8);
            call.forward.instruct(at(before), again, &mut call.wire);
        }
        call.cap(850);
        call.pauses();
        call.pass(1_000);
        let got: Vec<_> = (0..60).map(|_| call.pass(1_000)[0]).collect();
        assert!(got.iter().all(|bytes| *bytes > 90_000), "after {before} ms: {got:?} bytes");
        assert_eq!(call.pauses(), 0, "after {before} ms");
    }
}

#[test]
fn an_only_layer_that_does_not_fit_is_paused_and_seldom_tried() {
    let mut call = Boundary::of([3_900], [9]);
    call.cap(650);
    call.pass(3_000);
    call.pauses();
    let got = call.pass(60_000);
    assert!(got == [0] && call.pauses() == 0, "{got:?} bytes");
}

#[test]
fn a_still_picture_that_fits_is_not_left_for_the_key_frame_that_it_begins_with() {
    // 50 and 100 kbit/s, and 150 KB.
    let mut call = Boundary::of([250, 500], [20, 300]);
    call.cap(400);
    call.pass(60_000);
    assert!(call.requests <= 3, "{} requests", call.requests);
    let got = call.pass(1_000);
    assert!(got[0] == 0 && got[1] > 0, "{got:?} bytes");
}

#[test]
fn a_layer_that_is_too_large_once_it_is_seen_is_tried_less_and_less_often() {
    let mut call = Boundary::of([750, 2_500], [8; 2]);
    call.cap(650);
    for _ in 0..1_200 {
        let [_, large] = call.pass(100);
        call.size = if large > 0 { 150 } else { 100 };
    }
    assert!((8..=20).contains(&call.requests), "{} requests in 120 s", call.requests);
}
