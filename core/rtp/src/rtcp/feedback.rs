//! Feedback packets: missing packets, arrival times, key frame requests, receiver's estimates.
//!
//! Source: RFC 4585 §6.1 and §6.2.1, RFC 5104 §4.3.1.1, draft-alvestrand-rmcat-remb-03 §2.2.

use super::{Ssrcs, take_u32};
use crate::nack::Nack;

/// A generic NACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nacks<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    /// Of which stream.
    pub media_ssrc: u32,
    items: &'a [[u8; 4]],
}

impl<'a> Nacks<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender_ssrc, rest) = take_u32(body)?;
        let (media_ssrc, rest) = take_u32(rest)?;
        Some(Self { sender_ssrc, media_ssrc, items: rest.as_chunks().0 })
    }

    /// The items, each 1 to 17 sequence numbers. As many as the sender liked: a datagram holds some 360, and the same
    /// number may be asked for in each. Whoever answers bounds what it sends.
    pub fn items(self) -> impl Iterator<Item = Nack> + use<'a> {
        self.items.iter().map(|[p0, p1, b0, b1]| Nack {
            pid: u16::from_be_bytes([*p0, *p1]),
            blp: u16::from_be_bytes([*b0, *b1]),
        })
    }

    /// All sequence numbers of all items.
    pub fn sequence_numbers(self) -> impl Iterator<Item = u16> + use<'a> {
        self.items().flat_map(Nack::sequence_numbers)
    }
}

/// Transport-wide feedback, still to be read by `twcc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportFeedback<'a> {
    /// Who reports.
    pub sender_ssrc: u32,
    /// Some stream of the transport; means nothing.
    pub media_ssrc: u32,
    /// The feedback control information, for `twcc::Feedback::parse`.
    pub fci: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender_ssrc, rest) = take_u32(body)?;
        let (media_ssrc, fci) = take_u32(rest)?;
        Some(Self { sender_ssrc, media_ssrc, fci })
    }
}

/// Requests for key frames of several streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullIntraRequest<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    entries: &'a [[u8; 8]],
}

/// One stream of a [`FullIntraRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullIntraEntry {
    /// The stream.
    pub ssrc: u32,
    /// Counts requests: a repeated number is the same request again.
    pub sequence: u8,
}

impl<'a> FullIntraRequest<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender_ssrc, rest) = take_u32(body)?;
        // The media SSRC of the common header is unused: RFC 5104 §4.3.1.2.
        let (_, rest) = take_u32(rest)?;
        Some(Self { sender_ssrc, entries: rest.as_chunks().0 })
    }

    /// In the packet's order.
    pub fn entries(self) -> impl Iterator<Item = FullIntraEntry> + use<'a> {
        self.entries.iter().map(|[s0, s1, s2, s3, sequence, ..]| FullIntraEntry {
            ssrc: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
            sequence: *sequence,
        })
    }
}

/// A receiver's estimate of what it can take: what clients without transport feedback send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remb<'a> {
    /// Who says so.
    pub sender_ssrc: u32,
    /// Bits per second, over all of `ssrcs` together.
    pub bitrate: u64,
    /// The streams it is about.
    pub ssrcs: Ssrcs<'a>,
}

impl<'a> Remb<'a> {
    /// Application feedback belongs to whom its first four bytes name.
    pub(super) fn is_remb(body: &[u8]) -> bool {
        body.get(8..12) == Some(b"REMB")
    }

    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (sender_ssrc, _) = take_u32(body)?;
        let ([count, r0, r1, r2], rest) = body.get(12..)?.split_first_chunk()?;
        let mantissa = u64::from(u32::from_be_bytes([0, r0 & 0x03, *r1, *r2]));
        let exponent = u32::from(r0 >> 2);
        // 18 bits shifted by up to 63: what overflows is more than anybody has.
        let fits = exponent <= mantissa.leading_zeros();
        let bitrate = if fits { mantissa << (exponent & 63) } else { u64::MAX };
        Some(Self { sender_ssrc, bitrate, ssrcs: Ssrcs::parse(*count, rest)? })
    }
}
