//! Answers of the server API as JSON.
//!
//! Owns: the form of each message that an answer can hold.
//! Guarantees: as LiveKit's server writes it: names as in the protocol's files, nothing left out for being zero or
//! empty, numbers of 64 bits as strings, enums by name, what is not set as null; a field that the protocol adds does
//! not compile until it has its place here; of a list one element at a time is held twice.
//! Not here: what requests look like, which may be written in either spelling (`livekit_protocol`).
//! Source: LiveKit protocol `livekit_room.twirp.go` (`protojson.MarshalOptions` with `UseProtoNames` and
//! `EmitUnpopulated`).

use serde_json::{Value, json};

use crate::proto::{
    AudioTrackFeature, BackupCodecPolicy, Codec, DisconnectReason, PacketTrailerFeature,
    ParticipantInfo, ParticipantPermission, Room, SimulcastCodecInfo, TimedVersion, TrackInfo,
    TrackSource, TrackType, VideoLayer, VideoQuality, client_info, encryption, participant_info,
    video_layer,
};

/// A message whose one field is a list, which may be long.
pub(super) fn list<T>(field: &str, items: &[T], form: fn(&T) -> Value) -> Vec<u8> {
    let mut text = format!("{{\"{field}\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&form(item).to_string());
    }
    text.push_str("]}");
    text.into_bytes()
}

pub(super) fn room(room: &Room) -> Value {
    let Room {
        sid,
        name,
        empty_timeout,
        departure_timeout,
        max_participants,
        creation_time,
        creation_time_ms,
        turn_password,
        enabled_codecs,
        metadata,
        num_participants,
        num_publishers,
        active_recording,
        version,
    } = room;
    json!({
        "sid": sid,
        "name": name,
        "empty_timeout": empty_timeout,
        "departure_timeout": departure_timeout,
        "max_participants": max_participants,
        "creation_time": creation_time.to_string(),
        "creation_time_ms": creation_time_ms.to_string(),
        "turn_password": turn_password,
        "enabled_codecs": each(enabled_codecs, codec),
        "metadata": metadata,
        "num_participants": num_participants,
        "num_publishers": num_publishers,
        "active_recording": active_recording,
        "version": version.as_ref().map(timed_version),
    })
}

pub(super) fn participant(info: &ParticipantInfo) -> Value {
    let ParticipantInfo {
        sid,
        identity,
        state,
        tracks,
        metadata,
        joined_at,
        joined_at_ms,
        name,
        version,
        permission: permitted,
        region,
        is_publisher,
        kind,
        attributes,
        disconnect_reason,
        kind_details,
        // Nobody has any: they are not built.
        data_tracks: _,
        client_protocol,
        capabilities,
    } = info;
    let kind_detail = |number: &i32| word(*number, participant_info::KindDetail::as_str_name);
    let capability = |number: &i32| word(*number, client_info::Capability::as_str_name);
    json!({
        "sid": sid,
        "identity": identity,
        "state": word(*state, participant_info::State::as_str_name),
        "tracks": each(tracks, track),
        "metadata": metadata,
        "joined_at": joined_at.to_string(),
        "joined_at_ms": joined_at_ms.to_string(),
        "name": name,
        "version": version,
        "permission": permitted.as_ref().map(permission),
        "region": region,
        "is_publisher": is_publisher,
        "kind": word(*kind, participant_info::Kind::as_str_name),
        "attributes": attributes,
        "disconnect_reason": word(*disconnect_reason, DisconnectReason::as_str_name),
        "kind_details": each(kind_details, kind_detail),
        "data_tracks": [],
        "client_protocol": client_protocol,
        "capabilities": each(capabilities, capability),
    })
}

