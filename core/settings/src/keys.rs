//! Whose tokens are taken: `keys`, `key_file` and `agora` of the settings.

use std::path::Path;

use wire::key::{App, KeyError, Project, ProjectKey, PublicKey, PublicKeys, PublicProject, pem};
use zeroize::Zeroizing;

use crate::limits::SETTINGS_MAX;
use crate::yaml::{self, Entry, Map, Node};
use crate::{Fault, Holds, ReadFile};

/// What names of files end with, and neither secrets nor names of people do.
const ENDINGS: [&str; 8] = [".pem", ".crt", ".cer", ".key", ".yaml", ".yml", ".json", ".jwks"];

/// `keys`: a name and its secret, or a map that says where the public half is.
pub(crate) fn keys(node: Node, read: &mut ReadFile<'_>) -> Result<Vec<(usize, Project)>, Fault> {
    node.map()?.rest().into_iter().map(|entry| key(entry, read)).collect()
}

/// `key_file`: the same in a file of its own, which a settings file that many may read needs. What it names lies beside
/// it.
pub(crate) fn key_file(
    node: &Node,
    read: &mut ReadFile<'_>,
) -> Result<Vec<(usize, Project)>, Fault> {
    let text = open(node, Holds::TokenSecret, read)?;
    let within = |fault: Fault| node.fault(format!("in that file, {fault}"));
    let inner = yaml::read(&text, SETTINGS_MAX).map_err(within)?;
    let folder = Path::new(node.text()?).parent().unwrap_or(Path::new(""));
    // Both are text, and so is what they are together.
    let mut beside = |name: &str, holds| read(&folder.join(name).to_string_lossy(), holds);
    let all = keys(inner, &mut beside).map_err(within)?;
    Ok(all.into_iter().map(|(_, project)| (node.line, project)).collect())
}

/// The secret of the key `name` in a file that somebody signs with: the secret alone on a line, or a file as `key_file`
/// names it, of which other keys are nobody's concern here.
///
/// # Errors
/// There is no such key, it has no secret, or the file is something else, in which a secret would be taken for what it
/// is not: a token that is signed with a whole line of a key file is worth nothing anywhere.
pub fn secret_of(text: &str, name: &str) -> Result<Zeroizing<String>, Fault> {
    const WANTED: &str =
        "a secret alone on a line is wanted here, or a key file with lines as `NAME: SECRET`";
    let alone = text.trim_end_matches(['\r', '\n']);
    let is_one_line = !alone.contains(['\r', '\n']);
    let map = match yaml::read(text, SETTINGS_MAX) {
        Ok(node) if node.is_map() => node.map()?,
        // What is no YAML, as it begins with a percent sign, may be a secret; what is a key file but for a blank is
        // none.
        Ok(_) | Err(_) => {
            let is_pair = alone.contains(": ")
                || alone.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'));
            if alone.is_empty() || !is_one_line || pem::is_pem(alone) || is_pair {
                return Err(Fault::new(1, WANTED));
            }
            return Ok(Zeroizing::new(alone.to_owned()));
        }
    };
    let line = map.line;
    let Some(entry) = map.rest().into_iter().find(|entry| entry.name == name) else {
        return Err(Fault::new(line, "the file has keys, and none of the name that is to sign"));
    };
    if entry.node.is_map() {
        let reason = "this key has no secret: give its private key instead";
        return Err(Fault::new(entry.line, reason));
    }
    let secret = entry.node.text()?;
    if secret.is_empty() {
        Err(Fault::new(entry.line, WANTED))
    } else {
        Ok(Zeroizing::new(secret.to_owned()))
    }
}

fn key(entry: Entry, read: &mut ReadFile<'_>) -> Result<(usize, Project), Fault> {
    let Entry { line, name, node } = entry;
    // Without the name, which is the secret of whoever has written them the wrong way round.
    let wrong = |error: KeyError| Fault::new(line, error.to_string());
    if !node.is_map() {
        let secret = node.text().map_err(|_| {
            node.fault("a key wants a secret, or a map with `public_key` or `jwks`")
        })?;
        let key = ProjectKey::hs256(&name, secret.as_bytes()).map_err(wrong)?;
        return Ok((line, Project::Shared(key)));
    }
    let mut map = node.map()?;
    let (pem, jwks) = (map.take("public_key"), map.take("jwks"));
    map.end()?;
    let public = match (pem, jwks) {
        (Some(node), None) => {
            let text = text_or_file(&node, pem::is_pem, read)?;
            PublicKeys::one(PublicKey::from_pem(&text).map_err(wrong)?)
        }
        (None, Some(node)) => {
            let text = text_or_file(&node, |text| text.trim_start().starts_with('{'), read)?;
            PublicKeys::from_jwks(&text).map_err(wrong)?
        }
        (Some(_), Some(_)) | (None, None) => {
            return Err(Fault::new(line, "a key wants either `public_key` or `jwks`"));
        }
    };
    Ok((line, Project::Public(PublicProject::new(&name, public).map_err(wrong)?)))
}

