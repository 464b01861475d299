//! A lost signalling connection, and who may go on with its session.

use super::receivers::{everyone, only};
use super::*;
use crate::limits::{ANSWER_AWAITED_TIME, GONE_MAX};
use wire::room_service::Request;

#[test]
fn a_lost_signal_is_resumed_by_the_same_participant() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    let peer = node.peer(&alice);
    let sid = node.hub.control.participant(peer).unwrap().sid.to_string();
    bob.told();
    node.sent();
    node.tell(ToHub::Closed(alice.session));
    node.wait(Duration::from_secs(30));
    assert!(node.instructions().is_empty(), "media goes on");
    let mut again = node.knock(token("alice", "red"), resuming(&sid)).unwrap();
    assert_eq!(node.peer(&again), peer);
    let told = again.told();
    assert!(matches!(told[0], Told::Reconnect(_)));
    let everybody = first!(told, Told::Update(update) => update.participants.len());
    assert_eq!(everybody, Some(2));
    assert!(first!(told, Told::RoomUpdate(update) => update.room.is_some()) == Some(true));
    let told = bob.told();
    assert!(first!(told, Told::Update(update) => update.participants.len()).is_none());
}

/// It may wait for somebody to listen.
#[test]
fn a_resume_tells_of_tracks_that_somebody_has_received_meanwhile() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    let (sid, bob) = (sid_of(&node, &alice), node.active("bob"));
    node.tell(ToHub::Closed(alice.session));
    node.ask(&bob, Asked::Offer(description(CHROMIUM_JOIN, 8)));
    let mut again = node.knock(token("alice", "red"), resuming(&sid)).unwrap();
    assert_eq!(received(&again.told()), 2);
}

#[test]
fn a_resume_under_another_identity_or_of_nobody_is_turned_away() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let sid = sid_of(&node, &alice);
    for (identity, sid) in [("bob", sid.as_str()), ("alice", "PA_nobody"), ("bob", "")] {
        let mut turned = node.knock(token(identity, "red"), resuming(sid)).unwrap();
        let leave = first!(turned.told(), Told::Leave(leave) => (leave.reason, leave.action));
        let mismatch = proto::DisconnectReason::StateMismatch.into();
        assert_eq!(leave, Some((mismatch, proto::leave_request::Action::Reconnect.into())));
    }
    assert!(node.hub.sessions.contains_key(&alice.session), "alice is not disturbed");
}

#[test]
fn a_resume_with_a_track_that_is_not_here_makes_the_client_join_afresh() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let track = proto::TrackInfo { sid: "TR_lost".to_owned(), ..Default::default() };
    let published = proto::TrackPublishedResponse { cid: "c".to_owned(), track: Some(track) };
    node.ask(
        &alice,
        Asked::SyncState(proto::SyncState {
            publish_tracks: vec![published],
            ..Default::default()
        }),
    );
    let leave = first!(alice.told(), Told::Leave(leave) => leave.action);
    assert_eq!(leave, Some(proto::leave_request::Action::Reconnect.into()));
}

#[test]
fn an_answer_that_was_lost_comes_again_with_the_resume() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.publish(&alice);
    let cids = |told: &[Told]| {
        let cids = told.iter().filter_map(|it| {
            if let Told::TrackPublished(it) = it { Some(it.cid.clone()) } else { None }
        });
        cids.collect::<Vec<_>>()
    };
    let known = alice
        .told()
        .into_iter()
        .filter_map(|it| if let Told::TrackPublished(it) = it { Some(it) } else { None });
    let state = proto::SyncState { publish_tracks: known.collect(), ..Default::default() };
    assert_eq!(state.publish_tracks.len(), 2);
    let sid = sid_of(&node, &alice);
    node.wait(ANSWER_AWAITED_TIME);
    node.ask(&alice, add_track("lost", TrackKind::Audio));
    node.tell(ToHub::Closed(alice.session));
    let mut again = node.knock(token("alice", "red"), resuming(&sid)).unwrap();
    node.ask(&again, Asked::SyncState(state));
    assert_eq!(cids(&again.told()), ["lost"], "and nothing that it knows");
    let mut again = node.knock(token("alice", "red"), resuming(&sid)).unwrap();
    node.ask(&again, Asked::SyncState(proto::SyncState::default()));
    assert_eq!(cids(&again.told()), ["lost"], "nor what lives: it may have ended that");
    // It offers with the announcement, and both answers are lost.
    let mut bob = node.active("bob");
    let sid = sid_of(&node, &bob);
    node.publish(&bob);
    let published = cids(&bob.told());
    node.tell(ToHub::Closed(bob.session));
    let mut again = node.knock(token("bob", "red"), resuming(&sid)).unwrap();
    node.ask(&again, Asked::SyncState(proto::SyncState::default()));
    assert_eq!((published.len(), cids(&again.told())), (2, published));
    // It announces one of them anew, which ends with its next offer.
    node.ask(&again, add_track(MICROPHONE, TrackKind::Audio));
    let mut again = node.knock(token("bob", "red"), resuming(&sid)).unwrap();
    node.ask(&again, Asked::SyncState(proto::SyncState::default()));
    assert_eq!(cids(&again.told()), [CAMERA], "not with the sid of the one that ends");
}

