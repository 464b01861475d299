//! Data of those who are held back because somebody in their room is slow.

use super::*;
use crate::worker::RoomLag;

impl Node {
    /// What the worker is told of the room of who comes now.
    fn lag_of(&mut self, identity: &str, room: &str) -> RoomLag {
        self.sent();
        self.knock(token(identity, room), joining(CHROMIUM_JOIN)).unwrap();
        let made = self.sent().into_iter().find_map(|(_, message)| {
            if let ToWorker::AddPeer(new) = message { Some(new.lag) } else { None }
        });
        made.unwrap()
    }
}

#[test]
fn those_in_a_room_are_held_back_together_whenever_they_come_and_others_are_not() {
    let mut node = Node::new();
    let ada = node.lag_of("ada", "red");
    let eve = node.lag_of("eve", "blue");
    node.wait(Duration::from_secs(5));
    let ben = node.lag_of("ben", "red");
    assert!(ada.is_same(&ben), "who comes later, too");
    assert!(!ada.is_same(&eve));
    let again = node.lag_of("ada", "red");
    assert!(again.is_same(&ben), "and who comes again");
}

#[test]
fn what_was_left_unread_is_as_old_as_when_it_came() {
    let mut node = Node::new();
    let (alice, bob, cy) = (node.active("alice"), node.active("bob"), node.active("cy"));
    let [alice, bob, cy] = [&alice, &bob, &cy].map(|client| node.peer(client));
    node.wait(Duration::from_secs(5));
    node.sent();
    let came = node.now - Duration::from_secs(2);
    node.tell(said(alice, Channel::Reliable, packet(b"at once")));
    let late = packet(b"left unread");
    node.tell(ToHub::Worker(FromWorker::Message(bob, Channel::Reliable, came, late.into())));
    let told: Vec<_> = node.sent().into_iter().filter(|(_, it)| is_for(it, cy)).collect();
    let times: Vec<_> = told.iter().filter_map(since).collect();
    assert_eq!((times.len(), times[1]), (2, came), "it has the rest of its time to arrive");

    node.wait(Duration::from_millis(5_100));
    assert_eq!(node.kept(), 1, "and goes before what was passed on first");
    node.wait(Duration::from_secs(2));
    assert_eq!(node.kept(), 0);
}

#[test]
fn a_newcomer_hears_what_was_passed_on_since_it_came_however_old() {
    let mut node = Node::new();
    let bob = node.active("bob");
    let bob = node.peer(&bob);
    node.wait(Duration::from_secs(5));
    let came = node.now;
    node.wait(Duration::from_secs(1));
    let eve = node.join("eve");
    let eve = node.peer(&eve);
    let late = packet(b"left unread");
    node.tell(ToHub::Worker(FromWorker::Message(bob, Channel::Reliable, came, late.into())));
    node.sent();
    node.tell(ToHub::Worker(FromWorker::Connected(eve)));
    node.tell(ToHub::Worker(FromWorker::ChannelOpen(eve, Channel::Reliable)));
    let told: Vec<_> = node.sent().into_iter().filter(|(_, it)| is_for(it, eve)).collect();
    assert_eq!(told.iter().filter_map(since).collect::<Vec<_>>(), [came]);
}

fn is_for(message: &ToWorker, peer: PeerId) -> bool {
    matches!(message, ToWorker::Send { peer: to, .. } if *to == peer)
}
