//! The keys that tokens are signed with.
//!
//! Owns: projects, each with keys that are bound to one algorithm each; the keys of refresh tokens.
//! Guarantees: a key verifies under its own algorithm alone; secrets are overwritten when dropped and
//! cannot be printed; no project can pass for the server or for another project.
//! Not here: where secrets are kept (`bin/incamera`), tokens (`token`).
//! Source: RFC 7515, RFC 7518 §3.2.

mod pair;
pub mod pem;
mod public;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use model::AccountData;
use ring::hmac;
use zeroize::Zeroizing;

pub use pair::KeyPair;
pub use public::{PublicKey, PublicKeys};

use crate::limits::{JWKS_KEYS_MAX, JWKS_MAX, KEY_NAME_MAX, PEM_MAX, SECRET_LEN_MIN};
use crate::rinse;

/// What no project's name begins with, so that the server's own issuers collide with none.
pub const RESERVED_PREFIX: &str = "incamera:";
/// The issuer of refresh tokens.
pub(crate) const REFRESH_ISSUER: &str = "incamera:refresh";
/// What a project's secret signs to become its key of refresh tokens. No token is like it: those have no blank.
const REFRESH_LABEL: &[u8] = b"incamera refresh key 1\0";

/// What a key signs to name itself.
const ID_LABEL: &[u8] = b"incamera key id 1\0";

/// What a project is called: an API key, or an app's id. It is the issuer of the project's tokens.
pub type ProjectName = AccountData<Box<str>>;

/// How a key signs. A token's header must name the algorithm of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256: who can verify can mint.
    Hs256,
    /// Ed25519.
    EdDsa,
    /// ECDSA over P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// The name in a token's header.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
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
    /// Longer than [`PEM_MAX`] or [`JWKS_MAX`].
    #[error("a key in PEM has at most {PEM_MAX} bytes, a key set at most {JWKS_MAX}")]
    TooLong,
    /// Not one block of PEM.
    #[error("the key is not PEM, or is cut short")]
    NotPem,
    /// PEM of something else, as a certificate.
    #[error("the PEM is of something else than the key that is wanted")]
    OtherPem,
    /// A private or a shared key where the public half is wanted: it is none of the server's business.
    #[error("this is a secret, and the server wants the public half only")]
    PrivateHalf,
    /// Neither Ed25519 nor P-256 with an uncompressed point.
    #[error("the key is neither Ed25519 nor P-256")]
    KindUnknown,
    /// Not a JSON Web Key Set, or a number in it is missing or has the wrong length.
    #[error("the key set is malformed")]
    JwksMalformed,
    /// No key, or more than [`JWKS_KEYS_MAX`].
    #[error("a key set has 1 to {JWKS_KEYS_MAX} keys")]
    JwksLength,
    /// Two keys with the same `kid`, or several of which one has none.
    #[error("each of several keys in a set needs a `kid` of its own")]
    KidAmbiguous,
    /// Its `use`, `key_ops` or `alg` say that tokens are not signed with it, or not so.
    #[error("the key is for something else, by its `use`, `key_ops` or `alg`")]
    PurposeOther,
    /// Not 32 hexadecimal digits.
    #[error("an app id and an app certificate are 32 hexadecimal digits each")]
    NotHexadecimal,
}

/// Which key a token is signed with, of all that there are. Of a secret it says no more than a token's signature does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 16]);

impl KeyId {
    /// Of a digest that is this long or longer.
    fn new(digest: &[u8]) -> Self {
        Self(digest.first_chunk().copied().unwrap_or_default())
    }

    pub(crate) const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyId(…)")
    }
}

/// A shared secret. The derived state of HMAC is made for each use, because it cannot be overwritten.
#[derive(Clone)]
pub(crate) struct Secret {
    bytes: Zeroizing<Box<[u8]>>,
    id: KeyId,
}

impl Secret {
    fn new(secret: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let id = KeyId::new(rinse::sign(&key, &[ID_LABEL]).as_ref());
        Self { bytes: Zeroizing::new(secret.into()), id }
    }

    /// The key of refresh tokens that follows from this secret and a project's name: who has the secret could mint that
    /// project's tokens anyway, and learns no other project's.
    fn refresh(&self, name: &str) -> Self {
        let parts = [REFRESH_LABEL, name.as_bytes()];
        Self::new(rinse::sign(&self.key(), &parts).as_ref())
    }

    fn key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.bytes)
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key(), message).as_ref().to_vec()
    }

    /// In time that does not depend on where a wrong signature differs.
    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        hmac::verify(&self.key(), message, signature).is_ok()
    }
}

