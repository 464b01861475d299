//! Names: those that people and clients use, and the numbers that workers use.

use std::fmt;

/// Characters of a sid after its prefix.
const SID_LEN: usize = 12;
const SID_ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What stands for an identity where others have named it, so that the name itself is kept with its session alone: a
/// digest under a key of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alias(pub [u8; ALIAS_LEN]);

/// That no two identities share one, however many are named.
pub const ALIAS_LEN: usize = 12;

/// A server-made id: a prefix that says of what, then 12 characters of base 62.
///
/// Source: LiveKit `protocol/utils/guid/id.go`; clients check the prefixes.
pub trait Sid: Sized {
    /// Makes an id from 12 random bytes. The slight bias of the remainder is of no consequence.
    fn from_entropy(entropy: [u8; SID_LEN]) -> Self;
    /// The id as clients see it.
    fn as_str(&self) -> &str;
}

fn sid(prefix: &str, entropy: [u8; SID_LEN]) -> Box<str> {
    let mut text = String::with_capacity(prefix.len() + SID_LEN);
    text.push_str(prefix);
    for byte in entropy {
        let letter =
            SID_ALPHABET.get(usize::from(byte) % SID_ALPHABET.len()).copied().unwrap_or(b'0');
        text.push(char::from(letter));
    }
    text.into_boxed_str()
}

macro_rules! sid {
    ($(#[$doc:meta])* $name:ident, $prefix:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl Sid for $name {
            fn from_entropy(entropy: [u8; SID_LEN]) -> Self {
                Self(sid($prefix, entropy))
            }
            fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl $name {
            /// An id that a client sent back; whether it exists is for the caller to find out.
            #[must_use]
            pub fn from_wire(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

sid!(
    /// A room while it lives: `RM_…`.
    RoomSid,
    "RM_"
);
sid!(
    /// One participant's presence: `PA_…`.
    ParticipantSid,
    "PA_"
);
sid!(
    /// A publication: `TR_…`, then the kind's and the source's letter, then the rest.
    TrackSid,
    "TR_"
);

impl TrackSid {
    /// `TR_` + kind and source letters + random part: `TR_AM…` is a microphone.
    #[must_use]
    pub fn for_track(
        kind: crate::TrackKind,
        source: crate::TrackSource,
        entropy: [u8; SID_LEN],
    ) -> Self {
        let kind = match kind {
            crate::TrackKind::Audio => 'A',
            crate::TrackKind::Video => 'V',
        };
        let source = match source {
            crate::TrackSource::Camera => "C",
            crate::TrackSource::Microphone => "M",
            crate::TrackSource::ScreenShare => "S",
            crate::TrackSource::ScreenShareAudio => "s",
            crate::TrackSource::Unknown => "",
        };
        Self(sid(&format!("TR_{kind}{source}"), entropy))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Takes the text as it is; bounds are checked where it entered (`wire`).
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(text.into())
            }

            /// The text, for the wire.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            /// Prints the type alone: the name may identify a person.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

name!(
    /// The stable name that a token gives a person or robot.
    Identity
);
name!(
    /// The name of a room.
    RoomName
);

/// A media worker: one thread with its own socket, peers and arenas. Small and dense from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u8);

/// One peer in this process, never used twice. Its worker is part of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    /// The worker that owns the peer for life.
    pub worker: WorkerId,
    /// Counts up over all workers.
    pub index: u32,
}

/// One room in this process, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId(pub u32);

/// One publication in this process, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u32);

/// One subscription in this process, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_carry_the_prefix_that_clients_check() {
        assert_eq!(RoomSid::from_entropy([0; 12]).as_str(), "RM_000000000000");
        assert_eq!(ParticipantSid::from_entropy([61; 12]).as_str(), "PA_zzzzzzzzzzzz");
        let track =
            TrackSid::for_track(crate::TrackKind::Audio, crate::TrackSource::Microphone, [10; 12]);
        assert_eq!(track.as_str(), "TR_AMAAAAAAAAAAAA");
    }

    #[test]
    fn names_of_people_do_not_print() {
        assert_eq!(format!("{:?}", Identity::new("alice")), "Identity(…)");
    }
}
