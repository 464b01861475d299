//! How much one subscriber's path carries, judged from transport-wide feedback.
//!
//! Owns: the estimate, and when to probe for more. Guarantees: falls when queues grow or packets
//! are lost, down to about what is delivered; grows only as far as half above what is delivered, or
//! to what a probe proved; a sender that has little to send does not make it fall. Fixed size. Not
//! here: pacing, sending probes, dividing the estimate among subscriptions (`sfu`); REMB. Source:
//! draft-ietf-rmcat-gcc-02; constants as in libwebrtc's `goog_cc` (`trendline_estimator`,
//! `aimd_rate_control`), the control simplified to one estimate.

mod arrival;
mod probe;
mod throughput;
mod trend;

use std::time::Duration;

use model::{DataRate, Timestamp};

use self::arrival::ArrivalGroups;
use self::probe::{Probe, Verdict};
use self::throughput::Throughput;
use self::trend::{Trend, Usage};
use crate::twcc::PacketResult;

pub use self::probe::PROBE_DURATION;

/// The estimate stays within these: enough for sound, and far above any subscription.
const ESTIMATE_MIN: f64 = 50e3;
const ESTIMATE_MAX: f64 = 100e6;
/// What is left of the delivered rate after overuse, so that the queue drains.
const BACKOFF: f64 = 0.85;
/// Growth per second far from the last known ceiling.
const GROWTH: f64 = 0.08;
/// Delivering less than this part of what is sent proves a bottleneck.
const DELIVERED: f64 = 0.9;
/// A sender below this part of the estimate has little to send.
const APPLICATION_LIMITED: f64 = 0.7;
/// Around the last ceiling, growth is linear.
const CEILING_NEAR: std::ops::Range<f64> = 0.75..1.25;
const CEILING_OVERSHOOT: f64 = 1.03;
/// Loss from which the estimate falls, and below which it may grow. Draft §6.
const LOSS_HIGH: f64 = 0.1;
const LOSS_LOW: f64 = 0.02;
const LOSS_DOUBT: f64 = 0.7;
const LOSS_TOLERATED_MAX: f64 = 0.3;
/// Loss is judged over this many packets, or this long where fewer are sent: of twenty that are lost by chance at 5 %
/// more than a tenth are every thirteenth time.
const LOSS_PACKETS: u32 = 200;
const LOSS_INTERVAL: Duration = Duration::from_secs(2);
/// Over no fewer and no shorter, whatever they say.
const LOSS_PACKETS_MIN: u32 = 20;
const LOSS_INTERVAL_MIN: Duration = Duration::from_millis(250);
/// Chance may lose more than the path does, by so many standard deviations: where judgement can wait it takes more.
const LOSS_DEVIATIONS: f64 = 1.0;
const LOSS_DEVIATIONS_EARLY: f64 = 2.5;
/// Delay above this, in ms, is a queue; less may be jitter.
const QUEUE_MIN: f64 = 25.0;
/// A cut shows after the round trip and this.
const RESPONSE: Duration = Duration::from_millis(200);
/// Until somebody measured it.
const RTT_INITIAL: Duration = Duration::from_millis(100);
const RTT_MAX: Duration = Duration::from_secs(1);

/// Delay and loss that were told of before this say nothing of the path as it is.
const MEMORY: Duration = Duration::from_secs(2);

/// The send-side bandwidth estimator of one subscriber.
#[derive(Clone, Debug)]
pub struct Estimator {
    /// Bits per second.
    estimate: f64,
    groups: ArrivalGroups,
    trend: Trend,
    sent: Throughput,
    delivered: Throughput,
    /// Delivered when the path was last overused, in bit/s.
    ceiling: Option<f64>,
    loss: Loss,
    rtt: Duration,
    probe: Probe,
    /// Of the last feedback.
    updated: Option<Timestamp>,
    /// Of the last time that the estimate was cut.
    cut: Timestamp,
}

impl Estimator {
    /// Begins with `initial` as the estimate.
    #[must_use]
    pub fn new(initial: DataRate) -> Self {
        Self {
            estimate: (initial.as_bps() as f64).clamp(ESTIMATE_MIN, ESTIMATE_MAX),
            groups: ArrivalGroups::default(),
            trend: Trend::default(),
            sent: Throughput::default(),
            delivered: Throughput::default(),
            ceiling: None,
            loss: Loss::NONE,
            rtt: RTT_INITIAL,
            probe: Probe::default(),
            updated: None,
            cut: Timestamp::ZERO,
        }
    }

