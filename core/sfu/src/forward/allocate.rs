//! Divides what a receiver can take among its video subscriptions.
//!
//! Source: the order of LiveKit's `streamallocator.go`, screens first, without overshoot.

use model::{DataRate, Layer, Timestamp, TrackKind};

use super::arena::Memory;
use super::peer::INITIAL_ESTIMATE;
use super::subscription::Subscription;
use super::track::{Track, sound_rate_max};
use super::{Forward, Outside};
use crate::Report;

/// Sending this much of what the way carries fills its queue faster than a new layer's key frame comes: the old layer
/// would keep that frame waiting, or crowd it out.
const FLOODED_PERCENT: u64 = 200;

/// One subscription's wish.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    /// Rates of the spatial layers 0.. that flow; zero for one that does not, or of which a narrow way does not know
    /// whether it has room. Of the lowest, of what it has, and of what is below, without key frames.
    pub(super) rates: [DataRate; Layer::SPATIAL_MAX],
    /// The highest spatial layer that it may have.
    pub(super) best: u8,
    /// And the highest that it may be given now.
    pub(super) ceiling: u8,
    /// What it has now: going above it needs room to spare.
    pub(super) current: Option<u8>,
}

impl Demand {
    /// What it takes now.
    pub(super) fn sending(&self) -> DataRate {
        self.current.map_or(DataRate::ZERO, |current| rate(self, current))
    }
}

/// What one receiver's subscriptions wish. Reused by each allocation.
#[derive(Debug, Default)]
pub(super) struct Demands {
    rows: Vec<u32>,
    demands: Vec<Demand>,
    choices: Vec<Option<u8>>,
    /// Of them, those of screens: they are the first.
    screens: usize,
    sound: DataRate,
    /// What all would take if they could, and what the pictures take now.
    wished: DataRate,
    sending: DataRate,
    is_numbered: bool,
}

impl Demands {
    fn clear(&mut self) {
        self.rows.clear();
        self.demands.clear();
        (self.screens, self.is_numbered) = (0, false);
        (self.sound, self.wished, self.sending) = Default::default();
    }

    fn push(&mut self, row: u32, demand: Demand, is_screen: bool) {
        self.sending = self.sending.saturating_add(demand.sending());
        let place = if is_screen { self.screens } else { self.rows.len() };
        self.screens += usize::from(is_screen);
        self.rows.insert(place, row);
        self.demands.insert(place, demand);
    }

    /// What the way has to carry for all to be given what they wish: no less than what going up to it needs, or nobody
    /// would ever find out that it has room.
    fn wanted(&self) -> DataRate {
        let missing = self.wished.saturating_sub(self.sending);
        self.sound.saturating_add(self.wished).saturating_add(missing.percent(UP_PERCENT - 100))
    }
}

/// What a layer brings that has just begun, by the one below: nothing is known of it for half a second, and several of
/// them would fill any way. Browsers' layers have 150, 500 and 1,700 to 2,500 kbit/s.
const ABOVE_PERCENT: u64 = 400;
const LOWEST_GUESS: DataRate = DataRate::from_kbps(125);

/// A layer is gone up to when this much of its rate is free.
const UP_PERCENT: u64 = 115;

impl<M: Memory> Forward<M> {
    /// Divides what a receiver can take among its subscriptions.
    pub(super) fn allocate(&mut self, now: Timestamp, row: u32, outside: &mut impl Outside) {
        let mut demands = std::mem::take(&mut self.demands);
        demands.clear();
        self.gather(now, row, &mut demands);
        let Some(peer) = self.peers.get_mut(row) else {
            self.demands = demands;
            return;
        };
        let downlink = peer.downlink();
        downlink.allocated = Some(now);
        downlink.is_numbered = demands.is_numbered;
        let cap = downlink.cap.unwrap_or(DataRate::MAX);
        downlink.estimator.set_demand(demands.wanted().min(cap));
        let carries = downlink.carries(now).min(cap);
        let budget = carries.saturating_sub(demands.sound);
        allocate(budget, &demands.demands, &mut demands.choices);
        // What is merely assumed of the way is no reason to stop a picture.
        if !downlink.has_feedback && carries >= INITIAL_ESTIMATE {
            for (demand, choice) in demands.demands.iter().zip(&mut demands.choices) {
                *choice = choice.or_else(|| next_layer(demand, None, 0));
            }
        }
        let is_flooded =
            carries < INITIAL_ESTIMATE && demands.sending > budget.percent(FLOODED_PERCENT);
        let chosen = demands.demands.iter().zip(demands.choices.iter().copied());
        for (&at, (demand, choice)) in demands.rows.iter().zip(chosen) {
            if is_flooded && let Some(subscription) = self.subscriptions.get_mut(at) {
                subscription.fall(choice);
            }
            self.choose(now, at, (demand, choice), outside);
        }
        self.demands = demands;
    }

