//! The channel key, and what is derived from it.
//!
//! Guarantees: a [`ChannelKey`] and a [`Key`] overwrite their bytes when dropped, and neither prints.
//! Source: `livekit-client` 2.23.0 `src/e2ee/utils.ts` (`deriveKeys`, `ratchet`), `constants.ts`.

use std::hint::black_box;
use std::num::NonZeroU32;

use ring::aead::{self, AES_128_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
use ring::{hkdf, pbkdf2};
use zeroize::Zeroizing;

use crate::iv::Iv;
use crate::trailer::TAG_LEN;

/// How long the AES key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySize {
    /// AES-128-GCM: what all of LiveKit's SDKs can do, and their default.
    Aes128,
    /// AES-256-GCM: LiveKit's web SDK since 2.18.1, and we.
    Aes256,
}

impl KeySize {
    const fn algorithm(self) -> &'static aead::Algorithm {
        match self {
            Self::Aes128 => &AES_128_GCM,
            Self::Aes256 => &AES_256_GCM,
        }
    }
}

/// What makes an AES key of the bytes that people share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Derivation {
    /// PBKDF2-HMAC-SHA256 with 100,000 rounds: for what people type. 31 ms on a 2-core AMD Milan guest.
    Pbkdf2,
    /// HKDF-SHA256 over 128 zero bytes of `info`: for random bytes. Microseconds.
    Hkdf,
}

const PBKDF2_ROUNDS: NonZeroU32 = NonZeroU32::new(100_000).unwrap();
const HKDF_INFO: [u8; 128] = [0; 128];

/// More than deriving and scheduling a key takes of the stack.
const STACK_LEN: usize = 16 * 1024;

/// What one derivation yields, of which the AES key is the beginning.
pub(crate) const CHAIN_LEN: usize = 32;

/// On the heap, where it stays: a value that moves leaves copies of itself behind.
type Chain = Box<Zeroizing<[u8; CHAIN_LEN]>>;

/// What the participants of a room share, as the customer distributes it.
#[expect(missing_debug_implementations, reason = "what is sensitive does not print")]
pub struct ChannelKey {
    derivation: Derivation,
    bytes: Zeroizing<Vec<u8>>,
}

impl ChannelKey {
    /// A passphrase, as `setKey(string)` of LiveKit's web SDK takes it.
    #[must_use]
    pub fn passphrase(text: &str) -> Self {
        Self::new(Derivation::Pbkdf2, text.as_bytes())
    }

    /// Any bytes. LiveKit's web SDK uses [`Derivation::Hkdf`] for bytes; its native SDKs use [`Derivation::Pbkdf2`]
    /// unless told otherwise. Wiping the original is the caller's business.
    #[must_use]
    pub fn new(derivation: Derivation, bytes: &[u8]) -> Self {
        Self { derivation, bytes: Zeroizing::new(bytes.to_vec()) }
    }
}

/// How the keys of a ring are derived.
#[derive(Clone)]
pub(crate) struct KeyShape {
    pub(crate) size: KeySize,
    pub(crate) salt: Vec<u8>,
}

/// One AES key with its schedule, and what the next one is ratcheted from.
pub(crate) struct Key {
    derivation: Derivation,
    /// Begins with the AES key, and is the whole secret of the next step: LiveKit derives both from the same input.
    chain: Chain,
    /// On the heap, as the chain is.
    schedule: Box<LessSafeKey>,
}

impl Key {
    pub(crate) fn new(shape: &KeyShape, key: &ChannelKey) -> Self {
        Self::from_secret(shape, key.derivation, &key.bytes)
    }

    /// The key one ratchet step further.
    pub(crate) fn ratcheted(&self, shape: &KeyShape) -> Self {
        Self::from_secret(shape, self.derivation, self.chain.as_slice())
    }

    fn from_secret(shape: &KeyShape, derivation: Derivation, secret: &[u8]) -> Self {
        let key = Self::build(shape, derivation, secret);
        wipe_stack();
        key
    }

    #[inline(never)]
    fn build(shape: &KeyShape, derivation: Derivation, secret: &[u8]) -> Self {
        let chain = derive(derivation, secret, &shape.salt);
        let schedule = Box::new(schedule(shape.size.algorithm(), &chain));
        Self { derivation, chain, schedule }
    }

    /// Encrypts `out` from `clear` on in place, authenticates what is before that, and appends the tag.
    pub(crate) fn seal(&self, iv: Iv, clear: usize, out: &mut Vec<u8>) {
        let (header, body) = out.split_at_mut_checked(clear).unwrap_or_default();
        let tag = self
            .schedule
            .seal_in_place_separate_tag(nonce(iv), aead::Aad::from(&*header), body)
            .expect("AES-GCM takes 64 GiB, a frame is less");
        out.extend_from_slice(tag.as_ref());
    }

    /// Decrypts `out` from `clear` on, tag last, in place. `false` leaves no plaintext in `out`, but nothing
    /// else either.
    pub(crate) fn open(&self, iv: Iv, clear: usize, out: &mut Vec<u8>) -> bool {
        let (header, body) = out.split_at_mut_checked(clear).unwrap_or_default();
        let opened = self.schedule.open_in_place(nonce(iv), aead::Aad::from(&*header), body);
        let is_authentic = opened.is_ok();
        out.truncate(if is_authentic { out.len().saturating_sub(TAG_LEN) } else { 0 });
        is_authentic
    }

    #[cfg(test)]
    pub(crate) fn chain(&self) -> [u8; CHAIN_LEN] {
        **self.chain
    }
}

impl Drop for Key {
    /// `ring` does not wipe a schedule: another one is written over it, which it must look as if somebody read.
    fn drop(&mut self) {
        *self.schedule = schedule(self.schedule.algorithm(), &[0; CHAIN_LEN]);
        black_box(&self.schedule);
    }
}

/// Overwrites what a call before it has left on the stack: `ring` builds hashes and schedules there.
#[inline(never)]
fn wipe_stack() {
    black_box([0_u8; STACK_LEN]);
}

fn nonce(iv: Iv) -> aead::Nonce {
    aead::Nonce::assume_unique_for_key(iv.0)
}

fn derive(derivation: Derivation, secret: &[u8], salt: &[u8]) -> Chain {
    let mut chain = Chain::default();
    match derivation {
        Derivation::Pbkdf2 => pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            PBKDF2_ROUNDS,
            salt,
            secret,
            chain.as_mut_slice(),
        ),
        Derivation::Hkdf => hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
            .extract(secret)
            .expand(&[&HKDF_INFO], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(chain.as_mut_slice()))
            .expect("HKDF-SHA256 yields 32 bytes"),
    }
    chain
}

/// The schedule of the key that `chain` begins with.
fn schedule(algorithm: &'static aead::Algorithm, chain: &[u8; CHAIN_LEN]) -> LessSafeKey {
    let key = chain.get(..algorithm.key_len()).unwrap_or_default();
    LessSafeKey::new(UnboundKey::new(algorithm, key).expect("the length is the algorithm's"))
}
