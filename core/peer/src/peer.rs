//! The state machine of one transport: datagrams in, datagrams and events out.
//!
//! Owns: the order between its three layers. ICE says where to, DTLS what is readable, SCTP what is
//! whole.
//! Guarantees: nothing leaves before MESSAGE-INTEGRITY of a binding request held, and nothing but
//! ICE's own checks leaves for an address that has not answered one; after [`Event::Closed`] it does
//! nothing more.

mod client;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use model::{CallContent, Path, Timestamp};
use rtp::srtp::KeyingMaterial;
use zeroize::Zeroize as _;

use crate::channel::ChannelId;
use crate::channels::{self, Channels, Settings};
use crate::dtls::{self, Broken, Dtls};
use crate::ice::Ice;
use crate::limits::{CERTIFICATE_BYTES_MAX, HELD_MAX, RECORD_BYTES_MAX, STEPS_PER_INPUT_MAX};
use crate::{Fingerprint, IceCredentials, PeerFactory};

/// What the client said of itself in its offer.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its ICE credentials.
    pub ice: IceCredentials,
    /// Its DTLS certificate's digest.
    pub fingerprint: Fingerprint,
}

/// DTLS does not start.
#[derive(Debug, thiserror::Error)]
#[error("DTLS does not start")]
pub struct PeerError(#[from] dimpl::Error);

/// A datagram to send.
#[derive(Debug)]
pub struct Transmit {
    /// From where to where.
    pub path: Path,
    /// The bytes.
    pub datagram: Vec<u8>,
    /// It answers a binding request whose MESSAGE-INTEGRITY held: whoever sends from `path.remote`
    /// knows the password.
    pub verifies_remote: bool,
}

/// What happened in a transport. `Debug` shows its kind alone.
pub enum Event {
    /// DTLS gave the SRTP keys. Comes once, before [`Event::Connected`].
    Keys(KeyingMaterial),
    /// The client receives on a path and nominated it, or none yet: media goes there from now on.
    Selected(Path),
    /// DTLS is up.
    Connected,
    /// The client opened a data channel with this label.
    ChannelOpen(ChannelId, Box<str>),
    /// The client closed a data channel; its id may come again.
    ChannelClosed(ChannelId),
    /// A whole message arrived, at that time at the earliest.
    Message(ChannelId, Timestamp, CallContent<Vec<u8>>),
    /// The client did not acknowledge data in time. [`Event::Closed`] follows.
    Overdue,
    /// The transport is finished, by the client's wish or by an error.
    Closed,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keys(_) => "Keys",
            Self::Selected(_) => "Selected",
            Self::Connected => "Connected",
            Self::ChannelOpen(..) => "ChannelOpen",
            Self::ChannelClosed(_) => "ChannelClosed",
            Self::Message(..) => "Message",
            Self::Overdue => "Overdue",
            Self::Closed => "Closed",
        })
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram.
    Transmit(Transmit),
    /// Tell the owner.
    Event(Event),
    /// Nothing before this time: call [`Peer::handle_timeout`] then.
    Wait(Timestamp),
}

/// How far a transport has come to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Open,
    /// It says goodbye.
    Closing,
    /// Nobody was told.
    Closed,
    Over,
}

/// One participant's transport. Drain [`Peer::poll`] until `Wait` after every other call.
pub struct Peer {
    ice: Ice,
    dtls: Dtls,
    /// Once there is somebody to talk to.
    channels: Option<Box<Channels>>,
    settings: Arc<Settings>,
    /// Data channels that a client opens.
    wanted: &'static [&'static str],
    ready: VecDeque<Transmit>,
    /// Records that wait for a path to open.
    held: VecDeque<Vec<u8>>,
    origin: Instant,
    now: Timestamp,
    /// When DTLS wants to be woken.
    dtls_wake: Timestamp,
    /// Steps left before this input's share is used up.
    steps: usize,
    life: Life,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peer(…)")
    }
}

impl Peer {
    /// A passive transport (ICE-lite, DTLS server).
    #[must_use]
    pub fn new(
        factory: &PeerFactory,
        local: &IceCredentials,
        remote: &Remote,
        now: Timestamp,
    ) -> Self {
        let dtls = Dtls::server(&factory.identity, remote.fingerprint.clone(), local);
        Self::begin(factory, local, remote, dtls, None, now)
    }

