//! A receiver who changes its mind, or whose way does: how soon it has what it wishes, and how often others pay for it.

use model::DataRate;
use rtp::bwe::Estimator;

use super::super::patience::Patience;
use super::super::peer::Peer;
use super::*;
use crate::limits;

const ALL: Option<Layer> = Some(Layer { spatial: 2, temporal: 3 });
const SMALLEST: Option<Layer> = Some(Layer { spatial: 0, temporal: 3 });

/// How a receiver gives up what it has.
#[derive(Clone, Copy, Debug)]
enum Way {
    Pause,
    Quality,
    Cap,
    Subscription,
}

/// A camera in its smallest and its largest layer at 50 pictures a second, which sends a key frame 40 ms after each
/// request.
struct Camera {
    forward: Forward<Vec<u8>>,
    wire: Wire,
    ada: Client,
    ben: Client,
    now: u64,
    /// When a key frame was asked for, of any layer.
    asked: Vec<(u64, u8)>,
    /// Of which subscription Ben's is, by its SSRC.
    of: u32,
    got: Vec<(u64, u8)>,
}

impl Camera {
    fn begin() -> Self {
        let (mut forward, mut wire) = (worker(0), Wire::default());
        let ada = Client::join(&mut forward, &mut wire, 10);
        let ben = Client::join(&mut forward, &mut wire, 20);
        forward.instruct(at(0), track(ada.id, TrackKind::Video, &["q", "h", "f"]), &mut wire);
        let (asked, got) = (Vec::new(), Vec::new());
        let mut camera = Self { forward, wire, ada, ben, now: 0, asked, of: 0, got };
        camera.subscribe();
        camera.pass(3_000);
        camera
    }

    fn instruct(&mut self, instruction: Instruction) {
        self.forward.instruct(at(self.now), instruction, &mut self.wire);
    }

    fn limit(&mut self, layer: Option<Layer>) {
        self.instruct(Instruction::Limit { subscription: SubscriptionId(self.of), layer });
    }

    /// Under SSRCs that it did not have before.
    fn subscribe(&mut self) {
        self.instruct(Instruction::Unsubscribe { subscription: SubscriptionId(self.of) });
        self.of += 1;
        let Instruction::Subscribe(spec) = subscription(TRACK, self.ben.id, Codec::Vp8) else {
            unreachable!();
        };
        let (subscription, ssrc) = (SubscriptionId(self.of), 70_000 + self.of);
        let rtx_ssrc = 80_000 + self.of;
        let spec = SubscriptionSpec { subscription, ssrc, rtx_ssrc, ..spec };
        self.instruct(Instruction::Subscribe(spec));
    }

    /// Says that it lacks a picture.
    fn ask(&mut self) {
        self.ben.rtcp(&mut self.forward, &mut self.wire, at(self.now), |writer| {
            writer.picture_loss(1, 70_000 + self.of).unwrap();
        });
    }

    fn wish(&mut self, way: Way, is_less: bool) {
        let peer = self.ben.id;
        match way {
            Way::Pause => self.limit(if is_less { None } else { ALL }),
            Way::Quality => self.limit(if is_less { SMALLEST } else { ALL }),
            Way::Cap => {
                let rate = is_less.then_some(DataRate::from_bps(1));
                self.instruct(Instruction::Cap { peer, rate });
            }
            Way::Subscription => self.subscribe(),
        }
    }

    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / 20 {
            self.now += 20;
            for layer in [0, 2] {
                let of_layer = |(at, it): &&(u64, u8)| *it == layer && self.now - at == 40;
                let is_key = self.asked.iter().rev().take(9).any(|it| of_layer(&it));
                let id = u16::try_from((self.now / 20) & 0x7fff).unwrap();
                let mut payload = vp8(id, is_key, layer);
                payload.resize(300 + 450 * usize::from(layer), layer);
                let bytes = self.ada.seal(&picture(layer, 1_000 + self.now / 20, &payload));
                self.ada.send(&mut self.forward, &mut self.wire, at(self.now), &bytes);
            }
            self.forward.handle_timeout(at(self.now), &mut self.wire);
            let (_, control) = self.ada.receive(&mut self.wire);
            for packet in control.iter().flat_map(|bytes| packets(bytes).flatten()) {
                if let RtcpPacket::PictureLoss { media_ssrc, .. } = packet {
                    self.asked.push((self.now, u8::try_from(media_ssrc - 200).unwrap()));
                }
            }
            let (media, _) = self.ben.receive(&mut self.wire);
            let own = media.iter().filter(|packet| packet.header.ssrc == 70_000 + self.of);
            self.got.extend(own.map(|packet| (self.now, packet.payload[299])));
        }
    }

    /// How long it takes until Ben has this layer.
    fn until(&mut self, layer: u8) -> u64 {
        let since = self.now;
        while !self.got.contains(&(self.now, layer)) {
            self.pass(20);
            assert!(self.now < since + 5_000, "never");
        }
        self.now - since
    }
}

#[test]
fn who_wishes_for_less_and_more_all_the_time_has_a_key_frame_asked_for_every_two_seconds() {
    for way in [Way::Pause, Way::Quality, Way::Cap, Way::Subscription] {
        let mut camera = Camera::begin();
        let begins = camera.asked.len();
        for n in 0..400 {
            camera.wish(way, n % 2 == 0);
            camera.pass(100);
        }
        let asked = camera.asked.len() - begins;
        assert!((10..=25).contains(&asked), "{way:?}: {asked} in 40 s");
    }
}

