//! What participants are told of the tracks that they may receive: how much, how soon, and the newest in the end.

use std::collections::BTreeMap;

use super::crowds::publisher;
use super::receivers::{everyone, only, received};
use super::*;
use crate::limits::{ALLOWED_TOLD_MAX, HUB_TURN_MAX, UPDATE_EVERY, UPDATE_WAIT_MAX};

/// As many as a session description has sections for, beside that of data.
const TRACKS: usize = sfu::limits::PUBLICATIONS_MAX;

fn nobody() -> Asked {
    only(std::iter::empty())
}

/// What it was told last of each track.
fn allowed(told: &[Told]) -> BTreeMap<String, bool> {
    let updates = told.iter().filter_map(|it| {
        if let Told::SubscriptionPermissionUpdate(it) = it { Some(it) } else { None }
    });
    updates.map(|update| (update.track_sid.clone(), update.allowed)).collect()
}

fn updates(told: &[Told]) -> usize {
    told.iter().filter(|it| matches!(it, Told::SubscriptionPermissionUpdate(_))).count()
}

/// Requests that the hub takes in one turn.
fn ask_at_once(node: &mut Node, requests: impl Iterator<Item = (SessionId, Asked)>) {
    let all = requests.map(|(session, asked)| {
        let request = proto::SignalRequest { message: Some(asked) };
        ToHub::Request(session, Box::new(request), DecodingPart::default())
    });
    let mut all = all.peekable();
    while all.peek().is_some() {
        node.now += Duration::from_millis(1);
        node.hub.turn(node.now, unix_ms(node.now), all.by_ref().take(HUB_TURN_MAX));
    }
}

/// One of them could put all others out with fourteen messages.
#[test]
fn those_who_let_in_and_keep_out_all_the_time_cut_nobody() {
    let mut node = Node::new();
    let mut bob = node.active("bob");
    let mut carol = node.active("carol");
    let mallories: Vec<Client> =
        (0..5).map(|number| publisher(&mut node, &format!("m{number}"), TRACKS)).collect();
    node.wait(Duration::from_secs(10));
    bob.told();
    carol.told();
    let flood = (0..200).flat_map(|number| {
        let asked = if number % 2 == 0 { nobody } else { everyone };
        mallories.iter().map(move |mallory| (mallory.session, asked()))
    });
    ask_at_once(&mut node, flood.collect::<Vec<_>>().into_iter());
    // Nobody has read a word of it.
    for client in [&mut bob, &mut carol] {
        assert!(client.is_cut.try_recv().is_err() && client.inbox.len() <= OUTBOX_MAX / 2 + 8);
    }
    for mallory in &mallories {
        node.ask(mallory, only(std::iter::once("bob".into())));
    }
    let (mut to_bob, mut to_carol) = (bob.told(), carol.told());
    for _ in 0..UPDATE_WAIT_MAX.as_millis() / UPDATE_EVERY.as_millis() {
        node.wait(UPDATE_EVERY);
        let now = [bob.told(), carol.told()];
        assert!(now.iter().all(|told| updates(told) <= ALLOWED_TOLD_MAX));
        let [now_to_bob, now_to_carol] = now;
        to_bob.extend(now_to_bob);
        to_carol.extend(now_to_carol);
    }
    let (bobs, carols) = (allowed(&to_bob), allowed(&to_carol));
    assert_eq!((bobs.len(), carols.len()), (5 * TRACKS, 5 * TRACKS));
    assert!(bobs.values().all(|allowed| *allowed) && carols.values().all(|allowed| !allowed));
    assert_eq!((received(&node, &bob) > 0, received(&node, &carol)), (true, 0));
    let cut = [&mut bob, &mut carol].map(|client| client.is_cut.try_recv().is_ok());
    assert_eq!((cut, node.hub.metrics.sockets_slow.total()), ([false; 2], 0));
}

#[test]
fn whoever_is_kept_out_receives_nothing_from_then_on_and_is_told_at_a_rate() {
    let mut node = Node::new();
    let mut bob = node.active("bob");
    let alice = publisher(&mut node, "alice", TRACKS);
    node.wait(Duration::from_secs(10));
    bob.told();
    assert!(received(&node, &bob) > 0);
    for _ in 0..3 {
        node.ask(&alice, everyone());
        node.ask(&alice, nobody());
        assert_eq!(received(&node, &bob), 0, "in that turn");
    }
    assert_eq!(updates(&bob.told()), TRACKS, "the first of it is told at once");
    node.wait(UPDATE_EVERY);
    assert_eq!(updates(&bob.told()), TRACKS);
    node.wait(Duration::from_secs(5));
    assert_eq!(updates(&bob.told()), 0);
}