    /// What the path is believed to carry, all bytes counted that are counted in [`PacketResult::size`].
    #[must_use]
    pub fn estimate(&self) -> DataRate {
        rate(self.estimate)
    }

    /// The round trip to the subscriber, as RTCP measures it.
    pub fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt.min(RTT_MAX);
    }

    /// What all subscriptions would take if they could. No probe goes beyond a tenth above it.
    pub fn set_demand(&mut self, demand: DataRate) {
        self.probe.demand = demand.as_bps() as f64;
    }

    /// Whether [`Self::probe_wanted`] may have something to say: for callers to whom finding out whether they have
    /// something to probe with costs more.
    #[must_use]
    pub fn may_probe(&self, now: Timestamp) -> bool {
        self.updated.is_some() && self.probe.is_due(now, self.estimate)
    }

    /// The rate to probe with, if now is the time for a probe. Ask on every timer turn; each answer is one probe.
    ///
    /// The caller then sends at this rate in all, media and padding together, evenly, for
    /// [`PROBE_DURATION`] from `now` on. A caller with nothing to send loses nothing.
    pub fn probe_wanted(&mut self, now: Timestamp) -> Option<DataRate> {
        // Loss without a queue may be the path's own. What a probe carries is measured whatever is lost.
        let is_clear =
            self.loss.fraction < LOSS_LOW || (!self.loss.is_high && self.trend.queue() < QUEUE_MIN);
        let is_calm = self.trend.usage() == Usage::Normal && is_clear;
        // Who is sent nothing tells nothing: only a probe can show that the path is wide again.
        let is_silent = now.since(self.updated?) > MEMORY;
        self.conclude_probe(now);
        if !is_calm && !is_silent {
            return None;
        }
        self.probe.start(now, self.estimate).map(rate)
    }

    /// Takes what one feedback told, in any order. Lost packets are results without an arrival.
    pub fn feedback(&mut self, now: Timestamp, results: impl IntoIterator<Item = PacketResult>) {
        for result in results {
            self.loss.add(&result);
            if !result.was_lost {
                self.sent.add(result.sent.as_micros().cast_signed(), result.size);
            }
            let Some(arrival) = result.arrival else { continue };
            self.delivered.add(arrival, result.size);
            self.probe.add(result.sent, arrival, result.size);
            if let Some(group) = self.groups.add(result.sent, arrival) {
                self.trend.add(&group);
            }
        }
        let elapsed = self.updated.map_or(Duration::ZERO, |updated| now.since(updated));
        self.updated = Some(now);
        let loss_is_new = self.loss.judge(now, self.estimate);
        self.conclude_probe(now);
        match self.trend.usage() {
            Usage::Over => self.back_off(now),
            Usage::Under => {}
            Usage::Normal if self.loss.is_high => {
                if loss_is_new {
                    self.yield_to_loss(now);
                }
            }
            Usage::Normal if self.loss.fraction > LOSS_LOW => {}
            Usage::Normal => self.grow(elapsed),
        }
        self.estimate = self.estimate.clamp(ESTIMATE_MIN, ESTIMATE_MAX);
    }

    /// Takes the verdict of a probe that is over.
    fn conclude_probe(&mut self, now: Timestamp) {
        match self.probe.conclude(now) {
            Some(Verdict::Carried(measured)) => {
                self.estimate = self.estimate.max(measured).min(ESTIMATE_MAX);
            }
            Some(Verdict::Inconclusive) | None => {}
        }
    }

    /// Delay grows: if that is a queue and no mere jitter, go below what is delivered.
    fn back_off(&mut self, now: Timestamp) {
        let Some(delivered) = self.delivered.rate() else { return };
        if self.trend.queue() < QUEUE_MIN {
            return;
        }
        let sent = self.sent.rate().unwrap_or(delivered);
        if delivered < DELIVERED * sent || sent > APPLICATION_LIMITED * self.estimate {
            let known = self.ceiling.filter(|known| CEILING_NEAR.contains(&(delivered / known)));
            self.ceiling = Some(known.map_or(delivered, |known| (known + delivered) / 2.0));
            let is_far = delivered < self.estimate / 2.0;
            if is_far || now.since(self.cut) > self.rtt.min(RESPONSE) {
                self.cut_to(BACKOFF * delivered, now);
            }
        } else if now.since(self.cut) > self.rtt + RESPONSE {
            // What is delivered says little about the path: go down step by step.
            self.cut_to(BACKOFF * self.estimate.max(delivered), now);
        }
    }

    /// Packets are lost: go below what is delivered if a queue is full, else down by half the loss.
    fn yield_to_loss(&mut self, now: Timestamp) {
        if now.since(self.cut) <= self.rtt + RESPONSE {
            return;
        }
        let delivered = self.delivered.rate().unwrap_or(0.0);
        let sent = self.sent.rate().unwrap_or(delivered);
        let target = if self.trend.queue() > QUEUE_MIN && delivered < DELIVERED * sent {
            BACKOFF * delivered
        } else {
            (self.estimate * (1.0 - self.loss.fraction / 2.0)).max(BACKOFF * delivered)
        };
        self.loss.blame(self.estimate);
        self.cut_to(target, now);
    }

    fn cut_to(&mut self, target: f64, now: Timestamp) {
        if target < self.estimate {
            self.estimate = target;
            self.cut = now;
            self.probe.postpone(now);
        }
    }

    fn grow(&mut self, elapsed: Duration) {
        let Some(delivered) = self.delivered.rate() else { return };
        if self.ceiling.is_some_and(|ceiling| delivered > CEILING_NEAR.end * ceiling) {
            self.ceiling = None;
        }
        let elapsed = elapsed.min(Duration::from_secs(1)).as_secs_f64();
        let mut bound = 1.5 * delivered + 10e3;
        let mut step = self.estimate * GROWTH;
        if let Some(ceiling) = self.ceiling
            && CEILING_NEAR.contains(&(self.estimate / ceiling))
        {
            // About half a packet per response time, and not far past what is known to be the end.
            bound = bound.min(CEILING_OVERSHOOT * ceiling.max(delivered));
            let packet = (self.estimate / 30.0).min(9600.0);
            step = (packet / 2.0 / (self.rtt + RESPONSE / 2).as_secs_f64()).max(4000.0);
        }
        if self.estimate < bound {
            self.estimate = (self.estimate + step * elapsed).min(bound);
        }
    }
}

