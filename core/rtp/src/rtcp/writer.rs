//! Writes compound packets.
//!
//! Source: RFC 3550 §6.4 to §6.6, RFC 4585 §6, RFC 5104 §4.3.1.

use thiserror::Error;

use super::{HEADER_LEN, ReportBlock, SenderReport, format, packet_type};
use crate::limits::REPORT_BLOCKS_MAX;
use crate::nack::Nack;

/// The only source description item that we send.
const CNAME: u8 = 1;

/// The buffer cannot hold the packet; nothing was written that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no room for the rtcp packet")]
pub struct NoRoom;

/// Appends packets to the front of a buffer. Each method writes one whole packet or, for want of room, nothing.
///
/// Leave room for SRTP behind [`Self::len`]. RFC 3550 §6.1 wants a report first and a CNAME in each compound; with
/// reduced-size RTCP (RFC 5506), which every WebRTC client negotiates, feedback may stand alone.
#[derive(Debug)]
pub struct CompoundWriter<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> CompoundWriter<'a> {
    /// Begins an empty compound at the front of `buffer`.
    #[must_use]
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Bytes written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A sender report with the first 31 of `blocks`.
    ///
    /// # Errors
    /// [`NoRoom`], as for all methods.
    pub fn sender_report(
        &mut self,
        report: &SenderReport,
        blocks: &[ReportBlock],
    ) -> Result<(), NoRoom> {
        let blocks = blocks.get(..REPORT_BLOCKS_MAX).unwrap_or(blocks);
        let len = SenderReport::LEN + blocks.len() * ReportBlock::LEN;
        self.packet(blocks.len(), packet_type::SENDER_REPORT, len, |body| {
            body.put_u32(report.ssrc)?;
            body.put(&report.ntp.0.to_be_bytes())?;
            body.put_u32(report.rtp_timestamp)?;
            body.put_u32(report.packets)?;
            body.put_u32(report.octets)?;
            blocks.iter().try_for_each(|block| body.put(&block.to_bytes()))
        })
    }

    /// A receiver report from `ssrc` with the first 31 of `blocks`.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> Result<(), NoRoom> {
        let blocks = blocks.get(..REPORT_BLOCKS_MAX).unwrap_or(blocks);
        let len = 4 + blocks.len() * ReportBlock::LEN;
        self.packet(blocks.len(), packet_type::RECEIVER_REPORT, len, |body| {
            body.put_u32(ssrc)?;
            blocks.iter().try_for_each(|block| body.put(&block.to_bytes()))
        })
    }

    /// A source description that names `ssrc`.
    ///
    /// # Errors
    /// [`NoRoom`]; a name over 255 bytes has none anywhere.
    pub fn cname(&mut self, ssrc: u32, name: &[u8]) -> Result<(), NoRoom> {
        let name_len = u8::try_from(name.len()).map_err(|_| NoRoom)?;
        // SSRC, item header, name, and at least one zero that ends the items.
        let used = 4 + 2 + name.len();
        let len = (used + 1).next_multiple_of(4);
        self.packet(1, packet_type::SOURCE_DESCRIPTION, len, |body| {
            body.put_u32(ssrc)?;
            body.put(&[CNAME, name_len])?;
            body.put(name)?;
            body.zeros(len - used)
        })
    }

    /// A generic NACK of `items`, as far as they fit. Returns how many were written, not one only if `items` is empty.
    ///
    /// # Errors
    /// [`NoRoom`] when not one fits.
    pub fn nack(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        items: &[Nack],
    ) -> Result<usize, NoRoom> {
        if items.is_empty() {
            return Ok(0);
        }
        let room = self.buffer.len().checked_sub(self.len + HEADER_LEN + 8).ok_or(NoRoom)? / 4;
        let items = items.get(..room).unwrap_or(items);
        if items.is_empty() {
            return Err(NoRoom);
        }
        let len = 8 + items.len() * 4;
        self.packet(format::NACK.into(), packet_type::TRANSPORT_FEEDBACK, len, |body| {
            body.put_u32(sender_ssrc)?;
            body.put_u32(media_ssrc)?;
            items.iter().try_for_each(|Nack { pid, blp }| {
                body.put_u32(u32::from(*pid) << 16 | u32::from(*blp))
            })
        })?;
        Ok(items.len())
    }

    /// Transport-wide feedback around `fci`, as `twcc::FeedbackRecorder` writes it: its length is a multiple of four.
    ///
    /// # Errors
    /// [`NoRoom`], also for an `fci` of another length.
    pub fn transport_feedback(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        fci: &[u8],
    ) -> Result<(), NoRoom> {
        let (kind, len) = (format::TRANSPORT_WIDE.into(), 8 + fci.len());
        self.packet(kind, packet_type::TRANSPORT_FEEDBACK, len, |body| {
            body.put_u32(sender_ssrc)?;
            body.put_u32(media_ssrc)?;
            body.put(fci)
        })
    }

    /// A picture loss indication.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn picture_loss(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Result<(), NoRoom> {
        self.packet(format::PICTURE_LOSS.into(), packet_type::PAYLOAD_FEEDBACK, 8, |body| {
            body.put_u32(sender_ssrc)?;
            body.put_u32(media_ssrc)
        })
    }

    /// A full intra request for one stream; `sequence` counts the requests for it.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn full_intra(
        &mut self,
        sender_ssrc: u32,
        media_ssrc: u32,
        sequence: u8,
    ) -> Result<(), NoRoom> {
        self.packet(format::FULL_INTRA.into(), packet_type::PAYLOAD_FEEDBACK, 16, |body| {
            body.put_u32(sender_ssrc)?;
            body.zeros(4)?;
            body.put_u32(media_ssrc)?;
            body.put(&[sequence, 0, 0, 0])
        })
    }

    /// The end of the first 31 of `ssrcs`.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn bye(&mut self, ssrcs: &[u32]) -> Result<(), NoRoom> {
        let ssrcs = ssrcs.get(..REPORT_BLOCKS_MAX).unwrap_or(ssrcs);
        self.packet(ssrcs.len(), packet_type::BYE, ssrcs.len() * 4, |body| {
            ssrcs.iter().try_for_each(|ssrc| body.put_u32(*ssrc))
        })
    }

    /// Appends a packet of `body_len` bytes behind its header, filled by `fill`; counts it only when that went well.
    fn packet(
        &mut self,
        count: usize,
        packet_type: u8,
        body_len: usize,
        fill: impl FnOnce(&mut Body<'_>) -> Result<(), NoRoom>,
    ) -> Result<(), NoRoom> {
        let words = u16::try_from(body_len / 4).ok().filter(|_| body_len.is_multiple_of(4));
        let [w0, w1] = words.ok_or(NoRoom)?.to_be_bytes();
        let count = u8::try_from(count).map_err(|_| NoRoom)? & 0x1f;
        let end = self.len + HEADER_LEN + body_len;
        let mut body = Body { rest: self.buffer.get_mut(self.len..end).ok_or(NoRoom)? };
        body.put(&[0x80 | count, packet_type, w0, w1])?;
        fill(&mut body)?;
        self.len = end;
        Ok(())
    }
}

/// What is left to fill of a packet's body.
struct Body<'a> {
    rest: &'a mut [u8],
}

impl Body<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), NoRoom> {
        let (place, rest) =
            std::mem::take(&mut self.rest).split_at_mut_checked(bytes.len()).ok_or(NoRoom)?;
        place.copy_from_slice(bytes);
        self.rest = rest;
        Ok(())
    }

    fn put_u32(&mut self, number: u32) -> Result<(), NoRoom> {
        self.put(&number.to_be_bytes())
    }

    fn zeros(&mut self, len: usize) -> Result<(), NoRoom> {
        let (place, rest) =
            std::mem::take(&mut self.rest).split_at_mut_checked(len).ok_or(NoRoom)?;
        place.fill(0);
        self.rest = rest;
        Ok(())
    }
}