    /// Finds out what each of a receiver's subscriptions wishes; sound, and what wishes nothing, has that at once.
    fn gather(&mut self, now: Timestamp, row: u32, demands: &mut Demands) {
        let Some(peer) = self.peers.get_mut(row) else {
            return;
        };
        let downlink = peer.downlink();
        let cap = downlink.cap.unwrap_or(DataRate::MAX);
        let is_narrow = downlink.carries(now).min(cap) < INITIAL_ESTIMATE;
        for &at in &peer.subscriptions {
            let Some(subscription) = self.subscriptions.get_mut(at) else {
                continue;
            };
            let Some(track) = self.tracks.get(subscription.track) else {
                continue;
            };
            demands.is_numbered |= subscription.extensions.is_transport_wide();
            if track.kind == TrackKind::Audio {
                match subscription.spec.limit {
                    Some(layer) => subscription.target = Some(layer),
                    None => subscription.stop(),
                }
                if !track.is_heard(now) {
                    continue;
                }
                // What it brings at once is no reason to stop a picture.
                let most = sound_rate_max(subscription.spec.codec);
                demands.sound = demands.sound.saturating_add(track.rate(0).min(most));
                continue;
            }
            let Some(wanted) = subscription.spec.limit else {
                subscription.stop();
                continue;
            };
            // While nothing comes there is nothing to divide, and what comes next may go on where this one was.
            let Some(best) = track.best_layer(now, wanted) else {
                continue;
            };
            demands.wished = demands.wished.saturating_add(track.rate(best.spatial));
            let Some(ceiling) = subscription.ceiling(now) else {
                continue;
            };
            let mut demand = demand(track, now, best, subscription, is_narrow);
            // What there is of it besides comes at once, or will be known.
            let Some(lowest) = next_layer(&demand, None, 0) else {
                continue;
            };
            demand.ceiling = ceiling.max(lowest);
            demands.push(at, demand, subscription.spec.is_screen);
        }
    }

    fn choose(
        &mut self,
        now: Timestamp,
        row: u32,
        (demand, choice): (&Demand, Option<u8>),
        outside: &mut impl Outside,
    ) {
        let Some(subscription) = self.subscriptions.get_mut(row) else {
            return;
        };
        let id = subscription.spec.subscription;
        let temporal = subscription.spec.limit.map_or(0, |layer| layer.temporal);
        let paused = choice.is_none();
        let is_new = subscription.paused.replace(paused) != Some(paused);
        let target = choice.map(|spatial| Layer { spatial, temporal });
        let cost = choice.map_or(DataRate::ZERO, |layer| rate(demand, layer));
        subscription.aim(now, target, cost, choice < Some(demand.best));
        let track = subscription.track;
        if let Some(spatial) = subscription.awaits_keyframe(now, &self.peers) {
            self.want_keyframe(now, track, spatial, outside);
        }
        if is_new {
            self.report(Report::Bandwidth { subscription: id, paused });
        }
    }
}

fn demand(
    track: &Track,
    now: Timestamp,
    best: Layer,
    subscription: &Subscription,
    is_narrow: bool,
) -> Demand {
    let current = subscription.current;
    let mut rates = [DataRate::ZERO; Layer::SPATIAL_MAX];
    let mut below = DataRate::ZERO;
    for ((spatial, rate), stream) in (0..).zip(&mut rates).zip(&track.streams) {
        if !stream.is_there(now) {
            continue;
        }
        let is_held = current.is_some_and(|current| spatial <= current);
        let measured = if spatial == 0 && !stream.is_measured() {
            // The lowest is tried whatever it needed before.
            DataRate::ZERO
        } else if spatial == 0 || is_held {
            // What it has it does not leave for the key frame that it began with, and would ask for again.
            if current == Some(spatial) {
                stream.lasting_since(now, subscription.began)
            } else {
                stream.lasting_rate
            }
        } else {
            stream.rate
        };
        if spatial == 0 {
            // What has just begun has no rate yet, and is no less there.
            *rate = measured.max(DataRate::from_bps(1));
        } else if measured > DataRate::ZERO || is_narrow {
            *rate = measured;
        } else {
            *rate = below.max(LOWEST_GUESS).percent(ABOVE_PERCENT);
        }
        below = *rate;
    }
    Demand { rates, best: best.spatial, ceiling: u8::MAX, current }
}

