//! What a running server reads again: its settings and keys when it is asked to, what is revoked and the
//! certificate when they change.
//!
//! Owns: when files are looked at, what follows from what they say now, what the log says of it.
//! Guarantees: a file that is wrong, gone, or does not answer changes nothing and keeps nobody waiting, neither for
//! another file nor for the end; it is looked at on. What was revoked is taken back when that is asked for
//! (SIGHUP), never because a file has changed.
//! Not here: what files say (`settings`), waiting for them (`reading`), what a change causes (`edge`).

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use edge::Server;
use edge::config::{Config, MetricsAt, Rooms};
use edge::networks::AddressesOf;
use model::{LocalText, LogData, Share};
use settings::limits::REVOCATION_FILE_MAX;
use settings::{Acme, Fault, Holds, RevocationList, Standing};
use tokio::time::{Interval, MissedTickBehavior, interval};
use wire::access::Access;
use wire::revocation::Revocations;

use crate::Failure;
use crate::certificate::{self, Certificate, Pair, Watch};
use crate::reading::{Outcome, READ_WITHIN, Reading};
use crate::secrecy::{self, Exposed};
use crate::serve::Written;
use crate::watched::{Trouble, Unread, Watched};

/// How often files are looked at: what the revocation file says takes effect within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long all files together are waited for: some may be on a network.
const ALL_WITHIN: Duration = READ_WITHIN.saturating_mul(5);

/// Says what the settings have in vain, and who may do too much with files, unless it `was` so before.
pub(crate) fn say_warnings(written: &Written, was: Option<&Written>) {
    for warning in fresh(&written.warnings, was.map_or(&[], |was| &was.warnings)) {
        let file = LocalText(written.path.display());
        edge::log!(WARN, "about the settings", file = file, warning = LocalText(warning));
    }
    if let Some(file) = &written.revocations {
        say_cautions(file.path(), &written.cautions, was.map_or(&[], |was| &was.cautions));
    }
    let said = was.map_or([].as_slice(), |was| &was.exposed);
    secrecy::say(written.exposed.iter().filter(|exposed| !said.contains(exposed)));
}

/// Says what in the revocation file may be meant otherwise, unless it was `said` of the same line.
fn say_cautions(path: &Path, all: &[Fault], said: &[Fault]) {
    for caution in all.iter().filter(|caution| !said.contains(caution)) {
        let (file, warning) = (LocalText(path.display()), LocalText(caution));
        edge::log!(WARN, "about the revocation file", file = file, warning = warning);
    }
}

/// Those of `all` that are not among those that were `said`, wherever these stood: of two with the same words both are
/// said, once each.
fn fresh<'a>(all: &'a [Fault], said: &[Fault]) -> Vec<&'a Fault> {
    let mut said: Vec<&str> = said.iter().map(|fault| fault.reason.as_str()).collect();
    let is_fresh = |fault: &&Fault| match said.iter().position(|said| *said == fault.reason) {
        Some(at) => {
            said.swap_remove(at);
            false
        }
        None => true,
    };
    all.iter().filter(is_fresh).collect()
}

/// What of the settings takes effect when the server starts, and at no other time.
#[derive(PartialEq)]
struct Fixed {
    places: [Vec<SocketAddr>; 3],
    advertised: Vec<IpAddr>,
    metrics: Option<MetricsAt>,
    busy_max: Share,
    addresses_of: AddressesOf,
    rooms: Rooms,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        Self {
            places: [config.http.clone(), config.udp.clone(), config.tcp.clone()],
            advertised: config.advertised.clone(),
            metrics: config.metrics,
            busy_max: config.busy_max,
            addresses_of: config.addresses_of,
            rooms: config.rooms,
        }
    }
}

/// Where the certificate comes from, by the settings.
#[derive(Clone, PartialEq)]
pub(crate) enum Source {
    /// There is none.
    Nowhere,
    Files,
    Authority(Acme),
}

/// What a server was started with.
struct Started {
    fixed: Fixed,
    source: Source,
}

impl Started {
    fn of(written: &Written) -> Self {
        Self { fixed: Fixed::of(&written.config), source: written.source.clone() }
    }

    /// What is shown goes on being shown, and looked at, where the settings have another one from elsewhere.
    fn keep_certificate(&self, was: &mut Written, is: &mut Written) {
        if (is.source == Source::Files) != (self.source == Source::Files) {
            is.certificate = was.certificate.take();
        }
    }

