//! Tokens across implementations: theirs verified by us, ours put where they verify them.
//!
//! `judges/cases.json` says what the tokens grant; `judges/mint.*` made `vectors/livekit-*.json` from it with
//! LiveKit's libraries, and `judges/judge.*`, a step of CI, check `vectors/minted.json`. Set `UPDATE_EXPECT=1` to
//! write that file anew.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "files of this repository; a test may fail"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wire::key::{ProjectKey, ProjectKeys, RefreshKey};
use wire::token::{self, Claims, TokenKind};

/// 2026-01-01.
const NBF: u64 = 1_767_225_600;
/// 2100-01-01, so that judges can run on any day until then.
const EXP: u64 = 4_102_444_800;

#[derive(Serialize, Deserialize)]
struct Vector {
    key: String,
    secret: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    now: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    tokens: BTreeMap<String, String>,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(path(name)).unwrap()).unwrap()
}

/// The claims of a case: its own names but two are the wire's.
fn claims(case: &Value) -> Claims {
    let mut wire = case.clone();
    wire["name"] = case["display_name"].clone();
    let identity = case["identity"].as_str().unwrap().to_owned();
    let claims: Claims = serde_json::from_value(wire).unwrap();
    Claims { identity, not_before: Some(NBF), expires_at: EXP, ..claims }
}

/// Both sides with every option decided, because libraries differ in which they write out.
fn decided(claims: &Claims) -> Value {
    let video = claims.video.as_ref().unwrap();
    json!({
        "identity": claims.identity,
        "name": claims.name,
        "metadata": claims.metadata,
        "attributes": claims.attributes,
        "kind": claims.kind,
        "sha256": claims.sha256,
        "roomPreset": claims.room_preset,
        "rights": [video.room_create, video.room_list, video.room_admin, video.room_record,
            video.room_join, video.ingress_admin],
        "rooms": [video.room, video.destination_room],
        "permission": format!("{:?}", claims.permission()),
        "sip": claims.sip.unwrap_or_default(),
        "inference": claims.inference.unwrap_or_default(),
        "observability": claims.observability.unwrap_or_default(),
    })
}

fn check_theirs(name: &str) {
    let vector: Vector = read(name);
    let key = ProjectKey::hs256(&vector.key, vector.secret.as_bytes()).unwrap();
    let keys = ProjectKeys::new(RefreshKey::new(&[0; 32]), [key.into()]).unwrap();
    let cases: Vec<Value> = read("judges/cases.json");
    assert_eq!(vector.tokens.len(), cases.len());
    let now = vector.now.unwrap();
    for case in &cases {
        let text = &vector.tokens[case["name"].as_str().unwrap()];
        let token = token::verify(&keys, text, now).unwrap();
        assert_eq!(token.kind, TokenKind::Original);
        assert_eq!(decided(&token.claims), decided(&claims(case)), "{}", case["name"]);
        let six_hours = 6 * 3600;
        assert!(token.claims.expires_at.abs_diff(now + six_hours) <= 5);
        // By it what a moderator took is given back (decision 0020).
        assert_eq!(token.issued_at(), Some(now));
        assert!(token::verify(&keys, text, now + six_hours + 66).is_err());
    }
}

#[test]
fn tokens_of_livekits_python_library_verify() {
    check_theirs("vectors/livekit-api.json");
}

#[test]
fn tokens_of_livekits_javascript_library_verify() {
    check_theirs("vectors/livekit-server-sdk.json");
}

#[test]
fn our_tokens_are_those_that_the_judges_see() {
    let secret = "a secret of more than thirty-two bytes";
    let key = ProjectKey::hs256("project", secret.as_bytes()).unwrap();
    let cases: Vec<Value> = read("judges/cases.json");
    let tokens = cases
        .iter()
        .map(|case| (case["name"].as_str().unwrap().to_owned(), token::mint(&key, &claims(case))));
    let vector = Vector {
        key: "project".to_owned(),
        secret: secret.to_owned(),
        now: None,
        nbf: Some(NBF),
        exp: Some(EXP),
        tokens: tokens.collect(),
    };
    let text = serde_json::to_string_pretty(&vector).unwrap() + "\n";
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path("vectors/minted.json"), &text).unwrap();
    }
    let expect = std::fs::read_to_string(path("vectors/minted.json")).unwrap();
    assert!(text == expect, "vectors/minted.json is not what we mint; UPDATE_EXPECT=1 writes it");
}
