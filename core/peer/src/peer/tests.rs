//! A client and a server joined in memory, and what strangers may do to them.

mod sctp;

use std::cell::Cell;
use std::net::SocketAddr;

use rtp::srtp::{DtlsRole, SrtpSender};

use super::*;

const START: Timestamp = Timestamp::from_millis(1_000);
const STEP: std::time::Duration = std::time::Duration::from_millis(1);

/// A client and a server with nothing but memory between them.
struct Wire {
    client: Peer,
    server: Peer,
    now: Timestamp,
    /// What each was told.
    heard: [Vec<Event>; 2],
    /// Datagrams that each sent, in order.
    sent: [Vec<Vec<u8>>; 2],
    /// Whether what each sends arrives.
    arrives: [bool; 2],
}

fn credentials(name: &str) -> IceCredentials {
    IceCredentials { ufrag: name.into(), pwd: name.repeat(22).into() }
}

/// As each end sees it.
fn paths() -> [Path; 2] {
    let client = SocketAddr::from(([192, 0, 2, 1], 5000));
    let server = SocketAddr::from(([198, 51, 100, 1], 7882));
    [Path::udp(client, server), Path::udp(server, client)]
}

fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|&first| first < 4)
}

impl Wire {
    fn new() -> Self {
        Self::with_fingerprint(|_| {})
    }

    /// The server is told a fingerprint of the client that `change` changed.
    fn with_fingerprint(change: impl FnOnce(&mut Fingerprint)) -> Self {
        #[expect(clippy::disallowed_methods, reason = "dimpl wants an instant to count from")]
        let origin = Instant::now();
        let [ours, theirs] = [(), ()].map(|()| PeerFactory::new(origin).unwrap());
        let remote = |ice: &str, factory: &PeerFactory| Remote {
            ice: credentials(ice),
            fingerprint: factory.fingerprint().clone(),
        };
        let [to_server, _] = paths();
        let of_server = remote("s", &ours);
        let mut of_client = remote("c", &theirs);
        change(&mut of_client.fingerprint);
        Self {
            client: Peer::client(&theirs, &credentials("c"), &of_server, to_server, START).unwrap(),
            server: Peer::new(&ours, &credentials("s"), &of_client, START),
            now: START,
            heard: [Vec::new(), Vec::new()],
            sent: [Vec::new(), Vec::new()],
            arrives: [true, true],
        }
    }

    /// Lets both do what they want; what they send arrives at once.
    fn settle(&mut self) {
        for _ in 0..100 {
            self.now += STEP;
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
            for from in [0, 1] {
                self.drain(from);
            }
        }
    }

    fn drain(&mut self, from: usize) {
        let [client, server] = [&mut self.client, &mut self.server];
        let (sender, receiver) = if from == 0 { (client, server) } else { (server, client) };
        loop {
            match sender.poll() {
                Output::Transmit(transmit) => {
                    assert_eq!(transmit.path, paths()[from]);
                    if self.arrives[from] {
                        deliver(receiver, self.now, paths()[1 - from], &transmit.datagram);
                    }
                    self.sent[from].push(transmit.datagram);
                }
                Output::Event(event) => self.heard[from].push(event),
                Output::Wait(_) => return,
            }
        }
    }

    fn server_heard(&self, is: impl Fn(&Event) -> bool) -> bool {
        self.heard[1].iter().any(is)
    }

    /// Whatever the server was sent, it hears its client.
    fn goes_on(&mut self) {
        self.settle();
        assert!(self.client.send(self.now, self.now, ChannelId::at(0), b"still here"));
        self.settle();
        let is_it = |event: &Event| matches!(event, Event::Message(_, _, it) if it.expose() == b"still here");
        assert!(self.server_heard(is_it));
    }
}

fn deliver(to: &mut Peer, now: Timestamp, path: Path, datagram: &[u8]) {
    if is_stun(datagram) {
        to.handle_stun(now, path, datagram);
    } else {
        to.handle_dtls(now, path, datagram);
    }
}

/// A packet under the client's keys.
fn sealed(keys: &KeyingMaterial) -> [u8; 64] {
    let mut packet = [0x80; 64];
    SrtpSender::new(keys, DtlsRole::Client).protect_rtp(&mut packet, 12, 20, 0x8080).unwrap();
    packet
}

fn connected(wire: &Wire) -> bool {
    wire.server_heard(|event| matches!(event, Event::Connected))
}

