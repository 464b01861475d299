//! What datagrams travel between and over: two addresses and what carries them.

use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;

/// What carries datagrams: UDP, or one TCP connection with frames in it (RFC 4571).
///
/// Connections are told apart by number, not by address: one that ended is never taken for one that began
/// afterwards between the same ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Carrier(u32);

impl Carrier {
    /// UDP.
    pub const UDP: Self = Self(0);

    /// The TCP connection of this number.
    #[must_use]
    pub const fn tcp(number: NonZeroU32) -> Self {
        Self(number.get())
    }

    /// Whether it is UDP.
    #[must_use]
    pub const fn is_udp(self) -> bool {
        self.0 == 0
    }
}

/// The way between one address of ours and one of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// Theirs.
    pub remote: SocketAddr,
    /// Ours, as the kernel knows it.
    pub local: SocketAddr,
    /// Over what.
    pub carrier: Carrier,
}

impl Path {
    /// Over UDP.
    #[must_use]
    pub const fn udp(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { remote, local, carrier: Carrier::UDP }
    }

    /// Overwrites their address, all of it: one of one kind would leave bytes of one of the other.
    pub fn forget_remote(&mut self) {
        self.remote = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        black_box(&mut self.remote);
        self.remote = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        black_box(&mut self.remote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_carries_tells_paths_of_the_same_addresses_apart() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7882));
        let udp = Path::udp(address, address);
        let tcp = |number| Path { carrier: Carrier::tcp(NonZeroU32::new(number).unwrap()), ..udp };
        assert_ne!(udp, tcp(1));
        assert_ne!(tcp(1), tcp(2));
        assert!(udp.carrier.is_udp() && !tcp(1).carrier.is_udp());
    }
}
