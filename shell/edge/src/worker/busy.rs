//! How much of its time a worker is busy, by the clock on the wall.
//!
//! Owns: the last second or so of the worker's idle time.
//! Guarantees: it costs a turn one look at the clock and a packet nothing; time that others take from the worker's
//! core counts as busy once it makes media late, and so does a turn in which the worker was held up; a halt of the
//! whole process counts as nothing.
//! Not here: what follows from it (`sfu::control`).

use std::time::Duration;

use model::{Share, Timestamp};

/// Time since `from`, and how much of it was idle.
#[derive(Clone, Copy, Debug)]
struct Window {
    from: Timestamp,
    idle: Duration,
}

/// What a worker did with its time, in two halves: the one that is under way, and the one before.
#[derive(Debug)]
pub(super) struct Busy {
    before: Window,
    current: Window,
    /// What was said last.
    said: Share,
}

impl Busy {
    /// How late a worker may wake up and not be called held up: as long as media waits here anyway.
    pub(super) const LATE_MAX: Duration = Duration::from_millis(5);
    /// Whoever loses as much at once was stopped, or the machine was: that says nothing of what it has to do.
    pub(super) const HALT: Duration = Duration::from_secs(1);
    /// The shortest time that a share is reckoned over, twice.
    const HALF: Duration = Duration::from_millis(450);

    pub(super) const fn new(now: Timestamp) -> Self {
        let empty = Window { from: now, idle: Duration::ZERO };
        Self { before: empty, current: empty, said: Share::NOTHING }
    }

    /// It meant to sleep for `wanted` at most and did so from `from` to `to`.
    pub(super) fn slept(&mut self, wanted: Duration, from: Timestamp, to: Timestamp) {
        let slept = to.since(from);
        if slept > wanted + Self::HALT {
            return self.begin_again(to);
        }
        self.current.idle += slept.min(wanted + Self::LATE_MAX);
    }

    /// A turn went from `from` to `to`.
    pub(super) fn worked(&mut self, from: Timestamp, to: Timestamp) {
        if to.since(from) > Self::HALT {
            self.begin_again(to);
        }
    }

    /// What share of the last time it was busy: of a second or so, if this is asked twice a second.
    pub(super) fn share(&mut self, now: Timestamp) -> Share {
        let whole = now.since(self.before.from);
        if whole < Self::HALF {
            // Too little to say anything new.
            return self.said;
        }
        let mut idle = self.before.idle + self.current.idle;
        if self.before.from == self.current.from {
            idle = self.current.idle;
        }
        let share = Share::of(whole.saturating_sub(idle), whole);
        if now.since(self.current.from) >= Self::HALF {
            self.before = self.current;
            self.current = Window { from: now, idle: Duration::ZERO };
        }
        self.said = share;
        share
    }

    /// What was said last stays until there is something to say.
    fn begin_again(&mut self, now: Timestamp) {
        *self = Self { said: self.said, ..Self::new(now) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that works and rests in turns, and what it says of itself twice a second.
    struct Day {
        busy: Busy,
        now: Timestamp,
    }

    impl Day {
        fn new() -> Self {
            Self { busy: Busy::new(Timestamp::ZERO), now: Timestamp::ZERO }
        }

        fn work(&mut self, micros: u64) {
            let from = self.now;
            self.now += Duration::from_micros(micros);
            self.busy.worked(from, self.now);
        }

        fn sleep(&mut self, wanted: u64, slept: u64) {
            let from = self.now;
            self.now += Duration::from_micros(slept);
            self.busy.slept(Duration::from_micros(wanted), from, self.now);
        }

        /// Turns of so many microseconds, and sleeps that are so long or longer, for half a second; then the share.
        fn half(&mut self, work: u64, wanted: u64, slept: u64) -> u16 {
            let end = self.now + Duration::from_millis(500);
            while self.now < end {
                self.work(work);
                self.sleep(wanted, slept);
            }
            self.busy.share(self.now).as_permille()
        }
    }

    #[test]
    fn what_is_not_slept_is_busy_over_the_last_second() {
        let mut day = Day::new();
        assert_eq!(day.half(0, 1000, 1000), 0);
        assert_eq!(day.half(250, 750, 750), 125, "of a second, half was idle");
        assert_eq!(day.half(250, 750, 750), 250);
        assert_eq!(day.half(1000, 0, 0), 625);
        assert_eq!(day.half(1000, 0, 0), 1000);
        assert_eq!(day.half(250, 750, 750), 625, "and it goes back as fast");
    }

    #[test]
    fn waking_up_late_is_idle_until_it_makes_media_late() {
        let mut day = Day::new();
        assert_eq!(day.half(0, 1000, 1060), 0, "timers are never quite on time");
        assert_eq!(day.half(0, 1000, 6000), 0);
        let mut day = Day::new();
        // Others have the core: of 24 ms it meant to sleep for 1, and may be 5 late.
        let held_up = day.half(0, 1000, 24_000);
        assert!((700..=760).contains(&held_up), "{held_up}");
    }

    #[test]
    fn a_wait_that_something_ends_is_idle_as_long_as_it_took() {
        let mut day = Day::new();
        day.sleep(1_000_000, 400_000);
        day.work(100_000);
        assert_eq!(day.busy.share(day.now).as_permille(), 200);
    }

    #[test]
    fn a_halt_says_nothing() {
        let mut day = Day::new();
        day.half(250, 750, 750);
        day.sleep(1000, 5_000_000);
        assert_eq!(day.half(250, 750, 750), 250);
        day.work(5_000_000);
        assert_eq!(day.half(0, 1000, 1000), 0);
        assert_eq!(day.half(0, 1000, 1000), 0);
    }

    #[test]
    fn whoever_asks_too_often_is_told_of_a_long_enough_time() {
        let mut day = Day::new();
        day.half(500, 500, 500);
        day.half(500, 500, 500);
        day.work(5_000);
        let soon = day.busy.share(day.now).as_permille();
        assert!((500..510).contains(&soon), "{soon}");
    }
}
