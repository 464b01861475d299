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

#[test]
#[expect(deprecated, reason = "older clients read the fields that newer ones replace")]
fn a_client_with_numbers_that_nobody_knows_hides_nobody() {
    let layer = proto::VideoLayer { quality: 99, ..Default::default() };
    let track = TrackInfo {
        audio_features: vec![1, 99],
        packet_trailer_features: vec![99],
        backup_codec_policy: 99,
        layers: vec![layer.clone()],
        codecs: vec![proto::SimulcastCodecInfo { layers: vec![layer], ..Default::default() }],
        ..Default::default()
    };
    let odd = ParticipantInfo {
        identity: "eve".into(),
        capabilities: vec![1, 99],
        tracks: vec![track.clone()],
        ..Default::default()
    };
    let all = Response::Participants(vec![odd.clone(), ParticipantInfo::default()]);
    let text = String::from_utf8(all.encode(Encoding::Json).unwrap()).unwrap();
    assert!(text.contains("eve") && text.contains("CAP_PACKET_TRAILER"), "{text}");
    assert!(Response::Participant(Box::new(odd)).encode(Encoding::Json).is_ok());
    assert!(Response::Track(Box::new(track)).encode(Encoding::Json).is_ok());
}

#[test]
fn answers_are_written_as_clients_read_them() {
    let room = proto::Room { name: "red".into(), num_participants: 2, ..Default::default() };
    let json = Response::Rooms(vec![room.clone()]).encode(Encoding::Json).unwrap();
    assert_eq!(json, br#"{"rooms":[{"name":"red","numParticipants":2}]}"#);
    let bytes = Response::Rooms(vec![room.clone()]).encode(Encoding::Protobuf).unwrap();
    assert_eq!(proto::ListRoomsResponse::decode(&*bytes).unwrap().rooms, [room]);
    assert_eq!(Response::Done.encode(Encoding::Json).unwrap(), b"{}");
    assert_eq!(Response::Done.encode(Encoding::Protobuf).unwrap(), b"");
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
