//! rtp
#![forbid(unsafe_code)]
