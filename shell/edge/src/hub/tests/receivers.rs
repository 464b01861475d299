//! Whom participants let receive their tracks, and what answers to much that is asked at once.

use super::*;
use crate::limits::{REFUSALS_MAX, REQUESTS_BURST, SYNC_NAMES_PER_REQUEST};
use sfu::limits::SUBSCRIPTIONS_MAX;

pub(super) fn only(names: impl Iterator<Item = String>) -> Asked {
    let entry = |name| proto::TrackPermission {
        participant_identity: name,
        all_tracks: true,
        ..Default::default()
    };
    Asked::SubscriptionPermission(proto::SubscriptionPermission {
        all_participants: false,
        track_permissions: names.map(entry).collect(),
    })
}

pub(super) fn everyone() -> Asked {
    Asked::SubscriptionPermission(proto::SubscriptionPermission {
        all_participants: true,
        ..Default::default()
    })
}

/// How many tracks of others somebody receives, or waits for a section for.
pub(super) fn received(node: &Node, client: &Client) -> usize {
    let peer = node.peer(client);
    node.hub.seats[&peer].subscriptions.len()
}

#[test]
fn a_permission_that_names_too_many_lets_nobody_receive() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let bob = node.active("bob");
    node.publish(&alice);
    assert_eq!(received(&node, &bob), 2);
    alice.told();
    node.ask(&alice, only((0..4096).map(|number| format!("p{number}")).chain(["bob".into()])));
    assert_eq!(received(&node, &bob), 0);
    let told = first!(alice.told(), Told::RequestResponse(response) => response.reason());
    assert_eq!(told, Some(proto::request_response::Reason::LimitExceeded));
    assert_eq!(node.hub.metrics.requests_ignored.total(), 1);
}

#[test]
fn permissions_that_come_too_fast_wait_and_the_last_one_holds() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let bob = node.active("bob");
    node.publish(&alice);
    // Each costs more than sixty requests.
    let strangers = || only((0..4000).map(|number| format!("p{number}")));
    for _ in 0..20 {
        node.ask(&alice, everyone());
        node.ask(&alice, strangers());
    }
    node.ask(&alice, everyone());
    node.ask(&alice, strangers());
    node.wait(Duration::from_secs(15));
    assert_eq!(received(&node, &bob), 0, "the last said that nobody here may");
    node.ask(&alice, everyone());
    node.wait(Duration::from_secs(15));
    assert_eq!(received(&node, &bob), 2);
    assert_eq!(node.hub.metrics.requests_over_rate.total(), 0, "none is lost");
}

#[test]
fn a_permission_that_waits_goes_with_its_participant() {
    let mut node = Node::new();
    let alice = node.active("alice");
    for _ in 0..20 {
        node.ask(&alice, only((0..4000).map(|number| format!("p{number}"))));
    }
    let peer = node.peer(&alice);
    let waits = |node: &Node| node.hub.timers.is_set(Timer::Permit(peer));
    assert!(waits(&node));
    node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
    assert!(!waits(&node));
}

/// One of them took 60 ms with 800 participants, and 300 could be sent at once.
#[test]
fn a_flood_of_permissions_in_a_large_room_keeps_nobody_waiting() {
    let mut node = Node::with(|config| {
        config.participants_max = 2000;
        config.room_participants_max = 2000;
    });
    let alice = node.active("alice");
    node.publish(&alice);
    let others = (0..800).map(|number| {
        let mut client = node.join(&format!("p{number}"));
        // It reads what it is told of the room.
        drop(client.inbox.try_recv());
        client
    });
    let others: Vec<Client> = others.collect();
    let session = alice.session;
    let flood = (0..150).flat_map(|_| [everyone(), only((0..4000).map(|at| format!("x{at}")))]);
    let flood: Vec<ToHub> = flood
        .map(|asked| proto::SignalRequest { message: Some(asked) })
        .map(|request| ToHub::Request(session, Box::new(request), DecodingPart::default()))
        .collect();
    let began = Instant::now();
    node.hub.turn(node.now, unix_ms(node.now), flood.into_iter());
    let took = began.elapsed();
    // Unoptimized, it takes a twentieth of this.
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(others);
}

#[test]
fn many_refusals_to_one_request_cut_nobody() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let unknown = |count| proto::UpdateSubscription {
        track_sids: (0..count).map(|number| format!("TR_{number}")).collect(),
        subscribe: true,
        ..Default::default()
    };
    node.ask(&alice, Asked::Subscription(unknown(400)));
    let told = alice.told();
    assert_eq!(told.len(), REFUSALS_MAX);
    assert!(told.iter().all(|it| matches!(it, Told::SubscriptionResponse(_))));
    let ignored = u64::try_from(400 - REFUSALS_MAX).unwrap();
    assert_eq!(node.hub.metrics.requests_ignored.total(), ignored);
    assert!(!alice.is_closed());

    let mut join = joining(CHROMIUM_JOIN);
    let announced = (0..300).filter_map(|number| {
        let asked = add_track(&number.to_string(), TrackKind::Audio);
        if let Asked::AddTrack(request) = asked { Some(request) } else { None }
    });
    join.add_track_requests = announced.collect();
    let mut bob = node.knock(token("bob", "red"), join).expect("admitted");
    assert!(bob.told().len() < OUTBOX_MAX);
    node.ask(&bob, Asked::PingReq(proto::Ping::default()));
    assert!(first!(bob.told(), Told::PongResp(_) => ()).is_some());
}

