//! Where media is received, and where clients are told to send it: `rtc.node_ip`, `rtc.interfaces`, `rtc.ips`.
//!
//! Owns: networks as CIDR; the choice among a machine's addresses; what follows from all three.
//! Guarantees: what is bound can be reached by what is advertised, as far as settings can say.
//! Not here: which addresses a machine has, which the caller knows.
//! Source: LiveKit `config-sample.yaml`; RFC 4632.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::Fault;
use crate::limits::ADDRESSES_MAX;
use crate::yaml::{Map, Node};

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many bits.
    prefix: u32,
}

impl FromStr for Network {
    type Err = ();

    /// `192.168.0.0/16`, or an address alone.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse().map_err(|_| ())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits { Err(()) } else { Ok(Self { address, prefix }) }
    }
}

impl Network {
    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= self.prefix
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let differing = own.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= self.prefix
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// An address of a machine, and the interface that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnAddress {
    /// As `ip address` names it.
    pub interface: String,
    /// One of its.
    pub address: IpAddr,
}

impl fmt::Display for OwnAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.interface, self.address)
    }
}

/// What the settings say of media's addresses.
#[derive(Clone, Debug)]
pub struct Media {
    /// The UDP port.
    pub port: u16,
    /// The TCP port of those whose UDP does not get through, unless there is none.
    pub tcp_port: Option<u16>,
    /// `rtc.node_ip`; nothing means what is received at.
    advertised: Vec<IpAddr>,
    /// `rtc.interfaces` and `rtc.ips`; without it all that `advertised` may be reached by.
    choice: Option<Choice>,
}

/// Media's addresses on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// What sockets are bound to, all with the port.
    pub bound: Vec<SocketAddr>,
    /// The same addresses with the TCP port, if there is one.
    pub bound_tcp: Vec<SocketAddr>,
    /// Where clients are told to send, best first.
    pub advertised: Vec<IpAddr>,
}

/// Which of a machine's addresses.
#[derive(Clone, Debug)]
struct Choice {
    line: usize,
    interfaces: Rule<String>,
    networks: Rule<Network>,
}

/// All that is included, or simply all; but nothing that is excluded.
#[derive(Clone, Debug)]
struct Rule<T> {
    includes: Vec<T>,
    excludes: Vec<T>,
}

impl<T> Default for Rule<T> {
    fn default() -> Self {
        Self { includes: Vec::new(), excludes: Vec::new() }
    }
}

impl<T> Rule<T> {
    fn read(
        node: Option<Node>,
        each: impl Fn(&Node) -> Result<T, Fault>,
    ) -> Result<(Option<usize>, Self), Fault> {
        let Some(node) = node else { return Ok((None, Self::default())) };
        let line = node.line;
        let mut map = node.map()?;
        let mut list = |name: &'static str| -> Result<Vec<T>, Fault> {
            let nodes = map.take(name).map(Node::list).transpose()?.unwrap_or_default();
            nodes.iter().map(&each).collect()
        };
        let rule = Self { includes: list("includes")?, excludes: list("excludes")? };
        map.end()?;
        Ok((Some(line), rule))
    }

    fn takes(&self, is_meant: impl Fn(&T) -> bool) -> bool {
        let is_included = self.includes.is_empty() || self.includes.iter().any(&is_meant);
        is_included && !self.excludes.iter().any(is_meant)
    }
}

impl Choice {
    fn read(rtc: Option<&mut Map>) -> Result<Option<Self>, Fault> {
        let Some(rtc) = rtc else { return Ok(None) };
        let (one, interfaces) =
            Rule::read(rtc.take("interfaces"), |node| node.text().map(str::to_owned))?;
        let (other, networks) =
            Rule::read(rtc.take("ips"), |node| node.number("a network, as 192.168.0.0/16,"))?;
        Ok(one.or(other).map(|line| Self { line, interfaces, networks }))
    }

