//! Whether a server could listen at a port, and whether one of ours does so already.
//!
//! Guarantees: a server of ours is told from others by what it answers, whether or not this user may take its port.
//! Not here: which ports there are, what else follows from addresses (`network`).

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use edge::challenge::ONLY_AN_AUTHORITY;
use edge::http::ALIVE;
use edge::listener::TLS_SPOKEN_HERE;
use edge::scrape::FIGURES_ELSEWHERE;
use settings::address::OwnAddress;

use super::finding::Finding;

const CHECK: &str = "port";

/// For an answer of a server on this machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Http,
    Metrics,
    Authority,
    MediaOverTcp,
    Media,
}

/// Who has it.
#[derive(Debug)]
pub(super) enum Holder {
    Nobody,
    Ours,
    Another,
    /// Somebody, and this user may not know whether it is a running server.
    Somebody,
    /// Nobody, and this user may not take it.
    Forbidden,
    /// Nobody can.
    Unusable(io::Error),
}

impl Holder {
    /// Of what was asked and answered as a server of ours does, or not.
    pub(super) const fn answering(is_ours: bool) -> Self {
        if is_ours { Self::Ours } else { Self::Another }
    }
}

impl Purpose {
    const fn protocol(self) -> &'static str {
        match self {
            Self::Http | Self::Metrics | Self::Authority | Self::MediaOverTcp => "TCP",
            Self::Media => "UDP",
        }
    }

    /// After the address.
    const fn of(self) -> &'static str {
        match self {
            Self::Http | Self::Media => "",
            Self::Metrics => ", of metrics,",
            Self::Authority => ", of the authority,",
            Self::MediaOverTcp => ", of media,",
        }
    }

    /// What of the settings says the port, and what the address.
    const fn keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Http => ("`port`", "`bind_addresses`"),
            Self::Metrics => ("`prometheus.port`", "`bind_addresses`"),
            Self::Authority => ("`http_port`", "`bind_addresses`"),
            Self::MediaOverTcp => ("`rtc.tcp_port`", "`rtc.ips`"),
            Self::Media => ("`rtc.udp_port`", "`rtc.ips`"),
        }
    }

    /// Who holds the port at `address`, of which `bound` is what came of taking it. `who` asks who is there.
    pub(super) fn holder<T>(
        self,
        address: SocketAddr,
        bound: io::Result<T>,
        who: impl FnOnce() -> Holder,
    ) -> Holder {
        let Err(error) = bound else { return Holder::Nobody };
        let is_forbidden = error.kind() == io::ErrorKind::PermissionDenied;
        if !is_forbidden && error.kind() != io::ErrorKind::AddrInUse {
            return Holder::Unusable(error);
        }
        // The kernel asks who may take it before it says whether somebody has.
        if is_forbidden && self != Self::Media && connect(address).is_err() {
            return Holder::Forbidden;
        }
        match (who(), is_forbidden) {
            (Holder::Nobody, true) => Holder::Forbidden,
            (Holder::Nobody, false) => Holder::Another,
            (found, _) => found,
        }
    }

    /// What that means.
    pub(super) fn finding(
        self,
        address: SocketAddr,
        holder: &Holder,
        own: &[OwnAddress],
    ) -> Finding {
        let (protocol, of, (key, address_key)) = (self.protocol(), self.of(), self.keys());
        let at = format!("{protocol} {address}{of}");
        let why = "the server does not start";
        match holder {
            Holder::Nobody => Finding::fine(CHECK, format!("{at} is free")),
            Holder::Ours => Finding::fine(CHECK, format!("{at} is held by a running server")),
            Holder::Another => {
                let (kind, port) = (if self == Self::Media { "u" } else { "t" }, address.port());
                let fix = format!(
                    "`ss -l{kind}np 'sport = :{port}'` says by what: end it, or choose another {key}"
                );
                Finding::wrong(CHECK, format!("{at} is taken by something else"), why, fix)
            }
            Holder::Somebody => Finding::warning(
                CHECK,
                format!("{at} is taken; whether by a running server is not known"),
                "if it is by something else, the server gives its clients an address at which it hears nothing, or does \
                 not start again",
                "run this as root, who may see which process has it",
            ),
            Holder::Forbidden => Finding::warning(
                CHECK,
                format!("{at} is free, and this user may not listen there"),
                "below 1024 a service needs CAP_NET_BIND_SERVICE for that: without it the server does not start",
                format!(
                    "see that its unit says it in both lines that name capabilities (CapabilityBoundingSet= and \
                     AmbientCapabilities=), or choose another {key} and have a firewall forward this one"
                ),
            ),
            Holder::Unusable(error) => {
                let fix = if error.kind() == io::ErrorKind::AddrNotAvailable {
                    format!("give in {address_key} what it has: {}", listed(own))
                } else {
                    format!("choose another in {address_key}, or another {key}")
                };
                Finding::wrong(CHECK, format!("{at} cannot be listened at: {error}"), why, fix)
            }
        }
    }
}

