//! What Control guarantees, one fact per test, in virtual time.

use model::{
    ALIAS_LEN, Alias, Codec, Encryption, ExtensionKind, Layer, Sid as _, TrackKind, TrackSource,
};
use rtp::extension::ExtensionMap;

use super::*;
use crate::{StreamSpec, limits};

mod crowds;
mod moderation;

struct Node {
    control: Control,
    now: Timestamp,
    outputs: Vec<Output>,
}

fn config() -> Config {
    Config {
        workers: 2,
        spill_at: 100,
        busy_max: Share::from_permille(900),
        participants_max: 1000,
        room_participants_max: 500,
        room_participants: usize::MAX,
        join_within: Duration::from_secs(60),
        empty: Duration::from_secs(300),
        departure: Duration::from_secs(20),
    }
}

/// The start of a name: those of these tests are short.
fn alias(identity: &str) -> Alias {
    let mut alias = [0; ALIAS_LEN];
    alias.iter_mut().zip(identity.bytes()).for_each(|(to, from)| *to = from);
    Alias(alias)
}

fn join(room: &str, identity: &str) -> Join {
    Join {
        room: RoomName::new(room),
        identity: Identity::new(identity),
        alias: alias(identity),
        profile: Profile::default(),
        permission: Permission {
            subscribe: true,
            publish: Sources::Any,
            publish_data: true,
            update_profile: true,
        },
        visibility: Visibility::Visible,
        auto_subscribe: true,
        adaptive_stream: false,
        may_create_room: true,
        coming: Coming::New,
        room_settings: RoomSettings::default(),
    }
}

fn announcement(cid: &str, kind: TrackKind) -> Announcement {
    let layer = |quality, height| VideoLayer { quality, size: Size { width: height * 2, height } };
    let video = kind == TrackKind::Video;
    Announcement {
        cid: cid.into(),
        kind,
        source: if video { TrackSource::Camera } else { TrackSource::Microphone },
        encryption: Encryption::Gcm,
        muted: false,
        size: if video { Size { width: 1280, height: 720 } } else { Size::default() },
        layers: if video {
            vec![layer(Quality::High, 720), layer(Quality::Low, 180), layer(Quality::Medium, 360)]
        } else {
            Vec::new()
        },
    }
}

fn media(codec: Codec, streams: usize) -> Media {
    Media { mid: "3".into(), codec, streams: vec![StreamSpec::default(); streams] }
}

fn placement(ssrc: u32) -> Placement {
    Placement {
        codec: Codec::Vp8,
        payload_type: 96,
        rtx_payload_type: Some(97),
        ssrc,
        rtx_ssrc: ssrc + 1,
        extensions: ExtensionMap::new(),
    }
}

impl Node {
    fn new(config: Config) -> Self {
        Self { control: Control::new(config, 7), now: Timestamp::ZERO, outputs: Vec::new() }
    }

    fn drain(&mut self) {
        self.outputs.clear();
        while let Some(output) = self.control.poll() {
            self.outputs.push(output);
        }
    }

    fn tell(&mut self, input: Input) {
        self.control.handle(self.now, input);
        self.drain();
    }

    /// Time passes as a shell lets it: from timer to timer.
    fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        let mut seen = Vec::new();
        while let Some(at) = self.control.next_timeout().filter(|at| *at <= until) {
            self.control.handle(at.max(self.now), Input::Timeout);
            self.drain();
            seen.append(&mut self.outputs);
        }
        self.now = until;
        self.outputs = seen;
    }

    fn try_join(&mut self, join: Join) -> Result<PeerId, JoinError> {
        let joined = self.control.join(self.now, join);
        self.drain();
        joined
    }

    fn active(&mut self, join: Join) -> PeerId {
        let peer = self.try_join(join).expect("admitted");
        self.tell(Input::Offered(peer));
        self.tell(Input::Connected(peer));
        peer
    }

    fn pending(&mut self, peer: PeerId, cid: &str, kind: TrackKind) -> TrackId {
        self.control.publish(peer, announcement(cid, kind)).expect("published")
    }

    fn camera(&mut self, peer: PeerId, cid: &str) -> TrackId {
        let track = self.pending(peer, cid, TrackKind::Video);
        self.tell(Input::Started { peer, track, media: media(Codec::Vp8, 3) });
        track
    }

    fn microphone(&mut self, peer: PeerId, cid: &str) -> TrackId {
        let track = self.pending(peer, cid, TrackKind::Audio);
        self.tell(Input::Started { peer, track, media: media(Codec::Opus, 1) });
        track
    }

    fn place(&mut self, peer: PeerId, track: TrackId) -> SubscriptionId {
        let subscription = self.subscription(peer, track).expect("subscribed");
        self.tell(Input::Placed(subscription, placement(subscription.0 * 2)));
        subscription
    }

    fn subscription(&self, peer: PeerId, track: TrackId) -> Option<SubscriptionId> {
        self.control.participant(peer)?.subscriptions.get(&track).copied()
    }

    fn instructions(&self) -> Vec<(u8, &Instruction)> {
        let each = self.outputs.iter().filter_map(|output| {
            if let Output::Instruct(worker, instruction) = output {
                Some((worker.0, instruction))
            } else {
                None
            }
        });
        each.collect()
    }

    fn has(&self, what: impl Fn(&Output) -> bool) -> bool {
        self.outputs.iter().any(what)
    }

    fn level(&mut self, track: TrackId, level: Option<f32>) {
        self.tell(Input::Report(Report::Level { track, level }));
    }

    fn version(&self, peer: PeerId) -> u32 {
        self.control.participant(peer).expect("there").version
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_first_join_makes_the_room_and_later_ones_find_it() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let carol = node.active(join("blue", "carol"));
    let room = |peer| node.control.participant(peer).unwrap().room;
    assert_eq!(room(alice), room(bob));
    assert_ne!(room(alice), room(carol));
    assert_eq!(node.control.rooms_len(), 2);
}

#[test]
fn a_join_without_the_right_to_make_rooms_finds_only_made_ones() {
    let mut node = Node::new(config());
    let modest = |identity| Join { may_create_room: false, ..join("red", identity) };
    assert_eq!(node.try_join(modest("alice")), Err(JoinError::NoRoom));
    node.active(join("red", "bob"));
    assert!(node.try_join(modest("alice")).is_ok());
}

#[test]
fn a_full_room_refuses_and_a_rejoin_is_not_one_more() {
    let mut node = Node::new(config());
    let small = |identity| Join {
        room_settings: RoomSettings { participants_max: Some(2), ..RoomSettings::default() },
        ..join("red", identity)
    };
    node.active(small("alice"));
    node.active(small("bob"));
    assert_eq!(node.try_join(small("carol")), Err(JoinError::RoomFull));
    assert!(node.try_join(small("bob")).is_ok());
}

