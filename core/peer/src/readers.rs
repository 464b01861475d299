//! The readers of bytes that nobody has proven, each without what stands before it: for `fuzz`.
//!
//! Guarantees: what they read is what a peer reads; a peer itself does not come through here.

use ring::hmac;

use crate::IceCredentials;
use crate::cookie::Cookie;
use crate::hello::{Heard, Hellos};
use crate::sieve::Sieve;
use crate::stun::Message;

/// A STUN datagram, and whether it is authentic under some password.
pub fn read_stun(datagram: &[u8]) {
    if let Some(message) = Message::parse(datagram) {
        std::hint::black_box(message.is_authentic("0123456789012345678901"));
    }
}

/// Datagrams of DTLS, one after the other, as far as they come before the handshake's machine: hellos under a cookie
/// that is always the same, and what may pass of the rest. The bytes that would reach the machine.
pub fn read_dtls<'a>(datagrams: impl Iterator<Item = &'a [u8]>) -> usize {
    let local = IceCredentials { ufrag: "ours".into(), pwd: "0123456789012345678901".into() };
    let cookie = Cookie::new(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), &local);
    let (mut hellos, mut sieve) = (Hellos::default(), Sieve::default());
    let (mut passed, mut total) = (Vec::new(), 0);
    for datagram in datagrams {
        match hellos.hear(&cookie, datagram) {
            Heard::Client(_, hello) => total += hello.len(),
            Heard::Stranger | Heard::Piece => {}
            Heard::Other => {
                // Any certificate in DER is the announced one.
                sieve.pass(datagram, |leaf| leaf.first() == Some(&0x30), &mut passed);
                total += passed.len();
            }
        }
    }
    total
}
