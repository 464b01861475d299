//! Seals what one participant sends.
//!
//! Source: `livekit-client` 2.23.0 `src/e2ee/worker/FrameCryptor.ts` (`encodeFunction`), `DataCryptor.ts`.

use std::collections::BTreeMap;

use crate::clear::Codec;
use crate::escape;
use crate::iv::{IV_LEN, IvCounter};
use crate::ring::{KeyIndex, KeyRing};
use crate::trailer::Trailer;

/// An encoded picture or sound, as it comes from the encoder.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What encoded it.
    pub codec: Codec,
    /// Of the RTP stream that it leaves in: random, as RFC 3550 wants it, for two participants who share a
    /// key must not use the same.
    pub ssrc: u32,
    /// In ticks of the codec's clock; never less than that of the frame before it in its RTP stream.
    pub rtp_timestamp: u32,
    /// The frame.
    pub bytes: &'a [u8],
}

/// Why something was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The slot that is selected is empty.
    #[error("there is no key {}", .0.value())]
    NoKey(KeyIndex),
    /// The frame is shorter than what must stay readable, or has no slice: not a whole frame of its codec.
    #[error("the frame lacks what its codec begins with")]
    Malformed,
    /// Timestamps of one RTP stream, or of data packets, must not go back.
    #[error("the timestamp went back")]
    TimestampWentBack,
    /// Another IV could be one that was used: the key is 2^32 ticks old (13 h of picture), or 65,535 frames
    /// had one timestamp.
    #[error("the key has no unused IV for this timestamp")]
    KeyWornOut,
}

/// What goes along with a sealed data packet: LiveKit's `EncryptedPacket` without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// The key it is sealed under.
    pub key_index: KeyIndex,
    /// The initialization vector.
    pub iv: [u8; IV_LEN],
}

/// Seals what one participant sends: the frames of all its tracks, and its data packets.
#[expect(missing_debug_implementations, reason = "what is sensitive does not print")]
pub struct Sealer {
    /// The selected one seals.
    pub keys: KeyRing,
    first_count: u16,
    frames: BTreeMap<u32, IvCounter>,
    data: Option<IvCounter>,
}

impl Sealer {
    /// `first_count` is a random number, so that a sender that begins anew with an old SSRC does not repeat
    /// its IVs at once.
    #[must_use]
    pub const fn new(keys: KeyRing, first_count: u16) -> Self {
        Self { keys, first_count, frames: BTreeMap::new(), data: None }
    }

    /// Seals `frame` into `out`, which is emptied first. An empty frame, Opus's silence, stays empty.
    ///
    /// `out` gets at most 30 bytes more than the frame has; for H.264 and H.265 also one for each short
    /// start code in front of the first slice, and a rare escape.
    ///
    /// # Errors
    /// See [`SealError`]; `out` is empty then.
    pub fn seal_frame(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), SealError> {
        out.clear();
        let Frame { codec, ssrc, rtp_timestamp, bytes } = *frame;
        if bytes.is_empty() {
            return Ok(());
        }
        let (clear, secret) = codec
            .clear_len(bytes)
            .and_then(|len| bytes.split_at_checked(len))
            .ok_or(SealError::Malformed)?;
        let (key, epoch) = self.keys.sealing().map_err(SealError::NoKey)?;
        let counter = self
            .frames
            .entry(ssrc)
            .or_insert_with(|| IvCounter::new(self.first_count, rtp_timestamp));
        let iv = counter.next(ssrc, rtp_timestamp, (self.keys.selected(), epoch))?;
        codec.write_clear(clear, out);
        let clear = out.len();
        out.extend_from_slice(secret);
        key.seal(iv, clear, out);
        Trailer { iv, key_index: self.keys.selected().value() }.write(out);
        if codec.is_escaped() {
            escape::insert(out, clear);
        }
        Ok(())
    }

    /// Seals the encoded `EncryptedPacketPayload` of a data packet into `out`, which is emptied first.
    ///
    /// `now_ms` is any clock of the sender's that does not go back; `random` is fresh from the operating
    /// system each time.
    ///
    /// # Errors
    /// See [`SealError`]; `out` is empty then.
    pub fn seal_data(
        &mut self,
        payload: &[u8],
        now_ms: u32,
        random: u32,
        out: &mut Vec<u8>,
    ) -> Result<DataHeader, SealError> {
        out.clear();
        let (key, epoch) = self.keys.sealing().map_err(SealError::NoKey)?;
        let counter = self.data.get_or_insert_with(|| IvCounter::new(self.first_count, now_ms));
        let iv = counter.next(random, now_ms, (self.keys.selected(), epoch))?;
        out.extend_from_slice(payload);
        key.seal(iv, 0, out);
        Ok(DataHeader { key_index: self.keys.selected(), iv: iv.0 })
    }
}
