//! Who in a room takes reliable data more slowly than it is said there.
//!
//! Owns: how many of a room's receivers lag. All workers share it: who sends there is held back by it
//! (`peer::Peer::hold_back`), on whatever worker it is.
//! Guarantees: a receiver counts once, from when it begins to lag until it ceases to or is gone, for whatever reason:
//! its mark is dropped with it.
//! Not here: when a receiver lags (`seat`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One room's. Its clones are the same room's.
#[derive(Clone, Debug, Default)]
pub struct RoomLag(Arc<AtomicUsize>);

/// A receiver that lags.
#[derive(Debug)]
pub(super) struct Lagging(RoomLag);

impl RoomLag {
    pub(super) fn begin(&self) -> Lagging {
        self.0.fetch_add(1, Ordering::Relaxed);
        Lagging(self.clone())
    }

    /// Whether somebody lags but for one that may itself: what it sends does not come to it.
    pub(super) fn is_of_others(&self, own: Option<&Lagging>) -> bool {
        self.0.load(Ordering::Relaxed) > usize::from(own.is_some())
    }

    #[cfg(test)]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Lagging {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_lags_until_the_last_mark_is_dropped_and_another_room_does_not() {
        let (room, other) = (RoomLag::default(), RoomLag::default());
        let (first, second) = (room.begin(), room.clone().begin());
        assert!(room.is_of_others(None) && room.is_of_others(Some(&first)));
        drop(second);
        assert!(room.is_of_others(None), "for everybody else");
        assert!(!room.is_of_others(Some(&first)), "it does not hold itself back");
        drop(first);
        assert!(!room.is_of_others(None) && !other.is_of_others(None));
    }
}
