//! How much each of many may ask for, in a table of fixed size.
//!
//! Owns: a row for each network or key by a keyed hash.
//! Guarantees: it never grows; those that fall on one row share its budget, so that a collision narrows a budget and
//! never widens it; nobody outside can tell which ones do. What is over budget costs a hash.
//! Not here: what is counted, and what whoever is over budget is told.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use model::Timestamp;

use crate::limits::BUDGET_ROWS;

/// Counted in millionths, so that a microsecond pays a whole number back.
const WHOLE: u64 = 1_000_000;

/// What a row gives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// At once.
    pub(crate) burst: u64,
    /// On end; zero where what was taken is given back.
    pub(crate) per_second: u64,
}

/// Zero is an untouched budget, so that the table takes no memory before it is used.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    spent: u64,
    /// Up to when it was paid back.
    at: Timestamp,
}

#[derive(Debug)]
pub(crate) struct Budget {
    rate: Rate,
    rows: Box<[Row]>,
    hash: RandomState,
}

impl Budget {
    pub(crate) fn new(rate: Rate) -> Self {
        let rows = vec![Row::default(); BUDGET_ROWS].into_boxed_slice();
        Self { rate, rows, hash: RandomState::new() }
    }

    /// Takes one. `false`: it is over budget, and costs nothing of it.
    pub(crate) fn take(&mut self, now: Timestamp, whose: &impl Hash) -> bool {
        self.take_many(now, whose, 1)
    }

    /// Whether one could be taken.
    pub(crate) fn has_room(&mut self, now: Timestamp, whose: &impl Hash) -> bool {
        let most = self.rate.burst.saturating_mul(WHOLE);
        self.pay_back(now, whose).is_some_and(|row| row.spent.saturating_add(WHOLE) <= most)
    }

    /// Takes so many, or none if they are over budget.
    pub(crate) fn take_many(&mut self, now: Timestamp, whose: &impl Hash, count: u64) -> bool {
        let burst = self.rate.burst;
        self.pay_back(now, whose).is_some_and(|row| {
            let spent = row.spent.saturating_add(count.saturating_mul(WHOLE));
            let is_within = spent <= burst.saturating_mul(WHOLE);
            row.spent = if is_within { spent } else { row.spent };
            is_within
        })
    }

    /// Counts so many that were had already: what they are over budget keeps the next ones waiting.
    fn charge(&mut self, now: Timestamp, whose: &impl Hash, count: u64) {
        if let Some(row) = self.pay_back(now, whose) {
            row.spent = row.spent.saturating_add(count.saturating_mul(WHOLE));
        }
    }

    /// A row as it is now.
    fn pay_back(&mut self, now: Timestamp, whose: &impl Hash) -> Option<&mut Row> {
        let per_second = self.rate.per_second;
        let row = self.row(whose)?;
        let elapsed = now.as_micros().saturating_sub(row.at.as_micros());
        row.spent = row.spent.saturating_sub(elapsed.saturating_mul(per_second));
        row.at = row.at.max(now);
        Some(row)
    }

    /// One that was taken is free again.
    fn give_back(&mut self, whose: &impl Hash) {
        if let Some(row) = self.row(whose) {
            row.spent = row.spent.saturating_sub(WHOLE);
        }
    }

    fn row(&mut self, whose: &impl Hash) -> Option<&mut Row> {
        let hash = usize::try_from(self.hash.hash_one(whose) >> 32).unwrap_or(0);
        self.rows.get_mut(hash % BUDGET_ROWS)
    }
}

/// A budget that several tasks take from. Its lock is held for a hash and a row.
#[derive(Clone, Debug)]
pub(crate) struct SharedBudget {
    budget: Arc<Mutex<Budget>>,
    origin: Instant,
}

