//! One participant: it joins, sends one track or receives all, and counts.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use model::{Path, Timestamp};
use peer::{Event, IceCredentials, Output, Peer, PeerFactory};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use rtp::packet::Datagram;
use rtp::srtp::{DtlsRole, SrtpReceiver, SrtpSender};
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep_until, timeout};
use wire::proto::{
    AddTrackRequest, ConnectionSettings, JoinRequest, LeaveRequest, SessionDescription,
    TrackSource, TrackType, signal_request, signal_response,
};

use crate::abuse;
use crate::feedback::{self, Feedback};
use crate::media::{self, Source};
use crate::offer::{Answer, OPUS, Offer, VP8};
use crate::signal::Signal;
use crate::stamp::Stamp;
use crate::tally::{Sequence, Tally};
use crate::{Failure, Kind, Phase};

/// For the server to answer the offer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// For the server to let go: ten thousand may leave at once.
const LEFT_WITHIN: Duration = Duration::from_secs(30);
/// Longer than any measurement.
const NEVER: Duration = Duration::from_secs(86_400);
/// Networks of 256 addresses that guests come from.
const NETWORKS: usize = 200;
/// What one system call takes: trains of up to 64 KiB.
const BATCH: usize = 8;
const TRAIN_BYTES: usize = 64 << 10;

/// What all clients share.
pub(crate) struct House {
    pub(crate) server: SocketAddr,
    pub(crate) factory: PeerFactory,
    pub(crate) origin: Instant,
    pub(crate) kind: Kind,
    pub(crate) publishers: usize,
    /// Subscribers ask for too much.
    pub(crate) abuse: bool,
    pub(crate) reception: Reception,
    /// What payloads are filled with.
    pub(crate) stamp: Option<String>,
    pub(crate) passphrase: Option<String>,
    pub(crate) phase: watch::Receiver<Phase>,
}

impl House {
    fn now(&self) -> Timestamp {
        Timestamp::ZERO + self.origin.elapsed()
    }
}

/// Where datagrams are read to, one client after the other.
pub(crate) struct Reception {
    buffers: RefCell<Vec<u8>>,
    /// Streams that reached a subscriber.
    streams: Cell<usize>,
    /// Guests whose transport is there.
    guests: Cell<usize>,
}

impl Reception {
    pub(crate) fn new() -> Self {
        Self {
            buffers: RefCell::new(vec![0; BATCH * TRAIN_BYTES]),
            streams: Cell::new(0),
            guests: Cell::new(0),
        }
    }

    pub(crate) const fn guests(&self) -> usize {
        self.guests.get()
    }

    pub(crate) const fn streams(&self) -> usize {
        self.streams.get()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
    /// Sends nothing and receives nothing.
    Guest,
}

pub(crate) struct Client {
    house: Rc<House>,
    role: Role,
    signal: Signal,
    offer: SessionDescription,
    socket: UdpSocket,
    /// How this socket is read in trains.
    trains: UdpSocketState,
    peer: Peer,
    server: SocketAddr,
    /// When the transport wants to be woken.
    wake: Instant,
    sender: Option<SrtpSender>,
    /// Of a publisher whom abusers may reach.
    receiver: Option<SrtpReceiver>,
    source: Source,
    sequences: BTreeMap<u32, Sequence>,
    feedback: Feedback,
    tally: Tally,
    phase: Phase,
}

/// One that has joined and has no transport yet.
pub(crate) struct Joined {
    house: Rc<House>,
    role: Role,
    signal: Signal,
    offer: SessionDescription,
    answer: Answer,
    ice: IceCredentials,
    ssrc: u32,
    local: IpAddr,
}

impl Joined {
    /// Joins and offers, from a network of this number if one is given; returns when the server has answered.
    pub(crate) async fn new(
        house: Rc<House>,
        role: Role,
        number: usize,
        room: &str,
        network: Option<usize>,
    ) -> Result<Self, Failure> {
        let from = network.and_then(|network| in_network(house.server.ip(), network));
        let stream = match from {
            Some(from) => {
                let socket = TcpSocket::new_v4()?;
                socket.bind((from, 0).into())?;
                socket.connect(house.server).await?
            }
            None => TcpStream::connect(house.server).await?,
        };
        let local = stream.local_addr()?.ip();
        let identity = format!("{role:?}-{number}");
        // Nobody listens in on a measurement.
        let ice = IceCredentials {
            ufrag: format!("{number:08}").into(),
            pwd: format!("{number:024}").into(),
        };
        let ssrc = u32::try_from(number)? + 1;
        let sends = role == Role::Publisher;
        let offer = Offer {
            ice: &ice,
            fingerprint: house.factory.fingerprint(),
            kind: house.kind,
            sends: sends.then_some((identity.as_str(), ssrc)),
            receives: if role == Role::Subscriber { house.publishers } else { 0 },
        };
        let offer = SessionDescription {
            r#type: "offer".to_owned(),
            sdp: offer.sdp(),
            id: 1,
            ..Default::default()
        };
        let request = JoinRequest {
            connection_settings: Some(ConnectionSettings {
                auto_subscribe: role == Role::Subscriber,
                ..Default::default()
            }),
            add_track_requests: if sends { vec![track(&identity, house.kind)] } else { Vec::new() },
            publisher_offer: Some(offer.clone()),
            ..Default::default()
        };
        let mut signal = Signal::join(stream, house.server, room, &identity, &request).await?;
        let answer = timeout(ANSWER_WITHIN, answer(&mut signal)).await??;
        Ok(Self { house, role, signal, offer, answer, ice, ssrc, local })
    }

