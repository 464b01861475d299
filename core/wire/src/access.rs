//! Who gets in: the projects whose tokens are taken, and the tokens that are not any more.
//!
//! Guarantees: a revoked token is refused at the door whatever else holds of it.
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
        if self.revocations.revokes(&token) { Err(TokenError::Revoked) } else { Ok(token) }
    }
}
