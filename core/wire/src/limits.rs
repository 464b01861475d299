//! Bounds on everything that a remote party can make this crate do.
