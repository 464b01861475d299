//! What an authority needs to give a certificate: its directory, the names, the way to this server, a place to keep it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;

use edge::challenge::ONLY_AN_AUTHORITY;
use edge::listener::TLS_SPOKEN_HERE;
use edge::machine;
use serde::Deserialize;
use settings::address::OwnAddress;
use settings::certificate::{CertificateError, UnixTime};
use settings::{Acme, Settings};
use tokio::runtime;

use super::certificates::check_secrecy;
use super::finding::{Finding, Report};
use super::port::{self, Holder, Purpose};
use crate::acme::{CA_KEY, Client, Kept, State};
use crate::certificate::{self, WARN_DAYS};
use crate::trust::Trust;
use crate::{Failure, harmless};

const CHECK: &str = "acme";

/// Below which systemd makes what StateDirectory= of a unit names.
const SYSTEMD_STATE: &str = "/var/lib";

/// Where an authority asks (RFC 8737 §3, RFC 8555 §8.3).
const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

/// Judges what `tls.acme` of the settings says.
pub(super) fn check(
    acme: &Acme,
    settings: &Settings,
    folder: &Path,
    own: &[OwnAddress],
    report: &mut Report,
) {
    check_directory(acme, folder, report);
    let state_dir = folder.join(&acme.state_dir);
    let state = State::of(&state_dir, &acme.directory_url);
    if check_folder(&state_dir, &state, report) {
        check_kept(acme, &state, report);
    }
    for address in &settings.http {
        if let Some(http_port) = acme.http_port {
            let at = SocketAddr::new(address.ip(), http_port);
            let who = || Holder::answering(port::answers_an_authority(at));
            let holder = Purpose::Authority.holder(at, edge::bind_http(at), who);
            report.add(Purpose::Authority.finding(at, &holder, own));
        }
    }
    let port = settings.http.first().map_or(HTTPS_PORT, SocketAddr::port);
    for domain in &acme.domains {
        check_name(domain, acme.http_port, port, own, report);
    }
}

/// Asks the directory what it can: nothing is begun there.
fn check_directory(acme: &Acme, folder: &Path, report: &mut Report) {
    let url = &acme.directory_url;
    let named = acme.directory_ca_file.as_ref().map(|name| folder.join(name));
    let trust = match Trust::new(named.as_deref(), CA_KEY) {
        Ok(trust) => trust,
        Err(failure) => {
            report.add(Finding::wrong(
                CHECK,
                failure.to_string(),
                "the server does not start: it could not tell the authority from others",
                format!(
                    "install the package ca-certificates, or name the authority's root in {CA_KEY}"
                ),
            ));
            return;
        }
    };
    let why = "no certificate is given, and none renewed";
    match ask(&Client::new(trust), url) {
        Ok(directory) => {
            let Meta { terms_of_service, external_account_required } = directory.meta;
            let terms = terms_of_service.map(|terms| harmless::text(&terms));
            let terms = terms.map(|terms| format!("; its terms of service: {terms}"));
            let what = format!("{url} answers{}", terms.unwrap_or_default());
            report.add(Finding::fine(CHECK, what));
            if external_account_required {
                report.add(Finding::wrong(
                    CHECK,
                    format!("{url} takes only who has an account there by other means"),
                    why,
                    "choose an authority that takes everybody, or give files as `cert_file` and `key_file`",
                ));
            }
        }
        Err(failure) => report.add(Finding::wrong(
            CHECK,
            format!("{url} does not answer as an authority: {failure}"),
            why,
            format!("let this machine ask it over TCP 443, mend `directory_url`, or name its root in {CA_KEY}"),
        )),
    }
}

/// What of a directory matters here (RFC 8555 §7.1.1).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Directory {
    new_order: String,
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    terms_of_service: Option<String>,
    external_account_required: bool,
}

fn ask(client: &Client, url: &str) -> Result<Directory, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, body) = runtime.block_on(client.get(url))?;
    let directory: Option<Directory> = serde_json::from_slice(&body).ok();
    let directory = directory.filter(|directory| status == 200 && !directory.new_order.is_empty());
    directory.ok_or_else(|| format!("it says {status} and nothing of orders").into())
}