#[test]
fn a_full_node_refuses() {
    let mut node = Node::new(Config { participants_max: 1, ..config() });
    node.active(join("red", "alice"));
    assert_eq!(node.try_join(join("blue", "bob")), Err(JoinError::NodeFull));
}

#[test]
fn a_busy_worker_takes_no_newcomers_and_a_busy_node_only_those_who_come_back() {
    let mut node = Node::new(config());
    let busy = |permille| Share::from_permille(permille);
    let alice = node.active(join("red", "alice"));
    assert_eq!(alice.worker, WorkerId(0));
    node.tell(Input::Busy(WorkerId(0), busy(950)));
    assert!(!node.control.is_busy(), "the other has time");
    assert_eq!(node.active(join("red", "bob")).worker, WorkerId(1), "its room's worker has none");
    node.tell(Input::Busy(WorkerId(1), busy(920)));
    assert!(node.control.is_busy());
    assert_eq!(node.try_join(join("red", "carol")), Err(JoinError::NodeBusy));
    assert_eq!(node.control.participants_len(), 2);
    let again = node.try_join(join("red", "alice")).expect("she is here");
    assert_eq!(again.worker, WorkerId(1), "it has the most time");
    assert!(node.try_join(Join { coming: Coming::Returning, ..join("red", "dave") }).is_ok());
    node.tell(Input::Busy(WorkerId(0), busy(700)));
    assert_eq!(node.active(join("red", "carol")).worker, WorkerId(0));
}

#[test]
fn an_oversized_profile_is_refused_at_join_and_later() {
    let mut node = Node::new(config());
    let name = "x".repeat(limits::NAME_MAX + 1);
    let profile = Profile { name: name.clone(), ..Profile::default() };
    let refused = node.try_join(Join { profile, ..join("red", "alice") });
    assert_eq!(refused, Err(JoinError::ProfileTooLarge));
    let alice = node.active(join("red", "alice"));
    let change = ProfileChange { name: Some(name), ..ProfileChange::default() };
    assert_eq!(node.control.update_profile(alice, change), Err(ProfileError::TooLarge));
    let attributes = [("k".to_owned(), "v".repeat(limits::ATTRIBUTES_MAX))].into();
    let change = ProfileChange { attributes, ..ProfileChange::default() };
    assert_eq!(node.control.update_profile(alice, change), Err(ProfileError::TooLarge));
}

#[test]
fn a_change_keeps_what_it_does_not_name() {
    let mut node = Node::new(config());
    let profile = Profile {
        name: "n".to_owned(),
        metadata: "m".to_owned(),
        attributes: [("a".to_owned(), "1".to_owned())].into(),
    };
    let alice = node.active(Join { profile: profile.clone(), ..join("red", "alice") });
    node.control.update_profile(alice, ProfileChange::default()).unwrap();
    assert!(node.control.participant(alice).unwrap().profile == profile);
    let change = ProfileChange { name: Some("other".to_owned()), ..ProfileChange::default() };
    node.control.update_profile(alice, change).unwrap();
    let expected = Profile { name: "other".to_owned(), ..profile };
    assert!(node.control.participant(alice).unwrap().profile == expected);
}

#[test]
fn an_empty_attribute_removes_the_key_and_others_stay() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let set = |pairs: &[(&str, &str)]| ProfileChange {
        attributes: pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..ProfileChange::default()
    };
    node.control.update_profile(alice, set(&[("a", "1"), ("b", "2")])).unwrap();
    node.control.update_profile(alice, set(&[("a", "")])).unwrap();
    let held = &node.control.participant(alice).unwrap().profile.attributes;
    assert_eq!(held, &BTreeMap::from([("b".to_owned(), "2".to_owned())]));
}

#[test]
fn a_profile_changes_only_with_permission() {
    let mut node = Node::new(config());
    let mut modest = join("red", "alice");
    modest.permission.update_profile = false;
    let alice = node.active(modest);
    let refused = node.control.update_profile(alice, ProfileChange::default());
    assert_eq!(refused, Err(ProfileError::NotAllowed));
}

#[test]
fn a_room_outlives_its_last_participant_by_the_departure_time() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let room = node.control.participant(alice).unwrap().room;
    node.tell(Input::Depart(alice, DepartureReason::Left));
    node.wait(19 * SECOND);
    assert!(node.control.room(room).is_some());
    node.wait(2 * SECOND);
    assert!(node.control.room(room).is_none());
    assert!(node.has(|output| matches!(output, Output::RoomClosed(closed) if *closed == room)));
}

#[test]
fn a_return_in_time_keeps_the_room() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let room = node.control.participant(alice).unwrap().room;
    node.tell(Input::Depart(alice, DepartureReason::Left));
    node.wait(10 * SECOND);
    let again = node.active(join("red", "alice"));
    node.wait(60 * SECOND);
    assert_eq!(node.control.participant(again).unwrap().room, room);
    assert!(node.control.room(room).is_some());
}

#[test]
fn a_room_has_one_time_to_close_however_often_people_come_and_go() {
    let mut node = Node::new(config());
    let closing = |node: &Node| {
        let timers = node.control.timers.iter();
        timers.filter(|(_, timer)| matches!(timer, Timer::Close(_))).count()
    };
    let lasting = || RoomSettings { departure: Some(1_000_000 * SECOND), ..Default::default() };
    for _ in 0..10 {
        node.control.open(node.now, RoomName::new("red"), lasting()).unwrap();
        node.wait(SECOND);
        assert_eq!(closing(&node), 1);
    }
    for _ in 0..10 {
        let alice = node.active(join("red", "alice"));
        assert_eq!(closing(&node), 0, "while somebody is there");
        node.wait(SECOND);
        node.tell(Input::Depart(alice, DepartureReason::Left));
        assert_eq!(closing(&node), 1);
        node.wait(SECOND);
    }
    let room = node.control.room_named(&RoomName::new("red")).unwrap().room;
    node.tell(Input::Close(room));
    assert_eq!(closing(&node), 0, "nor when there is no room");
}

#[test]
fn whoever_is_not_active_in_time_is_put_out() {
    let mut node = Node::new(config());
    let alice = node.try_join(join("red", "alice")).unwrap();
    let bob = node.active(join("red", "bob"));
    node.wait(61 * SECOND);
    assert!(node.control.participant(alice).is_none());
    assert!(node.control.participant(bob).is_some());
    assert!(node.has(|output| matches!(output,
        Output::Departed(gone) if gone.peer == alice && gone.reason == DepartureReason::JoinTimeout)));
}

