//! What back ends ask: what they are answered, and what clients are told of it.

use model::{Identity, RoomId, RoomName};
use wire::proto::leave_request::Action;
use wire::room_service::{Request, Response};
use wire::twirp::{Code, Error};

use super::*;
use crate::limits::{NONCES_MAX, PAGE_BYTES, PAGE_LOOKS, REFRESH_PROFILE_MAX, ROOM_LOOKS};
use crate::session::{ParticipantPage, RoomPage};

impl Node {
    fn serve(&mut self, request: Request) -> Result<Response, Error> {
        let (reply, mut answer) = oneshot::channel();
        self.tell(ToHub::RoomService(Box::new(request), reply));
        answer.try_recv().unwrap_or(Err(Error::new(Code::Internal, "no answer in its turn")))
    }

    fn page(&mut self, room: &str, after: Option<Identity>) -> ParticipantPage {
        let (reply, mut answer) = oneshot::channel();
        self.tell(ToHub::ParticipantPage { room: RoomName::new(room), after, reply });
        answer.try_recv().expect("an answer in its turn")
    }

    fn room_page(&mut self, names: &[&str], after: Option<RoomId>) -> RoomPage {
        let (reply, mut answer) = oneshot::channel();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.tell(ToHub::RoomPage { names: Arc::new(names), after, reply });
        answer.try_recv().expect("an answer in its turn")
    }

    fn open(&mut self, name: &str, metadata: &str) {
        let (name, metadata) = (name.to_owned(), metadata.to_owned());
        let request = proto::CreateRoomRequest { name, metadata, ..Default::default() };
        self.serve(Request::CreateRoom(Box::new(request))).unwrap();
    }

    fn refused(&mut self, request: Request) -> Code {
        self.serve(request).expect_err("refused").code
    }
}

fn named(room: &str, identity: &str) -> proto::RoomParticipantIdentity {
    proto::RoomParticipantIdentity {
        room: room.to_owned(),
        identity: identity.to_owned(),
        ..Default::default()
    }
}

fn update(identity: &str) -> proto::UpdateParticipantRequest {
    proto::UpdateParticipantRequest {
        room: "red".to_owned(),
        identity: identity.to_owned(),
        ..Default::default()
    }
}

fn permission() -> proto::ParticipantPermission {
    proto::ParticipantPermission {
        can_publish: true,
        can_subscribe: true,
        can_publish_data: true,
        ..Default::default()
    }
}

fn sending(data: &[u8]) -> proto::SendDataRequest {
    proto::SendDataRequest { room: "red".into(), data: data.to_vec(), ..Default::default() }
}

fn participant(outcome: Result<Response, Error>) -> proto::ParticipantInfo {
    let Ok(Response::Participant(info)) = outcome else { panic!("{outcome:?}") };
    *info
}

fn tracks_of(node: &mut Node, identity: &str) -> Vec<proto::TrackInfo> {
    participant(node.serve(Request::GetParticipant(named("red", identity)))).tracks
}

#[test]
fn rooms_and_participants_are_listed_as_clients_see_them() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    let mut ghost = token("ghost", "red");
    ghost.claims.video.as_mut().unwrap().hidden = true;
    node.knock(ghost, joining(CHROMIUM_JOIN)).unwrap();
    node.knock(token("bob", "blue"), joining(CHROMIUM_JOIN)).unwrap();

    let RoomPage { items: all, last: None, .. } = node.room_page(&[], None) else {
        panic!("more than a page")
    };
    let found: Vec<_> =
        all.iter().map(|room| (room.name.as_str(), room.num_participants)).collect();
    assert_eq!(found, [("red", 1), ("blue", 1)]);
    assert_eq!(all[0].num_publishers, 1);
    let some = node.room_page(&["blue", "green"], None).items;
    assert_eq!(some.iter().map(|room| room.name.as_str()).collect::<Vec<_>>(), ["blue"]);

    let red = node.page("red", None).items;
    let identities: Vec<_> = red.iter().map(|info| info.identity.as_str()).collect();
    assert_eq!(identities, ["alice", "ghost"], "whoever moderates sees hidden ones too");
    assert!(red[1].permission.as_ref().unwrap().hidden);
    assert_eq!(red[0].tracks.len(), 2);
    assert!(node.page("green", None).items.is_empty());

    let info = participant(node.serve(Request::GetParticipant(named("blue", "bob"))));
    assert_eq!(info.identity, "bob");
    assert_eq!(node.refused(Request::GetParticipant(named("red", "bob"))), Code::NotFound);
    assert_eq!(node.refused(Request::GetParticipant(named("green", "bob"))), Code::NotFound);
}

