//! What a peer wants after something was done with it.
//!
//! Guarantees: whatever is done with a peer, all that it wants then is done before anything else; one that is finished
//! is closed and said to be. Source of its wishes: `peer::Output`.

use model::{Path, PeerId, Timestamp};
use peer::{Event, Output};
use sfu::Forward;

use super::{WAKE_MIN, Worker};
use crate::limits::CHECK_SILENCE_MAX;
use crate::metrics::Metrics;
use crate::sys::Mapping;
use crate::worker::outlet::Outlet;
use crate::worker::path::{Claimed, Paths};
use crate::worker::pile::Pile;
use crate::worker::seat::Seat;
use crate::worker::upward::Upward;
use crate::worker::{Channel, FromWorker};

impl Worker {
    /// Does something with a peer and everything that the peer wants after it. `act` says whether the
    /// peer may stay.
    pub(super) fn drive(
        &mut self,
        now: Timestamp,
        id: PeerId,
        act: impl FnOnce(&mut Seat, &mut Pile) -> bool,
    ) {
        self.current = Some(id);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let may_stay = act(seat, &mut self.pile) && self.drain(now, id);
        if !may_stay {
            let has_ended = self.seats.get(&id).is_some_and(|seat| seat.has_ended);
            self.close(now, id);
            let word = if has_ended { FromWorker::Closed } else { FromWorker::PutOut };
            self.upward.tell(word(id));
        }
    }

    /// Until the peer waits. `false`: it is finished.
    pub(super) fn drain(&mut self, now: Timestamp, id: PeerId) -> bool {
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        seat.pace(now, self.load.is_crowded() || self.upward.is_behind());
        loop {
            match seat.peer.poll() {
                Output::Transmit(transmit) => {
                    let path = transmit.path;
                    if transmit.verifies_remote {
                        let proof = seat.proof(&path, now);
                        let claimed = if self.routes.is_held(&path, now) {
                            Claimed::Refused
                        } else {
                            self.paths.claim(path, id, proof, now)
                        };
                        if claimed == Claimed::Refused {
                            self.metrics.paths_contested.count();
                            continue;
                        }
                        if claimed == Claimed::News && path.carrier.is_udp() {
                            self.outlet.hops.own(path, self.id, proof);
                        }
                        if let Some(old) = seat.prove(path, now) {
                            disown(&mut self.paths, &mut self.outlet, id, &old);
                        }
                    }
                    self.outlet.datagram(path, &transmit.datagram);
                }
                Output::Event(event) => {
                    if matches!(event, Event::Overdue) {
                        give_up(&self.metrics, id);
                    }
                    if let Event::ChannelClosed(channel) = event {
                        seat.shut(channel, &mut self.pile);
                    } else if !tell(event, now, id, seat, &mut self.forward, &mut self.upward) {
                        return false;
                    }
                    seat.pace(now, self.load.is_crowded() || self.upward.is_behind());
                }
                // What was acknowledged may have made room, and nothing else may come for seconds.
                Output::Wait(_) if seat.pump(now, &mut self.pile) => {
                    seat.pace(now, self.load.is_crowded() || self.upward.is_behind());
                }
                Output::Wait(at) => {
                    let due = seat.checked_at + CHECK_SILENCE_MAX;
                    let wake = at.min(due).min(seat.overdue_at()).max(now + WAKE_MIN);
                    if wake != seat.wake {
                        self.timers.remove(&(seat.wake, id));
                        self.timers.insert((wake, id));
                        seat.wake = wake;
                    }
                    return true;
                }
            }
        }
    }
}

/// A path is a peer's no more.
pub(super) fn disown(paths: &mut Paths, outlet: &mut Outlet, peer: PeerId, path: &Path) {
    if paths.remove(path, peer) && path.carrier.is_udp() {
        outlet.hops.disown(*path, peer.worker);
    }
    outlet.connections.remove(path);
}

/// Tells the hub or the forwarder what happened in a peer. `false`: the peer is finished.
fn tell(
    event: Event,
    now: Timestamp,
    id: PeerId,
    seat: &mut Seat,
    forward: &mut Forward<Mapping>,
    upward: &mut Upward,
) -> bool {
    match event {
        Event::Keys(keys) => seat.key(id, keys, forward),
        Event::Connected => upward.tell(FromWorker::Connected(id)),
        Event::Selected(path) => seat.aim(id, path, forward),
        Event::ChannelOpen(channel, label) => {
            if let Some(channel) = seat.open(channel, &label) {
                upward.tell(FromWorker::ChannelOpen(id, channel));
            }
        }
        Event::Message(channel, since, message) => {
            let Some(channel) = seat.channel(channel) else { return true };
            #[cfg(feature = "sabotage")]
            crate::sabotage::panic_if_asked("worker", message.expose());
            let len = message.expose().len();
            let is_within = match channel {
                Channel::Reliable => seat.allowance.take(now, len),
                Channel::Lossy | Channel::DataTrack => seat.allowance.take_lossy(now, len),
            };
            if !is_within {
                return upward.refuse(channel);
            }
            return upward.pass(id, channel, since, message);
        }
        // What it means to those who wait is said where it came.
        Event::ChannelClosed(_) => {}
        Event::Overdue => return false,
        Event::Closed => {
            seat.has_ended = true;
            return false;
        }
    }
    true
}

/// Whoever does not take reliable data in time has to come again: to go on without a word would be to lose it.
pub(super) fn give_up(metrics: &Metrics, id: PeerId) {
    metrics.data_receivers_cut.count();
    crate::log!(INFO, "a participant did not take reliable data in time: ended", peer = id);
}