    /// Says what waits for the next start, if it is not what was said when the files were read before.
    fn say_what_waits(&self, was: &Written, is: &Written) {
        let (before, now) = (Fixed::of(&was.config), Fixed::of(&is.config));
        if now != self.fixed && now != before {
            edge::log!(
                WARN,
                "other addresses, ports, proxies, metrics and limits take effect when the server is started again"
            );
        } else if now == self.fixed && now != before {
            edge::log!(
                INFO,
                "addresses, ports, proxies, metrics and limits are again what is served with"
            );
        }
        if is.source != self.source && is.source != was.source {
            edge::log!(
                WARN,
                "TLS begins, ends, or has its certificate from elsewhere when the server is started again"
            );
        }
    }
}

/// The file of what is revoked.
#[derive(Clone)]
pub(crate) struct RevocationFile {
    watched: Watched,
    trouble: Trouble,
}

impl RevocationFile {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { watched: Watched::new(path), trouble: Trouble::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.watched.path()
    }

    pub(crate) fn read(&self) -> Result<Revoked, Unread> {
        let path = self.watched.path();
        let read = secrecy::read(path, REVOCATION_FILE_MAX, Holds::NoSecret);
        let (text, exposed) = read.map_err(|reason| {
            Unread::NotNow(format!("{}: {reason}", settings::shown(&path.to_string_lossy())))
        })?;
        let list = settings::read_revocations(&text)
            .map_err(|fault| Unread::Wrong(format!("{}: {fault}", path.display())))?;
        Ok(Revoked { list, exposed })
    }

    /// What it says now, or what is wrong with it, if that is news since the last look.
    fn look(&mut self) -> Option<Result<Revoked, String>> {
        let has_changed = self.watched.has_changed();
        if !has_changed && !self.trouble.may_be_over() {
            return None;
        }
        let read = self.read();
        self.trouble.news(has_changed, read)
    }
}

/// What it says, and what others may do too much with it.
#[derive(Debug)]
pub(crate) struct Revoked {
    pub(crate) list: RevocationList,
    pub(crate) exposed: Option<Exposed>,
}

/// A file that was looked at, and the news of it.
type FileLooked = (RevocationFile, Option<Result<Revoked, String>>);
type CertificateLooked = (Watch, Option<Result<Pair, String>>);

/// Everything that is read again.
pub(crate) struct Reload {
    written: Written,
    started: Started,
    standing: Standing,
    looks: Interval,
    all: Reading<Result<Written, Failure>>,
    revocations: Reading<FileLooked>,
    certificate: Reading<CertificateLooked>,
    /// What is being read of all files may be older than what has been asked for, or heard, since.
    is_stale: bool,
}

/// What there is to do.
pub(crate) enum Wake {
    /// SIGHUP: all files are to be read.
    HangUp,
    /// It is time to look whether one has changed.
    Look,
    All(Outcome<Result<Written, Failure>>),
    Revocations(Outcome<FileLooked>),
    Certificate(Outcome<CertificateLooked>),
}

