//! `incamera serve`: the server, by a settings file.

use std::future::pending;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use edge::config::{Config, Limits, MetricsAt};
use edge::limits::BUSY_MAX;
use edge::networks::AddressesOf;
use edge::scrape::Login;
use edge::tls::Shown;
use edge::{Server, machine};
use model::{LogData, Share};
use settings::address::OwnAddress;
use settings::certificate::Chain;
use settings::limits::{REVOCATION_FILE_MAX, SETTINGS_MAX};
use settings::{Acme, Settings, Tls};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use wire::access::Access;
use wire::key::{ProjectKeys, RefreshKey};
use wire::revocation::Revocations;

use crate::acme::{Certification, Keeper};
use crate::certificate::{self, Certificate};
use crate::process::{self, Ending};
use crate::watched::Watched;
use crate::{Failure, files, log};

/// How often files are looked at: what the revocation file says takes effect within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);

pub(crate) const ABOUT: &str = "\
The server, by a settings file.

The file is YAML and takes the keys of a livekit.yaml; what has no effect here is named when the server
starts. HTTP and WebSockets are under TLS if it names a certificate, or an authority that gives one by
ACME; else they are plain: on this machine only, or behind a proxy that speaks TLS.

SIGHUP reads keys, revocations and the certificate again; calls go on. The revocation file and the
certificate are also read again when they change, and what is revoked ends within a second. A file that is
wrong changes nothing. SIGTERM tells every client to leave and ends within seconds; a
second one ends at once.

A certificate by ACME is kept in `state_dir`, and renewed after two thirds of its life. Until the first is
there, /readyz says so and nobody can join. The authority must reach this server at TCP 443 of each name,
or, with `http_port`, at TCP 80. Try it with a test authority first: Let's Encrypt's is
https://acme-staging-v02.api.letsencrypt.org/directory. SIGHUP tries again at once after a failure.";

pub(crate) const EXAMPLES: &str = "\
Example:
  port: 7880
  bind_addresses: ['']             # all of IPv4 and IPv6; 127.0.0.1 if nothing is said
  tls:
    cert_file: chain.pem           # the server's certificate, then those between it and the root
    key_file: key.pem              # without a passphrase
  # acme:                          # instead of both: an authority gives the certificate
  #   domains: [calls.example.org] # what clients call this server
  #   accept_terms: true           # you agree to the terms of service of the authority
  #   state_dir: /var/lib/incamera # where account and certificate are kept
  #   email: ops@example.org       # where the authority may write to
  #   directory_url: https://ca.example.org/acme/directory # another than Let's Encrypt's
  #   directory_ca_file: ca.pem    # who vouches for that address, if not the system's authorities
  #   http_port: 80                # where the authority is answered, if not under TLS at `port`
  # behind_proxy: true             # instead of `tls`, if a proxy speaks it
  rtc:
    udp_port: 7882
    tcp_port: 7881                 # for clients whose UDP does not get through; 0 for none
    node_ip: 203.0.113.7           # where clients send media; several as [203.0.113.7, '2001:db8::7']
    # interfaces: {includes: [eth0]} # receive at these alone, and advertise them if `node_ip` is not given
    # ips: {excludes: [172.16.0.0/12]}
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
  prometheus:                      # figures at /metrics, at the address of HTTP
    port: 6789
    username: monitor
    password: PASSWORD
  node_selector:
    cpu_load_limit: 0.9            # joins are refused while the media workers are busier

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
    #[command(flatten)]
    log: log::Logging,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    process::begin(&options.log)?;
    let mut written = Written::read(options.config.clone(), process::refresh_key()?, None)?;
    let certification = written.certification()?;
    say_warnings(&written, &[]);
    let runtime = process::runtime()?;
    let served = runtime.block_on(serve(written, certification));
    // Not waiting for whoever still reads a file.
    runtime.shutdown_background();
    served
}

/// What the files say, and what is needed to read them again.
struct Written {
    path: PathBuf,
    /// The key of refresh tokens if the files give none.
    fallback: RefreshKey,
    warnings: Vec<settings::Fault>,
    config: Config,
    certificate: Option<Certificate>,
    /// How the certificate is got, if not from files.
    acme: Option<Acme>,
    revocations: Option<RevocationFile>,
}