    fn takes(&self, own: &OwnAddress) -> bool {
        let OwnAddress { interface, address } = own;
        let is_named = self.interfaces.includes.contains(interface)
            || self.networks.includes.iter().any(|network| network.contains(*address));
        // What clients elsewhere cannot reach is taken only where it is named.
        let is_local = match address {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => address.is_loopback(),
        };
        let is_of_one_link = matches!(address, IpAddr::V6(it) if it.is_unicast_link_local());
        (is_named || !is_local)
            && !is_of_one_link
            && self.interfaces.takes(|name| name == interface)
            && self.networks.takes(|network| network.contains(*address))
    }
}

impl Media {
    /// Takes its keys out of `rtc`. `local` is what media is received at if nothing is said, where HTTP is of
    /// this machine alone. What looks wrong and is not goes to `warnings`.
    pub(crate) fn read(
        mut rtc: Option<&mut Map>,
        port: u16,
        tcp_port: Option<u16>,
        local: Option<IpAddr>,
        warnings: &mut Vec<Fault>,
    ) -> Result<Self, Fault> {
        let mut within = |name: &'static str| rtc.as_mut().and_then(|rtc| rtc.take(name));
        let (node_ip, external_ip) = (within("node_ip"), within("use_external_ip"));
        let choice = Choice::read(rtc)?;
        let line = node_ip.as_ref().map_or(1, |node| node.line);
        let advertised = node_ip.map(advertised).transpose()?.unwrap_or_default();
        let leads_here_alone = !advertised.is_empty() && advertised.iter().all(IpAddr::is_loopback);
        if local.is_none() && leads_here_alone {
            let reason = "`rtc.node_ip` is of this machine alone, and people may join from elsewhere: they would see and \
                          hear nobody";
            warnings.push(Fault::new(line, reason));
        }
        if let Some(node) = external_ip
            && node.boolean()?
        {
            // What is received at is an inner address then, which nobody outside reaches.
            if advertised.is_empty() {
                return Err(node.fault(
                    "nothing here asks others for its address: leave this out, and give what clients outside send \
                     media to as `rtc.node_ip`",
                ));
            }
            warnings.push(node.fault(
                "`rtc.use_external_ip` has no effect here: clients are told `rtc.node_ip` alone",
            ));
        }
        match local {
            _ if !advertised.is_empty() || choice.is_some() => {
                Ok(Self { port, tcp_port, advertised, choice })
            }
            Some(local) => Ok(Self { port, tcp_port, advertised: vec![local], choice }),
            None => Err(Fault::new(
                1,
                "`rtc.node_ip` is missing: the address, or addresses, that clients send media to",
            )),
        }
    }

    /// Whether clients are told of an address that others than this machine reach.
    pub(crate) fn is_advertised_elsewhere(&self) -> bool {
        self.advertised.iter().any(|address| !address.is_loopback())
    }

    /// What this comes to on a machine with the addresses `own`.
    ///
    /// # Errors
    /// None of them is chosen, or too many are.
    pub fn places(&self, own: &[OwnAddress]) -> Result<Places, Fault> {
        let Some(choice) = &self.choice else {
            return Ok(self.at(&any_of(&self.advertised), self.advertised.clone()));
        };
        let mut chosen: Vec<IpAddr> = Vec::new();
        for each in own.iter().filter(|each| choice.takes(each)) {
            if !chosen.contains(&each.address) {
                chosen.push(each.address);
            }
        }
        if !(1..=ADDRESSES_MAX).contains(&chosen.len()) {
            let all: Vec<String> = own.iter().map(ToString::to_string).collect();
            let reason = format!(
                "`rtc.interfaces` and `rtc.ips` choose {} addresses, from 1 to {ADDRESSES_MAX} are wanted; this \
                 machine has {}",
                chosen.len(),
                all.join(", ")
            );
            return Err(Fault::new(choice.line, reason));
        }
        let advertised =
            if self.advertised.is_empty() { chosen.clone() } else { self.advertised.clone() };
        Ok(self.at(&chosen, advertised))
    }

