//! ICE of a client and a server against each other, and against strangers.

use std::net::SocketAddr;

use model::Carrier;

use super::*;

const START: Timestamp = Timestamp::from_millis(1_000);

fn credentials(name: &str) -> IceCredentials {
    IceCredentials { ufrag: name.into(), pwd: name.repeat(22).into() }
}

fn path(port: u16) -> Path {
    let remote = SocketAddr::from(([192, 0, 2, 1], port));
    Path::udp(SocketAddr::from(([198, 51, 100, 1], 7882)), remote)
}

fn secret(byte: u8) -> Arc<hmac::Key> {
    Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]))
}

fn server() -> Ice {
    Ice::new(credentials("s"), credentials("c"), secret(1), None, START)
}

fn client(path: Path) -> Ice {
    let [_, port] = path.remote.port().to_be_bytes();
    Ice::new(credentials("c"), credentials("s"), secret(2 + port), Some(path), START)
}

/// What `ice` sends because of a datagram.
fn sent(ice: &mut Ice, now: Timestamp, path: Path, datagram: &[u8]) -> Vec<Transmit> {
    let mut out = VecDeque::new();
    ice.handle(now, path, datagram, &mut out);
    out.into()
}

fn check(ice: &mut Ice, now: Timestamp) -> Vec<u8> {
    let mut out = VecDeque::new();
    assert!(ice.handle_timeout(now, &mut out));
    out.pop_front().expect("a check is due").datagram
}

/// A check at once that is not one of before: those have been answered.
fn another(client: &mut Ice, now: Timestamp) -> Vec<u8> {
    client.routes.iter_mut().for_each(|it| (it.asked, it.unanswered) = (None, None));
    client.wake = now;
    check(client, now)
}

/// A client's check at the server, and what the server sends: its answer and its own check.
/// While another path is open, it takes several.
fn knock(server: &mut Ice, client: &mut Ice, path: Path) -> (Transmit, Transmit) {
    loop {
        let now = client.next_timeout();
        let check = check(client, now);
        let mut sent = sent(server, now, path, &check);
        if let Some(ask) = sent.pop_if(|last| !last.verifies_remote) {
            return (sent.remove(0), ask);
        }
    }
}

/// A server with an open path, and its client.
fn open() -> (Ice, Ice) {
    let (mut server, mut client) = (server(), client(path(1)));
    let (answer, ask) = knock(&mut server, &mut client, path(1));
    sent(&mut client, START, path(1), &answer.datagram);
    let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
    sent(&mut server, START, path(1), &answer.datagram);
    (server, client)
}

#[test]
fn a_path_opens_when_both_ends_were_answered() {
    let (mut server, mut client) = (server(), client(path(1)));
    let (answer, ask) = knock(&mut server, &mut client, path(1));
    assert!(answer.verifies_remote && !ask.verifies_remote);
    assert_eq!(server.destination(), None, "it has not shown that it receives there");
    assert!(sent(&mut client, START, path(1), &answer.datagram).is_empty());
    assert_eq!(client.take_destination(), Some(path(1)));
    let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
    assert!(sent(&mut server, START, path(1), &answer.datagram).is_empty());
    assert_eq!(server.destination(), Some(path(1)));
    assert_eq!(server.take_destination(), Some(path(1)));
    assert_eq!(server.take_destination(), None, "news are told once");
}

#[test]
fn an_answer_from_another_path_or_to_another_check_opens_nothing() {
    let (mut server, mut client) = (server(), client(path(1)));
    let (_, ask) = knock(&mut server, &mut client, path(1));
    let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
    sent(&mut server, START, path(2), &answer.datagram);
    let guess = stun::success([0; 12], path(1).local, &credentials("c").pwd);
    sent(&mut server, START, path(1), &guess);
    let asked = Message::parse(&ask.datagram).unwrap().transaction;
    let unsigned = stun::success(asked, path(1).local, "another password");
    sent(&mut server, START, path(1), &unsigned);
    assert_eq!(server.destination(), None);
    sent(&mut server, START, path(1), &answer.datagram);
    assert_eq!(server.destination(), Some(path(1)));
}

