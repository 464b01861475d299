//! Who comes in, what it is told first, and who does not.

use super::*;

#[test]
fn a_join_is_answered_in_the_order_that_clients_expect() {
    let mut node = Node::new();
    let mut alice = node.join("alice");
    let told = alice.told();
    assert!(matches!(told[0], Told::Join(_)));
    let answer = position(&told, |message| matches!(message, Told::Answer(a) if a.id == 7));
    let token = position(&told, |message| matches!(message, Told::RefreshToken(_)));
    assert!(answer < token);
}

#[test]
fn the_join_response_has_what_clients_check() {
    let mut node = Node::new();
    let mut alice = node.join("alice");
    let told = alice.told();
    let Told::Join(join) = &told[0] else { panic!("{told:?}") };
    assert!(join.room.as_ref().unwrap().sid.starts_with("RM_"));
    let me = join.participant.as_ref().unwrap();
    assert!(me.sid.starts_with("PA_"));
    assert_eq!((me.identity.as_str(), me.client_protocol), ("alice", 2));
    assert_eq!(me.capabilities, [1, 2]);
    assert!(me.permission.as_ref().unwrap().can_publish);
    assert!(me.joined_at_ms > 0);
    let server = join.server_info.as_ref().unwrap();
    assert_eq!((server.version.as_str(), server.protocol), ("1.13.5", 17));
    assert_eq!((join.ping_interval, join.ping_timeout), (5, 15));
    assert!(join.fast_publish && !join.subscriber_primary && join.sif_trailer.is_empty());
    assert!(join.enabled_publish_codecs.iter().any(|codec| codec.mime == "video/VP8"));
}

#[test]
fn of_what_a_client_says_of_itself_others_are_told_what_is_known_and_once() {
    let mut node = Node::new();
    let said = proto::ClientInfo {
        sdk: proto::client_info::Sdk::Python.into(),
        client_protocol: 2,
        capabilities: [2, 1, 77].repeat(100_000),
        device_model: "x".repeat(100_000),
        ..Default::default()
    };
    let join = proto::JoinRequest { client_info: Some(said), ..joining(CHROMIUM_JOIN) };
    let mut alice = node.knock(token("alice", "red"), join).unwrap();
    let told = alice.told();
    let Told::Join(join) = &told[0] else { panic!("{told:?}") };
    let me = join.participant.as_ref().unwrap();
    assert_eq!((me.client_protocol, &*me.capabilities), (2, &[1, 2][..]));
}

#[test]
fn the_worker_gets_the_peer_before_anything_about_it() {
    let mut node = Node::new();
    let alice = node.join("alice");
    let peer = node.peer(&alice);
    let sent = node.sent();
    let (WorkerId(0), ToWorker::AddPeer(new)) = &sent[0] else { panic!("{sent:?}") };
    assert_eq!(new.peer, peer);
    assert!(new.local.pwd.len() >= 22 && new.remote.pwd.len() >= 22);
    assert_eq!(&*new.fingerprint.algorithm, "sha-256");
    assert!(matches!(&sent[1].1, ToWorker::Instruct(Instruction::AddPeer { .. })));
}

#[test]
fn an_offer_may_come_after_the_join() {
    let mut node = Node::new();
    let join = proto::JoinRequest { publisher_offer: None, ..joining("") };
    let mut alice = node.knock(token("alice", "red"), join).unwrap();
    assert!(first!(alice.told(), Told::Answer(answer) => answer.id).is_none());
    node.ask(&alice, Asked::Offer(description(NATIVE_JOIN, 0)));
    let told = alice.told();
    assert_eq!(first!(told, Told::Answer(answer) => answer.id), Some(0));
    assert!(node.sent().iter().any(|(_, sent)| matches!(sent, ToWorker::AddPeer(_))));
}

/// How many participants each update names.
fn updates(client: &mut Client) -> Vec<usize> {
    let told = client.told().into_iter();
    let updates =
        told.filter_map(
            |it| if let Told::Update(it) = it { Some(it.participants.len()) } else { None },
        );
    updates.collect()
}

#[test]
fn everybody_hears_of_ten_joins_in_one_message() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let join = |sdp: &str, names: std::ops::Range<u32>| {
        let join = joining(sdp);
        let publisher_offer = join.publisher_offer.filter(|offer| !offer.sdp.is_empty());
        let join = proto::JoinRequest { publisher_offer, ..join };
        let all = names.map(|number| knock(token(&number.to_string(), "red"), join.clone()));
        all.unzip::<_, _, Vec<_>, Vec<_>>()
    };
    let (knocks, _ten) = join(CHROMIUM_JOIN, 0..10);
    node.tell_at_once(knocks);
    assert_eq!(updates(&mut alice), [10]);

    let (knocks, knockers) = join("", 10..20);
    node.tell_at_once(knocks);
    assert_eq!(updates(&mut alice), [10]);
    let ten: Vec<Client> = knockers.into_iter().map(|it| it.admitted().unwrap()).collect();
    let offers = ten.iter().map(|it| request(it, Asked::Offer(description(NATIVE_JOIN, 0))));
    node.tell_at_once(offers.collect::<Vec<_>>());
    assert_eq!(updates(&mut alice), [10], "who have offered after they joined");
}

