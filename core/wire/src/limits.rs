//! Bounds on everything that a remote party can make this crate do.

// Session descriptions. The largest real offer seen, Chromium with 40 sections, has 230 kB in 6,000 lines.

/// Bytes of an offer.
pub const SDP_MAX: usize = 1 << 20;
/// Bytes of a line. The longest known is `a=sctp-init` of libwebrtc's native clients, under 1 KiB.
pub const SDP_LINE_MAX: usize = 8 << 10;
/// Sections of an offer: 63 tracks and the data channels.
pub const SDP_SECTIONS_MAX: usize = 64;
/// Payload types of a section: as many as there are numbers. Chromium offers 40.
pub const SDP_PAYLOADS_MAX: usize = 128;
/// Feedback lines of a section that mean something to us: five kinds for each payload type.
pub const SDP_FEEDBACK_MAX: usize = 5 * SDP_PAYLOADS_MAX;
/// `a=extmap` lines of a section. Chromium offers 13.
pub const SDP_EXTENSIONS_MAX: usize = 32;
/// SSRCs of a section: three layers, each with a retransmission stream, leave room for others' habits.
pub const SDP_SSRCS_MAX: usize = 32;
/// Rids of a section. LiveKit's clients send three.
pub const SDP_RIDS_MAX: usize = 8;
/// Characters of a rid: the payload of a one-byte header extension.
pub const RID_MAX: usize = 16;
/// Characters of a mid: the payload of a one-byte header extension.
pub const MID_MAX: usize = 16;
/// Characters of an encoding name; the longest in use is `telephone-event`.
pub const SDP_NAME_MAX: usize = 32;
/// Characters of the parameters of one payload type, which answers repeat.
pub const SDP_FMTP_MAX: usize = 512;
/// Characters of a stream's or track's id. Browsers use UUIDs.
pub const MSID_MAX: usize = 256;
/// Characters of a ufrag (RFC 8839 §5.4).
pub const ICE_UFRAG_LEN: std::ops::RangeInclusive<usize> = 4..=256;
/// Characters of an ICE password (RFC 8839 §5.4).
pub const ICE_PWD_LEN: std::ops::RangeInclusive<usize> = 22..=256;
/// The SCTP port of every WebRTC client, and ours.
pub const SCTP_PORT: u16 = 5000;
/// Bytes of a data channel message that a peer takes who does not say (RFC 8841 §6.1).
pub const SCTP_MESSAGE_DEFAULT: u64 = 64 << 10;
/// Tracks announced by AddTrack whose section has not been offered yet (LiveKit: 20).
pub const ANNOUNCED_MAX: usize = 20;
/// Subscriptions of one session, placed or waiting for a section.
pub const SUBSCRIPTIONS_MAX: usize = 4096;
