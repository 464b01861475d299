//! A node without its shell: `Control` and the `Forward`s of two workers, three rooms of made-up clients,
//! a network that loses and reorders, and a clock that is a number.
//!
//! Owns: [`run`], which plays a seed to its end; the trace that it leaves; what must hold on the way.
//! Guarantees: nothing but the seed decides what happens. A run ends at the first broken invariant.
//! Not here: peers' transports (`peer` draws its own randomness), LiveKit's messages, sockets.
//! Files: `world` (what happens), `client` (the far ends), `witness` (what must hold), `trace`, `media`.

mod client;
mod media;
mod random;
mod trace;
mod witness;
mod world;

pub use trace::Trace;
pub use witness::Counts;
pub use world::{Ended, run};