/// LiveKit #4560: such a message, without what it is about, took a server down.
#[test]
fn a_resume_with_messages_that_lack_their_inner_ones_costs_that_client_alone() {
    let mut node = Node::new();
    let bob = node.active("bob");
    let empty = proto::SyncState::default();
    let hollow = proto::SyncState {
        answer: Some(proto::SessionDescription::default()),
        offer: Some(proto::SessionDescription::default()),
        subscription: Some(proto::UpdateSubscription {
            participant_tracks: vec![proto::ParticipantTracks::default()],
            ..Default::default()
        }),
        datachannel_receive_states: vec![proto::DataChannelReceiveState::default()],
        track_sids_disabled: vec![String::new()],
        ..Default::default()
    };
    for (name, state) in [("alice", empty), ("carol", hollow)] {
        let mut client = node.active(name);
        node.ask(&client, Asked::SyncState(state));
        assert!(first!(client.told(), Told::Leave(leave) => leave.reason).is_none(), "{name}");
    }
    let mut dan = node.active("dan");
    let lacks = proto::TrackPublishedResponse { cid: "c".to_owned(), track: None };
    node.ask(
        &dan,
        Asked::SyncState(proto::SyncState { publish_tracks: vec![lacks], ..Default::default() }),
    );
    let leave = first!(dan.told(), Told::Leave(leave) => leave.action);
    assert_eq!(leave, Some(proto::leave_request::Action::Reconnect.into()));
    assert!(node.hub.sessions.contains_key(&bob.session), "bob is not disturbed");
}

#[test]
fn a_resume_that_claims_anothers_track_makes_the_client_join_afresh() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    let told = alice.told();
    let hers = first!(told, Told::TrackPublished(published) => published.clone()).unwrap();
    node.ask(
        &bob,
        Asked::SyncState(proto::SyncState { publish_tracks: vec![hers], ..Default::default() }),
    );
    assert!(first!(bob.told(), Told::Leave(leave) => leave.reason).is_some());
}

#[test]
fn sections_needed_while_a_client_was_away_are_asked_for_when_it_resumes() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    let sid = sid_of(&node, &bob);
    node.tell(ToHub::Closed(bob.session));
    node.publish(&alice);
    let mut again = node.knock(token("bob", "red"), resuming(&sid)).unwrap();
    let told = again.told();
    assert!(first!(told, Told::MediaSectionsRequirement(needed) => needed.num_videos).is_some());
}

#[test]
fn a_simulated_fault_closes_the_next_resume_three_times() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let sid = sid_of(&node, &alice);
    let scenario =
        Some(proto::simulate_scenario::Scenario::DisconnectSignalOnResumeNoMessages(true));
    node.ask(&alice, Asked::Simulate(proto::SimulateScenario { scenario }));
    for _ in 0..3 {
        let mut again = node.knock(token("alice", "red"), resuming(&sid)).unwrap();
        assert!(again.told().is_empty());
        node.tell(ToHub::Closed(again.session));
    }
    let mut again = node.knock(token("alice", "red"), resuming(&sid)).unwrap();
    assert!(matches!(again.told()[0], Told::Reconnect(_)));
}

fn leave(node: &mut Node, client: &Client) {
    node.ask(client, Asked::Leave(proto::LeaveRequest::default()));
}

/// A back end asks.
fn serve(node: &mut Node, request: Request) {
    let (reply, _answer) = oneshot::channel();
    node.tell(ToHub::RoomService(Box::new(request), reply));
}

