//! A publisher of more sound than there can be: what others get of it, and what it costs them.

use model::DataRate;

use super::*;
use crate::limits;

const RED: u8 = 63;

/// The packets of sound that Ben got, and how many were refused, of 1,190 bytes each millisecond for so many seconds;
/// then Ada sends ten as others do.
fn flooded(codec: Codec, seconds: u64) -> (Vec<Received>, u64) {
    let (mut forward, mut wire) = (worker(0), Wire::default());
    let mut ada = Client::join(&mut forward, &mut wire, 10);
    let mut ben = Client::join(&mut forward, &mut wire, 20);
    let formats = [(OPUS, Codec::Opus), (RED, Codec::Red)]
        .map(|(payload_type, codec)| ReceiveFormat { payload_type, codec, rtx: None });
    let receive = Instruction::SetReceive {
        peer: ada.id,
        formats: formats.to_vec(),
        extensions: extensions(),
    };
    forward.instruct(at(0), receive, &mut wire);
    forward.instruct(at(0), track(ada.id, TrackKind::Audio, &[]), &mut wire);
    forward.instruct(at(0), subscription(TRACK, ben.id, codec), &mut wire);
    let payload_type = if codec == Codec::Red { RED } else { OPUS };
    let mut media = Vec::new();
    let (end, mut requests) = (seconds * 1_000, 0);
    for n in 0..end + 10 {
        let now = if n < end { n } else { end + 1_000 + (n - end) * 20 };
        let payload = vec![9; if n < end { 1_190 } else { 80 }];
        let bytes = ada.seal(&Media { payload_type, ..sound(1_000 + n, &payload) });
        ada.send(&mut forward, &mut wire, at(now), &bytes);
        if n % 20 == 0 {
            forward.handle_timeout(at(now), &mut wire);
        }
        media.extend(ben.receive(&mut wire).0);
        let control = ada.receive(&mut wire).1;
        let all = control.iter().flat_map(|bytes| packets(bytes).map_while(Result::ok));
        requests += all.filter(|packet| matches!(packet, RtcpPacket::Nack(_))).count();
    }
    assert_eq!(requests, 0, "what was refused is not asked for again");
    (media, forward.take_refused().sound)
}

#[test]
fn sound_has_a_ceiling() {
    const SECONDS: u64 = 4;
    let ceilings = [(Codec::Opus, limits::OPUS_RATE_MAX), (Codec::Red, limits::RED_RATE_MAX)];
    for (codec, rate) in ceilings {
        let (media, refused) = flooded(codec, SECONDS);
        assert_eq!(media.len() as u64 + refused, SECONDS * 1_000 + 10);
        let most = rate.as_bps() / 8 * (2 * SECONDS + 1) / 2;
        let bytes: usize = media.iter().map(|packet| 12 + packet.payload.len()).sum();
        let bytes = bytes as u64;
        assert!((most * 95 / 100..=most).contains(&bytes), "{bytes} of {most}");
        // Afterwards all is as it was; and what was refused looks like loss.
        let last = &media[media.len() - 10..];
        assert!(last.iter().all(|packet| packet.payload.len() == 80));
        let timestamps = media
            .windows(2)
            .map(|pair| pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp) / 960);
        let sequences = media
            .windows(2)
            .map(|pair| u32::from(pair[1].header.sequence.wrapping_sub(pair[0].header.sequence)));
        assert!(timestamps.eq(sequences), "each number is its own packet's");
    }
}

#[test]
fn the_most_that_opus_can_be_arrives_whole_out_of_order_and_after_a_stall() {
    let (mut forward, mut wire, ada, mut ben) = sound_call();
    let mut count = 0;
    for n in 0..500 {
        // 510 kbit/s in frames of 10 ms; what was sent from 2 s to 2.4 s comes at once; neighbors are swapped.
        let now = if (200..240).contains(&n) { 2_400 } else { n * 10 };
        let index = 1_000 + if n < 2 { n } else { n ^ 1 };
        let bytes = ada.seal(&sound(index, &[9; 638]));
        ada.send(&mut forward, &mut wire, at(now), &bytes);
        count += ben.receive(&mut wire).0.len();
    }
    assert_eq!((count, forward.take_refused()), (500, Refused::default()));
}

#[test]
fn whoever_sends_sound_beyond_measure_stops_no_picture() {
    let (mut forward, mut wire, ada, mut ben) = picture_call();
    add_sound(&mut forward, &mut wire, 2, &ada, &ben);
    let rate = Some(DataRate::from_kbps(1_000));
    forward.instruct(at(2), Instruction::Cap { peer: ben.id, rate }, &mut wire);
    let (mut pictures, mut sent) = (0, 0);
    while forward.poll_report().is_some() {}
    for now in 2_000..6_000 {
        if now % 20 == 0 {
            let bytes = ada.seal(&picture(0, 1_000 + now / 20, &vp8(2, true, 7)));
            ada.send(&mut forward, &mut wire, at(now), &bytes);
            forward.handle_timeout(at(now), &mut wire);
            sent += 1;
        }
        if now >= 3_000 {
            let bytes = ada.seal(&sound(now, &[9; 1_190]));
            ada.send(&mut forward, &mut wire, at(now), &bytes);
        }
        let media = ben.receive(&mut wire).0;
        pictures += media.iter().filter(|packet| packet.header.ssrc == 7020).count();
        while let Some(report) = forward.poll_report() {
            assert!(!matches!(report, Report::Bandwidth { paused: true, .. }), "at {now} ms");
        }
    }
    // For a moment the layers above might have come as well.
    assert!(pictures >= sent - 25, "{pictures} of {sent}");
}

