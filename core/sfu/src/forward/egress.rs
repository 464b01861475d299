//! What leaves a worker in one go: sealed datagrams, back to back per destination.
//!
//! Owns: the buffer and the list of trains. A train is what UDP segmentation offload takes: datagrams
//! of one size to one address, the last of which may be smaller.
//! Guarantees: nothing but ciphertext once a call of `Forward` returned, and not that either once it was
//! rinsed: the key is here for as long as its receiver's session. No allocation after `new`.

use model::Path;

use crate::limits;

/// Datagrams for one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    /// From where to where, and over what.
    pub path: Path,
    /// Where it begins in the buffer.
    pub start: usize,
    /// Bytes of all its datagrams.
    pub len: usize,
    /// Bytes of each datagram; the last may be smaller.
    pub segment: u16,
}

/// A buffer of sealed datagrams and how they divide into trains.
pub struct Egress {
    buffer: Box<[u8]>,
    used: usize,
    /// Zero from here on.
    touched: usize,
    trains: Vec<Train>,
    again: Again,
}

/// Packets that were sent before and are sent once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// How many.
    pub packets: u64,
    /// Their bytes, sealed.
    pub bytes: u64,
}

impl Again {
    pub(super) fn note(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += u64::try_from(len).unwrap_or(0);
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("used", &self.used).finish_non_exhaustive()
    }
}

impl Egress {
    pub(super) fn new() -> Self {
        Self {
            buffer: vec![0; limits::EGRESS_BYTES].into_boxed_slice(),
            used: 0,
            touched: 0,
            trains: Vec::with_capacity(limits::EGRESS_TRAINS),
            again: Again::default(),
        }
    }

    /// The bytes that the trains point into.
    #[must_use]
    pub fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// In the order in which they were made.
    #[must_use]
    pub fn trains(&self) -> &[Train] {
        &self.trains
    }

    /// How much of it was sent before.
    #[must_use]
    pub const fn again(&self) -> Again {
        self.again
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.trains.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        // Whoever they were for may be gone, and the next ones fewer.
        self.trains.iter_mut().for_each(|train| train.path.forget_remote());
        self.trains.clear();
        self.again = Again::default();
    }

    /// Zeroes what was sent, or was never finished. Costs as much as was written since the last time.
    pub(super) fn rinse(&mut self) {
        if let Some(left) = self.buffer.get_mut(self.used..self.touched) {
            left.fill(0);
        }
        self.touched = self.used;
    }

    /// Is there no room for a datagram of the largest size?
    pub(super) const fn is_full(&self) -> bool {
        self.used + limits::DATAGRAM_BYTES_MAX > self.buffer.len()
            || self.trains.len() >= limits::EGRESS_TRAINS
    }

    /// The place of the next datagram.
    pub(super) fn space(&mut self) -> &mut [u8] {
        let stop = (self.used + limits::DATAGRAM_BYTES_MAX).min(self.buffer.len());
        self.touched = self.touched.max(stop);
        self.buffer.get_mut(self.used..stop).unwrap_or_default()
    }

    /// As [`Self::push`], of what was sent before.
    pub(super) fn push_again(&mut self, path: Path, len: usize) {
        self.again.note(len);
        self.push(path, len);
    }

    /// The next `len` bytes of [`Self::space`] are a datagram. It joins the last train where it may.
    pub(super) fn push(&mut self, path: Path, len: usize) {
        let start = self.used;
        self.used += len;
        if let Some(train) = self.trains.last_mut() {
            let segment = usize::from(train.segment);
            let is_open = train.len.is_multiple_of(segment)
                && train.len / segment < limits::TRAIN_SEGMENTS_MAX
                && train.len + len <= limits::TRAIN_BYTES_MAX;
            if is_open && len <= segment && train.path == path {
                train.len += len;
                return;
            }
        }
        let segment = u16::try_from(len).unwrap_or(u16::MAX);
        if len > 0 {
            self.trains.push(Train { path, start, len, segment });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::num::NonZeroU32;

    use model::Carrier;

    use super::*;

    fn path(local: u16, remote: u16) -> Path {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Path::udp(address(local), address(remote))
    }

    #[test]
    fn equal_sizes_and_one_smaller_make_one_train() {
        let mut egress = Egress::new();
        for len in [1000, 1000, 400, 1000] {
            egress.push(path(1, 2), len);
        }
        let sizes: Vec<_> = egress.trains().iter().map(|t| (t.start, t.len, t.segment)).collect();
        assert_eq!(sizes, [(0, 2400, 1000), (2400, 1000, 1000)]);
    }

    #[test]
    fn what_was_sent_is_gone_once_it_was_rinsed_and_what_was_not_is_there() {
        let mut egress = Egress::new();
        let fill = |egress: &mut Egress, count| {
            for _ in 0..count {
                egress.space().fill(7);
                egress.push(path(1, 2), 1000);
            }
        };
        fill(&mut egress, 100);
        egress.clear();
        fill(&mut egress, 2);
        egress.rinse();
        let (waits, rest) = egress.buffer().split_at(2000);
        assert!(waits.iter().all(|byte| *byte == 7) && rest.iter().all(|byte| *byte == 0));
        egress.clear();
        egress.rinse();
        assert!(egress.buffer().iter().all(|byte| *byte == 0));
        // One that could not be sealed.
        egress.space().fill(9);
        egress.rinse();
        assert!(egress.buffer().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn another_address_or_a_larger_datagram_starts_a_train() {
        let mut egress = Egress::new();
        egress.push(path(1, 2), 100);
        egress.push(path(1, 3), 100);
        egress.push(path(1, 3), 101);
        egress.push(path(9, 3), 101);
        let carrier = Carrier::tcp(NonZeroU32::MIN);
        egress.push(Path { carrier, ..path(9, 3) }, 101);
        assert_eq!(egress.trains().len(), 5);
    }

    #[test]
    fn a_train_stays_within_what_the_kernel_takes() {
        let mut egress = Egress::new();
        for _ in 0..100 {
            egress.push(path(1, 2), 1400);
        }
        for _ in 0..200 {
            egress.push(path(1, 3), 100);
        }
        let segments = |train: &Train| train.len.div_ceil(usize::from(train.segment));
        assert!(egress.trains().iter().all(|train| train.len <= 65_000));
        assert!(egress.trains().iter().all(|train| segments(train) <= 64));
    }
}
