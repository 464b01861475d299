//! Which workers the kernel gives datagrams to.
//!
//! Owns: who has peers, and what the kernel was told. Guarantees: nothing arrives at a worker behind the last
//! one that has peers, which then sleeps: a datagram at the wrong worker costs a copy, a bell, and two threads that
//! wake up for it. The lock is taken when a worker gets its first peer or loses its last one.
//! Not here: whose a datagram is (`path`). A client whose datagrams go to another worker from now on is known there,
//! since its own worker has told all others of its path.

use std::sync::{Mutex, PoisonError};

use model::WorkerId;

use crate::sys::MediaSocket;

#[derive(Debug)]
pub(super) struct Steering {
    /// Of the division.
    secret: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By worker, as far as any has had peers.
    has_peers: Vec<bool>,
    /// What the kernel was told last.
    told: Option<u8>,
}

impl Steering {
    pub(super) fn new(secret: u32) -> Self {
        Self { secret, state: Mutex::default() }
    }

    /// A worker has peers now, or has none any more; its sockets are one of each group.
    pub(super) fn note(&self, worker: WorkerId, has_peers: bool, sockets: &[MediaSocket]) {
        // Plain values, right after every line.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = state.note(worker, has_peers);
        if state.told != Some(wanted) {
            // Without it the kernel divides among all, which is only slower.
            let _refused =
                sockets.iter().try_for_each(|socket| socket.divide_among(wanted, self.secret));
            state.told = Some(wanted);
        }
    }
}

impl State {
    /// How many workers are to receive.
    fn note(&mut self, worker: WorkerId, has_peers: bool) -> u8 {
        let at = usize::from(worker.0);
        if self.has_peers.len() <= at {
            self.has_peers.resize(at + 1, false);
        }
        if let Some(place) = self.has_peers.get_mut(at) {
            *place = has_peers;
        }
        let last = self.has_peers.iter().rposition(|has_peers| *has_peers).unwrap_or(0);
        u8::try_from(last).unwrap_or(u8::MAX).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_up_to_the_last_with_peers_receive() {
        let mut state = State::default();
        for (worker, has_peers, expect) in [
            (0, true, 1),
            (2, true, 3),
            (1, true, 3),
            (2, false, 2),
            (0, false, 2),
            (1, false, 1),
            (1, true, 2),
        ] {
            assert_eq!(state.note(WorkerId(worker), has_peers), expect, "{worker} {has_peers}");
        }
    }
}
