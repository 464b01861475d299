//! A worker's side of media over TCP: which connections its peers have, and what waits to be written.
//!
//! Guarantees: giving datagrams away waits for nothing; no more waits for one connection than
//! [`TCP_QUEUE_BYTES_MAX`] of media and [`TCP_RESERVE_BYTES`] of everything else, and what is beyond is dropped
//! and counted, as a full UDP socket would; what has waited too long to be of use is dropped when it would be written,
//! and all media once the worker has let go; a connection is the peer's whose ufrag came first over it, and no
//! other's.
//! Not here: bytes on the wire, and how long a connection may live (`crate::tcp`).

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use model::{Carrier, Path, PeerId};
use peer::framing;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::bell::Bell;
use crate::limits::{
    TCP_MEDIA_WAIT_MAX, TCP_OTHER_WAIT_MAX, TCP_QUEUE_BYTES_MAX, TCP_RESERVE_BYTES,
};
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

/// Datagrams that were given to a connection together.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) frames: Vec<u8>,
    /// When they were.
    pub(crate) given: Instant,
    class: Class,
    /// How many they are.
    datagrams: u64,
}

impl Parcel {
    /// Whether it is of use to write it now. `has_let_go`: the worker has.
    fn may_leave(&self, now: Instant, has_let_go: bool) -> bool {
        let waited_max = self.class.wait_max();
        let is_wanted = self.class == Class::Other || !has_let_go;
        is_wanted && now.saturating_duration_since(self.given) <= waited_max
    }
}

/// A worker's end of what leaves over a connection; the connection ends with it.
#[derive(Debug)]
pub(crate) struct Going {
    queue: mpsc::UnboundedSender<Parcel>,
    waiting: Arc<AtomicUsize>,
    /// Tells the other end by its own end.
    _held: oneshot::Sender<Infallible>,
}

/// The connection's end of it.
#[derive(Debug)]
pub(crate) struct Leaving {
    queue: mpsc::UnboundedReceiver<Parcel>,
    waiting: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

/// Resolves when the worker has let go.
pub(crate) type LetGo = oneshot::Receiver<Infallible>;

/// The two ends; what is between them is bounded by its bytes.
pub(crate) fn channel(metrics: &Arc<Metrics>) -> (Going, Leaving, LetGo) {
    let (sender, queue) = mpsc::unbounded_channel();
    let (held, let_go) = oneshot::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let going = Going { queue: sender, waiting: Arc::clone(&waiting), _held: held };
    (going, Leaving { queue, waiting, metrics: Arc::clone(metrics) }, let_go)
}

impl Going {
    /// `false`: so much waits already that there would be more than its class may have, or nobody writes any more.
    fn give(&self, parcel: Parcel) -> bool {
        let len = parcel.frames.len();
        // Only this end adds, so what waits can only have become less since it was read.
        if self.waiting.load(Ordering::Acquire) + len > parcel.class.bytes_max() {
            return false;
        }
        self.waiting.fetch_add(len, Ordering::AcqRel);
        self.queue.send(parcel).is_ok()
    }
}

impl Leaving {
    /// What is to be written; `None` when the worker has let go and nothing is left.
    pub(crate) async fn next(&mut self) -> Option<Parcel> {
        loop {
            let parcel = self.queue.recv().await?;
            if parcel.may_leave(Instant::now(), self.queue.is_closed()) {
                return Some(parcel);
            }
            self.metrics.tcp_dropped.add(parcel.datagrams);
            self.unload(&parcel);
        }
    }

    /// It is written.
    pub(crate) fn written(&self, parcel: &Parcel) {
        self.metrics.datagrams_sent.add(parcel.datagrams);
        self.unload(parcel);
    }

    fn unload(&self, parcel: &Parcel) {
        self.waiting.fetch_sub(parcel.frames.len(), Ordering::AcqRel);
    }
}

/// What is sent: media may be dropped, everything else has a reserve that media cannot fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Media,
    Other,
}