/// Requests that somebody may make now; it makes them.
fn spend(node: &mut Node, client: &Client) -> u32 {
    let (peer, now) = (node.peer(client), node.now);
    let requests = &mut node.hub.seats.get_mut(&peer).unwrap().requests;
    (0..).take_while(|_| requests.take(now, 1)).count().try_into().unwrap()
}

#[test]
fn a_resume_pays_for_what_it_names_and_is_served_though_it_cannot() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let bob = node.active("bob");
    node.publish(&alice);
    let sids = alice.told().into_iter().filter_map(|told| {
        if let Told::TrackPublished(it) = told { Some(it.track.unwrap().sid) } else { None }
    });
    let [sound, picture] = sids.collect::<Vec<_>>().try_into().unwrap();
    let unwanted = |track_sids| proto::SyncState {
        track_sids_disabled: (0..1000).map(|number| format!("TR_{number}")).collect(),
        subscription: Some(proto::UpdateSubscription { track_sids, ..Default::default() }),
        ..Default::default()
    };
    node.ask(&bob, Asked::SyncState(unwanted(vec![sound.clone()])));
    assert_eq!(received(&node, &bob), 1);
    let price = u32::try_from(1 + 1001 / SYNC_NAMES_PER_REQUEST).unwrap();
    assert_eq!(spend(&mut node, &bob), REQUESTS_BURST - price);
    // A session says it once; whoever says it again pays as for anything.
    node.ask(&bob, Asked::SyncState(unwanted(vec![picture.clone()])));
    assert_eq!((received(&node, &bob), node.hub.metrics.requests_over_rate.total()), (1, 1));
    let sid = sid_of(&node, &bob);
    let bob = node.knock(token("bob", "red"), resuming(&sid)).expect("resumed");
    spend(&mut node, &bob);
    node.ask(&bob, Asked::SyncState(unwanted(vec![sound, picture])));
    assert_eq!((received(&node, &bob), node.hub.metrics.requests_over_rate.total()), (0, 1));
}

#[test]
fn what_is_asked_of_tracks_that_are_not_there_is_counted() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let sid = || "TR_gone".to_owned();
    let asked = [
        Asked::Mute(proto::MuteTrackRequest { sid: sid(), muted: true }),
        Asked::TrackSetting(proto::UpdateTrackSettings {
            track_sids: vec![sid()],
            ..Default::default()
        }),
        Asked::Subscription(proto::UpdateSubscription {
            track_sids: vec![sid()],
            ..Default::default()
        }),
        Asked::UpdateAudioTrack(proto::UpdateLocalAudioTrack {
            track_sid: sid(),
            ..Default::default()
        }),
        Asked::UpdateVideoTrack(proto::UpdateLocalVideoTrack {
            track_sid: sid(),
            ..Default::default()
        }),
    ];
    for (before, asked) in (0..).zip(asked) {
        assert_eq!(node.hub.metrics.requests_ignored.total(), before);
        node.ask(&alice, asked);
    }
    assert_eq!(node.hub.metrics.requests_ignored.total(), 5);
}

#[test]
fn whoever_receives_as_much_as_it_can_is_told_what_it_lacks() {
    let mut node = Node::new();
    let mut eve = node.active("eve");
    for number in 0..31 {
        let client = node.active(&format!("p{number}"));
        node.publish(&client);
    }
    let refused = |told: &[Told]| {
        told.iter().filter(|it| matches!(it, Told::SubscriptionResponse(_))).count()
    };
    // 62 tracks, and 63 sections beside that of data and those for what it sends.
    assert_eq!(refused(&eve.told()), 0);
    let last = node.active("p31");
    node.publish(&last);
    assert_eq!(refused(&eve.told()), 1);
    // The 32 others receive two tracks less: what they send takes none of their places.
    assert_eq!(node.hub.metrics.subscriptions_crowded_out.total(), 1);
}

#[test]
fn whoever_asks_for_a_track_beyond_all_that_it_may_wait_for_is_told() {
    let mut node = Node::with(|config| {
        config.participants_max = 200;
        config.room_participants_max = 200;
    });
    let mut eve = node.active("eve");
    let mut last = String::new();
    for number in 0..=SUBSCRIPTIONS_MAX / 2 {
        let mut client = node.active(&format!("p{number}"));
        node.publish(&client);
        let published = client.told();
        let track = first!(published, Told::TrackPublished(it) => it.track.clone().unwrap());
        last = track.unwrap().sid;
        eve.told();
    }
    let ask = |subscribe| {
        let track_sids = vec![last.clone()];
        Asked::Subscription(proto::UpdateSubscription {
            track_sids,
            subscribe,
            ..Default::default()
        })
    };
    for (subscribe, refused) in [(true, Some(last.clone())), (false, None)] {
        node.ask(&eve, ask(subscribe));
        let told = first!(eve.told(), Told::SubscriptionResponse(it) => it.track_sid.clone());
        assert_eq!(told, refused);
    }
}
