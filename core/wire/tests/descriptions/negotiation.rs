//! What LiveKit's clients do in a single peer connection, offer by offer.

use crate::clients::{
    ALL, CHROMIUM_JOIN, CHROMIUM_PUBLISH, CHROMIUM_REPUBLISH, CHROMIUM_UNPUBLISH, FIREFOX_JOIN,
    NATIVE_CAMERA, NATIVE_JOIN, NATIVE_MICROPHONE, NATIVE_UNPUBLISH, negotiation, parse, section,
    with_camera, with_more,
};
use model::{Codec, ParticipantSid, TrackKind, TrackSid};
use wire::limits;
use wire::negotiation::{
    AnnounceError, Announcement, Negotiation, NegotiationError, OpusOptions, Requirement,
    Subscription,
};
use wire::sdp::{IceCredentials, Offer};

const MICROPHONE: &str = "39f18be5-e6a4-4aef-9df1-e85df0041e9d";
/// Sections of whoever sends nothing.
const RECEIVING: usize = limits::SECTIONS_OPEN_MAX - limits::SECTIONS_KEPT;
const CAMERA: &str = "93c169dc-2d5b-46ed-a862-7e2e79e2f816";

fn announcement(cid: &str, kind: TrackKind) -> Announcement {
    Announcement {
        cid: cid.into(),
        sdp_cids: Vec::new(),
        kind,
        preferred: Vec::new(),
        opus: OpusOptions::default(),
    }
}

fn sid(name: &str) -> TrackSid {
    TrackSid::from_wire(&format!("TR_{name}"))
}

fn subscription(name: &str, codec: Codec, ssrc: u32) -> Subscription {
    Subscription {
        track: sid(name),
        participant: ParticipantSid::from_wire("PA_alice"),
        sync_group: Some("camera".into()),
        codec,
        ssrc,
        rtx_ssrc: (codec.kind() == TrackKind::Video).then_some(ssrc + 1),
    }
}

const fn required(audios: u32, videos: u32) -> Requirement {
    Requirement { audios, videos }
}

#[test]
fn every_real_offer_is_answered_section_by_section() {
    for text in ALL {
        let offer = parse(text);
        let outcome = negotiation().offer(&offer).unwrap();
        let mids: Vec<&str> =
            outcome.answer.split("\r\n").filter_map(|line| line.strip_prefix("a=mid:")).collect();
        let offered: Vec<&str> =
            offer.sections.iter().map(|section| section.mid.as_str()).collect();
        assert_eq!(mids, offered);
        assert!(outcome.data);
        for foreign in ["sctp-init", "goog-sped", "ice-options", "goog-remb", "candidate-pair"] {
            assert!(!outcome.answer.contains(foreign), "{foreign}");
        }
        assert!(outcome.answer.contains("\r\na=ice-lite\r\n"));
        assert_eq!(outcome.answer.matches("a=candidate:").count(), 1);
        assert_eq!(outcome.answer.matches("a=end-of-candidates").count(), 1);
        assert!(!outcome.answer.contains("a=setup:act"));
    }
}

#[test]
fn a_free_section_is_answered_inactive_with_every_accepted_codec() {
    let outcome = negotiation().offer(&parse(CHROMIUM_JOIN)).unwrap();
    assert_eq!(
        section(&outcome.answer, "3"),
        [
            "video 9 UDP/TLS/RTP/SAVPF 96 97 108 109",
            "c=IN IP4 0.0.0.0",
            "a=ice-ufrag:ours",
            "a=ice-pwd:0123456789012345678901",
            &format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":")),
            "a=setup:passive",
            "a=mid:3",
            "a=extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            "a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            "a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
            "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            "a=extmap:11 urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            "a=inactive",
            "a=rtcp-mux",
            "a=rtcp-rsize",
            "a=rtpmap:96 VP8/90000",
            "a=rtcp-fb:96 transport-cc",
            "a=rtcp-fb:96 ccm fir",
            "a=rtcp-fb:96 nack",
            "a=rtcp-fb:96 nack pli",
            "a=rtpmap:97 rtx/90000",
            "a=fmtp:97 apt=96",
            "a=rtpmap:108 H264/90000",
            "a=rtcp-fb:108 transport-cc",
            "a=rtcp-fb:108 ccm fir",
            "a=rtcp-fb:108 nack",
            "a=rtcp-fb:108 nack pli",
            "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            "a=rtpmap:109 rtx/90000",
            "a=fmtp:109 apt=108",
        ]
    );
    assert_eq!(
        section(&outcome.answer, "6")[6..],
        ["a=mid:6", "a=sctp-port:5000", "a=max-message-size:65536"]
    );
}

