//! The one task that decides: rooms and sessions on one side, media workers on the other.
//!
//! Owns: [`Control`], every participant's negotiation and session, and the order in which they are told
//! things. It translates: a client's message becomes Control's input, Control's output becomes clients'
//! messages and workers' instructions.
//! Guarantees: the first message of a session is its join or reconnect response; a participant is told of
//! a track before its section is negotiated; a panic while one participant's message is handled puts out
//! that participant alone; a client that reads too slowly loses its session, and the others nothing.
//! Not here: sockets (`http`, `socket`), packets (`worker`), decisions (`sfu::control`).
//! Source: LiveKit `pkg/rtc/{room,participant}.go`, `pkg/rtc/signalling/signalhandler.go`.

mod admission;
mod answer;
mod authorization;
mod bucket;
mod data;
mod description;
mod gone;
mod missed;
mod moderation;
mod news;
mod pace;
mod put_out;
mod receivers;
mod replay;
mod request;
mod room_service;
mod seat;
mod ssrcs;
mod sync;
#[cfg(test)]
mod tests;
mod timers;
mod translate;
mod untold;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model::{
    Codec, Identity, LogData, PeerId, RoomId, Share, Timestamp, TrackId, TrackSid, WorkerId,
};
use peer::{Door, Fingerprint};
use ring::rand::{SecureRandom as _, SystemRandom};
use sfu::Report;
use sfu::control::{self, Control, DepartureReason, Input};
use tokio::sync::{mpsc, watch};
use wire::access::Access;
use wire::proto;
use wire::sdp::Candidate;

use crate::answers::{Answers, RoomAnswers};
use crate::budget::{Budget, Rate};
use crate::config::Next;
use crate::limits::{GOODBYE_TIME, HUB_TURN_MAX, JOINS_BURST, JOINS_PER_SECOND};
use crate::log::{Kind, Pseudonym, Pseudonyms};
use crate::metrics::Metrics;
use crate::panics::contain;
use crate::pulse::Pulse;
use crate::session::{Outgoing, SessionId, ToHub};
use crate::worker::{Channel, FromWorker, RoomLag, ToWorker};
use bucket::Debts;
use gone::Gone;
use moderation::Moderated;
use news::News;
use put_out::PutOut;
use replay::Replay;
use seat::Seat;
use ssrcs::Ssrcs;
use timers::{Timer, Timers};

/// Audio that clients may send.
const AUDIO_CODECS: [Codec; 1] = [Codec::Opus];
/// Video that clients may send, preferred first.
const VIDEO_CODECS: [Codec; 2] = [Codec::Vp8, Codec::H264];
/// How often a client gets a fresh token (LiveKit: 5 min).
const REFRESH_EVERY: Duration = Duration::from_secs(5 * 60);
/// How long after each other clients get one when the key of refresh tokens has changed: a full node's 10,240 have
/// theirs within 1.6 s, and no turn of the hub makes many.
const REFRESH_APART: Duration = Duration::from_micros(150);

/// What the hub is built with.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// For Control.
    pub control: control::Config,
    /// Who gets in, and whose sessions go on.
    pub access: watch::Receiver<Arc<Access>>,
    /// Where clients send media, best first.
    pub candidates: Vec<Candidate>,
    /// Mints our ICE user names.
    pub door: Arc<Door>,
    /// Of the certificate that all peers of this process have.
    pub fingerprint: Fingerprint,
    /// Who is here once this has stopped.
    pub next: Next,
    /// Whether a join makes a room that is not there.
    pub are_rooms_made_by_joins: bool,
    /// The instant of `Timestamp::ZERO`.
    pub origin: Instant,
}

/// How the hub speaks to a worker. Never blocks.
pub type SendToWorker = Box<dyn Fn(WorkerId, ToWorker) + Send>;

