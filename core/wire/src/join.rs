//! A join before its room hears of it: the query of the request, the join request in it, who comes and where to.
//!
//! Owns: `/rtc/v1`'s query, compression and bounds of join requests, bounds of names.
//! Guarantees: an inflated join request is at most [`JOIN_REQUEST_MAX`] long, whatever it was compressed from.
//! Not here: tokens (`token`), offers (`sdp`), whether the room exists (`sfu`).
//! Source: LiveKit `pkg/service/rtcservice.go`, `ValidateConnectRequest` in `pkg/service/utils.go`.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use model::{Identity, RoomName, Sensitive};
use prost::Message as _;

use crate::claims::{Claims, RoomConfigError};
use crate::limits::{ATTRIBUTES_MAX, JOIN_REQUEST_MAX, METADATA_MAX, NAME_MAX, REQUEST_LINE_MAX};
use crate::proto::wrapped_join_request::Compression;
use crate::proto::{JoinRequest, WrappedJoinRequest};
use crate::shape::{self, ShapeError};

/// Base64url; SDKs pad, and some day one will not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `JoinRequest`'s `metadata`, and the values of its `participant_attributes`.
const TEXTS: &[&[u32]] = &[&[3], &[4, 2]];

/// A join that is refused. The sender's fault, or that of whoever minted its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The query is longer than [`REQUEST_LINE_MAX`].
    #[error("the query is too long")]
    QueryTooLong,
    /// A percent sign without two digits, or bytes that are not UTF-8.
    #[error("the query is malformed")]
    QueryMalformed,
    /// A parameter is there twice.
    #[error("a parameter is given twice")]
    ParameterTwice,
    /// `join_request` is not base64url of a `WrappedJoinRequest`.
    #[error("cannot decode the wrapped join request")]
    WrapperUndecodable,
    /// A compression that is not known.
    #[error("the join request is compressed in an unknown way")]
    UnknownCompression,
    /// Not gzip, cut short, or followed by something.
    #[error("cannot decompress the join request")]
    NotGzip,
    /// Longer than [`JOIN_REQUEST_MAX`] when inflated.
    #[error("the join request is too large")]
    TooLarge,
    /// It would cost too much to parse.
    #[error("the join request {0}")]
    Shape(ShapeError),
    /// Not a `JoinRequest`.
    #[error("cannot decode the join request")]
    Undecodable,
    /// The token does not grant `roomJoin`.
    #[error("permissions denied")]
    NoJoinGrant,
    /// The token names nobody.
    #[error("identity cannot be empty")]
    NoIdentity,
    /// The token names no room.
    #[error("no room name")]
    NoRoom,
    /// An identity longer than [`NAME_MAX`].
    #[error("the identity is too long")]
    IdentityTooLong,
    /// A room's name longer than [`NAME_MAX`].
    #[error("the room name is too long")]
    RoomNameTooLong,
    /// The participant brings metadata or attributes, and may not change its own.
    #[error("permissions denied")]
    NoMetadataGrant,
    /// The profile breaks a bound.
    #[error("{0}")]
    Profile(ProfileError),
    /// What the token wants of the room is not understood: a bound may stand in it.
    #[error("{0}")]
    RoomConfig(RoomConfigError),
}

impl JoinError {
    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::NoJoinGrant | Self::NoMetadataGrant => 401,
            Self::QueryTooLong => 414,
            Self::QueryMalformed
            | Self::ParameterTwice
            | Self::WrapperUndecodable
            | Self::UnknownCompression
            | Self::NotGzip
            | Self::TooLarge
            | Self::Shape(_)
            | Self::Undecodable
            | Self::NoIdentity
            | Self::NoRoom
            | Self::IdentityTooLong
            | Self::RoomNameTooLong
            | Self::Profile(_)
            | Self::RoomConfig(_) => 400,
        }
    }
}

/// The parameters of a join that mean something to us; others are ignored.
#[derive(Clone, Default)]
pub struct JoinQuery {
    /// The token of clients that cannot send a header.
    pub access_token: Option<Sensitive<String>>,
    /// The join request, still in base64url.
    pub join_request: Option<String>,
}

impl fmt::Debug for JoinQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinQuery")
            .field("access_token", &self.access_token.is_some())
            .field("join_request", &self.join_request.as_ref().map(String::len))
            .finish()
    }
}

impl JoinQuery {
    /// Parses what stands after the question mark, percent-encoded. An empty parameter is as good as none.
    ///
    /// # Errors
    /// [`JoinError::QueryTooLong`], [`JoinError::QueryMalformed`], [`JoinError::ParameterTwice`].
    pub fn parse(raw: &str) -> Result<Self, JoinError> {
        if raw.len() > REQUEST_LINE_MAX {
            return Err(JoinError::QueryTooLong);
        }
        let mut query = Self::default();
        for pair in raw.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let is_new = match &*percent_decode(name)? {
                "access_token" => {
                    query.access_token.replace(Sensitive::new(percent_decode(value)?)).is_none()
                }
                "join_request" => query.join_request.replace(percent_decode(value)?).is_none(),
                _ => true,
            };
            if !is_new {
                return Err(JoinError::ParameterTwice);
            }
        }
        query.access_token = query.access_token.filter(|token| !token.expose().is_empty());
        query.join_request = query.join_request.filter(|request| !request.is_empty());
        Ok(query)
    }
}

