//! HMAC-SHA1 cut to 80 bits, over a packet and the four bytes that follow it unsent.
//!
//! Guarantees: both pads are hashed at construction only, so that a packet costs its own blocks and one more; no
//! allocation; what is kept of the key is wiped when dropped; tags are compared in constant time.
//! Source: RFC 2104 §2 and §4 (the cached states), RFC 3711 §4.2.1, FIPS 180-4 §5.1.1 and §5.3.1.

use sha1::digest::generic_array::GenericArray;
use zeroize::Zeroize as _;

use super::SrtpError;

/// Bytes of a tag.
pub(super) const TAG_LEN: usize = 10;
const BLOCK_LEN: usize = 64;
/// SHA-1's words before the first block.
const INITIAL: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// What follows the packet into the hash: the rollover counter, or the trailer of an SRTCP packet.
type Suffix = [u8; 4];

/// SHA-1 after one block that depends on the key.
pub(super) struct Authentication {
    inner: [u32; 5],
    outer: [u32; 5],
}

impl Drop for Authentication {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

impl Authentication {
    /// `key` is the session's authentication key, of 160 bits.
    pub(super) fn new(key: &[u8; 20]) -> Self {
        let padded = |pad: u8| {
            let mut block = [pad; BLOCK_LEN];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            let mut state = INITIAL;
            compress(&mut state, &block);
            block.zeroize();
            state
        };
        Self { inner: padded(0x36), outer: padded(0x5c) }
    }

    /// The tag of `packet` followed by `suffix`.
    #[inline]
    pub(super) fn tag(&self, packet: &[u8], suffix: Suffix) -> [u8; TAG_LEN] {
        let mut state = self.inner;
        let (blocks, rest) = packet.as_chunks::<BLOCK_LEN>();
        for block in blocks {
            compress(&mut state, block);
        }
        finish(&mut state, rest, suffix, BLOCK_LEN + packet.len() + suffix.len());
        let mut digest = [0; 20];
        for (place, word) in digest.as_chunks_mut().0.iter_mut().zip(state) {
            *place = word.to_be_bytes();
        }
        state = self.outer;
        finish(&mut state, &digest, [], BLOCK_LEN + digest.len());
        // Two and a half words are sent.
        let [[t0, t1, t2, t3], [t4, t5, t6, t7], [t8, t9, ..], ..] = state.map(u32::to_be_bytes);
        [t0, t1, t2, t3, t4, t5, t6, t7, t8, t9]
    }

    /// Refuses a `tag` that is not that of `packet` and `suffix`.
    #[inline]
    pub(super) fn verify(
        &self,
        packet: &[u8],
        suffix: Suffix,
        tag: &[u8; TAG_LEN],
    ) -> Result<(), SrtpError> {
        let expected = self.tag(packet, suffix);
        // Every byte is looked at, so that the time taken tells nothing about where they differ.
        let difference =
            expected.iter().zip(tag).fold(0, |all, (ours, theirs)| all | (ours ^ theirs));
        if std::hint::black_box(difference) == 0 { Ok(()) } else { Err(SrtpError::Unauthentic) }
    }
}

/// Hashes what is left of a message, less than a block, and its end: one bit, zeros, the length in bits of all `hashed`
/// bytes.
#[inline]
fn finish<const N: usize>(state: &mut [u32; 5], rest: &[u8], suffix: [u8; N], hashed: usize) {
    let mut end = [[0; BLOCK_LEN]; 2];
    let message = rest.iter().chain(&suffix).chain(&[0x80]);
    for (place, byte) in end.as_flattened_mut().iter_mut().zip(message) {
        *place = *byte;
    }
    let bits = (8 * hashed as u64).to_be_bytes();
    let [first, second] = &mut end;
    let fits = rest.len() + N + 1 + bits.len() <= BLOCK_LEN;
    let last = if fits { &mut *first } else { &mut *second };
    if let Some(place) = last.last_chunk_mut() {
        *place = bits;
    }
    compress(state, first);
    if !fits {
        compress(state, second);
    }
}

#[inline]
fn compress(state: &mut [u32; 5], block: &[u8; BLOCK_LEN]) {
    sha1::compress(state, std::slice::from_ref(GenericArray::from_slice(block)));
}

#[cfg(test)]
mod tests {
    use ring::hmac;

    use super::*;

    #[test]
    fn tags_are_those_of_another_implementation_at_every_length() {
        let key: [u8; 20] = *b"twenty bytes of key!";
        let judge = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
        let ours = Authentication::new(&key);
        let bytes: Vec<u8> = (0..=250).cycle().take(1500).collect();
        for len in (0..260).chain([1199, 1200, 1500]) {
            let mut all = bytes[..len].to_vec();
            all.extend([9, 8, 7, 6]);
            let expected = hmac::sign(&judge, &all);
            let tag = ours.tag(&bytes[..len], [9, 8, 7, 6]);
            assert_eq!(tag, expected.as_ref()[..TAG_LEN], "{len} bytes");
            assert_eq!(ours.verify(&bytes[..len], [9, 8, 7, 6], &tag), Ok(()));
            for bit in 0..8 * TAG_LEN {
                let mut wrong = tag;
                wrong[bit / 8] ^= 1 << (bit % 8);
                let refused = ours.verify(&bytes[..len], [9, 8, 7, 6], &wrong);
                assert_eq!(refused, Err(SrtpError::Unauthentic));
            }
        }
    }

    #[test]
    fn tags_are_those_of_rfc_2202() {
        // Test case 3: twenty times 0xaa as the key, fifty times 0xdd as the data.
        let ours = Authentication::new(&[0xaa; 20]);
        let expected = [0x12, 0x5d, 0x73, 0x42, 0xb9, 0xac, 0x11, 0xcd, 0x91, 0xa3];
        assert_eq!(ours.tag(&[0xdd; 46], [0xdd; 4]), expected);
    }
}
