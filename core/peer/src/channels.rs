//! The SCTP association of one transport and the data channels that the other end opened in it.
//!
//! Owns: the association, the table of channels. Guarantees: a stream is a channel only after a
//! well-formed DATA_CHANNEL_OPEN; what comes on any other stream resets it, and an association with more
//! than [`STREAMS_MAX`] streams is ended, since each costs time with every packet; messages are whole and
//! at most [`MESSAGE_BYTES_MAX`] long; what the other end has not acknowledged [`UNACKNOWLEDGED_TIME_MAX`] after it was
//! said ends the association, and nothing of it stays. On a channel that may lose messages a message is lost by then.
//! A client opens its channels itself; only load clients are one.
//!
//! The time is SCTP's to keep, since it alone knows what a receiver acknowledges out of order: each message has a
//! lifetime (RFC 3758). That SCTP gave up what was to be reliable shows in the bytes that wait; then it says so instead
//! of going on without. What it cannot see behind other messages that have not left yet is found by when it was
//! written (`backlog`). A channel whose messages are sent once drops each before SCTP would send it again by the clock.
//!
//! Reliable messages of a client that is held back stay unread in SCTP, whose window closes over them, so that the
//! client waits, as with any slow receiver (`holdback`). SCTP says how much room there is only when it acknowledges:
//! when what was left is read, the last packet is given to it twice more, as a network may do.
//! What SCTP holds of a client and cannot give out is bounded by number and time (`unread`), too, and so is what it is
//! asked to look at and to answer (`outstanding`).
//! Source: RFC 8831, RFC 3758, RFC 9260 through `sctp-proto`.

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier as Protocol, ReliabilityType, ServerConfig, StreamEvent,
    TransportConfig,
};

use crate::backlog::Backlog;
use crate::channel::{Channel, ChannelId, Loses, millis};
use crate::dcep::{ACK, OPEN, Open, open};
use crate::holdback::Holdback;
use crate::limits::{
    CHANNEL_BUFFER_BYTES_MAX, CHANNELS_MAX, LABEL_BYTES_MAX, MESSAGE_BYTES_MAX, OUTSTANDING_MAX,
    OUTSTANDING_PIECES, OVERDUE_EVERY, RECEIVE_BUFFER_BYTES_MAX, RETRANSMISSION_TIME_FIRST,
    RETRANSMISSION_TIME_MAX, SCTP_PAYLOAD_BYTES_MAX, STREAMS_MAX, UNACKNOWLEDGED_TIME_MAX,
};
use crate::outstanding::Outstanding;
use crate::unread::{Fate, Unread};

/// SCTP's own addresses mean nothing over DTLS.
const NOWHERE: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5000));

/// How all associations of a process are made.
pub(crate) struct Settings {
    endpoint: Arc<EndpointConfig>,
    server: Arc<ServerConfig>,
}

impl Settings {
    pub(crate) fn new() -> Self {
        let mut endpoint = EndpointConfig::new();
        endpoint.max_payload_size(SCTP_PAYLOAD_BYTES_MAX);
        let mut server = ServerConfig::default();
        server.transport = transport();
        Self { endpoint: Arc::new(endpoint), server: Arc::new(server) }
    }
}

fn transport() -> Arc<TransportConfig> {
    // It is ICE that notices when the other end is gone.
    Arc::new(
        TransportConfig::default()
            .with_max_init_retransmits(None)
            .with_max_data_retransmits(None)
            .with_rto_initial_ms(millis(RETRANSMISSION_TIME_FIRST).into())
            .with_rto_max_ms(millis(RETRANSMISSION_TIME_MAX).into())
            .with_max_receive_buffer_size(RECEIVE_BUFFER_BYTES_MAX)
            .with_max_receive_message_size(MESSAGE_BYTES_MAX)
            .with_max_send_message_size(MESSAGE_BYTES_MAX),
    )
}

/// What the association wants, or what happened in it.
pub(crate) enum Step {
    /// An SCTP packet to send.
    Packet(Bytes),
    Open(ChannelId, Box<str>),
    Closed(ChannelId),
    /// A message that came at that time at the earliest.
    Message(ChannelId, Instant, Vec<u8>),
    /// The association ended.
    Lost,
    /// The other end did not acknowledge in time what was said to it: the association is of no use any more.
    Overdue,
    /// Nothing before this time, if there is one.
    Wait(Option<Instant>),
}