#[test]
fn a_long_way_opens_too() {
    let (mut server, mut client) = (server(), client(path(1)));
    let mut now = START;
    let mut asks = VecDeque::new();
    for _ in 0..10 {
        now += CONNECT_INTERVAL;
        let check = check(&mut client, now);
        asks.extend(sent(&mut server, now, path(1), &check).pop());
    }
    // The answer to the first check of ten comes last.
    let ask = asks.pop_front().unwrap().datagram;
    let answer = sent(&mut client, now, path(1), &ask).remove(0);
    sent(&mut server, now, path(1), &answer.datagram);
    assert_eq!(server.destination(), Some(path(1)));
}

/// A client that was answered may wait for seconds before it checks again, and its handshake waits for the path.
#[test]
fn a_check_of_ours_that_was_lost_is_asked_again_when_as_much_has_come() {
    let (mut server, mut client) = (server(), client(path(1)));
    let (_, lost) = knock(&mut server, &mut client, path(1));
    let len = lost.datagram.len();
    let say = |server: &mut Ice, late: Duration, path: Path, len: usize| {
        let mut out = VecDeque::new();
        server.credit(START + late, path, len, &mut out);
        out.pop_front()
    };
    let soon = CHECK_SPACING / 2;
    assert!(say(&mut server, soon, path(1), len - 1).is_none(), "our check may be on its way");
    assert!(say(&mut server, CHECK_SPACING, path(2), len).is_none(), "nobody proved this path");
    let again = say(&mut server, CHECK_SPACING, path(1), 1).unwrap();
    assert_eq!((&again.datagram, again.path), (&lost.datagram, path(1)));
    assert!(say(&mut server, 2 * CHECK_SPACING, path(1), len - 1).is_none(), "less has come");
    let [answer] = sent(&mut client, START, path(1), &again.datagram).try_into().unwrap();
    sent(&mut server, START, path(1), &answer.datagram);
    assert_eq!(server.destination(), Some(path(1)));
    assert!(say(&mut server, 3 * CHECK_SPACING, path(1), len).is_none(), "it is open");
}

#[test]
fn a_request_that_does_not_hold_is_not_answered() {
    let mut server = server();
    let stranger =
        |user: &str, password: &str| stun::request([3; 12], user, Role::Controlling, password);
    let password = credentials("s").pwd;
    for (user, password) in
        [("s:c", "wrong"), ("s:d", &*password), ("s", &*password), ("x:c", &*password)]
    {
        assert!(sent(&mut server, START, path(1), &stranger(user, password)).is_empty());
    }
    assert_eq!(sent(&mut server, START, path(1), &stranger("s:c", &password)).len(), 2);
    assert!(sent(&mut server, START, path(1), &[0; 20]).is_empty());
}

#[test]
fn a_million_guesses_at_a_password_are_answered_by_nothing_and_leave_nothing() {
    let mut server = server();
    let mut guess = stun::request([3; 12], "s:c", Role::Controlling, "wrong");
    // The tag is what a guess comes to. It stands before the fingerprint's eight bytes.
    let tag = guess.len() - 8 - 20;
    for number in 0..1_000_000_u32 {
        guess[tag..tag + 4].copy_from_slice(&number.to_be_bytes());
        guess[8..12].copy_from_slice(&number.to_be_bytes());
        let port = u16::try_from(number % 60_000).unwrap();
        assert!(sent(&mut server, START, path(port), &guess).is_empty());
    }
    assert_eq!((server.routes.len(), server.heard.len(), server.selected), (0, 0, None));
    let password = credentials("s").pwd;
    let right = stun::request([3; 12], "s:c", Role::Controlling, &password);
    assert_eq!(right.len(), guess.len());
    assert_eq!(sent(&mut server, START, path(1), &right).len(), 2, "the right one is");
}

#[test]
fn a_request_costs_at_most_one_answer_and_now_and_then_a_check() {
    let (mut server, mut client) = (server(), client(path(1)));
    let check = check(&mut client, START);
    let mut datagrams = 0;
    for _ in 0..100 {
        datagrams += sent(&mut server, START, path(1), &check).len();
    }
    assert_eq!(datagrams, 101);
    let later = START + CHECK_SPACING;
    assert_eq!(sent(&mut server, later, path(1), &check).len(), 2);
}

