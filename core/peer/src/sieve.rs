//! What of a datagram a server's handshake may see while it is under way.
//!
//! Owns: the order in which a client's messages may come, and its certificate while it comes in pieces.
//! Guarantees: records that anybody can make and that would spoil a handshake do not reach it: alerts and data in
//! the clear, pieces that contradict each other or announce what no client sends, messages out of turn, and
//! certificates other than the announced one. What the client sends itself passes, at the latest when it is sent
//! again.
//! Limits. Where a client's flight comes in several datagrams, what is forged between two of them is not told from the
//! client's: a key exchange after the certificate, a signature after the key exchange, a change of cipher after the
//! signature. Nothing in them says whose they are; the first two spoil the handshake, the last if a sealed record of
//! nobody's follows it. A first piece of a certificate that comes in pieces begins it anew, so that a steady stream of
//! forged ones keeps it from being whole. Of a client's own, these never pass: a certificate message above
//! [`CERTIFICATE_BYTES_MAX`], another above [`FLIGHT_MESSAGE_BYTES_MAX`] or in pieces, pieces that come out of order,
//! unless they are sent again in order, several messages in one record, and a flight whose messages do not have the
//! numbers 2, 3 and 4, as they have after one request for a cookie.
//! What waits in it is one certificate message of a handshake, of which there are
//! [`crate::limits::HANDSHAKES_AT_ONCE_MAX`].
//! Not here: hellos (`hello`).
//! Source: RFC 6347 §4.1, §4.2.2; RFC 5246 §7.4 for the order, after two hellos; RFC 5763 §5: the client has a
//! certificate.

use crate::limits::{CERTIFICATE_BYTES_MAX, FLIGHT_MESSAGE_BYTES_MAX};
use crate::record::{HANDSHAKE, Piece, Record};

const CHANGE_CIPHER: u8 = 20;

/// Types of handshake messages.
const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// How far a client's second flight has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    #[default]
    Certificate,
    KeyExchange,
    Verify,
    /// The rest is under the client's keys.
    Sealed,
}

/// One handshake's.
#[derive(Default)]
pub(crate) struct Sieve {
    turn: Turn,
    /// The certificate message, header included, as far as it has come; empty before its first piece.
    certificate: Vec<u8>,
    /// How much of it has come, from the start.
    come: usize,
}

impl Sieve {
    /// Whether the client has shown its certificate: the handshake is not a mere beginning any more.
    pub(crate) fn has_certificate(&self) -> bool {
        self.turn > Turn::Certificate
    }

    /// Writes to `out`, which it empties first, the records of `datagram` that may pass. `is_announced`: whether a
    /// certificate is the one that the signalling announced.
    pub(crate) fn pass(
        &mut self,
        datagram: &[u8],
        is_announced: impl Fn(&[u8]) -> bool,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        let mut rest = datagram;
        while let Some((record, after)) = Record::split(rest) {
            rest = after;
            match (record.content, record.epoch) {
                (HANDSHAKE, 0) => self.message(&record, &is_announced, out),
                (CHANGE_CIPHER, 0) if self.turn == Turn::Sealed && record.body == [1] => {
                    out.extend_from_slice(record.whole);
                }
                (HANDSHAKE, 1) if self.turn == Turn::Sealed => out.extend_from_slice(record.whole),
                _ => {}
            }
        }
    }

    fn message(
        &mut self,
        record: &Record<'_>,
        is_announced: impl Fn(&[u8]) -> bool,
        out: &mut Vec<u8>,
    ) {
        let mut rest = record.body;
        let first = Piece::split(rest).map(|(piece, _)| piece);
        // Several small messages in one record: each has its turn, and they pass or not as the first of them that
        // may not.
        while let Some((piece, after)) = Piece::split(rest) {
            rest = after;
            let is_alone =
                rest.is_empty() && first.as_ref().is_some_and(|it| it.kind == piece.kind);
            if piece.kind == CERTIFICATE && is_alone {
                return self.certificate(record, &piece, is_announced, out);
            }
            if !self.may_pass(&piece) {
                return;
            }
        }
        if rest.is_empty() {
            out.extend_from_slice(record.whole);
        }
    }

