//! peer
#![forbid(unsafe_code)]