/// Chunks that have come.
#[derive(Clone, Copy, Default)]
struct Come {
    data: u64,
    acknowledgements: u64,
}

pub(crate) struct Channels {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    channels: Vec<Option<Channel>>,
    /// Labels of the channels that we are to open once there is an association.
    wanted: Vec<&'static str>,
    /// Streams that may have something to read.
    readable: BTreeSet<u16>,
    holdback: Holdback,
    /// The last packet with data of a client that is held back, while something of it is unread.
    last: Option<Bytes>,
    unread: Unread,
    outstanding: Outstanding,
    /// The other end sent what nobody may, or more than can be of use.
    is_hostile: bool,
    packets: VecDeque<Bytes>,
    now: Instant,
    /// Since when something waits without a break: no later than the oldest of it was said.
    waits_since: Option<Instant>,
    /// SCTP takes messages back whose time is over.
    is_forgetful: bool,
    /// Something was given up that was to be reliable.
    is_overdue: bool,
}

impl Channels {
    pub(crate) fn new(settings: &Settings, now: Instant) -> Self {
        let (endpoint, server) = (Arc::clone(&settings.endpoint), Arc::clone(&settings.server));
        Self {
            endpoint: Endpoint::new(endpoint, Some(server)),
            association: None,
            channels: Vec::new(),
            wanted: Vec::new(),
            readable: BTreeSet::new(),
            holdback: Holdback::default(),
            last: None,
            unread: Unread::default(),
            outstanding: Outstanding::new(now),
            is_hostile: false,
            packets: VecDeque::new(),
            now,
            waits_since: None,
            is_forgetful: false,
            is_overdue: false,
        }
    }

