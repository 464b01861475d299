//! Rates of data.

use std::time::Duration;

/// Bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataRate(u64);

impl DataRate {
    /// Nothing at all.
    pub const ZERO: Self = Self(0);
    /// No bound.
    pub const MAX: Self = Self(u64::MAX);

    /// From bits per second.
    #[must_use]
    pub const fn from_bps(bps: u64) -> Self {
        Self(bps)
    }

    /// From kilobits per second.
    #[must_use]
    pub const fn from_kbps(kbps: u64) -> Self {
        Self(kbps * 1000)
    }

    /// Bits per second.
    #[must_use]
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// The rate of `bytes` over `time`; zero when `time` is zero.
    #[must_use]
    pub fn of(bytes: u64, time: Duration) -> Self {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if micros == 0 {
            return Self::ZERO;
        }
        Self(bytes.saturating_mul(8).saturating_mul(1_000_000) / micros)
    }

    /// How long so many bytes take at this rate, in whole microseconds; for ever at none.
    #[must_use]
    pub const fn time_of(self, bytes: u64) -> Duration {
        if self.0 == 0 {
            return Duration::MAX;
        }
        Duration::from_micros(bytes.saturating_mul(8_000_000) / self.0)
    }

    /// `self * percent / 100`.
    #[must_use]
    pub const fn percent(self, percent: u64) -> Self {
        Self(self.0.saturating_mul(percent) / 100)
    }

    /// Sum, saturating.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Difference, zero when `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_megabyte_in_eight_seconds_is_a_megabit() {
        assert_eq!(DataRate::of(1_000_000, Duration::from_secs(8)), DataRate::from_kbps(1000));
        assert_eq!(DataRate::of(1, Duration::ZERO), DataRate::ZERO);
        assert_eq!(DataRate::from_kbps(1000).time_of(1_000_000), Duration::from_secs(8));
        assert_eq!(DataRate::ZERO.time_of(1), Duration::MAX);
    }
}
