//! Tests of `access_token2`: what Agora's own library mints, and what it never would.

use std::io::Write as _;

use ring::hmac;
use serde_json::Value;

use super::*;
use crate::grant::{Permission, Publish};
use crate::join::{JoinError, admission};
use crate::key::{App, Project, ProjectKey, RefreshKey};
use crate::token::{mint_refresh, verify as verify_token};

/// Made by `tests/judges/mint_agora.cjs`.
const MINTED: &str = include_str!("../../tests/vectors/agora.json");
/// Made by version 2.0.6 of the library and read by another reader: each with its last second.
const KNOWN: [(&str, u32, &str); 3] = [
    (
        "007eJxTYHAPMv3I1mG9W7Bq8fXLJcW7V/BUs0x8sGRCw26PT4dfnW5VYLA0N3B2NDZNSTUzSDYxMTMxTUpKTLVINDI0NTAzTDI2fvCPJTuCiYFh6ztDVkYGRgYWBkYGHUYGBiYwyQwmWcCkAoN5irmRsZlpapKlhbGJhamxpXmqcapxmmWKiZlBUkpKIheDkYWFkbGJoZG5MQA/xCmm",
        600,
        "2882341273",
    ),
    (
        "007eJxTYNA7snSKS4lFtFYP/+F/8WnpZ3XULB4LxO9bmMC1f9Le7igFBktzA2dHY9OUVDODZBMTMxPTpKTEVItEI0NTAzPDJGPjB/9YsiOYGBgU+A8wMTJAoA4jA4MCg3mKuZGxmWlqkqWFsYmFqbGleapxqnGaZYqJmUFSSkoiAwMARJ8jnw==",
        600,
        "",
    ),
    (
        "007eJxTYBBbsMMnKq7p9Hf/HcIX5kce9b518kCiQgSr5Zrp4X1Tu6UUGCzNDZwdjU1TUs0Mkk1MzExMk5ISUy0SjQxNDcwMk4yN3b8IMEQwMTAwMoAwBIL4CgzmKeZGxmamqUmWFsYmFqbGluapxqnGaZYpJmYGSSkpiVwMRhYWRsYmhkbmxgDCaiTj",
        600,
        "2882341273",
    ),
];

fn vectors() -> Value {
    serde_json::from_str(MINTED).unwrap()
}

fn issued() -> u64 {
    vectors()["issued"].as_u64().unwrap()
}

fn minted(name: &str) -> String {
    vectors()["tokens"][name].as_str().unwrap().to_owned()
}

fn app() -> App {
    let vectors = vectors();
    App::new(vectors["app"].as_str().unwrap(), vectors["certificate"].as_str().unwrap()).unwrap()
}

fn keys() -> ProjectKeys {
    ProjectKeys::new(RefreshKey::new(&[7; 32]), [Project::App(app())]).unwrap()
}

fn at(name: &str, after: u64) -> Result<VerifiedToken, TokenError> {
    verify_token(&keys(), &minted(name), issued() + after)
}

/// A token over any body, rightly signed if the body begins as one does.
fn forge(after_app: &[u8]) -> String {
    let vectors = vectors();
    let text = |text: &[u8]| [&u16::try_from(text.len()).unwrap().to_le_bytes(), text].concat();
    let body = [text(vectors["app"].as_str().unwrap().as_bytes()), after_app.to_vec()].concat();
    let under = |key: &[u8], message: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
    };
    let number = |at: usize| after_app.get(at..at + 4).unwrap_or(&[0; 4]).to_vec();
    let key = under(&number(0), vectors["certificate"].as_str().unwrap().as_bytes());
    let signature = under(&under(&number(8), &key), &body);
    compress(&[text(&signature), body].concat())
}

fn compress(content: &[u8]) -> String {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    format!("{VERSION}{}", STANDARD.encode(encoder.finish().unwrap()))
}

