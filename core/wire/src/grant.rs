//! What a token grants, and what its holder may do because of it.
//!
//! Owns: LiveKit's grants as tokens carry them; [`Permission`], in which every option is decided.
//! Guarantees: an option that is absent gets LiveKit's default; a source nobody knows grants nothing.
//! Not here: the rest of a token (`claims`), what operators change later (`sfu`).
//! Source: LiveKit `protocol/auth/grants.go`.

use std::collections::BTreeSet;

use model::{TrackKind, TrackSource};
use serde::{Deserialize, Serialize};

use crate::claims::null_is_absent;
use crate::{convert, proto};

/// The rights that concern rooms. Absent options differ from `false`: see [`Self::permission`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names are LiveKit's and say it")]
#[expect(clippy::struct_excessive_bools, reason = "the wire has them")]
pub struct VideoGrant {
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub room_create: bool,
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub room_list: bool,
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub room_record: bool,
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub room_admin: bool,
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub room_join: bool,
    /// The room that `room_join` and `room_admin` are for.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "String::is_empty")]
    pub room: String,
    /// The room that the participant may be forwarded or moved to.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "String::is_empty")]
    pub destination_room: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_publish_data: Option<bool>,
    /// Sources in LiveKit's lower case; empty is the same as absent.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "Vec::is_empty")]
    pub can_publish_sources: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_update_own_metadata: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_subscribe_metrics: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_manage_agent_session: Option<bool>,
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub ingress_admin: bool,
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub hidden: bool,
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub recorder: bool,
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub agent: bool,
}

/// The rights that concern telephony.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SipGrant {
    /// To manage trunks and rules.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub admin: bool,
    /// To call out.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub call: bool,
}

/// The rights that concern agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "the names are LiveKit's and say it")]
#[expect(clippy::struct_excessive_bools, reason = "the wire has them")]
pub struct AgentGrant {
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub admin: bool,
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub simulation_admin: bool,
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub database_admin: bool,
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub dispatch_admin: bool,
}

/// The right to use models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InferenceGrant {
    /// To use them.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub perform: bool,
}

/// The right to report measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObservabilityGrant {
    /// To report them.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "is_false")]
    pub write: bool,
}

/// Which tracks a participant may publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// None.
    Nothing,
    /// Those from these sources. Never empty.
    Only(BTreeSet<TrackSource>),
    /// All.
    Anything,
}

/// When rights end, in Unix time: at the first second at which they are gone, in a call as at the door. A
/// right without an end lasts as long as the call; LiveKit's tokens say no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// To be in the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub join: Option<u64>,
    /// To publish sound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<u64>,
    /// To publish pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<u64>,
    /// To send data packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<u64>,
}

impl Ends {
    /// What is left of `permission` at the second `now`; nothing once the right to be there is gone.
    #[must_use]
    pub fn apply(&self, mut permission: Permission, now: u64) -> Option<Permission> {
        let has_ended = |end: Option<u64>| end.is_some_and(|end| end <= now);
        if has_ended(self.join) {
            return None;
        }
        if has_ended(self.audio) {
            permission.publish = permission.publish.without(TrackKind::Audio);
        }
        if has_ended(self.video) {
            permission.publish = permission.publish.without(TrackKind::Video);
        }
        permission.publish_data &= !has_ended(self.data);
        Some(permission)
    }

    /// The next second at which [`Self::apply`] gives less than at `now`.
    #[must_use]
    pub fn next(&self, now: u64) -> Option<u64> {
        let all = [self.join, self.audio, self.video, self.data];
        all.into_iter().flatten().filter(|end| *end > now).min()
    }
}