#[test]
fn what_would_change_the_pictures_that_a_client_sends_is_not_agreed_to() {
    for offer in [CHROMIUM_JOIN, CHROMIUM_PUBLISH, NATIVE_CAMERA] {
        for uri in ["#dependency-descriptor-rtp-header-extension", "urn:3gpp:video-orientation"] {
            assert!(offer.contains(uri));
            let outcome = negotiation().offer(&parse(offer)).unwrap();
            assert!(!outcome.answer.contains(uri), "{uri}");
        }
    }
}

#[test]
fn firefox_holds_to_the_ssrcs_of_what_it_receives() {
    let has_mid = |text: &str, name| {
        let outcome = negotiation().offer(&parse(text)).unwrap();
        section(&outcome.answer, name).iter().any(|line| line.ends_with("hdrext:sdes:mid"))
    };
    assert!(!has_mid(FIREFOX_JOIN, "1"));
    assert!(has_mid(FIREFOX_JOIN, "2"), "what it sends is told apart by that");
    let other = FIREFOX_JOIN.replace("o=mozilla", "o=other");
    assert!(has_mid(&other, "1"), "Chromium has to see it");
}

#[test]
fn announced_tracks_are_matched_by_name_and_received() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    for (cid, kind) in [("other", TrackKind::Video), (CAMERA, TrackKind::Video)] {
        assert_eq!(negotiation.announce(announcement(cid, kind)), Ok(None));
    }
    assert_eq!(negotiation.announce(announcement(MICROPHONE, TrackKind::Audio)), Ok(None));
    let outcome = negotiation.offer(&parse(CHROMIUM_PUBLISH)).unwrap();
    let cids: Vec<_> = outcome.started.iter().map(|section| section.cid.as_deref()).collect();
    assert_eq!(cids, [Some(MICROPHONE), Some(CAMERA)]);
    let camera = &outcome.started[1];
    assert_eq!(camera.rids, ["q".into(), "h".into(), "f".into()]);
    assert_eq!((camera.payloads[0].pt, camera.payloads[0].rtx), (96, Some(97)));
    assert_eq!(outcome.started[0].ssrcs, [(1_227_064_750, None)]);

    let lines = section(&outcome.answer, "8");
    for line in
        ["a=recvonly", "a=rid:q recv", "a=rid:h recv", "a=rid:f recv", "a=simulcast:recv q;h;f"]
    {
        assert!(lines.contains(&line), "{line}");
    }
    let opus = "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1";
    assert!(section(&outcome.answer, "7").contains(&opus));
    // One payload type, one set of parameters in all of the bundle.
    assert!(section(&outcome.answer, "0").contains(&opus));
    // Nothing changes, nothing is reported.
    let again = negotiation.offer(&parse(CHROMIUM_PUBLISH)).unwrap();
    assert!(again.started.is_empty() && again.changed.is_empty() && again.ended.is_empty());
}

#[test]
fn a_publication_chooses_how_its_opus_is_encoded() {
    let mut negotiation = negotiation();
    let opus = OpusOptions { no_dtx: true, stereo: true };
    let stereo = Announcement { opus, ..announcement(MICROPHONE, TrackKind::Audio) };
    negotiation.announce(stereo).unwrap();
    let outcome = negotiation.offer(&parse(CHROMIUM_PUBLISH)).unwrap();
    let fmtp = "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;maxaveragebitrate=510000";
    assert!(section(&outcome.answer, "7").contains(&fmtp));
}

#[test]
fn a_publication_chooses_its_codec() {
    let mut negotiation = negotiation();
    let preferred = vec![Codec::H264];
    let h264 = Announcement { preferred, ..announcement(CAMERA, TrackKind::Video) };
    negotiation.announce(h264).unwrap();
    let outcome = negotiation.offer(&parse(CHROMIUM_PUBLISH)).unwrap();
    let line = section(&outcome.answer, "8")[0];
    assert_eq!(line, "video 9 UDP/TLS/RTP/SAVPF 108 109 96 97");
}

#[test]
fn media_may_come_before_its_announcement() {
    let mut negotiation = negotiation();
    let outcome = negotiation.offer(&parse(CHROMIUM_PUBLISH)).unwrap();
    assert!(outcome.started.iter().all(|section| section.cid.is_none()));
    let found = negotiation.announce(announcement(CAMERA, TrackKind::Video)).unwrap().unwrap();
    assert_eq!((found.mid.as_str(), found.cid.as_deref()), ("8", Some(CAMERA)));
    // Matched is matched: another camera waits for a section of its own.
    assert_eq!(negotiation.announce(announcement("x", TrackKind::Video)), Ok(None));
}

