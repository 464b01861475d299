//! RTP packets: what a datagram is, the header in front of a payload, the padding behind it.
//!
//! Owns: reading a header from borrowed bytes, writing the twelve fixed bytes.
//! Guarantees: a parsed header lies wholly inside the datagram it was parsed from.
//! Not here: what the extension block holds (`extension`), whether the bytes are authentic (`srtp`).
//! Source: RFC 3550 §5.1, RFC 5761 §4, RFC 7983 §7.

use std::ops::Range;

use thiserror::Error;

/// Bytes of the header that every packet has.
pub const FIXED_HEADER_LEN: usize = 12;

/// What a datagram claims to be by its first two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// ICE.
    Stun,
    /// The handshake, and SCTP inside it.
    Dtls,
    /// Media.
    Rtp,
    /// Reports and feedback about media.
    Rtcp,
    /// None of these: drop it.
    Unknown,
}

impl Datagram {
    /// Looks at the first two bytes, at nothing else. Source: RFC 7983 §7; RFC 5761 §4 for RTCP's 192..=223.
    #[inline]
    #[must_use]
    pub const fn classify(datagram: &[u8]) -> Self {
        match datagram {
            [0..=3, ..] => Self::Stun,
            [20..=63, ..] => Self::Dtls,
            [128..=191, 192..=223, ..] => Self::Rtcp,
            [128..=191, _, ..] => Self::Rtp,
            _ => Self::Unknown,
        }
    }
}

/// Why bytes are not an RTP packet. Always the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    /// Fewer bytes than a fixed header.
    #[error("{0} bytes cannot hold an rtp header")]
    Truncated(usize),
    /// Not version 2.
    #[error("rtp version {0}")]
    Version(u8),
    /// The contributing sources or the extension block run past the end.
    #[error("header of {needed} bytes in a packet of {len}")]
    HeaderPastEnd {
        /// What the header claims.
        needed: usize,
        /// What there is.
        len: usize,
    },
    /// The padding is announced but empty, or longer than the payload.
    #[error("padding of {padding} bytes in a payload of {payload}")]
    Padding {
        /// What the last byte claims.
        padding: usize,
        /// What there is.
        payload: usize,
    },
}

/// Where the extension block lies and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionBlock {
    /// The 16 bits "defined by profile".
    pub profile: u16,
    /// First byte of the elements, counted from the packet's start.
    pub start: usize,
    /// Bytes of elements and their padding: a multiple of four, possibly zero.
    pub len: usize,
}

/// A header, read. Offsets count from the start of the packet it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Profile-defined: last packet of a video frame, first of a talkspurt.
    pub marker: bool,
    /// The payload ends in padding; its length is readable only after decryption.
    pub has_padding: bool,
    /// Number of contributing sources, 0..=15.
    pub csrc_count: u8,
    /// 0..=127.
    pub payload_type: u8,
    /// Wraps.
    pub sequence: u16,
    /// In units of the payload's clock; wraps.
    pub timestamp: u32,
    /// Which rtp stream.
    pub ssrc: u32,
    /// The header extension, where there is one.
    pub extension: Option<ExtensionBlock>,
    /// Bytes before the payload: fixed part, contributing sources, extension block.
    pub header_len: usize,
}

impl RtpHeader {
    /// Reads the header of `packet`, encrypted or not. The payload may be empty.
    ///
    /// # Errors
    /// When the bytes are not RTP version 2 or the header does not fit.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, PacketError> {
        let Some((fixed, rest)) = packet.split_first_chunk::<FIXED_HEADER_LEN>() else {
            return Err(PacketError::Truncated(packet.len()));
        };
        let [flags, marker_and_type, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if flags >> 6 != 2 {
            return Err(PacketError::Version(flags >> 6));
        }
        let csrc_count = flags & 0x0f;
        let csrc_len = usize::from(csrc_count) * 4;
        let extension = if flags & 0x10 == 0 {
            None
        } else {
            Some(ExtensionBlock::parse(rest, csrc_len, packet.len())?)
        };
        let header_len = extension
            .map_or(FIXED_HEADER_LEN + csrc_len, |extension| extension.start + extension.len);
        if header_len > packet.len() {
            return Err(PacketError::HeaderPastEnd { needed: header_len, len: packet.len() });
        }
        Ok(Self {
            marker: marker_and_type & 0x80 != 0,
            has_padding: flags & 0x20 != 0,
            csrc_count,
            payload_type: marker_and_type & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            extension,
            header_len,
        })
    }

