//! The server's certificate in its files: read, judged by the clock, read again when they change.
//!
//! Guarantees: what is returned can be served with now; a file is read again once both have been left alone
//! for a look, since whoever renews a certificate replaces them one after the other.
//! Not here: what a certificate says (`settings::certificate`), handshakes (`edge`).

use std::path::Path;
use std::time::SystemTime;

use edge::tls::Identity;
use settings::certificate::{Chain, UnixTime};
use settings::{Fault, Tls};

use crate::files;
use crate::watched::Watched;

/// From when on the operator is told that a certificate ends: authorities of the web renew theirs a month
/// before, so something has failed by then.
pub(crate) const WARN_DAYS: u64 = 14;

/// A certificate that is served with.
pub(crate) struct Certificate {
    pub(crate) identity: Identity,
    pub(crate) chain: Chain,
    /// Where the settings name it.
    line: usize,
    cert_file: Watched,
    key_file: Watched,
    /// They have changed, and not rested since.
    is_changing: bool,
    /// What has been said of its end.
    said: Said,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Said {
    Nothing,
    /// And on which day before.
    EndsSoon(u64),
    HasEnded,
}

/// What is to be said of a certificate's end.
pub(crate) enum End {
    /// In so many days.
    Soon(u64),
    /// It has come.
    Past,
}

impl Certificate {
    /// Judges what the settings name; their paths are relative to `folder`.
    pub(crate) fn new(tls: Tls, folder: &Path, now: UnixTime) -> Result<Self, Fault> {
        // Looked at before they are judged, so that what changes meanwhile is seen as a change.
        let cert_file = Watched::new(folder.join(&tls.cert_file));
        let key_file = Watched::new(folder.join(&tls.key_file));
        let fault = |reason: String| Fault { line: tls.line, reason };
        let (cert_name, key_name) = (&tls.cert_file, &tls.key_file);
        tls.chain.check(now).map_err(|error| fault(format!("{cert_name}: {error}")))?;
        let identity = identity(&tls.chain, &tls.key)
            .map_err(|reason| fault(format!("{key_name} {reason}")))?;
        Ok(Self {
            identity,
            chain: tls.chain,
            line: tls.line,
            cert_file,
            key_file,
            is_changing: false,
            said: Said::Nothing,
        })
    }

    /// What the files hold now, if they have changed and rested since.
    pub(crate) fn look(&mut self, now: UnixTime) -> Option<Result<(), Fault>> {
        let has_changed =
            [self.cert_file.has_changed(), self.key_file.has_changed()].contains(&true);
        let was_changing = std::mem::replace(&mut self.is_changing, has_changed);
        (was_changing && !has_changed).then(|| self.read_again(now))
    }

    fn read_again(&mut self, now: UnixTime) -> Result<(), Fault> {
        let fault = |reason: String| Fault { line: self.line, reason };
        let open = |file: &Watched| files::read(file.path(), files::SECRET_FILE_MAX).map_err(fault);
        let (text, key) = (open(&self.cert_file)?, open(&self.key_file)?);
        let (cert_path, key_path) =
            (self.cert_file.path().display(), self.key_file.path().display());
        let wrong = |error| fault(format!("{cert_path}: {error}"));
        let chain = Chain::read(&text).map_err(wrong)?;
        chain.check(now).map_err(wrong)?;
        let identity =
            identity(&chain, &key).map_err(|reason| fault(format!("{key_path} {reason}")))?;
        (self.identity, self.chain, self.said) = (identity, chain, Said::Nothing);
        Ok(())
    }

    /// What is to be said of its end and has not been: once a day while it nears, and once when it has come.
    pub(crate) fn end(&mut self, now: UnixTime) -> Option<End> {
        let (said, end) = match self.chain.valid_to().days_after(now) {
            None => (Said::HasEnded, End::Past),
            Some(days) if days < WARN_DAYS => (Said::EndsSoon(days), End::Soon(days)),
            Some(_) => return None,
        };
        (std::mem::replace(&mut self.said, said) != said).then_some(end)
    }
}

/// Joins certificate and key; what is wrong with the key, with every reason behind it.
pub(crate) fn identity(chain: &Chain, key: &str) -> Result<Identity, String> {
    let certificates = chain.certificates().iter().map(|each| each.der.clone()).collect();
    Identity::new(certificates, key).map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    })
}

/// The time by the system's clock.
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    UnixTime(since.unwrap_or_default().as_secs())
}
