//! Offers of real clients are read whole; hostile ones are refused without harm.

use crate::clients::{
    ALL, CHROMIUM_JOIN, CHROMIUM_PUBLISH, FIREFOX_JOIN, NATIVE_CAMERA, NATIVE_JOIN, parse,
};
use model::{Codec, ExtensionKind, TrackKind};
use proptest::prelude::*;
use wire::limits;
use wire::sdp::{Direction, FingerprintHash, MediaOffer, Offer, OfferError, SectionBody};

fn media<'a>(offer: &'a Offer, mid: &str) -> &'a MediaOffer {
    let section = offer.sections.iter().find(|section| section.mid.as_str() == mid).unwrap();
    match &section.body {
        SectionBody::Media(media) => media,
        SectionBody::Data(_) => panic!("data section"),
    }
}

#[test]
fn chromium_joins_with_three_and_three_sections_and_data() {
    let offer = parse(CHROMIUM_JOIN);
    let kinds: Vec<_> = offer
        .sections
        .iter()
        .map(|section| match &section.body {
            SectionBody::Media(media) => Some(media.kind),
            SectionBody::Data(_) => None,
        })
        .collect();
    let (audio, video) = (Some(TrackKind::Audio), Some(TrackKind::Video));
    assert_eq!(kinds, [audio, audio, audio, video, video, video, None]);
    assert!(offer.sections.iter().all(|section| !section.rejected));
    assert_eq!(offer.transport.fingerprint.hash, FingerprintHash::Sha256);
    assert_eq!(offer.transport.fingerprint.bytes.len(), 32);
    let audio = media(&offer, "0");
    assert_eq!(audio.direction, Direction::RecvOnly);
    let opus = &audio.payloads[0];
    assert_eq!((opus.pt, opus.codec, opus.channels), (111, Some(Codec::Opus), 2));
    assert_eq!(audio.payloads[1].codec, Some(Codec::Red));
    let vp8 = &media(&offer, "3").payloads[0];
    assert_eq!((vp8.pt, vp8.codec, vp8.rtx), (96, Some(Codec::Vp8), Some(97)));
    assert_eq!(vp8.feedback.len(), 5);
}

/// Licode #2048: a server that took these sent and took media in the clear.
#[test]
fn a_section_that_is_not_under_dtls_is_rejected() {
    let secure = "UDP/TLS/RTP/SAVPF";
    assert!(CHROMIUM_JOIN.contains(secure));
    for protocol in [
        "RTP/AVP",
        "RTP/AVPF",
        "RTP/SAVP",
        "RTP/SAVPF",
        "TCP/RTP/AVP",
        "UDP/TLS/RTP/SAVP",
        "udp/tls/rtp/savpf",
    ] {
        let offer = parse(&CHROMIUM_JOIN.replace(secure, protocol));
        let media = |section: &&wire::sdp::Section| matches!(section.body, SectionBody::Media(_));
        assert_eq!(offer.sections.iter().filter(media).count(), 6);
        assert!(offer.sections.iter().filter(media).all(|section| section.rejected), "{protocol}");
    }
}

#[test]
fn chromium_sends_a_camera_in_three_layers() {
    let offer = parse(CHROMIUM_PUBLISH);
    let camera = media(&offer, "8");
    assert_eq!(camera.direction, Direction::SendOnly);
    assert_eq!(camera.rids, ["q".into(), "h".into(), "f".into()]);
    let msid = camera.msid.as_ref().unwrap();
    assert_eq!(msid.track.as_deref(), Some("93c169dc-2d5b-46ed-a862-7e2e79e2f816"));
    assert!(
        camera.extensions.iter().any(|mapping| mapping.extension == ExtensionKind::RepairedRid)
    );
    let microphone = media(&offer, "7");
    assert_eq!(microphone.ssrcs, [1_227_064_750]);
}

#[test]
fn native_clients_offer_data_with_attributes_that_we_skip() {
    let offer = parse(NATIVE_JOIN);
    let data = offer.sections.last().unwrap();
    let SectionBody::Data(data) = data.body else { panic!("media section") };
    assert_eq!((data.port, data.max_message_size), (5000, 262_144));
    assert_eq!(media(&parse(NATIVE_CAMERA), "8").rids, ["f".into(), "h".into(), "q".into()]);
}

#[test]
fn firefox_states_fingerprint_and_direction_for_the_session() {
    let offer = parse(FIREFOX_JOIN);
    assert_eq!(&*offer.transport.ice.ufrag, "5f1c39ba");
    assert_eq!(offer.transport.fingerprint.bytes.first(), Some(&0xFE));
    // Port 0 with `a=bundle-only` is no rejection.
    assert!(offer.sections.iter().all(|section| !section.rejected));
    let camera = media(&offer, "2");
    assert_eq!(camera.rids, ["f".into(), "h".into(), "q".into()]);
    assert_eq!(camera.rtx_groups, [(1111, 2222)]);
}

