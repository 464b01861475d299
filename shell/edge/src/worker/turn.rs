//! One worker's loop: wait, take what came, do what is due, send.
//!
//! Owns: the peers of the worker and its forwarder.
//! Guarantees: no state is touched and nothing is answered for a datagram that names nobody's ufrag;
//! DTLS and media are taken only over a path that a peer has proven; a panic over one peer ends that
//! peer alone; the loop waits in `Waiter::wait`, rests for `REST_MAX` at most, and waits at most `SEND_WAIT`
//! for a socket that is full, and for a lock that the hub holds for one insertion; addresses of clients that are gone
//! are forgotten within a second, but for datagrams that still come from there.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use model::{Path, PeerId, Timestamp, WorkerId};
use peer::framing::Frames;
use peer::{BindingRequest, Door, Event, Output, Peer, PeerFactory, Remote};
use rtp::packet::Datagram;
use rtrb::Consumer;
use sfu::forward::{PeerSlot, Refused};
use sfu::{Forward, Instruction};
use tokio::sync::mpsc;

use super::bell::Bell;
use super::busy::Busy;
use super::hop::{self, Hop, Hops};
use super::load::Load;
use super::outlet::Outlet;
use super::path::{Claimed, Paths, Routes};
use super::pile::Pile;
use super::seat::Seat;
use super::steering::Steering;
use super::tcp::FromTcp;
use super::upward::Upward;
use super::{FromWorker, NewPeer, ToWorker};
use crate::budget::{Budget, Network, Rate};
use crate::limits::{
    CHECK_SILENCE_MAX, DTLS_BURST, DTLS_PER_SECOND, HOPS_MAX, INBOX_TURN_MAX, KNOCKS_BURST,
    KNOCKS_PER_SECOND, RECEIVE_TURN_MAX, TCP_TURN_MAX,
};
use crate::metrics::Metrics;
use crate::panics::contain;
use crate::session::ToHub;
use crate::stack;
use crate::sys::{Mapping, MediaSocket, RECEIVE_BATCH, ReceiveBatch, Run, Waiter};

