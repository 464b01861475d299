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
    let slot = forward.slot(peer).unwrap();
    let downlink = forward.peers.get_mut(slot.0).unwrap().downlink();
    downlink.estimator = Estimator::new(DataRate::from_kbps(400));
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
    let slot = call.forward.slot(call.ben.id).unwrap();
    let downlink = call.forward.peers.get_mut(slot.0).unwrap().downlink();
    downlink.estimator = Estimator::new(DataRate::from_kbps(2_700));
    downlink.has_feedback = true;
    assert_lowest(call.pass(500));
    call.pass(500);
    let got = call.pass(500);
    assert!(got[..2] == [0, 0] && got[2] > 0, "{got:?} bytes of each layer");
}
