//! Clients whose only way is TCP, and what else connects there.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream as Socket};
use std::time::Instant;

use model::{CallContent, WorkerId};
use peer::Output;
use peer::framing::frame;
use rtp::packet::Datagram;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::*;
use crate::client::{Client, Node, binding_request};
use crate::limits::{TCP_QUEUE_BYTES_MAX, TCP_RESERVE_BYTES};
use crate::port;
use crate::session::ToHub;
use crate::worker::{Channel, FromWorker, ToWorker};

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);

struct House {
    runtime: Runtime,
    serving: JoinHandle<()>,
    phase: watch::Sender<Phase>,
    node: Node,
    address: SocketAddr,
}

fn house(bounds: Bounds) -> House {
    let node = Node::start();
    let runtime = Runtime::new().unwrap();
    let (phase, watched) = watch::channel(Phase::Open);
    let (address, serving) = {
        let _within = runtime.enter();
        let listener = port::bind_for_media(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let listener = port::listen(listener).unwrap();
        let address = listener.local_addr().unwrap();
        let front = Front {
            door: Arc::clone(&node.door),
            workers: Arc::clone(&node.workers),
            metrics: Arc::clone(&node.metrics),
            bounds,
        };
        (address, tokio::spawn(serve(vec![listener], Arc::new(front), watched)))
    };
    House { runtime, serving, phase, node, address }
}

impl House {
    fn connect(&self) -> Socket {
        let socket = Socket::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// A connection for which this end's kernel keeps little that is not read.
    fn connect_narrowly(&self) -> Socket {
        let connecting = async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.connect(self.address).await.unwrap().into_std().unwrap()
        };
        let socket = self.runtime.block_on(connecting);
        socket.set_nonblocking(false).unwrap();
        socket
    }

    /// Sends `bytes` on a connection of their own: it is cut, counted, and nothing comes back.
    fn cuts(&self, bytes: &[u8], counter: impl Fn(&Metrics) -> &Counter) {
        let before = counter(&self.node.metrics).total();
        let mut socket = self.connect();
        socket.write_all(bytes).unwrap();
        let answer = match socket.read(&mut [0; 64]) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(answer, 0, "nobody answers");
        self.counts(before + 1, counter);
    }

    fn counts(&self, expect: u64, counter: impl Fn(&Metrics) -> &Counter) {
        let patience = Instant::now() + PATIENCE;
        while counter(&self.node.metrics).total() != expect {
            assert!(Instant::now() < patience, "{} counted", counter(&self.node.metrics).total());
            std::thread::yield_now();
        }
    }

    fn stop(self) {
        self.phase.send_replace(Phase::Closing);
        self.node.workers.stop();
        self.runtime.block_on(self.serving).unwrap();
        assert_eq!(self.node.metrics.worker_panics.total(), 0);
        assert_eq!(self.node.metrics.connections_panicked.total(), 0);
    }
}

/// A client over TCP.
struct Guest {
    client: Client,
    socket: Socket,
    kept: Vec<u8>,
}

impl Guest {
    fn new(house: &House, worker: u8, index: u32) -> Self {
        Self::over(house, worker, index, house.connect())
    }

    fn over(house: &House, worker: u8, index: u32, socket: Socket) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let path = Path::udp(socket.local_addr().unwrap(), house.address);
        let id = PeerId { worker: WorkerId(worker), index };
        Self { client: Client::new(&house.node, id, path), socket, kept: Vec::new() }
    }

    /// Reads what has come, does what is due, sends what follows.
    fn turn(&mut self) {
        let mut buffer = [0; 4096];
        if let Ok(length) = self.socket.read(&mut buffer) {
            self.kept.extend_from_slice(&buffer[..length]);
            let mut frames = Frames::new(&self.kept);
            for datagram in frames.by_ref().map(Result::unwrap) {
                self.client.take(datagram);
            }
            let taken = frames.taken();
            self.kept.drain(..taken);
            self.drain();
        }
        self.client.fire();
        self.drain();
    }

    fn drain(&mut self) {
        // One that was cut finds out when it reads.
        self.client.drain(|datagram| {
            self.socket.write_all(&frame(datagram, datagram.len())).ok();
        });
    }

    /// Sends a check over and over, each of which is answered, and reads no answer. How many bytes it has sent.
    fn asks_and_reads_nothing(
        &mut self,
        house: &House,
        is_enough: impl Fn(&Metrics) -> bool,
    ) -> usize {
        self.client.peer.handle_timeout(self.client.wake + Duration::from_secs(3));
        let mut check = Vec::new();
        loop {
            match self.client.peer.poll() {
                Output::Transmit(it) if Datagram::classify(&it.datagram) == Datagram::Stun => {
                    check = frame(&it.datagram, it.datagram.len());
                }
                Output::Transmit(_) | Output::Event(_) => {}
                Output::Wait(_) => break,
            }
        }
        assert!(!check.is_empty());
        self.socket.set_write_timeout(Some(SHORT)).unwrap();
        let many = check.repeat(100);
        let patience = Instant::now() + PATIENCE;
        let mut asked = 0;
        while !is_enough(&house.node.metrics) && self.socket.write_all(&many).is_ok() {
            assert!(Instant::now() < patience, "{asked} bytes, and all were answered");
            asked += many.len();
        }
        asked
    }

    fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let patience = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < patience, "{what}");
            self.turn();
        }
    }
}

