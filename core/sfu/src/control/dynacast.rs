//! The highest quality of a track that anybody wants, so that the publisher need not send more.
//!
//! Owns: how many want which, what the publisher was told last, and a lowering that waits.
//! Guarantees: raised at once, lowered only after the wish has held for [`LOWER_AFTER`]; who changes its wish costs the
//! same however many receive the track.
//! Source: LiveKit `pkg/rtc/dynacast/dynacastquality.go`.

use std::time::Duration;

use model::{Quality, Timestamp};

/// How long a lower wish must hold. A subscriber who scrolls by should not stop an encoder.
pub(super) const LOWER_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Dynacast {
    /// Subscribers by what they want, from `Off`.
    wanting: [u32; 4],
    /// What the publisher sends until it is told otherwise is everything.
    told: Quality,
    /// When to tell of a lower wish.
    lower_at: Option<Timestamp>,
}

/// What a change of the wish leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing.
    Keep,
    /// Tell the publisher.
    Tell(Quality),
    /// Ask again then.
    Wait(Timestamp),
}

impl Dynacast {
    pub(super) const fn new() -> Self {
        Self { wanting: [0; 4], told: Quality::High, lower_at: None }
    }

    /// A subscriber that wanted one quality wants another. `None`: it was none, or is none any more.
    pub(super) fn count(&mut self, before: Option<Quality>, after: Option<Quality>) {
        if let Some(held) = before.and_then(|quality| self.wanting.get_mut(quality as usize)) {
            *held = held.saturating_sub(1);
        }
        if let Some(held) = after.and_then(|quality| self.wanting.get_mut(quality as usize)) {
            *held += 1;
        }
    }

    /// The highest quality that a subscriber wants.
    pub(super) fn wanted(&self) -> Quality {
        let all = [Quality::Off, Quality::Low, Quality::Medium, Quality::High];
        let wanted = all.into_iter().zip(self.wanting).rev().find(|(_, count)| *count > 0);
        wanted.map_or(Quality::Off, |(quality, _)| quality)
    }

    pub(super) const fn told(&self) -> Quality {
        self.told
    }

    pub(super) fn weigh(&mut self, now: Timestamp) -> Decision {
        let wanted = self.wanted();
        if wanted >= self.told {
            self.lower_at = None;
            if wanted == self.told {
                return Decision::Keep;
            }
            self.told = wanted;
            return Decision::Tell(wanted);
        }
        match self.lower_at {
            Some(at) if now >= at => {
                self.lower_at = None;
                self.told = wanted;
                Decision::Tell(wanted)
            }
            Some(_) => Decision::Keep,
            None => {
                let at = now + LOWER_AFTER;
                self.lower_at = Some(at);
                Decision::Wait(at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only subscriber wants this from now on.
    fn weigh(dynacast: &mut Dynacast, at_s: u64, wanted: Quality) -> Decision {
        let before = (dynacast.wanting != [0; 4]).then(|| dynacast.wanted());
        dynacast.count(before, Some(wanted));
        dynacast.weigh(Timestamp::from_millis(at_s * 1000))
    }

    #[test]
    fn a_lower_wish_waits_and_a_higher_one_does_not() {
        let mut dynacast = Dynacast::new();
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        assert_eq!(weigh(&mut dynacast, 0, Quality::High), Decision::Keep);
        assert_eq!(weigh(&mut dynacast, 1, Quality::Low), Decision::Wait(at(6)));
        assert_eq!(weigh(&mut dynacast, 5, Quality::Low), Decision::Keep);
        assert_eq!(weigh(&mut dynacast, 6, Quality::Low), Decision::Tell(Quality::Low));
        assert_eq!(weigh(&mut dynacast, 7, Quality::Medium), Decision::Tell(Quality::Medium));
    }

    #[test]
    fn a_wish_that_returns_in_time_is_never_told() {
        let mut dynacast = Dynacast::new();
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        weigh(&mut dynacast, 0, Quality::Off);
        assert_eq!(weigh(&mut dynacast, 4, Quality::High), Decision::Keep);
        assert_eq!(weigh(&mut dynacast, 6, Quality::Off), Decision::Wait(at(11)));
    }

    #[test]
    fn the_highest_of_many_wishes_counts_as_long_as_somebody_has_it() {
        let mut dynacast = Dynacast::new();
        assert_eq!(dynacast.wanted(), Quality::Off);
        for quality in [Quality::High, Quality::Low, Quality::High, Quality::Off] {
            dynacast.count(None, Some(quality));
        }
        dynacast.count(Some(Quality::High), Some(Quality::Medium));
        assert_eq!(dynacast.wanted(), Quality::High);
        dynacast.count(Some(Quality::High), None);
        assert_eq!(dynacast.wanted(), Quality::Medium);
        dynacast.count(Some(Quality::Medium), Some(Quality::Off));
        assert_eq!(dynacast.wanted(), Quality::Low);
    }
}
