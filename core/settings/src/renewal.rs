//! When a certificate is asked for: the first, the next, and again after one was not given.
//!
//! Guarantees: no clock and no randomness: the caller says when now is, and brings a number. Whatever asks or starts
//! the server again, an authority is asked [`ATTEMPTS_PER_HOUR`] times an hour at most while it gives nothing that
//! lasts, which is less than any authority takes.
//! Not here: asking (`bin/incamera`).
//! Source: Let's Encrypt's rate limits (five failures for a name in an hour) and its advice on renewing: at two thirds
//! of a certificate's life.

use std::fmt::Write as _;

use crate::certificate::UnixTime;
use crate::limits::FAILURES_MAX;

/// Attempts in an hour that fail, or give what does not last.
pub const ATTEMPTS_PER_HOUR: usize = 4;

const HOUR_S: u64 = 3_600;
/// How long is waited after the first failure; four times as long after each other.
const WAIT_S: u64 = 60;
/// And after many.
const WAIT_S_MAX: u64 = 6 * HOUR_S;
/// What is to be renewed sooner than this does not last. An authority of one's own may give what lives for a minute.
const LASTING_S: u64 = 10;
/// How long an authority may keep one from asking again, and how long a clock that was set back can make of it.
const HOLD_S_MAX: u64 = 24 * HOUR_S;
/// What part of a certificate's life the renewals of many servers spread over.
const SPREAD: u64 = 30;

/// When a certificate that holds from the one to the other is to be renewed: at two thirds of its life, and up to a
/// thirtieth of it later by `chance`, of 256.
#[must_use]
pub fn renew_at(valid_from: UnixTime, valid_to: UnixTime, chance: u8) -> UnixTime {
    let life = valid_to.0.saturating_sub(valid_from.0);
    let spread = life / SPREAD;
    let part = spread.saturating_mul(u64::from(chance)) / 256;
    UnixTime(valid_from.0.saturating_add(life / 3 * 2).saturating_add(part))
}

/// Attempts that have come to nothing since the last that did not, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// The last of them.
    times: Vec<UnixTime>,
}

impl Failures {
    /// Reads what [`Self::text`] wrote. Lines that are no time are passed over: an attempt more is no harm.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let times = text.lines().filter_map(|line| line.trim().parse().ok().map(UnixTime));
        let mut read = Self::default();
        times.for_each(|time| read.add(time));
        read
    }

    /// As it is kept: a second of Unix time a line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for time in &self.times {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{}", time.0);
        }
        text
    }

    /// One more.
    pub fn add(&mut self, at: UnixTime) {
        if self.times.len() == FAILURES_MAX {
            self.times.remove(0);
        }
        self.times.push(at);
    }

    /// The attempt that was added last has given a certificate that is to be renewed at `renew_at`. None are left then,
    /// unless that is now or nearly: what is to be asked for again at once has come to nothing, and the next is not to
    /// follow any sooner than after a refusal. True if none are left.
    pub fn succeed(&mut self, renew_at: UnixTime, now: UnixTime) -> bool {
        let lasts = renew_at.0 >= now.0.saturating_add(LASTING_S);
        if lasts {
            self.times.clear();
        }
        lasts
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// When to try again, if nobody asks for it: ever later, by up to a fourth more by `chance`, of 256.
    #[must_use]
    pub fn retry_at(&self, now: UnixTime, chance: u8) -> UnixTime {
        let Some(last) = self.times.last().filter(|last| last.0 <= now.0) else {
            // None, or the clock has been set back since.
            return now;
        };
        let number = u32::try_from(self.times.len()).unwrap_or(u32::MAX);
        let wait = 4_u64.saturating_pow(number - 1).saturating_mul(WAIT_S).min(WAIT_S_MAX);
        let wait = wait.saturating_add(wait / 4 * u64::from(chance) / 256);
        UnixTime(last.0.saturating_add(wait)).max(self.allowed_at(now))
    }

    /// The first moment at which one may try again, because the operator asks for it or starts the server.
    #[must_use]
    pub fn allowed_at(&self, now: UnixTime) -> UnixTime {
        let recent = self
            .times
            .iter()
            .filter(|time| time.0 <= now.0 && time.0.saturating_add(HOUR_S) > now.0);
        let recent: Vec<UnixTime> = recent.copied().collect();
        match recent.len().checked_sub(ATTEMPTS_PER_HOUR).and_then(|over| recent.get(over)) {
            // When it is an hour old, there are fewer.
            Some(time) => UnixTime(time.0.saturating_add(HOUR_S)),
            None => now,
        }
    }
}

