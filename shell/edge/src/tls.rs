//! What the server proves itself with to those who connect: a certificate and its key.
//!
//! Owns: which versions, ciphers and protocols are spoken; whether key and certificate are a pair.
//! Guarantees: TLS 1.2 and 1.3 alone; no TLS session is resumed, so that nothing of a connection outlives it.
//! Not here: names and times of certificates (`settings`), reading files and when to read them again (the
//! command line), handshakes (`listener`).
//! Source: RFC 8446, RFC 9325.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{Error, ServerConfig};

/// The only protocol inside: a WebSocket begins as HTTP/1.1.
const PROTOCOL: &[u8] = b"http/1.1";

/// A certificate chain and its key, ready to be shown to clients.
#[derive(Clone)]
pub struct CertifiedKey {
    config: Arc<ServerConfig>,
}

impl fmt::Debug for CertifiedKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CertifiedKey").finish_non_exhaustive()
    }
}

/// Why a key and a certificate cannot be served with. The operator's fault.
#[derive(Debug, thiserror::Error)]
pub enum CertifiedKeyError {
    /// No `PRIVATE KEY` of any kind.
    #[error("holds no private key in PEM")]
    NoKey,
    /// A server that starts by itself has nobody to ask for the passphrase.
    #[error(
        "holds a key under a passphrase: store it without one, readable by the server's user alone"
    )]
    Encrypted,
    /// The certificate is of another key.
    #[error("is not the key of this certificate")]
    OtherKey,
    /// A kind of key that TLS does not sign with, or a certificate that is none.
    #[error("cannot be served with")]
    Unsuitable(#[source] Error),
}

impl CertifiedKey {
    /// Takes the server's certificate and those between it and the root, and the key as PEM (PKCS #8, PKCS #1
    /// or SEC 1).
    ///
    /// # Errors
    /// See [`CertifiedKeyError`]; each is about the key.
    pub fn new(chain: Vec<Vec<u8>>, key: &str) -> Result<Self, CertifiedKeyError> {
        if key.contains("-----BEGIN ENCRYPTED PRIVATE KEY")
            || key.contains("Proc-Type: 4,ENCRYPTED")
        {
            return Err(CertifiedKeyError::Encrypted);
        }
        let key =
            PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| CertifiedKeyError::NoKey)?;
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(CertifiedKeyError::Unsuitable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| {
                if matches!(error, Error::InconsistentKeys(_)) {
                    CertifiedKeyError::OtherKey
                } else {
                    CertifiedKeyError::Unsuitable(error)
                }
            })?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { config: Arc::new(config) })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// What a listener speaks TLS with.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Shown to whoever connects from now on.
    pub certified: watch::Receiver<CertifiedKey>,
    /// A certificate in PEM that is given in the clear to whoever asks for `/ca.pem`: that of an authority of
    /// one's own, which a phone must be told to trust.
    pub authority: Option<Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Vec<u8>, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        (certificate, pem(key.serialized_der()))
    }

    fn pem(der: &[u8]) -> String {
        use base64::Engine as _;
        let base64 = base64::prelude::BASE64_STANDARD.encode(der);
        format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n")
    }

    #[test]
    fn a_key_serves_with_its_own_certificate_and_with_no_other() {
        let ((one, key), (other, _)) = (pair(), pair());
        assert!(CertifiedKey::new(vec![one.clone()], &key).is_ok());
        let check = |certificate: &[u8], key: &str| {
            CertifiedKey::new(vec![certificate.to_vec()], key).unwrap_err()
        };
        assert!(matches!(check(&other, &key), CertifiedKeyError::OtherKey));
        assert!(matches!(check(&one, "no key"), CertifiedKeyError::NoKey));
        let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert!(matches!(check(&one, &encrypted), CertifiedKeyError::Encrypted));
        assert!(matches!(check(b"none", &key), CertifiedKeyError::Unsuitable(_)));
        assert!(matches!(check(&one, &pem(b"none")), CertifiedKeyError::Unsuitable(_)));
    }
}
