//! A guard that a test takes out, to see that its absence is noticed. Never in a shipped server: decision 0015.

use std::sync::atomic::{AtomicBool, Ordering};

/// What is revoked stays good.
pub static REVOCATION_IS_OFF: AtomicBool = AtomicBool::new(false);

pub(crate) fn is_off() -> bool {
    REVOCATION_IS_OFF.load(Ordering::Relaxed)
}
