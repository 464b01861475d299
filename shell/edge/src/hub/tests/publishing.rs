//! Tracks: announced, negotiated, muted, ended.

use super::crowds::{Carries, offering};
use super::*;
use wire::frame::{Encoding, encode_response};
use wire::limits::{ANNOUNCED_MAX, SECTIONS_KEPT, SECTIONS_OPEN_MAX};

#[test]
fn publishing_is_acknowledged_negotiated_and_announced() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    node.sent();
    alice.told();
    node.ask(&alice, add_track(MICROPHONE, TrackKind::Audio));
    let told = alice.told();
    let published = first!(told, Told::TrackPublished(published) => published.clone()).unwrap();
    assert_eq!(published.cid, MICROPHONE);
    let track = published.track.unwrap();
    assert!(track.sid.starts_with("TR_AM"));
    assert_eq!(track.encryption, i32::from(proto::encryption::Type::Gcm));
    assert!(bob.told().is_empty(), "nobody hears of a pending track");

    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    node.ask(&alice, Asked::Offer(description(CHROMIUM_PUBLISH, 2)));
    let instructions = node.instructions();
    let receive = instructions
        .iter()
        .position(|instruction| matches!(instruction, Instruction::SetReceive { .. }));
    let add = instructions.iter().position(|instruction| {
        matches!(instruction,
        Instruction::AddTrack(spec) if spec.kind == TrackKind::Video && spec.streams.len() == 3)
    });
    assert!(receive.unwrap() < add.expect("camera in three layers"));
    let told = bob.told();
    let update = position(&told, |message| {
        matches!(message,
        Told::Update(update) if update.participants[0].tracks.len() == 2)
    });
    let asked = position(&told, |message| matches!(message, Told::MediaSectionsRequirement(_)));
    assert!(update < asked);
    assert_eq!(received(&alice.told()), 0, "bob has no section yet");
}

#[test]
fn a_media_section_may_come_before_its_announcement() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.ask(&alice, Asked::Offer(description(CHROMIUM_PUBLISH, 2)));
    node.sent();
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    let instructions = node.instructions();
    assert!(instructions.iter().any(|instruction| matches!(instruction,
        Instruction::AddTrack(spec) if spec.kind == TrackKind::Video)));
}

#[test]
fn an_announcement_twice_is_acknowledged_twice_and_published_once() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    let told = alice.told();
    let sids: Vec<&String> = told
        .iter()
        .filter_map(|message| {
            let Told::TrackPublished(published) = message else { return None };
            published.track.as_ref().map(|track| &track.sid)
        })
        .collect();
    assert_eq!(sids.len(), 2);
    assert_eq!(sids[0], sids[1]);
}

#[test]
fn a_forbidden_track_is_refused_with_the_request_that_asked_for_it() {
    let mut node = Node::new();
    let mut modest = token("alice", "red");
    modest.claims.video.as_mut().unwrap().can_publish = Some(false);
    let mut alice = node.knock(modest, joining(CHROMIUM_JOIN)).unwrap();
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    let told = alice.told();
    let response = first!(told, Told::RequestResponse(response) => response).unwrap();
    assert_eq!(response.reason, i32::from(proto::request_response::Reason::NotAllowed));
    let why = "the participant may not publish tracks of this kind and source";
    assert_eq!(response.message, why);
    assert!(matches!(&response.request,
        Some(proto::request_response::Request::AddTrack(request)) if request.cid == CAMERA));
}