impl Written {
    /// `shown` is the certificate that clients are shown already.
    fn read(path: PathBuf, fallback: RefreshKey, shown: Option<&Chain>) -> Result<Self, Failure> {
        let within = |reason: String| format!("{}: {reason}", path.display());
        let text = files::read(&path, SETTINGS_MAX)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut open = |name: &str| files::read(&folder.join(name), files::SECRET_FILE_MAX);
        let Settings {
            http,
            behind_proxy,
            tls,
            media,
            projects,
            refresh,
            revocations,
            busy_max,
            metrics,
            warnings,
        } = settings::read_settings(&text, &mut open).map_err(|fault| within(fault.to_string()))?;
        let refresh = refresh.unwrap_or_else(|| fallback.clone());
        let mut access = Access::new(ProjectKeys::new(refresh, projects)?);
        let revocations = revocations.map(|name| RevocationFile::new(folder.join(name)));
        if let Some(file) = &revocations {
            access.revocations = file.read()?;
        }
        let now = certificate::now();
        let (files, acme) = match tls {
            None => (None, None),
            Some(Tls::Files(files)) => (Some(files), None),
            Some(Tls::Acme(acme)) => (None, Some(acme)),
        };
        let certificate =
            files.map(|files| Certificate::new(files, &folder, now, shown)).transpose();
        let certificate = certificate.map_err(|fault| within(fault.to_string()))?;
        let places = media.places(&own_addresses()?).map_err(|fault| within(fault.to_string()))?;
        let is_local = http.iter().all(|address| address.ip().is_loopback());
        let addresses_of =
            if behind_proxy || is_local { AddressesOf::Proxy } else { AddressesOf::Clients };
        let metrics_ip = http.first().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), SocketAddr::ip);
        let config = Config {
            challenges: challenged(&http, acme.as_ref()),
            http,
            tls: certificate.as_ref().map(|certificate| Shown::new(certificate.certified.clone())),
            authority: None,
            udp: places.bound,
            tcp: places.bound_tcp,
            advertised: places.advertised,
            access: Arc::new(access),
            workers: process::cores(),
            spread_at: process::SPREAD_AT,
            busy_max: busy_max.unwrap_or(BUSY_MAX),
            addresses_of,
            limits: Limits::STANDARD,
            metrics: metrics.map(|metrics| MetricsAt {
                address: SocketAddr::new(metrics_ip, metrics.port),
                login: metrics.login.map(|login| Login::new(&login.username, &login.password)),
            }),
        };
        Ok(Self { path, fallback, warnings, config, certificate, acme, revocations })
    }

    /// Opens what is kept of an authority, if one is to be asked, and shows it at first.
    fn certification(&mut self) -> Result<Option<Certification>, Failure> {
        let Some(acme) = self.acme.clone() else { return Ok(None) };
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let opened = Certification::open(acme, folder);
        let opened = opened.map_err(|fault| format!("{}: {fault}", self.path.display()))?;
        self.config.tls = Some(opened.shown()?);
        Ok(Some(opened))
    }
}

/// Where an authority is answered over HTTP.
fn challenged(http: &[SocketAddr], acme: Option<&Acme>) -> Vec<SocketAddr> {
    let port = acme.and_then(|acme| acme.http_port);
    let each = port.into_iter().flat_map(|port| http.iter().map(move |at| (at.ip(), port)));
    each.map(SocketAddr::from).collect()
}

/// Says what the settings have in vain, unless it has been `said` before.
fn say_warnings(written: &Written, said: &[settings::Fault]) {
    for warning in fresh(&written.warnings, said) {
        let file = LogData(written.path.display());
        edge::log!(WARN, "about the settings", file = file, warning = LogData(warning));
    }
}

/// Those of `all` that are not among those that were `said`, wherever these stood.
fn fresh<'a>(
    all: &'a [settings::Fault],
    said: &'a [settings::Fault],
) -> impl Iterator<Item = &'a settings::Fault> {
    all.iter().filter(|fault| said.iter().all(|before| before.reason != fault.reason))
}

