//! What the hub has to do at some time, each once.
//!
//! Owns: when each of them is due. Whoever changes one looks at that one alone, however many there are.

use std::collections::{BTreeMap, BTreeSet};

use model::{PeerId, RoomId, Timestamp};

/// What may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Refresh(PeerId),
    Hush(PeerId),
    /// A right of the participant's token may end.
    End(PeerId),
    /// Whom the participant lets receive its tracks, which came too soon after others.
    Permit(PeerId),
    /// What the participant may receive, which it has not been told.
    Allowed(PeerId),
    /// The participant's transport has ended, and it may be about to say that it leaves.
    Lost(PeerId),
    /// Of a room's replay, the oldest packets or those of who left first.
    Forget(RoomId),
}

const OF_PARTICIPANTS: [fn(PeerId) -> Timer; 6] =
    [Timer::Refresh, Timer::Hush, Timer::End, Timer::Permit, Timer::Allowed, Timer::Lost];

#[derive(Debug, Default)]
pub(super) struct Timers {
    by_time: BTreeSet<(Timestamp, Timer)>,
    by_timer: BTreeMap<Timer, Timestamp>,
}

impl Timers {
    /// It is due then, and at no time that was said before.
    pub(super) fn set(&mut self, at: Timestamp, timer: Timer) {
        self.clear(timer);
        self.by_timer.insert(timer, at);
        self.by_time.insert((at, timer));
    }

    /// It is not due any more.
    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.by_timer.remove(&timer) {
            self.by_time.remove(&(at, timer));
        }
    }

    /// Nothing is due for a participant any more.
    pub(super) fn clear_all_of(&mut self, peer: PeerId) {
        for timer in OF_PARTICIPANTS {
            self.clear(timer(peer));
        }
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes one that is due.
    pub(super) fn take_due(&mut self, now: Timestamp) -> Option<Timer> {
        let (_, timer) = *self.by_time.first().filter(|(at, _)| *at <= now)?;
        self.clear(timer);
        Some(timer)
    }

    /// Whether it is due some time.
    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.by_timer.contains_key(&timer)
    }
}

#[cfg(test)]
mod tests {
    use model::WorkerId;

    use super::*;

    const PEER: PeerId = PeerId { worker: WorkerId(0), index: 7 };

    #[test]
    fn each_is_due_once_and_when_it_was_said_last() {
        let at = Timestamp::from_millis;
        let mut timers = Timers::default();
        timers.set(at(5), Timer::Refresh(PEER));
        timers.set(at(9), Timer::Refresh(PEER));
        timers.set(at(7), Timer::Forget(RoomId(1)));
        assert_eq!((timers.next(), timers.take_due(at(6))), (Some(at(7)), None));
        assert_eq!(timers.take_due(at(9)), Some(Timer::Forget(RoomId(1))));
        assert_eq!(timers.take_due(at(9)), Some(Timer::Refresh(PEER)));
        assert_eq!((timers.take_due(at(99)), timers.next()), (None, None));
    }

    #[test]
    fn what_is_of_a_participant_goes_with_it() {
        let mut timers = Timers::default();
        for timer in OF_PARTICIPANTS {
            timers.set(Timestamp::ZERO, timer(PEER));
        }
        timers.set(Timestamp::ZERO, Timer::Forget(RoomId(7)));
        timers.clear_all_of(PEER);
        assert_eq!(timers.take_due(Timestamp::ZERO), Some(Timer::Forget(RoomId(7))));
        assert_eq!(timers.next(), None);
    }
}
