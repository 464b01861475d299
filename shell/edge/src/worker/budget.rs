//! How many binding requests a network may have judged over paths that nobody has proven.
//!
//! Owns: a table of fixed size, with a row for each /24 of IPv4 and each /56 of IPv6 by a keyed hash.
//! Guarantees: it never grows; networks that fall on one row share its budget, so that a collision narrows a
//! budget and never widens it; nobody outside can tell which ones do. What is over budget costs no HMAC.
//! Not here: requests over a proven path, media and data, which no budget of a network may drop.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use model::Timestamp;

use crate::limits::{KNOCK_ROWS, KNOCKS_BURST, KNOCKS_PER_SECOND};

/// Counted in millionths, so that a microsecond pays a whole number back.
const WHOLE: u64 = 1_000_000;

/// Zero is an untouched budget, so that the table takes no memory before it is used.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    spent: u64,
    /// Up to when it was paid back.
    at: Timestamp,
}

#[derive(Debug)]
pub(super) struct Budget {
    rows: Box<[Row]>,
    hash: RandomState,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { rows: vec![Row::default(); KNOCK_ROWS].into_boxed_slice(), hash: RandomState::new() }
    }

    /// Whether one more request from there is within the budget of its network. One that is not costs nothing.
    pub(super) fn take(&mut self, now: Timestamp, from: IpAddr) -> bool {
        let hash = usize::try_from(self.hash.hash_one(network(from)) >> 32).unwrap_or(0);
        let Some(row) = self.rows.get_mut(hash % KNOCK_ROWS) else { return false };
        let elapsed = now.as_micros().saturating_sub(row.at.as_micros());
        row.spent = row.spent.saturating_sub(elapsed.saturating_mul(KNOCKS_PER_SECOND));
        row.at = row.at.max(now);
        if row.spent + WHOLE > KNOCKS_BURST * WHOLE {
            return false;
        }
        row.spent += WHOLE;
        true
    }
}

/// What is given to one customer, more or less.
fn network(address: IpAddr) -> (bool, u64) {
    match address {
        IpAddr::V4(address) => (false, u64::from(address.to_bits() >> 8)),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => (false, u64::from(address.to_bits() >> 8)),
            None => (true, u64::try_from(address.to_bits() >> 72).unwrap_or(0)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &mut Budget, at: u64, from: &str) -> u64 {
        let from: IpAddr = from.parse().unwrap();
        (0..10_000).map(|_| u64::from(budget.take(Timestamp::from_millis(at), from))).sum()
    }

    #[test]
    fn a_network_has_a_burst_and_then_a_rate() {
        let mut budget = Budget::new();
        assert_eq!(taken(&mut budget, 5, "192.0.2.1"), KNOCKS_BURST);
        assert_eq!(taken(&mut budget, 5, "192.0.2.200"), 0, "its neighbor has the same");
        assert_eq!(taken(&mut budget, 1005, "192.0.2.7"), KNOCKS_PER_SECOND);
        assert_eq!(taken(&mut budget, 3_600_000, "192.0.2.7"), KNOCKS_BURST);
    }

    #[test]
    fn other_networks_have_their_own() {
        let mut budget = Budget::new();
        taken(&mut budget, 5, "192.0.2.1");
        // Two may share a row, eight do not.
        let others = (1..9).map(|net| taken(&mut budget, 5, &format!("198.51.{net}.1")));
        assert!(others.sum::<u64>() > KNOCKS_BURST);
        assert_eq!(network("2001:db8:0:1200::1".parse().unwrap()), (true, 0x0020_010d_b800_0012));
        assert_eq!(
            network("::ffff:192.0.2.1".parse().unwrap()),
            network("192.0.2.9".parse().unwrap())
        );
    }
}