#[test]
fn a_large_room_is_listed_in_pages_that_keep_nobody_waiting() {
    let mut node = Node::new();
    let metadata = "x".repeat(PAGE_BYTES / 4);
    for number in 0..10 {
        let mut token = token(&format!("person-{number}"), "red");
        token.claims.metadata.clone_from(&metadata);
        node.knock(token, joining(CHROMIUM_JOIN)).unwrap();
    }
    let (mut listed, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = node.page("red", after);
        assert!(page.len < PAGE_BYTES + metadata.len() + 1000, "{}", page.len);
        listed.extend(page.items.into_iter().map(|info| info.identity));
        pages += 1;
        after = page.last;
        if after.is_none() {
            break;
        }
        // Somebody behind the page leaves, somebody before it comes.
        if pages == 1 {
            node.serve(Request::RemoveParticipant(named("red", "person-9"))).unwrap();
            node.knock(token("an early bird", "red"), joining(CHROMIUM_JOIN)).unwrap();
        }
    }
    assert_eq!(pages, 3);
    let expect: Vec<String> = (0..9).map(|number| format!("person-{number}")).collect();
    assert_eq!(listed, expect);
}

#[test]
fn many_rooms_are_listed_in_pages_that_keep_nobody_waiting() {
    let mut node = Node::new();
    let metadata = "x".repeat(PAGE_BYTES / 4);
    for number in 0..10 {
        node.open(&format!("large-{number}"), &metadata);
    }
    let small = PAGE_LOOKS / (ROOM_LOOKS + 1);
    for number in 0..small {
        node.open(&format!("small-{number}"), "");
    }
    let (mut listed, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = node.room_page(&[], after);
        assert!(page.len < PAGE_BYTES + metadata.len() + 1000, "{}", page.len);
        assert!(page.items.len() <= small + 1, "{}", page.items.len());
        listed.extend(page.items.into_iter().map(|info| info.name));
        pages += 1;
        after = page.last;
        if after.is_none() {
            break;
        }
        // One behind the page ends.
        if pages == 1 {
            let room = "large-9".to_owned();
            node.serve(Request::DeleteRoom(proto::DeleteRoomRequest { room })).unwrap();
        }
    }
    assert_eq!(pages, 4, "two of the large, one with the last of them, and what is left");
    let expect = (0..9).map(|number| format!("large-{number}"));
    let expect = expect.chain((0..small).map(|number| format!("small-{number}")));
    assert_eq!(listed, expect.collect::<Vec<_>>());
    // Those that nobody asked for are passed over, and still bounded.
    let last = format!("small-{}", small - 1);
    assert_eq!(node.room_page(&[&last], None).items[0].name, last);
}

#[test]
fn whoever_is_removed_is_told_why_and_so_are_the_others() {
    let mut node = Node::new();
    let (mut alice, mut bob) = (node.active("alice"), node.active("bob"));
    alice.told();
    assert_eq!(node.serve(Request::RemoveParticipant(named("red", "bob"))), Ok(Response::Done));
    let told = bob.told();
    let leave = first!(told, Told::Leave(leave) => leave.clone()).unwrap();
    assert_eq!(leave.reason(), proto::DisconnectReason::ParticipantRemoved);
    assert_eq!(leave.action(), Action::Disconnect);
    let told = alice.told();
    let gone = first!(told, Told::Update(update) => update.participants[0].clone()).unwrap();
    assert_eq!(
        (gone.identity.as_str(), gone.state()),
        ("bob", proto::participant_info::State::Disconnected)
    );
    assert_eq!(node.refused(Request::RemoveParticipant(named("red", "bob"))), Code::NotFound);
}