/// For how long an authority wants to be left alone, as it said when it was asked too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    since: UnixTime,
    /// A day after `since` at the latest.
    until: UnixTime,
}

impl Hold {
    /// It may be asked.
    pub const NONE: Self = Self { since: UnixTime(0), until: UnixTime(0) };

    /// It says now that it wants so many seconds.
    #[must_use]
    pub fn new(now: UnixTime, seconds: u64) -> Self {
        Self { since: now, until: UnixTime(now.0.saturating_add(seconds.min(HOLD_S_MAX))) }
    }

    /// Reads what [`Self::text`] wrote; what is no hold is none.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let mut times = text.lines().map(|line| line.trim().parse().ok());
        match (times.next().flatten(), times.next().flatten()) {
            (Some(since), Some(until)) => {
                Self::new(UnixTime(since), u64::saturating_sub(until, since))
            }
            _ => Self::NONE,
        }
    }

    /// As it is kept: two seconds of Unix time, each in a line.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n", self.since.0, self.until.0)
    }

    /// The first moment at which it may be asked.
    #[must_use]
    pub const fn until(&self) -> UnixTime {
        self.until
    }

    /// Looks whether the clock has been set back since. If so, nobody knows how much has passed: the hold begins again,
    /// and lasts no longer than the authority said. True if that has changed it.
    pub fn settle(&mut self, now: UnixTime) -> bool {
        let is_back = now < self.since;
        if is_back {
            *self = Self::new(now, self.until.0.saturating_sub(self.since.0));
        }
        is_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_not_by_all_at_once() {
        let day = 86_400;
        let check =
            |life: u64, chance| renew_at(UnixTime(1_000), UnixTime(1_000 + life), chance).0 - 1_000;
        assert_eq!(check(90 * day, 0), 60 * day);
        let latest = check(90 * day, 255);
        assert!((60 * day + 2 * day..63 * day).contains(&latest), "{latest}");
        assert!((4 * day..6 * day).contains(&check(6 * day, 255)));
        assert_eq!(check(0, 255), 0);
        assert_eq!(
            renew_at(UnixTime(5), UnixTime(1), 9),
            UnixTime(5),
            "one that ends before it begins"
        );
        assert!(renew_at(UnixTime(u64::MAX - 1), UnixTime(u64::MAX), 255).0 >= u64::MAX - 1);
    }

    #[test]
    fn an_authority_is_asked_ever_more_rarely_and_four_times_an_hour_at_most() {
        let mut failures = Failures::default();
        let (mut now, mut waits) = (UnixTime(1_000_000), Vec::new());
        assert_eq!(failures.retry_at(now, 0), now);
        for _ in 0..8 {
            failures.add(now);
            let next = failures.retry_at(now, 0);
            waits.push(next.0 - now.0);
            now = next;
        }
        assert_eq!(waits, [60, 240, 960, 3840, 15_360, 21_600, 21_600, 21_600]);
        assert!(failures.retry_at(now, 255).0 < now.0 + 21_600 * 5 / 4);
    }

    #[test]
    fn who_asks_again_and_again_does_not_use_up_what_an_authority_takes() {
        let mut failures = Failures::default();
        let begun = UnixTime(1_000_000);
        for second in 0..4 {
            let now = UnixTime(begun.0 + second);
            assert_eq!(failures.allowed_at(now), now);
            failures.add(now);
        }
        let later = UnixTime(begun.0 + 4);
        assert_eq!(failures.allowed_at(later), UnixTime(begun.0 + 3_600));
        assert_eq!(failures.retry_at(UnixTime(begun.0 + 4), 0), UnixTime(begun.0 + 3 + 3_840));
        assert_eq!(Failures::read(&failures.text()), failures);
        let hour = UnixTime(begun.0 + 3_600);
        assert_eq!(failures.allowed_at(hour), hour, "one is an hour old");
        failures.add(hour);
        assert_eq!(failures.allowed_at(hour), UnixTime(begun.0 + 1 + 3_600));
        assert!(failures.retry_at(hour, 0) >= failures.allowed_at(hour));
    }

    #[test]
    fn what_is_given_and_wanted_again_at_once_is_asked_for_as_rarely_as_what_is_refused() {
        // Of an authority whose certificates have ended, or live for no longer than it takes to get them.
        for lasts in [0, LASTING_S - 1] {
            let mut failures = Failures::default();
            let (mut now, mut waits) = (UnixTime(1_000_000), Vec::new());
            for _ in 0..6 {
                failures.add(now);
                assert!(!failures.succeed(UnixTime(now.0 + lasts), now));
                let next = failures.retry_at(now, 0);
                waits.push(next.0 - now.0);
                now = next;
            }
            assert_eq!(waits, [60, 240, 960, 3840, 15_360, 21_600]);
        }
    }

    #[test]
    fn who_asks_for_it_gets_what_does_not_last_four_times_an_hour_at_most() {
        let mut failures = Failures::default();
        let begun = 1_000_000;
        let mut asked = Vec::new();
        for second in 0..2 * HOUR_S {
            let now = UnixTime(begun + second);
            if failures.allowed_at(now) <= now {
                failures.add(now);
                failures.succeed(now, now);
                asked.push(second);
                // As it is after a restart.
                failures = Failures::read(&failures.text());
            }
        }
        assert_eq!(asked, [0, 1, 2, 3, 3600, 3601, 3602, 3603]);
    }

    #[test]
    fn what_lasts_makes_a_new_beginning() {
        let mut failures = Failures::default();
        let now = UnixTime(1_000_000);
        (0..4).for_each(|_| failures.add(now));
        assert!(failures.succeed(UnixTime(now.0 + LASTING_S), now) && failures.is_empty());
        assert_eq!((failures.allowed_at(now), failures.retry_at(now, 255)), (now, now));
    }

    #[test]
    fn a_clock_that_is_set_back_holds_nothing_up() {
        let mut failures = Failures::default();
        (0..6).for_each(|second| failures.add(UnixTime(2_000_000 + second)));
        let now = UnixTime(1_000_000);
        assert_eq!((failures.allowed_at(now), failures.retry_at(now, 255)), (now, now));
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_broken_is_passed_over() {
        let mut failures = Failures::read("5\nnonsense\n\n-7\n99999999999999999999999\n8\n");
        assert_eq!(failures.text(), "5\n8\n");
        (0..1_000).for_each(|second| failures.add(UnixTime(second)));
        assert_eq!(failures.text().lines().count(), FAILURES_MAX);
        assert!(Failures::read("").is_empty());
    }

    #[test]
    fn an_authority_is_left_alone_for_as_long_as_it_says_and_a_day_at_most() {
        let now = UnixTime(1_000_000);
        let hold = Hold::new(now, 3_600);
        assert_eq!(hold.until(), UnixTime(now.0 + 3_600));
        assert_eq!(Hold::read(&hold.text()), hold);
        assert_eq!(Hold::new(now, u64::MAX).until(), UnixTime(now.0 + HOLD_S_MAX));
        assert_eq!(Hold::read("1000000\n9000000\n").until(), UnixTime(now.0 + HOLD_S_MAX));
        for broken in ["", "5", "\n5\n", "5\nx\n", "-1\n5\n", "99999999999999999999\n5\n"] {
            assert_eq!(Hold::read(broken), Hold::NONE, "{broken}");
        }
        assert_eq!(Hold::read("9\n5\n").until(), UnixTime(9), "one that ends before it begins");
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_hold_longer_than_the_authority_said() {
        let said = UnixTime(2_000_000);
        let mut hold = Hold::new(said, 600);
        assert!(!hold.settle(said) && !hold.settle(UnixTime(said.0 + 9_999)));
        let mut back = UnixTime(1_000_000);
        assert!(hold.settle(back));
        for _ in 0..600 {
            assert!(hold.until() > back);
            back = UnixTime(back.0 + 1);
            assert!(!hold.settle(back), "it does not begin again and again");
        }
        assert_eq!(hold.until(), back);
    }
}
