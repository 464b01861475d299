//! Faces clients: HTTP, WebSocket, UDP, and TCP where no UDP gets through; drives `peer` and `sfu`.
//!
//! Owns: sockets, TLS, tasks, threads and the clock. A [`Server`] is the whole of it.
//! Guarantees: a panic in one connection ends that connection alone; everything that a client can make
//! it hold is bounded in [`limits`].
//! Not here: decisions (`sfu`, `wire`), durable state (`store`), end-to-end decryption (nowhere).
//!
//! ```text
//! browser ── listener ── http ──> hub      joins, refused with an HTTP status
//!                └────── socket <─> hub    a session's messages
//! back end ─ listener ── http, api ─> hub  what it asks of rooms
//! browser ── worker ──────────── <─> hub   media stays in the worker
//!        └── tcp ──> worker                where the network lets no UDP through
//! ```

mod acceptor;
pub mod answers;
pub mod api;
mod budget;
pub mod challenge;
#[cfg(test)]
mod client;
pub mod config;
mod exposition;
mod frame_io;
pub mod http;
pub mod hub;
pub mod limits;
pub mod listener;
pub mod log;
pub mod machine;
pub mod memory;
pub mod metrics;
pub mod networks;
mod page;
pub mod panics;
mod port;
pub mod pulse;
#[cfg(feature = "sabotage")]
pub mod sabotage;
pub mod scrape;
mod server;
pub mod session;
mod socket;
pub mod stack;
mod stream;
mod sys;
mod tcp;
pub mod tls;
pub mod unfinished;
mod unread;
pub mod visits;
pub mod worker;

pub use port::{bind as bind_http, bind_for_media as bind_media_over_tcp};
pub use server::{Server, StartError};
pub use sys::bind_alone as bind_media_alone;
