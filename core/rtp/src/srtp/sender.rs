//! Seals what we send. Source: RFC 3711 §3.3 and §3.4.

use std::fmt;

use super::direction::Direction;
use super::{DtlsRole, KeyingMaterial, Profile, SrtpError};
use crate::sequence::low_bits;

const INDEX_MAX: u64 = (1 << 48) - 1;
const RTCP_INDEX_MAX: u32 = (1 << 31) - 1;

/// The sending half of a session. Holds nothing per stream.
pub struct SrtpSender {
    keys: Direction,
    /// Of the next SRTCP packet; one count over all senders keeps it rising for each.
    rtcp_index: u32,
}

impl SrtpSender {
    /// Takes the key under which `role`, our side of the handshake, writes.
    #[must_use]
    pub fn new(material: &KeyingMaterial, role: DtlsRole) -> Self {
        Self { keys: Direction::new(material, role), rtcp_index: 0 }
    }

    /// What was negotiated; [`Profile::rtp_overhead`] says how much room a packet needs behind it.
    #[inline]
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.keys.profile()
    }

    /// Seals, in place, the packet of `header_len + plaintext_len` bytes at the front of `buffer`.
    ///
    /// `index` is the sequence number extended by its rollover counter, counted from the stream's first packet: below
    /// 65536 until the number first wraps. **Under one sender an (SSRC, index) pair must never seal two different
    /// packets**: with GCM that reveals both and allows forgeries. Returns the protected length.
    ///
    /// # Errors
    /// All the caller's: no room for the tag, no header, or an `index` that does not end in the header's number.
    #[inline]
    pub fn protect_rtp(
        &self,
        buffer: &mut [u8],
        header_len: usize,
        plaintext_len: usize,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let Some([_, _, n0, n1, _, _, _, _, s0, s1, s2, s3]) = buffer.first_chunk::<12>() else {
            return Err(SrtpError::NoRoom);
        };
        if low_bits(index) != u16::from_be_bytes([*n0, *n1]) || index > INDEX_MAX {
            return Err(SrtpError::Index(index));
        }
        let ssrc = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
        let len = header_len.checked_add(plaintext_len).ok_or(SrtpError::NoRoom)?;
        self.keys.rtp()?.seal_rtp(buffer, header_len, len, ssrc, index)
    }

    /// Seals, in place, the compound packet in the first `len` bytes of `buffer`. Returns the protected length.
    ///
    /// # Errors
    /// The caller's: fewer than eight bytes, or no room for [`Profile::rtcp_overhead`]. And [`SrtpError::Exhausted`].
    pub fn protect_rtcp(&mut self, buffer: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let Some([_, _, _, _, s0, s1, s2, s3]) = buffer.first_chunk::<8>() else {
            return Err(SrtpError::NoRoom);
        };
        let (index, ssrc) = (self.rtcp_index, u32::from_be_bytes([*s0, *s1, *s2, *s3]));
        if index > RTCP_INDEX_MAX {
            return Err(SrtpError::Exhausted);
        }
        let protected = self.keys.rtcp()?.seal_rtcp(buffer, len, ssrc, index)?;
        self.rtcp_index = index + 1;
        Ok(protected)
    }
}

impl fmt::Debug for SrtpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpSender").field("profile", &self.profile()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_srtcp_index_is_used_and_none_after_it() {
        let material = KeyingMaterial::new(Profile::AeadAes128Gcm, &[7; 56]).unwrap();
        let mut sender = SrtpSender::new(&material, DtlsRole::Server);
        sender.rtcp_index = RTCP_INDEX_MAX;
        let mut buffer = [0; 64];
        assert_eq!(sender.protect_rtcp(&mut buffer, 8), Ok(28));
        assert_eq!(buffer[24..28], [0xff; 4]);
        assert_eq!(sender.protect_rtcp(&mut buffer, 8), Err(SrtpError::Exhausted));
    }
}
