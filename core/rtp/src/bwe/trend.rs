//! Whether queues on the path grow: the slope of the one-way delay against a threshold that adapts.
//!
//! Source: draft-ietf-rmcat-gcc-02 §5.3 to §5.5 and libwebrtc `trendline_estimator`.

use super::arrival::GroupDelta;

/// Samples that the slope is fitted to.
const WINDOW: usize = 20;
const WINDOW_GROUPS: u32 = 20;
const SMOOTHING: f64 = 0.9;
/// Scales the slope to the threshold's range: 4 × the number of groups, 60 at most.
const GAIN: f64 = 4.0;
const GROUPS_MAX: u32 = 60;
/// ms, as all below.
const THRESHOLD_INITIAL: f64 = 12.5;
const THRESHOLD_MIN: f64 = 6.0;
const THRESHOLD_MAX: f64 = 600.0;
/// How fast the threshold follows, per ms: slowly down, so that a flow of ours is not starved by one that fills queues.
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
/// A spike this far above the threshold does not move it.
const SPIKE: f64 = 15.0;
/// Growth must last this long to be overuse.
const OVERUSE_TIME: f64 = 10.0;
/// How fast the floor is forgotten, in ms per ms: a longer route is accepted within a minute.
const FLOOR_CREEP: f64 = 0.002;

/// What the path is believed to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Usage {
    #[default]
    Normal,
    /// Queues grow.
    Over,
    /// Queues drain.
    Under,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// ms since the first group.
    arrival: f64,
    /// ms, smoothed.
    delay: f64,
}

/// The delay's slope and what it means.
#[derive(Clone, Debug)]
pub(super) struct Trend {
    samples: [Sample; WINDOW],
    /// Where the next sample goes.
    at: usize,
    /// Groups seen, at most `GROUPS_MAX`.
    count: u32,
    first_arrival: i64,
    delay: f64,
    smoothed: f64,
    /// The least smoothed delay lately: the path without a queue.
    floor: f64,
    threshold: f64,
    last_arrival: f64,
    last_slope: f64,
    /// ms above the threshold; `None` while below.
    over_for: Option<f64>,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            samples: [Sample::default(); WINDOW],
            at: 0,
            count: 0,
            first_arrival: 0,
            delay: 0.0,
            smoothed: 0.0,
            floor: 0.0,
            threshold: THRESHOLD_INITIAL,
            last_arrival: 0.0,
            last_slope: 0.0,
            over_for: None,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    pub(super) const fn usage(&self) -> Usage {
        self.usage
    }

    /// How much longer than lately at best packets take now, in ms, smoothed.
    pub(super) fn queue(&self) -> f64 {
        self.smoothed - self.floor
    }

    /// Takes the next group.
    pub(super) fn add(&mut self, group: &GroupDelta) {
        if self.count == 0 {
            self.first_arrival = group.arrival;
        }
        let millis = |micros: i64| micros as f64 / 1000.0;
        let arrival = millis(group.arrival - self.first_arrival);
        if arrival < self.last_arrival - 1000.0 || arrival > self.last_arrival + 10_000.0 {
            // Another clock, or a pause so long that the old delays mean nothing.
            *self = Self { threshold: self.threshold, ..Self::default() };
            return;
        }
        self.delay += millis(group.arrived - group.sent);
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.delay;
        let elapsed = arrival - self.last_arrival;
        self.floor = (self.floor + FLOOR_CREEP * elapsed.max(0.0)).min(self.smoothed);
        if let Some(sample) = self.samples.get_mut(self.at) {
            *sample = Sample { arrival, delay: self.smoothed };
        }
        self.at = (self.at + 1) % WINDOW;
        self.count = (self.count + 1).min(GROUPS_MAX);
        let slope = self.slope().unwrap_or(self.last_slope);
        let scaled = f64::from(self.count) * slope * GAIN;
        self.judge(slope, scaled, millis(group.sent));
        self.adapt(scaled.abs(), elapsed);
        self.last_slope = slope;
        self.last_arrival = arrival;
    }

    fn judge(&mut self, slope: f64, scaled: f64, sent: f64) {
        if scaled > self.threshold {
            let (over_for, is_first) = match self.over_for {
                Some(over_for) => (over_for + sent, false),
                // The threshold was passed somewhere in between.
                None => (sent / 2.0, true),
            };
            self.over_for = Some(over_for);
            if over_for > OVERUSE_TIME && !is_first && slope >= self.last_slope {
                self.over_for = Some(0.0);
                self.usage = Usage::Over;
            }
            return;
        }
        self.over_for = None;
        self.usage = if scaled < -self.threshold { Usage::Under } else { Usage::Normal };
    }

    fn adapt(&mut self, scaled: f64, elapsed: f64) {
        if scaled > self.threshold + SPIKE {
            return;
        }
        let speed = if scaled < self.threshold { THRESHOLD_DOWN } else { THRESHOLD_UP };
        let elapsed = elapsed.clamp(0.0, 100.0);
        let moved = self.threshold + speed * (scaled - self.threshold) * elapsed;
        self.threshold = moved.clamp(THRESHOLD_MIN, THRESHOLD_MAX);
    }

    /// Least squares; `None` before the window is full.
    fn slope(&self) -> Option<f64> {
        if self.count < WINDOW_GROUPS {
            return None;
        }
        let count = WINDOW as f64;
        let mean_arrival = self.samples.iter().map(|sample| sample.arrival).sum::<f64>() / count;
        let mean_delay = self.samples.iter().map(|sample| sample.delay).sum::<f64>() / count;
        let (over, under) = self.samples.iter().fold((0.0, 0.0), |(over, under), sample| {
            let arrival = sample.arrival - mean_arrival;
            (over + arrival * (sample.delay - mean_delay), under + arrival * arrival)
        });
        (under > 0.0).then(|| over / under)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups every 20 ms whose delay grows by `step` µs each.
    fn feed(trend: &mut Trend, arrival: &mut i64, groups: usize, step: i64) {
        for _ in 0..groups {
            let arrived = 20_000 + step;
            *arrival += arrived;
            trend.add(&GroupDelta { sent: 20_000, arrived, arrival: *arrival });
        }
    }

    #[test]
    fn a_steady_path_is_normal() {
        let (mut trend, mut arrival) = (Trend::default(), 7_000_000);
        feed(&mut trend, &mut arrival, 200, 0);
        assert_eq!(trend.usage(), Usage::Normal);
        assert!(trend.threshold < THRESHOLD_MIN + 0.01, "and makes the threshold sensitive");
    }

    #[test]
    fn delay_that_grows_more_slowly_is_no_overuse_yet() {
        let mut trend = Trend { last_slope: 0.2, ..Trend::default() };
        for slope in [0.2, 0.19, 0.18] {
            trend.judge(slope, 20.0, 20.0);
            trend.last_slope = slope;
            assert_eq!(trend.usage(), Usage::Normal);
        }
        trend.judge(0.18, 20.0, 20.0);
        assert_eq!(trend.usage(), Usage::Over);
    }

    #[test]
    fn growing_delay_is_overuse_and_falling_delay_underuse() {
        let (mut trend, mut arrival) = (Trend::default(), 7_000_000);
        feed(&mut trend, &mut arrival, 60, 0);
        feed(&mut trend, &mut arrival, 20, 4000);
        assert_eq!(trend.usage(), Usage::Over);
        feed(&mut trend, &mut arrival, 40, -4000);
        assert_eq!(trend.usage(), Usage::Under);
        feed(&mut trend, &mut arrival, 100, 0);
        assert_eq!(trend.usage(), Usage::Normal);
    }
}