#[test]
fn a_check_that_was_heard_is_not_answered_elsewhere() {
    let (mut server, mut client) = open();
    let check = another(&mut client, START);
    assert_eq!(sent(&mut server, START, path(1), &check).len(), 1);
    assert!(sent(&mut server, START, path(2), &check).is_empty());
    assert_eq!(sent(&mut server, START, path(1), &check).len(), 1, "the client asks again");
}

#[test]
fn a_copy_that_overtakes_its_original_keeps_nobody_from_an_answer() {
    let mut server = server();
    let check = check(&mut client(path(1)), START);
    assert_eq!(sent(&mut server, START, path(2), &check).len(), 2);
    let [answer] = sent(&mut server, START, path(1), &check).try_into().unwrap();
    assert!(answer.verifies_remote, "and no more than came: it may be the copy");
    let (mut client, now) = (client(path(1)), START + CONNECT_INTERVAL);
    let (_, ask) = knock(&mut server, &mut client, path(1));
    sent(&mut server, now, path(2), &check);
    let [answer] = sent(&mut client, now, path(1), &ask.datagram).try_into().unwrap();
    sent(&mut server, now, path(1), &answer.datagram);
    assert_eq!(server.take_destination(), Some(path(1)), "and takes no nomination away");
    let (mut server, mut client) = open();
    let check = another(&mut client, START);
    assert_eq!(sent(&mut server, START, path(2), &check).len(), 2, "whoever moved there is asked");
    assert_eq!(sent(&mut server, START, path(1), &check).len(), 1);
}

#[test]
fn while_a_path_is_open_another_gets_no_more_than_came_from_it() {
    let (mut server, mut client) = open();
    let mut now = START;
    let recorded = check(&mut client, now + KEEPALIVE_INTERVAL);
    let (mut come, mut gone, mut given) = (0, 0, 0);
    for _ in 0..50 {
        now += CONNECT_INTERVAL;
        come += recorded.len();
        for transmit in sent(&mut server, now, path(2), &recorded) {
            if given == 0 && !transmit.verifies_remote {
                given = transmit.datagram.len();
                assert_eq!(now, START + CONNECT_INTERVAL, "whoever moves there is asked at once");
            } else {
                gone += transmit.datagram.len();
            }
        }
        assert!(gone <= come, "{gone} bytes for {come}");
    }
    assert!(given > 0);
    let other = another(&mut client, now);
    let next = sent(&mut server, now, path(3), &other);
    assert!(next.iter().all(|it| it.verifies_remote), "one for all paths");
    let later = START + CONNECT_INTERVAL + GIVEN_EVERY;
    let other = another(&mut client, later);
    assert_eq!(sent(&mut server, later, path(4), &other).len(), 2, "and another after a while");
}

#[test]
fn after_a_restart_a_client_is_asked_at_once() {
    let (mut server, mut client) = open();
    server.given = Some(START);
    server.restart(START, credentials("s2"), credentials("c2"));
    client.restart(START, credentials("c2"), credentials("s2"));
    let check = another(&mut client, START);
    assert_eq!(sent(&mut server, START, path(2), &check).len(), 2);
}

#[test]
fn checks_that_are_remembered_are_bounded() {
    let (mut server, mut client) = open();
    for _ in 0..HEARD_MAX * 2 {
        let check = another(&mut client, START);
        assert_eq!(sent(&mut server, START, path(1), &check).len(), 1);
    }
    assert_eq!(server.heard.len(), HEARD_MAX);
}

#[test]
fn the_nominated_path_is_selected_once_it_is_open() {
    let mut server = server();
    let (mut first, mut second) = (client(path(1)), client(path(2)));
    for client in [&mut first, &mut second] {
        let path = client.routes[0].path;
        let (_, ask) = knock(&mut server, client, path);
        let [answer] = sent(client, START, path, &ask.datagram).try_into().unwrap();
        sent(&mut server, START, path, &answer.datagram);
        assert_eq!(server.take_destination(), Some(path));
    }
    let again = START + CONNECT_INTERVAL;
    let check = check(&mut first, again);
    assert_eq!(sent(&mut server, again, path(1), &check).len(), 1, "it is open already");
    assert_eq!(server.take_destination(), Some(path(1)));
}

