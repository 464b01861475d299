//! Rights that end, tokens that are revoked, keys that go, and refreshes.

use super::*;

#[test]
fn tokens_are_refreshed_every_five_minutes() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.wait(Duration::from_secs(301));
    assert!(first!(alice.told(), Told::RefreshToken(token) => token.clone()).is_some());
}

/// Holds each right for so many seconds after the origin.
fn ending(identity: &str, join: u64, audio: u64, video: u64, data: u64) -> VerifiedToken {
    let [join, audio, video, data] = [join, audio, video, data].map(|after| Some(ORIGIN_S + after));
    VerifiedToken { ends: Ends { join, audio, video, data }, ..token(identity, "red") }
}

fn own_permissions(told: &[Told], identity: &str) -> Vec<proto::ParticipantPermission> {
    let updates = told.iter().filter_map(|message| {
        if let Told::Update(update) = message { Some(&update.participants) } else { None }
    });
    let own = updates.flatten().filter(|held| held.identity == identity);
    own.filter_map(|held| held.permission.clone()).collect()
}

#[test]
fn rights_that_end_during_a_call_are_taken_away_one_by_one() {
    let mut node = Node::new();
    let mut alice = node.knock(ending("alice", 40, 10, 20, 30), joining(CHROMIUM_JOIN)).unwrap();
    let peer = node.peer(&alice);
    node.tell(ToHub::Worker(FromWorker::Connected(peer)));
    node.tell(ToHub::Worker(FromWorker::ChannelOpen(peer, Channel::Reliable)));
    let bob = node.active("bob");
    node.publish(&alice);
    alice.told();
    node.sent();

    node.wait(Duration::from_millis(9_900));
    assert!(
        own_permissions(&alice.told(), "alice")
            .iter()
            .all(|held| held.can_publish_sources.is_empty())
    );
    node.wait(Duration::from_millis(200));
    let told = alice.told();
    let gone = told.iter().filter(|message| matches!(message, Told::TrackUnpublished(_)));
    assert_eq!(gone.count(), 1, "the microphone: {told:?}");
    let held = own_permissions(&told, "alice").pop().unwrap();
    assert!(held.can_publish && held.can_publish_data);
    assert_eq!(held.can_publish_sources, [1, 3]);
    node.ask(&alice, add_track("another microphone", TrackKind::Audio));
    let refused = alice.told();
    assert!(matches!(refused[..], [Told::RequestResponse(_)]), "{refused:?}");

    node.wait(Duration::from_secs(10));
    let told = alice.told();
    assert!(told.iter().any(|message| matches!(message, Told::TrackUnpublished(_))));
    assert!(!own_permissions(&told, "alice").pop().unwrap().can_publish);
    node.tell(said(peer, Channel::Reliable, packet(b"yes")));
    assert_eq!(node.messages_for(node.peer(&bob)).len(), 1);

    node.wait(Duration::from_secs(10));
    assert!(!own_permissions(&alice.told(), "alice").pop().unwrap().can_publish_data);
    node.tell(said(peer, Channel::Reliable, packet(b"no")));
    assert!(node.messages_for(node.peer(&bob)).is_empty());

    node.wait(Duration::from_secs(10));
    let told = alice.told();
    let leave = left(&told).expect("put out");
    assert_eq!(leave.reason, i32::from(proto::DisconnectReason::ParticipantRemoved));
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Disconnect));
    assert!(!node.hub.sessions.contains_key(&alice.session));
    let refused = node.knock(ending("alice", 40, 10, 20, 30), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::NotAllowed(_))));
}

#[test]
fn a_clock_that_is_set_past_an_end_takes_effect_within_half_a_minute() {
    let mut node = Node::new();
    let mut alice =
        node.knock(ending("alice", 3600, 3600, 3600, 3600), joining(CHROMIUM_JOIN)).unwrap();
    let peer = node.peer(&alice);
    node.tell(ToHub::Worker(FromWorker::Connected(peer)));
    alice.told();
    node.wait(Duration::from_secs(25));
    let at = node.hub.next_timeout().unwrap();
    assert!(at <= Timestamp::from_millis(31_000));
    while node.hub.next_timeout().is_some_and(|at| at <= Timestamp::from_millis(31_000)) {
        let at = node.hub.next_timeout().unwrap();
        node.hub.turn(at, unix_ms(at) + 3_600_000, std::iter::empty());
    }
    assert!(left(&alice.told()).is_some());
}

