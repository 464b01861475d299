//! What happened, in order, as one number; and as text for whoever looks for a difference.

use std::fmt::{self, Write as _};

use model::Timestamp;

/// FNV-1a over every line of a run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    lines: u64,
    text: Option<String>,
}

struct Hasher<'a>(&'a mut Trace);

impl fmt::Write for Hasher<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.hash = hash_on(self.0.hash, text.as_bytes());
        if let Some(kept) = &mut self.0.text {
            kept.push_str(text);
        }
        Ok(())
    }
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

fn hash_on(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A number for some bytes.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    hash_on(START, bytes)
}

impl Trace {
    pub(crate) fn new(keeps_text: bool) -> Self {
        Self { hash: START, lines: 0, text: keeps_text.then(String::new) }
    }

    pub(crate) fn note(&mut self, now: Timestamp, what: fmt::Arguments<'_>) {
        self.lines += 1;
        writeln!(Hasher(self), "{} {what}", now.as_micros()).expect("a hash takes everything");
    }

    /// The number of the whole run.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// Lines so far.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// The lines, if they were kept.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }
}
