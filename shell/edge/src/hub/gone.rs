//! Who has left a room, for clients whose signalling was away when it was told.
//!
//! Owns: of each room who left it and why, and when it was told.
//! Guarantees: an id and a digest of each, since nothing else of a person is kept after its session; at most
//! [`GONE_MAX`] of a room, the latest, and none that is older than [`GONE_TIME_MAX`] when another leaves.
//! Not here: what else a client missed (`missed`, `replay`).
//! Source: LiveKit `pkg/rtc/room.go`, which tells of them with their names.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use model::{ParticipantSid, PeerId, Timestamp};
use sfu::control::DepartureReason;
use wire::proto;
use wire::proto::client_info::Sdk;

use super::admission::PING_TIMEOUT_S;
use super::{Hub, translate};
use crate::limits::{GONE_MAX, GONE_TIME_MAX};
use crate::log::Pseudonym;

/// How long a client's pings may come and nothing arrive there: it gives the connection up [`PING_TIMEOUT_S`] after the
/// last answer, and notices at its next ping.
const UNHEARD_TIME_MAX: Duration = Duration::from_secs(PING_TIMEOUT_S as u64 + 5);

/// Oldest first.
#[derive(Debug, Default)]
pub(super) struct Gone(VecDeque<Leaver>);

/// Somebody who is gone for the others.
#[derive(Debug)]
pub(super) struct Leaver {
    pub(super) at: Timestamp,
    pub(super) sid: ParticipantSid,
    /// What its identity is called in the room: it may be there again.
    pub(super) name: Pseudonym,
    /// Its last version.
    pub(super) version: u32,
    pub(super) reason: DepartureReason,
}

impl Gone {
    pub(super) fn note(&mut self, leaver: Leaver) {
        let now = leaver.at;
        while self.0.front().is_some_and(|first| first.at + GONE_TIME_MAX <= now) {
            self.0.pop_front();
        }
        if self.0.len() >= GONE_MAX {
            self.0.pop_front();
        }
        self.0.push_back(leaver);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Hub {
    /// Those who are gone and of whom a participant, which was heard last at this time, may not know it: that it was
    /// heard does not say that it hears, which it notices itself only after a while.
    ///
    /// Without their names, which clients find by the sid. Of whom it knew it already it finds none.
    pub(super) fn gone_since(&self, peer: PeerId, heard: Timestamp) -> Vec<proto::ParticipantInfo> {
        let Some(seat) = self.seats.get(&peer).filter(|seat| finds_by_sid(seat.client.sdk)) else {
            return Vec::new();
        };
        let Some(gathering) = self.gatherings.get(&seat.room) else {
            return Vec::new();
        };
        let mut gone = gathering
            .gone
            .0
            .iter()
            .filter(|leaver| leaver.at + UNHEARD_TIME_MAX >= heard)
            .peekable();
        if gone.peek().is_none() {
            return Vec::new();
        }
        // Whoever is here again replaces its former presence by being told of: a goodbye would take what is here.
        let here = self.control.participants(seat.room);
        let here = here.filter(|held| held.is_visible() || held.peer == peer);
        let here = here.filter_map(|held| self.seats.get(&held.peer));
        let here: BTreeSet<Pseudonym> = here.map(|seat| seat.name).collect();
        gone.filter(|leaver| !here.contains(&leaver.name)).map(translate::gone).collect()
    }
}

/// Whether the client takes what is said of a sid for the participant that it knows by it.
///
/// LiveKit's library in Rust, on which these are built, gives the participant the empty name first and then removes
/// nobody of that name: one that comes back is taken for a second one from then on. For them whoever left while they
/// were away stays until it comes back or they join afresh.
fn finds_by_sid(sdk: Sdk) -> bool {
    let built_on_rust = [Sdk::Rust, Sdk::Python, Sdk::Cpp, Sdk::Node, Sdk::Unity, Sdk::Unreal];
    !built_on_rust.contains(&sdk)
}