#[test]
fn a_resume_with_a_longer_token_brings_rights_back_and_keeps_them() {
    let mut node = Node::new();
    let mut alice = node.knock(ending("alice", 20, 10, 10, 10), joining(CHROMIUM_JOIN)).unwrap();
    let peer = node.peer(&alice);
    node.tell(ToHub::Worker(FromWorker::Connected(peer)));
    let sid = sid_of(&node, &alice);
    node.wait(Duration::from_secs(12));
    assert!(!own_permissions(&alice.told(), "alice").pop().unwrap().can_publish);
    let mut again = node.knock(ending("alice", 90, 90, 90, 90), resuming(&sid)).unwrap();
    assert!(own_permissions(&again.told(), "alice").pop().unwrap().can_publish);
    node.wait(Duration::from_secs(60));
    assert!(left(&again.told()).is_none());
    node.wait(Duration::from_secs(30));
    assert!(left(&again.told()).is_some());
}

#[test]
fn whoever_resumes_has_the_rights_of_the_token_that_it_came_with() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    let sid = sid_of(&node, &alice);
    let mut listening = token("alice", "red");
    listening.id = TokenId::of_jti("devkey", "another");
    listening.claims.video.as_mut().unwrap().can_publish = Some(false);
    let mut again = node.knock(listening, resuming(&sid)).unwrap();
    let told = again.told();
    assert!(!own_permissions(&told, "alice").pop().unwrap().can_publish);
    assert!(told.iter().any(|message| matches!(message, Told::TrackUnpublished(_))));
    // And the wider one's again.
    let mut again = node.knock(token("alice", "red"), resuming(&sid)).unwrap();
    assert!(own_permissions(&again.told(), "alice").pop().unwrap().can_publish);
}

#[test]
fn a_token_that_hides_whoever_resumes_with_it_hides_it_from_the_others() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    let peer = node.peer(&alice);
    let sid = sid_of(&node, &alice);
    bob.told();
    let state =
        |told: &[Told]| first!(told, Told::Update(update) => update.participants[0].state());
    let mut hiding = token("alice", "red");
    hiding.claims.video.as_mut().unwrap().hidden = true;
    node.knock(hiding, resuming(&sid)).unwrap();
    let gone = proto::participant_info::State::Disconnected;
    assert_eq!(state(&bob.told()), Some(gone));
    assert!(!node.hub.control.participant(peer).unwrap().is_visible());
    node.knock(token("alice", "red"), resuming(&sid)).unwrap();
    assert_eq!(state(&bob.told()), Some(proto::participant_info::State::Active));
}

#[test]
fn what_a_token_says_somebody_is_reaches_the_others_when_it_resumes_with_it() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    let peer = node.peer(&alice);
    let sid = sid_of(&node, &alice);
    bob.told();
    let before = node.hub.control.participant(peer).unwrap().version;
    let mut phone = token("alice", "red");
    phone.claims.kind = "sip".to_owned();
    let again = node.knock(phone.clone(), resuming(&sid)).unwrap();
    let told = bob.told();
    let info = first!(told, Told::Update(update) => update.participants[0].clone()).unwrap();
    assert_eq!(info.kind(), proto::participant_info::Kind::Sip);
    assert!(info.version > before);
    // The same token says nothing new.
    node.tell(ToHub::Closed(again.session));
    node.knock(phone, resuming(&sid)).unwrap();
    assert_eq!(bob.told().iter().filter(|it| matches!(it, Told::Update(_))).count(), 0);
}

