//! `incamera doctor`: what would keep a server from working here, and what to do about it.
//!
//! Owns: the command, the order of its checks, how findings are said.
//! Guarantees: it changes nothing; each finding says what is, why it matters and what mends it, and holds no
//! secret; outside this machine it asks only whom it is told to ask, and where the names of `tls.acme` lead.
//! Not here: the checks (`machine`, `network`, `port`, `sockets`, `certificates`, `acme`).

mod acme;
mod certificates;
mod finding;
mod machine;
mod network;
mod ntp;
mod port;
mod sockets;
mod stun;

use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use settings::limits::{REVOCATION_FILE_MAX, SETTINGS_MAX};
use settings::{Holds, RevocationList, Settings, Tls};
use wire::key::Project;

use crate::secrecy::{Manner, Opener};
use crate::{Failure, authority, certificate, files, serve};
use finding::{Finding, Report};

pub(crate) const ABOUT: &str = "\
Looks for what would keep a server from working on this machine, and says what to do about it.

With --config it judges the settings and all that they name: ports, addresses, certificate, keys,
revocations. Always: the clock, limits, socket buffers, swap. Run it as the user that the server runs as,
before the first start and whenever something is odd; it changes nothing. Ports that a running server
holds are told apart from those that something else does; of media only root can tell.

It asks nobody else unless it is told whom: the authority of `tls.acme`, for its directory alone, and TCP
443 or 80 of each name there, whether that is this server; a STUN server, from where this machine looks
different behind a router, and a time server.";

pub(crate) const EXAMPLES: &str = "\
Examples:
  incamera doctor --config server.yaml
  incamera doctor --config server.yaml --stun stun.example.org:3478 --ntp time.example.org:123
  incamera doctor --json

Exit codes:
  0  nothing is wrong; there may be warnings
  1  something is wrong";

#[derive(Args)]
pub(crate) struct Options {
    /// The settings file of the server
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A STUN server that says which address this machine has out there
    #[arg(long, value_name = "HOST:PORT")]
    stun: Option<String>,
    /// A time server that says what time it is
    #[arg(long, value_name = "HOST:PORT")]
    ntp: Option<String>,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode, Failure> {
    let mut report = Report::default();
    if let Some(path) = &options.config {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut opener = Opener::new(folder.clone(), Manner::Tell);
        if let Some(settings) = read(path, &mut opener, &mut report) {
            let own = serve::own_addresses()?;
            network::check(&settings, &own, options.stun.as_deref(), &mut report);
            match &settings.tls {
                Some(Tls::Files(files)) => certificates::check(files, &mut report),
                Some(Tls::Acme(acme)) => acme::check(acme, &settings, &folder, &own, &mut report),
                None => {}
            }
            check_files(&settings, path, &folder, &mut opener, &mut report);
        }
        check_rights(&opener, &mut report);
    } else if let Some(server) = &options.stun {
        network::ask_stun(server, &[], &[], &mut report);
    }
    if let Ok(folder) = authority::folder() {
        certificates::check_authority(&folder, &mut report);
    }
    machine::check(options.ntp.as_deref(), &mut report);
    let text = if options.json { report.to_json() } else { report.to_string() };
    io::stdout().write_all(text.as_bytes())?;
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the settings say, unless a server would not start with them.
fn read(path: &Path, opener: &mut Opener, report: &mut Report) -> Option<Settings> {
    let name = path.display();
    let read = match files::read(path, SETTINGS_MAX) {
        Ok(text) => {
            let read = settings::read_settings(&text, &mut |file, holds| opener.open(file, holds));
            read.map_err(|fault| (format!("{name}: {fault}"), opener.unopened.take()))
        }
        Err(failure) => Err((failure, Some(path.to_owned()))),
    };
    match read {
        Ok(settings) => {
            report.add(Finding::fine("settings", format!("{name} is as it should be")));
            for warning in &settings.warnings {
                report.add(Finding::warning(
                    "settings",
                    format!("{name}: {warning}"),
                    "the server starts, and that line does not do what it looks like",
                    "do as it says; `incamera help serve` shows every key that has an effect",
                ));
            }
            Some(settings)
        }
        Err((failure, unopened)) => {
            let fix = unopened.and_then(|path| what_opens(&path));
            report.add(Finding::wrong(
                "settings",
                failure,
                "the server does not start with them, nor does it read them again",
                fix.unwrap_or("mend that line; `incamera help serve` shows a whole file"),
            ));
            None
        }
    }
}

/// What is to be done about a file that could not be read, unless that is for what stands in it.
fn what_opens(path: &Path) -> Option<&'static str> {
    let found = path.metadata().and_then(|found| {
        // A pipe would wait for its writer.
        if found.is_file() {
            File::open(path).map(drop)
        } else {
            Err(ErrorKind::IsADirectory.into())
        }
    });
    found.err().and_then(|error| mends(error.kind()))
}

const fn mends(kind: ErrorKind) -> Option<&'static str> {
    if matches!(kind, ErrorKind::PermissionDenied) {
        return Some(
            "let the server's user read it, and run this as that user: `chgrp incamera FILE; chmod 0640 FILE`, and let \
             that group enter its folder",
        );
    }
    let is_another =
        matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory);
    if is_another {
        Some("give the file that is meant; a path in a file is relative to that file")
    } else {
        None
    }
}

