//! sfu
#![forbid(unsafe_code)]
