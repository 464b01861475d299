//! What the network does of its own accord, or because a moderator asks: mute, hide, describe, close.

use super::*;

fn room_of(node: &Node, peer: PeerId) -> RoomId {
    node.control.participant(peer).unwrap().room
}

#[test]
fn a_closed_room_puts_everybody_out_and_is_gone_at_once() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let ghost = node.active(Join { visibility: Visibility::Hidden, ..join("red", "ghost") });
    let bob = node.active(join("blue", "bob"));
    let room = room_of(&node, alice);
    node.tell(Input::Close(room));
    for peer in [alice, ghost] {
        assert!(node.has(|output| matches!(output,
            Output::Departed(gone) if gone.peer == peer && gone.reason == DepartureReason::RoomDeleted)));
    }
    assert!(matches!(node.outputs.last(), Some(Output::RoomClosed(closed)) if *closed == room));
    assert!(node.control.room_named(&RoomName::new("red")).is_none());
    assert!(node.control.participant(bob).is_some());
    // Its timers find nothing, and its name makes another room.
    let again = node.active(join("red", "alice"));
    assert_ne!(room_of(&node, again), room);
    node.wait(60 * SECOND);
    assert!(node.control.room_named(&RoomName::new("red")).is_some());
    node.tell(Input::Close(room));
    assert!(node.outputs.is_empty());
}

#[test]
fn a_track_that_the_network_mutes_is_silent_and_its_publisher_is_told() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let track = node.microphone(alice, "m");
    let before = node.version(alice);
    node.tell(Input::MuteFor(track));
    assert!(node.control.publication(track).unwrap().muted);
    assert!(matches!(node.instructions()[..], [(0, Instruction::MuteTrack { muted: true, .. })]));
    assert!(node.has(|output| matches!(output, Output::Muted(muted) if *muted == track)));
    assert!(node.version(alice) > before);
    // Told again when asked again: the client may not have heard it. Others learn nothing new.
    node.tell(Input::MuteFor(track));
    assert!(matches!(node.outputs[..], [Output::Muted(_)]));
    node.tell(Input::Mute { peer: alice, track, muted: false });
    assert!(!node.control.publication(track).unwrap().muted);
    node.tell(Input::Ended { peer: alice, track });
    node.tell(Input::MuteFor(track));
    assert!(node.outputs.is_empty());
}

#[test]
fn whoever_is_hidden_is_gone_for_others_until_it_is_shown_again() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    node.place(bob, track);
    let before = node.version(alice);
    node.tell(Input::Show(alice, Visibility::Hidden));
    assert!(node.has(|output| matches!(output,
        Output::Hid(gone) if gone.peer == alice && gone.version > before)));
    assert!(node.has(|output| matches!(output, Output::Unwanted { peer, .. } if *peer == bob)));
    assert!(node.subscription(bob, track).is_none());
    assert!(node.control.participant(alice).is_some());
    let hidden = node.version(alice);
    node.tell(Input::Show(alice, Visibility::Hidden));
    assert!(node.outputs.is_empty());

    node.tell(Input::Show(alice, Visibility::Visible));
    assert!(node.version(alice) > hidden);
    assert!(
        node.has(|output| matches!(output, Output::ParticipantChanged(peer) if *peer == alice))
    );
    assert!(node.subscription(bob, track).is_some());
}

#[test]
fn a_moderator_changes_a_profile_that_its_owner_may_not() {
    let mut node = Node::new(config());
    let mut modest = join("red", "alice");
    modest.permission.update_profile = false;
    let alice = node.active(modest);
    let change = || ProfileChange { name: Some("Al".to_owned()), ..ProfileChange::default() };
    assert_eq!(node.control.update_profile(alice, change()), Err(ProfileError::NotAllowed));
    assert_eq!(node.control.change_profile(alice, change()), Ok(()));
    assert_eq!(node.control.participant(alice).unwrap().profile.name, "Al");
    let metadata = Some("x".repeat(limits::METADATA_MAX + 1));
    let change = ProfileChange { metadata, ..change() };
    assert_eq!(node.control.change_profile(alice, change), Err(ProfileError::TooLarge));
    node.tell(Input::Depart(alice, DepartureReason::Removed));
    let gone = node.control.change_profile(alice, ProfileChange::default());
    assert_eq!(gone, Err(ProfileError::NotAllowed));
}

