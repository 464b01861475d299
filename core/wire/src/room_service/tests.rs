//! What back ends ask and may ask, and what they are answered.

use super::*;
use crate::grant::VideoGrant;
use crate::limits::{FIELDS_MAX, JSON_DEPTH_MAX, METADATA_MAX};

fn claims(change: impl FnOnce(&mut VideoGrant)) -> Claims {
    let mut video = VideoGrant::default();
    change(&mut video);
    Claims { video: Some(video), ..Claims::default() }
}

#[test]
fn each_method_needs_its_right_and_no_other_gives_it() {
    let list = claims(|video| video.room_list = true);
    let create = claims(|video| video.room_create = true);
    let admin = claims(|video| {
        video.room_admin = true;
        video.room = "red".into();
    });
    let join = claims(|video| {
        video.room_join = true;
        video.room_record = true;
        video.room = "red".into();
    });
    for method in Method::ALL {
        let granted = [&list, &create, &admin, &join, &Claims::default()]
            .map(|claims| method.is_granted(claims, Some("red")));
        let expect = match method {
            Method::ListRooms => [true, false, false, false, false],
            Method::CreateRoom | Method::DeleteRoom => [false, true, false, false, false],
            Method::ListParticipants
            | Method::GetParticipant
            | Method::RemoveParticipant
            | Method::MutePublishedTrack
            | Method::UpdateParticipant
            | Method::UpdateSubscriptions
            | Method::SendData
            | Method::UpdateRoomMetadata
            | Method::ForwardParticipant
            | Method::MoveParticipant
            | Method::PerformRpc => [false, false, true, false, false],
        };
        assert_eq!(granted, expect, "{method:?}");
    }
    assert!(Method::GetParticipant.is_granted(&admin, None));
    assert!(!Method::GetParticipant.is_granted(&admin, Some("blue")));
    let roomless = claims(|video| video.room_admin = true);
    assert!(!Method::GetParticipant.is_granted(&roomless, Some("")));
}