#[expect(deprecated, reason = "older clients read the fields that newer ones replace")]
pub(super) fn track(info: &TrackInfo) -> Value {
    let TrackInfo {
        sid,
        r#type,
        name,
        muted,
        width,
        height,
        simulcast,
        disable_dtx,
        source,
        layers,
        mime_type,
        mid,
        codecs,
        stereo,
        disable_red,
        encryption,
        stream,
        version,
        audio_features,
        backup_codec_policy,
        packet_trailer_features,
    } = info;
    let audio_feature = |number: &i32| word(*number, AudioTrackFeature::as_str_name);
    let trailer_feature = |number: &i32| word(*number, PacketTrailerFeature::as_str_name);
    json!({
        "sid": sid,
        "type": word(*r#type, TrackType::as_str_name),
        "name": name,
        "muted": muted,
        "width": width,
        "height": height,
        "simulcast": simulcast,
        "disable_dtx": disable_dtx,
        "source": word(*source, TrackSource::as_str_name),
        "layers": each(layers, layer),
        "mime_type": mime_type,
        "mid": mid,
        "codecs": each(codecs, simulcast_codec),
        "stereo": stereo,
        "disable_red": disable_red,
        "encryption": word(*encryption, encryption::Type::as_str_name),
        "stream": stream,
        "version": version.as_ref().map(timed_version),
        "audio_features": each(audio_features, audio_feature),
        "backup_codec_policy": word(*backup_codec_policy, BackupCodecPolicy::as_str_name),
        "packet_trailer_features": each(packet_trailer_features, trailer_feature),
    })
}

fn simulcast_codec(info: &SimulcastCodecInfo) -> Value {
    let SimulcastCodecInfo { mime_type, mid, cid, layers, video_layer_mode, sdp_cid } = info;
    json!({
        "mime_type": mime_type,
        "mid": mid,
        "cid": cid,
        "layers": each(layers, layer),
        "video_layer_mode": word(*video_layer_mode, video_layer::Mode::as_str_name),
        "sdp_cid": sdp_cid,
    })
}

fn layer(layer: &VideoLayer) -> Value {
    let VideoLayer { quality, width, height, bitrate, ssrc, spatial_layer, rid, repair_ssrc } =
        layer;
    json!({
        "quality": word(*quality, VideoQuality::as_str_name),
        "width": width,
        "height": height,
        "bitrate": bitrate,
        "ssrc": ssrc,
        "spatial_layer": spatial_layer,
        "rid": rid,
        "repair_ssrc": repair_ssrc,
    })
}

#[expect(deprecated, reason = "older clients read the fields that newer ones replace")]
fn permission(permission: &ParticipantPermission) -> Value {
    let ParticipantPermission {
        can_subscribe,
        can_publish,
        can_publish_data,
        can_publish_sources,
        hidden,
        recorder,
        can_update_metadata,
        agent,
        can_subscribe_metrics,
        can_manage_agent_session,
    } = permission;
    let source = |number: &i32| word(*number, TrackSource::as_str_name);
    json!({
        "can_subscribe": can_subscribe,
        "can_publish": can_publish,
        "can_publish_data": can_publish_data,
        "can_publish_sources": each(can_publish_sources, source),
        "hidden": hidden,
        "recorder": recorder,
        "can_update_metadata": can_update_metadata,
        "agent": agent,
        "can_subscribe_metrics": can_subscribe_metrics,
        "can_manage_agent_session": can_manage_agent_session,
    })
}

fn codec(codec: &Codec) -> Value {
    let Codec { mime, fmtp_line } = codec;
    json!({ "mime": mime, "fmtp_line": fmtp_line })
}

fn timed_version(version: &TimedVersion) -> Value {
    let TimedVersion { unix_micro, ticks } = version;
    json!({ "unix_micro": unix_micro.to_string(), "ticks": ticks })
}

fn each<T>(items: &[T], form: impl Fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(form).collect())
}

/// The name of an enum's number; of one that nobody knows, the number.
fn word<E: TryFrom<i32>>(number: i32, name: impl Fn(&E) -> &'static str) -> Value {
    E::try_from(number).map_or_else(|_| Value::from(number), |value| Value::from(name(&value)))
}