/// An API key and its secret: what a customer's back end mints tokens with.
#[derive(Clone)]
pub struct ProjectKey {
    name: ProjectName,
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
        Ok(Self { name: checked(name)?, secret: Secret::new(secret) })
    }

    /// The API key: the issuer of its tokens.
    #[must_use]
    pub const fn name(&self) -> &ProjectName {
        &self.name
    }

    /// What tokens that it signs are [`VerifiedToken::key`](crate::token::VerifiedToken::key) of.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.secret.id
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.secret.sign(message)
    }
}

impl fmt::Debug for ProjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A project whose back end mints with private keys: the server cannot mint what it verifies.
#[derive(Clone, Debug)]
pub struct PublicProject {
    name: ProjectName,
    keys: PublicKeys,
}

impl PublicProject {
    /// `name` is the issuer of its tokens.
    ///
    /// # Errors
    /// A bad name.
    pub fn new(name: &str, keys: PublicKeys) -> Result<Self, KeyError> {
        Ok(Self { name: checked(name)?, keys })
    }
}

/// An app of Agora's and its certificate, the shared secret that its AccessToken2 tokens are signed with.
#[derive(Clone)]
pub struct App {
    id: ProjectName,
    certificate: Secret,
}

impl App {
    /// Both as the console shows them.
    ///
    /// # Errors
    /// [`KeyError::NotHexadecimal`].
    pub fn new(id: &str, certificate: &str) -> Result<Self, KeyError> {
        let is_hexadecimal =
            |text: &str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hexadecimal(id) || !is_hexadecimal(certificate) {
            return Err(KeyError::NotHexadecimal);
        }
        Ok(Self {
            id: ProjectName::new(id.into()),
            certificate: Secret::new(certificate.as_bytes()),
        })
    }

    pub(crate) const fn key_id(&self) -> KeyId {
        self.certificate.id
    }

    /// Whether the signature is right under the key that issue time and salt make of the certificate.
    pub(crate) fn verify(&self, issued: u32, salt: u32, message: &[u8], signature: &[u8]) -> bool {
        let under = |key: &[u8], message: &[u8]| {
            Zeroizing::new(
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec(),
            )
        };
        let key = under(&issued.to_le_bytes(), &self.certificate.bytes);
        let key = under(&salt.to_le_bytes(), &key);
        rinse::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key), message, signature)
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Somebody whose tokens are taken, and the one kind of token that is taken from it.
#[derive(Clone, Debug)]
pub enum Project {
    /// JSON Web Tokens under a shared secret.
    Shared(ProjectKey),
    /// JSON Web Tokens under private keys.
    Public(PublicProject),
    /// AccessToken2.
    App(App),
}

impl Project {
    /// The issuer of its tokens.
    #[must_use]
    pub const fn name(&self) -> &ProjectName {
        match self {
            Self::Shared(key) => &key.name,
            Self::Public(project) => &project.name,
            Self::App(app) => &app.id,
        }
    }

    fn has(&self, key: &KeyId) -> bool {
        match self {
            Self::Shared(shared) => shared.id() == *key,
            Self::Public(project) => project.keys.has(key),
            Self::App(app) => app.key_id() == *key,
        }
    }
}

impl From<ProjectKey> for Project {
    fn from(key: ProjectKey) -> Self {
        Self::Shared(key)
    }
}

/// The server's own key, of the tokens that clients come back with.
#[derive(Clone)]
pub struct RefreshKey {
    secret: Secret,
    /// Whether it outlasts the process, and so signs for everybody. If it does not, it signs for those alone who have
    /// no secret here that another key could follow from.
    is_lasting: bool,
}

impl RefreshKey {
    /// From 32 random bytes: ends with the process.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self { secret: Secret::new(secret), is_lasting: false }
    }

    /// From a secret that outlasts the process, or that several servers share. Its tokens are good on every server
    /// that has it.
    ///
    /// # Errors
    /// [`KeyError::SecretShort`].
    pub fn shared(secret: &[u8]) -> Result<Self, KeyError> {
        if secret.len() < SECRET_LEN_MIN {
            return Err(KeyError::SecretShort);
        }
        Ok(Self { secret: Secret::new(secret), is_lasting: true })
    }
}

impl fmt::Debug for RefreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshKey(…)")
    }
}

/// Everybody whose tokens are taken.
#[derive(Clone, Debug)]
pub struct ProjectKeys {
    projects: BTreeMap<ProjectName, Project>,
    refresh: RefreshKey,
    /// The keys of refresh tokens that follow from projects' secrets, unless `refresh` signs for all.
    derived: BTreeMap<ProjectName, RefreshKey>,
}

