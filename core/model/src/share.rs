//! Parts of a whole.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A part of a whole, in thousandths: from nothing to all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

impl Share {
    /// Nothing of it.
    pub const NOTHING: Self = Self(0);
    /// All of it.
    pub const ALL: Self = Self(1000);

    /// From thousandths; more than a thousand is all of it.
    #[must_use]
    pub const fn from_permille(permille: u16) -> Self {
        Self(if permille < Self::ALL.0 { permille } else { Self::ALL.0 })
    }

    /// What `part` is of `whole`, rounded down; nothing of no time at all.
    #[must_use]
    pub fn of(part: Duration, whole: Duration) -> Self {
        let permille = part.as_micros().saturating_mul(1000).checked_div(whole.as_micros());
        Self::from_permille(u16::try_from(permille.unwrap_or(0)).unwrap_or(u16::MAX))
    }

    /// Thousandths, at most a thousand.
    #[must_use]
    pub const fn as_permille(self) -> u16 {
        self.0
    }

    /// From 0 to 1.
    #[must_use]
    pub fn as_ratio(self) -> f64 {
        f64::from(self.0) / 1000.0
    }

    /// `self * numerator / denominator`, rounded down, at most all of it.
    #[must_use]
    pub fn scaled(self, numerator: u16, denominator: u16) -> Self {
        let scaled = u32::from(self.0) * u32::from(numerator) / u32::from(denominator.max(1));
        Self::from_permille(u16::try_from(scaled).unwrap_or(u16::MAX))
    }
}

/// A text that is no share, or nothing of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoShare;

impl fmt::Display for NoShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share above 0, and at most 1, is wanted here")
    }
}

impl Error for NoShare {}

impl FromStr for Share {
    type Err = NoShare;

    /// As people write it: `0.9`.
    fn from_str(text: &str) -> Result<Self, NoShare> {
        let permille = text.parse::<f64>().map_err(|_| NoShare)? * 1000.0;
        if !(1.0..=1000.0).contains(&permille) {
            return Err(NoShare);
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between 1 and 1000"
        )]
        let permille = permille.round() as u16;
        Ok(Self::from_permille(permille))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_as_people_write_it() {
        let read = |text: &str| text.parse::<Share>().map(Share::as_permille);
        for (text, expect) in
            [("0.9", 900), ("1", 1000), ("1.0", 1000), (".001", 1), ("0.0856", 86)]
        {
            assert_eq!(read(text), Ok(expect), "{text}");
        }
        for text in ["", "0", "-0.5", "1.001", "NaN", "inf", "90%", "0.0001"] {
            assert_eq!(read(text), Err(NoShare), "{text}");
        }
    }

    #[test]
    fn a_share_is_between_nothing_and_all() {
        let seconds = Duration::from_secs;
        assert_eq!(Share::of(seconds(1), seconds(4)), Share::from_permille(250));
        assert_eq!(Share::of(seconds(5), seconds(4)), Share::ALL);
        assert_eq!(Share::of(Duration::MAX, Duration::from_micros(1)), Share::ALL);
        assert_eq!(Share::of(seconds(1), Duration::ZERO), Share::NOTHING);
        assert_eq!(Share::from_permille(900).scaled(5, 6).as_permille(), 750);
        assert_eq!(Share::ALL.scaled(u16::MAX, 0), Share::ALL);
    }
}
