//! Who may receive a participant's tracks, as it said itself. On the wire: `SubscriptionPermission`.
//!
//! Guarantees: finding what one receiver may have costs two lookups however many are named; what names too many
//! allows nobody, since it was sent to keep somebody out. Whoever is named is kept as an alias: the name goes with the
//! session of the one who has it, and may be that of somebody who never comes.

use std::collections::{BTreeMap, BTreeSet};

use model::{Alias, ParticipantSid, TrackSid};

use super::Participant;
use crate::limits::ALLOWANCES_MAX;

/// Who may receive a participant's tracks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Allowance {
    /// Everyone.
    #[default]
    Everyone,
    /// These.
    Only(Allowed),
}

/// Those who may receive something, by presence or by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    sids: BTreeMap<ParticipantSid, Tracks>,
    aliases: BTreeMap<Alias, Tracks>,
}

/// One participant that may receive tracks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowanceEntry {
    /// Who.
    pub who: Receiver,
    /// What.
    pub tracks: Tracks,
}

/// How a publisher names a participant that it allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// By presence.
    Sid(ParticipantSid),
    /// By name, of which this is the alias.
    Alias(Alias),
}

/// Which tracks of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracks {
    /// All, those to come as well.
    All,
    /// These.
    These(BTreeSet<TrackSid>),
}

/// More than [`ALLOWANCES_MAX`] participants and tracks are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the permission names too many")]
pub struct TooManyAllowed;

impl Allowance {
    /// Nobody.
    #[must_use]
    pub const fn nobody() -> Self {
        Self::Only(Allowed { sids: BTreeMap::new(), aliases: BTreeMap::new() })
    }

    /// Those of these entries; whoever is named more than once may have all of it.
    ///
    /// # Errors
    /// If they name more than [`ALLOWANCES_MAX`] participants and tracks.
    pub fn only(entries: impl IntoIterator<Item = AllowanceEntry>) -> Result<Self, TooManyAllowed> {
        let mut allowed = Allowed::default();
        let mut left = ALLOWANCES_MAX;
        for AllowanceEntry { who, tracks } in entries {
            left = left.checked_sub(1 + tracks.len()).ok_or(TooManyAllowed)?;
            let held = match who {
                Receiver::Sid(sid) => allowed.sids.entry(sid).or_insert_with(Tracks::none),
                Receiver::Alias(alias) => allowed.aliases.entry(alias).or_insert_with(Tracks::none),
            };
            held.add(tracks);
        }
        Ok(Self::Only(allowed))
    }

    /// What it allows one participant.
    pub(super) fn of<'a>(&'a self, receiver: &Participant) -> Entitlement<'a> {
        match self {
            Self::Everyone => Entitlement { by_sid: Some(&Tracks::All), by_alias: None },
            Self::Only(Allowed { sids, aliases }) => Entitlement {
                by_sid: sids.get(&receiver.sid),
                by_alias: aliases.get(&receiver.alias),
            },
        }
    }
}

/// What one participant may receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entitlement<'a> {
    by_sid: Option<&'a Tracks>,
    by_alias: Option<&'a Tracks>,
}

impl Entitlement<'_> {
    pub(super) fn allows(self, track: &TrackSid) -> bool {
        [self.by_sid, self.by_alias].into_iter().flatten().any(|tracks| match tracks {
            Tracks::All => true,
            Tracks::These(these) => these.contains(track),
        })
    }
}

impl Tracks {
    const fn none() -> Self {
        Self::These(BTreeSet::new())
    }

    fn len(&self) -> usize {
        match self {
            Self::All => 0,
            Self::These(these) => these.len(),
        }
    }

    fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (Self::These(these), Self::These(others)) => these.extend(others),
            (Self::These(_), Self::All) => *self = Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use model::ALIAS_LEN;

    use super::*;

    fn entry(number: u32, tracks: Tracks) -> AllowanceEntry {
        let mut alias = [0; ALIAS_LEN];
        alias[..4].copy_from_slice(&number.to_be_bytes());
        AllowanceEntry { who: Receiver::Alias(Alias(alias)), tracks }
    }

    fn these(sids: &[&str]) -> Tracks {
        Tracks::These(sids.iter().map(|sid| TrackSid::from_wire(sid)).collect())
    }

    #[test]
    fn what_is_said_of_one_participant_twice_is_added() {
        let said = [entry(7, these(&["TR_1"])), entry(7, these(&["TR_2"]))];
        let held = Allowance::only(said).unwrap();
        assert_eq!(held, Allowance::only([entry(7, these(&["TR_1", "TR_2"]))]).unwrap());
        let all = [entry(7, these(&["TR_1"])), entry(7, Tracks::All)];
        assert_eq!(Allowance::only(all), Allowance::only([entry(7, Tracks::All)]));
    }

    #[test]
    fn so_many_may_be_named_and_no_more() {
        let named = |count| (0..count).map(|number| entry(number, Tracks::All));
        let held = |allowance| match allowance {
            Allowance::Everyone => 0,
            Allowance::Only(Allowed { sids, aliases }) => sids.len() + aliases.len(),
        };
        assert_eq!(held(Allowance::only(named(4096)).unwrap()), 4096);
        assert_eq!(Allowance::only(named(4097)), Err(TooManyAllowed));
        let twice = (0..4097).map(|_| entry(7, Tracks::All));
        assert_eq!(Allowance::only(twice), Err(TooManyAllowed), "saying it again costs, too");
    }
}
