//! The other end: a transport that begins. Only load clients are one.

use std::net::SocketAddr;

use model::Timestamp;
use str0m::channel::ChannelConfig;
use str0m::net::Protocol;
use str0m::{Candidate, RtcConfig};

use super::{Peer, PeerError, Remote, creds};
use crate::limits::OUTPUTS_PER_INPUT_MAX;
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
        let candidate = |address| {
            Candidate::host(address, Protocol::Udp).map_err(|_| PeerError::Address(address))
        };
        rtc.add_local_candidate(candidate(address)?);
        rtc.add_remote_candidate(candidate(server)?);
        let mut api = rtc.direct_api();
        api.set_remote_fingerprint(str0m::crypto::Fingerprint {
            hash_func: remote.fingerprint.algorithm.to_string(),
            bytes: remote.fingerprint.bytes.clone(),
        });
        api.set_remote_ice_credentials(creds(&remote.ice));
        api.set_ice_controlling(true);
        api.start_dtls(true).map_err(PeerError::Dtls)?;
        api.start_sctp(true);
        for label in CHANNELS {
            api.create_data_channel(ChannelConfig { label: label.into(), ..Default::default() });
        }
        Ok(Self {
            rtc,
            keys: Some(keys),
            channels: Vec::new(),
            origin: factory.instant(Timestamp::ZERO),
            outputs: OUTPUTS_PER_INPUT_MAX,
            closed: false,
            told_closed: false,
        })
    }
}
