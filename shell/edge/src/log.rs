//! The log: what may stand in a line, and how a person or a room is called there.
//!
//! Owns: the one macro by which this process logs; pseudonyms.
//! Guarantees: a line takes [`Loggable`] values alone; a person or a room stands in it as a pseudonym that nobody can
//! turn back, that is the same for a day, and that cannot be linked to those of another day or process.
//! Not here: where lines go and how they look (`bin/incamera`).

use std::fmt;

use model::{ALIAS_LEN, Alias, Classified, DataClass, Loggable, RoomId, Scalar};
use ring::hmac;
use tracing::field::DisplayValue;
use wire::rinse;

#[doc(hidden)]
pub use tracing;

/// Writes a line: a level, what happened, and classified values by name.
///
/// ```
/// # use model::{LogData, PeerId, WorkerId};
/// let peer = PeerId { worker: WorkerId(0), index: 7 };
/// edge::log!(INFO, "a participant left", peer = peer, waiting = LogData(3));
/// ```
///
/// What is a person's does not build, nor does a value of which nobody has said what it is:
///
/// ```compile_fail
/// edge::log!(INFO, "a participant left", identity = model::Identity::new("ada"));
/// ```
///
/// ```compile_fail
/// edge::log!(INFO, "a participant left", name = "ada");
/// ```
///
/// Nor does what is said to be the server's own and is of a type that may be anybody's:
///
/// ```compile_fail
/// # use model::LogData;
/// let metadata = String::new();
/// edge::log!(INFO, "a participant left", metadata = LogData(&metadata));
/// ```
///
/// ```compile_fail
/// # use model::LogData;
/// fn log_name(name: &str) {
///     edge::log!(INFO, "a participant left", name = LogData(name));
/// }
/// ```
///
/// ```compile_fail
/// # use model::LogData;
/// let from = std::net::SocketAddr::from(([192, 0, 2, 7], 5000));
/// edge::log!(INFO, "a participant left", from = LogData(from));
/// ```
#[macro_export]
macro_rules! log {
    ($level:ident, $message:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::log::tracing::event!(
            $crate::log::tracing::Level::$level,
            $($name = $crate::log::Line::of(&$value).value(),)*
            $message
        )
    };
}

/// A value as it stands in a line.
#[doc(hidden)]
#[derive(Debug)]
pub struct Line<'a, T: Loggable> {
    scalar: Option<Scalar>,
    text: DisplayValue<Text<'a, T>>,
}

impl<'a, T: Loggable> Line<'a, T> {
    pub fn of(value: &'a T) -> Self {
        const { assert!(T::CLASS.may_be_logged(), "only Public and Log stand in the log") };
        Self { scalar: value.scalar(), text: tracing::field::display(Text(value)) }
    }

    pub fn value(&self) -> &dyn tracing::Value {
        match &self.scalar {
            Some(Scalar::Bool(value)) => value,
            Some(Scalar::Unsigned(value)) => value,
            Some(Scalar::Signed(value)) => value,
            None => &self.text,
        }
    }
}

#[doc(hidden)]
#[derive(Debug)]
pub struct Text<'a, T>(pub(crate) &'a T);

impl<T: Loggable> fmt::Display for Text<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f)
    }
}

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Bytes of a pseudonym: that no two of a day's names share one, though there be billions.
const PSEUDONYM_LEN: usize = ALIAS_LEN;

/// Calls people and rooms by other names.
#[derive(Debug)]
pub(crate) struct Pseudonyms {
    key: hmac::Key,
    /// Since 1970.
    day: u64,
}

/// What a name is of: the same text is called differently as another kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Identity,
    Room,
    /// The number of one that is open: two of a name are two. It is the same for days, as the room may be.
    OpenRoom,
}

/// What a person or a room is called in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pseudonym([u8; PSEUDONYM_LEN]);

impl Pseudonyms {
    /// `random` is secret and fresh.
    pub(crate) fn new(unix_ms: u64, random: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, random), day: unix_ms / DAY_MS }
    }

    /// Whether the key has had its day, and is to be replaced.
    pub(crate) const fn is_stale(&self, unix_ms: u64) -> bool {
        self.day != unix_ms / DAY_MS
    }

    /// As a core keeps it.
    pub(crate) fn alias(&self, identity: &str) -> Alias {
        Alias(self.of(Kind::Identity, identity).0)
    }

    pub(crate) fn of_open(&self, room: RoomId) -> Pseudonym {
        self.of(Kind::OpenRoom, &room.0.to_string())
    }

    pub(crate) fn of(&self, kind: Kind, name: &str) -> Pseudonym {
        let kind: &[u8] = match kind {
            Kind::Identity => b"identity\0",
            Kind::Room => b"room\0",
            Kind::OpenRoom => b"open room\0",
        };
        let tag = rinse::sign(&self.key, &[kind, name.as_bytes()]);
        let mut bytes = [0; PSEUDONYM_LEN];
        for (to, from) in bytes.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Pseudonym(bytes)
    }
}

impl Classified for Pseudonym {
    const CLASS: DataClass = DataClass::Log;
}

impl Loggable for Pseudonym {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 20_000 * DAY_MS + DAY_MS / 2;

    fn written(pseudonym: Pseudonym) -> String {
        Text(&pseudonym).to_string()
    }

    #[test]
    fn a_name_is_called_the_same_for_a_day_and_otherwise_on_the_next() {
        let today = Pseudonyms::new(NOON, &[1; 32]);
        let ada = written(today.of(Kind::Identity, "ada"));
        assert_eq!(ada.len(), 24);
        assert_eq!(ada, written(today.of(Kind::Identity, "ada")));
        assert_ne!(ada, written(today.of(Kind::Identity, "ben")));
        assert_ne!(ada, written(today.of(Kind::Room, "ada")));
        assert!(!today.is_stale(NOON + DAY_MS / 2 - 1));
        assert!(today.is_stale(NOON + DAY_MS / 2));
        let tomorrow = Pseudonyms::new(NOON + DAY_MS, &[2; 32]);
        assert_ne!(ada, written(tomorrow.of(Kind::Identity, "ada")));
    }

    #[test]
    fn a_pseudonym_is_the_start_of_a_keyed_digest() {
        // By OpenSSL: printf 'identity\0ada' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0101…01
        let expect = "49237b6f0dbf26b2cf2a5af4";
        assert_eq!(written(Pseudonyms::new(NOON, &[1; 32]).of(Kind::Identity, "ada")), expect);
    }
}