/// `agora`: apps, whose AccessToken2 tokens are taken; and whether a certificate of theirs is given here.
pub(crate) fn agora(
    node: Node,
    read: &mut ReadFile<'_>,
) -> Result<(Vec<(usize, Project)>, bool), Fault> {
    let mut map = node.map()?;
    let apps = map.need("apps")?.list()?;
    map.end()?;
    let mut holds_secret = false;
    let mut all = Vec::new();
    for node in apps {
        all.push(app(node.map()?, read, &mut holds_secret)?);
    }
    Ok((all, holds_secret))
}

fn app(
    mut map: Map,
    read: &mut ReadFile<'_>,
    holds_secret: &mut bool,
) -> Result<(usize, Project), Fault> {
    let line = map.line;
    let id = map.need("app_id")?;
    let certificate = match (map.take("app_certificate"), map.take("app_certificate_file")) {
        (Some(node), None) => {
            *holds_secret = true;
            Zeroizing::new(node.text()?.to_owned())
        }
        (None, Some(node)) => open(&node, Holds::TokenSecret, read)?,
        (Some(_), Some(_)) | (None, None) => {
            let reason = "an app wants either `app_certificate` or `app_certificate_file`";
            return Err(Fault::new(line, reason));
        }
    };
    map.end()?;
    let app = App::new(id.text()?, certificate.trim());
    Ok((line, Project::App(app.map_err(|error| Fault::new(line, error.to_string()))?)))
}

/// The file that a value names.
pub(crate) fn open(
    node: &Node,
    holds: Holds,
    read: &mut ReadFile<'_>,
) -> Result<Zeroizing<String>, Fault> {
    let path = node.text()?;
    read(path, holds).map_err(|reason| node.fault(format!("{}: {reason}", shown(path))))
}

/// What is said of a file that could not be opened: its path, if it ends as files' names do; else it may be a secret, a
/// token or somebody's name, where the name of the file belongs.
#[must_use]
pub fn shown(path: &str) -> &str {
    let is_file_name = ENDINGS.iter().any(|ending| path.ends_with(ending));
    if is_file_name { path } else { "the file that is named here" }
}

fn text_or_file(
    node: &Node,
    is_text: impl Fn(&str) -> bool,
    read: &mut ReadFile<'_>,
) -> Result<Zeroizing<String>, Fault> {
    let text = node.text()?;
    if is_text(text) {
        Ok(Zeroizing::new(text.to_owned()))
    } else {
        open(node, Holds::NoSecret, read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn who_signs_may_give_a_secret_or_a_key_file() {
        for text in [
            SECRET.to_owned(),
            format!("{SECRET}\n"),
            format!("{SECRET}\r\n"),
            format!("mine: {SECRET}\n"),
            format!("# Of LiveKit's.\nother: {{public_key: public.pem}}\nmine: '{SECRET}'\n"),
            format!("{{mine: {SECRET}}}"),
        ] {
            let found = secret_of(&text, "mine").map(|secret| secret.as_str().to_owned());
            assert_eq!(found.as_deref(), Ok(SECRET), "{text}");
        }
        for odd in ["%a&b*c", "@0", "a:b", "-", "[a", "mine", "YWJj=="] {
            assert_eq!(secret_of(odd, "mine").unwrap().as_str(), odd);
        }
    }

    #[test]
    fn what_holds_no_secret_of_that_name_is_refused_in_words_that_repeat_nothing() {
        for (text, line, reason) in [
            (format!("theirs: {SECRET}"), 1, "none of the name that is to sign"),
            (format!("theirs: {SECRET}\nmine:\n  jwks: a.json"), 2, "has no secret"),
            (format!("mine:{SECRET}"), 1, "a secret alone on a line"),
            (format!("theirs: '{SECRET}"), 1, "a secret alone on a line"),
            (format!("{SECRET}\n{SECRET}\n"), 1, "a secret alone on a line"),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(),
                1,
                "alone on a line",
            ),
            ("{\"keys\": []}".to_owned(), 1, "none of the name"),
            ("mine: ''".to_owned(), 1, "alone on a line"),
            ("mine: [a]".to_owned(), 1, "text"),
            (String::new(), 1, "alone on a line"),
            ("\n".to_owned(), 1, "alone on a line"),
        ] {
            let fault = secret_of(&text, "mine").unwrap_err();
            assert!(fault.reason.contains(reason), "{text}: {fault}");
            assert_eq!(fault.line, line, "{text}");
            assert!(!fault.reason.contains(SECRET) && !fault.reason.contains("theirs"), "{fault}");
        }
    }
}
