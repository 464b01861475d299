//! How soon a room is told of one participant again: what it is told is paid for, by its bytes and by who hears it.
//!
//! Owns: up to when what was told of a participant is paid for, and that a change waits.
//! Guarantees: whatever a participant does, nobody is told of it more often than each [`UPDATE_EVERY`] on end, nor more
//! bytes than [`UPDATE_BYTES_PER_SECOND`], and all who hear it together no more than [`UPDATE_SPREAD_PER_SECOND`], or
//! one update each [`UPDATE_WAIT_MAX`]; what comes at once is [`UPDATE_AHEAD_MAX`] of that, and one update.
//! Not here: what is told. That is put together when it is told, so that what waits is always the newest. Nor what a
//! participant is told of itself before the others, for which it pays with requests (`request`).

use std::time::Duration;

use model::Timestamp;

use crate::limits::{
    UPDATE_AHEAD_MAX, UPDATE_BYTES_PER_SECOND, UPDATE_EVERY, UPDATE_SPREAD_PER_SECOND,
    UPDATE_WAIT_MAX,
};

#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// What was told is paid for from here on.
    paid: Timestamp,
    /// When a change that waits is told.
    waits_until: Option<Timestamp>,
    /// Others wait for that change, to be asked for sections for its tracks.
    withholds: bool,
}

impl Pace {
    pub(super) const fn new(paid: Timestamp) -> Self {
        Self { paid, waits_until: None, withholds: false }
    }

    /// When a change is told that comes now; at once if `None`. One that waits already takes it along.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.waits_until.is_none() {
            self.waits_until = self.must_wait(now);
        }
        self.waits_until
    }

    /// Until when whatever is told has to wait, if it has to.
    pub(super) fn must_wait(&self, now: Timestamp) -> Option<Timestamp> {
        let ahead = u64::try_from(UPDATE_AHEAD_MAX.as_micros()).unwrap_or(u64::MAX);
        let at = Timestamp::from_micros(self.paid.as_micros().saturating_sub(ahead));
        Some(at).filter(|at| *at > now)
    }

    /// When a change that waits is told.
    pub(super) const fn waits_until(&self) -> Option<Timestamp> {
        self.waits_until
    }

    /// Whether a change waits; then others have yet to be asked for sections for its tracks.
    pub(super) const fn withhold(&mut self) -> bool {
        self.withholds |= self.waits_until.is_some();
        self.waits_until.is_some()
    }

    /// The change that waited is told now. Whether others waited for it.
    pub(super) const fn release(&mut self) -> bool {
        self.waits_until = None;
        std::mem::replace(&mut self.withholds, false)
    }

    /// So many bytes were told to so many.
    pub(super) fn pay(&mut self, now: Timestamp, bytes: usize, receivers: usize) {
        let spread = time_of(bytes.saturating_mul(receivers), UPDATE_SPREAD_PER_SECOND);
        let each = time_of(bytes, UPDATE_BYTES_PER_SECOND);
        self.paid = self.paid.max(now) + UPDATE_EVERY.max(each).max(spread).min(UPDATE_WAIT_MAX);
    }

    /// When all that was told is paid for.
    pub(super) const fn paid(&self) -> Timestamp {
        self.paid
    }
}

/// How long so many bytes take at a rate.
pub(super) fn time_of(bytes: usize, per_second: u64) -> Duration {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    Duration::from_micros(bytes.saturating_mul(1_000_000) / per_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells as soon as it may, for a minute, and gives how many came of it: at once, and each second.
    fn told(bytes: usize, receivers: usize) -> (usize, usize) {
        let mut pace = Pace::new(Timestamp::ZERO);
        let mut at_once = 0;
        let mut all = 0;
        for millis in 0..60_100 {
            let now = Timestamp::from_millis(millis);
            while pace.next(now).is_none_or(|at| at <= now) {
                pace.release();
                pace.pay(now, bytes, receivers);
                at_once += usize::from(millis == 0);
                all += 1;
            }
        }
        (at_once, (all - at_once) / 60)
    }

    #[test]
    fn a_few_are_told_at_once_and_then_ten_a_second() {
        assert_eq!(told(500, 4), (8, 10));
    }

    #[test]
    fn what_is_long_or_heard_by_many_is_told_less_often() {
        let each = usize::try_from(UPDATE_BYTES_PER_SECOND).unwrap();
        assert_eq!(told(each / 4, 1), (3, 4));
        let spread = usize::try_from(UPDATE_SPREAD_PER_SECOND).unwrap();
        assert_eq!(told(spread / 3000 / 2, 3000), (2, 2));
        // The longest that there is, at once and then when it is paid for.
        assert_eq!(told(19 * each, 4).0, 1);
    }

    #[test]
    fn a_change_that_waits_takes_those_behind_it_along() {
        let mut pace = Pace::new(Timestamp::from_millis(5_000));
        let at = pace.next(Timestamp::ZERO).expect("what was told before is to be paid for");
        assert_eq!(pace.next(Timestamp::from_millis(100)), Some(at));
        assert!(pace.withhold() && pace.release());
        assert!(!pace.withhold() && !pace.release(), "nothing waits any more");
        assert_eq!(pace.next(at), None);
    }
}