/// What a room keeps beside Control's.
#[derive(Debug)]
struct Gathering {
    /// Milliseconds of Unix time.
    created_at_ms: i64,
    replay: Replay,
    /// When the hub is woken for it.
    replay_at: Option<Timestamp>,
    /// Marks of back ends' last messages, oldest first: at most [`crate::limits::NONCES_MAX`].
    nonces: VecDeque<Vec<u8>>,
    /// What participants are called here: of this room alone and the same as long as it lives, since nothing of a
    /// person is kept after its session, its name neither.
    names: Pseudonyms,
    moderated: Moderated,
    gone: Gone,
    /// When it may be told again, to those in it.
    told_next: Timestamp,
    /// Who left before all that they asked for was paid for, and what they owe: at most [`crate::limits::UNPAID_MAX`],
    /// oldest first.
    unpaid: VecDeque<(Pseudonym, Debts)>,
    /// Whether those in it take what is said there.
    lag: RoomLag,
    /// What those who come and have not read it are told of it.
    answers: RoomAnswers,
    /// Who asked to come again over TCP alone, oldest first: at most [`crate::limits::SWITCHES_MAX`].
    switching: VecDeque<Pseudonym>,
}

struct Hub {
    config: HubConfig,
    control: Control,
    /// By which those who are in were let in and given refresh tokens.
    access: Arc<Access>,
    to_worker: SendToWorker,
    metrics: Arc<Metrics>,
    random: SystemRandom,
    pseudonyms: Pseudonyms,
    /// What identities are called where others name them, as long as the process lives.
    aliases: Pseudonyms,
    now: Timestamp,
    /// The same instant in milliseconds of Unix time, as the clock was when the turn began.
    unix_ms: u64,
    /// Boxed: a map's nodes have room for twice as many values as they hold.
    seats: BTreeMap<PeerId, Box<Seat>>,
    sessions: BTreeMap<SessionId, PeerId>,
    sessions_made: u64,
    gatherings: BTreeMap<RoomId, Gathering>,
    tracks: BTreeMap<TrackSid, TrackId>,
    put_out: PutOut,
    news: News,
    timers: Timers,
    /// Random bytes for SSRCs.
    ssrcs: Ssrcs,
    /// Of joins and resumes, by token and room.
    joins: Budget,
    answers: Answers,
    /// Whose message is being handled.
    current: Option<PeerId>,
    is_stopping: bool,
}

