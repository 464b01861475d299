//! The VP9 payload descriptor.
//!
//! Owns: reading it, in flexible and non-flexible mode, with or without a scalability structure.
//! Not here: rewriting it; layers of one VP9 stream are not dropped yet.
//! Source: RFC 9628 §4.2.

use model::Layer;

/// What a VP9 payload descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "bits of the wire format")]
pub struct Descriptor {
    /// B: the first packet of a layer frame.
    pub start: bool,
    /// E: the last packet of a layer frame.
    pub end: bool,
    /// P: predicted from earlier pictures.
    pub inter_predicted: bool,
    /// U: higher temporal layers may be decoded from here on.
    pub switch_up: bool,
    /// 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// Zeros when there are no layer indices.
    pub layer: Layer,
    /// Non-flexible mode only.
    pub tl0picidx: Option<u8>,
    /// Width and height of the highest spatial layer, from the scalability structure.
    pub size: Option<(u16, u16)>,
    /// Bytes of the descriptor.
    pub len: usize,
}

impl Descriptor {
    /// Reads the descriptor at the start of `payload`; `None` when it is cut off.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut bytes = payload.iter().copied();
        let flags = bytes.next()?;
        let [has_id, inter_predicted, has_layer, flexible, start, end, has_structure] =
            [0x80, 0x40, 0x20, 0x10, 0x08, 0x04, 0x02].map(|bit| flags & bit != 0);
        let picture_id = if has_id { Some(picture_id(&mut bytes)?) } else { None };
        let (layer, switch_up) = if has_layer { layer(bytes.next()?) } else { Default::default() };
        let tl0picidx = if has_layer && !flexible { Some(bytes.next()?) } else { None };
        if flexible && inter_predicted {
            // Up to three reference distances, each telling whether another follows.
            for last in [false, false, true] {
                let more = bytes.next()? & 1 == 1;
                if !more || last {
                    break;
                }
            }
        }
        let size = if has_structure { structure(&mut bytes)? } else { None };
        let len = payload.len() - bytes.len();
        Some(Self {
            start,
            end,
            inter_predicted,
            switch_up,
            picture_id,
            layer,
            tl0picidx,
            size,
            len,
        })
    }

    /// The first packet of a key frame: nothing predicted, lowest spatial layer.
    #[must_use]
    pub const fn is_keyframe(&self) -> bool {
        self.start && !self.inter_predicted && self.layer.spatial == 0
    }
}

fn picture_id(bytes: &mut impl Iterator<Item = u8>) -> Option<u16> {
    let first = u16::from(bytes.next()?);
    if first & 0x80 == 0 {
        return Some(first);
    }
    Some((first & 0x7f) << 8 | u16::from(bytes.next()?))
}

/// Layer indices, and whether this is a switching point.
const fn layer(byte: u8) -> (Layer, bool) {
    (Layer { spatial: byte >> 1 & 7, temporal: byte >> 5 }, byte & 0x10 != 0)
}

/// Reads the scalability structure; gives the size of the highest layer if it tells sizes.
fn structure(bytes: &mut impl Iterator<Item = u8>) -> Option<Option<(u16, u16)>> {
    let flags = bytes.next()?;
    let mut size = None;
    if flags & 0x10 != 0 {
        for _ in 0..=flags >> 5 {
            let width = u16::from_be_bytes([bytes.next()?, bytes.next()?]);
            let height = u16::from_be_bytes([bytes.next()?, bytes.next()?]);
            size = Some((width, height));
        }
    }
    if flags & 0x08 != 0 {
        for _ in 0..bytes.next()? {
            let references = bytes.next()? >> 2 & 3;
            for _ in 0..references {
                bytes.next()?;
            }
        }
    }
    Some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_with_its_structure_is_read() {
        // I L B E V; picture id 0x1234; T0 S0; tl0picidx 7; one layer 640x360, one picture with one reference.
        let payload =
            [0xae, 0x92, 0x34, 0x00, 7, 0x18, 0x02, 0x80, 0x01, 0x68, 1, 0x04, 1, 0xaa, 0xbb];
        let descriptor = Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.picture_id, Some(0x1234));
        assert_eq!(descriptor.tl0picidx, Some(7));
        assert_eq!(descriptor.size, Some((640, 360)));
        assert_eq!(descriptor.len, 13);
        assert!(descriptor.is_keyframe() && descriptor.start && descriptor.end);
    }

    #[test]
    fn a_flexible_predicted_frame_is_read() {
        // I P L F B; picture id 5; T1 U S2 D; two reference distances.
        let payload = [0xf8, 5, 0x35, 0x03, 0x04, 0xaa];
        let descriptor = Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.picture_id, Some(5));
        assert_eq!(descriptor.layer, Layer { spatial: 2, temporal: 1 });
        assert_eq!(descriptor.tl0picidx, None);
        assert_eq!(descriptor.len, 5);
        assert!(descriptor.switch_up && !descriptor.is_keyframe() && !descriptor.end);
    }

    #[test]
    fn an_upper_spatial_layer_of_a_key_picture_is_no_entry() {
        let descriptor = Descriptor::parse(&[0xa8, 5, 0x03, 9]).unwrap();
        assert_eq!(descriptor.layer.spatial, 1);
        assert!(!descriptor.is_keyframe());
    }

    #[test]
    fn a_cut_descriptor_is_refused() {
        let payload = [0xae, 0x92, 0x34, 0x00, 7, 0x18, 0x02, 0x80, 0x01, 0x68, 1, 0x04, 1];
        for len in 0..payload.len() {
            assert!(Descriptor::parse(&payload[..len]).is_none(), "{len}");
        }
        assert!(Descriptor::parse(&payload).is_some());
    }
}
