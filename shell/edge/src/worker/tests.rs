//! Two workers on loopback, and strangers who send them what they should not answer.

use std::collections::VecDeque;
use std::net::UdpSocket;
use std::time::Duration;

use model::{CallContent, Path, PeerId, Timestamp};

use super::*;
use crate::client::{Client, Node, binding_request};
use crate::limits::{DATA_MESSAGES_BURST, DATA_MESSAGES_PER_SECOND, SENDS_CROWDED};
use crate::metrics::Counter;

struct House {
    node: Node,
    stranger: UdpSocket,
}

fn house() -> House {
    let node = Node::start();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(("127.0.0.1", node.workers.udp_port())).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    House { node, stranger }
}

impl House {
    /// Sends `datagram` and waits until `counter` has seen it; nothing may come back.
    fn is_ignored(&self, datagram: &[u8], counter: impl Fn(&Metrics) -> &Counter) {
        let before = counter(&self.node.metrics).total();
        self.stranger.send(datagram).unwrap();
        let patience = Instant::now() + Duration::from_secs(5);
        while counter(&self.node.metrics).total() == before {
            assert!(Instant::now() < patience, "never counted");
            std::thread::yield_now();
        }
        assert!(self.stranger.recv(&mut [0; 2048]).is_err(), "nobody answers");
    }
}

/// A client over UDP.
struct Guest {
    client: Client,
    socket: UdpSocket,
}

impl Guest {
    fn new(house: &House, index: u32) -> Self {
        Self::at(house, PeerId { worker: WorkerId(0), index })
    }

    fn at(house: &House, id: PeerId) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let remote = SocketAddr::from(([127, 0, 0, 1], house.node.workers.udp_port()));
        socket.connect(remote).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let path = Path::udp(socket.local_addr().unwrap(), remote);
        Self { client: Client::new(&house.node, id, path), socket }
    }

    /// Reads what has come, does what is due, sends what follows.
    fn turn(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            self.client.take(&buffer[..len]);
            self.drain();
        }
        self.client.fire();
        self.drain();
    }

    fn drain(&mut self) {
        self.client.drain(|datagram| {
            self.socket.send(datagram).ok();
        });
    }
}

#[test]
fn workers_are_kept_on_the_cores_that_the_process_was_given_if_each_has_one() {
    assert_eq!(cores_for(4, vec![4, 5, 6, 7]), [4, 5, 6, 7]);
    assert_eq!(cores_for(2, vec![1, 3]), [1, 3]);
    for (workers, allowed) in [(2, 0..64), (3, 0..4), (4, 0..2), (1, 0..0)] {
        assert_eq!(cores_for(workers, allowed.collect()), [0; 0], "{workers}");
    }
}

#[test]
fn what_a_worker_that_has_ended_does_not_hear_holds_nobody_back() {
    let house = house();
    house.node.workers.stop();
    let peer = PeerId { worker: WorkerId(0), index: 1 };
    let message: Arc<[u8]> = [1].into();
    for _ in 0..=SENDS_CROWDED {
        let message = Arc::clone(&message).into();
        let (channel, since) = (Channel::Reliable, Timestamp::ZERO);
        house.node.workers.send(peer.worker, ToWorker::Send { peer, channel, since, message });
    }
    assert!(house.node.workers.inboxes.iter().all(|inbox| !inbox.load.is_crowded()));
}

#[test]
fn strangers_get_no_answer_and_are_counted() {
    let house = house();
    let theirs = Door::new(&[8; 32]).mint(PeerId { worker: WorkerId(0), index: 1 }, 0);
    house.is_ignored(&[0xff; 700], |metrics| &metrics.datagrams_malformed);
    let request = binding_request(&theirs);
    house.is_ignored(&request[..request.len() - 1], |metrics| &metrics.datagrams_unproven);
    house.is_ignored(&request, |metrics| &metrics.knocks_foreign);
    house.is_ignored(&[22; 100], |metrics| &metrics.datagrams_unproven);
    house.is_ignored(&[128; 100], |metrics| &metrics.datagrams_unproven);
    house.node.workers.stop();
    assert_eq!(house.node.metrics.worker_panics.total(), 0);
    assert_eq!(house.node.metrics.datagrams_sent.total(), 0);
}

