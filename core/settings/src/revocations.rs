//! The revocation file: tokens by id or by key and `jti`, identities with a time, and whole keys by their names.

use wire::key::ProjectName;
use wire::limits::DATE_MAX;
use wire::revocation::{RevocationError, Revocations};
use wire::token::TokenId;

use crate::Fault;
use crate::certificate::UnixTime;
use crate::limits::REVOCATION_FILE_MAX;
use crate::yaml::{self, Node};

/// How far the clock of whoever writes the file may be ahead of the server's.
const CLOCK_AHEAD_S_MAX: u64 = 60;

/// What a revocation file says.
#[derive(Debug, Default)]
pub struct RevocationList {
    /// All that it revokes.
    pub revocations: Revocations,
    /// Lines, and the keys that are named there.
    keys: Vec<(usize, ProjectName)>,
    /// Lines of identities, and the times there.
    times: Vec<(usize, UnixTime)>,
}

impl RevocationList {
    /// What may be meant otherwise than it stands, told once for all lines of a kind: keys that are not `known`, and
    /// times after `now`.
    #[must_use]
    pub fn cautions(&self, is_known: impl Fn(&str) -> bool, now: UnixTime) -> Vec<Fault> {
        let unknown = self.keys.iter().filter(|(_, name)| !is_known(name.expose()));
        let latest = UnixTime(now.0.saturating_add(CLOCK_AHEAD_S_MAX));
        let ahead = self.times.iter().filter(|(_, time)| *time > latest);
        let all = [
            caution(
                unknown.map(|(line, _)| *line),
                "no key or app here has this name: right only if it was removed",
            ),
            caution(
                ahead.map(|(line, _)| *line),
                "`issued_before` lies ahead: until then every token of this identity is refused, however new",
            ),
        ];
        all.into_iter().flatten().collect()
    }
}

/// Reads the text of a revocation file.
///
/// # Errors
/// The first line that is wrong. So is a file that says nothing, which is what is left of one that could not be
/// written: that nothing is revoked has to be said.
pub fn read_revocations(text: &str) -> Result<RevocationList, Fault> {
    let mut map = yaml::read(text, REVOCATION_FILE_MAX)?.map()?;
    let (tokens, identities) = (map.take_list("tokens")?, map.take_list("identities")?);
    let keys = map.take_list("keys")?;
    map.end()?;
    if tokens.is_none() && identities.is_none() && keys.is_none() {
        let reason = "the file says nothing: if nothing is revoked, write `tokens: []`";
        return Err(Fault::new(1, reason));
    }
    let mut list = RevocationList::default();
    let all = &mut list.revocations;
    for node in tokens.unwrap_or_default() {
        let line = node.line;
        let (id, key) = token(node)?;
        all.revoke_token(id).map_err(|error| refused(line, error))?;
        list.keys.extend(key.map(|name| (line, name)));
    }
    for node in identities.unwrap_or_default() {
        let line = node.line;
        let mut map = node.map()?;
        let (identity, before) = (map.need("identity")?, map.need("issued_before")?);
        map.end()?;
        let second: u64 = before.number("a second of Unix time")?;
        if second > DATE_MAX {
            let reason = "`issued_before` lies beyond the year 9999: seconds are wanted, and these are milliseconds";
            return Err(Fault::new(line, reason));
        }
        all.revoke_identity(identity.text()?, second).map_err(|error| refused(line, error))?;
        list.times.push((line, UnixTime(second)));
    }
    for node in keys.unwrap_or_default() {
        let name = node.text()?;
        all.revoke_key(name).map_err(|error| refused(node.line, error))?;
        list.keys.push((node.line, ProjectName::new(name.into())));
    }
    Ok(list)
}

/// A token's id, and the key that it is named with, if it is.
fn token(node: Node) -> Result<(TokenId, Option<ProjectName>), Fault> {
    if node.is_map() {
        let mut map = node.map()?;
        let (key, jti) = (map.need("key")?, map.need("jti")?);
        map.end()?;
        let key = key.text()?;
        return Ok((TokenId::of_jti(key, jti.text()?), Some(ProjectName::new(key.into()))));
    }
    let id = node.text().ok().and_then(TokenId::parse).map(|id| (id, None));
    id.ok_or_else(|| {
        node.fault("a token's id has 64 hexadecimal digits; `incamera token id` prints it")
    })
}

/// What holds of the first of `lines`, and of how many more.
fn caution(mut lines: impl Iterator<Item = usize>, reason: &str) -> Option<Fault> {
    let first = lines.next()?;
    let more = lines.count();
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    Some(Fault::new(first, format!("{reason}{more}")))
}

