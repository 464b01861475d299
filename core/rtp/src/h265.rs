//! Where an H.265 decoder can begin.
//!
//! Owns: finding random access pictures and parameter sets in single NAL unit packets, aggregates and first fragments.
//! Not here: anything behind a NAL unit header, DONL fields (WebRTC sends none).
//! Source: RFC 7798 §4.4.

use crate::codec::Entry;

/// `BLA_W_LP` to `RSV_IRAP_VCL23`.
const IRAP_FIRST: u8 = 16;
const IRAP_LAST: u8 = 23;
const VPS: u8 = 32;
const SPS: u8 = 33;
const AGGREGATE: u8 = 48;
const FRAGMENT: u8 = 49;
/// Bytes of a NAL unit header.
const HEADER_LEN: usize = 2;

/// How the packet with this payload begins.
pub(crate) fn entry(payload: &[u8]) -> Entry {
    let Some((header, rest)) = payload.split_first_chunk::<HEADER_LEN>() else {
        return Entry::Middle;
    };
    let kind = kind(*header);
    match kind {
        AGGREGATE if units(rest).any(is_key) => Entry::Keyframe,
        FRAGMENT => match rest.first() {
            Some(fu) if fu & 0x80 == 0 => Entry::Middle,
            Some(fu) if is_key(fu & 0x3f) => Entry::Keyframe,
            Some(_) => Entry::Unit,
            None => Entry::Middle,
        },
        _ if is_key(kind) => Entry::Keyframe,
        _ => Entry::Unit,
    }
}

const fn kind(header: [u8; HEADER_LEN]) -> u8 {
    header[0] >> 1 & 0x3f
}

const fn is_key(kind: u8) -> bool {
    matches!(kind, IRAP_FIRST..=IRAP_LAST | VPS | SPS)
}

/// The NAL unit types of an aggregate; ends at the first unit that does not fit.
fn units(mut rest: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (len, unit) = rest.split_first_chunk::<2>()?;
        let (unit, next) = unit.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        rest = next;
        unit.first_chunk::<HEADER_LEN>().map(|header| kind(*header))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_access_pictures_and_parameter_sets_begin_decoding() {
        assert_eq!(entry(&[0x26, 0x01, 0xaf]), Entry::Keyframe); // IDR_W_RADL
        assert_eq!(entry(&[0x40, 0x01, 0x0c]), Entry::Keyframe); // VPS
        assert_eq!(entry(&[0x42, 0x01, 0x01]), Entry::Keyframe); // SPS
        assert_eq!(entry(&[0x02, 0x01, 0xd0]), Entry::Unit); // TRAIL_R
        assert_eq!(entry(&[0x26]), Entry::Middle);
    }

    #[test]
    fn aggregates_and_first_fragments_are_searched() {
        assert_eq!(entry(&[0x60, 0x01, 0, 2, 0x44, 0x01, 0, 3, 0x26, 0x01, 0xaf]), Entry::Keyframe);
        assert_eq!(entry(&[0x60, 0x01, 0, 2, 0x44, 0x01]), Entry::Unit);
        assert_eq!(entry(&[0x62, 0x01, 0x80 | 19, 0xaf]), Entry::Keyframe);
        assert_eq!(entry(&[0x62, 0x01, 19, 0xaf]), Entry::Middle);
        assert_eq!(entry(&[0x62, 0x01, 0x81, 0xd0]), Entry::Unit);
    }
}
