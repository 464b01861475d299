//! What a request costs, and how it is answered.

use super::*;

#[test]
fn who_is_refused_reads_why() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let long = "x".repeat(257);
    let Asked::AddTrack(track) = add_track(CAMERA, TrackKind::Video) else { unreachable!() };
    let profile = proto::UpdateParticipantMetadata { name: long.clone(), ..Default::default() };
    for (asked, why) in [
        (Asked::PublishDataTrackRequest(Default::default()), "this server has no data tracks"),
        (Asked::UnpublishDataTrackRequest(Default::default()), "this server has no data tracks"),
        (Asked::StoreDataBlobRequest(Default::default()), "this server keeps no data blobs"),
        (Asked::GetDataBlobRequest(Default::default()), "this server keeps no data blobs"),
        (
            Asked::AddTrack(proto::AddTrackRequest { r#type: 2, ..track.clone() }),
            "tracks are of audio or video",
        ),
        (
            Asked::AddTrack(proto::AddTrackRequest { cid: String::new(), ..track.clone() }),
            "the track's cid is empty, too long, or another track's",
        ),
        (
            Asked::AddTrack(proto::AddTrackRequest { name: long, ..track }),
            "a name or a list of the track is longer than the server takes",
        ),
        (
            Asked::UpdateMetadata(profile),
            "a name has 256 bytes at most, metadata 512 KiB, attributes 64 KiB together",
        ),
    ] {
        node.ask(&alice, asked);
        let said = first!(alice.told(), Told::RequestResponse(said) => said.message.clone());
        assert_eq!(said.as_deref(), Some(why));
    }
}

#[test]
fn pings_are_answered_however_many() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.ask(&alice, Asked::Ping(3));
    node.ask(&alice, Asked::PingReq(proto::Ping { timestamp: 42, rtt: 1 }));
    let told = alice.told();
    assert!(first!(told, Told::Pong(at) => *at).unwrap() > 0);
    assert_eq!(first!(told, Told::PongResp(pong) => pong.last_ping_timestamp), Some(42));
}

#[test]
fn a_flood_of_requests_is_ignored_and_counted() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let burst = usize::try_from(crate::limits::REQUESTS_BURST).unwrap();
    let trickle = Asked::Trickle(proto::TrickleRequest::default());
    let session = alice.session;
    let flood = (0..burst + 100).map(|_| {
        let message = Some(trickle.clone());
        ToHub::Request(session, Box::new(proto::SignalRequest { message }), DecodingPart::default())
    });
    let flood: Vec<ToHub> = flood.collect();
    node.hub.turn(node.now, unix_ms(node.now), flood.into_iter());
    assert!(node.hub.metrics.requests_over_rate.total() >= 100);
    node.ask(&alice, Asked::PingReq(proto::Ping::default()));
    assert!(first!(alice.told(), Told::PongResp(pong) => pong.timestamp).is_some());
}

#[test]
fn a_request_costs_as_much_as_the_tracks_that_it_names() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let burst = usize::try_from(crate::limits::REQUESTS_BURST).unwrap();
    let many = |count| {
        Asked::TrackSetting(proto::UpdateTrackSettings {
            track_sids: vec!["TR_x".to_owned(); count],
            ..Default::default()
        })
    };
    node.ask(&alice, many(burst + 1));
    assert_eq!(node.hub.metrics.requests_over_rate.total(), 1);
    node.ask(&alice, many(burst));
    assert_eq!(node.hub.metrics.requests_over_rate.total(), 1);
    node.ask(&alice, many(1));
    assert_eq!(node.hub.metrics.requests_over_rate.total(), 2);
}

#[test]
fn a_request_costs_more_the_longer_it_is() {
    use crate::limits::{BYTES_PER_REQUEST, REQUESTS_BURST};

    let long = "m".repeat(4 * BYTES_PER_REQUEST);
    let metadata =
        proto::UpdateParticipantMetadata { metadata: long.clone(), ..Default::default() };
    for request in [Asked::Offer(description(&long, 2)), Asked::UpdateMetadata(metadata)] {
        assert_eq!(request::cost(&request), 5);
    }
    let longest = Asked::Offer(description(&"m".repeat(wire::limits::SDP_MAX), 2));
    assert!(request::cost(&longest) < REQUESTS_BURST, "the longest may come");
}

#[test]
fn a_simulated_speaker_is_told_to_the_one_who_asked_alone() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    alice.told();
    let scenario = Some(proto::simulate_scenario::Scenario::SpeakerUpdate(3));
    node.ask(&alice, Asked::Simulate(proto::SimulateScenario { scenario }));
    let told = |client: &mut Client| {
        let news = client.told();
        first!(news, Told::SpeakersChanged(changed) => changed.speakers[0].active)
    };
    assert_eq!((told(&mut alice), told(&mut bob)), (Some(true), None));
    node.wait(Duration::from_secs(3));
    assert_eq!((told(&mut alice), told(&mut bob)), (Some(false), None));
}

#[test]
fn a_profile_change_is_acknowledged_and_told() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    bob.told();
    alice.told();
    node.ask(
        &alice,
        Asked::UpdateMetadata(proto::UpdateParticipantMetadata {
            name: "Alice".to_owned(),
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            request_id: 5,
            ..Default::default()
        }),
    );
    let told = alice.told();
    let response = first!(told, Told::RequestResponse(response) => response).unwrap();
    assert_eq!((response.request_id, response.reason, response.message.as_str()), (5, 0, ""));
    let told = bob.told();
    let seen = first!(told, Told::Update(update) => &update.participants[0]).unwrap();
    assert_eq!((seen.name.as_str(), seen.attributes["k"].as_str()), ("Alice", "v"));
    let metadata = "m".to_owned();
    let update = proto::UpdateParticipantMetadata { metadata, ..Default::default() };
    node.ask(&alice, Asked::UpdateMetadata(update));
    let told = bob.told();
    let seen = first!(told, Told::Update(update) => &update.participants[0]).unwrap();
    assert_eq!(
        (seen.name.as_str(), seen.metadata.as_str()),
        ("Alice", "m"),
        "an empty name changes nothing"
    );
}
