//! What the server proves itself with to those who connect: a certificate and its key.
//!
//! Owns: which versions, ciphers and protocols are spoken; whether key and certificate are a pair; who is shown
//! which certificate.
//! Guarantees: TLS 1.2 and 1.3 alone; no TLS session is resumed, so that nothing of a connection outlives it; a
//! certificate by which an authority recognises a name is shown to nobody who does not ask for it.
//! Not here: names and times of certificates (`settings`), reading files and when to read them again, asking an
//! authority (the command line), handshakes (`listener`).
//! Source: RFC 8446, RFC 9325; RFC 8737 for an authority's challenge.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, NoServerSessionStorage, WantsServerCert};
use tokio_rustls::rustls::sign::{self, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ConfigBuilder, Error, ServerConfig};

use crate::metrics::Metrics;

/// The only protocol inside: a WebSocket begins as HTTP/1.1.
const PROTOCOL: &[u8] = b"http/1.1";
/// What an authority says that asks whether a name is ours (RFC 8737 §6.2); inside nothing is said.
const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";

/// A certificate chain and its key, ready to be shown to clients.
#[derive(Clone)]
pub struct CertifiedKey {
    config: Arc<ServerConfig>,
    /// The server's own certificate, by which it is known again.
    leaf: Arc<[u8]>,
    /// The last second in which all of it holds, in Unix time.
    valid_to: u64,
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
    /// Takes the server's certificate and those between it and the root, the key as PEM (PKCS #8, PKCS #1 or
    /// SEC 1), and the last second in which they hold, in Unix time, which is not looked for in them.
    ///
    /// # Errors
    /// See [`CertifiedKeyError`]; each is about the key.
    pub fn new(chain: Vec<Vec<u8>>, key: &str, valid_to: u64) -> Result<Self, CertifiedKeyError> {
        let key = private(key)?;
        let leaf = chain.first().map(|leaf| Arc::from(leaf.as_slice())).unwrap_or_default();
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let config = builder()?.with_single_cert(chain, key).map_err(|error| {
            if matches!(error, Error::InconsistentKeys(_)) {
                CertifiedKeyError::OtherKey
            } else {
                CertifiedKeyError::Unsuitable(error)
            }
        })?;
        Ok(Self { config: finished(config, PROTOCOL), leaf, valid_to })
    }

    /// Takes a certificate that is shown to an authority which asks whether a name is ours, and to nobody else. It
    /// has an extension that clients must not understand, so it is not looked at here.
    ///
    /// # Errors
    /// See [`CertifiedKeyError`]; that both belong together is not made sure.
    pub fn for_challenge(certificate: Vec<u8>, key: &str) -> Result<Self, CertifiedKeyError> {
        let key = default_provider().key_provider.load_private_key(private(key)?);
        let key = key.map_err(CertifiedKeyError::Unsuitable)?;
        let pair = sign::CertifiedKey::new(vec![CertificateDer::from(certificate)], key);
        let config = builder()?.with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        let config = finished(config, CHALLENGE_PROTOCOL);
        Ok(Self { config, leaf: Arc::default(), valid_to: u64::MAX })
    }

    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

fn private(key: &str) -> Result<PrivateKeyDer<'static>, CertifiedKeyError> {
    if key.contains("-----BEGIN ENCRYPTED PRIVATE KEY") || key.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(CertifiedKeyError::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| CertifiedKeyError::NoKey)
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsServerCert>, CertifiedKeyError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(CertifiedKeyError::Unsuitable)?;
    Ok(builder.with_no_client_auth())
}

fn finished(mut config: ServerConfig, protocol: &[u8]) -> Arc<ServerConfig> {
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// What is shown to those who connect from now on.
#[derive(Clone, Debug)]
pub struct Shown {
    certified: CertifiedKey,
    standing: Standing,
    challenges: Challenges,
}

/// Who vouches for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Somebody whom clients may believe.
    Vouched,
    /// Nobody: it stands there until an authority's comes, and under it is said that there is none yet.
    Awaiting,
}