impl Reload {
    pub(crate) fn new(written: Written) -> Self {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            started: Started::of(&written),
            standing: Standing::new(written.config.access.revocations.clone()),
            written,
            looks,
            all: Reading::new(ALL_WITHIN),
            revocations: Reading::new(READ_WITHIN),
            certificate: Reading::new(READ_WITHIN),
            is_stale: false,
        }
    }

    /// What there is to do next. May be dropped and asked again.
    pub(crate) async fn next(&mut self) -> Wake {
        let has_files = self.written.revocations.is_some() || self.written.certificate.is_some();
        tokio::select! {
            _ = self.looks.tick(), if has_files => Wake::Look,
            outcome = self.all.outcome() => Wake::All(outcome),
            outcome = self.revocations.outcome() => Wake::Revocations(outcome),
            outcome = self.certificate.outcome() => Wake::Certificate(outcome),
        }
    }

    /// Returns at once, whatever files do.
    pub(crate) fn handle(&mut self, wake: Wake, server: &Server) {
        match wake {
            Wake::HangUp if self.all.is_under_way() => self.is_stale = true,
            Wake::HangUp => self.read_all(server),
            Wake::Look => self.look(),
            Wake::All(outcome) => self.all_read(outcome, server),
            Wake::Revocations(outcome) => self.revocations_read(outcome, server),
            Wake::Certificate(outcome) => self.certificate_read(outcome, server),
        }
    }

    fn look(&mut self) {
        if self.revocations.may_begin()
            && let Some(mut file) = self.written.revocations.clone()
        {
            self.revocations.begin(move || {
                let news = file.look();
                (file, news)
            });
        }
        let Some(shown) = &mut self.written.certificate else { return };
        shown.say_if_it_ends();
        if self.certificate.may_begin() {
            let mut watch = shown.watch();
            self.certificate.begin(move || {
                let news = watch.look(certificate::now());
                (watch, news)
            });
        }
    }

    fn read_all(&mut self, server: &Server) {
        self.is_stale = false;
        if !self.all.has_room() {
            server.metrics().files_failed.count();
            edge::log!(
                ERROR,
                "too many readers wait for files that do not answer: nothing is read again"
            );
            return;
        }
        let (path, fallback) = (self.written.path.clone(), self.written.fallback.clone());
        let served = self.written.served();
        self.all.begin(move || Written::read(path, fallback, Some(&served)));
    }

    /// If one file is wrong, all stays as it is.
    fn all_read(&mut self, outcome: Outcome<Result<Written, Failure>>, server: &Server) {
        match outcome {
            Outcome::Read(_) if self.is_stale => self.read_all(server),
            Outcome::Read(Ok(again)) => self.begin_anew(again, server),
            Outcome::Read(Err(failure)) => {
                server.metrics().files_failed.count();
                edge::log!(
                    ERROR,
                    "the files are wrong: keys, revocations and certificate stay as they were",
                    failure = LocalText(failure),
                );
            }
            Outcome::Lost => {
                server.metrics().files_failed.count();
                edge::log!(
                    ERROR,
                    "the files do not answer: keys, revocations and certificate stay as they were; reload once they do"
                );
            }
        }
    }

    fn begin_anew(&mut self, mut again: Written, server: &Server) {
        self.started.say_what_waits(&self.written, &again);
        say_warnings(&again, Some(&self.written));
        self.started.keep_certificate(&mut self.written, &mut again);
        let stood = self.standing.all();
        if again.revocations.is_none() && !stood.is_empty() {
            // So does a file that lost its end read, and who takes everything back can say so.
            let revocations = LogData(stood.len());
            edge::log!(
                WARN,
                "the settings name no revocation file any more: what was revoked stays so until the next start",
                revocations = revocations,
            );
            let keys = again.config.access.keys.clone();
            again.config.access = Arc::new(Access { keys, revocations: stood });
        } else {
            self.standing = Standing::new(again.config.access.revocations.clone());
            let taken_back = stood.beyond(&again.config.access.revocations).len();
            if taken_back > 0 {
                let taken_back = LogData(taken_back);
                edge::log!(WARN, "revocations are taken back", taken_back = taken_back);
            }
        }
        // Whoever looks now has begun with what was known before.
        self.revocations.forget();
        self.certificate.forget();
        server.admit_by(Arc::clone(&again.config.access));
        if let Some(read) = &again.certificate {
            show(server, read);
        }
        let revocations = LogData(again.config.access.revocations.len());
        edge::log!(INFO, "keys, revocations and certificate read again", revocations = revocations);
        self.written = again;
    }

    fn revocations_read(&mut self, outcome: Outcome<FileLooked>, server: &Server) {
        let Some(held) = &mut self.written.revocations else { return };
        let news = match outcome {
            Outcome::Read((file, news)) => {
                *held = file;
                news
            }
            Outcome::Lost => {
                server.metrics().files_failed.count();
                let file = LocalText(held.path().display());
                edge::log!(
                    ERROR,
                    "the revocation file does not answer: what was revoked stays revoked, and nothing else is",
                    file = file,
                );
                return;
            }
        };
        match news {
            None => {}
            Some(Ok(Revoked { list, exposed })) => {
                let found = exposed.into_iter().collect();
                secrecy::say(&secrecy::news(&mut self.written.exposed, &[held.path()], found));
                let keys = &self.written.config.access.keys;
                let cautions =
                    list.cautions(|name| keys.project(name).is_some(), certificate::now());
                say_cautions(held.path(), &cautions, &self.written.cautions);
                self.written.cautions = cautions;
                self.revoke(list.revocations, server);
            }
            Some(Err(failure)) => {
                server.metrics().files_failed.count();
                edge::log!(
                    ERROR,
                    "the revocation file is wrong: what was revoked stays revoked",
                    failure = LocalText(failure),
                );
            }
        }
    }

    /// What the file says now is revoked, beside all that it said before.
    fn revoke(&mut self, says: Revocations, server: &Server) {
        self.is_stale |= self.all.is_under_way();
        let heard = self.standing.hear(says);
        let config = &mut self.written.config;
        let (keys, revocations) = (config.access.keys.clone(), self.standing.all());
        config.access = Arc::new(Access { keys, revocations });
        server.admit_by(Arc::clone(&config.access));
        let revocations = LogData(config.access.revocations.len());
        edge::log!(INFO, "revocations read again", revocations = revocations);
        if heard.gone > 0 {
            let gone = LogData(self.standing.gone());
            edge::log!(
                WARN,
                "revocations are gone from their file: they stand until it has them again, or a reload takes them back",
                gone = gone,
            );
        }
        if heard.given_up > 0 {
            let given_up = LogData(heard.given_up);
            edge::log!(
                WARN,
                "too many revocations are gone from their file: those that went first are taken back",
                given_up = given_up,
            );
        }
    }

    fn certificate_read(&mut self, outcome: Outcome<CertificateLooked>, server: &Server) {
        let Written { certificate: Some(shown), exposed: held, .. } = &mut self.written else {
            return;
        };
        let (watch, news) = match outcome {
            Outcome::Read(read) => read,
            Outcome::Lost => {
                server.metrics().files_failed.count();
                edge::log!(
                    ERROR,
                    "the files of the certificate do not answer: the one before stays"
                );
                return;
            }
        };
        match news {
            None => shown.looked(watch, None, held),
            Some(Ok(pair)) => {
                shown.looked(watch, Some(pair), held);
                show(server, shown);
                let valid_to = LogData(shown.chain.valid_to());
                edge::log!(INFO, "certificate read again", valid_to = valid_to);
                shown.say_if_it_ends();
            }
            Some(Err(failure)) => {
                shown.looked(watch, None, held);
                server.metrics().files_failed.count();
                edge::log!(
                    ERROR,
                    "the certificate is wrong: the one before stays",
                    failure = LocalText(failure),
                );
            }
        }
    }
}

