//! What a server is told before it starts.
//!
//! Owns: the settings, complete, and whether they make sense together.
//! Not here: where they come from (the command line), what they default to there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;
use std::time::Duration;

use model::Share;
use wire::access::Access;

use crate::limits;
use crate::networks::AddressesOf;
use crate::scrape::Login;
use crate::tls::Shown;

/// Everything that a server is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP and WebSockets are served: at least one. Port 0 takes any, and then there is one address.
    pub http: Vec<SocketAddr>,
    /// What they are served with; without it in the clear. [`crate::Server::showing`] changes it.
    pub tls: Option<Shown>,
    /// Where an authority is answered over HTTP in the clear, if anywhere. Without effect without TLS.
    pub challenges: Vec<SocketAddr>,
    /// A certificate that is given to whoever asks for it: see [`crate::tls::Tls`].
    pub authority: Option<Arc<str>>,
    /// Where media is received: one address of each interface, all with the same port. Port 0 takes
    /// any, and then there is one address.
    pub udp: Vec<SocketAddr>,
    /// Where media is received over TCP by those whose UDP does not get through: nowhere, or as in `udp`.
    pub tcp: Vec<SocketAddr>,
    /// Where clients are told to send media: none unspecified, at least one.
    pub advertised: Vec<IpAddr>,
    /// Whose tokens let in; [`crate::Server::admit_by`] changes it.
    pub access: Arc<Access>,
    /// Media workers: one for each core is the use of the machine.
    pub workers: NonZeroU8,
    /// Participants of one room that share a worker before the room spreads to another. One puts each
    /// where the fewest of its room are.
    pub spread_at: NonZeroU16,
    /// Of its time that a worker may be busy and still take newcomers; all of it is no bound.
    pub busy_max: Share,
    /// Whose addresses HTTP's connections come from.
    pub addresses_of: AddressesOf,
    /// What clients may cost.
    pub limits: Limits,
    /// What rooms are like that nobody has said anything else of.
    pub rooms: Rooms,
    /// Where the node's figures are served, if anywhere.
    pub metrics: Option<MetricsAt>,
    /// Who is here once this server has stopped.
    pub next: Next,
}

/// What rooms are like that nobody has said anything else of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rooms {
    /// Whether a join makes a room that is not there.
    pub are_made_by_joins: bool,
    /// Participants in a room, if they are to be fewer than [`Limits::room_participants`].
    pub participants_max: Option<usize>,
    /// How long a room waits for its first participant.
    pub empty: Duration,
    /// How long it outlives its last one.
    pub departure: Duration,
}

impl Rooms {
    /// Those of a server of which nothing is said.
    pub const STANDARD: Self = Self {
        are_made_by_joins: true,
        participants_max: None,
        empty: limits::EMPTY_TIME,
        departure: limits::DEPARTURE_TIME,
    };
}

/// Who is where a server was that has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another process with the same settings, soon: clients are told to come back to it, if their tokens are good
    /// there.
    Process,
    /// Nobody: clients are told to leave for good.
    Nobody,
}

/// Where the node's figures are served, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsAt {
    /// Port 0 takes any.
    pub address: SocketAddr,
    /// Whoever reads them must say this; nothing if anybody may.
    pub login: Option<Login>,
}

/// What clients may cost, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// TCP connections at once.
    pub connections: usize,
    /// Of those, of one network.
    pub network_connections: usize,
    /// TLS handshakes of one network that are under way.
    pub network_handshakes: usize,
    /// Of requests that one network may send at once over connections that have had one.
    pub network_later_requests: u64,
    /// Wrong tokens of one network at once.
    pub network_wrong_tokens: u64,
    /// Participants at once.
    pub participants: usize,
    /// Participants in one room at once.
    pub room_participants: usize,
    /// For a TLS handshake.
    pub handshake_time: Duration,
    /// For a request's head, and for the next request.
    pub head_time: Duration,
    /// For the body of a request to the server API.
    pub body_time: Duration,
    /// From the first byte of a client's message to its last.
    pub message_time: Duration,
    /// For a message to a client whose window is full.
    pub write_time: Duration,
    /// How long whoever joins waits until others have read what they are told of large rooms.
    pub answer_wait: Duration,
    /// For an answer of which the client takes nothing.
    pub unread_time: Duration,
    /// Between pings.
    pub ping_every: Duration,
    /// Without a word from a client.
    pub silence: Duration,
    /// For what is under way when the server stops.
    pub drain: Duration,
    /// For all of a stop, whatever hangs.
    pub stop: Duration,
}

/// Settings that no server can run with. The operator's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No address for HTTP, or several that leave the port open.
    #[error("HTTP wants at least one address, and a port other than 0 if they are several")]
    Http,
    /// No address for media.
    #[error("no UDP address to receive media at")]
    NoUdp,
    /// The addresses for media differ in port, or leave it open for more than one.
    #[error("all UDP addresses must have one and the same port, other than 0 if they are several")]
    UdpPorts,
    /// The same over TCP.
    #[error(
        "all addresses for media over TCP must have one and the same port, other than 0 if they are several"
    )]
    TcpPorts,
    /// Clients would not learn where to send media.
    #[error("no address to advertise to clients")]
    NoAdvertised,
    /// Clients cannot send to it.
    #[error("{0} cannot be advertised to clients")]
    Unreachable(IpAddr),
}

