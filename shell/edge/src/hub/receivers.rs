//! Whom a participant lets receive its tracks: what it said last is what holds, as soon as it is paid for.
//!
//! Guarantees: a permission is never lost, since it may be there to keep somebody out: one that comes too soon after
//! others waits, and the newest of those that wait is taken. One that names too many allows nobody.

use model::PeerId;
use sfu::control::{Allowance, Input};
use wire::proto;
use wire::proto::request_response::Reason;

use super::{Hub, Timer, translate};
use crate::limits::{PERMITS_PER_REQUEST, REQUESTS_BURST};

const TOO_MANY_NAMED: &str = "the permission names more participants and tracks than the server takes: nobody may receive any";

impl Hub {
    pub(super) fn permit_receivers(&mut self, peer: PeerId, update: proto::SubscriptionPermission) {
        let price = self.price(peer, &update);
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        if !seat.requests.take(self.now, price) {
            let at = seat.requests.affords_at(price);
            if seat.permit.replace(update).is_none() {
                self.timers.set(at, Timer::Permit(peer));
            }
            return;
        }
        // An older one that waits holds no more.
        seat.permit = None;
        let allowance = translate::allowance(&update, |name| self.aliases.alias(name));
        let allowance = allowance.unwrap_or_else(|_| {
            self.metrics.requests_ignored.count();
            self.respond(peer, 0, Reason::LimitExceeded, TOO_MANY_NAMED, None);
            Allowance::nobody()
        });
        self.tell(Input::Allow(peer, allowance));
    }

    /// The time for which the participant's permission has waited is there.
    pub(super) fn permit_in_time(&mut self, peer: PeerId) {
        let waiting = self.seats.get_mut(&peer).and_then(|seat| seat.permit.take());
        if let Some(update) = waiting {
            self.permit_receivers(peer, update);
        }
    }

    /// Its share of a request for each name in it, and for each pair of a receiver and a track that may change.
    fn price(&self, peer: PeerId, update: &proto::SubscriptionPermission) -> u32 {
        let tracks = update.track_permissions.iter().map(|entry| 1 + entry.track_sids.len());
        let named: usize = tracks.sum();
        let held = self.control.participant(peer);
        let pairs = held.and_then(|held| {
            let room = self.control.room(held.room)?;
            Some(room.participants.len() * held.tracks.len())
        });
        let price = 1 + named.saturating_add(pairs.unwrap_or(0)) / PERMITS_PER_REQUEST;
        u32::try_from(price).unwrap_or(u32::MAX).min(REQUESTS_BURST)
    }
}