impl SharedBudget {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { budget: Arc::new(Mutex::new(Budget::new(rate))), origin: Instant::now() }
    }

    /// So many places for each, which are given back.
    pub(crate) fn of_places(most: usize) -> Self {
        Self::new(Rate { burst: u64::try_from(most).unwrap_or(u64::MAX), per_second: 0 })
    }

    /// As [`Budget::take`], now.
    pub(crate) fn take(&self, whose: &impl Hash) -> bool {
        let now = self.now();
        self.lock().take(now, whose)
    }

    /// As [`Budget::charge`], now.
    pub(crate) fn charge(&self, whose: &impl Hash, count: u64) {
        let now = self.now();
        self.lock().charge(now, whose, count);
    }

    /// As [`Budget::has_room`], now.
    pub(crate) fn has_room(&self, whose: &impl Hash) -> bool {
        let now = self.now();
        self.lock().has_room(now, whose)
    }

    /// Takes one until what is returned is dropped; nothing if it is over budget.
    pub(crate) fn hold(&self, network: Network) -> Option<Held> {
        self.take(&network).then(|| Held { budget: self.clone(), network })
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Budget> {
        // A row cannot break half-way.
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that is taken as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    budget: SharedBudget,
    network: Network,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.lock().give_back(&self.network);
    }
}

/// What is given to one customer, more or less: a /24 of IPv4, a /56 of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Network {
    V4(u32),
    V6(u64),
}

impl Network {
    /// One address by itself, of IPv6 a /64: where neighbors are no customers of one kind.
    pub(crate) fn of_one(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                Self::V6(u64::try_from(address.to_bits() >> 64).unwrap_or(u64::MAX))
            }
        }
    }

    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits() >> 8),
            IpAddr::V6(address) => {
                Self::V6(u64::try_from(address.to_bits() >> 72).unwrap_or(u64::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 2000, per_second: 500 };

    fn network(text: &str) -> Network {
        Network::of(text.parse().unwrap())
    }

    fn taken(budget: &mut Budget, at: u64, from: &str) -> u64 {
        let from = network(from);
        (0..10_000).map(|_| u64::from(budget.take(Timestamp::from_millis(at), &from))).sum()
    }

    #[test]
    fn a_network_has_a_burst_and_then_a_rate() {
        let mut budget = Budget::new(RATE);
        assert_eq!(taken(&mut budget, 5, "192.0.2.1"), RATE.burst);
        assert_eq!(taken(&mut budget, 5, "192.0.2.200"), 0, "its neighbor has the same");
        assert_eq!(taken(&mut budget, 1005, "192.0.2.7"), RATE.per_second);
        assert_eq!(taken(&mut budget, 3_600_000, "192.0.2.7"), RATE.burst);
    }

    #[test]
    fn what_is_charged_is_paid_back_before_the_next() {
        let mut budget = Budget::new(RATE);
        let (now, key) = (Timestamp::from_millis(5), "key");
        assert!(!budget.take_many(now, &key, RATE.burst + 1));
        assert!(budget.take_many(now, &key, RATE.burst), "what was refused costs nothing");
        budget.charge(now, &key, RATE.per_second);
        assert!(!budget.take(Timestamp::from_millis(1004), &key));
        assert!(budget.take(Timestamp::from_millis(1008), &key));
    }

    #[test]
    fn other_networks_have_their_own() {
        let mut budget = Budget::new(RATE);
        taken(&mut budget, 5, "192.0.2.1");
        // Two may share a row, eight do not.
        let others = (1..9).map(|net| taken(&mut budget, 5, &format!("198.51.{net}.1")));
        assert!(others.sum::<u64>() > RATE.burst);
        assert_eq!(network("2001:db8:0:1200::1"), Network::V6(0x0020_010d_b800_0012));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.9"));
        assert_ne!(network("192.0.2.9"), network("::c000:200"));
        let one = |text: &str| Network::of_one(text.parse().unwrap());
        assert_ne!(one("192.0.2.1"), one("192.0.2.9"));
        assert_eq!(one("2001:db8::1"), one("2001:db8::2"));
    }

    #[test]
    fn what_is_held_is_given_back_when_it_ends_and_not_before() {
        let budget = SharedBudget::of_places(2);
        let here = network("192.0.2.1");
        let mut held = vec![budget.hold(here).unwrap(), budget.hold(here).unwrap()];
        assert!(budget.hold(here).is_none() && !budget.has_room(&here));
        held.pop();
        assert!(budget.has_room(&here));
        held.push(budget.hold(here).unwrap());
        assert!(budget.hold(here).is_none());
        drop(held);
        assert!(budget.has_room(&here));
    }
}
