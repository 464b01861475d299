//! A camera that begins, or goes on after a silence: what goes to whom of whose way little is known, and that little.

use model::DataRate;
use rtp::bwe::Estimator;

use super::boundary::Boundary;
use super::*;

/// 150, 450 and 1,700 kbit/s.
const FRAMES: [usize; 3] = [750, 2_250, 8_500];

/// A call whose receiver's way carries enough for the lowest layer alone.
fn narrow() -> Boundary<3> {
    let mut call = Boundary::of(FRAMES, [8; 3]);
    narrow_down(&mut call.forward, call.ben.id);
    call
}

fn narrow_down(forward: &mut Forward<Vec<u8>>, peer: PeerId) {
    believe(forward, peer, 400);
}

/// What a receiver has told shows that its way carries so much.
fn believe(forward: &mut Forward<Vec<u8>>, peer: PeerId, kbps: u64) {
    let slot = forward.slot(peer).unwrap();
    let downlink = forward.peers.get_mut(slot.0).unwrap().downlink();
    downlink.estimator = Estimator::new(DataRate::from_kbps(kbps));
    downlink.has_feedback = true;
}

fn assert_lowest(got: [usize; 3]) {
    assert!(got[0] > 0 && got[1..] == [0, 0], "{got:?} bytes of each layer");
}

#[test]
fn a_camera_that_begins_is_sent_in_the_lowest_layer() {
    assert_lowest(narrow().pass(3_000));
}

#[test]
fn so_is_one_that_goes_on_after_a_silence() {
    for (is_muted, silence) in [(true, 30_000), (true, 1_000), (false, 30_000), (false, 2_000)] {
        let mut call = narrow();
        call.pass(3_000);
        let mute = |call: &mut Boundary<3>, muted| {
            let mute = Instruction::MuteTrack { track: TRACK, muted: muted && is_muted };
            call.forward.instruct(at(call.now), mute, &mut call.wire);
        };
        mute(&mut call, true);
        call.size = 0;
        assert_eq!(call.pass(silence), [0; 3]);
        call.size = 100;
        mute(&mut call, false);
        assert_lowest(call.pass(3_000));
    }
}

#[test]
fn so_is_one_that_sent_black_pictures_meanwhile() {
    let mut call = narrow();
    call.pass(3_000);
    for (muted, size) in [(true, 2), (false, 100)] {
        call.size = size;
        let mute = Instruction::MuteTrack { track: TRACK, muted };
        call.forward.instruct(at(call.now), mute, &mut call.wire);
        if muted {
            assert_eq!(call.pass(10_000), [0; 3]);
        }
    }
    assert_lowest(call.pass(3_000));
}

#[test]
fn so_is_one_that_begins_on_another_worker() {
    let mut call = narrow();
    let (mut other, mut there, mut cy) =
        relayed_to(&mut call.forward, &mut call.wire, TrackKind::Video, Codec::Vp8);
    narrow_down(&mut other, cy.id);
    let mut got = [0; 3];
    for _ in 0..150 {
        call.pass(20);
        for (packet, payload) in call.wire.relayed.drain(..) {
            other.relayed(at(call.now), &packet, &payload);
        }
        other.flush(at(call.now), &mut there);
        other.handle_timeout(at(call.now), &mut there);
        for (_, track, layer) in there.keyframes.drain(..) {
            call.forward.keyframe_wanted(track, layer);
        }
        for packet in cy.receive(&mut there).0 {
            got[usize::from(*packet.payload.last().unwrap())] += packet.payload.len();
        }
    }
    assert_lowest(got);
}

#[test]
fn what_a_wide_way_carries_is_there_at_once() {
    let mut call = Boundary::of(FRAMES, [8; 3]);
    let got = call.pass(500);
    assert!(got[..2] == [0, 0] && got[2] > 0, "{got:?} bytes of each layer");
}

#[test]
fn a_layer_that_a_way_carries_is_gone_to_as_soon_as_it_is_known() {
    let mut call = Boundary::of(FRAMES, [8; 3]);
    believe(&mut call.forward, call.ben.id, 2_700);
    assert_lowest(call.pass(500));
    call.pass(500);
    let got = call.pass(500);
    assert!(got[..2] == [0, 0] && got[2] > 0, "{got:?} bytes of each layer");
}

