//! The cookie that a client shows before its handshake begins: it has come back from where the client receives.
//!
//! Owns: how a transport's cookie is made, the record that asks for it, and the way in which dimpl is told.
//! Guarantees: one cookie for all hellos of a transport. A client takes the first cookie that reaches it and no
//! other; were there one for each hello, as dimpl would have it, an answer to a forged hello would shut it out. The
//! record that asks is the same each time, number included, so that nothing in a forged hello reaches the client.
//! Limits: whoever sees what goes to the client has the cookie, too.
//! Source: RFC 6347 §4.2.1, which proposes the client's address for what a cookie stands for.

use std::cell::Cell;

use dimpl::CryptoError;
use dimpl::crypto::aws_lc_rs::default_provider;
use dimpl::crypto::{CryptoProvider, HashAlgorithm, HmacProvider};
use ring::hmac;

use crate::{IceCredentials, suites};

const COOKIE_LEN: usize = 32;
/// With the headers of record and message.
const QUESTION_LEN: usize = 60;

/// One transport's.
#[derive(Clone, Copy)]
pub(crate) struct Cookie([u8; COOKIE_LEN]);

impl Cookie {
    /// `local`: our credentials for the transport, which no other has.
    pub(crate) fn new(key: &hmac::Key, local: &IceCredentials) -> Self {
        let mut context = hmac::Context::with_key(key);
        context.update(local.ufrag.as_bytes());
        context.update(local.pwd.as_bytes());
        // SHA-256 gives as many bytes.
        Self(context.sign().as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// In constant time, so that the cookie is not guessed byte by byte.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        let differ =
            self.0.iter().zip(shown).fold(0, |differ, (ours, theirs)| differ | (ours ^ theirs));
        (shown.len(), differ) == (COOKIE_LEN, 0)
    }

    /// A `HelloVerifyRequest`. Its record has the number 0, and the handshake's follow: clients take each number once.
    pub(crate) fn question(&self) -> [u8; QUESTION_LEN] {
        let mut record = [0; QUESTION_LEN];
        let (head, cookie) = record.split_at_mut(QUESTION_LEN - COOKIE_LEN);
        head.copy_from_slice(&[
            22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            47, // Record: handshake, DTLS 1.0, length.
            3, 0, 0, 35, 0, 0, 0, 0, 0, 0, 0, 35, // Message: of which this is all.
            0xfe, 0xff, 32, // DTLS 1.0, whatever is spoken afterwards; length of the cookie.
        ]);
        cookie.copy_from_slice(&self.0);
        record
    }

    /// Has dimpl take this cookie for the right one, in what `feed` does.
    pub(crate) fn shown<T>(self, feed: impl FnOnce() -> T) -> T {
        DEMANDED.set(Some(self.0));
        let fed = feed();
        DEMANDED.set(None);
        fed
    }
}

thread_local! {
    /// What [`CookieHmac`] answers. dimpl asks on the thread that feeds it, and has no other way in.
    static DEMANDED: Cell<Option<[u8; COOKIE_LEN]>> = const { Cell::new(None) };
}

/// Whether dimpl asks for the cookie.
pub(crate) fn is_question(record: &[u8]) -> bool {
    record.first_chunk::<14>().is_some_and(|&[content, _, _, e0, e1, .., kind]| {
        (content, [e0, e1], kind) == (22, [0, 0], 3)
    })
}

/// dimpl's cryptography, but for cookies, and with ciphers that can be taken over.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider { hmac_provider: &CookieHmac, ..suites::provider() }
}

/// HMAC as dimpl has it. For cookies, and in DTLS 1.2 for nothing else, it is asked by `hmac_sha256`.
#[derive(Debug)]
struct CookieHmac;

impl HmacProvider for CookieHmac {
    fn hmac_sha256(&self, key: &[u8], data: &[u8]) -> Result<[u8; 32], CryptoError> {
        match DEMANDED.get() {
            Some(cookie) => Ok(cookie),
            None => default_provider().hmac_provider.hmac_sha256(key, data),
        }
    }

    fn hmac(
        &self,
        hash: HashAlgorithm,
        key: &[u8],
        data: &[u8],
        out: &mut [u8],
    ) -> Result<usize, CryptoError> {
        default_provider().hmac_provider.hmac(hash, key, data, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cookie(key: u8, pwd: &str) -> Cookie {
        let local = IceCredentials { ufrag: "ufrag".into(), pwd: pwd.into() };
        Cookie::new(&hmac::Key::new(hmac::HMAC_SHA256, &[key; 32]), &local)
    }

    #[test]
    fn a_cookie_is_one_transports_and_one_process_alone() {
        let ours = cookie(1, "ours");
        assert!(ours.is(&cookie(1, "ours").0));
        for other in [cookie(1, "theirs").0, cookie(2, "ours").0, [0; 32]] {
            assert!(!ours.is(&other));
        }
        assert!(!ours.is(&[]) && !ours.is(&ours.0[..31]));
    }

    #[test]
    fn dimpl_takes_a_transports_cookie_while_it_is_shown_and_no_other() {
        let ours = cookie(1, "ours");
        let asked = || provider().hmac_provider.hmac_sha256(b"key", b"data").unwrap();
        let stock = default_provider().hmac_provider.hmac_sha256(b"key", b"data").unwrap();
        assert_eq!(ours.shown(asked), ours.0);
        assert_eq!(asked(), stock);
    }
}