fn inflated(token: &str) -> Vec<u8> {
    inflate(&STANDARD.decode(token.strip_prefix(VERSION).unwrap()).unwrap()).unwrap()
}

#[test]
fn known_tokens_mean_what_another_reader_reads_in_them() {
    for (token, lasts, user) in KNOWN {
        let content = inflated(token);
        let issued = u32::from_le_bytes(content[68..72].try_into().unwrap());
        let believed = verify_token(&keys(), token, issued.into()).unwrap();
        assert_eq!(believed.claims.identity, user);
        let video = believed.claims.video.as_ref().unwrap();
        assert_eq!(video.room, "7d72365eb983485397e3e3f9d460bdda");
        assert!(video.room_join);
        assert_eq!(believed.claims.expires_at, u64::from(issued + lasts));
        let end = verify_token(&keys(), token, u64::from(issued) + 600).unwrap_err();
        assert_eq!(end, TokenError::Expired);
    }
}

#[test]
fn channel_user_and_privileges_become_room_identity_and_rights_that_end() {
    let token = at("each_its_end", 0).unwrap();
    let admitted = admission(&token.claims).unwrap();
    assert_eq!((admitted.room.expose(), admitted.identity.expose()), ("room", "ada"));
    let publish = |after| token.permission(issued() + after).map(|held| held.publish);
    assert_eq!(publish(199), Some(Publish::Anything));
    let Some(Publish::Only(sound)) = publish(200) else { panic!("{:?}", publish(200)) };
    assert!(sound.iter().all(|source| source.kind() == Some(model::TrackKind::Audio)));
    assert_eq!(publish(300), Some(Publish::Nothing));
    assert_eq!(publish(600), None);
    let data = |after| token.permission(issued() + after).unwrap().publish_data;
    assert!(data(99) && !data(100));
    assert!(at("each_its_end", 599).is_ok());
    assert_eq!(at("each_its_end", 600).unwrap_err(), TokenError::Expired);
}

#[test]
fn a_privilege_that_is_not_there_is_not_granted() {
    let permission = |name| -> Permission { at(name, 0).unwrap().permission(issued()).unwrap() };
    let join = permission("join_alone");
    assert!(join.subscribe && !join.publish_data && join.publish == Publish::Nothing);
    let sound = permission("sound_alone");
    let sources = [model::TrackSource::Microphone, model::TrackSource::ScreenShareAudio];
    assert_eq!(sound.publish, Publish::Only(sources.into()));
    assert!(!sound.publish_data);
    assert_eq!(at("sound_alone", 0).unwrap().claims.identity, "7");
    let refused = |name| admission(&at(name, 0).unwrap().claims).unwrap_err();
    assert_eq!(refused("no_join"), JoinError::NoJoinGrant);
    assert_eq!(refused("without_calls"), JoinError::NoJoinGrant);
}

#[test]
fn no_right_outlives_the_token() {
    let token = at("privileges_as_long_as_the_token", 0).unwrap();
    assert_eq!(token.ends.next(issued()), Some(issued() + 900));
    assert!(at("privileges_as_long_as_the_token", 899).is_ok());
    assert_eq!(at("privileges_as_long_as_the_token", 900).unwrap_err(), TokenError::Expired);
    let short = at("privileges_longer_than_the_token", 0).unwrap().ends;
    let end = Some(issued() + 60);
    assert_eq!(short, Ends { join: end, audio: end, video: end, data: end });
}

#[test]
fn nobody_and_nowhere_are_refused_with_400() {
    let refused = |name| admission(&at(name, 0).unwrap().claims).unwrap_err();
    for (name, expect) in [
        ("user_zero", JoinError::NoIdentity),
        ("account_zero", JoinError::NoIdentity),
        ("any_channel", JoinError::NoRoom),
        ("no_channel", JoinError::NoRoom),
    ] {
        assert_eq!(refused(name), expect, "{name}");
        assert_eq!(refused(name).status(), 400);
    }
}