impl Class {
    /// What may wait when one of it is given.
    const fn bytes_max(self) -> usize {
        match self {
            Self::Media => TCP_QUEUE_BYTES_MAX,
            Self::Other => TCP_QUEUE_BYTES_MAX + TCP_RESERVE_BYTES,
        }
    }

    const fn wait_max(self) -> Duration {
        match self {
            Self::Media => TCP_MEDIA_WAIT_MAX,
            Self::Other => TCP_OTHER_WAIT_MAX,
        }
    }
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
        let frames = framing::frame(bytes, segment);
        if !going.give(Parcel { frames, given: Instant::now(), class, datagrams: count }) {
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
        let (going, mut leaving, _let_go) = channel(&metrics);
        connections.add(path(1), peer(1), going);
        let train = [7; 10 * 1000];
        let trains = 100;
        for _ in 0..trains {
            connections.send(path(1).carrier, &train, 1000, Class::Media);
        }
        let waits = leaving.waiting.load(Ordering::Acquire);
        assert!(waits <= TCP_QUEUE_BYTES_MAX && waits > TCP_QUEUE_BYTES_MAX - 2 * train.len());
        let dropped = metrics.tcp_dropped.total();
        assert_eq!(u64::try_from(leaving.queue.len()).unwrap() * 10 + dropped, trains * 10);
        connections.send(path(1).carrier, &[7; 100], 0, Class::Other);
        assert_eq!(metrics.tcp_dropped.total(), dropped, "a check has room");
        for _ in 0..1000 {
            connections.send(path(1).carrier, &[7; 1000], 0, Class::Other);
        }
        let waits = leaving.waiting.load(Ordering::Acquire);
        assert!(waits <= TCP_QUEUE_BYTES_MAX + TCP_RESERVE_BYTES, "and that has a bound, too");
        let first = leaving.queue.try_recv().unwrap();
        leaving.written(&first);
        assert_eq!(first.frames.len(), train.len() + 10 * 2);
        assert_eq!(metrics.datagrams_sent.total(), 10);
        connections.send(path(1).carrier, &[7; 100], 0, Class::Media);
        assert!(metrics.tcp_dropped.total() > dropped);
    }

    #[tokio::test]
    async fn what_has_waited_too_long_is_dropped_and_all_media_once_its_peer_is_gone() {
        let metrics = Arc::new(Metrics::default());
        let (going, mut leaving, let_go) = channel(&metrics);
        // Told apart by their lengths.
        let give = |class, millis, len| {
            let given = Instant::now() - Duration::from_millis(millis);
            assert!(going.give(Parcel { frames: vec![7; len], given, class, datagrams: 1 }));
        };
        give(Class::Media, 2_100, 1);
        give(Class::Other, 2_100, 2);
        give(Class::Media, 1_000, 3);
        give(Class::Other, 4_100, 4);
        give(Class::Media, 0, 5);
        for expected in [2, 3, 5] {
            let parcel = leaving.next().await.unwrap();
            assert_eq!(parcel.frames.len(), expected);
            leaving.written(&parcel);
        }
        give(Class::Media, 0, 6);
        give(Class::Other, 4_100, 7);
        give(Class::Other, 0, 8);
        drop(going);
        assert!(let_go.await.is_err(), "the other end is told");
        let goodbye = leaving.next().await.unwrap();
        assert_eq!(goodbye.frames.len(), 8);
        leaving.written(&goodbye);
        assert!(leaving.next().await.is_none());
        assert_eq!((metrics.datagrams_sent.total(), metrics.tcp_dropped.total()), (4, 4));
        assert_eq!(leaving.waiting.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_connection_is_of_the_peer_that_began_it() {
        let mut connections = Connections::new(Arc::default());
        let (going, _leaving, _let_go) = channel(&Arc::default());
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