/// Browsers nominate when a path has been good for some checks, a second after media could be sent.
#[test]
fn until_a_path_is_nominated_an_open_one_is_used_while_its_client_consents() {
    let (mut server, mut client) = (server(), client(path(2)));
    let name = format!("{}:{}", credentials("s").ufrag, credentials("c").ufrag);
    let check = stun::request([9; 12], &name, Role::Controlled, &credentials("s").pwd);
    let ask = sent(&mut server, START, path(1), &check).pop().unwrap();
    assert_eq!(server.take_destination(), None, "nobody has shown to receive there");
    let answer = sent(&mut client, START, path(1), &ask.datagram).remove(0);
    sent(&mut server, START, path(1), &answer.datagram);
    assert_eq!(server.take_destination(), Some(path(1)));
    assert_eq!(server.take_destination(), None, "news are told once");
    let mut silent = VecDeque::new();
    assert!(server.next_timeout() <= START + CONSENT_INTERVAL);
    assert!(server.handle_timeout(server.next_timeout(), &mut silent));
    assert_eq!(silent.pop_front().map(|check| check.path), Some(path(1)));
    // Nor do paths that it opens none of.
    for port in 100..200 {
        let check = stun::request([port; 12], &name, Role::Controlled, &credentials("s").pwd);
        sent(&mut server, START, path(port.into()), &check);
        assert_eq!((server.destination(), server.take_destination()), (Some(path(1)), None));
    }
    let (_, ask) = knock(&mut server, &mut client, path(2));
    let answer = sent(&mut client, START, path(2), &ask.datagram).remove(0);
    sent(&mut server, START, path(2), &answer.datagram);
    assert_eq!(server.take_destination(), Some(path(2)), "it was nominated");
}

#[test]
fn an_open_path_that_is_not_nominated_goes_before_one_over_tcp_and_needs_consent() {
    let (mut server, mut client) = (server(), client(path(1)));
    let first = path(1);
    let over_tcp = Path { carrier: Carrier::tcp(std::num::NonZeroU32::MIN), ..path(2) };
    let name = format!("{}:{}", credentials("s").ufrag, credentials("c").ufrag);
    for (number, path) in [(1, first), (2, over_tcp)] {
        let check = stun::request([number; 12], &name, Role::Controlled, &credentials("s").pwd);
        let ask = sent(&mut server, START, path, &check).pop().unwrap();
        let answer = sent(&mut client, START, path, &ask.datagram).remove(0);
        sent(&mut server, START, path, &answer.datagram);
        assert_eq!(server.destination(), Some(first), "{number}");
    }
    let mut out = VecDeque::new();
    let end = START + CONSENT_TIME + CONSENT_INTERVAL * 2;
    while server.next_timeout() < end && server.handle_timeout(server.next_timeout(), &mut out) {}
    assert!(server.next_timeout() >= START + CONSENT_TIME, "it was given its time");
    assert!(server.next_timeout() < end, "it is over");
}

/// What a browser's candidates make of themselves in a check: over UDP, on a worse interface, over TCP.
const BEST: u32 = (110 << 24) | 0x7e_ffff;
const WORSE: u32 = (110 << 24) | 0x7d_ffff;
const OVER_TCP: u32 = (80 << 24) | 0x7e_ffff;

fn over_tcp(number: u32, port: u16) -> Path {
    let number = std::num::NonZeroU32::new(number).unwrap();
    Path { carrier: Carrier::tcp(number), ..path(port) }
}

/// A check of a client whose candidate has this priority; whether it nominates.
fn check_from(priority: u32, number: u8, nominates: bool) -> Vec<u8> {
    let role = if nominates { Role::Controlling } else { Role::Controlled };
    stun::request_from(priority, [number; 12], "s:c", role, &credentials("s").pwd)
}

/// What the server asks because of a check.
fn asked(server: &mut Ice, now: Timestamp, path: Path, check: &[u8]) -> Option<Transmit> {
    sent(server, now, path, check).pop_if(|last| !last.verifies_remote)
}

/// The client answers what it was asked.
fn answered(server: &mut Ice, now: Timestamp, ask: &Transmit) {
    let transaction = Message::parse(&ask.datagram).unwrap().transaction;
    let answer = stun::success(transaction, ask.path.local, &credentials("c").pwd);
    sent(server, now, ask.path, &answer);
}