#[test]
fn a_second_join_of_an_identity_puts_the_first_out() {
    let mut node = Node::new(config());
    let old = node.active(join("red", "alice"));
    let new = node.try_join(join("red", "alice")).unwrap();
    assert_ne!(old, new);
    assert!(node.control.participant(old).is_none());
    let departed = node.outputs.iter().position(|output| {
        matches!(output,
        Output::Departed(gone) if gone.peer == old && gone.reason == DepartureReason::Duplicate)
    });
    let appeared = node
        .outputs
        .iter()
        .position(|output| matches!(output, Output::ParticipantChanged(peer) if *peer == new));
    assert!(departed.unwrap() < appeared.unwrap());
}

#[test]
fn leaving_and_rejoining_is_no_duplicate() {
    let mut node = Node::new(config());
    let old = node.active(join("red", "alice"));
    node.tell(Input::Depart(old, DepartureReason::Left));
    node.active(join("red", "alice"));
    assert!(!node.has(|output| matches!(output, Output::Departed(_))));
}

#[test]
fn versions_only_grow_and_the_last_is_the_highest() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let mut last = node.version(alice);
    let track = node.microphone(alice, "m");
    for muted in [true, false, true] {
        node.tell(Input::Mute { peer: alice, track, muted });
        assert!(node.version(alice) > last);
        last = node.version(alice);
    }
    node.tell(Input::Depart(alice, DepartureReason::Left));
    assert!(node.has(|output| matches!(output, Output::Departed(gone) if gone.version > last)));
}

#[test]
fn the_last_version_of_one_who_published_nothing_is_above_all_before() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let last = node.version(alice);
    node.tell(Input::Depart(alice, DepartureReason::Left));
    assert!(node.has(|output| matches!(output, Output::Departed(gone) if gone.version > last)));
}

#[test]
fn state_never_goes_back() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    node.tell(Input::Offered(alice));
    assert_eq!(node.control.participant(alice).unwrap().state, State::Active);
}

#[test]
fn a_small_room_stays_on_one_worker_and_the_next_goes_to_the_other() {
    let mut node = Node::new(config());
    let red: Vec<u8> = ["a", "b", "c"].map(|who| node.active(join("red", who)).worker.0).into();
    assert_eq!(red, [0, 0, 0]);
    assert_eq!(node.active(join("blue", "d")).worker.0, 1);
}

#[test]
fn a_large_room_spreads() {
    let mut node = Node::new(Config { spill_at: 2, ..config() });
    let workers = ["a", "b", "c", "d", "e"].map(|who| node.active(join("red", who)).worker.0);
    assert_eq!(workers, [0, 0, 1, 1, 0]);
}

#[test]
fn a_room_spreads_whatever_else_is_there() {
    let mut node = Node::new(Config { spill_at: 1, ..config() });
    let come = [("red", "a"), ("blue", "b"), ("red", "c"), ("blue", "d")];
    let workers = come.map(|(room, who)| node.active(join(room, who)).worker.0);
    assert_eq!(workers, [0, 1, 1, 0], "in turn they would lie whole on one worker each");
}

#[test]
fn twenty_tracks_may_wait_and_the_next_is_refused() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    for index in 0..limits::PENDING_MAX {
        node.pending(alice, &format!("c{index}"), TrackKind::Audio);
    }
    let refused = node.control.publish(alice, announcement("more", TrackKind::Audio));
    assert_eq!(refused, Err(PublishError::TooMany));
}

#[test]
fn a_cid_is_used_once_and_is_not_empty() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    node.pending(alice, "c", TrackKind::Audio);
    for cid in ["c", "", &"x".repeat(limits::CID_MAX + 1)] {
        let refused = node.control.publish(alice, announcement(cid, TrackKind::Audio));
        assert_eq!(refused, Err(PublishError::BadCid));
    }
}

#[test]
fn only_permitted_sources_are_published() {
    let mut node = Node::new(config());
    let mut modest = join("red", "alice");
    modest.permission.publish = Sources::Only([TrackSource::Microphone].into());
    let alice = node.active(modest);
    let refused = node.control.publish(alice, announcement("c", TrackKind::Video));
    assert_eq!(refused, Err(PublishError::NotAllowed));
    assert!(node.control.publish(alice, announcement("m", TrackKind::Audio)).is_ok());
}

#[test]
fn a_pending_track_is_nobodys_business() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.pending(alice, "c", TrackKind::Video);
    node.drain();
    assert_eq!(node.subscription(bob, track), None);
    assert!(node.outputs.is_empty());
}

#[test]
fn a_started_track_is_announced_before_it_is_wanted() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    let subscription = node.subscription(bob, track).unwrap();
    let told = node
        .outputs
        .iter()
        .position(|output| matches!(output, Output::ParticipantChanged(peer) if *peer == alice));
    let wanted = node
        .outputs
        .iter()
        .position(|output| matches!(output, Output::Wanted(wanted) if *wanted == subscription));
    assert!(told.unwrap() < wanted.unwrap());
    assert_eq!(node.subscription(alice, track), None);
}

#[test]
fn a_late_joiner_wants_what_is_there_before_it_is_connected() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let track = node.camera(alice, "c");
    let bob = node.try_join(join("red", "bob")).unwrap();
    assert!(node.subscription(bob, track).is_some());
}

#[test]
fn the_publisher_is_told_of_its_first_subscriber_once() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let track = node.camera(alice, "c");
    let first = |node: &mut Node| {
        std::mem::take(&mut node.outputs)
            .iter()
            .any(|output| matches!(output, Output::FirstSubscriber(told) if *told == track))
    };
    let bob = node.try_join(join("red", "bob")).unwrap();
    node.place(bob, track);
    assert!(!first(&mut node), "bob is not connected");
    node.tell(Input::Depart(bob, DepartureReason::Left));
    let carol = node.active(join("red", "carol"));
    assert!(!first(&mut node), "carol has no section");
    node.place(carol, track);
    assert!(first(&mut node));
    let dave = node.active(join("red", "dave"));
    node.place(dave, track);
    assert!(!first(&mut node), "it knows");
    let erin = node.try_join(join("red", "erin")).unwrap();
    let other = node.camera(alice, "d");
    node.place(erin, other);
    node.tell(Input::Connected(erin));
    assert!(node.has(|output| matches!(output, Output::FirstSubscriber(told) if *told == other)));
}

#[test]
fn who_is_hidden_is_nobodys_first_subscriber_until_it_is_seen() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let track = node.camera(alice, "c");
    let first = |output: &Output| matches!(output, Output::FirstSubscriber(_));
    let ghost = node.active(Join { visibility: Visibility::Hidden, ..join("red", "ghost") });
    node.place(ghost, track);
    assert!(!node.has(first));
    node.tell(Input::Show(ghost, Visibility::Visible));
    assert!(node.has(first));
}

