//! What a forwarder must know of a packet's payload, whatever the codec.
//!
//! Owns: the one shape, [`Facts`], that every codec's descriptor is reduced to. Guarantees: reads
//! only what LiveKit's end-to-end encryption leaves clear: payload descriptors, the first bytes of
//! a VP8 frame (10 of a key frame, 3 of others), NAL unit headers up to the first slice. Not here:
//! rewriting (`vp8`), choosing layers (`sfu`).

use model::{Codec, Layer};

use crate::{av1, h264, h265, vp8, vp9};

/// What one packet's payload says about its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each a bit on the wire")]
pub struct Facts {
    /// Decoding may begin with this packet: the first of a key frame (of its parameter sets, for H.264 and H.265).
    pub keyframe: bool,
    /// The first packet of a frame (of a layer frame, for VP9); for H.264, H.265 and AV1, of a NAL unit or OBU.
    pub start: bool,
    /// The last packet of a frame (of a layer frame, for VP9).
    pub end: bool,
    /// From this frame on its temporal layer can be decoded if the layers below are.
    pub sync: bool,
    /// Where the frame belongs within its RTP stream; zeros when the payload does not say.
    pub layer: Layer,
    /// Width and height in pixels, where a key frame says them.
    pub size: Option<(u16, u16)>,
}

impl Facts {
    /// The facts of a packet that stands for itself.
    const SOUND: Self = Self {
        keyframe: true,
        start: true,
        end: true,
        sync: true,
        layer: Layer { spatial: 0, temporal: 0 },
        size: None,
    };

    /// Reads `payload`, the RTP payload without padding, of a packet with or without the `marker` bit.
    ///
    /// A payload that its codec cannot have gives facts by which nothing can begin: no key frame, no start, no sync.
    #[must_use]
    pub fn of(codec: Codec, payload: &[u8], marker: bool) -> Self {
        let facts = match codec {
            Codec::Opus | Codec::Red => Some(Self::SOUND),
            Codec::Vp8 => vp8::Descriptor::parse(payload).map(|descriptor| Self {
                keyframe: descriptor.keyframe,
                start: descriptor.start,
                end: marker,
                sync: descriptor.sync || descriptor.keyframe,
                layer: Layer { spatial: 0, temporal: descriptor.temporal },
                size: vp8::size(payload, &descriptor),
            }),
            Codec::Vp9 => vp9::Descriptor::parse(payload).map(|descriptor| Self {
                keyframe: descriptor.is_keyframe(),
                start: descriptor.start,
                end: descriptor.end,
                sync: descriptor.switch_up || descriptor.is_keyframe(),
                layer: descriptor.layer,
                size: descriptor.size,
            }),
            Codec::H264 => Some(Self::of_units(h264::entry(payload), marker)),
            Codec::H265 => Some(Self::of_units(h265::entry(payload), marker)),
            Codec::Av1 => Some(Self::of_units(av1::entry(payload), marker)),
        };
        facts.unwrap_or(Self {
            keyframe: false,
            start: false,
            end: marker,
            sync: false,
            layer: Layer::default(),
            size: None,
        })
    }

    fn of_units(entry: Entry, marker: bool) -> Self {
        let keyframe = entry == Entry::Keyframe;
        Self {
            keyframe,
            start: entry != Entry::Middle,
            end: marker,
            sync: keyframe,
            layer: Layer::default(),
            size: None,
        }
    }
}

/// How a packet of NAL units or OBUs begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// With what starts a decoder.
    Keyframe,
    /// With a unit.
    Unit,
    /// Within one, or unreadably.
    Middle,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Codec; 7] =
        [Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];

    #[test]
    fn sound_begins_anywhere() {
        assert_eq!(Facts::of(Codec::Opus, &[], false), Facts::SOUND);
    }

    #[test]
    fn a_vp8_key_frame_tells_its_size() {
        // X, 15-bit picture id 0x1234, then a key frame's tag, start code, 640x360.
        let payload =
            [0x90, 0x80, 0x92, 0x34, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
        let facts = Facts::of(Codec::Vp8, &payload, true);
        assert!(facts.keyframe && facts.start && facts.end && facts.sync);
        assert_eq!(facts.size, Some((640, 360)));
    }

    #[test]
    fn an_empty_picture_payload_begins_nothing() {
        for codec in ALL.into_iter().filter(|codec| codec.kind() == model::TrackKind::Video) {
            let facts = Facts::of(codec, &[], true);
            assert!(!facts.keyframe && !facts.start && !facts.sync && facts.end, "{codec:?}");
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_read_without_harm(
            payload in proptest::collection::vec(any::<u8>(), 0..64), marker: bool,
        ) {
            for codec in ALL {
                let facts = Facts::of(codec, &payload, marker);
                prop_assert!(facts.start || !facts.keyframe, "{codec:?}: a key frame has a start");
                prop_assert!(usize::from(facts.layer.spatial) < 8);
            }
        }
    }
}