#[test]
fn the_strongest_fingerprint_counts() {
    let long = ["0C"; 48].join(":");
    let text =
        FIREFOX_JOIN.replacen("a=group", &format!("a=fingerprint:sha-384 {long}\r\na=group"), 1);
    assert_eq!(parse(&text).transport.fingerprint.hash, FingerprintHash::Sha384);
    let weak = FIREFOX_JOIN.replace("sha-256", "sha-1");
    assert_eq!(Offer::parse(&weak), Err(OfferError::MissingFingerprint));
}

#[test]
fn contradictions_are_refused() {
    let two_formats = CHROMIUM_JOIN.replacen("a=rtpmap:97 rtx/90000", "a=rtpmap:97 VP9/90000", 1);
    assert_eq!(Offer::parse(&two_formats), Err(OfferError::PayloadConflict));
    let audio_level = "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level";
    let two_extensions =
        CHROMIUM_JOIN.replacen(audio_level, "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid", 1);
    assert_eq!(Offer::parse(&two_extensions), Err(OfferError::ExtensionConflict));
    let two_mids = CHROMIUM_JOIN.replacen("a=mid:1\r\n", "a=mid:0\r\n", 1);
    assert_eq!(Offer::parse(&two_mids), Err(OfferError::RepeatedMid { index: 1 }));
    let no_mid = CHROMIUM_JOIN.replacen("a=mid:0\r\n", "", 1);
    assert_eq!(Offer::parse(&no_mid), Err(OfferError::MissingMid { index: 0 }));
    let server = CHROMIUM_JOIN.replace("a=setup:actpass", "a=setup:passive");
    assert_eq!(Offer::parse(&server), Err(OfferError::PassiveSetup));
    let no_ice = CHROMIUM_JOIN.replace("a=ice-ufrag", "a=x-ufrag");
    assert_eq!(Offer::parse(&no_ice), Err(OfferError::MissingIce));
}

#[test]
fn what_would_break_an_answer_is_refused() {
    for (from, to) in [
        ("a=mid:0", "a=mid:0 0"),
        ("a=mid:0", "a=mid:01234567890123456"),
        ("minptime=10", "minptime=10\ra=ice-lite"),
        ("opus/48000", "op us/48000"),
        ("a=rtpmap:111 ", "a=rtpmap:128 "),
    ] {
        let text = CHROMIUM_JOIN.replacen(from, to, 1);
        assert_ne!(text, CHROMIUM_JOIN);
        assert!(matches!(Offer::parse(&text), Err(OfferError::Malformed { .. })), "{to}");
    }
}

#[test]
fn every_list_is_bounded() {
    let many = |prefix: &str, count: usize, line: &dyn Fn(usize) -> String| {
        let lines: String = (0..count).map(line).collect();
        CHROMIUM_PUBLISH.replacen(prefix, &format!("{lines}{prefix}"), 1)
    };
    let ssrc = |n: usize| format!("a=ssrc:{} cname:x\r\n", n + 1);
    let rid = |n: usize| format!("a=rid:r{n} send\r\n");
    let extension = |n: usize| format!("a=extmap:{} urn:x\r\n", n % 14 + 1);
    for text in [
        many("a=rid:q send", limits::SDP_SSRCS_MAX + 1, &ssrc),
        many("a=rid:q send", limits::SDP_RIDS_MAX + 1, &rid),
        many("a=rid:q send", limits::SDP_EXTENSIONS_MAX + 1, &extension),
        crate::clients::with_more(CHROMIUM_JOIN, limits::SDP_SECTIONS_MAX, 0),
    ] {
        assert!(matches!(Offer::parse(&text), Err(OfferError::TooMany { .. })));
    }
    let long = CHROMIUM_JOIN.replacen("s=-", &format!("s={}", "-".repeat(9000)), 1);
    assert_eq!(Offer::parse(&long), Err(OfferError::LineTooLong { line: 3 }));
    assert_eq!(Offer::parse(&"\n".repeat(limits::SDP_MAX + 1)), Err(OfferError::TooLarge));
    let whole = crate::clients::with_more(CHROMIUM_JOIN, limits::SDP_SECTIONS_MAX - 7, 0);
    assert_eq!(parse(&whole).sections.len(), limits::SDP_SECTIONS_MAX);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn damaged_offers_never_panic(
        which in 0..ALL.len(),
        cut in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 0..8),
    ) {
        let mut bytes = ALL[which].as_bytes().to_vec();
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(offer) = Offer::parse(&text) {
            drop(crate::clients::negotiation().offer(&offer));
        }
    }

    #[test]
    fn random_lines_never_panic(
        lines in prop::collection::vec("(m|a|v)=(audio|video|rtpmap:|fmtp:|mid:|extmap:|rid:|simulcast:|ssrc:|ssrc-group:|group:BUNDLE)?[ -~]{0,20}", 0..60),
    ) {
        drop(Offer::parse(&lines.join("\n")));
    }
}
