//! Addresses, the ports there, and the way to them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::Duration;

use ring::rand::{SecureRandom as _, SystemRandom};
use settings::Settings;
use settings::address::{OwnAddress, Places};

use super::finding::{Finding, Report};
use super::port::{self, Holder, Purpose};
use super::sockets::{self, Kind};
use super::stun;

/// For a datagram to come around, and how often it is tried.
const AROUND: Duration = Duration::from_millis(300);
const TRIES: usize = 3;

/// Judges what the settings say of addresses.
pub(super) fn check(
    settings: &Settings,
    own: &[OwnAddress],
    stun: Option<&str>,
    report: &mut Report,
) {
    let mut running = None;
    for at in &settings.http {
        let who = || Holder::answering(port::is_ours(*at));
        let holder = Purpose::Http.holder(*at, edge::bind_http(*at), who);
        if matches!(holder, Holder::Ours) {
            running = Some(*at);
        }
        report.add(Purpose::Http.finding(*at, &holder, own));
    }
    check_metrics(settings, own, report);
    let places = match settings.media.places(own) {
        Ok(places) => places,
        Err(fault) => {
            report.add(Finding::wrong(
                "addresses",
                fault.to_string(),
                "the server does not start",
                "name an interface or a network that this machine has",
            ));
            return;
        }
    };
    let (sockets, is_held) = bind_media(&places, running, own, report);
    for at in &places.bound_tcp {
        let bound = edge::bind_media_over_tcp(*at);
        let holder = Purpose::MediaOverTcp.holder(*at, bound, || of_media(running, Kind::Tcp, *at));
        report.add(Purpose::MediaOverTcp.finding(*at, &holder, own));
    }
    if places.bound_tcp.is_empty() {
        report.add(Finding::warning(
            "port",
            "`rtc.tcp_port` is 0: there is no media over TCP".to_owned(),
            "people whose network lets no UDP out can join, and will neither see nor hear anybody",
            "`rtc.tcp_port: 7881`, and let TCP 7881 in at the firewall",
        ));
    }
    let seen = stun.and_then(|server| ask_stun(server, &sockets, &places.advertised, report));
    if is_held {
        let what = "the UDP port is held: stop the server that has it to test the way to it";
        report.add(Finding::fine("reach", what));
    } else if !sockets.is_empty() {
        for address in &places.advertised {
            report.add(reach(*address, settings.media.port, &sockets, own, seen));
        }
    }
}

/// Who has a port of media, where nobody can be asked: who has that of HTTP, if a server of ours has that. If none has,
/// one may have begun with another port: a process of this program.
fn of_media(running: Option<SocketAddr>, kind: Kind, at: SocketAddr) -> Holder {
    if !sockets::is_held(kind, at) {
        return Holder::Nobody;
    }
    let is_ours = match running {
        Some(http) => sockets::is_one_process((Kind::Tcp, http), (kind, at)),
        None => sockets::is_of_this_program(kind, at),
    };
    match is_ours {
        Some(is_one) => Holder::answering(is_one),
        None if running.is_none() && !sockets::is_another_of_this_name() => Holder::Another,
        None => Holder::Somebody,
    }
}

/// Whether the figures can be served; a running server of ours may serve them already.
fn check_metrics(settings: &Settings, own: &[OwnAddress], report: &mut Report) {
    let Some(at) = settings.metrics.as_ref().map(|metrics| metrics.address) else { return };
    let who = || Holder::answering(port::serves_figures(at));
    let holder = Purpose::Metrics.holder(at, edge::bind_http(at), who);
    report.add(Purpose::Metrics.finding(at, &holder, own));
}

/// The sockets that media would be received at, as far as they are free; and whether a running server has one, or may.
fn bind_media(
    places: &Places,
    running: Option<SocketAddr>,
    own: &[OwnAddress],
    report: &mut Report,
) -> (Vec<UdpSocket>, bool) {
    let (mut sockets, mut is_held) = (Vec::new(), false);
    for at in &places.bound {
        let (socket, bound) = match edge::bind_media_alone(*at) {
            Ok(socket) => (Some(socket), Ok(())),
            Err(error) => (None, Err(error)),
        };
        sockets.extend(socket);
        let holder = Purpose::Media.holder(*at, bound, || of_media(running, Kind::Udp, *at));
        is_held |= matches!(holder, Holder::Ours | Holder::Somebody);
        report.add(Purpose::Media.finding(*at, &holder, own));
    }
    (sockets, is_held)
}

/// Whether what is sent to an advertised address comes here.
fn reach(
    address: IpAddr,
    port: u16,
    sockets: &[UdpSocket],
    own: &[OwnAddress],
    seen: Option<SocketAddr>,
) -> Finding {
    let at = SocketAddr::new(address, port);
    if comes_around(at, sockets) {
        return Finding::fine(
            "reach",
            format!("what is sent to UDP {at} from this machine comes here"),
        );
    }
    let why = "clients are told to send media there: calls would begin, and nobody would be seen or heard";
    if own.iter().any(|own| own.address == address) {
        let what = format!(
            "what is sent to UDP {at} does not come here, though the address is this machine's"
        );
        let fix = format!(
            "let UDP {port} in at the firewall (`nft list ruleset`), and let `rtc.ips` include it"
        );
        return Finding::wrong("reach", what, why, fix);
    }
    let best = own.iter().find(|own| !own.address.is_loopback() && own.address.is_ipv4());
    let best = best.map_or_else(|| "this machine".to_owned(), |own| own.address.to_string());
    if seen.is_some_and(|seen| seen.ip() == address) {
        return Finding::warning(
            "reach",
            format!(
                "{address} is a router's: from here one cannot see whether it forwards UDP {port}"
            ),
            why,
            format!("have the router forward UDP {port} to {best}, and join a call from outside"),
        );
    }
    Finding::wrong(
        "reach",
        format!(
            "{address} is advertised, is not of this machine, and what is sent to UDP {at} does not come here"
        ),
        why,
        format!(
            "if it is a router's, have that forward UDP {port} to {best}, and run this with --stun; if not, \
             `rtc.node_ip: {best}`"
        ),
    )
}