/// Firefox nominates with the first check of each pair, and uses the best that was answered.
#[test]
fn of_paths_that_are_nominated_as_they_are_tried_the_best_is_selected() {
    let (udp, tcp) = (path(1), over_tcp(1, 2));
    let ways =
        [(udp, BEST, tcp, OVER_TCP), (udp, BEST, path(2), WORSE), (udp, OVER_TCP, tcp, BEST)];
    for (best, priority, other, worse) in ways {
        for is_best_first in [true, false] {
            let mut server = server();
            let asks = [(1, best, priority), (2, other, worse)].map(|(number, path, priority)| {
                let check = check_from(priority, number, true);
                asked(&mut server, START, path, &check).unwrap()
            });
            let mut now = START + CONNECT_INTERVAL;
            let order = if is_best_first { [0, 1] } else { [1, 0] };
            for place in order {
                answered(&mut server, now, &asks[place]);
                now += CONNECT_INTERVAL;
            }
            assert_eq!(server.take_destination(), Some(best), "{is_best_first}");
            for number in 3..5 {
                now += CONSENT_INTERVAL;
                sent(&mut server, now, best, &check_from(priority, number, false));
            }
            assert_eq!((server.destination(), server.take_destination()), (Some(best), None));
            sent(&mut server, now, other, &check_from(worse, 5, true));
            assert_eq!(server.take_destination(), Some(other), "it is meant, long after the first");
        }
    }
}

/// Chrome nominates what it uses, and goes over to another when that is better, or when all else is dead.
#[test]
fn who_nominates_what_it_tried_before_is_followed_at_once() {
    let mut server = server();
    let (first, second) = (path(1), over_tcp(1, 2));
    let mut now = START;
    for (number, path, priority) in [(1, first, BEST), (2, second, OVER_TCP)] {
        let ask = asked(&mut server, now, path, &check_from(priority, number, false)).unwrap();
        answered(&mut server, now, &ask);
    }
    sent(&mut server, now, first, &check_from(BEST, 3, true));
    assert_eq!(server.take_destination(), Some(first));
    now += CONNECT_INTERVAL;
    for (number, path, priority) in [(4, second, OVER_TCP), (5, first, BEST)] {
        sent(&mut server, now, path, &check_from(priority, number, true));
        assert_eq!(server.take_destination(), Some(path));
    }
}

/// Firefox sends a check that is not answered again, for seconds.
#[test]
fn a_check_that_is_sent_again_nominates_no_more_than_it_did() {
    let mut server = server();
    let again = check_from(WORSE, 2, true);
    for (path, check) in [(path(1), check_from(BEST, 1, true)), (path(2), again.clone())] {
        let ask = asked(&mut server, START, path, &check).unwrap();
        answered(&mut server, START, &ask);
    }
    let later = START + TRIED_TIME * 2;
    sent(&mut server, later, path(2), &again);
    assert_eq!(server.destination(), Some(path(1)));
    sent(&mut server, later, path(2), &check_from(WORSE, 3, true));
    assert_eq!(server.destination(), Some(path(2)), "another is meant");
}

/// It tries them all anew.
#[test]
fn after_a_restart_the_best_of_the_paths_of_before_is_selected_as_well() {
    let mut server = server();
    for (restarts, number) in [(false, 1), (true, 3)] {
        let now = if restarts { START + CONSENT_INTERVAL } else { START };
        if restarts {
            server.restart(now, credentials("s"), credentials("c"));
        }
        let ways = [(path(1), BEST), (over_tcp(1, 2), OVER_TCP)];
        for (number, (path, priority)) in (number..).zip(ways) {
            let ask = asked(&mut server, now, path, &check_from(priority, number, true));
            ask.into_iter().for_each(|ask| answered(&mut server, now, &ask));
        }
        assert_eq!(server.destination(), Some(path(1)), "restarted: {restarts}");
    }
}

#[test]
fn a_restart_ends_nominations_that_had_not_come_to_anything() {
    for restarts in [false, true] {
        let mut server = server();
        let ask = asked(&mut server, START, path(2), &check_from(WORSE, 1, true)).unwrap();
        answered(&mut server, START, &ask);
        let unanswered = asked(&mut server, START, path(1), &check_from(BEST, 2, true)).unwrap();
        if restarts {
            server.restart(START, credentials("s"), credentials("c"));
        }
        let later = START + CONSENT_INTERVAL;
        let ask = asked(&mut server, later, path(1), &check_from(BEST, 3, false));
        answered(&mut server, later, &ask.unwrap_or(unanswered));
        let expected = if restarts { path(2) } else { path(1) };
        assert_eq!(server.destination(), Some(expected), "restarted: {restarts}");
    }
}

