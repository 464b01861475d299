//! How often one token may join and resume.

use super::*;
use crate::limits::{JOIN_PRICE, JOINS_BURST, JOINS_PER_SECOND};

fn resuming(sid: &str) -> proto::JoinRequest {
    proto::JoinRequest { reconnect: true, participant_sid: sid.to_owned(), ..Default::default() }
}

/// How often one token gets in, of so many tries at once.
fn entered(node: &mut Node, identity: &str, tries: u64) -> u64 {
    let mut entered = 0;
    for _ in 0..tries {
        match node.knock(token(identity, "red"), joining(CHROMIUM_JOIN)) {
            Ok(_) => entered += 1,
            Err(refusal) => assert_eq!(refusal, Refusal::TooOften),
        }
    }
    entered
}

#[test]
fn one_token_joins_a_large_room_less_often_than_a_small_one_and_others_join_on() {
    let mut node = Node::new();
    let alone = entered(&mut node, "alice", 3000);
    let most = JOINS_BURST / (JOIN_PRICE + 1);
    // Time goes on meanwhile, a millisecond for each.
    assert!((most..most + 200).contains(&alone), "{alone}");
    // Whoever shares her row is refused as well, which few do.
    let others = (0..90).filter(|number| entered(&mut node, &format!("p{number}"), 1) == 1).count();
    assert!(others > 80, "{others}");
    let crowded = entered(&mut node, "bob", 500);
    let most = JOINS_BURST / (JOIN_PRICE + 91);
    assert!((most / 2..most + 20).contains(&crowded), "{crowded}");
    // Whoever waited is let in again.
    node.wait(Duration::from_secs(2 * 110 / JOINS_PER_SECOND + 1));
    assert_eq!(entered(&mut node, "bob", 1), 1);
}

#[test]
fn resumes_count_as_joins_do() {
    let mut node = Node::new();
    let alice = node.join("alice");
    let sid = node.hub.control.participant(node.peer(&alice)).unwrap().sid.to_string();
    let most = JOINS_BURST / JOIN_PRICE;
    let resumed = (0..2 * most).map(|_| node.knock(token("alice", "red"), resuming(&sid)));
    let refused = resumed.filter(|resumed| matches!(resumed, Err(Refusal::TooOften))).count();
    assert!(refused > 0);
    assert!(node.hub.metrics.participants_resumed.total() <= most + 500);
}