#[test]
fn a_deleted_room_tells_everybody_and_is_gone() {
    let mut node = Node::new();
    let (mut alice, mut bob) = (node.active("alice"), node.active("bob"));
    let delete = || Request::DeleteRoom(proto::DeleteRoomRequest { room: "red".into() });
    assert_eq!(node.serve(delete()), Ok(Response::Done));
    for client in [&mut alice, &mut bob] {
        let told = client.told();
        let reason = first!(told, Told::Leave(leave) => leave.reason()).unwrap();
        assert_eq!(reason, proto::DisconnectReason::RoomDeleted);
    }
    assert_eq!(node.hub.control.rooms_len(), 0);
    assert!(node.hub.gatherings.is_empty() && node.hub.seats.is_empty());
    assert_eq!(node.refused(delete()), Code::NotFound);
    node.active("alice");
}

#[test]
fn a_muted_track_is_muted_for_all_and_its_owner_alone_unmutes_it() {
    let mut node = Node::new();
    let (mut alice, mut bob) = (node.active("alice"), node.active("bob"));
    node.publish(&alice);
    let tracks = tracks_of(&mut node, "alice");
    let sid = tracks[0].sid.clone();
    alice.told();
    bob.told();
    let mute = |identity: &str, sid: &str, muted| {
        Request::MutePublishedTrack(proto::MuteRoomTrackRequest {
            room: "red".into(),
            identity: identity.into(),
            track_sid: sid.into(),
            muted,
        })
    };
    let Ok(Response::Track(track)) = node.serve(mute("alice", &sid, true)) else {
        panic!("not muted")
    };
    assert!(track.muted && track.sid == sid);
    let asked = first!(alice.told(), Told::Mute(mute) => (mute.sid.clone(), mute.muted));
    assert_eq!(asked, Some((sid.clone(), true)));
    let told = bob.told();
    let seen = first!(told, Told::Update(update) => update.participants[0].tracks.clone()).unwrap();
    assert!(seen.iter().any(|track| track.sid == sid && track.muted));

    assert_eq!(node.refused(mute("alice", &sid, false)), Code::FailedPrecondition);
    assert_eq!(node.refused(mute("alice", "TR_none", true)), Code::NotFound);
    assert_eq!(node.refused(mute("bob", &sid, true)), Code::NotFound);
    node.ask(&alice, Asked::Mute(proto::MuteTrackRequest { sid: sid.clone(), muted: false }));
    let tracks = tracks_of(&mut node, "alice");
    assert!(tracks.iter().all(|track| !track.muted));
}