#[test]
fn a_track_of_unknown_name_takes_the_oldest_announcement_of_its_kind() {
    let mut negotiation = negotiation();
    for cid in ["first", "second"] {
        negotiation.announce(announcement(cid, TrackKind::Video)).unwrap();
    }
    let outcome = negotiation.offer(&parse(CHROMIUM_PUBLISH)).unwrap();
    let camera = outcome.started.iter().find(|section| section.kind == TrackKind::Video).unwrap();
    assert_eq!(camera.cid.as_deref(), Some("first"));
}

#[test]
fn announcements_are_bounded() {
    let mut negotiation = negotiation();
    for n in 0..limits::ANNOUNCED_MAX {
        negotiation.announce(announcement(&n.to_string(), TrackKind::Video)).unwrap();
    }
    let one_more = announcement("one more", TrackKind::Video);
    assert_eq!(negotiation.announce(one_more.clone()), Err(AnnounceError::TooMany));
    negotiation.withdraw("0");
    assert_eq!(negotiation.announce(one_more), Ok(None));
}

#[test]
fn an_unpublished_section_is_given_back_and_another_publication_starts() {
    let mut negotiation = negotiation();
    negotiation.announce(announcement(CAMERA, TrackKind::Video)).unwrap();
    negotiation.announce(announcement(MICROPHONE, TrackKind::Audio)).unwrap();
    negotiation.offer(&parse(CHROMIUM_PUBLISH)).unwrap();
    let outcome = negotiation.offer(&parse(CHROMIUM_UNPUBLISH)).unwrap();
    assert_eq!(outcome.ended.len(), 1);
    assert_eq!(outcome.ended[0].cid.as_deref(), Some(CAMERA));
    assert!(section(&outcome.answer, "8")[0].starts_with("video 0 "));
    assert!(!outcome.answer.contains("BUNDLE 0 1 2 3 4 5 6 7 8"));
    // Chromium of the capture had been answered otherwise and went on with a new section.
    negotiation.announce(announcement("another", TrackKind::Video)).unwrap();
    let outcome = negotiation.offer(&parse(CHROMIUM_REPUBLISH)).unwrap();
    assert_eq!(outcome.started.len(), 1);
    assert_eq!(outcome.started[0].mid.as_str(), "9");
    assert_eq!(outcome.started[0].cid.as_deref(), Some("another"));
}

#[test]
fn a_place_given_back_returns_under_another_mid() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(CHROMIUM_PUBLISH)).unwrap();
    negotiation.offer(&parse(CHROMIUM_UNPUBLISH)).unwrap();
    let recycled = CHROMIUM_PUBLISH.replace("a=mid:8", "a=mid:9").replace(" 7 8\r\n", " 7 9\r\n");
    let outcome = negotiation.offer(&parse(&recycled)).unwrap();
    assert_eq!(outcome.started.len(), 1);
    assert_eq!(outcome.started[0].mid.as_str(), "9");
}

/// A client may go on like this for ever.
#[test]
fn places_that_return_under_other_mids_leave_nothing_behind() {
    let mut negotiation = negotiation();
    for round in 8..200 {
        let under = |text: &str| {
            let text = text.replace("a=mid:8", &format!("a=mid:{round}"));
            parse(&text.replace(" 7 8\r\n", &format!(" 7 {round}\r\n")))
        };
        negotiation.offer(&under(CHROMIUM_PUBLISH)).unwrap();
        let mids = negotiation.publications().map(|section| section.mid.as_str());
        assert_eq!(mids.collect::<Vec<_>>(), ["7", &round.to_string()]);
        negotiation.offer(&under(CHROMIUM_UNPUBLISH)).unwrap();
        assert_eq!(negotiation.publications().count(), 1);
    }
}

#[test]
fn a_native_client_publishes_and_unpublishes() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(NATIVE_JOIN)).unwrap();
    let microphone = "45a174fb-d990-4ffa-b76a-42b30a01ecee";
    negotiation.announce(announcement(microphone, TrackKind::Audio)).unwrap();
    let outcome = negotiation.offer(&parse(NATIVE_MICROPHONE)).unwrap();
    assert_eq!(outcome.started[0].cid.as_deref(), Some(microphone));
    let outcome = negotiation.offer(&parse(NATIVE_CAMERA)).unwrap();
    let camera = &outcome.started[0];
    // It lists the layers from the largest down, without retransmission.
    assert_eq!(camera.rids, ["q".into(), "h".into(), "f".into()]);
    assert_eq!(camera.payloads[0].rtx, None);
    assert!(section(&outcome.answer, "8").contains(&"a=simulcast:recv f;h;q"));
    let outcome = negotiation.offer(&parse(NATIVE_UNPUBLISH)).unwrap();
    assert_eq!(outcome.ended.len(), 1);
    // It offers the section for receiving; its place is worth more to it for what it publishes next.
    assert!(section(&outcome.answer, "8")[0].starts_with("video 0 "));
    let recycled = NATIVE_CAMERA.replace("a=mid:8", "a=mid:9").replace(" 7 8\r\n", " 7 9\r\n");
    let outcome = negotiation.offer(&parse(&recycled)).unwrap();
    assert_eq!(outcome.started[0].mid.as_str(), "9");
}