/// From now on this is shown to those who connect.
fn show(server: &Server, certificate: &Certificate) {
    if let Some(showing) = server.showing() {
        showing.show(certificate.certified.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrecy::How;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_was_said_of_the_settings_is_said_again_when_it_is_another_thing() {
        let fault = |line, reason: &str| Fault { line, reason: reason.to_owned() };
        let before = [fault(3, "`webhook` has no effect here")];
        let now = [fault(7, "`webhook` has no effect here"), fault(8, "`turn` has no effect here")];
        let said: Vec<_> = fresh(&now, &before).iter().map(|fault| fault.line).collect();
        assert_eq!(said, [8]);
        assert_eq!(fresh(&before, &now).len(), 0);
        assert_eq!(fresh(&now, &[]).len(), 2);
        let unknown = |lines: &[usize]| -> Vec<_> {
            lines.iter().map(|line| fault(*line, "this key is not known")).collect()
        };
        assert_eq!(fresh(&unknown(&[3, 5]), &unknown(&[3])).len(), 1, "another of the same words");
    }

    #[test]
    fn a_revocation_file_is_read_when_it_changes_and_not_otherwise() {
        let path = std::env::temp_dir().join(format!("incamera-revoked-{}", std::process::id()));
        let id = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        std::fs::write(&path, "tokens: []").unwrap();
        let mut file = RevocationFile::new(path.clone());
        assert!(file.look().is_none());
        std::fs::write(&path, format!("tokens: [{id}]")).unwrap();
        let says = file.look().unwrap().unwrap();
        assert_eq!((says.list.revocations.len(), says.exposed), (1, None));
        assert!(file.look().is_none());
        // With its rights, which decide who can take back what is revoked.
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let exposed = file.look().unwrap().unwrap().exposed;
        assert_eq!(
            exposed.map(|exposed| (exposed.path, exposed.how)),
            Some((path.clone(), How::Write))
        );
        std::fs::write(&path, "tokens: [nothing]").unwrap();
        assert!(file.look().unwrap().unwrap_err().contains("line 1"));
        assert!(file.look().is_none());
        std::fs::write(&path, "").unwrap();
        assert!(file.look().unwrap().unwrap_err().contains("tokens: []"));
        std::fs::remove_file(&path).unwrap();
        assert!(file.look().unwrap().is_err());
        assert!(file.look().is_none());
    }
}
