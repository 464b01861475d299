//! Who speaks in a room.
//!
//! Owns: the levels last reported and the speakers last told. Levels come from the workers of the
//! publishers, so a room's speakers are put together here.
//! Guarantees: a speaker is told again only when the level changes by an eighth, once per [`INTERVAL`].
//! Source: LiveKit `pkg/rtc/room.go` (`audioUpdateWorker`).

use std::collections::BTreeMap;
use std::time::Duration;

use model::{PeerId, Timestamp, TrackId};

/// How often changes are told (LiveKit: 400 ms).
pub(super) const INTERVAL: Duration = Duration::from_millis(400);
/// For how long whoever resumes may believe that somebody speaks who has fallen silent, as far as the room's next
/// speakers tell it from those before.
const SILENT_KEPT: Duration = Duration::from_secs(60);
/// Steps of a level.
const STEPS: f32 = 8.0;

/// On the wire: `SpeakerInfo`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speaker {
    /// Whose voice.
    pub peer: PeerId,
    /// 0.0 when it fell silent, else up to 1.0 in eighths.
    pub level: f32,
}

impl Speaker {
    /// Whether it speaks.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.level > 0.0
    }
}

#[derive(Debug, Default)]
pub(super) struct Speakers {
    levels: BTreeMap<(PeerId, TrackId), f32>,
    told: BTreeMap<PeerId, f32>,
    /// Who has fallen silent since, and when that was told.
    silent: BTreeMap<PeerId, Timestamp>,
    /// When the next changes may be told.
    next: Timestamp,
    /// A timer runs.
    pub(super) due: Option<Timestamp>,
}

impl Speakers {
    /// Notes a level; returns when to call [`Self::changes`] if no timer runs.
    pub(super) fn hear(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        track: TrackId,
        level: Option<f32>,
    ) -> Option<Timestamp> {
        match level.filter(|level| *level > 0.0) {
            Some(level) => {
                let eighths = (level.min(1.0) * STEPS).ceil() / STEPS;
                self.levels.insert((peer, track), eighths);
            }
            None => {
                self.levels.remove(&(peer, track));
            }
        }
        if self.due.is_some() || self.loudest(peer) == self.told.get(&peer).copied() {
            return None;
        }
        self.due = Some(self.next.max(now));
        self.due
    }

    /// What the room has not been told, loudest first.
    pub(super) fn changes(&mut self, now: Timestamp) -> Vec<Speaker> {
        self.due = None;
        self.next = now + INTERVAL;
        let mut loudest: BTreeMap<PeerId, f32> = BTreeMap::new();
        for ((peer, _), level) in &self.levels {
            let held = loudest.entry(*peer).or_default();
            *held = held.max(*level);
        }
        let mut changes: Vec<Speaker> = loudest
            .iter()
            .filter(|(peer, level)| self.told.get(peer) != Some(level))
            .map(|(peer, level)| Speaker { peer: *peer, level: *level })
            .collect();
        changes.sort_by(|a, b| b.level.total_cmp(&a.level));
        let silent = self.told.keys().filter(|peer| !loudest.contains_key(peer));
        let silent: Vec<PeerId> = silent.copied().collect();
        changes.extend(silent.iter().map(|peer| Speaker { peer: *peer, level: 0.0 }));
        self.told = loudest;
        self.silent.retain(|_, at| now.since(*at) < SILENT_KEPT);
        self.silent.extend(silent.into_iter().map(|peer| (peer, now)));
        changes
    }

    /// The level that the room was told last.
    pub(super) fn told(&self, peer: PeerId) -> Option<Speaker> {
        self.told.get(&peer).map(|level| Speaker { peer, level: *level })
    }

    /// Who speaks, and who has spoken lately.
    pub(super) fn lately(&self) -> impl Iterator<Item = PeerId> {
        self.told.keys().chain(self.silent.keys()).copied()
    }

    /// The participant is gone.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.levels.retain(|(held, _), _| *held != peer);
        self.told.remove(&peer);
        self.silent.remove(&peer);
    }

    fn loudest(&self, peer: PeerId) -> Option<f32> {
        let tracks = (peer, TrackId(0))..=(peer, TrackId(u32::MAX));
        self.levels.range(tracks).map(|(_, level)| *level).max_by(f32::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::WorkerId;

    const PEER: PeerId = PeerId { worker: WorkerId(0), index: 1 };
    const OTHER: PeerId = PeerId { worker: WorkerId(1), index: 2 };

    #[test]
    fn a_small_change_of_level_is_not_told() {
        let mut speakers = Speakers::default();
        let at = Timestamp::from_millis;
        assert_eq!(speakers.hear(at(1), PEER, TrackId(1), Some(0.51)), Some(at(1)));
        assert_eq!(speakers.changes(at(1)), [Speaker { peer: PEER, level: 0.625 }]);
        assert_eq!(speakers.hear(at(2), PEER, TrackId(1), Some(0.6)), None);
        assert_eq!(speakers.hear(at(2), PEER, TrackId(1), Some(0.7)), Some(at(401)));
    }

    #[test]
    fn the_loudest_comes_first_and_the_silent_last() {
        let mut speakers = Speakers::default();
        let at = Timestamp::from_millis;
        speakers.hear(at(0), PEER, TrackId(1), Some(0.1));
        speakers.changes(at(0));
        speakers.hear(at(5), PEER, TrackId(1), None);
        speakers.hear(at(5), OTHER, TrackId(2), Some(1.0));
        let expected = [Speaker { peer: OTHER, level: 1.0 }, Speaker { peer: PEER, level: 0.0 }];
        assert_eq!(speakers.changes(at(400)), expected);
    }

    #[test]
    fn two_tracks_of_one_participant_are_one_speaker() {
        let mut speakers = Speakers::default();
        let at = Timestamp::from_millis;
        speakers.hear(at(0), PEER, TrackId(1), Some(0.2));
        speakers.hear(at(0), PEER, TrackId(2), Some(0.9));
        assert_eq!(speakers.changes(at(0)), [Speaker { peer: PEER, level: 1.0 }]);
    }
}