/// Sids and identities of those who are said to be gone.
fn gone(told: &[Told]) -> Vec<(String, String)> {
    let updates = told.iter().filter_map(|message| {
        if let Told::Update(update) = message { Some(&update.participants) } else { None }
    });
    let state = proto::participant_info::State::Disconnected;
    let gone = updates.flatten().filter(|info| info.state() == state);
    gone.map(|info| (info.sid.clone(), info.identity.clone())).collect()
}

/// The camera's and the microphone's names for clients.
fn published(told: &[Told]) -> Vec<String> {
    let tracks = told.iter().filter_map(|message| {
        if let Told::TrackPublished(told) = message { told.track.as_ref() } else { None }
    });
    tracks.map(|track| track.sid.clone()).collect()
}

#[test]
fn whoever_left_while_a_client_was_away_is_gone_for_it_when_it_resumes() {
    let mut node = Node::new();
    let [bob, carol, dan, erin] = ["bob", "carol", "dan", "erin"].map(|name| node.active(name));
    let (bobs, carols) = (sid_of(&node, &bob), sid_of(&node, &carol));
    leave(&mut node, &erin);
    node.wait(Duration::from_secs(21));
    node.ask(&bob, Asked::PingReq(proto::Ping::default()));
    // The connection is lost now, and the server hears of it later.
    leave(&mut node, &carol);
    node.tell(ToHub::Closed(bob.session));
    leave(&mut node, &dan);
    // Who is here again is told of as it is now.
    node.active("dan");
    let mut again = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
    let told = again.told();
    assert!(matches!(told[0], Told::Reconnect(_)));
    // Under a sid alone: nobody's name outlives its session here.
    assert_eq!(gone(&told), [(carols, String::new())]);
    let all = position(&told, |it| matches!(it, Told::Update(all) if all.participants.len() == 2));
    assert!(all > position(&told, |it| !gone(std::slice::from_ref(it)).is_empty()));
    // The resume may have been lost on its way as well.
    node.tell(ToHub::Closed(again.session));
    let mut again = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
    assert_eq!(gone(&again.told()).len(), 1);
    node.wait(Duration::from_secs(21));
    node.ask(&again, Asked::PingReq(proto::Ping::default()));
    let mut again = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
    assert_eq!(gone(&again.told()), []);
}

#[test]
fn whoever_hid_while_a_client_was_away_is_gone_for_it_until_it_shows_itself() {
    let mut node = Node::new();
    let (alice, bob) = (node.active("alice"), node.active("bob"));
    let (alices, bobs) = (sid_of(&node, &alice), sid_of(&node, &bob));
    for hidden in [true, false] {
        node.tell(ToHub::Closed(bob.session));
        let permission = proto::ParticipantPermission {
            can_subscribe: true,
            can_publish: true,
            hidden,
            ..Default::default()
        };
        let update = proto::UpdateParticipantRequest {
            room: "red".to_owned(),
            identity: "alice".to_owned(),
            permission: Some(permission),
            ..Default::default()
        };
        serve(&mut node, Request::UpdateParticipant(Box::new(update)));
        let mut again = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
        let expect: &[_] = if hidden { &[(alices.clone(), String::new())] } else { &[] };
        assert_eq!(gone(&again.told()), expect);
    }
}

/// Their library wants names, and takes a participant without one for another that it never removes.
#[test]
fn sdks_that_know_people_by_name_alone_are_not_told_of_nameless_ones() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut join = joining(CHROMIUM_JOIN);
    join.client_info.as_mut().unwrap().sdk = proto::client_info::Sdk::Python.into();
    let bob = node.knock(token("bob", "red"), join).unwrap();
    let bobs = sid_of(&node, &bob);
    node.tell(ToHub::Closed(bob.session));
    leave(&mut node, &alice);
    let mut again = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
    assert_eq!(gone(&again.told()), []);
}

