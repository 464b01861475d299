//! What two pictures take from each other; a camera that is muted and sends black ones on, and what is asked of it.

use model::DataRate;

use super::*;

const OTHER: TrackId = TrackId(2);

/// A call in which Ada has a camera that is muted and Cy one that is not, both in three layers.
struct Dark {
    forward: Forward<Vec<u8>>,
    wire: Wire,
    ada: Client,
    ben: Client,
    cy: Client,
    now: u64,
    /// Requests for key frames that Ada got.
    requests: usize,
}

fn subscribed(track: TrackId, peer: PeerId, id: u32) -> Instruction {
    let Instruction::Subscribe(spec) = subscription(track, peer, Codec::Vp8) else {
        unreachable!();
    };
    let (subscription, ssrc, rtx_ssrc) = (SubscriptionId(id), 7_000 + id, 8_000 + id);
    Instruction::Subscribe(SubscriptionSpec { subscription, ssrc, rtx_ssrc, ..spec })
}

impl Dark {
    fn begin() -> Self {
        let (mut forward, mut wire) = (worker(0), Wire::default());
        let [ada, ben, cy] = [10, 20, 30].map(|index| Client::join(&mut forward, &mut wire, index));
        for (track, peer) in [(TRACK, ada.id), (OTHER, cy.id)] {
            let Instruction::AddTrack(spec) = self::track(peer, TrackKind::Video, &["q", "h", "f"])
            else {
                unreachable!();
            };
            forward.instruct(at(0), Instruction::AddTrack(TrackSpec { track, ..spec }), &mut wire);
        }
        let mut call = Self { forward, wire, ada, ben, cy, now: 0, requests: 0 };
        call.mute(true);
        call
    }

    fn instruct(&mut self, instruction: Instruction) {
        self.forward.instruct(at(self.now), instruction, &mut self.wire);
    }

    fn mute(&mut self, muted: bool) {
        self.instruct(Instruction::MuteTrack { track: TRACK, muted });
    }

    /// Both send 50 packets of 300 bytes a second in each layer, twice as many as in the one below; key frames when
    /// Ada is asked. How many packets of each does Ben get?
    fn pass(&mut self, millis: u64) -> (usize, usize) {
        let (mut of_ada, mut of_cy) = (0, 0);
        for _ in 0..millis / 20 {
            self.now += 20;
            let is_key = self.requests > 0;
            for layer in 0..3 {
                for n in 0..1 << layer {
                    let index = 1_000 + ((self.now / 20) << layer) + n;
                    let id = u16::try_from(index & 0x7fff).unwrap();
                    for (client, is_key) in [(&self.ada, is_key), (&self.cy, true)] {
                        let payload = vp8(id, is_key, layer);
                        let bytes = client.seal(&picture(layer, index, &payload));
                        client.send(&mut self.forward, &mut self.wire, at(self.now), &bytes);
                    }
                }
            }
            if at(self.now) >= self.forward.next_timeout() {
                self.forward.handle_timeout(at(self.now), &mut self.wire);
            }
            let (_, control) = self.ada.receive(&mut self.wire);
            let all = control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok));
            self.requests +=
                all.filter(|packet| matches!(packet, RtcpPacket::PictureLoss { .. })).count();
            self.cy.receive(&mut self.wire);
            let (media, _) = self.ben.receive(&mut self.wire);
            of_ada += media.iter().filter(|packet| packet.header.ssrc == 7_001).count();
            of_cy += media.iter().filter(|packet| packet.header.ssrc == 7_002).count();
        }
        (of_ada, of_cy)
    }
}

#[test]
fn nothing_is_asked_of_a_muted_camera_and_it_comes_back_at_once() {
    let mut call = Dark::begin();
    call.pass(1_000);
    call.instruct(subscribed(TRACK, call.ben.id, 1));
    assert_eq!(call.pass(3_060), (0, 0));
    assert_eq!(call.requests, 0, "key frames of nothing");
    for _ in 0..2 {
        call.requests = 0;
        call.mute(false);
        // A request, and the key frame that answers it.
        let (of_ada, _) = call.pass(40);
        assert!(of_ada > 0 && call.requests > 0, "{of_ada} packets, {} requests", call.requests);
        call.mute(true);
        call.requests = 0;
        call.instruct(subscribed(TRACK, call.ben.id, 1));
        // Who sees nothing asks for it.
        for _ in 0..19 {
            assert_eq!(call.pass(100), (0, 0));
            call.ben.rtcp(&mut call.forward, &mut call.wire, at(call.now), |writer| {
                writer.picture_loss(1, 7_001).unwrap();
            });
        }
        assert_eq!(call.requests, 0, "key frames of nothing");
    }
}

#[test]
fn a_muted_camera_takes_nothing_from_others() {
    let mut call = Dark::begin();
    call.pass(1_000);
    // Room for the largest layer of one, with the lowest of the other or without.
    call.instruct(Instruction::Cap { peer: call.ben.id, rate: Some(DataRate::from_kbps(680)) });
    call.instruct(subscribed(TRACK, call.ben.id, 1));
    call.instruct(subscribed(OTHER, call.ben.id, 2));
    call.pass(2_000);
    let (_, of_cy) = call.pass(1_000);
    assert_eq!(of_cy, 200, "the largest layer");
    call.mute(false);
    call.pass(2_000);
    let (of_ada, of_cy) = call.pass(1_000);
    assert_eq!((of_ada, of_cy), (100, 100), "they share");
}

#[test]
fn a_screen_comes_before_cameras() {
    let mut call = Dark::begin();
    call.mute(false);
    call.pass(1_000);
    // Room for the lowest layer of both, and the next of one.
    call.instruct(Instruction::Cap { peer: call.ben.id, rate: Some(DataRate::from_kbps(480)) });
    for is_screen in [false, true] {
        call.instruct(subscribed(TRACK, call.ben.id, 1));
        let Instruction::Subscribe(spec) = subscribed(OTHER, call.ben.id, 2) else {
            unreachable!();
        };
        call.instruct(Instruction::Subscribe(SubscriptionSpec { is_screen, ..spec }));
        call.pass(2_000);
        let shares = call.pass(1_000);
        assert_eq!(shares, if is_screen { (50, 100) } else { (100, 50) });
    }
}
