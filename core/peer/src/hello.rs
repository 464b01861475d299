//! The hellos that reach a server before its handshake: who has shown the cookie, and who is asked for it.
//!
//! Owns: a hello that shows the cookie while it comes in pieces.
//! Guarantees: a hello without the cookie leaves nothing but the wish to ask for it, and the question is no longer
//! than the hello.
//! Limits: where the client's hello comes in several datagrams, a forged piece between them spoils it: until the client
//! sends it again, or for this attempt if the whole still makes sense.
//! Source: RFC 6347 §4.2.1, §4.2.2; RFC 5246 §7.4.1.2.

use crate::cookie::Cookie;
use crate::limits::HELLO_BYTES_MAX;
use crate::record::{HANDSHAKE, Piece, Record};

const CLIENT_HELLO: u8 = 1;
/// Of the client's messages: the first hello has the number 0, and the one with the cookie this one.
const WITH_COOKIE: u16 = 1;

/// The client's random, which tells its handshakes apart.
pub(crate) type Random = [u8; 32];

/// What a datagram says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It has no hello.
    Other,
    /// A piece of a hello, of which nothing follows yet.
    Piece,
    /// A hello without the cookie.
    Stranger,
    /// A whole hello with the cookie, as one record.
    Client(Random, Vec<u8>),
}

/// One transport's.
#[derive(Default)]
pub(crate) struct Hellos {
    random: Random,
    /// The hello's body as far as it has come, from its first byte; empty while none is awaited.
    come: Vec<u8>,
    total: usize,
}

/// The fields at the front of a hello.
struct Opening<'a> {
    random: Random,
    cookie: &'a [u8],
}

impl Hellos {
    /// A datagram with a hello has nothing else: a client sends its hello alone.
    pub(crate) fn hear(&mut self, cookie: &Cookie, datagram: &[u8]) -> Heard {
        let mut heard = Heard::Other;
        let mut rest = datagram;
        while let Some((record, after)) = Record::split(rest) {
            rest = after;
            if (record.content, record.epoch) != (HANDSHAKE, 0) {
                continue;
            }
            let Some((piece, b"")) = Piece::split(record.body) else { continue };
            if piece.kind != CLIENT_HELLO {
                continue;
            }
            heard = self.piece(cookie, &record, &piece);
            if matches!(heard, Heard::Client(..)) {
                return heard;
            }
        }
        heard
    }

    fn piece(&mut self, cookie: &Cookie, record: &Record<'_>, piece: &Piece<'_>) -> Heard {
        if piece.at == 0 {
            let Some(opening) = Opening::parse(piece.body) else { return Heard::Piece };
            if !cookie.is(opening.cookie) {
                return Heard::Stranger;
            }
            if piece.number != WITH_COOKIE || piece.total > HELLO_BYTES_MAX {
                return Heard::Piece;
            }
            (self.random, self.total) = (opening.random, piece.total);
            self.come.clear();
        } else if self.come.is_empty()
            || (piece.number, piece.total, piece.at) != (WITH_COOKIE, self.total, self.come.len())
        {
            return Heard::Piece;
        }
        self.come.extend_from_slice(piece.body);
        if self.come.len() < self.total {
            return Heard::Piece;
        }
        let whole = std::mem::take(&mut self.come);
        if whole.len() > self.total {
            return Heard::Piece;
        }
        Heard::Client(self.random, piece.rebuilt(record, &whole))
    }
}

impl<'a> Opening<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let (_version, rest) = body.split_first_chunk::<2>()?;
        let (random, rest) = rest.split_first_chunk()?;
        let (&session, rest) = rest.split_first()?;
        let (&cookie, rest) = rest.get(usize::from(session)..)?.split_first()?;
        Some(Self { random: *random, cookie: rest.get(..usize::from(cookie))? })
    }
}

/// A hello without cookie that dimpl understands and asks for one: so it comes to expect the number of a hello that
/// has shown it.
#[rustfmt::skip]
pub(crate) const STRANGERS: [u8; 67] = [
    22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 54, // Record: handshake, DTLS 1.2, length.
    1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42, // Message: hello, of which this is all.
    0xfe, 0xfd, // DTLS 1.2, and a random.
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 2, 0xc0, 0x2b, 1, 0, // Neither session nor cookie; one suite, one compression.
];

#[cfg(test)]
mod tests {
    use ring::hmac;

    use super::*;
    use crate::IceCredentials;