#[test]
fn a_profile_is_changed_told_and_survives_a_reconnect() {
    let mut node = Node::new();
    let (mut alice, mut bob) = (node.active("alice"), node.active("bob"));
    alice.told();
    bob.told();
    let change = proto::UpdateParticipantRequest {
        name: "Alice".into(),
        metadata: "m".into(),
        attributes: [("a".to_owned(), "1".to_owned())].into(),
        ..update("alice")
    };
    let info = participant(node.serve(Request::UpdateParticipant(Box::new(change))));
    assert_eq!((info.name.as_str(), info.metadata.as_str()), ("Alice", "m"));
    assert_eq!(info.attributes["a"], "1");
    let told = bob.told();
    let seen = first!(told, Told::Update(update) => update.participants[0].name.clone());
    assert_eq!(seen.as_deref(), Some("Alice"));
    let told = alice.told();
    let fresh = first!(told, Told::RefreshToken(token) => token.clone()).unwrap();
    let access = node.hub.config.access.borrow().clone();
    let fresh = access.verify(&fresh, ORIGIN_S).unwrap();
    assert_eq!((fresh.claims.name.as_str(), fresh.claims.metadata.as_str()), ("Alice", "m"));

    // What a token cannot carry stays out of it, and the token goes on carrying the rest.
    let large = "x".repeat(REFRESH_PROFILE_MAX + 1);
    let change = proto::UpdateParticipantRequest { metadata: large, ..update("alice") };
    node.serve(Request::UpdateParticipant(Box::new(change))).unwrap();
    let told = alice.told();
    let fresh = first!(told, Told::RefreshToken(token) => token.clone()).unwrap();
    assert_eq!(access.verify(&fresh, ORIGIN_S).unwrap().claims.metadata, "m");

    let too_large = "x".repeat(sfu::limits::METADATA_MAX + 1);
    let change = proto::UpdateParticipantRequest {
        metadata: too_large,
        permission: Some(proto::ParticipantPermission::default()),
        ..update("alice")
    };
    assert_eq!(node.refused(Request::UpdateParticipant(Box::new(change))), Code::InvalidArgument);
    let info = participant(node.serve(Request::GetParticipant(named("red", "alice"))));
    assert!(info.permission.unwrap().can_publish, "what is refused changes nothing");
}

#[test]
fn rights_are_taken_away_during_the_call_and_stay_away_after_a_resume() {
    let mut node = Node::new();
    let (mut alice, mut bob) = (node.active("alice"), node.active("bob"));
    node.publish(&alice);
    alice.told();
    bob.told();
    let camera = proto::ParticipantPermission {
        can_publish_sources: vec![proto::TrackSource::Camera.into()],
        ..permission()
    };
    let change = proto::UpdateParticipantRequest { permission: Some(camera), ..update("alice") };
    let info = participant(node.serve(Request::UpdateParticipant(Box::new(change))));
    assert_eq!(info.tracks.len(), 1, "the microphone is gone");
    let told = alice.told();
    assert!(first!(told, Told::TrackUnpublished(_) => ()).is_some());
    let mine = first!(told, Told::Update(update) => update.participants[0].permission.clone());
    assert_eq!(mine.unwrap().unwrap().can_publish_sources, [1]);
    assert!(first!(bob.told(), Told::Update(_) => ()).is_some());

    // A resume with the token of before, which allows more.
    let peer = node.peer(&alice);
    let sid = node.hub.control.participant(peer).unwrap().sid.to_string();
    let join = proto::JoinRequest { reconnect: true, participant_sid: sid, ..Default::default() };
    let mut again = node.knock(token("alice", "red"), join).unwrap();
    let told = again.told();
    let fresh = first!(told, Told::RefreshToken(token) => token.clone()).unwrap();
    let access = node.hub.config.access.borrow().clone();
    let fresh = access.verify(&fresh, ORIGIN_S).unwrap();
    assert_eq!(fresh.claims.video.unwrap().can_publish_sources, ["camera"]);
    node.ask(&again, add_track("another microphone", TrackKind::Audio));
    let refused = first!(again.told(), Told::RequestResponse(response) => response.reason());
    assert_eq!(refused, Some(proto::request_response::Reason::NotAllowed));
}

