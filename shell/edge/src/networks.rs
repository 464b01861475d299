//! What a client's network may have at the port of HTTP: connections, TLS handshakes, requests, wrong tokens.
//!
//! Guarantees: one network, be it as large as a hospital behind one address, cannot take every place or all of the
//! time for handshakes; where a proxy is before us, or all are on this machine, nobody is limited by an address that
//! is not its own.
//! Not here: how much there is of everything for all together (`listener`), media over TCP (`tcp`).

use std::net::IpAddr;

use crate::budget::{Held, Network, Rate, SharedBudget};
use crate::config::Limits;
use crate::limits::{
    CONNECTIONS_BURST, CONNECTIONS_PER_SECOND, LATER_REQUESTS_PER_SECOND, WRONG_TOKENS_PER_SECOND,
};

/// Whose the addresses are that connections come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressesOf {
    /// The clients' own.
    Clients,
    /// A proxy's, or this machine's: they say nothing of clients.
    Proxy,
}

/// The budgets.
#[derive(Debug)]
pub struct Networks {
    addresses_of: AddressesOf,
    openings: SharedBudget,
    connections: SharedBudget,
    handshakes: SharedBudget,
    /// Of requests over a connection that has had one: the first is paid for by its opening.
    later_requests: SharedBudget,
    wrong_tokens: SharedBudget,
}

/// Where a request comes from, as far as that says something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whereabouts(Option<Network>);

/// A place that is a network's, until this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _held: Option<Held>,
}

impl Networks {
    /// Nothing has been taken.
    #[must_use]
    pub fn new(limits: &Limits, addresses_of: AddressesOf) -> Self {
        let rate = |burst, per_second| SharedBudget::new(Rate { burst, per_second });
        Self {
            addresses_of,
            openings: rate(CONNECTIONS_BURST, CONNECTIONS_PER_SECOND),
            connections: SharedBudget::of_places(limits.network_connections),
            handshakes: SharedBudget::of_places(limits.network_handshakes),
            later_requests: rate(limits.network_later_requests, LATER_REQUESTS_PER_SECOND),
            wrong_tokens: rate(limits.network_wrong_tokens, WRONG_TOKENS_PER_SECOND),
        }
    }

    pub(crate) fn whereabouts(&self, from: IpAddr) -> Whereabouts {
        Whereabouts(match self.addresses_of {
            AddressesOf::Clients => Some(Network::of(from)),
            AddressesOf::Proxy => None,
        })
    }

    /// One more connection, as long as the place lives. `None`: the network has as many as it may.
    pub(crate) fn connect(&self, whereabouts: Whereabouts) -> Option<Place> {
        match whereabouts.0 {
            Some(network) if self.openings.take(&network) => hold(&self.connections, network),
            Some(_) => None,
            None => Some(Place { _held: None }),
        }
    }

    /// One more TLS handshake, as long as the place lives.
    pub(crate) fn shake(&self, whereabouts: Whereabouts) -> Option<Place> {
        whereabouts.0.map_or(Some(Place { _held: None }), |network| hold(&self.handshakes, network))
    }

    /// Whether one more request over a connection that has had one is answered.
    pub(crate) fn may_ask_again(&self, whereabouts: Whereabouts) -> bool {
        whereabouts.0.is_none_or(|network| self.later_requests.take(&network))
    }

    /// Whether a token from there is looked at.
    pub(crate) fn may_show_token(&self, whereabouts: Whereabouts) -> bool {
        whereabouts.0.is_none_or(|network| self.wrong_tokens.has_room(&network))
    }

    /// A token from there was wrong.
    pub(crate) fn showed_wrong_token(&self, whereabouts: Whereabouts) {
        if let Some(network) = whereabouts.0 {
            // Whether it was the last is asked before the next.
            let _has_room = self.wrong_tokens.take(&network);
        }
    }
}

fn hold(budget: &SharedBudget, network: Network) -> Option<Place> {
    budget.hold(network).map(|held| Place { _held: Some(held) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits {
        network_connections: 2,
        network_handshakes: 1,
        network_later_requests: 3,
        network_wrong_tokens: 3,
        ..Limits::STANDARD
    };

    #[test]
    fn one_network_has_its_share_and_another_its_own() {
        let networks = Networks::new(&SMALL, AddressesOf::Clients);
        let one = networks.whereabouts("192.0.2.7".parse().unwrap());
        let neighbor = networks.whereabouts("192.0.2.8".parse().unwrap());
        let places = [networks.connect(one), networks.connect(neighbor)];
        assert!(places.iter().all(Option::is_some));
        assert!(networks.connect(one).is_none());
        let shaking = networks.shake(one);
        assert!(shaking.is_some() && networks.shake(neighbor).is_none());
        for _ in 0..3 {
            assert!(networks.may_show_token(one));
            networks.showed_wrong_token(neighbor);
        }
        assert!(!networks.may_show_token(one));
        assert!((0..3).all(|_| networks.may_ask_again(one)) && !networks.may_ask_again(neighbor));
        // Two may share a row, eight do not.
        let others =
            || (1..9).map(|net| networks.whereabouts(IpAddr::from([198, 51, 100 + net, 7])));
        assert!(others().filter_map(|other| networks.connect(other)).count() >= 7);
        assert!(others().filter(|other| networks.may_show_token(*other)).count() >= 7);
        assert!(others().filter(|other| networks.may_ask_again(*other)).count() >= 7);
        drop((places, shaking));
        assert!(networks.connect(one).is_some() && networks.shake(one).is_some());
    }

    #[test]
    fn a_proxy_is_nobodys_network() {
        let networks = Networks::new(&SMALL, AddressesOf::Proxy);
        let proxy = networks.whereabouts("192.0.2.7".parse().unwrap());
        let places: Vec<_> =
            (0..9).map(|_| (networks.connect(proxy), networks.shake(proxy))).collect();
        assert!(places.iter().all(|(connected, shaken)| connected.is_some() && shaken.is_some()));
        for _ in 0..9 {
            networks.showed_wrong_token(proxy);
        }
        assert!(networks.may_show_token(proxy));
        assert!((0..9).all(|_| networks.may_ask_again(proxy)));
    }
}
