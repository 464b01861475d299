//! What those who join and resume are told of a room that has much to say, and do not read.

use futures_util::FutureExt as _;
use sfu::control::ProfileChange;

use super::*;
use crate::limits::{
    ANSWER_SMALL, ANSWERS_BYTES_MAX, ANSWERS_ROOM_BYTES_MAX, JOIN_BYTES_PRICE_MAX, JOIN_PRICE,
    JOINS_BURST,
};

const METADATA: usize = 512 << 10;

/// So many more with as much metadata as may be; nobody has read anything of it yet.
fn speakers(node: &mut Node, room: &str, count: usize) -> Vec<Client> {
    let already = node.hub.control.everyone().count();
    let all = (already..already + count).map(|number| {
        let token = token(&format!("{room}-{number}"), room);
        node.knock(token, joining(CHROMIUM_JOIN)).expect("admitted")
    });
    let all: Vec<_> = all.collect();
    for client in &all {
        speak(node, node.peer(client));
    }
    node.wait(Duration::from_secs(6));
    all
}

fn speak(node: &mut Node, peer: PeerId) {
    node.tell(ToHub::Worker(FromWorker::Connected(peer)));
    let metadata = Some("m".repeat(METADATA));
    let change = ProfileChange { metadata, ..Default::default() };
    node.hub.control.change_profile(peer, change).unwrap();
}

/// Bytes of what waits for a client, decoded.
fn held(client: &mut Client) -> usize {
    client
        .told()
        .into_iter()
        .map(|told| proto::SignalResponse { message: Some(told) }.encoded_len())
        .sum()
}

#[test]
fn what_nobody_reads_is_bounded_and_small_rooms_do_not_wait() {
    let mut node = Node::new();
    let mut silent = Vec::new();
    for room in ["red", "blue", "green"] {
        drop(speakers(&mut node, room, 10));
        for number in 0..30 {
            let token = token(&format!("silent-{number}"), room);
            match node.knock(token, joining(CHROMIUM_JOIN)) {
                Ok(client) => silent.push(client),
                Err(refusal) => assert_eq!(refusal, Refusal::Crowded),
            }
        }
    }
    let most = ANSWERS_BYTES_MAX / (10 * METADATA);
    assert!((most - 3..=most).contains(&silent.len()), "{} are let in", silent.len());
    let nobody_new = node.hub.control.everyone().count();
    assert_eq!(nobody_new, 30 + silent.len(), "who has to wait is nowhere yet");
    node.knock(token("ada", "tiny"), joining(CHROMIUM_JOIN)).expect("a small room does not wait");
    // Reading gives it back.
    let first = held(&mut silent[0]);
    assert!(first > 10 * METADATA, "{first}");
    node.knock(token("late", "green"), joining(CHROMIUM_JOIN)).expect("there is room again");
}

#[test]
fn a_resume_is_bounded_as_a_join_is() {
    let mut node = Node::new();
    let members = speakers(&mut node, "red", 10);
    let most = ANSWERS_ROOM_BYTES_MAX / (10 * METADATA);
    let mut silent = Vec::new();
    let mut outcomes = Vec::new();
    for number in 0..2 * most {
        let of = &members[number % 10];
        let peer = node.hub.sessions.get(&of.session).copied();
        let peer =
            peer.unwrap_or_else(|| node.hub.control.everyone().nth(number % 10).unwrap().peer);
        let held = node.hub.control.participant(peer).unwrap();
        let (identity, sid) = (held.identity.expose().to_owned(), held.sid.to_string());
        match node.knock(token(&identity, "red"), resuming(&sid)) {
            Ok(client) => silent.push(client),
            Err(refusal) => outcomes.push(refusal),
        }
    }
    assert!((most - 2..=most).contains(&silent.len()), "{}", silent.len());
    assert!(outcomes.iter().all(|refusal| *refusal == Refusal::Crowded));
}