#[test]
fn a_place_given_back_is_room_for_another_section() {
    let mut negotiation = negotiation();
    for offer in [NATIVE_JOIN, NATIVE_CAMERA] {
        negotiation.offer(&parse(offer)).unwrap();
    }
    let outcome = negotiation.offer(&parse(NATIVE_UNPUBLISH)).unwrap();
    let open = outcome.answer.matches("\r\nm=").count() - outcome.answer.matches(" 0 UDP").count();
    for n in 0..100 {
        negotiation.want(subscription(&n.to_string(), Codec::Vp8, 100 + 2 * n));
    }
    // What it still sends has one of the places that are kept for that.
    let room = u32::try_from(RECEIVING + 1 - open).unwrap();
    assert_eq!(negotiation.requirement(), Some(required(0, room)));
}

#[test]
fn a_section_in_which_a_native_client_published_may_carry_what_it_receives() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(NATIVE_JOIN)).unwrap();
    negotiation.offer(&parse(NATIVE_CAMERA)).unwrap();
    // It is for receiving VP8: a fourth video fits, an H264 one does not.
    for n in 0..4 {
        negotiation.want(subscription(&n.to_string(), Codec::H264, 100 + 2 * n));
    }
    assert_eq!(negotiation.requirement(), Some(required(0, 1)));
    negotiation.unwant(&sid("3"));
    negotiation.want(subscription("4", Codec::Vp8, 200));
    let outcome = negotiation.offer(&parse(NATIVE_UNPUBLISH)).unwrap();
    let placed: Vec<_> = outcome.placed.iter().map(|section| section.mid.as_str()).collect();
    assert_eq!(placed, ["3", "4", "5", "8"]);
    assert!(section(&outcome.answer, "8")[0].starts_with("video 9 "));
}

#[test]
fn subscriptions_fill_the_sections_of_the_first_offer() {
    let mut negotiation = negotiation();
    negotiation.want(subscription("mic", Codec::Opus, 10));
    negotiation.want(subscription("cam", Codec::Vp8, 20));
    let outcome = negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    let map: Vec<_> =
        outcome.mid_to_track_id.iter().map(|(mid, track)| (mid.as_str(), track.clone())).collect();
    assert_eq!(map, [("0", sid("mic")), ("3", sid("cam"))]);
    assert_eq!(outcome.placed[1].payloads[0].pt, 96);
    let lines = section(&outcome.answer, "3");
    for line in [
        "a=sendonly",
        "a=msid:PA_alice|camera TR_cam",
        "a=ssrc-group:FID 20 21",
        "a=ssrc:20 cname:PA_alice",
        "a=ssrc:21 cname:PA_alice",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
    assert_eq!(negotiation.requirement(), None);
}

#[test]
fn ten_and_ten_tracks_need_seven_and_seven_more_sections() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    for n in 0..10 {
        negotiation.want(subscription(&format!("a{n}"), Codec::Opus, 100 + n));
        negotiation.want(subscription(&format!("v{n}"), Codec::Vp8, 200 + 2 * n));
    }
    assert_eq!(negotiation.requirement(), Some(required(7, 7)));
    assert_eq!(negotiation.requirement(), None, "asked once");
    // An offer that the client sent before it was asked fills what there is.
    let outcome = negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    assert_eq!(outcome.placed.len(), 6);
    assert_eq!(negotiation.requirement(), None, "the rest is on its way");
    let outcome = negotiation.offer(&parse(&with_more(CHROMIUM_JOIN, 7, 7))).unwrap();
    assert_eq!(outcome.placed.len(), 14);
    assert_eq!(outcome.mid_to_track_id.len(), 20);
    assert_eq!(negotiation.requirement(), None);
}

#[test]
fn tracks_beyond_the_last_section_are_told_of_once_and_come_when_another_ends() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    // One of 64 is for data, three are for pictures.
    for n in 0..62 {
        negotiation.want(subscription(&n.to_string(), Codec::Opus, 100 + n));
    }
    assert_eq!(negotiation.crowded_out(), [sid("60"), sid("61")]);
    assert_eq!(negotiation.crowded_out(), []);
    assert_eq!(negotiation.requirement(), Some(required(57, 0)));
    let offer = with_more(CHROMIUM_JOIN, 57, 0);
    assert_eq!(negotiation.offer(&parse(&offer)).unwrap().placed.len(), 60);
    assert_eq!(negotiation.crowded_out(), [], "told before");
    negotiation.unwant(&sid("7"));
    negotiation.offer(&parse(&offer)).unwrap();
    assert_eq!(negotiation.offer(&parse(&offer)).unwrap().placed[0].track, sid("60"));
    negotiation.unwant(&sid("61"));
    negotiation.want(subscription("61", Codec::Opus, 900));
    assert_eq!(negotiation.crowded_out(), [], "it waits as before");
    negotiation.unwant(&sid("61"));
    negotiation.unwant(&sid("8"));
    negotiation.want(subscription("62", Codec::Opus, 902));
    assert_eq!(negotiation.crowded_out(), [], "a section becomes free with the next answer");
}

