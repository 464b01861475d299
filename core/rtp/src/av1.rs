//! Where an AV1 decoder can begin.
//!
//! Owns: the aggregation header.
//! Not here: the dependency descriptor (a header extension), OBU parsing.
//! Source: AV1 RTP payload format 1.0 §4.4.

use crate::codec::Entry;

/// The first OBU element continues one of the packet before.
const Z: u8 = 0x80;
/// The packet is the first of a coded video sequence. Excludes Z.
const N: u8 = 0x08;

/// How the packet with this payload begins.
pub(crate) fn entry(payload: &[u8]) -> Entry {
    match payload {
        [header, _, ..] if header & Z != 0 => Entry::Middle,
        [header, _, ..] if header & N != 0 => Entry::Keyframe,
        [_, _, ..] => Entry::Unit,
        [] | [_] => Entry::Middle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_coded_video_sequence_is_a_key_frame() {
        assert_eq!(entry(&[0x08, 0x0a]), Entry::Keyframe);
        assert_eq!(entry(&[0x18, 0x0a]), Entry::Keyframe);
        assert_eq!(entry(&[0x10, 0x32]), Entry::Unit);
        assert_eq!(entry(&[0x90, 0x32]), Entry::Middle);
        assert_eq!(entry(&[0x88, 0x32]), Entry::Middle, "Z excludes N");
        assert_eq!(entry(&[0x08]), Entry::Middle);
    }
}
