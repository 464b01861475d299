//! `incamera serve`: the server, by a settings file.
//!
//! Owns: the command, what its files say at its start, what it says then.
//! Not here: reading files again (`reload`).

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use edge::config::{Config, Limits, MetricsAt, Next, Rooms};
use edge::limits::BUSY_MAX;
use edge::networks::AddressesOf;
use edge::scrape::Login;
use edge::tls::Shown;
use edge::{Server, machine};
use settings::address::{OwnAddress, Places};
use settings::certificate::Chain;
use settings::limits::SETTINGS_MAX;
use settings::{Acme, Fault, Holds, Settings, Tls};
use tokio::signal::unix::{Signal, SignalKind, signal};
use wire::access::Access;
use wire::key::{ProjectKeys, RefreshKey};

use crate::acme::Certification;
use crate::certificate::{self, Certificate};
use crate::process::{self, Ending};
use crate::reload::{Reload, RevocationFile, Source, Wake, say_warnings};
use crate::secrecy::{Exposed, Manner, Opener};
use crate::{Failure, files, log};

pub(crate) const ABOUT: &str = "\
The server, by a settings file.

The file is YAML and takes the keys of a livekit.yaml; what has no effect here is named when the server
starts. HTTP and WebSockets are under TLS if it names a certificate, or an authority that gives one by
ACME; else they are plain: on this machine only, or behind a proxy that speaks TLS.

SIGHUP reads keys, revocations and the certificate again; calls go on. The revocation file and the
certificate are also read again when they change, and what is revoked ends within a second; to take a
revocation back, remove it and send SIGHUP. A file that is wrong changes nothing. SIGTERM tells clients
to come back to the next process, or to leave if that would not take them, and ends within seconds; a
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
  refresh_secret_file: refresh     # with public keys: lets clients come back after a restart
  revocations: revoked.yaml
  prometheus:                      # figures at /metrics, at the first of `bind_addresses`
    port: 6789
    username: monitor
    password: PASSWORD
  room:
    # auto_create: false           # only back ends make rooms; true if nothing is said
    max_participants: 50           # of a room that says nothing else
  node_selector:
    cpu_load_limit: 0.9            # joins are refused while the media workers are busier

and its revoked.yaml:
  tokens:
    - 64 DIGITS                    # as `incamera token id` prints it
    - {key: back-end, jti: t-1}
  identities:
    - {identity: ada, issued_before: 1764460800} # `date +%s`: what was minted before is refused
  keys: [stolen]                   # all that it signs, whenever that was
or, if nothing is revoked, `tokens: []`.

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
    let runtime = process::runtime()?;
    // Before files are read, which may take a while: who asks for a reload meanwhile gets one afterwards.
    let hangup = {
        let _in_runtime = runtime.enter();
        signal(SignalKind::hangup())?
    };
    let written = Written::read(options.config.clone(), process::refresh_key()?, None)?;
    let certification = written.certification()?;
    say_warnings(&written, None);
    edge::stack::wipe();
    let served = runtime.block_on(serve(written, certification, hangup));
    // Not waiting for whoever still reads a file, nor for what hangs.
    runtime.shutdown_background();
    served
}

/// What the files say, and what is needed to read them again.
pub(crate) struct Written {
    pub(crate) path: PathBuf,
    /// The key of refresh tokens if the files give none.
    pub(crate) fallback: RefreshKey,
    pub(crate) warnings: Vec<Fault>,
    /// What in the revocation file may be meant otherwise.
    pub(crate) cautions: Vec<Fault>,
    pub(crate) exposed: Vec<Exposed>,
    pub(crate) config: Config,
    /// Where the certificate comes from.
    pub(crate) source: Source,
    /// What is in its files, if it comes from there.
    pub(crate) certificate: Option<Certificate>,
    pub(crate) revocations: Option<RevocationFile>,
}

/// What a server serves with already when its files are read again.
pub(crate) struct Served {
    /// The certificate that clients are shown, from its files.
    chain: Option<Chain>,
    places: Places,
}

impl Written {
    pub(crate) fn served(&self) -> Served {
        Served {
            chain: self.certificate.as_ref().map(|shown| shown.chain.clone()),
            places: Places {
                bound: self.config.udp.clone(),
                bound_tcp: self.config.tcp.clone(),
                advertised: self.config.advertised.clone(),
            },
        }
    }

