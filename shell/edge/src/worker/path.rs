//! Which peer a pair of addresses belongs to.
//!
//! Owns: the pairs that a peer proved to be its own, and where others' pairs were last handed to.
//! Guarantees: a pair names a peer only after MESSAGE-INTEGRITY of its binding request held, and not
//! while another peer proves it too; what is kept of pairs that are not ours decides a route and nothing
//! else, and is bounded.
//! Not here: whether the client receives at the address that it sends from, which decides what may be
//! sent there (`peer`).

use std::collections::{HashMap, VecDeque};

use model::{Path, PeerId, Timestamp, WorkerId};

use crate::limits::{PATH_HELD_TIME, ROUTES_MAX};

/// Paths that led to other workers. The oldest is forgotten first: the client's next check, at most a few
/// seconds later, teaches it again.
#[derive(Debug, Default)]
pub(super) struct Routes {
    owners: HashMap<Path, WorkerId>,
    order: VecDeque<Path>,
}

impl Routes {
    pub(super) fn get(&self, path: &Path) -> Option<WorkerId> {
        self.owners.get(path).copied()
    }

    pub(super) fn learn(&mut self, path: Path, owner: WorkerId) {
        if self.owners.insert(path, owner).is_some() {
            return;
        }
        self.order.push_back(path);
        if self.order.len() > ROUTES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.owners.remove(&oldest);
        }
    }
}

/// Paths of this worker's peers, and when each was last proven.
#[derive(Debug, Default)]
pub(super) struct Paths(HashMap<Path, (PeerId, Timestamp)>);

impl Paths {
    pub(super) fn get(&self, path: &Path) -> Option<PeerId> {
        self.0.get(path).map(|(peer, _)| *peer)
    }

    /// A peer proved a path. `false`: it stays another's, who proved it a moment ago: a member who forges
    /// another's address must not take its path away.
    #[must_use]
    pub(super) fn claim(&mut self, path: Path, peer: PeerId, now: Timestamp) -> bool {
        let is_held = self
            .0
            .get(&path)
            .is_some_and(|(owner, proven)| *owner != peer && now.since(*proven) < PATH_HELD_TIME);
        if !is_held {
            self.0.insert(path, (peer, now));
        }
        !is_held
    }

    /// Forgets a path, unless it has become another peer's.
    pub(super) fn remove(&mut self, path: &Path, peer: PeerId) {
        if self.get(path) == Some(peer) {
            self.0.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn path(port: u16) -> Path {
        let remote = SocketAddr::from(([192, 0, 2, 1], port));
        Path::udp(SocketAddr::from(([127, 0, 0, 1], 7882)), remote)
    }

    #[test]
    fn routes_forget_the_oldest() {
        let mut routes = Routes::default();
        let many = u16::try_from(ROUTES_MAX).unwrap();
        for port in 0..=many {
            routes.learn(path(port), WorkerId(1));
        }
        assert_eq!(routes.get(&path(0)), None);
        assert_eq!(routes.get(&path(1)), Some(WorkerId(1)));
        assert_eq!((routes.owners.len(), routes.order.len()), (ROUTES_MAX, ROUTES_MAX));
        routes.learn(path(1), WorkerId(2));
        assert_eq!(routes.get(&path(1)), Some(WorkerId(2)));
        assert_eq!(routes.order.len(), ROUTES_MAX);
    }

    #[test]
    fn a_path_is_held_while_its_owner_proves_it() {
        let peer = |index| PeerId { worker: WorkerId(0), index };
        let (start, again) = (Timestamp::ZERO, Timestamp::from_millis(5000));
        let mut paths = Paths::default();
        assert!(paths.claim(path(1), peer(0), start));
        assert!(!paths.claim(path(1), peer(1), again));
        assert!(paths.claim(path(1), peer(0), again));
        assert!(!paths.claim(path(1), peer(1), start + PATH_HELD_TIME));
        assert_eq!(paths.get(&path(1)), Some(peer(0)));
        assert!(paths.claim(path(1), peer(1), again + PATH_HELD_TIME));
        assert_eq!(paths.get(&path(1)), Some(peer(1)));
        paths.remove(&path(1), peer(1));
        assert!(
            paths.claim(path(1), peer(0), again + PATH_HELD_TIME),
            "free when its owner is gone"
        );
    }

    #[test]
    fn a_path_that_became_another_peers_stays() {
        let (old, new) = (0, 1);
        let peer = |index| PeerId { worker: WorkerId(0), index };
        let mut paths = Paths::default();
        assert!(paths.claim(path(1), peer(old), Timestamp::ZERO));
        assert!(paths.claim(path(1), peer(new), Timestamp::ZERO + PATH_HELD_TIME));
        paths.remove(&path(1), peer(old));
        assert_eq!(paths.get(&path(1)), Some(peer(new)));
    }
}
