//! Whoever joins a room full of cameras: what is asked of each.

use std::collections::BTreeMap;

use super::*;

const CAMERAS: u8 = 12;

/// Requests for key frames by camera and layer, until then, when Ben joins after three seconds. He gives feedback or
/// not, and sees all cameras in the end.
fn requests(
    cameras: u8,
    extensions: &ExtensionMap,
    has_feedback: bool,
    until: u64,
) -> BTreeMap<(u8, u32), u32> {
    let (mut forward, mut wire) = (worker(0), Wire::default());
    let mut ben = Client::join(&mut forward, &mut wire, 200);
    let mut clients: Vec<_> = (0..cameras)
        .map(|n| {
            let camera = Client::join(&mut forward, &mut wire, u16::from(n) + 10);
            let track = TrackId(u32::from(n));
            let Instruction::AddTrack(spec) =
                self::track(camera.id, TrackKind::Video, &["q", "h", "f"])
            else {
                unreachable!();
            };
            let add = Instruction::AddTrack(TrackSpec { track, ..spec });
            forward.instruct(at(0), add, &mut wire);
            camera
        })
        .collect();
    let (mut requests, mut seen) = (BTreeMap::new(), 0);
    for now in (20..until).step_by(20) {
        if now == 3_000 {
            for n in 0..u32::from(cameras) {
                let Instruction::Subscribe(to) = subscription(TrackId(n), ben.id, Codec::Vp8)
                else {
                    unreachable!();
                };
                let (subscription, ssrc, rtx_ssrc) = (SubscriptionId(n), 7_000 + n, 8_000 + n);
                let extensions = *extensions;
                let to = SubscriptionSpec { subscription, ssrc, rtx_ssrc, extensions, ..to };
                forward.instruct(at(now), Instruction::Subscribe(to), &mut wire);
            }
        }
        if now == 3_300 && has_feedback {
            let slot = forward.slot(ben.id).unwrap();
            forward.peers.get_mut(slot.0).unwrap().downlink().has_feedback = true;
        }
        for camera in &clients {
            for layer in 0..3 {
                for n in 0..1 << layer {
                    let index = 1_000 + ((now / 20) << layer) + n;
                    let is_key = now.is_multiple_of(100);
                    let payload = vp8(u16::try_from(index & 0x7fff).unwrap(), is_key, layer);
                    let bytes = camera.seal(&picture(layer, index, &payload));
                    camera.send(&mut forward, &mut wire, at(now), &bytes);
                }
            }
        }
        forward.handle_timeout(at(now), &mut wire);
        seen = ben.receive(&mut wire).0.len();
        for (n, camera) in (0..).zip(&mut clients) {
            let (_, control) = camera.receive(&mut wire);
            for packet in control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok)) {
                if let RtcpPacket::PictureLoss { media_ssrc, .. } = packet {
                    *requests.entry((n, media_ssrc - 200)).or_insert(0) += 1;
                }
            }
        }
    }
    assert!(seen >= usize::from(cameras), "{seen} packets in a picture's time");
    requests
}

#[test]
fn each_camera_is_asked_once_for_what_there_is_room_for() {
    // 120, 240 and 480 kbit/s: all of the lowest, most of the next.
    let requests = requests(CAMERAS, &extensions(), true, 5_000);
    assert_eq!(requests.len(), usize::from(CAMERAS), "in one layer: {requests:?}");
    assert!(requests.keys().all(|(_, layer)| *layer < 2), "{requests:?}");
    assert!(requests.values().all(|count| *count == 1), "{requests:?}");
}

#[test]
fn a_receiver_that_can_tell_nothing_or_does_not_gets_all() {
    for extensions in [ExtensionMap::new(), extensions()] {
        let requests = requests(CAMERAS, &extensions, false, 9_000);
        let largest = requests.keys().filter(|(_, layer)| *layer == 2).count();
        assert_eq!(largest, usize::from(CAMERAS), "{requests:?}");
    }
}

#[test]
fn no_picture_waits_for_what_is_merely_assumed() {
    // 3,600 kbit/s in the lowest layer.
    let requests = requests(30, &extensions(), false, 4_000);
    assert_eq!(requests.len(), 30, "{requests:?}");
    assert!(requests.keys().all(|(_, layer)| *layer == 0), "{requests:?}");
}
