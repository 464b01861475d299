//! One worker's loop: wait, take what came, do what is due, send.
//!
//! Owns: the peers of the worker and its forwarder.
//! Guarantees: a panic over one peer ends that peer alone; the loop waits in `Waiter::wait`, rests for `REST_MAX` at
//! most, and waits at most `SEND_WAIT` for a socket that is full, and for a lock that the hub holds for one insertion;
//! addresses of clients that are gone are forgotten within a second, but for datagrams that still come from there; so
//! are the bytes of all datagrams that came or left.
//! Not here: what comes (`intake`, `inward`), what peers want then (`drain`).

mod drain;
mod intake;
mod inward;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use model::{PeerId, Timestamp, WorkerId};
use peer::{Door, PeerFactory};
use rtrb::Consumer;
use sfu::Forward;
use sfu::forward::Refused;
use tokio::sync::mpsc;

use self::drain::{disown, give_up};
use super::bell::Bell;
use super::busy::Busy;
use super::hop::{Hops, Slot};
use super::load::Load;
use super::outlet::Outlet;
use super::path::{Paths, Routes};
use super::pile::Pile;
use super::seat::Seat;
use super::steering::Steering;
use super::tcp::FromTcp;
use super::upward::Upward;
use super::{FromWorker, ToWorker};
use crate::budget::{Budget, Rate};
use crate::limits::{
    CHECK_SILENCE_MAX, DTLS_BURST, DTLS_PER_SECOND, KNOCKS_BURST, KNOCKS_PER_SECOND,
};
use crate::metrics::Metrics;
use crate::panics::contain;
use crate::session::ToHub;
use crate::stack;
use crate::sys::{Mapping, MediaSocket, ReceiveBatch, Waiter};

/// How often what is left of clients that are gone, and of datagrams, is overwritten, and so the longest wait.
const RINSE_EVERY: Duration = Duration::from_millis(500);
/// The shortest time that a peer may ask to be left alone: one that asks for less would be the only
/// one that is heard.
const WAKE_MIN: Duration = Duration::from_millis(1);
/// After a turn a worker rests so many times as long as the turn took: what comes meanwhile is read at
/// once, and what one receiver gets of several senders leaves as one train. Both cost the kernel little
/// more than a single datagram, and waking up costs the most of all.
const REST: u32 = 20;
/// After a short turn, most often for reports alone: two hundred receivers bring ten in this time, and to wake up for
/// each costs more than to read it.
const REST_MIN: Duration = Duration::from_millis(2);
/// The most that media waits here. Browsers smooth what they send over as long.
const REST_MAX: Duration = Duration::from_millis(5);
/// Packets that do not wait: a large picture of several senders.
const FLUSH_PACKETS: usize = 128;
/// When the hub is tried again that had no room.
const RETRY_AFTER: Duration = Duration::from_millis(2);

/// What a worker is made of.
pub(super) struct Parts {
    pub(super) id: WorkerId,
    pub(super) bell: Arc<Bell>,
    pub(super) inbox: Receiver<ToWorker>,
    /// Of data messages in the inbox.
    pub(super) load: Arc<Load>,
    pub(super) sockets: Vec<MediaSocket>,
    /// From the TCP connections of the worker's peers.
    pub(super) tcp: mpsc::Receiver<FromTcp>,
    /// For [`ReceiveBatch`].
    pub(super) received: Mapping,
    /// Which workers receive.
    pub(super) steering: Arc<Steering>,
    pub(super) hops: Hops,
    /// From the other workers.
    pub(super) inbound: Vec<Consumer<Slot>>,
    pub(super) door: Arc<Door>,
    pub(super) factory: Arc<PeerFactory>,
    pub(super) origin: Instant,
    pub(super) seed: u64,
    pub(super) to_hub: mpsc::Sender<Box<ToHub>>,
    pub(super) metrics: Arc<Metrics>,
}