/// How often what is left of clients that are gone is overwritten, and so the longest wait.
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
    pub(super) inbound: Vec<Consumer<Hop>>,
    pub(super) door: Arc<Door>,
    pub(super) factory: Arc<PeerFactory>,
    pub(super) origin: Instant,
    pub(super) seed: u64,
    pub(super) to_hub: mpsc::Sender<ToHub>,
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
    inbound: Vec<Consumer<Hop>>,
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
            let wait = self.next_wake().since(awake).min(RINSE_EVERY);
            self.waiter.wait(wait);
            let begin = self.now();
            self.busy.slept(wait, awake, begin);
            self.is_behind = false;
            let is_rung = self.bell.answer(self.waiter.is_ready(0));
            if is_rung && !self.hear_hub() {
                break;
            }
            if is_rung {
                self.hear_workers();
                self.hear_tcp();
            }
            self.receive();
            self.flush();
            self.fire();
            self.outlet.hops.ring();
            if begin.since(rinsed) >= RINSE_EVERY {
                rinsed = begin;
                self.paths.rinse();
                self.routes.rinse();
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
                self.upward.tell(FromWorker::Closed(peer));
            }
            None => crate::log!(ERROR, "a worker panicked over nobody", at = panic),
        }
        false
    }

    /// `false`: stop.
    fn hear_hub(&mut self) -> bool {
        for peer in self.load.take_losers() {
            let now = self.now();
            self.guard(|worker| worker.drive(now, peer, |_, _| false));
        }
        for _ in 0..INBOX_TURN_MAX {
            match self.inbox.try_recv() {
                Ok(ToWorker::Stop) | Err(TryRecvError::Disconnected) => return false,
                Ok(message) => {
                    let now = self.now();
                    self.guard(|worker| worker.obey(now, message));
                }
                Err(TryRecvError::Empty) => return true,
            }
        }
        // There may be more: come back after a look at the sockets.
        self.is_behind = true;
        self.bell.ring();
        true
    }

    fn obey(&mut self, now: Timestamp, message: ToWorker) {
        match message {
            ToWorker::AddPeer(new) => self.add(now, *new),
            ToWorker::RestartIce { peer, local, remote } => self.drive(now, peer, |seat, _| {
                seat.restart_ice(&local, &remote);
                true
            }),
            ToWorker::RemovePeer(peer) => self.close(now, peer),
            ToWorker::Send { peer, channel, since, message } => {
                let message = message.into_inner();
                self.load.remove(message.len());
                let mut lags = false;
                self.drive(now, peer, |seat, pile| {
                    lags = seat.send(now, since, channel, message, pile);
                    true
                });
                if lags {
                    self.metrics.data_receivers_lagged.count();
                }
                self.lighten(now);
            }
            ToWorker::Instruct(instruction) => self.instruct(now, instruction),
            ToWorker::Beat(pulse) => {
                pulse.answer_worker(self.id, self.busy.share(now), Instant::now());
            }
            ToWorker::Stop => {}
        }
    }

    /// Gives up those for whom something waits longest until the rest is not too much.
    fn lighten(&mut self, now: Timestamp) {
        while self.pile.is_too_large() {
            let since = |seat: &Seat| seat.waits_since().unwrap_or(Timestamp::MAX);
            let slowest = self.seats.iter().min_by_key(|(id, seat)| (since(seat), **id));
            let Some(id) = slowest.map(|(id, _)| *id) else { return };
            give_up(&self.metrics, id);
            self.drive(now, id, |_, _| false);
        }
    }

    fn add(&mut self, now: Timestamp, new: NewPeer) {
        let NewPeer { peer: id, local, remote, fingerprint, lag } = new;
        self.current = Some(id);
        let remote = Remote { ice: remote, fingerprint };
        let peer = Peer::new(&self.factory, &local, &remote, now);
        self.seats.insert(id, Box::new(Seat::new(peer, self.forward.slot(id), lag, now)));
        if self.seats.len() == 1 {
            self.steering.note(self.id, true, &self.outlet.sockets);
        }
        self.drive(now, id, |_, _| true);
    }

    fn instruct(&mut self, now: Timestamp, instruction: Instruction) {
        let concerned = match &instruction {
            Instruction::AddPeer { peer, .. } | Instruction::RemovePeer { peer } => Some(*peer),
            Instruction::SetReceive { .. }
            | Instruction::AddTrack(_)
            | Instruction::AddRelayedTrack { .. }
            | Instruction::Relay { .. }
            | Instruction::MuteTrack { .. }
            | Instruction::RemoveTrack { .. }
            | Instruction::Subscribe(_)
            | Instruction::Limit { .. }
            | Instruction::Cap { .. }
            | Instruction::Unsubscribe { .. } => None,
        };
        self.forward.instruct(now, instruction, &mut self.outlet);
        if let Some(peer) = concerned
            && let Some(seat) = self.seats.get_mut(&peer)
        {
            seat.meet(peer, &mut self.forward);
        }
    }

    fn hear_workers(&mut self) {
        let now = self.now();
        // Taken, so that hops are read where they lie.
        let mut inbound = std::mem::take(&mut self.inbound);
        for ring in &mut inbound {
            for _ in 0..HOPS_MAX {
                let is_taken = hop::take(ring, |hop| {
                    self.guard(|worker| worker.land(now, hop));
                });
                if !is_taken {
                    break;
                }
            }
        }
        self.inbound = inbound;
    }

    fn land(&mut self, now: Timestamp, hop: &Hop) {
        match hop {
            Hop::Datagram(path, bytes) => self.take_one(now, *path, bytes.get()),
            Hop::Relayed(packet, payload) => self.forward.relayed(now, packet, payload.get()),
            Hop::KeyframeWanted(track, spatial) => {
                self.forward.keyframe_wanted(*track, *spatial);
            }
            Hop::Owned(path, owner, proof) => self.routes.learn(*path, *owner, *proof, now),
            Hop::Disowned(path, owner) => self.routes.forget(path, *owner),
        }
    }

    /// What came over TCP.
    fn hear_tcp(&mut self) {
        for _ in 0..TCP_TURN_MAX {
            let Ok(message) = self.tcp.try_recv() else { return };
            let now = self.now();
            match message {
                FromTcp::Opened { path, peer, going } => {
                    self.outlet.connections.add(*path, peer, going);
                }
                FromTcp::Arrived { path, frames } => {
                    for datagram in Frames::new(&frames).map_while(Result::ok) {
                        self.metrics.datagrams_received.count();
                        self.guard(|worker| worker.take_one(now, *path, datagram));
                    }
                }
                FromTcp::Ended { path } => self.lose(&path),
            }
        }
        // There may be more: come back after a look at the sockets.
        self.is_behind = true;
        self.bell.ring();
    }

    /// A connection is no more.
    fn lose(&mut self, path: &Path) {
        let Some(peer) = self.outlet.connections.remove(path) else { return };
        // No other worker knows of it: it is not over UDP.
        let _is_its: bool = self.paths.remove(path, peer);
        if let Some(seat) = self.seats.get_mut(&peer) {
            seat.lose(path);
        }
    }

    /// A datagram that is for this worker or for nobody.
    fn take_one(&mut self, now: Timestamp, path: Path, datagram: &[u8]) {
        match (Datagram::classify(datagram), self.owner(&path)) {
            (kind @ (Datagram::Rtp | Datagram::Rtcp), Some((peer, Some(slot)))) => {
                self.ingest(now, peer, slot, kind, datagram);
            }
            (kind, _) => self.take(now, path, kind, datagram, true),
        }
    }

    fn receive(&mut self) {
        let Some(mut batch) = self.batch.take() else { return };
        for place in 0..self.outlet.sockets.len() {
            if !self.waiter.is_ready(place + 1) {
                continue;
            }
            for turn in 1..=RECEIVE_TURN_MAX {
                let Some(socket) = self.outlet.sockets.get(place) else { break };
                let count = socket.receive(&mut batch);
                let now = self.now();
                for run in batch.runs() {
                    self.take_run(now, run);
                }
                batch.forget_senders();
                if self.forward.pending() >= FLUSH_PACKETS {
                    self.flush();
                }
                if count < RECEIVE_BATCH {
                    break;
                }
                self.is_behind |= turn == RECEIVE_TURN_MAX;
            }
        }
        self.batch = Some(batch);
    }

    /// Datagrams of one path: its owner is looked up once, and again when one of them may change it.
    fn take_run(&mut self, now: Timestamp, run: Run<'_>) {
        let path = Path::udp(run.local, run.remote);
        let mut owner = self.owner(&path);
        let mut datagrams = 0;
        for datagram in run.datagrams() {
            datagrams += 1;
            match (Datagram::classify(datagram), owner) {
                (kind @ (Datagram::Rtp | Datagram::Rtcp), Some((peer, Some(slot)))) => {
                    if !self.guard(|worker| worker.ingest(now, peer, slot, kind, datagram)) {
                        owner = self.owner(&path);
                    }
                }
                (kind, _) => {
                    self.guard(|worker| worker.take(now, path, kind, datagram, false));
                    owner = self.owner(&path);
                }
            }
        }
        self.metrics.datagrams_received.add(datagrams);
    }

    fn owner(&self, path: &Path) -> Option<(PeerId, Option<PeerSlot>)> {
        let peer = self.paths.get(path)?;
        Some((peer, self.seats.get(&peer)?.slot))
    }

    fn ingest(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        slot: PeerSlot,
        kind: Datagram,
        datagram: &[u8],
    ) {
        self.current = Some(peer);
        if kind == Datagram::Rtp {
            self.media.packets += 1;
            self.media.bytes += u64::try_from(datagram.len()).unwrap_or(0);
        }
        self.forward.ingest(now, slot, datagram, &mut self.outlet);
    }

    fn take(&mut self, now: Timestamp, path: Path, kind: Datagram, datagram: &[u8], hopped: bool) {
        match (kind, self.paths.get(&path)) {
            (Datagram::Stun, proven) => match (BindingRequest::parse(datagram), proven) {
                (Some(request), _) => self.knock(now, path, request, datagram, hopped),
                (None, Some(peer)) => self.check(now, peer, path, datagram),
                (None, None) => self.pass_on(path, datagram, hopped),
            },
            (Datagram::Dtls, Some(peer)) if self.may_shake(now, peer, &path) => {
                self.drive(now, peer, |seat, _| {
                    seat.peer.handle_dtls(now, datagram);
                    true
                });
            }
            (Datagram::Dtls, Some(_)) => self.metrics.handshakes_over_budget.count(),
            (Datagram::Rtp | Datagram::Rtcp, Some(_)) => self.metrics.media_early.count(),
            (Datagram::Dtls | Datagram::Rtp | Datagram::Rtcp, None) => {
                self.pass_on(path, datagram, hopped);
            }
            (Datagram::Unknown, _) => self.metrics.datagrams_malformed.count(),
        }
    }

    /// Whether a peer's network may have one more handshake begun, if the peer has begun none yet.
    fn may_shake(&mut self, now: Timestamp, peer: PeerId, path: &Path) -> bool {
        let Some(seat) = self.seats.get_mut(&peer) else { return false };
        seat.is_shaking =
            seat.is_shaking || self.handshakes.take(now, &Network::of(path.remote.ip()));
        seat.is_shaking
    }

    /// A datagram over a path that is no peer's here: for the worker whose peer was last asked for over it.
    fn pass_on(&mut self, path: Path, datagram: &[u8], hopped: bool) {
        match self.routes.get(&path) {
            Some(owner) if !hopped => {
                self.outlet.hops.datagram(owner, path, datagram);
            }
            _ => self.metrics.datagrams_unproven.count(),
        }
    }

    /// A binding request: its ufrag says whose it is.
    fn knock(
        &mut self,
        now: Timestamp,
        path: Path,
        request: BindingRequest<'_>,
        datagram: &[u8],
        hopped: bool,
    ) {
        match self.door.owner(request.local_ufrag) {
            Some(owner) if owner.worker == self.id => {
                if !self.outlet.connections.may_be_of(&path, owner) {
                    return self.metrics.knocks_foreign.count();
                }
                let is_proven = self.paths.get(&path) == Some(owner);
                let network = Network::of(path.remote.ip());
                if !is_proven && !self.knocks.take(now, &network) {
                    return self.metrics.knocks_over_budget.count();
                }
                let Some(seat) = self.seats.get_mut(&owner) else {
                    return self.metrics.knocks_late.count();
                };
                if !seat.may_prove(&path) {
                    return self.metrics.knocks_beyond.count();
                }
                self.check(now, owner, path, datagram);
            }
            Some(owner) if !hopped => {
                self.outlet.hops.datagram(owner.worker, path, datagram);
            }
            Some(_) | None => self.metrics.knocks_foreign.count(),
        }
    }

    /// Gives a peer a check or the answer to one of its own.
    fn check(&mut self, now: Timestamp, peer: PeerId, path: Path, datagram: &[u8]) {
        self.drive(now, peer, |seat, _| {
            seat.peer.handle_stun(now, path, datagram);
            true
        });
    }

    /// Does something with a peer and everything that the peer wants after it. `act` says whether the
    /// peer may stay.
    fn drive(
        &mut self,
        now: Timestamp,
        id: PeerId,
        act: impl FnOnce(&mut Seat, &mut Pile) -> bool,
    ) {
        self.current = Some(id);
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let may_stay = act(seat, &mut self.pile) && self.drain(now, id);
        if !may_stay {
            self.close(now, id);
            self.upward.tell(FromWorker::Closed(id));
        }
    }

    /// Until the peer waits. `false`: it is finished.
    fn drain(&mut self, now: Timestamp, id: PeerId) -> bool {
        let Some(seat) = self.seats.get_mut(&id) else { return false };
        seat.pump(now, &mut self.pile);
        seat.pace(now, self.load.is_crowded() || self.upward.is_behind());
        loop {
            match seat.peer.poll() {
                Output::Transmit(transmit) => {
                    let path = transmit.path;
                    if transmit.verifies_remote {
                        let proof = seat.proof(&path, now);
                        let claimed = if self.routes.is_held(&path, now) {
                            Claimed::Refused
                        } else {
                            self.paths.claim(path, id, proof, now)
                        };
                        if claimed == Claimed::Refused {
                            self.metrics.paths_contested.count();
                            continue;
                        }
                        if claimed == Claimed::News && path.carrier.is_udp() {
                            self.outlet.hops.own(path, self.id, proof);
                        }
                        if let Some(old) = seat.prove(path, now) {
                            lose(&mut self.paths, &mut self.outlet, id, &old);
                        }
                    }
                    self.outlet.datagram(path, &transmit.datagram);
                }
                Output::Event(event) => {
                    if matches!(event, Event::Overdue) {
                        give_up(&self.metrics, id);
                    }
                    if let Event::ChannelClosed(channel) = event {
                        seat.shut(channel, &mut self.pile);
                    } else if !tell(event, now, id, seat, &mut self.forward, &mut self.upward) {
                        return false;
                    }
                    seat.pace(now, self.load.is_crowded() || self.upward.is_behind());
                }
                Output::Wait(at) => {
                    let due = seat.checked_at + CHECK_SILENCE_MAX;
                    let wake = at.min(due).min(seat.overdue_at()).max(now + WAKE_MIN);
                    if wake != seat.wake {
                        self.timers.remove(&(seat.wake, id));
                        self.timers.insert((wake, id));
                        seat.wake = wake;
                    }
                    return true;
                }
            }
        }
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
                lose(&mut self.paths, &mut self.outlet, id, path);
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

/// A path is a peer's no more.
fn lose(paths: &mut Paths, outlet: &mut Outlet, peer: PeerId, path: &Path) {
    if paths.remove(path, peer) && path.carrier.is_udp() {
        outlet.hops.disown(*path, peer.worker);
    }
    outlet.connections.remove(path);
}

/// How long a worker rests after a turn that took so long: not at all when it has more than enough to do.
fn rest(spent: Duration) -> Duration {
    if spent >= REST_MAX { Duration::ZERO } else { (spent * REST).clamp(REST_MIN, REST_MAX) }
}

/// Tells the hub or the forwarder what happened in a peer. `false`: the peer is finished.
fn tell(
    event: Event,
    now: Timestamp,
    id: PeerId,
    seat: &mut Seat,
    forward: &mut Forward<Mapping>,
    upward: &mut Upward,
) -> bool {
    match event {
        Event::Keys(keys) => seat.key(id, keys, forward),
        Event::Connected => upward.tell(FromWorker::Connected(id)),
        Event::Selected(path) => seat.aim(id, path, forward),
        Event::ChannelOpen(channel, label) => {
            if let Some(channel) = seat.open(channel, &label) {
                upward.tell(FromWorker::ChannelOpen(id, channel));
            }
        }
        Event::Message(channel, since, bytes) => {
            let Some(channel) = seat.channel(channel) else { return true };
            #[cfg(feature = "sabotage")]
            crate::sabotage::panic_if_asked("worker", &bytes);
            if !seat.allowance.take(now, bytes.len()) {
                return upward.refuse(channel);
            }
            return upward.pass(id, channel, since, bytes);
        }
        // What it means to those who wait is said where it came.
        Event::ChannelClosed(_) => {}
        Event::Overdue | Event::Closed => return false,
    }
    true
}

/// Whoever does not take reliable data in time has to come again: to go on without a word would be to lose it.
fn give_up(metrics: &Metrics, id: PeerId) {
    metrics.data_receivers_cut.count();
    crate::log!(INFO, "a participant did not take reliable data in time: ended", peer = id);
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::sync::mpsc::channel;

    use model::CallContent;
    use peer::{Fingerprint, IceCredentials, Peer, Remote};

    use super::*;
    use crate::limits::WAITING_BYTES_MAX;
    use crate::sys;
    use crate::worker::path::Proof;
    use crate::worker::{Channel, Crowd, RoomLag};

    const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// A worker that nobody runs, and what it tells the hub.
    fn worker() -> (Worker, mpsc::Receiver<ToHub>) {
        let metrics = Arc::new(Metrics::default());
        let bell = Arc::new(Bell::new().unwrap());
        let (hops, inbound) = Hops::between(std::slice::from_ref(&bell), &metrics).pop().unwrap();
        let (_queue, inbox) = channel();
        let (to_hub, hub) = mpsc::channel(16);
        let origin = Instant::now();
        let worker = Worker::new(Parts {
            id: WorkerId(0),
            bell,
            inbox,
            load: Arc::new(Load::new(&Crowd::default())),
            tcp: mpsc::channel(1).1,
            sockets: vec![MediaSocket::bind(ADDRESS).unwrap()],
            received: Mapping::new(sys::RECEIVE_BYTES).unwrap(),
            steering: Arc::new(Steering::new(5)),
            hops,
            inbound,
            door: Arc::new(Door::new(&[7; 32])),
            factory: Arc::new(PeerFactory::new(origin).unwrap()),
            origin,
            seed: 5,
            to_hub,
            metrics,
        });
        (worker, hub)
    }

    fn peer(index: u32) -> PeerId {
        PeerId { worker: WorkerId(0), index }
    }

    fn named(ufrag: &str) -> IceCredentials {
        IceCredentials { ufrag: ufrag.into(), pwd: "p".repeat(22).into() }
    }

    /// Its name is one of the door's, and its client's is `ours`.
    fn add(worker: &mut Worker, index: u32) {
        let fingerprint = Fingerprint { algorithm: "sha-256".into(), bytes: vec![7; 32] };
        let new = NewPeer {
            peer: peer(index),
            local: named(&worker.door.mint(peer(index), 0)),
            remote: named("ours"),
            fingerprint,
            lag: RoomLag::default(),
        };
        let now = worker.now();
        assert!(worker.guard(|worker| worker.obey(now, ToWorker::AddPeer(Box::new(new)))));
    }

    #[test]
    fn a_panic_over_one_peer_ends_that_peer_alone() {
        let (mut worker, mut hub) = worker();
        for index in 0..3 {
            add(&mut worker, index);
        }
        let now = worker.now();
        let is_whole = worker.guard(|worker| worker.drive(now, peer(1), |_, _| panic!("a test's")));
        assert!(!is_whole);
        assert_eq!(worker.metrics.worker_panics.total(), 1);
        assert!(matches!(
            hub.try_recv(),
            Ok(ToHub::Worker(FromWorker::Closed(gone))) if gone == peer(1)
        ));
        let mut left: Vec<PeerId> = worker.seats.keys().copied().collect();
        left.sort();
        assert_eq!(left, [peer(0), peer(2)]);
        assert!(worker.timers.iter().all(|(_, id)| *id != peer(1)), "nothing wakes it");
        let mut turns = 0;
        for id in left {
            assert!(worker.guard(|worker| worker.drive(now, id, |_, _| {
                turns += 1;
                true
            })));
        }
        assert_eq!(turns, 2, "the others are served");
        add(&mut worker, 1);
        assert!(worker.seats.contains_key(&peer(1)), "and so is who comes again");
        assert!(hub.try_recv().is_err(), "nobody else is said to be gone");
    }

    #[test]
    fn a_network_that_knocks_too_often_is_not_heard_and_others_are() {
        let (mut worker, _hub) = worker();
        let knock = |worker: &mut Worker, remote: [u8; 4]| {
            let name = worker.door.mint(peer(0), 0);
            let request = BindingRequest { local_ufrag: name.as_bytes() };
            let path = Path::udp(ADDRESS, SocketAddr::from((remote, 5000)));
            worker.knock(Timestamp::from_millis(5), path, request, &[], false);
        };
        for _ in 0..KNOCKS_BURST + 1000 {
            knock(&mut worker, [192, 0, 2, 7]);
        }
        assert_eq!(worker.metrics.knocks_over_budget.total(), 1000);
        let late = worker.metrics.knocks_late.total();
        for net in 0..8 {
            knock(&mut worker, [198, 51, net, 7]);
        }
        assert!(worker.metrics.knocks_late.total() > late, "they reach the table of peers");
    }

    /// A check of a peer's client over some path.
    fn check(worker: &Worker, index: u32, path: Path) -> Vec<u8> {
        let theirs = named(&worker.door.mint(peer(index), 0));
        let server = Remote { ice: theirs, fingerprint: worker.factory.fingerprint().clone() };
        let now = worker.now();
        let mut client = Peer::client(&worker.factory, &named("ours"), &server, path, now).unwrap();
        client.handle_timeout(now);
        let Output::Transmit(check) = client.poll() else { panic!("it asks nothing") };
        check.datagram
    }

    /// Or who forges an address would take away what comes from there.
    #[test]
    fn nobody_takes_a_path_that_a_peer_of_another_worker_proves() {
        const OTHER: WorkerId = WorkerId(1);
        let (mut worker, _hub) = worker();
        add(&mut worker, 0);
        let path = Path::udp(ADDRESS, SocketAddr::from(([192, 0, 2, 7], 5000)));
        let check = check(&worker, 0, path);
        for proof in [Proof::Sends, Proof::Receives] {
            let now = worker.now();
            worker.land(now, &Hop::Owned(path, OTHER, proof));
            worker.take(now, path, Datagram::Stun, &check, false);
            assert_eq!((worker.paths.get(&path), worker.routes.get(&path)), (None, Some(OTHER)));
        }
        assert_eq!(worker.metrics.paths_contested.total(), 2);
        let now = worker.now();
        worker.land(now, &Hop::Disowned(path, OTHER));
        worker.take(now, path, Datagram::Stun, &check, false);
        assert_eq!((worker.paths.get(&path), worker.routes.get(&path)), (Some(peer(0)), None));
    }

    #[test]
    fn a_knock_that_nobody_authenticated_teaches_no_route() {
        let (mut worker, _hub) = worker();
        let name = worker.door.mint(PeerId { worker: WorkerId(1), index: 0 }, 0);
        let request = BindingRequest { local_ufrag: name.as_bytes() };
        let path = Path::udp(ADDRESS, SocketAddr::from(([192, 0, 2, 7], 5000)));
        worker.knock(worker.now(), path, request, &[], false);
        assert_eq!(worker.routes.get(&path), None);
    }

    #[test]
    fn when_too_much_waits_those_for_whom_it_waits_longest_are_given_up() {
        const LEN: usize = 1 << 20;
        let (mut worker, mut hub) = worker();
        for index in 0..3 {
            add(&mut worker, index);
            let seat = worker.seats.get_mut(&peer(index)).unwrap();
            seat.open(peer::ChannelId::default(), "_reliable");
        }
        let now = worker.now();
        let mut send = |index, millis| {
            assert!(worker.load.add(peer(index), Channel::Reliable, LEN));
            let since = Timestamp::from_millis(millis);
            let message = CallContent::new(vec![1; LEN].into());
            let (peer, channel) = (peer(index), Channel::Reliable);
            worker.obey(now, ToWorker::Send { peer, channel, since, message });
        };
        send(1, 5);
        send(2, 3);
        send(0, 4);
        for _ in 0..WAITING_BYTES_MAX / LEN - 3 {
            send(0, 4);
        }
        assert!(hub.try_recv().is_err(), "it is not too much yet");
        send(0, 4);
        let gone = |hub: &mut mpsc::Receiver<ToHub>| {
            let told = hub.try_recv().ok()?;
            if let ToHub::Worker(FromWorker::Closed(gone)) = told { Some(gone) } else { None }
        };
        assert_eq!(gone(&mut hub), Some(peer(2)));
        send(1, 6);
        assert_eq!(gone(&mut hub), Some(peer(0)));
        assert_eq!(gone(&mut hub), None);
        assert_eq!(worker.metrics.data_receivers_cut.total(), 2);
        assert_eq!(worker.metrics.data_receivers_lagged.total(), 3);
        worker.forget(peer(1));
        assert!(worker.pile.is_empty() && !worker.load.is_crowded());
    }

    #[test]
    fn a_panic_over_nobody_ends_nobody() {
        let (mut worker, mut hub) = worker();
        add(&mut worker, 0);
        assert!(!worker.guard(|_| panic!("a test's")));
        assert_eq!(worker.metrics.worker_panics.total(), 1);
        assert_eq!(worker.seats.len(), 1);
        assert!(hub.try_recv().is_err());
    }

    #[test]
    fn a_worker_rests_after_small_turns_and_not_when_it_is_behind() {
        let millis = Duration::from_millis;
        assert_eq!(rest(Duration::from_micros(10)), REST_MIN);
        assert_eq!(rest(Duration::from_micros(150)), millis(3));
        assert_eq!(rest(millis(1)), REST_MAX);
        assert_eq!(rest(REST_MAX), Duration::ZERO);
    }
}
