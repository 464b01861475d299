//! The server's certificate from an authority: asked for, kept, shown, renewed.
//!
//! Owns: the one task that does so while the server runs.
//! Guarantees: what is kept is shown again after a start, and nobody is asked for it; what is shown stays until
//! there is something better; a failure of the authority, the network, the clock or the disk ends no call; whatever an
//! authority says, it is asked again; the task ends when it is told to, whatever it waits for.
//! Not here: one request (`order`), when to ask (`settings::renewal`), the files (`state`), what is said of failures
//! (`words`), handshakes (`edge`).

mod client;
mod order;
mod state;
mod words;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use edge::tls::{CertifiedKey, Showing, Shown};
use model::{LocalText, LogData};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use ring::rand::{SecureRandom as _, SystemRandom};
use settings::certificate::UnixTime;
use settings::renewal::{Failures, Hold, renew_at};
use settings::{Acme, Fault};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, timeout};
use zeroize::Zeroizing;

pub(crate) use client::Client;
pub(crate) use state::{Kept, State};

use crate::Failure;
use crate::authority::to_pem;
use crate::certificate::{self, Ends};
use crate::trust::Trust;

/// How often the clock is looked at, which may be set.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long one attempt may take: each request is bounded by itself, and so is each wait for the authority's word.
const ATTEMPT_MAX: Duration = Duration::from_secs(600);
/// How often it is tried to keep what could not be kept.
const KEEP_EVERY_S: u64 = 60;
/// How an authority of one's own is named.
pub(crate) const CA_KEY: &str = "`directory_ca_file`";

/// A certificate and its authority, before the server runs.
pub(crate) struct Certification {
    settings: Acme,
    client: Client,
    state: State,
    kept: Option<Kept>,
    failures: Failures,
    hold: Hold,
}

/// The running task.
pub(crate) struct Keeper {
    task: JoinHandle<()>,
    wake: Arc<Notify>,
}

impl Certification {
    /// Looks into the folder where account and certificate are kept; paths are relative to `folder`.
    pub(crate) fn open(settings: Acme, folder: &Path) -> Result<Self, Fault> {
        let line = settings.line;
        let fault = |reason: String| Fault { line, reason };
        let named = settings.directory_ca_file.as_ref().map(|name| folder.join(name));
        let trust = Trust::new(named.as_deref(), CA_KEY);
        let trust = trust.map_err(|failure| fault(failure.to_string()))?;
        let state = State::of(&folder.join(&settings.state_dir), &settings.directory_url);
        state.prepare().map_err(fault)?;
        let kept = state.certificate().map_err(fault)?;
        let failures = state.failures().map_err(fault)?;
        let hold = state.hold().map_err(fault)?;
        // Used when the authority is asked; better to hear now that it cannot be.
        state.account().map_err(fault)?;
        Ok(Self { settings, client: Client::new(trust), state, kept, failures, hold })
    }

    /// What is shown to clients at first.
    pub(crate) fn shown(&self) -> Result<Shown, Failure> {
        match &self.kept {
            Some(kept) => Ok(Shown::new(kept.certified.clone())),
            None => placeholder().map(Shown::awaiting),
        }
    }

    /// When the certificate that is kept ends, if one is.
    pub(crate) fn valid_to(&self) -> Option<UnixTime> {
        self.kept.as_ref().map(|kept| kept.chain.valid_to())
    }

    /// Begins to look after the certificate.
    pub(crate) fn start(self, showing: Showing) -> Result<Keeper, Failure> {
        let mut chance = [0];
        SystemRandom::new().fill(&mut chance).map_err(|_| "the system gives no randomness")?;
        let [chance] = chance;
        let Self { settings, client, state, kept, failures, hold } = self;
        let held = kept.as_ref().map_or(Ok(()), |kept| kept.check(certificate::now()));
        if let Err(reason) = held {
            let reason = LogData(reason);
            edge::log!(WARN, "the certificate that is kept does not hold now", reason = reason);
        }
        let wake = Arc::new(Notify::new());
        let keeping = Keeping {
            settings,
            client,
            state,
            showing,
            kept,
            failures,
            hold,
            chance,
            unkept: None,
            ends: Ends::default(),
        };
        Ok(Keeper { task: tokio::spawn(keeping.run(Arc::clone(&wake))), wake })
    }
}

impl Keeper {
    /// Tries now, if there is something to be tried.
    pub(crate) fn ask(&self) {
        self.wake.notify_one();
    }

