//! Sequence numbers: sixteen bits on the wire, 48 or more in our heads.
//!
//! Owns: the one rule by which a wrapped number finds its place, "the nearest to the highest known".
//! Guarantees: the low 16 bits of every index are the number it came from.
//! Not here: SRTP's rollover counter for an unknown stream (`srtp`), loss (`reception`, `nack`).
//! Source: RFC 3550 appendix A.1, RFC 3711 §3.3.1, RFC 1982 for the comparison.

/// A 16-bit number of a circle; order means "less than half a circle ahead".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence(pub u16);

impl Sequence {
    /// How far `self` is ahead of `other`: -32768..=32767, negative when behind.
    #[inline]
    #[must_use]
    pub const fn distance_from(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0).cast_signed()
    }

    /// Whether `self` comes after `other`. Exactly half a circle apart, neither comes after the other.
    #[inline]
    #[must_use]
    pub const fn is_after(self, other: Self) -> bool {
        self.distance_from(other) > 0
    }

    /// `self + by`, around the circle.
    #[inline]
    #[must_use]
    pub const fn plus(self, by: u16) -> Self {
        Self(self.0.wrapping_add(by))
    }
}

/// The index nearest to `reference` whose low 16 bits are `sequence`; `None` where that lies below zero.
///
/// Exactly half a circle away counts as behind.
#[inline]
#[must_use]
pub const fn nearest_index(reference: u64, sequence: u16) -> Option<u64> {
    let distance = Sequence(sequence).distance_from(Sequence(low_bits(reference)));
    reference.checked_add_signed(distance as i64)
}

/// The sequence number that `index` has on the wire.
#[inline]
#[must_use]
pub const fn low_bits(index: u64) -> u16 {
    (index & 0xffff) as u16
}

/// Follows one counter through its wraps, tolerant of reordering by less than half a circle.
///
/// The first number gets an index in the second circle (`0x1_0000 | number`), so that what was sent just before it
/// and arrives after it still has an index below it. For media use the index that SRTP authenticated instead.
#[derive(Clone, Copy, Debug, Default)]
pub struct SequenceUnroller {
    highest: Option<u64>,
}

impl SequenceUnroller {
    /// Has seen nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { highest: None }
    }

    /// The index of `sequence`; remembers it when it is the highest.
    #[inline]
    pub fn unroll(&mut self, sequence: u16) -> u64 {
        let index = self.peek(sequence);
        self.highest = Some(self.highest.map_or(index, |highest| highest.max(index)));
        index
    }

    /// The index that `sequence` would get, without remembering it.
    #[inline]
    #[must_use]
    pub fn peek(&self, sequence: u16) -> u64 {
        let first = 0x1_0000 | u64::from(sequence);
        self.highest.map_or(first, |highest| nearest_index(highest, sequence).unwrap_or(first))
    }

    /// The highest index so far.
    #[inline]
    #[must_use]
    pub const fn highest(&self) -> Option<u64> {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        assert!(Sequence(0).is_after(Sequence(65535)));
        assert!(!Sequence(65535).is_after(Sequence(0)));
        assert!(!Sequence(7).is_after(Sequence(7)));
        assert_eq!(Sequence(2).distance_from(Sequence(65534)), 4);
        assert_eq!(Sequence(65535).plus(2), Sequence(1));
    }

    #[test]
    fn half_a_circle_away_is_after_in_neither_direction() {
        assert!(!Sequence(32768).is_after(Sequence(0)));
        assert!(!Sequence(0).is_after(Sequence(32768)));
    }

    #[test]
    fn what_lies_below_zero_has_no_index() {
        assert_eq!(nearest_index(0, 65535), None);
        assert_eq!(nearest_index(0x1_0000, 65535), Some(65535));
    }

    #[test]
    fn an_early_packet_that_comes_late_lies_below_the_first() {
        let mut unroller = SequenceUnroller::new();
        assert_eq!(unroller.unroll(0), 0x1_0000);
        assert_eq!(unroller.unroll(65535), 0xffff);
        assert_eq!(unroller.highest(), Some(0x1_0000));
    }

    proptest! {
        #[test]
        fn shuffled_within_reach_every_index_is_exact(
            start in 0u64..200_000, steps in proptest::collection::vec((0u64..2000, 0u64..2000), 1..300),
        ) {
            let mut unroller = SequenceUnroller::new();
            let offset = unroller.unroll(low_bits(start)).wrapping_sub(start);
            let mut at = start;
            for (forward, back) in steps {
                at += forward;
                prop_assert_eq!(unroller.unroll(low_bits(at)), at.wrapping_add(offset));
                let late = at.saturating_sub(back).max(start);
                prop_assert_eq!(unroller.unroll(low_bits(late)), late.wrapping_add(offset));
            }
        }
    }
}
