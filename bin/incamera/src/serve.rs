//! `incamera serve`: the server, by a settings file.

use std::future::pending;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use edge::Server;
use edge::config::{Config, Limits};
use settings::Settings;
use settings::limits::{REVOCATION_FILE_MAX, SETTINGS_MAX};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use wire::access::Access;
use wire::key::{ProjectKeys, RefreshKey};
use wire::revocation::Revocations;

use crate::process::{self, Ending};
use crate::{Failure, files, log};

/// How often the revocation file is looked at: what it says takes effect within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(crate) const ABOUT: &str = "\
The server, by a settings file.

The file is YAML and takes the keys of a livekit.yaml; what has no effect here is named when the server
starts. HTTP and WebSockets are plain: on this machine only, or behind a proxy that speaks TLS.

SIGHUP reads keys and revocations again; calls go on. A revocation file is also read again when it changes,
and what it revokes ends within a second. SIGTERM tells every client to leave and ends within seconds; a
second one ends at once.";

pub(crate) const EXAMPLES: &str = "\
Example, a file for a server behind a proxy:
  port: 7880
  behind_proxy: true
  rtc:
    udp_port: 7882
    node_ip: 203.0.113.7           # where clients send media
  keys:
    livekit-sdks: SECRET           # HS256: at least 32 bytes; whoever runs the server could mint with it
    back-end:
      public_key: back-end.pem     # Ed25519 or P-256: the private half stays with you
    identity-provider:
      jwks: keys.json              # several, told apart by `kid`
  key_file: more-keys.yaml         # the same, in a file of its own
  agora:
    apps:
      - app_id: APP_ID
        app_certificate_file: certificate
  refresh_secret_file: refresh     # lets clients reconnect after a restart
  revocations: revoked.yaml

and its revoked.yaml:
  tokens:
    - 64 DIGITS                    # as `incamera token id` prints it
    - {key: back-end, jti: t-1}
  identities:
    - {identity: ada, issued_before: 1800000000}

Paths are relative to the file that names them. `incamera token keygen` makes keys.";

#[derive(Args)]
pub(crate) struct Options {
    /// The settings file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// What to log, as `info` or `edge=debug,info` [default: RUST_LOG, else info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look; they go to standard error
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = log::Format::Human)]
    log_format: log::Format,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    log::start(options.log.as_deref(), options.log_format)?;
    #[cfg(feature = "sabotage")]
    edge::sabotage::begin();
    let written = Written::read(options.config.clone(), process::refresh_key()?)?;
    for warning in &written.warnings {
        tracing::warn!("{}: {warning}", options.config.display());
    }
    process::runtime()?.block_on(serve(written))
}

/// What the files say, and what is needed to read them again.
struct Written {
    path: PathBuf,
    /// The key of refresh tokens if the files give none.
    fallback: RefreshKey,
    warnings: Vec<settings::Fault>,
    config: Config,
    revocations: Option<RevocationFile>,
}

impl Written {
    fn read(path: PathBuf, fallback: RefreshKey) -> Result<Self, Failure> {
        let within = |reason: String| format!("{}: {reason}", path.display());
        let text = files::read(&path, SETTINGS_MAX)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut open = |name: &str| files::read(&folder.join(name), files::SECRET_FILE_MAX);
        let Settings { http, udp, advertised, projects, refresh, revocations, warnings } =
            settings::read_settings(&text, &mut open).map_err(|fault| within(fault.to_string()))?;
        let refresh = refresh.unwrap_or_else(|| fallback.clone());
        let mut access = Access::new(ProjectKeys::new(refresh, projects)?);
        let revocations = revocations.map(|name| RevocationFile::new(folder.join(name)));
        if let Some(file) = &revocations {
            access.revocations = file.read()?;
        }
        let config = Config {
            http,
            udp: vec![udp],
            advertised: vec![advertised],
            access: Arc::new(access),
            workers: process::cores(),
            spread_at: process::SPREAD_AT,
            limits: Limits::STANDARD,
        };
        Ok(Self { path, fallback, warnings, config, revocations })
    }
}

/// A file that is read again when it changes.
#[derive(Clone)]
struct RevocationFile {
    path: PathBuf,
    /// What it was when it was last looked at; nothing if it could not be.
    stamp: Option<Stamp>,
}

/// Which file, when it was changed, and how long it is. Two changes within a clock tick that leave the length
/// look like one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
    len: u64,
}