fn listed(own: &[OwnAddress]) -> String {
    own.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Whether a server of ours serves HTTP there, whatever its settings say now: it lives, ready or not, or says that it
/// speaks TLS.
pub(super) fn is_ours(address: SocketAddr) -> bool {
    let alive = format!("\r\n\r\n{ALIVE}");
    // At `/`, other servers of this protocol say the same.
    answer(address, "/livez").is_ok_and(|answer| {
        let lives = answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&alive);
        lives || answer.contains(TLS_SPOKEN_HERE)
    })
}

/// Whether a server of ours serves its figures there, to whomever.
pub(super) fn serves_figures(address: SocketAddr) -> bool {
    says(address, FIGURES_ELSEWHERE)
}

/// Whether a server of ours answers an authority there.
pub(super) fn answers_an_authority(address: SocketAddr) -> bool {
    says(address, ONLY_AN_AUTHORITY)
}

/// Whether these words are in what listens there answers in the clear.
pub(super) fn says(address: SocketAddr, words: &str) -> bool {
    answer(address, "/").is_ok_and(|answer| answer.contains(words))
}

fn answer(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: doctor\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.take(2048).read_to_string(&mut answer)?;
    Ok(answer)
}

/// Reaches from here what is bound to `address`.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    const LOCAL_4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const LOCAL_6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let to = |ip| TcpStream::connect_timeout(&SocketAddr::new(ip, address.port()), PATIENCE);
    match address.ip() {
        IpAddr::V4(it) if it.is_unspecified() => to(LOCAL_4),
        // It takes IPv4 as well, and where IPv6 is switched off nothing else.
        IpAddr::V6(it) if it.is_unspecified() => to(LOCAL_6).or_else(|_| to(LOCAL_4)),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => to(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// Somebody on a port of 127.0.0.1 who answers so to each path, until the test ends.
    fn answering(answers: &'static [(&'static str, &'static str)]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut asked = [0; 256];
                let length = stream.read(&mut asked).unwrap();
                let asked = String::from_utf8_lossy(&asked[..length]).into_owned();
                let path = asked.split(' ').nth(1).unwrap_or_default();
                let found = answers.iter().find(|(known, _)| *known == path || *known == "*");
                let (status, body) =
                    found.map_or(("404 Not Found", ""), |(_, it)| it.split_once('|').unwrap());
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n");
                stream.write_all(format!("{head}{body}").as_bytes()).ok();
            }
        });
        at
    }

    const READY: &[(&str, &str)] = &[("/", "200 OK|OK"), ("/livez", "200 OK|alive\n")];
    const NOT_READY: &[(&str, &str)] =
        &[("/", "406 Not Acceptable|Not Ready\n"), ("/livez", "200 OK|alive\n")];
    /// Who speaks the same protocol, with and without a page for every path.
    const LIVEKIT: &[(&str, &str)] = &[("/", "200 OK|OK")];
    const LIVEKIT_NOT_READY: &[(&str, &str)] = &[("*", "406 Not Acceptable|Not Ready\n")];
    const OTHER: &[(&str, &str)] = &[("*", "200 OK|alive\nand well")];
    const TLS: &[(&str, &str)] =
        &[("*", "400 Bad Request|this port speaks TLS: use https:// or wss://\n")];

    #[test]
    fn a_server_of_ours_is_known_whether_or_not_it_is_ready() {
        for (who, answers, is) in [
            ("ready", READY, true),
            ("not ready", NOT_READY, true),
            ("under TLS", TLS, true),
            ("another of the protocol", LIVEKIT, false),
            ("that one when it is not ready", LIVEKIT_NOT_READY, false),
            ("something else", OTHER, false),
        ] {
            assert_eq!(is_ours(answering(answers)), is, "{who}");
        }
    }

    #[test]
    fn the_figures_of_a_server_of_ours_are_known_with_and_without_a_password() {
        const FIGURES: &[(&str, &str)] = &[
            ("/metrics", "401 Unauthorized|name and password are wanted here\n"),
            ("/", "404 Not Found|figures are at /metrics\n"),
        ];
        assert!(serves_figures(answering(FIGURES)));
        assert!(!serves_figures(answering(READY)) && !serves_figures(answering(OTHER)));
    }

    #[test]
    fn what_listens_at_all_addresses_is_found_where_ipv6_leads_nowhere() {
        let port = answering(READY).port();
        assert!(is_ours(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))));
        assert!(is_ours(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))));
        assert!(!is_ours(SocketAddr::from((Ipv6Addr::LOCALHOST, port))));
    }

    #[test]
    fn who_may_not_take_a_port_is_told_who_has_it() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let somebody = answering(READY);
        let denied = || Err::<(), _>(io::ErrorKind::PermissionDenied.into());
        let in_use = || Err::<(), _>(io::ErrorKind::AddrInUse.into());
        let judge = |purpose: Purpose, at, bound, is_ours| {
            let who = || Holder::answering(is_ours);
            purpose.finding(at, &purpose.holder(at, bound, who), &[]).to_string()
        };
        let check = |purpose, at, bound, is_ours, level: &str, words: &str| {
            let said = judge(purpose, at, bound, is_ours);
            assert!(said.starts_with(level) && said.contains(words), "{said}");
        };
        for purpose in [Purpose::Http, Purpose::Metrics, Purpose::Authority, Purpose::MediaOverTcp]
        {
            check(purpose, somebody, denied(), true, "fine", "held by a running server");
            check(purpose, somebody, in_use(), true, "fine", "held by a running server");
            check(purpose, somebody, denied(), false, "wrong", "taken by something else");
            check(purpose, somebody, in_use(), false, "wrong", "taken by something else");
            // What runs elsewhere does not make this port its.
            check(purpose, nobody, denied(), true, "warning", "CAP_NET_BIND_SERVICE");
            check(purpose, nobody, denied(), false, "warning", "CAP_NET_BIND_SERVICE");
            check(purpose, nobody, Ok(()), false, "fine", "is free");
        }
        check(Purpose::Media, nobody, denied(), true, "fine", "held by a running server");
        check(Purpose::Media, nobody, denied(), false, "wrong", "ss -lunp");
        let free = Purpose::Media.holder(nobody, denied(), || Holder::Nobody);
        assert!(matches!(free, Holder::Forbidden));
        check(Purpose::Media, nobody, in_use(), false, "wrong", "ss -lunp");
        for purpose in [Purpose::Media, Purpose::MediaOverTcp] {
            let holder = purpose.holder(somebody, in_use(), || Holder::Somebody);
            let said = purpose.finding(somebody, &holder, &[]).to_string();
            assert!(said.starts_with("warning") && said.contains("is not known"), "{said}");
        }
        let nowhere = || Err(io::ErrorKind::AddrNotAvailable.into());
        check(Purpose::Http, nobody, nowhere(), false, "wrong", "`bind_addresses` what it has");
    }
}
