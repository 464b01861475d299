//! Ports, addresses, and the way to them.

use std::io::{self, Read as _, Write as _};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket,
};
use std::time::Duration;

use edge::listener::TLS_SPOKEN_HERE;
use ring::rand::{SecureRandom as _, SystemRandom};
use settings::Settings;
use settings::address::{OwnAddress, Places};

use super::finding::{Finding, Report};
use super::stun;

/// For an answer of a server on this machine.
const PATIENCE: Duration = Duration::from_secs(2);
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
    let mut is_running = false;
    for address in &settings.http {
        is_running |= check_http(*address, settings.tls.is_some(), own, report);
    }
    check_metrics(settings, is_running, own, report);
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
    let sockets = bind_media(&places, is_running, own, report);
    for address in &places.bound_tcp {
        report.add(check_tcp(*address, is_running, own));
    }
    if places.bound_tcp.is_empty() {
        report.add(Finding::warning(
            "port",
            "`rtc.tcp_port` is 0: there is no media over TCP".to_owned(),
            "people whose network lets no UDP out can join, and will neither see nor hear anybody",
            "`rtc.tcp_port: 7881`, and let TCP 7881 in at the firewall",
        ));
    }
    let seen =
        stun.and_then(|server| ask_stun(server, sockets.first(), &places.advertised, report));
    if is_running {
        let what = "a running server holds the UDP port: stop it to test the way to it";
        report.add(Finding::fine("reach", what));
    } else if !sockets.is_empty() {
        for address in &places.advertised {
            report.add(reach(*address, settings.media.port, &sockets, own, seen));
        }
    }
}

/// Whether a server of ours is there already.
fn check_http(address: SocketAddr, has_tls: bool, own: &[OwnAddress], report: &mut Report) -> bool {
    let finding = match TcpListener::bind(address) {
        Ok(_) => Finding::fine("port", format!("TCP {address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if is_ours(address, has_tls) {
                let what = format!("TCP {address} is held by a running server, which answers");
                report.add(Finding::fine("port", what));
                return true;
            }
            taken("TCP", address, "", "`port`")
        }
        Err(error) => unbound("TCP", address, &error, own, "`bind_addresses`"),
    };
    report.add(finding);
    false
}

