//! A receiver whose way narrows: how it leaves a layer that no longer fits.

use model::DataRate;
use rtp::bwe::Estimator;
use rtp::nack::Nack;

use super::*;

/// The largest layer, at a packet of 300 bytes each millisecond.
const LARGEST_KBPS: u64 = 2_500;

/// A receiver of the largest layer whose way turns out to carry so much. Gives what it got, and when it is.
fn narrowed(kbps: u64) -> (Forward<Vec<u8>>, Wire, Client, Client, Received, u64) {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let mut latest = None;
    for n in 0..1_200u16 {
        // The middle layer has stopped by then.
        let now = 2_000 + u64::from(n);
        for (layer, every) in [(2, 1), (0, 20)] {
            if n % every == 0 {
                let media = picture(layer, 1_000 + u64::from(n / every), &[]);
                let payload = vp8(100 + n / every, n == 0 && layer == 2, layer);
                let bytes = ada.seal(&Media { payload: &payload, ..media });
                ada.send(&mut forward, &mut wire, at(now), &bytes);
            }
        }
        if n % 20 == 0 {
            forward.handle_timeout(at(now), &mut wire);
        }
        latest = ben.receive(&mut wire).0.pop().or(latest);
    }
    let slot = forward.slot(ben.id).unwrap();
    let downlink = forward.peers.get_mut(slot.0).unwrap().downlink();
    downlink.estimator = Estimator::new(DataRate::from_kbps(kbps));
    downlink.has_feedback = true;
    downlink.allocated = None;
    forward.handle_timeout(at(3_220), &mut wire);
    (forward, wire, ada, ben, latest.unwrap(), 3_220)
}

/// The layers that arrive of a packet of the largest and a key frame of the smallest, and whether what went before is
/// sent again.
fn outcome(kbps: u64) -> (Vec<u8>, bool) {
    let (mut forward, mut wire, ada, mut ben, latest, now) = narrowed(kbps);
    let nack = [Nack { pid: latest.header.sequence, blp: 0 }];
    ben.rtcp(&mut forward, &mut wire, at(now + 1), |writer| {
        writer.nack(1, 7020, &nack).unwrap();
    });
    let is_sent_again = ben.receive(&mut wire).0.iter().any(|packet| packet.header.ssrc == 8020);
    for (layer, index, key) in [(2, 2_200, false), (0, 1_060, true), (2, 2_201, false)] {
        let payload = vp8(1_500, key, layer);
        let bytes = ada.seal(&picture(layer, index, &payload));
        ada.send(&mut forward, &mut wire, at(now + 2), &bytes);
    }
    let (media, _) = ben.receive(&mut wire);
    let first = latest.header.sequence;
    for (n, packet) in (1..).zip(&media) {
        assert_eq!(packet.header.sequence, first.wrapping_add(n), "there is no gap");
    }
    (media.iter().map(|packet| packet.payload[299]).collect(), is_sent_again)
}

#[test]
fn a_layer_that_floods_the_way_is_left_at_once_and_nothing_of_it_is_sent_again() {
    assert_eq!(outcome(LARGEST_KBPS / 3), (vec![0], false));
}

#[test]
fn a_layer_that_is_a_little_too_large_goes_on_until_the_key_frame_of_the_next() {
    assert_eq!(outcome(LARGEST_KBPS * 3 / 4), (vec![2, 0], true));
}

#[test]
fn a_cap_holds_whatever_the_way_carries_and_can_be_lifted() {
    let (mut forward, mut wire, ada, mut ben, _, now) = narrowed(LARGEST_KBPS * 2);
    let peer = ben.id;
    let mut pictures = |forward: &mut Forward<_>, wire: &mut Wire, n: u16| {
        for layer in [0, 2] {
            let payload = vp8(1_500 + n, true, layer);
            let bytes = ada.seal(&picture(layer, 2_200 + u64::from(n), &payload));
            ada.send(forward, wire, at(now), &bytes);
        }
        let (media, _) = ben.receive(wire);
        media.iter().map(|packet| packet.payload[299]).collect::<Vec<_>>()
    };
    // A lower layer goes on until the key frame of a higher one.
    let all: [(u16, u64, &[u8]); 5] =
        [(0, 0, &[2]), (1, 300, &[0]), (2, 1, &[]), (3, 300, &[0]), (4, 0, &[0, 2])];
    for (n, kbps, expected) in all {
        let rate = Some(DataRate::from_kbps(kbps)).filter(|_| kbps > 0);
        forward.instruct(at(now), Instruction::Cap { peer, rate }, &mut wire);
        assert_eq!(pictures(&mut forward, &mut wire, n), expected, "under {kbps} kbit/s");
    }
}

#[test]
fn a_layer_that_fits_stays() {
    assert_eq!(outcome(LARGEST_KBPS * 2), (vec![2, 2], true));
}
