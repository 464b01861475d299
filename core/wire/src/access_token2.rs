//! Agora's AccessToken2, version 007, as a token that joins a room.
//!
//! Owns: the form, and what its words are in ours: channel is room, user id is identity, each of the four
//! privileges of calls is a right with an end of its own.
//! Guarantees: what is inflated is bounded; nothing but the app id, the times and the salt, which the signing
//! key is made of, is believed before the signature holds; no right outlives the token.
//! Not here: services other than calls, which are skipped, and the older form 006, which is refused.
//! Source: Agora `Tools/DynamicKey/AgoraDynamicKey` (`AccessToken2`, `RtcTokenBuilder2`).

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::claims::Claims;
use crate::grant::{Ends, VideoGrant};
use crate::key::{ProjectKeys, ProjectName};
use crate::limits::{ACCESS_TOKEN_MAX, CLOCK_LEEWAY_S};
use crate::token::{TokenError, TokenId, TokenKind, VerifiedToken};

/// What a token begins with; no JSON Web Token does.
pub(crate) const VERSION: &str = "007";

/// The kind of service that calls are.
const CALLS: u16 = 1;
/// The names by which Agora means any channel and any user. They name nobody here.
const ANY_CHANNEL: &str = "*";
const ANY_USER: &str = "0";

/// What a service for calls grants.
struct Calls {
    /// An end for each privilege that is there, and for no other.
    ends: Ends,
    channel: String,
    user: String,
}

/// Verifies what follows [`VERSION`].
pub(crate) fn verify(
    keys: &ProjectKeys,
    token: &str,
    now: u64,
) -> Result<VerifiedToken, TokenError> {
    let content = inflate(&STANDARD.decode(token).map_err(|_| TokenError::Malformed)?)?;
    let mut body = Reader(&content);
    let signature = body.bytes()?;
    let Reader(signed) = body;
    let id = std::str::from_utf8(body.bytes()?).map_err(|_| TokenError::Malformed)?;
    let (issued, lasts, salt) = (body.u32()?, body.u32()?, body.u32()?);
    let app = keys.app(id).ok_or(TokenError::UnknownKey)?;
    if !app.verify(issued, salt, signed, signature) {
        return Err(TokenError::BadSignature);
    }

    let issued = u64::from(issued);
    let end = issued + u64::from(lasts);
    if end <= now {
        return Err(TokenError::Expired);
    }
    if now.saturating_add(CLOCK_LEEWAY_S) < issued {
        return Err(TokenError::NotYetValid);
    }
    let calls = calls(&mut body, issued, end)?;
    let ends = calls.as_ref().map(|calls| calls.ends).unwrap_or_default();
    if ends.join.is_some_and(|end| end <= now) {
        return Err(TokenError::Expired);
    }
    Ok(VerifiedToken {
        claims: Claims {
            identity: calls.as_ref().map(|calls| calls.user.clone()).unwrap_or_default(),
            issued_at: Some(issued),
            not_before: Some(issued),
            expires_at: end,
            video: calls.map(|calls| grant(calls.ends, calls.channel)),
            ..Claims::default()
        },
        id: TokenId::of_signed(signed),
        issuer: ProjectName::new(id.into()),
        key: app.key_id(),
        kind: TokenKind::Original,
        is_changed: false,
        ends,
    })
}

/// The id of what follows [`VERSION`], whoever signed it.
pub(crate) fn claimed_id(token: &str) -> Result<TokenId, TokenError> {
    let content = inflate(&STANDARD.decode(token).map_err(|_| TokenError::Malformed)?)?;
    let mut body = Reader(&content);
    body.bytes()?;
    let Reader(signed) = body;
    Ok(TokenId::of_signed(signed))
}

