//! A value that must not be printed.

/// Wraps what must never reach a log: it has no `Debug`, no `Display` and no `Serialize`.
///
/// Reading it takes a call that can be searched for.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "what is sensitive does not print")]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one use that needs it.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Unwraps it.
    pub fn into_inner(self) -> T {
        self.0
    }
}
