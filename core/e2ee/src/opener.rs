//! Opens what one participant sent.
//!
//! Source: `livekit-client` 2.23.0 `src/e2ee/worker/FrameCryptor.ts` (`decodeFunction`), `DataCryptor.ts`.

use std::time::Duration;

use crate::clear::Codec;
use crate::escape;
use crate::iv::Iv;
use crate::replay::Replay;
use crate::ring::KeyRing;
use crate::trailer::{TAG_LEN, TRAILER_LEN, Trailer};

/// Why something was not opened. Nothing of it may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// It has no tag and trailer: plaintext, or cut short.
    #[error("not encrypted")]
    NotSealed,
    /// The server injected it: it ends with the trailer that the server announced for that. Not encrypted.
    #[error("injected by the server")]
    ServerInjected,
    /// The frame is shorter than what must stay readable, or has no slice.
    #[error("the frame lacks what its codec begins with")]
    Malformed,
    /// There is no key of this index, yet or any more.
    #[error("there is no key {0}")]
    UnknownKey(u8),
    /// It was opened before, be it as a frame or as a data packet, or is too old to tell.
    #[error("opened before, or too old to tell")]
    Replayed,
    /// Not sealed under the key of its index, or changed on the way.
    #[error("not authentic")]
    Unauthentic,
    /// The participant used more SSRCs than are watched for replays: [`crate::limits::SOURCES_EVER_MAX`].
    #[error("sealed by too many SSRCs")]
    TooManySources,
}

/// A sealed data packet: LiveKit's `EncryptedPacket`.
#[derive(Clone, Copy, Debug)]
pub struct SealedData<'a> {
    /// `key_index`.
    pub key_index: u32,
    /// `iv`: 12 bytes if it is good.
    pub iv: &'a [u8],
    /// `encrypted_value`.
    pub value: &'a [u8],
}

/// Opens what one participant sent: the frames of all its tracks, and its data packets.
///
/// It remembers what it opened, so keep it as long as its keys: a new one would accept replays.
#[expect(missing_debug_implementations, reason = "what is sensitive does not print")]
pub struct Opener {
    /// Any of them opens.
    pub keys: KeyRing,
    sif_trailer: Vec<u8>,
    replay: Replay,
}

impl Opener {
    /// `sif_trailer` is that of LiveKit's `JoinResponse`; an empty one means that the server injects
    /// nothing, as ours does.
    #[must_use]
    pub fn new(keys: KeyRing, sif_trailer: &[u8]) -> Self {
        Self { keys, sif_trailer: sif_trailer.to_vec(), replay: Replay::new() }
    }

    /// Opens the sealed frame `sealed` into `out`, which is emptied first. `now` is the time since any fixed
    /// moment, by a clock that goes on while the machine sleeps.
    ///
    /// An empty frame, Opus's silence, is empty: nothing tells whether the sender left it so.
    ///
    /// # Errors
    /// See [`OpenError`]; `out` is empty then.
    pub fn open_frame(
        &mut self,
        codec: Codec,
        sealed: &[u8],
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        out.clear();
        if sealed.is_empty() {
            return Ok(());
        }
        if !self.sif_trailer.is_empty() && sealed.ends_with(&self.sif_trailer) {
            return Err(OpenError::ServerInjected);
        }
        let clear = codec.clear_len(sealed).ok_or(OpenError::Malformed)?;
        let fill = |out: &mut Vec<u8>| {
            out.clear();
            out.extend_from_slice(sealed);
            if codec.is_escaped() {
                escape::remove(out, clear);
            }
        };
        fill(out);
        let opened = self.open_filled(codec, clear, now, out, |out| {
            fill(out);
            out.truncate(out.len().saturating_sub(TRAILER_LEN));
        });
        if opened.is_err() {
            out.clear();
        }
        opened
    }

    /// Opens `out`: clear part, ciphertext, tag, trailer, without escapes. `refill` restores all but the trailer.
    fn open_filled(
        &mut self,
        codec: Codec,
        clear: usize,
        now: Duration,
        out: &mut Vec<u8>,
        refill: impl Fn(&mut Vec<u8>),
    ) -> Result<(), OpenError> {
        let secret = out.get(clear..).unwrap_or_default();
        let Trailer { iv, key_index } = Trailer::parse(secret).ok_or(OpenError::NotSealed)?;
        if !self.keys.has(key_index) {
            return Err(OpenError::UnknownKey(key_index));
        }
        let candidate = self.replay.check_frame(iv, now, codec.ticks_per_second())?;
        out.truncate(out.len().saturating_sub(TRAILER_LEN));
        self.keys.open(key_index, iv, clear, out, refill)?;
        self.replay.accept(candidate);
        Ok(())
    }

    /// Opens a data packet into `out`, which is emptied first: an encoded `EncryptedPacketPayload`.
    ///
    /// A data packet of a kind that LiveKit's SDKs encrypt and that came without encryption is the caller's to refuse.
    ///
    /// # Errors
    /// See [`OpenError`]; `out` is empty then.
    pub fn open_data(
        &mut self,
        sealed: &SealedData<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), OpenError> {
        out.clear();
        let iv = Iv(sealed.iv.try_into().map_err(|_| OpenError::NotSealed)?);
        if sealed.value.len() < TAG_LEN {
            return Err(OpenError::NotSealed);
        }
        let key_index = u8::try_from(sealed.key_index).unwrap_or(u8::MAX);
        if !self.keys.has(key_index) {
            return Err(OpenError::UnknownKey(key_index));
        }
        let candidate = self.replay.check_data(iv)?;
        let fill = |out: &mut Vec<u8>| {
            out.clear();
            out.extend_from_slice(sealed.value);
        };
        fill(out);
        self.keys.open(key_index, iv, 0, out, fill)?;
        self.replay.accept(candidate);
        Ok(())
    }
}
