//! A worker that nobody runs: panics, budgets, paths, rests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::mpsc::channel;

use model::{CallContent, Carrier, Path, RoomId};
use peer::framing::Frames;
use peer::{BindingRequest, Fingerprint, IceCredentials, Output, Peer, Remote};
use rtp::packet::Datagram;
use sfu::Instruction;

use super::*;
use crate::limits::WAITING_BYTES_MAX;
use crate::sys;
use crate::worker::hop::Hop;
use crate::worker::path::Proof;
use crate::worker::{Channel, Crowd, NewPeer, RoomLag, tcp};

const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

const OTHER: WorkerId = WorkerId(1);

/// A worker that nobody runs, and what it tells the hub.
fn worker() -> (Worker, mpsc::Receiver<Box<ToHub>>) {
    let (worker, hub, _) = worker_beside_another();
    (worker, hub)
}

/// The same, and the ways out of another.
fn worker_beside_another() -> (Worker, mpsc::Receiver<Box<ToHub>>, Hops) {
    worker_that_hears(channel().1)
}

/// The same, of a worker that hears what the hub says.
fn worker_that_hears(inbox: Receiver<ToWorker>) -> (Worker, mpsc::Receiver<Box<ToHub>>, Hops) {
    let metrics = Arc::new(Metrics::default());
    let bell = Arc::new(Bell::new().unwrap());
    let bells = [Arc::clone(&bell), Arc::new(Bell::new().unwrap())];
    let [(hops, inbound), (others, _)] = Hops::between(&bells, &metrics).try_into().ok().unwrap();
    let (to_hub, hub) = mpsc::channel(16);
    let origin = Instant::now();
    let worker = Worker::new(Parts {
        id: WorkerId(0),
        bell,
        inbox,
        load: Arc::new(Load::new(&Crowd::default())),
        tcp: mpsc::channel(1).1,
        sockets: vec![MediaSocket::bind(ADDRESS).unwrap()],
        received: Mapping::new(sys::RECEIVE_BYTES).unwrap(),
        steering: Arc::new(Steering::new(5)),
        hops,
        inbound,
        door: Arc::new(Door::new(&[7; 32])),
        factory: Arc::new(PeerFactory::new(origin).unwrap()),
        origin,
        seed: 5,
        to_hub,
        metrics,
    });
    (worker, hub, others)
}

fn peer(index: u32) -> PeerId {
    PeerId { worker: WorkerId(0), index }
}

fn named(ufrag: &str) -> IceCredentials {
    IceCredentials { ufrag: ufrag.into(), pwd: "p".repeat(22).into() }
}

/// Its name is one of the door's, and its client's is `ours`.
fn added(worker: &Worker, index: u32) -> ToWorker {
    let fingerprint = Fingerprint { algorithm: "sha-256".into(), bytes: vec![7; 32] };
    ToWorker::AddPeer(Box::new(NewPeer {
        peer: peer(index),
        local: named(&worker.door.mint(peer(index), 0)),
        remote: named("ours"),
        fingerprint,
        lag: RoomLag::default(),
    }))
}

fn add(worker: &mut Worker, index: u32) {
    let (now, added) = (worker.now(), added(worker, index));
    assert!(worker.guard(|worker| worker.obey(now, added)));
}

#[test]
fn a_panic_over_one_peer_ends_that_peer_alone() {
    let (mut worker, mut hub) = worker();
    for index in 0..3 {
        add(&mut worker, index);
    }
    let now = worker.now();
    let is_whole = worker.guard(|worker| worker.drive(now, peer(1), |_, _| panic!("a test's")));
    assert!(!is_whole);
    assert_eq!(worker.metrics.worker_panics.total(), 1);
    assert!(matches!(
        hub.try_recv().map(|it| *it),
        Ok(ToHub::Worker(FromWorker::PutOut(gone))) if gone == peer(1)
    ));
    let mut left: Vec<PeerId> = worker.seats.keys().copied().collect();
    left.sort();
    assert_eq!(left, [peer(0), peer(2)]);
    assert!(worker.timers.iter().all(|(_, id)| *id != peer(1)), "nothing wakes it");
    let mut turns = 0;
    for id in left {
        assert!(worker.guard(|worker| worker.drive(now, id, |_, _| {
            turns += 1;
            true
        })));
    }
    assert_eq!(turns, 2, "the others are served");
    add(&mut worker, 1);
    assert!(worker.seats.contains_key(&peer(1)), "and so is who comes again");
    assert!(hub.try_recv().is_err(), "nobody else is said to be gone");
}

#[test]
fn a_network_that_knocks_too_often_is_not_heard_and_others_are() {
    let (mut worker, _hub) = worker();
    let knock = |worker: &mut Worker, remote: [u8; 4]| {
        let name = worker.door.mint(peer(0), 0);
        let request = BindingRequest { local_ufrag: name.as_bytes() };
        let path = Path::udp(ADDRESS, SocketAddr::from((remote, 5000)));
        worker.knock(Timestamp::from_millis(5), path, request, &[], false);
    };
    for _ in 0..KNOCKS_BURST + 1000 {
        knock(&mut worker, [192, 0, 2, 7]);
    }
    assert_eq!(worker.metrics.knocks_over_budget.total(), 1000);
    let late = worker.metrics.knocks_late.total();
    for net in 0..8 {
        knock(&mut worker, [198, 51, net, 7]);
    }
    assert!(worker.metrics.knocks_late.total() > late, "they reach the table of peers");
}

