//! Control's words as LiveKit's messages, and the other way round.
//!
//! Source: LiveKit `pkg/rtc/participant.go` (`ToProto`), `mediatrackreceiver.go`, `room.go`.

use std::time::Duration;

use model::{Alias, Codec, ParticipantSid, Quality, Sid as _, TrackKind, TrackSid};
use sfu::control::{
    Allowance, AllowanceEntry, Announcement, ConnectionQuality, Departure, DepartureReason,
    Participant, Publication, Receiver, RoomMetadata, RoomSettings, Settings, Size, Sources, State,
    TooManyAllowed, Tracks, VideoLayer, Visibility, Want,
};
use sfu::limits::CID_MAX;
use sfu::{StreamSpec, control};
use wire::grant::{Permission, Publish};
use wire::limits::{NAME_MAX, RID_MAX};
use wire::negotiation::{OpusOptions, PublicationSection};
use wire::proto::leave_request::Action;
use wire::proto::signal_response::Message;
use wire::token::RoomConfig;
use wire::{convert, proto};

use super::gone::Leaver;
use super::seat::{Card, Seat};
use crate::config::Next;
use crate::limits::{ANNOUNCED_CODECS_MAX, CODEC_NAME_MAX, FEATURES_MAX};

/// The version that LiveKit's clients compare with what features need.
const VERSION: &str = "1.13.5";
/// The protocol that we speak; 18 would mean negotiated data channels.
const PROTOCOL: i32 = 17;
/// The protocol of agent workers.
const AGENT_PROTOCOL: i32 = 1;

pub(super) fn server() -> proto::ServerInfo {
    proto::ServerInfo {
        edition: proto::server_info::Edition::Standard.into(),
        version: VERSION.to_owned(),
        protocol: PROTOCOL,
        agent_protocol: AGENT_PROTOCOL,
        debug_info: concat!("incamera/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..Default::default()
    }
}

pub(super) fn codecs(codecs: &[Codec]) -> Vec<proto::Codec> {
    let wire = |codec: &Codec| proto::Codec {
        mime: convert::codec_mime(*codec).to_owned(),
        fmtp_line: String::new(),
    };
    codecs.iter().map(wire).collect()
}

pub(super) fn participant<'a>(
    participant: &Participant,
    tracks: impl Iterator<Item = &'a Publication>,
    seat: &Seat,
) -> proto::ParticipantInfo {
    let tracks: Vec<proto::TrackInfo> = tracks
        .filter(|publication| publication.is_live())
        .filter_map(|publication| Some(track(publication, seat.cards.get(&publication.track)?)))
        .collect();
    let profile = &participant.profile;
    let attributes = profile.attributes.iter().map(|(key, value)| (key.clone(), value.clone()));
    proto::ParticipantInfo {
        sid: participant.sid.to_string(),
        identity: participant.identity.expose().to_owned(),
        state: state(participant.state).into(),
        is_publisher: !tracks.is_empty(),
        tracks,
        metadata: profile.metadata.clone(),
        name: profile.name.clone(),
        version: participant.version,
        attributes: attributes.collect(),
        ..of_seat(seat)
    }
}

/// What of a participant its token and its client say.
fn of_seat(seat: &Seat) -> proto::ParticipantInfo {
    let kind_details = seat.token.claims.kind_details.iter().filter_map(|detail| {
        proto::participant_info::KindDetail::from_str_name(&detail.to_ascii_uppercase())
    });
    proto::ParticipantInfo {
        joined_at: seat.joined_at_ms / 1000,
        joined_at_ms: seat.joined_at_ms,
        permission: Some((&seat.permission).into()),
        kind: seat.token.claims.participant_kind().into(),
        kind_details: kind_details.map(Into::into).collect(),
        client_protocol: seat.client.protocol,
        capabilities: seat.client.capabilities.iter().map(|held| (*held).into()).collect(),
        ..Default::default()
    }
}

/// Clients take what is said of somebody before they take it that it is gone, so that all is said once more. Its tracks
/// have ended.
pub(super) fn departed(departure: Departure, seat: &Seat) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        sid: departure.sid.to_string(),
        identity: departure.identity.expose().to_owned(),
        state: proto::participant_info::State::Disconnected.into(),
        name: departure.profile.name,
        metadata: departure.profile.metadata,
        attributes: departure.profile.attributes.into_iter().collect(),
        version: departure.version,
        disconnect_reason: reason(departure.reason).into(),
        ..of_seat(seat)
    }
}

