//! Opens what we receive. Source: RFC 3711 §3.3 and §3.4.

use std::fmt;

use super::direction::Direction;
use super::replay::ReplayTable;
use super::{DtlsRole, KeyingMaterial, Profile, SrtpError};
use crate::packet::RtpHeader;

/// The receiving half of a session, with a replay window per stream.
pub struct SrtpReceiver {
    keys: Direction,
    pub(super) rtp_streams: ReplayTable,
    pub(super) rtcp_streams: ReplayTable,
}

/// An authentic packet: the datagram starts with its header and plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unprotected {
    /// Its header, as it was on the wire.
    pub header: RtpHeader,
    /// Bytes of payload and padding behind the header.
    pub plaintext_len: usize,
    /// Rollover counter and sequence number: rises through wraps, so nobody else needs to unroll.
    pub index: u64,
}

impl Unprotected {
    /// Bytes of the datagram that are the plaintext packet.
    #[inline]
    #[must_use]
    pub const fn packet_len(&self) -> usize {
        self.header.header_len + self.plaintext_len
    }
}

impl SrtpReceiver {
    /// Takes the key under which the peer writes; `role` is our side of the handshake.
    #[must_use]
    pub fn new(material: &KeyingMaterial, role: DtlsRole) -> Self {
        let peer = match role {
            DtlsRole::Server => DtlsRole::Client,
            DtlsRole::Client => DtlsRole::Server,
        };
        Self {
            keys: Direction::new(material, peer),
            rtp_streams: ReplayTable::default(),
            rtcp_streams: ReplayTable::default(),
        }
    }

    /// What was negotiated.
    #[must_use]
    pub const fn profile(&self) -> Profile {
        self.keys.profile()
    }

    /// Whether this stream belongs to nothing any more: of too many such a one is forgotten first. Replays are refused
    /// as before.
    pub fn set_ended(&mut self, ssrc: u32, has_ended: bool) {
        self.rtp_streams.set_ended(ssrc, has_ended);
        self.rtcp_streams.set_ended(ssrc, has_ended);
    }

    /// Opens an SRTP packet in place.
    ///
    /// # Errors
    /// All the peer's or the network's: malformed, replayed, too old, not authentic. State is as before; the
    /// datagram's content may be destroyed.
    #[inline]
    pub fn unprotect_rtp(&mut self, datagram: &mut [u8]) -> Result<Unprotected, SrtpError> {
        let header = RtpHeader::parse(datagram)?;
        let slot = self.rtp_streams.find(header.ssrc);
        let index = self.rtp_streams.estimate(slot, header.sequence);
        self.rtp_streams.check(slot, index)?;
        let plaintext_len =
            self.keys.rtp()?.open_rtp(datagram, header.header_len, header.ssrc, index)?;
        self.rtp_streams.accept(slot, header.ssrc, index);
        Ok(Unprotected { header, plaintext_len, index })
    }

    /// Opens an SRTCP packet in place. Returns the length of the compound packet at the datagram's start.
    ///
    /// # Errors
    /// As [`Self::unprotect_rtp`], and where the packet is not encrypted.
    pub fn unprotect_rtcp(&mut self, datagram: &mut [u8]) -> Result<usize, SrtpError> {
        let Some([_, _, _, _, s0, s1, s2, s3]) = datagram.first_chunk::<8>() else {
            return Err(SrtpError::Truncated(datagram.len()));
        };
        let ssrc = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
        let index = self.keys.rtcp()?.rtcp_index(datagram)?;
        let slot = self.rtcp_streams.find(ssrc);
        self.rtcp_streams.check(slot, index.into())?;
        let len = self.keys.rtcp()?.open_rtcp(datagram, ssrc, index)?;
        self.rtcp_streams.accept(slot, ssrc, index.into());
        Ok(len)
    }
}

impl fmt::Debug for SrtpReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpReceiver").field("profile", &self.profile()).finish_non_exhaustive()
    }
}
