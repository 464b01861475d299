//! What a peer may use up over time: so much at once, and then at a rate.

use std::time::Duration;

use model::Timestamp;

/// Kept as the time at which all that was taken is earned again: eight bytes, and nothing to refill.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ration {
    /// That time; not later than `burst` from when something was taken last.
    earned: Timestamp,
    burst: Duration,
}

impl Ration {
    /// Untouched: what takes `burst` to earn may be taken at once.
    pub(super) const fn new(burst: Duration) -> Self {
        Self { earned: Timestamp::ZERO, burst }
    }

    /// Takes what takes `cost` to earn; `false` when there is not as much left.
    pub(super) fn take(&mut self, now: Timestamp, cost: Duration) -> bool {
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
