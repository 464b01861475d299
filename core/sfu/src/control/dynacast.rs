//! The highest quality of a track that anybody wants, so that the publisher need not send more.
//!
//! Owns: what the publisher was told last, and a lowering that waits.
//! Guarantees: raised at once, lowered only after the wish has held for [`LOWER_AFTER`].
//! Source: LiveKit `pkg/rtc/dynacast/dynacastquality.go`.

use std::time::Duration;

use model::{Quality, Timestamp};

/// How long a lower wish must hold. A subscriber who scrolls by should not stop an encoder.
pub(super) const LOWER_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Dynacast {
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
        Self { told: Quality::High, lower_at: None }
    }

    /// `wanted` is the highest quality that a subscriber wants.
    pub(super) fn weigh(&mut self, now: Timestamp, wanted: Quality) -> Decision {
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

    #[test]
    fn a_lower_wish_waits_and_a_higher_one_does_not() {
        let mut dynacast = Dynacast::new();
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        assert_eq!(dynacast.weigh(at(0), Quality::High), Decision::Keep);
        assert_eq!(dynacast.weigh(at(1), Quality::Low), Decision::Wait(at(6)));
        assert_eq!(dynacast.weigh(at(5), Quality::Low), Decision::Keep);
        assert_eq!(dynacast.weigh(at(6), Quality::Low), Decision::Tell(Quality::Low));
        assert_eq!(dynacast.weigh(at(7), Quality::Medium), Decision::Tell(Quality::Medium));
    }

    #[test]
    fn a_wish_that_returns_in_time_is_never_told() {
        let mut dynacast = Dynacast::new();
        let at = |seconds: u64| Timestamp::from_millis(seconds * 1000);
        dynacast.weigh(at(0), Quality::Off);
        assert_eq!(dynacast.weigh(at(4), Quality::High), Decision::Keep);
        assert_eq!(dynacast.weigh(at(6), Quality::Off), Decision::Wait(at(11)));
    }
}