    /// Begins with the transport.
    pub(crate) async fn connect(self) -> Result<Client, Failure> {
        let Self { house, role, signal, offer, answer, ice, ssrc, local } = self;
        let socket = UdpSocket::bind((local, 0)).await?;
        let trains = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let path = Path::udp(socket.local_addr()?, answer.address);
        let peer = Peer::client(&house.factory, &ice, &answer.remote, path, house.now())?;
        let passphrase = house.passphrase.as_deref();
        let stamp = house.stamp.as_deref().map(|text| Stamp::new(text, passphrase));
        let source = Source::new(house.kind, ssrc, stamp);
        let wake = house.origin;
        Ok(Client {
            house,
            role,
            signal,
            offer,
            socket,
            trains,
            peer,
            server: answer.address,
            wake,
            sender: None,
            receiver: None,
            source,
            sequences: BTreeMap::new(),
            feedback: Feedback::new(),
            tally: Tally::default(),
            phase: Phase::Settling,
        })
    }

    /// Stays without a transport until it is let have one, and then until all is over.
    pub(crate) async fn wait(mut self, release: oneshot::Receiver<()>) -> Result<Tally, Failure> {
        let mut phase = self.house.phase.clone();
        let mut release = std::pin::pin!(release);
        loop {
            tokio::select! {
                released = &mut release => {
                    released?;
                    return Box::pin(self.connect().await?.run()).await;
                }
                message = self.signal.next() => refuse_leave(&message?)?,
                over = phase.wait_for(|phase| *phase == Phase::Over) => {
                    drop(over?);
                    leave(&mut self.signal).await?;
                    return Ok(Tally::default());
                }
            }
        }
    }
}

impl Client {
    /// Does what its role asks until all is over.
    pub(crate) async fn run(mut self) -> Result<Tally, Failure> {
        let mut phase = self.house.phase.clone();
        let mut turn = Instant::now();
        let pause = match self.role {
            Role::Publisher => media::interval(self.house.kind),
            Role::Subscriber if self.house.abuse => abuse::INTERVAL,
            Role::Subscriber => feedback::INTERVAL,
            Role::Guest => NEVER,
        };
        loop {
            let is_sending = self.sender.is_some()
                && self.role != Role::Guest
                && matches!(self.phase, Phase::Settling | Phase::Measuring);
            let wake = if is_sending { self.wake.min(turn) } else { self.wake };
            tokio::select! {
                changed = phase.changed() => {
                    changed?;
                    self.phase = *phase.borrow_and_update();
                    match self.phase {
                        Phase::Measuring => {
                            let fresh = Sequence::since(self.house.now());
                            self.sequences.values_mut().for_each(|it| *it = fresh);
                        }
                        Phase::Draining => {
                            let now = self.house.now();
                            self.sequences.values_mut().for_each(|it| it.end(now));
                        }
                        Phase::Over => break,
                        Phase::Settling => {}
                    }
                }
                message = self.signal.next() => self.heed(message?).await?,
                readable = self.socket.readable() => {
                    readable?;
                    self.receive()?;
                }
                () = sleep_until(wake.into()) => {
                    let now = Instant::now();
                    if is_sending && now >= turn {
                        match self.role {
                            Role::Publisher => self.send(),
                            Role::Subscriber => self.report(),
                            Role::Guest => {}
                        }
                        turn = (turn + pause).max(now - pause);
                    }
                    if now >= self.wake {
                        self.peer.handle_timeout(self.house.now());
                        self.drive()?;
                    }
                }
            }
        }
        leave(&mut self.signal).await?;
        for sequence in self.sequences.values() {
            self.tally.add(&sequence.tally());
        }
        Ok(self.tally)
    }