/// A peer's client over some path.
fn client(worker: &Worker, index: u32, path: Path) -> Peer {
    let theirs = named(&worker.door.mint(peer(index), 0));
    let server = Remote { ice: theirs, fingerprint: worker.factory.fingerprint().clone() };
    let now = worker.now();
    let mut client = Peer::client(&worker.factory, &named("ours"), &server, path, now).unwrap();
    client.handle_timeout(now);
    client
}

/// What a client sends next.
fn said(client: &mut Peer) -> Vec<u8> {
    let Output::Transmit(transmit) = client.poll() else { panic!("it says nothing") };
    transmit.datagram
}

/// A check of a peer's client over some path.
fn check(worker: &Worker, index: u32, path: Path) -> Vec<u8> {
    said(&mut client(worker, index, path))
}

/// What goes to the client would else go nowhere until its consent ends.
#[tokio::test]
async fn a_peer_hears_that_its_connection_has_ended() {
    let (mut worker, _hub) = worker();
    add(&mut worker, 0);
    let remote = SocketAddr::from(([192, 0, 2, 7], 5000));
    let path = Path { carrier: Carrier::tcp(NonZeroU32::MIN), ..Path::udp(ADDRESS, remote) };
    let (going, mut leaving, _let_go) = tcp::channel(&worker.metrics);
    worker.outlet.connections.add(path, peer(0), going);
    let mut client = client(&worker, 0, path);
    let now = worker.now();
    worker.take(now, path, Datagram::Stun, &said(&mut client), false);
    let is_open = |worker: &Worker| worker.seats[&peer(0)].peer.is_open(&path, now);
    for _answer_or_check in 0..2 {
        let parcel = leaving.next().await.unwrap();
        let frame = Frames::new(&parcel.frames).next().unwrap().unwrap();
        client.handle_stun(now, path, frame);
        if let Output::Transmit(answer) = client.poll() {
            worker.take(now, path, Datagram::Stun, &answer.datagram, false);
        }
    }
    assert!(is_open(&worker));
    worker.lose(now, &path);
    assert!(!is_open(&worker));
}

/// Or who forges an address would take away what comes from there.
#[test]
fn nobody_takes_a_path_that_a_peer_of_another_worker_proves() {
    let (mut worker, _hub) = worker();
    add(&mut worker, 0);
    let path = Path::udp(ADDRESS, SocketAddr::from(([192, 0, 2, 7], 5000)));
    let check = check(&worker, 0, path);
    for proof in [Proof::Sends, Proof::Receives] {
        let now = worker.now();
        worker.land(now, &Hop::Owned(path, OTHER, proof), &[]);
        worker.take(now, path, Datagram::Stun, &check, false);
        assert_eq!((worker.paths.get(&path), worker.routes.get(&path)), (None, Some(OTHER)));
    }
    assert_eq!(worker.metrics.paths_contested.total(), 2);
    let now = worker.now();
    worker.land(now, &Hop::Disowned(path, OTHER), &[]);
    worker.take(now, path, Datagram::Stun, &check, false);
    assert_eq!((worker.paths.get(&path), worker.routes.get(&path)), (Some(peer(0)), None));
}

/// A client that has moved may not check again for seconds, in which it would hear nothing.
#[test]
fn media_over_a_path_that_has_answered_nothing_pays_for_another_check_of_ours() {
    let (mut worker, _hub) = worker();
    add(&mut worker, 0);
    let join = Instruction::AddPeer { peer: peer(0), room: RoomId(1) };
    let now = worker.now();
    worker.obey(now, ToWorker::Instruct(join));
    let client = std::net::UdpSocket::bind(ADDRESS).unwrap();
    let local = worker.outlet.sockets[0].bound();
    let path = Path::udp(local, client.local_addr().unwrap());
    let check = check(&worker, 0, path);
    worker.take(now, path, Datagram::Stun, &check, false);
    let sent = |worker: &Worker| worker.metrics.datagrams_sent.total();
    assert_eq!(sent(&worker), 2, "our answer, and a check that is lost");
    let mut say = |millis, len| {
        let now = now + Duration::from_millis(millis);
        worker.take_one(now, path, &vec![0x80; len]);
        sent(&worker)
    };
    assert_eq!(say(10, 1000), 2, "it may be on its way");
    assert_eq!(say(20, 20), 3);
    assert_eq!(say(30, 20), 3);
    assert_eq!(say(40, 20), 4);
    // What came is more than all of it.
    let mut buffer = [0; 2048];
    let gone: usize = (0..4).map(|_| client.recv(&mut buffer).unwrap()).sum();
    assert!(gone < check.len() + 1000, "{gone}");
}

