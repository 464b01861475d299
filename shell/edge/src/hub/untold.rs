//! Which tracks a participant may receive, or may not any more, as long as it has yet to be told.
//!
//! Owns: what it has not been told of that, and when it is.
//! Guarantees: whatever publishers do, and however many of them, a participant is told of [`ALLOWED_TOLD_MAX`] tracks
//! each [`UPDATE_EVERY`] at most, and of none while half of its outbox is taken; of each it is told the newest, and no
//! track waits because others change all the time.
//! Not here: the media. It starts and stops in the turn in which the publisher says so.

use std::collections::BTreeMap;
use std::ops::Bound;

use model::{PeerId, Timestamp, TrackId};
use wire::proto;
use wire::proto::signal_response::Message;

use super::{Hub, Timer};
use crate::limits::{ALLOWED_TOLD_MAX, UPDATE_EVERY, UPDATE_WAIT_MAX};

#[derive(Debug)]
pub(super) struct Untold {
    /// Whether it may receive them.
    waiting: BTreeMap<TrackId, bool>,
    /// Those behind this one come next.
    last: TrackId,
    /// When it may be told of some more.
    next: Timestamp,
    /// The timer is set.
    is_due: bool,
}

impl Untold {
    pub(super) const fn new() -> Self {
        let last = TrackId(u32::MAX);
        Self { waiting: BTreeMap::new(), last, next: Timestamp::ZERO, is_due: false }
    }

    /// When it is to be told, if no timer runs for that.
    fn note(&mut self, now: Timestamp, track: TrackId, allowed: bool) -> Option<Timestamp> {
        self.waiting.insert(track, allowed);
        let was_due = std::mem::replace(&mut self.is_due, true);
        (!was_due).then(|| self.next.max(now))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Those of which it could be told next, so many at most.
    fn turn(&mut self, most: usize) -> Vec<(TrackId, bool)> {
        let ahead = self.waiting.range((Bound::Excluded(self.last), Bound::Unbounded));
        let all = ahead.chain(self.waiting.range(..=self.last)).take(most);
        let turn: Vec<(TrackId, bool)> = all.map(|(track, allowed)| (*track, *allowed)).collect();
        self.last = turn.last().map_or(self.last, |(track, _)| *track);
        turn
    }

    /// When it is to be told of what is left.
    fn again(&mut self, at: Timestamp) -> Option<Timestamp> {
        self.next = at;
        self.is_due = !self.waiting.is_empty();
        self.is_due.then_some(at)
    }
}

/// Whether somebody can be told that it may receive a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    /// It knows of it.
    Known,
    /// It has yet to be told of it.
    Coming,
    /// There is no such track for it any more.
    Gone,
}

impl Hub {
    pub(super) fn note_allowed(&mut self, to: PeerId, track: TrackId, allowed: bool) {
        let now = self.now;
        let seat = self.seats.get_mut(&to);
        if let Some(at) = seat.and_then(|seat| seat.untold.note(now, track, allowed)) {
            self.timers.set(at, Timer::Allowed(to));
        }
    }

    /// Tells a participant what has waited, as far as it reads.
    pub(super) fn tell_allowed(&mut self, to: PeerId) {
        let Some(seat) = self.seats.get_mut(&to) else {
            return;
        };
        // Whoever is away is told when it is here again; what is gone until then is dropped.
        let is_here = seat.session.is_some();
        let (most, wait) = if is_here {
            (seat.spare().min(ALLOWED_TOLD_MAX), UPDATE_EVERY)
        } else {
            (usize::MAX, UPDATE_WAIT_MAX)
        };
        for (track, allowed) in seat.untold.turn(most) {
            let knowledge = self.knowledge(track);
            if knowledge == Knowledge::Coming || (knowledge == Knowledge::Known && !is_here) {
                continue;
            }
            if let Some(seat) = self.seats.get_mut(&to) {
                seat.untold.waiting.remove(&track);
            }
            if knowledge == Knowledge::Known
                && let Some((participant_sid, track_sid)) = self.sids(track)
            {
                let update =
                    proto::SubscriptionPermissionUpdate { participant_sid, track_sid, allowed };
                self.send(to, Message::SubscriptionPermissionUpdate(update));
            }
        }
        let now = self.now;
        let seat = self.seats.get_mut(&to);
        if let Some(at) = seat.and_then(|seat| seat.untold.again(now + wait)) {
            self.timers.set(at, Timer::Allowed(to));
        }
    }

    fn knowledge(&self, track: TrackId) -> Knowledge {
        let Some(publication) = self.control.publication(track) else {
            return Knowledge::Gone;
        };
        let publisher = publication.peer;
        if !self.control.participant(publisher).is_some_and(|held| held.is_visible()) {
            return Knowledge::Gone;
        }
        let is_told = self.seats.get(&publisher).is_some_and(|seat| seat.told.contains(&track));
        if is_told { Knowledge::Known } else { Knowledge::Coming }
    }
}
