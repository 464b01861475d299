//! Links to the call page, each with a token and a channel key.
//!
//! Owns: the form of a link, where the page is, the channel key and the file in which it is kept.
//! Guarantees: token and key stand behind the `#`, which browsers never send; a key that is made has 256 bits and, in a
//! file, can be read by its owner alone; no link has a key that the page does not take.
//! Not here: who is in a token (`token`), what the page makes of a link (`web/src/invitation.ts`).

use std::net::IpAddr;
use std::path::Path;

use hyper::Uri;
use wire::grant::VideoGrant;
use wire::key::ProjectKey;
use wire::token::{Claims, mint};
use zeroize::Zeroizing;

use crate::{Failure, certificate, files, secret};

/// Characters of a channel key, as the page takes them: fewer can be guessed by whoever has recorded a call.
const KEY_CHARS_MIN: usize = 16;
const KEY_CHARS_MAX: usize = 1024;

/// Who is given a link by a server that is tried.
const PEOPLE: [&str; 2] = ["ada", "ben"];
/// A working day.
const VALID_S: u64 = 12 * 3600;

/// Where a call page is: the scheme, host and port of its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page(String);

impl Page {
    /// Of a server whose address is known to be good.
    pub(crate) fn of(origin: String) -> Self {
        Self(origin)
    }

    /// As somebody writes it: `https://calls.example.org`, `/call` behind it or not.
    ///
    /// # Errors
    /// In words: what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        const WANTED: &str = "the address of a server is wanted, as https://calls.example.org or https://calls.example.org:7880";
        let url: Uri = text.parse().map_err(|_| WANTED)?;
        let (Some(scheme), Some(authority), Some(host)) =
            (url.scheme_str(), url.authority(), url.host())
        else {
            return Err(WANTED.to_owned());
        };
        let is_plain = url.query().is_none() && !text.contains(['#', '@']);
        if !is_plain || !matches!(url.path().trim_end_matches('/'), "" | "/call") {
            return Err(WANTED.to_owned());
        }
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        let is_here = host == "localhost" || address.is_ok_and(|it| it.is_loopback());
        match scheme {
            "https" => {}
            "http" if is_here => {}
            "http" => {
                return Err("browsers give a page camera, microphone and encryption over https only, or from this \
                            machine: write https://"
                    .to_owned());
            }
            _ => return Err(WANTED.to_owned()),
        }
        Ok(Self(format!("{scheme}://{authority}")))
    }

    /// The link of whoever has `token`.
    pub(crate) fn link(&self, token: &str, key: &str) -> Zeroizing<String> {
        // Room for every byte of the key in three, so that the text is never moved, which would leave a copy behind.
        let room = self.0.len() + token.len() + 3 * key.len() + 32;
        let mut link = Zeroizing::new(String::with_capacity(room));
        link.push_str(&self.0);
        link.push_str("/call#token=");
        link.push_str(token);
        link.push_str("&key=");
        for byte in key.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    link.push(char::from(byte));
                }
                _ => link.push_str(&format!("%{byte:02X}")),
            }
        }
        link
    }

    /// A line for each of two people in one room, who have one new channel key.
    pub(crate) fn people(
        &self,
        key: &ProjectKey,
        room: &str,
    ) -> Result<Zeroizing<String>, Failure> {
        let channel_key = fresh_key()?;
        let mut text = Zeroizing::new(String::with_capacity(1 << 12));
        for person in PEOPLE {
            let claims = Claims {
                identity: person.into(),
                name: person.into(),
                expires_at: certificate::now().0.saturating_add(VALID_S),
                video: Some(VideoGrant {
                    room: room.into(),
                    room_join: true,
                    ..VideoGrant::default()
                }),
                ..Claims::default()
            };
            let token = Zeroizing::new(mint(key, &claims));
            text.push_str("  ");
            text.push_str(person);
            text.push_str(":  ");
            text.push_str(&self.link(&token, &channel_key));
            text.push_str("\n\n");
        }
        Ok(text)
    }
}