#[test]
fn null_is_as_good_as_absent() {
    let json = |method, text: &str| Request::decode(method, Encoding::Json, text.as_bytes());
    let same = [
        (Method::ListRooms, r#"{"names":null}"#, "{}"),
        (
            Method::UpdateParticipant,
            r#"{"room":"red","identity":"ada","metadata":null,"name":null,"attributes":null,
                "permission":{"canPublish":null,"canSubscribe":true}}"#,
            r#"{"room":"red","identity":"ada","permission":{"canSubscribe":true}}"#,
        ),
        (
            Method::SendData,
            r#"{"room":"red","data":"AAAA","kind":null,"destinationIdentities":null,"topic":null,"nonce":null}"#,
            r#"{"room":"red","data":"AAAA"}"#,
        ),
    ];
    for (method, nulls, without) in same {
        let (nulls, without) = (json(method, nulls), json(method, without));
        assert!(nulls.is_ok() && nulls == without, "{method:?}");
    }
    for text in [
        r#"{"room":"red","identity":"ada","attributes":{"a":null}}"#,
        r#"{"room":"red","identity":null,"identity":"ada","metadata":null}"#,
        r#"{"room":"red","room":"red","identity":"ada","metadata":null}"#,
        r#"{"room":"red","identity":"ada","metadata":null} more"#,
    ] {
        assert!(json(Method::UpdateParticipant, text).is_err(), "{text}");
    }
    assert!(json(Method::ListRooms, r#"{"names":[null]}"#).is_err());
}

#[test]
fn both_encodings_say_the_same() {
    let update = proto::UpdateParticipantRequest {
        room: "red".into(),
        identity: "ada".into(),
        metadata: "m".repeat(METADATA_MAX),
        permission: Some(proto::ParticipantPermission { can_publish: true, ..Default::default() }),
        attributes: [("k".to_owned(), " ".repeat(60_000))].into(),
        ..Default::default()
    };
    let expect = Request::UpdateParticipant(Box::new(update.clone()));
    let method = Method::UpdateParticipant;
    let decoded = Request::decode(method, Encoding::Protobuf, &update.encode_to_vec());
    assert_eq!(decoded.as_ref(), Ok(&expect));
    let json = serde_json::to_vec(&update).unwrap();
    assert_eq!(Request::decode(method, Encoding::Json, &json).as_ref(), Ok(&expect));
    // As LiveKit's older back ends write it, with a field that nobody knows.
    let snake = br#"{"room":"red","identity":"ada","track_sid":"TR_1","muted":true,"new":[1]}"#;
    let muted = Request::decode(Method::MutePublishedTrack, Encoding::Json, snake).unwrap();
    let Request::MutePublishedTrack(request) = muted else { panic!("{muted:?}") };
    assert_eq!((request.track_sid.as_str(), request.muted), ("TR_1", true));
}

#[test]
fn what_cannot_be_meant_is_refused_and_why() {
    let check = |method: Method, json: &str, code: Code| {
        let refused = Request::decode(method, Encoding::Json, json.as_bytes()).unwrap_err();
        assert_eq!(refused.code, code, "{json}: {refused}");
    };
    check(Method::ListRooms, "", Code::Malformed);
    check(Method::ListRooms, "{\"names\":7}", Code::Malformed);
    check(
        Method::ListRooms,
        &format!("{{\"names\":[{}0]}}", "0,".repeat(FIELDS_MAX)),
        Code::Malformed,
    );
    check(Method::ListRooms, &"[".repeat(JSON_DEPTH_MAX + 1), Code::Malformed);
    check(Method::ListRooms, &" ".repeat(API_BODY_MAX + 1), Code::TooLarge);
    check(Method::ListParticipants, "{}", Code::InvalidArgument);
    check(Method::GetParticipant, r#"{"identity":"ada"}"#, Code::InvalidArgument);
    let revoke = r#"{"room":"red","identity":"ada","revokeTokenTs":"7"}"#;
    check(Method::RemoveParticipant, revoke, Code::Unimplemented);
    check(Method::SendData, r#"{"room":"red","nonce":"AAAA"}"#, Code::InvalidArgument);
    let all = format!(r#"["{}"]"#, ["a"; DESTINATIONS_MAX + 1].join("\",\""));
    let sent = format!(r#"{{"room":"red","destinationIdentities":{all}}}"#);
    check(Method::SendData, &sent, Code::InvalidArgument);
    let most = format!(r#"["{}"]"#, ["TR_a"; TRACKS_NAMED_MAX].join("\",\""));
    for (one, more) in [("[]", r#"["TR_b"]"#), (r#"["TR_b"]"#, "[]")] {
        let named = format!(
            r#"{{"room":"red","trackSids":{one},"participantTracks":[{{"trackSids":{most}}},{{"trackSids":{more}}}]}}"#
        );
        check(Method::UpdateSubscriptions, &named, Code::InvalidArgument);
    }
    check(Method::CreateRoom, "{}", Code::InvalidArgument);
    check(Method::CreateRoom, r#"{"name":"red","syncStreams":true}"#, Code::Unimplemented);
    check(Method::CreateRoom, r#"{"name":"red","agents":[{}]}"#, Code::Unimplemented);
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(NAME_MAX + 1));
    check(Method::CreateRoom, &long, Code::InvalidArgument);
    check(Method::PerformRpc, "{}", Code::Unimplemented);
    let bytes = Request::decode(Method::ListRooms, Encoding::Protobuf, &[0x0a, 0x05, 0x00]);
    assert_eq!(bytes.unwrap_err().code, Code::Malformed);
}

#[test]
fn methods_are_found_by_the_name_that_addresses_have() {
    for method in Method::ALL {
        assert_eq!(Method::named(method.name()), Some(method));
    }
    assert_eq!(Method::named("listrooms"), None);
}

/// What LiveKit's server (`livekit_room.twirp.go`) writes of messages of which nothing but a name is set.
const ROOM: &str = r#"{"sid":"","name":"red","empty_timeout":0,"departure_timeout":0,"max_participants":0,
    "creation_time":"0","creation_time_ms":"0","turn_password":"","enabled_codecs":[],"metadata":"",
    "num_participants":0,"num_publishers":0,"active_recording":false,"version":null}"#;
const PARTICIPANT: &str = r#"{"sid":"","identity":"ada","state":"JOINING","tracks":[],"metadata":"",
    "joined_at":"0","joined_at_ms":"0","name":"","version":0,"permission":null,"region":"","is_publisher":false,
    "kind":"STANDARD","attributes":{},"disconnect_reason":"UNKNOWN_REASON","kind_details":[],"data_tracks":[],
    "client_protocol":0,"capabilities":[]}"#;
const TRACK: &str = r#"{"sid":"","type":"AUDIO","name":"mic","muted":false,"width":0,"height":0,"simulcast":false,
    "disable_dtx":false,"source":"UNKNOWN","layers":[],"mime_type":"","mid":"","codecs":[],"stereo":false,
    "disable_red":false,"encryption":"NONE","stream":"","version":null,"audio_features":[],
    "backup_codec_policy":"PREFER_REGRESSION","packet_trailer_features":[]}"#;

#[test]
fn answers_in_json_have_livekits_names_and_leave_nothing_out() {
    let check = |response: Response, expect: String| {
        let json = response.encode(Encoding::Json);
        let read = |text: &[u8]| serde_json::from_slice::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&json), read(expect.as_bytes()));
    };
    let room = proto::Room { name: "red".into(), ..Default::default() };
    let ada = ParticipantInfo { identity: "ada".into(), ..Default::default() };
    let mic = TrackInfo { name: "mic".into(), ..Default::default() };
    check(Response::Done, "{}".into());
    check(Response::Rooms(Vec::new()), r#"{"rooms":[]}"#.into());
    check(Response::Rooms(vec![room.clone()]), format!(r#"{{"rooms":[{ROOM}]}}"#));
    check(Response::Rooms(vec![room.clone(); 2]), format!(r#"{{"rooms":[{ROOM},{ROOM}]}}"#));
    check(Response::Room(room), ROOM.into());
    check(Response::Participants(Vec::new()), r#"{"participants":[]}"#.into());
    let listed = format!(r#"{{"participants":[{PARTICIPANT}]}}"#);
    check(Response::Participants(vec![ada.clone()]), listed);
    check(Response::Participant(Box::new(ada)), PARTICIPANT.into());
    check(Response::Track(Box::new(mic)), format!(r#"{{"track":{TRACK}}}"#));
}

#[test]
fn answers_in_json_say_all_that_answers_in_protobuf_say() {
    let (info, room) = (full_participant(), full_room());
    let json = Response::Participants(vec![info.clone()]).encode(Encoding::Json);
    let read: proto::ListParticipantsResponse = serde_json::from_slice(&json).unwrap();
    assert!(read.participants == [info.clone()], "{}", String::from_utf8_lossy(&json));
    let json = Response::Room(room.clone()).encode(Encoding::Json);
    assert!(serde_json::from_slice::<proto::Room>(&json).unwrap() == room);
    for name in ["\"creation_time\":\"1700000000\"", "\"num_participants\":5"] {
        assert!(String::from_utf8_lossy(&json).contains(name));
    }

    let bytes = Response::Rooms(vec![room.clone()]).encode(Encoding::Protobuf);
    assert!(proto::ListRoomsResponse::decode(&*bytes).unwrap().rooms == [room]);
    let bytes = Response::Participants(vec![info.clone()]).encode(Encoding::Protobuf);
    assert!(proto::ListParticipantsResponse::decode(&*bytes).unwrap().participants == [info]);
    assert_eq!(Response::Done.encode(Encoding::Protobuf), b"");
}

fn full_room() -> proto::Room {
    proto::Room {
        sid: "RM_1".into(),
        name: "red \"and\" blue\n".into(),
        empty_timeout: 1,
        departure_timeout: 2,
        max_participants: 3,
        creation_time: 1_700_000_000,
        creation_time_ms: 1_700_000_000_007,
        turn_password: "none".into(),
        enabled_codecs: vec![proto::Codec { mime: "audio/opus".into(), fmtp_line: "f".into() }],
        metadata: "agenda".into(),
        num_participants: 5,
        num_publishers: 6,
        active_recording: true,
        version: Some(proto::TimedVersion { unix_micro: i64::MAX, ticks: 7 }),
    }
}

#[expect(deprecated, reason = "older clients read the fields that newer ones replace")]
fn full_participant() -> ParticipantInfo {
    let permission = proto::ParticipantPermission {
        can_subscribe: true,
        can_publish: true,
        can_publish_data: true,
        can_publish_sources: vec![proto::TrackSource::Camera.into()],
        hidden: true,
        recorder: true,
        can_update_metadata: true,
        agent: true,
        can_subscribe_metrics: true,
        can_manage_agent_session: true,
    };
    ParticipantInfo {
        sid: "PA_1".into(),
        identity: "ada".into(),
        state: proto::participant_info::State::Active.into(),
        tracks: vec![full_track()],
        metadata: "m".into(),
        joined_at: 1,
        joined_at_ms: 2,
        name: "Ada".into(),
        version: 3,
        permission: Some(permission),
        region: "here".into(),
        is_publisher: true,
        kind: proto::participant_info::Kind::Agent.into(),
        attributes: [("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())].into(),
        disconnect_reason: proto::DisconnectReason::RoomDeleted.into(),
        kind_details: vec![proto::participant_info::KindDetail::CloudAgent.into()],
        data_tracks: Vec::new(),
        client_protocol: 4,
        capabilities: vec![proto::client_info::Capability::CapPacketTrailer.into()],
    }
}

#[expect(deprecated, reason = "older clients read the fields that newer ones replace")]
fn full_track() -> TrackInfo {
    let layer = proto::VideoLayer {
        quality: proto::VideoQuality::High.into(),
        width: 1,
        height: 2,
        bitrate: 3,
        ssrc: u32::MAX,
        spatial_layer: 4,
        rid: "q".into(),
        repair_ssrc: 5,
    };
    let codec = proto::SimulcastCodecInfo {
        mime_type: "video/VP8".into(),
        mid: "1".into(),
        cid: "c".into(),
        layers: vec![layer.clone()],
        video_layer_mode: proto::video_layer::Mode::OneSpatialLayerPerStream.into(),
        sdp_cid: "s".into(),
    };
    TrackInfo {
        sid: "TR_1".into(),
        r#type: proto::TrackType::Video.into(),
        name: "cam".into(),
        muted: true,
        width: 6,
        height: 7,
        simulcast: true,
        disable_dtx: true,
        source: proto::TrackSource::ScreenShare.into(),
        layers: vec![layer],
        mime_type: "video/VP8".into(),
        mid: "1".into(),
        codecs: vec![codec],
        stereo: true,
        disable_red: true,
        encryption: proto::encryption::Type::Gcm.into(),
        stream: "camera".into(),
        version: Some(proto::TimedVersion { unix_micro: 8, ticks: 9 }),
        audio_features: vec![proto::AudioTrackFeature::TfStereo.into()],
        backup_codec_policy: proto::BackupCodecPolicy::Simulcast.into(),
        packet_trailer_features: vec![proto::PacketTrailerFeature::PtfUserTimestamp.into()],
    }
}

#[test]
fn requests_and_answers_do_not_print_people() {
    let request = Request::GetParticipant(proto::RoomParticipantIdentity {
        identity: "ada".into(),
        ..Default::default()
    });
    assert_eq!(format!("{request:?}"), "GetParticipant(…)");
    let info = ParticipantInfo { identity: "ada".into(), ..Default::default() };
    assert!(!format!("{:?}", Response::Participant(Box::new(info))).contains("ada"));
}