#[test]
fn without_auto_subscribe_nothing_comes_until_it_is_wished() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(Join { auto_subscribe: false, ..join("red", "bob") });
    let track = node.camera(alice, "c");
    assert_eq!(node.subscription(bob, track), None);
    node.tell(Input::Wish { peer: bob, track, wanted: true });
    assert!(node.subscription(bob, track).is_some());
    node.tell(Input::Wish { peer: bob, track, wanted: false });
    assert_eq!(node.subscription(bob, track), None);
    assert!(node.has(|output| matches!(output, Output::Unwanted { peer, .. } if *peer == bob)));
}

#[test]
fn without_permission_to_subscribe_a_wish_is_vain() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let mut modest = join("red", "bob");
    modest.permission.subscribe = false;
    let bob = node.active(modest);
    let track = node.camera(alice, "c");
    node.tell(Input::Wish { peer: bob, track, wanted: true });
    assert_eq!(node.subscription(bob, track), None);
}

#[test]
fn a_revoked_permission_takes_tracks_and_subscriptions_away() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let hers = node.camera(alice, "a");
    let his = node.camera(bob, "b");
    let mut permission = node.control.participant(bob).unwrap().permission.clone();
    permission.publish = Sources::None;
    permission.subscribe = false;
    node.tell(Input::Permit(bob, permission));
    assert!(node.control.publication(his).is_none());
    assert_eq!(node.subscription(bob, hers), None);
    assert!(node.has(|output| matches!(output, Output::Unpublished { track, tell: true, .. }
        if *track == his)));
}

#[test]
fn a_source_of_the_other_kind_opens_nothing() {
    let pictures = Sources::Only([TrackSource::Camera, TrackSource::Unknown].into());
    assert!(pictures.allow(TrackKind::Video, TrackSource::Camera));
    assert!(!pictures.allow(TrackKind::Audio, TrackSource::Camera));
    assert!(!pictures.allow(TrackKind::Audio, TrackSource::Microphone));
    assert!(pictures.allow(TrackKind::Audio, TrackSource::Unknown));
    assert!(Sources::Any.allow(TrackKind::Audio, TrackSource::Camera));
}

#[test]
fn nobody_receives_the_hidden() {
    let mut node = Node::new(config());
    let bob = node.active(join("red", "bob"));
    let ghost = node.active(Join { visibility: Visibility::Hidden, ..join("red", "ghost") });
    let haunted = node.camera(ghost, "g");
    let seen = node.camera(bob, "b");
    assert_eq!(node.subscription(bob, haunted), None);
    assert!(node.subscription(ghost, seen).is_some());
}

#[test]
fn rooms_do_not_leak_into_each_other() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("blue", "bob"));
    let track = node.camera(alice, "c");
    node.tell(Input::Wish { peer: bob, track, wanted: true });
    node.tell(Input::Settings { peer: bob, track, settings: Settings::SMALLEST });
    assert_eq!(node.subscription(bob, track), None);
    assert!(node.control.participant(bob).unwrap().wishes.is_empty());
    assert!(node.control.participant(bob).unwrap().settings.is_empty());
}

#[test]
fn a_publisher_chooses_its_receivers() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let carol = node.active(join("red", "carol"));
    let track = node.camera(alice, "c");
    let named = ["bob", "dave"]
        .map(|name| AllowanceEntry { who: Receiver::Alias(alias(name)), tracks: Tracks::All });
    node.tell(Input::Allow(alice, Allowance::only(named).unwrap()));
    assert!(node.subscription(bob, track).is_some());
    assert_eq!(node.subscription(carol, track), None);
    assert!(node.has(|output| matches!(output, Output::Allowed { to, allowed: false, .. }
        if *to == carol)));
    assert!(!node.has(|output| matches!(output, Output::Allowed { to, .. } if *to == bob)));
    let dave = node.active(join("red", "dave"));
    assert!(node.subscription(dave, track).is_some(), "who was named before it came");
    node.tell(Input::Allow(alice, Allowance::Everyone));
    assert!(node.subscription(carol, track).is_some());
}

#[test]
fn a_publisher_who_allows_nobody_is_received_by_nobody() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    node.tell(Input::Allow(alice, Allowance::nobody()));
    assert_eq!(node.subscription(bob, track), None);
    let carol = node.active(join("red", "carol"));
    assert_eq!(node.subscription(carol, track), None, "who comes later is nobody, too");
}

/// Who was told that it may or may not receive something.
fn allowed(node: &Node) -> Vec<(PeerId, bool)> {
    let each = node.outputs.iter().filter_map(|output| {
        if let Output::Allowed { to, allowed, .. } = output { Some((*to, *allowed)) } else { None }
    });
    each.collect()
}

#[test]
fn whoever_is_kept_out_learns_so_with_the_track_and_not_before() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.pending(alice, "c", TrackKind::Video);
    node.tell(Input::Allow(alice, Allowance::nobody()));
    assert_eq!(allowed(&node), [], "nobody knows of the track");
    node.tell(Input::Started { peer: alice, track, media: media(Codec::Vp8, 3) });
    assert_eq!(allowed(&node), [(bob, false)]);
    let carol = node.try_join(join("red", "carol")).unwrap();
    assert_eq!(allowed(&node), [(carol, false)]);
    node.tell(Input::Show(alice, Visibility::Hidden));
    node.tell(Input::Allow(alice, Allowance::Everyone));
    assert_eq!(allowed(&node), [], "nobody knows of her");
    node.tell(Input::Allow(alice, Allowance::nobody()));
    node.tell(Input::Show(alice, Visibility::Visible));
    assert_eq!(allowed(&node), [(bob, false), (carol, false)]);
}

#[test]
fn whoever_asks_for_what_it_is_kept_out_of_is_told_so_again() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(Join { auto_subscribe: false, ..join("red", "bob") });
    let track = node.camera(alice, "c");
    node.tell(Input::Allow(alice, Allowance::nobody()));
    assert_eq!(allowed(&node), [(bob, false)]);
    node.tell(Input::Wish { peer: bob, track, wanted: true });
    assert_eq!(allowed(&node), [(bob, false)], "its client took it that it may");
    node.tell(Input::Wish { peer: bob, track, wanted: false });
    assert_eq!(allowed(&node), []);
    node.tell(Input::Allow(alice, Allowance::Everyone));
    node.tell(Input::Wish { peer: bob, track, wanted: true });
    assert_eq!(allowed(&node), []);
}

#[test]
fn a_placed_subscription_reaches_the_receivers_worker_with_its_limit() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    let subscription = node.place(bob, track);
    let [(0, Instruction::Subscribe(spec))] = node.instructions()[..] else {
        panic!("{:?}", node.outputs);
    };
    assert_eq!(spec.subscription, subscription);
    assert_eq!(spec.limit, Some(Layer { spatial: 2, temporal: 3 }));
    assert_eq!((spec.payload_type, spec.rtx_payload_type), (96, Some(97)));
}

