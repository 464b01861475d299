//! Where the node's figures are served: `prometheus` and `prometheus_port` of the settings.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use zeroize::Zeroizing;

use crate::Fault;
use crate::server::port;
use crate::yaml::Map;

/// Where the node's figures are served, and to whom.
#[derive(Debug)]
pub struct Metrics {
    /// The first of `bind_addresses`, also where another takes it in with all others, and a port of its own.
    pub address: SocketAddr,
    /// Whoever reads them must say this; nothing if anybody may.
    pub login: Option<MetricsLogin>,
}

/// A name and a password.
pub struct MetricsLogin {
    /// Without a colon, which HTTP puts between the two.
    pub username: String,
    /// Not empty.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for MetricsLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricsLogin(…)")
    }
}

/// What they stand beside.
#[derive(Clone, Copy)]
pub(crate) struct Beside {
    /// The first address of HTTP.
    pub(crate) ip: IpAddr,
    /// The port of HTTP, and that of media over TCP.
    pub(crate) http_port: u16,
    pub(crate) tcp_port: Option<u16>,
}

/// Takes both keys out of `map`; what looks wrong and is not goes to `warnings`.
pub(crate) fn metrics(
    map: &mut Map,
    beside: Beside,
    warnings: &mut Vec<Fault>,
) -> Result<Option<Metrics>, Fault> {
    let old = map.take("prometheus_port");
    let Some(node) = map.take("prometheus") else {
        let Some(node) = old else { return Ok(None) };
        let metrics = Metrics { address: (beside.ip, port(&node)?).into(), login: None };
        return check(metrics, node.line, beside, warnings).map(Some);
    };
    if old.is_some() {
        return Err(node.fault("give `prometheus` or the older `prometheus_port`, not both"));
    }
    let line = node.line;
    let mut inner = node.map()?;
    let port = port(&inner.need("port")?)?;
    let (username, password) = (inner.take("username"), inner.take("password"));
    inner.end()?;
    let login = match (username, password) {
        (None, None) => None,
        (Some(username), Some(password)) => {
            let name = username.text()?;
            if name.is_empty() || name.contains(':') {
                return Err(username.fault("a name without a colon is wanted here"));
            }
            let secret = Zeroizing::new(password.text()?.to_owned());
            if secret.is_empty() {
                return Err(password.fault("a password is wanted here"));
            }
            Some(MetricsLogin { username: name.to_owned(), password: secret })
        }
        (Some(_), None) | (None, Some(_)) => {
            let reason = "`prometheus` wants both `username` and `password`, or neither";
            return Err(Fault::new(line, reason));
        }
    };
    let address = (beside.ip, port).into();
    check(Metrics { address, login }, line, beside, warnings).map(Some)
}

fn check(
    metrics: Metrics,
    line: usize,
    beside: Beside,
    warnings: &mut Vec<Fault>,
) -> Result<Metrics, Fault> {
    let port = metrics.address.port();
    if port == beside.http_port {
        return Err(Fault::new(
            line,
            "the port of metrics is that of HTTP: give it one of its own",
        ));
    }
    if beside.tcp_port == Some(port) {
        return Err(Fault::new(
            line,
            "the port of metrics is that of media over TCP, `rtc.tcp_port` (7881 if it is not given): give it one of \
             its own",
        ));
    }
    if metrics.login.is_none() && !beside.ip.is_loopback() {
        let reason = "whoever reaches the port of metrics can read them: give `prometheus` a `username` \
                      and a `password`, or keep others from it";
        warnings.push(Fault::new(line, reason));
    }
    Ok(metrics)
}
