//! Whose tokens are taken: `keys`, `key_file` and `agora` of the settings.

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

/// `key_file`: the same in a file of its own, which a settings file that many may read needs.
pub(crate) fn key_file(
    node: &Node,
    read: &mut ReadFile<'_>,
) -> Result<Vec<(usize, Project)>, Fault> {
    let text = open(node, Holds::TokenSecret, read)?;
    let within = |fault: Fault| node.fault(format!("in that file, {fault}"));
    let inner = yaml::read(&text, SETTINGS_MAX).map_err(within)?;
    let all = keys(inner, read).map_err(within)?;
    Ok(all.into_iter().map(|(_, project)| (node.line, project)).collect())
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
    let is_file_name = ENDINGS.iter().any(|ending| path.ends_with(ending));
    // Else it may be the secret itself, where the name of its file belongs.
    let shown = if is_file_name { path } else { "the file that is named here" };
    read(path, holds).map_err(|reason| node.fault(format!("{shown}: {reason}")))
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
