//! What comes over the network, and whose it is.
//!
//! Guarantees: no state is touched for a datagram that names nobody's ufrag; DTLS and media are taken only over a path
//! that a peer has proven; a turn takes a bounded number of datagrams. Not here: what a peer says to them (`drain`).

use model::{Path, PeerId, Timestamp};
use peer::BindingRequest;
use peer::framing::Frames;
use rtp::packet::Datagram;
use sfu::forward::PeerSlot;

use super::{FLUSH_PACKETS, Worker};
use crate::budget::Network;
use crate::limits::{RECEIVE_TURN_MAX, TCP_TURN_MAX};
use crate::sys::{RECEIVE_BATCH, Run};
use crate::worker::tcp::FromTcp;

/// A peer whose media is taken, over one of its paths.
#[derive(Clone, Copy)]
struct Sender {
    peer: PeerId,
    slot: PeerSlot,
    /// What goes to it goes over another path, or none yet.
    is_aside: bool,
}

impl Worker {
    /// What came over TCP.
    pub(super) fn hear_tcp(&mut self) {
        for _ in 0..TCP_TURN_MAX {
            let Ok(message) = self.tcp.try_recv() else { return };
            let now = self.now();
            match message {
                FromTcp::Opened { path, peer, going } => {
                    self.outlet.connections.add(*path, peer, going);
                }
                FromTcp::Arrived { path, frames } => {
                    for datagram in Frames::new(&frames).map_while(Result::ok) {
                        self.metrics.datagrams_received.count();
                        self.guard(|worker| worker.take_one(now, *path, datagram));
                    }
                }
                FromTcp::Ended { path } => {
                    self.guard(|worker| worker.lose(now, &path));
                }
            }
        }
        // There may be more: come back after a look at the sockets.
        self.is_behind = true;
        self.bell.ring();
    }

    /// A connection is no more.
    pub(super) fn lose(&mut self, now: Timestamp, path: &Path) {
        let Some(peer) = self.outlet.connections.remove(path) else { return };
        // No other worker knows of it: it is not over UDP.
        let _is_its: bool = self.paths.remove(path, peer);
        self.drive(now, peer, |seat, _| {
            seat.lose(now, path);
            true
        });
    }

    /// A datagram that is for this worker or for nobody.
    pub(super) fn take_one(&mut self, now: Timestamp, path: Path, datagram: &[u8]) {
        match (Datagram::classify(datagram), self.sender(&path)) {
            (kind @ (Datagram::Rtp | Datagram::Rtcp), Some(sender)) => {
                self.ingest(now, path, sender, kind, datagram);
            }
            (kind, _) => self.take(now, path, kind, datagram, true),
        }
    }

    /// `false`: stop.
    pub(super) fn receive(&mut self) -> bool {
        let Some(mut batch) = self.batch.take() else { return true };
        for place in 0..self.outlet.sockets.len() {
            if !self.waiter.is_ready(place + 1) {
                continue;
            }
            for turn in 1..=RECEIVE_TURN_MAX {
                let Some(socket) = self.outlet.sockets.get(place) else { break };
                let count = socket.receive(&mut batch);
                // A client that has been answered speaks at once, and the hub said before that who it is, its worker
                // whose path that is. What is more than a turn's worth waits until media was sent.
                if self.bell.is_rung() && !self.is_behind && !self.hear_hub() {
                    return false;
                }
                self.hear_workers();
                let now = self.now();
                for run in batch.runs() {
                    self.take_run(now, run);
                }
                batch.forget_senders();
                if self.forward.pending() >= FLUSH_PACKETS {
                    self.flush();
                }
                if count < RECEIVE_BATCH {
                    break;
                }
                self.is_behind |= turn == RECEIVE_TURN_MAX;
            }
        }
        self.batch = Some(batch);
        true
    }

    /// Datagrams of one path: whose it is is looked up once, and again when one of them may change it.
    fn take_run(&mut self, now: Timestamp, run: Run<'_>) {
        let path = Path::udp(run.local, run.remote);
        let mut sender = self.sender(&path);
        let mut datagrams = 0;
        for datagram in run.datagrams() {
            datagrams += 1;
            match (Datagram::classify(datagram), sender) {
                (kind @ (Datagram::Rtp | Datagram::Rtcp), Some(from)) => {
                    if !self.guard(|worker| worker.ingest(now, path, from, kind, datagram)) {
                        sender = self.sender(&path);
                    }
                }
                (kind, _) => {
                    self.guard(|worker| worker.take(now, path, kind, datagram, false));
                    sender = self.sender(&path);
                }
            }
        }
        self.metrics.datagrams_received.add(datagrams);
    }

