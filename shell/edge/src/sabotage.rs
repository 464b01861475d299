//! Switches that take guards out of the server, and faults that a client may raise in it, for tests that must
//! notice. None of this is in a shipped server.
//!
//! Owns: reading which guard is to go; raising a panic when a client asks for it.
//! Guarantees: it compiles only with the feature and with `INCAMERA_SABOTAGE_IS_MEANT` in the environment of the
//! build, so that `--all-features` does not bring it in by mistake; a server that runs with it says so as an error.
//! Not here: the guards. They are in `memory` (zeroing), `sfu::forward` (eviction from a room's history), `worker` (the
//! rings between workers, containment of panics), `wire::revocation`, `rtp::srtp` (the replay window) and `peer::ice`
//! (integrity at the front door). Panics are raised in
//! `socket`, `hub::request` and `worker`. Decision 0015.

use std::sync::atomic::{AtomicBool, Ordering};

use model::LocalText;

const _: () = assert!(
    option_env!("INCAMERA_SABOTAGE_IS_MEANT").is_some(),
    "the feature `sabotage` takes the guards out of the server: it is for `cargo xtask prove --twins` alone"
);

/// The variable that names the guard.
const VARIABLE: &str = "INCAMERA_SABOTAGE";

/// How a client asks for a panic in a part of the server: this, and the part.
const PANIC_WISH: &str = "incamera-sabotage: panic in the ";

static ZEROING_IS_OFF: AtomicBool = AtomicBool::new(false);
static WIPING_IS_OFF: AtomicBool = AtomicBool::new(false);
static CONTAINMENT_IS_OFF: AtomicBool = AtomicBool::new(false);

/// Whether freed memory keeps what was in it.
pub(crate) fn is_zeroing_off() -> bool {
    ZEROING_IS_OFF.load(Ordering::Relaxed)
}

/// Whether what one worker gave another stays in the ring between them.
pub(crate) fn is_wiping_off() -> bool {
    WIPING_IS_OFF.load(Ordering::Relaxed)
}

/// Whether a panic over one peer ends the process.
pub(crate) fn is_containment_off() -> bool {
    CONTAINMENT_IS_OFF.load(Ordering::Relaxed)
}

/// Panics if `content`, which a client sent, asks for it in this `part` of the server. As a careless panic would,
/// it says what it was about.
#[expect(clippy::panic, reason = "that is what it is for")]
pub(crate) fn panic_if_asked(part: &str, content: &[u8]) {
    let wish = format!("{PANIC_WISH}{part}");
    if content.windows(wish.len()).any(|part| part == wish.as_bytes()) {
        panic!("sabotaged over {}", String::from_utf8_lossy(content));
    }
}

/// Takes out what the environment names.
pub fn begin() {
    let named = std::env::var(VARIABLE).unwrap_or_default();
    let switch = match named.as_str() {
        "zeroing" => &ZEROING_IS_OFF,
        "eviction" => &sfu::sabotage::EVICTION_IS_OFF,
        "rings" => &WIPING_IS_OFF,
        "revocation" => &wire::sabotage::REVOCATION_IS_OFF,
        "replay-window" => &rtp::sabotage::REPLAY_WINDOW_IS_OFF,
        "containment" => &CONTAINMENT_IS_OFF,
        "front-door" => &peer::sabotage::INTEGRITY_IS_OFF,
        _ => return crate::log!(ERROR, "built to be sabotaged: not for serving"),
    };
    switch.store(true, Ordering::Relaxed);
    crate::log!(ERROR, "sabotaged: never serve with this", guard = LocalText(named));
}