    fn at(&self, bound: &[IpAddr], advertised: Vec<IpAddr>) -> Places {
        let all = |port| bound.iter().map(move |address| SocketAddr::new(*address, port));
        Places {
            bound: all(self.port).collect(),
            bound_tcp: self.tcp_port.into_iter().flat_map(all).collect(),
            advertised,
        }
    }
}

/// `rtc.node_ip`: an address or a list of them, best first.
fn advertised(node: Node) -> Result<Vec<IpAddr>, Fault> {
    let line = node.line;
    let nodes = if node.is_list() { node.list()? } else { vec![node] };
    let mut all = Vec::new();
    for node in nodes {
        let address: IpAddr = node.number("an IP address")?;
        if address.is_unspecified() || address.is_multicast() {
            return Err(node.fault("clients cannot send media to this address"));
        }
        if all.contains(&address) {
            return Err(node.fault("this address is there already"));
        }
        all.push(address);
    }
    if all.len() > ADDRESSES_MAX {
        let reason = format!("{ADDRESSES_MAX} addresses are the most that clients are told");
        return Err(Fault::new(line, reason));
    }
    Ok(all)
}

/// What to bind to so that `advertised` can be reached: they may be addresses of a router.
fn any_of(advertised: &[IpAddr]) -> Vec<IpAddr> {
    let each = advertised.iter().map(|address| match address {
        IpAddr::V4(it) if !it.is_loopback() => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(it) if !it.is_loopback() => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V4(_) | IpAddr::V6(_) => *address,
    });
    let mut all: Vec<IpAddr> = Vec::new();
    for address in each {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let any: Vec<IpAddr> = all.iter().copied().filter(IpAddr::is_unspecified).collect();
    all.retain(|address| {
        address.is_unspecified() || any.iter().all(|any| any.is_ipv4() != address.is_ipv4())
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    fn machine() -> Vec<OwnAddress> {
        [
            ("lo", "127.0.0.1"),
            ("lo", "::1"),
            ("eth0", "192.0.2.2"),
            ("eth0", "2001:db8::2"),
            ("eth0", "fe80::2"),
            ("docker0", "172.17.0.1"),
            ("wg0", "10.8.0.1"),
        ]
        .map(|(interface, address)| OwnAddress {
            interface: interface.into(),
            address: address.parse().unwrap(),
        })
        .into()
    }

    fn media(rtc: &str, local: Option<IpAddr>) -> Result<Media, Fault> {
        let mut map = yaml::read(rtc, 4096)?.map()?;
        Media::read(Some(&mut map), 7, Some(8), local, &mut Vec::new())
    }

    fn check(rtc: &str, bound: &[&str], advertised: &[&str]) {
        let places = media(rtc, None).unwrap().places(&machine()).unwrap();
        let found: Vec<String> = places.bound.iter().map(ToString::to_string).collect();
        let told: Vec<String> = places.advertised.iter().map(ToString::to_string).collect();
        assert_eq!((&*found, &*told), (&*owned(bound), &*owned(advertised)), "{rtc}");
        let over_tcp: Vec<_> = places.bound_tcp.iter().map(|it| (it.ip(), it.port())).collect();
        let over_udp: Vec<_> = places.bound.iter().map(|it| (it.ip(), 8)).collect();
        assert_eq!(over_tcp, over_udp, "{rtc}");
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_is_bound_can_be_reached_by_what_is_advertised() {
        check("node_ip: 203.0.113.7", &["0.0.0.0:7"], &["203.0.113.7"]);
        check(
            "node_ip: [203.0.113.7, 10.8.0.1, '2001:db8::2']",
            &["0.0.0.0:7", "[::]:7"],
            &["203.0.113.7", "10.8.0.1", "2001:db8::2"],
        );
        check("node_ip: 127.0.0.1", &["127.0.0.1:7"], &["127.0.0.1"]);
        check("node_ip: [127.0.0.1, 10.8.0.1]", &["0.0.0.0:7"], &["127.0.0.1", "10.8.0.1"]);
        check("node_ip: ['::1', 10.8.0.1]", &["[::1]:7", "0.0.0.0:7"], &["::1", "10.8.0.1"]);
        check(
            "interfaces: {includes: [eth0]}",
            &["192.0.2.2:7", "[2001:db8::2]:7"],
            &["192.0.2.2", "2001:db8::2"],
        );
        check("interfaces: {excludes: [docker0, eth0]}", &["10.8.0.1:7"], &["10.8.0.1"]);
        check("ips: {includes: [10.0.0.0/8]}", &["10.8.0.1:7"], &["10.8.0.1"]);
        check(
            "ips: {excludes: ['::/0', 172.16.0.0/12]}",
            &["192.0.2.2:7", "10.8.0.1:7"],
            &["192.0.2.2", "10.8.0.1"],
        );
        check(
            "interfaces: {includes: [lo]}\nips: {excludes: ['::1']}",
            &["127.0.0.1:7"],
            &["127.0.0.1"],
        );
        check(
            "ips: {includes: [192.0.2.2]}\nnode_ip: 203.0.113.7",
            &["192.0.2.2:7"],
            &["203.0.113.7"],
        );
    }

    #[test]
    fn what_chooses_nothing_says_what_there_is() {
        let fault = media("interfaces: {includes: [eth7]}", None).unwrap().places(&machine());
        let reason = fault.unwrap_err().reason;
        assert!(reason.contains("choose 0") && reason.contains("wg0 10.8.0.1"), "{reason}");
    }

    #[test]
    fn without_a_word_media_is_of_this_machine_alone() {
        let local = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let places = media("", local).unwrap().places(&[]).unwrap();
        assert_eq!(places.bound, ["127.0.0.1:7".parse().unwrap()]);
        assert!(media("", None).unwrap_err().reason.contains("rtc.node_ip"));
    }

    #[test]
    fn who_may_join_from_elsewhere_is_not_sent_to_this_machine_alone_without_a_word() {
        let warned = |rtc: &str, local: Option<IpAddr>| {
            let (mut map, mut warnings) =
                (yaml::read(rtc, 4096).unwrap().map().unwrap(), Vec::new());
            Media::read(Some(&mut map), 7, Some(8), local, &mut warnings).unwrap();
            warnings.iter().map(|fault| fault.line).collect::<Vec<_>>()
        };
        for (rtc, lines) in [
            ("node_ip: 127.0.0.1", &[1][..]),
            ("ips: {includes: [127.0.0.0/8]}\nnode_ip: [127.0.0.1, '::1']", &[2]),
            ("node_ip: [127.0.0.1, 192.0.2.2]", &[]),
            ("interfaces: {includes: [lo]}", &[]),
        ] {
            assert_eq!(warned(rtc, None), lines, "{rtc}");
            assert!(warned(rtc, Some(Ipv4Addr::LOCALHOST.into())).is_empty(), "{rtc}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (rtc, word) in [
            ("node_ip: 0.0.0.0", "cannot send"),
            ("node_ip: [224.0.0.1]", "cannot send"),
            ("node_ip: [10.0.0.1, 10.0.0.1]", "already"),
            ("node_ip: here", "an IP address"),
            ("ips: {includes: [10.0.0.0/33]}", "a network"),
            ("ips: {includes: [10.0.0.0/x]}", "a network"),
            ("ips: {only: []}", "not known here: `includes`, `excludes` are"),
            ("interfaces: [eth0]", "a map"),
            ("use_external_ip: true", "rtc.node_ip"),
            ("use_external_ip: true\nips: {includes: [10.0.0.0/8]}", "rtc.node_ip"),
            ("interfaces: {includes: [eth0]}\nuse_external_ip: true", "rtc.node_ip"),
            ("node_ip: 192.0.2.7\nuse_external_ip: perhaps", "true or false"),
        ] {
            let reason = media(rtc, None).unwrap_err().reason;
            assert!(reason.contains(word), "{rtc}: {reason}");
        }
    }
}
