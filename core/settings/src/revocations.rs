//! The revocation file: tokens by id or by key and `jti`, identities with a time, and whole keys by their names.

use wire::limits::DATE_MAX;
use wire::revocation::{RevocationError, Revocations};
use wire::token::TokenId;

use crate::Fault;
use crate::limits::REVOCATION_FILE_MAX;
use crate::yaml::{self, Node};

/// Reads the text of a revocation file.
///
/// # Errors
/// The first line that is wrong. So is a file that says nothing, which is what is left of one that could not be
/// written: that nothing is revoked has to be said.
pub fn read_revocations(text: &str) -> Result<Revocations, Fault> {
    let mut map = yaml::read(text, REVOCATION_FILE_MAX)?.map()?;
    let (tokens, identities) = (map.take_list("tokens")?, map.take_list("identities")?);
    let keys = map.take_list("keys")?;
    map.end()?;
    if tokens.is_none() && identities.is_none() && keys.is_none() {
        let reason = "the file says nothing: if nothing is revoked, write `tokens: []`";
        return Err(Fault::new(1, reason));
    }
    let mut all = Revocations::default();
    for node in tokens.unwrap_or_default() {
        let line = node.line;
        all.revoke_token(token(node)?).map_err(|error| refused(line, error))?;
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
    }
    for node in keys.unwrap_or_default() {
        all.revoke_key(node.text()?).map_err(|error| refused(node.line, error))?;
    }
    Ok(all)
}

fn token(node: Node) -> Result<TokenId, Fault> {
    if node.is_map() {
        let mut map = node.map()?;
        let (key, jti) = (map.need("key")?, map.need("jti")?);
        map.end()?;
        return Ok(TokenId::of_jti(key.text()?, jti.text()?));
    }
    let id = node.text().ok().and_then(TokenId::parse);
    id.ok_or_else(|| {
        node.fault("a token's id has 64 hexadecimal digits; `incamera token id` prints it")
    })
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
        assert_eq!(read_revocations(&text).unwrap().len(), 5);
        for empty in [
            "tokens: []",
            "identities: []\n",
            "keys: []",
            "# nothing yet\ntokens: []\nidentities: []\n",
        ] {
            assert!(read_revocations(empty).unwrap().is_empty(), "{empty}");
        }
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
        assert_eq!(read_revocations(last).unwrap().len(), 1);
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