/// What of the settings takes effect when the server starts, and at no other time.
#[derive(PartialEq)]
struct Fixed {
    places: [Vec<SocketAddr>; 3],
    advertised: Vec<IpAddr>,
    metrics: Option<MetricsAt>,
    busy_max: Share,
    addresses_of: AddressesOf,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        Self {
            places: [config.http.clone(), config.udp.clone(), config.tcp.clone()],
            advertised: config.advertised.clone(),
            metrics: config.metrics,
            busy_max: config.busy_max,
            addresses_of: config.addresses_of,
        }
    }
}

/// Where the certificate comes from.
#[derive(Clone, PartialEq)]
enum Source {
    /// There is none.
    Nowhere,
    Files,
    Authority(Acme),
}

impl Source {
    fn of(written: &Written) -> Self {
        match (&written.certificate, &written.acme) {
            (Some(_), _) => Self::Files,
            (None, Some(acme)) => Self::Authority(acme.clone()),
            (None, None) => Self::Nowhere,
        }
    }
}

/// What a server was started with.
struct Started {
    fixed: Fixed,
    source: Source,
}

impl Started {
    fn of(written: &Written) -> Self {
        Self { fixed: Fixed::of(&written.config), source: Source::of(written) }
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
        let source = Source::of(is);
        if source != self.source && source != Source::of(was) {
            edge::log!(
                WARN,
                "TLS begins, ends, or has its certificate from elsewhere when the server is started again"
            );
        }
    }
}

/// The addresses that this machine has now.
pub(crate) fn own_addresses() -> Result<Vec<OwnAddress>, Failure> {
    let all =
        machine::interfaces().map_err(|error| format!("this machine's addresses: {error}"))?;
    let all = all.into_iter().map(|it| OwnAddress { interface: it.name, address: it.address });
    Ok(all.collect())
}

/// The file of what is revoked.
#[derive(Clone)]
struct RevocationFile(Watched);

impl RevocationFile {
    fn new(path: PathBuf) -> Self {
        Self(Watched::new(path))
    }

    fn read(&self) -> Result<Revocations, String> {
        let text = files::read(self.0.path(), REVOCATION_FILE_MAX)?;
        let read = settings::read_revocations(&text);
        read.map_err(|fault| format!("{}: {fault}", self.0.path().display()))
    }

    /// What it says now, if it has changed since the last look.
    fn look(&mut self) -> Option<Result<Revocations, String>> {
        self.0.has_changed().then(|| self.read())
    }
}

async fn serve(mut written: Written, certification: Option<Certification>) -> Result<(), Failure> {
    let mut ending = Ending::expect()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let started = Started::of(&written);
    let server = Server::start(written.config.clone()).await?;
    // Nobody has to read it.
    io::stdout().write_all(banner(&server, &written, certification.as_ref()).as_bytes()).ok();
    let showing = server.showing().cloned();
    let keeper = certification.zip(showing).map(|(it, showing)| it.start(showing)).transpose()?;
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let wake = tokio::select! {
            _ = ending.asked() => break,
            _ = hangup.recv() => Wake::HangUp,
            () = async { match (&written.revocations, &written.certificate) {
                (None, None) => pending().await,
                (Some(_), _) | (_, Some(_)) => drop(looks.tick().await),
            } } => Wake::Look,
        };
        // A file may keep its reader waiting for ever: one on a disk that is gone, one that is a pipe.
        written = tokio::select! {
            _ = ending.asked() => break,
            read = wake.read(&server, &started, keeper.as_ref(), written) => read?,
        };
    }
    if let Some(keeper) = keeper {
        keeper.end().await;
    }
    ending.end(server).await;
    Ok(())
}

/// Why files are read again.
enum Wake {
    /// SIGHUP: all of them.
    HangUp,
    /// It is time to look whether one has changed.
    Look,
}

impl Wake {
    async fn read(
        self,
        server: &Server,
        started: &Started,
        keeper: Option<&Keeper>,
        written: Written,
    ) -> Result<Written, Failure> {
        match self {
            Self::HangUp => {
                if let Some(keeper) = keeper {
                    keeper.ask();
                }
                read_again(server, started, written).await
            }
            Self::Look => look_again(server, written).await,
        }
    }
}

