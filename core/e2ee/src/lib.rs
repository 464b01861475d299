//! End-to-end encryption of frames and data packets, in LiveKit's format.
//!
//! Owns: [`KeyRing`] (keys, derivation, ratchet), [`Sealer`] (what one participant sends), [`Opener`] (what one
//! participant is received from).
//! Guarantees: strict. What comes out of an [`Opener`] was sealed under a key of its ring, once, and nothing else
//! comes out: no plaintext passes, no replay, no frame that the server injected. No IV is used twice under a key. Keys
//! are overwritten when dropped and do not print. No allocation per frame once the lent buffers have grown.
//! Not here: distributing keys, which is the customer's; which publications must be encrypted, which is the
//! caller's policy and never the server's word; AV1, which LiveKit's web SDK refuses to encrypt; LiveKit's frame
//! metadata, which is appended after sealing and not authenticated; SFrame. The server that faces clients never links
//! this crate.
//!
//! What the format cannot promise, whoever implements it: authentication covers neither the track nor the sender, so
//! that people who share a channel key can pass for each other, and a frame can be moved to another participant's
//! track; nor does it tell a VP9 frame from a data packet, so that either can come as the other in its own place; a
//! ratcheted key contains the key before it (see [`KeyRing::ratchet`]).
//!
//! Source: `livekit-client` 2.23.0 `src/e2ee/`; libwebrtc of `webrtc-sdk` `api/crypto/frame_crypto_transformer.cc`.
#![forbid(unsafe_code)]

mod clear;
mod escape;
mod iv;
mod key;
pub mod limits;
mod opener;
mod replay;
mod ring;
mod sealer;
#[cfg(test)]
mod tests;
mod trailer;

pub use clear::Codec;
pub use key::{ChannelKey, Derivation, KeySize};
pub use opener::{OpenError, Opener, SealedData};
pub use ring::{KeyIndex, KeyOptions, KeyRing};
pub use sealer::{DataHeader, Frame, SealError, Sealer};
