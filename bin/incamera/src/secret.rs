//! Secrets that are made here.
//!
//! Guarantees: each has 256 bits of the system's randomness, and is overwritten when it is dropped.
//! Not here: where they are kept (`files`), what they are for.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::Failure;

pub(crate) fn bytes() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *bytes).map_err(|_| "the system gives no randomness")?;
    Ok(bytes)
}

/// In 43 characters that any file, header or link takes as they are.
pub(crate) fn text() -> Result<Zeroizing<String>, Failure> {
    Ok(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(*bytes()?)))
}
