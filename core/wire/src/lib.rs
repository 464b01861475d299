//! LiveKit on the wire: tokens and grants, signalling messages, data packets, SDP.
//!
//! Owns: parsing, validating and printing what clients and their back ends send and are sent.
//! Guarantees: whatever comes in, the outcome is a value or a typed error, in bounded time and memory;
//! no error prints what it refused.
//! Not here: what a message causes (`sfu`), who may do what (`policy`), sockets (`edge`).
//! Source: LiveKit `protocol/`, its protobuf types taken from the crate `livekit-protocol` as [`proto`].
#![forbid(unsafe_code)]

pub mod access;
mod access_token2;
mod claims;
pub mod classes;
pub mod convert;
pub mod data;
pub mod frame;
pub mod grant;
pub mod join;
pub mod key;
pub mod limits;
pub mod negotiation;
mod present;
pub mod revocation;
pub mod rinse;
pub mod room_service;
#[cfg(feature = "sabotage")]
pub mod sabotage;
pub mod sdp;
mod shape;
pub mod token;
pub mod twirp;

pub use livekit_protocol as proto;
pub use shape::ShapeError;