#[test]
fn those_who_left_are_kept_for_as_long_as_clients_resume_and_no_more_of_them_than_are_named() {
    let mut node = Node::new();
    let (alice, bob) = (node.active("alice"), node.active("bob"));
    let bobs = sid_of(&node, &bob);
    node.tell(ToHub::Closed(bob.session));
    leave(&mut node, &alice);
    let kept = |node: &Node| node.hub.gatherings.values().next().unwrap().gone.len();
    let pass = |node: &mut Node, number: usize| {
        let passing = node.knock(token(&number.to_string(), "red"), joining(CHROMIUM_JOIN));
        leave(node, &passing.unwrap());
    };
    pass(&mut node, 0);
    assert_eq!(kept(&node), 2);
    node.wait(crate::limits::GONE_TIME_MAX);
    pass(&mut node, 1);
    assert_eq!(kept(&node), 1);
    (2..GONE_MAX + 5).for_each(|number| pass(&mut node, number));
    let mut again = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
    assert_eq!(gone(&again.told()).len(), GONE_MAX);
}

#[test]
fn what_is_wanted_of_a_camera_is_said_again_at_a_resume() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let alices = sid_of(&node, &alice);
    node.publish(&alice);
    node.tell(ToHub::Closed(alice.session));
    // Nobody watches it, which is told to nobody.
    node.wait(Duration::from_secs(6));
    let mut again = node.knock(token("alice", "red"), resuming(&alices)).unwrap();
    let wanted = |told: &[Told]| {
        let update = first!(told, Told::SubscribedQualityUpdate(update) => update.clone());
        update.map(|it| it.subscribed_codecs[0].qualities.iter().filter(|it| it.enabled).count())
    };
    assert_eq!(wanted(&again.told()), Some(0));
    node.tell(ToHub::Closed(again.session));
    node.join("bob");
    let mut again = node.knock(token("alice", "red"), resuming(&alices)).unwrap();
    assert_eq!(wanted(&again.told()), Some(3), "a picture again");
}

#[test]
fn a_moderators_mute_is_said_at_a_resume_before_the_client_could_undo_it() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let alices = sid_of(&node, &alice);
    node.publish(&alice);
    let microphone = published(&alice.told()).swap_remove(0);
    let mute = |node: &mut Node| {
        let request = proto::MuteRoomTrackRequest {
            room: "red".to_owned(),
            identity: "alice".to_owned(),
            track_sid: microphone.clone(),
            muted: true,
        };
        serve(node, Request::MutePublishedTrack(request));
    };
    let said = |told: &[Told]| {
        told.iter().filter(|it| matches!(it, Told::Mute(mute) if mute.muted)).count()
    };
    node.tell(ToHub::Closed(alice.session));
    mute(&mut node);
    let mut again = node.knock(token("alice", "red"), resuming(&alices)).unwrap();
    let told = again.told();
    let muted = position(&told, |it| matches!(it, Told::Mute(mute) if mute.sid == microphone));
    assert!((1..position(&told, |it| matches!(it, Told::Update(_)))).contains(&muted));
    // A client that knows of it says so, and may unmute itself when it is away.
    let confirmed = proto::MuteTrackRequest { sid: microphone.clone(), muted: true };
    node.ask(&again, Asked::Mute(confirmed));
    node.tell(ToHub::Closed(again.session));
    let mut again = node.knock(token("alice", "red"), resuming(&alices)).unwrap();
    assert_eq!(said(&again.told()), 0);
    // What it mutes by itself is its own affair.
    let own = |muted| Asked::Mute(proto::MuteTrackRequest { sid: microphone.clone(), muted });
    for muted in [false, true] {
        node.ask(&again, own(muted));
    }
    let mut again = node.knock(token("alice", "red"), resuming(&alices)).unwrap();
    assert_eq!(said(&again.told()), 0);
}

#[test]
fn whoever_was_put_out_while_away_stays_out() {
    use proto::DisconnectReason as Reason;

    let check = |put_out: &dyn Fn(&mut Node), expect: Reason| {
        let mut node = Node::new();
        let alice = node.active("alice");
        let alices = sid_of(&node, &alice);
        node.tell(ToHub::Closed(alice.session));
        put_out(&mut node);
        let mut turned = node.knock(token("alice", "red"), resuming(&alices)).unwrap();
        let told = turned.told();
        // livekit-client takes a goodbye that comes first for a fault, and joins afresh.
        assert!(matches!(told[0], Told::Reconnect(_)), "{told:?}");
        let leave = left(&told).expect("told");
        assert_eq!(leave.reason(), expect);
        assert_eq!(leave.action(), proto::leave_request::Action::Disconnect);
    };
    let named = || proto::RoomParticipantIdentity {
        room: "red".to_owned(),
        identity: "alice".to_owned(),
        ..Default::default()
    };
    let remove = |node: &mut Node| serve(node, Request::RemoveParticipant(named()));
    check(&remove, Reason::ParticipantRemoved);
    let delete = |node: &mut Node| {
        let room = proto::DeleteRoomRequest { room: "red".to_owned() };
        serve(node, Request::DeleteRoom(room));
    };
    check(&delete, Reason::RoomDeleted);
    let replace = |node: &mut Node| drop(node.active("alice"));
    check(&replace, Reason::DuplicateIdentity);
}

