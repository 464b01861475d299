//! What tracks cost where many are, and many receive.

use std::fmt::Write as _;

use super::*;
use crate::limits::{REPLAY_GONE_MAX, REQUESTS_BURST, TRACKS_TOLD_PER_REQUEST};

const MEMBERS: usize = 800;

fn large() -> Node {
    Node::with(|config| {
        config.participants_max = 2000;
        config.room_participants_max = 2000;
    })
}

/// An offer of sound in so many sections, of which those before `from` carry none any more.
fn sound(from: usize, tracks: usize) -> Asked {
    offering((0..tracks).map(|number| (number >= from).then_some(Carries::Sends)))
}

/// What a section of sound is for.
#[derive(Clone, Copy)]
pub(super) enum Carries {
    /// The track that is called as the section, behind a `c`.
    Sends,
    /// Whatever comes.
    Receives,
}

/// An offer of sound in these sections.
pub(super) fn offering(sections: impl Iterator<Item = Option<Carries>>) -> Asked {
    let sections: Vec<Option<Carries>> = sections.collect();
    let mids: Vec<String> = (0..sections.len()).map(|mid| mid.to_string()).collect();
    let mut sdp = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n",
        mids.join(" ")
    );
    let fingerprint = ["AA"; 32].join(":");
    for (number, section) in sections.into_iter().enumerate() {
        let carries = match section {
            None => "a=inactive\r\n".to_owned(),
            Some(Carries::Receives) => "a=recvonly\r\n".to_owned(),
            Some(Carries::Sends) => {
                let ssrc = 1000 + number;
                format!("a=sendonly\r\na=msid:- c{number}\r\na=ssrc:{ssrc} cname:x\r\n")
            }
        };
        write!(
            sdp,
            "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
             a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
             a=fingerprint:sha-256 {fingerprint}\r\na=setup:actpass\r\na=mid:{number}\r\n\
             a=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n{carries}"
        )
        .unwrap();
    }
    Asked::Offer(description(&sdp, 9))
}

/// Somebody with so much sound, who receives what there is.
pub(super) fn publisher(node: &mut Node, identity: &str, tracks: usize) -> Client {
    let join = proto::JoinRequest { publisher_offer: None, ..joining(CHROMIUM_JOIN) };
    let client = node.knock(token(identity, "red"), join).expect("admitted");
    let peer = node.peer(&client);
    node.tell(ToHub::Worker(FromWorker::Connected(peer)));
    for first in (0..tracks).step_by(20) {
        let until = tracks.min(first + 20);
        for number in first..until {
            node.ask(&client, add_track(&format!("c{number}"), TrackKind::Audio));
        }
        node.ask(&client, sound(0, until));
        node.wait(Duration::from_secs(10));
    }
    assert_eq!(node.hub.seats[&peer].cids.len(), tracks);
    client
}

/// Many who read what they are told.
fn members(node: &mut Node) -> Vec<Client> {
    let mut all: Vec<Client> = Vec::new();
    for number in 0..MEMBERS {
        all.push(node.active(&format!("p{number}")));
        if number % 50 == 49 {
            node.wait(Duration::from_secs(2));
            all.iter_mut().for_each(|client| drop(client.told()));
        }
    }
    node.wait(Duration::from_secs(2));
    all.iter_mut().for_each(|client| drop(client.told()));
    all
}

/// Publishes and takes back, each in a turn of its own. How often another was asked for sections.
fn flood(node: &mut Node, session: SessionId, others: &mut [Client], times: usize) -> usize {
    let mut asked = 0;
    for number in 0..times {
        for asked in [
            add_track(&format!("c{number}"), TrackKind::Audio),
            sound(number, number + 1),
            sound(number + 1, number + 1),
        ] {
            let request = proto::SignalRequest { message: Some(asked) };
            let request = ToHub::Request(session, Box::new(request), DecodingPart::default());
            node.hub.turn(node.now, unix_ms(node.now), std::iter::once(request));
        }
        let told = others.iter_mut().map(Client::told);
        let told = told.map(|told| {
            told.iter().filter(|it| matches!(it, Told::MediaSectionsRequirement(_))).count()
        });
        asked += told.max().unwrap_or(0);
    }
    asked
}

/// Each of them has every other negotiate, and is wanted and dropped again by all.
#[test]
fn a_flood_of_tracks_in_a_large_room_keeps_nobody_waiting() {
    let mut node = large();
    let mut others = members(&mut node);
    let mut alice = publisher(&mut node, "alice", 0);
    let asked = flood(&mut node, alice.session, &mut others, 60);
    assert!((1..=10).contains(&asked), "another was asked for sections {asked} times");
    let told = alice.told();
    let published = told.iter().filter(|it| matches!(it, Told::TrackPublished(_))).count();
    let most = usize::try_from(REQUESTS_BURST).unwrap() / (1 + MEMBERS / TRACKS_TOLD_PER_REQUEST);
    assert!((20..=most).contains(&published), "{published} tracks at once");
    // Who is refused is told.
    let refused = first!(told, Told::RequestResponse(refused) => refused.reason());
    assert_eq!(refused, Some(proto::request_response::Reason::LimitExceeded));
    assert!(others.iter_mut().all(|client| client.is_cut.try_recv().is_err()));
    assert!(node.hub.sessions.contains_key(&alice.session));
    // Nothing is left of the tracks that ended.
    let other = &node.hub.seats[&node.peer(&others[0])];
    assert_eq!(other.ssrcs.len(), 2 * other.subscriptions.len());
}

#[test]
fn a_few_tracks_are_taken_at_once_in_a_large_room() {
    let mut node = large();
    let _others = members(&mut node);
    let mut alice = node.active("alice");
    for number in 0..15 {
        node.ask(&alice, add_track(&format!("c{number}"), TrackKind::Audio));
    }
    let told = alice.told();
    let published = told.iter().filter(|it| matches!(it, Told::TrackPublished(_))).count();
    assert_eq!(published, 15);
}

/// Who has come back is not looked for among all for each who left, and nobody's name is reckoned again.
#[test]
fn those_who_left_a_large_room_are_missed_and_forgotten_without_keeping_anybody_waiting() {
    let mut node = large();
    let others = members(&mut node);
    let (peer, heard) = (node.peer(&others[0]), node.now);
    let room = node.hub.seats[&peer].room;
    node.ask(&others[1], Asked::Leave(proto::LeaveRequest::default()));
    let gathering = &node.hub.gatherings[&room];
    let naming = fastest(|| {
        let all = node.hub.control.participants(room);
        assert!(all.map(|held| gathering.name(&held.identity)).is_sorted_by(PartialEq::ne));
    });
    let missing = fastest(|| assert_eq!(node.hub.gone_since(peer, heard).len(), 1));
    assert!(missing < naming / 2, "{missing:?}, and {naming:?} to name all");

    let sid = node.hub.control.participant(peer).unwrap().sid.clone();
    for number in 0..REPLAY_GONE_MAX {
        node.hub.forget_words(room, sid.clone(), Identity::new(&format!("gone {number}")));
    }
    node.hub.now += REPLAY_GONE_TIME_MAX;
    let began = Instant::now();
    node.hub.forget_packets(room);
    let forgetting = began.elapsed();
    // Unoptimized, it takes a hundredth of this.
    assert!(forgetting < Duration::from_millis(20), "{forgetting:?}");
}

fn fastest(work: impl Fn()) -> Duration {
    let each = (0..20).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed()
    });
    each.min().unwrap()
}