    /// What both ends do. `server`: the path to it, for the end that begins.
    fn begin(
        factory: &PeerFactory,
        local: &IceCredentials,
        remote: &Remote,
        dtls: Dtls,
        server: Option<Path>,
        now: Timestamp,
    ) -> Self {
        let secret = Arc::clone(&factory.secret);
        Self {
            ice: Ice::new(local.clone(), remote.ice.clone(), secret, server, now),
            dtls,
            channels: None,
            settings: Arc::clone(&factory.settings),
            wanted: &[],
            ready: VecDeque::new(),
            held: VecDeque::new(),
            origin: factory.origin(),
            now,
            dtls_wake: now,
            steps: STEPS_PER_INPUT_MAX,
            life: Life::Open,
        }
    }

    /// A STUN datagram that came over `path`. What is malformed or not authentic is ignored.
    pub fn handle_stun(&mut self, now: Timestamp, path: Path, datagram: &[u8]) {
        self.turn(now);
        if self.life == Life::Open {
            self.ice.handle(now, path, datagram, &mut self.ready);
        }
    }

    /// Whether the client has shown, not long ago, that it receives over `path`.
    #[must_use]
    pub fn is_open(&self, path: &Path, now: Timestamp) -> bool {
        self.ice.is_open(path, now)
    }

    /// The TCP connection of a path is no more.
    pub fn lose(&mut self, now: Timestamp, path: &Path) {
        self.turn(now);
        self.ice.lose(now, path);
    }

    /// A DTLS datagram, which came over a path that a binding request has proven.
    pub fn handle_dtls(&mut self, now: Timestamp, path: Path, datagram: &[u8]) {
        self.turn(now);
        if self.life == Life::Open && datagram.len() <= RECORD_BYTES_MAX {
            self.ice.credit(now, path, datagram.len(), &mut self.ready);
            let taken = self.dtls.handle(self.instant(now), datagram);
            self.survive(taken);
        }
    }

    /// So many bytes of media came over a path that a binding request has proven. Whether something follows: if nothing
    /// does, there is nothing to drain.
    pub fn credit(&mut self, now: Timestamp, path: Path, len: usize) -> bool {
        self.turn(now);
        if self.life == Life::Open {
            self.ice.credit(now, path, len, &mut self.ready);
        }
        !self.ready.is_empty()
    }