#[test]
fn free_sections_are_asked_to_be_offered_again() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    negotiation.want(subscription("mic", Codec::Opus, 10));
    assert_eq!(negotiation.requirement(), Some(required(0, 0)));
    assert_eq!(negotiation.requirement(), None);
    negotiation.forget_requests();
    assert_eq!(negotiation.requirement(), Some(required(0, 0)), "a lost request is repeated");
}

#[test]
fn a_section_falls_silent_before_it_carries_another_track() {
    let mut negotiation = negotiation();
    for n in 0..3 {
        negotiation.want(subscription(&n.to_string(), Codec::Vp8, 100 + 2 * n));
    }
    negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    negotiation.unwant(&sid("1"));
    assert_eq!(negotiation.requirement(), Some(required(0, 0)));
    negotiation.want(subscription("next", Codec::Vp8, 300));
    assert_eq!(negotiation.requirement(), Some(required(0, 1)), "sooner than two more offers");
    let outcome = negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    assert!(outcome.placed.is_empty());
    assert!(section(&outcome.answer, "4").contains(&"a=inactive"));
    let freed: Vec<_> = outcome.freed.iter().map(|mid| mid.as_str()).collect();
    assert_eq!(freed, ["4"]);
    let outcome = negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    assert_eq!(outcome.placed[0].mid.as_str(), "4");
    assert!(section(&outcome.answer, "4").contains(&"a=msid:PA_alice|camera TR_next"));
}

#[test]
fn sections_asked_for_stay_within_the_limit() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    for n in 0..100 {
        negotiation.want(subscription(&n.to_string(), Codec::Vp8, 100 + 2 * n));
    }
    let room = u32::try_from(RECEIVING - 7).unwrap();
    assert_eq!(negotiation.requirement(), Some(required(0, room)));
    assert_eq!(negotiation.requirement(), None);
}

/// Sections of the answer that were not rejected.
fn accepted(answer: &str) -> usize {
    answer.matches("\r\nm=").count() - answer.matches(" 0 UDP").count()
}

#[test]
fn whoever_is_asked_for_all_sections_that_there_are_can_still_publish() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    for n in 0..100 {
        negotiation.want(subscription(&n.to_string(), Codec::Vp8, 100 + 2 * n));
    }
    let asked = negotiation.requirement().unwrap().videos;
    let mut offer = with_more(CHROMIUM_JOIN, 0, usize::try_from(asked).unwrap());
    negotiation.offer(&parse(&offer)).unwrap();
    assert_eq!(negotiation.requirement(), None);
    for n in 0..8 {
        let cid = format!("own{n}");
        assert!(matches!(negotiation.announce(announcement(&cid, TrackKind::Video)), Ok(None)));
        offer = with_camera(&offer, &cid);
        let outcome = negotiation.offer(&Offer::parse(&offer).unwrap()).unwrap();
        assert_eq!(outcome.started[0].cid.as_deref(), Some(&*cid));
        assert_eq!(outcome.displaced, []);
    }
    assert_eq!(negotiation.requirement(), None, "they are no room for others' tracks");
}

#[test]
fn sections_beyond_the_last_place_are_rejected_and_all_others_go_on() {
    let mut negotiation = negotiation();
    negotiation.want(subscription("mic", Codec::Opus, 10));
    // As when sections were asked for twice, since the first message may have been lost.
    let many = with_more(CHROMIUM_JOIN, 57, 50);
    let mut outcome = negotiation.offer(&Offer::parse(&many).unwrap()).unwrap();
    assert_eq!(accepted(&outcome.answer), 64);
    assert!(section(&outcome.answer, "63")[0].starts_with("audio 9 "));
    assert!(section(&outcome.answer, "64")[0].starts_with("video 0 "));
    let mut offer = many;
    for n in 0..9 {
        offer = with_camera(&offer, &format!("own{n}"));
    }
    // Whatever it sends comes before what it would receive, and nothing leaves its place.
    let offer = with_more(&offer, 0, 1);
    outcome = negotiation.offer(&Offer::parse(&offer).unwrap()).unwrap();
    assert_eq!((outcome.started.len(), accepted(&outcome.answer)), (8, 72));
    assert_eq!((outcome.ended.len(), outcome.displaced.len()), (0, 0));
    // A place that is given back is free from the next offer on.
    let laid_down = offer.replacen("a=sendonly\r\na=msid:- own0", "a=inactive", 1);
    outcome = negotiation.offer(&Offer::parse(&laid_down).unwrap()).unwrap();
    assert_eq!((outcome.ended.len(), accepted(&outcome.answer)), (1, 71));
    outcome = negotiation.offer(&Offer::parse(&laid_down).unwrap()).unwrap();
    assert_eq!((outcome.started.len(), accepted(&outcome.answer)), (1, 72), "the ninth's turn");
}

