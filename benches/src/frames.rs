//! What end-to-end encryption of a frame costs a client or a recorder.

use std::hint::black_box;
use std::time::Duration;

use e2ee::{
    ChannelKey, Codec, Derivation, Frame, KeyIndex, KeyOptions, KeyRing, KeySize, Opener, Sealer,
};

use crate::figure::{Figure, Rounds, Spent};

const ROUNDS: usize = 50;
const FRAMES: usize = 200;
/// A picture of 4 Mbit/s at 30 frames.
const PICTURE_LEN: usize = 16_000;

/// Sealing and opening frames of one codec.
pub(crate) struct Outcome {
    /// Into a buffer that is lent.
    pub(crate) seal: Figure,
    /// The same frames, in order.
    pub(crate) open: Figure,
}

/// Seals and opens frames of the same size, with AES-128.
pub(crate) fn measure(codec: Codec) -> Outcome {
    let keys = || {
        let mut keys = KeyRing::new(KeyOptions::livekit(KeySize::Aes128));
        keys.insert(KeyIndex::default(), &ChannelKey::new(Derivation::Hkdf, &[7; 32]));
        keys
    };
    let (mut sealer, mut opener) = (Sealer::new(keys(), 0), Opener::new(keys(), &[]));
    // A delta frame of H.264; any bytes are one of VP9.
    let mut plain = vec![0x9a; PICTURE_LEN];
    plain[..5].copy_from_slice(&[0, 0, 0, 1, 0x41]);
    let mut sealed = vec![Vec::new(); FRAMES];
    let mut opened = Vec::new();
    let (mut seal, mut open) = (Rounds::default(), Rounds::default());
    for round in 0..=ROUNDS {
        let (mut sealing, mut opening) = (Spent::default(), Spent::default());
        sealing.on(|| {
            for (number, out) in sealed.iter_mut().enumerate() {
                let rtp_timestamp = 3000 * (round * FRAMES + number) as u32;
                let frame = Frame { codec, ssrc: 1, rtp_timestamp, bytes: &plain };
                sealer.seal_frame(&frame, out).expect("a good frame");
            }
        });
        opening.on(|| {
            for frame in &sealed {
                let now = Duration::ZERO;
                opener.open_frame(codec, frame, now, &mut opened).expect("sealed above");
                black_box(&opened);
            }
        });
        // The first round grows the buffers and makes the state of the RTP stream.
        if round > 0 {
            seal.push(sealing, FRAMES);
            open.push(opening, FRAMES);
        }
    }
    Outcome { seal: seal.figure(), open: open.figure() }
}
