//! RTP and everything that travels beside it: packets, header extensions, SRTP, RTCP, repair, congestion, codec descriptors.
//!
//! Owns: reading what arrives and writing what leaves, as pure functions and small states over the caller's buffers.
//! Guarantees: no allocation per packet, no panic on any bytes, every remotely driven growth bounded in [`limits`].
//! Not here: whose packet it is and where it goes (`sfu`), sockets (`edge`), DTLS and ICE (`peer`).
#![forbid(unsafe_code)]

pub mod extension;
pub mod limits;
pub mod packet;
pub mod reception;
pub mod rtcp;
pub mod sequence;
pub mod srtp;
