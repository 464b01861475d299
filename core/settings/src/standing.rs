//! What stands revoked while the revocation file changes.
//!
//! Owns: what the file says, and what it said before and says no more.
//! Guarantees: a file that changes only adds. What it said last stays revoked whatever it says now, since a list
//! that lost its end, as a full disk leaves it, reads like one of which entries were taken back; only who begins
//! anew with what the file says takes back. What is held so is bounded, and what has been gone longest goes first.
//! Not here: reading the file (`revocations`), asking for it (`bin/incamera`).

use std::collections::VecDeque;

use wire::revocation::Revocations;

use crate::limits::GONE_MAX;

/// Everything that is revoked.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// What the file says.
    said: Revocations,
    /// What it said before, in the order of going; none is empty, and `said` has nothing of it.
    gone: VecDeque<Revocations>,
}

/// What came of another look at the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Entries that it had at the look before, and that stand without it now.
    pub gone: usize,
    /// Entries that stood without it and do so no more, because so many had come after them.
    pub given_up: usize,
}

impl Standing {
    /// Begins with what the file says.
    #[must_use]
    pub fn new(said: Revocations) -> Self {
        Self { said, gone: VecDeque::new() }
    }

    /// The file says this now. O(entries x times that some went).
    pub fn hear(&mut self, says: Revocations) -> Heard {
        let before = std::mem::replace(&mut self.said, says);
        let gone = before.beyond(&self.said);
        let heard = gone.len();
        self.gone.push_back(gone);
        for batch in &mut self.gone {
            *batch = batch.beyond(&self.said);
        }
        self.gone.retain(|batch| !batch.is_empty());
        let mut given_up = 0;
        while self.gone() > GONE_MAX {
            given_up += self.gone.pop_front().map_or(0, |batch| batch.len());
        }
        Heard { gone: heard, given_up }
    }

    /// Entries that stand without the file.
    #[must_use]
    pub fn gone(&self) -> usize {
        self.gone.iter().map(Revocations::len).sum()
    }

    /// All that is revoked.
    #[must_use]
    pub fn all(&self) -> Revocations {
        let mut all = self.said.clone();
        for batch in &self.gone {
            all.join(batch);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::limits::REVOCATIONS_MAX;
    use wire::token::TokenId;

    fn tokens(numbers: std::ops::Range<usize>) -> Revocations {
        let mut list = Revocations::default();
        for number in numbers {
            list.revoke_token(TokenId::of_jti("project", &number.to_string())).unwrap();
        }
        list
    }

    fn identity(before: u64) -> Revocations {
        let mut list = Revocations::default();
        list.revoke_identity("ada", before).unwrap();
        list
    }

    fn holds(standing: &Standing, list: &Revocations) -> bool {
        list.beyond(&standing.all()).is_empty()
    }

    #[test]
    fn a_file_that_loses_entries_takes_nothing_back_and_what_is_new_in_it_stands() {
        let mut standing = Standing::new(tokens(0..9));
        assert_eq!(standing.hear(tokens(0..4)), Heard { gone: 5, given_up: 0 });
        assert!(holds(&standing, &tokens(0..9)));
        assert_eq!(standing.hear(tokens(0..0)), Heard { gone: 4, given_up: 0 });
        assert_eq!(standing.hear(tokens(20..22)), Heard { gone: 0, given_up: 0 });
        assert!(holds(&standing, &tokens(0..9)) && holds(&standing, &tokens(20..22)));
        assert_eq!((standing.gone(), standing.all().len()), (9, 11));
        // The rest of it is written.
        assert_eq!(standing.hear(tokens(0..22)), Heard { gone: 0, given_up: 0 });
        assert_eq!((standing.gone(), standing.all().len()), (0, 22));
        assert!(!holds(&Standing::new(tokens(0..4)), &tokens(0..9)), "who begins anew takes back");
    }

    #[test]
    fn an_earlier_time_takes_back_no_later_one() {
        let mut standing = Standing::new(identity(180));
        assert_eq!(standing.hear(identity(18)), Heard { gone: 1, given_up: 0 });
        assert!(holds(&standing, &identity(180)));
        standing.hear(identity(181));
        assert!(holds(&standing, &identity(181)));
        assert_eq!((standing.gone(), standing.all().len()), (0, 1));
    }

    #[test]
    fn what_is_held_is_bounded_and_what_the_file_said_last_is_always_held() {
        let mut standing = Standing::new(tokens(0..10));
        assert_eq!(standing.hear(tokens(10..20)), Heard { gone: 10, given_up: 0 });
        let full = tokens(20..20 + REVOCATIONS_MAX);
        assert_eq!(standing.hear(full.clone()), Heard { gone: 10, given_up: 0 });
        let cut = standing.hear(tokens(0..0));
        assert_eq!(cut, Heard { gone: REVOCATIONS_MAX, given_up: 20 });
        assert_eq!(standing.gone(), GONE_MAX);
        assert!(holds(&standing, &full));
    }
}