/// Reliable data cannot just be missing, so whoever sends too much of it waits, be it a large file or countless words.
/// Others do not.
#[test]
fn who_sends_reliable_data_over_the_rate_waits_alone() {
    /// What is said longer before it comes ends the client.
    const AHEAD: u64 = 1_000;
    const SOON: Duration = Duration::from_millis(700);
    for message in [&[7; 1000][..], &[1]] {
        let mut house = house();
        let mut guests = [Guest::new(&house, 1), Guest::new(&house, 2)];
        connect(&mut guests);
        let (flooder, other) = (guests[0].client.id, guests[1].client.id);
        let most = DATA_MESSAGES_BURST + 2 * DATA_MESSAGES_PER_SECOND;
        let (mut said, mut come, begin) = (0, 0, Instant::now());
        let (mut words, mut late) = (VecDeque::new(), 0);
        while come < most {
            assert!(begin.elapsed() < Duration::from_secs(60), "{come} of {said} came");
            while said < most.min(come + AHEAD) && guests[0].client.say(message) {
                said += 1;
            }
            if guests[1].client.say(&[1]) {
                words.push_back(Instant::now());
            }
            guests.iter_mut().for_each(|guest| guest.turn());
            assert!(!guests[0].client.is_closed, "after {come}");
            while let Ok(message) = house.node.hub.try_recv() {
                let ToHub::Worker(message) = *message else { panic!("not a worker's") };
                assert!(!matches!(message, FromWorker::PutOut(_)), "after {come}");
                if let FromWorker::Message(id, ..) = message {
                    come += u64::from(id == flooder);
                    let said = words.pop_front_if(|_| id == other);
                    late += u64::from(said.is_some_and(|at| at.elapsed() > SOON));
                }
            }
        }
        assert!(begin.elapsed() >= Duration::from_secs(2), "{most} in {:?}", begin.elapsed());
        assert!(words.iter().all(|at| at.elapsed() < SOON), "the other's come at once");
        assert_eq!((late, house.node.metrics.data_senders_cut.total()), (0, 0));
        house.node.workers.stop();
    }
}

/// What was said to it that long ago is almost too old.
const NEARLY_OVERDUE: Duration = Duration::from_millis(9_000);

/// How often it is tried: whoever waits for a processor hears of the end late, and answers too late himself.
const TRIES: usize = 3;

fn one_falls_silent(say: impl Fn(&House, PeerId)) {
    let mut tries = (0..TRIES).map(|_| put_out_after(&say));
    let is_good = |(took, is_alone)| is_alone && took < Duration::from_millis(900);
    assert!(tries.any(is_good), "it takes too long each time, or the other goes as well");
}

/// Two guests hear the same, of which one has ceased to answer: how long it is still there, and whether the other stays
/// and hears.
fn put_out_after(say: impl Fn(&House, PeerId)) -> (Duration, bool) {
    let mut house = house();
    let mut guests = [Guest::new(&house, 1), Guest::new(&house, 2)];
    connect(&mut guests);
    // What the guests said and what opens is not what is looked for.
    while house.node.hub.try_recv().is_ok() {}
    for guest in &guests {
        say(&house, guest.client.id);
    }
    let begin = Instant::now();
    let [silent, other] = &mut guests;
    let gone = loop {
        assert!(begin.elapsed() < Duration::from_secs(5), "it is still there");
        other.turn();
        if let Ok(ToHub::Worker(FromWorker::PutOut(gone))) = house.node.hub.try_recv().map(|it| *it)
        {
            break gone;
        }
    };
    let took = begin.elapsed();
    other.turn();
    silent.turn();
    assert!(silent.client.is_closed || gone != silent.client.id, "it is told");
    let is_alone = gone == silent.client.id
        && house.node.metrics.data_receivers_cut.total() == 1
        && !other.client.is_closed
        && !other.client.heard.is_empty();
    house.node.workers.stop();
    (took, is_alone)
}

fn send(house: &House, peer: PeerId, since: Timestamp, len: usize) {
    let message = CallContent::new(vec![1; len].into());
    let send = ToWorker::Send { peer, channel: Channel::Reliable, since, message };
    house.node.workers.send(peer.worker, send);
}

#[test]
fn who_does_not_acknowledge_data_is_put_out_alone() {
    one_falls_silent(|house, peer| send(house, peer, house.node.now() - NEARLY_OVERDUE, 100));
}

#[test]
fn who_leaves_no_room_for_data_is_put_out_alone() {
    one_falls_silent(|house, peer| {
        for _ in 0..4 {
            send(house, peer, house.node.now(), peer::CHANNEL_BUFFER_BYTES_MAX / 4);
        }
        // Of this the channel hears nothing.
        send(house, peer, house.node.now() - NEARLY_OVERDUE, 100);
    });
}

/// Somebody who copies a file to two others, one on another worker, of whom one reads nothing for a while. The test is
/// the hub.
struct Copying {
    house: House,
    ada: Guest,
    ben: Guest,
    cy: Guest,
    said: u32,
    passed: u32,
}

impl Copying {
    const CHUNK: usize = 14_000;
    /// 4 MB.
    const CHUNKS: u32 = 286;

    fn new() -> Self {
        let house = house();
        let at = |worker, index| Guest::at(&house, PeerId { worker: WorkerId(worker), index });
        let mut guests = [at(0, 1), at(0, 2), at(1, 3)];
        connect(&mut guests);
        let [ada, ben, cy] = guests;
        Self { house, ada, ben, cy, said: 0, passed: 0 }
    }

