//! A guard that a test takes out, to see that its absence is noticed. Never in a shipped server: decision 0015.

use std::sync::atomic::{AtomicBool, Ordering};

/// What leaves a room's history stays in its memory as it was.
pub static EVICTION_IS_OFF: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_off() -> bool {
    EVICTION_IS_OFF.load(Ordering::Relaxed)
}