    /// Ends, whatever is under way: an order that is left alone expires at the authority.
    pub(crate) async fn end(self) {
        self.task.abort();
        // It was cancelled, or has said what went wrong.
        drop(self.task.await);
    }
}

/// What is looked after.
struct Keeping {
    settings: Acme,
    client: Client,
    state: State,
    showing: Showing,
    kept: Option<Kept>,
    failures: Failures,
    hold: Hold,
    /// Of 256: what part of a wait this server adds, so that not all ask at once.
    chance: u8,
    /// The one that is shown, if it could not be kept.
    unkept: Option<Unkept>,
    ends: Ends,
}

/// A certificate that is shown, and is to be kept yet.
struct Unkept {
    text: Zeroizing<String>,
    /// When that is to be tried.
    at: UnixTime,
}

impl Unkept {
    /// Whether it is time. The clock may have been set back since that was said.
    fn is_due(&self, now: UnixTime) -> bool {
        !(1..=KEEP_EVERY_S).contains(&self.at.0.saturating_sub(now.0))
    }
}

impl Keeping {
    async fn run(mut self, wake: Arc<Notify>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Whoever starts a server wants it to try.
        let mut is_asked = true;
        loop {
            let now = certificate::now();
            if self.is_wanted(now) {
                if self.hold.settle(now) {
                    self.keep_hold().await;
                }
                let allowed = self.failures.allowed_at(now);
                let next = if is_asked { allowed } else { self.retry_at(now) };
                let next = next.max(self.hold.until());
                if next <= now {
                    self.attempt().await;
                } else if is_asked {
                    let next = LogData(next);
                    edge::log!(
                        WARN,
                        "the authority is not asked now: it was asked too often in vain, or wants to be left alone",
                        next = next
                    );
                }
            }
            self.keep_what_was_not_kept(now).await;
            if let Some(kept) = self.kept.as_ref().filter(|_| !self.failures.is_empty()) {
                self.ends.say(kept.chain.valid_to(), now);
            }
            is_asked = tokio::select! {
                _ = looks.tick() => false,
                () = wake.notified() => true,
            };
        }
    }

    fn retry_at(&self, now: UnixTime) -> UnixTime {
        self.failures.retry_at(now, self.chance)
    }

    /// Whether there is a reason to ask: no certificate, not for all names, or it is time.
    fn is_wanted(&self, now: UnixTime) -> bool {
        self.kept
            .as_ref()
            .is_none_or(|kept| !kept.covers(&self.settings.domains) || self.renew_at(kept) <= now)
    }

    fn renew_at(&self, kept: &Kept) -> UnixTime {
        let (from, to) = kept.times();
        renew_at(from, to, self.chance)
    }

    async fn attempt(&mut self) {
        let domains = LocalText(self.settings.domains.join(", "));
        edge::log!(INFO, "asking for a certificate", domains = domains);
        // Before it is made: one that the end of the process cuts short counts as well.
        self.failures.add(certificate::now());
        self.keep_failures().await;
        let obtained = contained(self.obtain()).await;
        if let Some(seconds) = self.client.take_wish() {
            self.hold = Hold::new(certificate::now(), seconds);
            self.keep_hold().await;
        }
        match obtained {
            Ok(given) => self.take(given).await,
            Err(failure) => self.fail(failure.as_ref()),
        }
    }

