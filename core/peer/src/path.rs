//! A pair of addresses that datagrams travel between.

use std::net::SocketAddr;

/// One 5-tuple; the protocol is always UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// Theirs.
    pub remote: SocketAddr,
    /// Ours, as the kernel knows it.
    pub local: SocketAddr,
}
