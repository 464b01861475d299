//! What one participant makes others be told: how much, how soon, and that the newest comes in the end.

use super::*;
use crate::limits::{UPDATE_AHEAD_MAX, UPDATE_BYTES_PER_SECOND};

fn describe(metadata: String) -> Asked {
    Asked::UpdateMetadata(proto::UpdateParticipantMetadata { metadata, ..Default::default() })
}

fn mute(sid: &str, muted: bool) -> Asked {
    Asked::Mute(proto::MuteTrackRequest { sid: sid.to_owned(), muted })
}

/// She changes so often that the last of it waits.
fn keep_waiting(node: &mut Node, alice: &Client) {
    for number in 0..20 {
        node.ask(alice, describe(format!("{number}")));
    }
}

/// What was told of one participant, oldest first.
fn infos(told: &[Told], identity: &str) -> Vec<proto::ParticipantInfo> {
    let updates =
        told.iter().filter_map(|it| if let Told::Update(it) = it { Some(it) } else { None });
    let all = updates.flat_map(|update| update.participants.clone());
    all.filter(|info| info.identity == identity).collect()
}

fn published(told: &[Told]) -> Option<String> {
    first!(told, Told::TrackPublished(published) => published.track.as_ref().unwrap().sid.clone())
}

#[test]
fn a_flood_of_mutes_is_told_at_a_rate_and_its_last_one_in_the_end() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    let sid = published(&alice.told()).expect("published");
    node.ask(&alice, describe("m".repeat(60_000)));
    node.wait(Duration::from_secs(10));
    bob.told();
    let began = node.now;
    let (mut heard, mut versions) = (Vec::new(), Vec::new());
    for number in 0..430 {
        node.ask(&alice, mute(&sid, number % 2 == 0));
        node.wait(Duration::from_millis(5));
        heard.extend(infos(&bob.told(), "alice"));
    }
    // The first comes at once.
    assert_eq!(heard.first().map(|info| info.tracks[0].muted), Some(true));
    node.ask(&alice, mute(&sid, true));
    for _ in 0..100 {
        node.wait(Duration::from_millis(100));
        heard.extend(infos(&bob.told(), "alice"));
    }
    let seconds = usize::try_from((node.now.since(began) + UPDATE_AHEAD_MAX).as_secs()).unwrap();
    let rate = usize::try_from(UPDATE_BYTES_PER_SECOND).unwrap();
    let bytes: usize = heard.iter().map(prost::Message::encoded_len).sum();
    assert!(bytes <= seconds * rate + 61_000, "{bytes} bytes in {seconds} s");
    let last = heard.last().expect("told");
    assert!(last.tracks[0].muted, "what holds in the end is told");
    versions.extend(heard.iter().map(|info| info.version));
    assert!(versions.is_sorted() && versions.len() > 2);
    assert!(bob.is_cut.try_recv().is_err() && !bob.is_closed());
}

/// livekit-client gives up after 5 s on a change of its own that it is not told of as the others are.
#[test]
fn who_changes_itself_is_told_at_once_also_while_the_room_has_to_wait() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    for number in 0..3 {
        let metadata = format!("{number}").repeat(60_000);
        node.ask(&alice, describe(metadata.clone()));
        let own = infos(&alice.told(), "alice");
        assert_eq!(own.last().map(|info| &info.metadata), Some(&metadata), "{number}");
    }
    assert!(infos(&bob.told(), "alice").len() < 3, "the others' wait");
    node.wait(Duration::from_secs(30));
    let others = infos(&bob.told(), "alice");
    assert!(others.last().is_some_and(|info| info.metadata.starts_with('2')));
}

