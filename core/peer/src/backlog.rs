//! Since when what was written to one stream waits to be acknowledged.
//!
//! Owns: which bytes of a stream were written when. Guarantees: the oldest of what waits is no younger than it says,
//! as long as the receiver acknowledges in order; who does not is held to the same time by SCTP itself (`channels`).
//! Not here: what waits, which is SCTP's.

use std::collections::VecDeque;
use std::time::Instant;

use crate::limits::{BATCH_MESSAGES_MAX, BATCH_TIME};

/// Writes of about the same time.
#[derive(Debug)]
struct Batch {
    /// Behind its last byte, counted from the first that was ever written.
    end: u64,
    /// When the first of them was said.
    since: Instant,
    /// How many they are.
    messages: u32,
}

/// Batches of one stream that may wait, in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    written: u64,
    batches: VecDeque<Batch>,
}

impl Backlog {
    /// `len` bytes of what was said at `since` have been written.
    pub(crate) fn note(&mut self, len: usize, since: Instant) {
        self.written += u64::try_from(len).unwrap_or(u64::MAX);
        let end = self.written;
        match self.batches.back_mut() {
            Some(last)
                if last.since <= since
                    && since < last.since + BATCH_TIME
                    && last.messages < BATCH_MESSAGES_MAX =>
            {
                last.end = end;
                last.messages += 1;
            }
            _ => self.batches.push_back(Batch { end, since, messages: 1 }),
        }
    }

    /// Forgets what is acknowledged, when so many bytes are not.
    pub(crate) fn settle(&mut self, waiting: usize) {
        let waiting = u64::try_from(waiting).unwrap_or(u64::MAX);
        let acknowledged = self.written.saturating_sub(waiting);
        while self.batches.pop_front_if(|batch| batch.end <= acknowledged).is_some() {}
        if self.batches.is_empty() {
            // Most participants are told something now and then.
            self.batches = VecDeque::new();
        }
    }

    /// Messages of which some bytes may wait: no fewer than do.
    pub(crate) fn messages(&self) -> u32 {
        self.batches.iter().map(|batch| batch.messages).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// When the oldest of what waits was said. What is sent again to who comes back is older than what is not.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.batches.iter().map(|batch| batch.since).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_that_waits_is_found_and_what_is_acknowledged_is_forgotten() {
        #[expect(clippy::disallowed_methods, reason = "an instant to count from")]
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut backlog = Backlog::default();
        for millis in 0..1_000 {
            backlog.note(10, at(millis));
        }
        assert_eq!(backlog.batches.len(), 10, "one for each tenth of a second");
        backlog.settle(10_000);
        assert_eq!(backlog.oldest(), Some(at(0)));
        backlog.settle(10_000 - 1_999);
        assert_eq!(backlog.oldest(), Some(at(100)), "a byte of it waits");
        backlog.note(10, start);
        assert_eq!(backlog.oldest(), Some(start), "what is sent again is as old as it was");
        backlog.settle(0);
        assert!(backlog.is_empty() && backlog.oldest().is_none());
        assert_eq!(backlog.batches.capacity(), 0);
    }
}
