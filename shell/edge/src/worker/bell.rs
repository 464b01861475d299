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

    /// Whether it was rung since the last answer. Look at the queues after this, not before.
    pub(super) fn answer(&self) -> bool {
        if !self.is_rung.load(Ordering::Acquire) {
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