#[test]
fn who_changes_itself_pays_for_what_it_is_told_of_it() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    node.ask(&alice, describe("m".repeat(200_000)));
    node.ask(&alice, describe("n".repeat(200_000)));
    alice.told();
    for _ in 0..300 {
        node.ask(&alice, Asked::UpdateMetadata(proto::UpdateParticipantMetadata::default()));
        assert_eq!(infos(&alice.told(), "alice").len(), 0, "nothing changed");
    }
    node.wait(Duration::from_secs(15));
    alice.told();
    let mut told = Vec::new();
    for number in 0..300 {
        let attributes = [("turn".to_owned(), format!("{number}"))].into();
        let update = proto::UpdateParticipantMetadata { attributes, ..Default::default() };
        node.ask(&alice, Asked::UpdateMetadata(update));
        told.extend(infos(&alice.told(), "alice"));
    }
    let bytes: usize = told.iter().map(prost::Message::encoded_len).sum();
    assert!((1..25).contains(&told.len()) && bytes < 5_000_000, "{} of {bytes} bytes", told.len());
}

#[test]
fn what_changes_nothing_is_told_to_nobody() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let mut bob = node.active("bob");
    node.publish(&alice);
    let told = alice.told();
    let sids = told
        .iter()
        .filter_map(|it| if let Told::TrackPublished(it) = it { it.track.as_ref() } else { None });
    let [sound, picture] = sids.collect::<Vec<_>>()[..] else { panic!("{told:?}") };
    let features = |features| {
        let track_sid = sound.sid.clone();
        Asked::UpdateAudioTrack(proto::UpdateLocalAudioTrack { track_sid, features })
    };
    let size = |width| {
        let track_sid = picture.sid.clone();
        Asked::UpdateVideoTrack(proto::UpdateLocalVideoTrack { track_sid, width, height: 9 })
    };
    let changes = || [describe("m".into()), features(vec![1]), size(16)];
    for asked in changes() {
        node.ask(&alice, asked);
    }
    node.wait(Duration::from_secs(5));
    assert_eq!(infos(&bob.told(), "alice").last().map(|info| info.metadata.as_str()), Some("m"));
    for asked in changes().into_iter().chain([describe(String::new())]) {
        node.ask(&alice, asked);
    }
    node.wait(Duration::from_secs(5));
    assert_eq!(infos(&bob.told(), "alice"), []);
    // She is answered all the same.
    let answered = alice.told().iter().filter(|it| matches!(it, Told::RequestResponse(_))).count();
    assert_eq!(answered, 3);
}

#[test]
fn no_section_is_asked_for_before_the_update_that_waits() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    keep_waiting(&mut node, &alice);
    bob.told();
    node.publish(&alice);
    let told = bob.told();
    assert!(infos(&told, "alice").is_empty());
    assert!(first!(told, Told::MediaSectionsRequirement(_) => ()).is_none(), "{told:?}");
    // Whoever negotiates meanwhile hears nothing of it either.
    node.ask(&bob, Asked::Offer(description(CHROMIUM_JOIN, 3)));
    let told = bob.told();
    let answer = first!(told, Told::Answer(answer) => answer.mid_to_track_id.len());
    assert_eq!(answer, Some(0));
    node.wait(Duration::from_secs(5));
    let told = bob.told();
    let update = position(
        &told,
        |it| matches!(it, Told::Update(it) if it.participants.iter().any(|held| held.tracks.len() == 2)),
    );
    let asked = position(&told, |it| matches!(it, Told::MediaSectionsRequirement(_)));
    assert!(update < asked);
}

#[test]
fn a_track_that_all_know_is_had_at_once_though_an_update_waits() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    node.wait(Duration::from_secs(10));
    keep_waiting(&mut node, &alice);
    assert!(node.hub.news.due().is_some(), "an update waits");
    let carol = node.active("carol");
    assert_eq!(node.hub.seats[&node.peer(&carol)].subscriptions.len(), 2);
}

#[test]
fn what_is_large_is_told_again_within_seconds() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    node.ask(&alice, describe("m".repeat(500_000)));
    node.wait(Duration::from_secs(1));
    node.ask(&alice, describe("short".to_owned()));
    bob.told();
    node.wait(crate::limits::UPDATE_WAIT_MAX);
    assert_eq!(infos(&bob.told(), "alice").last().map(|it| it.metadata.as_str()), Some("short"));
}

