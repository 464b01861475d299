//! Where an H.264 decoder can begin.
//!
//! Owns: finding sequence parameter sets in single NAL unit packets, STAP-A and the first FU-A.
//! Not here: anything behind a NAL unit header; under end-to-end encryption slices are ciphertext.
//! Source: RFC 6184 §5.

use crate::codec::Entry;

const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// How the packet with this payload begins.
pub(crate) fn entry(payload: &[u8]) -> Entry {
    let Some((header, rest)) = payload.split_first() else { return Entry::Middle };
    match header & 0x1f {
        STAP_A if units(rest).any(is_key) => Entry::Keyframe,
        FU_A => match rest.first() {
            Some(fu) if fu & 0x80 == 0 => Entry::Middle,
            Some(fu) if is_key(*fu) => Entry::Keyframe,
            Some(_) => Entry::Unit,
            None => Entry::Middle,
        },
        _ if is_key(*header) => Entry::Keyframe,
        _ => Entry::Unit,
    }
}

/// Parameter sets: of an IDR slice without its own nobody who is new makes anything. Encoders repeat them before each.
const fn is_key(header: u8) -> bool {
    header & 0x1f == SPS
}

/// The NAL unit headers of an aggregation packet; ends at the first that does not fit.
fn units(mut rest: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (len, unit) = rest.split_first_chunk::<2>()?;
        let (unit, next) = unit.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        rest = next;
        unit.first().copied()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sets_begin_decoding_and_a_slice_without_them_does_not() {
        assert_eq!(entry(&[0x65, 0x88]), Entry::Unit);
        assert_eq!(entry(&[0x67, 0x42]), Entry::Keyframe);
        assert_eq!(entry(&[0x68, 0xce]), Entry::Unit);
        assert_eq!(entry(&[0x41, 0x9a]), Entry::Unit);
        assert_eq!(entry(&[]), Entry::Middle);
    }

    #[test]
    fn an_aggregate_is_searched() {
        // Access unit delimiter, then SPS.
        assert_eq!(entry(&[0x78, 0, 2, 0x09, 0xf0, 0, 2, 0x67, 0x42]), Entry::Keyframe);
        assert_eq!(entry(&[0x78, 0, 2, 0x09, 0xf0, 0, 2, 0x61, 0x42]), Entry::Unit);
        // The second unit claims more than there is.
        assert_eq!(entry(&[0x78, 0, 2, 0x09, 0xf0, 0, 3, 0x67, 0x42]), Entry::Unit);
    }

    #[test]
    fn only_the_first_fragment_begins_a_frame() {
        assert_eq!(entry(&[0x7c, 0x87, 0x42]), Entry::Keyframe);
        assert_eq!(entry(&[0x7c, 0x07, 0x42]), Entry::Middle);
        assert_eq!(entry(&[0x7c, 0x85, 0x88]), Entry::Unit);
        assert_eq!(entry(&[0x7c, 0x05, 0x88]), Entry::Middle);
        assert_eq!(entry(&[0x7c, 0x45, 0x88]), Entry::Middle);
        assert_eq!(entry(&[0x5c, 0x81, 0x88]), Entry::Unit);
        assert_eq!(entry(&[0x7c]), Entry::Middle);
    }
}