#[test]
fn a_peer_whose_only_way_is_tcp_talks_both_ways_and_hears_goodbye() {
    let mut house = house(Bounds::default());
    for worker in [0, 1] {
        let mut guest = Guest::new(&house, worker, 1);
        let id = guest.client.id;
        guest.until("no channel opens", |guest| guest.client.reliable.is_some());
        assert!(guest.client.say(b"up"));
        let hub = &mut house.node.hub;
        guest.until("the server hears nothing", |_| {
            matches!(hub.try_recv().map(|it| *it), Ok(ToHub::Worker(FromWorker::Message(from, .., said)))
                if from == id && said.expose() == b"up")
        });
        let message = CallContent::new(b"down".as_slice().into());
        let (channel, since) = (Channel::Reliable, house.node.now());
        house.node.workers.send(id.worker, ToWorker::Send { peer: id, channel, since, message });
        guest.until("the client hears nothing", |guest| guest.client.heard == [b"down"]);
        house.node.workers.send(id.worker, ToWorker::RemovePeer(id));
        guest.until("no goodbye", |guest| guest.client.is_closed);
        guest.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        guest.socket.read_to_end(&mut rest).unwrap();
    }
    assert_eq!(house.node.metrics.tcp_accepted.total(), 2);
    assert_eq!(house.node.metrics.hops_made.total(), 0, "a connection goes to its worker at once");
    house.stop();
}

#[test]
fn what_does_not_begin_with_a_check_for_a_peer_of_ours_is_cut_unanswered() {
    let house = house(Bounds::default());
    let request = |ufrag: &str| {
        let datagram = binding_request(ufrag);
        frame(&datagram, datagram.len())
    };
    house.cuts(b"GET / HTTP/1.1\r\n\r\n", |metrics| &metrics.tcp_malformed);
    house.cuts(&[0x16, 0x03, 0x01, 2, 0, 1], |metrics| &metrics.tcp_malformed);
    house.cuts(&[7; TCP_FIRST_MAX * 2], |metrics| &metrics.tcp_malformed);
    house.cuts(&vec![7; 2 + 1100], |metrics| &metrics.tcp_malformed);
    // A frame that may be there, but not first.
    let long = frame(&[7; TCP_FIRST_MAX], TCP_FIRST_MAX);
    house.cuts(&long, |metrics| &metrics.tcp_malformed);
    let id = PeerId { worker: WorkerId(0), index: 1 };
    let foreign = Door::new(&[8; 32]).mint(id, 0);
    house.cuts(&request(&foreign), |metrics| &metrics.tcp_foreign);
    house.cuts(&frame(&[22; 100], 100), |metrics| &metrics.tcp_foreign);
    let nowhere = house.node.door.mint(PeerId { worker: WorkerId(9), index: 1 }, 0);
    house.cuts(&request(&nowhere), |metrics| &metrics.tcp_foreign);
    assert_eq!(house.node.metrics.datagrams_received.total(), 0, "no worker has seen any of it");
    assert_eq!(house.node.metrics.datagrams_sent.total(), 0);
    house.stop();
}

#[test]
fn who_says_nothing_or_proves_nothing_is_cut_in_time() {
    let house = house(Bounds { first_time: SHORT, ..Bounds::default() });
    let begin = Instant::now();
    house.cuts(b"", |metrics| &metrics.tcp_late);
    house.cuts(b"\0", |metrics| &metrics.tcp_late);
    assert!(begin.elapsed() >= SHORT * 2, "each had its time");
    // It knows the user name, which is no secret, and not the password.
    let guest = Guest::new(&house, 0, 1);
    guest.socket.shutdown(Shutdown::Both).unwrap();
    let mut forger = house.node.client(guest.client.id, &"guess".repeat(5), guest.client.path);
    forger.handle_timeout(house.node.now());
    let Output::Transmit(check) = forger.poll() else { panic!("it asks nothing") };
    house.cuts(&frame(&check.datagram, check.datagram.len()), |metrics| &metrics.tcp_late);
    assert_eq!(house.node.metrics.datagrams_received.total(), 1);
    assert_eq!(house.node.metrics.datagrams_sent.total(), 0);
    house.stop();
}

