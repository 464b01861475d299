//! TCP ports of ours: what an address stands for when one is taken, and how many may wait there.
//!
//! Guarantees: `::` is the same on every machine, whatever `net.ipv6.bindv6only` says.
//! Not here: who is accepted (`acceptor`), UDP (`sys`).
//! Source: Linux ipv6(7), listen(2); where `::` of HTTP leads as in LiveKit's server, which is Go's `net` package
//! (`favoriteAddrFamily`).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use crate::limits::LISTEN_BACKLOG;
use crate::sys;

/// Takes a TCP port. `::` is all of IPv6 and IPv4, and all of IPv4 on a machine without IPv6.
///
/// # Errors
/// The port is taken, or the address is not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let bound = take(address, sys::Families::Both);
    bound.or_else(|error| match instead(address, &error) {
        Some(instead) => take(instead, sys::Families::Both),
        None => Err(error),
    })
}

/// Takes a TCP port for media. `::` is IPv6 alone: IPv4 has a listener of its own, as it has a UDP socket.
///
/// # Errors
/// The port is taken, or the address is not this machine's.
pub fn bind_for_media(address: SocketAddr) -> io::Result<TcpSocket> {
    take(address, sys::Families::One)
}

/// Lets connections come to a port that was taken.
pub(crate) fn listen(socket: TcpSocket) -> io::Result<TcpListener> {
    socket.listen(LISTEN_BACKLOG)
}

fn take(address: SocketAddr, families: sys::Families) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            sys::take_families(&socket, families)?;
            socket
        }
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// What stands for `address` where that could not be taken since the machine has no IPv6 at all.
fn instead(address: SocketAddr, error: &io::Error) -> Option<SocketAddr> {
    let is_any = matches!(address.ip(), IpAddr::V6(it) if it.is_unspecified());
    let is_without = error.raw_os_error() == Some(libc::EAFNOSUPPORT);
    (is_any && is_without).then(|| (Ipv4Addr::UNSPECIFIED, address.port()).into())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, TcpStream};
    use std::time::Duration;

    use super::*;

    const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

    fn reach(ip: impl Into<IpAddr>, listener: &TcpListener) -> io::Result<TcpStream> {
        let at = SocketAddr::new(ip.into(), listener.local_addr()?.port());
        TcpStream::connect_timeout(&at, Duration::from_secs(1))
    }

    #[tokio::test]
    async fn all_of_ipv6_takes_ipv4_as_well_but_for_media() {
        let http = listen(bind((ANY, 0).into()).unwrap()).unwrap();
        assert!(
            reach(Ipv6Addr::LOCALHOST, &http).is_ok() && reach(Ipv4Addr::LOCALHOST, &http).is_ok()
        );
        let media = listen(bind_for_media((ANY, 0).into()).unwrap()).unwrap();
        assert!(reach(Ipv6Addr::LOCALHOST, &media).is_ok());
        assert!(reach(Ipv4Addr::LOCALHOST, &media).is_err());
    }

    #[test]
    fn without_ipv6_all_is_all_of_ipv4() {
        let check = |address: &str, code, expect: Option<&str>| {
            let instead = instead(address.parse().unwrap(), &io::Error::from_raw_os_error(code));
            assert_eq!(instead, expect.map(|it| it.parse().unwrap()), "{address} {code}");
        };
        check("[::]:7880", libc::EAFNOSUPPORT, Some("0.0.0.0:7880"));
        check("[::]:7880", libc::EADDRINUSE, None);
        check("[2001:db8::1]:7880", libc::EAFNOSUPPORT, None);
        check("[::1]:7880", libc::EAFNOSUPPORT, None);
        check("0.0.0.0:7880", libc::EAFNOSUPPORT, None);
    }

    /// With 128 places, as a listener has that says nothing of them, the others are not heard for a second.
    #[tokio::test]
    async fn a_crowd_that_comes_at_once_is_let_in_though_nobody_is_accepted_yet() {
        let listener = listen(bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()).unwrap();
        let crowd: io::Result<Vec<_>> =
            (0..300).map(|_| reach(Ipv4Addr::LOCALHOST, &listener)).collect();
        assert_eq!(crowd.map(|it| it.len()).ok(), Some(300));
    }
}