#[test]
fn a_knock_that_nobody_authenticated_teaches_no_route() {
    let (mut worker, _hub) = worker();
    let name = worker.door.mint(PeerId { worker: WorkerId(1), index: 0 }, 0);
    let request = BindingRequest { local_ufrag: name.as_bytes() };
    let path = Path::udp(ADDRESS, SocketAddr::from(([192, 0, 2, 7], 5000)));
    worker.knock(worker.now(), path, request, &[], false);
    assert_eq!(worker.routes.get(&path), None);
}

/// The client's hello would else be lost, and its join take a second longer.
#[test]
fn what_another_worker_said_of_a_path_is_heard_before_what_comes_over_it() {
    let (mut worker, _hub, mut others) = worker_beside_another();
    let client = std::net::UdpSocket::bind(ADDRESS).unwrap();
    let local = worker.outlet.sockets[0].bound();
    // The other one rings when its turn is over.
    others.own(Path::udp(local, client.local_addr().unwrap()), OTHER, Proof::Sends);
    client.send_to(&[22; 100], local).unwrap();
    worker.waiter.wait(Duration::from_secs(10));
    let hops = worker.metrics.hops_made.total();
    assert!(worker.receive());
    assert_eq!(worker.metrics.datagrams_received.total(), 1);
    assert_eq!(worker.metrics.datagrams_unproven.total(), 0);
    assert_eq!(worker.metrics.hops_made.total(), hops + 1, "it is handed over");
}

/// The client's first check would else be lost, and its join take as long as until the next.
#[test]
fn what_the_hub_said_of_a_peer_is_heard_before_what_comes_from_it() {
    let (queue, inbox) = channel();
    let (mut worker, _hub, _others) = worker_that_hears(inbox);
    let client = std::net::UdpSocket::bind(ADDRESS).unwrap();
    let local = worker.outlet.sockets[0].bound();
    let check = check(&worker, 0, Path::udp(local, client.local_addr().unwrap()));
    client.send_to(&check, local).unwrap();
    worker.waiter.wait(Duration::from_secs(10));
    // It is said while a turn is under way that has looked at the queues already.
    queue.send(added(&worker, 0)).unwrap();
    worker.bell.ring();
    assert!(worker.receive());
    assert_eq!(worker.metrics.knocks_late.total(), 0);
    assert_eq!(worker.metrics.datagrams_sent.total(), 2);
    client.send_to(&check, local).unwrap();
    worker.waiter.wait(Duration::from_secs(10));
    queue.send(ToWorker::Stop).unwrap();
    assert!(!worker.receive(), "nor does a stop wait");
}

#[test]
fn when_too_much_waits_those_for_whom_it_waits_longest_are_given_up() {
    const LEN: usize = 1 << 20;
    let (mut worker, mut hub) = worker();
    for index in 0..3 {
        add(&mut worker, index);
        let seat = worker.seats.get_mut(&peer(index)).unwrap();
        seat.open(peer::ChannelId::default(), "_reliable");
    }
    let now = worker.now();
    let mut send = |index, millis| {
        assert!(worker.load.add(peer(index), Channel::Reliable, LEN));
        let since = Timestamp::from_millis(millis);
        let message = CallContent::new(vec![1; LEN].into());
        let (peer, channel) = (peer(index), Channel::Reliable);
        worker.obey(now, ToWorker::Send { peer, channel, since, message });
    };
    send(1, 5);
    send(2, 3);
    send(0, 4);
    for _ in 0..WAITING_BYTES_MAX / LEN - 3 {
        send(0, 4);
    }
    assert!(hub.try_recv().is_err(), "it is not too much yet");
    send(0, 4);
    let gone = |hub: &mut mpsc::Receiver<Box<ToHub>>| {
        let told = *hub.try_recv().ok()?;
        if let ToHub::Worker(FromWorker::PutOut(gone)) = told { Some(gone) } else { None }
    };
    assert_eq!(gone(&mut hub), Some(peer(2)));
    send(1, 6);
    assert_eq!(gone(&mut hub), Some(peer(0)));
    assert_eq!(gone(&mut hub), None);
    assert_eq!(worker.metrics.data_receivers_cut.total(), 2);
    assert_eq!(worker.metrics.data_receivers_lagged.total(), 3);
    worker.forget(peer(1));
    assert!(worker.pile.is_empty() && !worker.load.is_crowded());
}

#[test]
fn a_panic_over_nobody_ends_nobody() {
    let (mut worker, mut hub) = worker();
    add(&mut worker, 0);
    assert!(!worker.guard(|_| panic!("a test's")));
    assert_eq!(worker.metrics.worker_panics.total(), 1);
    assert_eq!(worker.seats.len(), 1);
    assert!(hub.try_recv().is_err());
}

#[test]
fn a_worker_rests_after_small_turns_and_not_when_it_is_behind() {
    let millis = Duration::from_millis;
    assert_eq!(rest(Duration::from_micros(10)), REST_MIN);
    assert_eq!(rest(Duration::from_micros(150)), millis(3));
    assert_eq!(rest(millis(1)), REST_MAX);
    assert_eq!(rest(REST_MAX), Duration::ZERO);
}