/// Whether account and certificate could be kept.
fn check_folder(state_dir: &Path, state: &State, report: &mut Report) -> bool {
    let there = state.folder().ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    let name = state_dir.display();
    for wide in state.wide().unwrap_or_default() {
        let may = "whoever can look there may get the account, or the certificate's key";
        report.add(if wide.is_narrowed() {
            let why =
                format!("{may}, until the server starts, which takes the group's rights away");
            Finding::warning(CHECK, wide.fault(), why, wide.remedy())
        } else {
            let why = format!("the server does not start: {may}");
            Finding::wrong(CHECK, wide.fault(), why, wide.remedy())
        });
    }
    let judged = if there.is_dir() {
        machine::may_write(there)
    } else {
        Err(io::ErrorKind::NotADirectory.into())
    };
    let is_good = judged.is_ok();
    report.add(match judged {
        Ok(()) => Finding::fine(CHECK, format!("{name} can be written to")),
        Err(error) => unwritable(state_dir, there, &error),
    });
    is_good
}

/// `there` is what of the path there is, down to the directory's folder, and `error` keeps this user from making more
/// in it.
fn unwritable(state_dir: &Path, there: &Path, error: &io::Error) -> Finding {
    let name = state_dir.display();
    let made = state_dir.strip_prefix(SYSTEMD_STATE).ok().filter(|rest| rest.iter().count() == 1);
    if let (Some(rest), true) = (made, there == Path::new(SYSTEMD_STATE)) {
        let rest = rest.display();
        return Finding::warning(
            CHECK,
            format!("{name} is not there yet, and this user cannot make it"),
            "systemd makes it as the server starts, if the unit says so: else no certificate could be kept, and the \
             server does not start",
            format!(
                "see that the unit says `StateDirectory={rest}`, as deploy/incamera.service does; without systemd \
                 `install -d -m 0700 -o incamera -g incamera {name}`"
            ),
        );
    }
    // What is there, or what is in it, root has made with a server that it started by hand.
    let (what, fix) = if there.starts_with(state_dir) {
        (there, format!("`chown -R incamera: {name}`"))
    } else {
        let made = format!("`install -d -m 0700 -o incamera -g incamera {name}`");
        (state_dir, format!("{made}, or StateDirectory= as deploy/incamera.service has it"))
    };
    Finding::wrong(
        CHECK,
        format!("{} cannot be written to by this user: {error}", what.display()),
        "the server does not start: it would ask for a new certificate each time, and authorities give few",
        format!("{fix}; run this as the server's user"),
    )
}

fn check_kept(acme: &Acme, state: &State, report: &mut Report) {
    let wrong = |reason: String| {
        let why = "the server does not start with it";
        let fix = "`chown` that file to the server's user if it is somebody else's; if not, remove it: another is made \
                   or asked for";
        Finding::wrong(CHECK, reason, why, fix)
    };
    match state.certificate() {
        Ok(Some(kept)) => judge(acme, &kept, &state.certificate_path(), certificate::now(), report),
        Ok(None) => report
            .add(Finding::fine(CHECK, "no certificate is kept yet: the server will ask for one")),
        Err(reason) => report.add(wrong(reason)),
    }
    check_secrecy(CHECK, &state.certificate_path(), report);
    let unread = [state.account().err(), state.failures().err(), state.hold().err()];
    unread.into_iter().flatten().for_each(|reason| report.add(wrong(reason)));
    if let (Ok(failures), Ok(mut hold)) = (state.failures(), state.hold())
        && !failures.is_empty()
    {
        let now = certificate::now();
        // As a server that starts now would.
        hold.settle(now);
        let next = failures.allowed_at(now).max(hold.until()).max(now);
        report.add(Finding::warning(
            CHECK,
            format!("the last attempts to get a certificate that lasts have failed; SIGHUP may try again from {next}"),
            "authorities keep out for hours who fails too often",
            "see in the log of the server why, mend it, and `systemctl reload incamera`",
        ));
    }
}

fn judge(acme: &Acme, kept: &Kept, path: &Path, now: UnixTime, report: &mut Report) {
    let (_, valid_to) = kept.times();
    let fix = "see in the log of the server why it was not renewed; SIGHUP tries again";
    report.add(match kept.check(now) {
        Err(reason) => {
            let what = format!("{}: {reason}", path.display());
            let fix = if matches!(reason, CertificateError::NotYetValid(..)) {
                "set the clock; if it is right, remove that file and start the server again: it asks for another"
            } else {
                fix
            };
            Finding::wrong(CHECK, what, "every client refuses it: nobody can join", fix)
        }
        // One that lives for days is renewed at two thirds of them.
        Ok(()) => match valid_to.days_after(now) {
            Some(days) if days < WARN_DAYS && is_overdue(kept, now) => Finding::warning(
                CHECK,
                format!("the certificate that is kept ends in {days} days, at {valid_to}"),
                "from then on nobody can join",
                fix,
            ),
            _ => Finding::fine(CHECK, format!("a certificate is kept that holds until {valid_to}")),
        },
    });
    if !kept.covers(&acme.domains) {
        let what = "the certificate that is kept is not for all of `domains`: the server will ask for another";
        report.add(Finding::fine(CHECK, what));
    }
}