    /// The time of the last [`Output::Wait`] has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.turn(now);
        if self.life != Life::Open {
            return;
        }
        let is_welcome = self.ice.handle_timeout(now, &mut self.ready);
        let mut passed = if is_welcome { Ok(()) } else { Err(Broken) };
        if self.dtls_wake <= now {
            passed = passed.and(self.dtls.handle_timeout(self.instant(now)));
        }
        self.survive(passed);
        let instant = self.instant(now);
        if let Some(channels) = &mut self.channels {
            channels.handle_timeout(instant);
        }
    }

    /// The client restarted ICE: both ends have new credentials, DTLS and SCTP go on.
    pub fn restart_ice(&mut self, now: Timestamp, local: &IceCredentials, remote: &IceCredentials) {
        self.turn(now);
        self.ice.restart(now, local.clone(), remote.clone());
    }

    /// Queues a whole message that was said at `since`: from then on it has [`crate::UNACKNOWLEDGED_TIME_MAX`] to
    /// arrive. `false`: the channel is gone or its buffer is full.
    pub fn send(
        &mut self,
        now: Timestamp,
        since: Timestamp,
        channel: ChannelId,
        message: &[u8],
    ) -> bool {
        self.turn(now);
        let (now, since) = (self.instant(now), self.instant(since));
        self.channels.as_mut().is_some_and(|channels| channels.send(now, since, channel, message))
    }

    /// Whether the client's reliable messages are to be read slowly, so that it waits with more of them; what comes is
    /// left unread for [`crate::HELD_TIME_MAX`] at most.
    pub fn hold_back(&mut self, now: Timestamp, is_held: bool) {
        self.now = now;
        let now = self.instant(now);
        if let Some(channels) = &mut self.channels {
            channels.hold_back(now, is_held);
        }
    }

    /// Bytes of a channel that wait for acknowledgement.
    pub fn buffered(&mut self, channel: ChannelId) -> usize {
        self.channels.as_mut().map_or(0, |channels| channels.buffered(channel))
    }

    /// Starts an orderly end: DTLS `close_notify` goes out with the next polls.
    pub fn close(&mut self) {
        self.turn(self.now);
        if self.life == Life::Open {
            self.life = if self.dtls.close().is_ok() { Life::Closing } else { Life::Closed };
        }
    }

    /// What to do next, until `Wait`.
    pub fn poll(&mut self) -> Output {
        if self.dtls.is_shaking() {
            // A certificate may be longer than a record. Nothing of a call is said yet.
            return self.step(&mut [0; CERTIFICATE_BYTES_MAX]);
        }
        // Plaintext passes through it; it is wiped before anybody else uses this part of the stack.
        let mut buffer = [0; RECORD_BYTES_MAX];
        let output = self.step(&mut buffer);
        buffer.zeroize();
        output
    }

    fn step(&mut self, buffer: &mut [u8]) -> Output {
        loop {
            if self.life == Life::Over {
                return Output::Wait(Timestamp::MAX);
            }
            // A peer that never comes to rest would hold its worker for ever.
            if self.life == Life::Closed || self.steps == 0 {
                self.life = Life::Over;
                return Output::Event(Event::Closed);
            }
            self.steps -= 1;
            if let Some(transmit) = self.next_transmit() {
                return Output::Transmit(transmit);
            }
            if let Some(path) = self.ice.take_destination() {
                return Output::Event(Event::Selected(path));
            }
            match self.dtls.poll(buffer) {
                Ok(dtls::Step::Record(record)) => self.hold(record.to_vec()),
                Ok(dtls::Step::Keys(keys)) => return Output::Event(Event::Keys(keys)),
                Ok(dtls::Step::Connected) => {
                    self.associate();
                    return Output::Event(Event::Connected);
                }
                Ok(dtls::Step::Data(packet)) => {
                    let now = self.instant(self.now);
                    if let Some(channels) = &mut self.channels {
                        channels.handle(now, packet);
                    }
                }
                Ok(dtls::Step::Goodbye) | Err(Broken) => self.life = Life::Closed,
                Ok(dtls::Step::Wait(at)) => {
                    self.dtls_wake = at.map_or(Timestamp::MAX, |at| self.timestamp(at));
                    if self.life == Life::Closing {
                        self.life = Life::Closed;
                    } else if let Some(output) = self.step_channels() {
                        return output;
                    }
                }
            }
        }
    }

    /// What the channels want, once nothing below them is pending. `None`: look below again.
    fn step_channels(&mut self) -> Option<Output> {
        let step = self.channels.as_mut().map_or(channels::Step::Wait(None), |it| it.poll());
        let event = match step {
            channels::Step::Packet(packet) => {
                let taken = self.dtls.send(&packet);
                self.survive(taken);
                return None;
            }
            channels::Step::Lost => {
                self.channels = None;
                self.life = Life::Closed;
                return None;
            }
            channels::Step::Overdue => {
                // With all that waits there.
                self.channels = None;
                self.close();
                Event::Overdue
            }
            channels::Step::Wait(at) => {
                // Most peers have nothing to say most of the time, and what is held may wait for a path.
                if self.ready.is_empty() && self.held.is_empty() {
                    (self.ready, self.held) = (VecDeque::new(), VecDeque::new());
                }
                let at = at.map_or(Timestamp::MAX, |at| self.timestamp(at));
                let wake = at.min(self.dtls_wake).min(self.ice.next_timeout());
                return Some(Output::Wait(wake));
            }
            channels::Step::Open(id, label) => Event::ChannelOpen(id, label),
            channels::Step::Closed(id) => Event::ChannelClosed(id),
            channels::Step::Message(id, since, message) => {
                Event::Message(id, self.timestamp(since), message.into())
            }
        };
        Some(Output::Event(event))
    }

    /// DTLS is up: SCTP may begin.
    fn associate(&mut self) {
        let now = self.instant(self.now);
        let channels =
            self.channels.get_or_insert_with(|| Box::new(Channels::new(&self.settings, now)));
        if !self.wanted.is_empty() {
            channels.connect(self.wanted);
        }
    }

    /// Keeps a record for the time when a path is open; a flight is sent again if it gets lost.
    fn hold(&mut self, record: Vec<u8>) {
        self.held.push_back(record);
        if self.held.len() > HELD_MAX {
            self.held.pop_front();
        }
    }

    fn next_transmit(&mut self) -> Option<Transmit> {
        if let Some(transmit) = self.ready.pop_front() {
            return Some(transmit);
        }
        let path = self.ice.destination()?;
        let datagram = self.held.pop_front()?;
        Some(Transmit { path, datagram, verifies_remote: false })
    }

    /// Something from outside: it has its share of steps.
    fn turn(&mut self, now: Timestamp) {
        self.now = now;
        self.steps = STEPS_PER_INPUT_MAX;
    }

    fn survive(&mut self, outcome: Result<(), Broken>) {
        if outcome.is_err() && matches!(self.life, Life::Open | Life::Closing) {
            self.life = Life::Closed;
        }
    }

    fn instant(&self, now: Timestamp) -> Instant {
        self.origin + now.since(Timestamp::ZERO)
    }

    fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp::ZERO + at.saturating_duration_since(self.origin)
    }
}

#[cfg(test)]
mod tests;