#[test]
fn what_it_leaves_besides_makes_nothing_forgotten_that_it_wished() {
    let now = at(60_000);
    let mut peer = Peer::new(PeerId { worker: WorkerId(0), index: 1 }, RoomId(1), now);
    let mut spent = Patience::new();
    while spent.begin(now) {}
    peer.keep_patience(TRACK, spent);
    for n in 1..u32::try_from(limits::SUBSCRIPTIONS_MAX).unwrap() {
        for _ in 0..2 {
            peer.keep_patience(TrackId(1_000 + n), Patience::new());
        }
    }
    assert!(!peer.patience(TRACK).begin(now));
    peer.keep_patience(TrackId(9), Patience::new());
    assert!(peer.patience(TRACK).begin(now), "but it is bounded");
}

#[test]
fn who_wishes_for_something_else_now_and_then_has_it_at_once() {
    for way in [Way::Pause, Way::Quality, Way::Cap, Way::Subscription] {
        let mut camera = Camera::begin();
        for _ in 0..10 {
            camera.wish(way, true);
            camera.pass(2_500);
            camera.wish(way, false);
            let took = camera.until(2);
            // A cap leaves an estimate that grows again.
            assert!(took <= 80, "{way:?}: after {took} ms");
            camera.pass(1_500);
        }
    }
}

#[test]
fn who_takes_its_wish_back_before_it_is_granted_or_asks_for_a_picture_besides_has_no_more() {
    for way in [Way::Pause, Way::Quality, Way::Cap, Way::Subscription] {
        let mut camera = Camera::begin();
        let begins = camera.asked.len();
        for _ in 0..200 {
            camera.wish(way, false);
            camera.ask();
            camera.pass(20);
            camera.wish(way, true);
            camera.pass(180);
        }
        let of_largest = camera.asked[begins..].iter().filter(|(_, layer)| *layer == 2).count();
        assert!((10..=25).contains(&of_largest), "{way:?}: {of_largest} in 40 s");
    }
}

#[test]
fn a_mind_that_is_made_up_in_a_moment_is_heeded_at_once() {
    let mut camera = Camera::begin();
    camera.pass(10_000);
    camera.limit(SMALLEST);
    assert!(camera.until(0) <= 80);
    camera.limit(None);
    camera.pass(40);
    camera.limit(SMALLEST);
    assert!(camera.until(0) <= 520, "half a second after the one before");
    camera.limit(ALL);
    assert!(camera.until(2) <= 80);
}

/// What Ben's way is believed to carry turns to so much.
fn estimate(camera: &mut Camera, kbps: u64) {
    let slot = camera.forward.slot(camera.ben.id).unwrap();
    let downlink = camera.forward.peers.get_mut(slot.0).unwrap().downlink();
    downlink.estimator = Estimator::new(DataRate::from_kbps(kbps));
    downlink.has_feedback = true;
    downlink.allocated = None;
}

#[test]
fn what_the_way_takes_and_gives_back_now_and_then_is_there_at_once_however_often() {
    let mut camera = Camera::begin();
    for _ in 0..10 {
        for (kbps, layer, stays) in [(150, 0, 500), (5_000, 2, 10_000)] {
            estimate(&mut camera, kbps);
            let took = camera.until(layer);
            assert!(took <= 100, "{kbps} kbit/s: after {took} ms");
            camera.pass(stays);
        }
    }
}

#[test]
fn what_the_way_takes_again_and_again_is_left_at_once_and_there_again_later_each_time() {
    let mut camera = Camera::begin();
    let mut waits = Vec::new();
    for _ in 0..8 {
        estimate(&mut camera, 150);
        let took = camera.until(0);
        assert!(took <= 100, "after {took} ms");
        estimate(&mut camera, 5_000);
        let since = camera.now;
        while !camera.got.contains(&(camera.now, 2)) {
            camera.pass(20);
            assert!(camera.now < since + 31_000, "never");
        }
        waits.push((camera.now - since + 250) / 500);
        camera.pass(20);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60], "half seconds");
}

#[test]
fn whoever_tells_that_its_way_narrows_and_widens_has_no_more_key_frames_than_who_wishes_for_them() {
    for most in [150, 400] {
        let mut camera = Camera::begin();
        let begins = camera.asked.len();
        for n in 0..80 {
            estimate(&mut camera, if n % 2 == 0 { 5_000 } else { most });
            camera.pass(500);
        }
        let asked = camera.asked.len() - begins;
        assert!(asked <= 25, "{asked} in 40 s");
    }
}

#[test]
fn a_picture_that_the_way_takes_whole_is_there_again_within_two_seconds() {
    let mut camera = Camera::begin();
    let begins = camera.asked.len();
    for _ in 0..12 {
        estimate(&mut camera, 50);
        camera.pass(500);
        estimate(&mut camera, 150);
        let took = camera.until(0);
        assert!(took <= 2_100, "after {took} ms");
    }
    let asked = camera.asked.len() - begins;
    assert!(asked <= 14, "{asked}");
}