#[test]
fn a_track_that_is_announced_before_its_former_self_has_ended_is_published_then() {
    use proto::request_response::{Reason, Request};
    let queued = |told: &[Told]| {
        let response = first!(told, Told::RequestResponse(response) => response.clone()).unwrap();
        assert_eq!(response.reason(), Reason::Queued);
        assert!(matches!(response.request, Some(Request::AddTrack(it)) if it.cid == CAMERA));
    };
    let cids = |told: &[Told]| {
        let all = told.iter().filter_map(|message| {
            if let Told::TrackPublished(published) = message { Some(&*published.cid) } else { None }
        });
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    let both = &[CHROMIUM_UNPUBLISH.to_owned(), camera_again()];
    // The former section may end in an offer of its own, or in that which brings the new one.
    for offers in [&both[..], &both[1..]] {
        let mut node = Node::new();
        let mut alice = node.active("alice");
        node.publish(&alice);
        alice.told();
        for _ in 0..2 {
            node.ask(&alice, add_track(CAMERA, TrackKind::Video));
            let told = alice.told();
            queued(&told);
            assert!(cids(&told).is_empty());
        }
        node.ask(&alice, add_track("another", TrackKind::Video));
        alice.told();
        node.sent();
        let mut told = Vec::new();
        for offer in offers {
            node.ask(&alice, Asked::Offer(description(offer, 3)));
            told.append(&mut alice.told());
        }
        assert_eq!(cids(&told), [CAMERA]);
        let instructions = node.instructions();
        let is_added = |it: &Instruction| matches!(it, Instruction::AddTrack(_));
        let is_read = |it: &Instruction| matches!(it, Instruction::SetReceive { .. });
        let added = instructions.iter().position(is_added).expect("it is received");
        assert!(instructions.iter().position(is_read).unwrap() < added);
        let another = node.hub.seats[&node.peer(&alice)].cids["another"];
        assert!(!node.hub.control.publication(another).unwrap().is_live());
    }
}

#[test]
fn a_track_whose_section_has_no_codec_of_ours_is_taken_back_and_may_come_in_another() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let unusable = CHROMIUM_PUBLISH.replace(" VP8/", " VP80/").replace(" H264/", " H2640/");
    let published = |told: &[Told]| {
        first!(told, Told::TrackPublished(it) => it.track.clone()).flatten().unwrap().sid
    };
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    let sid = published(&alice.told());
    node.ask(&alice, Asked::Offer(description(&unusable, 2)));
    let taken = first!(alice.told(), Told::TrackUnpublished(it) => it.track_sid.clone());
    assert_eq!(taken.as_ref(), Some(&sid));
    assert!(node.hub.tracks.is_empty());
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    assert_ne!(published(&alice.told()), sid);
    node.sent();
    node.ask(&alice, Asked::Offer(description(&camera_again(), 3)));
    let started = |it: &Instruction| matches!(it, Instruction::AddTrack(spec) if spec.kind == TrackKind::Video);
    assert!(node.instructions().iter().any(started));
}

#[test]
fn a_track_in_another_codec_as_well_is_refused_and_no_second_one() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.publish(&alice);
    alice.told();
    let camera = node.hub.seats[&node.peer(&alice)].cids[CAMERA];
    let sid = node.hub.control.publication(camera).unwrap().sid.to_string();
    let codec =
        proto::SimulcastCodec { codec: "vp8".into(), cid: "clone".into(), ..Default::default() };
    let Asked::AddTrack(request) = add_track("clone", TrackKind::Video) else { unreachable!() };
    let backup = proto::AddTrackRequest { sid, simulcast_codecs: vec![codec], ..request };
    node.ask(&alice, Asked::AddTrack(backup));
    let told = alice.told();
    let reason = first!(told, Told::RequestResponse(response) => response.reason());
    assert_eq!(reason, Some(proto::request_response::Reason::UnsupportedType));
    assert!(first!(told, Told::TrackPublished(_) => ()).is_none());
    assert_eq!(node.hub.tracks.len(), 2);
}

#[test]
fn what_waits_for_the_end_of_a_track_is_bounded_and_gone_with_its_participant() {
    let mut node = Node::new();
    let join = proto::JoinRequest { publisher_offer: None, ..joining(CHROMIUM_JOIN) };
    let mut alice = node.knock(token("alice", "red"), join).unwrap();
    let peer = node.peer(&alice);
    let tracks = ANNOUNCED_MAX + 1;
    for number in 0..tracks {
        node.ask(&alice, add_track(&format!("c{number}"), TrackKind::Audio));
        let sends = std::iter::repeat_n(Some(Carries::Sends), number + 1);
        node.ask(&alice, offering(sends));
    }
    alice.told();
    let mut reasons = Vec::new();
    for number in 0..tracks {
        node.ask(&alice, add_track(&format!("c{number}"), TrackKind::Audio));
        reasons.extend(first!(alice.told(), Told::RequestResponse(response) => response.reason()));
    }
    let last = reasons.pop();
    assert_eq!(last, Some(proto::request_response::Reason::InvalidRequest));
    assert_eq!(reasons, [proto::request_response::Reason::Queued; ANNOUNCED_MAX]);
    assert_eq!(node.hub.seats[&peer].queued.len(), ANNOUNCED_MAX);
    node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
    let told = alice.told();
    assert!(told.is_empty(), "{told:?}");
    assert!(!node.hub.seats.contains_key(&peer));
    assert!(node.hub.tracks.is_empty());
}