#[test]
fn a_room_that_one_answer_cannot_tell_is_full() {
    let mut node = Node::with(|config| {
        config.participants_max = 300;
        config.room_participants_max = 300;
    });
    let most = ANSWERS_ROOM_BYTES_MAX / METADATA;
    let quiet = ["ada", "bob", "eve"].map(|name| {
        let client = node.join(name);
        node.peer(&client)
    });
    speakers(&mut node, "red", most - 2);
    node.knock(token("joe", "red"), joining(CHROMIUM_JOIN)).expect("there is room");
    quiet.into_iter().for_each(|peer| speak(&mut node, peer));
    let refused = node.knock(token("liz", "red"), joining(CHROMIUM_JOIN)).err();
    assert!(matches!(refused, Some(Refusal::Unavailable(_))), "{refused:?}");
}

#[test]
fn one_token_joins_a_room_that_says_much_less_often() {
    let mut node = Node::new();
    speakers(&mut node, "red", 50);
    let mut entered = 0;
    for _ in 0..100 {
        match node.knock(token("mallory", "red"), joining(CHROMIUM_JOIN)) {
            // It reads at once.
            Ok(mut client) => entered += u64::from(held(&mut client) > 50 * METADATA),
            Err(refusal) => assert_eq!(refusal, Refusal::TooOften),
        }
    }
    let most = JOINS_BURST / (JOIN_PRICE + JOIN_BYTES_PRICE_MAX);
    assert!((most..most + 2).contains(&entered), "{entered}");
}

/// From above, though not by far: what is reckoned waits and is paid for.
#[test]
fn an_answer_takes_no_more_than_is_reckoned() {
    let mut node = Node::new();
    let attributes = (0..500).map(|number| (format!("key-{number}"), "v".to_owned()));
    let names = ["x".repeat(256), "ada".to_owned(), "bob".to_owned()];
    let mut all = Vec::new();
    for name in &names {
        let client = node.active(name);
        node.publish(&client);
        all.push(client);
    }
    let attributes = attributes.collect();
    let profile = proto::UpdateParticipantMetadata {
        name: "n".repeat(256),
        metadata: "m".repeat(9000),
        attributes,
        ..Default::default()
    };
    node.ask(&all[0], Asked::UpdateMetadata(profile));
    node.wait(Duration::from_secs(10));
    let room = node.hub.control.room_named(&RoomName::new("red")).unwrap().room;
    let reckoned = node.hub.answer_weight(room);
    let mut client = node.join("eve");
    let told = client.told();
    let join = first!(told, Told::Join(join) => join).unwrap();
    assert_eq!(join.other_participants.len(), 3);
    let decoded: usize = join.other_participants.iter().map(memory).sum();
    assert!(join.encoded_len() < decoded && decoded < reckoned, "{decoded} of {reckoned}");
    assert!(reckoned < 3 * decoded, "{decoded} of {reckoned}");
    assert!(join.other_participants.iter().any(|other| other.tracks.len() == 2));
}

/// Bytes that a participant's description holds, but for what the heap adds.
#[expect(deprecated, reason = "what older clients read takes memory as well")]
fn memory(info: &proto::ParticipantInfo) -> usize {
    let attributes = info.attributes.iter().map(|(key, value)| 48 + key.len() + value.len());
    let tracks = info.tracks.iter().map(|track| {
        let codecs = track.codecs.iter();
        let codecs =
            codecs.map(|codec| size_of_val(codec) + codec.layers.len() * 88 + codec.cid.len());
        size_of_val(track)
            + track.name.len()
            + track.layers.len() * 88
            + track.sid.len()
            + codecs.sum::<usize>()
    });
    size_of_val(info)
        + info.identity.len()
        + info.name.len()
        + info.metadata.len()
        + attributes.sum::<usize>()
        + tracks.sum::<usize>()
}

