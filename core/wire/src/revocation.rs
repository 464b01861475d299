//! Tokens that are not to be believed any more, though their signatures hold.
//!
//! Owns: the list: single tokens by their ids, everything that was minted for an identity before some time, and
//! everything that a key signed, whatever it says of its time: who has stolen a key writes there what they like.
//! Guarantees: the list is bounded; a refresh token is revoked with its original, whose id, holder, time and
//! issuer it keeps; a token that does not say when it was minted was minted before any time.
//! Not here: where the list comes from (`bin/incamera`), ending the sessions that it concerns (`edge`).
//! Source: LiveKit `RemoveParticipantRequest.revoke_token_ts`, whose meaning `issued_before` has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::Identity;

use crate::key::ProjectName;
use crate::limits::{KEY_NAME_MAX, NAME_MAX, REVOCATIONS_MAX};
use crate::token::{TokenId, VerifiedToken};

/// What cannot be revoked. The operator's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevocationError {
    /// There are [`REVOCATIONS_MAX`] entries already.
    #[error("no more than {REVOCATIONS_MAX} revocations are held")]
    Full,
    /// Empty, or longer than [`NAME_MAX`].
    #[error("an identity has 1 to {NAME_MAX} bytes")]
    IdentityLength,
    /// Empty, or longer than [`KEY_NAME_MAX`].
    #[error("the name of a key has 1 to {KEY_NAME_MAX} bytes")]
    KeyNameLength,
}

/// Everything that is revoked.
#[derive(Clone, Default)]
pub struct Revocations {
    tokens: BTreeSet<TokenId>,
    /// By whom it was minted for, the Unix second before which it is revoked.
    identities: BTreeMap<Identity, u64>,
    keys: BTreeSet<ProjectName>,
}

impl Revocations {
    /// Revokes one token and all that was refreshed from it.
    ///
    /// # Errors
    /// [`RevocationError::Full`].
    pub fn revoke_token(&mut self, id: TokenId) -> Result<(), RevocationError> {
        if self.len() >= REVOCATIONS_MAX {
            return Err(RevocationError::Full);
        }
        self.tokens.insert(id);
        Ok(())
    }

    /// Revokes what was minted for `identity` before the Unix second `issued_before`, for any room. Of several
    /// times the latest holds.
    ///
    /// # Errors
    /// [`RevocationError`].
    pub fn revoke_identity(
        &mut self,
        identity: &str,
        issued_before: u64,
    ) -> Result<(), RevocationError> {
        if identity.is_empty() || identity.len() > NAME_MAX {
            return Err(RevocationError::IdentityLength);
        }
        if self.len() >= REVOCATIONS_MAX {
            return Err(RevocationError::Full);
        }
        let held = self.identities.entry(Identity::new(identity)).or_default();
        *held = issued_before.max(*held);
        Ok(())
    }

    /// Revokes all that was minted with the keys of that name, and will be.
    ///
    /// # Errors
    /// [`RevocationError`].
    pub fn revoke_key(&mut self, name: &str) -> Result<(), RevocationError> {
        if name.is_empty() || name.len() > KEY_NAME_MAX {
            return Err(RevocationError::KeyNameLength);
        }
        if self.len() >= REVOCATIONS_MAX {
            return Err(RevocationError::Full);
        }
        self.keys.insert(ProjectName::new(name.into()));
        Ok(())
    }

    /// Whether the token is not to be believed.
    #[must_use]
    pub fn revokes(&self, token: &VerifiedToken) -> bool {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_off() {
            return false;
        }
        let before = self.identities.get(&Identity::new(&token.claims.identity));
        let is_early =
            before.is_some_and(|before| token.issued_at().is_none_or(|issued| issued < *before));
        is_early || self.tokens.contains(&token.id) || self.keys.contains(&token.issuer)
    }

    /// What of this `other` does not revoke: tokens and keys that it has not, and identities that it has not or with
    /// an earlier time.
    #[must_use]
    pub fn beyond(&self, other: &Self) -> Self {
        let tokens = self.tokens.difference(&other.tokens).copied().collect();
        let is_beyond = |(identity, before): &(&Identity, &u64)| {
            other.identities.get(*identity).is_none_or(|other| other < *before)
        };
        let identities = self.identities.iter().filter(is_beyond);
        let identities = identities.map(|(identity, before)| (identity.clone(), *before)).collect();
        let keys = self.keys.difference(&other.keys).cloned().collect();
        Self { tokens, identities, keys }
    }

    /// Revokes what `other` revokes, too. The sum is not bounded here: it has no more than both have.
    pub fn join(&mut self, other: &Self) {
        self.tokens.extend(&other.tokens);
        self.keys.extend(other.keys.iter().cloned());
        for (identity, before) in &other.identities {
            let held = self.identities.entry(identity.clone()).or_default();
            *held = (*before).max(*held);
        }
    }

