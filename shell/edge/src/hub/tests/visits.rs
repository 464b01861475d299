//! How often one token may join and resume, and that it may not ask for more by it.

use super::*;
use crate::limits::{JOIN_PRICE, JOINS_BURST, JOINS_PER_SECOND};

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
    let sid = sid_of(&node, &alice);
    let most = JOINS_BURST / JOIN_PRICE;
    let resumed = (0..2 * most).map(|_| node.knock(token("alice", "red"), resuming(&sid)));
    let refused = resumed.filter(|resumed| matches!(resumed, Err(Refusal::TooOften))).count();
    assert!(refused > 0);
    assert!(node.hub.metrics.participants_resumed.total() <= most + 500);
}

/// Asks until it is refused; how often that is.
fn asked(node: &mut Node, client: &Client) -> u64 {
    let over = node.hub.metrics.requests_over_rate.total();
    let mut asked = 0;
    loop {
        node.ask(client, Asked::Trickle(proto::TrickleRequest::default()));
        if node.hub.metrics.requests_over_rate.total() > over {
            return asked;
        }
        asked += 1;
    }
}

/// Comes again in each of the ways in which somebody may.
fn come_again(node: &mut Node, client: Client, number: usize) -> Client {
    let sid = sid_of(node, &client);
    match number % 3 {
        0 => node.knock(token("alice", "red"), resuming(&sid)).unwrap(),
        // It is there already.
        1 => node.join("alice"),
        _ => {
            node.ask(&client, Asked::Leave(proto::LeaveRequest::default()));
            node.join("alice")
        }
    }
}

#[test]
fn whoever_comes_again_may_ask_for_no_more_than_if_it_had_stayed() {
    let mut node = Node::new();
    // So that the room stays.
    let _bob = node.active("bob");
    let mut alice = node.active("alice");
    let mut all = asked(&mut node, &alice);
    assert!(all >= u64::from(crate::limits::REQUESTS_BURST));
    for number in 0..30 {
        alice = come_again(&mut node, alice, number);
        all += asked(&mut node, &alice);
    }
    let began = u64::from(crate::limits::REQUESTS_BURST);
    let earned = node.now.as_micros() * u64::from(crate::limits::REQUESTS_PER_SECOND) / 1_000_000;
    assert!(all <= began + earned + 1, "{all} of {began} and {earned}");
}

#[test]
fn whom_packets_are_for_has_a_rate_however_often_their_sender_comes_again() {
    use crate::limits::NAMES_BURST;
    use wire::limits::DESTINATIONS_MAX;

    let mut node = Node::new();
    let bob = node.active("bob");
    let to = node.peer(&bob);
    let mut alice = node.active("alice");
    let absent: Vec<String> = (1..DESTINATIONS_MAX).map(|number| format!("p{number}")).collect();
    let mut names: Vec<&str> = absent.iter().map(String::as_str).collect();
    names.push("bob");
    let mut passed = 0;
    for number in 0..30 {
        for _ in 0..10 {
            node.say(node.peer(&alice), 0, &names);
            passed += node.messages_for(to).len();
        }
        alice = come_again(&mut node, alice, number);
    }
    let most = usize::try_from(NAMES_BURST).unwrap() / DESTINATIONS_MAX;
    // Time goes on meanwhile, a millisecond for each.
    assert!((most..most + 20).contains(&passed), "{passed}");
    assert!(node.hub.metrics.data_refused.total() > 200);
    node.say(node.peer(&alice), 0, &[]);
    assert_eq!(node.messages_for(to).len(), 1, "what is for all has no such price");
}
