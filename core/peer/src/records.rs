//! The records of a DTLS connection whose handshake is over.
//!
//! Owns: sealing and opening records of epoch 1 under the ciphers that dimpl's machine made, their numbers, and which
//! were opened before. It goes on where the machine stopped.
//! Guarantees: a number seals once and opens once; what was sealed or opened before the machine was taken over counts;
//! plaintext is in the lent buffer alone; what is not authentic changes nothing.
//! Not here: the handshake, which no record can begin again (`dtls`); a record of another epoch is nobody's.
//! Source: RFC 6347 §4.1, RFC 5288 §3, RFC 7905 §2, RFC 5246 §7.2.

use std::collections::VecDeque;

use dimpl::crypto::{Aad, Buf, Cipher, Nonce, TmpBuf};

use crate::dtls::{Broken, Step};
use crate::limits::COME_MAX;
use crate::record::{RECORD_HEADER_LEN, Record};
use crate::suites::{Pair, Worn};

const VERSION: [u8; 2] = [0xfe, 0xfd];
/// The first epoch with keys, above the 48 bits of a number.
const EPOCH: u64 = 1 << 48;
const NUMBER_MAX: u64 = EPOCH - 1;

const ALERT: u8 = 21;
const DATA: u8 = 23;
const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;

/// One direction's cipher.
struct Half {
    cipher: Box<dyn Cipher>,
    /// Associated data of the right length, to be filled in: its type makes none.
    aad: Aad,
    /// The part of the nonce that is the connection's: four bytes before a record's own eight, or all twelve, into
    /// which the record's number goes.
    fixed: [u8; 12],
    explicit_len: usize,
    tag_len: usize,
}

impl Half {
    /// And the number of the last record.
    fn new(worn: Worn) -> Option<(Self, u64)> {
        let Worn { cipher, did, explicit_len, tag_len } = worn;
        let name = did.aad.first_chunk().copied()?;
        let number = u64::from_be_bytes(name) ^ EPOCH;
        let half = Self { cipher, aad: did.aad, fixed: did.nonce.0, explicit_len, tag_len };
        let fixed = if explicit_len == 0 { half.nonce(name) } else { did.nonce };
        let is_known = number <= NUMBER_MAX && matches!(explicit_len, 0 | 8);
        is_known.then_some((Self { fixed: fixed.0, ..half }, number))
    }

    /// `own`: what the record carries, or its epoch and number where it carries nothing.
    fn nonce(&self, own: [u8; 8]) -> Nonce {
        let mut nonce = self.fixed;
        let [_, _, _, _, last @ ..] = &mut nonce;
        for (byte, own) in last.iter_mut().zip(own) {
            *byte = if self.explicit_len == 0 { *byte ^ own } else { own };
        }
        Nonce(nonce)
    }

    /// `len`: of the plaintext.
    fn aad(&self, kind: u8, name: [u8; 8], len: usize) -> Aad {
        let [.., l0, l1] = len.to_be_bytes();
        let [n0, n1, n2, n3, n4, n5, n6, n7] = name;
        let [v0, v1] = VERSION;
        let mut aad = self.aad.clone();
        for (to, from) in
            aad.0.iter_mut().zip([n0, n1, n2, n3, n4, n5, n6, n7, kind, v0, v1, l0, l1])
        {
            *to = from;
        }
        aad
    }

    /// Opens into the front of `buffer`; how long the plaintext is. What the buffer is left with otherwise is nobody's.
    fn open(&mut self, record: &Record<'_>, buffer: &mut [u8]) -> Option<usize> {
        let len = record.body.len().checked_sub(self.overhead())?;
        let (own, sealed) = record.body.split_at_checked(self.explicit_len)?;
        let nonce = self.nonce(own.try_into().unwrap_or(record.name()));
        let aad = self.aad(record.content, record.name(), len);
        let place = buffer.get_mut(..sealed.len())?;
        place.copy_from_slice(sealed);
        let mut place = TmpBuf::new(place);
        self.cipher.decrypt(&mut place, aad, nonce).ok().map(|()| place.len())
    }

    const fn overhead(&self) -> usize {
        self.explicit_len + self.tag_len
    }
}

/// Which numbers were opened: all up to the highest that are not among the 64 before it count as opened.
struct Window {
    highest: u64,
    /// Bit `i` is the number `highest - i`.
    opened: u64,
}

impl Window {
    const fn is_fresh(&self, number: u64) -> bool {
        match self.highest.checked_sub(number) {
            None => true,
            Some(behind @ 0..64) => self.opened & (1 << behind) == 0,
            Some(_) => false,
        }
    }

