//! The ways out of a worker: its sockets, the TCP connections of its peers, the rings to other workers.

use std::net::SocketAddr;
use std::sync::Arc;

use model::{Path, TrackId, WorkerId};
use sfu::forward::{Egress, Outside, RelayedPacket, Train};

use super::hop::Hops;
use super::tcp::{Class, Connections};
use crate::metrics::Metrics;
use crate::sys::{self, MediaSocket, Run, SendBatch};

pub(super) struct Outlet {
    pub(super) sockets: Vec<MediaSocket>,
    pub(super) hops: Hops,
    pub(super) connections: Connections,
    batch: SendBatch,
    metrics: Arc<Metrics>,
}

impl Outlet {
    pub(super) fn new(sockets: Vec<MediaSocket>, hops: Hops, metrics: Arc<Metrics>) -> Self {
        let connections = Connections::new(Arc::clone(&metrics));
        Self { sockets, hops, connections, batch: SendBatch::new(), metrics }
    }

    /// Sends one datagram.
    pub(super) fn datagram(&mut self, path: Path, bytes: &[u8]) {
        if !path.carrier.is_udp() {
            return self.connections.send(path.carrier, bytes, 0, Class::Other);
        }
        let run = Run { local: path.local, remote: path.remote, bytes, segment: 0 };
        self.runs(std::iter::once(run));
    }

    /// Sends runs through the sockets that serve their addresses: those in a row through one together.
    fn runs<'a>(&mut self, runs: impl Iterator<Item = Run<'a>>) {
        let mut runs = runs.peekable();
        while let Some(first) = runs.peek() {
            let local = first.local;
            let mut sockets = self.sockets.iter_mut();
            let Some(socket) = sockets.find(|socket| serves(socket.bound(), local)) else {
                self.metrics.datagrams_unsent.count();
                runs.next();
                continue;
            };
            let bound = socket.bound();
            let together = std::iter::from_fn(|| runs.next_if(|run| serves(bound, run.local)));
            let sent = socket.send(&mut self.batch, together);
            self.metrics.datagrams_sent.add(sent.sent);
            self.metrics.datagrams_unsent.add(sent.dropped);
        }
    }
}

/// Whether datagrams from `local` leave through a socket that is bound to `bound`.
fn serves(bound: SocketAddr, local: SocketAddr) -> bool {
    bound.is_ipv4() == local.is_ipv4() && (bound.ip().is_unspecified() || bound.ip() == local.ip())
}

impl Outside for Outlet {
    fn send(&mut self, egress: &Egress) {
        let buffer = egress.buffer();
        let (mut packets, mut len) = (0, 0);
        for train in egress.trains() {
            packets += train.len.div_ceil(usize::from(train.segment).max(1));
            len += train.len;
        }
        let again = egress.again();
        let first = |all: usize, again| u64::try_from(all).unwrap_or(0).saturating_sub(again);
        self.metrics.media_packets_sent.add(first(packets, again.packets));
        self.metrics.media_bytes_sent.add(first(len, again.bytes));
        if again.packets > 0 {
            self.metrics.media_packets_resent.add(again.packets);
            self.metrics.media_bytes_resent.add(again.bytes);
        }
        let bytes =
            |train: &Train| buffer.get(train.start..train.start + train.len).unwrap_or_default();
        let udp = egress.trains().iter().filter(|train| train.path.carrier.is_udp());
        self.runs(udp.map(|train| Run {
            local: train.path.local,
            remote: train.path.remote,
            bytes: bytes(train),
            segment: usize::from(train.segment),
        }));
        for train in egress.trains().iter().filter(|train| !train.path.carrier.is_udp()) {
            let segment = usize::from(train.segment);
            self.connections.send(train.path.carrier, bytes(train), segment, Class::Media);
        }
    }

    fn relay(&mut self, to: WorkerId, packet: &RelayedPacket, payload: &[u8]) -> bool {
        self.metrics.packets_relayed.count();
        self.hops.relay(to, packet, payload)
    }

    fn want_keyframe(&mut self, from: WorkerId, track: TrackId, spatial: u8) {
        self.hops.want_keyframe(from, track, spatial);
    }

    #[inline]
    fn expect_use<T: ?Sized>(&self, value: &T) {
        sys::prefetch(value);
    }
}