    fn may_pass(&mut self, piece: &Piece<'_>) -> bool {
        let is_whole = piece.at == 0 && piece.body.len() == piece.total;
        let (turn, next) = match (piece.kind, piece.number) {
            (CLIENT_KEY_EXCHANGE, 3) => (Turn::KeyExchange, Turn::Verify),
            (CERTIFICATE_VERIFY, 4) => (Turn::Verify, Turn::Sealed),
            _ => return false,
        };
        if !is_whole || piece.total > FLIGHT_MESSAGE_BYTES_MAX || self.turn < turn {
            return false;
        }
        // One that has passed may come again: the machine knows what to do with it.
        self.turn = self.turn.max(next);
        true
    }

    /// Keeps a piece of the certificate, and lets it pass when it is whole and the right one.
    fn certificate(
        &mut self,
        record: &Record<'_>,
        piece: &Piece<'_>,
        is_announced: impl Fn(&[u8]) -> bool,
        out: &mut Vec<u8>,
    ) {
        let end = piece.at.saturating_add(piece.body.len());
        if piece.number != 2 || piece.total > CERTIFICATE_BYTES_MAX || end > piece.total {
            return;
        }
        if piece.at == 0 && end == piece.total {
            if leaf(piece.body).is_some_and(is_announced) {
                self.turn = self.turn.max(Turn::KeyExchange);
                out.extend_from_slice(record.whole);
            }
            return;
        }
        if piece.at == 0 {
            (self.certificate, self.come) = (vec![0; piece.total], 0);
        }
        if self.certificate.len() != piece.total || piece.at != self.come {
            return;
        }
        if let Some(place) = self.certificate.get_mut(piece.at..end) {
            place.copy_from_slice(piece.body);
            self.come = end;
        }
        if end == piece.total {
            let whole = std::mem::take(&mut self.certificate);
            if leaf(&whole).is_some_and(is_announced) {
                self.turn = self.turn.max(Turn::KeyExchange);
                out.extend(piece.rebuilt(record, &whole));
            }
        }
    }
}

