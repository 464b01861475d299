//! RTCP: what senders report, what receivers report and ask for.
//!
//! Owns: walking a compound packet in place, writing one into the caller's buffer. Guarantees:
//! nothing is allocated; every length is checked before use; what is not understood is skipped by
//! its length. The walk takes at most one step per four bytes, and no packet in it yields more than
//! its bytes allow. Not here: acting on a report (`reception`, `bwe`, `sfu`), the inside of
//! transport feedback (`twcc`). Source: RFC 3550 §6, RFC 4585 §6, RFC 5104 §4.3.1,
//! draft-alvestrand-rmcat-remb-03, draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1.

mod feedback;
mod report;
mod writer;

use thiserror::Error;

pub use self::feedback::{FullIntraEntry, FullIntraRequest, Nacks, Remb, TransportFeedback};
pub(crate) use self::report::to_short_units;
pub use self::report::{NtpTime, ReportBlock, ReportBlocks, SenderReport};
pub use self::writer::{CompoundWriter, NoRoom};

/// Bytes of every packet's header, the sender's SSRC not included.
const HEADER_LEN: usize = 4;

/// `packet type` numbers. Source: IANA "RTCP Control Packet Types".
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SOURCE_DESCRIPTION: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// `FMT` numbers of the two feedback packets. Source: IANA "FMT Values".
mod format {
    pub(super) const NACK: u8 = 1;
    pub(super) const TRANSPORT_WIDE: u8 = 15;
    pub(super) const PICTURE_LOSS: u8 = 1;
    pub(super) const FULL_INTRA: u8 = 4;
    pub(super) const APPLICATION: u8 = 15;
}

/// Why bytes are not RTCP. Always the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RtcpError {
    /// The header, or the length in it, runs past the end. Ends the walk.
    #[error("rtcp packet runs past the end")]
    PastEnd,
    /// Not version 2. Ends the walk.
    #[error("rtcp version {0}")]
    Version(u8),
    /// The padding is empty or longer than the packet. This packet is skipped.
    #[error("rtcp padding of {0} bytes")]
    Padding(u8),
    /// The packet is too short for what its type and count promise. It is skipped.
    #[error("rtcp packet of type {packet_type} is too short")]
    Short {
        /// Its type.
        packet_type: u8,
    },
}

/// One packet of a compound, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RtcpPacket<'a> {
    /// What a sender sent, and what it received.
    SenderReport(SenderReport, ReportBlocks<'a>),
    /// What a receiver received.
    ReceiverReport {
        /// The receiver.
        ssrc: u32,
        /// One per stream that it received.
        blocks: ReportBlocks<'a>,
    },
    /// Streams end.
    Bye(Ssrcs<'a>),
    /// Packets are missing.
    Nack(Nacks<'a>),
    /// When packets arrived.
    TransportFeedback(TransportFeedback<'a>),
    /// A picture is undecodable: send a key frame.
    PictureLoss {
        /// Who asks.
        sender_ssrc: u32,
        /// Of which stream.
        media_ssrc: u32,
    },
    /// Send key frames.
    FullIntraRequest(FullIntraRequest<'a>),
    /// How much a receiver can take.
    Remb(Remb<'a>),
    /// Source descriptions, extended reports and whatever else there is: skipped.
    Other {
        /// Its type.
        packet_type: u8,
        /// The five bits of count or format.
        count: u8,
    },
}

/// Walks a compound packet, decrypted. Reduced-size RTCP (RFC 5506) is a compound like any other.
///
/// An error for one packet does not end the walk; broken framing does.
#[inline]
#[must_use]
pub const fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

/// See [`packets`].
#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<RtcpPacket<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match frame(self.rest) {
            Ok((first, packet_type, body, rest)) => {
                self.rest = rest;
                Some(unpadded(first, body).and_then(|body| read(first & 0x1f, packet_type, body)))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Cuts the first packet off: first byte, type, what follows the header, what follows the packet.
fn frame(bytes: &[u8]) -> Result<(u8, u8, &[u8], &[u8]), RtcpError> {
    let ([first, packet_type, l0, l1], after) =
        bytes.split_first_chunk::<HEADER_LEN>().ok_or(RtcpError::PastEnd)?;
    if first >> 6 != 2 {
        return Err(RtcpError::Version(first >> 6));
    }
    let len = usize::from(u16::from_be_bytes([*l0, *l1])) * 4;
    let (body, rest) = after.split_at_checked(len).ok_or(RtcpError::PastEnd)?;
    Ok((*first, *packet_type, body, rest))
}

fn unpadded(first: u8, body: &[u8]) -> Result<&[u8], RtcpError> {
    if first & 0x20 == 0 {
        return Ok(body);
    }
    let padding = body.last().copied().unwrap_or(0);
    body.len()
        .checked_sub(usize::from(padding))
        .filter(|_| padding != 0)
        .and_then(|len| body.get(..len))
        .ok_or(RtcpError::Padding(padding))
}

/// Reads one packet from what follows its header, padding removed.
fn read(count: u8, packet_type: u8, body: &[u8]) -> Result<RtcpPacket<'_>, RtcpError> {
    let packet = match (packet_type, count) {
        (packet_type::SENDER_REPORT, _) => SenderReport::parse(body).and_then(|(report, rest)| {
            Some(RtcpPacket::SenderReport(report, ReportBlocks::parse(count, rest)?))
        }),
        (packet_type::RECEIVER_REPORT, _) => take_u32(body).and_then(|(ssrc, rest)| {
            let blocks = ReportBlocks::parse(count, rest)?;
            Some(RtcpPacket::ReceiverReport { ssrc, blocks })
        }),
        (packet_type::BYE, _) => Ssrcs::parse(count, body).map(RtcpPacket::Bye),
        (packet_type::TRANSPORT_FEEDBACK, format::NACK) => Nacks::parse(body).map(RtcpPacket::Nack),
        (packet_type::TRANSPORT_FEEDBACK, format::TRANSPORT_WIDE) => {
            TransportFeedback::parse(body).map(RtcpPacket::TransportFeedback)
        }
        (packet_type::PAYLOAD_FEEDBACK, format::PICTURE_LOSS) => take_u32(body)
            .and_then(|(sender_ssrc, rest)| Some((sender_ssrc, take_u32(rest)?.0)))
            .map(|(sender_ssrc, media_ssrc)| RtcpPacket::PictureLoss { sender_ssrc, media_ssrc }),
        (packet_type::PAYLOAD_FEEDBACK, format::FULL_INTRA) => {
            FullIntraRequest::parse(body).map(RtcpPacket::FullIntraRequest)
        }
        (packet_type::PAYLOAD_FEEDBACK, format::APPLICATION) if Remb::is_remb(body) => {
            Remb::parse(body).map(RtcpPacket::Remb)
        }
        _ => Some(RtcpPacket::Other { packet_type, count }),
    };
    packet.ok_or(RtcpError::Short { packet_type })
}

/// A list of stream identifiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssrcs<'a>(&'a [[u8; 4]]);

impl<'a> Ssrcs<'a> {
    fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let len = usize::from(count) * 4;
        Some(Self(body.get(..len)?.as_chunks().0))
    }

    /// In the packet's order.
    pub fn iter(self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.iter().copied().map(u32::from_be_bytes)
    }
}

/// The first four bytes as a number, and the rest.
fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (head, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*head), rest))
}

#[cfg(test)]
mod tests;