#[test]
fn the_receivers_worker_learns_that_it_is_a_screen() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    for (cid, source) in [("c", TrackSource::Camera), ("s", TrackSource::ScreenShare)] {
        let announced = Announcement { source, ..announcement(cid, TrackKind::Video) };
        let track = node.control.publish(alice, announced).unwrap();
        node.tell(Input::Started { peer: alice, track, media: media(Codec::Vp8, 3) });
        node.place(bob, track);
        let instructions = node.instructions();
        let [(0, Instruction::Subscribe(spec))] = instructions[..] else {
            panic!("{instructions:?}");
        };
        assert_eq!(spec.is_screen, source == TrackSource::ScreenShare);
    }
}

#[test]
fn the_same_placement_twice_changes_nothing() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    node.place(bob, track);
    node.place(bob, track);
    assert!(node.instructions().is_empty());
}

#[test]
fn only_an_extension_that_we_send_places_anew() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    let subscription = node.place(bob, track);
    let mut described = node.control.subscription(subscription).unwrap().placement.clone().unwrap();
    described.extensions.insert(3, ExtensionKind::Rid).unwrap();
    node.tell(Input::Placed(subscription, described.clone()));
    assert!(node.instructions().is_empty(), "{:?}", node.outputs);
    described.extensions.insert(4, ExtensionKind::TransportSequence).unwrap();
    node.tell(Input::Placed(subscription, described));
    assert!(matches!(
        node.instructions()[..],
        [(0, Instruction::Unsubscribe { .. }), (0, Instruction::Subscribe(_))]
    ));
}

#[test]
fn a_relay_runs_exactly_while_the_other_worker_receives() {
    let mut node = Node::new(Config { spill_at: 1, ..config() });
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let ghost = node.active(join("blue", "x"));
    let carol = node.active(join("red", "carol"));
    assert_eq!((alice.worker.0, bob.worker.0, ghost.worker.0, carol.worker.0), (0, 1, 0, 1));
    let track = node.camera(alice, "c");
    assert!(!node.instructions().iter().any(|(_, i)| matches!(i, Instruction::Relay { .. })));
    node.place(bob, track);
    assert!(matches!(
        node.instructions()[..],
        [
            (1, Instruction::AddRelayedTrack { from: WorkerId(0), .. }),
            (0, Instruction::Relay { to: WorkerId(1), on: true, .. }),
            (1, Instruction::Subscribe(_)),
        ]
    ));
    node.place(carol, track);
    assert!(matches!(node.instructions()[..], [(1, Instruction::Subscribe(_))]));
    node.tell(Input::Depart(bob, DepartureReason::Left));
    assert!(!node.instructions().iter().any(|(_, i)| matches!(i, Instruction::Relay { .. })));
    node.tell(Input::Wish { peer: carol, track, wanted: false });
    assert!(matches!(
        node.instructions()[..],
        [
            (1, Instruction::Unsubscribe { .. }),
            (0, Instruction::Relay { to: WorkerId(1), on: false, .. }),
            (1, Instruction::RemoveTrack { .. }),
        ]
    ));
}

#[test]
fn a_displaced_subscription_stops_and_may_be_placed_again() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    let subscription = node.place(bob, track);
    node.tell(Input::Displaced(subscription));
    assert!(matches!(node.instructions()[..], [(0, Instruction::Unsubscribe { .. })]));
    node.place(bob, track);
    assert!(matches!(node.instructions()[..], [(0, Instruction::Subscribe(_))]));
}

#[test]
fn settings_become_limits() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    node.place(bob, track);
    let size = |width, height| Want::Size(Size { width, height });
    let layer = |spatial, temporal| Some(Layer { spatial, temporal });
    let cases = [
        (Want::Nothing, 0, None),
        (Want::Quality(Quality::Low), 0, layer(0, 3)),
        (Want::Quality(Quality::Medium), 15, layer(1, 1)),
        (Want::Quality(Quality::High), 8, layer(2, 0)),
        (size(320, 180), 30, layer(0, 3)),
        (size(400, 200), 30, layer(0, 3)),
        (size(400, 202), 30, layer(1, 3)),
        (size(640, 360), 0, layer(1, 3)),
        (size(4000, 4000), 0, layer(2, 3)),
    ];
    for (want, fps, limit) in cases {
        let settings = Settings { want, fps };
        node.tell(Input::Settings { peer: bob, track, settings });
        let [(0, Instruction::Limit { layer, .. })] = node.instructions()[..] else {
            // The same limit as before is not said again.
            let held = node.subscription(bob, track).and_then(|id| node.control.subscription(id));
            assert_eq!(held.unwrap().limit, limit, "{want:?}");
            continue;
        };
        assert_eq!(*layer, limit, "{want:?}");
    }
}

#[test]
fn an_adaptive_client_starts_with_the_smallest_picture() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(Join { adaptive_stream: true, ..join("red", "bob") });
    let track = node.camera(alice, "c");
    node.place(bob, track);
    assert!(matches!(node.instructions()[..],
        [(0, Instruction::Subscribe(spec))] if spec.limit == Some(Layer { spatial: 0, temporal: 3 })));
}

#[test]
fn subscribing_anew_forgets_a_pause_of_an_adaptive_client() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(Join { adaptive_stream: true, ..join("red", "bob") });
    let track = node.camera(alice, "c");
    let settings = Settings { want: Want::Nothing, fps: 0 };
    node.tell(Input::Settings { peer: bob, track, settings });
    node.tell(Input::Wish { peer: bob, track, wanted: false });
    node.tell(Input::Wish { peer: bob, track, wanted: true });
    node.place(bob, track);
    assert!(matches!(node.instructions()[..],
        [(0, Instruction::Subscribe(spec))] if spec.limit.is_some()));
}

#[test]
fn a_single_stream_has_one_layer_whatever_is_asked() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.pending(alice, "c", TrackKind::Video);
    node.tell(Input::Started { peer: alice, track, media: media(Codec::H264, 1) });
    node.place(bob, track);
    assert!(matches!(node.instructions()[..],
        [(0, Instruction::Subscribe(spec))] if spec.limit == Some(Layer { spatial: 0, temporal: 3 })));
}