#[test]
fn a_resume_with_another_token_gains_nothing_by_what_a_moderator_did() {
    let mut node = Node::new();
    let admin = |token: VerifiedToken| {
        let mut token = token;
        token.claims.video = token.claims.video.map(|it| VideoGrant { room_admin: true, ..it });
        token.ends.audio = Some(ORIGIN_S + 600);
        token
    };
    let mut alice = node.knock(admin(token("alice", "red")), joining(CHROMIUM_JOIN)).unwrap();
    alice.told();
    let peer = node.peer(&alice);
    let given = proto::ParticipantPermission { hidden: true, ..permission() };
    let change = proto::UpdateParticipantRequest { permission: Some(given), ..update("alice") };
    node.serve(Request::UpdateParticipant(Box::new(change))).unwrap();
    let sid = node.hub.control.participant(peer).unwrap().sid.to_string();
    let mut fresh = |token: VerifiedToken| {
        let participant_sid = sid.clone();
        let join = proto::JoinRequest { reconnect: true, participant_sid, ..Default::default() };
        let told = node.knock(token, join).unwrap().told();
        let fresh = first!(told, Told::RefreshToken(token) => token.clone()).unwrap();
        node.hub.config.access.borrow().verify(&fresh, ORIGIN_S).unwrap()
    };
    // The same again: what the moderator gave stays.
    let again = fresh(admin(token("alice", "red")));
    assert!(again.claims.video.is_some_and(|it| it.hidden && it.room_admin));
    // One of the same `jti` that may only listen, and lasts longer.
    let mut other = token("alice", "red");
    other.claims.expires_at += 1;
    other.claims.video = other.claims.video.map(|it| VideoGrant { can_publish: Some(false), ..it });
    let again = fresh(other);
    assert_eq!(again.ends, Ends::default());
    let video = again.claims.video.unwrap();
    assert_eq!((video.room_admin, video.hidden, video.can_publish), (false, false, Some(false)));
}

/// Of a token that was issued so many seconds after the clock began.
fn issued(second: Option<u64>) -> VerifiedToken {
    let mut token = token("alice", "red");
    token.claims.not_before = second.map(|second| ORIGIN_S + second);
    token
}

#[test]
fn the_end_of_what_was_taken_away_is_not_the_end_of_the_same_track_given_back() {
    let mut node = Node::new();
    let alice = node.active("alice");
    node.publish(&alice);
    for can_publish in [false, true] {
        let rights = proto::ParticipantPermission { can_publish, ..permission() };
        let change =
            proto::UpdateParticipantRequest { permission: Some(rights), ..update("alice") };
        node.serve(Request::UpdateParticipant(Box::new(change))).unwrap();
    }
    node.ask(&alice, add_track(CAMERA, TrackKind::Video));
    node.ask(&alice, Asked::Offer(description(CHROMIUM_UNPUBLISH, 3)));
    node.sent();
    node.ask(&alice, Asked::Offer(description(&camera_again(), 4)));
    let instructions = node.instructions();
    let started = |it: &Instruction| matches!(it, Instruction::AddTrack(spec) if spec.kind == TrackKind::Video);
    assert!(instructions.iter().any(started), "{instructions:?}");
}

#[test]
fn what_was_taken_away_stays_away_for_tokens_of_before_and_not_for_later_ones() {
    let mut node = Node::new();
    let (first, _bob) = (node.active("alice"), node.active("bob"));
    node.now += Duration::from_secs(10);
    let camera = proto::ParticipantPermission {
        can_publish_sources: vec![proto::TrackSource::Camera.into()],
        can_publish_data: false,
        ..permission()
    };
    let change = proto::UpdateParticipantRequest { permission: Some(camera), ..update("alice") };
    node.serve(Request::UpdateParticipant(Box::new(change))).unwrap();
    node.ask(&first, Asked::Leave(proto::LeaveRequest::default()));
    let mut rights = |token: VerifiedToken| {
        let mut client = node.knock(token, joining(CHROMIUM_JOIN)).unwrap();
        let Told::Join(join) = client.told().remove(0) else { panic!("no join") };
        let may = join.participant.unwrap().permission.unwrap();
        let peer = node.peer(&client);
        let fresh = wire::token::mint_refresh(
            &node.hub.config.access.borrow().keys,
            &node.hub.seats[&peer].token,
            ORIGIN_S,
        );
        let fresh = node.hub.config.access.borrow().verify(&fresh.unwrap(), ORIGIN_S + 60).unwrap();
        assert_eq!(fresh.claims.permission().unwrap().publish_data, may.can_publish_data);
        assert!(may.can_publish && may.can_subscribe);
        (may.can_publish_sources, may.can_publish_data, node.hub.seats[&peer].token.is_changed)
    };
    let less = (vec![1], false, true);
    assert_eq!(rights(issued(Some(0))), less, "the token of before");
    assert_eq!(rights(issued(Some(10))), less, "who knows which was first");
    assert_eq!(rights(issued(None)), less, "nor when that was");
    assert_eq!(rights(issued(Some(12))), (vec![], true, false), "the back end has decided again");
    assert_eq!(rights(issued(Some(0))), less, "and the token of before is still that");
    let receiver = {
        let mut token = issued(Some(0));
        token.claims.video.as_mut().unwrap().can_publish_data = Some(false);
        token.claims.video.as_mut().unwrap().can_publish_sources = vec!["camera".into()];
        token
    };
    assert!(!rights(receiver).1, "and it never gives more than the token");
}