impl Publish {
    /// What both allow.
    #[must_use]
    pub fn within(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => Self::Nothing,
            (both, Self::Anything) => both,
            (Self::Anything, Self::Only(sources)) => Self::Only(sources.clone()),
            (Self::Only(mine), Self::Only(sources)) => {
                let both: BTreeSet<_> = mine.intersection(sources).copied().collect();
                if both.is_empty() { Self::Nothing } else { Self::Only(both) }
            }
        }
    }

    /// Without tracks of `kind`, and those of which the source is not said.
    #[must_use]
    pub fn without(self, kind: TrackKind) -> Self {
        let sources: BTreeSet<_> = match self {
            Self::Nothing => BTreeSet::new(),
            Self::Only(sources) => sources,
            Self::Anything => BTreeSet::from(TrackSource::ALL),
        };
        let left =
            sources.into_iter().filter(|source| source.kind().is_some_and(|its| its != kind));
        let left: BTreeSet<_> = left.collect();
        if left.is_empty() { Self::Nothing } else { Self::Only(left) }
    }
}

/// What a participant may do now: every option of a grant decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "rights are independent of each other")]
pub struct Permission {
    /// Which tracks it may publish.
    pub publish: Publish,
    /// Whether it may send data packets.
    pub publish_data: bool,
    /// Whether it may receive tracks.
    pub subscribe: bool,
    /// Whether it may receive others' measurements.
    pub subscribe_metrics: bool,
    /// Whether it may change its own name, metadata and attributes.
    pub update_own_metadata: bool,
    /// Whether it may control an agent's session.
    pub manage_agent_session: bool,
    /// Others are not told of it.
    pub hidden: bool,
    /// It records; others are told that the room is being recorded.
    pub recorder: bool,
    /// It is an agent.
    pub agent: bool,
}

impl VideoGrant {
    /// Decides the options: publish and subscribe default to yes, data to whether tracks may be published,
    /// everything else to no.
    #[must_use]
    pub fn permission(&self) -> Permission {
        let can_publish = self.can_publish.unwrap_or(true);
        Permission {
            publish: if can_publish { self.publish() } else { Publish::Nothing },
            publish_data: self.can_publish_data.unwrap_or(can_publish),
            subscribe: self.can_subscribe.unwrap_or(true),
            subscribe_metrics: self.can_subscribe_metrics.unwrap_or(false),
            update_own_metadata: self.can_update_own_metadata.unwrap_or(false),
            manage_agent_session: self.can_manage_agent_session.unwrap_or(false),
            hidden: self.hidden,
            recorder: self.recorder,
            agent: self.agent,
        }
    }

    /// Says of the options what `permission` says, so that [`Self::permission`] gives it back.
    pub fn set_permission(&mut self, permission: &Permission) {
        self.can_publish = Some(permission.publish != Publish::Nothing);
        self.can_publish_sources = match &permission.publish {
            Publish::Nothing | Publish::Anything => Vec::new(),
            Publish::Only(sources) => {
                let names = sources.iter().map(|source| convert::source_to_wire(*source));
                names.map(|source| source.as_str_name().to_ascii_lowercase()).collect()
            }
        };
        self.can_publish_data = Some(permission.publish_data);
        self.can_subscribe = Some(permission.subscribe);
        self.can_subscribe_metrics = Some(permission.subscribe_metrics);
        self.can_update_own_metadata = Some(permission.update_own_metadata);
        self.can_manage_agent_session = Some(permission.manage_agent_session);
        self.hidden = permission.hidden;
        self.recorder = permission.recorder;
        self.agent = permission.agent;
    }

    fn publish(&self) -> Publish {
        if self.can_publish_sources.is_empty() {
            return Publish::Anything;
        }
        let known = self.can_publish_sources.iter().filter_map(|name| convert::source_named(name));
        let sources: BTreeSet<_> = known.collect();
        if sources.is_empty() { Publish::Nothing } else { Publish::Only(sources) }
    }
}

impl Permission {
    /// The rights that both give. What the participant is, a recorder or an agent, stays.
    #[must_use]
    pub fn within(self, other: &Self) -> Self {
        Self {
            publish: self.publish.within(&other.publish),
            publish_data: self.publish_data && other.publish_data,
            subscribe: self.subscribe && other.subscribe,
            subscribe_metrics: self.subscribe_metrics && other.subscribe_metrics,
            update_own_metadata: self.update_own_metadata && other.update_own_metadata,
            manage_agent_session: self.manage_agent_session && other.manage_agent_session,
            hidden: self.hidden && other.hidden,
            ..self
        }
    }
}

