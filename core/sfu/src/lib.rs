//! One node's rooms: participants, publications, subscriptions, forwarding, layer choice, bandwidth.
//!
//! Owns: [`Control`], one instance that decides who receives what, and [`Forward`], one per worker that
//! moves packets. Imports `model` and `rtp` only: LiveKit's messages are translated in `edge`.
//! Start with `message`, then `control/mod.rs`, then `forward/mod.rs`.
#![forbid(unsafe_code)]

pub mod control;
pub mod forward;
pub mod limits;
mod message;
#[cfg(feature = "sabotage")]
pub mod sabotage;

pub use control::Control;
pub use forward::Forward;
pub use message::{Instruction, ReceiveFormat, Report, StreamSpec, SubscriptionSpec, TrackSpec};
