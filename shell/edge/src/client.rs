//! For tests: two workers on loopback, and a client's transport that calls them over whatever carries it.
//!
//! Owns: how a client comes to be known to a worker, and what a test reads of it.
//! Not here: sockets, which are the tests' own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{Path, PeerId, Timestamp};
use peer::{ChannelId, Door, Event, IceCredentials, Output, Peer, PeerFactory, Remote};
use rtp::packet::Datagram;
use tokio::sync::mpsc;

use crate::limits::HUB_INBOX_MAX;
use crate::metrics::Metrics;
use crate::session::ToHub;
use crate::worker::{NewPeer, RoomLag, ToWorker, Workers, WorkersConfig, claim};

/// The workers, and the inbox of a hub that nobody runs.
pub(crate) struct Node {
    pub(crate) workers: Arc<Workers>,
    pub(crate) factory: Arc<PeerFactory>,
    pub(crate) door: Arc<Door>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hub: mpsc::Receiver<Box<ToHub>>,
    pub(crate) origin: Instant,
    /// Of the room in which all are.
    pub(crate) lag: RoomLag,
}

impl Node {
    pub(crate) fn start() -> Self {
        // As if it had run for a while, so that something may be older than it has taken.
        let origin = Instant::now().checked_sub(Duration::from_secs(60)).unwrap();
        let door = Arc::new(Door::new(&[7; 32]));
        let metrics = Arc::new(Metrics::default());
        let (to_hub, hub) = mpsc::channel(HUB_INBOX_MAX);
        let lag = RoomLag::default();
        let factory = Arc::new(PeerFactory::new(origin).unwrap());
        let workers = Workers::start(WorkersConfig {
            count: 2,
            udp_bind: vec![claim(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()],
            door: Arc::clone(&door),
            factory: Arc::clone(&factory),
            origin,
            to_hub,
            metrics: Arc::clone(&metrics),
        });
        Self { workers: Arc::new(workers.unwrap()), factory, door, metrics, hub, origin, lag }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    /// The transport of somebody who thinks that the server's password is this.
    pub(crate) fn client(&self, id: PeerId, pwd: &str, path: Path) -> Peer {
        let (ours, theirs) = self.credentials(id, pwd);
        let server = Remote { ice: theirs, fingerprint: self.factory.fingerprint().clone() };
        Peer::client(&self.factory, &ours, &server, path, self.now()).unwrap()
    }

    /// The client's and the server's.
    fn credentials(&self, id: PeerId, pwd: &str) -> (IceCredentials, IceCredentials) {
        let named = |ufrag: &str| IceCredentials { ufrag: ufrag.into(), pwd: pwd.into() };
        (named("ours"), named(&self.door.mint(id, 0)))
    }
}

/// A client's transport.
pub(crate) struct Client {
    pub(crate) id: PeerId,
    pub(crate) path: Path,
    pub(crate) peer: Peer,
    pub(crate) wake: Timestamp,
    pub(crate) reliable: Option<ChannelId>,
    pub(crate) heard: Vec<Vec<u8>>,
    pub(crate) is_closed: bool,
    origin: Instant,
}

impl Client {
    /// Has a worker expect somebody, who begins to come.
    pub(crate) fn new(node: &Node, id: PeerId, path: Path) -> Self {
        let pwd = "p".repeat(22);
        let (remote, local) = node.credentials(id, &pwd);
        let fingerprint = node.factory.fingerprint().clone();
        let lag = node.lag.clone();
        let new = NewPeer { peer: id, local, remote, fingerprint, lag };
        node.workers.send(id.worker, ToWorker::AddPeer(Box::new(new)));
        Self {
            id,
            path,
            peer: node.client(id, &pwd, path),
            wake: Timestamp::ZERO,
            reliable: None,
            heard: Vec::new(),
            is_closed: false,
            origin: node.origin,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    /// A datagram has come.
    pub(crate) fn take(&mut self, datagram: &[u8]) {
        let now = self.now();
        if Datagram::classify(datagram) == Datagram::Stun {
            self.peer.handle_stun(now, self.path, datagram);
        } else {
            self.peer.handle_dtls(now, self.path, datagram);
        }
    }

    /// Does what is due.
    pub(crate) fn fire(&mut self) {
        let now = self.now();
        if self.wake <= now {
            self.peer.handle_timeout(now);
        }
    }

    /// Notes what happened, until the transport waits.
    pub(crate) fn drain(&mut self, mut send: impl FnMut(&[u8])) {
        loop {
            match self.peer.poll() {
                Output::Transmit(transmit) => send(&transmit.datagram),
                Output::Event(Event::ChannelOpen(id, label)) if &*label == "_reliable" => {
                    self.reliable = Some(id);
                }
                Output::Event(Event::Message(_, _, message)) => {
                    self.heard.push(message.into_inner())
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

    /// Sends over the reliable channel. `false`: there is none, or no room.
    pub(crate) fn say(&mut self, message: &[u8]) -> bool {
        let now = self.now();
        self.reliable.is_some_and(|reliable| self.peer.send(now, now, reliable, message))
    }
}

/// One with a user name and without a password.
pub(crate) fn binding_request(ufrag: &str) -> Vec<u8> {
    let name = format!("{ufrag}:them");
    let padded = name.len().next_multiple_of(4);
    let mut datagram = vec![0, 1, 0, u8::try_from(4 + padded).unwrap(), 0x21, 0x12, 0xa4, 0x42];
    datagram.extend_from_slice(&[9; 12]);
    datagram.extend_from_slice(&[0, 6, 0, u8::try_from(name.len()).unwrap()]);
    datagram.extend_from_slice(name.as_bytes());
    datagram.resize(20 + 4 + padded, 0);
    datagram
}