    /// Entries, at most [`REVOCATIONS_MAX`] that were not joined.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len() + self.identities.len() + self.keys.len()
    }

    /// Whether nothing is revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Revocations {
    /// Prints the number alone: the rest is about people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocations({})", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{ProjectKey, ProjectKeys, RefreshKey};
    use crate::token::{Claims, claimed_id, mint, mint_refresh, verify};

    const NOW: u64 = 1_800_000_000;

    fn key() -> ProjectKey {
        ProjectKey::hs256("project", &[7; 32]).unwrap()
    }

    fn keys() -> ProjectKeys {
        ProjectKeys::new(RefreshKey::new(&[9; 32]), [key().into()]).unwrap()
    }

    fn token(claims: Claims) -> VerifiedToken {
        let claims = Claims { identity: "ada".into(), expires_at: NOW + 600, ..claims };
        verify(&keys(), &mint(&key(), &claims), NOW).unwrap()
    }

    fn refreshed(token: &VerifiedToken) -> VerifiedToken {
        verify(&keys(), &mint_refresh(&keys(), token, NOW).unwrap(), NOW).unwrap()
    }

    #[test]
    fn a_token_goes_by_its_name_or_its_digest_and_takes_its_refreshes_with_it() {
        let named = token(Claims { token_name: Some("t-1".into()), ..Claims::default() });
        let plain = token(Claims::default());
        for (gone, stays) in [(&named, &plain), (&plain, &named)] {
            let mut list = Revocations::default();
            assert!(!list.revokes(gone));
            list.revoke_token(TokenId::parse(&gone.id.to_string()).unwrap()).unwrap();
            assert!(list.revokes(gone) && list.revokes(&refreshed(&refreshed(gone))));
            assert!(!list.revokes(stays) && !list.revokes(&refreshed(stays)));
        }
        assert_eq!(named.id, TokenId::of_jti("project", "t-1"));
        for token in [&named, &plain] {
            let text = mint(&key(), &token.claims);
            assert_eq!(claimed_id(&text), Ok(token.id));
            assert_eq!(claimed_id(&mint_refresh(&keys(), token, NOW).unwrap()), Ok(token.id));
        }
    }

    #[test]
    fn an_identity_goes_with_what_was_minted_before_and_comes_back_with_what_is_minted_after() {
        let at =
            |issued_at, not_before| token(Claims { issued_at, not_before, ..Claims::default() });
        let mut list = Revocations::default();
        list.revoke_identity("ada", NOW - 10).unwrap();
        list.revoke_identity("ada", NOW - 99).unwrap();
        let check = |token: VerifiedToken, expect| {
            assert_eq!(list.revokes(&token), expect);
            assert_eq!(list.revokes(&refreshed(&token)), expect, "refreshed");
        };
        check(at(Some(NOW - 11), None), true);
        check(at(Some(NOW - 10), None), false);
        check(at(None, Some(NOW - 11)), true);
        check(at(None, Some(NOW - 10)), false);
        check(at(Some(NOW - 10), Some(NOW - 20)), false);
        check(at(None, None), true);
        let mut other = at(None, None);
        other.claims.identity = "ben".into();
        assert!(!list.revokes(&other));
    }

    #[test]
    fn a_key_goes_with_all_that_it_signs_whatever_that_says_of_its_time() {
        let mut list = Revocations::default();
        list.revoke_key("another").unwrap();
        let tokens = [None, Some(0), Some(NOW), Some(NOW + 999_999)];
        let tokens = tokens.map(|issued_at| token(Claims { issued_at, ..Claims::default() }));
        for token in &tokens {
            assert!(!list.revokes(token) && !list.revokes(&refreshed(token)));
        }
        list.revoke_key("project").unwrap();
        for token in &tokens {
            assert!(list.revokes(token) && list.revokes(&refreshed(token)));
        }
    }

    #[test]
    fn the_list_is_bounded_and_names_nobody() {
        let mut list = Revocations::default();
        for number in 0..REVOCATIONS_MAX - 1 {
            list.revoke_token(TokenId::of_jti("project", &number.to_string())).unwrap();
        }
        list.revoke_identity("ada", NOW).unwrap();
        let id = TokenId::of_jti("project", "one more");
        assert_eq!(list.revoke_token(id), Err(RevocationError::Full));
        assert_eq!(list.revoke_identity("ben", NOW), Err(RevocationError::Full));
        assert_eq!(list.revoke_key("project"), Err(RevocationError::Full));
        assert_eq!(list.revoke_key(""), Err(RevocationError::KeyNameLength));
        let long = "k".repeat(KEY_NAME_MAX + 1);
        assert_eq!(list.revoke_key(&long), Err(RevocationError::KeyNameLength));
        assert_eq!(list.revoke_identity("", NOW), Err(RevocationError::IdentityLength));
        let long = "i".repeat(NAME_MAX + 1);
        assert_eq!(list.revoke_identity(&long, NOW), Err(RevocationError::IdentityLength));
        assert_eq!(format!("{list:?}"), format!("Revocations({REVOCATIONS_MAX})"));
    }

    #[test]
    fn what_one_list_has_beyond_another_is_what_joining_gives_it() {
        let list = |tokens: &[&str], identities: &[(&str, u64)], keys: &[&str]| {
            let mut list = Revocations::default();
            for name in keys {
                list.revoke_key(name).unwrap();
            }
            for jti in tokens {
                list.revoke_token(TokenId::of_jti("project", jti)).unwrap();
            }
            for (identity, before) in identities {
                list.revoke_identity(identity, *before).unwrap();
            }
            list
        };
        let one = list(&["a", "b"], &[("ada", 5), ("ben", 5), ("cy", 5)], &["k", "l"]);
        let mut other = list(&["b", "c"], &[("ada", 4), ("ben", 5), ("eve", 5)], &["l"]);
        assert_eq!(one.beyond(&other).len(), 4, "a, ada, cy and k");
        assert_eq!(other.beyond(&one).len(), 2, "c and eve");
        other.join(&one);
        assert!(one.beyond(&other).is_empty());
        assert_eq!(other.len(), 9);
        other.join(&one);
        assert_eq!(other.len(), 9);
    }

    #[test]
    fn ids_that_are_none_do_not_parse() {
        for text in ["", "00", &"g".repeat(64), &"é".repeat(32), &"0".repeat(66)] {
            assert_eq!(TokenId::parse(text), None, "{text}");
        }
    }
}