#[test]
fn the_publisher_is_told_the_highest_quality_that_anybody_wants() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let carol = node.active(join("red", "carol"));
    let track = node.camera(alice, "c");
    let set = |peer, quality| Input::Settings {
        peer,
        track,
        settings: Settings { want: Want::Quality(quality), fps: 0 },
    };
    let told = |node: &Node| {
        node.outputs.iter().find_map(|output| {
            if let Output::QualityWanted { quality, .. } = output { Some(*quality) } else { None }
        })
    };
    node.tell(set(bob, Quality::Low));
    node.wait(6 * SECOND);
    assert_eq!(told(&node), None, "carol wants all of it");
    node.tell(set(carol, Quality::Medium));
    assert_eq!(told(&node), None, "lowering waits");
    node.wait(4 * SECOND);
    assert_eq!(told(&node), None);
    node.wait(2 * SECOND);
    assert_eq!(told(&node), Some(Quality::Medium));
    node.tell(set(bob, Quality::High));
    assert_eq!(told(&node), Some(Quality::High));
    node.tell(Input::Depart(bob, DepartureReason::Left));
    node.tell(Input::Depart(carol, DepartureReason::Left));
    node.wait(6 * SECOND);
    assert_eq!(told(&node), Some(Quality::Off));
}

#[test]
fn settings_that_ask_for_no_other_quality_are_not_weighed() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    node.place(bob, track);
    let low = Settings { want: Want::Quality(Quality::Low), fps: 0 };
    let slow = Settings { fps: 8, ..low };
    for (settings, weighed, instructions) in [
        (Settings::LARGEST, 0, 0),
        (low, 1, 1),
        (low, 0, 0),
        (slow, 0, 1),
        (slow, 0, 0),
        (Settings::LARGEST, 1, 1),
    ] {
        node.control.take(node.now, Input::Settings { peer: bob, track, settings });
        assert_eq!(node.control.unweighed.len(), weighed, "{settings:?}");
        node.control.weigh_dynacast(node.now);
        node.drain();
        assert_eq!(node.instructions().len(), instructions, "{settings:?}");
    }
}

/// The highest quality that anybody wants is what is counted, whatever has come before.
#[test]
fn what_is_counted_of_wishes_is_what_a_look_at_all_receivers_finds() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let tracks = [node.camera(alice, "c"), node.camera(alice, "d"), node.microphone(alice, "m")];
    let mut state = 7_u32;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    let wants = [
        Want::Nothing,
        Want::Quality(Quality::Low),
        Want::Quality(Quality::High),
        Want::Size(Size { width: 320, height: 180 }),
        Want::Size(Size { width: 640, height: 360 }),
    ];
    for step in 0..4000 {
        let peers: Vec<PeerId> = node.control.participants.keys().copied().collect();
        let peer = peers[random(peers.len().try_into().unwrap()) as usize];
        let track = tracks[random(3) as usize];
        match random(20) {
            0 if peers.len() < 8 => {
                let adaptive_stream = random(2) == 0;
                let name = format!("p{step}");
                node.active(Join { adaptive_stream, ..join("red", &name) });
            }
            1 if peer != alice => node.tell(Input::Depart(peer, DepartureReason::Left)),
            2..=4 => node.tell(Input::Wish { peer, track, wanted: random(2) == 0 }),
            5 => {
                let size = Size { width: 1280, height: [0, 180, 720][random(3) as usize] };
                node.tell(Input::Resize { peer: alice, track, size });
            }
            6 => {
                let everyone = random(2) == 0;
                let allowance = if everyone { Allowance::Everyone } else { Allowance::nobody() };
                node.tell(Input::Allow(alice, allowance));
            }
            _ => {
                let want = wants[random(5) as usize];
                node.tell(Input::Settings { peer, track, settings: Settings { want, fps: 0 } });
            }
        }
        for publication in node.control.tracks.values() {
            let receivers = publication.subscribers.keys();
            let settings =
                receivers.map(|peer| node.control.participants[peer].settings(publication.track));
            let found = settings.map(|settings| publication.quality(settings)).max();
            assert_eq!(publication.dynacast.wanted(), found.unwrap_or(Quality::Off), "{step}");
        }
    }
}

#[test]
fn muting_is_told_to_the_worker_and_the_room_once() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let track = node.microphone(alice, "m");
    node.tell(Input::Mute { peer: alice, track, muted: true });
    assert!(matches!(node.instructions()[..], [(0, Instruction::MuteTrack { muted: true, .. })]));
    assert!(node.has(|output| matches!(output, Output::ParticipantChanged(_))));
    node.tell(Input::Mute { peer: alice, track, muted: true });
    assert!(node.outputs.is_empty());
}

#[test]
fn muting_is_told_to_every_worker_that_receives_the_track() {
    let mut node = Node::new(Config { spill_at: 1, ..config() });
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    assert_eq!((alice.worker.0, bob.worker.0), (0, 1));
    let track = node.camera(alice, "c");
    node.place(bob, track);
    node.tell(Input::Mute { peer: alice, track, muted: true });
    assert!(matches!(
        node.instructions()[..],
        [
            (0, Instruction::MuteTrack { muted: true, .. }),
            (1, Instruction::MuteTrack { muted: true, .. }),
        ]
    ));
    node.tell(Input::Wish { peer: bob, track, wanted: false });
    node.tell(Input::Wish { peer: bob, track, wanted: true });
    node.place(bob, track);
    assert!(matches!(
        node.instructions()[..],
        [
            (1, Instruction::AddRelayedTrack { .. }),
            (1, Instruction::MuteTrack { muted: true, .. }),
            (0, Instruction::Relay { on: true, .. }),
            (1, Instruction::Subscribe(_)),
        ]
    ));
    node.tell(Input::Mute { peer: alice, track, muted: false });
    assert!(matches!(
        node.instructions()[..],
        [
            (0, Instruction::MuteTrack { muted: false, .. }),
            (1, Instruction::MuteTrack { muted: false, .. }),
        ]
    ));
}

#[test]
fn nobody_mutes_or_ends_anothers_track() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.microphone(alice, "m");
    node.tell(Input::Mute { peer: bob, track, muted: true });
    node.tell(Input::Ended { peer: bob, track });
    node.tell(Input::Resize { peer: bob, track, size: Size::default() });
    assert!(node.outputs.is_empty());
    assert!(!node.control.publication(track).unwrap().muted);
}

#[test]
fn a_track_that_starts_muted_is_muted_at_its_worker() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let announced = Announcement { muted: true, ..announcement("m", TrackKind::Audio) };
    let track = node.control.publish(alice, announced).unwrap();
    node.tell(Input::Started { peer: alice, track, media: media(Codec::Opus, 1) });
    assert!(matches!(
        node.instructions()[..],
        [(0, Instruction::AddTrack(_)), (0, Instruction::MuteTrack { muted: true, .. })]
    ));
}

#[test]
fn an_ended_track_ends_everywhere() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    let subscription = node.place(bob, track);
    node.tell(Input::Settings { peer: bob, track, settings: Settings::SMALLEST });
    node.tell(Input::Ended { peer: alice, track });
    assert!(node.control.publication(track).is_none());
    assert!(node.control.subscription(subscription).is_none());
    assert!(node.control.participant(bob).unwrap().settings.is_empty());
    assert!(matches!(
        node.instructions()[..],
        [(0, Instruction::Unsubscribe { .. }), (0, Instruction::RemoveTrack { .. })]
    ));
}

