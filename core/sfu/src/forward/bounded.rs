//! A short list on the stack: the first so many of what was added to it.

/// The first `N` items that were added; the rest is dropped.
pub(super) struct Bounded<T, const N: usize> {
    items: [T; N],
    len: usize,
}

impl<T: Copy, const N: usize> Bounded<T, N> {
    /// Empty; `vacant` stands in the places that are not taken.
    pub(super) const fn of(vacant: T) -> Self {
        Self { items: [vacant; N], len: 0 }
    }

    pub(super) fn add(&mut self, item: T) {
        if let Some(place) = self.items.get_mut(self.len) {
            *place = item;
            self.len += 1;
        }
    }

    pub(super) fn items(&self) -> &[T] {
        self.items.get(..self.len).unwrap_or_default()
    }
}

impl<T: Copy + Default, const N: usize> Default for Bounded<T, N> {
    fn default() -> Self {
        Self::of(T::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_in_order_and_the_rest_is_dropped() {
        let mut bounded = Bounded::<_, 2>::default();
        assert!(bounded.items().is_empty());
        [7, 8, 9].into_iter().for_each(|item| bounded.add(item));
        assert_eq!(bounded.items(), [7, 8]);
    }
}
