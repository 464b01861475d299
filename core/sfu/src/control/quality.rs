//! How good a participant's connection is, in the three words that clients show.
//!
//! Owns: the score of one measurement. Guarantees: never "lost", which makes livekit-client reconnect.
//! Source: the E-model reduced to delay and loss (ITU-T G.107), as LiveKit `pkg/sfu/connectionquality`.

use std::time::Duration;

/// How often changes are told (LiveKit: 5 s).
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

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
