//! What ends a sealed frame: the IV, its length, the key index.
//!
//! Source: `livekit-client` 2.23.0 `src/e2ee/worker/FrameCryptor.ts` (`encodeFunction`).

use crate::iv::{IV_LEN, Iv};

/// The authentication tag in front of the trailer.
pub(crate) const TAG_LEN: usize = 16;
/// The trailer itself: IV, IV length, key index.
pub(crate) const TRAILER_LEN: usize = IV_LEN + 2;

/// `IV_LEN` as it is written. LiveKit's SDKs write no other length and the native ones take none.
const IV_LEN_BYTE: u8 = 12;

/// IV and key index of a sealed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) iv: Iv,
    pub(crate) key_index: u8,
}

impl Trailer {
    /// Reads the end of `sealed`, the encrypted part of a frame without its escapes. `None` if it is too
    /// short for tag and trailer or names another length of IV.
    pub(crate) fn parse(sealed: &[u8]) -> Option<Self> {
        let (rest, &[iv_len, key_index]) = sealed.split_last_chunk()?;
        let (rest, iv) = rest.split_last_chunk()?;
        (iv_len == IV_LEN_BYTE && rest.len() >= TAG_LEN).then_some(Self { iv: Iv(*iv), key_index })
    }

    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.iv.0);
        out.extend_from_slice(&[IV_LEN_BYTE, self.key_index]);
    }
}
