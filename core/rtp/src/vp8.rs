//! VP8 over RTP: the payload descriptor, and its rewriting for one subscription.
//!
//! Owns: reading the descriptor, the key frame bit and the picture size; [`Vp8Rewriter`].
//! Guarantees: what is read stays clear under LiveKit's end-to-end encryption; rewriting never changes a length.
//! Not here: choosing simulcast layers (`sfu`).
//! Source: RFC 7741 §4; RFC 6386 §9.1 for the frame header.

mod rewriter;

pub use rewriter::{Vp8Rewrite, Vp8Rewriter};

/// X: the byte with [`HAS_PICTURE_ID`] and its like follows.
const EXTENDED: u8 = 0x80;
/// S: start of a partition.
const START: u8 = 0x10;
const PARTITION: u8 = 0x07;
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_TL0PICIDX: u8 = 0x40;
const HAS_TEMPORAL: u8 = 0x20;
const HAS_KEYIDX: u8 = 0x10;
/// M: the picture id has 15 bits.
const WIDE: u8 = 0x80;
const SYNC: u8 = 0x20;
const KEYIDX: u8 = 0x1f;

/// What a VP8 payload descriptor, and the frame header behind it, say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The first packet of a frame.
    pub start: bool,
    /// The first packet of a key frame.
    pub keyframe: bool,
    /// Counts frames.
    pub picture_id: Option<PictureId>,
    /// Counts frames of temporal layer 0.
    pub tl0picidx: Option<u8>,
    /// 0 when not said.
    pub temporal: u8,
    /// Y: the frame depends on temporal layer 0 alone.
    pub sync: bool,
    /// Counts key frames, 5 bits.
    pub keyidx: Option<u8>,
    /// Bytes of the descriptor.
    pub len: usize,
}

/// A picture id and the space in which it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// The number.
    pub value: u16,
    /// 0x7fff or 0x7f.
    pub mask: u16,
}

impl Descriptor {
    /// Reads the descriptor at the start of `payload`; `None` when it is cut off.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut bytes = payload.iter().copied();
        let first = bytes.next()?;
        let flags = if first & EXTENDED == 0 { 0 } else { bytes.next()? };
        let mut picture_id = None;
        if flags & HAS_PICTURE_ID != 0 {
            let high = bytes.next()?;
            picture_id = Some(if high & WIDE == 0 {
                PictureId { value: u16::from(high), mask: 0x7f }
            } else {
                let value = u16::from_be_bytes([high & !WIDE, bytes.next()?]);
                PictureId { value, mask: 0x7fff }
            });
        }
        let tl0picidx = if flags & HAS_TL0PICIDX == 0 { None } else { Some(bytes.next()?) };
        let indices =
            if flags & (HAS_TEMPORAL | HAS_KEYIDX) == 0 { None } else { Some(bytes.next()?) };
        let temporal = indices.filter(|_| flags & HAS_TEMPORAL != 0);
        let start = first & START != 0 && first & PARTITION == 0;
        let len = payload.len() - bytes.len();
        Some(Self {
            start,
            keyframe: start && bytes.next().is_some_and(|tag| tag & 1 == 0),
            picture_id,
            tl0picidx,
            temporal: temporal.map_or(0, |indices| indices >> 6),
            sync: temporal.is_some_and(|indices| indices & SYNC != 0),
            keyidx: indices.filter(|_| flags & HAS_KEYIDX != 0).map(|indices| indices & KEYIDX),
            len,
        })
    }
}

/// Width and height of the key frame that this packet begins.
#[must_use]
pub fn size(payload: &[u8], descriptor: &Descriptor) -> Option<(u16, u16)> {
    if !descriptor.keyframe {
        return None;
    }
    let header = payload.get(descriptor.len..)?.first_chunk::<10>()?;
    let [_, _, _, 0x9d, 0x01, 0x2a, width_0, width_1, height_0, height_1] = *header else {
        return None;
    };
    // The two upper bits are a scale that only a renderer needs.
    let side = |low, high| u16::from_le_bytes([low, high]) & 0x3fff;
    Some((side(width_0, width_1), side(height_0, height_1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7741 §4.5.1: key frame, one partition, one byte descriptor.
    #[test]
    fn the_shortest_descriptor_is_read() {
        let descriptor = Descriptor::parse(&[0x10, 0x02]).unwrap();
        assert!(descriptor.start && descriptor.keyframe && !descriptor.sync);
        assert_eq!((descriptor.picture_id, descriptor.len), (None, 1));
    }

    #[test]
    fn the_longest_descriptor_is_read() {
        let descriptor =
            Descriptor::parse(&[0x90, 0xf0, 0x92, 0x34, 0x56, 0b1010_0111, 0x01]).unwrap();
        let expected = Descriptor {
            start: true,
            keyframe: false,
            picture_id: Some(PictureId { value: 0x1234, mask: 0x7fff }),
            tl0picidx: Some(0x56),
            temporal: 2,
            sync: true,
            keyidx: Some(7),
            len: 6,
        };
        assert_eq!(descriptor, expected);
    }

    #[test]
    fn fields_that_are_not_announced_are_not_read() {
        // T without K, 7-bit picture id; then K without T.
        let temporal = Descriptor::parse(&[0x80, 0xa0, 0x11, 0x7f]).unwrap();
        assert_eq!((temporal.temporal, temporal.sync, temporal.keyidx), (1, true, None));
        assert_eq!(temporal.picture_id, Some(PictureId { value: 0x11, mask: 0x7f }));
        let keyidx = Descriptor::parse(&[0x80, 0x10, 0xff]).unwrap();
        assert_eq!((keyidx.temporal, keyidx.sync, keyidx.keyidx), (0, false, Some(31)));
    }

    #[test]
    fn only_the_first_partition_starts_a_frame() {
        let descriptor = Descriptor::parse(&[0x11, 0x02]).unwrap();
        assert!(!descriptor.start && !descriptor.keyframe);
        assert!(!Descriptor::parse(&[0x00, 0x02]).unwrap().start);
    }

    #[test]
    fn a_cut_descriptor_is_refused() {
        let payload = [0x90, 0xf0, 0x92, 0x34, 0x56, 0xa7];
        for len in 0..payload.len() {
            assert_eq!(Descriptor::parse(&payload[..len]), None, "{len}");
        }
        assert!(!Descriptor::parse(&payload).unwrap().keyframe);
    }

    #[test]
    fn the_size_needs_the_start_code() {
        let mut payload = [0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x45, 0xd0, 0x82];
        let descriptor = Descriptor::parse(&payload).unwrap();
        assert_eq!(size(&payload, &descriptor), Some((1280, 720)));
        assert_eq!(size(&payload[..10], &descriptor), None);
        payload[4] = 0;
        assert_eq!(size(&payload, &descriptor), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(descriptor) = Descriptor::parse(&payload) {
                prop_assert!(descriptor.len <= payload.len() && descriptor.len <= 6);
                prop_assert!(size(&payload, &descriptor).is_none() || descriptor.keyframe);
            }
        }
    }
}
