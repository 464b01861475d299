//! Packets that say which packet they are, so that who finds one knows what it must be.

use model::{TrackId, TrackKind};

use crate::random::mixed;

/// Which packet of the whole run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) track: TrackId,
    pub(crate) layer: u8,
    /// Extended sequence number at the publisher.
    pub(crate) index: u64,
}

/// The first byte of sound; no VP8 descriptor of ours begins so.
const SOUND: u8 = 0xa5;
/// A VP8 descriptor with a picture id of 15 bits: the part that forwarding may change.
pub(crate) const DESCRIPTOR_LEN: usize = 4;
/// VP8's own header of a key frame; delta frames carry it here too, as any other bytes.
const FRAME_HEADER: [u8; 9] = [0, 0, 0x9d, 0x01, 0x2a, 64, 0, 64, 0];

/// A packet's place in its frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) frame: u16,
    pub(crate) is_first: bool,
    pub(crate) is_key: bool,
}

/// The payload of a packet.
pub(crate) fn payload(kind: TrackKind, name: Name, place: Place) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(400);
    match kind {
        TrackKind::Audio => bytes.push(SOUND),
        TrackKind::Video => {
            let [high, low] = (place.frame | 0x8000).to_be_bytes();
            let first = 0x80 | u8::from(place.is_first) << 4;
            bytes.extend([first, 0x80, high, low, u8::from(!place.is_key)]);
            bytes.extend(FRAME_HEADER);
        }
    }
    bytes.extend(name.track.0.to_be_bytes());
    bytes.push(name.layer);
    bytes.extend(name.index.to_be_bytes());
    let fill = mixed(u64::from(name.track.0) << 48 ^ u64::from(name.layer) << 40 ^ name.index);
    let len = 20 + fill as usize % 250;
    bytes.extend((0..len).map(|at| fill.to_be_bytes()[at % 8] ^ at as u8));
    bytes
}

/// Which packet a payload says that it is.
pub(crate) fn name(payload: &[u8]) -> Option<Name> {
    let body = match payload.split_first()? {
        (&SOUND, body) => body,
        _ => payload.get(DESCRIPTOR_LEN + 1 + FRAME_HEADER.len()..)?,
    };
    let (track, body) = body.split_first_chunk::<4>()?;
    let (&layer, body) = body.split_first()?;
    let index = body.first_chunk::<8>()?;
    let track = TrackId(u32::from_be_bytes(*track));
    Some(Name { track, layer, index: u64::from_be_bytes(*index) })
}

/// The payload without what forwarding may change.
pub(crate) fn unchangeable(kind: TrackKind, payload: &[u8]) -> &[u8] {
    match kind {
        TrackKind::Audio => payload,
        TrackKind::Video => payload.get(DESCRIPTOR_LEN..).unwrap_or_default(),
    }
}
