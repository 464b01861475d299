//! A worker's side of media over TCP: which connections its peers have, and what waits to be written.
//!
//! Guarantees: giving datagrams away waits for nothing; no more waits for one connection than
//! [`TCP_QUEUE_BYTES_MAX`] of media and [`TCP_RESERVE_BYTES`] of everything else, and what is beyond is dropped
//! and counted, as a full UDP socket would; a connection is the peer's whose ufrag came first over it, and no
//! other's.
//! Not here: bytes on the wire, and how long a connection may live (`crate::tcp`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::{Carrier, Path, PeerId};
use peer::framing;
use tokio::sync::mpsc;

use super::bell::Bell;
use crate::limits::{TCP_QUEUE_BYTES_MAX, TCP_RESERVE_BYTES};
use crate::metrics::Metrics;

/// From a connection to the worker of its peer. A queue leaves what it held where it was: of a path shared with it, a
/// place in memory that is zeroed when the connection is over.
#[derive(Debug)]
pub(crate) enum FromTcp {
    /// It began with a binding request for this peer.
    Opened { path: Arc<Path>, peer: PeerId, going: Going },
    /// Whole frames.
    Arrived { path: Arc<Path>, frames: Vec<u8> },
    /// It is no more.
    Ended { path: Arc<Path> },
}

/// The way of connections to one worker.
#[derive(Clone, Debug)]
pub(crate) struct TcpInbox {
    pub(super) queue: mpsc::Sender<FromTcp>,
    pub(super) bell: Arc<Bell>,
}

impl TcpInbox {
    /// Waits while the worker is behind. `false`: it has stopped.
    pub(crate) async fn tell(&self, message: FromTcp) -> bool {
        let is_told = self.queue.send(message).await.is_ok();
        self.bell.ring();
        is_told
    }
}

/// A worker's end of what leaves over a connection; the connection ends with it.
#[derive(Debug)]
pub(crate) struct Going {
    queue: mpsc::UnboundedSender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

/// The connection's end of it.
#[derive(Debug)]
pub(crate) struct Leaving {
    queue: mpsc::UnboundedReceiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

/// The two ends; what is between them is bounded by its bytes.
pub(crate) fn channel() -> (Going, Leaving) {
    let (sender, queue) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (Going { queue: sender, waiting: Arc::clone(&waiting) }, Leaving { queue, waiting })
}

impl Going {
    /// `false`: so much waits already that there would be more than `bytes_max`, or nobody writes any more.
    fn give(&self, frames: Vec<u8>, bytes_max: usize) -> bool {
        let len = frames.len();
        // Only this end adds, so what waits can only have become less since it was read.
        if self.waiting.load(Ordering::Acquire) + len > bytes_max {
            return false;
        }
        self.waiting.fetch_add(len, Ordering::AcqRel);
        self.queue.send(frames).is_ok()
    }
}

impl Leaving {
    /// Frames to write; `None` when the worker has let go.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        self.queue.recv().await
    }

    /// So many bytes do not wait any more.
    pub(crate) fn written(&self, len: usize) {
        self.waiting.fetch_sub(len, Ordering::AcqRel);
    }
}

/// What is sent: media may be dropped, everything else has a reserve that media cannot fill.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Media,
    Other,
}

/// The connections of a worker's peers.
#[derive(Debug)]
pub(super) struct Connections {
    all: HashMap<Carrier, (PeerId, Going)>,
    metrics: Arc<Metrics>,
}