#[test]
fn both_ends_agree_on_keys_and_channels() {
    let mut wire = Wire::new();
    wire.settle();
    let names: Vec<String> = wire.heard[1].iter().map(|event| format!("{event:?}")).collect();
    assert!(names[0].starts_with("Selected"), "{names:?}");
    assert!(connected(&wire));
    let keys = wire.heard.each_ref().map(|events| {
        events
            .iter()
            .find_map(|event| if let Event::Keys(keys) = event { Some(keys) } else { None })
    });
    let [Some(ours), Some(theirs)] = keys else { panic!("no keys") };
    assert_eq!(ours.profile(), theirs.profile());
    assert_eq!(sealed(ours), sealed(theirs));
    for (label, id) in [("_reliable", ChannelId::at(0)), ("_lossy", ChannelId::at(1))] {
        for heard in &wire.heard {
            let is_open = |event: &Event| match event {
                Event::ChannelOpen(open, name) => (*open, &**name) == (id, label),
                Event::Keys(_)
                | Event::Selected(_)
                | Event::Connected
                | Event::ChannelClosed(_)
                | Event::Message(..)
                | Event::Overdue
                | Event::Closed => false,
            };
            assert!(heard.iter().any(is_open), "{label}");
        }
    }
    for peer in [&wire.client, &wire.server] {
        assert!(peer.dtls.has_records() && peer.dtls.under_way() == 0, "its handshake is no more");
        assert_eq!((peer.ready.capacity(), peer.held.capacity()), (0, 0), "nor what waited");
    }
}

#[test]
fn messages_pass_whole_in_both_directions() {
    let mut wire = Wire::new();
    wire.settle();
    // As long as a client's longest, and what the hub adds to it.
    let large: Vec<u8> = (0..70_000).map(|byte: u32| byte.to_le_bytes()[0]).collect();
    for message in [&large[..], b"x", b""] {
        assert!(wire.client.send(wire.now, wire.now, ChannelId::at(0), message));
        assert!(wire.server.send(wire.now, wire.now, ChannelId::at(1), message));
    }
    wire.settle();
    for (heard, channel) in wire.heard.iter().zip([1, 0]) {
        let messages: Vec<&[u8]> = heard
            .iter()
            .filter_map(|event| {
                let Event::Message(id, _, message) = event else { return None };
                (*id == ChannelId::at(channel)).then_some(&**message.expose())
            })
            .collect();
        assert_eq!(messages, [&large[..], b"x", b""]);
    }
}

#[test]
fn a_full_channel_takes_nothing_more() {
    let mut wire = Wire::new();
    wire.settle();
    wire.arrives = [true, false];
    let message = vec![0; 60_000];
    let taken = (0..100)
        .take_while(|_| wire.server.send(wire.now, wire.now, ChannelId::at(0), &message))
        .count();
    assert_eq!(taken, crate::CHANNEL_BUFFER_BYTES_MAX / message.len());
    assert_eq!(wire.server.buffered(ChannelId::at(0)), taken * message.len());
    assert!(!wire.server.send(wire.now, wire.now, ChannelId::at(7), b"no such channel"));
}

impl Wire {
    /// Lets both do what they want now; what each sends is taken before the next, as a worker does.
    fn pass(&mut self) {
        let mut under_way = VecDeque::new();
        let mut speakers = VecDeque::from([0, 1]);
        loop {
            while let Some(from) = speakers.pop_front() {
                let peer = if from == 0 { &mut self.client } else { &mut self.server };
                loop {
                    match peer.poll() {
                        Output::Transmit(it) => under_way.push_back((from, it.datagram)),
                        Output::Event(event) => self.heard[from].push(event),
                        Output::Wait(_) => break,
                    }
                }
            }
            let Some((from, datagram)) = under_way.pop_front() else { return };
            if self.arrives[from] {
                let to = if from == 0 { &mut self.server } else { &mut self.client };
                deliver(to, self.now, paths()[1 - from], &datagram);
                speakers.push_back(1 - from);
            }
        }
    }

    /// Until all that the server said is acknowledged.
    fn deliver_all(&mut self) {
        for _ in 0..10_000 {
            if self.server.buffered(ChannelId::at(0)) == 0 {
                return;
            }
            self.now += STEP;
            self.client.handle_timeout(self.now);
            self.server.handle_timeout(self.now);
            self.pass();
        }
    }
}

/// What others say in short ends nobody who hears it a little late.
#[test]
fn of_the_shortest_messages_no_more_are_taken_than_may_be_outstanding() {
    let mut wire = Wire::new();
    wire.settle();
    // So that much may be under way at once.
    for _ in 0..8 {
        while wire.server.send(wire.now, wire.now, ChannelId::at(0), &[7; 10_000]) {}
        wire.deliver_all();
    }
    wire.heard[0].clear();
    wire.arrives[0] = false;
    let mut taken = 0;
    while wire.server.send(wire.now, wire.now, ChannelId::at(0), &[7; 21]) {
        taken += 1;
    }
    wire.pass();
    assert!(!wire.server_heard(|event| matches!(event, Event::Closed)), "{taken}");
    assert_eq!(wire.client_heard_messages(), taken, "all are under way");
    wire.arrives[0] = true;
    wire.deliver_all();
    assert_eq!(wire.server.buffered(ChannelId::at(0)), 0);
    assert!(wire.server.send(wire.now, wire.now, ChannelId::at(0), &[7; 21]), "there is room");
}