#[test]
fn after_a_restart_a_worse_path_may_be_nominated() {
    let mut server = server();
    let ask = asked(&mut server, START, path(1), &check_from(BEST, 1, true)).unwrap();
    answered(&mut server, START, &ask);
    assert_eq!(server.take_destination(), Some(path(1)));
    server.restart(START, credentials("s"), credentials("c"));
    let ask = asked(&mut server, START, over_tcp(1, 2), &check_from(OVER_TCP, 2, true)).unwrap();
    assert_eq!(server.take_destination(), None);
    answered(&mut server, START, &ask);
    assert_eq!(server.take_destination(), Some(over_tcp(1, 2)));
}

#[test]
fn when_a_connection_ends_what_else_is_open_is_used() {
    let (tcp, udp) = (over_tcp(1, 1), path(2));
    let mut server = server();
    let ask = asked(&mut server, START, tcp, &check_from(OVER_TCP, 1, true)).unwrap();
    answered(&mut server, START, &ask);
    assert_eq!(server.take_destination(), Some(tcp));
    // Another worked once.
    let shown = server.next_timeout();
    let ask = asked(&mut server, shown, udp, &check_from(BEST, 2, false)).unwrap();
    answered(&mut server, shown, &ask);
    let (mut long_ago, later) = (open().0, START + CONSENT_TIME);
    let ask = asked(&mut long_ago, START, tcp, &check_from(OVER_TCP, 3, true)).unwrap();
    answered(&mut long_ago, START, &ask);
    long_ago.selected = Some(tcp);
    long_ago.is_news = false;
    server.lose(later, &over_tcp(2, 1));
    assert_eq!(server.take_destination(), None, "it was another's");
    server.lose(later, &tcp);
    assert_eq!(server.take_destination(), Some(udp));
    assert!(server.next_timeout() <= later + CONSENT_INTERVAL, "and is asked");
    long_ago.lose(later, &tcp);
    assert_eq!((long_ago.destination(), long_ago.take_destination()), (None, None));
    assert!(long_ago.handle_timeout(long_ago.next_timeout(), &mut VecDeque::new()));
    let ask = asked(&mut long_ago, later, over_tcp(2, 3), &check_from(OVER_TCP, 4, true)).unwrap();
    answered(&mut long_ago, later, &ask);
    assert_eq!(long_ago.take_destination(), Some(over_tcp(2, 3)));
}

/// What was asked there before may have got lost with the way that it had then.
#[test]
fn a_path_that_takes_the_place_of_a_lost_one_has_its_time_to_answer() {
    let (udp, tcp) = (path(1), over_tcp(1, 2));
    let mut server = server();
    let ask = asked(&mut server, START, udp, &check_from(BEST, 1, true)).unwrap();
    answered(&mut server, START, &ask);
    let moved = server.next_timeout();
    let unheard = check(&mut server, moved);
    let ask = asked(&mut server, moved, tcp, &check_from(OVER_TCP, 2, false)).unwrap();
    answered(&mut server, moved, &ask);
    sent(&mut server, moved, tcp, &check_from(OVER_TCP, 3, true));
    assert_eq!(server.destination(), Some(tcp));
    let lost = START + CONSENT_TIME - Duration::from_millis(100);
    server.lose(lost, &tcp);
    assert_eq!(server.destination(), Some(udp));
    let mut out = VecDeque::new();
    while server.next_timeout() < lost + CONSENT_TIME {
        assert!(server.handle_timeout(server.next_timeout(), &mut out), "of {unheard:?}");
    }
    assert!(!server.handle_timeout(server.next_timeout(), &mut out));
}