#[test]
fn other_services_are_passed_over_and_two_rooms_are_none() {
    assert_eq!(at("beside_other_services", 0).unwrap().ends, at("each_its_end", 0).unwrap().ends);
    assert_eq!(at("two_rooms", 0).unwrap_err(), TokenError::SeveralRooms);
}

#[test]
fn what_the_certificate_did_not_sign_is_refused() {
    assert_eq!(at("another_certificate", 0).unwrap_err(), TokenError::BadSignature);
    let good = inflated(&minted("each_its_end"));
    for at in 2..good.len() {
        let mut changed = good.clone();
        changed[at] ^= 1;
        let refused = verify_token(&keys(), &compress(&changed), issued());
        assert!(refused.is_err(), "byte {at} changed");
    }
    // An app is no API key and an API key no app, though they had the same name and secret.
    let vectors = vectors();
    let (id, secret) = (vectors["app"].as_str().unwrap(), vectors["certificate"].as_str().unwrap());
    let key = ProjectKey::hs256(id, secret.as_bytes()).unwrap();
    let shared = ProjectKeys::new(RefreshKey::new(&[7; 32]), [key.clone().into()]).unwrap();
    let refused = verify_token(&shared, &minted("each_its_end"), issued()).unwrap_err();
    assert_eq!(refused, TokenError::UnknownKey);
    let claims = Claims { expires_at: issued() + 9, ..Claims::default() };
    let refused = verify_token(&keys(), &crate::token::mint(&key, &claims), issued()).unwrap_err();
    assert_eq!(refused, TokenError::UnknownKey);
}

#[test]
fn a_bomb_is_refused_at_the_bound() {
    let bomb = compress(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000);
    let longest = "A".repeat(crate::limits::TOKEN_MAX);
    assert_eq!(
        verify_token(&keys(), &format!("{VERSION}{longest}"), issued()).unwrap_err(),
        TokenError::TooLong
    );
    let small = compress(&vec![0; ACCESS_TOKEN_MAX + 1]);
    assert!(small.len() < crate::limits::TOKEN_MAX);
    assert_eq!(verify_token(&keys(), &small, issued()).unwrap_err(), TokenError::TooLong);
}

#[test]
fn a_body_that_lies_about_its_lengths_is_malformed() {
    let head = |services: u16| {
        let issued = u32::try_from(issued()).unwrap();
        let numbers = [issued, 900, 1].map(u32::to_le_bytes).concat();
        [&numbers[..], &services.to_le_bytes()].concat()
    };
    let forged = |rest: &[u8], services| {
        let token = forge(&[head(services), rest.to_vec()].concat());
        verify_token(&keys(), &token, issued())
    };
    assert!(forged(&[], 0).unwrap().claims.video.is_none());
    assert_eq!(forged(&[], 1).unwrap_err(), TokenError::Malformed);
    assert_eq!(forged(&[1, 0, 255, 255], 1).unwrap_err(), TokenError::Malformed);
    assert_eq!(forged(&[1, 0, 0, 0, 255, 255], 1).unwrap_err(), TokenError::Malformed);
    assert_eq!(forged(&[1, 0, 0, 0, 1, 0, 255, 0, 0], 1).unwrap_err(), TokenError::Malformed);
    for text in ["", "!", "eJw=", &STANDARD.encode(b"plain")] {
        let refused = verify_token(&keys(), &format!("{VERSION}{text}"), issued()).unwrap_err();
        assert_eq!(refused, TokenError::Malformed, "{text}");
    }
    let (mut early, good) = (inflated(&minted("each_its_end")), minted("each_its_end"));
    early.push(0);
    assert_eq!(
        verify_token(&keys(), &compress(&early), issued()).unwrap_err(),
        TokenError::BadSignature
    );
    let before = verify_token(&keys(), &good, issued() - CLOCK_LEEWAY_S - 1).unwrap_err();
    assert_eq!(before, TokenError::NotYetValid);
}

