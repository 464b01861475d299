//! What the hub and the other workers say to a worker.
//!
//! Guarantees: a turn takes a bounded number of messages of each; those for whom too much waits are given up, the
//! slowest first. Not here: what comes over the network (`intake`).

use std::sync::mpsc::TryRecvError;
use std::time::Instant;

use model::Timestamp;
use peer::{Peer, Remote};
use sfu::Instruction;

use super::Worker;
use super::drain::give_up;
use crate::limits::{HOPS_MAX, INBOX_TURN_MAX};
use crate::worker::hop::{self, Hop};
use crate::worker::seat::Seat;
use crate::worker::{NewPeer, ToWorker};

impl Worker {
    /// `false`: stop.
    pub(super) fn hear_hub(&mut self) -> bool {
        for peer in self.load.take_losers() {
            let now = self.now();
            self.guard(|worker| worker.drive(now, peer, |_, _| false));
        }
        for _ in 0..INBOX_TURN_MAX {
            match self.inbox.try_recv() {
                Ok(ToWorker::Stop) | Err(TryRecvError::Disconnected) => return false,
                Ok(message) => {
                    let now = self.now();
                    self.guard(|worker| worker.obey(now, message));
                }
                Err(TryRecvError::Empty) => return true,
            }
        }
        // There may be more: come back after a look at the sockets.
        self.is_behind = true;
        self.bell.ring();
        true
    }

    pub(super) fn obey(&mut self, now: Timestamp, message: ToWorker) {
        match message {
            ToWorker::AddPeer(new) => self.add(now, *new),
            ToWorker::RestartIce { peer, local, remote } => self.drive(now, peer, |seat, _| {
                seat.restart_ice(now, &local, &remote);
                true
            }),
            ToWorker::RemovePeer(peer) => self.close(now, peer),
            ToWorker::Send { peer, channel, since, message } => {
                let message = message.into_inner();
                self.load.remove(channel, message.len());
                let mut lags = false;
                self.drive(now, peer, |seat, pile| {
                    lags = seat.send(now, since, channel, message, pile);
                    true
                });
                if lags {
                    self.metrics.data_receivers_lagged.count();
                }
                self.lighten(now);
            }
            ToWorker::Instruct(instruction) => self.instruct(now, instruction),
            ToWorker::Beat(pulse) => {
                pulse.answer_worker(self.id, self.busy.share(now), Instant::now());
            }
            ToWorker::Stop => {}
        }
    }

    /// Gives up those for whom something waits longest until the rest is not too much.
    fn lighten(&mut self, now: Timestamp) {
        while self.pile.is_too_large() {
            let since = |seat: &Seat| seat.waits_since().unwrap_or(Timestamp::MAX);
            let slowest = self.seats.iter().min_by_key(|(id, seat)| (since(seat), **id));
            let Some(id) = slowest.map(|(id, _)| *id) else { return };
            give_up(&self.metrics, id);
            self.drive(now, id, |_, _| false);
        }
    }

    fn add(&mut self, now: Timestamp, new: NewPeer) {
        let NewPeer { peer: id, local, remote, fingerprint, lag } = new;
        self.current = Some(id);
        let remote = Remote { ice: remote, fingerprint };
        let peer = Peer::new(&self.factory, &local, &remote, now);
        self.seats.insert(id, Box::new(Seat::new(peer, self.forward.slot(id), lag, now)));
        if self.seats.len() == 1 {
            self.steering.note(self.id, true, &self.outlet.sockets);
        }
        self.drive(now, id, |_, _| true);
    }

    fn instruct(&mut self, now: Timestamp, instruction: Instruction) {
        let concerned = match &instruction {
            Instruction::AddPeer { peer, .. } | Instruction::RemovePeer { peer } => Some(*peer),
            Instruction::SetReceive { .. }
            | Instruction::AddTrack(_)
            | Instruction::AddRelayedTrack { .. }
            | Instruction::Relay { .. }
            | Instruction::MuteTrack { .. }
            | Instruction::RemoveTrack { .. }
            | Instruction::Subscribe(_)
            | Instruction::Limit { .. }
            | Instruction::Cap { .. }
            | Instruction::Unsubscribe { .. } => None,
        };
        self.forward.instruct(now, instruction, &mut self.outlet);
        if let Some(peer) = concerned
            && let Some(seat) = self.seats.get_mut(&peer)
        {
            seat.meet(peer, &mut self.forward);
        }
    }

    pub(super) fn hear_workers(&mut self) {
        let now = self.now();
        // Taken, so that hops are read where they lie.
        let mut inbound = std::mem::take(&mut self.inbound);
        for ring in &mut inbound {
            for _ in 0..HOPS_MAX {
                let is_taken = hop::take(ring, |hop, bytes| {
                    self.guard(|worker| worker.land(now, hop, bytes));
                });
                if !is_taken {
                    break;
                }
            }
        }
        self.inbound = inbound;
    }

    pub(super) fn land(&mut self, now: Timestamp, hop: &Hop, bytes: &[u8]) {
        match hop {
            Hop::Blank(_) => {}
            Hop::Datagram(path) => self.take_one(now, *path, bytes),
            Hop::Relayed(packet) => self.forward.relayed(now, packet, bytes),
            Hop::KeyframeWanted(track, spatial) => {
                self.forward.keyframe_wanted(*track, *spatial);
            }
            Hop::Owned(path, owner, proof) => self.routes.learn(*path, *owner, *proof, now),
            Hop::Disowned(path, owner) => self.routes.forget(path, *owner),
        }
    }
}