/// Whether media could be received over TCP there.
fn check_tcp(address: SocketAddr, is_running: bool, own: &[OwnAddress]) -> Finding {
    match edge::bind_media_over_tcp(address) {
        Ok(_) => Finding::fine("port", format!("TCP {address}, of media, is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_running => {
            Finding::fine("port", format!("TCP {address}, of media, is held by the running server"))
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            taken("TCP", address, ", of media,", "`rtc.tcp_port`")
        }
        Err(error) => unbound("TCP", address, &error, own, "`rtc.ips` or `rtc.tcp_port`"),
    }
}

/// Whether the figures can be served; a running server of ours serves them already.
fn check_metrics(settings: &Settings, is_running: bool, own: &[OwnAddress], report: &mut Report) {
    let (Some(metrics), Some(http)) = (&settings.metrics, settings.http.first()) else {
        return;
    };
    let address = SocketAddr::new(http.ip(), metrics.port);
    match TcpListener::bind(address) {
        Ok(_) => report.add(Finding::fine("port", format!("TCP {address} is free"))),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_running => {
            let what = format!("TCP {address}, of metrics, is held by the running server");
            report.add(Finding::fine("port", what));
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            report.add(taken("TCP", address, "", "`prometheus.port`"));
        }
        Err(error) => report.add(unbound("TCP", address, &error, own, "`prometheus.port`")),
    }
}

/// `what` follows the address: what the port is for, where its protocol has several.
pub(super) fn taken(protocol: &str, address: SocketAddr, what: &str, key: &str) -> Finding {
    let (kind, port) = (if protocol == "TCP" { "t" } else { "u" }, address.port());
    Finding::wrong(
        "port",
        format!("{protocol} {address}{what} is taken by something else"),
        "the server does not start",
        format!("`ss -l{kind}np 'sport = :{port}'` says by what: end it, or choose another {key}"),
    )
}

pub(super) fn unbound(
    protocol: &str,
    address: SocketAddr,
    error: &io::Error,
    own: &[OwnAddress],
    key: &str,
) -> Finding {
    let kind = error.kind();
    let fix = if kind == io::ErrorKind::AddrNotAvailable {
        format!("give in {key} what it has: {}", listed(own))
    } else if kind == io::ErrorKind::PermissionDenied {
        "choose a port above 1023, or give the service CAP_NET_BIND_SERVICE (AmbientCapabilities= of its unit)"
            .to_owned()
    } else {
        format!("choose another in {key}")
    };
    let what = format!("{protocol} {address} cannot be listened at: {error}");
    Finding::wrong("port", what, "the server does not start", fix)
}

fn listed(own: &[OwnAddress]) -> String {
    own.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether what listens there answers as we do: a health check in the clear, or that TLS is spoken.
fn is_ours(address: SocketAddr, has_tls: bool) -> bool {
    if has_tls {
        return says(address, TLS_SPOKEN_HERE);
    }
    answer(address)
        .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\nOK"))
}

/// Whether these words are in what listens there answers in the clear.
pub(super) fn says(address: SocketAddr, words: &str) -> bool {
    answer(address).is_ok_and(|answer| answer.contains(words))
}

fn answer(address: SocketAddr) -> io::Result<String> {
    let at = SocketAddr::new(somewhere(address.ip()), address.port());
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: doctor\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(2048).read_to_string(&mut answer)?;
    Ok(answer)
}

/// An address by which what is bound to `address` is reached from here.
const fn somewhere(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(it) if it.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(it) if it.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

/// The sockets that media would be received at, as far as they are free.
fn bind_media(
    places: &Places,
    is_running: bool,
    own: &[OwnAddress],
    report: &mut Report,
) -> Vec<UdpSocket> {
    let mut sockets = Vec::new();
    for address in &places.bound {
        match UdpSocket::bind(address) {
            Ok(socket) => {
                report.add(Finding::fine("port", format!("UDP {address} is free")));
                sockets.push(socket);
            }
            // Held by the server, as its TCP port says.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_running => {}
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                report.add(taken("UDP", *address, "", "`rtc.udp_port`"));
            }
            Err(error) => report.add(unbound("UDP", *address, &error, own, "`rtc.ips`")),
        }
    }
    sockets
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
        return Finding::fine("reach", format!("what is sent to UDP {at} comes here"));
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

/// Asks a STUN server for this machine's address out there, from the media port if it is free.
pub(super) fn ask_stun(
    server: &str,
    socket: Option<&UdpSocket>,
    advertised: &[IpAddr],
    report: &mut Report,
) -> Option<SocketAddr> {
    let why = "behind a router, clients must be told the router's address";
    let seen = || -> io::Result<(SocketAddr, Option<u16>)> {
        let bound = socket.map(UdpSocket::local_addr).transpose()?;
        let mut all = server.to_socket_addrs()?;
        let fits = |it: &SocketAddr| bound.is_none_or(|bound| bound.is_ipv4() == it.is_ipv4());
        let none = || io::Error::other("it has no address of this family");
        let at = all.find(fits).ok_or_else(none)?;
        let local = match (socket, at) {
            (Some(socket), _) => return Ok((stun::ask(socket, at)?, bound.map(|it| it.port()))),
            (None, SocketAddr::V4(_)) => UdpSocket::bind("0.0.0.0:0")?,
            (None, SocketAddr::V6(_)) => UdpSocket::bind("[::]:0")?,
        };
        Ok((stun::ask(&local, at)?, None))
    }();
    let (seen, port) = match seen {
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
