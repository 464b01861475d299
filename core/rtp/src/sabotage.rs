//! A guard that a test takes out, to see that its absence is noticed. Never in a shipped server: decision 0015.

use std::sync::atomic::{AtomicBool, Ordering};

/// Packets are accepted as often as they come.
pub static REPLAY_WINDOW_IS_OFF: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_off() -> bool {
    REPLAY_WINDOW_IS_OFF.load(Ordering::Relaxed)
}
