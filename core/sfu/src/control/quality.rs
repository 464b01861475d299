//! How good a participant's connection is, in the three words that clients show.
//!
//! Owns: the score of one measurement, and who is told of it: each of whom it receives, and itself, once and when the
//! word changes. Guarantees: never "lost", which makes livekit-client reconnect.
//! Source: the E-model reduced to delay and loss (ITU-T G.107), as LiveKit `pkg/sfu/connectionquality`.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{PeerId, RoomId, Timestamp};

use super::{Control, Output, Timer};
use crate::limits;

/// How often changes are told (LiveKit: 5 s).
pub(super) const INTERVAL: Duration = Duration::from_secs(5);
/// Between two turns in which they are told, where they are too many for one.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// On the wire: `ConnectionQuality`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnectionQuality {
    /// Sound breaks up.
    Poor,
    /// Noticeable.
    Good,
    /// Not noticeable.
    Excellent,
}

/// One measurement, judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// In a word.
    pub quality: ConnectionQuality,
    /// Mean opinion, 1.0 (bad) ..= 5.0.
    pub opinion: f32,
}

/// Rating without any impairment.
const BASE: f32 = 93.2;
/// Points per percent of loss; Opus with its own error correction conceals about this well.
const PER_PERCENT_LOST: f32 = 2.5;
/// Delay at which it begins to disturb a conversation, in milliseconds.
const DELAY_KNEE_MS: f32 = 177.3;

impl Score {
    /// `loss` is the worse of both directions, 0.0..=1.0.
    pub(super) fn of(loss: f32, rtt_ms: Option<u32>) -> Self {
        let one_way = f32::from(u16::try_from(rtt_ms.unwrap_or(0)).unwrap_or(u16::MAX)) / 2.0;
        let delayed = 0.024 * one_way + 0.11 * (one_way - DELAY_KNEE_MS).max(0.0);
        let loss = if loss.is_finite() { loss.clamp(0.0, 1.0) } else { 1.0 };
        let rating = (BASE - delayed - loss * 100.0 * PER_PERCENT_LOST).clamp(0.0, 100.0);
        let quality = if rating >= 80.0 {
            ConnectionQuality::Excellent
        } else if rating >= 60.0 {
            ConnectionQuality::Good
        } else {
            ConnectionQuality::Poor
        };
        let curve = 0.000_007 * rating * (rating - 60.0) * (100.0 - rating);
        Self { quality, opinion: (1.0 + 0.035 * rating + curve).clamp(1.0, 5.0) }
    }
}

impl Control {
    pub(super) fn hear_quality(&mut self, peer: PeerId, score: Score) {
        let Some(participant) = self.participants.get_mut(&peer) else {
            return;
        };
        let before = participant.score.replace(score);
        let id = participant.room;
        if before.is_none_or(|before| before.quality != score.quality) {
            for to in self.audience(peer) {
                self.owe_quality(id, to, peer);
            }
        }
    }

    /// Somebody is to be told how well somebody is connected, with the next that are.
    pub(super) fn owe_quality(&mut self, id: RoomId, to: PeerId, of: PeerId) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.quality_news.insert((to, of));
        if room.quality_due.is_none() {
            room.quality_due = Some(room.quality_next);
            self.timers.insert((room.quality_next, Timer::Quality(id)));
        }
    }

    pub(super) fn tell_quality(&mut self, now: Timestamp, id: RoomId) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.quality_due = None;
        room.quality_next = now + INTERVAL;
        let mut batch = Vec::new();
        while batch.len() < limits::QUALITIES_PER_TURN_MAX
            && let Some(pair) = room.quality_news.pop_first()
        {
            batch.push(pair);
        }
        if !room.quality_news.is_empty() {
            let at = now + PAUSE;
            room.quality_due = Some(at);
            self.timers.insert((at, Timer::Quality(id)));
        }
        for pairs in batch.chunk_by(|(a, _), (b, _)| a == b) {
            let scores = pairs.iter().filter_map(|&(to, of)| Some((of, self.score(to, of)?)));
            let scores: Vec<(PeerId, Score)> = scores.collect();
            if let Some(&(to, _)) = pairs.first().filter(|_| !scores.is_empty()) {
                self.outputs.push_back(Output::Qualities { to, scores });
            }
        }
    }

    /// How well those whom a participant receives are connected, and it itself, as far as it is known.
    #[must_use]
    pub fn scores(&self, to: PeerId) -> Vec<(PeerId, Score)> {
        self.heard_by(to).into_iter().filter_map(|of| Some((of, self.score(to, of)?))).collect()
    }

    /// Those whom a participant receives, and it itself.
    pub(super) fn heard_by(&self, to: PeerId) -> BTreeSet<PeerId> {
        let tracks =
            self.participants.get(&to).into_iter().flat_map(|held| held.subscriptions.keys());
        let publications = tracks.filter_map(|track| self.tracks.get(track));
        publications.map(|held| held.peer).chain([to]).collect()
    }

    /// How well a participant is connected, for one who may know: itself, or who receives something of it.
    fn score(&self, to: PeerId, of: PeerId) -> Option<Score> {
        let held = self.participants.get(&of)?;
        let mut tracks = held.tracks.iter().filter_map(|track| self.tracks.get(track));
        let may_know = to == of || tracks.any(|track| track.subscribers.contains_key(&to));
        held.score.filter(|_| may_know)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_and_delay_lower_the_score_and_nothing_is_ever_lost() {
        let quality = |loss, rtt| Score::of(loss, rtt).quality;
        assert_eq!(quality(0.0, Some(20)), ConnectionQuality::Excellent);
        assert_eq!(quality(0.0, None), ConnectionQuality::Excellent);
        assert_eq!(quality(0.1, Some(20)), ConnectionQuality::Good);
        assert_eq!(quality(0.0, Some(700)), ConnectionQuality::Good);
        assert_eq!(quality(1.0, Some(u32::MAX)), ConnectionQuality::Poor);
        assert_eq!(quality(f32::NAN, None), ConnectionQuality::Poor);
    }
}