    fn sender(&self, path: &Path) -> Option<Sender> {
        let peer = self.paths.get(path)?;
        let seat = self.seats.get(&peer)?;
        Some(Sender { peer, slot: seat.slot?, is_aside: !seat.is_aimed_at(path) })
    }

    fn ingest(
        &mut self,
        now: Timestamp,
        path: Path,
        from: Sender,
        kind: Datagram,
        datagram: &[u8],
    ) {
        self.current = Some(from.peer);
        if kind == Datagram::Rtp {
            self.media.packets += 1;
            self.media.bytes += u64::try_from(datagram.len()).unwrap_or(0);
        }
        self.forward.ingest(now, from.slot, datagram, &mut self.outlet);
        if from.is_aside {
            self.credit(now, from.peer, path, datagram.len());
        }
    }

    /// Media of a client that has moved pays for our check there: the first may be lost, and the client's own are
    /// seconds apart.
    fn credit(&mut self, now: Timestamp, peer: PeerId, path: Path, len: usize) {
        let Some(seat) = self.seats.get_mut(&peer) else { return };
        if seat.peer.credit(now, path, len) {
            self.drive(now, peer, |_, _| true);
        }
    }

    pub(super) fn take(
        &mut self,
        now: Timestamp,
        path: Path,
        kind: Datagram,
        datagram: &[u8],
        hopped: bool,
    ) {
        match (kind, self.paths.get(&path)) {
            (Datagram::Stun, proven) => match (BindingRequest::parse(datagram), proven) {
                (Some(request), _) => self.knock(now, path, request, datagram, hopped),
                (None, Some(peer)) => self.check(now, peer, path, datagram),
                (None, None) => self.pass_on(path, datagram, hopped),
            },
            (Datagram::Dtls, Some(peer)) if self.may_shake(now, peer, &path) => {
                self.drive(now, peer, |seat, _| {
                    seat.peer.handle_dtls(now, path, datagram);
                    true
                });
            }
            (Datagram::Dtls, Some(_)) => self.metrics.handshakes_over_budget.count(),
            (Datagram::Rtp | Datagram::Rtcp, Some(_)) => self.metrics.media_early.count(),
            (Datagram::Dtls | Datagram::Rtp | Datagram::Rtcp, None) => {
                self.pass_on(path, datagram, hopped);
            }
            (Datagram::Unknown, _) => self.metrics.datagrams_malformed.count(),
        }
    }

    /// Whether a peer's network may have one more handshake begun, if the peer has begun none yet.
    fn may_shake(&mut self, now: Timestamp, peer: PeerId, path: &Path) -> bool {
        let Some(seat) = self.seats.get_mut(&peer) else { return false };
        seat.is_shaking =
            seat.is_shaking || self.handshakes.take(now, &Network::of(path.remote.ip()));
        seat.is_shaking
    }

    /// A datagram over a path that is no peer's here: for the worker whose peer was last asked for over it.
    fn pass_on(&mut self, path: Path, datagram: &[u8], hopped: bool) {
        match self.routes.get(&path) {
            Some(owner) if !hopped => {
                self.outlet.hops.datagram(owner, path, datagram);
            }
            _ => self.metrics.datagrams_unproven.count(),
        }
    }

    /// A binding request: its ufrag says whose it is.
    pub(super) fn knock(
        &mut self,
        now: Timestamp,
        path: Path,
        request: BindingRequest<'_>,
        datagram: &[u8],
        hopped: bool,
    ) {
        match self.door.owner(request.local_ufrag) {
            Some(owner) if owner.worker == self.id => {
                if !self.outlet.connections.may_be_of(&path, owner) {
                    return self.metrics.knocks_foreign.count();
                }
                let is_proven = self.paths.get(&path) == Some(owner);
                let network = Network::of(path.remote.ip());
                if !is_proven && !self.knocks.take(now, &network) {
                    return self.metrics.knocks_over_budget.count();
                }
                let Some(seat) = self.seats.get_mut(&owner) else {
                    return self.metrics.knocks_late.count();
                };
                if !seat.may_prove(now, &path) {
                    return self.metrics.knocks_beyond.count();
                }
                self.check(now, owner, path, datagram);
            }
            Some(owner) if !hopped => {
                self.outlet.hops.datagram(owner.worker, path, datagram);
            }
            Some(_) | None => self.metrics.knocks_foreign.count(),
        }
    }

    /// Gives a peer a check or the answer to one of its own.
    pub(super) fn check(&mut self, now: Timestamp, peer: PeerId, path: Path, datagram: &[u8]) {
        self.drive(now, peer, |seat, _| {
            seat.peer.handle_stun(now, path, datagram);
            true
        });
    }
}
