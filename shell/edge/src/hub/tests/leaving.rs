//! Whose session ends, why, and what the others are told of it.

use sfu::control::Visibility;

use super::*;

/// What one is told to do who has this token, when a server stops that knows these keys by then and has `next` after
/// it.
fn told_at_the_end(
    token: VerifiedToken,
    keys: impl IntoIterator<Item = ProjectKey>,
    next: Next,
) -> proto::leave_request::Action {
    let mut node = Node::new();
    node.hub.config.next = next;
    let mut alice = node.knock(token, joining(CHROMIUM_JOIN)).unwrap();
    node.access.send_replace(access(keys, Revocations::default()));
    let (reply, _told) = oneshot::channel();
    node.tell(ToHub::Stop(reply));
    first!(alice.told(), Told::Leave(leave) => leave.action()).unwrap()
}

#[test]
fn a_stop_sends_back_whom_the_next_process_will_take() {
    let back = proto::leave_request::Action::Reconnect;
    let away = proto::leave_request::Action::Disconnect;
    let good = token("alice", "red");
    assert_eq!(told_at_the_end(good.clone(), devkey(), Next::Process), back);
    assert_eq!(told_at_the_end(good.clone(), devkey(), Next::Nobody), away);
    let mut over = good.clone();
    over.claims.expires_at = 1;
    assert_eq!(told_at_the_end(over, devkey(), Next::Process), away);
    assert_eq!(told_at_the_end(good, [], Next::Process), away);
}

#[test]
fn leaving_is_told_to_the_others_with_the_highest_version() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    let peer = node.peer(&alice);
    let version = node.hub.control.participant(peer).unwrap().version;
    bob.told();
    node.sent();
    node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
    let told = bob.told();
    let gone = first!(told, Told::Update(update) => &update.participants[0]).unwrap();
    assert_eq!(gone.state, i32::from(proto::participant_info::State::Disconnected));
    assert!(gone.version > version);
    assert!(
        node.sent().iter().any(|(_, sent)| matches!(sent, ToWorker::RemovePeer(p) if *p == peer))
    );
    assert!(alice.is_closed());
}

#[test]
fn a_duplicate_puts_the_first_out_and_is_not_told_of_itself() {
    let mut node = Node::new();
    let mut old = node.active("alice");
    let mut bob = node.active("bob");
    bob.told();
    let mut new = node.join("alice");
    let leave = first!(old.told(), Told::Leave(leave) => (leave.reason, leave.action));
    let duplicate = proto::DisconnectReason::DuplicateIdentity.into();
    assert_eq!(leave, Some((duplicate, proto::leave_request::Action::Disconnect.into())));
    let gone = i32::from(proto::participant_info::State::Disconnected);
    let states = |told: &[Told]| {
        let updates = told.iter().filter_map(|message| {
            if let Told::Update(update) = message { Some(&update.participants) } else { None }
        });
        updates.flatten().map(|info| info.state).collect::<Vec<_>>()
    };
    assert_eq!(states(&bob.told())[0], gone, "first gone, then here again");
    assert!(!states(&new.told()).contains(&gone));
}

#[test]
fn a_full_reconnect_is_no_duplicate() {
    let mut node = Node::new();
    let mut old = node.active("alice");
    node.ask(&old, Asked::Leave(proto::LeaveRequest::default()));
    node.join("alice");
    assert!(first!(old.told(), Told::Leave(leave) => leave.reason).is_none());
}

#[test]
fn a_lost_peer_makes_its_client_join_afresh() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let peer = node.peer(&alice);
    node.sent();
    node.tell(ToHub::Worker(FromWorker::Closed(peer)));
    assert!(first!(alice.told(), Told::Leave(leave) => leave.action).is_none());
    node.wait(GOODBYE_TIME);
    let leave = first!(alice.told(), Told::Leave(leave) => leave.action);
    assert_eq!(leave, Some(proto::leave_request::Action::Reconnect.into()));
    assert!(!node.sent().iter().any(|(_, sent)| matches!(sent, ToWorker::RemovePeer(_))));
}

#[test]
fn whom_a_worker_puts_out_is_told_at_once() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let peer = node.peer(&alice);
    node.tell(ToHub::Worker(FromWorker::PutOut(peer)));
    let leave = first!(alice.told(), Told::Leave(leave) => leave.action);
    assert_eq!(leave, Some(proto::leave_request::Action::Reconnect.into()));
}

#[test]
fn who_ends_its_transport_before_its_goodbye_comes_has_left_all_the_same() {
    let mut node = Node::new();
    let mut bob = node.active("bob");
    for says_goodbye in [true, false] {
        let alice = node.active("alice");
        let peer = node.peer(&alice);
        bob.told();
        node.tell(ToHub::Worker(FromWorker::Closed(peer)));
        if says_goodbye {
            node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
        }
        node.tell(ToHub::Closed(alice.session));
        let reason = first!(bob.told(), Told::Update(update) => {
            update.participants[0].disconnect_reason()
        });
        let expected = if says_goodbye {
            proto::DisconnectReason::ClientInitiated
        } else {
            proto::DisconnectReason::ConnectionTimeout
        };
        assert_eq!(reason, Some(expected));
        assert!(!node.hub.timers.is_set(Timer::Lost(peer)));
    }
}

