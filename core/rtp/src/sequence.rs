//! Sequence numbers: sixteen bits on the wire, 48 or more in our heads.
//!
//! Owns: the one rule by which a wrapped number finds its place, "the nearest to the highest known".
//! Guarantees: the low 16 bits of every index are the number it came from.
//! Not here: SRTP's rollover counter for an unknown stream (`srtp`), loss (`reception`, `nack`).
//! Source: RFC 3550 appendix A.1, RFC 3711 §3.3.1.

/// The index nearest to `reference` whose low 16 bits are `sequence`; `None` where that lies below zero.
///
/// Exactly half a circle away counts as behind.
#[inline]
#[must_use]
pub const fn nearest_index(reference: u64, sequence: u16) -> Option<u64> {
    let distance = sequence.wrapping_sub(low_bits(reference)).cast_signed();
    reference.checked_add_signed(distance as i64)
}

/// The sequence number that `index` has on the wire.
#[inline]
#[must_use]
pub const fn low_bits(index: u64) -> u16 {
    (index & 0xffff) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_a_circle_away_is_behind() {
        assert_eq!(nearest_index(0x1_0000, 32_768), Some(32_768));
        assert_eq!(nearest_index(0x1_0000, 32_767), Some(0x1_7fff));
    }

    #[test]
    fn what_lies_below_zero_has_no_index() {
        assert_eq!(nearest_index(0, 65_535), None);
        assert_eq!(nearest_index(0x1_0000, 65_535), Some(65_535));
    }

    proptest! {
        #[test]
        fn within_half_a_circle_every_index_is_exact(
            reference in 0x1_0000u64..1 << 48, away in -0x8000i64..0x8000,
        ) {
            let index = reference.checked_add_signed(away).unwrap();
            prop_assert_eq!(nearest_index(reference, low_bits(index)), Some(index));
        }
    }
}
