//! The settings file: a `livekit.yaml`, with a few keys of our own.
//!
//! Guarantees: what is returned can be served with; keys of LiveKit's that have no effect here, and keys that
//! nobody knows, become warnings, so that a file that works there starts us, unless what is meant guards something.
//! Not here: what to listen on by default in development (`bin/incamera`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use model::Share;
use wire::key::{KeyError, Project, RefreshKey};
use wire::limits::SECRET_LEN_MIN;
use zeroize::Zeroizing;

use crate::acme::{Acme, acme};
use crate::address::Media;
use crate::certificate::Chain;
use crate::limits::{ADDRESSES_MAX, SETTINGS_MAX};
use crate::metrics::Beside;
use crate::yaml::{self, Map, Node};
use crate::{Fault, Holds, Metrics, ReadFile, Rooms, keys, known, load, metrics, rooms};

/// LiveKit's ports.
const HTTP_PORT: u16 = 7880;
const UDP_PORT: u16 = 7882;
const TCP_PORT: u16 = 7881;

/// What is LiveKit's and has no effect here, by path; a map takes all that is in it with it.
const INERT: &[&str] = &[
    "agents",
    "api",
    "audio",
    "cors",
    "development",
    "enable_data_tracks",
    "ingress",
    "limit",
    "log_level",
    "logging",
    "metric",
    "node_selector.algorithm",
    "node_selector.kind",
    "node_selector.regions",
    "node_selector.sort_by",
    "node_selector.sysload_limit",
    "psrpc",
    "redis",
    "region",
    "room.create_room_attempts",
    "room.create_room_enabled",
    "room.create_room_timeout",
    "room.enable_remote_unmute",
    "room.enabled_codecs",
    "room.playout_delay",
    "room.room_configurations",
    "room.sync_streams",
    "room.user_data_timeout",
    "rtc.allow_pause",
    "rtc.allow_tcp_fallback",
    "rtc.allow_udp_unstable_fallback",
    "rtc.batch_io",
    "rtc.congestion_control",
    "rtc.data_channel_max_buffered_amount",
    "rtc.datachannel_lossy_target_latency",
    "rtc.datachannel_slow_threshold",
    "rtc.enable_loopback_candidate",
    "rtc.enable_warp",
    "rtc.force_tcp",
    "rtc.packet_buffer_size",
    "rtc.packet_buffer_size_audio",
    "rtc.packet_buffer_size_video",
    "rtc.pli_throttle",
    "rtc.port_range_end",
    "rtc.port_range_start",
    "rtc.strict_acks",
    "rtc.stun_servers",
    "rtc.turn_servers",
    "rtc.use_ice_lite",
    "rtc.use_mdns",
    "signal_relay",
    "sip",
    "trace",
    "turn",
    "video",
    "webhook",
];

/// Keys without which others would be let in than who wrote them believes, or in the clear; and what a key begins with
/// that is meant as one of them.
const GUARDS: [(&str, &str); 4] = [
    ("revo", "revocations"),
    ("refresh", "refresh_secret_file"),
    ("tls", "tls"),
    ("behind", "behind_proxy"),
];

/// What a server is told by its operator.
#[derive(Debug)]
pub struct Settings {
    /// Where HTTP and WebSockets are served: at least one, all with one port, none twice.
    pub http: Vec<SocketAddr>,
    /// A proxy is before it, which speaks TLS and whose address connections come from.
    pub behind_proxy: bool,
    /// What they are served with; without it in the clear.
    pub tls: Option<Tls>,
    /// Where media is received, and where clients are told to send it.
    pub media: Media,
    /// Whose tokens are taken; at least one, and no two of the same name.
    pub projects: Vec<Project>,
    /// The server's own key, if it is to outlast the process or to be shared.
    pub refresh: Option<RefreshKey>,
    /// The revocation file.
    pub revocations: Option<NamedFile>,
    /// Of its time that a media worker may be busy and still take newcomers, if that is said.
    pub busy_max: Option<Share>,
    /// What rooms are like that nobody has said anything else of.
    pub rooms: Rooms,
    /// Where the node's figures are served, if anywhere.
    pub metrics: Option<Metrics>,
    /// Whether there is a secret in the file itself.
    pub holds_secret: bool,
    /// What is not as it looks, in the order of the file.
    pub warnings: Vec<Fault>,
}

/// Where the certificate that clients see comes from.
#[derive(Debug)]
pub enum Tls {
    /// Somebody puts it into files.
    Files(CertificateFiles),
    /// The server asks an authority for it.
    Acme(Acme),
}

