//! The data messages that wait in one worker's queue.
//!
//! Owns: their number and bytes, whether they are so many that senders are held back, and who lost a reliable one
//! because they were too many all the same.
//! Guarantees: both are bounded; while a worker has many, nobody's reliable messages are read but slowly
//! (`peer::Peer::hold_back`), long before one is lost; whoever lost one is named once, however many it lost.
//! Not here: what the hub says of its own accord, which is as much as participants may ask for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::PeerId;

use super::Channel;
use crate::limits::{
    SENDS_BYTES_CROWDED, SENDS_BYTES_MAX, SENDS_CROWDED, SENDS_LOSSY_BYTES_MAX, SENDS_LOSSY_MAX,
    SENDS_MAX,
};

/// How many of the node's gauges are above their marks. What one thread notes of a gauge may overtake what another
/// noted before, so that it is less than none for a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowd(Arc<AtomicIsize>);

/// What rises and falls, and notes when it passes its mark. Each way follows the other, so that every rise is undone.
#[derive(Debug)]
struct Gauge {
    level: AtomicUsize,
    mark: usize,
    crowd: Crowd,
}

impl Gauge {
    fn new(mark: usize, crowd: &Crowd) -> Self {
        Self { level: AtomicUsize::new(0), mark, crowd: crowd.clone() }
    }

    fn level(&self) -> usize {
        self.level.load(Ordering::Relaxed)
    }

    fn rise(&self, by: usize) {
        let before = self.level.fetch_add(by, Ordering::Relaxed);
        if before <= self.mark && before + by > self.mark {
            self.crowd.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn fall(&self, by: usize) {
        let before = self.level.fetch_sub(by, Ordering::Relaxed);
        if before > self.mark && before - by <= self.mark {
            self.crowd.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The hub alone adds, the worker alone takes away.
#[derive(Debug)]
pub(super) struct Load {
    messages: Gauge,
    bytes: Gauge,
    /// Messages and bytes of what may be lost: they keep nobody's reliable ones waiting to be read.
    lossy: [AtomicUsize; 2],
    losers: Mutex<BTreeSet<PeerId>>,
}

impl Load {
    /// One of those that `crowd` is about.
    pub(super) fn new(crowd: &Crowd) -> Self {
        Self {
            messages: Gauge::new(SENDS_CROWDED, crowd),
            bytes: Gauge::new(SENDS_BYTES_CROWDED, crowd),
            lossy: Default::default(),
            losers: Mutex::default(),
        }
    }

    /// Whether too much waits for this worker or another for more to be read.
    pub(super) fn is_crowded(&self) -> bool {
        self.messages.crowd.0.load(Ordering::Relaxed) > 0
    }

    /// One more message is to be queued. `false`: there is no room; if it is reliable, its receiver is
    /// named to the worker.
    #[must_use]
    pub(super) fn add(&self, to: PeerId, channel: Channel, bytes: usize) -> bool {
        if channel != Channel::Reliable {
            return self.add_lossy(bytes);
        }
        let has_room = self.messages.level() < SENDS_MAX && self.bytes.level() < SENDS_BYTES_MAX;
        if has_room {
            self.messages.rise(1);
            self.bytes.rise(bytes);
        } else {
            self.losers().insert(to);
        }
        has_room
    }

    fn add_lossy(&self, bytes: usize) -> bool {
        let [messages, all] = &self.lossy;
        let has_room = messages.load(Ordering::Relaxed) < SENDS_LOSSY_MAX
            && all.load(Ordering::Relaxed) < SENDS_LOSSY_BYTES_MAX;
        if has_room {
            messages.fetch_add(1, Ordering::Relaxed);
            all.fetch_add(bytes, Ordering::Relaxed);
        }
        has_room
    }

    /// A message was taken from the queue.
    pub(super) fn remove(&self, channel: Channel, bytes: usize) {
        if channel == Channel::Reliable {
            self.messages.fall(1);
            self.bytes.fall(bytes);
        } else {
            let [messages, all] = &self.lossy;
            messages.fetch_sub(1, Ordering::Relaxed);
            all.fetch_sub(bytes, Ordering::Relaxed);
        }
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
        let load = Load::new(&Crowd::default());
        for _ in 0..SENDS_MAX {
            assert!(load.add(peer(1), Channel::Reliable, 1));
        }
        assert!(load.take_losers().is_empty());
        assert!(!load.add(peer(2), Channel::Reliable, 1));
        assert!(!load.add(peer(2), Channel::Reliable, 1));
        assert_eq!(load.take_losers(), BTreeSet::from([peer(2)]));
        assert!(load.take_losers().is_empty());
        load.remove(Channel::Reliable, 1);
        assert!(load.add(peer(1), Channel::Reliable, 1));
    }

    #[test]
    fn what_may_be_lost_takes_no_room_from_what_may_not_and_holds_nobody_back() {
        for bytes in [1, SENDS_BYTES_MAX / 64] {
            let load = Load::new(&Crowd::default());
            let taken = (0..SENDS_MAX).filter(|_| load.add(peer(1), Channel::Lossy, bytes)).count();
            assert!((1..=SENDS_LOSSY_MAX).contains(&taken), "{taken} of {bytes}");
            assert!(load.add(peer(2), Channel::Reliable, 1) && !load.is_crowded());
            assert!(load.take_losers().is_empty());
            load.remove(Channel::DataTrack, bytes);
            assert!(load.add(peer(1), Channel::Lossy, bytes));
        }
    }

    #[test]
    fn bytes_are_bounded_too() {
        let load = Load::new(&Crowd::default());
        assert!(load.add(peer(1), Channel::Reliable, SENDS_BYTES_MAX));
        assert!(!load.add(peer(1), Channel::Reliable, 1));
        load.remove(Channel::Reliable, SENDS_BYTES_MAX);
        assert!(load.add(peer(1), Channel::Reliable, 1));
    }

    #[test]
    fn a_worker_is_crowded_long_before_anybody_loses_and_then_so_is_the_node() {
        let crowd = Crowd::default();
        let (load, other) = (Load::new(&crowd), Load::new(&crowd));
        let add = |bytes| assert!(load.add(peer(1), Channel::Reliable, bytes));
        for _ in 0..SENDS_CROWDED {
            add(1);
        }
        assert!(!load.is_crowded());
        add(1);
        assert!(load.is_crowded() && other.is_crowded());
        add(SENDS_BYTES_CROWDED);
        load.remove(Channel::Reliable, 1);
        assert!(load.is_crowded(), "by bytes");
        load.remove(Channel::Reliable, SENDS_BYTES_CROWDED);
        assert!(!load.is_crowded() && !other.is_crowded());
        for _ in 0..load.messages.level() {
            load.remove(Channel::Reliable, 1);
        }
        assert_eq!((load.bytes.level(), crowd.0.load(Ordering::Relaxed)), (0, 0));
    }
}