#[test]
fn a_track_for_which_there_is_no_place_costs_no_offer() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    for n in 0..57 {
        negotiation.want(subscription(&n.to_string(), Codec::Opus, 100 + n));
    }
    negotiation.want(subscription("57", Codec::Opus, 300));
    assert_eq!(negotiation.requirement(), Some(required(55, 0)));
    negotiation.want(subscription("58", Codec::Opus, 301));
    assert_eq!(negotiation.requirement(), Some(required(1, 0)));
    negotiation.want(subscription("59", Codec::Opus, 302));
    assert_eq!(negotiation.requirement(), Some(required(1, 0)));
    negotiation.want(subscription("60", Codec::Opus, 303));
    assert_eq!(negotiation.requirement(), Some(required(0, 0)), "three still stand free");
    let offer = with_more(CHROMIUM_JOIN, 57, 0);
    negotiation.offer(&parse(&offer)).unwrap();
    negotiation.want(subscription("61", Codec::Opus, 304));
    assert_eq!(negotiation.requirement(), None, "none can come");
    negotiation.want(subscription("cam", Codec::Vp8, 400));
    assert_eq!(negotiation.requirement(), Some(required(0, 0)), "one stands free");
    negotiation.unwant(&sid("60"));
    assert_eq!(negotiation.requirement(), None, "it had none");
    negotiation.unwant(&sid("7"));
    assert_eq!(negotiation.requirement(), Some(required(0, 0)), "one becomes free");
}

#[test]
fn a_section_that_came_and_found_no_place_is_asked_for_again_once_there_is_one() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    for n in 0..100 {
        negotiation.want(subscription(&n.to_string(), Codec::Vp8, 100 + 2 * n));
    }
    let asked = usize::try_from(negotiation.requirement().unwrap().videos).unwrap();
    // Meanwhile it has begun to send in more sections than are kept for that.
    let mut base = CHROMIUM_JOIN.to_owned();
    for n in 0..=limits::SECTIONS_KEPT {
        base = with_camera(&base, &format!("own{n}"));
    }
    let offer = with_more(&base, 0, asked);
    let outcome = negotiation.offer(&Offer::parse(&offer).unwrap()).unwrap();
    assert_eq!(accepted(&outcome.answer), limits::SECTIONS_OPEN_MAX);
    assert_eq!(negotiation.requirement(), None, "there is no place");
    let rejected = offer.replacen("a=sendonly\r\na=msid:- own0", "a=inactive", 1);
    let (rest, last) = rejected.rsplit_once("m=video 9").unwrap();
    let rejected = format!("{rest}m=video 0{last}");
    negotiation.offer(&Offer::parse(&rejected).unwrap()).unwrap();
    assert_eq!(negotiation.requirement(), Some(required(0, 1)));
}

#[test]
fn what_the_client_sends_beyond_its_own_places_crowds_others_out() {
    let mut negotiation = negotiation();
    negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    for n in 0..60 {
        negotiation.want(subscription(&n.to_string(), Codec::Opus, 100 + n));
    }
    assert_eq!(negotiation.crowded_out(), []);
    let mut offer = CHROMIUM_JOIN.to_owned();
    for n in 0..=limits::SECTIONS_KEPT {
        offer = with_camera(&offer, &format!("own{n}"));
    }
    negotiation.offer(&parse(&offer)).unwrap();
    assert_eq!(negotiation.crowded_out(), [sid("59")]);
    assert_eq!(negotiation.crowded_out(), []);
}

#[test]
fn the_section_of_a_refused_track_waits_for_that_track_alone() {
    let mut negotiation = negotiation();
    negotiation.announce(announcement("camera", TrackKind::Video)).unwrap();
    negotiation.refuse("screen", Some(TrackKind::Video));
    let screen = with_camera(CHROMIUM_JOIN, "screen");
    let outcome = negotiation.offer(&parse(&screen)).unwrap();
    assert_eq!(outcome.started[0].cid, None);
    let both = with_camera(&screen, "renamed");
    let outcome = negotiation.offer(&parse(&both)).unwrap();
    assert_eq!(outcome.started[0].cid.as_deref(), Some("camera"));
}