    /// The payload without padding, as a range of `packet`: the plaintext packet, without an authentication tag.
    ///
    /// Empty for a packet that is padding only (a bandwidth probe).
    ///
    /// # Errors
    /// When `packet` is shorter than its header or its padding is impossible.
    #[inline]
    pub fn payload_range(&self, packet: &[u8]) -> Result<Range<usize>, PacketError> {
        let Some((_, payload)) = packet.split_at_checked(self.header_len) else {
            return Err(PacketError::HeaderPastEnd { needed: self.header_len, len: packet.len() });
        };
        if !self.has_padding {
            return Ok(self.header_len..packet.len());
        }
        let padding = payload.last().map_or(0, |last| usize::from(*last));
        if padding == 0 || padding > payload.len() {
            return Err(PacketError::Padding { padding, payload: payload.len() });
        }
        Ok(self.header_len..packet.len() - padding)
    }

    /// The elements of the extension block of `packet`; empty where there is none.
    #[inline]
    #[must_use]
    pub fn extension_data<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        self.extension
            .and_then(|block| packet.get(block.start..block.start + block.len))
            .unwrap_or_default()
    }

    /// The fixed part, to be changed and written in front of a forwarded payload.
    ///
    /// Says no padding and no extension: whoever writes those announces them.
    #[inline]
    #[must_use]
    pub const fn fixed(&self) -> FixedHeader {
        FixedHeader {
            marker: self.marker,
            has_padding: false,
            has_extension: false,
            payload_type: self.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        }
    }
}

impl ExtensionBlock {
    /// `rest` follows the fixed header; the four bytes of profile and length follow the contributing sources.
    #[inline]
    fn parse(rest: &[u8], csrc_len: usize, packet_len: usize) -> Result<Self, PacketError> {
        let start = FIXED_HEADER_LEN + csrc_len + 4;
        let Some([p0, p1, l0, l1]) = rest.get(csrc_len..).and_then(|after| after.first_chunk())
        else {
            return Err(PacketError::HeaderPastEnd { needed: start, len: packet_len });
        };
        let words = u16::from_be_bytes([*l0, *l1]);
        Ok(Self { profile: u16::from_be_bytes([*p0, *p1]), start, len: usize::from(words) * 4 })
    }
}

/// The twelve bytes that open a packet of ours. We never send contributing sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedHeader {
    /// See [`RtpHeader::marker`].
    pub marker: bool,
    /// The payload ends in padding whose last byte counts it.
    pub has_padding: bool,
    /// An extension block follows.
    pub has_extension: bool,
    /// 0..=127; the eighth bit is ignored.
    pub payload_type: u8,
    /// On the wire.
    pub sequence: u16,
    /// On the wire.
    pub timestamp: u32,
    /// Which rtp stream.
    pub ssrc: u32,
}

impl FixedHeader {
    /// As on the wire.
    #[inline]
    #[must_use]
    pub const fn to_bytes(self) -> [u8; FIXED_HEADER_LEN] {
        let mut flags = 0x80;
        if self.has_padding {
            flags |= 0x20;
        }
        if self.has_extension {
            flags |= 0x10;
        }
        let mut marker_and_type = self.payload_type & 0x7f;
        if self.marker {
            marker_and_type |= 0x80;
        }
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [c0, c1, c2, c3] = self.ssrc.to_be_bytes();
        [flags, marker_and_type, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEADER: FixedHeader = FixedHeader {
        marker: true,
        has_padding: false,
        has_extension: false,
        payload_type: 96,
        sequence: 0xbeef,
        timestamp: 0x0102_0304,
        ssrc: 0xcafe_babe,
    };

    #[test]
    fn a_plain_header_reads_as_on_the_wire() {
        let packet = [0x80, 0xe0, 0xbe, 0xef, 1, 2, 3, 4, 0xca, 0xfe, 0xba, 0xbe, 9];
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(header.fixed(), HEADER);
        assert_eq!(HEADER.to_bytes(), packet[..12]);
        assert_eq!((header.header_len, header.csrc_count, header.extension), (12, 0, None));
        assert_eq!(header.payload_range(&packet), Ok(12..13));
        assert!(header.extension_data(&packet).is_empty());
    }

    #[test]
    fn contributing_sources_and_extension_belong_to_the_header() {
        let mut packet = vec![0x92, 0x60];
        packet.resize(FIXED_HEADER_LEN + 8, 0);
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0, 7]);
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(header.csrc_count, 2);
        assert_eq!(header.extension, Some(ExtensionBlock { profile: 0xbede, start: 24, len: 4 }));
        assert_eq!(header.extension_data(&packet), [0x10, 0xaa, 0, 0]);
        assert_eq!(header.payload_range(&packet), Ok(28..29));
    }