/// Who knows the passwords of two peers, as both ends of a call on one machine may, gets no second one in.
#[test]
fn another_peer_cannot_come_in_over_a_connection_that_is_taken() {
    let house = house(Bounds::default());
    let mut guest = Guest::new(&house, 0, 1);
    guest.until("no channel opens", |guest| guest.client.reliable.is_some());
    let mut other = Guest::new(&house, 0, 2);
    let taken = other.socket.try_clone().unwrap();
    other.socket = guest.socket.try_clone().unwrap();
    taken.shutdown(Shutdown::Both).unwrap();
    other.client.peer.handle_timeout(house.node.now());
    other.drain();
    house.counts(1, |metrics| &metrics.knocks_foreign);
    guest.until("no channel any more", |guest| guest.client.say(b"still here"));
    assert!(!guest.client.is_closed);
    house.stop();
}

#[test]
fn connections_beyond_what_may_be_are_closed_and_proof_makes_room() {
    let bounds = Bounds {
        all: Arc::new(Semaphore::new(2)),
        unproven: Arc::new(Semaphore::new(1)),
        ..Bounds::default()
    };
    let house = house(bounds);
    is_full_with_two(&house, |metrics| &metrics.tcp_refused);
    house.stop();
}

/// Where two may be, one of them unproven: another unproven one is cut, and so is a third.
fn is_full_with_two(house: &House, cut: impl Fn(&Metrics) -> &Counter) {
    let mut guest = Guest::new(house, 0, 1);
    house.counts(1, |metrics| &metrics.tcp_accepted);
    house.cuts(b"", &cut);
    guest.until("no channel opens", |guest| guest.client.reliable.is_some());
    let _quiet = house.connect();
    house.counts(2, |metrics| &metrics.tcp_accepted);
    house.cuts(b"", &cut);
}

#[test]
fn a_network_has_a_share_of_the_connections() {
    let bounds = Bounds {
        network: SharedBudget::of_places(2),
        network_unproven: SharedBudget::of_places(1),
        ..Bounds::default()
    };
    let house = house(bounds);
    is_full_with_two(&house, |metrics| &metrics.tcp_over_budget);
    assert_eq!(house.node.metrics.tcp_refused.total(), 0, "there is room for other networks");
    house.stop();
}

#[test]
fn who_does_not_read_is_cut_and_little_waits_for_it_meanwhile() {
    let house = house(Bounds { write_time: SHORT, ..Bounds::default() });
    let mut guest = Guest::over(&house, 0, 1, house.connect_narrowly());
    guest.until("no channel opens", |guest| guest.client.reliable.is_some());
    let asked = guest.asks_and_reads_nothing(&house, |metrics| metrics.tcp_slow.total() > 0);
    house.counts(1, |metrics| &metrics.tcp_slow);
    let bound = TCP_QUEUE_BYTES_MAX + TCP_RESERVE_BYTES;
    assert!(asked > bound, "{asked} bytes are too few to show anything");
    assert!(house.node.metrics.tcp_dropped.total() > 0, "what is beyond the bound is dropped");
    house.stop();
}

#[test]
fn who_does_not_read_is_not_waited_for_once_its_peer_is_gone() {
    let all = Arc::new(Semaphore::new(1));
    let house = house(Bounds { all: Arc::clone(&all), ..Bounds::default() });
    let mut guest = Guest::over(&house, 0, 1, house.connect_narrowly());
    guest.until("no channel opens", |guest| guest.client.reliable.is_some());
    guest.asks_and_reads_nothing(&house, |metrics| metrics.tcp_dropped.total() > 0);
    let id = guest.client.id;
    house.node.workers.send(id.worker, ToWorker::RemovePeer(id));
    let gone = Instant::now();
    // A little now and then, as whoever wants to keep the connection would.
    guest.socket.set_read_timeout(Some(SHORT)).unwrap();
    while all.available_permits() == 0 {
        let _trickle = guest.socket.read(&mut [0; 1000]);
        std::thread::sleep(SHORT);
        assert!(gone.elapsed() < Duration::from_secs(2), "it is there still");
    }
    house.stop();
}

#[test]
fn who_does_not_finish_a_frame_is_cut() {
    let house = house(Bounds { frame_time: SHORT, ..Bounds::default() });
    let mut guest = Guest::new(&house, 0, 1);
    guest.until("no channel opens", |guest| guest.client.reliable.is_some());
    std::thread::sleep(SHORT * 2);
    assert_eq!(house.node.metrics.tcp_silent.total(), 0, "between frames it may be silent");
    guest.socket.write_all(&[0, 100, 128]).unwrap();
    house.counts(1, |metrics| &metrics.tcp_silent);
    house.stop();
}
