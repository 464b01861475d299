//! Rooms with more tracks than anybody can receive.

use super::*;
use crate::limits::{PUBLICATIONS_MAX, SUBSCRIPTIONS_MAX};

/// Publishers of as many tracks as one may have, of one track more than half of what may be subscribed to beyond that.
const PUBLISHERS: usize = SUBSCRIPTIONS_MAX * 3 / 2 / PUBLICATIONS_MAX;

impl Node {
    /// Publishers with all the tracks that they may have, theirs in order.
    fn crowd(&mut self) -> Vec<(PeerId, Vec<TrackId>)> {
        let each = (0..PUBLISHERS).map(|number| {
            let peer = self.active(listening(&format!("p{number}")));
            let tracks = (0..PUBLICATIONS_MAX).map(|cid| self.microphone(peer, &cid.to_string()));
            (peer, tracks.collect())
        });
        each.collect()
    }

    fn received(&self, peer: PeerId) -> usize {
        self.control.participant(peer).unwrap().subscriptions.len()
    }

    fn receives(&self, peer: PeerId, track: TrackId) -> bool {
        self.control.participant(peer).unwrap().subscriptions.contains_key(&track)
    }

    fn wish(&mut self, peer: PeerId, track: TrackId, wanted: bool) {
        self.tell(Input::Wish { peer, track, wanted });
    }
}

/// Who receives nothing by itself.
fn listening(identity: &str) -> Join {
    Join { auto_subscribe: false, ..join("red", identity) }
}

/// How long it takes at best that one more comes into a room of its own.
#[expect(clippy::disallowed_methods, reason = "what a join costs is measured")]
fn joining(node: &mut Node, rooms: std::ops::Range<usize>) -> Duration {
    let each = rooms.map(|room| {
        let join = join(&format!("r{room}"), "alice");
        let began = std::time::Instant::now();
        node.control.join(node.now, join).expect("admitted");
        let took = began.elapsed();
        node.drain();
        took
    });
    each.min().unwrap()
}

#[test]
fn a_join_takes_no_longer_however_many_are_in_other_rooms() {
    let mut node = Node::new(Config { participants_max: 20_000, ..config() });
    let few = joining(&mut node, 0..50);
    joining(&mut node, 50..10_000);
    let many = joining(&mut node, 10_000..10_050);
    assert!(many < 20 * few, "{many:?} instead of {few:?}");
}

#[test]
fn it_is_known_how_many_each_worker_has() {
    let mut node = Node::new(Config { spill_at: 2, ..config() });
    let is_so = |node: &Node, expect: [usize; 2]| {
        let on = |worker| node.control.everyone().filter(|it| it.peer.worker.0 == worker).count();
        assert_eq!([on(0), on(1)], expect);
        assert_eq!(node.control.loads, expect);
    };
    let peers = ["a", "b", "c", "d", "e"].map(|who| node.active(join("red", who)));
    is_so(&node, [3, 2]);
    node.active(join("red", "a"));
    is_so(&node, [3, 2]);
    node.tell(Input::Depart(peers[2], DepartureReason::Left));
    node.tell(Input::Depart(peers[2], DepartureReason::Left));
    is_so(&node, [3, 1]);
    node.try_join(join("blue", "f")).unwrap();
    is_so(&node, [3, 2]);
    let red = node.control.room_named(&RoomName::new("red")).unwrap().room;
    node.tell(Input::Close(red));
    is_so(&node, [0, 1]);
    node.wait(61 * SECOND);
    is_so(&node, [0, 0]);
}

#[test]
fn a_participant_is_subscribed_to_so_many_tracks_and_to_others_as_those_end() {
    let mut node = Node::new(config());
    let crowd = node.crowd();
    let all = PUBLISHERS * PUBLICATIONS_MAX;
    let bob = node.active(join("red", "bob"));
    assert_eq!(node.received(bob), SUBSCRIPTIONS_MAX);
    let mut left = all;
    for (peer, tracks) in crowd {
        for track in tracks {
            node.tell(Input::Ended { peer, track });
            left -= 1;
            let received = node.received(bob);
            // Whatever may be received is there, and a track that has ended is not.
            assert!(received.min(left) > SUBSCRIPTIONS_MAX / 2 || received == left, "{received}");
            assert!(received <= SUBSCRIPTIONS_MAX && !node.receives(bob, track));
        }
    }
    assert_eq!((left, node.control.subscriptions.len()), (0, 0));
}

#[test]
fn what_was_left_out_is_had_by_whoever_asks_for_it_once_something_else_is_given_up() {
    let mut node = Node::new(config());
    let crowd = node.crowd();
    let tracks: Vec<TrackId> = crowd.into_iter().flat_map(|(_, tracks)| tracks).collect();
    let bob = node.active(join("red", "bob"));
    let (held, out): (Vec<_>, Vec<_>) = tracks.iter().partition(|it| node.receives(bob, **it));
    assert!(node.control.leaves_out(bob, out[0]) && !node.control.leaves_out(bob, held[0]));
    node.wish(bob, out[0], true);
    assert!(!node.receives(bob, out[0]), "there is no room");
    node.wish(bob, held[0], false);
    assert_eq!(node.received(bob), SUBSCRIPTIONS_MAX - 1, "nothing comes for one that ends");
    node.wish(bob, out[1], true);
    assert!(node.receives(bob, out[1]));
    for track in &held[1..] {
        node.wish(bob, *track, false);
    }
    assert!(node.receives(bob, out[0]), "what was asked for comes first");
    assert_eq!(node.received(bob), out.len());
}

#[test]
fn who_leaves_or_may_receive_no_more_is_subscribed_to_nothing_again() {
    let mut node = Node::new(config());
    node.crowd();
    let (bob, cy) = (node.active(join("red", "bob")), node.active(join("red", "cy")));
    node.tell(Input::Depart(bob, DepartureReason::Left));
    let permission = Permission { subscribe: false, ..join("red", "cy").permission };
    node.tell(Input::Permit(cy, permission));
    node.wait(SECOND);
    assert_eq!((node.received(cy), node.control.subscriptions.len()), (0, 0));
}

#[test]
fn many_who_have_room_again_at_once_are_looked_at_one_by_one() {
    let mut node = Node::new(config());
    let crowd = node.crowd();
    let people = ["bob", "cy", "dee"].map(|identity| node.active(join("red", identity)));
    let count = |node: &Node| people.map(|peer| node.received(peer));
    assert_eq!(count(&node), [SUBSCRIPTIONS_MAX; 3]);
    // All have the same.
    for (peer, _) in &crowd[..2] {
        node.tell(Input::Depart(*peer, DepartureReason::Left));
    }
    let mut ends = crowd[2].1.iter();
    while count(&node) == [count(&node)[0]; 3] {
        node.tell(Input::Ended { peer: crowd[2].0, track: *ends.next().unwrap() });
    }
    let few = SUBSCRIPTIONS_MAX / 2;
    assert_eq!(count(&node)[1..], [few; 2]);
    assert!(count(&node)[0] > few);
    assert!(node.control.next_timeout().unwrap() <= node.now);
    node.wait(Duration::ZERO);
    assert_eq!(count(&node), [count(&node)[0]; 3]);
}