#[test]
fn whoever_lost_its_peer_joins_afresh_and_so_does_who_was_put_out_long_ago() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let (peer, alices) = (node.peer(&alice), sid_of(&node, &alice));
    node.tell(ToHub::Closed(alice.session));
    node.tell(ToHub::Worker(FromWorker::Closed(peer)));
    let action = |node: &mut Node, sid: &str| {
        let mut turned = node.knock(token("alice", "red"), resuming(sid)).unwrap();
        left(&turned.told()).unwrap().action()
    };
    assert_eq!(action(&mut node, &alices), proto::leave_request::Action::Reconnect);
    let waited_for = node.active("alice");
    let (peer, sid) = (node.peer(&waited_for), sid_of(&node, &waited_for));
    node.tell(ToHub::Worker(FromWorker::Closed(peer)));
    assert_eq!(action(&mut node, &sid), proto::leave_request::Action::Reconnect);
    assert!(!node.hub.seats.contains_key(&peer));
    let first = node.active("alice");
    let firsts = sid_of(&node, &first);
    let second = node.active("alice");
    node.wait(crate::limits::GONE_TIME_MAX - Duration::from_secs(1));
    assert_eq!(action(&mut node, &firsts), proto::leave_request::Action::Disconnect);
    node.wait(Duration::from_secs(2));
    leave(&mut node, &second);
    assert_eq!(action(&mut node, &firsts), proto::leave_request::Action::Reconnect);
}

#[test]
fn whether_a_stream_is_paused_is_said_again_at_a_resume() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    let mut bob = node.join("bob");
    bob.told();
    let bobs = sid_of(&node, &bob);
    for paused in [true, false] {
        node.tell(ToHub::Closed(bob.session));
        let subscription = SubscriptionId(1);
        let report = Report::Bandwidth { subscription, paused };
        node.tell(ToHub::Worker(FromWorker::Report(report)));
        let mut again = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
        let told = again.told();
        let states = first!(told, Told::StreamStateUpdate(it) => it.stream_states.clone());
        let states = states.unwrap_or_default();
        let is_paused = |it: &&proto::StreamStateInfo| it.state() == proto::StreamState::Paused;
        let count = states.iter().filter(is_paused).count();
        assert_eq!((states.len(), count), (2, usize::from(paused)));
        let state = position(&told, |it| matches!(it, Told::StreamStateUpdate(_)));
        assert!(state > position(&told, |it| matches!(it, Told::Update(_))));
    }
}