#[test]
fn what_was_taken_away_is_remembered_while_the_room_lives() {
    let mut node = Node::new();
    let first = node.active("alice");
    let silent = proto::ParticipantPermission { can_publish: false, ..permission() };
    let change = proto::UpdateParticipantRequest { permission: Some(silent), ..update("alice") };
    node.serve(Request::UpdateParticipant(Box::new(change))).unwrap();
    node.ask(&first, Asked::Leave(proto::LeaveRequest::default()));
    let may_publish = |node: &mut Node| {
        let client = node.join("alice");
        let may = node.hub.seats[&node.peer(&client)].permission.publish.clone();
        node.ask(&client, Asked::Leave(proto::LeaveRequest::default()));
        may != wire::grant::Publish::Nothing
    };
    node.wait(Duration::from_secs(10));
    assert!(!may_publish(&mut node), "the room is still there");
    node.wait(Duration::from_secs(60));
    assert!(may_publish(&mut node), "this is another room of that name");
}

#[test]
fn a_moderator_cannot_give_back_what_a_token_has_lost() {
    let mut node = Node::new();
    let ends = Ends { audio: Some(ORIGIN_S - 1), ..Ends::default() };
    let ended = VerifiedToken { ends, ..token("alice", "red") };
    node.knock(ended, joining(CHROMIUM_JOIN)).unwrap();
    let change =
        proto::UpdateParticipantRequest { permission: Some(permission()), ..update("alice") };
    let info = participant(node.serve(Request::UpdateParticipant(Box::new(change))));
    let left = info.permission.unwrap().can_publish_sources;
    assert!(!left.is_empty() && !left.contains(&proto::TrackSource::Microphone.into()), "{left:?}");
}

#[test]
fn whoever_is_hidden_leaves_for_the_others_alone() {
    let mut node = Node::new();
    let (mut alice, mut bob) = (node.active("alice"), node.active("bob"));
    alice.told();
    bob.told();
    let hide = |hidden| {
        let permission = Some(proto::ParticipantPermission { hidden, ..permission() });
        Request::UpdateParticipant(Box::new(proto::UpdateParticipantRequest {
            permission,
            ..update("alice")
        }))
    };
    node.serve(hide(true)).unwrap();
    let states = |told: Vec<Told>| {
        let told = first!(told, Told::Update(update) => update.participants.clone())?;
        Some(told.iter().map(proto::ParticipantInfo::state).collect::<Vec<_>>())
    };
    assert_eq!(states(bob.told()), Some(vec![proto::participant_info::State::Disconnected]));
    assert_eq!(states(alice.told()), Some(vec![proto::participant_info::State::Active]));
    node.serve(hide(false)).unwrap();
    assert_eq!(states(bob.told()), Some(vec![proto::participant_info::State::Active]));
}

