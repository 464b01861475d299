//! Every bound of a peer that the remote side can drive, with its reckoning.

/// The largest data-channel message that is received. LiveKit's clients clamp theirs to 64,000 bytes;
/// libwebrtc announces 262,144.
pub const MESSAGE_BYTES_MAX: u32 = 256 * 1024;

/// Bytes that may wait for acknowledgement over all channels of a peer: four messages of the largest
/// size that clients send, and 1 s of 2 Mbit/s.
pub const CHANNEL_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// With more than this waiting, a lossy message is dropped rather than queued: 250 ms of 2 Mbit/s.
pub const LOSSY_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Data channels that one peer may open. LiveKit's clients open three.
pub(crate) const CHANNELS_MAX: usize = 8;

/// Characters of a channel's label that are looked at.
pub(crate) const LABEL_BYTES_MAX: usize = 64;

/// Datagrams that one input can make a peer emit before the caller gets control back. A DTLS flight
/// is under ten and an SCTP burst is bounded by [`CHANNEL_BUFFER_BYTES_MAX`] / 1,100 = 238.
pub(crate) const OUTPUTS_PER_INPUT_MAX: usize = 512;
