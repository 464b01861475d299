//! A table whose rows are found by a number that is used again after removal.

/// A full table grows by a fourth: rows are large, and doubling would leave half of them empty.
const GROWTH: usize = 4;

/// Rows of `T`. A row's number is valid from `insert` until `remove`.
#[derive(Debug)]
pub(super) struct Slab<T> {
    rows: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, row: T) -> u32 {
        if let Some(at) = self.free.pop() {
            if let Some(place) = self.rows.get_mut(at as usize) {
                *place = Some(row);
            }
            return at;
        }
        if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact((self.rows.len() / GROWTH).max(GROWTH));
        }
        self.rows.push(Some(row));
        u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX)
    }

    /// What the row holds by value stays where it was until another takes its place.
    pub(super) fn remove(&mut self, at: u32) -> Option<T> {
        let row = self.rows.get_mut(at as usize)?.take()?;
        self.free.push(at);
        Some(row)
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
