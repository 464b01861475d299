//! Tokens: LiveKit's JSON Web Tokens, verified and minted; Agora's AccessToken2, verified.
//!
//! Owns: the compact form, signatures, dates, the ids of tokens, refresh tokens.
//! Guarantees: no claim is believed before the signature holds under the key that the token names and that
//! key's own algorithm; every token ends; a refresh token grants what its original granted, or can have granted if
//! that is an AccessToken2, carries its id and ends with it; no error holds any part of a token.
//! Not here: the form of AccessToken2 (`access_token2`), revocation (its lists hold [`TokenId`]s), what a
//! token admits to (`join`).
//! Source: RFC 7515, RFC 7519; LiveKit `protocol/auth/{accesstoken,verifier}.go`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::error::Unspecified;
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};

use crate::access_token2;
use crate::claims::Date;
pub use crate::claims::{Claims, RoomConfig, RoomConfigError};
use crate::grant::{Ends, Permission};
use crate::key::{Algorithm, KeyId, KeyPair, ProjectKey, ProjectKeys, ProjectName, REFRESH_ISSUER};
use crate::limits::{CHANGED_TIME_MAX_S, CLOCK_LEEWAY_S, TOKEN_MAX};
use crate::rinse;
use crate::shape::{self, ShapeError};

/// A token that is not believed. Each is the sender's fault and means the HTTP status 401.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`TOKEN_MAX`].
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of base64url, or not JSON of the right types in them, or a claim said twice.
    #[error("the token is malformed")]
    Malformed,
    /// Its JSON would cost too much to parse.
    #[error("the token {0}")]
    Shape(ShapeError),
    /// The header demands an extension (`crit`), and there is none that we understand.
    #[error("the token needs an extension")]
    Extension,
    /// No issuer.
    #[error("the token does not name its API key")]
    NoIssuer,
    /// The issuer is no API key of ours, or has no key of the name that the header gives. Also for a refresh
    /// token whose original's key is gone.
    #[error("the token is signed by an unknown API key")]
    UnknownKey,
    /// The header's algorithm is not the key's: `none`, another family's, or none that exists.
    #[error("the token is signed with an algorithm that its key does not use")]
    WrongAlgorithm,
    /// The signature does not hold.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// No `exp`: such a token would be good for ever.
    #[error("the token has no expiry")]
    NoExpiry,
    /// Past `exp` by more than [`CLOCK_LEEWAY_S`].
    #[error("the token has expired")]
    Expired,
    /// Before `nbf` by more than [`CLOCK_LEEWAY_S`].
    #[error("the token is not valid yet")]
    NotYetValid,
    /// An AccessToken2 that speaks of rooms more than once: which is meant is not said.
    #[error("the token is for more than one room")]
    SeveralRooms,
    /// It, or all that were minted for its holder before some time, is not to be believed any more.
    #[error("the token is revoked")]
    Revoked,
}

impl TokenError {
    /// Nobody who has a key of ours has signed it, or it was not looked at so far.
    #[must_use]
    pub const fn is_strangers(&self) -> bool {
        match self {
            Self::TooLong
            | Self::Malformed
            | Self::Shape(_)
            | Self::Extension
            | Self::NoIssuer
            | Self::WrongAlgorithm
            | Self::BadSignature => true,
            Self::UnknownKey
            | Self::NoExpiry
            | Self::Expired
            | Self::NotYetValid
            | Self::SeveralRooms
            | Self::Revoked => false,
        }
    }
}

/// The name of one token, of fixed size: a digest. It is in no log, since whoever guesses what a token says has it.
///
/// A token that has a `jti` is named by it and its issuer, so that two issuers cannot name each other's;
/// one that has none by what its signature covers. A refresh token has its original's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenId([u8; 32]);

impl TokenId {
    /// The id of the tokens that `issuer` named `jti`.
    #[must_use]
    pub fn of_jti(issuer: &str, jti: &str) -> Self {
        let len = u64::try_from(issuer.len()).unwrap_or(u64::MAX).to_be_bytes();
        let parts = [b"jti\0", len.as_slice(), issuer.as_bytes(), jti.as_bytes()];
        Self::from_digest(&rinse::sha256(&parts))
    }