/// `application/x-www-form-urlencoded`: `%41` is a byte, `+` is a space.
fn percent_decode(text: &str) -> Result<String, JoinError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = bytes.next().and_then(hex).ok_or(JoinError::QueryMalformed)?;
                let low = bytes.next().and_then(hex).ok_or(JoinError::QueryMalformed)?;
                high << 4 | low
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| JoinError::QueryMalformed)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Decodes the parameter `join_request`.
///
/// # Errors
/// Everything that can be wrong with it: see [`JoinError`].
pub fn decode_join_request(text: &str) -> Result<JoinRequest, JoinError> {
    decode_counted(text).0
}

/// As [`decode_join_request`], with how many bytes were decompressed for it, whatever came of them.
pub fn decode_counted(text: &str) -> (Result<JoinRequest, JoinError>, usize) {
    let mut inflated = 0;
    let decoded = decode(text, &mut inflated);
    (decoded, inflated)
}

fn decode(text: &str, inflated: &mut usize) -> Result<JoinRequest, JoinError> {
    if text.len() > REQUEST_LINE_MAX {
        return Err(JoinError::TooLarge);
    }
    let wrapper = BASE64.decode(text).map_err(|_| JoinError::WrapperUndecodable)?;
    let wrapper =
        WrappedJoinRequest::decode(&*wrapper).map_err(|_| JoinError::WrapperUndecodable)?;
    let bytes = match Compression::try_from(wrapper.compression) {
        Ok(Compression::None) => wrapper.join_request,
        Ok(Compression::Gzip) => gunzip(&wrapper.join_request, inflated)?,
        Err(_) => return Err(JoinError::UnknownCompression),
    };
    shape::check_protobuf(&bytes, TEXTS).map_err(JoinError::Shape)?;
    JoinRequest::decode(&*bytes).map_err(|_| JoinError::Undecodable)
}

fn gunzip(compressed: &[u8], len: &mut usize) -> Result<Vec<u8>, JoinError> {
    let mut inflated = Vec::new();
    let limit = u64::try_from(JOIN_REQUEST_MAX).unwrap_or(u64::MAX);
    let mut reader = flate2::bufread::GzDecoder::new(compressed).take(limit + 1);
    let read = reader.read_to_end(&mut inflated);
    *len = inflated.len();
    read.map_err(|_| JoinError::NotGzip)?;
    if inflated.len() > JOIN_REQUEST_MAX {
        return Err(JoinError::TooLarge);
    }
    let rest = reader.into_inner().into_inner();
    if rest.is_empty() { Ok(inflated) } else { Err(JoinError::NotGzip) }
}

/// Who comes, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Never empty, at most [`NAME_MAX`] bytes.
    pub identity: Identity,
    /// Never empty, at most [`NAME_MAX`] bytes.
    pub room: RoomName,
}

/// What a token admits to.
///
/// # Errors
/// No right to join, no identity, no room, or names that are too long.
pub fn admission(claims: &Claims) -> Result<Admission, JoinError> {
    let video = claims.video.as_ref().filter(|video| video.room_join);
    let video = video.ok_or(JoinError::NoJoinGrant)?;
    if claims.identity.is_empty() {
        return Err(JoinError::NoIdentity);
    }
    if claims.identity.len() > NAME_MAX {
        return Err(JoinError::IdentityTooLong);
    }
    if video.room.is_empty() {
        return Err(JoinError::NoRoom);
    }
    if video.room.len() > NAME_MAX {
        return Err(JoinError::RoomNameTooLong);
    }
    Ok(Admission { identity: Identity::new(&claims.identity), room: RoomName::new(&video.room) })
}

/// A profile that breaks a bound. On the wire: `LIMIT_EXCEEDED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A name longer than [`NAME_MAX`].
    #[error("the participant's name is too long")]
    Name,
    /// Metadata longer than [`METADATA_MAX`].
    #[error("the participant's metadata is too long")]
    Metadata,
    /// Attributes longer than [`ATTRIBUTES_MAX`] together.
    #[error("the participant's attributes are too long")]
    Attributes,
}

/// What a participant tells others of itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Profile {
    /// The name to show.
    pub name: String,
    /// Text for the application.
    pub metadata: String,
    /// Keys and values for the application.
    pub attributes: BTreeMap<String, String>,
}

impl fmt::Debug for Profile {
    /// Prints the type alone: it is about a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Profile(…)")
    }
}

impl Profile {
    /// The token's, with the metadata and attributes that the join request brings. A join request cannot
    /// delete attributes.
    ///
    /// # Errors
    /// [`JoinError::NoMetadataGrant`], [`JoinError::Profile`].
    pub fn of_join(claims: &Claims, request: &JoinRequest) -> Result<Self, JoinError> {
        let brings = !request.metadata.is_empty() || !request.participant_attributes.is_empty();
        let may = claims.permission().is_some_and(|permission| permission.update_own_metadata);
        if brings && !may {
            return Err(JoinError::NoMetadataGrant);
        }
        let mut profile = Self {
            name: claims.name.clone(),
            metadata: claims.metadata.clone(),
            attributes: claims.attributes.clone(),
        };
        if !request.metadata.is_empty() {
            profile.metadata.clone_from(&request.metadata);
        }
        #[expect(clippy::iter_over_hash_type, reason = "in any order: no key is there twice")]
        for (key, value) in &request.participant_attributes {
            if !value.is_empty() {
                profile.attributes.insert(key.clone(), value.clone());
            }
        }
        profile.check().map_err(JoinError::Profile)?;
        Ok(profile)
    }

    fn check(&self) -> Result<(), ProfileError> {
        if self.name.len() > NAME_MAX {
            return Err(ProfileError::Name);
        }
        if self.metadata.len() > METADATA_MAX {
            return Err(ProfileError::Metadata);
        }
        let total: usize = self.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
        if total > ATTRIBUTES_MAX {
            return Err(ProfileError::Attributes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