/// Whether it should have been renewed by now, whatever part of the wait is chance.
fn is_overdue(kept: &Kept, now: UnixTime) -> bool {
    let (from, to) = kept.times();
    settings::renewal::renew_at(from, to, u8::MAX) < now
}

const WHY_ASKED: &str = "the authority looks there whether the name is yours, and gives no certificate if it finds nobody";

/// Whether the authority, which asks at a port that it knows, comes here.
fn check_name(
    domain: &str,
    http_port: Option<u16>,
    port: u16,
    own: &[OwnAddress],
    report: &mut Report,
) {
    let (asked, here, words) = match http_port {
        Some(port) => (HTTP_PORT, port, ONLY_AN_AUTHORITY),
        None => (HTTPS_PORT, port, TLS_SPOKEN_HERE),
    };
    let found: Vec<SocketAddr> = match (domain, asked).to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => {
            let what = format!("{domain} does not resolve: {error}");
            let fix = "give the name an A or AAAA record with the address at which the outside reaches this server";
            report.add(Finding::wrong(CHECK, what, WHY_ASKED, fix));
            return;
        }
    };
    let (answering, silent): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|at| port::says(*at, words));
    judge_addresses(domain, &answering, &silent, (asked, here), own, report);
}

/// Judges the addresses of a name: some answer as this server, others do not. Authorities look at one of them, of IPv6
/// first mostly, or at several.
fn judge_addresses(
    domain: &str,
    answering: &[SocketAddr],
    silent: &[SocketAddr],
    (asked, here): (u16, u16),
    own: &[OwnAddress],
    report: &mut Report,
) {
    let listed = |all: &[SocketAddr]| {
        all.iter().map(|at| at.ip().to_string()).collect::<Vec<_>>().join(" and ")
    };
    for at in answering {
        report.add(Finding::fine(CHECK, format!("what comes to {domain} at TCP {at} comes here")));
    }
    let (own, elsewhere): (Vec<SocketAddr>, Vec<SocketAddr>) =
        silent.iter().partition(|at| own.iter().any(|own| own.address == at.ip()));
    // Nothing answers at this machine's addresses before the server runs.
    let is_expected = answering.is_empty() && asked == here;
    if !own.is_empty() && is_expected {
        report.add(Finding::fine(CHECK, format!("{domain} is this machine, at {}", listed(&own))));
    }
    let unseen = if is_expected { &*elsewhere } else { silent };
    if unseen.is_empty() {
        return;
    }
    let unseen = listed(unseen);
    let what = if answering.is_empty() {
        format!(
            "{domain} is at {unseen}: from here one cannot see whether TCP {asked} there comes to TCP {here} of this \
             server"
        )
    } else {
        format!(
            "{domain} is at {unseen} as well, and TCP {asked} there does not answer from here as this server"
        )
    };
    report.add(Finding::warning(
        CHECK,
        what,
        WHY_ASKED,
        format!(
            "have router and firewall forward TCP {asked} to TCP {here} of this machine, from everywhere; only what \
             leads nowhere from outside either is to be taken out of the name's records"
        ),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::tests::pair;
    use std::fs;
    use std::time::Duration;

    #[test]
    fn a_folder_that_systemd_makes_is_not_missed_before_the_first_start() {
        let check = |state_dir: &str, there: &str, level: &str, words: &str| {
            let denied = io::ErrorKind::PermissionDenied.into();
            let said = unwritable(Path::new(state_dir), Path::new(there), &denied).to_string();
            assert!(said.starts_with(level) && said.contains(words), "{said}");
        };
        check("/var/lib/incamera", "/var/lib", "warning", "StateDirectory=incamera`");
        check("/var/lib/calls", "/var/lib", "warning", "StateDirectory=calls`");
        // It is there, and somebody else's.
        check("/var/lib/incamera", "/var/lib/incamera", "wrong", "cannot be written to");
        let inner = "/var/lib/incamera/ca.example-dir";
        check("/var/lib/incamera", inner, "wrong", "ca.example-dir cannot be written to");
        check("/var/lib/incamera", inner, "wrong", "`chown -R incamera: /var/lib/incamera`");
        check("/var/lib/incamera/acme", "/var/lib", "wrong", "cannot be written to");
        check("/srv/incamera", "/srv", "wrong", "cannot be written to");
        check("/var/lib", "/var/lib", "wrong", "cannot be written to");
    }

    fn acme(state_dir: &str) -> Acme {
        Acme {
            line: 1,
            domains: vec!["a.example".to_owned()],
            email: None,
            directory_url: "https://ca.example/dir".to_owned(),
            directory_ca_file: None,
            state_dir: state_dir.to_owned(),
            http_port: None,
        }
    }

    #[test]
    fn what_the_server_cannot_start_with_in_its_folder_is_wrong() {
        let path = std::env::temp_dir().join(format!("incamera-kept-{}", std::process::id()));
        let acme = acme(path.to_str().unwrap());
        let state = State::of(&path, &acme.directory_url);
        state.prepare().unwrap();
        let check = |said: &[&str]| {
            let mut report = Report::default();
            if check_folder(&path, &state, &mut report) {
                check_kept(&acme, &state, &mut report);
            }
            let text = report.to_string();
            assert_eq!(report.is_good(), said.is_empty(), "{text}");
            assert!(said.iter().all(|said| text.contains(said)), "{text}");
        };
        check(&[]);
        for name in ["failures", "hold"] {
            fs::create_dir(state.folder().join(name)).unwrap();
        }
        check(&["failures: is a directory", "hold: is a directory"]);
        fs::remove_dir_all(state.folder()).unwrap();
        fs::write(state.folder(), "").unwrap();
        check(&["ca.example-dir cannot be written to"]);
        fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn each_address_of_a_name_is_judged() {
        let all = |text: &str| -> Vec<SocketAddr> {
            text.split_whitespace().map(|ip| SocketAddr::new(ip.parse().unwrap(), 443)).collect()
        };
        let own = [OwnAddress { interface: "eth0".into(), address: "192.0.2.2".parse().unwrap() }];
        let check = |answering: &str, silent: &str, here, expect: &[&str]| {
            let mut report = Report::default();
            judge_addresses(
                "a.example",
                &all(answering),
                &all(silent),
                (443, here),
                &own,
                &mut report,
            );
            let text = report.to_string();
            let said = text.matches("a.example").count();
            assert!(said == expect.len() && expect.iter().all(|it| text.contains(it)), "{text}");
        };
        let here = "a.example at TCP 192.0.2.2:443 comes here";
        check("192.0.2.2", "", 443, &[here]);
        check("192.0.2.2 2001:db8::2", "", 443, &[here, "[2001:db8::2]:443 comes here"]);
        // A record of IPv6 that leads to another machine, or to this one where nothing listens.
        check("192.0.2.2", "2001:db8::7", 443, &[here, "2001:db8::7 as well, and TCP 443"]);
        check("203.0.113.7", "192.0.2.2", 443, &["7:443 comes here", "192.0.2.2 as well"]);
        check("", "192.0.2.2", 443, &["a.example is this machine, at 192.0.2.2"]);
        check("", "192.0.2.2 2001:db8::7", 443, &["is this machine", "at 2001:db8::7: from here"]);
        check("", "192.0.2.2", 8443, &["comes to TCP 8443 of this"]);
    }

    #[test]
    fn a_certificate_that_does_not_hold_now_is_wrong_on_either_side_of_its_time() {
        let acme = acme("state");
        let (certificate, key) = pair(Duration::from_secs(60 * 86_400));
        let kept = Kept::read(&format!("{certificate}{key}")).unwrap();
        let (from, to) = kept.times();
        let check = |now: u64, expect: [&str; 2]| {
            let mut report = Report::default();
            judge(&acme, &kept, Path::new("state/certificate.pem"), UnixTime(now), &mut report);
            let said = report.to_string();
            assert!(expect.iter().all(|words| said.contains(words)), "{said}");
            assert_eq!(report.is_good(), expect[0] == "fine", "{said}");
        };
        check(to.0 - 30 * 86_400, ["fine", "holds until"]);
        check(to.0 + 1, ["state/certificate.pem: its certificate 1 has expired at", "SIGHUP"]);
        let early = "state/certificate.pem: its certificate 1 is not valid before";
        check(from.0 - 86_400, [early, "remove that file"]);
    }
}
