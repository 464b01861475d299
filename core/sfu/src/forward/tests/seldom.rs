//! A publisher whose pictures come seldom, as slides do, or after a pause.

use super::*;

/// Between two of the slides: longer than a layer may be silent.
const EVERY_MS: u64 = 2_000;

/// A call with slides in so many layers, of which each request is answered by the next.
struct Slides {
    forward: Forward<Vec<u8>>,
    wire: Wire,
    ada: Client,
    ben: Client,
    layers: u8,
    now: u64,
    index: u64,
    is_asked: bool,
    requests: usize,
}

impl Slides {
    fn begin(layers: u8) -> Self {
        let (mut forward, mut wire) = (worker(0), Wire::default());
        let ada = Client::join(&mut forward, &mut wire, 10);
        let ben = Client::join(&mut forward, &mut wire, 20);
        let rids = &["q", "h", "f"][..usize::from(layers)];
        forward.instruct(at(0), track(ada.id, TrackKind::Video, rids), &mut wire);
        forward.instruct(at(0), subscription(TRACK, ben.id, Codec::Vp8), &mut wire);
        let (is_asked, requests) = (false, 0);
        Self { forward, wire, ada, ben, layers, now: 0, index: 1_000, is_asked, requests }
    }

    /// The next slide comes, each layer a few milliseconds after the one below; then it is quiet. The layers that Ben
    /// gets of it.
    fn next(&mut self) -> Vec<u8> {
        let is_key = std::mem::take(&mut self.is_asked);
        self.index += 1;
        for layer in 0..self.layers {
            let payload = vp8(u16::try_from(self.index).unwrap(), is_key, layer);
            let bytes = self.ada.seal(&picture(layer, self.index, &payload));
            self.ada.send(&mut self.forward, &mut self.wire, at(self.now), &bytes);
            self.pass(3);
        }
        self.pass(EVERY_MS - 3 * u64::from(self.layers));
        let (media, _) = self.ben.receive(&mut self.wire);
        media.iter().map(|packet| packet.payload[299]).collect()
    }

    fn pass(&mut self, millis: u64) {
        let until = self.now + millis;
        while self.now < until {
            self.now += 1;
            if at(self.now) >= self.forward.next_timeout() {
                self.forward.handle_timeout(at(self.now), &mut self.wire);
            }
            let (_, control) = self.ada.receive(&mut self.wire);
            let all = control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok));
            let asked =
                all.filter(|packet| matches!(packet, RtcpPacket::PictureLoss { .. })).count();
            self.requests += asked;
            self.is_asked |= asked > 0;
        }
    }
}

#[test]
fn slides_arrive_however_seldom_they_come() {
    for layers in 1..=3 {
        let mut slides = Slides::begin(layers);
        let got: Vec<_> = (0..10).map(|_| slides.next()).collect();
        assert!(got[0].is_empty(), "the first is no key frame");
        assert!(got[1..].iter().all(|got| *got == [layers - 1]), "of {layers} layers: {got:?}");
        slides.requests = 0;
        slides.next();
        assert_eq!(slides.requests, 0, "none is asked for again");
    }
}

#[test]
fn a_layer_that_slides_have_no_more_is_left() {
    let mut slides = Slides::begin(3);
    let got: Vec<_> = (0..3).map(|_| slides.next()).collect();
    assert_eq!(got, [vec![], vec![2], vec![2]]);
    slides.layers = 2;
    let got: Vec<_> = (0..8).map(|_| slides.next()).collect();
    assert!(got[2..].iter().all(|got| *got == [1]), "{got:?}");
    slides.requests = 0;
    slides.next();
    assert_eq!(slides.requests, 0, "nothing is asked for on end");
}

#[test]
fn a_picture_goes_on_after_a_stall() {
    let mut slides = Slides::begin(3);
    for _ in 0..3 {
        slides.next();
    }
    slides.requests = 0;
    slides.pass(60_000);
    assert_eq!(slides.next(), [2]);
    assert_eq!(slides.requests, 0, "without a key frame");
}
