//! Switches that take guards out of the server, for tests that must notice. None of this is in a shipped server.
//!
//! Owns: reading which guard is to go.
//! Guarantees: it compiles only with the feature and with `INCAMERA_SABOTAGE_IS_MEANT` in the environment of the
//! build, so that `--all-features` does not bring it in by mistake; a server that runs with it says so as an error.
//! Not here: the guards. They are in `memory` (zeroing), `wire::revocation`, `rtp::srtp` (the replay
//! window) and `peer::ice` (integrity at the front door). Decision 0015.

use std::sync::atomic::{AtomicBool, Ordering};

use model::LogData;

const _: () = assert!(
    option_env!("INCAMERA_SABOTAGE_IS_MEANT").is_some(),
    "the feature `sabotage` takes the guards out of the server: it is for `cargo xtask prove --twins` alone"
);

/// The variable that names the guard.
const VARIABLE: &str = "INCAMERA_SABOTAGE";

static ZEROING_IS_OFF: AtomicBool = AtomicBool::new(false);

/// Whether freed memory keeps what was in it.
pub(crate) fn is_zeroing_off() -> bool {
    ZEROING_IS_OFF.load(Ordering::Relaxed)
}

/// Takes out what the environment names.
pub fn begin() {
    let named = std::env::var(VARIABLE).unwrap_or_default();
    let switch = match named.as_str() {
        "zeroing" => &ZEROING_IS_OFF,
        "revocation" => &wire::sabotage::REVOCATION_IS_OFF,
        "replay-window" => &rtp::sabotage::REPLAY_WINDOW_IS_OFF,
        "front-door" => &peer::sabotage::INTEGRITY_IS_OFF,
        _ => return crate::log!(ERROR, "built to be sabotaged: not for serving"),
    };
    switch.store(true, Ordering::Relaxed);
    crate::log!(ERROR, "sabotaged: never serve with this", guard = LogData(named));
}