    /// One request, apart from what is looked after here.
    fn obtain(&self) -> impl Future<Output = Result<order::Given, Failure>> + Send + 'static {
        let (settings, client) = (self.settings.clone(), self.client.clone());
        let (state, showing) = (self.state.clone(), self.showing.clone());
        async move { order::obtain(&settings, &client, &state, &showing).await }
    }

    /// Shows what was given, and keeps it.
    async fn take(&mut self, given: order::Given) {
        self.showing.show(given.kept.certified.clone());
        self.showing.metrics().certificates_obtained.count();
        let valid_to = LogData(given.kept.chain.valid_to());
        edge::log!(INFO, "a certificate was given, and is shown from now on", valid_to = valid_to);
        let now = certificate::now();
        if !self.failures.succeed(self.renew_at(&given.kept), now) {
            let next = LogData(self.retry_at(now));
            edge::log!(
                WARN,
                "the new certificate is to be renewed already: is the clock right?",
                next = next
            );
        }
        (self.kept, self.ends) = (Some(given.kept), Ends::default());
        self.unkept = Some(Unkept { text: given.text, at: now });
        // First what cannot be had again.
        self.keep_what_was_not_kept(now).await;
        self.keep_failures().await;
    }

    fn fail(&self, failure: &(dyn std::error::Error + Send + Sync)) {
        let now = certificate::now();
        self.showing.metrics().certificates_failed.count();
        let reason = LocalText(words::of(failure));
        let next = LogData(self.retry_at(now).max(self.hold.until()));
        let serves = self.kept.as_ref().is_some_and(|kept| kept.chain.valid_to() > now);
        if serves {
            edge::log!(
                WARN,
                "no new certificate was given: the one before stays",
                reason = reason,
                next = next
            );
        } else {
            edge::log!(
                ERROR,
                "no certificate was given: nobody can join until one is",
                reason = reason,
                next = next
            );
        }
    }

    async fn keep_failures(&self) {
        let failures = self.failures.clone();
        let kept = self.state.at_disk(move |state| state.keep_failures(&failures)).await;
        if let Err(failure) = kept {
            edge::log!(
                WARN,
                "attempts at the authority cannot be kept",
                failure = LocalText(failure)
            );
        }
    }

    async fn keep_hold(&self) {
        let hold = self.hold;
        if let Err(failure) = self.state.at_disk(move |state| state.keep_hold(hold)).await {
            edge::log!(
                WARN,
                "for how long the authority wants to be left alone cannot be kept",
                failure = LocalText(failure)
            );
        }
    }

    async fn keep_what_was_not_kept(&mut self, now: UnixTime) {
        let Some(Unkept { text, .. }) = self.unkept.take_if(|unkept| unkept.is_due(now)) else {
            return;
        };
        let kept = text.clone();
        let kept = self.state.at_disk(move |state| state.keep_certificate(&kept)).await;
        if let Err(failure) = kept {
            edge::log!(
                ERROR,
                "the certificate is shown and cannot be kept: after a restart another is asked for",
                failure = LocalText(failure),
            );
            self.unkept = Some(Unkept { text, at: UnixTime(now.0.saturating_add(KEEP_EVERY_S)) });
        }
    }
}

/// Waits for an attempt. One that takes too long, or panics over what an authority says, has failed as any other; one
/// that is waited for no more ends.
async fn contained<T: Send + 'static>(
    attempt: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    let mut task = JoinSet::new();
    task.spawn(attempt);
    match timeout(ATTEMPT_MAX, task.join_next()).await {
        Ok(Some(Ok(outcome))) => outcome,
        // Where is in the log; of what it says, anything may be a part.
        Ok(Some(Err(_)) | None) => Err("a fault of this server ended it".into()),
        Err(_) => Err("it takes too long".into()),
    }
}

/// A certificate of nobody's for no name.
fn placeholder() -> Result<CertifiedKey, Failure> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "no certificate yet");
    let certificate = params.self_signed(&key)?.der().to_vec();
    let key = to_pem("PRIVATE KEY", key.serialized_der());
    Ok(CertifiedKey::new(vec![certificate], &key, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_kept_is_tried_again_a_minute_later_or_once_the_clock_was_set_back() {
        let unkept = Unkept { text: Zeroizing::default(), at: UnixTime(1_000_060) };
        for (now, is_due) in [
            (1_000_000, false),
            (1_000_059, false),
            (1_000_060, true),
            (2_000_000, true),
            (999_999, true),
            (0, true),
        ] {
            assert_eq!(unkept.is_due(UnixTime(now)), is_due, "{now}");
        }
    }

    #[tokio::test]
    async fn an_attempt_that_panics_is_one_that_has_failed() {
        let failure = contained::<()>(async { panic!("ada@example.org") }).await.unwrap_err();
        assert_eq!(failure.to_string(), "a fault of this server ended it");
        let refused = contained::<()>(async { Err("it is refused".into()) }).await;
        assert_eq!(refused.unwrap_err().to_string(), "it is refused");
        assert_eq!(contained(async { Ok(7) }).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn an_attempt_that_nobody_waits_for_any_more_ends() {
        let (held, mut dropped) = tokio::sync::mpsc::channel::<()>(1);
        let attempt = contained::<()>(async move {
            let _held = held;
            std::future::pending().await
        });
        let keeper = tokio::spawn(attempt);
        tokio::task::yield_now().await;
        keeper.abort();
        assert!(keeper.await.unwrap_err().is_cancelled());
        let ended = timeout(Duration::from_secs(5), dropped.recv()).await;
        assert_eq!(ended, Ok(None));
    }
}
