//! `incamera dev`: the whole server in one process, for this machine unless told otherwise.

use std::io::{self, Write as _};
use std::iter;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;

use clap::Args;
use edge::Server;
use edge::config::{Config, Limits, MetricsAt, Next, Rooms};
use edge::networks::AddressesOf;
use edge::tls::Shown;
use model::Share;
use wire::access::Access;
use wire::key::{ProjectKey, ProjectKeys};
use zeroize::Zeroizing;

use crate::lan::{self, Lan};
use crate::link::Page;
use crate::process::{self, Ending};
use crate::{Failure, log};

/// LiveKit's, so that its examples and tools work as they are.
pub(crate) const API_KEY: &str = "devkey";
pub(crate) const API_SECRET: &str = "secret";
const ROOM: &str = "demo";

pub(crate) const ABOUT: &str = "\
The whole server in one process, for this machine unless told otherwise.

It listens on and advertises 127.0.0.1, or what --bind says, and takes tokens of the key `devkey`
with the secret `secret`, which everybody knows. `/` answers the health check, `/call` is a call
page, for which it prints a link for each of two people, and LiveKit's SDKs connect to ws://127.0.0.1:7880.
Without --bind media comes to this machine's private IPv4 address too, if its default route has one: Firefox sends
none to 127.0.0.1. Whom signalling has not let in gets no answer there over UDP, and over TCP is cut without a word.
A media port of 0 is one of 127.0.0.1 alone.

With --lan it is for people on the same network, phones among them: https with a certificate of an
authority of your own, a key pair that is made at each start, and a link for each of two people.

SIGTERM or Ctrl-C tells every client to leave and ends within seconds; a second one ends at once.";

pub(crate) const EXAMPLES: &str = "\
Examples:
  incamera dev
  incamera dev --http-port 8080 --udp-port 0 --tcp-port 0
  incamera dev --bind 192.168.1.20
  incamera dev --lan
  incamera dev --lan --address 192.168.1.20
  incamera dev --log edge=debug,info
  incamera dev --metrics-port 6789
  incamera dev --log-format json 2>server.log

Then, for a token:
  incamera token create --api-key devkey --api-secret secret --join --room demo --identity ada";

#[derive(Args)]
pub(crate) struct Options {
    /// Address of this machine to listen on and to advertise: whoever reaches it can come in [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// For people on the same network, over https; prints their links and how a phone comes to trust this
    /// machine
    #[arg(long, conflicts_with = "bind")]
    lan: bool,
    /// Address of this machine on that network [default: that of the default route]
    #[arg(long, value_name = "ADDRESS", requires = "lan")]
    address: Option<IpAddr>,
    /// TCP port of HTTP and WebSockets; 0 takes any
    #[arg(long, value_name = "PORT", default_value_t = 7880)]
    http_port: u16,
    /// UDP port of media; 0 takes any
    #[arg(long, value_name = "PORT", default_value_t = 7882)]
    udp_port: u16,
    /// TCP port of metrics for Prometheus, at /metrics; 0 takes any [default: they are not served]
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<u16>,
    /// TCP port of media, for clients whose UDP does not get through; 0 takes any, where `rtc.tcp_port: 0` of a
    /// settings file is none
    #[arg(long, value_name = "PORT", default_value_t = 7881)]
    tcp_port: u16,
    /// Media workers [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    workers: Option<NonZeroU8>,
    /// Participants of one room that share a worker before the room spreads to another.
    ///
    /// To spread a room copies every track once for each further worker, all of which wake up for it; not to spread
    /// it leaves cores idle. A worker that is busy takes nobody new in any case. One gives every participant to the
    /// worker that has the fewest of its room.
    #[arg(long, value_name = "COUNT", default_value_t = process::SPREAD_AT)]
    spread_at: NonZeroU16,
    /// Refuse joins while the media workers are busy for more than this share of their time; 1 for no limit
    #[arg(long, value_name = "SHARE", default_value = "0.9")]
    cpu_load_limit: Share,
    #[command(flatten)]
    log: log::Logging,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    process::begin(&options.log)?;
    let lan = if options.lan { Some(Lan::prepare(options.address)?) } else { None };
    let config = config(options, lan.as_ref())?;
    let runtime = process::runtime()?;
    let served = runtime.block_on(serve(config, lan));
    // Not waiting for what hangs.
    runtime.shutdown_background();
    served
}

