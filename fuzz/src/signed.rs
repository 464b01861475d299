//! Tokens that somebody who has a key has signed: what they say is read only then.
//!
//! The first byte chooses the form. The rest is a JSON Web Token's payload, or what stands behind the name of the app
//! in Agora's AccessToken2, times and salt first.

use std::hint::black_box;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::hmac;
use wire::key::{App, Project, ProjectKey, ProjectKeys, RefreshKey};
use wire::token;

const PROJECT: &str = "keykey";
const SECRET: [u8; 32] = [7; 32];
const APP: &str = "970CA35de60c44645bbae8a215061b33";
const CERTIFICATE: &str = "5CFd2fd1755d40ecb72977518be15d3b";
const NOW: u64 = 1_800_000_000;

pub(crate) fn keys() -> Option<ProjectKeys> {
    let project = ProjectKey::hs256(PROJECT, &SECRET).ok().map(Project::Shared);
    let app = App::new(APP, CERTIFICATE).ok().map(Project::App);
    let projects = [project, app].into_iter().flatten();
    ProjectKeys::new(RefreshKey::new(&[9; 32]), projects).ok()
}

/// # Panics
/// If a token is believed whose refresh is not, or is another's.
pub(crate) fn run(data: &[u8]) {
    let (Some((form, said)), Some(keys)) = (data.split_first(), keys()) else {
        return;
    };
    let text = if form % 2 == 0 { web_token(said) } else { access_token(said) };
    let Ok(believed) = token::verify(&keys, &text, NOW) else {
        return;
    };
    assert_eq!(token::claimed_id(&text).ok(), Some(believed.id), "it is revoked by another id");
    black_box(believed.permission(NOW));
    black_box(believed.claims.room_config().ok());
    black_box(wire::join::admission(&believed.claims).ok());
    if let Some(refreshed) = token::mint_refresh(&keys, &believed, NOW) {
        let again = token::verify(&keys, &refreshed, NOW).ok();
        let again = again.map(|it| (it.id, it.claims.identity, it.claims.video, it.ends));
        let claims = believed.claims;
        let expected = (believed.id, claims.identity, claims.video, believed.ends);
        assert_eq!(again, Some(expected), "its refresh says something else");
    }
}

fn web_token(payload: &[u8]) -> String {
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", part(br#"{"alg":"HS256","typ":"JWT"}"#), part(payload));
    let signature = part(&under(&SECRET, signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn access_token(after_app: &[u8]) -> String {
    let number = |at: usize| after_app.get(at..at + 4).unwrap_or(&[0; 4]);
    let body = [&text(APP.as_bytes()), after_app].concat();
    let key = under(number(8), &under(number(0), CERTIFICATE.as_bytes()));
    let content = [text(&under(&key, &body)), body].concat();
    format!("007{}", BASE64_STANDARD.encode(stored(&content)))
}

fn under(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

/// As AccessToken2 has texts: length first.
fn text(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&len.to_le_bytes(), bytes].concat()
}

/// In the form of zlib (RFC 1950), compressed by nothing, up to a block's length.
fn stored(content: &[u8]) -> Vec<u8> {
    let content = content.get(..usize::from(u16::MAX)).unwrap_or(content);
    let len = u16::try_from(content.len()).unwrap_or(u16::MAX);
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in content {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    let head = [0x78, 0x01, 1];
    let sum = (high << 16 | low).to_be_bytes();
    [&head[..], &len.to_le_bytes(), &(!len).to_le_bytes(), content, &sum].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else what it says would never be read.
    #[test]
    fn what_the_corpus_says_is_believed_in_both_forms() {
        let folder = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus/signed");
        let mut believed = [0; 2];
        for entry in std::fs::read_dir(folder).unwrap() {
            let data = std::fs::read(entry.unwrap().path()).unwrap();
            let form = usize::from(data[0] % 2);
            let text = if form == 0 { web_token(&data[1..]) } else { access_token(&data[1..]) };
            believed[form] += usize::from(token::verify(&keys().unwrap(), &text, NOW).is_ok());
        }
        assert!(believed[0] >= 4 && believed[1] >= 4, "{believed:?}");
    }
}