/// The same of whom nothing else is known any more.
pub(super) fn gone(leaver: &Leaver) -> proto::ParticipantInfo {
    proto::ParticipantInfo {
        sid: leaver.sid.to_string(),
        state: proto::participant_info::State::Disconnected.into(),
        version: leaver.version,
        disconnect_reason: reason(leaver.reason).into(),
        ..Default::default()
    }
}

const fn state(state: State) -> proto::participant_info::State {
    match state {
        State::Joining => proto::participant_info::State::Joining,
        State::Joined => proto::participant_info::State::Joined,
        State::Active => proto::participant_info::State::Active,
    }
}

const fn reason(reason: DepartureReason) -> proto::DisconnectReason {
    match reason {
        DepartureReason::Left => proto::DisconnectReason::ClientInitiated,
        DepartureReason::Duplicate => proto::DisconnectReason::DuplicateIdentity,
        DepartureReason::JoinTimeout => proto::DisconnectReason::JoinFailure,
        DepartureReason::PeerLost => proto::DisconnectReason::ConnectionTimeout,
        DepartureReason::Mismatch => proto::DisconnectReason::StateMismatch,
        // The wire has no words for the last two.
        DepartureReason::Removed | DepartureReason::Expired | DepartureReason::Revoked => {
            proto::DisconnectReason::ParticipantRemoved
        }
        DepartureReason::RoomDeleted => proto::DisconnectReason::RoomDeleted,
        DepartureReason::Shutdown => proto::DisconnectReason::ServerShutdown,
    }
}

/// What a participant is told that must go; nothing if it went by itself. `next` is whom it finds once we have stopped.
pub(super) fn leave(departed: DepartureReason, next: Next) -> Option<proto::LeaveRequest> {
    let action = match departed {
        DepartureReason::Left => return None,
        DepartureReason::PeerLost | DepartureReason::Mismatch => Action::Reconnect,
        DepartureReason::Shutdown if next == Next::Process => Action::Reconnect,
        DepartureReason::Duplicate
        | DepartureReason::JoinTimeout
        | DepartureReason::Removed
        | DepartureReason::RoomDeleted
        | DepartureReason::Expired
        | DepartureReason::Revoked
        | DepartureReason::Shutdown => Action::Disconnect,
    };
    Some(proto::LeaveRequest {
        can_reconnect: action != Action::Disconnect,
        reason: reason(departed).into(),
        action: action.into(),
        regions: None,
    })
}

#[expect(deprecated, reason = "older clients read the fields that newer ones replace")]
pub(super) fn track(publication: &Publication, card: &Card) -> proto::TrackInfo {
    let codec = publication.media.as_ref().map(|media| media.codec).or(card.codec);
    let mime = codec.map(convert::codec_mime).unwrap_or_default().to_owned();
    let mid = publication.media.as_ref().map(|media| media.mid.to_string()).unwrap_or_default();
    let layers = card.layers.clone();
    let packet_trailer = card.packet_trailer_features.iter();
    let streams = publication.media.as_ref().map_or(layers.len(), |media| media.streams.len());
    let info = proto::SimulcastCodecInfo {
        mime_type: mime.clone(),
        mid: mid.clone(),
        cid: publication.cid.to_string(),
        video_layer_mode: if layers.is_empty() {
            proto::video_layer::Mode::Unused.into()
        } else {
            proto::video_layer::Mode::OneSpatialLayerPerStream.into()
        },
        layers: layers.clone(),
        sdp_cid: String::new(),
    };
    proto::TrackInfo {
        sid: publication.sid.to_string(),
        r#type: convert::kind_to_wire(publication.kind).into(),
        name: card.name.clone(),
        muted: publication.muted,
        width: publication.size.width,
        height: publication.size.height,
        simulcast: streams > 1,
        disable_dtx: card.disable_dtx,
        source: convert::source_to_wire(publication.source).into(),
        layers,
        codecs: if mime.is_empty() { Vec::new() } else { vec![info] },
        mime_type: mime,
        mid,
        stereo: card.stereo,
        disable_red: card.disable_red,
        encryption: convert::encryption_to_wire(publication.encryption).into(),
        stream: card.stream.clone(),
        version: None,
        audio_features: card.audio_features.iter().map(|held| (*held).into()).collect(),
        backup_codec_policy: card.backup_codec_policy.into(),
        packet_trailer_features: packet_trailer.map(|held| (*held).into()).collect(),
    }
}