#[test]
fn an_oversized_announcement_is_refused_by_name_and_leaves_nothing() {
    use proto::{AddTrackRequest, SimulcastCodec, VideoLayer};
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let Asked::AddTrack(good) = add_track(CAMERA, TrackKind::Video) else { unreachable!() };
    let long = |len: usize| "x".repeat(len);
    let codec =
        |codec: SimulcastCodec| AddTrackRequest { simulcast_codecs: vec![codec], ..good.clone() };
    let layer = VideoLayer { rid: long(17), ..Default::default() };
    let bad = [
        AddTrackRequest { name: long(257), ..good.clone() },
        AddTrackRequest { stream: long(257), ..good.clone() },
        AddTrackRequest { layers: vec![VideoLayer::default(); 4], ..good.clone() },
        AddTrackRequest { layers: vec![layer], ..good.clone() },
        AddTrackRequest { audio_features: vec![0; 17], ..good.clone() },
        AddTrackRequest { packet_trailer_features: vec![0; 17], ..good.clone() },
        AddTrackRequest { simulcast_codecs: vec![SimulcastCodec::default(); 4], ..good.clone() },
        codec(SimulcastCodec { codec: long(65), ..Default::default() }),
        codec(SimulcastCodec { cid: long(257), ..Default::default() }),
        codec(SimulcastCodec { layers: vec![VideoLayer::default(); 4], ..Default::default() }),
    ];
    for request in bad {
        node.ask(&alice, Asked::AddTrack(request));
        let told = alice.told();
        let response = first!(told, Told::RequestResponse(response) => response).unwrap();
        let limit = proto::request_response::Reason::LimitExceeded;
        assert_eq!(response.reason, i32::from(limit));
        let named = AddTrackRequest { cid: CAMERA.to_owned(), ..Default::default() };
        let expected = proto::request_response::Request::AddTrack(named);
        assert_eq!(response.request, Some(expected));
    }
    assert!(node.hub.tracks.is_empty());
    let layers = vec![VideoLayer { rid: long(16), ..Default::default() }; 3];
    node.ask(&alice, Asked::AddTrack(AddTrackRequest { layers, name: long(256), ..good }));
    assert!(first!(alice.told(), Told::TrackPublished(_) => ()).is_some());
}

#[test]
fn unpublishing_ends_the_track_for_others() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    bob.told();
    alice.told();
    node.ask(&alice, Asked::Offer(description(CHROMIUM_UNPUBLISH, 3)));
    let told = bob.told();
    let left = first!(told, Told::Update(update) => update.participants[0].tracks.len());
    assert!(left.unwrap() < 2);
    assert!(first!(alice.told(), Told::TrackUnpublished(track) => &track.track_sid).is_none());
}

#[test]
fn mute_reaches_worker_and_room() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    let told = alice.told();
    let track = first!(told, Told::TrackPublished(published) => published.track.clone()).unwrap();
    bob.told();
    node.sent();
    let mute = proto::MuteTrackRequest { sid: track.unwrap().sid, muted: true };
    node.ask(&bob, Asked::Mute(mute.clone()));
    assert!(node.instructions().is_empty(), "not his to mute");
    node.ask(&alice, Asked::Mute(mute));
    assert!(matches!(node.instructions()[..], [Instruction::MuteTrack { muted: true, .. }]));
    let muted = first!(bob.told(), Told::Update(update) => update.participants[0].tracks[0].muted);
    assert_eq!(muted, Some(true));
}

#[test]
fn a_track_for_which_there_is_no_section_is_refused_and_costs_the_client_nothing_else() {
    let mut node = Node::new();
    let join = proto::JoinRequest { publisher_offer: None, ..joining(CHROMIUM_JOIN) };
    let mut alice = node.knock(token("alice", "red"), join).unwrap();
    let receives = SECTIONS_OPEN_MAX - SECTIONS_KEPT;
    let sections = |sends: usize| {
        let receives = std::iter::repeat_n(Some(Carries::Receives), receives);
        offering(receives.chain(std::iter::repeat_n(Some(Carries::Sends), sends)))
    };
    node.ask(&alice, sections(0));
    alice.told();
    for number in 0..SECTIONS_KEPT {
        node.ask(&alice, add_track(&format!("c{}", receives + number), TrackKind::Audio));
        let told = alice.told();
        assert!(told.iter().any(|it| matches!(it, Told::TrackPublished(_))), "{number}");
    }
    let more = format!("c{SECTIONS_OPEN_MAX}");
    // As livekit-client does it, at the same time; the one or the other comes first.
    for _ in 0..2 {
        node.ask(&alice, add_track(&more, TrackKind::Audio));
        let refused = first!(alice.told(), Told::RequestResponse(refused) => refused.reason());
        assert_eq!(refused, Some(proto::request_response::Reason::LimitExceeded));
        node.ask(&alice, sections(SECTIONS_KEPT + 1));
        let told = alice.told();
        let answer = first!(told, Told::Answer(answer) => answer.sdp.clone()).unwrap();
        let (_, last) = answer.rsplit_once("m=audio ").unwrap();
        assert!(last.starts_with("0 "), "{last}");
        assert!(left(&told).is_none());
    }
    assert_eq!(
        node.hub.control.participant(node.peer(&alice)).unwrap().tracks.len(),
        SECTIONS_KEPT
    );
}

