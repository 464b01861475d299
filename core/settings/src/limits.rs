//! Bounds on the files, so that a wrong one cannot fill the memory of a running server.

use wire::limits::REVOCATIONS_MAX;

/// Bytes of a settings file. A `livekit.yaml` with every key explained has 20 KiB; a hundred key sets fit.
pub const SETTINGS_MAX: usize = 1 << 20;
/// Bytes of a revocation file: a token's id takes 70.
pub const REVOCATION_FILE_MAX: usize = REVOCATIONS_MAX * 128;
/// Values of a file: a revocation has up to five. In memory each takes 100 bytes.
pub const NODES_MAX: usize = 6 * REVOCATIONS_MAX;
/// Revocations that stand though the file says them no more: as many as a file has, so that what it said last is held
/// in whole. With a file that is full they take 20 MiB more.
pub const GONE_MAX: usize = REVOCATIONS_MAX;
/// Depth of lists and maps. A `livekit.yaml` has four.
pub const DEPTH_MAX: usize = 8;
/// Certificates of a chain: the server's, and more between it and the root than any authority has.
pub const CHAIN_MAX: usize = 8;
/// Addresses to listen at, and as many to advertise: a media worker waits for sixteen descriptors, of which
/// some are not sockets.
pub const ADDRESSES_MAX: usize = 8;
/// Names of a certificate that an authority is asked for: Let's Encrypt's stricter profiles take as many.
pub const DOMAINS_MAX: usize = 25;
/// Bytes of an e-mail address (RFC 5321 §4.5.3.1.3, without its brackets).
pub const EMAIL_MAX: usize = 254;
/// Failed attempts to get a certificate that are remembered: after six the wait grows no more.
pub const FAILURES_MAX: usize = 8;
