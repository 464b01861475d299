//! With which packet a picture begins for a receiver.

use super::*;

/// How a key frame's first packet comes after those that follow it.
#[derive(Clone, Copy, Debug)]
enum Late {
    Again,
    OutOfOrder,
}

/// A key frame of the largest layer whose first packet comes late, and one whose first comes first, each with two more.
fn frames(late: Late, ada: &Client) -> [Vec<u8>; 6] {
    let first = |index, fill| vp8(u16::try_from(index).unwrap(), true, fill);
    let media = |index, payload: &[u8]| ada.seal(&picture(2, index, payload));
    let more = |index, fill| {
        let mut payload = first(index, fill);
        payload[0] = 0x80;
        media(index, &payload)
    };
    let repaired = match late {
        Late::OutOfOrder => media(1_000, &first(1_000, 1)),
        Late::Again => {
            let payload = [&1_000_u16.to_be_bytes()[..], &first(1_000, 1)].concat();
            ada.seal(&Media { payload_type: RTX, ssrc: 302, ..picture(2, 5, &payload) })
        }
    };
    let next = media(1_003, &first(1_003, 2));
    [more(1_001, 1), more(1_002, 1), repaired, next, more(1_004, 2), more(1_005, 2)]
}

fn fills(media: &[Received]) -> Vec<u8> {
    media.iter().map(|packet| packet.payload[299]).collect()
}

#[test]
fn a_key_frame_whose_first_packet_comes_late_begins_nothing() {
    for late in [Late::Again, Late::OutOfOrder] {
        let (mut forward, mut wire, ada, mut ben) = picture_call();
        for bytes in frames(late, &ada) {
            ada.send(&mut forward, &mut wire, at(5), &bytes);
        }
        let (media, _) = ben.receive(&mut wire);
        assert_eq!(fills(&media), [2, 2, 2], "{late:?}");
    }
}

#[test]
fn nor_does_it_on_another_worker() {
    for late in [Late::Again, Late::OutOfOrder] {
        let (mut forward, mut wire, ada, _) = picture_call();
        let (mut other, mut there, mut cy) =
            relayed_to(&mut forward, &mut wire, TrackKind::Video, Codec::Vp8);
        for bytes in frames(late, &ada) {
            ada.send(&mut forward, &mut wire, at(300), &bytes);
            for (packet, payload) in wire.relayed.drain(..) {
                other.relayed(at(300), &packet, &payload);
                other.flush(at(300), &mut there);
                other.handle_timeout(at(300), &mut there);
            }
        }
        let (media, _) = cy.receive(&mut there);
        assert_eq!(fills(&media), [2, 2, 2], "{late:?}");
    }
}