#[test]
fn another_codec_than_negotiated_is_negotiated_again() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    let subscription = node.place(bob, track);
    let live = |codec| Input::Report(Report::LayerLive { track, spatial: 0, codec });
    node.tell(live(Codec::Vp8));
    assert!(node.outputs.is_empty());
    node.tell(live(Codec::H264));
    assert!(matches!(node.instructions()[..], [(0, Instruction::Unsubscribe { .. })]));
    assert!(node.has(|output| matches!(output, Output::Wanted(s) if *s == subscription)));
    let codec =
        |node: &Node| node.control.publication(track).unwrap().media.as_ref().unwrap().codec;
    assert_eq!(codec(&node), Codec::H264);
    // An offer for something else describes its section again, as it was.
    node.tell(Input::Started { peer: alice, track, media: media(Codec::Vp8, 3) });
    assert_eq!(codec(&node), Codec::H264, "what is sent is known");
    node.tell(live(Codec::Vp8));
    assert_eq!(codec(&node), Codec::Vp8);
}

#[test]
fn speakers_are_told_to_those_who_hear_them_and_to_themselves() {
    let mut node = Node::new(Config { spill_at: 1, ..config() });
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let deaf = node.active(Join { auto_subscribe: false, ..join("red", "carol") });
    let hers = node.microphone(alice, "a");
    let his = node.microphone(bob, "b");
    assert_ne!(alice.worker, bob.worker);
    node.level(hers, Some(0.2));
    node.level(his, Some(0.8));
    node.wait(SECOND);
    let told: Vec<(PeerId, usize)> = node
        .outputs
        .iter()
        .filter_map(|output| {
            if let Output::Speakers { to, speakers } = output {
                Some((*to, speakers.len()))
            } else {
                None
            }
        })
        .collect();
    assert_eq!(told, [(alice, 2), (bob, 2)]);
    assert!(!told.iter().any(|(to, _)| *to == deaf));
}

#[test]
fn a_new_receiver_learns_at_once_who_speaks() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let track = node.microphone(alice, "a");
    node.level(track, Some(0.5));
    node.wait(SECOND);
    let bob = node.try_join(join("red", "bob")).unwrap();
    assert!(node.has(|output| matches!(output, Output::Speakers { to, .. } if *to == bob)));
}

/// Clients keep a speaker until they are told that it is none.
#[test]
fn who_receives_nothing_of_a_speaker_any_more_takes_it_for_silent() {
    let ways: [fn(PeerId, PeerId, TrackId) -> Input; 4] = [
        |_, bob, track| Input::Wish { peer: bob, track, wanted: false },
        |alice, _, track| Input::Ended { peer: alice, track },
        |alice, _, _| Input::Show(alice, Visibility::Hidden),
        |alice, _, _| Input::Depart(alice, DepartureReason::Left),
    ];
    for (way, input) in ways.into_iter().enumerate() {
        for has_picture in [false, true] {
            let mut node = Node::new(config());
            let alice = node.active(join("red", "alice"));
            let track = node.microphone(alice, "a");
            if has_picture {
                node.camera(alice, "c");
            }
            let bob = node.active(join("red", "bob"));
            node.level(track, Some(0.5));
            node.wait(SECOND);
            let silent = Speaker { peer: alice, level: 0.0 };
            let is_told = |node: &Node| {
                node.has(|output| {
                    matches!(output, Output::Speakers { to, speakers }
                        if *to == bob && *speakers == [silent])
                })
            };
            node.tell(input(alice, bob, track));
            let is_told_at_once = is_told(&node);
            node.level(track, None);
            node.wait(SECOND);
            let is_told_once = is_told_at_once != is_told(&node);
            assert!(is_told_once, "way {way}, with a picture: {has_picture}");
        }
    }
}

#[test]
fn muting_silences_a_speaker() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let track = node.microphone(alice, "a");
    node.level(track, Some(0.5));
    node.wait(SECOND);
    node.tell(Input::Mute { peer: alice, track, muted: true });
    node.level(track, Some(0.5));
    node.wait(SECOND);
    assert!(node.control.room(RoomId(0)).unwrap().speakers.told(alice).is_none());
}

#[test]
fn connection_quality_is_told_when_it_changes_at_most_every_five_seconds() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.microphone(alice, "a");
    assert!(node.subscription(bob, track).is_some());
    let measured = |loss_up| measured(alice, loss_up);
    let told = |node: &Node| {
        let each = node.outputs.iter().filter_map(|output| {
            if let Output::Qualities { to, scores } = output {
                Some((*to, scores[0].1.quality))
            } else {
                None
            }
        });
        each.collect::<Vec<_>>()
    };
    node.tell(measured(0.0));
    node.wait(Duration::ZERO);
    let excellent = ConnectionQuality::Excellent;
    assert_eq!(told(&node), [(alice, excellent), (bob, excellent)]);
    node.tell(measured(0.01));
    node.wait(6 * SECOND);
    assert!(told(&node).is_empty(), "still excellent");
    node.tell(measured(0.9));
    node.wait(SECOND);
    assert_eq!(told(&node)[0], (alice, ConnectionQuality::Poor));
    node.tell(measured(0.0));
    node.wait(SECOND);
    assert!(told(&node).is_empty());
    node.wait(4 * SECOND);
    assert_eq!(told(&node)[1], (bob, excellent));
}

fn measured(peer: PeerId, loss_up: f32) -> Input {
    Input::Report(Report::Quality { peer, loss_up, loss_down: 0.0, rtt_ms: Some(10) })
}

/// Who was told of whose connection.
fn qualities_told(node: &Node) -> Vec<(PeerId, Vec<PeerId>)> {
    let each = node.outputs.iter().filter_map(|output| {
        let Output::Qualities { to, scores } = output else {
            return None;
        };
        Some((*to, scores.iter().map(|(of, _)| *of).collect()))
    });
    each.collect()
}

#[test]
fn of_connections_those_that_changed_are_told_and_to_newcomers_those_that_they_receive() {
    let mut node = Node::new(config());
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| node.active(join("red", name)));
    for peer in [alice, bob] {
        node.microphone(peer, "a");
    }
    for peer in [alice, bob, carol] {
        node.tell(measured(peer, 0.0));
    }
    node.wait(6 * SECOND);
    node.tell(measured(bob, 0.9));
    node.wait(6 * SECOND);
    assert_eq!(qualities_told(&node), [alice, bob, carol].map(|to| (to, vec![bob])));
    let dave = node.active(join("red", "dave"));
    node.wait(6 * SECOND);
    assert_eq!(qualities_told(&node), [(dave, vec![alice, bob])]);
    let track = node.microphone(carol, "a");
    node.wait(6 * SECOND);
    assert_eq!(qualities_told(&node), [alice, bob, dave].map(|to| (to, vec![carol])));
    // Who receives nothing of it any more learns nothing of it.
    node.tell(measured(carol, 0.9));
    node.tell(Input::Ended { peer: carol, track });
    node.wait(6 * SECOND);
    assert_eq!(qualities_told(&node), [(carol, vec![carol])]);
}

