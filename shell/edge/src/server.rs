//! The whole of the edge in one value: started, asked where it listens, stopped.
//!
//! Owns: the order in which the parts start and stop.
//! Guarantees: when it has started, it answers; when it has stopped, every client has been told to leave,
//! every thread is joined and every task has ended, or it has said that one hangs; a panic in a part that all need ends
//! the process.
//! Not here: what the parts do.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use model::{ListenAddress, LogData};
use peer::{Door, PeerFactory, PeerFactoryError};
use ring::rand::{SecureRandom as _, SystemRandom};
use sfu::control;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use wire::access::Access;
use wire::sdp::{Candidate, CandidateTransport};

use crate::api::Api;
use crate::challenge;
use crate::config::{Config, ConfigError, MetricsAt};
use crate::http::Front;
use crate::hub::{self, HubConfig};
use crate::limits::{HUB_INBOX_MAX, JOIN_TIME_MAX};
use crate::listener::{self, Phase};
use crate::memory;
use crate::metrics::Metrics;
use crate::networks::Networks;
use crate::panics::vital_task;
use crate::port;
use crate::pulse::{self, Pulse};
use crate::scrape::{self, Scrape};
use crate::session::{Decoding, ToHub};
use crate::tcp;
use crate::tls::{Showing, Shown, Tls};
use crate::unfinished::Unfinished;
use crate::visits::Visits;
use crate::worker::{self, Workers, WorkersConfig};

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operator's fault.
    #[error("the settings do not make sense")]
    Config(#[source] ConfigError),
    /// The TCP port is taken, or the address is not this machine's.
    #[error(
        "cannot listen for HTTP on {address}{}",
        advice(.source, .address, "`port` (of `dev`: `--http-port`)")
    )]
    Http {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The port for figures is taken, or the address is not this machine's.
    #[error(
        "cannot listen for metrics on {address}{}",
        advice(.source, .address, "`prometheus.port` (of `dev`: `--metrics-port`)")
    )]
    Metrics {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The port for an authority's questions is taken, or may not be used.
    #[error("cannot listen for an authority on {address}{}", advice(.source, .address, "`tls.acme.http_port`"))]
    Challenges {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The TCP port for media is taken, or the address is not this machine's.
    #[error(
        "cannot listen for media over TCP on {address}{}",
        advice(.source, .address, "`rtc.tcp_port` (of `dev`: `--tcp-port`)")
    )]
    Tcp {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The UDP port is taken, or the address is not this machine's.
    #[error(
        "cannot receive media over UDP on {address}{}",
        advice(.source, .address, "`rtc.udp_port` (of `dev`: `--udp-port`)")
    )]
    Udp {
        /// Where it was to be received.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The system refuses a thread, a socket or memory.
    #[error("cannot start the media workers")]
    Workers(#[source] io::Error),
    /// The cryptography library does not work on this machine.
    #[error("cannot set up DTLS")]
    Dtls(#[source] PeerFactoryError),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

/// What may help where an address cannot be taken, whose port `key` says.
fn advice(error: &io::Error, address: &SocketAddr, key: &str) -> String {
    if matches!(error.kind(), io::ErrorKind::AddrInUse) {
        format!(": another {key} may be free")
    } else if matches!(error.kind(), io::ErrorKind::AddrNotAvailable) {
        ": the address is none of this machine's, see `bind_addresses` and `rtc.ips` (of `dev`: `--bind`)"
            .to_owned()
    } else if matches!(error.kind(), io::ErrorKind::PermissionDenied) && address.port() < 1024 {
        ": a port below 1024 wants CAP_NET_BIND_SERVICE, see deploy/incamera.service".to_owned()
    } else {
        String::new()
    }
}

/// A running server. Dropped without [`Self::stop`], it ends without a word to anybody.
#[derive(Debug)]
pub struct Server {
    http: SocketAddr,
    phase: watch::Sender<Phase>,
    showing: Option<Showing>,
    access: watch::Sender<Arc<Access>>,
    to_hub: mpsc::Sender<Box<ToHub>>,
    tcp_port: Option<u16>,
    listening: JoinHandle<()>,
    /// Media over TCP.
    carrying: JoinHandle<()>,
    deciding: JoinHandle<()>,
    feeling: JoinHandle<()>,
    /// Free memory, to the system.
    giving_back: JoinHandle<()>,
    scraping: Option<JoinHandle<()>>,
    /// An authority's questions.
    answering: Option<JoinHandle<()>>,
    metrics_at: Option<SocketAddr>,
    workers: Arc<Workers>,
    metrics: Arc<Metrics>,
    /// For what is under way when it stops.
    drain: Duration,
    /// For all of a stop.
    stop: Duration,
}

impl Server {
    /// Starts everything, within the tokio runtime that this is called in; without one it panics. Of `config` no key
    /// and no certificate is kept where [`Self::admit_by`] and [`Self::showing`] do not replace it.
    ///
    /// # Errors
    /// See [`StartError`]. Nothing is left running.
    pub fn start(config: Config) -> Result<Self, StartError> {
        config.check().map_err(StartError::Config)?;
        let (listeners, http) = listen(&config.http)?;
        let (tcp_listeners, tcp_port) = listen_for_media(&config.tcp)?;
        let asked = listen_for_an_authority(&config.challenges)?;
        let (metrics_at, figures) = listen_for_figures(config.metrics)?.unzip();
        let origin = Instant::now();
        let metrics = Arc::new(Metrics::default());
        let (to_hub, inbox) = mpsc::channel(HUB_INBOX_MAX);

        let factory = Arc::new(PeerFactory::new(origin).map_err(StartError::Dtls)?);
        let door = Arc::new(Door::new(&random()?));
        let workers = Workers::start(WorkersConfig {
            count: config.workers.get(),
            udp_bind: claim_for_media(&config.udp)?,
            door: Arc::clone(&door),
            factory: Arc::clone(&factory),
            origin,
            to_hub: to_hub.clone(),
            metrics: Arc::clone(&metrics),
        });
        let workers = Arc::new(workers.map_err(StartError::Workers)?);

        let (access, admitting) = watch::channel(Arc::clone(&config.access));
        let port = workers.udp_port();
        let hub_config = HubConfig {
            control: control(&config),
            access: admitting.clone(),
            candidates: candidates(&config.advertised, port, tcp_port),
            door: Arc::clone(&door),
            fingerprint: factory.fingerprint().clone(),
            next: config.next,
            are_rooms_made_by_joins: config.rooms.are_made_by_joins,
            origin,
        };
        let senders = Arc::clone(&workers);
        let send = Box::new(move |worker, message| senders.send(worker, message));
        let deciding = hub::run(hub_config, send, Arc::clone(&metrics), inbox);
        let deciding = tokio::spawn(vital_task(deciding));

        let (phase, watched) = watch::channel(Phase::Open);
        let carrying = tokio::spawn(vital_task(tcp::serve(
            tcp_listeners,
            Arc::new(tcp::Front {
                door,
                workers: Arc::clone(&workers),
                metrics: Arc::clone(&metrics),
                bounds: tcp::Bounds::default(),
            }),
            watched.clone(),
        )));
        let pulse = Arc::new(Pulse::new(origin, config.workers.get()));
        let feeling = tokio::spawn(vital_task(pulse::keep(
            Arc::clone(&pulse),
            to_hub.clone(),
            Arc::clone(&workers),
            watched.clone(),
        )));
        let giving_back = tokio::spawn(memory::give_back(watched.clone()));
        let (showing, tls) = showing(&config, &metrics);
        let front = Arc::new(Front {
            access: admitting,
            hub: to_hub.clone(),
            decoding: Decoding::default(),
            unfinished: Unfinished::default(),
            metrics: Arc::clone(&metrics),
            limits: config.limits,
            phase: watched.clone(),
            api: Api::default(),
            pulse,
            networks: Networks::new(&config.limits, config.addresses_of),
            visits: Visits::default(),
            shown: tls.as_ref().map(|tls| tls.shown.clone()),
        });
        let scrape = scrape(&config, &front)?;
        let scraping =
            figures.map(|listener| tokio::spawn(scrape::serve(listener, scrape, watched.clone())));
        let answering = tls.as_ref().filter(|_| !asked.is_empty()).map(|tls| {
            let (shown, metrics) = (tls.shown.clone(), Arc::clone(&metrics));
            tokio::spawn(challenge::serve(asked, shown, metrics, watched.clone()))
        });
        let with_tls = tls.is_some();
        let listening = tokio::spawn(vital_task(listener::serve(listeners, tls, front, watched)));
        log_start(http, with_tls, (port, tcp_port), config.workers);
        Ok(Self {
            http,
            phase,
            showing,
            access,
            to_hub,
            tcp_port,
            listening,
            carrying,
            deciding,
            feeling,
            giving_back,
            scraping,
            answering,
            metrics_at,
            workers,
            metrics,
            drain: config.limits.drain,
            stop: config.limits.stop,
        })
    }

    /// Where HTTP and WebSockets are served, or the first of several addresses.
    #[must_use]
    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where the node's figures are served, if anywhere.
    #[must_use]
    pub const fn metrics_at(&self) -> Option<SocketAddr> {
        self.metrics_at
    }

    /// Where media is received.
    #[must_use]
    pub fn udp_port(&self) -> u16 {
        self.workers.udp_port()
    }

    /// Where media is received over TCP, if anywhere.
    #[must_use]
    pub const fn tcp_port(&self) -> Option<u16> {
        self.tcp_port
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// From now on this decides who gets in. Sessions of tokens that are revoked now are ended; all other
    /// sessions go on, also those of keys that are not taken any more, until they end by themselves: they get no
    /// fresh token, and a resume needs one that is taken.
    pub fn admit_by(&self, access: Arc<Access>) {
        self.access.send_replace(access);
    }

    /// The way to change what those see who connect under TLS; nothing if the server was started without.
    #[must_use]
    pub const fn showing(&self) -> Option<&Showing> {
        self.showing.as_ref()
    }

    /// Refuses joins, tells every client to leave, closes what they leave open, and joins the threads. Ends after
    /// [`crate::config::Limits::stop`], whatever hangs.
    pub async fn stop(self) {
        crate::log!(INFO, "stopping");
        let (metrics, time_max) = (Arc::clone(&self.metrics), self.stop);
        if timeout(time_max, self.wind_down()).await.is_err() {
            crate::log!(ERROR, "a part of the server hangs: it is left behind");
        }
        for (name, total) in metrics.totals().filter(|(_, total)| *total > 0) {
            crate::log!(INFO, "counted", name = LogData(name), total = LogData(total));
        }
        crate::log!(INFO, "stopped");
    }

    async fn wind_down(self) {
        self.phase.send_replace(Phase::Stopping);
        let (reply, told) = oneshot::channel();
        let telling = async {
            if self.to_hub.send(Box::new(ToHub::Stop(reply))).await.is_ok() {
                // An error means that the hub is gone, and then there is nobody to wait for.
                drop(told.await);
            }
        };
        let is_told = timeout(self.drain, telling).await.is_ok();
        if !is_told {
            crate::log!(WARN, "the hub did not say goodbye in time");
            self.deciding.abort();
        }
        self.phase.send_replace(Phase::Closing);
        // They are at their end.
        drop(self.listening.await);
        if is_told {
            drop(self.deciding.await);
        }
        drop(self.feeling.await);
        // What it waits for may wait for a disk, and leaves nothing undone.
        self.giving_back.abort();
        for task in [self.scraping, self.answering].into_iter().flatten() {
            drop(task.await);
        }
        let workers = self.workers;
        // A thread of its own: those for what may block could all be waiting for a disk.
        let (done, stopped) = oneshot::channel();
        std::thread::spawn(move || {
            workers.stop();
            done.send(())
        });
        drop(stopped.await);
        // The workers let go of them; one whose client does not read may still be writing.
        let mut carrying = self.carrying;
        if timeout(self.drain, &mut carrying).await.is_err() {
            carrying.abort();
        }
    }
}

/// Listens at every address, or at none; where the first is.
fn listen(addresses: &[SocketAddr]) -> Result<(Vec<TcpListener>, SocketAddr), StartError> {
    let mut listeners = Vec::new();
    let mut first = None;
    for address in addresses {
        let unbound = |source| StartError::Http { address: *address, source };
        let listener = port::bind(*address).and_then(port::listen).map_err(unbound)?;
        let bound = listener.local_addr().map_err(unbound)?;
        first.get_or_insert(bound);
        listeners.push(listener);
    }
    let first = first.ok_or(StartError::Config(ConfigError::Http))?;
    Ok((listeners, first))
}

/// What is shown to clients, and the way to change it; nothing without TLS.
fn showing(config: &Config, metrics: &Arc<Metrics>) -> (Option<Showing>, Option<Tls>) {
    let Some(shown) = config.tls.clone() else { return (None, None) };
    let (sender, shown) = watch::channel::<Shown>(shown);
    let showing = Showing::new(sender, Arc::clone(metrics));
    (Some(showing), Some(Tls { shown, authority: config.authority.clone() }))
}

fn log_start(http: SocketAddr, with_tls: bool, (udp, tcp): (u16, Option<u16>), workers: NonZeroU8) {
    let (http, with_tls) = (ListenAddress(http), LogData(with_tls));
    let (udp, tcp, workers) = (LogData(udp), LogData(tcp.unwrap_or(0)), LogData(workers));
    crate::log!(
        INFO,
        "started",
        http = http,
        with_tls = with_tls,
        udp = udp,
        tcp = tcp,
        workers = workers
    );
}

/// What is served to whoever reads the figures.
fn scrape(config: &Config, front: &Arc<Front>) -> Result<Arc<Scrape>, StartError> {
    Ok(Arc::new(Scrape {
        front: Arc::clone(front),
        login: config.metrics.and_then(|at| at.login),
        node_id: node_id()?,
        started: SystemTime::now(),
    }))
}

fn listen_for_figures(
    at: Option<MetricsAt>,
) -> Result<Option<(SocketAddr, TcpListener)>, StartError> {
    let Some(MetricsAt { address, .. }) = at else { return Ok(None) };
    let unbound = |source| StartError::Metrics { address, source };
    let listener = port::bind(address).and_then(port::listen).map_err(unbound)?;
    Ok(Some((listener.local_addr().map_err(unbound)?, listener)))
}

fn listen_for_an_authority(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let unbound = |source| StartError::Challenges { address: *address, source };
        listeners.push(port::bind(*address).and_then(port::listen).map_err(unbound)?);
    }
    Ok(listeners)
}

/// Listens for media over TCP at every address, or at none; at which port.
fn listen_for_media(
    addresses: &[SocketAddr],
) -> Result<(Vec<TcpListener>, Option<u16>), StartError> {
    let mut listeners = Vec::new();
    let mut port = None;
    for address in addresses {
        let unbound = |source| StartError::Tcp { address: *address, source };
        let listener = port::bind_for_media(*address).and_then(port::listen).map_err(unbound)?;
        port.get_or_insert(listener.local_addr().map_err(unbound)?.port());
        listeners.push(listener);
    }
    Ok((listeners, port))
}

/// Where media is received over UDP.
fn claim_for_media(addresses: &[SocketAddr]) -> Result<Vec<SocketAddr>, StartError> {
    let claim = |address: &SocketAddr| {
        worker::claim(*address).map_err(|source| StartError::Udp { address: *address, source })
    };
    addresses.iter().map(claim).collect()
}

/// Where clients can send media: everywhere over UDP, and then everywhere over TCP.
fn candidates(advertised: &[IpAddr], udp: u16, tcp: Option<u16>) -> Vec<Candidate> {
    let all = |port, transport| {
        let each = advertised.iter();
        each.map(move |ip| Candidate { address: SocketAddr::new(*ip, port), transport })
    };
    let over_tcp = tcp.into_iter().flat_map(|port| all(port, CandidateTransport::TcpPassive));
    all(udp, CandidateTransport::Udp).chain(over_tcp).collect()
}

fn control(config: &Config) -> control::Config {
    control::Config {
        workers: config.workers.get(),
        spill_at: config.spread_at.get().into(),
        busy_max: config.busy_max,
        participants_max: config.limits.participants,
        room_participants_max: config.limits.room_participants,
        room_participants: config.rooms.participants_max.unwrap_or(usize::MAX),
        join_within: JOIN_TIME_MAX,
        empty: config.rooms.empty,
        departure: config.rooms.departure,
    }
}

/// A name for the node while it runs, in the form of LiveKit's.
fn node_id() -> Result<String, StartError> {
    let entropy: [u8; 32] = random()?;
    let digits = entropy.iter().take(6).map(|byte| format!("{byte:02x}"));
    Ok(format!("ND_{}", digits.collect::<String>()))
}

fn random() -> Result<[u8; 32], StartError> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| StartError::Randomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpStream;

    use super::*;
    use crate::config::{self, Limits};
    use crate::limits::SCRAPERS_EACH_MAX;

    fn config() -> Config {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let metrics = Some(MetricsAt { address: any, login: None });
        Config {
            tcp: vec![any],
            metrics,
            ..config::tests::config(&["127.0.0.1:0"], &["127.0.0.1"])
        }
    }

    #[test]
    fn why_it_does_not_listen_comes_with_what_may_help() {
        let address = SocketAddr::from(([192, 0, 2, 7], 443));
        for (kind, advice) in [
            (io::ErrorKind::AddrInUse, ": another `port` (of `dev`: `--http-port`) may be free"),
            (
                io::ErrorKind::AddrNotAvailable,
                ": the address is none of this machine's, see `bind_addresses` and `rtc.ips` (of `dev`: `--bind`)",
            ),
            (
                io::ErrorKind::PermissionDenied,
                ": a port below 1024 wants CAP_NET_BIND_SERVICE, see deploy/incamera.service",
            ),
            (io::ErrorKind::OutOfMemory, ""),
        ] {
            let said = StartError::Http { address, source: kind.into() }.to_string();
            assert_eq!(said, format!("cannot listen for HTTP on 192.0.2.7:443{advice}"));
        }
        let (address, kind) = (SocketAddr::from(([192, 0, 2, 7], 7882)), io::ErrorKind::AddrInUse);
        let source = || io::Error::from(kind);
        for (error, key) in [
            (StartError::Metrics { address, source: source() }, "`prometheus.port`"),
            (StartError::Challenges { address, source: source() }, "`tls.acme.http_port`"),
            (StartError::Tcp { address, source: source() }, "`rtc.tcp_port`"),
            (StartError::Udp { address, source: source() }, "`rtc.udp_port`"),
        ] {
            assert!(error.to_string().contains(&format!(": another {key}")), "{error}");
        }
        let source = io::ErrorKind::PermissionDenied.into();
        let said = StartError::Udp { address, source }.to_string();
        assert!(!said.contains("1024"), "{said}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_ends_in_time_though_a_part_hangs() {
        let limits = Limits { stop: Duration::from_millis(200), ..Limits::STANDARD };
        let mut server = Server::start(Config { limits, ..config() }).unwrap();
        server.deciding = tokio::spawn(pending());
        let stopped = timeout(Duration::from_secs(10), server.stop()).await;
        assert!(stopped.is_ok(), "it waits for the hub");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_finds_no_place_at_the_metrics_is_not_counted_as_a_client_that_did_not() {
        let server = Server::start(config()).unwrap();
        let connect = || TcpStream::connect(server.metrics_at().unwrap());
        let mut held = Vec::new();
        for _ in 0..SCRAPERS_EACH_MAX {
            held.push(connect().await.unwrap());
        }
        let mut other = connect().await.unwrap();
        assert_eq!(other.read(&mut [0]).await.unwrap(), 0, "cut");
        let metrics = server.metrics();
        let counted = (metrics.scrapes_refused.total(), metrics.connections_refused.total());
        assert_eq!(counted, (1, 0));
        server.stop().await;
    }
}