fn config(options: &Options, lan: Option<&Lan>) -> Result<Config, Failure> {
    let key = match lan {
        Some(lan) => lan.key.clone(),
        None => ProjectKey::hs256_short(API_KEY, API_SECRET.as_bytes())?,
    };
    let keys = ProjectKeys::new(process::refresh_key()?, [key.into()])?;
    let local = options.bind.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let bind = lan.map_or(local, Lan::everywhere);
    // Firefox has no way to a loopback address.
    let beside = if lan.is_none() && options.bind.is_none() { beside(options) } else { None };
    let for_media =
        |port| iter::once(bind).chain(beside).map(|ip| SocketAddr::from((ip, port))).collect();
    let advertised = lan.map_or(local, |lan| lan.address);
    Ok(Config {
        http: vec![SocketAddr::from((bind, options.http_port))],
        tls: lan.map(|lan| Shown::new(lan.certified.clone())),
        challenges: Vec::new(),
        authority: lan.map(|lan| lan.authority.pem.as_str().into()),
        udp: for_media(options.udp_port),
        tcp: for_media(options.tcp_port),
        advertised: iter::once(advertised).chain(beside).collect(),
        access: Arc::new(Access::new(keys)),
        workers: options.workers.unwrap_or_else(process::cores),
        spread_at: options.spread_at,
        busy_max: options.cpu_load_limit,
        addresses_of: if bind.is_loopback() { AddressesOf::Proxy } else { AddressesOf::Clients },
        limits: Limits::STANDARD,
        rooms: Rooms::STANDARD,
        metrics: options.metrics_port.map(|port| {
            let address = SocketAddr::from((local, port));
            MetricsAt { address, login: None }
        }),
        next: Next::Nobody,
    })
}

/// Where media is received beside 127.0.0.1, unless another server is there already. A port that is yet to be found is
/// that of one address.
fn beside(options: &Options) -> Option<IpAddr> {
    let (udp, tcp) = (options.udp_port, options.tcp_port);
    let ip = lan::private_address().filter(|_| udp != 0 && tcp != 0)?;
    let is_free = UdpSocket::bind((ip, udp)).is_ok() && TcpListener::bind((ip, tcp)).is_ok();
    is_free.then_some(ip)
}

async fn serve(config: Config, lan: Option<Lan>) -> Result<(), Failure> {
    let mut ending = Ending::expect()?;
    let workers = config.workers;
    let media_at = addresses(&config.advertised);
    let server = Server::start(config)?;
    let banner = match &lan {
        Some(lan) => lan.banner(&server)?,
        None => banner(&server, workers, &media_at)?,
    };
    // Nobody has to read it.
    io::stdout().write_all(banner.as_bytes()).ok();
    drop(banner);
    ending.asked().await;
    ending.end(server).await;
    Ok(())
}

fn addresses(all: &[IpAddr]) -> String {
    match all {
        [one] if one.is_loopback() => format!("{one}, to which Firefox has no way"),
        _ => all.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" and "),
    }
}

fn banner(
    server: &Server,
    workers: NonZeroU8,
    media_at: &str,
) -> Result<Zeroizing<String>, Failure> {
    let (http, media) = (server.http(), process::media_ports(server));
    // Long enough that it is never moved, which would leave a copy of the channel key behind.
    let mut text = Zeroizing::new(String::with_capacity(1 << 13));
    text.push_str(&format!(
        "Incamera {version}, for development only

  signalling  ws://{http}
  call page   http://{http}/call, by a link
  media       {media} of {media_at}, {workers} worker(s)
{metrics}  API key     {API_KEY}
  secret      {API_SECRET} (everybody knows it)

",
        version = env!("CARGO_PKG_VERSION"),
        metrics = process::metrics_line(server),
    ));
    if http.ip().is_loopback() {
        text.push_str("A link for each of two people, one in each of two tabs:\n\n");
        let key = ProjectKey::hs256_short(API_KEY, API_SECRET.as_bytes())?;
        text.push_str(&Page::of(format!("http://{http}")).people(&key, ROOM)?);
    } else {
        text.push_str(
            "Over http browsers give camera and microphone to pages of this very machine alone: for calls of \
             others in a\nbrowser use `incamera dev --lan`.\n\n",
        );
    }
    text.push_str(&format!(
        "A token for whoever comes with an SDK:

  incamera token create --api-key {API_KEY} --api-secret {API_SECRET} --join --room {ROOM} --identity ada

Ctrl-C ends it.
",
    ));
    Ok(text)
}
