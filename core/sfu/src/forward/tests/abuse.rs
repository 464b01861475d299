//! What a participant gets who asks for too much: a fixed share, at nobody else's expense.

use rtp::limits::RESEND_TRIES_MAX;
use rtp::nack::Nack;

use super::*;
use crate::limits::KEYFRAME_INTERVAL;

/// Under which Ben receives Ada's picture.
const SSRC: u32 = 7020;

/// Bytes that wait for a client.
fn bytes_to(wire: &Wire, port: u16) -> usize {
    wire.sent.iter().filter(|(to, _)| *to == port).map(|(_, bytes)| bytes.len()).sum()
}

#[test]
fn asking_for_every_packet_on_end_gets_each_a_few_times() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let (mut sent, mut received, mut asked, mut first) = (0, 0, 0, None);
    for now in 1..5_000 {
        if now % 20 == 0 {
            let keyframe = sent == 0;
            let bytes = ada.seal(&picture(2, 1000 + sent, &vp8(2, keyframe, 7)));
            ada.send(&mut forward, &mut wire, at(now), &bytes);
            sent += 1;
        }
        let (media, _) = ben.receive(&mut wire);
        let own = media.iter().filter(|packet| packet.header.ssrc == SSRC).count();
        received += media.len() - own;
        first = first.or(media.first().map(|packet| packet.header.sequence));
        let (Some(first), 0) = (first, now % 2) else { continue };
        ben.rtcp(&mut forward, &mut wire, at(now), |writer| {
            for n in 0..20_u16 {
                let pid = first.wrapping_add(n * 17);
                writer.nack(1, SSRC, &[Nack { pid, blp: 0xffff }]).unwrap();
                asked += 17;
            }
        });
    }
    assert!(received > 0, "some are sent again");
    let most = sent * u64::from(RESEND_TRIES_MAX);
    assert!(u64::try_from(received).unwrap() <= most, "{received} of {sent} for {asked} requests");
}

#[test]
fn asking_for_pictures_on_end_reaches_the_publisher_now_and_then() {
    let (mut forward, mut wire, mut ada, mut ben) = picture_call();
    let (mut asked, mut index) = (0_usize, 1000);
    for now in 1..3_000 {
        if now % 20 == 0 {
            let bytes = ada.seal(&picture(2, index, &vp8(2, index == 1000, 7)));
            ada.send(&mut forward, &mut wire, at(now), &bytes);
            index += 1;
        }
        ben.receive(&mut wire);
        ben.rtcp(&mut forward, &mut wire, at(now), |writer| {
            writer.picture_loss(1, SSRC).unwrap();
        });
        forward.handle_timeout(at(now), &mut wire);
        let (_, control) = ada.receive(&mut wire);
        let all = control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok));
        asked += all.filter(|packet| matches!(packet, RtcpPacket::PictureLoss { .. })).count();
    }
    let most = 3_000 / usize::try_from(KEYFRAME_INTERVAL.as_millis()).unwrap() + 1;
    assert!((1..=most).contains(&asked), "{asked} requests reached ada, {most} may");
}

#[test]
fn nonsense_for_feedback_brings_no_more_than_it_costs() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    let bytes = ada.seal(&picture(2, 1000, &vp8(2, true, 7)));
    ada.send(&mut forward, &mut wire, at(1), &bytes);
    ben.receive(&mut wire);
    let (mut brought, mut cost) = (0, 0);
    let mut noise = 7_u32;
    for now in 2..5_000 {
        let fci: Vec<u8> = (0..64)
            .map(|_| {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                noise.to_be_bytes()[0]
            })
            .collect();
        cost += fci.len();
        ben.rtcp(&mut forward, &mut wire, at(now), |writer| {
            writer.transport_feedback(1, SSRC, &fci).unwrap();
        });
        forward.handle_timeout(at(now), &mut wire);
        brought += bytes_to(&wire, ben.port);
        ben.receive(&mut wire);
    }
    assert!(brought <= cost, "{brought} bytes for {cost}");
}
