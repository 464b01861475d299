//! The readers of bytes that nobody has proven, each without what stands before it: for `fuzz`.
//!
//! Guarantees: what they read is what a peer reads; a peer itself does not come through here. [`Sealed`] stands behind
//! the proof instead: its keys are known, and it says what may open.

use std::time::Instant;

use ring::hmac;

use crate::cookie::Cookie;
use crate::dtls::Step;
use crate::hello::{Heard, Hellos};
use crate::limits::{PIECES_MAX, RECORD_BYTES_MAX};
use crate::outstanding::Outstanding;
use crate::records::Records;
use crate::sieve::Sieve;
use crate::stun::Message;
use crate::unread::{Fate, Unread};
use crate::{IceCredentials, suites};

/// Numbers behind the highest that opened within which a record that comes late may open.
const LATE_MAX: usize = 64;

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

/// Packets of SCTP, one after the other, as far as they are looked at beside it, `now` all the time. Of each the first
/// byte says whether a client sent it, whether SCTP did, or what it gave out.
///
/// # Panics
/// If more is noted than may be.
pub fn read_sctp<'a>(now: Instant, packets: impl Iterator<Item = &'a [u8]>) {
    let (mut unread, mut outstanding) = (Unread::default(), Outstanding::new(now));
    for packet in packets {
        let (Some((what, packet)), before) = (packet.split_first(), unread.len()) else { continue };
        match what % 4 {
            0 if outstanding.take(now, packet) != Fate::Taken => {}
            0 if !outstanding.note_believed(now) => return,
            0 => match unread.take(now, packet) {
                Fate::Taken => assert!(unread.len() <= PIECES_MAX, "{} notes", unread.len()),
                Fate::LetGo => assert_eq!(unread.len(), before, "what is let go is not noted"),
                Fate::Hostile => return,
            },
            1 => {
                unread.note_sent(packet);
                if !outstanding.note_sent(packet) {
                    return;
                }
            }
            2 => unread.note_read(u16::from(*what), packet.len(), packet.len()),
            _ => unread.settle(),
        }
        std::hint::black_box(unread.due(now));
    }
}

/// A client's records after its handshake, under keys that anybody knows, and the server's end that opens them.
#[derive(Debug)]
pub struct Sealed {
    client: Records,
    server: Records,
    /// In the order in which they were sealed, from number 2 on.
    records: Vec<Record>,
    /// Which of them is the highest that opened.
    highest: Option<usize>,
}

#[derive(Debug)]
struct Record {
    datagram: Vec<u8>,
    message: Vec<u8>,
    has_opened: bool,
}

impl Sealed {
    /// Under one of the suites that are offered, with keys that are made of `seed`; `None` if there are not so many.
    #[must_use]
    pub fn new(suite: usize, seed: &[u8; 32]) -> Option<Self> {
        let [client, server] = suites::known(suite, seed)?;
        let (client, server) = (Records::new(client)?, Records::new(server)?);
        Some(Self { client, server, records: Vec::new(), highest: None })
    }

    /// The client seals a message, which has not come yet; one that is too long for a datagram is left.
    pub fn seal(&mut self, message: &[u8]) {
        let mut buffer = [0; RECORD_BYTES_MAX];
        if self.client.send(message).is_ok()
            && let Ok(Step::Record(record)) = self.client.poll(&mut buffer)
        {
            let (datagram, message) = (record.to_vec(), message.to_vec());
            self.records.push(Record { datagram, message, has_opened: false });
        }
    }

    /// The datagram that is `back` before the last one.
    #[must_use]
    pub fn datagram(&self, back: usize) -> Option<&[u8]> {
        self.records.iter().rev().nth(back).map(|record| &*record.datagram)
    }

    /// A datagram comes, the client's or anybody's.
    ///
    /// # Panics
    /// If anything but the client's messages comes out, or one twice, or one does not that is new and whole.
    pub fn come(&mut self, datagram: &[u8]) {
        let mut expected = Vec::new();
        let place = self.records.iter().position(|record| record.datagram == datagram);
        if let Some((place, record)) = place.and_then(|at| Some((at, self.records.get_mut(at)?))) {
            let is_late = self.highest.is_some_and(|highest| place + LATE_MAX <= highest);
            if !record.has_opened && !is_late {
                record.has_opened = true;
                self.highest = self.highest.max(Some(place));
                expected.push(record.message.clone());
            }
        }
        assert_eq!(self.opened(datagram), expected, "what opens is what was sealed, once");
    }

    fn opened(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.server.handle(datagram);
        let (mut buffer, mut opened) = ([0; RECORD_BYTES_MAX], Vec::new());
        while let Ok(Step::Data(data)) = self.server.poll(&mut buffer) {
            opened.push(data.to_vec());
        }
        opened
    }
}