    fn cookie() -> Cookie {
        let local = IceCredentials { ufrag: "ufrag".into(), pwd: "pwd".into() };
        Cookie::new(&hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), &local)
    }

    /// A hello's body with that cookie.
    fn body(random: u8, cookie: &[u8]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([random; 32]);
        body.push(0);
        body.push(u8::try_from(cookie.len()).unwrap());
        body.extend_from_slice(cookie);
        body.extend([0, 2, 0xc0, 0x2b, 1, 0]);
        body
    }

    fn shown() -> Vec<u8> {
        cookie().question()[28..].to_vec()
    }

    fn piece(number: u8, total: usize, at: usize, body: &[u8]) -> Vec<u8> {
        let long = |number: usize| {
            let [.., a, b, c] = number.to_be_bytes();
            [a, b, c]
        };
        let head = [&[CLIENT_HELLO][..], &long(total), &[0, number], &long(at), &long(body.len())]
            .concat();
        let [l0, l1] = u16::try_from(head.len() + body.len()).unwrap().to_be_bytes();
        let record = [HANDSHAKE, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 5, l0, l1];
        [&record[..], &head, body].concat()
    }

    fn hello(number: u8, body: &[u8]) -> Vec<u8> {
        piece(number, body.len(), 0, body)
    }

    fn hear(hellos: &mut Hellos, datagram: &[u8]) -> Heard {
        hellos.hear(&cookie(), datagram)
    }

    #[test]
    fn whoever_has_not_the_cookie_is_asked_for_it_with_no_more_than_it_sent() {
        let wrong = vec![9; 32];
        for (number, shown) in [(0, vec![]), (0, wrong.clone()), (1, wrong), (1, vec![])] {
            let datagram = hello(number, &body(1, &shown));
            assert_eq!(hear(&mut Hellos::default(), &datagram), Heard::Stranger);
        }
        // The shortest that is answered.
        let shortest = hello(0, &body(1, &[])[..36]);
        assert_eq!(hear(&mut Hellos::default(), &shortest), Heard::Stranger);
        assert!(cookie().question().len() <= shortest.len());
        for cut in 0..shortest.len() {
            let heard = hear(&mut Hellos::default(), &shortest[..cut]);
            assert!(matches!(heard, Heard::Other | Heard::Piece), "{cut}");
        }
    }

    #[test]
    fn a_hello_with_the_cookie_passes_in_one_piece_or_many_and_again() {
        let body = body(3, &shown());
        let whole = hello(1, &body);
        let mut hellos = Hellos::default();
        for _ in 0..2 {
            assert_eq!(hear(&mut hellos, &whole), Heard::Client([3; 32], whole.clone()));
            assert_eq!(hear(&mut hellos, &piece(1, body.len(), 0, &body[..70])), Heard::Piece);
            let last = piece(1, body.len(), 70, &body[70..]);
            assert_eq!(hear(&mut hellos, &last), Heard::Client([3; 32], whole.clone()));
            assert_eq!(hear(&mut hellos, &last), Heard::Piece, "there is no beginning to it");
        }
        let both = [piece(1, body.len(), 0, &body[..70]), piece(1, body.len(), 70, &body[70..])];
        assert_eq!(hear(&mut hellos, &both.concat()), Heard::Client([3; 32], whole));
    }

    #[test]
    fn what_no_client_sends_begins_nothing() {
        let good = body(3, &shown());
        let long = [good.clone(), vec![0; HELLO_BYTES_MAX]].concat();
        for (what, datagram) in [
            ("the cookie in a first hello", hello(0, &good)),
            ("a third hello", hello(2, &good)),
            ("one that is too long", piece(1, long.len(), 0, &good)),
            ("one longer than it says", piece(1, good.len() - 1, 0, &good)),
            ("the end of one", piece(1, good.len(), 40, &good[40..])),
            ("an empty one", piece(1, 0, 0, &[])),
        ] {
            assert_eq!(hear(&mut Hellos::default(), &datagram), Heard::Piece, "{what}");
        }
        let mut sealed = hello(1, &good);
        sealed[4] = 1;
        assert_eq!(hear(&mut Hellos::default(), &sealed), Heard::Other);
    }

    #[test]
    fn a_forged_piece_spoils_a_hello_only_until_it_is_sent_again() {
        let good = body(3, &shown());
        let pieces = [piece(1, good.len(), 0, &good[..70]), piece(1, good.len(), 70, &good[70..])];
        let mut hellos = Hellos::default();
        hear(&mut hellos, &pieces[0]);
        let forged = piece(1, good.len(), 70, &[9; 3]);
        assert_eq!(hear(&mut hellos, &forged), Heard::Piece);
        assert_eq!(hear(&mut hellos, &pieces[1]), Heard::Piece, "spoiled");
        // Hellos without the cookie change nothing.
        let stranger = hello(0, &body(9, &[]));
        hear(&mut hellos, &pieces[0]);
        assert_eq!(hear(&mut hellos, &stranger), Heard::Stranger);
        assert!(matches!(hear(&mut hellos, &pieces[1]), Heard::Client(..)));
    }
}
