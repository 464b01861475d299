//! The tap: a DTLS provider that hands str0m dimpl's DTLS and keeps a copy of the SRTP keys.
//!
//! Owns: the one checked dimpl configuration of the process (checking it costs 1.1 ms, far more than a
//! whole handshake's set-up) and the way by which a peer finds its keys.
//! Why a thread-local: str0m's provider is one static object for all peers and takes no context, but
//! it is called on the thread that builds the peer, inside that build.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use dimpl::{Config, Dtls, DtlsCertificate};
use rtp::srtp::{KeyingMaterial, Profile};
use str0m::crypto::CryptoError;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};

/// Where a peer's keys appear when its handshake ends. Set once.
pub(crate) type KeySlot = Arc<OnceLock<KeyingMaterial>>;

thread_local! {
    static BUILDING: RefCell<Option<KeySlot>> = const { RefCell::new(None) };
}

/// Runs `build`, which must build one `Rtc` on this thread, and ties its DTLS to a slot of its own.
pub(crate) fn with_slot<T>(build: impl FnOnce() -> T) -> (T, KeySlot) {
    let slot = KeySlot::default();
    BUILDING.with_borrow_mut(|building| *building = Some(Arc::clone(&slot)));
    let built = build();
    BUILDING.with_borrow_mut(Option::take);
    (built, slot)
}

/// str0m's DTLS provider.
#[derive(Debug)]
pub(crate) struct TapProvider {
    config: Arc<Config>,
}

impl TapProvider {
    pub(crate) fn new() -> Result<Self, dimpl::Error> {
        // No server cookie: DTLS is heard only after a binding request that shows the peer's password. A
        // limit: an ICE-lite end asks nothing itself, so that this does not show that the client receives
        // at its address; one who knows a password can have a handshake's flight sent to another's.
        let config = Config::builder().use_server_cookie(false).build()?;
        Ok(Self { config: Arc::new(config) })
    }
}

impl DtlsProvider for TapProvider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        dimpl::certificate::generate_self_signed_certificate().ok()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        // DTLS 1.3 in dimpl takes the client's first SRTP profile, which is the slow one.
        if version != DtlsVersion::Dtls12 {
            return Err(CryptoError::Other("only DTLS 1.2 is offered".into()));
        }
        let certificate = DtlsCertificate {
            certificate: cert.certificate.clone(),
            private_key: cert.private_key.clone(),
        };
        let slot = BUILDING.with_borrow_mut(Option::take);
        Ok(Box::new(Tap { dtls: Dtls::new_12(Arc::clone(&self.config), certificate, now), slot }))
    }
}

struct Tap {
    dtls: Dtls,
    slot: Option<KeySlot>,
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap(…)")
    }
}

// A peer whose code panicked is dropped whole and never entered again.
impl std::panic::UnwindSafe for Tap {}
impl std::panic::RefUnwindSafe for Tap {}

impl DtlsInstance for Tap {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.dtls.poll_output(buf);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output
            && let Some(profile) = profile_of(*profile)
            && let Ok(material) = KeyingMaterial::new(profile, material)
            && let Some(slot) = self.slot.take()
        {
            // The slot was empty: it is filled here alone, and given up with that.
            drop(slot.set(material));
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}

fn profile_of(profile: SrtpProfile) -> Option<Profile> {
    if profile == SrtpProfile::AEAD_AES_128_GCM {
        Some(Profile::AeadAes128Gcm)
    } else if profile == SrtpProfile::AEAD_AES_256_GCM {
        Some(Profile::AeadAes256Gcm)
    } else if profile == SrtpProfile::AES128_CM_SHA1_80 {
        Some(Profile::AesCm128HmacSha1_80)
    } else {
        None
    }
}
