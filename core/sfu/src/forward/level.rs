//! How loud an audio track is, from the levels in its packets (RFC 6464).
//!
//! Source: behaviour of LiveKit `pkg/sfu/audio/audiolevel.go` with its defaults: a packet is active at
//! 35 -dBov or louder; an interval of 400 ms counts when 40 % of it is active. By time, not by packets:
//! of a silence few come (DTX), and a click would be most of them.

use std::time::Duration;

use model::Timestamp;

/// Between two measures.
const INTERVAL: Duration = Duration::from_millis(400);
/// -dBov: what is quieter is no speech.
const ACTIVE_LEVEL: u8 = 35;
const ACTIVE: u32 = 160 * UNITS_PER_MS;
/// Opus' clock.
const UNITS_PER_MS: u32 = 48;
/// The longest that a packet of Opus may be (RFC 7587 §4.2), and what one is whose predecessor is further away.
const PACKET_MAX: u32 = 120 * UNITS_PER_MS;
const PACKET: u32 = 20 * UNITS_PER_MS;
/// A packet this much older than the newest is late. One that is older still begins another clock: a publisher's
/// begins anywhere, and anew when its stream does.
const LATE_MAX: u32 = 2_000 * UNITS_PER_MS;
/// Weight of the past intervals: 1 new in 2.
const SMOOTH: f32 = 0.5;

#[derive(Debug, Default)]
pub(super) struct LevelMeter {
    began: Timestamp,
    /// Of the newest packet, on its media clock.
    timestamp: Option<u32>,
    /// Active time, in units of that clock.
    active: u32,
    loudest: Option<u8>,
    smoothed: f32,
    spoke: bool,
}

impl LevelMeter {
    /// A packet with its level in -dBov, 0 (loudest) to 127.
    pub(super) fn packet(&mut self, level: u8, timestamp: u32) {
        let step = self.timestamp.map_or(PACKET, |newest| timestamp.wrapping_sub(newest));
        if (1..=LATE_MAX).contains(&step.wrapping_neg()) {
            // Its time has counted as that of the one after it.
            return;
        }
        self.timestamp = Some(timestamp);
        if level <= ACTIVE_LEVEL {
            let time = if step <= PACKET_MAX { step } else { PACKET };
            self.active = self.active.saturating_add(time);
            self.loudest = Some(self.loudest.map_or(level, |loudest| loudest.min(level)));
        }
    }

    /// The level of the interval that ends: `Some(Some(_))` while it speaks, `Some(None)` once when it
    /// fell silent, `None` otherwise.
    pub(super) fn poll(&mut self, now: Timestamp) -> Option<Option<f32>> {
        if now.since(self.began) < INTERVAL {
            return None;
        }
        let is_active = self.active >= ACTIVE;
        let heard = match self.loudest {
            Some(loudest) if is_active => 10f32.powf(f32::from(loudest) / -20.0),
            _ => 0.0,
        };
        self.smoothed += (heard - self.smoothed) * SMOOTH;
        let spoke = std::mem::replace(&mut self.spoke, is_active);
        (self.began, self.active, self.loudest) = (now, 0, None);
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

    /// An interval in which packets of these levels came, of 20 ms each; none where it is `None`.
    fn interval(meter: &mut LevelMeter, from: u32, levels: &[Option<u8>]) -> Option<Option<f32>> {
        on_clock(0, meter, from, levels)
    }

    /// The same of a publisher whose media clock is so far ahead.
    fn on_clock(
        ahead: u32,
        meter: &mut LevelMeter,
        from: u32,
        levels: &[Option<u8>],
    ) -> Option<Option<f32>> {
        for (n, level) in (0..).zip(levels) {
            if let Some(level) = level {
                meter.packet(*level, ahead.wrapping_add((from + n * 20) * UNITS_PER_MS));
            }
        }
        meter.poll(Timestamp::from_millis(u64::from(from) + 400))
    }

    #[test]
    fn speech_is_told_each_interval_and_silence_once() {
        let mut meter = LevelMeter::default();
        let first = interval(&mut meter, 0, &[Some(20); 20]).unwrap().unwrap();
        let second = interval(&mut meter, 400, &[Some(20); 20]).unwrap().unwrap();
        assert!(first > 0.0 && second > first && second < 0.11);
        assert_eq!(interval(&mut meter, 800, &[Some(127); 20]), Some(None));
        assert_eq!(interval(&mut meter, 1200, &[Some(127); 20]), None);
    }

    #[test]
    fn speech_is_heard_wherever_its_clock_begins_and_begins_anew() {
        let clocks =
            [0, 0x7fff_fff0, 0x8000_0000, 0x9000_0000, 0xffff_fff0, 0x9000_0000, 0x1000_0000];
        let (mut all, mut from) = (LevelMeter::default(), 0);
        for ahead in clocks {
            let mut one = LevelMeter::default();
            for meter in [&mut one, &mut all] {
                let speech = on_clock(ahead, meter, from, &[Some(20); 20]);
                assert!(matches!(speech, Some(Some(_))), "{ahead:#x}: {speech:?}");
            }
            from += 400;
        }
    }

    #[test]
    fn what_comes_late_counts_once_and_long_packets_as_long_as_they_are() {
        let mut meter = LevelMeter::default();
        for ms in [0, 20, 60, 80, 40, 100, 120] {
            meter.packet(5, (1_000 + ms) * UNITS_PER_MS);
        }
        assert_eq!(meter.active, 140 * UNITS_PER_MS);
        let mut meter = LevelMeter::default();
        for ms in [0, 120, 240] {
            meter.packet(5, (1_000 + ms) * UNITS_PER_MS);
        }
        assert_eq!(meter.active, 260 * UNITS_PER_MS);
    }

    #[test]
    fn a_short_noise_is_no_speech_whether_silence_is_sent_or_not() {
        for silence in [Some(127), None] {
            let mut meter = LevelMeter::default();
            let mut levels = [silence; 20];
            levels[5..12].fill(Some(5));
            assert_eq!(interval(&mut meter, 1_000, &levels), None, "{silence:?}");
            levels[12] = Some(5);
            assert!(interval(&mut meter, 1_400, &levels).is_some(), "{silence:?}");
        }
    }
}
