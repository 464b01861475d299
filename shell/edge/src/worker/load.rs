//! The data messages that wait in one worker's queue.
//!
//! Owns: their number and bytes, and who lost a reliable one because they were too many.
//! Guarantees: both are bounded; whoever lost a reliable message is named once, however many it lost.
//! Not here: what the hub says of its own accord, which is as much as participants may ask for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::PeerId;

use super::Channel;
use crate::limits::{SENDS_BYTES_MAX, SENDS_MAX};

/// The hub alone adds, the worker alone takes away.
#[derive(Debug, Default)]
pub(super) struct Load {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    losers: Mutex<BTreeSet<PeerId>>,
}

impl Load {
    /// One more message is to be queued. `false`: there is no room; if it is reliable, its receiver is
    /// named to the worker.
    #[must_use]
    pub(super) fn add(&self, to: PeerId, channel: Channel, bytes: usize) -> bool {
        let has_room = self.messages.load(Ordering::Relaxed) < SENDS_MAX
            && self.bytes.load(Ordering::Relaxed) < SENDS_BYTES_MAX;
        if has_room {
            self.messages.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        } else if channel == Channel::Reliable {
            self.losers().insert(to);
        }
        has_room
    }

    /// A message was taken from the queue.
    pub(super) fn remove(&self, bytes: usize) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Who has lost a reliable message since this was last asked.
    pub(super) fn take_losers(&self) -> BTreeSet<PeerId> {
        std::mem::take(&mut *self.losers())
    }

    fn losers(&self) -> MutexGuard<'_, BTreeSet<PeerId>> {
        // Held for one insertion or one exchange, in neither of which a set can break.
        self.losers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use model::WorkerId;

    use super::*;

    const fn peer(index: u32) -> PeerId {
        PeerId { worker: WorkerId(0), index }
    }

    #[test]
    fn a_full_queue_takes_nothing_and_names_who_lost_once() {
        let load = Load::default();
        for _ in 0..SENDS_MAX {
            assert!(load.add(peer(1), Channel::Lossy, 1));
        }
        assert!(!load.add(peer(1), Channel::Lossy, 1));
        assert!(load.take_losers().is_empty());
        assert!(!load.add(peer(2), Channel::Reliable, 1));
        assert!(!load.add(peer(2), Channel::Reliable, 1));
        assert_eq!(load.take_losers(), BTreeSet::from([peer(2)]));
        assert!(load.take_losers().is_empty());
        load.remove(1);
        assert!(load.add(peer(1), Channel::Reliable, 1));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let load = Load::default();
        assert!(load.add(peer(1), Channel::Reliable, SENDS_BYTES_MAX));
        assert!(!load.add(peer(1), Channel::Reliable, 1));
        load.remove(SENDS_BYTES_MAX);
        assert!(load.add(peer(1), Channel::Reliable, 1));
    }
}