/// The share of packets that were lost, over the last full interval.
#[derive(Clone, Copy, Debug)]
struct Loss {
    lost: u32,
    total: u32,
    since: Option<Timestamp>,
    fraction: f64,
    /// More than what is tolerated, and by more than chance.
    is_high: bool,
    /// What is not taken for congestion.
    tolerated: f64,
    /// Estimate and loss when loss first made the estimate fall.
    blamed: Option<(f64, f64)>,
}

impl Loss {
    const NONE: Self = Self {
        lost: 0,
        total: 0,
        since: None,
        fraction: 0.0,
        is_high: false,
        tolerated: LOSS_HIGH,
        blamed: None,
    };

    fn add(&mut self, result: &PacketResult) {
        if result.was_lost {
            self.lost = self.lost.saturating_sub(1);
        } else {
            self.total = self.total.saturating_add(1);
            self.lost = self.lost.saturating_add(u32::from(result.arrival.is_none()));
        }
    }

    fn blame(&mut self, estimate: f64) {
        self.blamed.get_or_insert((estimate, self.fraction));
    }

    /// Closes the interval if it says enough; true if `fraction` is new.
    ///
    /// Loss that stays as it was while the estimate fell by [`LOSS_DOUBT`] is the path's own: more
    /// yielding would not cure it.
    fn judge(&mut self, now: Timestamp, estimate: f64) -> bool {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.since(since);
        if self.total < LOSS_PACKETS_MIN || elapsed < LOSS_INTERVAL_MIN {
            return false;
        }
        let (lost, total) = (f64::from(self.lost), f64::from(self.total));
        let exceeds = |deviations: f64| lost - deviations * lost.sqrt() > self.tolerated * total;
        let is_full = self.total >= LOSS_PACKETS || elapsed >= LOSS_INTERVAL;
        self.is_high = exceeds(if is_full { LOSS_DEVIATIONS } else { LOSS_DEVIATIONS_EARLY });
        if !is_full && !self.is_high {
            return false;
        }
        self.fraction = lost / total;
        (self.lost, self.total, self.since) = (0, 0, Some(now));
        if self.fraction < LOSS_LOW {
            (self.tolerated, self.blamed) = (LOSS_HIGH, None);
        } else if let Some((before, fraction)) = self.blamed
            && estimate < LOSS_DOUBT * before
        {
            if self.fraction > LOSS_DOUBT * fraction {
                self.tolerated = (1.5 * self.fraction).min(LOSS_TOLERATED_MAX);
            }
            self.blamed = None;
        }
        true
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates; all rates here are between zero and ESTIMATE_MAX"
)]
fn rate(bps: f64) -> DataRate {
    DataRate::from_bps(bps as u64)
}

#[cfg(test)]
mod tests;