/// Whether a request is as small as one that will be kept and told to a room must be.
pub(super) fn is_bounded(request: &proto::AddTrackRequest) -> bool {
    let are_layers = |layers: &[proto::VideoLayer]| {
        layers.len() <= model::Layer::SPATIAL_MAX
            && layers.iter().all(|layer| layer.rid.len() <= RID_MAX)
    };
    let is_codec = |codec: &proto::SimulcastCodec| {
        codec.codec.len() <= CODEC_NAME_MAX
            && codec.cid.len() <= CID_MAX
            && are_layers(&codec.layers)
    };
    request.cid.len() <= CID_MAX
        && request.name.len() <= NAME_MAX
        && request.stream.len() <= NAME_MAX
        && are_layers(&request.layers)
        && request.audio_features.len() <= FEATURES_MAX
        && request.packet_trailer_features.len() <= FEATURES_MAX
        && request.simulcast_codecs.len() <= ANNOUNCED_CODECS_MAX
        && request.simulcast_codecs.iter().all(is_codec)
}

/// What is kept of a request.
#[expect(deprecated, reason = "older clients read the fields that newer ones replace")]
pub(super) fn card(request: proto::AddTrackRequest) -> Card {
    let mut codecs = request.simulcast_codecs.iter();
    let layer = |layer: &proto::VideoLayer| proto::VideoLayer {
        quality: layer.quality().into(),
        ..layer.clone()
    };
    Card {
        codec: codecs.find_map(|codec| convert::codec_named(&codec.codec)),
        layers: layers(&request).iter().map(layer).collect(),
        audio_features: request.audio_features().collect(),
        packet_trailer_features: request.packet_trailer_features().collect(),
        backup_codec_policy: request.backup_codec_policy(),
        answered_at: None,
        name: request.name,
        stream: request.stream,
        disable_dtx: request.disable_dtx,
        disable_red: request.disable_red,
        stereo: request.stereo,
    }
}

/// The layers of a request, in its older or newer place.
fn layers(request: &proto::AddTrackRequest) -> &[proto::VideoLayer] {
    match request.simulcast_codecs.first() {
        Some(first) if !first.layers.is_empty() => &first.layers,
        _ => &request.layers,
    }
}

