//! Start codes, and the bytes that keep encrypted data from looking like one.
//!
//! Guarantees: what [`insert`] wrote holds neither `00 00 00`, `00 00 01` nor `00 00 02`, and [`remove`] is
//! its inverse.
//! Source: ITU-T H.264 §7.4.1 and Annex B; `livekit-client` 2.23.0 `src/e2ee/utils.ts` (`writeRbsp`,
//! `parseRbsp`).

/// What is put before a byte that two zeros precede, if it is not greater than this.
const EMULATION_PREVENTION: u8 = 3;

/// Bytes that are searched for zeros at once.
const BLOCK: usize = 256;

/// The length of `bytes` up to and with its first `00 00 01`.
pub(crate) fn behind_start_code(bytes: &[u8]) -> Option<usize> {
    third_after_zeros(bytes, |third| third == 1).map(|at| at + 1)
}

/// Escapes everything from `from` on, whose bytes before do not count.
///
/// Encrypted bytes need it about once in four million, hence the plain insertion.
pub(crate) fn insert(bytes: &mut Vec<u8>, mut from: usize) {
    let needs_escape = |third| third <= EMULATION_PREVENTION;
    while let Some(offset) = third_after_zeros(bytes.get(from..).unwrap_or_default(), needs_escape)
    {
        from += offset;
        bytes.insert(from, EMULATION_PREVENTION);
        from += 1;
    }
}

/// Takes out what [`insert`] put in from `from` on.
pub(crate) fn remove(bytes: &mut Vec<u8>, from: usize) {
    let is_escape = |third| third == EMULATION_PREVENTION;
    // Everything up to `read` has been looked at and lies, without its escapes, before `write`.
    let (mut read, mut write) = (from, from);
    while let Some(offset) = third_after_zeros(bytes.get(read..).unwrap_or_default(), is_escape) {
        if write != read {
            bytes.copy_within(read..read + offset, write);
        }
        write += offset;
        read += offset + 1;
    }
    if write != read {
        let rest = bytes.len() - read;
        bytes.copy_within(read.., write);
        bytes.truncate(write + rest);
    }
}

/// The position of the first byte that is `wanted` and comes after two zeros.
///
/// Looks for zeros block by block, which the compiler does sixteen bytes at a time: random bytes hold two in a
/// row once in 65,536.
fn third_after_zeros(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut rest = bytes;
    while let [_, after @ ..] = rest {
        let pairs = rest.iter().zip(after).take(BLOCK);
        let least = pairs.fold(u8::MAX, |least, (one, next)| least.min(one | next));
        if least == 0 {
            let triple = |three: &[u8]| matches!(*three, [0, 0, third] if wanted(third));
            let found = rest.windows(3).take(BLOCK).position(triple);
            if let Some(place) = found {
                return Some(bytes.len() - rest.len() + place + 2);
            }
        }
        rest = rest.get(BLOCK..).unwrap_or_default();
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(plain: &[u8], expect: &[u8]) {
        let mut bytes = plain.to_vec();
        insert(&mut bytes, 0);
        assert_eq!(bytes, expect, "{plain:02x?}");
        remove(&mut bytes, 0);
        assert_eq!(bytes, plain);
    }

    #[test]
    fn a_byte_of_at_most_three_after_two_zeros_is_escaped() {
        check(&[0, 0, 0], &[0, 0, 3, 0]);
        check(&[0, 0, 1], &[0, 0, 3, 1]);
        check(&[0, 0, 2, 9], &[0, 0, 3, 2, 9]);
        check(&[0, 0, 3], &[0, 0, 3, 3]);
        check(&[0, 0, 4], &[0, 0, 4]);
        check(&[0, 1, 0, 0], &[0, 1, 0, 0]);
        check(&[0, 0, 0, 0, 0, 0], &[0, 0, 3, 0, 0, 3, 0, 0]);
        check(&[0, 0, 0, 0, 1], &[0, 0, 3, 0, 0, 3, 1]);
        check(&[5, 0, 0, 0, 0, 0, 2], &[5, 0, 0, 3, 0, 0, 3, 0, 2]);
        check(&[], &[]);
    }

    #[test]
    fn bytes_before_the_place_are_left_alone_and_do_not_count() {
        let mut bytes = vec![0, 0, 1, 0, 0, 0, 0, 1];
        insert(&mut bytes, 4);
        assert_eq!(bytes, [0, 0, 1, 0, 0, 0, 3, 0, 1]);
        remove(&mut bytes, 4);
        assert_eq!(bytes, [0, 0, 1, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn start_codes_are_found_where_they_end() {
        assert_eq!(behind_start_code(&[0, 0, 1]), Some(3));
        assert_eq!(behind_start_code(&[0, 0, 0, 0, 1, 0, 0, 1]), Some(5));
        assert_eq!(behind_start_code(&[0, 1, 0, 1, 9, 0, 0]), None);
    }

    #[test]
    fn an_escape_is_found_wherever_it_lies_among_blocks() {
        for at in 0..3 * BLOCK {
            let mut plain = vec![9; 3 * BLOCK + 3];
            plain[at..at + 3].copy_from_slice(&[0, 0, 1]);
            assert_eq!(third_after_zeros(&plain, |third| third == 1), Some(at + 2));
            assert_eq!(third_after_zeros(&plain, |third| third == 2), None);
            let mut escaped = plain.clone();
            escaped.insert(at + 2, EMULATION_PREVENTION);
            check(&plain, &escaped);
        }
    }

    /// LiveKit's own reckoning, byte by byte.
    fn escaped(plain: &[u8]) -> Vec<u8> {
        let (mut out, mut zeros) = (Vec::new(), 0);
        for byte in plain {
            if *byte <= 3 && zeros >= 2 {
                out.push(3);
                zeros = 0;
            }
            out.push(*byte);
            zeros = if *byte == 0 { zeros + 1 } else { 0 };
        }
        out
    }

    proptest! {
        #[test]
        fn escaping_is_livekits_and_can_be_undone(plain in prop::collection::vec(0u8..6, 0..64)) {
            let mut bytes = plain.clone();
            insert(&mut bytes, 0);
            prop_assert_eq!(&bytes, &escaped(&plain));
            prop_assert!(bytes.windows(3).all(|three| three[..2] != [0, 0] || three[2] > 2));
            remove(&mut bytes, 0);
            prop_assert_eq!(bytes, plain);
        }
    }
}
