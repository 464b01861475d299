//! What an authority says of a failure, as it may stand in the log.
//!
//! Guarantees: the contact's address, which the authority knows, is not in it, neither in whole nor in part, in
//! whatever letters it is written; nothing in it steers a terminal, and it is short.
//! Not here: when something is said (`acme`).
//! Source: RFC 8555 §6.7 for the kinds of failures; RFC 3986 §2.1, RFC 8259 §7 and HTML for how else an `@` is written.

use std::error::Error;

use instant_acme::Problem;

use crate::{harmless, log};

/// Letters of it.
const REASON_MAX: usize = 500;
/// What the kinds of failures begin with.
const KIND: &str = "urn:ietf:params:acme:error:";
/// Those that are about the contact, of which an authority says which it is.
const OF_CONTACTS: [&str; 2] = ["invalidContact", "unsupportedContact"];
/// With one of these in it, a word may be an address.
const OF_ADDRESSES: [char; 6] = ['@', '\u{ff20}', '\u{fe6b}', '%', '&', '\\'];
/// In the place of what is not said.
const LEFT_OUT: &str = "(left out)";

/// A failure, and every reason behind it.
pub(crate) fn of(failure: &dyn Error) -> String {
    let text = log::reasons(failure);
    let lower = text.to_lowercase();
    if let Some(kind) = OF_CONTACTS.into_iter().find(|kind| lower.contains(&kind.to_lowercase())) {
        return refused(kind);
    }
    harmless::text(&without_addresses(&text)).chars().take(REASON_MAX).collect()
}

/// Why an authority makes no account for a contact: the kind of it. Its words, which come right after it was told the
/// address, may hold that in any form.
pub(crate) fn of_a_contact(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().and_then(|kind| kind.strip_prefix(KIND));
    let is_kind = |kind: &&str| {
        (1..=40).contains(&kind.len()) && kind.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    refused(kind.filter(is_kind).unwrap_or("it does not say of what kind this is"))
}

fn refused(kind: &str) -> String {
    format!("the authority makes no account with this contact (tls.acme.email): {kind}")
}

/// Without each word that may be an address, and what is beside it, since one can be written with spaces.
fn without_addresses(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut kept: Vec<&str> = Vec::with_capacity(words.len());
    for (at, word) in words.iter().enumerate() {
        let mut near = words.iter().skip(at.saturating_sub(1)).take(if at == 0 { 2 } else { 3 });
        if !near.any(|word| word.contains(OF_ADDRESSES)) {
            kept.push(word);
        } else if kept.last() != Some(&LEFT_OUT) {
            kept.push(LEFT_OUT);
        }
    }
    kept.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Failure;

    fn said(text: &str) -> String {
        of(Failure::from(text).as_ref())
    }

    #[test]
    fn an_address_gets_into_no_log_however_it_is_written() {
        for written in [
            "ops.team@example.org",
            "mailto:ops.team@example.org",
            "MAILTO:OPS.TEAM@EXAMPLE.ORG",
            "ops.team%40example.org",
            "mailto%3Aops%2Eteam%2540example%2Eorg",
            "ops.team\\u0040example.org",
            "ops.team&#64;example.org",
            "ops.team&commat;example.org",
            "ops.team\u{ff20}example.org",
            "\u{ff4f}ps.team@example.org",
            "ops.team @ example.org",
            "ops.team\n@example.org",
            "ops.team@ example.org",
            "<ops.team@example.org>,",
        ] {
            for text in [
                format!("the order is void: account {written} may ask no more"),
                written.to_owned(),
                format!("{written} {written}"),
            ] {
                let said = said(&text);
                let lower = said.to_lowercase();
                assert!(!lower.contains("team") && !lower.contains("example"), "{said}");
                assert!(said.contains(LEFT_OUT), "{said}");
            }
        }
        let text = "the order is void: account ops@example.org may ask no more";
        assert_eq!(said(text), "the order is void: (left out) ask no more");
    }

    #[test]
    fn what_else_an_authority_says_is_said() {
        let text = "calls.example.org: API error: 192.0.2.7: Fetching \
                    http://calls.example.org/.well-known/acme-challenge/x: Timeout (urn:ietf:params:acme:error:connection)";
        assert_eq!(said(text), text);
        assert_eq!(said("a\u{1b}[2J\nb"), "a\\u{1b}[2J b");
        assert_eq!(said(&"x".repeat(2 * REASON_MAX)).len(), REASON_MAX);
    }

    #[test]
    fn of_a_contact_that_is_refused_the_kind_alone_is_said() {
        let problem = |kind: &str| Problem {
            r#type: Some(kind.to_owned()),
            detail: Some("no mailbox OPS.TEAM at EXAMPLE dot ORG".to_owned()),
            status: Some(400),
            subproblems: Vec::new(),
        };
        let check = |kind: &str, expect: &str| {
            let problem = problem(kind);
            assert_eq!(of_a_contact(&problem), refused(expect));
            of(&problem)
        };
        check("urn:ietf:params:acme:error:rateLimited", "rateLimited");
        let later = check("urn:ietf:params:acme:error:invalidContact", "invalidContact");
        assert_eq!(later, refused("invalidContact"), "also of an order");
        let later = check("urn:ietf:params:acme:error:UNSUPPORTEDCONTACT", "UNSUPPORTEDCONTACT");
        assert_eq!(later, refused("unsupportedContact"));
        for odd in
            ["", "malformed", "urn:ietf:params:acme:error:", "urn:ietf:params:acme:error:a@b"]
        {
            check(odd, "it does not say of what kind this is");
        }
    }
}