#[test]
fn whoever_offers_is_told_of_a_track_of_that_moment_before_an_answer_names_it() {
    let mut node = Node::new();
    let (alice, mut bob) = (node.active("alice"), node.active("bob"));
    node.ask(&alice, add_track(MICROPHONE, TrackKind::Audio));
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    bob.told();
    node.tell_at_once([
        request(&alice, Asked::Offer(description(CHROMIUM_PUBLISH, 2))),
        request(&bob, Asked::Offer(description(CHROMIUM_JOIN, 8))),
    ]);
    let told = bob.told();
    let names = |it: &Told| matches!(it, Told::Answer(it) if it.mid_to_track_id.len() == 2);
    let tells = |it: &Told| matches!(it, Told::Update(it) if it.participants[0].tracks.len() == 2);
    assert!(position(&told, tells) < position(&told, names));
}

#[test]
fn what_does_not_parse_is_refused_before_there_is_a_session() {
    let mut node = Node::new();
    let refused = node.knock(token("alice", "red"), joining("v=0\r\nnonsense"));
    assert!(matches!(refused, Err(Refusal::BadRequest(_))));
    let mut stranger = token("alice", "red");
    stranger.claims.video = None;
    let refused = node.knock(stranger, joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::NotAllowed(_))));
    assert_eq!(node.hub.control.rooms_len(), 0);
    assert!(node.sent().is_empty());
}

#[test]
fn a_full_node_is_unavailable() {
    let mut node = Node::with(|config| config.participants_max = 1);
    node.join("alice");
    let refused = node.knock(token("bob", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
}

#[test]
fn a_join_makes_no_room_where_back_ends_make_them() {
    let mut node = Node::new();
    node.hub.config.are_rooms_made_by_joins = false;
    let refused = node.knock(token("alice", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::NoRoom)));
    assert_eq!(node.may_join("alice", "red", TokenKind::Original), Err(Refusal::NoRoom));
    node.hub
        .control
        .open(node.now, RoomName::new("red"), control::RoomSettings::default())
        .unwrap();
    assert_eq!(node.may_join("alice", "red", TokenKind::Original), Ok(()));
    assert!(node.knock(token("alice", "red"), joining(CHROMIUM_JOIN)).is_ok());
    let elsewhere = node.knock(token("bob", "blue"), joining(CHROMIUM_JOIN));
    assert!(matches!(elsewhere, Err(Refusal::NoRoom)));
}

#[test]
fn a_room_is_made_as_the_first_token_says() {
    let mut node = Node::new();
    let with = |identity: &str, config: serde_json::Value| {
        let mut token = token(identity, "red");
        token.claims.room_config = Some(config);
        token
    };
    let few = serde_json::json!({"maxParticipants": 1, "metadata": "agenda"});
    let mut alice = node.knock(with("alice", few), joining(CHROMIUM_JOIN)).unwrap();
    let told = alice.told();
    let Some(Told::Join(join)) = told.first() else { panic!("no join response") };
    let room = join.room.as_ref().unwrap();
    assert_eq!((room.max_participants, &*room.metadata), (1, "agenda"));
    let many = serde_json::json!({"maxParticipants": 9});
    let refused = node.knock(with("bob", many), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::RoomFull)), "and not as later ones say");
    assert_eq!(node.hub.metrics.agents_ignored.total(), 0);
    let agents = serde_json::json!({"agents": [{"agentName": "echo"}]});
    node.knock(with("alice", agents), joining(CHROMIUM_JOIN)).expect("comes without agents");
    assert_eq!(node.hub.metrics.agents_ignored.total(), 1, "but not in silence");
    let recorded = serde_json::json!({"egress": {"room": {"audioOnly": true}}});
    let refused = node.knock(with("alice", recorded), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::BadRequest(_))));
    let odd = serde_json::json!({"maxParticipants": "few"});
    let refused = node.knock(with("carol", odd), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::BadRequest(_))));
}

#[test]
fn a_broken_offer_later_makes_the_client_join_afresh() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    alice.told();
    node.ask(&alice, Asked::Offer(description("v=0", 2)));
    let leave = first!(alice.told(), Told::Leave(leave) => leave.action);
    assert_eq!(leave, Some(proto::leave_request::Action::Reconnect.into()));
    assert!(first!(bob.told(), Told::Update(update) => update.participants[0].state).is_some());
    assert_eq!(node.hub.metrics.offers_refused.total(), 1);
}

#[test]
fn a_late_joiner_finds_the_tracks_in_its_first_answer() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    node.sent();
    let mut bob = node.join("bob");
    let told = bob.told();
    let Told::Join(join) = &told[0] else { panic!("{told:?}") };
    assert_eq!(join.other_participants[0].tracks.len(), 2);
    let mids = first!(told, Told::Answer(answer) => &answer.mid_to_track_id).unwrap();
    assert_eq!(mids.len(), 2);
    let subscribed = node.instructions();
    let subscribed = subscribed.iter().filter(|i| matches!(i, Instruction::Subscribe(_)));
    assert_eq!(subscribed.count(), 2);
}

