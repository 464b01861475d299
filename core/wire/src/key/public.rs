//! Public halves of key pairs, for projects whose own code mints, so that the network cannot.
//!
//! Owns: Ed25519 and P-256 keys read from PEM (SPKI) and from JSON Web Key Sets, and written as both.
//! Guarantees: a key verifies under its own algorithm alone; a set that holds a private or a shared secret,
//! a kind of key that is not known, or a key that is not meant for signatures is refused as a whole.
//! Not here: private halves (`pair`), which set belongs to whom (`key`).
//! Source: RFC 8410 §4, RFC 5480 §2.1 (SPKI); RFC 7517, RFC 7518 §6.2, RFC 8037 §2 (JWK); RFC 7638.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, signature};
use serde::{Deserialize, Serialize};

use super::{Algorithm, KeyError, KeyId, pem};
use crate::limits::{JWKS_KEYS_MAX, JWKS_MAX, KEY_NAME_MAX};
use crate::shape;

/// Everything before the key in its only DER encoding.
const ED25519_SPKI: &[u8] =
    &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The same for an uncompressed point, up to where the point begins with a 4.
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const LABEL: &str = "PUBLIC KEY";

/// What verifies a signature and cannot make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// For EdDSA.
    Ed25519([u8; 32]),
    /// For ES256: X and Y of the point.
    P256([u8; 32], [u8; 32]),
}

/// A key as JSON has it. Members that are not here are not needed (RFC 7517 §4).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<serde::de::IgnoredAny>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    kid: Option<Box<str>>,
}

/// A key as we write it; without the last three, in this order, what its thumbprint is of.
#[derive(Serialize)]
struct JwkOut<'a> {
    crv: &'a str,
    kty: &'a str,
    x: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<&'a str>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<&'a str>,
}

impl PublicKey {
    /// From `-----BEGIN PUBLIC KEY-----`.
    ///
    /// # Errors
    /// [`KeyError`]: too long, not PEM, the private half, or neither Ed25519 nor P-256 with an uncompressed
    /// point.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = pem::read(text, LABEL)?;
        if let Some(key) = der.strip_prefix(ED25519_SPKI) {
            return key.try_into().map(Self::Ed25519).map_err(|_| KeyError::KindUnknown);
        }
        let point = der.strip_prefix(P256_SPKI).ok_or(KeyError::KindUnknown)?;
        Self::from_point(point).ok_or(KeyError::KindUnknown)
    }

    /// From an uncompressed point (SEC 1 §2.3.3).
    pub(super) fn from_point(point: &[u8]) -> Option<Self> {
        let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
        Some(Self::P256(x.try_into().ok()?, y.try_into().ok()?))
    }

    fn point(x: &[u8; 32], y: &[u8; 32]) -> [u8; 65] {
        let mut point = [4; 65];
        for (to, from) in point.iter_mut().skip(1).zip(x.iter().chain(y)) {
            *to = *from;
        }
        point
    }

    /// The one algorithm that its tokens are signed with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::P256(..) => Algorithm::Es256,
        }
    }

    /// PEM, as [`Self::from_pem`] reads it.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let der = match self {
            Self::Ed25519(key) => [ED25519_SPKI, key].concat(),
            Self::P256(x, y) => [P256_SPKI, &Self::point(x, y)].concat(),
        };
        pem::write(LABEL, &der).to_string()
    }

    /// A set of this one key, as [`PublicKeys::from_jwks`] reads it, named by its thumbprint.
    #[must_use]
    pub fn to_jwks(&self) -> String {
        let jwk = JwkOut {
            kid: Some(self.thumbprint()),
            alg: Some(self.algorithm().name()),
            usage: Some("sig"),
            ..self.jwk()
        };
        let jwk = serde_json::to_string(&jwk).expect("text prints");
        format!("{{\"keys\":[{jwk}]}}")
    }

    /// The name that a key has by what it is (RFC 7638): the `kid` of the tokens that we mint with it.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.digest())
    }

    fn digest(&self) -> digest::Digest {
        let canonical = serde_json::to_vec(&self.jwk()).expect("text prints");
        digest::digest(&digest::SHA256, &canonical)
    }

    fn jwk(&self) -> JwkOut<'static> {
        let (kty, crv, x, y) = match self {
            Self::Ed25519(key) => ("OKP", "Ed25519", key, None),
            Self::P256(x, y) => ("EC", "P-256", x, Some(URL_SAFE_NO_PAD.encode(y))),
        };
        JwkOut { crv, kty, x: URL_SAFE_NO_PAD.encode(x), y, kid: None, alg: None, usage: None }
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => signature::UnparsedPublicKey::new(&signature::ED25519, key)
                .verify(message, signature),
            Self::P256(x, y) => {
                let point = Self::point(x, y);
                signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, signature)
            }
        }
        .is_ok()
    }
}

