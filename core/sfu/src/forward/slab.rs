//! A table whose rows are found by a number that is used again after removal.
//!
//! Owns: where a row is. Guarantees: the empty rows behind the last go back once they are a fourth of all.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A full table grows by a fourth: rows are large, and doubling would leave half of them empty.
const GROWTH: usize = 4;

/// So few are kept for those who come.
const ROWS_KEPT: usize = 1024;

/// Rows of `T`. A row's number is valid from `insert` until `remove`.
#[derive(Debug)]
pub(super) struct Slab<T> {
    rows: Vec<Option<T>>,
    /// The lowest first, so that what is behind them empties.
    free: BinaryHeap<Reverse<u32>>,
    /// Rows up to the last that is in use.
    end: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), free: BinaryHeap::new(), end: 0 }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, row: T) -> u32 {
        let at = if let Some(Reverse(at)) = self.free.pop() {
            if let Some(place) = self.rows.get_mut(at as usize) {
                *place = Some(row);
            }
            at
        } else {
            if self.rows.len() == self.rows.capacity() {
                self.rows.reserve_exact((self.rows.len() / GROWTH).max(GROWTH));
            }
            self.rows.push(Some(row));
            u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX)
        };
        self.end = self.end.max(at as usize + 1);
        at
    }

    /// What the row holds by value stays where it was until another takes its place.
    pub(super) fn remove(&mut self, at: u32) -> Option<T> {
        let row = self.rows.get_mut(at as usize)?.take()?;
        self.free.push(Reverse(at));
        while let Some(None) = self.end.checked_sub(1).and_then(|last| self.rows.get(last)) {
            self.end -= 1;
        }
        if self.rows.len() > ROWS_KEPT && self.end <= self.rows.len() / GROWTH * (GROWTH - 1) {
            self.give_back();
        }
        Some(row)
    }

    /// All rows that are free are looked at, so not of each that goes.
    #[cold]
    fn give_back(&mut self) {
        self.rows.truncate(self.end);
        self.rows.shrink_to(self.end + self.end / GROWTH);
        self.free.retain(|Reverse(at)| (*at as usize) < self.end);
        self.free.shrink_to_fit();
    }

    /// Where a row is or may be, without a look at it.
    #[inline]
    pub(super) fn place(&self, at: u32) -> Option<&Option<T>> {
        self.rows.get(at as usize)
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.rows.get(at as usize)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.rows.get_mut(at as usize)?.as_mut()
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_rows_that_were_many_and_are_few_those_behind_the_last_go_back() {
        let mut slab = Slab::default();
        let rows: Vec<u32> = (0..100_000).map(|row| slab.insert(row)).collect();
        for row in rows.iter().filter(|row| **row != 30).rev() {
            slab.remove(*row);
        }
        assert!(slab.len() < 5_000 && slab.rows.capacity() < 10_000, "{}", slab.len());
        assert_eq!((slab.get(30), slab.get(99_999)), (Some(&30), None));
        // From the front on the last stays where it is, and all before it is used again.
        let mut slab = Slab::default();
        let rows: Vec<u32> = (0..100_000).map(|row| slab.insert(row)).collect();
        for row in &rows[..99_998] {
            slab.remove(*row);
        }
        assert_eq!((slab.insert(7), slab.get(99_999)), (0, Some(&99_999)));
        let newcomers: Vec<u32> = (0..20).map(|row| slab.insert(row)).collect();
        slab.remove(99_999);
        slab.remove(99_998);
        assert!(slab.rows.capacity() < 10_000, "with those who came meanwhile still there");
        assert_eq!(slab.get(newcomers[19]), Some(&19));
    }

    #[test]
    fn a_freed_number_is_used_again() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.insert('c'), a);
        assert_eq!((slab.get(a), slab.get(b)), (Some(&'c'), Some(&'b')));
        assert_eq!(slab.len(), 2);
    }
}