    /// Begins an association and opens `labels` in it.
    pub(crate) fn connect(&mut self, labels: &[&'static str]) {
        let mut config = ClientConfig::default();
        config.transport = transport();
        self.association = self.endpoint.connect(config, NOWHERE).ok();
        self.wanted = labels.to_vec();
    }

    /// Takes an SCTP packet; what is malformed is ignored or ends the association.
    pub(crate) fn handle(&mut self, now: Instant, packet: &[u8]) {
        self.now = now;
        match self.judge(now, packet) {
            Fate::Taken => {}
            Fate::LetGo => return,
            Fate::Hostile => {
                self.is_hostile = true;
                return;
            }
        }
        let packet = Bytes::copy_from_slice(packet);
        let before = self.come();
        self.take(packet.clone());
        let come = self.come();
        if come.acknowledgements > before.acknowledgements {
            self.is_hostile |= !self.outstanding.note_believed(now);
        }
        if self.holdback.is_on() && come.data > before.data {
            self.last = Some(packet);
        }
    }

    fn judge(&mut self, now: Instant, packet: &[u8]) -> Fate {
        match self.outstanding.take(now, packet) {
            Fate::Taken => self.unread.take(now, packet),
            fate @ (Fate::LetGo | Fate::Hostile) => fate,
        }
    }

    /// What SCTP has believed to be the client's, whether there was room for it or not.
    fn come(&self) -> Come {
        let stats = self.association.as_ref().map(|(_, association)| association.stats());
        stats.map_or(Come::default(), |mut it| Come {
            data: it.get_num_datas(),
            acknowledgements: it.get_num_sacks(),
        })
    }

    fn take(&mut self, packet: Bytes) {
        let answer = self.endpoint.handle(self.now, NOWHERE, None, None, packet);
        match (answer, &mut self.association) {
            // A client that repeats its INIT because ours was lost keeps the first.
            (Some((handle, DatagramEvent::NewAssociation(new))), association @ None) => {
                *association = Some((handle, new));
                // One peer has one: each other INIT would leave its trace in the endpoint.
                self.endpoint.reject_new_associations();
            }
            (Some((handle, DatagramEvent::AssociationEvent(event))), Some((ours, it)))
                if handle == *ours =>
            {
                it.handle_event(event);
            }
            _ => {}
        }
    }

    /// From now on the client's reliable messages are read as they come, or, if it is held back, slowly.
    pub(crate) fn hold_back(&mut self, now: Instant, is_held: bool) {
        self.now = now;
        self.holdback.set(is_held);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        let Some((handle, association)) = &mut self.association else { return };
        association.handle_timeout(now);
        while let Some(event) = association.poll_endpoint_event() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                association.handle_event(event);
            }
        }
    }

    /// Queues a whole message that was said at `since`. `false`: the channel is gone or there is no room, for its bytes
    /// or for one more.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        since: Instant,
        id: ChannelId,
        message: &[u8],
    ) -> bool {
        // What waits is timed from now, not from what was heard last.
        self.now = now;
        if self.waiting() + message.len() > CHANNEL_BUFFER_BYTES_MAX || !self.has_room() {
            return false;
        }
        let Some(channel) = self.channel(id) else { return false };
        let (stream, is_unordered) = (channel.stream, channel.is_unordered);
        let left = UNACKNOWLEDGED_TIME_MAX.saturating_sub(now.saturating_duration_since(since));
        let (kind, value) = channel.loses.of_message(left);
        let protocol = if message.is_empty() { Protocol::BinaryEmpty } else { Protocol::Binary };
        // SCTP has no empty messages: a byte stands for one (RFC 8831 §6.6).
        let message = if message.is_empty() { &[0] } else { message };
        let is_written = self.promise(stream, is_unordered, kind, value)
            && self.write(stream, message, protocol);
        if is_written {
            self.waits_since = Some(self.waits_since.map_or(since, |it| it.min(since)));
            if let Some(channel) = self.channel_mut(id) {
                channel.backlog.note(message.len(), since);
            }
        }
        is_written
    }

    /// Bytes of a channel that wait for acknowledgement.
    pub(crate) fn buffered(&mut self, id: ChannelId) -> usize {
        let stream = self.channel(id).map(|channel| channel.stream);
        stream.map_or(0, |stream| self.buffered_in(stream))
    }

    pub(crate) fn poll(&mut self) -> Step {
        loop {
            if self.is_hostile {
                return Step::Lost;
            }
            if let Some(packet) = self.next_packet() {
                return Step::Packet(packet);
            }
            if self.is_overdue {
                return Step::Overdue;
            }
            let Some((_, association)) = &mut self.association else { return Step::Wait(None) };
            match association.poll() {
                Some(Event::Connected) => {
                    self.outstanding.note_begun();
                    self.open_wanted();
                }
                Some(Event::AssociationLost { .. } | Event::HandshakeFailed { .. }) => {
                    return Step::Lost;
                }
                Some(Event::Stream(event)) => {
                    while association.accept_stream().is_some() {}
                    // Streams whose first message never ends, or who never answer a reset, stay open.
                    if association.stream_ids().len() > STREAMS_MAX {
                        return Step::Lost;
                    }
                    if let Some(id) = self.note(&event) {
                        return Step::Closed(id);
                    }
                }
                Some(_) => {}
                None => {
                    if let Some(stream) = self.next_readable() {
                        if let Some(step) = self.read(stream) {
                            return step;
                        }
                    } else if !self.catch_up() {
                        return self.wait();
                    }
                }
            }
        }
    }

    /// A stream that may have something to read and of which it may be read.
    fn next_readable(&mut self) -> Option<u16> {
        if !self.readable.is_empty() && self.holdback.may_read(self.now) {
            return self.readable.first().copied();
        }
        self.readable.iter().copied().find(|stream| !self.is_reliable(*stream))
    }

    fn is_reliable(&self, stream: u16) -> bool {
        let mut channels = self.channels.iter().flatten();
        channels.any(|channel| channel.stream == stream && channel.loses == Loses::Nothing)
    }

    /// If nothing is unread any more and something was: the client is told that there is room.
    fn catch_up(&mut self) -> bool {
        if !self.readable.is_empty() {
            return false;
        }
        self.unread.settle();
        let last = self.last.take();
        let was_left = self.holdback.catch_up();
        if let Some(packet) = last.filter(|_| was_left) {
            // The second time SCTP acknowledges at once what comes again.
            self.unread.touch();
            self.take(packet.clone());
            self.take(packet);
        }
        was_left
    }

    /// When there is nothing to do: until when.
    fn wait(&mut self) -> Step {
        let due = self.due();
        let incomplete = self.unread.due(self.now);
        if self.is_overdue {
            return Step::Overdue;
        }
        if incomplete.is_some_and(|at| at <= self.now) {
            return Step::Lost;
        }
        let look = (!self.readable.is_empty()).then(|| self.holdback.leave(self.now));
        Step::Wait([due, incomplete, look, self.next_timeout()].into_iter().flatten().min())
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.association.as_ref().and_then(|(_, association)| association.poll_timeout())
    }

    /// Notes what has been acknowledged and what should have been; when to look again.
    fn due(&mut self) -> Option<Instant> {
        let since = self.waits_since?;
        let (_, association) = self.association.as_mut()?;
        for channel in self.channels.iter_mut().flatten() {
            channel.backlog.settle(buffered(association, channel.stream));
        }
        if self.channels.iter().flatten().all(|channel| channel.backlog.is_empty()) {
            self.waits_since = None;
            return None;
        }
        let promised =
            self.channels.iter().flatten().filter(|channel| channel.loses == Loses::Nothing);
        let oldest = promised.filter_map(|channel| channel.backlog.oldest()).min();
        self.is_overdue |= oldest.is_some_and(|it| self.now >= it + UNACKNOWLEDGED_TIME_MAX);
        Some((since + UNACKNOWLEDGED_TIME_MAX).max(self.now + OVERDUE_EVERY))
    }

    fn next_packet(&mut self) -> Option<Bytes> {
        if self.packets.is_empty() {
            self.gather();
        }
        self.packets.pop_front()
    }

    /// Takes what SCTP wants sent. It gives up what has waited for too long meanwhile, and at no other time.
    fn gather(&mut self) {
        let is_late = self.waits_since.is_some_and(|since| {
            // Lifetimes are in whole milliseconds.
            self.now + Duration::from_millis(1) >= since + UNACKNOWLEDGED_TIME_MAX
        });
        let before = if is_late { self.promised() } else { 0 };
        let (now, association) = (self.now, &mut self.association);
        let transmit = self.endpoint.poll_transmit().or_else(|| {
            association.as_mut().and_then(|(_, association)| association.poll_transmit(now))
        });
        if let Some(Payload::RawEncode(packets)) = transmit.map(|it| it.payload) {
            for packet in &packets {
                self.unread.note_sent(packet);
                self.is_hostile |= !self.outstanding.note_sent(packet);
            }
            self.packets.extend(packets);
        }
        if is_late && self.promised() < before {
            self.is_overdue = true;
        }
    }

    /// Notes what happened to a stream; the channel that it ended.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum grows; nobody asked for more")]
    fn note(&mut self, event: &StreamEvent) -> Option<ChannelId> {
        match event {
            StreamEvent::Opened { id } | StreamEvent::Readable { id } => {
                self.readable.insert(*id);
                None
            }
            StreamEvent::Finished { id } | StreamEvent::Stopped { id, .. } => {
                self.readable.remove(id);
                self.unread.forgive(|_, stream| stream == *id);
                let place = self.place(*id)?;
                let channel = self.channels.get_mut(place)?.take()?;
                // SCTP keeps what is promised without saying for how long; the rest it drops in time.
                // What was acknowledged together with the close is still in the backlog. Nothing is outstanding
                // then; had something not left yet, a chunk of it would be by now.
                self.is_overdue |= channel.loses == Loses::Nothing
                    && !channel.backlog.is_empty()
                    && self.outstanding.len() > 0;
                Some(ChannelId(u8::try_from(place).ok()?))
            }
            _ => None,
        }
    }

    /// Reads one message of a stream; what came of it.
    fn read(&mut self, id: u16) -> Option<Step> {
        let (_, association) = self.association.as_mut()?;
        let chunks = association.stream(id).ok().and_then(|mut it| it.read().ok().flatten());
        let Some(chunks) = chunks else {
            self.readable.remove(&id);
            return None;
        };
        self.unread.note_read(id, chunks.chunks.len(), chunks.len());
        let mut message = vec![0; chunks.len()];
        chunks.read(&mut message).ok()?;
        let since = if self.is_reliable(id) {
            self.holdback.note(self.now, message.len())
        } else {
            self.now
        };
        match (chunks.ppi, self.place(id)) {
            (Protocol::Dcep, place) => match (message.split_first(), place) {
                (Some((&OPEN, _)), None) => self.accept(id, &message),
                (_, None) => self.reset(id),
                (Some((&ACK, _)), Some(place)) => {
                    let label = self.channels.get_mut(place)?.as_mut()?.asked.take()?;
                    Some(Step::Open(ChannelId(u8::try_from(place).ok()?), label))
                }
                _ => None,
            },
            (Protocol::Binary | Protocol::String, Some(place)) => {
                Some(Step::Message(ChannelId(u8::try_from(place).ok()?), since, message))
            }
            (Protocol::BinaryEmpty | Protocol::StringEmpty, Some(place)) => {
                Some(Step::Message(ChannelId(u8::try_from(place).ok()?), since, Vec::new()))
            }
            (Protocol::Unknown, Some(_)) => None,
            (_, None) => self.reset(id),
        }
    }

    /// Takes a channel that the other end opens.
    fn accept(&mut self, id: u16, message: &[u8]) -> Option<Step> {
        let opened = Open::parse(message).filter(|it| it.label.len() <= LABEL_BYTES_MAX);
        let (Some(opened), Some(place)) = (opened, self.vacancy()) else { return self.reset(id) };
        self.is_forgetful = self.is_forgetful || self.forgets(id);
        if !self.is_forgetful {
            return Some(Step::Lost);
        }
        if !self.write(id, &[ACK], Protocol::Dcep) {
            return self.reset(id);
        }
        *self.channels.get_mut(place)? = Some(Channel {
            stream: id,
            asked: None,
            is_unordered: opened.is_unordered,
            loses: Loses::of(&opened),
            backlog: Backlog::default(),
        });
        Some(Step::Open(ChannelId(u8::try_from(place).ok()?), opened.label.into()))
    }

    /// Whether the other end lets messages be taken back, as every client must (RFC 8831 §5). SCTP tells it only by
    /// what it does with one whose time is over before it has left.
    fn forgets(&mut self, stream: u16) -> bool {
        let is_written = self.promise(stream, true, ReliabilityType::Timed, 0)
            && self.write(stream, &[0], Protocol::Binary);
        self.gather();
        is_written && self.buffered_in(stream) == 0
    }

    /// Says how the next message of a stream is to be delivered.
    fn promise(
        &mut self,
        stream: u16,
        is_unordered: bool,
        kind: ReliabilityType,
        value: u32,
    ) -> bool {
        let Some((_, association)) = &mut self.association else { return false };
        association
            .stream(stream)
            .and_then(|mut stream| stream.set_reliability_params(is_unordered, kind, value))
            .is_ok()
    }

    /// Opens what a client wants, on the even streams that a DTLS client has (RFC 8832 §6).
    fn open_wanted(&mut self) {
        for (stream, label) in (0..).step_by(2).zip(std::mem::take(&mut self.wanted)) {
            let Some((_, association)) = &mut self.association else { return };
            if association.open_stream(stream, Protocol::Unknown).is_err() {
                continue;
            }
            if self.write(stream, &open(label), Protocol::Dcep) {
                self.channels.push(Some(Channel {
                    stream,
                    asked: Some(label.into()),
                    is_unordered: false,
                    loses: Loses::Nothing,
                    backlog: Backlog::default(),
                }));
            }
        }
    }

    /// A place in the table.
    fn vacancy(&mut self) -> Option<usize> {
        if let Some(place) = self.channels.iter().position(Option::is_none) {
            return Some(place);
        }
        if self.channels.len() >= CHANNELS_MAX {
            return None;
        }
        self.channels.push(None);
        Some(self.channels.len() - 1)
    }

    /// Ends a stream that is no channel.
    fn reset(&mut self, id: u16) -> Option<Step> {
        self.readable.remove(&id);
        self.unread.forgive(|_, stream| stream == id);
        let (_, association) = self.association.as_mut()?;
        // A stream that cannot be reset is gone.
        association.stream(id).ok()?.close().ok()?;
        None
    }

    fn write(&mut self, stream: u16, message: &[u8], protocol: Protocol) -> bool {
        let Some((_, association)) = &mut self.association else { return false };
        association
            .stream(stream)
            .and_then(|mut stream| stream.write_with_ppi(message, protocol))
            .is_ok()
    }

    /// Whether one more message keeps what is outstanding within its bound once all have left. Those that are under way
    /// are counted twice: which of them have not left SCTP does not say.
    fn has_room(&self) -> bool {
        let waiting: u32 = self.channels.iter().flatten().map(|it| it.backlog.messages()).sum();
        self.outstanding.len() + waiting < OUTSTANDING_MAX - OUTSTANDING_PIECES
    }

    fn waiting(&mut self) -> usize {
        self.waiting_in(|_| true)
    }

    /// Bytes that wait and may not be lost.
    fn promised(&mut self) -> usize {
        self.waiting_in(|channel| channel.loses == Loses::Nothing)
    }

    fn waiting_in(&mut self, counts: impl Fn(&Channel) -> bool) -> usize {
        let Some((_, association)) = &mut self.association else { return 0 };
        self.channels
            .iter()
            .flatten()
            .filter(|channel| counts(channel))
            .map(|channel| buffered(association, channel.stream))
            .sum()
    }

    fn buffered_in(&mut self, stream: u16) -> usize {
        let Some((_, association)) = &mut self.association else { return 0 };
        buffered(association, stream)
    }

    /// A channel that is open.
    fn channel(&self, id: ChannelId) -> Option<&Channel> {
        let channel = self.channels.get(usize::from(id.0))?.as_ref()?;
        channel.asked.is_none().then_some(channel)
    }

    fn channel_mut(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.get_mut(usize::from(id.0))?.as_mut()
    }

    fn place(&self, stream: u16) -> Option<usize> {
        self.channels.iter().position(|it| it.as_ref().is_some_and(|it| it.stream == stream))
    }
}

