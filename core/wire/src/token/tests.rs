//! Tests of `token`: what must be read, and what must be refused.

use std::collections::BTreeMap;

use base64::engine::general_purpose::URL_SAFE;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::grant::VideoGrant;
use crate::key::{KeyPair, Project, PublicKeys, PublicProject, RefreshKey};
use crate::limits::{CHANGED_TIME_MAX_S, DATE_MAX, JSON_DEPTH_MAX, METADATA_MAX};

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn key() -> ProjectKey {
    ProjectKey::hs256("project", SECRET).unwrap()
}

fn keys() -> ProjectKeys {
    ProjectKeys::new(RefreshKey::new(&[7; 32]), [key().into()]).unwrap()
}

/// A token of any header and claims with a right HMAC over them.
fn forge(header: &str, claims: &str) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key().sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn sign_claims(claims: &str) -> String {
    forge(r#"{"alg":"HS256","typ":"JWT"}"#, claims)
}

fn refuse(token: &str) -> TokenError {
    verify(&keys(), token, NOW).unwrap_err()
}

fn claims() -> Claims {
    Claims {
        identity: "alice".into(),
        expires_at: NOW + 3600,
        name: "Alice".into(),
        metadata: "{\"a\":1}".into(),
        attributes: BTreeMap::from([("k".into(), "v".into())]),
        room_config: Some(json!({"emptyTimeout": 300, "agents": [{"agentName": "echo"}]})),
        video: Some(VideoGrant {
            room_join: true,
            room: "room".into(),
            can_publish: Some(false),
            ..VideoGrant::default()
        }),
        ..Claims::default()
    }
}

#[test]
fn a_minted_token_verifies_to_what_it_was_minted_from() {
    let verified = verify(&keys(), &mint(&key(), &claims()), NOW).unwrap();
    assert!(verified.claims == claims());
    assert_eq!((&**verified.issuer.expose(), verified.kind), ("project", TokenKind::Original));
}

#[test]
fn signatures_of_other_keys_are_refused() {
    let other = ProjectKey::hs256("project", b"another secret of the same length").unwrap();
    assert_eq!(refuse(&mint(&other, &claims())), TokenError::BadSignature);
    let stranger = ProjectKey::hs256("stranger", SECRET).unwrap();
    assert_eq!(refuse(&mint(&stranger, &claims())), TokenError::UnknownKey);
    let token = mint(&key(), &claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(refuse(&format!("{signed}.")), TokenError::BadSignature);
    let cut = URL_SAFE_NO_PAD.encode(&URL_SAFE_NO_PAD.decode(signature).unwrap()[..31]);
    assert_eq!(refuse(&format!("{signed}.{cut}")), TokenError::BadSignature);
}

#[test]
fn the_header_names_the_algorithm_of_the_key_or_the_token_is_refused() {
    let claims = json!({"iss": "project", "sub": "a", "exp": NOW + 9}).to_string();
    let algorithms = [
        "none", "None", "NONE", "", "hs256", "HS384", "HS512", "RS256", "PS256", "ES256", "EdDSA",
        "HS256 ",
    ];
    for algorithm in algorithms {
        let token = forge(&json!({"alg": algorithm}).to_string(), &claims);
        assert_eq!(refuse(&token), TokenError::WrongAlgorithm, "{algorithm}");
        let (signed, _) = token.rsplit_once('.').unwrap();
        assert_eq!(refuse(&format!("{signed}.")), TokenError::WrongAlgorithm, "{algorithm}");
    }
    let critical = forge(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &claims);
    assert_eq!(refuse(&critical), TokenError::Extension);
    let headers = [
        "{}",
        r#"{"typ":"JWT"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        "",
        "7",
    ];
    for header in headers {
        assert_eq!(refuse(&forge(header, &claims)), TokenError::Malformed, "{header}");
    }
}

#[test]
fn dates_are_kept_with_a_minute_of_leeway() {
    let at = |exp: u64, nbf: u64, now: u64| {
        let token = sign_claims(&json!({"iss": "project", "exp": exp, "nbf": nbf}).to_string());
        verify(&keys(), &token, now).map(|token| token.claims.expires_at)
    };
    assert_eq!(at(NOW, NOW, NOW + 59), Ok(NOW));
    assert_eq!(at(NOW, NOW, NOW + 60), Err(TokenError::Expired));
    assert_eq!(at(NOW + 99, NOW, NOW - 60), Ok(NOW + 99));
    assert_eq!(at(NOW + 99, NOW, NOW - 61), Err(TokenError::NotYetValid));
    assert_eq!(at(DATE_MAX, 0, u64::MAX), Err(TokenError::Expired));
    assert_eq!(at(DATE_MAX, 0, 0), Ok(DATE_MAX));
}

#[test]
fn an_expiry_is_there_and_is_a_date() {
    let with = |exp: &str| sign_claims(&format!(r#"{{"iss":"project","sub":"a"{exp}}}"#));
    assert_eq!(refuse(&with("")), TokenError::NoExpiry);
    assert_eq!(refuse(&with(r#","exp":null"#)), TokenError::NoExpiry);
    let no_dates = [
        "-1",
        "-1.5",
        "1e300",
        "1e999",
        "18446744073709551615",
        "99999999999999999999999",
        "253402300800",
        "\"1900000000\"",
        "true",
        "[1]",
        "{}",
        "NaN",
        "1900000000000",
    ];
    for exp in no_dates {
        assert_eq!(refuse(&with(&format!(r#","exp":{exp}"#))), TokenError::Malformed, "{exp}");
    }
    let verified = verify(&keys(), &with(r#","exp":1800000007.9"#), NOW).unwrap();
    assert_eq!(verified.claims.expires_at, 1_800_000_007);
    assert_eq!(
        verify(&keys(), &with(r#","exp":1.9e9"#), NOW).unwrap().claims.expires_at,
        1_900_000_000
    );
    assert_eq!(refuse(&with(r#","exp":1900000000,"nbf":-1"#)), TokenError::Malformed);
}

#[test]
fn claims_said_twice_are_refused() {
    let rest = r#""exp":1900000000"#;
    let twice = [
        r#""iss":"project","sub":"a","sub":"b""#,
        r#""iss":"project","exp":1900000000"#,
        r#""iss":"project","iss":"project""#,
        r#""iss":"project","name":"a","name":"b""#,
        r#""iss":"project","video":{},"video":{"roomAdmin":true}"#,
        r#""iss":"project","video":{"room":"a","room":"b"}"#,
    ];
    for claims in twice {
        let token = sign_claims(&format!("{{{claims},{rest}}}"));
        assert_eq!(refuse(&token), TokenError::Malformed, "{claims}");
    }
}

#[test]
fn claims_nobody_knows_are_ignored_and_null_is_absent() {
    let token = sign_claims(
        r#"{"iss":"project","sub":"a","exp":1900000000,"agentEndpoint":{"call":true},"x":[[]],
        "name":null,"metadata":null,"attributes":null,"video":{"roomJoin":null,"room":null},
        "roomConfig":null,"sip":null,"kindDetails":null,"nbf":null,"jti":null,"iat":17.5}"#,
    );
    let claims = verify(&keys(), &token, NOW).unwrap().claims;
    assert_eq!(claims.video, Some(VideoGrant::default()));
    assert_eq!((&*claims.name, claims.room_config.is_none()), ("", true));
}

#[test]
fn a_token_says_how_the_room_is_to_be() {
    let config = |config: Value| Claims { room_config: Some(config), ..claims() }.room_config();
    let wanted = RoomConfig {
        empty_timeout: 300,
        departure_timeout: 0,
        max_participants: 2,
        metadata: "agenda".into(),
    };
    let agents = json!([{"agentName": "echo"}]);
    for said in [
        json!({"emptyTimeout": 300, "maxParticipants": 2, "metadata": "agenda", "agents": agents}),
        json!({"empty_timeout": 300, "max_participants": 2, "metadata": "agenda", "name": null}),
    ] {
        assert_eq!(config(said), Ok(wanted.clone()));
    }
    assert_eq!(Claims::default().room_config(), Ok(RoomConfig::default()));
    let metadata = |len: usize| json!({"metadata": "m".repeat(len)});
    assert!(config(metadata(METADATA_MAX)).is_ok());
    for wrong in [
        json!([1]),
        json!({"maxParticipants": -1}),
        json!({"maxParticipants": "many"}),
        metadata(METADATA_MAX + 1),
    ] {
        let expect = Err(RoomConfigError::Malformed);
        assert_eq!(config(wrong), expect, "a bound that is not understood is none");
    }
    for recorded in [json!({}), json!({"room": {"roomName": "red"}}), json!([])] {
        assert_eq!(config(json!({"egress": recorded})), Err(RoomConfigError::Egress));
    }
    assert!(config(json!({"egress": null, "agents": null})).is_ok());
    let wants = |config: Value| Claims { room_config: Some(config), ..claims() }.wants_agents();
    assert!(wants(json!({"agents": [{"agentName": "echo"}]})));
    for nobody in [json!({}), json!({"agents": []}), json!({"agents": null}), json!([])] {
        assert!(!wants(nobody));
    }
}

#[test]
fn the_identity_is_sub_else_jti() {
    let identity = |claims: Value| {
        verify(&keys(), &sign_claims(&claims.to_string()), NOW).unwrap().claims.identity
    };
    assert_eq!(identity(json!({"iss": "project", "exp": NOW, "sub": "s", "jti": "j"})), "s");
    assert_eq!(identity(json!({"iss": "project", "exp": NOW, "jti": "j"})), "j");
    assert_eq!(identity(json!({"iss": "project", "exp": NOW, "sub": "", "jti": "j"})), "j");
    assert_eq!(identity(json!({"iss": "project", "exp": NOW})), "");
}

#[test]
fn malformed_tokens_are_refused() {
    let good = mint(&key(), &claims());
    let padded = {
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
        format!("{signed}.{}", URL_SAFE.encode(raw))
    };
    let tokens = ["", ".", "..", "a.b", "...", &format!("{good}.x"), &format!(" {good}"), &padded];
    for token in tokens {
        assert_eq!(refuse(token), TokenError::Malformed, "{token}");
    }
    assert_eq!(refuse(&format!("Bearer {good}")), TokenError::Malformed);
    assert_eq!(refuse(&sign_claims("{} {}")), TokenError::Malformed);
    assert_eq!(refuse(&sign_claims("[]")), TokenError::Malformed);
    assert_eq!(refuse(&sign_claims(r#"{"exp":1900000000}"#)), TokenError::NoIssuer);
    let trailing = sign_claims(r#"{"iss":"project","exp":1900000000}x"#);
    assert_eq!(refuse(&trailing), TokenError::Malformed);
}

#[test]
fn long_and_deep_tokens_are_refused_before_they_are_parsed() {
    let long = Claims { metadata: "m".repeat(TOKEN_MAX), ..claims() };
    assert_eq!(refuse(&mint(&key(), &long)), TokenError::TooLong);
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        sign_claims(&format!(r#"{{"iss":"project","exp":1900000000,"x":{open}{close}}}"#))
    };
    assert!(verify(&keys(), &deep(JSON_DEPTH_MAX - 1), NOW).is_ok());
    assert_eq!(refuse(&deep(JSON_DEPTH_MAX)), TokenError::Shape(ShapeError::TooDeep));
}

#[test]
fn a_refresh_token_is_its_original_again() {
    let keys = keys();
    let original = verify(&keys, &mint(&key(), &claims()), NOW).unwrap();
    let mut token = mint_refresh(&keys, &original, NOW).unwrap();
    for _ in 0..3 {
        let refreshed = verify(&keys, &token, NOW + 3600).unwrap();
        assert_eq!(refreshed.kind, TokenKind::Refresh);
        assert_eq!((refreshed.id, &refreshed.issuer), (original.id, &original.issuer));
        assert!(refreshed.claims == original.claims);
        token = mint_refresh(&keys, &refreshed, NOW).unwrap();
    }
    assert_eq!(verify(&keys, &token, NOW + 3660).unwrap_err(), TokenError::Expired);
}

#[test]
fn a_refresh_token_that_says_what_a_moderator_gave_is_good_for_ten_minutes() {
    let keys = keys();
    let mut changed = verify(&keys, &mint(&key(), &claims()), NOW).unwrap();
    changed.is_changed = true;
    let token = mint_refresh(&keys, &changed, NOW).unwrap();
    let last = NOW + CHANGED_TIME_MAX_S + CLOCK_LEEWAY_S - 1;
    assert_eq!(verify(&keys, &token, last + 1).unwrap_err(), TokenError::Expired);
    let refreshed = verify(&keys, &token, last).unwrap();
    assert!(
        refreshed.is_changed && refreshed.claims == changed.claims,
        "its own end is no right's"
    );
    // The next lasts as long again, and no longer than the original.
    let next = mint_refresh(&keys, &refreshed, last).unwrap();
    assert!(verify(&keys, &next, last + 60).unwrap().is_changed);
    assert_eq!(verify(&keys, &next, NOW + 3660).unwrap_err(), TokenError::Expired);
    let late = mint_refresh(&keys, &refreshed, NOW + 3500).unwrap();
    assert_eq!(verify(&keys, &late, NOW + 3660).unwrap_err(), TokenError::Expired);
    assert!(verify(&keys, &late, NOW + 3659).is_ok());
}

#[test]
fn refresh_tokens_die_with_the_key_of_their_original() {
    let keys = keys();
    let original = verify(&keys, &mint(&key(), &claims()), NOW).unwrap();
    let token = mint_refresh(&keys, &original, NOW).unwrap();
    let without = ProjectKeys::new(RefreshKey::new(&[7; 32]), []).unwrap();
    assert_eq!(verify(&without, &token, NOW).unwrap_err(), TokenError::UnknownKey);
    let other = ProjectKey::hs256("project", &[9; 32]).unwrap();
    let other = ProjectKeys::new(RefreshKey::new(&[7; 32]), [other.into()]).unwrap();
    assert_eq!(verify(&other, &token, NOW).unwrap_err(), TokenError::BadSignature);
    assert_eq!(mint_refresh(&without, &original, NOW), None);
}

/// One of several keys of a project, or its secret where the settings name a key of refresh tokens, which stays.
#[test]
fn refresh_tokens_die_with_the_key_of_their_original_though_their_own_stays() {
    let pairs = [KeyPair::ed25519(&random()).unwrap(), KeyPair::p256(&random()).unwrap()];
    let set = |pairs: &[KeyPair]| {
        let keys: Vec<String> = pairs
            .iter()
            .map(|pair| pair.public().to_jwks().replace(r#"{"keys":["#, "").replace("]}", ""))
            .collect();
        let jwks = PublicKeys::from_jwks(&format!(r#"{{"keys":[{}]}}"#, keys.join(","))).unwrap();
        Project::Public(PublicProject::new("public", jwks).unwrap())
    };
    let other = ProjectKey::hs256("project", &[9; 32]).unwrap();
    let keys = |public: &[KeyPair], shared: &ProjectKey| {
        let refresh = RefreshKey::shared(&[7; 32]).unwrap();
        ProjectKeys::new(refresh, [set(public), shared.clone().into()]).unwrap()
    };
    let before = keys(&pairs, &key());
    let tokens = [
        mint_with(&pairs[0], "public", &claims(), &random()).unwrap(),
        mint_with(&pairs[1], "public", &claims(), &random()).unwrap(),
        mint(&key(), &claims()),
    ];
    let originals = tokens.map(|token| verify(&before, &token, NOW).unwrap());
    let refreshed = originals.each_ref().map(|it| mint_refresh(&before, it, NOW).unwrap());
    for (after, stays) in [
        (keys(&pairs, &key()), [true, true, true]),
        (keys(&pairs[..1], &key()), [true, false, true]),
        (keys(&pairs[1..], &other), [false, true, false]),
    ] {
        for ((original, refreshed), stays) in originals.iter().zip(&refreshed).zip(stays) {
            let verified = verify(&after, refreshed, NOW).map(drop);
            assert_eq!(verified, if stays { Ok(()) } else { Err(TokenError::UnknownKey) });
            assert_eq!(mint_refresh(&after, original, NOW).is_some(), stays);
            let name = original.issuer.expose();
            assert_eq!(after.outlasts_process(name, &original.key), stays);
        }
    }
}

/// A token that the server with the key `here` refreshed is shown to one with `there` and the same project.
fn check_elsewhere(here: &RefreshKey, there: &RefreshKey, expect: Result<(), TokenError>) {
    let here = ProjectKeys::new(here.clone(), [key().into()]).unwrap();
    let original = verify(&here, &mint(&key(), &claims()), NOW).unwrap();
    let token = mint_refresh(&here, &original, NOW).unwrap();
    let there = ProjectKeys::new(there.clone(), [key().into()]).unwrap();
    assert_eq!(verify(&there, &token, NOW).map(drop), expect);
}

#[test]
fn refresh_tokens_of_a_project_with_a_secret_outlast_the_process() {
    let (one, another) = (RefreshKey::new(&[7; 32]), RefreshKey::new(&[8; 32]));
    let lasting = |byte| RefreshKey::shared(&[byte; 32]).unwrap();
    check_elsewhere(&one, &another, Ok(()));
    check_elsewhere(&lasting(7), &lasting(7), Ok(()));
    for (here, there) in [(lasting(7), lasting(8)), (one, lasting(7)), (lasting(7), another)] {
        check_elsewhere(&here, &there, Err(TokenError::BadSignature));
    }
}

#[test]
fn refresh_tokens_of_a_project_without_a_secret_outlast_the_process_by_a_key_that_does() {
    let pair = KeyPair::ed25519(&random()).unwrap();
    let project = || {
        let keys = PublicKeys::one(*pair.public());
        Project::Public(PublicProject::new("public", keys).unwrap())
    };
    let keys = |refresh| ProjectKeys::new(refresh, [project(), key().into()]).unwrap();
    let minted = mint_with(&pair, "public", &claims(), &random()).unwrap();
    let lasting = |byte| RefreshKey::shared(&[byte; 32]).unwrap();
    for (here, there, lasts, expect) in [
        (
            RefreshKey::new(&[7; 32]),
            RefreshKey::new(&[8; 32]),
            false,
            Err(TokenError::BadSignature),
        ),
        (lasting(7), lasting(7), true, Ok(())),
    ] {
        let here = keys(here);
        let original = verify(&here, &minted, NOW).unwrap();
        assert_eq!(here.outlasts_process("public", &original.key), lasts);
        assert!(here.outlasts_process("project", &key().id()));
        let token = mint_refresh(&here, &original, NOW).unwrap();
        assert!(verify(&here, &token, NOW).is_ok());
        assert_eq!(verify(&keys(there), &token, NOW).map(drop), expect);
    }
    assert!(!keys(lasting(7)).outlasts_process("nobody", &key().id()));
}

#[test]
fn no_project_mints_refresh_tokens_for_another() {
    let other = ProjectKey::hs256("other", &[9; 32]).unwrap();
    let keys = ProjectKeys::new(RefreshKey::new(&[7; 32]), [key().into(), other.clone().into()]);
    let keys = keys.unwrap();
    // What the other project can make: its own key of refresh tokens, over claims about this project's people.
    let alone = ProjectKeys::new(RefreshKey::new(&[7; 32]), [other.clone().into()]).unwrap();
    let theirs = verify(&alone, &mint(&other, &claims()), NOW).unwrap();
    let forged = VerifiedToken { issuer: ProjectName::new("project".into()), ..theirs.clone() };
    let origin = |token: &VerifiedToken| Origin {
        issuer: token.issuer.expose().clone(),
        key: URL_SAFE_NO_PAD.encode(token.key.as_bytes()),
        id: URL_SAFE_NO_PAD.encode(token.id.as_bytes()),
        ends: token.ends,
        expires_at: None,
    };
    for (token, expect) in [(&theirs, Ok(())), (&forged, Err(TokenError::BadSignature))] {
        let origin = Some(origin(token));
        let signed = signed(Algorithm::Hs256, None, REFRESH_ISSUER, &token.claims, origin);
        let signature = alone.sign_refresh("other", signed.as_bytes()).unwrap();
        assert_eq!(verify(&keys, &seal(signed, &signature), NOW).map(drop), expect);
    }
}

#[test]
fn project_keys_cannot_mint_refresh_tokens() {
    let id = URL_SAFE_NO_PAD.encode([1; 32]);
    let key = URL_SAFE_NO_PAD.encode(key().id().as_bytes());
    let origin = json!({"issuer": "project", "key": key, "id": id});
    let exp = NOW + 9;
    let forged = json!({"iss": REFRESH_ISSUER, "exp": exp, "incamera": origin});
    assert_eq!(refuse(&sign_claims(&forged.to_string())), TokenError::BadSignature);
    let claimed = json!({"iss": "project", "exp": exp, "incamera": origin});
    let verified = verify(&keys(), &sign_claims(&claimed.to_string()), NOW).unwrap();
    assert_eq!(verified.kind, TokenKind::Original);
    assert_ne!(verified.id.as_bytes(), &[1; 32]);
}

#[test]
fn a_refresh_token_that_would_be_too_long_is_not_minted() {
    let keys = keys();
    let mut long = claims();
    while mint(&key(), &long).len() < TOKEN_MAX - 64 {
        long.metadata.push_str(&"m".repeat(16));
    }
    let original = verify(&keys, &mint(&key(), &long), NOW).unwrap();
    assert_eq!(mint_refresh(&keys, &original, NOW), None);
}

#[test]
fn ids_name_tokens_and_do_not_depend_on_who_asks() {
    let id = |claims: Value| verify(&keys(), &sign_claims(&claims.to_string()), NOW).unwrap().id;
    let named = json!({"iss": "project", "exp": NOW + 1, "jti": "t1"});
    assert_eq!(id(named), TokenId::of_jti("project", "t1"));
    assert_eq!(
        id(json!({"iss": "project", "exp": NOW + 2, "jti": "t1"})),
        TokenId::of_jti("project", "t1")
    );
    assert_ne!(TokenId::of_jti("projectt", "1"), TokenId::of_jti("project", "t1"));
    assert_ne!(
        id(json!({"iss": "project", "exp": NOW + 1})),
        id(json!({"iss": "project", "exp": NOW + 2}))
    );
    let printed = TokenId::of_jti("", "").to_string();
    assert_eq!(printed.len(), 64);
}

#[test]
fn nothing_of_a_token_is_printed() {
    let token = mint(&key(), &Claims { identity: "secret-person".into(), ..claims() });
    let verified = verify(&keys(), &token, NOW).unwrap();
    assert!(!format!("{verified:?}").contains("secret-person"));
    let token = sign_claims(r#"{"iss":"project","exp":1900000000,"video":{"roomJoin":"secret"}}"#);
    let error = refuse(&token);
    assert!(!format!("{error} {error:?}").contains("secret"));
}

proptest! {
    #[test]
    fn any_text_is_refused(text in ".{0,300}") {
        prop_assert!(verify(&keys(), &text, NOW).is_err());
    }

    #[test]
    fn any_signed_bytes_end_in_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let signed = format!(
            "{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(bytes));
        let signature = URL_SAFE_NO_PAD.encode(key().sign(signed.as_bytes()));
        drop(verify(&keys(), &format!("{signed}.{signature}"), NOW));
    }

    #[test]
    fn a_token_with_one_character_changed_is_refused(at in any::<usize>(), to in "[A-Za-z0-9._-]") {
        let token = mint(&key(), &claims());
        let at = at % token.len();
        let mut changed = token.clone();
        changed.replace_range(at..=at, &to);
        prop_assume!(changed != token);
        prop_assert!(verify(&keys(), &changed, NOW).is_err());
    }
}

fn random() -> ring::rand::SystemRandom {
    ring::rand::SystemRandom::new()
}

fn pairs() -> [KeyPair; 2] {
    [KeyPair::ed25519(&random()).unwrap(), KeyPair::p256(&random()).unwrap()]
}

/// The only project, `project`, has these public keys.
fn public(keys: PublicKeys) -> ProjectKeys {
    let project = PublicProject::new("project", keys).unwrap();
    ProjectKeys::new(RefreshKey::new(&[7; 32]), [Project::Public(project)]).unwrap()
}

fn header_of(token: &str) -> Value {
    let (header, _) = token.split_once('.').unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

#[test]
fn tokens_of_private_keys_are_believed_under_the_public_half() {
    for (pair, algorithm) in pairs().iter().zip(["EdDSA", "ES256"]) {
        let token = mint_with(pair, "project", &claims(), &random()).unwrap();
        assert_eq!(header_of(&token)["alg"], algorithm);
        for keys in [
            PublicKeys::one(*pair.public()),
            PublicKeys::from_jwks(&pair.public().to_jwks()).unwrap(),
        ] {
            let verified = verify(&public(keys.clone()), &token, NOW).unwrap();
            assert!(verified.claims == claims());
            let expired = verify(&public(keys), &token, NOW + 9999).unwrap_err();
            assert_eq!(expired, TokenError::Expired);
        }
        let foreign = mint_with(pair, "foreign", &claims(), &random()).unwrap();
        let keys = public(PublicKeys::one(*pair.public()));
        assert_eq!(verify(&keys, &foreign, NOW).unwrap_err(), TokenError::UnknownKey);
    }
}

#[test]
fn no_key_verifies_under_the_algorithm_of_another_kind() {
    for pair in pairs() {
        let keys = public(PublicKeys::one(*pair.public()));
        // The classic: whatever is public of the key becomes the secret of an HMAC.
        let pem = pair.public().to_pem();
        let der = base64::engine::general_purpose::STANDARD
            .decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>())
            .unwrap();
        let raw = der[der.len() - 32..].to_vec();
        for secret in [pem.as_bytes(), pem.trim_end().as_bytes(), &der, &raw] {
            let secret = ProjectKey::hs256_short("project", secret).unwrap();
            let token = mint(&secret, &claims());
            assert_eq!(verify(&keys, &token, NOW).unwrap_err(), TokenError::WrongAlgorithm);
        }
        // A stranger's pair of each kind, and the key that it brings along.
        for stranger in pairs() {
            let token = mint_with(&stranger, "project", &claims(), &random()).unwrap();
            let expected = if stranger.public().algorithm() == pair.public().algorithm() {
                TokenError::BadSignature
            } else {
                TokenError::WrongAlgorithm
            };
            assert_eq!(verify(&keys, &token, NOW).unwrap_err(), expected);
            let jwks: Value = serde_json::from_str(&stranger.public().to_jwks()).unwrap();
            let alg = pair.public().algorithm().name();
            let header = json!({"alg": alg, "jwk": jwks["keys"][0], "jku": "https://eve.example/"});
            let (_, payload) = token.split_once('.').unwrap();
            let (payload, _) = payload.split_once('.').unwrap();
            let signed = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));
            let signature = stranger.sign(signed.as_bytes(), &random()).unwrap();
            let token = seal(signed, &signature);
            assert_eq!(verify(&keys, &token, NOW).unwrap_err(), TokenError::BadSignature);
        }
        // A token of the right key for a project that shares a secret.
        let token = mint_with(&pair, "project", &claims(), &random()).unwrap();
        assert_eq!(refuse(&token), TokenError::WrongAlgorithm);
    }
}

#[test]
fn a_key_set_takes_the_key_that_the_token_names_and_rotates_with_overlap() {
    let [old, new] = pairs();
    let key_in = |pair: &KeyPair| -> Value {
        let jwks: Value = serde_json::from_str(&pair.public().to_jwks()).unwrap();
        jwks["keys"][0].clone()
    };
    let set = |keys: Vec<Value>| {
        public(PublicKeys::from_jwks(&json!({ "keys": keys }).to_string()).unwrap())
    };
    let tokens = [&old, &new].map(|pair| mint_with(pair, "project", &claims(), &random()).unwrap());
    let check = |keys: &ProjectKeys| {
        tokens.each_ref().map(|token| verify(keys, token, NOW).map(|_| ()).map_err(Some))
    };
    let unknown = Err(Some(TokenError::UnknownKey));
    assert_eq!(check(&set(vec![key_in(&old)])), [Ok(()), unknown]);
    let both = set(vec![key_in(&old), key_in(&new)]);
    assert_eq!(check(&both), [Ok(()), Ok(())]);
    assert_eq!(check(&set(vec![key_in(&new)])), [unknown, Ok(())]);
    // Without a name, none of several keys is tried.
    let (header, rest) = tokens[0].split_once('.').unwrap();
    assert!(!header.is_empty());
    let (payload, _) = rest.split_once('.').unwrap();
    let signed = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA"}"#));
    let signature = old.sign(signed.as_bytes(), &random()).unwrap();
    let token = seal(signed, &signature);
    assert_eq!(verify(&both, &token, NOW).unwrap_err(), TokenError::UnknownKey);
    assert!(verify(&set(vec![key_in(&old)]), &token, NOW).is_ok());
}
