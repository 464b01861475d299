//! One identity's presence in one room: state, profile, permission, and what it wants to receive.
//!
//! Owns: [`Participant`] and the records that it is built from. A participant has one peer for life and
//! is named by it inside the process; clients name it by its sid.
//! Not here: what a change of it causes (`control`), LiveKit's message about it (`edge`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use model::{
    Alias, Identity, Impersonal, ParticipantSid, PeerId, RoomId, RoomName, SubscriptionId,
    Timestamp, TrackId, TrackKind, TrackSource,
};

use super::allowance::Allowance;
use super::quality::Score;
use super::room::RoomSettings;
use super::subscription::{Settings, Want};

/// Whether somebody has been let in before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coming {
    /// For all that is known it has not.
    New,
    /// It comes back, and is not refused because the workers are busy: it was part of what they had to do.
    Returning,
}

/// Who wants in, and with what rights. Verified by the caller.
#[derive(Clone, Debug)]
pub struct Join {
    /// Which room; made if it is not there and `may_create_room` holds.
    pub room: RoomName,
    /// Who. A participant of the same identity in that room is removed.
    pub identity: Identity,
    /// What stands for that where others name it.
    pub alias: Alias,
    /// How it presents itself.
    pub profile: Profile,
    /// What it may do.
    pub permission: Permission,
    /// Whether others learn of it.
    pub visibility: Visibility,
    /// Receives every track without asking.
    pub auto_subscribe: bool,
    /// The client says what it shows; until it does, the smallest layer is enough.
    pub adaptive_stream: bool,
    /// The token or the configuration lets this join make the room.
    pub may_create_room: bool,
    /// Whether it has been let in before.
    pub coming: Coming,
    /// How the room is to be, if it is made by this join.
    pub room_settings: RoomSettings,
}

/// Whether others learn of a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// They do.
    Visible,
    /// Nobody is told of it, and nobody receives its tracks; what it is to see others are asked to send.
    Hidden,
}

/// How a participant presents itself. Never printed: it identifies a person.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// Display name, at most [`crate::limits::NAME_MAX`] bytes.
    pub name: String,
    /// The application's, opaque, at most [`crate::limits::METADATA_MAX`] bytes.
    pub metadata: String,
    /// The application's, at most [`crate::limits::ATTRIBUTES_MAX`] bytes together.
    pub attributes: BTreeMap<String, String>,
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Profile(…)")
    }
}

impl Profile {
    /// The profile with `change` applied; `None` when it would exceed a limit.
    pub(super) fn with(&self, change: ProfileChange) -> Option<Self> {
        let mut profile = self.clone();
        if let Some(name) = change.name {
            profile.name = name;
        }
        if let Some(metadata) = change.metadata {
            profile.metadata = metadata;
        }
        for (key, value) in change.attributes {
            if value.is_empty() {
                profile.attributes.remove(&key);
            } else {
                profile.attributes.insert(key, value);
            }
        }
        profile.is_within_limits().then_some(profile)
    }

    pub(super) fn is_within_limits(&self) -> bool {
        let attributes: usize = self.attributes.iter().map(|(k, v)| k.len() + v.len()).sum();
        self.name.len() <= crate::limits::NAME_MAX
            && self.metadata.len() <= crate::limits::METADATA_MAX
            && attributes <= crate::limits::ATTRIBUTES_MAX
    }
}

/// What of a profile changes. Never printed.
#[derive(Clone, Default)]
pub struct ProfileChange {
    /// A new name.
    pub name: Option<String>,
    /// New metadata.
    pub metadata: Option<String>,
    /// Attributes to set; an empty value removes one.
    pub attributes: BTreeMap<String, String>,
}

impl fmt::Debug for ProfileChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProfileChange(…)")
    }
}

/// What a participant may do. On the wire: `ParticipantPermission`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// Receive others' tracks.
    pub subscribe: bool,
    /// Publish tracks.
    pub publish: Sources,
    /// Send data packets.
    pub publish_data: bool,
    /// Change its own profile.
    pub update_profile: bool,
}

/// Sources of which tracks may be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// None.
    None,
    /// These.
    Only(BTreeSet<TrackSource>),
    /// All.
    Any,
}