#[test]
fn whoever_goes_and_comes_again_is_told_of_no_sooner() {
    let mut node = Node::new();
    let mut bob = node.active("bob");
    let mut told = 0;
    for number in 0..40 {
        let alice = node.active("alice");
        for change in 0..10 {
            node.ask(&alice, describe(format!("{number}/{change}")));
        }
        // As often by itself as because it is there already.
        if number % 2 == 0 {
            node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
        }
        let infos = infos(&bob.told(), "alice");
        told += infos
            .iter()
            .filter(|info| info.state() != proto::participant_info::State::Disconnected)
            .count();
    }
    assert!(told <= 15, "told {told} times within half a second");
}

#[test]
fn somebody_who_waits_to_be_told_of_and_goes_is_gone_at_once() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let mut bob = node.active("bob");
    keep_waiting(&mut node, &alice);
    bob.told();
    node.ask(&alice, Asked::Leave(proto::LeaveRequest::default()));
    let gone = |told: &[Told]| infos(told, "alice").iter().map(|it| it.state()).collect::<Vec<_>>();
    assert_eq!(gone(&bob.told()), [proto::participant_info::State::Disconnected]);
    node.wait(Duration::from_secs(5));
    assert_eq!(gone(&bob.told()), []);
    assert_eq!(node.hub.news.due(), None);
}

#[test]
fn a_room_with_long_metadata_is_told_at_a_rate() {
    let mut node = Node::new();
    let alice = node.active("alice");
    let room = node.hub.seats[&node.peer(&alice)].room;
    let metadata = control::RoomMetadata::new("m".repeat(300_000)).unwrap();
    node.hub.tell(Input::Describe(room, metadata));
    let mut bob = node.active("bob");
    node.wait(Duration::from_secs(2));
    bob.told();
    let mut told = 0;
    for number in 0..60 {
        let guest = node.active(&format!("p{number}"));
        node.ask(&guest, Asked::Leave(proto::LeaveRequest::default()));
        node.wait(Duration::from_secs(1));
        told += bob.told().iter().filter(|it| matches!(it, Told::RoomUpdate(_))).count();
    }
    assert!((5..=8).contains(&told), "{told} times 300 kB in a minute");
}

#[test]
fn who_reads_too_slowly_is_cut_at_once_and_counted_once() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let ping = || Asked::PingReq(proto::Ping::default());
    for _ in 0..OUTBOX_MAX {
        node.ask(&alice, ping());
    }
    assert!(alice.is_cut.try_recv().is_err());
    assert_eq!(node.hub.metrics.sockets_slow.total(), 0);
    node.ask(&alice, ping());
    node.ask(&alice, ping());
    assert_eq!(alice.is_cut.try_recv(), Ok(()));
    assert_eq!(node.hub.metrics.sockets_slow.total(), 1);
}

/// Alice with a name, metadata and an attribute.
fn arrive(node: &mut Node, metadata: &str) -> Client {
    let mut token = token("alice", "red");
    token.claims.name = "Alice".into();
    token.claims.metadata = metadata.to_owned();
    token.claims.attributes = [("seat".to_owned(), "7".to_owned())].into();
    node.knock(token, joining(CHROMIUM_JOIN)).expect("admitted")
}

fn leave() -> Asked {
    Asked::Leave(proto::LeaveRequest::default())
}

#[test]
fn who_goes_is_named_as_it_was() {
    let mut node = Node::new();
    let mut bob = node.active("bob");
    let alice = arrive(&mut node, "m");
    node.publish(&alice);
    node.wait(Duration::from_secs(5));
    let before = infos(&bob.told(), "alice").pop().expect("told");
    node.ask(&alice, leave());
    let gone = infos(&bob.told(), "alice");
    let expect = proto::ParticipantInfo {
        state: proto::participant_info::State::Disconnected.into(),
        disconnect_reason: proto::DisconnectReason::ClientInitiated.into(),
        tracks: Vec::new(),
        is_publisher: false,
        version: gone[0].version,
        ..before.clone()
    };
    assert_eq!(gone, [expect]);
    assert!(gone[0].version > before.version && gone[0].joined_at_ms > 0);
    assert_eq!((gone[0].name.as_str(), gone[0].metadata.as_str()), ("Alice", "m"));
    assert!(gone[0].attributes.contains_key("seat") && gone[0].permission.is_some());
}