/// Chooses a spatial layer for each demand within `budget`; `None` pauses it.
///
/// Fills `choices`, one for each demand in order. Every subscription gets its lowest layer before any
/// gets a higher one, then all rise in step; the first in order is served first.
fn allocate(budget: DataRate, demands: &[Demand], choices: &mut Vec<Option<u8>>) {
    choices.clear();
    choices.resize(demands.len(), None);
    let mut left = budget;
    for round in 0..u8::try_from(Layer::SPATIAL_MAX).unwrap_or(u8::MAX) {
        for (demand, choice) in demands.iter().zip(choices.iter_mut()) {
            let held = choice.map_or(DataRate::ZERO, |layer| rate(demand, layer));
            let Some(next) = next_layer(demand, *choice, round) else {
                continue;
            };
            let cost = rate(demand, next).saturating_sub(held);
            let is_up = demand.current.is_none_or(|current| next > current);
            let needed = if is_up && next > 0 { cost.percent(UP_PERCENT) } else { cost };
            if needed <= left {
                left = left.saturating_sub(cost);
                *choice = Some(next);
            }
        }
    }
}

/// The layer that a demand may rise to in this round: the lowest that flows, then one by one.
fn next_layer(demand: &Demand, choice: Option<u8>, round: u8) -> Option<u8> {
    let flows = |layer: &u8| rate(demand, *layer) > DataRate::ZERO;
    let most = demand.best.min(demand.ceiling);
    match choice {
        None => (0..=most).find(flows),
        Some(layer) => (layer + 1..=most.min(round)).find(flows),
    }
}

fn rate(demand: &Demand, layer: u8) -> DataRate {
    demand.rates.get(usize::from(layer)).copied().unwrap_or(DataRate::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAMERA: [DataRate; 3] =
        [DataRate::from_kbps(150), DataRate::from_kbps(500), DataRate::from_kbps(1700)];

    fn check(kbps: u64, currents: &[Option<u8>], expect: &[Option<u8>]) {
        let demands: Vec<_> = currents
            .iter()
            .map(|&current| Demand { rates: CAMERA, best: 2, ceiling: 2, current })
            .collect();
        let mut choices = Vec::new();
        allocate(DataRate::from_kbps(kbps), &demands, &mut choices);
        assert_eq!(choices, expect, "{kbps} kbit/s");
    }

    #[test]
    fn everyone_gets_the_lowest_before_anyone_gets_more() {
        check(10_000, &[None; 2], &[Some(2), Some(2)]);
        check(1_100, &[None; 2], &[Some(1), Some(1)]);
        check(750, &[None; 2], &[Some(1), Some(0)]);
        check(400, &[Some(2), Some(2)], &[Some(0), Some(0)]);
        check(200, &[Some(0), Some(0)], &[Some(0), None]);
        check(100, &[Some(0)], &[None]);
    }

    #[test]
    fn going_up_needs_room_to_spare_and_staying_does_not() {
        check(500, &[Some(1)], &[Some(1)]);
        check(500, &[Some(0)], &[Some(0)]);
    }

    #[test]
    fn a_layer_that_does_not_flow_is_passed_over() {
        let rates = [DataRate::ZERO, DataRate::from_kbps(500), DataRate::ZERO];
        let mut choices = Vec::new();
        let demand = Demand { rates, best: 2, ceiling: 2, current: None };
        allocate(DataRate::from_kbps(9000), &[demand], &mut choices);
        assert_eq!(choices, [Some(1)]);
    }

    proptest! {
        #[test]
        fn the_budget_is_kept(
            budget in 0u64..5000,
            wishes in prop::collection::vec((0u64..900, 0u64..900, 0u64..900, 0u8..3), 0..20)
        ) {
            let demands: Vec<_> = wishes
                .iter()
                .map(|&(a, b, c, best)| Demand {
                    rates: [a, a + b, a + b + c].map(DataRate::from_kbps),
                    best,
                    ceiling: best,
                    current: None,
                })
                .collect();
            let mut choices = Vec::new();
            allocate(DataRate::from_kbps(budget), &demands, &mut choices);
            let spent: u64 = demands
                .iter()
                .zip(&choices)
                .filter_map(|(demand, choice)| Some(rate(demand, (*choice)?).as_bps()))
                .sum();
            prop_assert!(spent <= budget * 1000);
            for (demand, choice) in demands.iter().zip(&choices) {
                prop_assert!(choice.is_none_or(|layer| layer <= demand.best));
            }
        }
    }
}
