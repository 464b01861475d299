//! The words of the field: ids, units, time, tracks and layers.
//!
//! Owns: the newtypes that every other crate speaks in. Imports nothing.
//! Not here: anything that is LiveKit's (`wire`), RTP's (`rtp`) or a decision (`sfu`, `policy`).
#![forbid(unsafe_code)]

mod class;
mod extension;
mod id;
mod path;
mod rate;
mod ration;
mod sensitive;
mod share;
mod time;
mod track;

pub use class::{
    AccountData, CallContent, Classified, DataClass, Impersonal, ListenAddress, LocalText, LogData,
    Loggable, Scalar,
};
pub use extension::ExtensionKind;
pub use id::{
    ALIAS_LEN, Alias, Identity, ParticipantSid, PeerId, RoomId, RoomName, RoomSid, Sid,
    SubscriptionId, TrackId, TrackSid, WorkerId,
};
pub use path::{Carrier, Path};
pub use rate::DataRate;
pub use ration::Ration;
pub use sensitive::Sensitive;
pub use share::{NoShare, Share};
pub use time::Timestamp;
pub use track::{Codec, Encryption, Layer, Quality, TrackKind, TrackSource};
