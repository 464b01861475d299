//! End-to-end encrypted frames and data packets, as a recorder or a client receives them.
//!
//! The key is that of `core/e2ee/vectors/vectors-hkdf.json`, so that LiveKit's own frames in the corpus open.

use std::hint::black_box;
use std::time::Duration;

use e2ee::{
    ChannelKey, Codec, Derivation, Frame, KeyIndex, KeyOptions, KeyRing, KeySize, Opener,
    SealedData, Sealer,
};

/// The slot that the vectors' key is in.
const SLOT: u8 = 5;

fn keys() -> KeyRing {
    let options = KeyOptions { ratchet_window: 2, ..KeyOptions::livekit(KeySize::Aes128) };
    let mut ring = KeyRing::new(options);
    if let Some(index) = KeyIndex::new(SLOT) {
        let bytes: Vec<u8> = (0..32).collect();
        ring.insert(index, &ChannelKey::new(Derivation::Hkdf, &bytes));
        ring.select(index);
    }
    ring
}

/// The first byte chooses the codec, the rest is a frame: opened twice as a sealed one, then sealed as a
/// plain one and opened.
pub(super) fn frame(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    let codec = match choice % 5 {
        0 => Codec::Opus,
        1 => Codec::Vp8,
        2 => Codec::Vp9,
        3 => Codec::H264,
        _ => Codec::H265,
    };
    let (mut sealer, mut opener) = (Sealer::new(keys(), 0), Opener::new(keys(), b"injected"));
    let mut out = Vec::new();
    for now in [Duration::ZERO, Duration::MAX] {
        black_box(opener.open_frame(codec, bytes, now, &mut out).is_ok());
    }
    let mut sealed = Vec::new();
    let frame = Frame { codec, ssrc: 1, rtp_timestamp: 1, bytes };
    if sealer.seal_frame(&frame, &mut sealed).is_ok() {
        black_box(opener.open_frame(codec, &sealed, Duration::ZERO, &mut out).is_ok());
    }
}

/// Key index, 12 bytes of IV and the rest, opened twice.
pub(super) fn data(data: &[u8]) {
    let Some((key_index, rest)) = data.split_first() else { return };
    let (iv, value) = rest.split_at_checked(12).unwrap_or((rest, &[]));
    let mut opener = Opener::new(keys(), &[]);
    for _ in 0..2 {
        let sealed = SealedData { key_index: (*key_index).into(), iv, value };
        black_box(opener.open_data(&sealed, &mut Vec::new()).is_ok());
    }
}