/// A request as Control takes it; `None` if it asks for no track of media.
pub(super) fn announcement(request: &proto::AddTrackRequest) -> Option<Announcement> {
    let layer = |layer: &proto::VideoLayer| {
        let size = Size { width: layer.width, height: layer.height };
        Some(VideoLayer { quality: convert::quality_from_wire(layer.quality)?, size })
    };
    Some(Announcement {
        cid: request.cid.as_str().into(),
        kind: convert::kind_from_wire(request.r#type)?,
        source: convert::source_from_wire(request.source),
        encryption: convert::encryption_from_wire(request.encryption),
        muted: request.muted,
        size: Size { width: request.width, height: request.height },
        layers: layers(request)
            .iter()
            .filter_map(layer)
            .filter(|layer| layer.quality != Quality::Off)
            .take(model::Layer::SPATIAL_MAX)
            .collect(),
    })
}

/// A request as the negotiation takes it.
#[expect(deprecated, reason = "clients still send them")]
pub(super) fn expected(
    request: &proto::AddTrackRequest,
    kind: TrackKind,
    accepted: &[Codec],
) -> wire::negotiation::Announcement {
    let features: Vec<proto::AudioTrackFeature> = request.audio_features().collect();
    let preferred = request.simulcast_codecs.iter();
    let preferred = preferred.filter_map(|codec| convert::codec_named(&codec.codec));
    wire::negotiation::Announcement {
        cid: request.cid.as_str().into(),
        sdp_cids: request
            .simulcast_codecs
            .iter()
            .take(2)
            .map(|codec| codec.cid.as_str())
            .filter(|cid| !cid.is_empty())
            .map(Into::into)
            .collect(),
        kind,
        preferred: preferred.filter(|codec| accepted.contains(codec)).take(2).collect(),
        opus: OpusOptions {
            no_dtx: request.disable_dtx || features.contains(&proto::AudioTrackFeature::TfNoDtx),
            stereo: request.stereo || features.contains(&proto::AudioTrackFeature::TfStereo),
        },
    }
}

/// How the media of a section arrives; `None` if it has no format.
pub(super) fn media(section: &PublicationSection) -> Option<control::Media> {
    let codec = section.payloads.iter().find_map(|payload| payload.codec)?;
    let streams: Vec<StreamSpec> = if section.rids.is_empty() {
        let known = section.ssrcs.iter().map(|(ssrc, rtx_ssrc)| StreamSpec {
            rid: None,
            ssrc: Some(*ssrc),
            rtx_ssrc: *rtx_ssrc,
        });
        known.take(model::Layer::SPATIAL_MAX).collect()
    } else {
        let named = section.rids.iter().map(|rid| StreamSpec {
            rid: Some(rid.clone()),
            ssrc: None,
            rtx_ssrc: None,
        });
        named.take(model::Layer::SPATIAL_MAX).collect()
    };
    let streams = if streams.is_empty() { vec![StreamSpec::default()] } else { streams };
    Some(control::Media { mid: section.mid.as_str().into(), codec, streams })
}

/// What is left out, zero or empty, is the node's. `None`: the metadata is too large.
pub(super) fn room_settings(config: RoomConfig) -> Option<RoomSettings> {
    let seconds = |number: u32| (number > 0).then(|| Duration::from_secs(number.into()));
    let metadata = RoomMetadata::new(config.metadata)?;
    let participants_max = usize::try_from(config.max_participants).unwrap_or(usize::MAX);
    Some(RoomSettings {
        metadata: Some(metadata).filter(|metadata| !metadata.expose().is_empty()),
        participants_max: (participants_max > 0).then_some(participants_max),
        empty: seconds(config.empty_timeout),
        departure: seconds(config.departure_timeout),
    })
}

pub(super) const fn visibility(permission: &Permission) -> Visibility {
    if permission.hidden { Visibility::Hidden } else { Visibility::Visible }
}

pub(super) fn permission(permission: &Permission) -> control::Permission {
    control::Permission {
        subscribe: permission.subscribe,
        publish: match &permission.publish {
            Publish::Nothing => Sources::None,
            Publish::Only(sources) => Sources::Only(sources.clone()),
            Publish::Anything => Sources::Any,
        },
        publish_data: permission.publish_data,
        update_profile: permission.update_own_metadata,
    }
}

pub(super) fn settings(update: &proto::UpdateTrackSettings) -> Settings {
    let want = if update.disabled {
        Want::Nothing
    } else if update.width > 0 && update.height > 0 {
        Want::Size(Size { width: update.width, height: update.height })
    } else {
        Want::Quality(convert::quality_from_wire(update.quality).unwrap_or(Quality::High))
    };
    Settings { want, fps: update.fps }
}

/// `alias`: what stands for a name.
pub(super) fn allowance(
    update: &proto::SubscriptionPermission,
    alias: impl Fn(&str) -> Alias,
) -> Result<Allowance, TooManyAllowed> {
    if update.all_participants {
        return Ok(Allowance::Everyone);
    }
    let entry = |entry: &proto::TrackPermission| {
        let sids = entry.track_sids.iter().map(|sid| TrackSid::from_wire(sid));
        let tracks = if entry.all_tracks { Tracks::All } else { Tracks::These(sids.collect()) };
        let who = if entry.participant_identity.is_empty() {
            Receiver::Sid(ParticipantSid::from_wire(&entry.participant_sid))
        } else {
            Receiver::Alias(alias(&entry.participant_identity))
        };
        AllowanceEntry { who, tracks }
    };
    Allowance::only(update.track_permissions.iter().map(entry))
}

/// That somebody receives a track.
pub(super) fn subscribed(publication: &Publication) -> Message {
    let track_sid = publication.sid.to_string();
    Message::TrackSubscribed(proto::TrackSubscribed { track_sid })
}

/// Which qualities of a track anybody wants.
#[expect(deprecated, reason = "older clients read the list of the first codec")]
pub(super) fn wanted(
    publication: &Publication,
    highest: Quality,
) -> proto::SubscribedQualityUpdate {
    let each =
        [Quality::Low, Quality::Medium, Quality::High].map(|quality| proto::SubscribedQuality {
            quality: convert::quality_to_wire(quality).into(),
            enabled: quality <= highest,
        });
    let codec = publication.media.as_ref().map(|media| proto::SubscribedCodec {
        codec: convert::codec_name(media.codec).to_ascii_lowercase(),
        qualities: each.to_vec(),
    });
    proto::SubscribedQualityUpdate {
        track_sid: publication.sid.as_str().to_owned(),
        subscribed_qualities: each.to_vec(),
        subscribed_codecs: codec.into_iter().collect(),
    }
}

pub(super) const fn quality(quality: ConnectionQuality) -> proto::ConnectionQuality {
    match quality {
        ConnectionQuality::Poor => proto::ConnectionQuality::Poor,
        ConnectionQuality::Good => proto::ConnectionQuality::Good,
        ConnectionQuality::Excellent => proto::ConnectionQuality::Excellent,
    }
}