#[test]
fn a_full_room_and_a_full_node_say_so_to_who_asks_and_to_who_knocks() {
    let check = |change: fn(&mut control::Config), room: &str, expect: Refusal| {
        let mut node = Node::with(change);
        node.join("alice");
        assert_eq!(node.may_join("bob", room, TokenKind::Original), Err(expect));
        assert_eq!(node.may_join("bob", room, TokenKind::Refresh), Err(expect));
        let refused = node.knock(token("bob", room), joining(CHROMIUM_JOIN));
        assert_eq!(refused.map(drop), Err(expect));
        // Who comes instead of itself takes no place.
        assert_eq!(node.may_join("alice", "red", TokenKind::Original), Ok(()));
        node.join("alice");
    };
    check(|config| config.room_participants_max = 1, "red", Refusal::RoomFull);
    let full = Refusal::Unavailable("the node is full");
    check(|config| config.participants_max = 1, "blue", full);
}

#[test]
fn a_busy_node_refuses_whoever_is_new_and_nobody_who_comes_back() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    let sid = sid_of(&node, &alice);
    let pulse = Arc::new(Pulse::new(node.hub.config.origin, 2));
    let beat = |node: &mut Node, permille| {
        for worker in [WorkerId(0), WorkerId(1)] {
            pulse.answer_worker(worker, Share::from_permille(permille), node.hub.config.origin);
        }
        node.tell(ToHub::Beat(Arc::clone(&pulse)));
    };
    beat(&mut node, 950);
    assert!(pulse.is_busy());
    let refused = node.knock(token("carol", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::Busy)));
    node.tell(ToHub::Closed(alice.session));
    let resumed = node.knock(token("alice", "red"), resuming(&sid)).map(|mut it| it.told());
    assert!(matches!(resumed.unwrap()[0], Told::Reconnect(_)));
    assert_eq!(node.may_join("bob", "red", TokenKind::Original), Ok(()));
    assert_eq!(node.may_join("carol", "red", TokenKind::Original), Err(Refusal::Busy));
    assert_eq!(node.may_join("bob", "blue", TokenKind::Original), Err(Refusal::Busy));
    assert_eq!(node.may_join("carol", "red", TokenKind::Refresh), Ok(()));
    node.join("bob");
    node.tell(ToHub::Closed(bob.session));
    // A full reconnect by whoever has said goodbye: the server's own token says that he was here.
    let refresh = VerifiedToken { kind: TokenKind::Refresh, ..token("dave", "red") };
    assert!(node.knock(refresh, joining(CHROMIUM_JOIN)).is_ok());
    beat(&mut node, 700);
    assert!(!pulse.is_busy());
    node.join("carol");
}

#[test]
fn whoever_does_not_connect_is_put_out_after_a_minute() {
    let mut node = Node::new();
    let mut alice = node.join("alice");
    alice.told();
    node.wait(Duration::from_secs(61));
    let reason = first!(alice.told(), Told::Leave(leave) => leave.reason);
    assert_eq!(reason, Some(proto::DisconnectReason::JoinFailure.into()));
}

#[test]
fn who_asks_for_tcp_is_told_of_nothing_else_the_next_time() {
    let mut node = Node::new();
    let switch = |protocol: proto::CandidateProtocol| {
        let scenario = proto::simulate_scenario::Scenario::SwitchCandidateProtocol(protocol.into());
        Asked::Simulate(proto::SimulateScenario { scenario: Some(scenario) })
    };
    let ways = |node: &mut Node| {
        let mut client = node.join("alice");
        let answer = first!(client.told(), Told::Answer(answer) => answer.sdp.clone()).unwrap();
        let ways: Vec<bool> = [" udp ", " tcp "].map(|way| answer.contains(way)).to_vec();
        (client, ways)
    };
    let (client, _) = ways(&mut node);
    node.ask(&client, switch(proto::CandidateProtocol::Tcp));
    assert_eq!(node.hub.metrics.requests_ignored.total(), 1, "there is none");
    assert_eq!(ways(&mut node).1, [true, false]);

    let address = SocketAddr::from(([127, 0, 0, 1], 7881));
    let transport = CandidateTransport::TcpPassive;
    node.hub.config.candidates.push(Candidate { address, transport });
    let (client, both) = ways(&mut node);
    assert_eq!(both, [true, true]);
    node.ask(&client, switch(proto::CandidateProtocol::Tls));
    let (client, both) = ways(&mut node);
    assert_eq!(both, [true, true], "TURN is not there");
    node.ask(&client, switch(proto::CandidateProtocol::Tcp));
    node.ask(&client, Asked::Leave(proto::LeaveRequest::default()));
    assert_eq!(ways(&mut node).1, [false, true]);
    assert_eq!(ways(&mut node).1, [true, true], "once");
    assert_eq!(node.hub.metrics.requests_ignored.total(), 2);
}
