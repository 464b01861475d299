//! Two workers on loopback, and strangers who send them what they should not answer.

use std::net::UdpSocket;
use std::time::Duration;

use model::{Path, PeerId, Timestamp};
use peer::{ChannelId, Event, IceCredentials, Output, Peer, Remote};
use rtp::packet::Datagram;
use tokio::sync::mpsc::Receiver as HubInbox;

use super::*;
use crate::limits::{DATA_MESSAGES_BURST, HUB_INBOX_MAX};
use crate::metrics::Counter;

struct House {
    workers: Workers,
    factory: Arc<PeerFactory>,
    door: Arc<Door>,
    metrics: Arc<Metrics>,
    hub: HubInbox<ToHub>,
    origin: Instant,
    stranger: UdpSocket,
}

fn house() -> House {
    let origin = Instant::now();
    let door = Arc::new(Door::new(&[7; 32]));
    let metrics = Arc::new(Metrics::default());
    let (to_hub, hub) = mpsc::channel(HUB_INBOX_MAX);
    let factory = Arc::new(PeerFactory::new(origin).unwrap());
    let workers = Workers::start(WorkersConfig {
        count: 2,
        udp_bind: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        door: Arc::clone(&door),
        factory: Arc::clone(&factory),
        origin,
        to_hub,
        metrics: Arc::clone(&metrics),
    })
    .unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(("127.0.0.1", workers.udp_port())).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    House { workers, factory, door, metrics, hub, origin, stranger }
}

impl House {
    /// Sends `datagram` and waits until `counter` has seen it; nothing may come back.
    fn is_ignored(&self, datagram: &[u8], counter: impl Fn(&Metrics) -> &Counter) {
        let before = counter(&self.metrics).total();
        self.stranger.send(datagram).unwrap();
        let patience = Instant::now() + Duration::from_secs(5);
        while counter(&self.metrics).total() == before {
            assert!(Instant::now() < patience, "never counted");
            std::thread::yield_now();
        }
        assert!(self.stranger.recv(&mut [0; 2048]).is_err(), "nobody answers");
    }
}

/// A client with a transport, and what the test reads of it.
struct Caller {
    id: PeerId,
    socket: UdpSocket,
    peer: Peer,
    origin: Instant,
    wake: Timestamp,
    reliable: Option<ChannelId>,
    is_closed: bool,
}

impl Caller {
    /// Has the house expect somebody, and begins to come.
    fn new(house: &House, index: u32) -> Self {
        Self::at(house, PeerId { worker: WorkerId(0), index })
    }

    fn at(house: &House, id: PeerId) -> Self {
        let pwd: Box<str> = "p".repeat(22).into();
        let theirs = IceCredentials { ufrag: house.door.mint(id, 0), pwd: pwd.clone() };
        let ours = IceCredentials { ufrag: "ours".into(), pwd };
        let fingerprint = house.factory.fingerprint().clone();
        house.workers.send(
            id.worker,
            ToWorker::AddPeer(Box::new(NewPeer {
                peer: id,
                local: theirs.clone(),
                remote: ours.clone(),
                fingerprint: fingerprint.clone(),
            })),
        );
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let remote = SocketAddr::from(([127, 0, 0, 1], house.workers.udp_port()));
        socket.connect(remote).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let path = Path::udp(socket.local_addr().unwrap(), remote);
        let server = Remote { ice: theirs, fingerprint };
        let now = Timestamp::ZERO + house.origin.elapsed();
        let peer = Peer::client(&house.factory, &ours, &server, path, now).unwrap();
        let (origin, wake) = (house.origin, Timestamp::ZERO);
        Self { id, socket, peer, origin, wake, reliable: None, is_closed: false }
    }

    /// Reads what has come, does what is due, sends what follows.
    fn turn(&mut self) {
        let now = Timestamp::ZERO + self.origin.elapsed();
        let mut buffer = [0; 2048];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            let datagram = &buffer[..len];
            let (local, remote) = (self.socket.local_addr(), self.socket.peer_addr());
            let path = Path::udp(local.unwrap(), remote.unwrap());
            if Datagram::classify(datagram) == Datagram::Stun {
                self.peer.handle_stun(now, path, datagram);
            } else {
                self.peer.handle_dtls(now, datagram);
            }
            self.drain();
        }
        if self.wake <= now {
            self.peer.handle_timeout(now);
        }
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.peer.poll() {
                Output::Transmit(transmit) => {
                    self.socket.send(&transmit.datagram).ok();
                }
                Output::Event(Event::ChannelOpen(id, label)) => {
                    if &*label == "_reliable" {
                        self.reliable = Some(id);
                    }
                }
                Output::Event(Event::Closed) => self.is_closed = true,
                Output::Event(_) => {}
                Output::Wait(at) => {
                    self.wake = at;
                    break;
                }
            }
        }
    }

    /// Sends one byte, if there is room for it.
    fn say(&mut self) {
        if let Some(reliable) = self.reliable {
            let now = Timestamp::ZERO + self.origin.elapsed();
            self.peer.send(now, reliable, &[1]);
        }
    }
}