fn refused(line: usize, error: RevocationError) -> Fault {
    Fault::new(line, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn every_kind_of_entry_is_read() {
        let text = format!(
            "tokens:\n  - {ID}\n  - {{key: mine, jti: t-1}}\nidentities:\n  - {{identity: ada, issued_before: 9}}\n\
             keys: [mine, theirs]\n"
        );
        assert_eq!(read_revocations(&text).unwrap().revocations.len(), 5);
        for empty in [
            "tokens: []",
            "identities: []\n",
            "keys: []",
            "# nothing yet\ntokens: []\nidentities: []\n",
        ] {
            assert!(read_revocations(empty).unwrap().revocations.is_empty(), "{empty}");
        }
    }

    #[test]
    fn keys_that_nobody_has_and_times_ahead_are_told_by_their_lines_alone() {
        let check = |text: &str, expect: &[(usize, &str)]| {
            let list = read_revocations(text).unwrap();
            let said = list.cautions(|name| name == "mine", UnixTime(1_000));
            assert_eq!(said.len(), expect.len(), "{text}: {said:?}");
            for (fault, (line, words)) in said.iter().zip(expect) {
                assert!(fault.line == *line && fault.reason.contains(words), "{text}: {fault}");
                assert!(!fault.reason.contains("mni") && !fault.reason.contains("ada"), "{fault}");
            }
        };
        check(&format!("tokens: [{ID}]\nkeys: [mine]\n"), &[]);
        check("keys:\n  - mine\n  - mnie\n", &[(3, "right only if it was removed")]);
        check("keys: [Mine]\n", &[(1, "no key or app here has this name")]);
        check("tokens:\n  - {key: mine, jti: a}\n  - {key: mni, jti: a}\n", &[(3, "no key")]);
        let twice = "tokens:\n  - {key: mni, jti: a}\nkeys:\n  - mnie\n  - mnij\n";
        check(twice, &[(2, "removed (and 2 more)")]);
        let at = |second: u64| {
            format!("identities:\n  - {{identity: ada, issued_before: {second}}}\nkeys: [mnie]\n")
        };
        check(&at(1_000), &[(3, "no key")]);
        check(&at(1_060), &[(3, "no key")]);
        check(&at(1_061), &[(3, "no key"), (2, "`issued_before` lies ahead")]);
    }

    #[test]
    fn what_is_left_of_a_file_that_could_not_be_written_is_wrong() {
        let check = |text: &str, line: usize| {
            let fault = read_revocations(text).unwrap_err();
            assert!(fault.line == line && fault.reason.contains("[]"), "{text}: {fault}");
        };
        for nothing in ["", "\n", "# revoked\n", "---\n", "{}\n"] {
            check(nothing, 1);
        }
        check("tokens:\n", 1);
        check("# revoked\ntokens: ~\n", 2);
        check("tokens: []\nidentities:\n", 2);
        check("tokens: []\nkeys:\n", 2);
    }

    #[test]
    fn a_wrong_entry_is_refused_with_its_line_and_without_its_value() {
        let check = |text: &str, line: usize| {
            let fault = read_revocations(text).unwrap_err();
            assert_eq!(fault.line, line, "{text}: {fault}");
            assert!(!fault.reason.contains("secret") && !fault.reason.contains("ada"), "{fault}");
        };
        check("ada.lovelace@clinic.example: x\n", 1);
        check("tokens: []\nada: x\n", 2);
        check("tokens: []\ntokens: []\n", 2);
        check("identities:\n  - {ada: 9}\n", 2);
        check("identities:\n  - {identity: ada, identity: ada}\n", 2);
        check("tokens:\n  - secretive\n", 2);
        check("tokens: secretive\n", 1);
        check("tokens:\n  - {key: mine}\n", 2);
        check("identities:\n  - {identity: ada, issued_before: yesterday}\n", 2);
        let last = "identities:\n  - {identity: ada, issued_before: 253402300799}\n";
        assert_eq!(read_revocations(last).unwrap().revocations.len(), 1);
        check(&last.replace("799", "800"), 2);
        check("identities:\n  - {identity: ada, issued_before: 1764460782000}\n", 2);
        check("identities:\n  - {identity: '', issued_before: 9}\n", 2);
        check("identities:\n  - {identity: ada, issued_before: 9, secretly: 1}\n", 2);
        check("keys:\n  - ''\n", 2);
        check("keys:\n  - {secretive: ada}\n", 2);
        check("keys: {ada: secretive}\n", 1);
        check("token: []\n", 1);
        check("tokens:\n  - [\n", 3);
        check(&" ".repeat(REVOCATION_FILE_MAX + 1), 1);
    }
}