impl RevocationFile {
    fn new(path: PathBuf) -> Self {
        let stamp = Self::stamp(&path);
        Self { path, stamp }
    }

    fn stamp(path: &Path) -> Option<Stamp> {
        let found = std::fs::metadata(path).ok()?;
        Some(Stamp {
            inode: found.ino(),
            seconds: found.mtime(),
            nanoseconds: found.mtime_nsec(),
            len: found.len(),
        })
    }

    fn read(&self) -> Result<Revocations, String> {
        let text = files::read(&self.path, REVOCATION_FILE_MAX)?;
        let read = settings::read_revocations(&text);
        read.map_err(|fault| format!("{}: {fault}", self.path.display()))
    }

    /// What it says now, if it has changed since the last look.
    fn look(&mut self) -> Option<Result<Revocations, String>> {
        let stamp = Self::stamp(&self.path);
        let has_changed = std::mem::replace(&mut self.stamp, stamp) != stamp;
        has_changed.then(|| self.read())
    }
}

async fn serve(mut written: Written) -> Result<(), Failure> {
    let mut ending = Ending::expect()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let server = Server::start(written.config.clone()).await?;
    // Nobody has to read it.
    io::stdout().write_all(banner(&server, &written).as_bytes()).ok();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ending.asked() => break,
            _ = hangup.recv() => written = read_again(&server, written).await?,
            () = async { match &written.revocations {
                Some(_) => drop(looks.tick().await),
                None => pending().await,
            } } => written = look_again(&server, written).await?,
        }
    }
    ending.end(server).await;
    Ok(())
}

/// Reads every file again. If one is wrong, all stays as it is.
async fn read_again(server: &Server, written: Written) -> Result<Written, Failure> {
    let (path, fallback) = (written.path.clone(), written.fallback.clone());
    let again = spawn_blocking(move || Written::read(path, fallback)).await?;
    match again {
        Ok(again) => {
            let (was, is) = (&written.config, &again.config);
            if (was.http, &was.udp, &was.advertised) != (is.http, &is.udp, &is.advertised) {
                tracing::warn!(
                    "other addresses or ports take effect when the server is started again"
                );
            }
            server.admit_by(Arc::clone(&is.access));
            tracing::info!(
                revocations = is.access.revocations.len(),
                "keys and revocations read again"
            );
            Ok(again)
        }
        Err(failure) => {
            tracing::error!(%failure, "the files are wrong: keys and revocations stay as they were");
            Ok(written)
        }
    }
}

/// Reads the revocation file again if it has changed. If it is wrong or gone, what was revoked stays so.
async fn look_again(server: &Server, mut written: Written) -> Result<Written, Failure> {
    let Some(mut file) = written.revocations.take() else {
        return Ok(written);
    };
    let (file, outcome) = spawn_blocking(move || {
        let outcome = file.look();
        (file, outcome)
    })
    .await?;
    written.revocations = Some(file);
    match outcome {
        None => {}
        Some(Ok(revocations)) => {
            let keys = written.config.access.keys.clone();
            let access = Arc::new(Access { keys, revocations });
            server.admit_by(Arc::clone(&access));
            tracing::info!(revocations = access.revocations.len(), "revocations read again");
            written.config.access = access;
        }
        Some(Err(failure)) => {
            tracing::error!(%failure, "the revocation file is wrong: what was revoked stays revoked");
        }
    }
    Ok(written)
}

fn banner(server: &Server, written: &Written) -> String {
    let (http, udp) = (server.http(), server.udp_port());
    let media = written.config.advertised.first();
    format!(
        "Incamera {version}

  signalling  ws://{http}, without TLS
  media       UDP port {udp}{advertised}
",
        version = env!("CARGO_PKG_VERSION"),
        advertised = media.map(|address| format!(", advertised at {address}")).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_file_is_read_when_it_changes_and_not_otherwise() {
        let path = std::env::temp_dir().join(format!("incamera-revoked-{}", std::process::id()));
        let id = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        std::fs::write(&path, "").unwrap();
        let mut file = RevocationFile::new(path.clone());
        assert!(file.look().is_none());
        std::fs::write(&path, format!("tokens: [{id}]")).unwrap();
        assert_eq!(file.look().unwrap().unwrap().len(), 1);
        assert!(file.look().is_none());
        std::fs::write(&path, "tokens: [nothing]").unwrap();
        assert!(file.look().unwrap().unwrap_err().contains("line 1"));
        assert!(file.look().is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(file.look().unwrap().is_err());
        assert!(file.look().is_none());
    }
}
