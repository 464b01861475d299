//! What a DTLS 1.2 datagram is made of: records, and in those in the clear handshake messages or pieces of such.
//!
//! Guarantees: what is split off lies within the bytes given; lengths that lie beyond them yield nothing.
//! Not here: what of it may pass (`sieve`), and whose hello it is (`hello`).
//! Source: RFC 6347 §4.1, §4.2.2.

pub(crate) const RECORD_HEADER_LEN: usize = 13;
pub(crate) const MESSAGE_HEADER_LEN: usize = 12;

/// The content type of records with handshake messages.
pub(crate) const HANDSHAKE: u8 = 22;

/// One record and what follows it.
pub(crate) struct Record<'a> {
    pub(crate) content: u8,
    pub(crate) epoch: u16,
    pub(crate) whole: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// A handshake message, or a piece of one.
pub(crate) struct Piece<'a> {
    pub(crate) kind: u8,
    pub(crate) number: u16,
    pub(crate) total: usize,
    pub(crate) at: usize,
    pub(crate) body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record of `bytes`; `None` when there is no whole one of DTLS.
    pub(crate) fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let &[content, 0xfe, 0xfd | 0xff, e0, e1, _, _, _, _, _, _, l0, l1] =
            bytes.first_chunk::<RECORD_HEADER_LEN>()?
        else {
            return None;
        };
        let len = RECORD_HEADER_LEN + usize::from(u16::from_be_bytes([l0, l1]));
        let (whole, rest) = bytes.split_at_checked(len)?;
        let body = whole.get(RECORD_HEADER_LEN..)?;
        Some((Self { content, epoch: u16::from_be_bytes([e0, e1]), whole, body }, rest))
    }

    /// Whether it says DTLS 1.2; what comes before that is agreed may say 1.0.
    pub(crate) fn is_of_1_2(&self) -> bool {
        matches!(self.whole, [_, 0xfe, 0xfd, ..])
    }

    /// Epoch and number as it carries them.
    pub(crate) fn name(&self) -> [u8; 8] {
        let named = self.whole.get(3..).and_then(|rest| rest.first_chunk());
        named.copied().unwrap_or_default()
    }
}

impl<'a> Piece<'a> {
    pub(crate) fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let &[kind, t0, t1, t2, n0, n1, a0, a1, a2, l0, l1, l2] =
            bytes.first_chunk::<MESSAGE_HEADER_LEN>()?;
        let long = |high, middle, low| {
            usize::from(u16::from_be_bytes([middle, low])) + (usize::from(high) << 16)
        };
        let len = MESSAGE_HEADER_LEN + long(l0, l1, l2);
        let (whole, rest) = bytes.split_at_checked(len)?;
        let (total, at) = (long(t0, t1, t2), long(a0, a1, a2));
        let body = whole.get(MESSAGE_HEADER_LEN..)?;
        Some((Self { kind, number: u16::from_be_bytes([n0, n1]), total, at, body }, rest))
    }

    /// A record with the whole message of which this is the last piece, under the number of its record.
    pub(crate) fn rebuilt(&self, record: &Record<'_>, body: &[u8]) -> Vec<u8> {
        let len_of = |len: usize| u16::try_from(len).unwrap_or(0).to_be_bytes();
        let [r0, r1] = len_of(MESSAGE_HEADER_LEN + body.len());
        let [b0, b1] = len_of(body.len());
        let [n0, n1] = self.number.to_be_bytes();
        let mut whole = record.whole.get(..RECORD_HEADER_LEN - 2).unwrap_or_default().to_vec();
        whole.extend([r0, r1, self.kind, 0, b0, b1, n0, n1, 0, 0, 0, 0, b0, b1]);
        whole.extend_from_slice(body);
        whole
    }
}