    fn turn(&mut self, ben_reads: bool) {
        let mut chunk = [0; Self::CHUNK];
        chunk[..4].copy_from_slice(&self.said.to_be_bytes());
        if self.said < Self::CHUNKS && self.ada.client.say(&chunk) {
            self.said += 1;
        }
        self.ada.turn();
        self.cy.turn();
        if ben_reads {
            self.ben.turn();
        }
        while let Ok(message) = self.house.node.hub.try_recv() {
            let ToHub::Worker(message) = *message else { panic!("not a worker's") };
            match message {
                FromWorker::Message(_, channel, since, content) => {
                    self.passed += 1;
                    let message: Arc<[u8]> = content.into_inner().into();
                    for peer in [self.ben.client.id, self.cy.client.id] {
                        let message = CallContent::new(Arc::clone(&message));
                        let send = ToWorker::Send { peer, channel, since, message };
                        self.house.node.workers.send(peer.worker, send);
                    }
                }
                FromWorker::Closed(peer) | FromWorker::PutOut(peer) => {
                    panic!("{peer:?} is put out")
                }
                FromWorker::Connected(_) | FromWorker::ChannelOpen(..) | FromWorker::Report(_) => {}
            }
        }
    }
}

#[test]
fn who_reads_nothing_for_a_while_is_not_put_out_and_everything_arrives() {
    let mut copying = Copying::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        copying.turn(false);
    }
    let metrics = Arc::clone(&copying.house.node.metrics);
    assert_eq!(metrics.data_receivers_lagged.total(), 1);
    let passed = usize::try_from(copying.passed).unwrap() * Copying::CHUNK;
    // Its channel holds 256 KiB, 128 KiB may wait; what was on its way, and what is read in any case.
    assert!((390_000..2_000_000).contains(&passed), "{passed} bytes were read");
    assert!(copying.said < Copying::CHUNKS, "ada waits");

    let begin = Instant::now();
    let all = usize::try_from(Copying::CHUNKS).unwrap();
    while copying.ben.client.heard.len() < all || copying.cy.client.heard.len() < all {
        assert!(begin.elapsed() < Duration::from_secs(20), "{} passed", copying.passed);
        copying.turn(true);
    }
    for guest in [&copying.ben, &copying.cy] {
        for (number, chunk) in (0_u32..).zip(&guest.client.heard) {
            assert_eq!(chunk[..4], number.to_be_bytes(), "in order, each once");
        }
    }
    assert_eq!((metrics.data_receivers_cut.total(), metrics.data_senders_cut.total()), (0, 0));
    copying.house.node.workers.stop();
}

#[test]
fn a_datagram_at_the_wrong_socket_reaches_its_owner() {
    let house = house();
    // One of the two owners is not the worker whose socket the kernel chose.
    for worker in [WorkerId(0), WorkerId(1)] {
        let ufrag = house.node.door.mint(PeerId { worker, index: 1 }, 0);
        house.is_ignored(&binding_request(&ufrag), |metrics| &metrics.knocks_late);
    }
    assert_eq!(house.node.metrics.hops_made.total(), 1);
    house.node.workers.stop();
}

/// Until all of them have their reliable channel.
fn connect(guests: &mut [Guest]) {
    let patience = Instant::now() + Duration::from_secs(60);
    while guests.iter().any(|guest| guest.client.reliable.is_none()) {
        assert!(Instant::now() < patience, "nobody answers");
        guests.iter_mut().for_each(Guest::turn);
    }
}

#[test]
fn a_worker_without_peers_hears_nothing_and_nobody_is_lost_when_it_gets_one() {
    let mut house = house();
    // Until its worker has met it, the kernel divides the first one's datagrams among both.
    let mut guests = vec![Guest::new(&house, 1)];
    connect(&mut guests);
    let hops = house.node.metrics.hops_made.total();
    guests.extend((2..=12).map(|index| Guest::new(&house, index)));
    connect(&mut guests);
    let paths = u64::try_from(guests.len()).unwrap();
    assert!(
        house.node.metrics.hops_made.total() <= hops + 2 * paths,
        "a word about each path, another once it is open, and no datagram"
    );

    // From now on the kernel divides them among both.
    guests.push(Guest::at(&house, PeerId { worker: WorkerId(1), index: 99 }));
    connect(&mut guests);
    let (mut said, mut came) = (0, 0);
    let patience = Instant::now() + Duration::from_secs(60);
    while came < 200 {
        assert!(Instant::now() < patience, "{came} of {said} came");
        if said < 200 {
            for guest in &mut guests {
                guest.client.say(&[1]);
            }
            said += guests.len();
        }
        guests.iter_mut().for_each(Guest::turn);
        while let Ok(message) = house.node.hub.try_recv() {
            came += usize::from(matches!(*message, ToHub::Worker(FromWorker::Message(..))));
        }
    }
    assert!(
        house.node.metrics.hops_made.total() > hops + 4 * paths,
        "some arrive at the other worker now"
    );
    assert_eq!(house.node.metrics.datagrams_unproven.total(), 0, "where their owner was known");
    house.node.workers.stop();
}

#[test]
fn a_port_that_is_taken_is_not_shared() {
    let house = house();
    let taken = SocketAddr::from(([127, 0, 0, 1], house.node.workers.udp_port()));
    assert!(claim(taken).is_err());
    house.node.workers.stop();
    assert!(claim(taken).is_ok());
}
