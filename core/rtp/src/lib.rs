//! RTP and everything that travels beside it: packets, header extensions, SRTP, RTCP, repair,
//! congestion, codec descriptors.
//!
//! Owns: reading what arrives and writing what leaves, as pure functions and small states over the caller's buffers.
//! Guarantees: no allocation per packet, no panic on any bytes, every remotely driven growth bounded in [`limits`].
//! Not here: whose packet it is and where it goes (`sfu`), sockets (`edge`), DTLS and ICE (`peer`).
#![forbid(unsafe_code)]

mod av1;
pub mod bwe;
pub mod codec;
pub mod extension;
mod h264;
mod h265;
pub mod limits;
pub mod nack;
pub mod packet;
pub mod reception;
pub mod rtcp;
pub mod rtx;
#[cfg(feature = "sabotage")]
pub mod sabotage;
pub mod sequence;
pub mod srtp;
pub mod twcc;
pub mod vp8;
pub mod vp9;