/// What an authority is answered that asks whether names are this server's.
#[derive(Clone, Debug, Default)]
pub struct Challenges {
    /// Over TLS: the certificate by name.
    pub sealed: BTreeMap<String, CertifiedKey>,
    /// Over HTTP in the clear: the text by token (RFC 8555 §8.3).
    pub clear: BTreeMap<String, String>,
}

/// Who begins a TLS connection, and what they are shown.
pub(crate) enum Asker {
    /// Who wants to be served.
    Client(CertifiedKey, Standing),
    /// An authority, which is shown its answer and says nothing.
    Authority(Arc<ServerConfig>),
}

impl Shown {
    /// A certificate of somebody's.
    #[must_use]
    pub fn new(certified: CertifiedKey) -> Self {
        Self { certified, standing: Standing::Vouched, challenges: Challenges::default() }
    }

    /// One of nobody's.
    #[must_use]
    pub fn awaiting(placeholder: CertifiedKey) -> Self {
        Self { standing: Standing::Awaiting, ..Self::new(placeholder) }
    }

    /// The same, with other answers for an authority.
    #[must_use]
    pub fn answering(self, challenges: Challenges) -> Self {
        Self { challenges, ..self }
    }

    /// Whether clients are shown this certificate, and not another.
    pub(crate) fn has(&self, certified: &CertifiedKey) -> bool {
        self.certified.leaf == certified.leaf
    }

    /// When the certificate ends, in Unix time, if it is somebody's.
    pub(crate) fn valid_to(&self) -> Option<u64> {
        (self.standing == Standing::Vouched).then_some(self.certified.valid_to)
    }

    /// What an authority is answered over HTTP.
    pub(crate) fn in_the_clear(&self, token: &str) -> Option<&str> {
        self.challenges.clear.get(token).map(String::as_str)
    }

    pub(crate) fn to(&self, hello: &ClientHello<'_>) -> Asker {
        let mut protocols = hello.alpn().into_iter().flatten();
        let is_challenge =
            protocols.next() == Some(CHALLENGE_PROTOCOL) && protocols.next().is_none();
        let asked = hello.server_name().filter(|_| is_challenge);
        match asked.and_then(|name| self.challenges.sealed.get(&name.to_ascii_lowercase())) {
            Some(answer) => Asker::Authority(Arc::clone(&answer.config)),
            None => Asker::Client(self.certified.clone(), self.standing),
        }
    }
}

/// The way to change what is shown, while the server runs.
#[derive(Clone, Debug)]
pub struct Showing {
    shown: watch::Sender<Shown>,
    metrics: Arc<Metrics>,
}

impl Showing {
    pub(crate) const fn new(shown: watch::Sender<Shown>, metrics: Arc<Metrics>) -> Self {
        Self { shown, metrics }
    }

    /// From now on this is shown to those who connect; those who are there notice nothing.
    pub fn show(&self, certified: CertifiedKey) {
        self.shown.send_modify(|shown| {
            (shown.certified, shown.standing) = (certified, Standing::Vouched);
        });
    }

    /// From now on an authority is answered this, and nothing else.
    pub fn answer(&self, challenges: Challenges) {
        self.shown.send_modify(|shown| shown.challenges = challenges);
    }

    /// The server's counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

/// What a listener speaks TLS with.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Shown to whoever connects from now on.
    pub shown: watch::Receiver<Shown>,
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
        assert!(CertifiedKey::new(vec![one.clone()], &key, 0).is_ok());
        let check = |certificate: &[u8], key: &str| {
            CertifiedKey::new(vec![certificate.to_vec()], key, 0).unwrap_err()
        };
        assert!(matches!(check(&other, &key), CertifiedKeyError::OtherKey));
        assert!(matches!(check(&one, "no key"), CertifiedKeyError::NoKey));
        let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert!(matches!(check(&one, &encrypted), CertifiedKeyError::Encrypted));
        assert!(matches!(check(b"none", &key), CertifiedKeyError::Unsuitable(_)));
        assert!(matches!(check(&one, &pem(b"none")), CertifiedKeyError::Unsuitable(_)));
    }
}
