//! The decoded content of a token.
//!
//! Owns: LiveKit's claims, and dates as JSON Web Tokens write them.
//! Guarantees: claims nobody knows are ignored, `null` is as good as absent, a claim said twice is refused;
//! claims do not print.
//! Not here: signatures and validity (`token`), what the rights mean (`grant`). Claims for services that
//! only LiveKit's cloud offers (`agentEndpoint`, `agentThread`) are among those nobody knows.
//! Source: LiveKit `protocol/auth/grants.go`; RFC 7519.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::grant::{
    AgentGrant, InferenceGrant, ObservabilityGrant, Permission, SipGrant, VideoGrant,
};
use crate::limits::{DATE_MAX, METADATA_MAX};
use crate::proto::participant_info::Kind;

/// What a token says of its holder.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Claims {
    /// The stable name of a person or robot: `sub`, else `jti`. May be empty in tokens that join no room.
    #[serde(skip)]
    pub identity: String,
    /// The name of this one token, `jti`; few back ends give one.
    #[serde(skip)]
    pub token_name: Option<String>,
    /// The second at which it was minted, `iat`, in Unix time; few back ends say it.
    #[serde(skip)]
    pub issued_at: Option<u64>,
    /// The first second at which the token is good, `nbf`, in Unix time.
    #[serde(skip)]
    pub not_before: Option<u64>,
    /// The first second at which it is not, `exp`, in Unix time.
    #[serde(skip)]
    pub expires_at: u64,
    /// The name to show.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What kind of participant this is, in lower case: see [`Self::participant_kind`].
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Details of the kind, in lower case.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "Vec::is_empty")]
    pub kind_details: Vec<String>,
    /// Text for the application.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "String::is_empty")]
    pub metadata: String,
    /// Keys and values for the application.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
    /// The digest, in base 64, of the body that the token was sent with.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// The name of settings for the room that a join makes.
    #[serde(deserialize_with = "null_is_absent", skip_serializing_if = "String::is_empty")]
    pub room_preset: String,
    /// Settings for the room that a join makes: `RoomConfiguration` in protojson.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room_config: Option<serde_json::Value>,
    /// Rights that concern rooms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoGrant>,
    /// Rights that concern telephony.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip: Option<SipGrant>,
    /// Rights that concern agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentGrant>,
    /// The right to use models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference: Option<InferenceGrant>,
    /// The right to report measurements.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observability: Option<ObservabilityGrant>,
}

impl Claims {
    /// What the holder may do in its room; nothing for a token without rights that concern rooms.
    #[must_use]
    pub fn permission(&self) -> Option<Permission> {
        let mut permission = self.video.as_ref()?.permission();
        permission.agent |= self.participant_kind() == Kind::Agent;
        Some(permission)
    }

    /// What the token wants of the room, if its join makes it.
    ///
    /// # Errors
    /// `roomConfig` is there and no `RoomConfiguration`, its metadata is longer than [`METADATA_MAX`], or it wants the
    /// room recorded: whoever asks would believe that it is.
    pub fn room_config(&self) -> Result<RoomConfig, RoomConfigError> {
        const MALFORMED: RoomConfigError = RoomConfigError::Malformed;
        let Some(wanted) = &self.room_config else { return Ok(RoomConfig::default()) };
        let wanted = wanted.as_object().ok_or(MALFORMED)?;
        if wanted.get("egress").is_some_and(|egress| !egress.is_null()) {
            return Err(RoomConfigError::Egress);
        }
        let config = RoomConfig::deserialize(wanted).map_err(|_| MALFORMED)?;
        Some(config).filter(|config| config.metadata.len() <= METADATA_MAX).ok_or(MALFORMED)
    }

    /// Whether the token wants agents dispatched into the room that its join makes.
    #[must_use]
    pub fn wants_agents(&self) -> bool {
        let agents = self.room_config.as_ref().and_then(|wanted| wanted.get("agents"));
        agents.and_then(|agents| agents.as_array()).is_some_and(|agents| !agents.is_empty())
    }

    /// The kind of participant; a kind nobody knows is a standard one.
    #[must_use]
    pub fn participant_kind(&self) -> Kind {
        Kind::from_str_name(&self.kind.to_ascii_uppercase()).unwrap_or(Kind::Standard)
    }
}

impl fmt::Debug for Claims {
    /// Prints the type alone: nearly all of it is about a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims(…)")
    }
}

/// `RoomConfiguration` as far as rooms here have what it asks for: no agents, recordings, tags or playout delay. Zero
/// and the empty text say nothing.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoomConfig {
    /// Seconds for which the room waits for its first participant.
    #[serde(alias = "empty_timeout", deserialize_with = "null_is_absent")]
    pub empty_timeout: u32,
    /// Seconds for which it outlives its last one.
    #[serde(alias = "departure_timeout", deserialize_with = "null_is_absent")]
    pub departure_timeout: u32,
    /// Participants that it holds at most.
    #[serde(alias = "max_participants", deserialize_with = "null_is_absent")]
    pub max_participants: u32,
    /// The application's.
    #[serde(deserialize_with = "null_is_absent")]
    pub metadata: String,
}

impl fmt::Debug for RoomConfig {
    /// Prints the type alone: metadata is the application's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomConfig(…)")
    }
}

/// Why a token's `RoomConfiguration` is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomConfigError {
    /// It is none, or one too large.
    #[error("the token's roomConfig is malformed or too large")]
    Malformed,
    /// It wants the room recorded.
    #[error("the token's roomConfig asks for egress, and this server has no Egress")]
    Egress,
}

/// A second of Unix time as a token writes it: a number, possibly with a fraction, which is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date(pub(crate) u64);

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Date;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds of Unix time before the year 10000")
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Date, E> {
                if value > DATE_MAX {
                    return Err(E::custom("out of range"));
                }
                Ok(Date(value))
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Date, E> {
                if !(0.0..=253_402_300_799.0).contains(&value) {
                    return Err(E::custom("out of range"));
                }
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "the range above fits, and cutting the fraction off is meant"
                )]
                Ok(Date(value as u64))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// Reads `null` as the default: back ends in some languages write every field.
pub(crate) fn null_is_absent<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
