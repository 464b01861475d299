//! What two ends of a transport tell each other in SDP.

use std::fmt;

/// ICE user name fragment and password of one end (RFC 8445 §5.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// 4 to 256 characters.
    pub ufrag: Box<str>,
    /// 22 to 256 characters; a secret.
    pub pwd: Box<str>,
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IceCredentials(…)")
    }
}

/// The digest of a DTLS certificate (RFC 8122).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Name of the hash function in SDP, as `sha-256`.
    pub algorithm: Box<str>,
    /// The digest.
    pub bytes: Vec<u8>,
}