/// Six cameras of which the larger layer begins at the same moment, over a way that carries two or three of them.
#[test]
fn of_many_layers_that_begin_at_once_no_more_is_sent_than_the_way_is_likely_to_carry() {
    const CAMERAS: u16 = 6;
    let (mut forward, mut wire) = (worker(0), Wire::default());
    let mut ben = Client::join(&mut forward, &mut wire, 20);
    let mut cameras: Vec<Client> = (0..CAMERAS)
        .map(|number| {
            let client = Client::join(&mut forward, &mut wire, 30 + number);
            let id = TrackId(u32::from(number));
            let Instruction::AddTrack(spec) = track(client.id, TrackKind::Video, &["q", "h"])
            else {
                unreachable!();
            };
            forward.instruct(
                at(0),
                Instruction::AddTrack(TrackSpec { track: id, ..spec }),
                &mut wire,
            );
            let Instruction::Subscribe(spec) = subscription(id, ben.id, Codec::Vp8) else {
                unreachable!();
            };
            let to = SubscriptionSpec {
                subscription: SubscriptionId(100 + u32::from(number)),
                ssrc: 7_100 + u32::from(number),
                rtx_ssrc: 8_100 + u32::from(number),
                ..spec
            };
            forward.instruct(at(0), Instruction::Subscribe(to), &mut wire);
            client
        })
        .collect();
    believe(&mut forward, ben.id, 3_000);
    let (mut bytes, mut asked) = ([0; 6], [[true; 2]; CAMERAS as usize]);
    for now in (0..6_000).step_by(20) {
        for (client, asked) in cameras.iter_mut().zip(&mut asked) {
            for packet in client.receive(&mut wire).1.iter().flat_map(|it| packets(it).flatten()) {
                if let RtcpPacket::PictureLoss { media_ssrc, .. } = packet {
                    asked[usize::try_from(media_ssrc - 200).unwrap()] = true;
                }
            }
            // 200 kbit/s, and 1,000.
            for (layer, packets) in [(0, 1), (1, 5)] {
                if layer == 1 && now < 3_000 || now % 40 > 0 {
                    continue;
                }
                let is_key = std::mem::take(&mut asked[usize::from(layer)]);
                for n in 0..packets {
                    let picture_id = u16::try_from(now / 40).unwrap();
                    let mut payload = vp8(picture_id, is_key && n == 0, layer);
                    payload.resize(1_000, layer);
                    if n > 0 {
                        payload[0] = 0x80;
                    }
                    let media = picture(layer, 1_000 + now / 40 * packets + n, &payload);
                    let timestamp = u32::try_from(now * 90).unwrap();
                    let marker = n + 1 == packets;
                    let sealed = client.seal(&Media { timestamp, marker, ..media });
                    client.send(&mut forward, &mut wire, at(now), &sealed);
                }
            }
        }
        forward.handle_timeout(at(now), &mut wire);
        let came = ben.receive(&mut wire).0.iter().map(|it| it.payload.len()).sum::<usize>();
        bytes[usize::try_from(now / 1_000).unwrap()] += came;
    }
    let kbps = bytes.map(|bytes| bytes * 8 / 1_000);
    assert!((1_150..=1_250).contains(&kbps[2]), "{kbps:?} of the lower layers");
    assert!(kbps[3..].iter().all(|kbps| (1_900..=3_600).contains(kbps)), "{kbps:?}");
}

/// The worker has been there for long, and so has nobody who brings the track to it.
#[test]
fn what_a_track_of_another_worker_brings_is_measured_from_when_it_came() {
    let mut worker = worker(1);
    let mut wire = Wire::default();
    let cy = Client::join(&mut worker, &mut wire, 30);
    let hour = 3_600_000;
    worker.handle_timeout(at(hour), &mut wire);
    let (kind, from) = (TrackKind::Video, WorkerId(0));
    let add = Instruction::AddRelayedTrack { track: TRACK, room: ROOM, kind, from };
    worker.instruct(at(hour + 1), add, &mut wire);
    worker.instruct(at(hour + 1), subscription(TRACK, cy.id, Codec::Vp8), &mut wire);
    let rate = |worker: &Forward<Vec<u8>>| {
        worker.tracks.get(worker.track_rows[&TRACK]).unwrap().rate(0).as_bps()
    };
    let mut call = Boundary::of([5_000], [1]);
    relayed_to(&mut call.forward, &mut call.wire, TrackKind::Video, Codec::Vp8);
    let (mut seen, mut has_come) = (Vec::new(), false);
    for millis in (2..1_500).step_by(20) {
        call.pass(20);
        has_come |= !call.wire.relayed.is_empty();
        for (packet, payload) in call.wire.relayed.drain(..) {
            worker.relayed(at(hour + millis), &packet, &payload);
        }
        // The timer has its first turn after that.
        if has_come {
            worker.handle_timeout(at(hour + millis + 10), &mut wire);
        }
        seen.push(rate(&worker));
    }
    // 1 Mbit/s, or nothing as long as that is not known.
    let is_right = |bps: &u64| *bps == 0 || (900_000..=1_300_000).contains(bps);
    assert!(seen.iter().all(is_right), "{seen:?}");
    assert!(rate(&worker) > 0);
}