#[test]
fn whoever_has_lost_the_last_path_and_opens_no_other_is_gone_in_the_end() {
    let tcp = over_tcp(1, 1);
    let mut server = server();
    let ask = asked(&mut server, START, tcp, &check_from(OVER_TCP, 1, true)).unwrap();
    answered(&mut server, START, &ask);
    server.lose(START, &tcp);
    let mut now = START;
    let mut out = VecDeque::new();
    for number in 2.. {
        now += CONSENT_INTERVAL;
        sent(&mut server, now, path(2), &check_from(BEST, number, false));
        let wakes = server.next_timeout() <= now;
        if wakes && !server.handle_timeout(now, &mut out) {
            break;
        }
        assert!(now < START + CONSENT_TIME * 2, "it stays for ever");
    }
    assert!(now >= START + CONSENT_TIME, "it was given its time");
}

#[test]
fn consent_is_asked_for_and_its_loss_is_the_end() {
    let (mut server, mut client) = (server(), client(path(1)));
    let (answer, ask) = knock(&mut server, &mut client, path(1));
    sent(&mut client, START, path(1), &answer.datagram);
    assert_eq!(server.next_timeout(), Timestamp::MAX);
    let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
    sent(&mut server, START, path(1), &answer.datagram);
    let mut now = START;
    for _ in 0..3 {
        assert!(server.next_timeout().since(now) <= CONSENT_INTERVAL * 2);
        now = server.next_timeout();
        let ask = check(&mut server, now);
        let answer = sent(&mut client, now, path(1), &ask).remove(0);
        sent(&mut server, now, path(1), &answer.datagram);
    }
    let answered = now;
    let mut out = VecDeque::new();
    while server.handle_timeout(server.next_timeout(), &mut out) {}
    assert!(server.next_timeout() >= answered + CONSENT_TIME, "it was given its time");
    assert!(server.next_timeout() < answered + CONSENT_TIME + CONSENT_INTERVAL * 2);
}

/// For 30 s a client that has nominated one path checks another each five seconds and answers there, if `answers` has
/// it, and there alone; when media goes there.
fn followed(server: &mut Ice, answers: &[Path]) -> Option<Duration> {
    let (mut out, mut check_at, mut number) = (VecDeque::new(), START, 10);
    loop {
        let now = server.next_timeout().min(check_at);
        if now > START + CONSENT_TIME {
            return None;
        }
        if now == check_at {
            check_at = now + Duration::from_secs(5);
            number += 1;
            server.handle(now, path(2), &check_from(BEST, number, false), &mut out);
        }
        assert!(server.handle_timeout(now, &mut out));
        let asks: Vec<Transmit> = out.drain(..).filter(|it| !it.verifies_remote).collect();
        for ask in asks.iter().filter(|ask| answers.contains(&ask.path)) {
            answered(server, now, ask);
        }
        if server.take_destination() == Some(path(2)) {
            return Some(now.since(START));
        }
    }
}

/// Firefox nominates nothing again when its router gives it another port.
#[test]
fn a_client_that_checks_and_answers_elsewhere_alone_is_followed() {
    let mut server = open().0;
    server.take_destination();
    let after = followed(&mut server, &[path(2)]);
    assert!(after.is_some_and(|it| it <= Duration::from_secs(10)), "{after:?}");
    // And back.
    let now = server.next_timeout();
    sent(&mut server, now, path(1), &check_from(BEST, 9, true));
    assert_eq!(server.take_destination(), Some(path(1)), "it nominates");
}

#[test]
fn a_client_that_answers_where_it_was_or_not_where_it_checks_is_not() {
    for answers in [&[path(1), path(2)][..], &[path(1)], &[]] {
        let mut server = open().0;
        server.take_destination();
        assert_eq!(followed(&mut server, answers), None, "{answers:?}");
    }
}

/// How long media goes on to a client that answers nothing and restarts ICE this often.
fn endures(server: &mut Ice, every: Duration, from: Timestamp) -> Duration {
    let mut restart = from;
    let mut out = VecDeque::new();
    loop {
        let now = server.next_timeout().min(restart);
        if !server.handle_timeout(now, &mut out) {
            return now.since(from);
        }
        if now == restart {
            server.restart(START, credentials("t"), credentials("d"));
            restart += every;
        }
        assert!(now.since(from) < CONSENT_TIME * 10, "it never ends");
    }
}