/// The first certificate of a certificate message (RFC 5246 §7.4.2).
fn leaf(body: &[u8]) -> Option<&[u8]> {
    let (&[_, _, _, l0, l1, l2], rest) = body.split_first_chunk::<6>()?;
    let len = usize::from(u16::from_be_bytes([l1, l2])) + (usize::from(l0) << 16);
    rest.get(..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAF: &[u8] = b"the announced certificate";

    fn record(content: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let [l0, l1] = u16::try_from(body.len()).unwrap().to_be_bytes();
        let head = [content, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 9, l0, l1];
        [&head, body].concat()
    }

    fn piece(kind: u8, number: u8, total: usize, at: usize, body: &[u8]) -> Vec<u8> {
        let long = |number: usize| {
            let [.., a, b, c] = number.to_be_bytes();
            [a, b, c]
        };
        let head = [&[kind][..], &long(total), &[0, number], &long(at), &long(body.len())].concat();
        record(HANDSHAKE, 0, &[&head, body].concat())
    }

    fn certificate(leaf: &[u8]) -> Vec<u8> {
        let len = u8::try_from(leaf.len()).unwrap();
        [&[0, 0, len + 3, 0, 0, len], leaf].concat()
    }

    fn passed(sieve: &mut Sieve, datagram: &[u8]) -> Vec<u8> {
        let mut out = vec![1, 2, 3];
        sieve.pass(datagram, |leaf| leaf == LEAF, &mut out);
        out
    }

    /// A client's second flight, record by record.
    fn flight() -> Vec<Vec<u8>> {
        let body = certificate(LEAF);
        vec![
            piece(CERTIFICATE, 2, body.len(), 0, &body),
            piece(CLIENT_KEY_EXCHANGE, 3, 66, 0, &[7; 66]),
            piece(CERTIFICATE_VERIFY, 4, 76, 0, &[7; 76]),
            record(CHANGE_CIPHER, 0, &[1]),
            record(HANDSHAKE, 1, &[7; 40]),
        ]
    }

    #[test]
    fn a_clients_flight_passes_in_one_datagram_or_many_and_again() {
        let (mut one, mut many) = (Sieve::default(), Sieve::default());
        for _ in 0..2 {
            assert_eq!(passed(&mut one, &flight().concat()), flight().concat());
            for record in flight() {
                assert_eq!(passed(&mut many, &record), record);
            }
        }
    }

    #[test]
    fn what_comes_out_of_turn_waits_to_be_sent_again() {
        let mut sieve = Sieve::default();
        for record in flight().into_iter().skip(1) {
            assert!(passed(&mut sieve, &record).is_empty());
        }
    }

    #[test]
    fn what_anybody_can_make_passes_at_no_time() {
        let other = certificate(b"another certificate");
        let forged = [
            record(21, 0, &[2, 40]),
            record(23, 0, &[0; 40]),
            record(23, 1, &[0; 40]),
            record(CHANGE_CIPHER, 0, &[1, 1]),
            piece(CERTIFICATE, 2, other.len(), 0, &other),
            piece(CERTIFICATE, 2, 0xff_ffff, 0, &[0; 64]),
            piece(CERTIFICATE, 2, 40, 0, &[0; 64]),
            piece(CERTIFICATE, 2, 0, 0, &[]),
            piece(CERTIFICATE, 1, certificate(LEAF).len(), 0, &certificate(LEAF)),
            piece(1, 0, 42, 0, &[9; 42]),
            piece(1, 1, 42, 0, &[9; 42]),
            piece(CLIENT_KEY_EXCHANGE, 3, 1 << 16, 0, &[0; 64]),
            piece(CLIENT_KEY_EXCHANGE, 9, 64, 0, &[0; 64]),
            piece(20, 5, 12, 0, &[0; 12]),
            piece(0, 0, 0, 0, &[]),
            vec![22; 60],
        ];
        for after in 0..=flight().len() {
            for datagram in &forged {
                let mut sieve = Sieve::default();
                for record in flight().iter().take(after) {
                    passed(&mut sieve, record);
                }
                assert!(passed(&mut sieve, datagram).is_empty(), "{datagram:?} after {after}");
                for record in flight() {
                    assert_eq!(passed(&mut sieve, &record), record, "after {datagram:?}");
                }
            }
        }
    }

    /// The limits that the header names.
    #[test]
    fn what_is_forged_between_two_datagrams_of_a_flight_passes() {
        let forged = [
            (1, piece(CLIENT_KEY_EXCHANGE, 3, 66, 0, &[9; 66])),
            (2, piece(CERTIFICATE_VERIFY, 4, 76, 0, &[9; 76])),
            (3, record(CHANGE_CIPHER, 0, &[1])),
        ];
        for (after, datagram) in forged {
            let mut sieve = Sieve::default();
            for record in flight().iter().take(after) {
                passed(&mut sieve, record);
            }
            assert_eq!(passed(&mut sieve, &datagram), datagram, "after {after}");
        }
    }

    #[test]
    fn what_is_too_long_or_in_pieces_passes_at_no_time() {
        let long = FLIGHT_MESSAGE_BYTES_MAX + 1;
        for (after, datagram) in [
            (0, piece(CERTIFICATE, 2, CERTIFICATE_BYTES_MAX + 1, 0, &[9; 1_000])),
            (1, piece(CLIENT_KEY_EXCHANGE, 3, long, 0, &vec![9; long])),
            (1, piece(CLIENT_KEY_EXCHANGE, 3, 66, 0, &[9; 33])),
            (2, piece(CERTIFICATE_VERIFY, 4, 76, 38, &[9; 38])),
            (1, piece(CLIENT_KEY_EXCHANGE, 2, 66, 0, &[9; 66])),
        ] {
            let mut sieve = Sieve::default();
            for record in flight().iter().take(after) {
                passed(&mut sieve, record);
            }
            assert!(passed(&mut sieve, &datagram).is_empty(), "after {after}");
            assert!(sieve.certificate.len() <= CERTIFICATE_BYTES_MAX);
        }
    }

    #[test]
    fn a_certificate_in_pieces_passes_whole_and_a_forged_piece_only_delays_it() {
        let body = certificate(LEAF);
        let pieces = [
            piece(CERTIFICATE, 2, body.len(), 0, &body[..10]),
            piece(CERTIFICATE, 2, body.len(), 10, &body[10..]),
        ];
        let mut sieve = Sieve::default();
        assert!(passed(&mut sieve, &pieces[0]).is_empty());
        assert!(passed(&mut sieve, &piece(CERTIFICATE, 2, body.len(), 10, &[9; 21])).is_empty());
        assert!(passed(&mut sieve, &pieces[1]).is_empty(), "spoiled");
        assert!(passed(&mut sieve, &pieces[0]).is_empty());
        assert_eq!(passed(&mut sieve, &pieces[1]), flight()[0]);
        assert_eq!(passed(&mut sieve, &flight()[1]), flight()[1]);
    }
}
