//! The state machine of one transport: datagrams in, datagrams and events out.
//!
//! Owns: one str0m `Rtc` without media, the data channels that its client opened, the tapped keys.
//! Guarantees: nothing leaves before MESSAGE-INTEGRITY of a binding request held; after
//! [`Event::Closed`] it does nothing more.
//! Source: `str0m` docs; the tap was proven against Chromium and LiveKit's native client.

mod client;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use model::Timestamp;
use rtp::srtp::KeyingMaterial;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, IceConnectionState, IceCreds, Input, Rtc, RtcConfig, RtcError};

use crate::limits::{
    CHANNEL_BUFFER_BYTES_MAX, CHANNELS_MAX, LABEL_BYTES_MAX, MESSAGE_BYTES_MAX,
    OUTPUTS_PER_INPUT_MAX,
};
use crate::tap::{KeySlot, with_slot};
use crate::{Fingerprint, IceCredentials, PeerFactory, stun};

/// What the client said of itself in its offer.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its ICE credentials.
    pub ice: IceCredentials,
    /// Its DTLS certificate's digest.
    pub fingerprint: Fingerprint,
}

/// Why a peer could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The caller gave an address that cannot be a candidate.
    #[error("{0} cannot be a local candidate")]
    Address(SocketAddr),
    /// DTLS did not start.
    #[error("DTLS did not start")]
    Dtls(#[source] RtcError),
}

/// One data channel of one peer, in the order in which they opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelId(u8);

/// A datagram to send.
#[derive(Debug)]
pub struct Transmit {
    /// The address of ours that it leaves from.
    pub local: SocketAddr,
    /// Where to.
    pub remote: SocketAddr,
    /// The bytes.
    pub datagram: Vec<u8>,
    /// It answers a binding request whose MESSAGE-INTEGRITY held: `remote` is the client's.
    pub verifies_remote: bool,
}

/// What happened in a transport.
#[derive(Debug)]
pub enum Event {
    /// DTLS gave the SRTP keys. Comes once, before [`Event::Connected`].
    Keys(KeyingMaterial),
    /// ICE and DTLS are up.
    Connected,
    /// The client stopped checking; it may come back by itself or by an ICE restart.
    Disconnected,
    /// The client opened a data channel with this label.
    ChannelOpen(ChannelId, Box<str>),
    /// A whole message arrived.
    Message(ChannelId, Vec<u8>),
    /// The transport is finished, by the client's wish or by an error.
    Closed,
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

/// One participant's transport. Drain [`Peer::poll`] until `Wait` after every other call.
pub struct Peer {
    rtc: Rtc,
    /// Taken once the keys have been handed out.
    keys: Option<KeySlot>,
    channels: Vec<str0m::channel::ChannelId>,
    origin: Instant,
    /// Outputs left before this input's share is used up.
    outputs: usize,
    closed: bool,
    told_closed: bool,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peer(…)")
    }
}

impl Peer {
    /// A passive transport (ICE-lite, DTLS server) that may be reached at `addresses`.
    ///
    /// # Errors
    /// The caller's fault: an unusable address. The world's: DTLS does not start.
    pub fn new(
        factory: &PeerFactory,
        addresses: &[SocketAddr],
        local: &IceCredentials,
        remote: &Remote,
        now: Timestamp,
    ) -> Result<Self, PeerError> {
        let config = RtcConfig::new()
            .set_crypto_provider(factory.provider.clone())
            .set_dtls_cert(factory.certificate.clone())
            .set_local_ice_credentials(creds(local))
            .set_ice_lite(true)
            .set_stats_interval(None)
            .set_sctp_max_buffered_amount(CHANNEL_BUFFER_BYTES_MAX)
            .set_sctp_max_message_size(MESSAGE_BYTES_MAX);
        let (mut rtc, keys) = with_slot(|| config.build(factory.instant(now)));
        for &address in addresses {
            rtc.add_local_candidate(candidate(address)?);
        }
        Self::begin(factory, rtc, keys, remote, false)
    }

    /// What both ends do once their transport is built. `is_client`: ICE controlling, DTLS client.
    fn begin(
        factory: &PeerFactory,
        mut rtc: Rtc,
        keys: KeySlot,
        remote: &Remote,
        is_client: bool,
    ) -> Result<Self, PeerError> {
        let mut api = rtc.direct_api();
        api.set_remote_fingerprint(str0m::crypto::Fingerprint {
            hash_func: remote.fingerprint.algorithm.to_string(),
            bytes: remote.fingerprint.bytes.clone(),
        });
        api.set_remote_ice_credentials(creds(&remote.ice));
        api.set_ice_controlling(is_client);
        api.start_dtls(is_client).map_err(PeerError::Dtls)?;
        api.start_sctp(is_client);
        Ok(Self {
            rtc,
            keys: Some(keys),
            channels: Vec::new(),
            origin: factory.instant(Timestamp::ZERO),
            outputs: OUTPUTS_PER_INPUT_MAX,
            closed: false,
            told_closed: false,
        })
    }

