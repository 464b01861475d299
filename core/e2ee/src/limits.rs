//! Every bound that a remote party can drive, with its reckoning.

/// Keys of a ring: what LiveKit's SDKs are set to.
pub const KEY_RING_SLOTS: u8 = 16;

/// Ratchet steps that a receiver tries on a frame that does not open: the largest default among LiveKit's SDKs.
/// The steps are derived once and kept, so that hostile frames cost one derivation per step in all (31 ms each for
/// PBKDF2: half a second per slot, ever) and afterwards 17 decryptions of one frame; about 1 KiB per step.
pub const RATCHET_WINDOW_MAX: u8 = 16;

/// SSRCs of one participant that an [`Opener`](crate::Opener) remembers a window of. Only holders of the key can add
/// one. A camera in three layers, a screen in two and two sounds are seven; 64 are nine full reconnects of
/// that. 1.1 KiB each. The one that has been silent for the longest makes room for another, and keeps its newest.
pub const SOURCES_MAX: usize = 64;

/// SSRCs of one participant that it remembers anything of, so that nothing they sealed opens twice: 585 full reconnects
/// of those seven, one a minute for ten hours. 0.1 KiB each. From then on new ones are refused, until keys are changed
/// and another is made with them.
pub const SOURCES_EVER_MAX: usize = 4096;

/// Frames of one SSRC within which order may be lost: 2 s of a picture at 30 frames, 1.3 s of sound. Depacketized
/// frames come nearly in order.
pub const FRAME_REPLAY_WINDOW: usize = 64;

/// Data packets of one participant that an [`Opener`](crate::Opener) knows. Only holders of the key can add one. While
/// there are fewer, order does not matter, and a sender may begin anew as often as it likes; from then on one that does
/// is refused until its clock is past the oldest of them. A line of chat each second for 18 hours, or 50 packets a
/// second for 22 minutes. 12 bytes each, 768 KiB, taken as they come.
pub const DATA_PACKETS_KNOWN_MAX: usize = 65_536;
