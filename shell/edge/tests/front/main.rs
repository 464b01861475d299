//! The HTTP side as clients see it: real sockets outside, a hub of the test inside.
#![expect(clippy::unwrap_used, reason = "tests")]

mod api;
mod doors;
mod house;
mod sessions;
mod tls;
