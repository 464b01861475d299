//! One participant's WebRTC transport: ICE-lite, DTLS 1.2 and SCTP data channels; no media.
//!
//! Owns: [`Peer`], the state machine of one transport, and [`Door`], which recognises a peer by its
//! ICE user name before any state is touched. The only crate that names str0m and dimpl: str0m does
//! ICE and SCTP, dimpl does DTLS, and the SRTP keys are tapped from between the two (`tap`).
//! Not here: SRTP and RTP (`rtp`), sockets (`edge`).
//! The one exception to core's purity: str0m and dimpl draw their own randomness, and time reaches
//! them as an `Instant` that is reckoned from the caller's origin.
#![forbid(unsafe_code)]

mod credentials;
mod door;
mod factory;
mod limits;
mod peer;
mod stun;
mod tap;

pub use credentials::{Fingerprint, IceCredentials};
pub use door::Door;
pub use factory::{PeerFactory, PeerFactoryError};
pub use limits::{CHANNEL_BUFFER_BYTES_MAX, LOSSY_BUFFER_BYTES_MAX, MESSAGE_BYTES_MAX};
pub use peer::{ChannelId, Event, Output, Peer, PeerError, Remote, Transmit};
pub use stun::BindingRequest;
