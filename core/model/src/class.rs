//! The classes of data: what a value is about, and so who may see it, where it may be kept and whether it may
//! stand in a log.
//!
//! Guarantees: what may not be logged has no way into a log: only [`Loggable`] values have one, and of what is
//! a person's or secret nothing is `Loggable`.
//! Not here: the class of each field on the wire (`wire::classes`), writing a log (`edge::log`).

use std::borrow::Borrow;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU8;

/// What a value is about. Each is protected at least as well as those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataClass {
    /// Everybody may know it: a version, a protocol number, the server's own names, which its certificate shows.
    Public,
    /// What the server says of its own work: counts, times, reasons, ids that it made, also where they are sent back.
    Log,
    /// About an end user, a device or a network, or written by one: names, identities, metadata, attributes,
    /// addresses, how good a connection is, and every other text that a client chooses.
    EndUser,
    /// About the customer: its projects and contact, storage places, addresses of other services.
    Account,
    /// What is said in a call: sound, picture, chat, data.
    CallContent,
    /// What opens something: tokens, keys, passwords.
    Credential,
}

impl DataClass {
    /// Every class, the least protected first.
    pub const ALL: [Self; 6] = [
        Self::Public,
        Self::Log,
        Self::EndUser,
        Self::Account,
        Self::CallContent,
        Self::Credential,
    ];

    /// Whether a value of this class may stand in a log as it is.
    #[must_use]
    pub const fn may_be_logged(self) -> bool {
        match self {
            Self::Public | Self::Log => true,
            Self::EndUser | Self::Account | Self::CallContent | Self::Credential => false,
        }
    }

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "Public",
            Self::Log => "Log",
            Self::EndUser => "End User Data",
            Self::Account => "Customer Account Data",
            Self::CallContent => "Call Content",
            Self::Credential => "Credential",
        }
    }
}

/// A type all of whose values are of one class.
pub trait Classified {
    /// The class.
    const CLASS: DataClass;
}

/// A value that may stand in a log.
///
/// Not for primitive types: a number may be anything until somebody says that it is [`LogData`].
pub trait Loggable: Classified {
    /// Writes it as it stands in the log.
    ///
    /// # Errors
    /// Those of the formatter.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// The same, where it is a number or a truth value: logs that programs read do not quote it.
    fn scalar(&self) -> Option<Scalar> {
        None
    }
}

/// A value that logs which programs read do not quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// Not below zero.
    Unsigned(u64),
    /// May be below zero.
    Signed(i64),
}

/// A type no value of which says anything of a person: numbers, words of the program's own, errors, which never say
/// what was refused.
///
/// Implemented where the type is, by whoever knows all of its values; never for a text that is made while the program
/// runs, nor for an address.
pub trait Impersonal: fmt::Display {
    /// See [`Loggable::scalar`].
    fn scalar(&self) -> Option<Scalar> {
        None
    }
}

macro_rules! impersonal {
    ($($kind:ty => $scalar:expr),*) => {$(
        impl Impersonal for $kind {
            fn scalar(&self) -> Option<Scalar> {
                let scalar: fn($kind) -> Scalar = $scalar;
                Some(scalar(*self))
            }
        }
    )*};
}

impersonal!(
    bool => Scalar::Bool,
    u8 => |it| Scalar::Unsigned(it.into()),
    u16 => |it| Scalar::Unsigned(it.into()),
    u32 => |it| Scalar::Unsigned(it.into()),
    u64 => Scalar::Unsigned,
    usize => |it| Scalar::Unsigned(it as u64),
    i32 => |it| Scalar::Signed(it.into()),
    i64 => Scalar::Signed,
    NonZeroU8 => |it| Scalar::Unsigned(it.get().into())
);

impl Impersonal for &'static str {}

impl<T: Impersonal> Impersonal for &T {
    fn scalar(&self) -> Option<Scalar> {
        T::scalar(self)
    }
}

/// Something that the server may say of its own work: a count, a time, an error.
#[derive(Clone, Copy, Debug)]
pub struct LogData<T>(pub T);

/// An address that the server listens at.
#[derive(Clone, Copy, Debug)]
pub struct ListenAddress(pub SocketAddr);

/// Words of the machine that the server runs on: its operator's, as paths and what is wrong with settings, and its
/// system's. Whoever wraps a text vouches that no client and no back end has a word in it.
#[derive(Clone, Copy, Debug)]
pub struct LocalText<T>(pub T);

impl<T> Classified for LogData<T> {
    const CLASS: DataClass = DataClass::Log;
}

impl<T: Impersonal> Loggable for LogData<T> {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }

    fn scalar(&self) -> Option<Scalar> {
        self.0.scalar()
    }
}

impl Classified for ListenAddress {
    const CLASS: DataClass = DataClass::Log;
}

impl Loggable for ListenAddress {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<T> Classified for LocalText<T> {
    const CLASS: DataClass = DataClass::Log;
}

impl<T: fmt::Display> Loggable for LocalText<T> {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a person said or showed. It has no `Debug`, no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "what is said in a call does not print")]
pub struct CallContent<T>(T);

impl<T> CallContent<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for those whom it is for.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// Unwraps it.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> From<T> for CallContent<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T> Classified for CallContent<T> {
    const CLASS: DataClass = DataClass::CallContent;
}

/// What says who the customer is, or where: a project's name, a contact address. `Debug` shows none of it, and it has
/// no `Display` and no `Serialize`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountData<T>(T);

impl<T> AccountData<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the one use that needs it.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> Classified for AccountData<T> {
    const CLASS: DataClass = DataClass::Account;
}

impl<T> fmt::Debug for AccountData<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccountData(…)")
    }
}

/// A map of projects is asked by the name that a token claims.
impl Borrow<str> for AccountData<Box<str>> {
    fn borrow(&self) -> &str {
        &self.0
    }
}

macro_rules! log_number {
    ($($id:ty),*) => {$(
        impl Classified for $id {
            const CLASS: DataClass = DataClass::Log;
        }

        impl Loggable for $id {
            fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }

            fn scalar(&self) -> Option<Scalar> {
                self.0.scalar()
            }
        }
    )*};
}

log_number!(crate::WorkerId, crate::RoomId, crate::TrackId, crate::SubscriptionId);

impl Classified for crate::PeerId {
    const CLASS: DataClass = DataClass::Log;
}

/// As `worker/index`.
impl Loggable for crate::PeerId {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.worker.0, self.index)
    }
}

impl Classified for crate::Identity {
    const CLASS: DataClass = DataClass::EndUser;
}

impl Classified for crate::RoomName {
    const CLASS: DataClass = DataClass::EndUser;
}

impl<T> Classified for crate::Sensitive<T> {
    const CLASS: DataClass = DataClass::Credential;
}
