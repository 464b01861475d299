//! Who gets in: the projects whose tokens are taken, and the tokens that are not any more.
//!
//! Guarantees: a revoked token is refused at the door whatever else holds of it, and so is one whose key is gone,
//! however long ago it was verified.
//! Not here: what a token admits to (`join`), ending the sessions of a revoked token (`edge`).

use crate::key::ProjectKeys;
use crate::revocation::Revocations;
use crate::token::{self, TokenError, VerifiedToken};

/// What decides about a token. Replaced as a whole when an operator changes any of it.
#[derive(Clone, Debug)]
pub struct Access {
    /// Whose tokens are taken, and the key of refresh tokens.
    pub keys: ProjectKeys,
    /// What is not believed though it is signed.
    pub revocations: Revocations,
}

impl Access {
    /// With nothing revoked.
    #[must_use]
    pub fn new(keys: ProjectKeys) -> Self {
        Self { keys, revocations: Revocations::default() }
    }

    /// Verifies a token at the Unix second `now`. O(its length).
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &str, now: u64) -> Result<VerifiedToken, TokenError> {
        let token = token::verify(&self.keys, token, now)?;
        self.judge_again(&token).map(|()| token)
    }

    /// Judges a token that was verified a while ago: it may be revoked by now, or its key be gone.
    ///
    /// # Errors
    /// [`TokenError::Revoked`], [`TokenError::UnknownKey`].
    pub fn judge_again(&self, token: &VerifiedToken) -> Result<(), TokenError> {
        if self.revocations.revokes(token) {
            return Err(TokenError::Revoked);
        }
        let is_known = self.keys.has(token.issuer.expose(), &token.key);
        if is_known { Ok(()) } else { Err(TokenError::UnknownKey) }
    }
}
