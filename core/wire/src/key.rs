//! The keys that tokens are signed with.
//!
//! Owns: project keys, each bound to one algorithm; the server's own key for refresh tokens.
//! Guarantees: a key verifies under its own algorithm alone; secrets are overwritten when dropped and
//! cannot be printed; no project key can pass for the server's.
//! Not here: where secrets are kept (`bin/incamera`), tokens (`token`).
//! Source: RFC 7515, RFC 7518 §3.2.

use std::collections::BTreeMap;
use std::fmt;

use ring::hmac;
use zeroize::Zeroizing;

use crate::limits::{KEY_NAME_MAX, SECRET_LEN_MIN};

/// What no project key's name begins with, so that the server's own issuers collide with none.
pub const RESERVED_PREFIX: &str = "incamera:";
/// The issuer of refresh tokens.
pub(crate) const REFRESH_ISSUER: &str = "incamera:refresh";

/// How a key signs. A token's header must name the algorithm of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: who can verify can mint.
    Hs256,
}

impl Algorithm {
    /// The name in a token's header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
        }
    }
}

/// A key that cannot be used. The operator's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name is empty or longer than [`KEY_NAME_MAX`].
    #[error("the name of an API key has 1 to {KEY_NAME_MAX} bytes")]
    NameLength,
    /// The name begins with [`RESERVED_PREFIX`].
    #[error("API keys named {RESERVED_PREFIX}* are the server's own")]
    NameReserved,
    /// Two keys have the same name.
    #[error("two API keys have the same name")]
    NameTaken,
    /// The secret is shorter than [`SECRET_LEN_MIN`].
    #[error("the secret of an API key has at least {SECRET_LEN_MIN} bytes")]
    SecretShort,
}

/// What signs and verifies.
#[derive(Clone)]
enum Secret {
    /// The derived state of HMAC is made for each use, because it cannot be overwritten.
    Hs256(Zeroizing<Box<[u8]>>),
}

impl Secret {
    fn hs256(secret: &[u8]) -> Self {
        Self::Hs256(Zeroizing::new(secret.into()))
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Hs256(_) => Algorithm::Hs256,
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Hs256(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
            }
        }
    }

    /// In time that does not depend on where a wrong signature differs.
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hs256(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::verify(&key, message, signature).is_ok()
            }
        }
    }
}

/// An API key and its secret: what a customer's back end mints tokens with.
#[derive(Clone)]
pub struct ProjectKey {
    name: Box<str>,
    secret: Secret,
}

impl ProjectKey {
    /// An HS256 key.
    ///
    /// # Errors
    /// A bad name, or a secret that is too short to resist being guessed from one token.
    pub fn hs256(name: &str, secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_LEN_MIN {
            return Err(KeyError::SecretShort);
        }
        Self::hs256_short(name, secret)
    }

    /// An HS256 key whose secret may be a word, as LiveKit's `devkey`: `secret`. For development on one
    /// machine only: anybody who sees a token can find the secret.
    ///
    /// # Errors
    /// A bad name.
    pub fn hs256_short(name: &str, secret: &[u8]) -> Result<Self, KeyError> {
        if name.is_empty() || name.len() > KEY_NAME_MAX {
            return Err(KeyError::NameLength);
        }
        if name.starts_with(RESERVED_PREFIX) {
            return Err(KeyError::NameReserved);
        }
        Ok(Self { name: name.into(), secret: Secret::hs256(secret) })
    }

    /// The API key: the issuer of its tokens.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn signer(&self) -> Signer<'_> {
        Signer { issuer: &self.name, secret: &self.secret }
    }
}

impl fmt::Debug for ProjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The server's own key. Its tokens are good on every server that shares it.
#[derive(Clone)]
pub struct RefreshKey(Secret);

impl RefreshKey {
    /// From 32 random bytes.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Secret::hs256(secret))
    }
}

impl fmt::Debug for RefreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshKey(…)")
    }
}

/// Every key whose tokens are taken.
#[derive(Clone, Debug)]
pub struct ProjectKeys {
    projects: BTreeMap<Box<str>, ProjectKey>,
    refresh: RefreshKey,
}

impl ProjectKeys {
    /// Keys of which no two have the same name.
    ///
    /// # Errors
    /// [`KeyError::NameTaken`].
    pub fn new(
        refresh: RefreshKey,
        keys: impl IntoIterator<Item = ProjectKey>,
    ) -> Result<Self, KeyError> {
        let mut projects = BTreeMap::new();
        for key in keys {
            if projects.insert(key.name.clone(), key).is_some() {
                return Err(KeyError::NameTaken);
            }
        }
        Ok(Self { projects, refresh })
    }

    /// The key of that name.
    #[must_use]
    pub fn project(&self, name: &str) -> Option<&ProjectKey> {
        self.projects.get(name)
    }

    /// The key that signs for `issuer`, the server's own included.
    pub(crate) fn signer(&self, issuer: &str) -> Option<Signer<'_>> {
        if issuer == REFRESH_ISSUER {
            return Some(self.refresh_signer());
        }
        self.projects.get(issuer).map(ProjectKey::signer)
    }

    pub(crate) fn refresh_signer(&self) -> Signer<'_> {
        Signer { issuer: REFRESH_ISSUER, secret: &self.refresh.0 }
    }
}

/// A key in use, with the name that its tokens carry.
pub(crate) struct Signer<'a> {
    pub(crate) issuer: &'a str,
    secret: &'a Secret,
}

impl Signer<'_> {
    pub(crate) fn algorithm(&self) -> Algorithm {
        self.secret.algorithm()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.secret.sign(message)
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.secret.verify(message, signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    #[test]
    fn keys_that_cannot_be_trusted_are_refused() {
        assert_eq!(ProjectKey::hs256("k", &SECRET[1..]).unwrap_err(), KeyError::SecretShort);
        assert_eq!(ProjectKey::hs256("", SECRET).unwrap_err(), KeyError::NameLength);
        let long = "k".repeat(KEY_NAME_MAX + 1);
        assert_eq!(ProjectKey::hs256(&long, SECRET).unwrap_err(), KeyError::NameLength);
        for name in [REFRESH_ISSUER, "incamera:other"] {
            assert_eq!(ProjectKey::hs256(name, SECRET).unwrap_err(), KeyError::NameReserved);
            assert_eq!(ProjectKey::hs256_short(name, SECRET).unwrap_err(), KeyError::NameReserved);
        }
        let key = ProjectKey::hs256("k", SECRET).unwrap();
        let twice = ProjectKeys::new(RefreshKey::new(&[1; 32]), [key.clone(), key]);
        assert_eq!(twice.unwrap_err(), KeyError::NameTaken);
    }

    #[test]
    fn secrets_do_not_print() {
        let key = ProjectKey::hs256("the-key", SECRET).unwrap();
        let keys = ProjectKeys::new(RefreshKey::new(&[0x41; 32]), [key]).unwrap();
        let text = format!("{keys:?}");
        assert!(text.contains("the-key"));
        assert!(!text.contains("0123") && !text.contains("65, 65"), "{text}");
    }
}