/// The certificate that clients see, and its key.
pub struct CertificateFiles {
    /// Where the settings name the certificate.
    pub cert_line: usize,
    /// Where they name the key.
    pub key_line: usize,
    /// The path of the certificate.
    pub cert_file: String,
    /// The path of the key.
    pub key_file: String,
    /// The server's certificate and those between it and the root, whatever time it is.
    pub chain: Chain,
    /// The key in PEM, unread.
    pub key: Zeroizing<String>,
}

impl fmt::Debug for CertificateFiles {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CertificateFiles")
            .field("cert_line", &self.cert_line)
            .field("key_line", &self.key_line)
            .field("cert_file", &self.cert_file)
            .field("key_file", &self.key_file)
            .finish_non_exhaustive()
    }
}

/// Reads the text of a settings file; `read` opens the files that it names.
///
/// # Errors
/// The first thing that a server cannot run with, or should not.
pub fn read_settings(text: &str, read: &mut ReadFile<'_>) -> Result<Settings, Fault> {
    let mut map = yaml::read(text, SETTINGS_MAX)?.map()?;
    let is_bound = map.entries().any(|entry| entry.name == "bind_addresses");
    let mut rtc = map.take("rtc").map(Node::map).transpose()?;
    let node_ip = rtc.as_ref().and_then(|rtc| rtc.entries().find(|it| it.name == "node_ip"));
    let node_ip_line = node_ip.map_or(1, |entry| entry.line);
    let udp_port = rtc.as_mut().and_then(|rtc| rtc.take("udp_port"));
    let udp_port = udp_port.map_or(Ok(UDP_PORT), |node| port(&node))?;
    let tcp_node = rtc.as_mut().and_then(|rtc| rtc.take("tcp_port"));
    let tcp_port = tcp_node.as_ref().map_or(Ok(Some(TCP_PORT)), tcp_port)?;

    let (projects, mut holds_secret) = projects(&mut map, read)?;
    let secret = map.take_given("refresh_secret_file")?;
    let refresh = secret.map(|node| refresh(&node, read)).transpose()?;
    let revocations = map.take_given("revocations")?;
    let revocations = revocations.map(|node| NamedFile::read(&node)).transpose()?;
    let tls = map.take("tls").map(|node| tls(node, read)).transpose()?;
    let mut cautions = Vec::new();
    let http = http(&mut map, tls.as_ref(), &mut cautions)?;
    let is_local =
        http.addresses.iter().all(|address| address.ip().is_loopback()) && !http.behind_proxy;
    let local = Some(http.first).filter(|_| is_local);
    if Some(http.port) == tcp_port {
        return Err(Fault::new(
            tcp_node.map_or(1, |node| node.line),
            "`port` and `rtc.tcp_port` (7881 if it is not given) are one port: choose another for one of them, \
             or `tcp_port: 0` for no media over TCP",
        ));
    }
    let media = Media::read(rtc.as_mut(), udp_port, tcp_port, local, &mut cautions)?;
    let is_answered = is_bound || matches!(tls, Some(Tls::Acme(_)));
    if !is_answered && local.is_some() && media.is_advertised_elsewhere() {
        cautions.push(Fault::new(
            node_ip_line,
            "media is for others, and HTTP listens on this machine alone: give `bind_addresses`, or `behind_proxy: true` \
             if a proxy is before it",
        ));
    }

    let (busy_max, selector) = load::busy_max(&mut map)?;
    let (rooms, room) = rooms::rooms(&mut map)?;
    let metrics = metrics::metrics(&mut map, http.beside(tcp_port), &mut cautions)?;
    holds_secret |= metrics.as_ref().is_some_and(|metrics| metrics.login.is_some());
    if let Some(Tls::Acme(acme)) = &tls {
        let metrics = metrics.as_ref().map(|metrics| metrics.address.port());
        check_acme(acme, &http, [tcp_port, metrics], &mut cautions)?;
    }
    let mut warnings = warnings("", map)?;
    warnings.append(&mut cautions);
    if let Some(rtc) = rtc {
        warnings.extend(self::warnings("rtc.", rtc)?);
    }
    if let Some(selector) = selector {
        warnings.extend(self::warnings("node_selector.", selector)?);
    }
    if let Some(room) = room {
        warnings.extend(self::warnings("room.", room)?);
    }
    warnings.sort_by_key(|fault| fault.line);
    Ok(Settings {
        http: http.addresses,
        behind_proxy: http.behind_proxy,
        tls,
        media,
        projects,
        refresh,
        revocations,
        busy_max,
        rooms,
        metrics,
        holds_secret,
        warnings,
    })
}

/// A file that the settings name and that is not read with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Where it is named.
    pub line: usize,
    /// Its path, from the folder of the settings.
    pub name: String,
}

impl NamedFile {
    fn read(node: &Node) -> Result<Self, Fault> {
        Ok(Self { line: node.line, name: node.text()?.to_owned() })
    }

