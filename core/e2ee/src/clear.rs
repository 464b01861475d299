//! How much of a frame stays readable, so that encrypted it still looks like its codec to packetizers and forwarders.
//!
//! Guarantees: a sealed frame has the same clear part as the frame it was made from, so that both ends find it
//! without being told.
//! Not here: frames without a slice, for which LiveKit's SDKs disagree with each other and which WebRTC does not send:
//! they are refused.
//! Source: `livekit-client` 2.23.0 `src/e2ee/constants.ts`, `worker/FrameCryptor.ts`, `worker/naluUtils.ts`; RFC 6386
//! §9.1, RFC 7741 §4.3 (VP8), RFC 6184 §1.3 (H.264), RFC 7798 §1.1.4 (H.265).

use crate::escape;

/// What a frame is encoded with. AV1 is missing on purpose: LiveKit's web SDK does not encrypt it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus, and any other sound that is encoded frame by frame. RED is not: SDKs turn it off.
    Opus,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// H.264 with start codes (Annex B), as encoders make and depacketizers rebuild it.
    H264,
    /// H.265 with start codes.
    H265,
}

/// The table of contents of an Opus packet.
const OPUS_LEN: usize = 1;
/// VP8's frame tag, and behind it in key frames start code and size.
const VP8_LEN: usize = 3;
const VP8_KEY_LEN: usize = 10;
/// From a slice's first byte: the NAL header, and in H.264 one byte of the slice, where H.265's header has its second.
const SLICE_LEN: usize = 2;

impl Codec {
    /// Bytes at the start of `frame`, which is not empty, that are authenticated but not encrypted; `None` if the frame
    /// is shorter than that or has no slice.
    pub(crate) fn clear_len(self, frame: &[u8]) -> Option<usize> {
        let len = match self {
            Self::Opus => OPUS_LEN,
            // The inverted key frame bit is in the clear byte itself, where the depacketizer reads it too.
            Self::Vp8 if frame.first()? & 1 == 0 => VP8_KEY_LEN,
            Self::Vp8 => VP8_LEN,
            // Its payload descriptor is outside of the frame.
            Self::Vp9 => 0,
            Self::H264 => first_slice(frame, is_h264_slice)? + SLICE_LEN,
            Self::H265 => first_slice(frame, is_h265_slice)? + SLICE_LEN,
        };
        (len <= frame.len()).then_some(len)
    }

    /// The clock of its RTP timestamps.
    pub(crate) const fn ticks_per_second(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Vp8 | Self::Vp9 | Self::H264 | Self::H265 => 90_000,
        }
    }

    /// Whether the encrypted part must hold no start code.
    pub(crate) const fn is_escaped(self) -> bool {
        match self {
            Self::H264 | Self::H265 => true,
            Self::Opus | Self::Vp8 | Self::Vp9 => false,
        }
    }

    /// Appends the clear part of a frame as a receiver will see it.
    ///
    /// Depacketizers write every start code as four bytes, whatever the encoder wrote: authenticated must be
    /// what arrives.
    pub(crate) fn write_clear(self, clear: &[u8], out: &mut Vec<u8>) {
        if !self.is_escaped() {
            out.extend_from_slice(clear);
            return;
        }
        let mut rest = clear;
        while let Some(behind) = escape::behind_start_code(rest) {
            let (with_code, after) = rest.split_at_checked(behind).unwrap_or((rest, &[]));
            let (before, code) = with_code.split_last_chunk::<3>().unwrap_or((&[], &[0, 0, 1]));
            out.extend_from_slice(before);
            if before.last() != Some(&0) {
                out.push(0);
            }
            out.extend_from_slice(code);
            rest = after;
        }
        out.extend_from_slice(rest);
    }
}

/// Where the header of the first NAL unit is that `is_slice`.
fn first_slice(frame: &[u8], is_slice: fn(u8) -> bool) -> Option<usize> {
    let mut at = escape::behind_start_code(frame)?;
    let is_annex_b = frame.get(..at - 3)?.iter().all(|byte| *byte == 0);
    if !is_annex_b {
        return None;
    }
    while !is_slice(*frame.get(at)?) {
        at += escape::behind_start_code(frame.get(at..)?)?;
    }
    Some(at)
}

/// A coded slice, of an IDR picture or of another. Data partitions are not WebRTC's.
const fn is_h264_slice(header: u8) -> bool {
    matches!(header & 0x1f, 1 | 5)
}

/// The slice segments of all picture types that are not reserved.
const fn is_h265_slice(header: u8) -> bool {
    matches!(header >> 1 & 0x3f, 0..=9 | 16..=21)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clear_part_depends_on_codec_and_frame() {
        for (codec, frame, expect) in [
            (Codec::Opus, &[0xf8][..], Some(1)),
            (Codec::Vp8, &[0x10, 2, 0, 0x9d, 1, 0x2a, 8, 0, 8, 0], Some(10)),
            (Codec::Vp8, &[0x10, 2, 0, 0x9d, 1, 0x2a, 8, 0, 8], None),
            (Codec::Vp8, &[0x11, 2, 0], Some(3)),
            (Codec::Vp8, &[0x11, 2], None),
            (Codec::Vp9, &[0x82], Some(0)),
            (Codec::H264, &[0, 0, 0, 1, 0x67, 9, 0, 0, 1, 0x65, 0x88], Some(11)),
            (Codec::H264, &[0, 0, 1, 0x41, 0x9a, 3], Some(5)),
            // A slice without its second byte; no slice; bytes before the first start code; no start code.
            (Codec::H264, &[0, 0, 1, 0x41], None),
            (Codec::H264, &[0, 0, 0, 1, 0x67, 9, 9, 9], None),
            (Codec::H264, &[7, 0, 0, 1, 0x41, 0x9a], None),
            (Codec::H264, &[0x41, 0x9a, 3, 4], None),
            (Codec::H265, &[0, 0, 0, 1, 0x40, 1, 0, 0, 0, 1, 0x26, 1, 7], Some(12)),
            (Codec::H265, &[0, 0, 0, 1, 0x02, 1], Some(6)),
            // A prefix SEI alone.
            (Codec::H265, &[0, 0, 0, 1, 0x4e, 1, 5], None),
        ] {
            assert_eq!(codec.clear_len(frame), expect, "{codec:?} {frame:02x?}");
        }
    }

    #[test]
    fn short_start_codes_of_the_clear_part_are_lengthened() {
        for (clear, expect) in [
            (&[0, 0, 1, 0x65, 0x88][..], &[0, 0, 0, 1, 0x65, 0x88][..]),
            (&[0, 0, 0, 1, 0x65, 0x88], &[0, 0, 0, 1, 0x65, 0x88]),
            (
                &[0, 0, 1, 0x67, 5, 0, 0, 1, 0x65, 0x88],
                &[0, 0, 0, 1, 0x67, 5, 0, 0, 0, 1, 0x65, 0x88],
            ),
        ] {
            let mut out = Vec::new();
            Codec::H264.write_clear(clear, &mut out);
            assert_eq!(out, expect);
        }
    }
}