    /// Sends what the transport wants sent, until it only wants to be woken.
    fn drive(&mut self) -> Result<(), Failure> {
        loop {
            match self.peer.poll() {
                Output::Transmit(transmit) => {
                    self.socket.try_send_to(&transmit.datagram, transmit.path.remote).ok();
                }
                Output::Event(Event::Keys(keys)) => {
                    self.sender = Some(SrtpSender::new(&keys, DtlsRole::Client));
                    if self.house.abuse && self.role == Role::Publisher {
                        self.receiver = Some(SrtpReceiver::new(&keys, DtlsRole::Client));
                    }
                    if self.role == Role::Guest {
                        let guests = &self.house.reception.guests;
                        guests.set(guests.get() + 1);
                    }
                }
                Output::Event(Event::Closed) => return Err("the transport closed".into()),
                Output::Event(_) => {}
                Output::Wait(until) => {
                    let later = until.since(Timestamp::ZERO).min(NEVER);
                    self.wake = self.house.origin + later;
                    return Ok(());
                }
            }
        }
    }

    fn send(&mut self) {
        let Some(sender) = &self.sender else {
            return;
        };
        let counts = self.phase == Phase::Measuring;
        self.source.turn(sender, |packet| {
            let is_sent = self.socket.try_send_to(packet, self.server).is_ok();
            self.tally.sent += u64::from(is_sent && counts);
        });
    }

    fn report(&mut self) {
        let (now, server) = (self.house.now(), self.server);
        let Some(sender) = &mut self.sender else {
            return;
        };
        if self.house.abuse {
            let heard = self.sequences.iter().filter_map(|(ssrc, it)| Some((*ssrc, it.highest()?)));
            let counts = u64::from(self.phase == Phase::Measuring);
            abuse::ask(heard, sender, |packet| {
                self.socket.try_send_to(packet, server).ok();
                self.tally.asked_bytes += counts * packet.len() as u64;
            });
        }
        let sequences = self.sequences.iter().map(|(ssrc, sequence)| (*ssrc, sequence));
        self.feedback.turn(now, sequences, sender, |packet| {
            self.socket.try_send_to(packet, server).ok();
        });
    }