/// livekit-client forgets a track that comes before its participant.
#[test]
fn whoever_is_seen_again_is_told_of_before_sections_for_its_tracks_are_wanted() {
    let mut node = Node::new();
    let (alice, mut bob) = (node.active("alice"), node.active("bob"));
    let metadata = "m".repeat(60_000);
    let describe = proto::UpdateParticipantMetadata { metadata, ..Default::default() };
    node.ask(&alice, Asked::UpdateMetadata(describe));
    node.publish(&alice);
    node.wait(Duration::from_secs(10));
    for hidden in [true, false] {
        bob.told();
        let permission = Some(proto::ParticipantPermission { hidden, ..permission() });
        let seen = proto::UpdateParticipantRequest { permission, ..update("alice") };
        node.serve(Request::UpdateParticipant(Box::new(seen))).unwrap();
        node.wait(Duration::from_millis(500));
    }
    node.wait(Duration::from_secs(10));
    let told = bob.told();
    let update = position(&told, |message| matches!(message, Told::Update(_)));
    let needed = position(&told, |message| matches!(message, Told::MediaSectionsRequirement(_)));
    assert!(update < needed, "{told:?}");
}

#[test]
fn what_is_said_of_a_room_reaches_everybody_and_whoever_comes() {
    let mut node = Node::new();
    let mut alice = node.active("alice");
    let describe = |metadata: String| {
        Request::UpdateRoomMetadata(proto::UpdateRoomMetadataRequest {
            room: "red".into(),
            metadata,
        })
    };
    let Ok(Response::Room(room)) = node.serve(describe("agenda".into())) else { panic!("no room") };
    assert_eq!(room.metadata, "agenda");
    node.wait(Duration::from_secs(1));
    let told = alice.told();
    let last = told.iter().rev().find_map(|message| {
        if let Told::RoomUpdate(update) = message { update.room.clone() } else { None }
    });
    assert_eq!(last.unwrap().metadata, "agenda");
    let mut bob = node.join("bob");
    let told = bob.told();
    let Told::Join(join) = &told[0] else { panic!("no join") };
    assert_eq!(join.room.as_ref().unwrap().metadata, "agenda");
    let too_long = "x".repeat(sfu::limits::METADATA_MAX + 1);
    assert_eq!(node.refused(describe(too_long)), Code::InvalidArgument);
}

#[test]
fn data_reaches_its_audience_once_and_comes_from_nobody() {
    let mut node = Node::new();
    let (alice, bob) = (node.active("alice"), node.active("bob"));
    let peers = [node.peer(&alice), node.peer(&bob)];
    node.sent();
    let heard = |node: &Node| {
        let sent = node.sent();
        peers.map(|peer| {
            let all = sent
                .iter()
                .filter(|(_, sent)| matches!(sent, ToWorker::Send { peer: to, .. } if *to == peer));
            all.count()
        })
    };
    let once = proto::SendDataRequest { nonce: vec![7; 16], ..sending(b"hello") };
    for expect in [[1, 1], [0, 0]] {
        assert_eq!(node.serve(Request::SendData(once.clone())), Ok(Response::Done));
        assert_eq!(heard(&node), expect, "the retry is not sent again");
    }
    let to_bob = proto::SendDataRequest {
        destination_identities: vec!["bob".into()],
        kind: proto::data_packet::Kind::Lossy.into(),
        ..sending(b"psst")
    };
    node.serve(Request::SendData(to_bob)).unwrap();
    assert_eq!(heard(&node), [0, 1]);
    for number in 0..=NONCES_MAX {
        let nonce = (number as u128).to_be_bytes().to_vec();
        node.serve(Request::SendData(proto::SendDataRequest { nonce, ..sending(b"x") })).unwrap();
    }
    assert_eq!(node.hub.gatherings.values().next().unwrap().nonces.len(), NONCES_MAX);
    let nowhere = proto::SendDataRequest { room: "green".into(), ..sending(b"hello") };
    assert_eq!(node.refused(Request::SendData(nowhere)), Code::NotFound);
    let large = vec![0; wire::limits::DATA_PACKET_MAX];
    assert_eq!(node.refused(Request::SendData(sending(&large))), Code::InvalidArgument);
}

