//! Bounds on everything that a remote party can make this crate do.

// What a participant can make Control remember.

/// Tracks of one participant that were announced and whose media has not been negotiated (LiveKit: 20).
pub const PENDING_MAX: usize = 20;
/// Tracks of one participant, pending ones included: a session description has 64 sections at most,
/// one of them the data channels'.
pub const PUBLICATIONS_MAX: usize = 63;
/// Bytes of the client's own name for a track. Browsers use UUIDs, LiveKit's limit for names is 256.
pub const CID_MAX: usize = 256;
/// Bytes of a participant's display name (LiveKit: 256).
pub const NAME_MAX: usize = 256;
/// Bytes of a participant's metadata (LiveKit: 512 KiB).
pub const METADATA_MAX: usize = 512 << 10;
/// Bytes of a participant's attributes, keys and values together (LiveKit: 64 KiB).
pub const ATTRIBUTES_MAX: usize = 64 << 10;
/// Participants and tracks that one subscription permission may name: a room full of publishers, and
/// at some 40 bytes each 160 KiB.
pub const ALLOWANCES_MAX: usize = 4096;
/// Rtp streams of one track, one per spatial layer.
pub const STREAMS_MAX: usize = model::Layer::SPATIAL_MAX;
