//! What all peers of a process share: the DTLS certificate, the crypto providers, the clock's origin.

use std::sync::Arc;
use std::time::Instant;

use model::Timestamp;
use str0m::crypto::CryptoProvider;
use str0m::crypto::dtls::{DtlsCert, DtlsProvider};

use crate::Fingerprint;
use crate::tap::TapProvider;

/// Why no peer can be made in this process.
#[derive(Debug, thiserror::Error)]
pub enum PeerFactoryError {
    /// The cryptography library failed its own check.
    #[error("the DTLS configuration failed its self-test")]
    SelfTest(#[source] dimpl::Error),
    /// No certificate could be made.
    #[error("a DTLS certificate could not be made")]
    Certificate,
}

/// Makes peers. One for a process; its certificate lives as long as it does.
pub struct PeerFactory {
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) certificate: DtlsCert,
    fingerprint: Fingerprint,
    origin: Instant,
}

impl std::fmt::Debug for PeerFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerFactory(…)")
    }
}

impl PeerFactory {
    /// `origin` is the instant of [`Timestamp::ZERO`]. The provider is leaked: str0m asks for a static
    /// one, so call this once for a process.
    ///
    /// # Errors
    /// The world's fault: the cryptography library does not work on this machine.
    pub fn new(origin: Instant) -> Result<Self, PeerFactoryError> {
        let tap: &'static TapProvider =
            Box::leak(Box::new(TapProvider::new().map_err(PeerFactoryError::SelfTest)?));
        let certificate = tap.generate_certificate().ok_or(PeerFactoryError::Certificate)?;
        let provider = CryptoProvider { dtls_provider: tap, ..str0m::crypto::from_feature_flags() };
        let digest = ring::digest::digest(&ring::digest::SHA256, &certificate.certificate);
        let fingerprint =
            Fingerprint { algorithm: "sha-256".into(), bytes: digest.as_ref().to_vec() };
        Ok(Self { provider: Arc::new(provider), certificate, fingerprint, origin })
    }

    /// What the SDP answer says of our certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    pub(crate) fn instant(&self, now: Timestamp) -> Instant {
        self.origin + now.since(Timestamp::ZERO)
    }
}