impl Config {
    /// Whether a server can be started with this.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        let leave_it_open = self.http.iter().any(|address| address.port() == 0);
        if self.http.is_empty() || (leave_it_open && self.http.len() > 1) {
            return Err(ConfigError::Http);
        }
        let first = self.udp.first().ok_or(ConfigError::NoUdp)?;
        if !have_one_port(&self.udp, first.port()) {
            return Err(ConfigError::UdpPorts);
        }
        if self.tcp.first().is_some_and(|first| !have_one_port(&self.tcp, first.port())) {
            return Err(ConfigError::TcpPorts);
        }
        if self.advertised.is_empty() {
            return Err(ConfigError::NoAdvertised);
        }
        self.advertised.iter().copied().try_for_each(may_be_advertised)
    }
}

fn have_one_port(addresses: &[SocketAddr], port: u16) -> bool {
    let alike = addresses.iter().all(|address| address.port() == port);
    alike && (port != 0 || addresses.len() == 1)
}

fn may_be_advertised(address: IpAddr) -> Result<(), ConfigError> {
    let is_broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    if is_broadcast || address.is_unspecified() || address.is_multicast() {
        return Err(ConfigError::Unreachable(address));
    }
    Ok(())
}

impl Limits {
    /// Those of a server that faces strangers.
    pub const STANDARD: Self = Self {
        connections: limits::CONNECTIONS_MAX,
        network_connections: limits::NETWORK_CONNECTIONS_MAX,
        network_handshakes: limits::NETWORK_HANDSHAKES_MAX,
        network_later_requests: limits::LATER_REQUESTS_BURST,
        network_wrong_tokens: limits::WRONG_TOKENS_BURST,
        participants: limits::PARTICIPANTS_MAX,
        room_participants: limits::ROOM_PARTICIPANTS_MAX,
        handshake_time: limits::HANDSHAKE_TIME_MAX,
        head_time: limits::HEAD_TIME_MAX,
        body_time: limits::BODY_TIME_MAX,
        message_time: limits::MESSAGE_TIME_MAX,
        write_time: limits::WRITE_TIME_MAX,
        answer_wait: limits::ANSWER_WAIT_MAX,
        unread_time: limits::UNREAD_TIME_MAX,
        ping_every: limits::PING_EVERY,
        silence: limits::SILENCE_MAX,
        drain: limits::DRAIN_TIME_MAX,
        stop: limits::STOP_TIME_MAX,
    };
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use wire::key::{ProjectKeys, RefreshKey};

    fn nobody() -> Arc<Access> {
        Arc::new(Access::new(ProjectKeys::new(RefreshKey::new(&[7; 32]), []).unwrap()))
    }

    pub(crate) fn config(udp: &[&str], advertised: &[&str]) -> Config {
        Config {
            http: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            tls: None,
            challenges: Vec::new(),
            authority: None,
            udp: udp.iter().map(|text| text.parse().unwrap()).collect(),
            tcp: Vec::new(),
            advertised: advertised.iter().map(|text| text.parse().unwrap()).collect(),
            access: nobody(),
            workers: NonZeroU8::MIN,
            spread_at: NonZeroU16::MIN,
            busy_max: Share::ALL,
            addresses_of: AddressesOf::Clients,
            limits: Limits::STANDARD,
            rooms: Rooms::STANDARD,
            metrics: None,
            next: Next::Nobody,
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let check = |udp: &[&str], advertised: &[&str]| config(udp, advertised).check();
        let any = ["0.0.0.0:7882", "[::]:7882"];
        assert_eq!(check(&any, &["192.0.2.1", "2001:db8::1"]), Ok(()));
        assert_eq!(check(&["127.0.0.1:0"], &["127.0.0.1"]), Ok(()));
        assert_eq!(check(&[], &["192.0.2.1"]), Err(ConfigError::NoUdp));
        assert_eq!(
            check(&["0.0.0.0:7882", "[::]:7883"], &["192.0.2.1"]),
            Err(ConfigError::UdpPorts)
        );
        assert_eq!(check(&["0.0.0.0:0", "[::]:0"], &["192.0.2.1"]), Err(ConfigError::UdpPorts));
        let over_tcp = |tcp: &[&str]| {
            let tcp = tcp.iter().map(|text| text.parse().unwrap()).collect();
            Config { tcp, ..config(&any, &["192.0.2.1"]) }.check()
        };
        assert_eq!(over_tcp(&["0.0.0.0:7881", "[::]:7881"]), Ok(()));
        assert_eq!(over_tcp(&["127.0.0.1:0"]), Ok(()));
        for wrong in [["0.0.0.0:7881", "[::]:7883"], ["0.0.0.0:0", "[::]:0"]] {
            assert_eq!(over_tcp(&wrong), Err(ConfigError::TcpPorts));
        }
        assert_eq!(check(&any, &[]), Err(ConfigError::NoAdvertised));
        for text in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"] {
            let address = text.parse().unwrap();
            assert_eq!(check(&any, &[text]), Err(ConfigError::Unreachable(address)), "{text}");
        }
        assert_eq!(check(&any, &["127.0.0.1", "169.254.7.7", "fd00::1"]), Ok(()));
    }
}