    /// A STUN or DTLS datagram that came from `remote` to our address `local`. Anything else, and
    /// anything malformed, is ignored.
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        remote: SocketAddr,
        local: SocketAddr,
        datagram: &[u8],
    ) {
        let Ok(receive) = Receive::new(Protocol::Udp, remote, local, datagram) else {
            return;
        };
        let input = Input::Receive(self.instant(now), receive);
        if self.rtc.accepts(&input) {
            self.handle(input);
        }
    }

    /// The time of the last [`Output::Wait`] has come.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.handle(Input::Timeout(self.instant(now)));
    }

    /// The client restarted ICE: both ends have new credentials, DTLS and SCTP go on.
    pub fn restart_ice(&mut self, local: &IceCredentials, remote: &IceCredentials) {
        let mut api = self.rtc.direct_api();
        api.set_local_ice_credentials(creds(local));
        api.set_remote_ice_credentials(creds(remote));
        self.outputs = OUTPUTS_PER_INPUT_MAX;
    }

    /// Queues a whole message. `false`: the channel is gone or its buffer is full.
    pub fn send(&mut self, channel: ChannelId, message: &[u8]) -> bool {
        self.outputs = OUTPUTS_PER_INPUT_MAX;
        let Some(id) = self.channels.get(usize::from(channel.0)).copied() else {
            return false;
        };
        self.rtc
            .channel(id)
            .is_some_and(|mut channel| channel.write(true, message).unwrap_or(false))
    }

    /// Bytes of a channel that wait for acknowledgement.
    pub fn buffered(&mut self, channel: ChannelId) -> usize {
        self.channels
            .get(usize::from(channel.0))
            .copied()
            .and_then(|id| self.rtc.channel(id).map(|mut channel| channel.buffered_amount()))
            .unwrap_or(0)
    }

    /// Starts an orderly end: DTLS `close_notify` goes out with the next polls.
    pub fn close(&mut self) {
        self.outputs = OUTPUTS_PER_INPUT_MAX;
        if self.rtc.close().is_err() {
            self.closed = true;
        }
    }

    /// What to do next, until `Wait`.
    pub fn poll(&mut self) -> Output {
        loop {
            if self.closed {
                if self.told_closed {
                    return Output::Wait(Timestamp::MAX);
                }
                self.told_closed = true;
                return Output::Event(Event::Closed);
            }
            if let Some(keys) = self.tapped() {
                return Output::Event(Event::Keys(keys));
            }
            if self.outputs == 0 {
                // A peer that never comes to rest would hold its worker for ever.
                self.closed = true;
                continue;
            }
            self.outputs -= 1;
            match self.rtc.poll_output() {
                Ok(str0m::Output::Timeout(at)) => {
                    if !self.rtc.is_alive() {
                        self.closed = true;
                        continue;
                    }
                    return Output::Wait(self.timestamp(at));
                }
                Ok(str0m::Output::Transmit(transmit)) => {
                    let datagram = Vec::from(transmit.contents);
                    return Output::Transmit(Transmit {
                        local: transmit.source,
                        remote: transmit.destination,
                        verifies_remote: stun::is_binding_success(&datagram),
                        datagram,
                    });
                }
                Ok(str0m::Output::Event(event)) => {
                    if let Some(event) = self.translate(event) {
                        return Output::Event(event);
                    }
                }
                Err(_) => self.closed = true,
            }
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.outputs = OUTPUTS_PER_INPUT_MAX;
        if self.rtc.handle_input(input).is_err() {
            self.closed = true;
        }
    }

    fn tapped(&mut self) -> Option<KeyingMaterial> {
        self.keys.as_ref()?.get()?;
        Arc::try_unwrap(self.keys.take()?).ok()?.into_inner()
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "str0m's media events never come: it has none"
    )]
    fn translate(&mut self, event: str0m::Event) -> Option<Event> {
        match event {
            str0m::Event::Connected => Some(Event::Connected),
            str0m::Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                Some(Event::Disconnected)
            }
            str0m::Event::ChannelOpen(id, label) => {
                if self.channels.len() >= CHANNELS_MAX || label.len() > LABEL_BYTES_MAX {
                    self.rtc.direct_api().close_data_channel(id);
                    return None;
                }
                let index = u8::try_from(self.channels.len()).ok()?;
                self.channels.push(id);
                Some(Event::ChannelOpen(ChannelId(index), label.into_boxed_str()))
            }
            str0m::Event::ChannelData(data) => {
                let index = self.channels.iter().position(|&id| id == data.id)?;
                Some(Event::Message(ChannelId(u8::try_from(index).ok()?), data.data))
            }
            _ => None,
        }
    }

    fn instant(&self, now: Timestamp) -> Instant {
        self.origin + now.since(Timestamp::ZERO)
    }

    fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp::ZERO + at.saturating_duration_since(self.origin)
    }
}

fn candidate(address: SocketAddr) -> Result<Candidate, PeerError> {
    Candidate::host(address, Protocol::Udp).map_err(|_| PeerError::Address(address))
}

fn creds(credentials: &IceCredentials) -> IceCreds {
    IceCreds { ufrag: credentials.ufrag.to_string(), pass: credentials.pwd.to_string() }
}
