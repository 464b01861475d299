//! The other end: a transport that begins. Only load clients are one.

use std::net::SocketAddr;

use model::Timestamp;
use str0m::RtcConfig;
use str0m::channel::ChannelConfig;

use super::{Peer, PeerError, Remote, candidate, creds};
use crate::tap::with_slot;
use crate::{IceCredentials, PeerFactory};

/// The data channels that LiveKit's clients open.
const CHANNELS: [&str; 2] = ["_reliable", "_lossy"];

impl Peer {
    /// An active transport (ICE controlling, DTLS client) at `address`, which is not unspecified, to
    /// a server at `server`.
    ///
    /// # Errors
    /// The caller's fault: an unusable address. The world's: DTLS does not start.
    pub fn client(
        factory: &PeerFactory,
        address: SocketAddr,
        local: &IceCredentials,
        remote: &Remote,
        server: SocketAddr,
        now: Timestamp,
    ) -> Result<Self, PeerError> {
        let config = RtcConfig::new()
            .set_crypto_provider(factory.provider.clone())
            .set_dtls_cert(factory.certificate.clone())
            .set_local_ice_credentials(creds(local))
            .set_stats_interval(None);
        let (mut rtc, keys) = with_slot(|| config.build(factory.instant(now)));
        rtc.add_local_candidate(candidate(address)?);
        rtc.add_remote_candidate(candidate(server)?);
        let mut peer = Self::begin(factory, rtc, keys, remote, true)?;
        let mut api = peer.rtc.direct_api();
        for label in CHANNELS {
            api.create_data_channel(ChannelConfig { label: label.into(), ..Default::default() });
        }
        Ok(peer)
    }
}