    /// What is wrong with it.
    #[must_use]
    pub fn fault(&self, reason: String) -> Fault {
        Fault::new(self.line, reason)
    }
}

/// Whose tokens are taken, and whether the file itself holds a secret of them.
fn projects(map: &mut Map, read: &mut ReadFile<'_>) -> Result<(Vec<Project>, bool), Fault> {
    let mut all = Vec::new();
    let mut holds_secret = false;
    if let Some(node) = map.take("keys") {
        all.extend(keys::keys(node, read)?);
        holds_secret = all.iter().any(|(_, project)| matches!(project, Project::Shared(_)));
    }
    if let Some(node) = map.take("key_file") {
        all.extend(keys::key_file(&node, read)?);
    }
    if let Some(node) = map.take("agora") {
        let (apps, is_within) = keys::agora(node, read)?;
        all.extend(apps);
        holds_secret |= is_within;
    }
    if all.is_empty() {
        const NOBODY: &str = "nobody could come in: give `keys`, `key_file` or `agora`";
        let slip = map.entries().find_map(|entry| {
            let meant = known::meant(&entry.name, ["keys", "key_file", "agora"])?;
            let reason = format!("this key is not known: is `{meant}` meant? Without it {NOBODY}");
            Some(Fault::new(entry.line, reason))
        });
        return Err(slip.unwrap_or_else(|| Fault::new(1, NOBODY)));
    }
    let mut names: Vec<_> = all.iter().map(|(line, project)| (project.name(), *line)).collect();
    names.sort_unstable();
    let mut pairs = names.iter().zip(names.iter().skip(1));
    if let Some((_, (_, line))) = pairs.find(|((one, _), (next, _))| one == next) {
        return Err(Fault::new(*line, KeyError::NameTaken.to_string()));
    }
    Ok((all.into_iter().map(|(_, project)| project).collect(), holds_secret))
}

fn refresh(node: &Node, read: &mut ReadFile<'_>) -> Result<RefreshKey, Fault> {
    let secret = keys::open(node, Holds::TokenSecret, read)?;
    let key = RefreshKey::shared(secret.trim().as_bytes());
    key.map_err(|_| {
        node.fault(format!("the secret of refresh tokens has at least {SECRET_LEN_MIN} bytes"))
    })
}

fn tls(node: Node, read: &mut ReadFile<'_>) -> Result<Tls, Fault> {
    let mut map = node.map()?;
    if let Some(node) = map.take("acme") {
        let line = node.line;
        if [map.take("cert_file"), map.take("key_file")].iter().any(Option::is_some) {
            let reason = "the certificate comes from `cert_file` and `key_file`, or by `acme`: give one of the two";
            return Err(Fault::new(line, reason));
        }
        map.end()?;
        return acme(node).map(Tls::Acme);
    }
    let (cert_file, key_file) = (map.need("cert_file")?, map.need("key_file")?);
    map.end()?;
    let text = keys::open(&cert_file, Holds::NoSecret, read)?;
    let name = cert_file.text()?.to_owned();
    let chain = Chain::read(&text).map_err(|error| cert_file.fault(format!("{name}: {error}")))?;
    let key = keys::open(&key_file, Holds::CertificateKey, read)?;
    Ok(Tls::Files(CertificateFiles {
        cert_line: cert_file.line,
        key_line: key_file.line,
        cert_file: name,
        key_file: key_file.text()?.to_owned(),
        chain,
        key,
    }))
}

/// Whether an authority could be answered beside all that is served at these addresses, and these ports.
fn check_acme(
    acme: &Acme,
    http: &Http,
    taken: [Option<u16>; 2],
    warnings: &mut Vec<Fault>,
) -> Result<(), Fault> {
    let fault = |reason: &str| Fault::new(acme.line, reason);
    if http.behind_proxy {
        return Err(fault(
            "`behind_proxy` says that a proxy speaks TLS, and then it is the proxy that needs the certificate: leave \
             one of the two out",
        ));
    }
    let is_taken = |port: u16| port == http.port || taken.contains(&Some(port));
    if acme.http_port.is_some_and(is_taken) {
        return Err(fault(
            "`http_port` is the port of something else here: give it one of its own",
        ));
    }
    if http.addresses.iter().all(|address| address.ip().is_loopback()) {
        warnings.push(fault(
            "an authority outside does not reach this server, which listens on this machine alone: give \
             `bind_addresses`",
        ));
    }
    Ok(())
}

/// Where HTTP is served.
struct Http {
    /// What is listened at: see [`Settings::http`].
    addresses: Vec<SocketAddr>,
    /// What is named first, whether or not a later one takes it in.
    first: IpAddr,
    port: u16,
    /// Whether a proxy before it speaks TLS.
    behind_proxy: bool,
}

