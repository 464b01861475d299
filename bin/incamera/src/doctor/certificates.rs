//! The certificate, its key, and who can read what is secret.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use edge::tls::CertifiedKeyError;
use settings::CertificateFiles;
use settings::certificate::CertificateError;

use super::finding::{Finding, Report};
use crate::authority::{Authority, RENEW_DAYS};
use crate::certificate::{self, WARN_DAYS};
use crate::log;

const CHECK: &str = "certificate";

/// Judges what `tls` of the settings names.
pub(super) fn check(tls: &CertificateFiles, report: &mut Report) {
    let name = &tls.cert_file;
    let now = certificate::now();
    let valid_to = tls.chain.valid_to();
    match tls.chain.check(now) {
        Ok(()) => match valid_to.days_after(now) {
            Some(days) if days >= WARN_DAYS => {
                report.add(Finding::fine(CHECK, format!("{name} holds until {valid_to}")));
            }
            days => report.add(Finding::warning(
                CHECK,
                format!("{name} ends in {} days, at {valid_to}", days.unwrap_or_default()),
                "from then on nobody can join",
                "renew it now, and see why that did not happen by itself; the server reads it again by itself",
            )),
        },
        Err(error) => {
            let fix = if matches!(error, CertificateError::NotYetValid(..)) {
                "set the clock, or wait"
            } else {
                "renew it, and replace the file: a running server reads it again by itself"
            };
            let what = format!("{name}: {error}");
            report.add(Finding::wrong(CHECK, what, "every client refuses it: nobody can join", fix));
        }
    }
    if let Err(error) = certificate::certified(&tls.chain, &tls.key) {
        let key = &tls.key_file;
        report.add(Finding::wrong(
            CHECK,
            format!("{key} {}", log::reasons(&error)),
            "the server does not start with them, and a running one keeps those of before",
            match error {
                CertifiedKeyError::Encrypted => format!(
                    "`openssl pkey -in {key} -out plain.pem`, and `key_file: plain.pem`, with the rights that {key} has"
                ),
                CertifiedKeyError::NoKey => {
                    "give the file that begins with BEGIN PRIVATE KEY: certbot calls it privkey.pem".to_owned()
                }
                CertifiedKeyError::OtherKey | CertifiedKeyError::Unsuitable(_) => format!(
                    "give the key that {name} was asked for with: `openssl x509 -in {name} -noout -pubkey` and \
                     `openssl pkey -in {key} -pubout` must print the same"
                ),
            },
        ));
    }
    check_names(tls, report);
}

fn check_names(tls: &CertificateFiles, report: &mut Report) {
    let name = &tls.cert_file;
    let [leaf, above @ ..] = tls.chain.certificates() else { return };
    let addresses = leaf.addresses.iter().map(ToString::to_string);
    let all: Vec<String> = leaf.names.iter().cloned().chain(addresses).collect();
    if all.is_empty() {
        report.add(Finding::wrong(
            CHECK,
            format!("{name} names no host"),
            "clients compare the host of their address with the certificate's alternative names, and refuse",
            "ask for one with a subjectAltName for each name that clients use",
        ));
    } else {
        let what = format!("clients can use these names: {}", all.join(", "));
        report.add(Finding::fine(CHECK, what));
    }
    if leaf.is_authority {
        report.add(Finding::warning(
            CHECK,
            format!("{name} is an authority's certificate (CA:TRUE) and is used as a server's"),
            "Firefox refuses that, and so do clients that are built on rustls or webpki",
            "ask for one that says CA:FALSE: `openssl req -x509 … -addext basicConstraints=critical,CA:FALSE`",
        ));
    }
    if above.is_empty() && !leaf.is_self_issued() {
        report.add(Finding::warning(
            CHECK,
            format!("{name} holds the server's certificate alone"),
            "if an intermediate authority issued it, browsers may find that by themselves; LiveKit's SDKs do not",
            "give the whole chain: certbot calls it fullchain.pem",
        ));
    }
}

/// Judges the authority of `incamera dev --lan`, if this user has one.
pub(super) fn check_authority(folder: &Path, report: &mut Report) {
    const CHECK: &str = "authority";
    let name = folder.display();
    match Authority::kept(folder) {
        None => {}
        Some(Ok(authority)) => {
            let days = authority.valid_to.days_after(certificate::now());
            if days.is_none_or(|days| days < RENEW_DAYS) {
                report.add(Finding::warning(
                    CHECK,
                    format!("the authority in {name} ends at {}", authority.valid_to),
                    "the next `incamera dev --lan` makes another, which every device must be told to trust",
                    "run it when those people are there, and remove the old one from their devices",
                ));
            }
        }
        Some(Err(failure)) => report.add(Finding::warning(
            CHECK,
            format!("{name}: {failure}"),
            "`incamera dev --lan` does not start with it",
            format!("rm -r {name} for a new one, which every device must be told to trust"),
        )),
    }
}

/// Whether others than its owner and group can read a file with secrets.
pub(super) fn check_secrecy(check: &'static str, path: &Path, report: &mut Report) {
    let Ok(found) = fs::metadata(path) else { return };
    if found.permissions().mode() & 0o007 != 0 {
        let name = path.display();
        report.add(Finding::warning(
            check,
            format!("{name} can be read by every user of this machine"),
            "it holds a secret: whoever has it can pass for the server, or let anybody in",
            format!("chmod o= {name}"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::tests::pair;
    use std::time::Duration;

    #[test]
    fn what_mends_a_key_is_said_by_what_is_wrong_with_it() {
        let (one, other) =
            (pair(Duration::from_secs(86_400 * 30)), pair(Duration::from_secs(86_400 * 30)));
        let fix = |key: &str| {
            let text = "keys: {k: 0123456789abcdef0123456789abcdef}\ntls: {cert_file: c.pem, key_file: k.pem}";
            let settings = settings::read_settings(text, &mut |name, _| {
                Ok(if name == "c.pem" { one.0.clone() } else { key.to_owned() }.into())
            });
            let Some(settings::Tls::Files(tls)) = settings.unwrap().tls else { panic!("no files") };
            let mut report = Report::default();
            check(&tls, &mut report);
            report.to_string()
        };
        let remedies =
            ["openssl pkey -in k.pem -out plain.pem", "BEGIN PRIVATE KEY", "must print the same"];
        let encrypted = one.1.replace("PRIVATE", "ENCRYPTED PRIVATE");
        for (key, remedy) in [(&encrypted, 0), (&one.0, 1), (&other.1, 2)] {
            let said = fix(key);
            let found = remedies.iter().position(|words| said.contains(words));
            assert_eq!(found, Some(remedy), "{said}");
        }
        assert!(!remedies.iter().any(|words| fix(&one.1).contains(words)));
    }
}