    /// Reads all that has come.
    fn receive(&mut self) -> Result<(), Failure> {
        let house = Rc::clone(&self.house);
        let mut buffers = house.reception.buffers.borrow_mut();
        loop {
            let mut metas = [RecvMeta::default(); BATCH];
            let read = {
                let mut slices: Vec<IoSliceMut<'_>> =
                    buffers.chunks_mut(TRAIN_BYTES).map(IoSliceMut::new).collect();
                self.socket.try_io(Interest::READABLE, || {
                    self.trains.recv(UdpSockRef::from(&self.socket), &mut slices, &mut metas)
                })
            };
            let now = house.now();
            let count = match read {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for (meta, train) in metas.iter().take(count).zip(buffers.chunks(TRAIN_BYTES)) {
                let train = train.get(..meta.len).unwrap_or_default();
                for datagram in train.chunks(meta.stride.max(1)) {
                    self.take(now, meta.addr, datagram)?;
                }
            }
        }
    }

    fn take(&mut self, now: Timestamp, from: SocketAddr, datagram: &[u8]) -> Result<(), Failure> {
        match Datagram::classify(datagram) {
            Datagram::Rtp => {
                self.count(now, datagram);
                self.feedback.received(now, datagram);
            }
            Datagram::Stun => {
                let path = Path::udp(self.socket.local_addr()?, from);
                self.peer.handle_stun(now, path, datagram);
                self.drive()?;
            }
            Datagram::Dtls => {
                let path = Path::udp(self.socket.local_addr()?, from);
                self.peer.handle_dtls(now, path, datagram);
                self.drive()?;
            }
            Datagram::Rtcp => {
                if let Some(receiver) = &mut self.receiver {
                    self.tally.keyframes_asked += abuse::keyframes_asked(receiver, datagram);
                }
            }
            Datagram::Unknown => {}
        }
        Ok(())
    }

    fn count(&mut self, now: Timestamp, datagram: &[u8]) {
        let Some([_, kind, n0, n1, _, _, _, _, s0, s1, s2, s3]) = datagram.first_chunk() else {
            return;
        };
        if self.phase == Phase::Measuring {
            self.tally.received_bytes += datagram.len() as u64;
        }
        if ![OPUS, VP8].contains(&(kind & 0x7f)) {
            self.tally.resent += u64::from(self.phase == Phase::Measuring);
            return;
        }
        let ssrc = u32::from_be_bytes([*s0, *s1, *s2, *s3]);
        let sequence = self.sequences.entry(ssrc).or_insert_with(|| {
            let streams = &self.house.reception.streams;
            streams.set(streams.get() + 1);
            Sequence::default()
        });
        sequence.note(now, u16::from_be_bytes([*n0, *n1]));
    }

    async fn heed(&mut self, message: signal_response::Message) -> Result<(), Failure> {
        refuse_leave(&message)?;
        if let signal_response::Message::MediaSectionsRequirement(_) = message {
            // There are enough: the server only has something to say.
            self.offer.id += 1;
            self.signal.send(signal_request::Message::Offer(self.offer.clone())).await?;
        }
        Ok(())
    }
}

/// Says goodbye and waits until the server hangs up: whoever closes with something unread may take his last
/// word back.
async fn leave(signal: &mut Signal) -> Result<(), Failure> {
    signal.send(signal_request::Message::Leave(LeaveRequest::default())).await?;
    let hung_up = async { while signal.next().await.is_ok() {} };
    timeout(LEFT_WITHIN, hung_up).await.map_err(Failure::from)
}

async fn answer(signal: &mut Signal) -> Result<Answer, Failure> {
    loop {
        let message = signal.next().await?;
        refuse_leave(&message)?;
        if let signal_response::Message::Answer(answer) = message {
            return Answer::parse(&answer.sdp).ok_or("an answer without a transport".into());
        }
    }
}

fn refuse_leave(message: &signal_response::Message) -> Result<(), Failure> {
    if let signal_response::Message::Leave(leave) = message {
        return Err(format!("put out: {leave:?}").into());
    }
    Ok(())
}

fn track(cid: &str, kind: Kind) -> AddTrackRequest {
    let (r#type, source) = match kind {
        Kind::Audio => (TrackType::Audio, TrackSource::Microphone),
        Kind::Video => (TrackType::Video, TrackSource::Camera),
    };
    AddTrackRequest {
        cid: cid.to_owned(),
        name: cid.to_owned(),
        r#type: r#type.into(),
        source: source.into(),
        width: 1280,
        height: 720,
        ..Default::default()
    }
}

/// An address of one of many networks, over loopback or in the namespace of `cargo xtask load`: the server gives one
/// network half of its connections, and lets only so many transports a second begin from it.
fn in_network(server: IpAddr, number: usize) -> Option<Ipv4Addr> {
    let network = u8::try_from(number % NETWORKS).ok()?;
    match server {
        IpAddr::V4(server) => match server.octets() {
            [127, ..] => Some(Ipv4Addr::new(127, 1, network, 1)),
            [198, 18, ..] => Some(Ipv4Addr::new(198, 19, network, 1)),
            [..] => None,
        },
        IpAddr::V6(_) => None,
    }
}