impl Http {
    const fn beside(&self, tcp_port: Option<u16>) -> Beside {
        Beside { ip: self.first, http_port: self.port, tcp_port }
    }
}

fn http(map: &mut Map, tls: Option<&Tls>, warnings: &mut Vec<Fault>) -> Result<Http, Fault> {
    let port = map.take("port").map_or(Ok(HTTP_PORT), |node| port(&node))?;
    let proxy = map.take("behind_proxy");
    let behind_proxy = proxy.as_ref().map_or(Ok(false), Node::boolean)?;
    if let (Some(node), true, Some(Tls::Files(_))) = (proxy, behind_proxy, tls) {
        warnings.push(node.fault(
            "with `behind_proxy` nothing of HTTP is limited by address, since all comes from the proxy, though TLS is \
             spoken here: leave it out unless a proxy is there that everybody passes, and that limits them",
        ));
    }
    let Some(node) = map.take("bind_addresses") else {
        let first = IpAddr::V4(Ipv4Addr::LOCALHOST);
        return Ok(Http { addresses: vec![(first, port).into()], first, port, behind_proxy });
    };
    let line = node.line;
    let mut all: Vec<IpAddr> = Vec::new();
    for node in node.list()? {
        let address = match node.text()? {
            "" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => node.number("an IP address")?,
        };
        if !address.is_loopback() && !behind_proxy && tls.is_none() {
            return Err(node.fault(
                "this would serve tokens without TLS beyond this machine: give a certificate as `tls`, or \
                 bind to 127.0.0.1, or put a proxy that speaks TLS before it and say `behind_proxy: true`",
            ));
        }
        if all.contains(&address) {
            return Err(node.fault("this address is there already"));
        }
        all.push(address);
    }
    let named_first = all.first().copied();
    // Beside what takes all others could not be listened at; that of IPv6 takes IPv4 as well.
    let takes_all = all.contains(&IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let takes_ipv4 = all.contains(&IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    all.retain(|address| match address {
        IpAddr::V4(it) => !takes_all && (!takes_ipv4 || it.is_unspecified()),
        IpAddr::V6(it) => !takes_all || it.is_unspecified(),
    });
    let Some(first) = named_first.filter(|_| all.len() <= ADDRESSES_MAX) else {
        return Err(Fault::new(
            line,
            format!("from 1 to {ADDRESSES_MAX} addresses are wanted here"),
        ));
    };
    let addresses = all.into_iter().map(|address| SocketAddr::new(address, port)).collect();
    Ok(Http { addresses, first, port, behind_proxy })
}

pub(crate) fn port(node: &Node) -> Result<u16, Fault> {
    let port: u16 = node.number("one port, from 1 to 65535,")?;
    if port == 0 { Err(node.fault("one port, from 1 to 65535, is wanted here")) } else { Ok(port) }
}

/// As LiveKit has it, 0 is none.
fn tcp_port(node: &Node) -> Result<Option<u16>, Fault> {
    let port: u16 = node.number("one port, from 1 to 65535, or 0 for none")?;
    Ok((port != 0).then_some(port))
}

/// What is left of a map once everything that has an effect has been taken, and what of that had no value. A word that
/// nobody knows is not repeated; one that is meant as a guard is refused, since without that the server would serve.
fn warnings(prefix: &str, map: Map) -> Result<Vec<Fault>, Fault> {
    let valueless = map.valueless().iter().map(|(line, name)| {
        Fault::new(*line, format!("`{prefix}{name}` has no value, and no effect"))
    });
    let mut all: Vec<Fault> = valueless.collect();
    let known: Vec<String> = map.known().iter().map(|name| format!("{prefix}{name}")).collect();
    for entry in map.rest() {
        let path = format!("{prefix}{}", entry.name);
        let reason = if let Some(inert) = INERT.iter().find(|inert| **inert == path) {
            format!("`{inert}` has no effect here")
        } else if let Some(guard) = guard(&entry.name) {
            let reason = format!(
                "this key is not known: is `{guard}` meant, at the top of the file? Without it the server would be \
                 less safe than its settings say"
            );
            return Err(Fault::new(entry.line, reason));
        } else {
            let each = known.iter().map(String::as_str).chain(INERT.iter().copied());
            match known::meant(&path, each) {
                Some(meant) => format!("this key is not known: is `{meant}` meant?"),
                None => "this key is not known, and has no effect".to_owned(),
            }
        };
        all.push(Fault::new(entry.line, reason));
    }
    Ok(all)
}

/// The guard that an unknown key is meant as.
fn guard(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let begun = GUARDS.iter().find(|(begin, _)| name.starts_with(begin)).map(|(_, guard)| *guard);
    begun.or_else(|| known::meant(&name, GUARDS.map(|(_, guard)| guard)))
}

#[cfg(test)]
mod tests;
