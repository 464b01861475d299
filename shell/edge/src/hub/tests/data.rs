//! Data packets: to whom they go, and how long they are kept.

use super::*;

#[test]
fn data_goes_to_the_others_in_the_senders_name() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    let (from, to) = (node.peer(&alice), node.peer(&bob));
    node.sent();
    node.tell(said(from, Channel::Lossy, packet(b"hello")));
    let got = node.messages_for(to);
    let got = proto::DataPacket::decode(&*got[0]).unwrap();
    assert_eq!(got.participant_identity, "alice");
    assert!(got.participant_sid.starts_with("PA_"));
    node.tell(said(from, Channel::Reliable, packet(b"again")));
    assert!(node.messages_for(from).is_empty(), "not to its sender");
}

#[test]
fn a_repeated_reliable_packet_passes_once_and_the_missed_are_replayed() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    let (from, to) = (node.peer(&alice), node.peer(&bob));
    let sid = node.hub.control.participant(from).unwrap().sid.to_string();
    node.sent();
    for _ in 0..2 {
        node.tell(said(from, Channel::Reliable, packet(b"x")));
    }
    let said: Vec<_> = node.sent().iter().filter_map(since).collect();
    assert_eq!(said.len(), 1, "for bob");
    assert_eq!(node.hub.metrics.data_refused.total(), 1);
    node.wait(Duration::from_secs(3));
    let his = node.hub.control.participant(to).unwrap().sid.to_string();
    // A session says once what it has: the second time nothing comes of it.
    for (last_seq, replayed) in [(0, [1, 0]), (1, [0, 0])] {
        let bob = node.knock(token("bob", "red"), resuming(&his)).unwrap();
        let state = proto::DataChannelReceiveState { publisher_sid: sid.clone(), last_seq };
        let sync =
            proto::SyncState { datachannel_receive_states: vec![state], ..Default::default() };
        for replayed in replayed {
            node.ask(&bob, Asked::SyncState(sync.clone()));
            let since: Vec<_> = node.sent().iter().filter_map(since).collect();
            assert_eq!(since, said[..replayed], "it is as old as it was");
        }
    }
}

#[test]
fn reliable_packets_are_forgotten_in_time_though_nothing_happens() {
    let mut node = Node::new();
    let (alice, _bob) = (node.active("alice"), node.active("bob"));
    let from = node.peer(&alice);
    node.say(from, 1, &[]);
    let first = node.now;
    node.now += REPLAY_TIME_MAX / 2;
    node.say(from, 2, &[]);
    let second = node.now;
    for (at, expect) in [(first, 2), (first + REPLAY_TIME_MAX, 1), (second + REPLAY_TIME_MAX, 0)] {
        // Nobody speaks: the hub wakes when it asked to.
        node.wait(at.since(node.now));
        assert_eq!(node.kept(), expect, "at {at:?}");
    }
}

#[test]
fn who_left_is_forgotten_within_a_second_with_all_that_names_it() {
    let mut node = Node::new();
    let (alice, bob, cy) = (node.active("alice"), node.active("bob"), node.active("cy"));
    let (from, other) = (node.peer(&alice), node.peer(&bob));
    node.say(from, 1, &[]);
    node.say(from, 2, &["bob"]);
    node.say(other, 1, &[]);
    node.say(other, 2, &["alice"]);
    node.say(other, 3, &["alice", "cy"]);
    node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
    let left = node.now;
    // It was on its way.
    node.say(other, 4, &["alice", "cy"]);
    assert_eq!(node.kept(), 6, "whoever is just coming back gets them");
    node.wait((left + REPLAY_GONE_TIME_MAX).since(node.now));
    node.say(other, 5, &["alice"]);
    let replay = &mut node.hub.gatherings.values_mut().next().unwrap().replay;
    let kept: Vec<_> = replay.iter(node.now).map(|sent| sent.content.expose()).collect();
    assert!(kept.iter().all(|sent| !sent.windows(5).any(|part| part == b"alice")), "{kept:?}");
    let kept: Vec<_> = kept.iter().map(|sent| proto::DataPacket::decode(&***sent)).collect();
    let names = |sent: &proto::DataPacket| (sent.sequence, sent.destination_identities.len());
    let kept: Vec<_> = kept.iter().map(|sent| names(sent.as_ref().unwrap())).collect();
    assert_eq!(kept, [(1, 0), (3, 1), (4, 1)], "what bob said to all and to cy stays");
    node.sent();
    let sid = node.hub.control.participant(other).unwrap().sid.to_string();
    let missed = proto::DataChannelReceiveState { publisher_sid: sid, last_seq: 0 };
    let state = vec![missed];
    let sync = proto::SyncState { datachannel_receive_states: state, ..Default::default() };
    node.ask(&cy, Asked::SyncState(sync));
    assert_eq!(node.messages_for(node.peer(&cy)).len(), 3);
}

