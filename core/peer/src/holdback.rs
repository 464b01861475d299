//! When a client's reliable messages are read while it is held back.
//!
//! Owns: how much of them may be read, and since when something has been left unread.
//! Guarantees: what is left unread came no longer than [`HELD_TIME_MAX`] ago, if it is asked every [`HELD_EVERY`];
//! what is said, rather than copied, is read at once.
//! Not here: who is held back and why, which is the caller's; that SCTP's window closes over what is unread, and
//! opens again (`channels`).

use std::time::{Duration, Instant};

use crate::limits::{
    HELD_BYTES_BURST, HELD_BYTES_PER_SECOND, HELD_EVERY, HELD_MESSAGE_BYTES, HELD_TIME_MAX,
};

#[derive(Debug, Default)]
pub(crate) struct Holdback {
    is_on: bool,
    /// Bytes that may be read all the same, up to when they are counted: a message may take more than there are.
    level: i64,
    filled: Option<Instant>,
    /// What is unread came no earlier.
    left_at: Option<Instant>,
}

impl Holdback {
    pub(crate) fn set(&mut self, is_on: bool) {
        self.is_on = is_on;
    }

    pub(crate) const fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether one more message may be read.
    pub(crate) fn may_read(&mut self, now: Instant) -> bool {
        if !self.is_on || self.left_at.is_some_and(|left_at| now >= left_at + HELD_TIME_MAX) {
            return true;
        }
        let passed = self.filled.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let earned =
            passed.as_micros().saturating_mul(u128::from(HELD_BYTES_PER_SECOND)) / 1_000_000;
        // What is less than a byte is not lost.
        if earned > 0 {
            let earned = i64::try_from(earned).unwrap_or(i64::MAX);
            self.level = self.level.saturating_add(earned).min(i64::from(HELD_BYTES_BURST));
            self.filled = Some(now);
        }
        self.level > 0
    }

    /// A message of so many bytes was read; since when it may have waited for that.
    pub(crate) fn note(&mut self, now: Instant, len: usize) -> Instant {
        if self.is_on {
            // The shortest cost those who pass them on as much as a chunk of a file.
            let len = len.max(HELD_MESSAGE_BYTES);
            self.level = self.level.saturating_sub(i64::try_from(len).unwrap_or(i64::MAX));
        }
        self.left_at.unwrap_or(now)
    }

    /// Something is left unread; when to look again.
    pub(crate) fn leave(&mut self, now: Instant) -> Instant {
        self.left_at.get_or_insert(now);
        now + HELD_EVERY
    }

    /// Nothing is left unread; whether something had been.
    pub(crate) fn catch_up(&mut self) -> bool {
        self.left_at.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: usize = HELD_MESSAGE_BYTES;

    /// Messages that are read while more than enough is there.
    fn read(holdback: &mut Holdback, now: Instant) -> usize {
        let mut messages = 0;
        while messages < 10_000 && holdback.may_read(now) {
            holdback.note(now, MESSAGE);
            messages += 1;
        }
        messages
    }

    #[test]
    fn who_is_held_back_has_a_burst_and_a_rate_and_all_in_the_end() {
        #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut holdback = Holdback::default();
        assert_eq!(read(&mut holdback, start), 10_000);
        holdback.set(true);
        let burst = usize::try_from(HELD_BYTES_BURST).unwrap().div_ceil(MESSAGE);
        assert_eq!(read(&mut holdback, start), burst);
        assert_eq!(holdback.leave(start), start + HELD_EVERY);
        let mut more = 0;
        for tick in 1..=100 {
            more += read(&mut holdback, at(10 * tick));
            holdback.leave(at(10 * tick));
        }
        let second = usize::try_from(HELD_BYTES_PER_SECOND).unwrap() / MESSAGE;
        assert!(more.abs_diff(second) <= 1, "{more} of {second} in a second");
        assert!(!holdback.may_read(at(1_000)));
        assert_eq!(holdback.note(at(1_000), MESSAGE), start, "as old as what was left first");
        assert_eq!(read(&mut holdback, start + HELD_TIME_MAX), 10_000, "all that is there");
        assert!(holdback.catch_up() && !holdback.catch_up());
        assert_eq!(holdback.note(at(9_000), 1), at(9_000));
    }

    #[test]
    fn who_is_held_back_no_more_reads_on_at_once() {
        #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
        let start = Instant::now();
        let mut holdback = Holdback::default();
        holdback.set(true);
        read(&mut holdback, start);
        holdback.leave(start);
        assert!(!holdback.may_read(start));
        // As many are read of what has no bytes to speak of.
        let mut words = Holdback::default();
        words.set(true);
        let burst = usize::try_from(HELD_BYTES_BURST).unwrap() / HELD_MESSAGE_BYTES;
        let read = (0..100).take_while(|_| {
            let may = words.may_read(start);
            words.note(start, 2);
            may
        });
        assert_eq!(read.count(), burst);
        holdback.set(false);
        assert!(holdback.may_read(start));
        assert_eq!(holdback.note(start + HELD_EVERY, 1), start);
    }
}