#[test]
fn with_another_certificate_than_announced_nobody_gets_a_key_and_the_end_comes_in_time() {
    for change in [
        |it: &mut Fingerprint| it.bytes[0] ^= 1,
        |it: &mut Fingerprint| it.algorithm = "sha-1".into(),
        |it: &mut Fingerprint| it.bytes.clear(),
    ] {
        let mut wire = Wire::with_fingerprint(change);
        wire.settle();
        // Whoever can forge another certificate must not be able to end the client's handshake with it.
        assert!(!wire.server_heard(|event| matches!(event, Event::Closed)));
        for _ in 0..600 {
            wire.now += std::time::Duration::from_millis(100);
            wire.settle();
        }
        assert!(wire.server_heard(|event| matches!(event, Event::Closed)));
        assert!(!wire.server_heard(|event| matches!(event, Event::Keys(_) | Event::Connected)));
        assert!(!wire.server_heard(|event| matches!(event, Event::ChannelOpen(..))));
    }
}

#[test]
fn an_address_that_answers_no_check_gets_nothing_but_answers_and_checks() {
    let mut wire = Wire::new();
    // The client is heard, and hears nothing: as if it sent under another's address.
    wire.arrives = [true, false];
    wire.settle();
    // It says hello nevertheless.
    let mut other = Wire::new();
    other.settle();
    let hello = other.sent[0].iter().find(|it| !is_stun(it)).unwrap();
    for _ in 0..10 {
        wire.server.handle_dtls(wire.now, paths()[1], hello);
        wire.settle();
    }
    assert!(!wire.sent[1].is_empty());
    assert!(wire.sent[1].iter().all(|datagram| is_stun(datagram)));
    assert!(wire.sent[1].len() <= 2 * wire.sent[0].len());
    assert!(!wire.server_heard(|event| matches!(event, Event::Selected(_))));
}

/// Records that anybody can make who knows the protocol: another client's, and its own changed.
fn forgeries() -> Vec<Vec<u8>> {
    let mut other = Wire::new();
    other.settle();
    let flight: Vec<Vec<u8>> = other.sent[0].iter().filter(|it| !is_stun(it)).cloned().collect();
    let mut forged = flight.clone();
    let hello = &flight[0];
    // The record's and the handshake message's headers are 25 bytes.
    for at in 0..25 {
        for value in [0, 1, 2, 20, 0x7f, 0xff] {
            let mut record = hello.clone();
            record[at] = value;
            forged.push(record);
        }
    }
    for record in &flight {
        forged.extend([13, 14, 25, 60].map(|cut| record[..cut.min(record.len())].to_vec()));
    }
    forged
}

#[test]
fn a_forged_record_before_the_clients_hello_does_not_end_its_handshake() {
    for record in forgeries() {
        let mut wire = Wire::new();
        wire.server.handle_dtls(wire.now, paths()[1], &record);
        // What answers it finds a client that has not begun.
        wire.drain(1);
        wire.server.held.clear();
        wire.settle();
        assert!(connected(&wire), "{record:?}");
    }
}

#[test]
fn a_forged_hello_beside_the_clients_does_not_end_its_handshake() {
    for record in forgeries().into_iter().filter(|it| dtls::is_hello(it)) {
        let mut wire = Wire::new();
        while !wire.sent[1].iter().any(|it| !is_stun(it)) {
            wire.now += STEP;
            wire.client.handle_timeout(wire.now);
            wire.drain(0);
            wire.drain(1);
        }
        wire.server.handle_dtls(wire.now, paths()[1], &record);
        wire.settle();
        assert!(connected(&wire), "{record:?}");
    }
}

/// A plaintext record.
fn record(content: u8, body: &[u8]) -> Vec<u8> {
    let [l0, l1] = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&[content, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, l0, l1], body].concat()
}

