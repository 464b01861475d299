//! Wakes a worker from other threads.
//!
//! Guarantees: what was queued before a ring is seen by the turn that answers it; a bell that has been
//! rung and not yet answered costs the next ringer one atomic operation and no system call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::EventFd;

#[derive(Debug)]
pub(super) struct Bell {
    event: EventFd,
    is_rung: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { event: EventFd::new()?, is_rung: AtomicBool::new(false) })
    }

    /// Something was queued.
    pub(super) fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::AcqRel) {
            self.event.ring();
        }
    }

    /// Whether it was rung and is not answered yet: something may be in the queues already.
    pub(super) fn is_rung(&self) -> bool {
        self.is_rung.load(Ordering::Acquire)
    }

    /// Whether it was rung since the last answer. Look at the queues after this, not before.
    ///
    /// `is_readable`: whether the last wait found the event so. A ringer may be held up between its two
    /// steps; then the event becomes readable after the ring was answered, and must still be hushed.
    pub(super) fn answer(&self, is_readable: bool) -> bool {
        if !is_readable && !self.is_rung() {
            return false;
        }
        self.event.hush();
        // A swap, not a store: it must see what was queued before the ring that it takes back.
        self.is_rung.swap(false, Ordering::AcqRel)
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::Waiter;

    #[test]
    fn a_ring_that_comes_late_does_not_keep_the_worker_awake() {
        let bell = Bell::new().unwrap();
        let mut waiter = Waiter::new(std::iter::once(bell.as_fd()));
        // The first step of a ring, its answer, and then its second step.
        bell.is_rung.store(true, Ordering::Release);
        assert!(bell.answer(false));
        bell.event.ring();
        waiter.wait(Duration::ZERO);
        assert!(waiter.is_ready(0));
        assert!(!bell.answer(waiter.is_ready(0)), "it has been answered");
        waiter.wait(Duration::ZERO);
        assert!(!waiter.is_ready(0));
        bell.ring();
        waiter.wait(Duration::ZERO);
        assert!(bell.answer(waiter.is_ready(0)));
    }
}
