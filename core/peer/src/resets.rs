//! The streams that the other end begins anew (RFC 6525 §4.1).
//!
//! Owns: which resets SCTP may not have done with. Until what came before is read, it keeps what comes of the new
//! beginning in a store of its own, where each chunk and each that is given up costs it time with all that is there;
//! and it asks for a reset of its own for each, of which it keeps note until that is answered. Guarantees: the resets,
//! whoever answers them, are bounded at once and over time. Not here: the chunks that are held (`unread`).

use std::time::Instant;

use crate::chunks;
use crate::limits::{FORWARD_EVERY, RESET_EVERY, RESETS_AT_ONCE_MAX, RESETS_BURST};

/// What comes of `streams` after `last` is of a new beginning; of any stream, if none is named.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reset {
    pub(crate) last: u32,
    streams: Vec<u16>,
}

#[derive(Debug, Default)]
pub(crate) struct Resets {
    open: Vec<Reset>,
    /// When all that were taken are earned again.
    earned: Option<Instant>,
    /// When something was given up last while one was open.
    forwarded: Option<Instant>,
}

impl Reset {
    fn is_of(&self, stream: u16) -> bool {
        self.streams.is_empty() || self.streams.contains(&stream)
    }

    /// Whether a chunk is of what came before.
    pub(crate) fn ends(&self, tsn: u32, stream: u16) -> bool {
        self.is_of(stream) && chunks::is_up_to(tsn, self.last)
    }

    /// Whether it is of what begins then.
    fn begins(&self, tsn: u32, stream: u16) -> bool {
        self.is_of(stream) && !chunks::is_up_to(tsn, self.last)
    }
}

impl Resets {
    pub(crate) const fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// One has come, maybe again. `false`: it is to come later.
    pub(crate) fn take(&mut self, now: Instant, reset: chunks::Reset<'_>) -> bool {
        let earned = self.earned.map_or(now, |it| it.max(now)) + RESET_EVERY;
        if earned - now > RESETS_BURST * RESET_EVERY {
            return false;
        }
        let reset = Reset { last: reset.last, streams: reset.streams().collect() };
        let is_new = !self.open.contains(&reset);
        if is_new && self.open.len() >= RESETS_AT_ONCE_MAX {
            return false;
        }
        self.earned = Some(earned);
        if is_new {
            self.open.push(reset);
        }
        true
    }

    /// Whether a chunk is of a new beginning, of which SCTP may not give out anything yet.
    pub(crate) fn begin(&self, tsn: u32, stream: u16) -> bool {
        self.open.iter().any(|it| it.begins(tsn, stream))
    }

    /// Something is given up. `false`: it is to come later.
    pub(crate) fn take_forward(&mut self, now: Instant) -> bool {
        if self.open.is_empty() {
            return true;
        }
        let is_due = self.forwarded.is_none_or(|at| now >= at + FORWARD_EVERY);
        if is_due {
            self.forwarded = Some(now);
        }
        is_due
    }

    /// Those that are done with are open no more.
    pub(crate) fn settle(&mut self, is_done: impl Fn(&Reset) -> bool) {
        self.open.retain(|it| !is_done(it));
    }
}
