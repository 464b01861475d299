//! The server's certificate in its files: read, judged by the clock, read again when they change.
//!
//! Guarantees: what is returned can be served with now; a file is read again once both have been left alone
//! for a look, since whoever renews a certificate replaces them one after the other.
//! Not here: what a certificate says (`settings::certificate`), handshakes (`edge`).

use std::path::Path;
use std::time::SystemTime;

use edge::tls::{CertifiedKey, CertifiedKeyError};
use model::LogData;
use settings::certificate::{CertificateError, Chain, UnixTime};
use settings::{CertificateFiles, Fault, Holds};

use crate::secrecy::{self, Exposed};
use crate::watched::{Trouble, Unread, Watched};
use crate::{files, log};

/// From when on the operator is told that a certificate ends: authorities of the web renew theirs a month
/// before, so something has failed by then.
pub(crate) const WARN_DAYS: u64 = 14;

/// A certificate that is served with.
pub(crate) struct Certificate {
    pub(crate) certified: CertifiedKey,
    pub(crate) chain: Chain,
    watch: Watch,
    ends: Ends,
}

/// Its files, looked at again and again.
#[derive(Clone)]
pub(crate) struct Watch {
    source: Source,
    /// The files have changed, and not rested since.
    is_changing: bool,
    trouble: Trouble,
}

/// What its files hold.
pub(crate) struct Pair {
    chain: Chain,
    certified: CertifiedKey,
    /// Which of them others may do too much with.
    exposed: Vec<Exposed>,
}

/// What has been said of a certificate's end.
#[derive(Default)]
pub(crate) struct Ends {
    said: Said,
}

/// Where it comes from.
#[derive(Clone)]
struct Source {
    /// Under what names the settings have them.
    cert_name: String,
    key_name: String,
    cert_file: Watched,
    key_file: Watched,
}

/// Which of the two files is wrong, and why nothing is known of what it says.
enum Wrong {
    Cert(Unread),
    Key(Unread),
}