/// The published offer as Chromium and as Firefox write it, which names tracks anew.
fn published() -> [String; 2] {
    let anew = "c7a1d1a2-50f5-4d11-9c8e-0f6a4f6a3d77";
    [CHROMIUM_PUBLISH.to_owned(), CHROMIUM_PUBLISH.replace(CAMERA, anew)]
}

#[test]
fn a_track_never_takes_the_section_of_one_that_was_refused() {
    for (sdp, announced_first) in published().iter().flat_map(|sdp| [(sdp, true), (sdp, false)]) {
        let mut node = Node::new();
        let mut modest = token("alice", "red");
        let sources = vec!["camera".to_owned(), "microphone".to_owned()];
        modest.claims.video.as_mut().unwrap().can_publish_sources = sources;
        let mut alice = node.knock(modest, joining(CHROMIUM_JOIN)).unwrap();
        let Asked::AddTrack(screen) = add_track(CAMERA, TrackKind::Video) else { unreachable!() };
        let screen = Asked::AddTrack(proto::AddTrackRequest { source: 3, ..screen });
        let offer = Asked::Offer(description(sdp, 2));
        let both = if announced_first { [screen, offer] } else { [offer, screen] };
        for asked in both {
            node.ask(&alice, asked);
        }
        let told = alice.told();
        assert!(first!(told, Told::RequestResponse(refused) => refused.reason()).is_some());
        node.sent();
        node.ask(&alice, add_track("another", TrackKind::Video));
        node.ask(&alice, Asked::Offer(description(sdp, 3)));
        let started = |it: &Instruction| matches!(it, Instruction::AddTrack(spec) if spec.kind == TrackKind::Video);
        assert!(!node.instructions().iter().any(started), "{announced_first}");
        // Whoever may publish it after all has its own section.
        let mut right = token("alice", "red");
        right.claims.video.as_mut().unwrap().can_publish = Some(true);
        let sid = sid_of(&node, &alice);
        let again = node.knock(right, resuming(&sid)).unwrap();
        node.ask(&again, add_track(CAMERA, TrackKind::Video));
        assert!(node.instructions().iter().any(started), "{announced_first}");
    }
}

#[test]
fn a_track_never_takes_the_section_of_one_that_was_taken_back_before_its_media_came() {
    for sdp in published() {
        let mut node = Node::new();
        let alice = node.active("alice");
        let Asked::AddTrack(screen) = add_track(CAMERA, TrackKind::Video) else { unreachable!() };
        node.ask(&alice, Asked::AddTrack(proto::AddTrackRequest { source: 3, ..screen }));
        let mut modest = token("alice", "red");
        let sources = vec!["camera".to_owned(), "microphone".to_owned()];
        modest.claims.video.as_mut().unwrap().can_publish_sources = sources;
        let mut again = node.knock(modest, resuming(&sid_of(&node, &alice))).unwrap();
        assert!(first!(again.told(), Told::TrackUnpublished(_) => ()).is_some());
        node.sent();
        // It was on its way.
        node.ask(&again, Asked::Offer(description(&sdp, 2)));
        node.ask(&again, add_track("another", TrackKind::Video));
        let instructions = node.instructions();
        let started = |it: &Instruction| matches!(it, Instruction::AddTrack(spec) if spec.kind == TrackKind::Video);
        assert!(!instructions.iter().any(started), "{instructions:?}");
    }
}

#[test]
fn a_client_with_numbers_that_nobody_knows_hides_nobody() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    let layer = proto::VideoLayer { quality: 77, ..Default::default() };
    let Asked::AddTrack(camera) = add_track(CAMERA, TrackKind::Video) else { unreachable!() };
    let camera = proto::AddTrackRequest {
        audio_features: vec![1, 77],
        packet_trailer_features: vec![77, 1],
        backup_codec_policy: 77,
        layers: vec![layer],
        ..camera
    };
    node.ask(&alice, Asked::AddTrack(camera));
    node.ask(&alice, Asked::Offer(description(CHROMIUM_PUBLISH, 2)));
    let check = |told: Vec<Told>, features: &[i32]| {
        let track = first!(told, Told::Update(update) => update.participants[0].tracks[0].clone());
        let track = track.unwrap();
        assert_eq!((&*track.audio_features, &*track.packet_trailer_features), (features, &[1][..]));
        for message in told {
            let response = proto::SignalResponse { message: Some(message) };
            assert_eq!(encode_response(&response, Encoding::Json, &mut Vec::new()), Ok(()));
        }
        track.sid
    };
    let track_sid = check(bob.told(), &[1]);
    let update = proto::UpdateLocalAudioTrack { track_sid, features: vec![78, 3] };
    node.ask(&alice, Asked::UpdateAudioTrack(update));
    check(bob.told(), &[3]);
}