    /// `served` is what a server serves with that runs already.
    pub(crate) fn read(
        path: PathBuf,
        fallback: RefreshKey,
        served: Option<&Served>,
    ) -> Result<Self, Failure> {
        let within = |reason: String| format!("{}: {reason}", path.display());
        let text = files::read(&path, SETTINGS_MAX)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut opener = Opener::new(folder.clone(), Manner::Refuse);
        let mut open = |name: &str, holds| opener.open(name, holds);
        let Settings {
            http,
            behind_proxy,
            tls,
            media,
            projects,
            refresh,
            revocations,
            busy_max,
            rooms,
            metrics,
            holds_secret,
            mut warnings,
        } = settings::read_settings(&text, &mut open).map_err(|fault| within(fault.to_string()))?;
        let refresh = refresh.unwrap_or_else(|| fallback.clone());
        let mut access = Access::new(ProjectKeys::new(refresh, projects)?);
        opener.look_at(&path, if holds_secret { Holds::TokenSecret } else { Holds::NoSecret });
        let mut cautions = Vec::new();
        let revocations = revocations.map(|named| {
            let file = RevocationFile::new(folder.join(&named.name));
            let read = file.read().map_err(|unread| named.fault(unread.into_reason()));
            let read = read.map_err(|fault| within(fault.to_string()))?;
            let is_known = |name: &str| access.keys.project(name).is_some();
            cautions = read.list.cautions(is_known, certificate::now());
            access.revocations = read.list.revocations;
            opener.exposed.extend(read.exposed);
            Ok::<_, Failure>(file)
        });
        let revocations = revocations.transpose()?;
        let now = certificate::now();
        let (source, files) = match tls {
            None => (Source::Nowhere, None),
            Some(Tls::Files(files)) => (Source::Files, Some(files)),
            Some(Tls::Acme(acme)) => (Source::Authority(acme), None),
        };
        if let Source::Authority(acme) = &source {
            look_at_directory_ca(acme, &folder, &mut opener);
        }
        let shown = served.and_then(|served| served.chain.as_ref());
        let certificate =
            files.map(|files| Certificate::new(files, &folder, now, shown)).transpose();
        let certificate = certificate.map_err(|fault| within(fault.to_string()))?;
        let places = match (media.places(&own_addresses()?), served) {
            (Ok(places), _) => places,
            (Err(fault), None) => return Err(within(fault.to_string()).into()),
            // An address that is away for now keeps no key in force that has been removed.
            (Err(Fault { line, .. }), Some(served)) => {
                let reason = "what this chooses of the addresses that this machine has now cannot be served with: those \
                              of the start stay";
                warnings.push(Fault { line, reason: reason.to_owned() });
                served.places.clone()
            }
        };
        let is_local = http.iter().all(|address| address.ip().is_loopback());
        let addresses_of =
            if behind_proxy || is_local { AddressesOf::Proxy } else { AddressesOf::Clients };
        let config = Config {
            challenges: challenged(&http, &source),
            http,
            // Given to the server alone: it changes while the settings stay.
            tls: None,
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
            rooms: as_served(rooms),
            metrics: metrics.map(|metrics| MetricsAt {
                address: metrics.address,
                login: metrics.login.map(|login| Login::new(&login.username, &login.password)),
            }),
            // Rooms that joins do not make are not there in the next process: nobody could come back to them.
            next: if rooms.are_made_by_joins { Next::Process } else { Next::Nobody },
        };
        let exposed = opener.exposed;
        Ok(Self {
            path,
            fallback,
            warnings,
            cautions,
            exposed,
            config,
            source,
            certificate,
            revocations,
        })
    }

    /// Opens what is kept of an authority, if one is to be asked.
    fn certification(&self) -> Result<Option<Certification>, Failure> {
        let Source::Authority(acme) = &self.source else { return Ok(None) };
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let opened = Certification::open(acme.clone(), folder);
        Ok(Some(opened.map_err(|fault| format!("{}: {fault}", self.path.display()))?))
    }
}

/// Looks at who vouches for the authority's address, which is read elsewhere.
pub(crate) fn look_at_directory_ca(acme: &Acme, folder: &Path, opener: &mut Opener) {
    if let Some(name) = &acme.directory_ca_file {
        opener.look_at(&folder.join(name), Holds::NoSecret);
    }
}

/// What the settings say of rooms, and for the rest what a server has of which nothing is said.
fn as_served(said: settings::Rooms) -> Rooms {
    let participants_max = said.participants_max.and_then(|most| usize::try_from(most).ok());
    Rooms {
        are_made_by_joins: said.are_made_by_joins,
        participants_max,
        empty: said.empty.unwrap_or(Rooms::STANDARD.empty),
        departure: said.departure.unwrap_or(Rooms::STANDARD.departure),
    }
}

/// Where an authority is answered over HTTP.
fn challenged(http: &[SocketAddr], source: &Source) -> Vec<SocketAddr> {
    let Source::Authority(Acme { http_port: port, .. }) = *source else { return Vec::new() };
    let each = port.into_iter().flat_map(|port| http.iter().map(move |at| (at.ip(), port)));
    each.map(SocketAddr::from).collect()
}

/// The addresses that this machine has now.
pub(crate) fn own_addresses() -> Result<Vec<OwnAddress>, Failure> {
    let all =
        machine::interfaces().map_err(|error| format!("this machine's addresses: {error}"))?;
    let all = all.into_iter().map(|it| OwnAddress { interface: it.name, address: it.address });
    Ok(all.collect())
}

async fn serve(
    written: Written,
    certification: Option<Certification>,
    mut hangup: Signal,
) -> Result<(), Failure> {
    let mut ending = Ending::expect()?;
    let server = Server::start(Config {
        tls: shown(&written, certification.as_ref())?,
        ..written.config.clone()
    })?;
    // Nobody has to read it.
    io::stdout().write_all(banner(&server, &written, certification.as_ref()).as_bytes()).ok();
    let showing = server.showing().cloned();
    let keeper = certification.zip(showing).map(|(it, showing)| it.start(showing)).transpose()?;
    let mut reload = Reload::new(written);
    loop {
        let wake = tokio::select! {
            _ = ending.asked() => break,
            _ = hangup.recv() => Wake::HangUp,
            wake = reload.next() => wake,
        };
        if let (Wake::HangUp, Some(keeper)) = (&wake, &keeper) {
            keeper.ask();
        }
        reload.handle(wake, &server);
        edge::stack::wipe();
    }
    if let Some(keeper) = keeper {
        keeper.end().await;
    }
    ending.end(server).await;
    Ok(())
}

/// What clients are shown at first.
fn shown(
    written: &Written,
    certification: Option<&Certification>,
) -> Result<Option<Shown>, Failure> {
    let read = written.certificate.as_ref().map(|it| Shown::new(it.certified.clone()));
    Ok(certification.map(Certification::shown).transpose()?.or(read))
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