#[test]
fn what_is_said_of_a_room_is_bounded_told_and_not_printed() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let room = room_of(&node, alice);
    assert!(RoomMetadata::new("x".repeat(limits::METADATA_MAX + 1)).is_none());
    let metadata = RoomMetadata::new("agenda".to_owned()).unwrap();
    node.tell(Input::Describe(room, metadata));
    assert!(matches!(node.outputs[..], [Output::RoomChanged(changed)] if changed == room));
    let held = node.control.room(room).unwrap();
    assert_eq!(held.metadata.expose(), "agenda");
    assert!(!format!("{held:?}").contains("agenda"));
    node.tell(Input::Describe(RoomId(99), RoomMetadata::default()));
    assert!(node.outputs.is_empty());
}

#[test]
fn a_census_counts_what_is_live() {
    let mut node = Node::new(config());
    assert_eq!(node.control.census(), Census::default());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let camera = node.camera(alice, "c");
    node.microphone(alice, "m");
    node.pending(alice, "later", TrackKind::Audio);
    node.place(bob, camera);
    let expect = Census {
        rooms: 1,
        participants: 2,
        publications: PerKind { audio: 1, video: 1 },
        subscriptions: PerKind { audio: 0, video: 1 },
    };
    assert_eq!(node.control.census(), expect);
}

impl Node {
    fn open(&mut self, name: &str, settings: RoomSettings) -> Result<RoomId, OpenError> {
        self.control.open(self.now, RoomName::new(name), settings)
    }
}

#[test]
fn a_room_made_before_anybody_comes_waits_for_somebody_and_then_closes() {
    let mut node = Node::new(config());
    let room = node.open("red", RoomSettings::default()).unwrap();
    node.wait(299 * SECOND);
    assert!(node.control.room(room).is_some());
    node.wait(2 * SECOND);
    assert!(node.has(|output| matches!(output, Output::RoomClosed(closed) if *closed == room)));

    let departure = Some(5 * SECOND);
    let room = node.open("red", RoomSettings { departure, ..Default::default() }).unwrap();
    node.drain();
    let alice = node.active(join("red", "alice"));
    assert_eq!(room_of(&node, alice), room);
    node.wait(600 * SECOND);
    assert!(node.control.room(room).is_some(), "it does not close under somebody");
    node.tell(Input::Depart(alice, DepartureReason::Left));
    node.wait(6 * SECOND);
    assert!(node.control.room(room).is_none());
}

#[test]
fn a_room_that_is_made_again_is_the_same_and_keeps_what_is_not_said() {
    let mut node = Node::new(config());
    let metadata = RoomMetadata::new("agenda".to_owned());
    let made = RoomSettings { metadata, participants_max: Some(1), ..Default::default() };
    let room = node.open("red", made).unwrap();
    node.wait(200 * SECOND);
    assert_eq!(node.open("red", RoomSettings::default()), Ok(room));
    let held = node.control.room(room).unwrap();
    assert_eq!((held.metadata.expose(), held.participants_max), ("agenda", 1));
    node.wait(200 * SECOND);
    assert!(node.control.room(room).is_some(), "it waits anew");
    node.active(join("red", "alice"));
    assert_eq!(node.try_join(join("red", "bob")), Err(JoinError::RoomFull));
    let more = RoomSettings { participants_max: Some(usize::MAX), ..Default::default() };
    node.open("red", more).unwrap();
    let most = config().room_participants_max;
    assert_eq!(node.control.room(room).unwrap().participants_max, most);
}

#[test]
fn rooms_that_wait_for_somebody_are_bounded() {
    let mut node = Node::new(config());
    for number in 0..limits::ROOMS_MAX {
        node.open(&number.to_string(), RoomSettings::default()).unwrap();
    }
    assert_eq!(node.open("more", RoomSettings::default()), Err(OpenError::NodeFull));
    assert!(node.open("0", RoomSettings::default()).is_ok());
    assert!(node.try_join(join("more", "alice")).is_ok());
}