#[test]
fn no_track_waits_for_those_that_change_all_the_time() {
    let mut node = Node::new();
    let mut bob = node.active("bob");
    let mallories = ["m1", "m2"].map(|name| publisher(&mut node, name, TRACKS));
    let mut alice = node.active("alice");
    node.publish(&alice);
    let told = alice.told();
    let sid = first!(told, Told::TrackPublished(it) => it.track.as_ref().unwrap().sid.clone());
    let sid = sid.expect("published");
    node.wait(Duration::from_secs(10));
    bob.told();
    let mut heard = None;
    for number in 0..40 {
        for mallory in &mallories {
            node.ask(mallory, if number % 2 == 0 { nobody() } else { everyone() });
        }
        if number == 0 {
            node.ask(&alice, nobody());
        }
        node.wait(UPDATE_EVERY / 4);
        heard = heard.or(allowed(&bob.told()).get(&sid).copied());
    }
    assert_eq!(heard, Some(false));
}

#[test]
fn whoever_is_kept_out_is_told_after_it_was_told_of_the_track() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    node.ask(&alice, nobody());
    // She changes so often that the update with her tracks waits.
    for number in 0..20 {
        let metadata = number.to_string();
        let update = proto::UpdateParticipantMetadata { metadata, ..Default::default() };
        node.ask(&alice, Asked::UpdateMetadata(update));
    }
    node.publish(&alice);
    let mut told = bob.told();
    assert_eq!(allowed(&told).len(), 0);
    node.wait(UPDATE_WAIT_MAX);
    told = bob.told();
    let update = position(
        &told,
        |it| matches!(it, Told::Update(it) if it.participants.iter().any(|held| held.tracks.len() == 2)),
    );
    assert!(update < position(&told, |it| matches!(it, Told::SubscriptionPermissionUpdate(_))));
    assert_eq!(allowed(&told).into_values().collect::<Vec<_>>(), [false, false]);
    // Who comes later is told of her tracks with the join.
    let mut carol = node.join("carol");
    node.wait(UPDATE_EVERY);
    let told = carol.told();
    assert!(matches!(told[0], Told::Join(_)));
    assert_eq!(allowed(&told).into_values().collect::<Vec<_>>(), [false, false]);
}

#[test]
fn whoever_is_away_is_told_when_it_is_back() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    node.publish(&alice);
    let peer = node.peer(&bob);
    let sid = node.hub.control.participant(peer).unwrap().sid.to_string();
    node.tell(ToHub::Closed(bob.session));
    node.ask(&alice, nobody());
    node.wait(Duration::from_secs(3));
    let mut bob = node.knock(token("bob", "red"), resuming(&sid)).expect("resumed");
    node.wait(UPDATE_WAIT_MAX);
    assert_eq!(allowed(&bob.told()).into_values().collect::<Vec<_>>(), [false, false]);
    // Of tracks that are gone nothing is left for whoever does not come back.
    node.tell(ToHub::Closed(bob.session));
    node.ask(&alice, everyone());
    assert_eq!(node.hub.seats[&peer].untold.len(), 2);
    node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
    node.wait(UPDATE_WAIT_MAX);
    assert_eq!(node.hub.seats[&peer].untold.len(), 0);
    assert!(!node.hub.timers.is_set(Timer::Allowed(peer)));
}

/// Who may receive somebody again is told that it speaks.
#[test]
fn somebody_who_speaks_is_told_of_once_in_a_turn_however_often_it_lets_others_in() {
    let mut node = Node::new();
    let mut bob = node.active("bob");
    let alice = publisher(&mut node, "alice", TRACKS);
    let track = TrackId(0);
    node.tell(ToHub::Worker(FromWorker::Report(Report::Level { track, level: Some(0.5) })));
    node.wait(Duration::from_secs(5));
    bob.told();
    let flood = (0..60).map(|number| if number % 2 == 0 { nobody() } else { everyone() });
    ask_at_once(&mut node, flood.map(|asked| (alice.session, asked)));
    let told = bob.told();
    let spoken = told.iter().filter(|it| matches!(it, Told::SpeakersChanged(_))).count();
    assert_eq!(spoken, 1);
    assert!(bob.is_cut.try_recv().is_err());
}