impl Jwk {
    fn read(self) -> Result<Known, KeyError> {
        if self.d.is_some() {
            return Err(KeyError::PrivateHalf);
        }
        let number = |text: Option<String>| {
            let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(KeyError::JwksMalformed)
        };
        let key = match (self.kty.as_str(), self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => PublicKey::Ed25519(number(self.x)?),
            ("EC", Some("P-256")) => PublicKey::P256(number(self.x)?, number(self.y)?),
            ("oct", _) => return Err(KeyError::PrivateHalf),
            _ => return Err(KeyError::KindUnknown),
        };
        let is_alike = |text: &String| text == key.algorithm().name();
        let is_for_signatures = self.r#use.as_ref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|all| all.iter().any(|one| one == "verify"));
        if !is_for_signatures || !self.alg.as_ref().is_none_or(is_alike) {
            return Err(KeyError::PurposeOther);
        }
        if self.kid.as_ref().is_some_and(|kid| kid.len() > KEY_NAME_MAX) {
            return Err(KeyError::JwksMalformed);
        }
        Ok(Known::new(self.kid, key))
    }
}

/// The public keys that one project signs with: several while they rotate.
#[derive(Clone, Debug)]
pub struct PublicKeys {
    /// Never empty, at most [`JWKS_KEYS_MAX`]. No two have the same `kid`; only a lone one may have none.
    keys: Vec<Known>,
}

/// A key and its names.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    kid: Option<Box<str>>,
    pub(super) key: PublicKey,
    /// By what it is, which takes some time to tell.
    pub(super) id: KeyId,
}

impl Known {
    fn new(kid: Option<Box<str>>, key: PublicKey) -> Self {
        Self { kid, key, id: KeyId::new(key.digest().as_ref()) }
    }
}

impl PublicKeys {
    /// One key without a `kid`, which is good for tokens with any.
    #[must_use]
    pub fn one(key: PublicKey) -> Self {
        Self { keys: vec![Known::new(None, key)] }
    }

    /// From a JSON Web Key Set.
    ///
    /// # Errors
    /// [`KeyError`]: too long, no key, more than [`JWKS_KEYS_MAX`], one that is not a public Ed25519 or P-256
    /// key for signatures, or two that a token could not tell apart.
    pub fn from_jwks(text: &str) -> Result<Self, KeyError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Jwk>,
        }
        if text.len() > JWKS_MAX {
            return Err(KeyError::TooLong);
        }
        shape::check_json(text.as_bytes()).map_err(|_| KeyError::JwksMalformed)?;
        let set: Set = serde_json::from_str(text).map_err(|_| KeyError::JwksMalformed)?;
        if set.keys.is_empty() || set.keys.len() > JWKS_KEYS_MAX {
            return Err(KeyError::JwksLength);
        }
        let keys = set.keys.into_iter().map(Jwk::read).collect::<Result<Vec<_>, _>>()?;
        let mut kids: Vec<_> = keys.iter().map(|known| &known.kid).collect();
        kids.sort();
        kids.dedup();
        let is_told_apart = kids.len() == keys.len() && kids.iter().all(|kid| kid.is_some());
        if keys.len() > 1 && !is_told_apart {
            return Err(KeyError::KidAmbiguous);
        }
        Ok(Self { keys })
    }

    /// The keys, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().map(|known| &known.key)
    }

    pub(super) fn has(&self, id: &KeyId) -> bool {
        self.keys.iter().any(|known| known.id == *id)
    }

    /// The key that a token means which names `kid`; without a name, the only one.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&Known> {
        match (kid, self.keys.as_slice()) {
            (_, [only @ Known { kid: None, .. }]) | (None, [only]) => Some(only),
            (None, _) => None,
            (Some(kid), keys) => keys.iter().find(|known| known.kid.as_deref() == Some(kid)),
        }
    }
}