fn binding_request(ufrag: &str) -> Vec<u8> {
    let name = format!("{ufrag}:them");
    let padded = name.len().next_multiple_of(4);
    let mut datagram = vec![0, 1, 0, u8::try_from(4 + padded).unwrap(), 0x21, 0x12, 0xa4, 0x42];
    datagram.extend_from_slice(&[9; 12]);
    datagram.extend_from_slice(&[0, 6, 0, u8::try_from(name.len()).unwrap()]);
    datagram.extend_from_slice(name.as_bytes());
    datagram.resize(20 + 4 + padded, 0);
    datagram
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
    house.workers.stop();
    assert_eq!(house.metrics.worker_panics.total(), 0);
    assert_eq!(house.metrics.datagrams_sent.total(), 0);
}

/// Reliable data cannot just be missing, so whoever sends too much of it is given up; others are not.
#[test]
fn who_sends_reliable_data_over_the_rate_is_put_out_alone() {
    let mut house = house();
    let mut callers = [Caller::new(&house, 1), Caller::new(&house, 2)];
    let [flooder, other] = [callers[0].id, callers[1].id];
    let (mut from_flooder, mut from_other, mut put_out) = (0u64, 0, Vec::new());
    let mut said_since = 0;
    let patience = Instant::now() + Duration::from_secs(60);
    while said_since < 20 {
        assert!(Instant::now() < patience, "{from_flooder} came, {put_out:?} put out");
        let [first, second] = &mut callers;
        if first.reliable.is_some() && second.reliable.is_some() {
            for _ in 0..50 {
                first.say();
            }
            second.say();
        }
        first.turn();
        second.turn();
        while let Ok(message) = house.hub.try_recv() {
            let ToHub::Worker(message) = message else { panic!("{message:?}") };
            if let FromWorker::Message(id, ..) = message {
                from_flooder += u64::from(id == flooder);
                from_other += u64::from(id == other);
                said_since += usize::from(id == other && !put_out.is_empty());
            } else if let FromWorker::Closed(id) = message {
                put_out.push(id);
            }
        }
    }
    assert_eq!(put_out, [flooder]);
    assert!(from_flooder >= DATA_MESSAGES_BURST, "{from_flooder} are within the burst");
    assert!(from_other > 20);
    assert_eq!(house.metrics.data_senders_cut.total(), 1);
    assert!(callers[0].is_closed && !callers[1].is_closed);
    house.workers.stop();
}

#[test]
fn a_datagram_at_the_wrong_socket_reaches_its_owner() {
    let house = house();
    // One of the two owners is not the worker whose socket the kernel chose.
    for worker in [WorkerId(0), WorkerId(1)] {
        let ufrag = house.door.mint(PeerId { worker, index: 1 }, 0);
        house.is_ignored(&binding_request(&ufrag), |metrics| &metrics.knocks_late);
    }
    assert_eq!(house.metrics.hops_made.total(), 1);
    house.workers.stop();
}

/// Until all of them have their reliable channel.
fn connect(callers: &mut [Caller]) {
    let patience = Instant::now() + Duration::from_secs(60);
    while callers.iter().any(|caller| caller.reliable.is_none()) {
        assert!(Instant::now() < patience, "nobody answers");
        callers.iter_mut().for_each(Caller::turn);
    }
}

#[test]
fn a_worker_without_peers_hears_nothing_and_nobody_is_lost_when_it_gets_one() {
    let mut house = house();
    let mut callers: Vec<Caller> = (1..=12).map(|index| Caller::new(&house, index)).collect();
    connect(&mut callers);
    let paths = u64::try_from(callers.len()).unwrap();
    assert_eq!(house.metrics.hops_made.total(), paths, "a word about each path and no datagram");

    // From now on the kernel divides them among both.
    callers.push(Caller::at(&house, PeerId { worker: WorkerId(1), index: 99 }));
    connect(&mut callers);
    let (mut said, mut came) = (0, 0);
    let patience = Instant::now() + Duration::from_secs(60);
    while came < 200 {
        assert!(Instant::now() < patience, "{came} of {said} came");
        if said < 200 {
            callers.iter_mut().for_each(Caller::say);
            said += callers.len();
        }
        callers.iter_mut().for_each(Caller::turn);
        while let Ok(message) = house.hub.try_recv() {
            came += usize::from(matches!(message, ToHub::Worker(FromWorker::Message(..))));
        }
    }
    assert!(house.metrics.hops_made.total() > 2 * paths, "some arrive at the other worker now");
    assert_eq!(house.metrics.datagrams_unproven.total(), 0, "where their owner was known");
    house.workers.stop();
}

#[test]
fn a_port_that_is_taken_is_not_shared() {
    let house = house();
    let taken = SocketAddr::from(([127, 0, 0, 1], house.workers.udp_port()));
    assert!(claim(&[taken]).is_err());
    house.workers.stop();
    assert!(claim(&[taken]).is_ok());
}
