//! Digests of what names people, which leave nothing of it on the stack.
//!
//! ring keeps the last block of what it digests in a value of its own, which nobody can wipe: when the call is over it
//! lies on the stack until something else is written there, and at the depth of a token's verification that may be
//! never. Each digest here is therefore made twice from the same place: the second time of zeros, in the same frames.
//! Not here: what is sealed or encoded, of which a block says nothing.

use std::hint::black_box;

use ring::{digest, hmac};

/// A byte short of SHA-256's block, so that all of it is kept.
const ZEROS: [u8; 63] = [0; 63];

/// An HMAC over the parts, one after the other. The key is for SHA-256.
#[must_use]
pub fn sign(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let tag = sign_once(key, black_box(parts));
    black_box(sign_once(key, black_box(&[ZEROS.as_slice()])));
    tag
}

/// Whether an HMAC is that of the message, in time that does not depend on where it differs. The key is for SHA-256.
#[must_use]
pub fn verify(key: &hmac::Key, message: &[u8], tag: &[u8]) -> bool {
    let is_right = verify_once(key, black_box(message), tag);
    black_box(verify_once(key, black_box(&ZEROS), tag));
    is_right
}

/// SHA-256 over the parts, one after the other.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> digest::Digest {
    let digest = sha256_once(black_box(parts));
    black_box(sha256_once(black_box(&[ZEROS.as_slice()])));
    digest
}

#[inline(never)]
fn sign_once(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    context.sign()
}

#[inline(never)]
fn verify_once(key: &hmac::Key, message: &[u8], tag: &[u8]) -> bool {
    hmac::verify(key, message, tag).is_ok()
}

#[inline(never)]
fn sha256_once(parts: &[&[u8]]) -> digest::Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish()
}