    #[test]
    fn a_header_that_does_not_fit_is_refused() {
        let packet = HEADER.to_bytes();
        for len in 0..12 {
            assert_eq!(RtpHeader::parse(&packet[..len]), Err(PacketError::Truncated(len)));
        }
        for version in [0u8, 1, 3] {
            let mut other = packet;
            other[0] = version << 6;
            assert_eq!(RtpHeader::parse(&other), Err(PacketError::Version(version)));
        }
        let mut sources = packet;
        sources[0] |= 1;
        assert_eq!(
            RtpHeader::parse(&sources),
            Err(PacketError::HeaderPastEnd { needed: 16, len: 12 })
        );
        let mut extended = FixedHeader { has_extension: true, ..HEADER }.to_bytes().to_vec();
        assert_eq!(
            RtpHeader::parse(&extended),
            Err(PacketError::HeaderPastEnd { needed: 16, len: 12 })
        );
        extended.extend([0xbe, 0xde, 0xff, 0xff]);
        assert_eq!(
            RtpHeader::parse(&extended),
            Err(PacketError::HeaderPastEnd { needed: 16 + 4 * 0xffff, len: 16 })
        );
    }

    #[test]
    fn padding_is_removed_and_impossible_padding_refused() {
        let mut packet = FixedHeader { has_padding: true, ..HEADER }.to_bytes().to_vec();
        packet.extend([1, 2, 0, 0, 3]);
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(header.payload_range(&packet), Ok(12..14));
        packet[16] = 5;
        assert_eq!(header.payload_range(&packet), Ok(12..12));
        for padding in [0, 6, 255] {
            packet[16] = padding;
            let refused = PacketError::Padding { padding: padding.into(), payload: 5 };
            assert_eq!(header.payload_range(&packet), Err(refused));
        }
        assert_eq!(
            header.payload_range(&packet[..12]),
            Err(PacketError::Padding { padding: 0, payload: 0 })
        );
        assert!(header.payload_range(&packet[..11]).is_err());
    }

    #[test]
    fn first_bytes_tell_protocols_apart() {
        let table: [(&[u8], Datagram); 14] = [
            (&[], Datagram::Unknown),
            (&[0], Datagram::Stun),
            (&[3, 0], Datagram::Stun),
            (&[4, 0], Datagram::Unknown),
            (&[19], Datagram::Unknown),
            (&[20], Datagram::Dtls),
            (&[63, 255], Datagram::Dtls),
            (&[64], Datagram::Unknown),
            (&[127, 200], Datagram::Unknown),
            (&[128], Datagram::Unknown),
            (&[128, 191], Datagram::Rtp),
            (&[128, 192], Datagram::Rtcp),
            (&[191, 223], Datagram::Rtcp),
            (&[144, 224], Datagram::Rtp),
        ];
        for (bytes, expected) in table {
            assert_eq!(Datagram::classify(bytes), expected, "{bytes:?}");
        }
        assert_eq!(Datagram::classify(&[192, 200]), Datagram::Unknown);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_inside_themselves_or_not_at_all(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200), rtp in any::<bool>(),
        ) {
            if let (true, Some(first)) = (rtp, bytes.first_mut()) {
                *first = 0x80 | (*first & 0x3f);
            }
            if let Ok(header) = RtpHeader::parse(&bytes) {
                prop_assert!(header.header_len <= bytes.len());
                prop_assert!(header.extension_data(&bytes).len() <= bytes.len());
                if let Ok(range) = header.payload_range(&bytes) {
                    prop_assert!(bytes.get(range).is_some());
                }
            }
        }

        #[test]
        fn what_is_written_reads_back(
            bits in any::<[bool; 2]>(), payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
        ) {
            let [marker, has_padding] = bits;
            let fixed = FixedHeader {
                marker, has_padding, has_extension: false, payload_type, sequence, timestamp, ssrc,
            };
            let header = RtpHeader::parse(&fixed.to_bytes()).unwrap();
            prop_assert_eq!(header.has_padding, has_padding);
            prop_assert_eq!(header.fixed(), FixedHeader { has_padding: false, ..fixed });
        }
    }
}
