//! What all peers of a process share: the DTLS identity, SCTP's settings, the clock's origin.

use std::sync::Arc;
use std::time::Instant;

use model::Timestamp;
use ring::hmac;
use ring::rand::SystemRandom;

use crate::Fingerprint;
use crate::channels::Settings;
use crate::dtls::Identity;

/// Why no peer can be made in this process.
#[derive(Debug, thiserror::Error)]
pub enum PeerFactoryError {
    /// The cryptography library failed its own check.
    #[error("the DTLS configuration failed its self-test")]
    SelfTest(#[source] dimpl::Error),
    /// No certificate could be made.
    #[error("a DTLS certificate could not be made")]
    Certificate,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

/// Makes peers. One for a process; its certificate lives as long as it does.
pub struct PeerFactory {
    pub(crate) identity: Arc<Identity>,
    pub(crate) settings: Arc<Settings>,
    /// See `ice`: what transaction ids are made with.
    pub(crate) secret: Arc<hmac::Key>,
    fingerprint: Fingerprint,
    origin: Instant,
}

impl std::fmt::Debug for PeerFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerFactory(…)")
    }
}

impl PeerFactory {
    /// `origin` is the instant of [`Timestamp::ZERO`].
    ///
    /// # Errors
    /// The world's fault: cryptography does not work on this machine.
    pub fn new(origin: Instant) -> Result<Self, PeerFactoryError> {
        let identity = Identity::new()?;
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| PeerFactoryError::Randomness)?;
        let fingerprint = identity.fingerprint();
        Ok(Self {
            identity: Arc::new(identity),
            settings: Arc::new(Settings::new()),
            secret: Arc::new(secret),
            fingerprint,
            origin,
        })
    }

    /// What the SDP answer says of our certificate.
    #[must_use]
    pub const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    pub(crate) const fn origin(&self) -> Instant {
        self.origin
    }

    pub(crate) fn instant(&self, now: Timestamp) -> Instant {
        self.origin + now.since(Timestamp::ZERO)
    }
}
