//! How often one token may ask to come in.
//!
//! Owns: what a request to join and a question whether that would do are counted as.
//! Guarantees: whoever has a good token has no more of the control threads than is named in `limits`; what is over
//! budget costs a look at the token and nothing is decompressed for it; the tables never grow.
//! Not here: wrong tokens (`networks`), what a join costs the hub (`hub::admission`).

use model::RoomName;
use wire::token::{TokenId, VerifiedToken};

use crate::budget::{Rate, SharedBudget};
use crate::limits::{VISIT_BYTES, VISITS_TOKEN_BURST, VISITS_TOKEN_PER_SECOND};

/// The budgets. The tokens of a project share none: a few who have one could close the door to all the others, and to
/// those who come back into a call.
#[derive(Debug)]
pub struct Visits {
    of_token: SharedBudget,
}

/// Whose a visit is: many back ends name a token after its person alone, who may be in several rooms.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Whose<'a>(TokenId, &'a str);

impl Default for Visits {
    fn default() -> Self {
        let rate = Rate { burst: VISITS_TOKEN_BURST, per_second: VISITS_TOKEN_PER_SECOND };
        Self { of_token: SharedBudget::new(rate) }
    }
}

impl Visits {
    /// Whether one more is within the token's rate.
    pub(crate) fn may_come(&self, token: &VerifiedToken, room: &RoomName) -> bool {
        self.of_token.take(&whose(token, room))
    }

    /// So many bytes were decompressed for it.
    pub(crate) fn charge(&self, token: &VerifiedToken, room: &RoomName, inflated: usize) {
        let count = u64::try_from(inflated / VISIT_BYTES).unwrap_or(u64::MAX);
        self.of_token.charge(&whose(token, room), count);
    }
}

/// Of whose budget a token's requests for a room are.
pub(crate) fn whose<'a>(token: &VerifiedToken, room: &'a RoomName) -> Whose<'a> {
    Whose(token.id, room.expose())
}

#[cfg(test)]
pub(crate) mod tests {
    use wire::key::{ProjectKey, ProjectName};
    use wire::token::{Claims, TokenKind};

    use super::*;

    /// A good token of that issuer's, of that name.
    pub(crate) fn token(issuer: &str, name: u64) -> VerifiedToken {
        VerifiedToken {
            claims: Claims::default(),
            id: TokenId::of_jti(issuer, &name.to_string()),
            issuer: ProjectName::new(issuer.into()),
            key: ProjectKey::hs256_short(issuer, b"secret").unwrap().id(),
            kind: TokenKind::Original,
            ends: wire::grant::Ends::default(),
            is_changed: false,
        }
    }

    #[test]
    fn a_token_may_come_so_often_and_keeps_nobody_out() {
        let visits = Visits::default();
        let red = RoomName::new("red");
        let came = |token: &VerifiedToken, most: u64| {
            (0..most).take_while(|_| visits.may_come(token, &red)).count()
        };
        let burst = usize::try_from(VISITS_TOKEN_BURST).unwrap();
        // Some are given back meanwhile.
        let first = came(&token("one", 0), 10 * VISITS_TOKEN_BURST);
        assert!((burst..2 * burst).contains(&first), "{first}");
        // Whoever shares its row is as well; of so many few do.
        let others = (1..=100).filter(|name| visits.may_come(&token("one", *name), &red)).count();
        assert!(others > 90, "{others}");
        let rooms = (0..100).map(|number| RoomName::new(&format!("blue {number}")));
        let elsewhere = rooms.filter(|room| visits.may_come(&token("one", 0), room)).count();
        assert!(elsewhere > 90, "it is another visit elsewhere: {elsewhere}");
    }

    #[test]
    fn what_is_decompressed_counts() {
        let visits = Visits::default();
        let (token, red) = (token("one", 0), RoomName::new("red"));
        let mut came = 0;
        while visits.may_come(&token, &red) {
            visits.charge(&token, &red, 32 * VISIT_BYTES);
            came += 1;
        }
        assert!(came <= VISITS_TOKEN_BURST / 33 + 1, "{came}");
    }

    /// Everybody of a full node is back at once after a restart, each asks a few times, and rows are shared.
    #[test]
    fn a_node_full_of_people_may_come_back_at_once() {
        let visits = Visits::default();
        let room = |number: u64| RoomName::new(&format!("room {}", number / 10));
        for _ in 0..2 {
            for number in 0..u64::try_from(crate::limits::PARTICIPANTS_MAX).unwrap() {
                assert!(visits.may_come(&token("one", number), &room(number)), "{number}");
            }
        }
    }
}