    /// `signed` is what the signature covers: some algorithms allow several signatures, and compression
    /// several forms.
    pub(crate) fn of_signed(signed: &[u8]) -> Self {
        Self::from_digest(&rinse::sha256(&[signed]))
    }

    fn from_digest(digest: &digest::Digest) -> Self {
        let mut id = [0; 32];
        for (to, from) in id.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(id)
    }

    /// The id that prints as `text`: 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut id = [0; 32];
        if text.len() != 2 * id.len() || !is_hexadecimal {
            return None;
        }
        for (index, byte) in id.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(id))
    }

    /// The digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenId({self})")
    }
}

/// Who minted a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// The customer's back end, with a project key.
    Original,
    /// This network, from an original.
    Refresh,
}

/// A token that is believed.
#[derive(Clone, Debug)]
pub struct VerifiedToken {
    /// What it says. Its expiry is the original's for a refresh token.
    pub claims: Claims,
    /// Its name; the original's for a refresh token.
    pub id: TokenId,
    /// The API key that minted it; that minted the original for a refresh token.
    pub issuer: ProjectName,
    /// Which of the issuer's keys it is signed with; the original's for a refresh token.
    pub key: KeyId,
    /// Who minted it.
    pub kind: TokenKind,
    /// When what it grants ends; the original's for a refresh token.
    pub ends: Ends,
    /// It says more or less than it did, or than its original did, by a moderator's will.
    pub is_changed: bool,
}

impl VerifiedToken {
    /// What its holder may do in its room at the second `now`; nothing once the right to be there is gone, or
    /// if there is none.
    #[must_use]
    pub fn permission(&self, now: u64) -> Option<Permission> {
        self.ends.apply(self.claims.permission()?, now)
    }

    /// Whether one is the other again, or both are refreshed from one. The id alone does not say it: some back ends
    /// give all tokens of one person the same `jti`.
    #[must_use]
    pub fn is_of_one_with(&self, other: &Self) -> bool {
        let of = |it: &Self| {
            let claims = &it.claims;
            (it.id, it.key, it.ends, claims.expires_at, claims.issued_at, claims.not_before)
        };
        of(self) == of(other)
    }

    /// The second at which it was minted, or before which it was not good; some back ends say neither.
    #[must_use]
    pub fn issued_at(&self) -> Option<u64> {
        self.claims.issued_at.or(self.claims.not_before)
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(skip_serializing)]
    crit: Option<serde::de::IgnoredAny>,
}

/// The claims that say which key a token is signed with, and are read before the signature is checked.
#[derive(Deserialize)]
struct Issuer {
    iss: Option<String>,
    incamera: Option<OriginIssuer>,
}

/// Whose people a refresh token is for: each project has a key of its own for them.
#[derive(Deserialize)]
struct OriginIssuer {
    issuer: Box<str>,
}

#[derive(Serialize, Deserialize)]
struct Payload {
    iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<Date>,
    exp: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incamera: Option<Origin>,
    #[serde(flatten)]
    claims: Claims,
}

/// What a refresh token keeps of its original.
#[derive(Serialize, Deserialize)]
struct Origin {
    issuer: Box<str>,
    /// The original's [`KeyId`] in base64url.
    key: String,
    /// The original's [`TokenId`] in base64url.
    id: String,
    #[serde(default)]
    ends: Ends,
    /// The original's, where the token itself expires sooner. Seconds of Unix time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

impl Origin {
    fn key(&self) -> Result<KeyId, TokenError> {
        decode(&self.key)?.try_into().map(KeyId::from_bytes).map_err(|_| TokenError::Malformed)
    }