impl Connections {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { all: HashMap::new(), metrics }
    }

    pub(super) fn add(&mut self, path: Path, peer: PeerId, going: Going) {
        self.all.insert(path.carrier, (peer, going));
    }

    /// Lets go of a connection, which ends it; whose it was. UDP is nobody's.
    pub(super) fn remove(&mut self, path: &Path) -> Option<PeerId> {
        self.all.remove(&path.carrier).map(|(peer, _)| peer)
    }

    /// Whether a path may become this peer's: a connection is of the one whose ufrag came first.
    pub(super) fn may_be_of(&self, path: &Path, peer: PeerId) -> bool {
        path.carrier.is_udp()
            || self.all.get(&path.carrier).is_some_and(|(owner, _)| *owner == peer)
    }

    /// Sends datagrams of `segment` bytes each, the last possibly fewer; 0 means that there is one.
    pub(super) fn send(&self, carrier: Carrier, bytes: &[u8], segment: usize, class: Class) {
        let segment = if segment == 0 { bytes.len() } else { segment };
        let count = u64::try_from(bytes.len().div_ceil(segment.max(1))).unwrap_or(u64::MAX);
        let Some((_, going)) = self.all.get(&carrier) else {
            return self.metrics.datagrams_unsent.add(count);
        };
        let bytes_max = match class {
            Class::Media => TCP_QUEUE_BYTES_MAX,
            Class::Other => TCP_QUEUE_BYTES_MAX + TCP_RESERVE_BYTES,
        };
        if going.give(framing::frame(bytes, segment), bytes_max) {
            self.metrics.datagrams_sent.add(count);
        } else {
            self.metrics.tcp_dropped.add(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::num::NonZeroU32;

    use model::WorkerId;

    use super::*;

    fn path(number: u32) -> Path {
        let address = SocketAddr::from(([127, 0, 0, 1], 7881));
        let carrier = NonZeroU32::new(number).map_or(Carrier::UDP, Carrier::tcp);
        Path { carrier, ..Path::udp(address, address) }
    }

    fn peer(index: u32) -> PeerId {
        PeerId { worker: WorkerId(0), index }
    }

    #[test]
    fn a_slow_reader_loses_media_and_keeps_room_for_what_is_no_media() {
        let metrics = Arc::new(Metrics::default());
        let mut connections = Connections::new(Arc::clone(&metrics));
        let (going, mut leaving) = channel();
        connections.add(path(1), peer(1), going);
        let train = [7; 10 * 1000];
        let trains = 100;
        for _ in 0..trains {
            connections.send(path(1).carrier, &train, 1000, Class::Media);
        }
        let waits = leaving.waiting.load(Ordering::Acquire);
        assert!(waits <= TCP_QUEUE_BYTES_MAX && waits > TCP_QUEUE_BYTES_MAX - 2 * train.len());
        let dropped = metrics.tcp_dropped.total();
        assert_eq!(metrics.datagrams_sent.total() + dropped, trains * 10);
        connections.send(path(1).carrier, &[7; 100], 0, Class::Other);
        assert_eq!(metrics.tcp_dropped.total(), dropped, "a check has room");
        for _ in 0..1000 {
            connections.send(path(1).carrier, &[7; 1000], 0, Class::Other);
        }
        let waits = leaving.waiting.load(Ordering::Acquire);
        assert!(waits <= TCP_QUEUE_BYTES_MAX + TCP_RESERVE_BYTES, "and that has a bound, too");
        let first = leaving.queue.try_recv().unwrap();
        leaving.written(first.len());
        assert_eq!(first.len(), train.len() + 10 * 2);
        connections.send(path(1).carrier, &[7; 100], 0, Class::Media);
        assert!(metrics.tcp_dropped.total() > dropped);
    }

    #[test]
    fn a_connection_is_of_the_peer_that_began_it() {
        let mut connections = Connections::new(Arc::default());
        let (going, _leaving) = channel();
        connections.add(path(1), peer(1), going);
        assert!(connections.may_be_of(&path(1), peer(1)));
        assert!(!connections.may_be_of(&path(1), peer(2)));
        assert!(!connections.may_be_of(&path(2), peer(1)), "the same addresses are not enough");
        assert!(connections.may_be_of(&path(0), peer(2)), "over UDP the proof decides");
        assert_eq!(connections.remove(&path(0)), None);
        assert_eq!(connections.remove(&path(1)), Some(peer(1)));
        assert!(!connections.may_be_of(&path(1), peer(1)));
    }

    #[test]
    fn what_is_for_a_connection_that_ended_is_unsent() {
        let metrics = Arc::new(Metrics::default());
        let connections = Connections::new(Arc::clone(&metrics));
        connections.send(path(1).carrier, &[7; 2500], 1000, Class::Media);
        assert_eq!(metrics.datagrams_unsent.total(), 3);
    }
}
