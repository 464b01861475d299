//! LiveKit on the wire: tokens and grants, signalling messages, data packets, SDP.
//!
//! Owns: parsing, validating and printing what clients and their back ends send and are sent.
//! Guarantees: whatever comes in, the outcome is a value or a typed error, in bounded time and memory;
//! no error prints what it refused.
//! Not here: what a message causes (`sfu`), who may do what (`policy`), sockets (`edge`).
//! Source: LiveKit `protocol/`, its protobuf types taken from the crate `livekit-protocol` as [`proto`].
#![forbid(unsafe_code)]

mod convert;
mod data;
mod frame;
mod grant;
mod join;
mod key;
pub mod limits;
mod nesting;
pub mod sdp;
mod token;

pub use livekit_protocol as proto;
