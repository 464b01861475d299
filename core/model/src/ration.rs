//! What somebody may use up over time: so much at once, and then at a rate.

use std::time::Duration;

use crate::Timestamp;

/// Kept as the time at which all that was taken is earned again: one moment, and nothing to refill.
#[derive(Clone, Copy, Debug)]
pub struct Ration {
    /// That time; not later than `burst` from when something was taken last.
    earned: Timestamp,
    burst: Duration,
}

impl Ration {
    /// Untouched: what takes `burst` to earn may be taken at once.
    #[must_use]
    pub const fn new(burst: Duration) -> Self {
        Self::owing(Timestamp::ZERO, burst)
    }

    /// Of which all that was taken is earned again at that time.
    #[must_use]
    pub const fn owing(earned: Timestamp, burst: Duration) -> Self {
        Self { earned, burst }
    }

    /// When all that was taken is earned again.
    #[must_use]
    pub const fn earned(self) -> Timestamp {
        self.earned
    }

    /// When what takes `cost` to earn could be taken.
    #[must_use]
    pub fn affords_at(self, cost: Duration) -> Timestamp {
        let ahead = u64::try_from(self.burst.as_micros()).unwrap_or(u64::MAX);
        Timestamp::from_micros((self.earned + cost).as_micros().saturating_sub(ahead))
    }

    /// Takes what takes `cost` to earn; `false` when there is not as much left.
    pub fn take(&mut self, now: Timestamp, cost: Duration) -> bool {
        let earned = self.earned.max(now) + cost;
        let is_left = earned.since(now) <= self.burst;
        if is_left {
            self.earned = earned;
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_a_rate() {
        let mut ration = Ration::new(Duration::from_millis(100));
        let mut taken = |millis, count: u32| {
            let now = Timestamp::from_millis(millis);
            (0..count).filter(|_| ration.take(now, Duration::from_millis(10))).count()
        };
        assert_eq!(taken(0, 50), 10, "the burst");
        assert_eq!(taken(25, 50), 2, "what was earned since");
        assert_eq!(taken(30, 50), 1, "a half is not lost");
        assert_eq!(taken(10_000, 50), 10, "no more than the burst is saved up");
    }
}
