//! What a participant may ask for: so much at once, and so much a second.
//!
//! Guarantees: what was taken is paid for by time alone. It is one moment, which goes with whoever leaves and comes
//! again ([`Debts`]).
//! Not here: what a request costs (`request`), how often a room is told of somebody (`pace`).

use std::time::Duration;

use model::{Ration, Timestamp};

use crate::limits::{NAMES_BURST, NAMES_PER_SECOND, REQUESTS_BURST, REQUESTS_PER_SECOND};

/// Of signalling requests.
pub(super) type Requests = Bucket<REQUESTS_BURST, REQUESTS_PER_SECOND>;
/// Of those whom data packets name as their receivers.
pub(super) type Names = Bucket<NAMES_BURST, NAMES_PER_SECOND>;

#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket<const BURST: u32, const PER_SECOND: u32>(Ration);

impl<const BURST: u32, const PER_SECOND: u32> Bucket<BURST, PER_SECOND> {
    /// Of which all that was taken is paid for at that time.
    pub(super) fn new(paid: Timestamp) -> Self {
        Self(Ration::owing(paid, Self::time_of(BURST)))
    }

    /// How long it takes to pay for so many.
    fn time_of(cost: u32) -> Duration {
        Duration::from_micros(u64::from(cost) * 1_000_000 / u64::from(PER_SECOND))
    }

    /// When so many could be taken.
    pub(super) fn affords_at(&self, cost: u32) -> Timestamp {
        self.0.affords_at(Self::time_of(cost))
    }

    /// Whether so many are taken; if not, that costs nothing.
    pub(super) fn take(&mut self, now: Timestamp, cost: u32) -> bool {
        self.0.take(now, Self::time_of(cost))
    }

    /// When all that was taken is paid for.
    pub(super) const fn paid(&self) -> Timestamp {
        self.0.earned()
    }
}

/// Up to when a participant has to wait until it may do again all that a newcomer may.
#[derive(Clone, Copy, Debug)]
pub(super) struct Debts {
    /// What its room was told of it.
    pub(super) told: Timestamp,
    pub(super) requests: Timestamp,
    pub(super) names: Timestamp,
}

impl Debts {
    /// Of somebody who has none.
    pub(super) const fn none(now: Timestamp) -> Self {
        Self { told: now, requests: now, names: now }
    }

    pub(super) fn are_paid(&self, now: Timestamp) -> bool {
        self.told.max(self.requests).max(self.names) <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: usize = REQUESTS_BURST as usize;

    fn taken(bucket: &mut Requests, at_ms: u64) -> usize {
        (0..2 * BURST).filter(|_| bucket.take(Timestamp::from_millis(at_ms), 1)).count()
    }

    #[test]
    fn it_gives_a_burst_and_then_a_rate() {
        let mut bucket = Requests::new(Timestamp::ZERO);
        assert_eq!(taken(&mut bucket, 0), BURST);
        assert_eq!(taken(&mut bucket, 1000), REQUESTS_PER_SECOND as usize);
        assert_eq!(taken(&mut bucket, 3_600_000), BURST);
        assert_eq!(taken(&mut bucket, 3_600_000), 0);
    }

    #[test]
    fn what_costs_more_than_is_left_costs_nothing() {
        let mut bucket = Requests::new(Timestamp::ZERO);
        assert!(!bucket.take(Timestamp::ZERO, REQUESTS_BURST + 1));
        assert!(bucket.take(Timestamp::ZERO, REQUESTS_BURST));
        assert!(!bucket.take(Timestamp::ZERO, 1));
        let at = bucket.affords_at(10);
        assert!(!bucket.take(Timestamp::from_micros(at.as_micros() - 1), 10));
        assert!(bucket.take(at, 10));
    }

    #[test]
    fn what_is_owed_goes_with_it() {
        let mut bucket = Requests::new(Timestamp::ZERO);
        assert_eq!(taken(&mut bucket, 0), BURST);
        let mut again = Requests::new(bucket.paid());
        assert_eq!(taken(&mut again, 1000), REQUESTS_PER_SECOND as usize);
    }
}