#[test]
fn a_client_that_does_not_read_loses_its_session_and_nobody_else_anything() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let bob = node.active("bob");
    alice.told();
    for _ in 0..OUTBOX_MAX + 10 {
        node.ask(&bob, Asked::PingReq(proto::Ping::default()));
    }
    assert!(!node.hub.sessions.contains_key(&bob.session));
    assert!(node.hub.sessions.contains_key(&alice.session));
    assert_eq!(node.hub.control.everyone().count(), 2, "he may resume");
}

#[test]
fn a_panic_puts_out_the_participant_whose_message_it_was_and_nobody_else() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let bob = node.active("bob");
    let from = node.peer(&alice);
    alice.told();
    node.tell(said(from, Channel::Lossy, packet(POISON)));
    let leave = first!(alice.told(), Told::Leave(leave) => leave.action);
    assert_eq!(leave, Some(proto::leave_request::Action::Reconnect.into()));
    assert_eq!(node.hub.metrics.hub_panics.total(), 1);
    assert!(node.hub.sessions.contains_key(&bob.session));
    node.active("carol");
    assert_eq!(node.hub.control.everyone().count(), 2);
}

#[test]
fn a_stop_tells_everybody_and_lets_nobody_in() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let (reply, mut told) = oneshot::channel();
    node.tell(ToHub::Stop(reply));
    assert!(told.try_recv().is_ok());
    let reason = first!(alice.told(), Told::Leave(leave) => leave.reason);
    assert_eq!(reason, Some(proto::DisconnectReason::ServerShutdown.into()));
    let refused = node.knock(token("bob", "red"), joining(CHROMIUM_JOIN));
    assert!(matches!(refused, Err(Refusal::Unavailable(_))));
}

#[test]
fn an_emptied_hub_holds_nothing() {
    let mut node = Node::new();
    let clients = ["a", "b", "c"].map(|identity| node.active(identity));
    node.publish(&clients[0]);
    node.publish(&clients[1]);
    for client in clients {
        node.ask(&client, Asked::Leave(proto::LeaveRequest::default()));
    }
    node.wait(Duration::from_secs(30));
    let hub = &node.hub;
    assert!(hub.seats.is_empty() && hub.sessions.is_empty() && hub.tracks.is_empty());
    assert!(hub.gatherings.is_empty() && hub.timers.next().is_none());
    assert_eq!(hub.next_timeout(), None);
}

/// Clients keep a speaker until they are told that it is none, and know nobody who is gone.
#[test]
fn whoever_is_gone_while_it_speaks_falls_silent_before() {
    let ways: [fn(&mut Node, &Client); 2] = [
        |node, alice| node.ask(alice, Asked::Leave(proto::LeaveRequest::default())),
        |node, alice| {
            let peer = node.peer(alice);
            node.hub.control.handle(node.now, Input::Show(peer, Visibility::Hidden));
            let report = Report::Level { track: TrackId(1), level: None };
            node.tell(ToHub::Worker(FromWorker::Report(report)));
        },
    ];
    for (way, is_away) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut node = Node::new();
        let alice = node.active("alice");
        node.publish(&alice);
        let (sid, mut bob) = (sid_of(&node, &alice), node.active("bob"));
        let bobs = sid_of(&node, &bob);
        let report = Report::Level { track: TrackId(0), level: Some(0.5) };
        node.tell(ToHub::Worker(FromWorker::Report(report)));
        node.wait(Duration::from_secs(1));
        let speaks = first!(bob.told(), Told::SpeakersChanged(it) => it.speakers[0].active);
        assert_eq!(speaks, Some(true));
        if is_away {
            node.tell(ToHub::Closed(bob.session));
        }
        ways[way](&mut node, &alice);
        node.wait(Duration::from_secs(1));
        if is_away {
            bob = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
        }
        let told = bob.told();
        let is_silent = |it: &proto::SpeakerInfo| it.sid == sid && !it.active;
        let silent = position(
            &told,
            |message| matches!(message, Told::SpeakersChanged(it) if it.speakers.iter().any(is_silent)),
        );
        let gone = position(
            &told,
            |message| matches!(message, Told::Update(update) if update.participants[0].sid == sid),
        );
        assert!(silent < gone, "way {way}, away: {is_away}: {told:?}");
    }
}

/// As one who is silenced by a moderator.
#[test]
fn whoever_resumes_is_told_that_somebody_speaks_no_more_whom_it_receives_no_more() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    let (sid, mut bob) = (sid_of(&node, &alice), node.active("bob"));
    let bobs = sid_of(&node, &bob);
    for level in [Some(0.5), None] {
        let report = Report::Level { track: TrackId(0), level };
        node.tell(ToHub::Worker(FromWorker::Report(report)));
        node.wait(Duration::from_secs(1));
        if level.is_some() {
            bob.told();
            node.tell(ToHub::Closed(bob.session));
            let peer = node.peer(&alice);
            for track in [TrackId(0), TrackId(1)] {
                node.hub.control.handle(node.now, Input::Ended { peer, track });
            }
        }
    }
    bob = node.knock(token("bob", "red"), resuming(&bobs)).unwrap();
    let told = first!(bob.told(), Told::SpeakersChanged(it) => it.speakers.clone()).unwrap();
    assert!(told.iter().any(|it| it.sid == sid && !it.active), "{told:?}");
}