fn buffered(association: &mut Association, stream: u16) -> usize {
    association.stream(stream).and_then(|it| it.buffered_amount()).unwrap_or(0)
}

#[cfg(test)]
impl Channels {
    /// Writes on a stream that is not open.
    pub(crate) fn write_raw(&mut self, stream: u16, message: &[u8]) {
        let (_, association) = self.association.as_mut().unwrap();
        association.open_stream(stream, Protocol::Binary).unwrap();
        assert!(self.write(stream, message, Protocol::Binary));
    }

    /// Opens a channel whose messages are sent once, as a client does.
    pub(crate) fn open_lossy(&mut self, stream: u16) {
        let mut message = open("_data_track");
        message[1] = 0x81;
        let (_, association) = self.association.as_mut().unwrap();
        association.open_stream(stream, Protocol::Dcep).unwrap();
        assert!(self.write(stream, &message, Protocol::Dcep));
        self.channels.push(Some(Channel {
            stream,
            asked: Some("_data_track".into()),
            is_unordered: true,
            loses: Loses::Unrepeated,
            backlog: Backlog::default(),
        }));
    }

    /// A packet that is to be sent, which stays.
    pub(crate) fn packet(&mut self) -> Bytes {
        self.gather();
        self.packets.front().unwrap().clone()
    }

    /// Chunks that SCTP may hold.
    pub(crate) fn unread(&self) -> usize {
        self.unread.len()
    }

    /// The highest TSN that was sent.
    pub(crate) fn newest_sent(&self) -> u32 {
        self.outstanding.newest_sent()
    }

    /// As if the other end had closed it.
    pub(crate) fn finish(&mut self, id: ChannelId) {
        let stream = self.channel(id).unwrap().stream;
        assert_eq!(self.note(&StreamEvent::Finished { id: stream }), Some(id));
    }

    /// Bytes that wait, in channels or not.
    pub(crate) fn waiting_bytes(&mut self) -> usize {
        let (_, association) = self.association.as_mut().unwrap();
        association.stream_ids().into_iter().map(|stream| buffered(association, stream)).sum()
    }

    /// Nothing is unread, nor is anything kept for when it is read.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.readable.is_empty() && self.last.is_none()
    }

    pub(crate) fn streams(&self) -> usize {
        self.association.as_ref().map_or(0, |(_, association)| association.stream_ids().len())
    }
}