fn inflate(compressed: &[u8]) -> Result<Vec<u8>, TokenError> {
    let limit = u64::try_from(ACCESS_TOKEN_MAX).unwrap_or(u64::MAX);
    let mut inflated = Vec::new();
    let mut reader = flate2::bufread::ZlibDecoder::new(compressed).take(limit + 1);
    reader.read_to_end(&mut inflated).map_err(|_| TokenError::Malformed)?;
    if inflated.len() > ACCESS_TOKEN_MAX {
        return Err(TokenError::TooLong);
    }
    let rest = reader.into_inner().into_inner();
    if rest.is_empty() { Ok(inflated) } else { Err(TokenError::Malformed) }
}

/// The service for calls, if there is one. Services are sorted by kind, and this is the first kind: what comes
/// after another need not be understood.
fn calls(body: &mut Reader<'_>, issued: u64, end: u64) -> Result<Option<Calls>, TokenError> {
    let mut found = None;
    for _ in 0..body.u16()? {
        if body.u16()? != CALLS {
            break;
        }
        let ends = privileges(body, issued, end)?;
        let (channel, user) = (body.text()?, body.text()?);
        let user = Some(user).filter(|user| user != ANY_USER).unwrap_or_default();
        let service = Calls { ends, channel, user };
        if found.replace(service).is_some() {
            return Err(TokenError::SeveralRooms);
        }
    }
    Ok(found)
}

fn privileges(body: &mut Reader<'_>, issued: u64, end: u64) -> Result<Ends, TokenError> {
    let mut held = Ends::default();
    for _ in 0..body.u16()? {
        let (privilege, lasts) = (body.u16()?, u64::from(body.u32()?));
        // Nothing, which the builders write unless they are told otherwise, is as long as the token.
        let until = if lasts == 0 { end } else { end.min(issued + lasts) };
        match privilege {
            1 => held.join = Some(until),
            2 => held.audio = Some(until),
            3 => held.video = Some(until),
            4 => held.data = Some(until),
            _ => {}
        }
    }
    Ok(held)
}

/// What a privilege for each of `ends` is in our words.
fn grant(ends: Ends, channel: String) -> VideoGrant {
    let Ends { join, audio, video, data } = ends;
    let sources: &[&str] = match (audio.is_some(), video.is_some()) {
        (true, false) => &["microphone", "screen_share_audio"],
        (false, true) => &["camera", "screen_share"],
        (true, true) | (false, false) => &[],
    };
    VideoGrant {
        room_join: join.is_some(),
        room: Some(channel).filter(|name| name != ANY_CHANNEL).unwrap_or_default(),
        can_publish: Some(audio.is_some() || video.is_some()),
        can_publish_sources: sources.iter().map(|&source| source.to_owned()).collect(),
        can_publish_data: Some(data.is_some()),
        can_subscribe: Some(true),
        ..VideoGrant::default()
    }
}

/// A refresh token's claims without rights that its original cannot have given; those that a moderator took are gone as
/// well. The key of such tokens may follow from the app's certificate, and whoever holds that can sign one.
pub(crate) fn restated(claims: Claims, ends: Ends) -> Claims {
    let video = claims.video.map(|held| {
        let mut video = grant(ends, held.room.clone());
        let most = video.permission();
        let left = most.clone().within(&held.permission());
        if left != most {
            video.set_permission(&left);
        }
        video
    });
    Claims {
        identity: claims.identity,
        issued_at: claims.issued_at,
        not_before: claims.not_before,
        expires_at: claims.expires_at,
        name: claims.name,
        metadata: claims.metadata,
        attributes: claims.attributes,
        video,
        ..Claims::default()
    }
}

/// Reads little-endian numbers, and bytes that their number precedes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], TokenError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(TokenError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], TokenError> {
        self.take(N)?.try_into().map_err(|_| TokenError::Malformed)
    }

    fn u16(&mut self) -> Result<u16, TokenError> {
        self.number().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, TokenError> {
        self.number().map(u32::from_le_bytes)
    }

    fn bytes(&mut self) -> Result<&'a [u8], TokenError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    fn text(&mut self) -> Result<String, TokenError> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| TokenError::Malformed)?;
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests;
