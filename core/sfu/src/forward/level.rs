//! How loud an audio track is, from the levels in its packets (RFC 6464).
//!
//! Source: behaviour of LiveKit `pkg/sfu/audio/audiolevel.go` with its defaults: a packet is active at
//! 35 -dBov or louder; an interval of 400 ms counts when 40 % of it is active.

use std::time::Duration;

use model::Timestamp;

/// Between two measures.
const INTERVAL: Duration = Duration::from_millis(400);
/// -dBov: what is quieter is no speech.
const ACTIVE_LEVEL: u8 = 35;
const ACTIVE_PERCENT: u32 = 40;
/// Weight of the past intervals: 1 new in 2.
const SMOOTH: f32 = 0.5;

#[derive(Debug, Default)]
pub(super) struct LevelMeter {
    began: Timestamp,
    packets: u32,
    active: u32,
    loudest: Option<u8>,
    smoothed: f32,
    spoke: bool,
}

impl LevelMeter {
    /// A packet with its level in -dBov, 0 (loudest) to 127.
    pub(super) fn packet(&mut self, level: u8) {
        self.packets += 1;
        if level <= ACTIVE_LEVEL {
            self.active += 1;
            self.loudest = Some(self.loudest.map_or(level, |loudest| loudest.min(level)));
        }
    }

    /// The level of the interval that ends: `Some(Some(_))` while it speaks, `Some(None)` once when it
    /// fell silent, `None` otherwise.
    pub(super) fn poll(&mut self, now: Timestamp) -> Option<Option<f32>> {
        if now.since(self.began) < INTERVAL {
            return None;
        }
        let is_active = self.packets > 0 && self.active * 100 >= self.packets * ACTIVE_PERCENT;
        let heard = match self.loudest {
            Some(loudest) if is_active => 10f32.powf(f32::from(loudest) / -20.0),
            _ => 0.0,
        };
        self.smoothed += (heard - self.smoothed) * SMOOTH;
        let spoke = std::mem::replace(&mut self.spoke, is_active);
        (self.began, self.packets, self.active, self.loudest) = (now, 0, 0, None);
        if is_active {
            return Some(Some(self.smoothed.clamp(0.0, 1.0)));
        }
        if spoke {
            self.smoothed = 0.0;
            return Some(None);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(meter: &mut LevelMeter, from: u64, levels: &[u8]) -> Option<Option<f32>> {
        levels.iter().for_each(|&level| meter.packet(level));
        meter.poll(Timestamp::from_millis(from + 400))
    }

    #[test]
    fn speech_is_told_each_interval_and_silence_once() {
        let mut meter = LevelMeter::default();
        let first = interval(&mut meter, 0, &[20; 20]).unwrap().unwrap();
        let second = interval(&mut meter, 400, &[20; 20]).unwrap().unwrap();
        assert!(first > 0.0 && second > first && second < 0.11);
        assert_eq!(interval(&mut meter, 800, &[127; 20]), Some(None));
        assert_eq!(interval(&mut meter, 1200, &[127; 20]), None);
    }

    #[test]
    fn a_short_noise_is_no_speech() {
        let mut meter = LevelMeter::default();
        let mut levels = [127; 20];
        levels[..7].fill(5);
        assert_eq!(interval(&mut meter, 0, &levels), None);
    }
}