#[test]
fn a_refresh_keeps_id_rights_and_ends() {
    let token = at("each_its_end", 0).unwrap();
    let refreshed = mint_refresh(&keys(), &token, issued()).unwrap();
    let believed = verify_token(&keys(), &refreshed, issued() + 599).unwrap();
    assert_eq!((believed.id, believed.ends), (token.id, token.ends));
    assert_eq!(believed.issued_at(), Some(issued()));
    assert!(believed.claims == token.claims);
    let end = verify_token(&keys(), &refreshed, issued() + 600).unwrap_err();
    assert_eq!(end, TokenError::Expired);
    let none = ProjectKeys::new(RefreshKey::new(&[7; 32]), []).unwrap();
    assert_eq!(verify_token(&none, &refreshed, issued()).unwrap_err(), TokenError::UnknownKey);
    // The same content in another compression is the same token.
    let again = compress(&inflated(&minted("each_its_end")));
    assert_ne!(again, minted("each_its_end"));
    assert_eq!(verify_token(&keys(), &again, issued()).unwrap().id, token.id);
    for form in [again, minted("each_its_end"), refreshed] {
        assert_eq!(crate::token::claimed_id(&form), Ok(token.id));
    }
}

/// The key of refresh tokens follows from the certificate, so whoever holds that can sign one.
#[test]
fn a_refresh_token_says_no_more_than_its_original_can() {
    let token = at("each_its_end", 0).unwrap();
    let more = Claims {
        kind: "agent".into(),
        room_preset: "stage".into(),
        room_config: Some(serde_json::json!({"maxParticipants": 1})),
        video: token.claims.video.clone().map(|video| VideoGrant {
            room_admin: true,
            room_list: true,
            hidden: true,
            recorder: true,
            can_update_own_metadata: Some(true),
            ..video
        }),
        ..token.claims.clone()
    };
    let forged = VerifiedToken { claims: more, ..token.clone() };
    for signed in [&token, &forged] {
        let refreshed = mint_refresh(&keys(), signed, issued()).unwrap();
        let believed = verify_token(&keys(), &refreshed, issued()).unwrap();
        assert!(believed.claims == token.claims);
        let nowhere = VerifiedToken { ends: Ends::default(), ..signed.clone() };
        let refreshed = mint_refresh(&keys(), &nowhere, issued()).unwrap();
        let video = verify_token(&keys(), &refreshed, issued()).unwrap().claims.video.unwrap();
        assert!(!video.room_join && video.can_publish == Some(false), "without an end no right");
    }
}

#[test]
fn a_refresh_token_says_what_a_moderator_has_made_of_its_holder() {
    let token = at("each_its_end", 0).unwrap();
    let video = token.claims.video.clone().map(|video| VideoGrant {
        can_publish: Some(false),
        can_publish_data: Some(false),
        can_subscribe: Some(false),
        ..video
    });
    let claims = Claims { name: "Guest 7".into(), video, ..token.claims.clone() };
    let moderated = VerifiedToken { claims, ..token };
    let refreshed = mint_refresh(&keys(), &moderated, issued()).unwrap();
    let believed = verify_token(&keys(), &refreshed, issued()).unwrap();
    assert_eq!(believed.claims.permission(), moderated.claims.permission());
    assert_eq!(believed.claims.name, "Guest 7");
}

#[test]
fn apps_are_named_in_hexadecimal_and_their_certificates_do_not_print() {
    let good = "0123456789abcdef0123456789ABCDEF";
    assert!(App::new(good, good).is_ok());
    for (id, certificate) in [("", good), (good, &good.repeat(2)), (good, &good.replace('0', "g"))]
    {
        assert_eq!(App::new(id, certificate).unwrap_err(), crate::key::KeyError::NotHexadecimal);
    }
    assert!(!format!("{:?}", app()).contains("5CFd"));
}
