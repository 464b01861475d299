//! Which peer a pair of addresses belongs to.
//!
//! Owns: the pairs that a peer proved to be its own, and where others' pairs were last handed to.
//! Guarantees: a pair names a peer only after MESSAGE-INTEGRITY of its binding request held; what is
//! kept of pairs that are not ours decides a route and nothing else, and is bounded.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use model::{PeerId, WorkerId};

use crate::limits::ROUTES_MAX;

/// One 5-tuple; the protocol is always UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Path {
    /// Theirs.
    pub(super) remote: SocketAddr,
    /// Ours, as the kernel knows it.
    pub(super) local: SocketAddr,
}

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

/// Paths of this worker's peers.
#[derive(Debug, Default)]
pub(super) struct Paths(HashMap<Path, PeerId>);

impl Paths {
    pub(super) fn get(&self, path: &Path) -> Option<PeerId> {
        self.0.get(path).copied()
    }

    pub(super) fn insert(&mut self, path: Path, peer: PeerId) {
        self.0.insert(path, peer);
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
    use super::*;

    fn path(port: u16) -> Path {
        let remote = SocketAddr::from(([192, 0, 2, 1], port));
        Path { remote, local: SocketAddr::from(([127, 0, 0, 1], 7882)) }
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
    fn a_path_that_became_another_peers_stays() {
        let (old, new) = (0, 1);
        let peer = |index| PeerId { worker: WorkerId(0), index };
        let mut paths = Paths::default();
        paths.insert(path(1), peer(old));
        paths.insert(path(1), peer(new));
        paths.remove(&path(1), peer(old));
        assert_eq!(paths.get(&path(1)), Some(peer(new)));
    }
}
