//! Every bound that a remote party can drive, with its reckoning.

use std::time::Duration;

// SRTP.

/// Packets behind the highest that SRTP still accepts, each once: 0.8 s of a 10 Mbit/s picture, 20 s of sound.
pub const REPLAY_WINDOW_PACKETS: usize = 1024;
/// The window as 64-bit words, one more because the highest word is only partly used.
pub const REPLAY_WINDOW_WORDS: usize = REPLAY_WINDOW_PACKETS / 64 + 1;
/// Streams of one session that have a replay window: 64 m-lines of three layers with their retransmissions.
/// 160 bytes each, 60 KiB at most for SRTP and for SRTCP; a usual peer has ten.
pub const SRTP_STREAMS_MAX: usize = 64 * 3 * 2;

// RTCP.

/// Report blocks of one report: the count is five bits.
pub const REPORT_BLOCKS_MAX: usize = 31;

// Repair.

/// Sequence numbers that a received RTP stream remembers: a power of two that divides 2^16.
/// 1,024 packets are 1.8 s of a 5 Mbit/s picture, longer than a repair is of use; 128 bytes as a bitmap.
pub const NACK_WINDOW: u16 = 1024;
/// Packets asked for at once per received RTP stream: a quarter of the window, 4 KiB. More missing
/// than this wants a key frame.
pub const NACK_MISSING_MAX: usize = 256;
/// Requests for one packet. At 20 % loss each way (36 % per attempt) six leave 0.2 % unrepaired.
pub const NACK_TRIES_MAX: u8 = 6;
/// Items of one poll: each covers 17 numbers of the window.
pub const NACK_ITEMS_MAX: usize = (NACK_WINDOW as usize).div_ceil(17);
/// Packets that one subscription can send again: 1,024 are 1.8 s at 5 Mbit/s.
pub const RESEND_RING_MAX: usize = 1024;
/// What a subscription can send again for sure, while its ring has room: a round trip to the next
/// continent. One that is asked later grows.
pub const RESEND_TIME_MIN: Duration = Duration::from_millis(150);
/// How old a packet may be that is sent once more: what is older is of no use to a call, and may have to wait for a
/// connection.
pub const RESEND_AGE_MAX: Duration = Duration::from_secs(2);
/// Resends of one packet to one subscriber: at 10 % loss three leave 0.01 % unrepaired, and a request that is lost
/// costs none. A publisher's own patience is [`NACK_TRIES_MAX`].
pub const RESEND_TRIES_MAX: u8 = 3;

// Congestion feedback.

/// Arrivals remembered until they are reported: a power of two. 1,024 packets in 50 ms would be 180 Mbit/s.
pub const ARRIVALS_MAX: usize = 1024;
/// Packets that one feedback spans.
pub const FEEDBACK_SPAN_MAX: usize = 512;
/// Bytes of the largest feedback that we write: header, two-bit vectors of 7 packets, two bytes per packet.
/// 1,180 fit one datagram with RTCP and SRTCP around them.
pub const FEEDBACK_LEN_MAX: usize = 8 + 2 * FEEDBACK_SPAN_MAX.div_ceil(7) + 2 * FEEDBACK_SPAN_MAX;
/// Sent packets remembered per subscriber until feedback covers them, at most: a power of two that divides
/// 2^16. 2,048 packets are 1.6 s at 12 Mbit/s; 16 KiB.
pub const SEND_HISTORY: u16 = 2048;
/// What is remembered for sure, while there is room: feedback comes every 0.25 s at the latest (libwebrtc's
/// longest interval), and a round trip to another continent later.
pub const SEND_HISTORY_TIME: Duration = Duration::from_millis(500);
/// Packets that a received feedback may span: no more than are remembered, so that 20 hostile bytes
/// cost 2,048 steps and not 65,535.
pub const FEEDBACK_STATUS_MAX: u16 = SEND_HISTORY;

// Codecs.

/// Frames of one VP8 source whose fate and picture id a subscription remembers: half the space of a
/// 7-bit picture id, so that none is taken for another; 2 s at 30 frames. 384 bytes.
pub const VP8_FRAMES: u16 = 64;