pub(super) struct Worker {
    id: WorkerId,
    bell: Arc<Bell>,
    inbox: Receiver<ToWorker>,
    load: Arc<Load>,
    tcp: mpsc::Receiver<FromTcp>,
    waiter: Waiter,
    /// Taken while a batch is worked on.
    batch: Option<ReceiveBatch>,
    outlet: Outlet,
    steering: Arc<Steering>,
    inbound: Vec<Consumer<Slot>>,
    door: Arc<Door>,
    factory: Arc<PeerFactory>,
    origin: Instant,
    forward: Forward<Mapping>,
    seats: HashMap<PeerId, Box<Seat>>,
    /// What waits for them.
    pile: Pile,
    paths: Paths,
    routes: Routes,
    /// Of binding requests over paths that nobody has proven, by network.
    knocks: Budget,
    /// Of DTLS handshakes that are begun, by network.
    handshakes: Budget,
    busy: Busy,
    timers: BTreeSet<(Timestamp, PeerId)>,
    upward: Upward,
    is_hub_behind: bool,
    /// There was more than this turn may take.
    is_behind: bool,
    /// Whose call is under way.
    current: Option<PeerId>,
    media: MediaTally,
    metrics: Arc<Metrics>,
}

/// Media that has arrived since it was last counted: counters are shared, and a packet should not pay for that.
#[derive(Default)]
struct MediaTally {
    packets: u64,
    bytes: u64,
}

impl Worker {
    pub(super) fn new(parts: Parts) -> Self {
        let bell = parts.bell;
        let descriptors = std::iter::once(bell.as_fd());
        let waiter = Waiter::new(descriptors.chain(parts.sockets.iter().map(|it| it.as_fd())));
        let map = |bytes| Mapping::new(bytes).ok();
        Self {
            id: parts.id,
            waiter,
            bell,
            inbox: parts.inbox,
            load: parts.load,
            tcp: parts.tcp,
            batch: Some(ReceiveBatch::new(parts.received)),
            outlet: Outlet::new(parts.sockets, parts.hops, Arc::clone(&parts.metrics)),
            steering: parts.steering,
            inbound: parts.inbound,
            door: parts.door,
            factory: parts.factory,
            origin: parts.origin,
            forward: Forward::new(parts.id, map, parts.seed),
            seats: HashMap::new(),
            pile: Pile::default(),
            paths: Paths::default(),
            routes: Routes::default(),
            knocks: Budget::new(Rate { burst: KNOCKS_BURST, per_second: KNOCKS_PER_SECOND }),
            handshakes: Budget::new(Rate { burst: DTLS_BURST, per_second: DTLS_PER_SECOND }),
            busy: Busy::new(Timestamp::ZERO + parts.origin.elapsed()),
            timers: BTreeSet::new(),
            upward: Upward::new(parts.to_hub, Arc::clone(&parts.metrics)),
            is_hub_behind: false,
            is_behind: false,
            media: MediaTally::default(),
            current: None,
            metrics: parts.metrics,
        }
    }

    /// Until it is told to stop or nobody is left who could tell it.
    pub(super) fn run(mut self) {
        let mut awake = self.now();
        let mut rinsed = awake;
        loop {
            let wait = self.next_wake().min(rinsed + RINSE_EVERY).since(awake);
            self.waiter.wait(wait);
            let begin = self.now();
            self.busy.slept(wait, awake, begin);
            if !self.turn() {
                break;
            }
            if begin.since(rinsed) >= RINSE_EVERY {
                rinsed = begin;
                self.rinse();
                stack::wipe();
            }
            awake = self.now();
            self.busy.worked(begin, awake);
            if !self.is_behind {
                let rest = rest(awake.since(begin));
                std::thread::sleep(rest);
                let rested = self.now();
                self.busy.slept(rest, awake, rested);
                awake = rested;
            }
        }
        self.close_all();
    }

    /// Takes what came, does what is due, and sends. `false`: stop.
    ///
    /// Never inlined, so that what this leaves on the stack is below [`Self::run`], which overwrites it there.
    #[inline(never)]
    fn turn(&mut self) -> bool {
        self.is_behind = false;
        let is_rung = self.bell.answer(self.waiter.is_ready(0));
        if is_rung && !self.hear_hub() {
            return false;
        }
        if is_rung {
            self.hear_workers();
            self.hear_tcp();
        }
        if !self.receive() {
            return false;
        }
        self.flush();
        self.fire();
        self.outlet.hops.ring();
        true
    }

