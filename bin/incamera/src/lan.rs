//! `incamera dev --lan`: for people on the same network, a phone among them.
//!
//! Owns: what of this start is known to nobody else: the key pair; which address is this machine's.
//! Guarantees: secrets go to standard output and nowhere else, and in a link they stand behind the `#`, which
//! browsers never send.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::SystemTime;

use edge::Server;
use edge::tls::CertifiedKey;
use wire::key::ProjectKey;
use zeroize::Zeroizing;

use crate::authority::{self, Authority};
use crate::link::Page;
use crate::{Failure, process, secret};

const ROOM: &str = "lan";

/// An address that is nobody's (RFC 5737): asking for the way to it sends nothing.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 51, 100, 1), 9);

pub(crate) const NAME: &str = "lan";

/// What a start for the network needs.
pub(crate) struct Lan {
    pub(crate) address: IpAddr,
    pub(crate) certified: CertifiedKey,
    pub(crate) authority: Authority,
    pub(crate) key: ProjectKey,
}

impl Lan {
    /// Finds the address unless it is given, and has a certificate made for it.
    pub(crate) fn prepare(address: Option<IpAddr>) -> Result<Self, Failure> {
        let address = match address {
            Some(address) => address,
            None => address_of_default_route()?,
        };
        if !authority::is_private(address) {
            return Err(format!(
                "{address} is no address of a private network: use `incamera serve` with a certificate, or \
                 choose another with --address"
            )
            .into());
        }
        let now = SystemTime::now();
        let authority = Authority::of(&authority::folder()?, now)?;
        let mut names = vec![address.to_string()];
        names.extend(host_name().map(|name| format!("{name}.local")));
        let certified = authority.certify(names, now)?;
        let secret = secret::text()?;
        let key = ProjectKey::hs256(NAME, secret.as_bytes())?;
        Ok(Self { address, certified, authority, key })
    }

    /// Where to listen so that the address is reached, whatever interface it is of.
    pub(crate) const fn everywhere(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// What the developer reads.
    pub(crate) fn banner(&self, server: &Server) -> Result<Zeroizing<String>, Failure> {
        let http_port = server.http().port();
        let at = SocketAddr::new(self.address, http_port);
        let links = Page::of(format!("https://{at}")).people(&self.key, ROOM)?;
        // Long enough that it is never moved, which would leave a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(1 << 13));
        let version = env!("CARGO_PKG_VERSION");
        text.push_str(&format!(
            "Incamera {version}, on this network, for development only

A link for each person; whoever has one can join and read the call:

"
        ));
        text.push_str(&links);
        text.push_str(&format!(
            "A phone or another computer must be told once to trust this machine's authority, which vouches for
private addresses and *.local alone, until {valid_to}:

  1. Open  http://{at}/ca.pem  there.
  2. Compare the SHA-256 fingerprint that it shows:
     {fingerprint}
  3. iPhone, iPad   Settings > General > VPN & Device Management: install it; then
                    Settings > General > About > Certificate Trust Settings: turn it on
     Android        Settings > Security > More > Install a certificate > CA certificate
     macOS, Windows open the file, and trust it for web sites
     Firefox        Settings > Privacy & Security > Certificates > Authorities > Import
     Linux          certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n incamera -i ca.pem   (Chromium)

Its key is in {folder}; remove that folder to have a new one.
Media is received on {media}: a firewall must let them in, and TCP port {http_port}.
Ctrl-C ends it; the links end with it.
",
            media = process::media_ports(server),
            valid_to = self.authority.valid_to,
            fingerprint = self.authority.fingerprint,
            folder = authority::folder()?.display(),
        ));
        Ok(text)
    }
}

/// This machine's address on a private network, if the default route is one's.
pub(crate) fn private_address() -> Option<IpAddr> {
    let is_private = |ip: &IpAddr| authority::is_private(*ip) && !ip.is_loopback();
    address_of_default_route().ok().filter(is_private)
}

/// The address that the kernel gives what goes beyond this network.
fn address_of_default_route() -> Result<IpAddr, Failure> {
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(ELSEWHERE).and_then(|()| socket.local_addr()));
    found.map(|found| found.ip()).map_err(|error| {
        format!("no default route says which network is yours ({error}): choose with --address")
            .into()
    })
}

/// The first label of this machine's name, if it can stand in a certificate.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let label = name.trim().split('.').next()?.to_ascii_lowercase();
    let is_label = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    (is_label && !label.is_empty() && label.len() < 64).then_some(label)
}