#[test]
fn when_everybodys_connection_changes_a_bounded_number_is_told_of_in_one_turn() {
    let mut node = Node::new(config());
    let peers: Vec<PeerId> = (0..60).map(|n| node.active(join("red", &format!("{n}")))).collect();
    for peer in &peers {
        node.microphone(*peer, "a");
        node.tell(measured(*peer, 0.0));
    }
    node.wait(20 * SECOND);
    for peer in &peers {
        node.tell(measured(*peer, 0.9));
    }
    let (mut told, mut messages, began) = (0, 0, node.now);
    while let Some(at) = node.control.next_timeout().filter(|at| *at < began + 10 * SECOND) {
        node.wait(at.since(node.now));
        let turn: usize = qualities_told(&node).iter().map(|(_, of)| of.len()).sum();
        assert!(turn <= limits::QUALITIES_PER_TURN_MAX, "{turn} in one turn");
        (told, messages) = (told + turn, messages + qualities_told(&node).len());
    }
    assert_eq!(told, 60 * 60);
    assert!(messages <= 60 + 4, "{messages} messages");
}

#[test]
fn a_pause_for_want_of_bandwidth_is_told_to_the_receiver() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "c");
    let subscription = node.place(bob, track);
    node.tell(Input::Report(Report::Bandwidth { subscription, paused: true }));
    assert!(matches!(node.outputs[..],
        [Output::StreamState { to, paused: true, .. }] if to == bob));
}

#[test]
fn what_concerns_the_departed_has_no_effect() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let track = node.microphone(alice, "a");
    node.tell(Input::Depart(alice, DepartureReason::PeerLost));
    let report = Report::Quality { peer: alice, loss_up: 0.0, loss_down: 0.0, rtt_ms: None };
    let late = [
        Input::Connected(alice),
        Input::Depart(alice, DepartureReason::Left),
        Input::Mute { peer: alice, track, muted: true },
        Input::Placed(SubscriptionId(0), placement(1)),
        Input::Report(Report::Level { track, level: Some(1.0) }),
        Input::Report(report),
        Input::Allow(alice, Allowance::Everyone),
    ];
    for input in late {
        node.tell(input);
        assert!(node.outputs.is_empty(), "{:?}", node.outputs);
    }
}

/// A busy hour in short: returns everything that Control said.
fn trace(seed: u64) -> String {
    let mut node = Node::new(Config { spill_at: 2, ..config() });
    node.control = Control::new(Config { spill_at: 2, ..config() }, seed);
    let mut trace = String::new();
    for round in 0..3 {
        let peers: Vec<PeerId> = (0..9)
            .map(|n| node.active(join(["red", "blue", "green"][n % 3], &format!("{n}"))))
            .collect();
        for peer in &peers {
            let participant = node.control.participant(*peer).unwrap();
            trace.push_str(participant.sid.as_str());
        }
        for (n, peer) in peers.iter().enumerate() {
            let track = node.camera(*peer, &format!("c{round}"));
            trace.push_str(&format!("{:?}", node.outputs));
            for other in &peers {
                if node.subscription(*other, track).is_some() {
                    node.place(*other, track);
                    trace.push_str(&format!("{:?}", node.outputs));
                }
            }
            node.level(track, Some(0.1 * n as f32));
        }
        node.wait(7 * SECOND);
        trace.push_str(&format!("{:?}", node.outputs));
    }
    trace
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_gives_other_sids() {
    assert!(trace(1) == trace(1));
    assert!(trace(1) != trace(2));
}

#[test]
fn an_emptied_node_holds_nothing() {
    let mut node = Node::new(config());
    let peers: Vec<PeerId> = (0..5).map(|n| node.active(join("red", &format!("{n}")))).collect();
    for peer in &peers {
        let track = node.camera(*peer, "c");
        for other in peers.iter().filter(|other| *other != peer) {
            node.place(*other, track);
        }
    }
    for peer in peers {
        node.tell(Input::Depart(peer, DepartureReason::Left));
    }
    node.wait(30 * SECOND);
    let control = &node.control;
    assert!(control.rooms.is_empty() && control.names.is_empty());
    assert!(control.participants.is_empty() && control.tracks.is_empty());
    assert!(control.subscriptions.is_empty() && control.timers.is_empty());
}

#[test]
fn a_paused_subscription_that_leaves_its_section_is_paused_no_more() {
    let mut node = Node::new(config());
    let alice = node.active(join("red", "alice"));
    let bob = node.active(join("red", "bob"));
    let track = node.camera(alice, "cam");
    let subscription = node.control.participant(bob).unwrap().subscriptions[&track];
    let state = |node: &Node| {
        let mut states = node.outputs.iter().filter_map(|output| {
            if let Output::StreamState { paused, .. } = output { Some(*paused) } else { None }
        });
        states.next()
    };
    let held = |node: &Node| node.control.subscription(subscription).unwrap().is_paused();
    assert_eq!(held(&node), None);
    node.tell(Input::Placed(subscription, placement(10)));
    assert_eq!((state(&node), held(&node)), (None, Some(false)));
    node.tell(Input::Report(Report::Bandwidth { subscription, paused: false }));
    assert_eq!(state(&node), None, "nothing new");
    node.tell(Input::Report(Report::Bandwidth { subscription, paused: true }));
    assert_eq!((state(&node), held(&node)), (Some(true), Some(true)));
    node.tell(Input::Placed(subscription, placement(20)));
    assert_eq!((state(&node), held(&node)), (Some(false), Some(false)), "the worker begins anew");
    // What it said before may have been on its way.
    for paused in [true, false] {
        node.tell(Input::Report(Report::Bandwidth { subscription, paused }));
        assert_eq!((state(&node), held(&node)), (Some(paused), Some(paused)));
    }
    node.tell(Input::Report(Report::Bandwidth { subscription, paused: true }));
    node.tell(Input::Displaced(subscription));
    assert_eq!((state(&node), held(&node)), (Some(false), None));
    node.tell(Input::Report(Report::Bandwidth { subscription, paused: true }));
    assert_eq!(state(&node), None, "of the section that it left");
    // Whoever gives it up is told nothing of it.
    node.tell(Input::Placed(subscription, placement(30)));
    node.tell(Input::Report(Report::Bandwidth { subscription, paused: true }));
    node.tell(Input::Wish { peer: bob, track, wanted: false });
    assert_eq!(state(&node), None);
}