    /// Overwrites what is left of clients that are gone, and of datagrams.
    fn rinse(&mut self) {
        self.paths.rinse();
        self.routes.rinse();
        self.forward.rinse();
        if let Some(batch) = &mut self.batch {
            batch.rinse();
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }

    fn next_wake(&self) -> Timestamp {
        let peers = self.timers.first().map_or(Timestamp::MAX, |(at, _)| *at);
        let hub = if self.is_hub_behind { self.now() + RETRY_AFTER } else { Timestamp::MAX };
        peers.min(hub).min(self.forward.next_timeout())
    }

    /// Sends what came in.
    fn flush(&mut self) {
        let now = self.now();
        self.guard(|worker| worker.forward.flush(now, &mut worker.outlet));
        let media = std::mem::take(&mut self.media);
        let again = self.forward.take_again();
        self.metrics.media_packets_received.add(media.packets.saturating_sub(again.packets));
        self.metrics.media_bytes_received.add(media.bytes.saturating_sub(again.bytes));
        if again.packets > 0 {
            self.metrics.media_packets_received_again.add(again.packets);
            self.metrics.media_bytes_received_again.add(again.bytes);
        }
    }

    /// Does `work`; if it panics, the peer that it was for is gone, and so are the packets that the
    /// forwarder has not sent yet: they may be what broke it. Whether all went well.
    fn guard(&mut self, work: impl FnOnce(&mut Self)) -> bool {
        self.current = None;
        #[cfg(feature = "sabotage")]
        if crate::sabotage::is_containment_off() {
            work(self);
            return true;
        }
        let Err(panic) = contain(|| work(self)) else { return true };
        self.metrics.worker_panics.count();
        self.forward.abandon();
        match self.current.take() {
            Some(peer) => {
                crate::log!(ERROR, "a worker panicked over a peer: ended", peer = peer, at = panic);
                self.forget(peer);
                self.upward.tell(FromWorker::PutOut(peer));
            }
            None => crate::log!(ERROR, "a worker panicked over nobody", at = panic),
        }
        false
    }

    /// What is due, and what came of everything.
    fn fire(&mut self) {
        let now = self.now();
        while let Some(&(at, peer)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            let is_overdue = self.seats.get(&peer).is_some_and(|seat| now >= seat.overdue_at());
            if is_overdue {
                give_up(&self.metrics, peer);
            }
            self.guard(|worker| {
                worker.drive(now, peer, |seat, _| {
                    seat.wake = Timestamp::MAX;
                    seat.peer.handle_timeout(now);
                    !is_overdue && now.since(seat.checked_at) < CHECK_SILENCE_MAX
                });
            });
        }
        if self.forward.next_timeout() <= now {
            self.guard(|worker| worker.forward.handle_timeout(now, &mut worker.outlet));
        }
        while let Some(report) = self.forward.poll_report() {
            self.upward.report(report);
        }
        let refused = self.forward.take_refused();
        if refused != Refused::default() {
            self.metrics.media_replayed.add(refused.replayed);
            self.metrics.media_unauthentic.add(refused.unauthentic);
            self.metrics.resends_over_share.add(refused.over_share);
            self.metrics.feedbacks_refused.add(refused.feedbacks);
            self.metrics.sound_over_rate.add(refused.sound);
        }
        self.is_hub_behind = self.upward.retry();
    }

    /// Says goodbye to a peer and forgets it.
    fn close(&mut self, now: Timestamp, id: PeerId) {
        self.current = Some(id);
        if let Some(seat) = self.seats.get_mut(&id) {
            seat.peer.close();
            // Finished is what it is to be.
            let _is_open = self.drain(now, id);
        }
        self.forget(id);
    }

    fn forget(&mut self, id: PeerId) {
        if let Some(mut seat) = self.seats.remove(&id) {
            seat.give_back(&mut self.pile);
            self.timers.remove(&(seat.wake, id));
            for path in &seat.paths {
                disown(&mut self.paths, &mut self.outlet, id, path);
            }
            if self.seats.is_empty() {
                self.steering.note(self.id, false, &self.outlet.sockets);
            }
        }
    }

    fn close_all(&mut self) {
        let now = self.now();
        let peers: Vec<PeerId> = self.seats.keys().copied().collect();
        for peer in peers {
            self.guard(|worker| worker.close(now, peer));
        }
    }
}

/// How long a worker rests after a turn that took so long: not at all when it has more than enough to do.
fn rest(spent: Duration) -> Duration {
    if spent >= REST_MAX { Duration::ZERO } else { (spent * REST).clamp(REST_MIN, REST_MAX) }
}