/// Reads every file again. If one is wrong, all stays as it is.
async fn read_again(
    server: &Server,
    started: &Started,
    written: Written,
) -> Result<Written, Failure> {
    let (path, fallback) = (written.path.clone(), written.fallback.clone());
    let shown = written.certificate.as_ref().map(|shown| shown.chain.clone());
    let again = spawn_blocking(move || Written::read(path, fallback, shown.as_ref())).await?;
    match again {
        Ok(again) => {
            let is = &again.config;
            started.say_what_waits(&written, &again);
            say_warnings(&again, &written.warnings);
            server.admit_by(Arc::clone(&is.access));
            if let (Some(_), Some(read)) = (&written.certificate, &again.certificate) {
                show(server, read);
            }
            let revocations = LogData(is.access.revocations.len());
            edge::log!(
                INFO,
                "keys, revocations and certificate read again",
                revocations = revocations
            );
            Ok(again)
        }
        Err(failure) => {
            edge::log!(
                ERROR,
                "the files are wrong: keys, revocations and certificate stay as they were",
                failure = LogData(failure),
            );
            Ok(written)
        }
    }
}

/// Reads again what has changed. Of what is wrong or gone, that which was read before stays in force.
async fn look_again(server: &Server, mut written: Written) -> Result<Written, Failure> {
    // Files are looked at where it does not matter how long that takes.
    let (mut written, revocations, certificate) = spawn_blocking(move || {
        let revocations = written.revocations.as_mut().and_then(RevocationFile::look);
        let now = certificate::now();
        let certificate = written.certificate.as_mut().and_then(|it| it.look(now));
        (written, revocations, certificate)
    })
    .await?;
    match revocations {
        None => {}
        Some(Ok(revocations)) => {
            let keys = written.config.access.keys.clone();
            let access = Arc::new(Access { keys, revocations });
            server.admit_by(Arc::clone(&access));
            let revocations = LogData(access.revocations.len());
            edge::log!(INFO, "revocations read again", revocations = revocations);
            written.config.access = access;
        }
        Some(Err(failure)) => {
            edge::log!(
                ERROR,
                "the revocation file is wrong: what was revoked stays revoked",
                failure = LogData(failure),
            );
        }
    }
    if let Some(shown) = &mut written.certificate {
        match certificate {
            None => {}
            Some(Ok(())) => {
                show(server, shown);
                let valid_to = LogData(shown.chain.valid_to());
                edge::log!(INFO, "certificate read again", valid_to = valid_to);
            }
            Some(Err(fault)) => {
                let failure = fault.reason;
                edge::log!(
                    ERROR,
                    "the certificate is wrong: the one before stays",
                    failure = LogData(failure),
                );
            }
        }
        shown.say_if_it_ends();
    }
    Ok(written)
}

/// From now on this is shown to those who connect.
fn show(server: &Server, certificate: &Certificate) {
    if let Some(showing) = server.showing() {
        showing.show(certificate.certified.clone());
    }
}

fn banner(server: &Server, written: &Written, certification: Option<&Certification>) -> String {
    let (http, media) = (server.http(), process::media_ports(server));
    let advertised: Vec<String> =
        written.config.advertised.iter().map(ToString::to_string).collect();
    let valid_to = match (&written.certificate, certification) {
        (Some(shown), _) => Some(shown.chain.valid_to()),
        (None, Some(certification)) => certification.valid_to(),
        (None, None) => None,
    };
    let (scheme, how) = match (valid_to, certification) {
        (Some(valid_to), _) => ("wss", format!("certificate valid until {valid_to}")),
        (None, Some(_)) => ("wss", "no certificate yet: the log says how it is got".to_owned()),
        (None, None) => ("ws", "without TLS".to_owned()),
    };
    format!(
        "Incamera {version}

  signalling  {scheme}://{http}, {how}
  media       {media}, advertised at {advertised}
{metrics}",
        version = env!("CARGO_PKG_VERSION"),
        metrics = process::metrics_line(server),
        advertised = advertised.join(" and "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_of_the_settings_is_said_again_when_it_is_another_thing() {
        let fault = |line, reason: &str| settings::Fault { line, reason: reason.to_owned() };
        let before = [fault(3, "`webhook` has no effect here")];
        let now = [fault(7, "`webhook` has no effect here"), fault(8, "`turn` has no effect here")];
        let said: Vec<_> = fresh(&now, &before).map(|fault| fault.line).collect();
        assert_eq!(said, [8]);
        assert_eq!(fresh(&before, &now).count(), 0);
        assert_eq!(fresh(&now, &[]).count(), 2);
    }

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
