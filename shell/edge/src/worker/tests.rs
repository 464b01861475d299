//! Two workers on loopback, and strangers who send them what they should not answer.

use std::net::UdpSocket;
use std::time::Duration;

use model::PeerId;
use tokio::sync::mpsc::Receiver as HubInbox;

use super::*;
use crate::metrics::Counter;

struct House {
    workers: Workers,
    door: Arc<Door>,
    metrics: Arc<Metrics>,
    _hub: HubInbox<ToHub>,
    stranger: UdpSocket,
}

fn house() -> House {
    let origin = Instant::now();
    let door = Arc::new(Door::new(&[7; 32]));
    let metrics = Arc::new(Metrics::default());
    let (to_hub, hub) = mpsc::channel(16);
    let workers = Workers::start(WorkersConfig {
        count: 2,
        udp_bind: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        door: Arc::clone(&door),
        factory: Arc::new(PeerFactory::new(origin).unwrap()),
        origin,
        to_hub,
        metrics: Arc::clone(&metrics),
    })
    .unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(("127.0.0.1", workers.udp_port())).unwrap();
    stranger.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    House { workers, door, metrics, _hub: hub, stranger }
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

#[test]
fn a_port_that_is_taken_is_not_shared() {
    let house = house();
    let taken = SocketAddr::from(([127, 0, 0, 1], house.workers.udp_port()));
    assert!(claim(&[taken]).is_err());
    house.workers.stop();
    assert!(claim(&[taken]).is_ok());
}