#[test]
fn what_a_client_wants_again_when_it_resumes_it_has_again() {
    use proto::{SyncState, UpdateSubscription, UpdateTrackSettings};
    // (subscribed to all, what it said of one track, what it names when it resumes, whether it has it then)
    let check = |auto_subscribe: bool, said: bool, named: bool, receives: bool| {
        let mut node = Node::new();
        let alice = node.active("alice");
        node.publish(&alice);
        let settings = proto::ConnectionSettings { auto_subscribe, ..Default::default() };
        let mut join = joining(CHROMIUM_JOIN);
        join.client_info.as_mut().unwrap().sdk = proto::client_info::Sdk::Js.into();
        let join = proto::JoinRequest { connection_settings: Some(settings), ..join };
        let bob = node.knock(token("bob", "red"), join).unwrap();
        let (peer, bobs) = (node.peer(&bob), sid_of(&node, &bob));
        let sid = sound_of(&node, &alice);
        let update = |subscribe: bool, named: bool| UpdateSubscription {
            track_sids: if named { vec![sid.clone()] } else { Vec::new() },
            subscribe,
            ..Default::default()
        };
        node.ask(&bob, Asked::Subscription(update(said, true)));
        node.tell(ToHub::Closed(bob.session));
        let again = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
        let subscription = Some(update(!auto_subscribe, named));
        node.ask(&again, Asked::SyncState(SyncState { subscription, ..Default::default() }));
        let track = node.hub.tracks[&TrackSid::from_wire(&sid)];
        let held = node.hub.control.participant(peer).unwrap().subscriptions.contains_key(&track);
        assert_eq!(held, receives, "{auto_subscribe} {said} {named}");
    };
    check(true, false, false, true);
    check(true, false, true, false);
    check(true, true, true, false);
    check(false, true, false, false);
    check(false, true, true, true);
    check(false, false, true, true);
    // Sound that it had no use for.
    for named in [true, false] {
        let mut node = Node::new();
        let alice = node.active("alice");
        node.publish(&alice);
        let mut join = joining(CHROMIUM_JOIN);
        join.client_info.as_mut().unwrap().sdk = proto::client_info::Sdk::Js.into();
        let bob = node.knock(token("bob", "red"), join).unwrap();
        let (peer, bobs) = (node.peer(&bob), sid_of(&node, &bob));
        let sids = vec![sound_of(&node, &alice)];
        let off =
            UpdateTrackSettings { track_sids: sids.clone(), disabled: true, ..Default::default() };
        node.ask(&bob, Asked::TrackSetting(off));
        node.tell(ToHub::Closed(bob.session));
        let again = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
        let track_sids_disabled = if named { sids } else { Vec::new() };
        node.ask(&again, Asked::SyncState(SyncState { track_sids_disabled, ..Default::default() }));
        let held = node.hub.control.participant(peer).unwrap();
        assert_eq!(held.disabled().count(), usize::from(named));
    }
}

#[test]
fn what_may_be_received_and_who_fell_silent_is_said_again_at_a_resume() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.publish(&alice);
    let alices = sid_of(&node, &alice);
    let track = node.hub.seats[&node.peer(&alice)].cids[MICROPHONE];
    let mut bob = node.join("bob");
    let bobs = sid_of(&node, &bob);
    let level = |node: &mut Node, level| {
        node.tell(ToHub::Worker(FromWorker::Report(Report::Level { track, level })));
        node.wait(Duration::from_secs(1));
    };
    level(&mut node, Some(0.5));
    // What he is told from here on goes into a network that is dead.
    for asked in [only(std::iter::empty()), everyone()] {
        node.ask(&alice, asked);
        node.wait(Duration::from_secs(1));
    }
    level(&mut node, None);
    bob.told();
    alice.told();
    node.tell(ToHub::Closed(bob.session));
    let mut again = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
    node.wait(Duration::from_secs(1));
    let told = again.told();
    let speakers = first!(told, Told::SpeakersChanged(it) => it.speakers.clone()).unwrap();
    let hers = speakers.iter().find(|it| it.sid == alices).expect("of whom he receives");
    assert!(!hers.active && hers.level == 0.0);
    let allowed = told.iter().filter_map(|it| {
        if let Told::SubscriptionPermissionUpdate(it) = it { Some(it.allowed) } else { None }
    });
    assert_eq!(allowed.collect::<Vec<_>>(), [true, true]);
    assert!(alice.told().is_empty(), "nobody else is told");
}

/// What clients call her microphone.
fn sound_of(node: &Node, alice: &Client) -> String {
    let track = node.hub.seats[&node.peer(alice)].cids[MICROPHONE];
    node.hub.control.publication(track).unwrap().sid.to_string()
}

#[test]
fn how_well_others_are_connected_is_said_again_at_a_resume() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    let (alices, from) = (sid_of(&node, &alice), node.peer(&alice));
    let bob = node.join("bob");
    let bobs = sid_of(&node, &bob);
    node.tell(ToHub::Closed(bob.session));
    let report = Report::Quality { peer: from, loss_up: 0.9, loss_down: 0.0, rtt_ms: Some(9) };
    node.tell(ToHub::Worker(FromWorker::Report(report)));
    node.wait(Duration::from_secs(6));
    let mut again = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
    let told = first!(again.told(), Told::ConnectionQuality(update) => update.updates.clone());
    let told: Vec<_> =
        told.unwrap_or_default().into_iter().map(|it| (it.quality(), it.participant_sid)).collect();
    assert_eq!(told, [(proto::ConnectionQuality::Poor, alices)]);
}