    fn mark(&mut self, number: u64) {
        match number.checked_sub(self.highest) {
            Some(ahead) => {
                let shift = u32::try_from(ahead).unwrap_or(u32::MAX);
                self.opened = self.opened.checked_shl(shift).unwrap_or(0) | 1;
                self.highest = number;
            }
            None => self.opened |= 1 << (self.highest - number).min(63),
        }
    }
}

pub(crate) struct Records {
    sealer: Half,
    opener: Half,
    /// Of the next record that is sealed.
    next: u64,
    window: Window,
    /// Datagrams as they came.
    come: VecDeque<Vec<u8>>,
    /// How much of the first was looked at.
    at: usize,
    sealed: VecDeque<Vec<u8>>,
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Records(…)")
    }
}

impl Records {
    /// `None`: the ciphers are none of DTLS 1.2.
    pub(crate) fn new(pair: Pair) -> Option<Self> {
        let (sealer, last) = Half::new(pair.sealer)?;
        let (opener, highest) = Half::new(pair.opener)?;
        // Those below the highest that did not come before the machine was taken over are lost on the way.
        let window = Window { highest, opened: u64::MAX };
        let (come, sealed) = (VecDeque::new(), VecDeque::new());
        Some(Self { sealer, opener, next: last + 1, window, come, at: 0, sealed })
    }

    /// Takes a datagram, unless too many wait.
    pub(crate) fn handle(&mut self, datagram: &[u8]) {
        if self.come.len() < COME_MAX {
            self.come.push_back(datagram.to_vec());
        }
    }

    /// Queues a message, which is one record.
    pub(crate) fn send(&mut self, message: &[u8]) -> Result<(), Broken> {
        self.seal(DATA, message)
    }

    /// Says goodbye.
    pub(crate) fn close(&mut self) -> Result<(), Broken> {
        self.seal(ALERT, &[WARNING, CLOSE_NOTIFY])
    }

    /// What is wanted; `buffer` is lent for records and data, and as long as any datagram.
    pub(crate) fn poll<'a>(&mut self, buffer: &'a mut [u8]) -> Result<Step<'a>, Broken> {
        if let Some(record) = self.sealed.pop_front() {
            let place = buffer.get_mut(..record.len()).ok_or(Broken)?;
            place.copy_from_slice(&record);
            return Ok(Step::Record(place));
        }
        while let Some((kind, len)) = self.open_next(buffer) {
            match (kind, buffer.get(..len)) {
                (DATA, Some(_)) => return buffer.get(..len).map(Step::Data).ok_or(Broken),
                (ALERT, Some(&[FATAL, _] | &[_, CLOSE_NOTIFY])) => return Ok(Step::Goodbye),
                // Handshakes that come late, and alerts that warn.
                _ => {}
            }
        }
        // Most peers have nothing to say most of the time.
        (self.come, self.sealed) = (VecDeque::new(), VecDeque::new());
        Ok(Step::Wait(None))
    }

    /// Opens the next record that is authentic and new: its kind, and how long its plaintext is, in `buffer`.
    fn open_next(&mut self, buffer: &mut [u8]) -> Option<(u8, usize)> {
        loop {
            let datagram = self.come.front()?;
            let rest = datagram.get(self.at..).unwrap_or_default();
            let Some((record, _)) = Record::split(rest).filter(|(it, _)| it.is_of_1_2()) else {
                self.come.pop_front();
                self.at = 0;
                continue;
            };
            self.at += record.whole.len();
            let number = u64::from_be_bytes(record.name()) ^ EPOCH;
            if number > NUMBER_MAX || !self.window.is_fresh(number) {
                continue;
            }
            if let Some(len) = self.opener.open(&record, buffer) {
                self.window.mark(number);
                return Some((record.content, len));
            }
        }
    }

    fn seal(&mut self, kind: u8, message: &[u8]) -> Result<(), Broken> {
        if self.next > NUMBER_MAX {
            return Err(Broken);
        }
        let name = (EPOCH | self.next).to_be_bytes();
        let len = u16::try_from(message.len() + self.sealer.overhead()).map_err(|_| Broken)?;
        let aad = self.sealer.aad(kind, name, message.len());
        let mut sealed = Buf::new();
        sealed.extend_from_slice(message);
        // The machine's few records had nonces at random: that one of them is a number's is out of the question.
        self.sealer
            .cipher
            .encrypt(&mut sealed, aad, self.sealer.nonce(name))
            .map_err(|_| Broken)?;
        self.next += 1;
        let own = name.get(..self.sealer.explicit_len).unwrap_or_default();
        let mut record = Vec::with_capacity(RECORD_HEADER_LEN + usize::from(len));
        record.push(kind);
        record.extend(VERSION);
        record.extend(name);
        record.extend(len.to_be_bytes());
        record.extend_from_slice(own);
        record.extend_from_slice(&sealed);
        self.sealed.push_back(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
