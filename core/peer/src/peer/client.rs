//! The other end: a transport that begins. Only load clients are one.

use model::{Path, Timestamp};

use super::{Peer, PeerError, Remote};
use crate::dtls::Dtls;
use crate::{IceCredentials, PeerFactory};

/// The data channels that LiveKit's clients open.
const CHANNELS: &[&str] = &["_reliable", "_lossy"];

impl Peer {
    /// An active transport (ICE controlling, DTLS client) over `server`, the path to a server.
    ///
    /// # Errors
    /// The world's fault: DTLS does not start.
    pub fn client(
        factory: &PeerFactory,
        local: &IceCredentials,
        remote: &Remote,
        server: Path,
        now: Timestamp,
    ) -> Result<Self, PeerError> {
        let expected = remote.fingerprint.clone();
        let dtls = Dtls::client(&factory.identity, expected, factory.instant(now))?;
        let mut peer = Self::begin(factory, local, remote, dtls, Some(server), now);
        peer.wanted = CHANNELS;
        Ok(peer)
    }
}