/// What has spoiled the handshakes of other servers (CVE-2023-49786 and its successors).
fn known_attacks() -> [(&'static str, Vec<u8>); 8] {
    let hello = [
        &[1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42, 0xfe, 0xfd],
        &[9; 32][..],
        &[0, 0, 0, 2, 0xc0, 0x2b, 1, 0],
    ];
    let pieces = |head: [u8; 12]| record(22, &[&head[..], &[0; 64]].concat());
    [
        ("a hello without the extended master secret", record(22, &hello.concat())),
        ("a piece of 16 MB", pieces([11, 0xff, 0xff, 0xff, 0, 2, 0xff, 0xff, 0, 0, 0, 64])),
        ("a piece that contradicts its total", pieces([11, 0, 0, 40, 0, 2, 0, 0, 0, 0, 0, 64])),
        ("a fatal alert", record(21, &[2, 40])),
        ("a goodbye", record(21, &[1, 0])),
        ("the certificate and keys of another client", second_flight()),
        ("a change of cipher", record(20, &[1])),
        ("data in the clear", record(23, &[0; 40])),
    ]
}

/// What another client answers to a server's hello.
fn second_flight() -> Vec<u8> {
    let mut other = Wire::new();
    other.settle();
    let is_it = |it: &&Vec<u8>| !is_stun(it) && !dtls::is_hello(it);
    other.sent[0].iter().find(is_it).unwrap().clone()
}

/// Whether a set-up survives `attack` before a turn of either end; the client's turns are even.
fn survives(attack: &[u8], before: usize) -> bool {
    let mut wire = Wire::new();
    for turn in 0..6_000 {
        if turn == before {
            wire.server.handle_dtls(wire.now, paths()[1], attack);
        }
        wire.now += STEP;
        wire.client.handle_timeout(wire.now);
        wire.server.handle_timeout(wire.now);
        wire.drain(turn % 2);
    }
    connected(&wire)
}

#[test]
fn no_known_attack_at_any_point_keeps_a_client_from_connecting() {
    let mut killed = Vec::new();
    for (what, attack) in known_attacks() {
        for before in 0..7 {
            if !survives(&attack, before) {
                killed.push((what, before));
            }
        }
    }
    assert!(killed.is_empty(), "{} of 56: {killed:?}", killed.len());
}

/// Where a hello's random is: behind the headers of record and message, and the version.
const RANDOM_AT: usize = 27;

/// A hello as the client's own, of somebody else.
fn with_random(hello: &[u8], number: u32) -> Vec<u8> {
    let mut forged = hello.to_vec();
    forged[RANDOM_AT..RANDOM_AT + 4].copy_from_slice(&number.to_be_bytes());
    forged
}

impl Wire {
    /// Lets both do what they want until `is_enough` of what a client sends; what is not to arrive yet is returned.
    fn until(&mut self, is_enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        for _ in 0..100 {
            self.now += STEP;
            self.client.handle_timeout(self.now);
            while let Output::Transmit(transmit) = self.client.poll() {
                if is_enough(&transmit.datagram) {
                    return transmit.datagram;
                }
                deliver(&mut self.server, self.now, paths()[1], &transmit.datagram);
            }
            self.server.handle_timeout(self.now);
            self.drain(1);
        }
        panic!("the client sent no such thing");
    }
}

/// A first hello has no cookie: its length is behind the random and an empty session.
fn has_cookie(hello: &[u8]) -> bool {
    dtls::is_hello(hello) && hello[RANDOM_AT + 33] == 32
}

#[test]
fn however_many_hellos_are_forged_the_clients_is_the_one_that_is_heard() {
    let stranger = Wire::new().until(dtls::is_hello);
    for volley in [1, 20, 80] {
        let mut wire = Wire::new();
        let (mut forged, mut forged_bytes) = (0, 0);
        // Two steps would do without an attack; a tenth of a second is the client's first timeout.
        for _ in 0..100 {
            for from in [0, 1] {
                wire.now += STEP;
                wire.client.handle_timeout(wire.now);
                wire.server.handle_timeout(wire.now);
                for _ in 0..volley {
                    forged += 1;
                    let hello = with_random(&stranger, forged);
                    forged_bytes += hello.len();
                    wire.server.handle_dtls(wire.now, paths()[1], &hello);
                    assert!(wire.server.dtls.under_way() <= 1, "only for the client's");
                    wire.drain(1);
                }
                wire.drain(from);
            }
        }
        assert!(connected(&wire), "{volley} for each of the client's");
        assert!(wire.heard[0].iter().any(|event| matches!(event, Event::Connected)));
        let own: usize = wire.sent[0].iter().map(Vec::len).sum();
        let answered: usize = wire.sent[1].iter().map(Vec::len).sum();
        assert!(answered <= forged_bytes + 4 * own, "{answered} for {forged_bytes} and {own}");
    }
}

#[test]
fn a_forged_hello_is_answered_with_less_than_it_is_and_nothing_of_it() {
    let mut wire = Wire::new();
    wire.until(dtls::is_hello);
    let stranger = Wire::new().until(dtls::is_hello);
    let before = wire.sent[1].len();
    for number in 0..10 {
        let mut hello = with_random(&stranger, number);
        // A number of its record that would make the client take no lower one.
        hello[5..11].fill(0xff);
        wire.server.handle_dtls(wire.now, paths()[1], &hello);
        wire.drain(1);
    }
    let answers = &wire.sent[1][before..];
    assert_eq!(answers.len(), 10);
    for answer in answers {
        assert_eq!((answer.len(), answer[5..11].to_vec()), (60, vec![0; 6]));
        assert_eq!(answer, &answers[0]);
    }
}

/// When the server's answer to a hello is sent again, as long as the client answers nothing, and when it is given up.
#[test]
fn a_flight_that_was_lost_is_sent_again_soon_and_for_half_a_minute() {
    let mut wire = Wire::new();
    let hello = wire.until(has_cookie);
    wire.server.handle_dtls(wire.now, paths()[1], &hello);
    wire.drain(1);
    let began = wire.now;
    let mut flights = Vec::new();
    let ended = loop {
        match wire.server.poll() {
            Output::Transmit(transmit) if is_stun(&transmit.datagram) => {
                // It is there, and only its handshake hangs.
                let path = paths()[0];
                wire.client.handle_stun(wire.now, path, &transmit.datagram);
                while let Output::Transmit(answer) = wire.client.poll() {
                    if is_stun(&answer.datagram) {
                        wire.server.handle_stun(wire.now, paths()[1], &answer.datagram);
                    }
                }
            }
            Output::Transmit(_) => {
                let at = wire.now.since(began);
                flights.push(at);
                flights.dedup();
            }
            Output::Event(Event::Closed) => break wire.now.since(began),
            Output::Event(event) => panic!("{event:?}"),
            Output::Wait(at) => {
                wire.now = at.max(wire.now + STEP);
                wire.server.handle_timeout(wire.now);
            }
        }
    };
    let millis: Vec<u128> = flights.iter().map(std::time::Duration::as_millis).collect();
    assert_eq!(millis.len(), 6, "{millis:?}");
    assert!((187..=313).contains(&millis[0]), "{millis:?}");
    assert!(ended.as_millis() >= 31_750 * 3 / 4, "{ended:?}");
}

#[test]
fn a_client_that_begins_anew_on_end_is_bounded_and_ends_nothing_that_goes_on() {
    let mut wire = Wire::new();
    let hello = wire.until(has_cookie);
    wire.server.handle_dtls(wire.now, paths()[1], &hello);
    wire.drain(1);
    let flight = wire.until(|it| !is_stun(it) && !dtls::is_hello(it));
    let certificate = 13 + usize::from(u16::from_be_bytes([flight[11], flight[12]]));
    wire.server.handle_dtls(wire.now, paths()[1], &flight[..certificate]);
    let mut begun = std::collections::BTreeSet::new();
    let end = wire.now + std::time::Duration::from_secs(2);
    for number in 0.. {
        if wire.now >= end {
            break;
        }
        wire.now += STEP;
        wire.server.handle_dtls(wire.now, paths()[1], &with_random(&hello, number));
        assert!(wire.server.dtls.under_way() <= 3);
        begun.extend(wire.server.dtls.randoms());
        while let Output::Transmit(_) = wire.server.poll() {}
    }
    // Four at once, and five a second.
    assert!((10..=14).contains(&begun.len()), "{}", begun.len());
    wire.server.handle_dtls(wire.now, paths()[1], &flight[certificate..]);
    wire.settle();
    assert!(connected(&wire));
}

#[test]
fn a_client_that_begins_anew_is_heard_though_another_handshake_is_under_way() {
    let mut wire = Wire::new();
    let hello = wire.until(has_cookie);
    // As if it had stopped here and begun again: nothing of the first comes any more.
    for number in [1, 2] {
        wire.server.handle_dtls(wire.now, paths()[1], &with_random(&hello, number));
    }
    while let Output::Transmit(_) = wire.server.poll() {}
    wire.server.handle_dtls(wire.now, paths()[1], &hello);
    wire.settle();
    assert!(connected(&wire));
}

#[test]
fn a_hello_that_a_forged_piece_has_spoiled_is_understood_when_it_comes_again() {
    let mut wire = Wire::new();
    let hello = wire.until(has_cookie);
    // From the length of the suites on, from the suites, and from the extensions.
    for at in [93, 95, 120] {
        let mut spoiled = hello.clone();
        spoiled[at..].fill(0xee);
        wire.server.handle_dtls(wire.now, paths()[1], &spoiled);
        // Its machine asks for the cookie again in time, which is not its to do.
        for _ in 0..20 {
            wire.now += std::time::Duration::from_millis(100);
            wire.server.handle_timeout(wire.now);
            while let Output::Transmit(transmit) = wire.server.poll() {
                assert!(is_stun(&transmit.datagram));
            }
        }
    }
    wire.server.handle_dtls(wire.now, paths()[1], &hello);
    wire.settle();
    assert!(connected(&wire));
}

#[test]
fn a_handshake_that_has_failed_is_the_end_so_that_the_client_comes_again() {
    let mut wire = Wire::new();
    let flight = wire.until(|it| !is_stun(it) && !dtls::is_hello(it));
    let certificate = 13 + usize::from(u16::from_be_bytes([flight[11], flight[12]]));
    wire.server.handle_dtls(wire.now, paths()[1], &flight[..certificate]);
    // Between two datagrams of the client's one comes that says otherwise: nothing tells them apart.
    let forged = [&[16, 0, 0, 66, 0, 3, 0, 0, 0, 0, 0, 66, 65, 4][..], &[9; 64]].concat();
    wire.server.handle_dtls(wire.now, paths()[1], &record(22, &forged));
    wire.drain(1);
    assert!(wire.server_heard(|event| matches!(event, Event::Closed)));
}

#[test]
fn saying_goodbye_closes_both_ends() {
    let mut wire = Wire::new();
    wire.settle();
    wire.server.close();
    wire.settle();
    for heard in &wire.heard {
        let closed = heard.iter().filter(|event| matches!(event, Event::Closed)).count();
        assert_eq!(closed, 1);
    }
    assert!(matches!(wire.server.poll(), Output::Wait(Timestamp::MAX)));
}

#[test]
fn a_client_that_is_gone_is_noticed() {
    let mut wire = Wire::new();
    wire.settle();
    wire.arrives = [false, false];
    for _ in 0..400 {
        wire.now += std::time::Duration::from_millis(100);
        wire.server.handle_timeout(wire.now);
        wire.drain(1);
    }
    assert!(wire.server_heard(|event| matches!(event, Event::Closed)));
}

impl Wire {
    /// Plays a second in steps of ten milliseconds. What the server sends arrives if it is as `arrives` wants; what
    /// the client does, if `answers`.
    fn second(&mut self, answers: bool, arrives: impl Fn(&[u8]) -> bool) {
        for _ in 0..100 {
            self.tick(answers, &arrives);
        }
    }

    /// One of these steps.
    fn tick(&mut self, answers: bool, arrives: impl Fn(&[u8]) -> bool) {
        self.now += 10 * STEP;
        self.server.handle_timeout(self.now);
        self.client.handle_timeout(self.now);
        loop {
            match self.server.poll() {
                Output::Transmit(it) if is_stun(&it.datagram) || arrives(&it.datagram) => {
                    deliver(&mut self.client, self.now, paths()[0], &it.datagram);
                }
                Output::Transmit(_) => {}
                Output::Event(event) => self.heard[1].push(event),
                Output::Wait(_) => break,
            }
        }
        loop {
            match self.client.poll() {
                Output::Transmit(it) if is_stun(&it.datagram) || answers => {
                    deliver(&mut self.server, self.now, paths()[1], &it.datagram);
                }
                Output::Transmit(_) => {}
                Output::Event(event) => self.heard[0].push(event),
                Output::Wait(_) => break,
            }
        }
    }

    fn is_overdue(&self) -> bool {
        self.server_heard(|event| matches!(event, Event::Overdue))
    }

    fn client_heard_messages(&self) -> usize {
        self.heard[0].iter().filter(|event| matches!(event, Event::Message(..))).count()
    }
}

#[test]
fn a_client_that_acknowledges_nothing_is_ended_in_time_and_nothing_waits_for_it() {
    for (age, seconds) in [(0, 9), (5, 4)] {
        let mut wire = Wire::new();
        wire.settle();
        wire.now += std::time::Duration::from_secs(age);
        let since = Timestamp::from_micros(wire.now.as_micros() - age * 1_000_000);
        assert!(wire.server.send(wire.now, since, ChannelId::at(0), b"a word"));
        for _ in 0..seconds {
            wire.second(false, |_| true);
        }
        assert!(!wire.is_overdue(), "it may still come back");
        wire.second(false, |_| true);
        assert!(wire.is_overdue(), "said {age} s before it was sent");
        assert_eq!(wire.client_heard_messages(), 1, "it hears and says nothing");
        assert!(wire.server_heard(|event| matches!(event, Event::Closed)));
        assert!(wire.server.channels.is_none());
        assert!(!wire.server.send(wire.now, wire.now, ChannelId::at(0), b"another"));
    }
}

#[test]
fn a_client_that_acknowledges_all_but_one_word_is_ended_in_time() {
    let mut wire = Wire::new();
    wire.settle();
    let is_long = |datagram: &[u8]| datagram.len() > 1_000;
    assert!(wire.server.send(wire.now, wire.now, ChannelId::at(0), &[7; 1_100]));
    for second in 0..10 {
        assert!(!wire.is_overdue(), "after {second} s");
        // What leaves together with the long one does not arrive either.
        for _ in 0..if second == 0 { 0 } else { 5 } {
            assert!(wire.server.send(wire.now, wire.now, ChannelId::at(1), b"another word"));
        }
        wire.second(true, |datagram| !is_long(datagram));
    }
    assert!(wire.is_overdue());
    assert!(wire.client_heard_messages() >= 45, "{}", wire.client_heard_messages());
}

#[test]
fn a_client_that_takes_nothing_is_ended_in_time_though_little_has_left() {
    let mut wire = Wire::new();
    wire.settle();
    // More than SCTP sends before it is answered.
    for _ in 0..30 {
        assert!(wire.server.send(wire.now, wire.now, ChannelId::at(0), &[7; 8_000]));
    }
    for _ in 0..9 {
        wire.second(false, |_| false);
        assert!(!wire.is_overdue());
    }
    wire.second(false, |_| false);
    assert!(wire.is_overdue());
}

#[test]
fn a_client_that_was_away_for_less_hears_everything() {
    let mut wire = Wire::new();
    wire.settle();
    for word in 0..20_u8 {
        assert!(wire.server.send(wire.now, wire.now, ChannelId::at(0), &[word; 100]));
    }
    for _ in 0..8 {
        wire.second(false, |_| false);
    }
    for _ in 0..20 {
        wire.second(true, |_| true);
    }
    assert!(!wire.is_overdue() && !wire.server_heard(|event| matches!(event, Event::Closed)));
    assert_eq!(wire.client_heard_messages(), 20);
}

#[test]
fn who_is_told_something_all_the_time_and_acknowledges_it_is_not_ended() {
    let mut wire = Wire::new();
    wire.settle();
    let mut said = 0;
    for _ in 0..2_000 {
        wire.now += 10 * STEP;
        // What the client acknowledges comes ten milliseconds later: something waits at any time.
        said += usize::from(wire.server.send(wire.now, wire.now, ChannelId::at(0), &[1; 3_000]));
        wire.server.handle_timeout(wire.now);
        wire.drain(1);
        assert!(wire.server.buffered(ChannelId::at(0)) > 0);
        wire.client.handle_timeout(wire.now);
        wire.drain(0);
    }
    assert!(!wire.is_overdue());
    assert!(wire.client_heard_messages() >= said - 1 && said == 2_000, "{said}");
}

#[test]
fn what_may_be_lost_is_gone_in_time_and_ends_nobody() {
    let mut wire = Wire::new();
    wire.settle();
    wire.client.channels.as_mut().unwrap().open_lossy(4);
    wire.second(true, |_| true);
    let lossy = ChannelId::at(2);
    assert!(wire.server.buffered(lossy) == 0);
    for second in 0..20 {
        if second < 10 {
            assert!(wire.server.send(wire.now, wire.now, lossy, &[3; 500]));
        }
        wire.second(false, |_| true);
        assert!(!wire.is_overdue(), "after {second} s");
    }
    assert_eq!(wire.server.channels.as_mut().unwrap().waiting_bytes(), 0);
    assert!(wire.client_heard_messages() >= 1);
}

#[test]
fn a_burst_of_what_may_be_lost_is_gone_in_time_and_ends_nobody() {
    for (count, len) in [(146, 500), (60, 1_100)] {
        let mut wire = Wire::new();
        wire.settle();
        wire.client.channels.as_mut().unwrap().open_lossy(4);
        wire.second(true, |_| true);
        let message = vec![3; len];
        for _ in 0..count {
            wire.server.send(wire.now, wire.now, ChannelId::at(2), &message);
        }
        assert!(wire.server.channels.as_mut().unwrap().waiting_bytes() > 50_000);
        for second in 0..12 {
            wire.second(false, |_| true);
            assert!(!wire.is_overdue(), "after {second} s");
        }
        assert_eq!(wire.server.channels.as_mut().unwrap().waiting_bytes(), 0);
    }
}

#[test]
fn a_channel_that_is_closed_while_something_waits_there_ends_the_client() {
    let mut wire = Wire::new();
    wire.settle();
    assert!(wire.server.send(wire.now, wire.now, ChannelId::at(0), b"a word"));
    wire.tick(false, |_| false);
    // It closes the channel, and acknowledges nothing else.
    wire.server.channels.as_mut().unwrap().finish(ChannelId::at(0));
    wire.second(true, |_| true);
    assert!(wire.is_overdue());
}

#[test]
fn what_is_said_at_once_fits_a_path_of_1280_bytes_and_so_does_what_is_sent_again() {
    const UDP_OVER_IPV6: usize = 48;
    for len in [2, 5, 9, 13, 17, 21, 45, 61, 73, 101, 450, 1_050, 10_000] {
        let mut wire = Wire::new();
        wire.settle();
        for _ in 0..90 {
            assert!(
                wire.server.send(wire.now, wire.now, ChannelId::at(0), &vec![7; len])
                    || len == 10_000
            );
        }
        let longest = Cell::new(0);
        for _ in 0..4 {
            wire.second(true, |it| {
                longest.set(longest.get().max(it.len() + UDP_OVER_IPV6));
                false
            });
        }
        assert!((1_000..=1_280).contains(&longest.get()), "{len}: {}", longest.get());
    }
}

#[test]
fn a_channel_whose_messages_may_be_lost_is_closed_while_one_waits() {
    let mut wire = Wire::new();
    wire.settle();
    wire.client.channels.as_mut().unwrap().open_lossy(4);
    wire.second(true, |_| true);
    assert!(wire.server.send(wire.now, wire.now, ChannelId::at(2), b"a word"));
    wire.server.channels.as_mut().unwrap().finish(ChannelId::at(2));
    wire.second(true, |_| true);
    assert!(!wire.is_overdue());
}

/// A client that copies a file as fast as it may, and what the server reads of it.
struct Copying {
    wire: Wire,
    sent: u32,
    read: u32,
}

impl Copying {
    const CHUNK: usize = 8_000;

    fn new() -> Self {
        let mut wire = Wire::new();
        wire.settle();
        wire.heard[1].clear();
        Self { wire, sent: 0, read: 0 }
    }

    /// Plays for so long. Bytes that are read, whose time is checked, and whose order.
    fn play(&mut self, millis: u64) -> usize {
        let before = self.read;
        for _ in 0..millis / 10 {
            let now = self.wire.now;
            loop {
                let mut chunk = [0; Self::CHUNK];
                chunk[..4].copy_from_slice(&self.sent.to_be_bytes());
                if !self.wire.client.send(now, now, ChannelId::at(0), &chunk) {
                    break;
                }
                self.sent += 1;
            }
            self.wire.tick(true, |_| true);
            for event in self.wire.heard[1].drain(..) {
                let Event::Message(_, since, chunk) = event else { panic!("{event:?}") };
                assert_eq!(chunk.expose()[..4], self.read.to_be_bytes(), "in order, each once");
                let waited = self.wire.now.since(since);
                assert!(waited <= crate::HELD_TIME_MAX + 20 * STEP, "{waited:?}");
                self.read += 1;
            }
        }
        usize::try_from(self.read - before).unwrap() * Self::CHUNK
    }

    fn hold(&mut self, is_held: bool) {
        self.wire.server.hold_back(self.wire.now, is_held);
    }
}

#[test]
fn a_client_that_is_held_back_waits_and_goes_on_at_once_when_it_is_not() {
    const MEGABYTE: usize = 1_000_000;
    let mut copying = Copying::new();
    // TCP's slow beginning, which SCTP has too.
    copying.play(2_000);
    let free = copying.play(1_000);
    assert!(free > 3 * MEGABYTE, "{free} bytes in a second");
    for _ in 0..3 {
        copying.hold(true);
        let held = copying.play(10_000);
        // 128 KiB a second, less while the client begins slowly each time, and what is read at once.
        let bounds = 8 * MEGABYTE / 10..19 * MEGABYTE / 10;
        assert!(bounds.contains(&held), "{held} bytes in ten seconds");
        assert!(copying.wire.client.buffered(ChannelId::at(0)) > 200_000, "the client's own wait");
        copying.hold(false);
        let freed = copying.play(300);
        assert!(freed > MEGABYTE, "{freed} bytes in a third of a second");
        assert!(copying.wire.server.channels.as_ref().unwrap().has_caught_up());
    }
}

#[test]
fn what_a_client_says_is_read_at_once_though_it_is_held_back() {
    let mut wire = Wire::new();
    wire.settle();
    wire.server.hold_back(wire.now, true);
    for word in 0..100_u8 {
        wire.heard[1].clear();
        assert!(wire.client.send(wire.now, wire.now, ChannelId::at(0), &[word; 1_000]));
        for _ in 0..10 {
            wire.tick(true, |_| true);
        }
        assert!(wire.server_heard(|event| matches!(event, Event::Message(..))), "{word}");
    }
    assert!(wire.server.channels.as_ref().unwrap().has_caught_up());
}

#[test]
fn what_may_be_lost_is_read_though_the_client_is_held_back() {
    let mut wire = Wire::new();
    wire.settle();
    wire.client.channels.as_mut().unwrap().open_lossy(8);
    wire.settle();
    wire.server.hold_back(wire.now, true);
    // More than is read at once, and less than SCTP's window.
    for _ in 0..12 {
        assert!(wire.client.send(wire.now, wire.now, ChannelId::at(0), &[7; 8_000]));
    }
    wire.second(true, |_| true);
    assert!(!wire.server.channels.as_ref().unwrap().has_caught_up(), "some is unread");
    assert!(wire.client.send(wire.now, wire.now, ChannelId::at(2), b"at once"));
    wire.tick(true, |_| true);
    wire.tick(true, |_| true);
    let is_it =
        |event: &Event| matches!(event, Event::Message(_, _, it) if it.expose() == b"at once");
    assert!(wire.server_heard(is_it));
    assert!(!wire.server.channels.as_ref().unwrap().has_caught_up(), "and still is");
}

#[test]
fn a_stream_that_is_no_channel_is_reset() {
    let mut wire = Wire::new();
    wire.settle();
    let client = wire.client.channels.as_mut().unwrap();
    for stream in (100..200).step_by(2) {
        client.write_raw(stream, b"not an open message");
    }
    for _ in 0..20 {
        wire.settle();
    }
    let server = wire.server.channels.as_ref().unwrap();
    assert!(server.streams() <= 3, "{} streams", server.streams());
    assert!(wire.server.send(wire.now, wire.now, ChannelId::at(0), b"the others go on"));
}

#[test]
fn a_client_with_countless_streams_is_ended() {
    let mut wire = Wire::new();
    wire.settle();
    // It never hears that they are reset.
    wire.arrives = [true, false];
    let client = wire.client.channels.as_mut().unwrap();
    for stream in (100..400).step_by(2) {
        client.write_raw(stream, b"not an open message");
    }
    for _ in 0..50 {
        wire.settle();
    }
    assert!(wire.server_heard(|event| matches!(event, Event::Closed)));
}

#[test]
fn records_as_long_as_a_datagram_change_nothing() {
    let mut wire = Wire::new();
    wire.settle();
    for len in [0, 1, 1 << 14, (1 << 14) + 256, (1 << 14) + 2_048, (1 << 14) + 2_049, 65_494] {
        for (content, epoch) in (20..=26).flat_map(|content| [(content, 0), (content, 1)]) {
            let mut datagram = record(content, &vec![0x16; len]);
            datagram[4] = epoch;
            wire.server.handle_dtls(wire.now, paths()[1], &datagram);
        }
    }
    wire.goes_on();
}

#[test]
fn random_datagrams_change_nothing() {
    let mut wire = Wire::new();
    wire.settle();
    for seed in 0..2_000_u32 {
        let len = usize::try_from(seed % 200).unwrap();
        let mut state = seed;
        let datagram: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect();
        wire.server.handle_stun(wire.now, paths()[1], &datagram);
        wire.server.handle_dtls(wire.now, paths()[1], &datagram);
    }
    wire.goes_on();
}
