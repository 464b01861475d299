//! A guard that a test takes out, to see that its absence is noticed. Never in a shipped server: decision 0015.

use std::sync::atomic::{AtomicBool, Ordering};

/// Binding requests are answered whoever made them.
pub static INTEGRITY_IS_OFF: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_off() -> bool {
    INTEGRITY_IS_OFF.load(Ordering::Relaxed)
}