#[test]
fn whoever_comes_again_under_a_name_keeps_what_is_said_to_it() {
    let mut node = Node::new();
    let (_alice, bob) = (node.active("alice"), node.active("bob"));
    let other = node.peer(&bob);
    node.say(other, 1, &["alice"]);
    // The second alice replaces the first.
    let alice = node.join("alice");
    node.say(other, 2, &["alice"]);
    node.wait(REPLAY_GONE_TIME_MAX);
    node.sent();
    let to = node.peer(&alice);
    node.tell(ToHub::Worker(FromWorker::ChannelOpen(to, Channel::Reliable)));
    let got = node.messages_for(to);
    let got: Vec<u32> =
        got.iter().map(|sent| proto::DataPacket::decode(&**sent).unwrap().sequence).collect();
    assert_eq!(got, [2]);
    assert_eq!(node.kept(), 1);
}

#[test]
fn what_an_agent_says_in_somebodys_name_goes_with_it() {
    let mut node = Node::new();
    let mut agent = token("agent", "red");
    agent.claims.video.as_mut().unwrap().agent = true;
    let agent = node.knock(agent, joining(CHROMIUM_JOIN)).unwrap();
    let (alice, _bob) = (node.active("alice"), node.active("bob"));
    let words = proto::ChatMessage { message: "hello".into(), ..Default::default() };
    let sent = proto::DataPacket {
        participant_identity: "alice".into(),
        value: Some(proto::data_packet::Value::ChatMessage(words)),
        ..Default::default()
    };
    let say = |node: &mut Node| {
        let from = node.peer(&agent);
        let sent = sent.encode_to_vec();
        node.tell(said(from, Channel::Reliable, sent));
    };
    say(&mut node);
    assert_eq!(node.kept(), 1);
    node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
    node.wait(REPLAY_GONE_TIME_MAX);
    assert_eq!(node.kept(), 0);
    say(&mut node);
    assert_eq!(node.kept(), 0, "nor is kept what is said in the name of nobody here");
}

#[test]
fn a_channel_that_opens_late_gets_what_was_sent_meanwhile() {
    let mut node = Node::new();
    let (alice, _cy) = (node.active("alice"), node.active("cy"));
    let from = node.peer(&alice);
    node.tell(said(from, Channel::Reliable, packet(b"before")));
    let bob = node.join("bob");
    let to = node.peer(&bob);
    let mut later = proto::DataPacket::decode(&*packet(b"meanwhile")).unwrap();
    later.sequence = 2;
    let later = later.encode_to_vec();
    node.tell(said(from, Channel::Reliable, later));
    assert!(node.messages_for(to).is_empty());
    node.tell(ToHub::Worker(FromWorker::ChannelOpen(to, Channel::Reliable)));
    let got = node.messages_for(to);
    assert_eq!(got.len(), 1, "only what was sent after it joined");
}

#[test]
fn a_newcomer_that_says_it_has_missed_much_hears_nothing_of_before() {
    let mut node = Node::new();
    let (alice, _cy) = (node.active("alice"), node.active("cy"));
    let from = node.peer(&alice);
    node.say(from, 1, &[]);
    let bob = node.active("bob");
    let to = node.peer(&bob);
    node.say(from, 2, &[]);
    assert_eq!(node.messages_for(to).len(), 1);
    let publisher_sid = sid_of(&node, &alice);
    let missed = vec![proto::DataChannelReceiveState { publisher_sid, last_seq: 0 }];
    let sync = proto::SyncState { datachannel_receive_states: missed, ..Default::default() };
    node.ask(&bob, Asked::SyncState(sync));
    let got = node.messages_for(to);
    let got: Vec<u32> =
        got.iter().map(|sent| proto::DataPacket::decode(&**sent).unwrap().sequence).collect();
    assert_eq!(got, [2]);
}

#[test]
fn data_without_permission_does_not_pass() {
    let mut node = Node::new();
    let mut modest = token("alice", "red");
    modest.claims.video.as_mut().unwrap().can_publish_data = Some(false);
    let alice = node.knock(modest, joining(CHROMIUM_JOIN)).unwrap();
    let bob = node.active("bob");
    let (from, to) = (node.peer(&alice), node.peer(&bob));
    node.sent();
    for bytes in [packet(b"x"), b"\xff\xff".to_vec()] {
        node.tell(said(from, Channel::Lossy, bytes));
    }
    assert!(node.messages_for(to).is_empty());
    assert_eq!(node.hub.metrics.data_refused.total(), 2);
}
