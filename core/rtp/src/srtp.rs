//! SRTP and SRTCP: what leaves is sealed in place, what arrives is opened in place or refused.
//!
//! Owns: deriving session keys from the DTLS exporter's bytes, the three profiles, replay windows.
//! Guarantees: keys are scheduled once per session, when the first packet of their kind comes, and no other packet
//! allocates; a replayed packet is refused; a stream costs memory only after one of its packets was authentic. Keying
//! material is wiped when dropped and has no printable content (the key schedules inside `ring` are freed, not wiped:
//! it offers no way).
//! Not here: the handshake (`peer`), the rollover counter of outgoing streams (the caller extends its own numbers).
//! Not supported: MKIs, key derivation rates, unencrypted SRTCP: WebRTC has none of them.
//! Source: RFC 3711, RFC 7714; RFC 5764 §4.2 for the layout of the exporter's bytes.

mod authentication;
mod cipher;
mod direction;
mod key;
mod receiver;
mod replay;
mod sender;

use thiserror::Error;

pub use self::key::{DtlsRole, KeyingMaterial, Profile};
pub use self::receiver::{SrtpReceiver, Unprotected};
pub use self::sender::SrtpSender;
use crate::packet::PacketError;

/// Why a packet was not protected or not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SrtpError {
    /// The peer sent something that is no RTP packet.
    #[error("not an rtp packet")]
    Packet(
        #[source]
        #[from]
        PacketError,
    ),
    /// The peer sent less than a header and a tag.
    #[error("{0} bytes are too few for a protected packet")]
    Truncated(usize),
    /// The tag does not match: another key, or changed on the way. The datagram's content is now meaningless.
    #[error("packet is not authentic")]
    Unauthentic,
    /// This index was accepted before.
    #[error("packet was received before")]
    Replayed,
    /// This index lies so far behind that nobody knows whether it was accepted before.
    #[error("packet is older than the replay window")]
    TooOld,
    /// SRTCP without encryption, which we never accept.
    #[error("srtcp packet is not encrypted")]
    Unencrypted,
    /// The caller's buffer cannot hold what is to be written.
    #[error("no room for the protected packet")]
    NoRoom,
    /// The caller's index does not end in the sequence number of the header, or is beyond 48 bits.
    #[error("index {0} does not belong to this packet")]
    Index(u64),
    /// 2^31 SRTCP packets were sent: the session needs new keys.
    #[error("srtcp indices are used up")]
    Exhausted,
    /// The exporter's bytes have the wrong length for the profile.
    #[error("{len} bytes of keying material where {expected} are needed")]
    KeyingMaterial {
        /// What was given.
        len: usize,
        /// What the profile needs.
        expected: usize,
    },
}

#[cfg(test)]
mod tests;