fn comes_around(at: SocketAddr, sockets: &[UdpSocket]) -> bool {
    let mut word = [0; 16];
    if SystemRandom::new().fill(&mut word).is_err() {
        return false;
    }
    let unspecified: IpAddr = match at {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let Ok(sender) = UdpSocket::bind((unspecified, 0)) else { return false };
    for _ in 0..TRIES {
        if sender.send_to(&word, at).is_err() {
            return false;
        }
        for socket in sockets {
            let mut heard = [0; 64];
            let got =
                socket.set_read_timeout(Some(AROUND)).and_then(|()| socket.recv_from(&mut heard));
            if got.is_ok_and(|(length, _)| heard.get(..length) == Some(&word[..])) {
                return true;
            }
        }
    }
    false
}

/// Whether an address is for people inside, and nothing to be heard from outside.
const fn is_inner(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => it.is_private() || it.is_loopback() || it.is_link_local(),
        IpAddr::V6(it) => it.is_unique_local() || it.is_loopback() || it.is_unicast_link_local(),
    }
}

/// Asks a STUN server for this machine's address out there: from a media port if one of its family is free, else over a
/// family that clients are told of.
pub(super) fn ask_stun(
    server: &str,
    sockets: &[UdpSocket],
    advertised: &[IpAddr],
    report: &mut Report,
) -> Option<SocketAddr> {
    let why = "behind a router, clients must be told the router's address";
    let seen = || -> io::Result<(SocketAddr, Option<u16>, Vec<(IpAddr, io::Error)>)> {
        let all: Vec<SocketAddr> = server.to_socket_addrs()?.collect();
        let is_told = |at: &&SocketAddr| {
            advertised.is_empty() || advertised.iter().any(|ip| ip.is_ipv4() == at.is_ipv4())
        };
        let (mut first, mut silent) = (None, Vec::new());
        for socket in sockets {
            let bound = socket.local_addr()?;
            let at = all.iter().filter(is_told).find(|at| at.is_ipv4() == bound.is_ipv4());
            match at.map(|at| stun::ask(socket, *at)) {
                Some(Ok(seen)) => _ = first.get_or_insert((seen, Some(bound.port()))),
                Some(Err(error)) => silent.push((bound.ip(), error)),
                None => {}
            }
        }
        if let Some((seen, port)) = first {
            return Ok((seen, port, silent));
        }
        if let Some((_, error)) = silent.pop() {
            return Err(error);
        }
        let none = || io::Error::other("it has no address of a family that is advertised");
        let at = *all.iter().find(is_told).ok_or_else(none)?;
        let local = match at {
            SocketAddr::V4(_) => UdpSocket::bind("0.0.0.0:0")?,
            SocketAddr::V6(_) => UdpSocket::bind("[::]:0")?,
        };
        Ok((stun::ask(&local, at)?, None, silent))
    }();
    let (seen, port, silent) = match seen {
        Ok(found) => found,
        Err(error) => {
            report.add(Finding::wrong(
                "stun",
                format!("{server} does not say where this machine is: {error}"),
                why,
                "let UDP out, or ask another server; --stun wants HOST:PORT, the port is 3478 mostly",
            ));
            return None;
        }
    };
    for (from, error) in silent.into_iter().filter(|(from, _)| !is_inner(*from)) {
        let from = match from {
            from if !from.is_unspecified() => from.to_string(),
            IpAddr::V4(_) => "what comes over IPv4".to_owned(),
            IpAddr::V6(_) => "what comes over IPv6".to_owned(),
        };
        report.add(Finding::warning(
            "stun",
            format!("{server} gives no answer to {from}: {error}"),
            "what clients send there may not come, nor what is sent from there",
            "let UDP out from that address, or do not advertise what belongs to it",
        ));
    }
    let ip = seen.ip();
    if advertised.is_empty() || advertised.contains(&ip) {
        report.add(Finding::fine("stun", format!("from outside this machine is {ip}")));
    } else {
        report.add(Finding::wrong(
            "stun",
            format!("from outside this machine is {ip}, which is not advertised"),
            why,
            format!(
                "`rtc.node_ip: {ip}`, or a list with it and the address that people inside use"
            ),
        ));
    }
    if let Some(port) = port.filter(|port| *port != seen.port()) {
        report.add(Finding::warning(
            "stun",
            format!("the router shows UDP {port} as {}", seen.port()),
            "what clients send to the port that they are told does not come here by itself",
            format!("have the router forward UDP {port} to this machine, on the same port"),
        ));
    }
    Some(seen)
}