#[test]
fn as_many_refused_tracks_are_remembered_as_may_wait_for_their_media() {
    let is_taken_for_another = |others: usize| {
        let mut negotiation = negotiation();
        negotiation.refuse("late", None);
        for n in 0..others {
            negotiation.refuse(&n.to_string(), None);
        }
        negotiation.offer(&parse(&with_camera(CHROMIUM_JOIN, "late"))).unwrap();
        negotiation.announce(announcement("other", TrackKind::Video)).unwrap().is_some()
    };
    assert!(!is_taken_for_another(limits::ANNOUNCED_MAX - 1));
    assert!(is_taken_for_another(limits::ANNOUNCED_MAX));
}

#[test]
fn sections_under_new_names_are_of_the_oldest_whether_it_was_refused_or_not() {
    // (refused before the offer, what the sections of the offer are found to be of)
    let check = |refused: &[&str], expected: [Option<&str>; 2]| {
        let mut negotiation = negotiation();
        for cid in ["first", "second"] {
            negotiation.announce(announcement(cid, TrackKind::Video)).unwrap();
        }
        for cid in refused {
            negotiation.refuse(cid, None);
        }
        let both = with_camera(&with_camera(CHROMIUM_JOIN, "renamed"), "as well");
        let outcome = negotiation.offer(&parse(&both)).unwrap();
        let cids: Vec<_> = outcome.started.iter().map(|it| it.cid.as_deref()).collect();
        assert_eq!(cids, expected);
        // Each is kept for its own.
        assert_eq!(negotiation.announce(announcement("third", TrackKind::Video)), Ok(None));
        for (cid, at) in ["first", "second"].into_iter().zip([0, 1]) {
            if refused.contains(&cid) {
                let again = negotiation.announce(announcement(cid, TrackKind::Video)).unwrap();
                assert_eq!(again.map(|it| it.mid), Some(outcome.started[at].mid.clone()));
            }
        }
    };
    check(&[], [Some("first"), Some("second")]);
    check(&["first"], [None, Some("second")]);
    check(&["second"], [Some("first"), None]);
    check(&["first", "second"], [None, None]);
}

/// The join in which one section is idle: what is left of a track that was taken back before it was described.
fn with_idle_section() -> String {
    with_camera(CHROMIUM_JOIN, "renamed").replace("a=sendonly", "a=inactive")
}

/// The next camera, whose section comes under another name after those of `before`, has that section.
fn assert_next_camera_comes(mut negotiation: Negotiation, before: &str) {
    negotiation.announce(announcement("camera", TrackKind::Video)).unwrap();
    let outcome = negotiation.offer(&parse(&with_camera(before, "as well"))).unwrap();
    assert_eq!(outcome.started[0].cid.as_deref(), Some("camera"));
}

#[test]
fn a_refused_track_that_was_taken_back_before_its_section_came_awaits_none() {
    let idle = with_idle_section();
    let mut negotiation = negotiation();
    negotiation.refuse("screen", Some(TrackKind::Video));
    negotiation.offer(&parse(&idle)).unwrap();
    assert_next_camera_comes(negotiation, &idle);
}

#[test]
fn so_it_is_in_the_place_of_another_section() {
    let mut negotiation = negotiation();
    let idle = with_idle_section();
    let (_, last) = idle.rsplit_once("a=mid:").unwrap();
    let (mid, _) = last.split_once('\r').unwrap();
    let anew = idle.replace(&format!("a=mid:{mid}\r"), "a=mid:anew\r").replacen(
        &format!(" {mid}\r"),
        " anew\r",
        1,
    );
    for (cid, offer) in [("screen", &idle), ("another", &anew)] {
        negotiation.refuse(cid, Some(TrackKind::Video));
        negotiation.offer(&parse(offer)).unwrap();
    }
    assert_next_camera_comes(negotiation, &anew);
}

#[test]
fn a_section_without_a_format_of_ours_is_reported_and_its_track_may_come_in_another() {
    let mut negotiation = negotiation();
    negotiation.announce(announcement("camera", TrackKind::Video)).unwrap();
    let offer = with_camera(CHROMIUM_JOIN, "camera");
    let lacking = offer.replace(" VP8/", " VP80/").replace(" H264/", " H2640/");
    let outcome = negotiation.offer(&parse(&lacking)).unwrap();
    assert_eq!(outcome.unusable, ["camera".into()]);
    assert_eq!((outcome.started, outcome.ended), (vec![], vec![]));
    assert_eq!(negotiation.announce(announcement("camera", TrackKind::Video)), Ok(None));
    let outcome = negotiation.offer(&parse(&offer)).unwrap();
    assert_eq!(outcome.started[0].cid.as_deref(), Some("camera"));
    assert!(outcome.unusable.is_empty());
}