impl Wrong {
    fn into_unread(self) -> Unread {
        match self {
            Self::Cert(unread) | Self::Key(unread) => unread,
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Said {
    #[default]
    Nothing,
    /// And how many days before.
    EndsSoon(u64),
    HasEnded,
}

/// What is to be said of a certificate's end.
enum End {
    /// In so many days.
    Soon(u64),
    /// It has come.
    Past,
}

impl Source {
    /// Reads and judges both files. A chain that is `shown` already is not judged by the clock: that it has ended
    /// keeps nothing else from being read again.
    fn read(&self, now: UnixTime, shown: Option<&Chain>) -> Result<Pair, Wrong> {
        let mut exposed = Vec::new();
        let mut open = |file: &Watched, holds| {
            let path = file.path();
            let (text, found) = secrecy::read(path, files::SECRET_FILE_MAX, holds)
                .map_err(|reason| Unread::NotNow(format!("{}: {reason}", path.display())))?;
            exposed.extend(found);
            Ok(text)
        };
        let text = open(&self.cert_file, Holds::NoSecret).map_err(Wrong::Cert)?;
        let key = open(&self.key_file, Holds::CertificateKey).map_err(Wrong::Key)?;
        let fault = |error: CertificateError| format!("{}: {error}", self.cert_name);
        let chain = Chain::read(&text);
        let chain = chain.map_err(|error| Wrong::Cert(Unread::Wrong(fault(error))))?;
        if shown != Some(&chain) {
            let held = chain.check(now);
            held.map_err(|error| Wrong::Cert(Unread::NotNow(fault(error))))?;
        }
        let certified = certified(&chain, &key).map_err(|error| {
            Wrong::Key(Unread::Wrong(format!("{} {}", self.key_name, log::reasons(&error))))
        })?;
        Ok(Pair { chain, certified, exposed })
    }

    fn paths(&self) -> [&Path; 2] {
        [self.cert_file.path(), self.key_file.path()]
    }

    fn has_changed(&mut self) -> bool {
        [self.cert_file.has_changed(), self.key_file.has_changed()].contains(&true)
    }
}

impl Certificate {
    /// Judges what the settings name; their paths are relative to `folder`. See [`Source::read`] for `shown`.
    pub(crate) fn new(
        tls: CertificateFiles,
        folder: &Path,
        now: UnixTime,
        shown: Option<&Chain>,
    ) -> Result<Self, Fault> {
        // Looked at before they are read, so that what changes meanwhile is seen as a change.
        let source = Source {
            cert_file: Watched::new(folder.join(&tls.cert_file)),
            key_file: Watched::new(folder.join(&tls.key_file)),
            cert_name: tls.cert_file,
            key_name: tls.key_file,
        };
        let read = source.read(now, shown);
        let Pair { chain, certified, exposed: _ } = read.map_err(|wrong| {
            let line = match wrong {
                Wrong::Cert(_) => tls.cert_line,
                Wrong::Key(_) => tls.key_line,
            };
            Fault { line, reason: wrong.into_unread().into_reason() }
        })?;
        let watch = Watch { source, is_changing: false, trouble: Trouble::default() };
        Ok(Self { certified, chain, watch, ends: Ends::default() })
    }

    /// To be looked at elsewhere, and [given back](Self::looked).
    pub(crate) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Its files were looked at; what they hold, if that has been read, is what is served with from now on. What others
    /// may do too much with is said unless it is `held` as said already.
    pub(crate) fn looked(&mut self, watch: Watch, read: Option<Pair>, held: &mut Vec<Exposed>) {
        self.watch = watch;
        if let Some(Pair { chain, certified, exposed }) = read {
            secrecy::say(&secrecy::news(held, &self.watch.source.paths(), exposed));
            (self.chain, self.certified, self.ends) = (chain, certified, Ends::default());
        }
    }

    /// Says in the log that it ends, if that is to be said.
    pub(crate) fn say_if_it_ends(&mut self) {
        self.ends.say(self.chain.valid_to(), now());
    }
}

impl Watch {
    /// What the files hold now, if they have changed and rested since, or could not be read; or what is wrong with
    /// them, if that is news.
    pub(crate) fn look(&mut self, now: UnixTime) -> Option<Result<Pair, String>> {
        let has_changed = self.source.has_changed();
        let was_changing = std::mem::replace(&mut self.is_changing, has_changed);
        if has_changed || !(was_changing || self.trouble.may_be_over()) {
            return None;
        }
        let read = self.source.read(now, None).map_err(Wrong::into_unread);
        self.trouble.news(was_changing, read)
    }
}

impl Ends {
    /// Says in the log that a certificate ends, if that is to be said. Calls go on then; whoever comes is turned
    /// away by their own client.
    pub(crate) fn say(&mut self, valid_to: UnixTime, now: UnixTime) {
        let end = self.next(valid_to, now);
        let valid_to = LogData(valid_to);
        match end {
            None => {}
            Some(End::Soon(days)) => {
                let days = LogData(days);
                edge::log!(
                    WARN,
                    "the certificate ends soon: renew it",
                    days = days,
                    valid_to = valid_to
                );
            }
            Some(End::Past) => {
                edge::log!(
                    ERROR,
                    "the certificate has expired: nobody can join until it is renewed",
                    valid_to = valid_to,
                );
            }
        }
    }

    /// What is to be said and has not been: once a day while it nears, and once when it has come.
    fn next(&mut self, valid_to: UnixTime, now: UnixTime) -> Option<End> {
        let (said, end) = match valid_to.days_after(now) {
            None => (Said::HasEnded, End::Past),
            Some(days) if days < WARN_DAYS => (Said::EndsSoon(days), End::Soon(days)),
            Some(_) => return None,
        };
        (std::mem::replace(&mut self.said, said) != said).then_some(end)
    }
}

/// Joins certificate and key; what is wrong is wrong with the key.
pub(crate) fn certified(chain: &Chain, key: &str) -> Result<CertifiedKey, CertifiedKeyError> {
    let certificates = chain.certificates().iter().map(|each| each.der.clone()).collect();
    CertifiedKey::new(certificates, key, chain.valid_to().0)
}

/// The time by the system's clock.
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixTime(since.unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::tests::pair;
    use crate::secrecy::How;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    #[test]
    fn a_certificate_is_read_once_its_files_have_rested_and_replaced_by_none_that_is_wrong() {
        let folder = std::env::temp_dir().join(format!("incamera-tls-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let write = |(certificate, key): &(String, String)| {
            fs::write(folder.join("c.pem"), certificate).unwrap();
            fs::write(folder.join("k.pem"), key).unwrap();
            fs::set_permissions(folder.join("k.pem"), fs::Permissions::from_mode(0o640)).unwrap();
        };
        let (one, other) =
            (pair(Duration::from_secs(86_400 * 30)), pair(Duration::from_secs(86_400)));
        write(&one);
        let text =
            "keys: {k: 0123456789abcdef0123456789abcdef}\ntls: {cert_file: c.pem, key_file: k.pem}";
        let settings = settings::read_settings(text, &mut |name, _| {
            files::read(&folder.join(name), files::SECRET_FILE_MAX)
        });
        let now = now();
        let Some(settings::Tls::Files(tls)) = settings.unwrap().tls else { panic!("no files") };
        let mut shown = Certificate::new(tls, &folder, now, None).unwrap();
        let mut held = Vec::new();
        let end = |shown: &mut Certificate, now| shown.ends.next(shown.chain.valid_to(), now);
        let mut look = |shown: &mut Certificate, now| {
            let mut watch = shown.watch();
            let (pair, news) = match watch.look(now) {
                None => (None, None),
                Some(Ok(pair)) => (Some(pair), Some(Ok(()))),
                Some(Err(fault)) => (None, Some(Err(fault))),
            };
            shown.looked(watch, pair, &mut held);
            news
        };
        assert!(look(&mut shown, now).is_none() && end(&mut shown, now).is_none());

        // One after the other, as renewing does.
        fs::write(folder.join("c.pem"), &other.0).unwrap();
        assert!(look(&mut shown, now).is_none());
        fs::write(folder.join("k.pem"), &other.1).unwrap();
        assert!(look(&mut shown, now).is_none());
        assert!(look(&mut shown, now).unwrap().is_ok());
        assert!(matches!(end(&mut shown, now), Some(End::Soon(0 | 1))));
        assert!(end(&mut shown, now).is_none());
        let later = UnixTime(now.0 + 86_400 * 2);
        assert!(matches!(end(&mut shown, later), Some(End::Past)));
        assert!(end(&mut shown, later).is_none());

        fs::write(folder.join("k.pem"), &one.1).unwrap();
        assert!(look(&mut shown, now).is_none());
        let chain = shown.chain.clone();
        let failure = look(&mut shown, now).unwrap().unwrap_err();
        assert!(failure.contains("k.pem is not the key"), "{failure}");
        assert!(shown.chain == chain && look(&mut shown, now).is_none());

        // Made by a clock that is ahead of this one, which is set later.
        write(&one);
        fs::set_permissions(folder.join("k.pem"), fs::Permissions::from_mode(0o644)).unwrap();
        let early = UnixTime(0);
        assert!(look(&mut shown, early).is_none());
        let failure = look(&mut shown, early).unwrap().unwrap_err();
        assert!(failure.contains("c.pem: its certificate 1 is not valid before"), "{failure}");
        assert!(shown.chain == chain && look(&mut shown, early).is_none());
        assert!(look(&mut shown, now).unwrap().is_ok());
        assert!(shown.chain != chain && look(&mut shown, now).is_none());
        let [key] = held.as_slice() else { panic!("{held:?}") };
        assert_eq!((key.path.as_path(), key.how), (folder.join("k.pem").as_path(), How::Read));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_wrong_is_told_with_the_line_of_its_file() {
        let folder = std::env::temp_dir().join(format!("incamera-line-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (one, other) =
            (pair(Duration::from_secs(86_400 * 30)), pair(Duration::from_secs(86_400 * 30)));
        fs::write(folder.join("c.pem"), &one.0).unwrap();
        let fault = |key: &str, now| {
            fs::write(folder.join("k.pem"), key).unwrap();
            let text = "keys: {k: 0123456789abcdef0123456789abcdef}\ntls:\n  cert_file: c.pem\n  key_file: k.pem";
            let settings = settings::read_settings(text, &mut |name, _| {
                files::read(&folder.join(name), files::SECRET_FILE_MAX)
            });
            let Some(settings::Tls::Files(tls)) = settings.unwrap().tls else { panic!("no files") };
            Certificate::new(tls, &folder, now, None).err().unwrap()
        };
        let encrypted = one.1.replace("PRIVATE", "ENCRYPTED PRIVATE");
        for (key, now, line, words) in [
            (&other.1, now(), 4, "k.pem is not the key"),
            (&one.0, now(), 4, "k.pem holds no private key"),
            (&encrypted, now(), 4, "k.pem holds a key under a passphrase"),
            (&one.1, UnixTime(u64::MAX), 3, "c.pem: its certificate 1 has expired"),
        ] {
            let fault = fault(key, now);
            assert!(fault.line == line && fault.reason.contains(words), "{fault}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