/// The files beside the certificate.
fn check_files(
    settings: &Settings,
    path: &Path,
    folder: &Path,
    opener: &mut Opener,
    report: &mut Report,
) {
    let holds = if settings.holds_secret { Holds::TokenSecret } else { Holds::NoSecret };
    opener.look_at(path, holds);
    if let Some(Tls::Acme(acme)) = &settings.tls {
        serve::look_at_directory_ca(acme, folder, opener);
    }
    if let Some(named) = &settings.revocations {
        let file = folder.join(&named.name);
        opener.look_at(&file, Holds::NoSecret);
        let within = |reason| {
            let reason = format!("{}: {reason}", settings::shown(&file.to_string_lossy()));
            format!("{}: {}", path.display(), named.fault(reason))
        };
        let wrong = |what, fix| {
            let why = "the server does not start, and a running one revokes nothing new";
            Finding::wrong("revocations", what, why, fix)
        };
        let read = files::read_with(&file, REVOCATION_FILE_MAX);
        let finding = match read.map(|(text, _)| settings::read_revocations(&text)) {
            Ok(Ok(list)) => {
                caution(&list, &file, settings, report);
                let number = list.revocations.len();
                Finding::fine("revocations", format!("{number} are revoked"))
            }
            Ok(Err(fault)) => wrong(
                format!("{}: {fault}", file.display()),
                "mend that line; that nothing is revoked is written as `tokens: []`",
            ),
            Err(failure) => wrong(
                within(failure),
                "give the file that is meant, which the server's user can read; one that revokes nothing says `tokens: []`",
            ),
        };
        report.add(finding);
    }
    let has_public = settings.projects.iter().any(|it| matches!(it, Project::Public(_)));
    if has_public && settings.refresh.is_none() {
        report.add(Finding::warning(
            "refresh",
            "there are keys of which the server has the public half alone, and `refresh_secret_file` is not given"
                .to_owned(),
            "whose tokens are signed with them and who is in a call when the server is started again, must fetch a new \
             token to come back",
            "head -c 32 /dev/urandom | base64 | install -m 0640 -g incamera /dev/stdin refresh, with the group of the \
             server's user; and `refresh_secret_file: refresh`; with people in calls, reload some seconds before a restart",
        ));
    }
}

/// What in the revocation file may be meant otherwise.
fn caution(list: &RevocationList, file: &Path, settings: &Settings, report: &mut Report) {
    let is_known =
        |name: &str| settings.projects.iter().any(|project| &**project.name().expose() == name);
    for caution in list.cautions(is_known, certificate::now()) {
        report.add(Finding::warning(
            "revocations",
            format!("{}: {caution}", file.display()),
            "if it is a slip, what is meant is not revoked, or more than is meant",
            "keys are named as in `keys` or by the id of an app; `issued_before` is a second of Unix time, now `date +%s`",
        ));
    }
}

/// What others may do with the files that were opened.
fn check_rights(opener: &Opener, report: &mut Report) {
    for exposed in &opener.exposed {
        let what = format!("{}: {}", exposed.path.display(), exposed.how.what());
        let (why, fix) = (exposed.how.why(), exposed.fix());
        report.add(if exposed.is_refused {
            Finding::wrong("rights", what, format!("{why}; no server starts with it"), fix)
        } else {
            Finding::warning("rights", what, why, fix)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_mends_settings_is_said_by_what_is_wrong() {
        let folder = std::env::temp_dir().join(format!("incamera-mends-{}", std::process::id()));
        fs::create_dir_all(folder.join("folder.yaml")).unwrap();
        let path = folder.join("server.yaml");
        let fix = |name: &str, text: &str| {
            fs::write(&path, text).unwrap();
            let mut opener = Opener::new(folder.clone(), Manner::Tell);
            let mut report = Report::default();
            assert!(read(&folder.join(name), &mut opener, &mut report).is_none());
            report.to_string()
        };
        let (line, give) = ("mend that line", "give the file that is meant");
        for (name, text, words) in [
            ("server.yaml", "keys: [", line),
            ("server.yaml", "key_file: server.yaml", line),
            ("server.yaml", "key_file: nowhere.yaml", give),
            ("server.yaml", "key_file: folder.yaml", give),
            ("server.yaml", "key_file: server.yaml/keys.yaml", give),
            ("nowhere.yaml", "", give),
            ("folder.yaml", "", give),
        ] {
            let said = fix(name, text);
            assert!(said.contains(words), "{text}: {said}");
            assert!(!said.contains(if words == line { give } else { line }), "{text}: {said}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_may_not_be_read_is_mended_by_its_rights_and_what_the_disk_lacks_by_nothing() {
        assert!(mends(ErrorKind::PermissionDenied).is_some_and(|fix| fix.contains("chmod 0640")));
        assert_eq!(mends(ErrorKind::StorageFull), None);
    }
}
