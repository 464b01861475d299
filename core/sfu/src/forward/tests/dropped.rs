//! A publisher that drops its largest layer while the others go on, as encoders do that have too little of anything.

use super::*;

/// A call with two layers at 25 pictures a second, in which each request for a key frame is answered.
struct Camera {
    forward: Forward<Vec<u8>>,
    wire: Wire,
    ada: Client,
    ben: Client,
    now: u64,
    /// Pictures that each layer has brought.
    brought: [u16; 2],
    asked: [bool; 2],
    requests: usize,
}

impl Camera {
    fn begin() -> Self {
        let (mut forward, mut wire) = (worker(0), Wire::default());
        let ada = Client::join(&mut forward, &mut wire, 10);
        let ben = Client::join(&mut forward, &mut wire, 20);
        forward.instruct(at(0), track(ada.id, TrackKind::Video, &["q", "h"]), &mut wire);
        forward.instruct(at(0), subscription(TRACK, ben.id, Codec::Vp8), &mut wire);
        Self { forward, wire, ada, ben, now: 0, brought: [0; 2], asked: [false; 2], requests: 0 }
    }

    /// So much time passes, in which the larger layer has one picture for so many of the smaller; none if `None`. When
    /// Ben got one of which layer.
    fn pass(&mut self, millis: u64, one_of: Option<u64>) -> Vec<(u64, u8)> {
        let mut got = Vec::new();
        for _ in 0..millis {
            self.now += 1;
            if self.now.is_multiple_of(40) {
                let comes = one_of.is_some_and(|of| (self.now / 40).is_multiple_of(of));
                for layer in if comes { 0..2 } else { 0..1 } {
                    let is_key = std::mem::take(&mut self.asked[usize::from(layer)]);
                    let brought = &mut self.brought[usize::from(layer)];
                    *brought += 1;
                    let payload = vp8(*brought, is_key, layer);
                    let media = picture(layer, 1_000 + u64::from(*brought), &payload);
                    let timestamp = u32::try_from(self.now * 90).unwrap();
                    let bytes = self.ada.seal(&Media { timestamp, ..media });
                    self.ada.send(&mut self.forward, &mut self.wire, at(self.now), &bytes);
                }
            }
            if at(self.now) >= self.forward.next_timeout() {
                self.forward.handle_timeout(at(self.now), &mut self.wire);
            }
            let (_, control) = self.ada.receive(&mut self.wire);
            for packet in control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok)) {
                if let RtcpPacket::PictureLoss { media_ssrc, .. } = packet {
                    self.asked[usize::from(media_ssrc != 200)] = true;
                    self.requests += 1;
                }
            }
            let (media, _) = self.ben.receive(&mut self.wire);
            got.extend(media.iter().map(|packet| (self.now, packet.payload[299])));
        }
        got
    }
}

#[test]
fn a_layer_that_is_dropped_is_left_within_half_a_second() {
    let mut camera = Camera::begin();
    camera.pass(3_000, Some(1));
    let got = camera.pass(1_000, Some(1));
    assert_eq!(got.len(), 25);
    assert!(got.iter().all(|(_, layer)| *layer == 1), "{got:?}");
    let dropped = camera.now;
    let got = camera.pass(3_000, None);
    assert!(got[0].0 <= dropped + 600, "after {} ms", got[0].0 - dropped);
    assert!(got.iter().all(|(_, layer)| *layer == 0), "{got:?}");
}

#[test]
fn a_layer_that_comes_again_is_gone_to_at_once_and_after_a_short_gap_when_it_stays() {
    for (gap, expected) in [(1_000, 2_000..2_600), (2_000, 0..400)] {
        let mut camera = Camera::begin();
        camera.pass(4_000, Some(1));
        camera.pass(gap, None);
        let back = camera.now;
        let got = camera.pass(5_000, Some(1));
        let (at, _) = got.iter().find(|(_, layer)| *layer == 1).unwrap();
        assert!(expected.contains(&(at - back)), "after {} ms, and a gap of {gap}", at - back);
        assert_eq!(got.last().unwrap().1, 1);
    }
}

#[test]
fn a_layer_of_few_pictures_is_not_gone_to_and_left_again() {
    let mut camera = Camera::begin();
    camera.pass(3_000, Some(1));
    // Less than two pictures a second.
    camera.pass(1_500, Some(15));
    camera.requests = 0;
    let got = camera.pass(20_000, Some(15));
    assert!(got.iter().all(|(_, layer)| *layer == 0), "{got:?}");
    assert_eq!(camera.requests, 0);
    // Four a second.
    camera.pass(5_000, Some(6));
    let got = camera.pass(5_000, Some(6));
    assert!(got.iter().all(|(_, layer)| *layer == 1), "{got:?}");
}