    fn id(&self) -> Result<TokenId, TokenError> {
        decode(&self.id)?.try_into().map(TokenId).map_err(|_| TokenError::Malformed)
    }
}

/// Verifies `token` at the Unix second `now`. O(its length).
///
/// # Errors
/// See [`TokenError`]; nothing of the token is in it.
pub fn verify(keys: &ProjectKeys, token: &str, now: u64) -> Result<VerifiedToken, TokenError> {
    if token.len() > TOKEN_MAX {
        return Err(TokenError::TooLong);
    }
    if let Some(token) = token.strip_prefix(access_token2::VERSION) {
        return access_token2::verify(keys, token, now);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let header: Header = parse(&decode(header)?)?;
    let payload = decode(payload)?;
    let Issuer { iss, incamera } = parse(&payload)?;
    let issuer = iss.ok_or(TokenError::NoIssuer)?;

    let verifier = if issuer == REFRESH_ISSUER {
        keys.refresh_verifier(&incamera.ok_or(TokenError::Malformed)?.issuer)
    } else {
        keys.verifier(&issuer, header.kid.as_deref())
    };
    let verifier = verifier.ok_or(TokenError::UnknownKey)?;
    if header.alg != verifier.algorithm().name() {
        return Err(TokenError::WrongAlgorithm);
    }
    if header.crit.is_some() {
        return Err(TokenError::Extension);
    }
    if !verifier.verify(signed.as_bytes(), &decode(signature)?) {
        return Err(TokenError::BadSignature);
    }

    let payload: Payload = parse(&payload)?;
    let mut token = believe(payload, &issuer, verifier.id(), signed, now)?;
    if token.kind == TokenKind::Refresh {
        if !keys.has(token.issuer.expose(), &token.key) {
            return Err(TokenError::UnknownKey);
        }
        if keys.app_signs_refreshed(token.issuer.expose()) {
            token.claims = access_token2::restated(token.claims, token.ends);
        }
    }
    Ok(token)
}

/// Judges what is signed: dates, and for a refresh token its origin.
fn believe(
    payload: Payload,
    issuer: &str,
    key: KeyId,
    signed: &str,
    now: u64,
) -> Result<VerifiedToken, TokenError> {
    let Date(mut expires_at) = payload.exp.ok_or(TokenError::NoExpiry)?;
    if now >= expires_at.saturating_add(CLOCK_LEEWAY_S) {
        return Err(TokenError::Expired);
    }
    let not_before = payload.nbf.map(|Date(second)| second);
    if not_before.is_some_and(|second| now.saturating_add(CLOCK_LEEWAY_S) < second) {
        return Err(TokenError::NotYetValid);
    }

    let jti = payload.jti.filter(|jti| !jti.is_empty());
    let (mut ends, mut is_changed) = (Ends::default(), false);
    let (kind, issuer, key, id) = if issuer == REFRESH_ISSUER {
        let origin = payload.incamera.ok_or(TokenError::Malformed)?;
        ends = origin.ends;
        is_changed = origin.expires_at.is_some();
        expires_at = origin.expires_at.unwrap_or(expires_at);
        if ends.join.is_some_and(|end| end <= now) {
            return Err(TokenError::Expired);
        }
        let (key, id) = (origin.key()?, origin.id()?);
        (TokenKind::Refresh, origin.issuer, key, id)
    } else {
        let id = match &jti {
            Some(jti) => TokenId::of_jti(issuer, jti),
            None => TokenId::of_signed(signed.as_bytes()),
        };
        (TokenKind::Original, Box::from(issuer), key, id)
    };

    let identity = payload.sub.filter(|sub| !sub.is_empty()).or_else(|| jti.clone());
    let claims = Claims {
        identity: identity.unwrap_or_default(),
        token_name: jti,
        issued_at: payload.iat.map(|Date(second)| second),
        not_before,
        expires_at,
        ..payload.claims
    };
    Ok(VerifiedToken { claims, id, issuer: ProjectName::new(issuer), key, kind, ends, is_changed })
}

/// The id that a token will have if it is believed, for whoever revokes it and has no key to verify it with.
///
/// # Errors
/// [`TokenError`] if it is too long or malformed.
pub fn claimed_id(token: &str) -> Result<TokenId, TokenError> {
    if token.len() > TOKEN_MAX {
        return Err(TokenError::TooLong);
    }
    if let Some(token) = token.strip_prefix(access_token2::VERSION) {
        return access_token2::claimed_id(token);
    }
    let (signed, _) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
    let (_, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
    let payload: Payload = parse(&decode(payload)?)?;
    let issuer = payload.iss.ok_or(TokenError::NoIssuer)?;
    match (payload.incamera, payload.jti.filter(|jti| !jti.is_empty())) {
        (Some(origin), _) if issuer == REFRESH_ISSUER => origin.id(),
        (_, Some(jti)) => Ok(TokenId::of_jti(&issuer, &jti)),
        (_, None) => Ok(TokenId::of_signed(signed.as_bytes())),
    }
}

/// Mints a token. It names `key` as its issuer; all else is as `claims` say.
#[must_use]
pub fn mint(key: &ProjectKey, claims: &Claims) -> String {
    let signed = signed(Algorithm::Hs256, None, key.name().expose(), claims, None);
    let signature = key.sign(signed.as_bytes());
    seal(signed, &signature)
}

/// Mints a token with a private key, whose thumbprint it names, for the project `issuer`.
///
/// # Errors
/// [`Unspecified`] if `random` gives nothing.
pub fn mint_with(
    pair: &KeyPair,
    issuer: &str,
    claims: &Claims,
    random: &dyn SecureRandom,
) -> Result<String, Unspecified> {
    let public = pair.public();
    let signed = signed(public.algorithm(), Some(public.thumbprint()), issuer, claims, None);
    let signature = pair.sign(signed.as_bytes(), random)?;
    Ok(seal(signed, &signature))
}

/// Mints a refresh token at the Unix second `now`: the same claims, the same id, the same end. Of one that was changed
/// it is good for [`CHANGED_TIME_MAX_S`] at most: what a moderator gave may be taken back.
///
/// None if the key of its original is gone, or if it would be longer than a token may be, which takes an original of
/// nearly that length; its holder then goes on using the original.
#[must_use]
pub fn mint_refresh(keys: &ProjectKeys, token: &VerifiedToken, now: u64) -> Option<String> {
    if !keys.has(token.issuer.expose(), &token.key) {
        return None;
    }
    let origin = Origin {
        issuer: token.issuer.expose().clone(),
        key: URL_SAFE_NO_PAD.encode(token.key.as_bytes()),
        id: URL_SAFE_NO_PAD.encode(token.id.as_bytes()),
        ends: token.ends,
        expires_at: token.is_changed.then_some(token.claims.expires_at),
    };
    let mut claims = token.claims.clone();
    if token.is_changed {
        claims.expires_at = claims.expires_at.min(now.saturating_add(CHANGED_TIME_MAX_S));
    }
    let signed = signed(Algorithm::Hs256, None, REFRESH_ISSUER, &claims, Some(origin));
    let signature = keys.sign_refresh(token.issuer.expose(), signed.as_bytes())?;
    let text = seal(signed, &signature);
    (text.len() <= TOKEN_MAX).then_some(text)
}

/// Header and claims, which a signature covers.
fn signed(
    algorithm: Algorithm,
    kid: Option<String>,
    issuer: &str,
    claims: &Claims,
    incamera: Option<Origin>,
) -> String {
    let header =
        Header { alg: algorithm.name().to_owned(), typ: Some("JWT".to_owned()), kid, crit: None };
    let payload = Payload {
        iss: Some(issuer.to_owned()),
        sub: Some(claims.identity.clone()).filter(|sub| !sub.is_empty()),
        jti: claims.token_name.clone(),
        iat: claims.issued_at.map(Date),
        nbf: claims.not_before.map(Date),
        exp: Some(Date(claims.expires_at)),
        incamera,
        claims: claims.clone(),
    };
    format!("{}.{}", encode(&header), encode(&payload))
}

fn seal(mut token: String, signature: &[u8]) -> String {
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

fn encode(part: &impl Serialize) -> String {
    let json = serde_json::to_vec(part).expect("text, numbers and maps with text for keys print");
    URL_SAFE_NO_PAD.encode(json)
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, TokenError> {
    shape::check_json(json).map_err(TokenError::Shape)?;
    serde_json::from_slice(json).map_err(|_| TokenError::Malformed)
}

#[cfg(test)]
mod tests;