#[test]
fn an_announcement_of_sound_takes_no_section_of_pictures() {
    let mut negotiation = negotiation();
    negotiation.announce(announcement("track", TrackKind::Audio)).unwrap();
    let outcome = negotiation.offer(&parse(&with_camera(CHROMIUM_JOIN, "track"))).unwrap();
    assert_eq!(outcome.started[0].cid, None);
}

#[test]
fn a_track_that_is_refused_once_more_awaits_another_section() {
    let mut negotiation = negotiation();
    let once = with_camera(CHROMIUM_JOIN, "renamed");
    negotiation.offer(&parse(&once)).unwrap();
    for _ in 0..2 {
        negotiation.refuse("screen", Some(TrackKind::Video));
        negotiation.offer(&parse(&once)).unwrap();
    }
    negotiation.announce(announcement("camera", TrackKind::Video)).unwrap();
    let twice = with_camera(&once.replace("a=sendonly", "a=inactive"), "renamed anew");
    let outcome = negotiation.offer(&parse(&twice)).unwrap();
    assert_eq!(outcome.started[0].cid, None);
    let outcome = negotiation.offer(&parse(&with_camera(&twice, "another"))).unwrap();
    assert_eq!(outcome.started[0].cid.as_deref(), Some("camera"));
}

#[test]
fn a_codec_that_the_client_lacks_is_reported() {
    let mut negotiation = negotiation();
    negotiation.want(subscription("cam", Codec::H265, 10));
    let without = CHROMIUM_JOIN.replace(" H265/", " H2650/");
    let outcome = negotiation.offer(&parse(&without)).unwrap();
    assert_eq!(outcome.unsupported, [sid("cam")]);
    assert_eq!(negotiation.requirement(), None);
}

#[test]
fn a_subscription_moves_when_the_client_closes_its_section() {
    let mut negotiation = negotiation();
    negotiation.want(subscription("mic", Codec::Opus, 10));
    negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    let closed = CHROMIUM_JOIN.replacen("m=audio 9", "m=audio 0", 1);
    let outcome = negotiation.offer(&parse(&closed)).unwrap();
    assert_eq!(outcome.displaced, [sid("mic")]);
    assert_eq!(outcome.placed[0].mid.as_str(), "1");
    assert!(section(&outcome.answer, "0")[0].starts_with("audio 0 "));
}

#[test]
fn an_ice_restart_changes_both_ends() {
    let mut negotiation = negotiation();
    let outcome = negotiation.offer(&parse(CHROMIUM_JOIN)).unwrap();
    assert!(!outcome.ice_restart);
    let ufrag = &*outcome.remote.ice.ufrag;
    let offer = parse(&CHROMIUM_JOIN.replace(&format!("ufrag:{ufrag}"), "ufrag:anew"));
    assert!(negotiation.restarts_ice(&offer));
    negotiation.renew_ice(IceCredentials::new("next", "9876543210987654321098"));
    let outcome = negotiation.offer(&offer).unwrap();
    assert!(outcome.ice_restart);
    assert_eq!(&*outcome.remote.ice.ufrag, "anew");
    assert!(section(&outcome.answer, "0").contains(&"a=ice-ufrag:next"));
}

#[test]
fn offers_that_break_with_the_session_change_nothing() {
    let mut negotiation = negotiation();
    negotiation.want(subscription("mic", Codec::Opus, 10));
    negotiation.offer(&parse(CHROMIUM_PUBLISH)).unwrap();
    let mut refuse = |text: &str, error| {
        let offer = Offer::parse(text).unwrap();
        assert_eq!(negotiation.offer(&offer).map(|_| ()), Err(error));
    };
    let forged = CHROMIUM_PUBLISH.replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 00:");
    let forged: Vec<&str> = forged
        .split("\r\n")
        .map(|line| match line.strip_prefix("a=fingerprint:") {
            Some(_) => line.rsplit_once(':').unwrap().0,
            None => line,
        })
        .collect();
    let forged = forged.join("\r\n");
    refuse(&forged, NegotiationError::FingerprintChanged);
    let swapped = CHROMIUM_PUBLISH
        .replacen("a=mid:0", "a=mid:x", 1)
        .replacen("a=mid:1", "a=mid:0", 1)
        .replacen("a=mid:x", "a=mid:1", 1);
    refuse(&swapped, NegotiationError::SectionsReordered);
    let (fewer, _) = CHROMIUM_PUBLISH.rsplit_once("m=video").unwrap();
    refuse(fewer, NegotiationError::FewerSections);
    let outcome = negotiation.offer(&parse(CHROMIUM_PUBLISH)).unwrap();
    assert_eq!(outcome.mid_to_track_id.len(), 1);
    assert!(outcome.started.is_empty());
}