#[test]
fn a_back_end_chooses_what_a_participant_receives() {
    let mut node = Node::new();
    let (alice, bob) = (node.active("alice"), node.active("bob"));
    node.publish(&alice);
    let peer = node.peer(&bob);
    let count = |node: &Node| node.hub.control.participant(peer).unwrap().subscriptions.len();
    let before = count(&node);
    assert!(before > 0);
    let sids: Vec<String> =
        tracks_of(&mut node, "alice").into_iter().map(|track| track.sid).collect();
    let request = |subscribe| {
        Request::UpdateSubscriptions(proto::UpdateSubscriptionsRequest {
            room: "red".into(),
            identity: "bob".into(),
            track_sids: sids.clone(),
            subscribe,
            ..Default::default()
        })
    };
    assert_eq!(node.serve(request(false)), Ok(Response::Done));
    assert_eq!(count(&node), 0);
    // The client does not know of it and cannot say so when it resumes.
    let subscription = Some(proto::UpdateSubscription::default());
    node.ask(&bob, Asked::SyncState(proto::SyncState { subscription, ..Default::default() }));
    assert_eq!(count(&node), 0);
    assert_eq!(node.serve(request(true)), Ok(Response::Done));
    assert_eq!(count(&node), before);
}

#[test]
fn the_hub_says_that_it_lives_and_how_much_there_is() {
    let mut node = Node::new();
    node.active("alice");
    node.active("bob");
    let pulse = Arc::new(Pulse::new(node.hub.config.origin, 2));
    node.wait(Duration::from_secs(60));
    let at = node.hub.config.origin + Duration::from_secs(61);
    assert_eq!(pulse.silent(at), Some(crate::pulse::Organ::Hub));
    for worker in [0, 1] {
        pulse.answer_worker(WorkerId(worker), Share::NOTHING, at);
    }
    node.tell(ToHub::Beat(Arc::clone(&pulse)));
    assert_eq!((pulse.silent(at), pulse.participants(), pulse.is_busy()), (None, 2, false));
    let (reply, mut answer) = oneshot::channel();
    node.tell(ToHub::Census(reply));
    let census = answer.try_recv().unwrap();
    assert_eq!((census.rooms, census.participants), (1, 2));
}

#[test]
fn a_room_is_made_for_those_who_will_come() {
    let mut node = Node::new();
    let create = |change: fn(&mut proto::CreateRoomRequest)| {
        let mut request = proto::CreateRoomRequest { name: "red".into(), ..Default::default() };
        change(&mut request);
        Request::CreateRoom(Box::new(request))
    };
    let made = node.serve(create(|request| {
        request.metadata = "agenda".into();
        request.max_participants = 2;
        request.empty_timeout = 60;
    }));
    let Ok(Response::Room(room)) = made else { panic!("{made:?}") };
    assert_eq!((room.name.as_str(), room.metadata.as_str()), ("red", "agenda"));
    let limits = (room.max_participants, room.empty_timeout, room.departure_timeout);
    assert_eq!(limits, (2, 60, 20));
    assert!(room.sid.starts_with("RM_") && room.creation_time_ms > 0);
    let again = node.serve(create(|request| request.departure_timeout = 7));
    let Ok(Response::Room(again)) = again else { panic!("{again:?}") };
    assert_eq!(
        (&again.sid, &again.metadata, again.departure_timeout),
        (&room.sid, &room.metadata, 7)
    );
    let mut alice = node.join("alice");
    let told = alice.told();
    let Told::Join(join) = &told[0] else { panic!("no join") };
    let joined = join.room.as_ref().unwrap();
    assert_eq!((&joined.sid, &joined.metadata), (&room.sid, &room.metadata));
    let too_long = create(|request| request.metadata = "x".repeat(sfu::limits::METADATA_MAX + 1));
    assert_eq!(node.refused(too_long), Code::InvalidArgument);
}