impl From<&proto::ParticipantPermission> for Permission {
    /// A source nobody knows grants nothing.
    #[expect(deprecated, reason = "back ends still set `recorder` and `agent`")]
    fn from(wire: &proto::ParticipantPermission) -> Self {
        let known = wire.can_publish_sources.iter();
        let known = known.filter_map(|number| proto::TrackSource::try_from(*number).ok());
        let sources: BTreeSet<_> =
            known.map(|source| convert::source_from_wire(source.into())).collect();
        let publish = if wire.can_publish && wire.can_publish_sources.is_empty() {
            Publish::Anything
        } else if wire.can_publish && !sources.is_empty() {
            Publish::Only(sources)
        } else {
            Publish::Nothing
        };
        Self {
            publish,
            publish_data: wire.can_publish_data,
            subscribe: wire.can_subscribe,
            subscribe_metrics: wire.can_subscribe_metrics,
            update_own_metadata: wire.can_update_metadata,
            manage_agent_session: wire.can_manage_agent_session,
            hidden: wire.hidden,
            recorder: wire.recorder,
            agent: wire.agent,
        }
    }
}

impl From<&Permission> for proto::ParticipantPermission {
    #[expect(deprecated, reason = "older clients read `recorder` and `agent`")]
    fn from(permission: &Permission) -> Self {
        let can_publish_sources = match &permission.publish {
            Publish::Nothing | Publish::Anything => Vec::new(),
            Publish::Only(sources) => {
                sources.iter().map(|source| convert::source_to_wire(*source).into()).collect()
            }
        };
        Self {
            can_subscribe: permission.subscribe,
            can_publish: permission.publish != Publish::Nothing,
            can_publish_data: permission.publish_data,
            can_publish_sources,
            hidden: permission.hidden,
            recorder: permission.recorder,
            can_update_metadata: permission.update_own_metadata,
            agent: permission.agent,
            can_subscribe_metrics: permission.subscribe_metrics,
            can_manage_agent_session: permission.manage_agent_session,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(json: &str) -> VideoGrant {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn an_empty_grant_publishes_and_subscribes_and_nothing_else() {
        let permission = grant("{}").permission();
        assert_eq!(
            permission,
            Permission {
                publish: Publish::Anything,
                publish_data: true,
                subscribe: true,
                subscribe_metrics: false,
                update_own_metadata: false,
                manage_agent_session: false,
                hidden: false,
                recorder: false,
                agent: false,
            }
        );
    }

    #[test]
    fn data_follows_publish_unless_it_is_said() {
        let check = |json: &str, publish: Publish, data: bool| {
            let permission = grant(json).permission();
            assert_eq!((permission.publish, permission.publish_data), (publish, data), "{json}");
        };
        check(r#"{"canPublish":false}"#, Publish::Nothing, false);
        check(r#"{"canPublish":false,"canPublishData":true}"#, Publish::Nothing, true);
        check(r#"{"canPublish":true,"canPublishData":false}"#, Publish::Anything, false);
        check(r#"{"canPublish":null,"canPublishData":null}"#, Publish::Anything, true);
    }

    #[test]
    fn sources_narrow_what_may_be_published() {
        let only = grant(r#"{"canPublishSources":["camera","SCREEN_SHARE","nonsense"]}"#);
        let permission = only.permission();
        assert_eq!(permission.publish, Publish::Only([TrackSource::Camera].into()));
        let wire = proto::ParticipantPermission::from(&permission);
        assert!(wire.can_publish);
        assert_eq!(wire.can_publish_sources, vec![i32::from(proto::TrackSource::Camera)]);
    }

    #[test]
    fn sources_that_nobody_knows_grant_nothing_and_do_not_read_as_everything() {
        let permission = grant(r#"{"canPublishSources":["nonsense"]}"#).permission();
        assert_eq!(permission.publish, Publish::Nothing);
        assert!(!proto::ParticipantPermission::from(&permission).can_publish);
        let never = grant(r#"{"canPublish":false,"canPublishSources":["camera"]}"#).permission();
        assert_eq!(never.publish, Publish::Nothing);
    }

    #[test]
    fn what_two_permissions_allow_is_no_more_than_either() {
        let only = |sources: &[TrackSource]| Publish::Only(sources.iter().copied().collect());
        let (camera, microphone) = (TrackSource::Camera, TrackSource::Microphone);
        for (one, other, both) in [
            (Publish::Anything, Publish::Anything, Publish::Anything),
            (Publish::Anything, only(&[camera]), only(&[camera])),
            (only(&[camera, microphone]), only(&[microphone]), only(&[microphone])),
            (only(&[camera]), only(&[microphone]), Publish::Nothing),
            (Publish::Nothing, Publish::Anything, Publish::Nothing),
        ] {
            assert_eq!(one.clone().within(&other), both);
            assert_eq!(other.within(&one), both);
        }
        let all = grant(
            r#"{"canUpdateOwnMetadata":true,"canSubscribeMetrics":true,"canManageAgentSession":true,
                "hidden":true,"recorder":true,"agent":true}"#,
        )
        .permission();
        let none = grant(r#"{"canPublish":false,"canSubscribe":false}"#).permission();
        assert_eq!(all.clone().within(&all), all);
        let left = all.within(&none);
        assert_eq!(left, Permission { recorder: true, agent: true, ..none });
    }

    #[test]
    fn a_permission_survives_the_wire_and_the_grant() {
        let sources = BTreeSet::from([TrackSource::Camera, TrackSource::ScreenShareAudio]);
        for publish in [Publish::Nothing, Publish::Anything, Publish::Only(sources)] {
            for rest in [false, true] {
                let permission = Permission {
                    publish: publish.clone(),
                    publish_data: !rest,
                    subscribe: rest,
                    subscribe_metrics: !rest,
                    update_own_metadata: rest,
                    manage_agent_session: !rest,
                    hidden: rest,
                    recorder: !rest,
                    agent: rest,
                };
                let wire = proto::ParticipantPermission::from(&permission);
                assert_eq!(Permission::from(&wire), permission);
                let mut grant = grant(r#"{"hidden":true,"canPublishSources":["camera"]}"#);
                grant.set_permission(&permission);
                assert_eq!(grant.permission(), permission);
            }
        }
        let odd = proto::ParticipantPermission {
            can_publish: true,
            can_publish_sources: vec![99],
            ..Default::default()
        };
        assert_eq!(Permission::from(&odd).publish, Publish::Nothing);
    }

    #[test]
    fn rights_end_one_by_one_at_their_second() {
        let ends = Ends { join: Some(40), audio: Some(10), video: Some(20), data: Some(30) };
        let at = |now| ends.apply(grant("{}").permission(), now);
        let publish = |now| at(now).unwrap().publish;
        assert_eq!(publish(9), Publish::Anything);
        let pictures = BTreeSet::from([TrackSource::Camera, TrackSource::ScreenShare]);
        assert_eq!(publish(10), Publish::Only(pictures));
        assert_eq!(publish(20), Publish::Nothing);
        assert!(at(29).unwrap().publish_data && !at(30).unwrap().publish_data);
        assert!(at(39).unwrap().subscribe);
        assert_eq!(at(40), None);
        let next = [0, 10, 20, 30, 40].map(|now| ends.next(now));
        assert_eq!(next, [Some(10), Some(20), Some(30), Some(40), None]);
        assert_eq!(Ends::default().next(0), None);
        assert_eq!(Ends::default().apply(grant("{}").permission(), u64::MAX), at(0));
    }

    #[test]
    fn rights_of_the_wrong_type_are_refused() {
        for json in [r#"{"roomJoin":"true"}"#, r#"{"roomJoin":1}"#, r#"{"hidden":[]}"#] {
            assert!(serde_json::from_str::<VideoGrant>(json).is_err(), "{json}");
        }
    }
}
