//! Tests of `join`: what must be read, and what must be refused.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;
use crate::grant::VideoGrant;
use crate::limits::FIELDS_MAX;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn wrap(compression: i32, join_request: Vec<u8>) -> String {
    let wrapper = WrappedJoinRequest { compression, join_request };
    BASE64.encode(wrapper.encode_to_vec())
}

fn request() -> JoinRequest {
    JoinRequest { metadata: "m".into(), participant_sid: "PA_x".into(), ..JoinRequest::default() }
}

#[test]
fn queries_give_the_token_and_the_join_request() {
    let check = |raw: &str, token: Option<&str>, request: Option<&str>| {
        let query = JoinQuery::parse(raw).unwrap();
        let parsed = query.access_token.as_ref().map(|token| &**token.expose());
        assert_eq!((parsed, query.join_request.as_deref()), (token, request), "{raw}");
    };
    check("", None, None);
    check("join_request=YQ==&access_token=a.b-_", Some("a.b-_"), Some("YQ=="));
    check("a&join_request=YQ%3D%3d&x=%&&=1", None, Some("YQ=="));
    check("access%5Ftoken=a%2Eb", Some("a.b"), None);
    check("join_request=&access_token", None, None);
    check("join_request=a+b", None, Some("a b"));
}

#[test]
fn queries_that_can_be_read_two_ways_are_refused() {
    let check = |raw: &str, error: JoinError, status: u16| {
        assert_eq!(JoinQuery::parse(raw).unwrap_err(), error, "{raw}");
        assert_eq!(error.status(), status);
    };
    check("access_token=a&access_token=a", JoinError::ParameterTwice, 400);
    check("join_request=a&join_request=", JoinError::ParameterTwice, 400);
    for raw in ["access_token=%", "join_request=%4", "join_request=%zz", "%+1=a", "%ff=a"] {
        check(raw, JoinError::QueryMalformed, 400);
    }
    check(&"a".repeat(REQUEST_LINE_MAX + 1), JoinError::QueryTooLong, 414);
}

#[test]
fn join_requests_come_plain_and_compressed_padded_and_not() {
    let plain = request().encode_to_vec();
    for text in [wrap(0, plain.clone()), wrap(1, gzip(&plain))] {
        assert_eq!(decode_join_request(&text), Ok(request()));
        assert_eq!(decode_join_request(text.trim_end_matches('=')), Ok(request()));
    }
}

#[test]
fn bombs_are_not_inflated_beyond_the_limit() {
    let zeros = gzip(&vec![0; JOIN_REQUEST_MAX * 10]);
    let text = wrap(1, zeros);
    assert!(text.len() < REQUEST_LINE_MAX, "the bomb must get as far as the inflater");
    assert_eq!(decode_join_request(&text), Err(JoinError::TooLarge));
    let crowd = gzip(&[0x2a, 0x00].repeat(FIELDS_MAX + 1));
    let error = decode_join_request(&wrap(1, crowd));
    assert_eq!(error, Err(JoinError::Shape(ShapeError::TooMany)));
}

#[test]
fn what_follows_or_is_missing_is_refused() {
    let compressed = gzip(&request().encode_to_vec());
    let trailing = [&compressed[..], b"x"].concat();
    assert_eq!(decode_join_request(&wrap(1, trailing)), Err(JoinError::NotGzip));
    let twice = [&compressed[..], &compressed[..]].concat();
    assert_eq!(decode_join_request(&wrap(1, twice)), Err(JoinError::NotGzip));
    for len in 0..compressed.len() {
        let cut = compressed[..len].to_vec();
        assert_eq!(decode_join_request(&wrap(1, cut)), Err(JoinError::NotGzip), "{len}");
    }
    let unknown = decode_join_request(&wrap(2, compressed.clone()));
    assert_eq!(unknown, Err(JoinError::UnknownCompression));
    assert_eq!(decode_join_request(&wrap(0, compressed)), Err(JoinError::Undecodable));
    for text in ["!", "YQ==YQ==", "YQ= =", "+/+/", "CgV4"] {
        assert_eq!(decode_join_request(text), Err(JoinError::WrapperUndecodable), "{text}");
    }
    let long = "A".repeat(REQUEST_LINE_MAX + 1);
    assert_eq!(decode_join_request(&long), Err(JoinError::TooLarge));
}

fn claims(identity: &str, room: &str, room_join: bool) -> Claims {
    let video = VideoGrant { room_join, room: room.into(), ..VideoGrant::default() };
    Claims { identity: identity.into(), video: Some(video), ..Claims::default() }
}

#[test]
fn a_token_admits_somebody_to_some_room_or_says_why_not() {
    let long = "x".repeat(NAME_MAX);
    let longer = "x".repeat(NAME_MAX + 1);
    assert!(admission(&claims(&long, &long, true)).is_ok());
    let check = |claims: &Claims, error: JoinError, status: u16| {
        assert_eq!(admission(claims), Err(error));
        assert_eq!(error.status(), status);
    };
    check(&Claims::default(), JoinError::NoJoinGrant, 401);
    check(&claims("a", "r", false), JoinError::NoJoinGrant, 401);
    check(&claims("", "r", true), JoinError::NoIdentity, 400);
    check(&claims("a", "", true), JoinError::NoRoom, 400);
    check(&claims(&longer, "r", true), JoinError::IdentityTooLong, 400);
    check(&claims("a", &longer, true), JoinError::RoomNameTooLong, 400);
}

#[test]
fn only_who_may_change_its_profile_brings_one() {
    let mut claims = claims("a", "r", true);
    claims.attributes.insert("kept".into(), "1".into());
    claims.metadata = "token's".into();
    let quiet = Profile::of_join(&claims, &JoinRequest::default()).unwrap();
    assert_eq!(quiet.metadata, "token's");

    let mut request = request();
    request.participant_attributes.insert("kept".into(), String::new());
    request.participant_attributes.insert("new".into(), "2".into());
    let refused = Profile::of_join(&claims, &request).unwrap_err();
    assert_eq!((refused, refused.status()), (JoinError::NoMetadataGrant, 401));

    claims.video.as_mut().unwrap().can_update_own_metadata = Some(true);
    let profile = Profile::of_join(&claims, &request).unwrap();
    assert_eq!(profile.metadata, "m");
    let expect = [("kept", "1"), ("new", "2")].map(|(key, value)| (key.into(), value.into()));
    assert_eq!(profile.attributes, BTreeMap::from(expect));

    request.metadata = "m".repeat(METADATA_MAX + 1);
    let refused = Profile::of_join(&claims, &request).unwrap_err();
    assert_eq!(refused, JoinError::Profile(ProfileError::Metadata));
}

proptest! {
    #[test]
    fn any_text_ends_in_a_value_or_an_error(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(JoinQuery::parse(&text));
        drop(decode_join_request(&text));
        drop(decode_join_request(&BASE64.encode(&bytes)));
        drop(decode_join_request(&wrap(0, bytes.clone())));
        drop(decode_join_request(&wrap(1, gzip(&bytes))));
    }
}