impl ProjectKeys {
    /// Projects of which no two have the same name.
    ///
    /// # Errors
    /// [`KeyError::NameTaken`].
    pub fn new(
        refresh: RefreshKey,
        all: impl IntoIterator<Item = Project>,
    ) -> Result<Self, KeyError> {
        let mut projects = BTreeMap::new();
        for project in all {
            if projects.insert(project.name().clone(), project).is_some() {
                return Err(KeyError::NameTaken);
            }
        }
        let derived = projects.values().filter(|_| !refresh.is_lasting).filter_map(|project| {
            let secret = match project {
                Project::Shared(key) => &key.secret,
                Project::App(app) => &app.certificate,
                Project::Public(_) => return None,
            };
            let secret = secret.refresh(project.name().expose());
            Some((project.name().clone(), RefreshKey { secret, is_lasting: true }))
        });
        let derived = derived.collect();
        Ok(Self { projects, refresh, derived })
    }

    /// Whether `key` is still one of the project's `name`: refresh tokens end with the key of their original.
    #[must_use]
    pub fn has(&self, name: &str, key: &KeyId) -> bool {
        self.projects.get(name).is_some_and(|project| project.has(key))
    }

    /// Whether a server that is started anew with the same settings takes refresh tokens whose original is signed with
    /// `key` of the project `name`.
    #[must_use]
    pub fn outlasts_process(&self, name: &str, key: &KeyId) -> bool {
        self.has(name, key) && self.refresh_of(name).is_some_and(|key| key.is_lasting)
    }

    /// Whether the refresh tokens of a project's people that `before` signed are taken here. None are where either
    /// knows no such project.
    #[must_use]
    pub fn takes_refreshed_by(&self, before: &Self, name: &str) -> bool {
        let (is, was) = (self.refresh_of(name), before.refresh_of(name));
        is.zip(was).is_some_and(|(is, was)| is.secret.bytes == was.secret.bytes)
    }

    /// The project of that name.
    #[must_use]
    pub fn project(&self, name: &str) -> Option<&Project> {
        self.projects.get(name)
    }

    pub(crate) fn app(&self, id: &str) -> Option<&App> {
        match self.projects.get(id)? {
            Project::App(app) => Some(app),
            Project::Shared(_) | Project::Public(_) => None,
        }
    }

    /// Whether whoever has the certificate of the app `id` can sign refresh tokens of its people.
    pub(crate) fn app_signs_refreshed(&self, id: &str) -> bool {
        self.derived.contains_key(id) && self.app(id).is_some()
    }

    /// What verifies the JSON Web Tokens of `issuer` that name the key `kid`.
    pub(crate) fn verifier(&self, issuer: &str, kid: Option<&str>) -> Option<Verifier<'_>> {
        match self.projects.get(issuer)? {
            Project::Shared(key) => Some(Verifier::Shared(&key.secret)),
            Project::Public(project) => project.keys.find(kid).map(Verifier::Public),
            Project::App(_) => None,
        }
    }

    /// What verifies the refresh tokens of the people of the project `name`.
    pub(crate) fn refresh_verifier(&self, name: &str) -> Option<Verifier<'_>> {
        self.refresh_of(name).map(|key| Verifier::Shared(&key.secret))
    }

    /// Signs a refresh token for somebody of the project `name`, if that is still here.
    pub(crate) fn sign_refresh(&self, name: &str, message: &[u8]) -> Option<Vec<u8>> {
        self.refresh_of(name).map(|key| key.secret.sign(message))
    }

    fn refresh_of(&self, name: &str) -> Option<&RefreshKey> {
        self.projects.get(name)?;
        Some(self.derived.get(name).unwrap_or(&self.refresh))
    }
}

/// A key in use, with the one algorithm that it is for.
pub(crate) enum Verifier<'a> {
    Shared(&'a Secret),
    Public(&'a public::Known),
}

impl Verifier<'_> {
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Shared(_) => Algorithm::Hs256,
            Self::Public(known) => known.key.algorithm(),
        }
    }

    pub(crate) fn id(&self) -> KeyId {
        match self {
            Self::Shared(secret) => secret.id,
            Self::Public(known) => known.id,
        }
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Shared(secret) => secret.verify(message, signature),
            Self::Public(known) => known.key.verify(message, signature),
        }
    }
}

/// A name that a project may have.
fn checked(name: &str) -> Result<ProjectName, KeyError> {
    if name.is_empty() || name.len() > KEY_NAME_MAX {
        return Err(KeyError::NameLength);
    }
    if name.starts_with(RESERVED_PREFIX) {
        return Err(KeyError::NameReserved);
    }
    Ok(ProjectName::new(name.into()))
}
