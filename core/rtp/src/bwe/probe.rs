//! When to send more than needed, and what it proves.
//!
//! Source: the idea and the fractions of libwebrtc's `probe_controller` and `probe_bitrate_estimator`.

use std::time::Duration;

use model::Timestamp;

/// How long a probe is sent. Longer than libwebrtc's 15 ms, to see through a token bucket's burst.
pub const PROBE_DURATION: Duration = Duration::from_millis(200);
/// The first part of a probe may pass on saved-up tokens and is not measured.
const SETTLE: Duration = Duration::from_millis(100);
/// Feedback for a probe is waited for at most this long; where nothing else is sent none comes after it.
const PATIENCE: Duration = Duration::from_secs(2);
/// A probe asks for this multiple of the estimate.
const AMBITION: f64 = 2.0;
/// And for no less: in packets of padding, `PACKETS_MIN` of them after `SETTLE`.
const RATE_MIN: f64 = 150e3;
/// A probe that carried this part of its rate succeeded: ask for more at once.
const SUCCESS: f64 = 0.7;
/// Below this part of the sent rate the path was the limit.
const SATURATED: f64 = 0.9;
/// What of a saturated path's rate is taken.
const UTILIZATION: f64 = 0.9;
/// Packets that a measurement needs, and the time between first and last.
const PACKETS_MIN: u32 = 5;
const MEASURED_MIN: Duration = Duration::from_millis(50);
/// Between a success and the next probe.
const PAUSE_MIN: Duration = Duration::from_millis(200);
/// After a failure or a cut, doubling with each until [`PAUSE_MAX`].
const PAUSE_FAILED: Duration = Duration::from_secs(3);
const PAUSE_MAX: Duration = Duration::from_secs(24);
/// A cut this soon after a success takes the success back.
const REGRET: Duration = Duration::from_secs(5);

/// What a probe proved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The path carries this many bit/s.
    Carried(f64),
    /// Too little was sent or heard of.
    Inconclusive,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    rate: f64,
    start: Timestamp,
    packets: u32,
    bytes: u32,
    first_size: u16,
    last_size: u16,
    first_sent: Timestamp,
    last_sent: Timestamp,
    first_arrival: i64,
    last_arrival: i64,
    /// A packet sent after the probe was heard of.
    is_over: bool,
}

/// The probe that is on its way, and the pause until the next.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    /// bit/s that are of use.
    pub(super) demand: f64,
    running: Option<Running>,
    not_before: Timestamp,
    /// Of the next failure.
    pause: Duration,
    succeeded: Option<Timestamp>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            demand: 0.0,
            running: None,
            not_before: Timestamp::ZERO,
            pause: PAUSE_FAILED,
            succeeded: None,
        }
    }
}

impl Probe {
    /// Whether one is on its way, or would be of use and not too early.
    pub(super) fn is_due(&self, now: Timestamp, estimate: f64) -> bool {
        self.running.is_some() || now >= self.not_before && self.demand > estimate
    }

    /// Starts a probe above `estimate` if it is time and of use; gives its rate.
    pub(super) fn start(&mut self, now: Timestamp, estimate: f64) -> Option<f64> {
        if self.running.is_some() || !self.is_due(now, estimate) {
            return None;
        }
        if self.succeeded.is_some_and(|succeeded| now.since(succeeded) > REGRET) {
            self.pause = PAUSE_FAILED;
        }
        let rate = (AMBITION * estimate).max(RATE_MIN).min(1.1 * self.demand);
        self.running = Some(Running {
            rate,
            start: now,
            packets: 0,
            bytes: 0,
            first_size: 0,
            last_size: 0,
            first_sent: now,
            last_sent: now,
            first_arrival: 0,
            last_arrival: 0,
            is_over: false,
        });
        Some(rate)
    }

    /// Takes any packet that arrived.
    pub(super) fn add(&mut self, sent: Timestamp, arrival: i64, size: u16) {
        let Some(running) = &mut self.running else { return };
        if sent > running.start + PROBE_DURATION {
            running.is_over = true;
            return;
        }
        if sent < running.start + SETTLE {
            return;
        }
        if running.packets == 0 {
            running.first_size = size;
            running.first_sent = sent;
            running.first_arrival = arrival;
            running.last_arrival = arrival;
        }
        running.packets += 1;
        running.bytes = running.bytes.saturating_add(u32::from(size));
        running.last_size = size;
        running.last_sent = running.last_sent.max(sent);
        running.first_arrival = running.first_arrival.min(arrival);
        running.last_arrival = running.last_arrival.max(arrival);
    }

    /// The verdict, once all that can be heard of the probe was heard.
    pub(super) fn conclude(&mut self, now: Timestamp) -> Option<Verdict> {
        let running = self.running?;
        if !running.is_over && now < running.start + PATIENCE {
            return None;
        }
        self.running = None;
        let Some(measured) = running.measured() else {
            self.not_before = now + PAUSE_FAILED;
            return Some(Verdict::Inconclusive);
        };
        if measured >= SUCCESS * running.rate {
            self.succeeded = Some(now);
            self.not_before = now + PAUSE_MIN;
        } else {
            self.fail(now);
        }
        Some(Verdict::Carried(measured))
    }

    /// The estimate was cut: wait, and longer if it was a probe that had raised it.
    pub(super) fn postpone(&mut self, now: Timestamp) {
        let lasted = self.succeeded.take().map(|succeeded| now.since(succeeded) >= REGRET);
        if lasted == Some(false) {
            self.fail(now);
            return;
        }
        if lasted == Some(true) {
            self.pause = PAUSE_FAILED;
        }
        self.not_before = self.not_before.max(now + PAUSE_FAILED);
    }

    fn fail(&mut self, now: Timestamp) {
        self.not_before = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}

impl Running {
    /// bit/s, from the first to the last packet.
    fn measured(&self) -> Option<f64> {
        let sent_for = self.last_sent.since(self.first_sent).as_secs_f64();
        let arrived_for = (self.last_arrival - self.first_arrival) as f64 / 1e6;
        let is_enough = self.packets >= PACKETS_MIN && sent_for >= MEASURED_MIN.as_secs_f64();
        if !is_enough || arrived_for <= 0.0 {
            return None;
        }
        let bits = |without: u16| f64::from(self.bytes.saturating_sub(u32::from(without))) * 8.0;
        let sent = bits(self.last_size) / sent_for;
        let arrived = bits(self.first_size) / arrived_for;
        Some(if arrived < SATURATED * sent { UTILIZATION * arrived } else { arrived.min(sent) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_that_lasted_takes_back_the_pauses_of_before() {
        let at = Timestamp::from_millis;
        let mut probe = Probe { demand: 1e6, ..Probe::default() };
        for _ in 0..4 {
            probe.fail(at(10_000));
        }
        (probe.succeeded, probe.not_before) = (Some(at(100_000)), at(100_200));
        probe.postpone(at(3_700_000));
        assert_eq!(probe.not_before, at(3_703_000));
        assert!(probe.start(at(3_703_000), 500e3).is_some());
        probe.running = None;
        probe.fail(at(3_703_300));
        assert_eq!(probe.not_before, at(3_706_300));
    }
}
