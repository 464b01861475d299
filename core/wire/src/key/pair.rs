//! A key pair with its private half: what a customer's own code mints with, and the server never holds.
//!
//! Owns: Ed25519 and P-256 pairs, made from a caller's randomness, read from and written as PEM (PKCS #8).
//! Guarantees: the private half is overwritten when dropped and does not print.
//! Source: RFC 5958, RFC 8032, FIPS 186-5.

use std::fmt;

use ring::error::Unspecified;
use ring::rand::SecureRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use zeroize::Zeroizing;

use super::{KeyError, PublicKey, pem};

const LABEL: &str = "PRIVATE KEY";
/// Everything before the seed in the first version of PKCS #8 (RFC 8410 §7). The library writes the second,
/// in a form that OpenSSL does not read.
const ED25519_PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// Both halves.
#[derive(Clone)]
pub struct KeyPair {
    /// PKCS #8. The library's own form of a key is made for each use, because it cannot be overwritten.
    pkcs8: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

impl KeyPair {
    /// A new pair for EdDSA.
    ///
    /// # Errors
    /// [`Unspecified`] if `random` gives nothing.
    pub fn ed25519(random: &dyn SecureRandom) -> Result<Self, Unspecified> {
        let mut seed = Zeroizing::new([0; 32]);
        random.fill(&mut *seed)?;
        let pkcs8 = Zeroizing::new([&ED25519_PKCS8[..], &*seed].concat());
        Self::from_pkcs8(pkcs8, random).map_err(|_| Unspecified)
    }

    /// A new pair for ES256.
    ///
    /// # Errors
    /// [`Unspecified`] if `random` gives nothing.
    pub fn p256(random: &dyn SecureRandom) -> Result<Self, Unspecified> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, random)?;
        Self::from_pkcs8(Zeroizing::new(pkcs8.as_ref().to_vec()), random).map_err(|_| Unspecified)
    }

    /// From `-----BEGIN PRIVATE KEY-----`, as OpenSSL writes it too. `random` blinds the reckoning.
    ///
    /// # Errors
    /// [`KeyError`]: too long, not PEM, or neither an Ed25519 nor a P-256 key.
    pub fn from_pem(text: &str, random: &dyn SecureRandom) -> Result<Self, KeyError> {
        Self::from_pkcs8(pem::read(text, LABEL)?, random)
    }

    fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>, random: &dyn SecureRandom) -> Result<Self, KeyError> {
        let ed25519 = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8).ok();
        let ed25519 = ed25519.and_then(|pair| pair.public_key().as_ref().try_into().ok());
        let public = match ed25519 {
            Some(key) => PublicKey::Ed25519(key),
            None => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, random)
                        .map_err(|_| KeyError::KindUnknown)?;
                PublicKey::from_point(pair.public_key().as_ref()).ok_or(KeyError::KindUnknown)?
            }
        };
        Ok(Self { pkcs8, public })
    }

    /// PEM, as [`Self::from_pem`] reads it.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::write(LABEL, &self.pkcs8)
    }

    /// The half that the server is given.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn sign(
        &self,
        message: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<Vec<u8>, Unspecified> {
        match self.public {
            PublicKey::Ed25519(_) => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&self.pkcs8)?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
            PublicKey::P256(..) => {
                let pair = EcdsaKeyPair::from_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    &self.pkcs8,
                    random,
                )?;
                Ok(pair.sign(random, message)?.as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}
