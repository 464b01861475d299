//! One participant's WebRTC transport: ICE-lite, DTLS 1.2 and SCTP data channels; no media.
//!
//! Owns: [`Peer`], the state machine of one transport, [`Door`], which recognises a peer by its
//! ICE user name before any state is touched, and [`framing`], which puts datagrams into TCP.
//! ICE is ours (`ice`, `stun`): a server's end of it is small, and it decides whom we send to. dimpl
//! does DTLS's handshakes (`dtls`), whose records are then ours (`records`), sctp-proto does SCTP (`channels`); no
//! other crate names them.
//! Not here: SRTP and RTP (`rtp`), sockets (`edge`).
//! The exceptions to core's purity: dimpl, sctp-proto and the factory draw their own randomness, time reaches
//! the first two as an `Instant` that is reckoned from the caller's origin, and ciphers leave dimpl's machine
//! through a place of the thread (`suites`).
#![forbid(unsafe_code)]

mod backlog;
mod channel;
mod channels;
mod chunks;
mod cookie;
mod credentials;
mod dcep;
mod door;
mod dtls;
mod factory;
pub mod framing;
mod hello;
mod holdback;
mod ice;
mod limits;
mod outstanding;
mod peer;
pub mod readers;
mod record;
mod records;
mod resets;
#[cfg(feature = "sabotage")]
pub mod sabotage;
mod sieve;
mod stun;
mod suites;
mod unread;

pub use channel::ChannelId;
pub use credentials::{Fingerprint, IceCredentials};
pub use door::Door;
pub use factory::{PeerFactory, PeerFactoryError};
pub use limits::{
    CHANNEL_BUFFER_BYTES_MAX, FRAME_BYTES_MAX, HELD_TIME_MAX, LOSSY_BUFFER_BYTES_MAX,
    MESSAGE_BYTES_MAX, PATHS_MAX, PIECES_AT_EASE, UNACKNOWLEDGED_TIME_MAX,
};
pub use peer::{Event, Output, Peer, PeerError, Remote, Transmit};
pub use stun::BindingRequest;
