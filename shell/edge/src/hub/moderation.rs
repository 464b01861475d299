//! What moderators have taken away, for whoever leaves and comes again with the token of before.
//!
//! Owns: of each room the rights that were left to participants when a moderator last changed them.
//! Guarantees: a token from before a change, or one that does not say from when it is, gives back nothing of what
//! the change took away, as long as the room lives; a later token is taken as it is. Names are kept as keyed
//! digests, since nothing of a person is kept after its session; at most [`MODERATED_MAX`] of a room, the latest.
//! Not here: changes while a session lasts (`room_service`), what lasts longer than a room (revocation).

use std::collections::VecDeque;

use wire::grant::Permission;
use wire::token::VerifiedToken;

use crate::limits::MODERATED_MAX;
use crate::log::Pseudonym;

/// The changes of one room: oldest first, one for each participant.
#[derive(Debug, Default)]
pub(super) struct Moderated(VecDeque<Change>);

#[derive(Debug)]
struct Change {
    of: Pseudonym,
    /// Seconds of Unix time.
    at_s: u64,
    left: Permission,
}

impl Moderated {
    /// A moderator says what is left to a participant.
    pub(super) fn note(&mut self, of: Pseudonym, at_s: u64, left: Permission) {
        self.0.retain(|change| change.of != of);
        if self.0.len() >= MODERATED_MAX {
            self.0.pop_front();
        }
        self.0.push_back(Change { of, at_s, left });
    }

    /// Takes from a token what a moderator took away after it was issued.
    pub(super) fn narrow(&self, token: &mut VerifiedToken, of: Pseudonym) {
        let issued_at = token.issued_at();
        let change = self.0.iter().find(|change| change.of == of);
        // Seconds do not say which came first within one.
        let change = change.filter(|it| issued_at.is_none_or(|issued| issued <= it.at_s));
        let (Some(change), Some(grant)) = (change, &mut token.claims.video) else {
            return;
        };
        let held = grant.permission();
        let left = held.clone().within(&change.left);
        if left != held {
            grant.set_permission(&left);
            token.is_changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Kind, Pseudonyms};

    #[test]
    fn the_latest_changes_of_a_room_are_kept() {
        let names = Pseudonyms::new(0, &[1; 32]);
        let of = |number: usize| names.of(Kind::Identity, &format!("p{number}"));
        let mut moderated = Moderated::default();
        let left = wire::grant::VideoGrant::default().permission();
        for number in 0..=MODERATED_MAX {
            moderated.note(of(number), 5, left.clone());
        }
        moderated.note(of(9), 6, left);
        assert_eq!(moderated.0.len(), MODERATED_MAX);
        assert_eq!(moderated.0.back().map(|change| (change.of, change.at_s)), Some((of(9), 6)));
        assert!(moderated.0.iter().all(|change| change.of != of(0)));
    }
}