/// Runs the hub until it is told to stop or nobody can tell it anything any more.
pub async fn run(
    config: HubConfig,
    to_worker: SendToWorker,
    metrics: Arc<Metrics>,
    mut inbox: mpsc::Receiver<Box<ToHub>>,
) {
    let origin = config.origin;
    let mut access = config.access.clone();
    let mut hub = Hub::new(config, to_worker, metrics);
    while !hub.is_stopping {
        let wake = hub.next_timeout().map(|at| origin + at.since(Timestamp::ZERO));
        let message = tokio::select! {
            message = inbox.recv() => match message {
                Some(message) => Some(message),
                None => return,
            },
            () = sleep_until(wake) => None,
            // An error means that nobody is left to change it, and then the inbox closes as well.
            Ok(()) = access.changed() => None,
        };
        let now = Timestamp::ZERO + origin.elapsed();
        let burst = std::iter::from_fn(|| inbox.try_recv().ok()).take(HUB_TURN_MAX);
        hub.turn(now, unix_ms(), message.into_iter().chain(burst).map(|it| *it));
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn unix_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

impl Gathering {
    fn name(&self, identity: &Identity) -> Pseudonym {
        self.names.of(Kind::Identity, identity.expose())
    }
}

impl Hub {
    fn new(config: HubConfig, to_worker: SendToWorker, metrics: Arc<Metrics>) -> Self {
        let random = SystemRandom::new();
        let control = Control::new(config.control.clone(), u64::from_be_bytes(bytes(&random)));
        let access = Arc::clone(&config.access.borrow());
        Self {
            config,
            control,
            access,
            to_worker,
            metrics,
            pseudonyms: Pseudonyms::new(unix_ms(), &bytes(&random)),
            aliases: Pseudonyms::new(0, &bytes(&random)),
            random,
            now: Timestamp::ZERO,
            unix_ms: 0,
            seats: BTreeMap::new(),
            sessions: BTreeMap::new(),
            sessions_made: 0,
            gatherings: BTreeMap::new(),
            tracks: BTreeMap::new(),
            put_out: PutOut::default(),
            news: News::default(),
            timers: Timers::default(),
            ssrcs: Ssrcs::default(),
            joins: Budget::new(Rate { burst: JOINS_BURST, per_second: JOINS_PER_SECOND }),
            answers: Answers::default(),
            current: None,
            is_stopping: false,
        }
    }

    /// Takes what came, then what is due, then tells everybody what came of it.
    fn turn(&mut self, now: Timestamp, unix_ms: u64, messages: impl Iterator<Item = ToHub>) {
        self.now = now;
        self.unix_ms = unix_ms;
        if self.config.access.has_changed().unwrap_or(false) {
            self.guard(Self::admit_anew);
        }
        for message in messages {
            self.guard(|hub| hub.take(message));
            if self.is_stopping {
                return;
            }
        }
        self.guard(Self::fire);
        self.guard(Self::tell_news);
    }

    fn next_timeout(&self) -> Option<Timestamp> {
        let mine = self.timers.next();
        [mine, self.control.next_timeout(), self.news.due()].into_iter().flatten().min()
    }

    /// Does `work`; if it panics, the participant that it was for is put out.
    fn guard(&mut self, work: impl FnOnce(&mut Self)) {
        self.current = None;
        let Err(panic) = contain(|| work(self)) else { return };
        self.metrics.hub_panics.count();
        let Some(peer) = self.current.take() else {
            return crate::log!(ERROR, "the hub panicked over nobody", at = panic);
        };
        crate::log!(ERROR, "the hub panicked over a participant: put out", peer = peer, at = panic);
        let removal = contain(|| self.tell(Input::Depart(peer, DepartureReason::Mismatch)));
        if let Err(panic) = removal {
            self.metrics.hub_panics.count();
            crate::log!(ERROR, "the hub panicked over its departure", peer = peer, at = panic);
            // What is left of it must not be found again.
            self.forget(peer);
        }
    }

    fn take(&mut self, message: ToHub) {
        match message {
            ToHub::Knock(knock, reply) => {
                // The other end may be gone; then its connection is, and `Closed` comes.
                drop(reply.send(self.knock(knock)));
            }
            ToHub::Request(session, request, _part) => {
                if let Some(peer) = self.sessions.get(&session).copied() {
                    self.current = Some(peer);
                    self.request(peer, *request);
                }
            }
            ToHub::Closed(session) => {
                if let Some(peer) = self.sessions.remove(&session)
                    && let Some(seat) = self.seats.get_mut(&peer)
                {
                    seat.session = None;
                    if self.timers.is_set(Timer::Lost(peer)) {
                        self.give_up(peer);
                    }
                }
            }
            ToHub::Worker(from) => self.hear(from),
            ToHub::RoomService(request, reply) => {
                // The back end may have hung up; what it asked for is done all the same.
                drop(reply.send(self.room_service(*request)));
            }
            ToHub::ParticipantPage { room, after, reply } => {
                // As above.
                drop(reply.send(self.participant_page(&room, after.as_ref())));
            }
            ToHub::RoomPage { names, after, reply } => {
                // As above.
                drop(reply.send(self.room_page(&names, after)));
            }
            ToHub::MayJoin { room, identity, kind, reply } => {
                // The client may have hung up.
                let _ = reply.send(self.may_join(&room, &identity, kind));
            }
            ToHub::Census(reply) => {
                // Whoever asked may have given up.
                let _ = reply.send(self.control.census());
            }
            ToHub::Beat(pulse) => {
                let at = self.config.origin + self.now.since(Timestamp::ZERO);
                self.hear_busy(&pulse);
                let is_busy = self.control.is_busy();
                pulse.answer_hub(self.control.participants_len(), is_busy, at);
            }
            ToHub::Stop(reply) => {
                self.stop();
                let _ = reply.send(());
            }
        }
    }

    fn hear(&mut self, from: FromWorker) {
        match from {
            FromWorker::Connected(peer) => {
                self.current = Some(peer);
                self.metrics.participants_connected.count();
                self.tell(Input::Connected(peer));
            }
            FromWorker::Closed(peer) => self.lose(peer, GOODBYE_TIME),
            FromWorker::PutOut(peer) => self.lose(peer, Duration::ZERO),
            FromWorker::ChannelOpen(peer, Channel::Reliable) => {
                self.current = Some(peer);
                self.open_reliable(peer);
            }
            FromWorker::ChannelOpen(_, Channel::Lossy | Channel::DataTrack) => {}
            FromWorker::Message(peer, channel, since, content) => {
                self.current = Some(peer);
                self.data(peer, channel, since, content.expose());
            }
            FromWorker::Report(Report::HistoryReleased { room, bytes }) => {
                let (room, bytes) = (self.pseudonyms.of_open(room), LogData(bytes));
                crate::log!(
                    INFO,
                    "a room's history is zeroed and unmapped",
                    room = room,
                    bytes = bytes
                );
            }
            FromWorker::Report(report) => self.tell(Input::Report(report)),
        }
    }

    /// A participant's transport has ended; `patience` is for what its session may have to say of that.
    fn lose(&mut self, peer: PeerId, patience: Duration) {
        self.current = Some(peer);
        let Some(seat) = self.seats.get_mut(&peer) else { return };
        seat.is_placed = false;
        if seat.session.is_some() && !patience.is_zero() {
            self.timers.set(self.now + patience, Timer::Lost(peer));
        } else {
            self.give_up(peer);
        }
    }

    /// A participant without a transport has no more to say.
    fn give_up(&mut self, peer: PeerId) {
        self.current = Some(peer);
        self.tell(Input::Depart(peer, DepartureReason::PeerLost));
    }

    /// Tells Control how busy the workers are, and the log when that begins or ceases to keep people out.
    fn hear_busy(&mut self, pulse: &Pulse) {
        let was_busy = self.control.is_busy();
        let mut least = Share::ALL;
        for (worker, share) in pulse.busy() {
            least = least.min(share);
            self.tell(Input::Busy(worker, share));
        }
        let permille = LogData(least.as_permille());
        match (was_busy, self.control.is_busy()) {
            (false, true) => {
                crate::log!(WARN, "too busy: nobody new is let in", least_permille = permille);
            }
            (true, false) => {
                crate::log!(INFO, "people are let in again", least_permille = permille);
            }
            (true, true) | (false, false) => {}
        }
    }

    fn fire(&mut self) {
        if self.control.next_timeout().is_some_and(|at| at <= self.now) {
            self.tell(Input::Timeout);
        }
        while let Some(timer) = self.timers.take_due(self.now) {
            match timer {
                Timer::Refresh(peer) => self.refresh_token(peer),
                Timer::Hush(peer) => self.simulate_speaker(peer, 0.0),
                Timer::End(peer) => {
                    self.current = Some(peer);
                    self.apply_rights(peer);
                }
                Timer::Permit(peer) => {
                    self.current = Some(peer);
                    self.permit_in_time(peer);
                }
                Timer::Allowed(peer) => self.tell_allowed(peer),
                Timer::Lost(peer) => self.give_up(peer),
                Timer::Forget(room) => self.forget_packets(room),
            }
        }
    }

    /// Tells Control and does what it wants.
    fn tell(&mut self, input: Input) {
        self.control.handle(self.now, input);
        self.drain();
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        let peers: Vec<PeerId> = self.seats.keys().copied().collect();
        for peer in peers {
            self.tell(Input::Depart(peer, DepartureReason::Shutdown));
        }
    }

    /// The participant is gone: its seat, session and timers go.
    fn forget(&mut self, peer: PeerId) {
        let Some(seat) = self.seats.remove(&peer) else {
            return;
        };
        if let Some(session) = &seat.session {
            self.sessions.remove(&session.id);
        }
        if seat.is_placed {
            (self.to_worker)(peer.worker, ToWorker::RemovePeer(peer));
        }
        self.timers.clear_all_of(peer);
    }

    /// Sends to one participant.
    fn send(&mut self, peer: PeerId, message: proto::signal_response::Message) {
        self.send_shared(peer, &seat::shared(message));
    }

    fn send_shared(&mut self, peer: PeerId, message: &Arc<proto::SignalResponse>) {
        self.push(peer, Outgoing::Response(Arc::clone(message)));
    }

    fn push(&mut self, peer: PeerId, outgoing: Outgoing) {
        let Some(seat) = self.seats.get_mut(&peer) else {
            return;
        };
        let session = seat.session.as_ref().map(|session| session.id);
        if !seat.send(outgoing) {
            self.metrics.sockets_slow.count();
            crate::log!(INFO, "a client reads too slowly, its session is cut", peer = peer);
        }
        if seat.session.is_none()
            && let Some(session) = session
        {
            self.sessions.remove(&session);
        }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        bytes(&self.random)
    }
}

/// Random bytes of the operating system.
fn bytes<const N: usize>(random: &SystemRandom) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes).expect("the operating system has randomness once it has booted");
    bytes
}