#[test]
fn who_hides_is_named_as_it_was() {
    let mut node = Node::new();
    let mut bob = node.active("bob");
    let alice = arrive(&mut node, "m");
    node.wait(Duration::from_secs(5));
    bob.told();
    node.hub.tell(Input::Show(node.peer(&alice), control::Visibility::Hidden));
    node.wait(Duration::from_secs(5));
    let gone = infos(&bob.told(), "alice");
    assert_eq!(gone[0].state(), proto::participant_info::State::Disconnected);
    assert_eq!((gone[0].name.as_str(), gone[0].metadata.as_str()), ("Alice", "m"));
}

#[test]
fn a_goodbye_is_paid_for_and_short_while_something_is_owed() {
    let long = "m".repeat(16_000);
    let mut node = Node::new();
    let mut bob = node.active("bob");
    let mut bytes = 0;
    for _ in 0..100 {
        let alice = arrive(&mut node, &long);
        node.ask(&alice, leave());
        let told = infos(&bob.told(), "alice");
        assert!(told.iter().all(|info| info.name == "Alice"));
        bytes += told.iter().map(prost::Message::encoded_len).sum::<usize>();
    }
    let rate = usize::try_from(UPDATE_BYTES_PER_SECOND).unwrap();
    assert!(bytes <= 2 * rate + 100 * 500, "{bytes} bytes within a fifth of a second");
    // In the end it is paid for.
    node.wait(Duration::from_secs(20));
    let alice = arrive(&mut node, &long);
    node.wait(Duration::from_secs(20));
    bob.told();
    node.ask(&alice, leave());
    assert_eq!(infos(&bob.told(), "alice")[0].metadata, long);
}

#[test]
fn nobody_learns_when_somebody_hidden_comes_publishes_and_goes_but_that_it_records() {
    let mut node = Node::new();
    let mut bob = node.active("bob");
    node.publish(&bob);
    node.wait(Duration::from_secs(6));
    bob.told();
    for recorder in [false, true] {
        let mut ghost = token("ghost", "red");
        let video = ghost.claims.video.as_mut().unwrap();
        (video.hidden, video.recorder) = (true, recorder);
        let ghost = node.knock(ghost, joining(CHROMIUM_JOIN)).unwrap();
        node.publish(&ghost);
        let told = |node: &mut Node, bob: &mut Client| {
            node.wait(Duration::from_secs(2));
            let mut told = bob.told();
            // What it is to see bob has to send: no more than that shows.
            let wanted = told.len();
            told.retain(|message| !matches!(message, Told::SubscribedQualityUpdate(_)));
            assert!(wanted - told.len() <= 1);
            let room = first!(told, Told::RoomUpdate(update) => update.room.clone().unwrap());
            assert_eq!(told.len(), usize::from(room.is_some()), "{told:?}");
            room.map(|room| (room.num_participants, room.num_publishers, room.active_recording))
        };
        assert_eq!(told(&mut node, &mut bob), recorder.then_some((1, 1, true)));
        node.ask(&ghost, Asked::Leave(proto::LeaveRequest::default()));
        assert_eq!(told(&mut node, &mut bob), recorder.then_some((1, 1, false)));
    }
}

#[test]
fn a_room_is_told_when_somebody_who_is_there_begins_to_record_or_ends() {
    let mut node = Node::new();
    let mut bob = node.active("bob");
    let recorder = |is: bool| {
        let mut ghost = token("ghost", "red");
        let video = ghost.claims.video.as_mut().unwrap();
        (video.hidden, video.recorder) = (true, is);
        ghost
    };
    let ghost = node.knock(recorder(false), joining(CHROMIUM_JOIN)).unwrap();
    let sid = node.hub.control.participant(node.peer(&ghost)).unwrap().sid.to_string();
    node.wait(Duration::from_secs(2));
    bob.told();
    for is in [true, false] {
        let participant_sid = sid.clone();
        let join = proto::JoinRequest { reconnect: true, participant_sid, ..Default::default() };
        let _ghost = node.knock(recorder(is), join).unwrap();
        node.wait(Duration::from_secs(2));
        let room = first!(bob.told(), Told::RoomUpdate(update) => update.room.clone().unwrap());
        assert_eq!(room.map(|room| room.active_recording), Some(is));
    }
}