/// A new channel key, in 64 digits: a string, because browsers and native clients derive the same frame keys from a
/// string and different ones from bytes.
pub(crate) fn fresh_key() -> Result<Zeroizing<String>, Failure> {
    let bytes = secret::bytes()?;
    let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
    for byte in *bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    Ok(text)
}

/// The channel key in a file, which is made with a new one if it is not there, for its owner alone.
pub(crate) fn kept_key(path: &Path) -> Result<Zeroizing<String>, Failure> {
    if !path.try_exists().map_err(|error| format!("{}: {error}", path.display()))? {
        let key = fresh_key()?;
        let line = Zeroizing::new(format!("{}\n", key.as_str()));
        files::write_secret(path, &line)?;
        return Ok(key);
    }
    let text = files::read_any(path, files::SECRET_FILE_MAX)?;
    let key = text.trim_end_matches(['\r', '\n']);
    let is_line = !key.contains(char::is_control);
    if !is_line || !(KEY_CHARS_MIN..=KEY_CHARS_MAX).contains(&key.encode_utf16().count()) {
        return Err(format!(
            "{}: a channel key is one line with {KEY_CHARS_MIN} to {KEY_CHARS_MAX} characters; name a file that is not \
             there to have one made",
            path.display()
        )
        .into());
    }
    Ok(Zeroizing::new(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::{env, fs};

    #[test]
    fn a_page_is_where_a_browser_may_use_a_camera() {
        let check = |text: &str, expect: Option<&str>| {
            let page = Page::parse(text).ok();
            assert_eq!(page, expect.map(|origin| Page(origin.to_owned())), "{text}");
        };
        check("https://calls.example.org", Some("https://calls.example.org"));
        check("https://calls.example.org/", Some("https://calls.example.org"));
        check("https://calls.example.org:7880/call", Some("https://calls.example.org:7880"));
        check("https://[2001:db8::1]/call/", Some("https://[2001:db8::1]"));
        check("http://127.0.0.1:7880", Some("http://127.0.0.1:7880"));
        check("http://[::1]:7880", Some("http://[::1]:7880"));
        check("http://localhost:7880", Some("http://localhost:7880"));
        for wrong in [
            "calls.example.org",
            "wss://calls.example.org",
            "https://calls.example.org/other",
            "https://calls.example.org/call?a=b",
            "https://calls.example.org/call#token=a",
            "https://me@calls.example.org",
            "",
        ] {
            check(wrong, None);
        }
        for plain in ["http://calls.example.org", "http://127.example.org", "http://[::2]:7880"] {
            let refused = Page::parse(plain).unwrap_err();
            assert!(refused.contains("write https://"), "{plain}: {refused}");
        }
    }

    #[test]
    fn what_a_browser_would_send_of_a_link_holds_neither_token_nor_key() {
        let page = Page::parse("https://calls.example.org").unwrap();
        let link = page.link("a.b-c_d", "a key: 100% & schön");
        let (sent, kept) = link.split_once('#').unwrap();
        assert_eq!(sent, "https://calls.example.org/call");
        assert_eq!(kept, "token=a.b-c_d&key=a%20key%3A%20100%25%20%26%20sch%C3%B6n");
    }

    #[test]
    fn a_channel_key_is_made_once_for_its_owner_alone_and_then_used_again() {
        let path = env::temp_dir().join(format!("incamera-channel-{}", std::process::id()));
        fs::remove_file(&path).ok();
        let made = kept_key(&path).unwrap();
        assert!(made.len() == 64 && made.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*kept_key(&path).unwrap(), *made);
        fs::write(&path, "sixteen letters.\r\n").unwrap();
        assert_eq!(kept_key(&path).unwrap().as_str(), "sixteen letters.");
        for wrong in ["", "\n", "fifteen letters", "sixteen letters.\nmore", &"x".repeat(1025)] {
            fs::write(&path, wrong).unwrap();
            let refused = kept_key(&path).unwrap_err().to_string();
            assert!(refused.contains("one line with 16 to 1024 characters"), "{wrong}");
            assert!(!refused.contains("letters"), "{refused}");
        }
        fs::remove_file(&path).unwrap();
        assert!(kept_key(Path::new("/nowhere/key")).is_err());
    }
}