#[test]
fn a_restart_renews_consent_once_until_the_client_answers() {
    let at_most = CONSENT_TIME * 2 + CONSENT_INTERVAL * 2;
    for every in [1, 5, 25, 29].map(Duration::from_secs) {
        let (mut server, _client) = open();
        let endured = endures(&mut server, every, START);
        assert!((CONSENT_TIME..at_most).contains(&endured), "{endured:?} at {every:?}");
    }
    let (mut server, mut client) = open();
    let late = server.next_timeout();
    check(&mut server, late);
    for (pair, wait) in [("a", 29), ("b", 29), ("c", 0)] {
        // It was away for as long as it may be, comes back, and is away again.
        let now = server.next_timeout() + Duration::from_secs(wait);
        server.restart(START, credentials("s"), credentials(pair));
        client.restart(START, credentials(pair), credentials("s"));
        let ask = check(&mut server, now);
        let answer = sent(&mut client, now, path(1), &ask).remove(0);
        sent(&mut server, now, path(1), &answer.datagram);
    }
    let answered = server.next_timeout();
    let endured = endures(&mut server, Duration::from_secs(25), answered);
    assert!((CONSENT_TIME..at_most).contains(&endured), "{endured:?}");
}

#[test]
fn a_path_that_comes_back_after_long_is_shown_again_and_used() {
    let mut server = server();
    let (mut first, mut second) = (client(path(1)), client(path(2)));
    let mut now = START;
    // From the first to the second, and back after longer than consent lasts.
    for (client, port) in [(&mut first, 1), (&mut second, 2)] {
        let (answer, ask) = knock(&mut server, client, path(port));
        sent(client, START, path(port), &answer.datagram);
        let [answer] = sent(client, START, path(port), &ask.datagram).try_into().unwrap();
        sent(&mut server, START, path(port), &answer.datagram);
    }
    while now < START + CONSENT_TIME * 2 {
        now = server.next_timeout();
        let ask = check(&mut server, now);
        let answer = sent(&mut second, now, path(2), &ask).remove(0);
        sent(&mut server, now, path(2), &answer.datagram);
    }
    assert_eq!(server.take_destination(), Some(path(2)));
    first.wake = now;
    let (_, ask) = knock(&mut server, &mut first, path(1));
    assert_eq!(server.take_destination(), None, "not before it is shown again");
    let answer = sent(&mut first, now, path(1), &ask.datagram).remove(0);
    sent(&mut server, now, path(1), &answer.datagram);
    assert_eq!(server.take_destination(), Some(path(1)));
    assert!(server.handle_timeout(server.next_timeout(), &mut VecDeque::new()));
}

#[test]
fn a_server_that_slept_asks_before_it_gives_up() {
    let (mut server, mut client) = (server(), client(path(1)));
    let (_, ask) = knock(&mut server, &mut client, path(1));
    let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
    sent(&mut server, START, path(1), &answer.datagram);
    let woken = START + CONSENT_TIME * 10;
    check(&mut server, woken);
    assert_eq!(server.destination(), Some(path(1)));
}

#[test]
fn after_a_restart_only_the_new_password_is_heard_and_media_goes_on() {
    let (mut server, mut client) = (server(), client(path(1)));
    let (_, ask) = knock(&mut server, &mut client, path(1));
    let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
    sent(&mut server, START, path(1), &answer.datagram);
    server.restart(START, credentials("t"), credentials("d"));
    let old = check(&mut client, START + CONNECT_INTERVAL);
    assert!(sent(&mut server, START, path(1), &old).is_empty());
    assert_eq!(server.destination(), Some(path(1)));
    client.restart(START, credentials("d"), credentials("t"));
    let due = client.next_timeout();
    let new = check(&mut client, due);
    assert_eq!(sent(&mut server, START, path(1), &new).len(), 1);
}

#[test]
fn paths_are_bounded_and_the_selected_one_stays() {
    let (mut server, mut client) = (server(), client(path(1)));
    let (_, ask) = knock(&mut server, &mut client, path(1));
    let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
    sent(&mut server, START, path(1), &answer.datagram);
    for port in 2..100 {
        let check = another(&mut client, START);
        let asks = usize::from(port == 2);
        assert_eq!(sent(&mut server, START, path(port), &check).len(), 1 + asks);
    }
    assert!(server.routes.len() <= PATHS_MAX);
    assert_eq!(server.destination(), Some(path(1)));
}