#[test]
fn a_revoked_token_ends_its_session_in_that_turn_and_lets_nobody_in() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    let mut list = Revocations::default();
    list.revoke_token(token("alice", "red").id).unwrap();
    node.access.send_replace(access(devkey(), list));
    node.hub.turn(node.now, unix_ms(node.now), std::iter::empty());
    let told = alice.told();
    let leave = left(&told).expect("put out");
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Disconnect));
    assert!(left(&bob.told()).is_none());
    let refused = node.knock(token("alice", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::NotAllowed("the token is revoked"))));
    assert!(matches!(
        node.knock(token("alice", "red"), resuming("PA_gone")),
        Err(Refusal::NotAllowed(_))
    ));
    assert!(node.knock(token("cy", "red"), joining(CHROMIUM_JOIN)).is_ok());
}

#[test]
fn a_revoked_key_ends_every_session_that_it_let_in_and_lets_nobody_in() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut list = Revocations::default();
    list.revoke_key("another").unwrap();
    node.access.send_replace(access(devkey(), list.clone()));
    node.hub.turn(node.now, unix_ms(node.now), std::iter::empty());
    assert!(left(&alice.told()).is_none());
    list.revoke_key("devkey").unwrap();
    // Whether or not the key itself is still there.
    node.access.send_replace(access([], list));
    node.hub.turn(node.now, unix_ms(node.now), std::iter::empty());
    let told = alice.told();
    let leave = left(&told).expect("put out");
    assert_eq!(leave.action, i32::from(proto::leave_request::Action::Disconnect));
    let refused = node.knock(token("bob", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::NotAllowed("the token is revoked"))));
}

#[test]
fn a_join_that_was_under_way_when_its_key_went_is_refused() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let sid = sid_of(&node, &alice);
    let others = [ProjectKey::hs256_short("devkey", b"another").unwrap()];
    for keys in [Vec::new(), others.to_vec()] {
        node.access.send_replace(access(keys, Revocations::default()));
        node.hub.turn(node.now, unix_ms(node.now), std::iter::empty());
        for (kind, join) in [
            (TokenKind::Original, joining(CHROMIUM_JOIN)),
            (TokenKind::Refresh, joining(CHROMIUM_JOIN)),
            (TokenKind::Refresh, resuming(&sid)),
        ] {
            let refused = node.knock(VerifiedToken { kind, ..token("alice", "red") }, join);
            let Err(Refusal::NotAllowed(reason)) = refused else { panic!("let in") };
            assert_eq!(reason, "the key of the token is gone");
        }
    }
    assert!(left(&alice.told()).is_none(), "who is in stays in");
}

#[test]
fn sessions_outlive_the_key_of_their_token_and_are_refreshed_no_more() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.access.send_replace(access([], Revocations::default()));
    node.wait(REFRESH_EVERY + Duration::from_secs(1));
    let told = alice.told();
    assert!(left(&told).is_none());
    assert!(!told.iter().any(|message| matches!(message, Told::RefreshToken(_))));
}

#[test]
fn who_is_in_has_a_refresh_token_that_is_taken_once_the_key_of_those_has_changed() {
    let mut node = Node::new();
    let mut all = [node.active("alice"), node.active("bob")];
    let shared = |byte| RefreshKey::shared(&[byte; 32]).unwrap();
    let [first, second] = [shared(1), shared(2)];
    // Given for the first time, changed, and taken away; reloads that change nothing of it are told to nobody.
    for (refresh, is_told) in [
        (&first, true),
        (&first, false),
        (&second, true),
        (&RefreshKey::new(&[3; 32]), true),
        (&RefreshKey::new(&[4; 32]), false),
    ] {
        let keys = ProjectKeys::new(refresh.clone(), devkey().map(Into::into)).unwrap();
        let access = Arc::new(Access { keys, revocations: Revocations::default() });
        node.access.send_replace(Arc::clone(&access));
        node.hub.turn(node.now, unix_ms(node.now), std::iter::empty());
        node.wait(Duration::from_millis(1));
        for client in &mut all {
            let told = client.told();
            let given = told.iter().filter_map(|message| {
                if let Told::RefreshToken(token) = message { Some(token) } else { None }
            });
            let taken: Vec<bool> =
                given.map(|token| access.verify(token, node.hub.unix_s()).is_ok()).collect();
            assert_eq!(taken, if is_told { vec![true] } else { vec![] });
        }
    }
}