#[test]
fn a_large_ordinary_room_costs_its_heads_alone() {
    let mut node = Node::new();
    for number in 0..80 {
        node.active(&format!("p{number}"));
    }
    let room = node.hub.control.room_named(&RoomName::new("red")).unwrap().room;
    let weight = node.hub.answer_weight(room);
    assert!(weight > ANSWER_SMALL && weight / crate::limits::JOIN_BYTES < 80, "{weight}");
}

/// As after a restart of the server: each answer is longer than the one before, and somebody waits by then.
#[test]
fn who_has_waited_is_let_in_though_the_room_has_grown_meanwhile() {
    let mut node = Node::new();
    drop(speakers(&mut node, "red", 10));
    let quiet = ["ada", "bob", "eve"].map(|name| {
        let client = node.join(name);
        node.peer(&client)
    });
    let gathering = node.hub.gatherings.values().next().unwrap();
    let taken = gathering.answers.take(ANSWERS_ROOM_BYTES_MAX).unwrap();
    let (outbox, _inbox) = mpsc::channel(OUTBOX_MAX);
    let (cut, _is_cut) = oneshot::channel();
    let (token, join) = (token("joe", "red"), joining(CHROMIUM_JOIN));
    let (reply, mut verdict) = oneshot::channel();
    let knock = Knock { token, join, outbox, cut, part: None, session: None };
    node.tell(ToHub::Knock(Box::new(knock), reply));
    let Ok(Verdict::Later(mut knock, wanted)) = verdict.try_recv() else { panic!("not later") };
    drop(taken);
    quiet.into_iter().for_each(|peer| speak(&mut node, peer));
    knock.part = Some(wanted.wait().now_or_never().expect("they have read"));
    // Others have taken the rest.
    let gathering = node.hub.gatherings.values().next().unwrap();
    let rest = ANSWERS_ROOM_BYTES_MAX - knock.part.as_ref().unwrap().len();
    let _others = gathering.answers.take(rest).unwrap();
    let (reply, mut verdict) = oneshot::channel();
    node.tell(ToHub::Knock(knock, reply));
    assert!(matches!(verdict.try_recv(), Ok(Verdict::Admitted(_))));
}

/// The client of one that waits gives up, and comes again while it waits on.
#[test]
fn a_knock_that_has_waited_puts_out_nobody_who_came_later() {
    let mut node = Node::new();
    drop(speakers(&mut node, "red", 10));
    let mut joe = node.active("joe");
    for (stale_resumes, newer_resumes) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let sid = sid_of(&node, &joe);
        let join = |resumes| if resumes { resuming(&sid) } else { joining(CHROMIUM_JOIN) };
        let gathering = node.hub.gatherings.values().next().unwrap();
        let taken = gathering.answers.take(ANSWERS_ROOM_BYTES_MAX).unwrap();
        let (outbox, _inbox) = mpsc::channel(OUTBOX_MAX);
        let (cut, _is_cut) = oneshot::channel();
        let (token, join, newer) = (token("joe", "red"), join(stale_resumes), join(newer_resumes));
        let (reply, mut verdict) = oneshot::channel();
        let knock = Knock { token: token.clone(), join, outbox, cut, part: None, session: None };
        node.tell(ToHub::Knock(Box::new(knock), reply));
        let Ok(Verdict::Later(mut knock, wanted)) = verdict.try_recv() else { panic!("not later") };
        drop(taken);
        joe = node.knock(token, newer).expect("there is room");
        let peer = node.peer(&joe);
        assert!(left(&joe.told()).is_none());
        knock.part = wanted.wait().now_or_never();
        let (reply, mut verdict) = oneshot::channel();
        node.tell(ToHub::Knock(knock, reply));
        assert!(matches!(verdict.try_recv(), Ok(Verdict::Refused(Refusal::Overtaken))));
        assert_eq!(node.hub.sessions.get(&joe.session), Some(&peer));
        assert!(!joe.is_closed(), "nor is it told to go");
    }
}