impl Sources {
    /// Whether a track of `kind` from `source` may be published. Sound that calls itself a camera may be
    /// published by those alone who may publish anything.
    #[must_use]
    pub fn allow(&self, kind: TrackKind, source: TrackSource) -> bool {
        match self {
            Self::None => false,
            Self::Only(sources) => {
                sources.contains(&source) && source.kind().is_none_or(|its| its == kind)
            }
            Self::Any => true,
        }
    }
}

/// Where a participant stands. On the wire: `ParticipantInfo.State`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Admitted, no offer seen.
    Joining,
    /// Its offer was taken.
    Joined,
    /// Its peer is connected.
    Active,
}

/// Why a participant is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepartureReason {
    /// It said so.
    Left,
    /// Its identity joined again.
    Duplicate,
    /// Its peer did not connect in time.
    JoinTimeout,
    /// Its peer failed.
    PeerLost,
    /// Its session and ours disagree: it must join afresh.
    Mismatch,
    /// The network put it out.
    Removed,
    /// The network closed its room.
    RoomDeleted,
    /// Its right to be there has ended.
    Expired,
    /// Its right to be there was revoked.
    Revoked,
    /// The node stops.
    Shutdown,
}

/// As the log has it.
impl fmt::Display for DepartureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Impersonal for DepartureReason {}

/// One identity's presence in one room.
#[derive(Debug)]
pub struct Participant {
    /// Its peer, and its name in this process.
    pub peer: PeerId,
    /// Where.
    pub room: RoomId,
    /// Its name for clients.
    pub sid: ParticipantSid,
    /// Who.
    pub identity: Identity,
    /// Where it stands.
    pub state: State,
    /// Grows with every change that others can see; clients ignore what is older.
    pub version: u32,
    /// How it presents itself.
    pub profile: Profile,
    /// What it may do now.
    pub permission: Permission,
    /// Whether others learn of it.
    pub visibility: Visibility,
    /// Its publications, pending ones included, oldest first.
    pub tracks: BTreeSet<TrackId>,
    /// What it receives or waits to receive.
    pub subscriptions: BTreeMap<TrackId, SubscriptionId>,
    /// Something that it should receive may have been left out: these were [`crate::limits::SUBSCRIPTIONS_MAX`].
    pub(super) is_full: bool,
    /// Its last measured connection.
    pub(super) score: Option<Score>,
    /// It receives every track of which nothing else was said.
    pub auto_subscribe: bool,
    pub(super) adaptive_stream: bool,
    /// Tracks that it said it wants or does not want; entries go with their tracks.
    pub(super) wishes: BTreeMap<TrackId, bool>,
    /// Of these, those that the network decided.
    pub(super) decided: BTreeSet<TrackId>,
    /// What it said about tracks; entries go with their tracks.
    pub(super) settings: BTreeMap<TrackId, Settings>,
    pub(super) allowance: Allowance,
    /// Tracks of others that it was told it may not receive, whatever it was told since; entries go with their tracks.
    pub(super) kept_out: BTreeSet<TrackId>,
    pub(super) alias: Alias,
    /// When it must be active.
    pub(super) join_deadline: Timestamp,
}

impl Participant {
    /// Whether others learn of it.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        self.visibility == Visibility::Visible
    }

    /// Tracks of which it said otherwise than holds for all, and for which nobody decided since.
    pub fn exceptions(&self) -> impl Iterator<Item = TrackId> {
        let said = self.wishes.iter().filter(|(track, wanted)| {
            **wanted != self.auto_subscribe && !self.decided.contains(track)
        });
        said.map(|(track, _)| *track)
    }

    /// Tracks of which it said that it has no use for their media for now.
    pub fn disabled(&self) -> impl Iterator<Item = TrackId> {
        let all = self.settings.iter().filter(|(_, settings)| settings.want == Want::Nothing);
        all.map(|(track, _)| *track)
    }

    /// Whether it wants `track`, as far as it has a say.
    pub(super) fn wishes(&self, track: TrackId) -> bool {
        self.wishes.get(&track).copied().unwrap_or(self.auto_subscribe)
    }

    /// Its settings for `track`, or what holds without any.
    pub(super) fn settings(&self, track: TrackId) -> Settings {
        let unsaid = if self.adaptive_stream { Settings::SMALLEST } else { Settings::LARGEST };
        self.settings.get(&track).copied().unwrap_or(unsaid)
    }
}