/// Who was loud and then is muted, or says nothing more, takes nothing of anybody's way.
#[test]
fn sound_that_has_ended_keeps_no_room_from_pictures() {
    for is_muted in [true, false] {
        let (mut forward, mut wire, ada, mut ben) = picture_call();
        add_sound(&mut forward, &mut wire, 2, &ada, &ben);
        let rate = Some(DataRate::from_kbps(600));
        forward.instruct(at(2), Instruction::Cap { peer: ben.id, rate }, &mut wire);
        let (mut pictures, mut paused) = (0, false);
        for now in 2_000..16_000 {
            if now % 20 == 0 {
                let bytes = ada.seal(&picture(0, 1_000 + now / 20, &vp8(2, true, 7)));
                ada.send(&mut forward, &mut wire, at(now), &bytes);
                forward.handle_timeout(at(now), &mut wire);
            }
            if (3_000..5_000).contains(&now) {
                let bytes = ada.seal(&sound(now, &[9; 1_190]));
                ada.send(&mut forward, &mut wire, at(now), &bytes);
            } else if now == 5_000 {
                let mute = Instruction::MuteTrack { track: TrackId(2), muted: is_muted };
                forward.instruct(at(now), mute, &mut wire);
            }
            let media = ben.receive(&mut wire).0;
            let count = media.iter().filter(|packet| packet.header.ssrc == 7020).count();
            pictures += count * usize::from(now >= 15_000);
            while let Some(report) = forward.poll_report() {
                paused |= matches!(report, Report::Bandwidth { paused: true, .. });
            }
        }
        assert!(paused, "while it was there it left no room");
        assert!(pictures >= 45, "{pictures} of 50, muted: {is_muted}");
    }
}

/// How many bytes of sound Ben got, and how many packets were refused, when Ada sends on so many tracks packets of that
/// payload, 50 times a second on each; and how many of Cy's 50 a second he got.
fn many_tracks(tracks: u32, payload: usize, seconds: u64) -> (u64, u64, usize) {
    let (mut forward, mut wire) = (worker(0), Wire::default());
    let ada = Client::join(&mut forward, &mut wire, 10);
    let mut ben = Client::join(&mut forward, &mut wire, 20);
    let cy = Client::join(&mut forward, &mut wire, 30);
    let ssrc = |n| 1_000 + n;
    for n in 0..=tracks {
        let peer = if n < tracks { ada.id } else { cy.id };
        let spec = TrackSpec {
            track: TrackId(100 + n),
            room: ROOM,
            peer,
            kind: TrackKind::Audio,
            mid: n.to_string().into(),
            streams: vec![StreamSpec { ssrc: Some(ssrc(n)), ..StreamSpec::default() }],
        };
        let Instruction::Subscribe(to) = subscription(spec.track, ben.id, Codec::Opus) else {
            unreachable!();
        };
        forward.instruct(at(0), Instruction::AddTrack(spec), &mut wire);
        let to = SubscriptionSpec { subscription: SubscriptionId(n), ssrc: 7_000 + n, ..to };
        forward.instruct(at(0), Instruction::Subscribe(to), &mut wire);
    }
    let (mut bytes, mut of_cy) = (0, 0);
    for n in 0..seconds * 50 {
        let now = at(n * 20);
        for track in 0..=tracks {
            let (sender, payload) = if track < tracks { (&ada, payload) } else { (&cy, 80) };
            let payload = vec![9; payload];
            let media = sender.seal(&Media { ssrc: ssrc(track), ..sound(1_000 + n, &payload) });
            sender.send(&mut forward, &mut wire, now, &media);
        }
        forward.handle_timeout(now, &mut wire);
        for packet in ben.receive(&mut wire).0 {
            if packet.header.ssrc == 7_000 + tracks {
                of_cy += 1;
            } else {
                bytes += 12 + packet.payload.len() as u64;
            }
        }
    }
    (bytes, forward.take_refused().sound, of_cy)
}

#[test]
fn all_sound_of_one_participant_has_a_ceiling() {
    const SECONDS: u64 = 4;
    // Each track brings 404 kbit/s, which it may: 25 Mbit/s together.
    let (bytes, refused, of_cy) = many_tracks(62, 1_000, SECONDS);
    let most = limits::SOUND_RATE_MAX.as_bps() / 8 * (2 * SECONDS + 1) / 2;
    assert!((most * 90 / 100..=most).contains(&bytes), "{bytes} of {most}");
    assert!(refused > 0);
    assert_eq!(of_cy as u64, SECONDS * 50, "another's sound is whole");
}

#[test]
fn forty_tracks_of_speech_are_whole() {
    let (bytes, refused, _) = many_tracks(40, 80, 4);
    assert_eq!((bytes, refused), (40 * 200 * (12 + 80), 0));
}
