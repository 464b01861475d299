//! Which peer a pair of addresses belongs to.
//!
//! Owns: the pairs that a peer proved to be its own, and what other workers said of theirs.
//! Guarantees: a pair names a peer, here or on another worker, only after MESSAGE-INTEGRITY of its binding request
//! held, and not while another peer proves it too, on whichever worker; what is kept of pairs that are not ours is
//! bounded, and what nobody showed to receive at takes no place of what somebody did. A pair that was forgotten is in
//! memory until the next [`Paths::rinse`]: a table leaves what is taken out of it where it was.
//! Not here: whether the client receives at the address that it sends from, which decides what may be
//! sent there (`peer`).

use std::collections::{HashMap, VecDeque};

use model::{Path, PeerId, Timestamp, WorkerId};

use crate::limits::{
    PATH_HELD_TIME, PATH_TOLD_EVERY, PATH_TOLD_HELD, ROUTES_MAX, ROUTES_UNOPENED_MAX,
};

/// What a peer has proven of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// That it sends from there, or could forge that.
    Sends,
    /// That it receives there as well, which nobody can forge.
    Receives,
}

/// Paths of the peers of other workers, as those say.
#[derive(Debug)]
pub(super) struct Routes {
    /// Where they were shown to receive.
    open: Table,
    /// The others: clients that are about to, and whoever forges addresses of others.
    unopened: Table,
}

impl Default for Routes {
    fn default() -> Self {
        Self { open: Table::new(ROUTES_MAX), unopened: Table::new(ROUTES_UNOPENED_MAX) }
    }
}

impl Routes {
    pub(super) fn get(&self, path: &Path) -> Option<WorkerId> {
        let route = self.open.rows.get(path).or_else(|| self.unopened.rows.get(path));
        route.map(|route| route.owner)
    }

    /// Leaves nothing of paths that were forgotten.
    pub(super) fn rinse(&mut self) {
        self.open.rinse();
        self.unopened.rinse();
    }

    /// Another worker says that a path is one of its peers'.
    pub(super) fn learn(&mut self, path: Path, owner: WorkerId, proof: Proof, now: Timestamp) {
        if proof == Proof::Sends {
            return self.unopened.learn(path, Route { owner, told: now });
        }
        self.unopened.rows.remove(&path);
        self.open.learn(path, Route { owner, told: now });
    }

    /// Another worker says that a path is none of its peers' any more.
    pub(super) fn forget(&mut self, path: &Path, owner: WorkerId) {
        for table in [&mut self.open, &mut self.unopened] {
            if table.rows.get(path).is_some_and(|route| route.owner == owner) {
                table.rows.remove(path);
            }
        }
    }

    /// Whether a peer of another worker proves a path.
    pub(super) fn is_held(&self, path: &Path, now: Timestamp) -> bool {
        let is_within = |table: &Table, time| {
            table.rows.get(path).is_some_and(|route| now.since(route.told) < time)
        };
        is_within(&self.open, PATH_TOLD_HELD) || is_within(&self.unopened, PATH_HELD_TIME)
    }
}

#[derive(Clone, Copy, Debug)]
struct Route {
    owner: WorkerId,
    told: Timestamp,
}

/// What is known of each path.
#[derive(Debug)]
struct Rows<T> {
    map: HashMap<Path, T>,
    /// Something of a path may be left that is in no row.
    is_soiled: bool,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self { map: HashMap::new(), is_soiled: false }
    }
}

impl<T> Rows<T> {
    fn get(&self, path: &Path) -> Option<&T> {
        self.map.get(path)
    }

    /// Whether it is new.
    fn insert(&mut self, path: Path, value: T) -> bool {
        self.map.insert(path, value).is_none()
    }

    fn remove(&mut self, path: &Path) {
        self.is_soiled |= self.map.remove(path).is_some();
    }

    /// Makes the map anew if it holds more than its rows; whether it did. Memory is zeroed when it is freed.
    fn rinse(&mut self) -> bool {
        let was_soiled = std::mem::take(&mut self.is_soiled);
        if was_soiled {
            self.map = std::mem::take(&mut self.map).into_iter().collect();
        }
        was_soiled
    }
}

/// The oldest is forgotten first: within [`PATH_TOLD_EVERY`] it is told again, if it is in use.
#[derive(Debug)]
struct Table {
    rows: Rows<Route>,
    /// In the order in which they were learned; some may be gone.
    order: VecDeque<Path>,
    most: usize,
}

impl Table {
    fn new(most: usize) -> Self {
        Self { rows: Rows::default(), order: VecDeque::new(), most }
    }

    fn rinse(&mut self) {
        // What is taken out of the order is taken out of the rows.
        if self.rows.rinse() {
            let there = self.order.iter().filter(|path| self.rows.get(path).is_some());
            self.order = there.copied().collect();
        }
    }

    fn learn(&mut self, path: Path, route: Route) {
        if !self.rows.insert(path, route) {
            return;
        }
        self.order.push_back(path);
        while self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.rows.remove(&oldest);
        }
    }
}

/// Who a path belongs to here.
#[derive(Clone, Copy, Debug)]
struct Claim {
    peer: PeerId,
    /// When that was last proven.
    proven: Timestamp,
    /// What other workers were told of it, and when.
    told: (Proof, Timestamp),
}

/// What comes of a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// The path stays another's, who proved it a moment ago: a member who forges another's address must not take its
    /// path away.
    Refused,
    /// It is the peer's, as before.
    Kept,
    /// It is the peer's, and other workers are to be told.
    News,
}

/// Paths of this worker's peers.
#[derive(Debug, Default)]
pub(super) struct Paths(Rows<Claim>);

impl Paths {
    pub(super) fn get(&self, path: &Path) -> Option<PeerId> {
        self.0.get(path).map(|claim| claim.peer)
    }

    /// Leaves nothing of paths that were forgotten.
    pub(super) fn rinse(&mut self) {
        self.0.rinse();
    }

    /// A peer proved a path.
    #[must_use]
    pub(super) fn claim(
        &mut self,
        path: Path,
        peer: PeerId,
        proof: Proof,
        now: Timestamp,
    ) -> Claimed {
        let held = self.0.get(&path).copied();
        if held.is_some_and(|it| it.peer != peer && now.since(it.proven) < PATH_HELD_TIME) {
            return Claimed::Refused;
        }
        let told = held.filter(|it| it.peer == peer).map(|it| it.told);
        let is_news =
            told.is_none_or(|(what, at)| what != proof || now.since(at) >= PATH_TOLD_EVERY);
        let told = told.filter(|_| !is_news).unwrap_or((proof, now));
        self.0.insert(path, Claim { peer, proven: now, told });
        if is_news { Claimed::News } else { Claimed::Kept }
    }

    /// Forgets a path, unless it has become another peer's. Whether it did.
    pub(super) fn remove(&mut self, path: &Path, peer: PeerId) -> bool {
        let is_its = self.get(path) == Some(peer);
        if is_its {
            self.0.remove(path);
        }
        is_its
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const OTHER: WorkerId = WorkerId(1);

    fn path(port: u16) -> Path {
        let remote = SocketAddr::from(([192, 0, 2, 1], port));
        Path::udp(SocketAddr::from(([127, 0, 0, 1], 7882)), remote)
    }

    fn peer(index: u32) -> PeerId {
        PeerId { worker: WorkerId(0), index }
    }

    fn ports(count: usize) -> std::ops::Range<u16> {
        0..u16::try_from(count).unwrap()
    }

    #[test]
    fn routes_forget_the_oldest() {
        let mut routes = Routes::default();
        for port in ports(ROUTES_MAX + 1) {
            routes.learn(path(port), OTHER, Proof::Receives, Timestamp::ZERO);
        }
        assert_eq!(routes.get(&path(0)), None);
        assert_eq!(routes.get(&path(1)), Some(OTHER));
        assert_eq!(routes.open.rows.map.len(), ROUTES_MAX);
        routes.learn(path(1), WorkerId(2), Proof::Receives, Timestamp::ZERO);
        assert_eq!(routes.get(&path(1)), Some(WorkerId(2)));
        assert_eq!(routes.open.order.len(), ROUTES_MAX);
    }

    #[test]
    fn a_rinse_leaves_what_is_there_and_nothing_else() {
        let mut routes = Routes::default();
        for port in ports(1000) {
            routes.learn(path(port), OTHER, Proof::Receives, Timestamp::ZERO);
        }
        for port in ports(1000).skip(2) {
            routes.forget(&path(port), OTHER);
        }
        routes.rinse();
        assert_eq!(routes.open.order, [path(0), path(1)]);
        assert!(routes.open.rows.map.capacity() < 16, "it was made anew");
        assert_eq!(routes.get(&path(1)), Some(OTHER));
        let mut paths = Paths::default();
        for port in ports(1000) {
            assert_eq!(
                paths.claim(path(port), peer(0), Proof::Sends, Timestamp::ZERO),
                Claimed::News
            );
        }
        ports(1000).skip(2).for_each(|port| assert!(paths.remove(&path(port), peer(0))));
        paths.rinse();
        assert!(paths.0.map.capacity() < 16 && paths.get(&path(1)) == Some(peer(0)));
    }

    #[test]
    fn whoever_forges_addresses_pushes_no_client_out() {
        let mut routes = Routes::default();
        routes.learn(path(0), OTHER, Proof::Receives, Timestamp::ZERO);
        for port in ports(2 * ROUTES_UNOPENED_MAX) {
            routes.learn(path(port), WorkerId(2), Proof::Sends, Timestamp::ZERO);
        }
        assert_eq!(routes.get(&path(0)), Some(OTHER), "nor takes its path");
        assert!(routes.unopened.rows.map.len() <= ROUTES_UNOPENED_MAX);
        assert!(routes.unopened.order.len() <= ROUTES_UNOPENED_MAX);
    }

    #[test]
    fn what_another_workers_peer_proves_is_held_until_it_is_gone_or_silent() {
        for (proof, time) in [(Proof::Sends, PATH_HELD_TIME), (Proof::Receives, PATH_TOLD_HELD)] {
            let mut routes = Routes::default();
            routes.learn(path(1), OTHER, proof, Timestamp::ZERO);
            let late = Timestamp::ZERO + time;
            assert!(routes.is_held(&path(1), Timestamp::from_micros(late.as_micros() - 1)));
            assert!(!routes.is_held(&path(1), late));
            assert!(!routes.is_held(&path(2), Timestamp::ZERO));
            routes.learn(path(1), OTHER, proof, late);
            routes.forget(&path(1), WorkerId(2));
            assert!(routes.is_held(&path(1), late));
            routes.forget(&path(1), OTHER);
            assert!(!routes.is_held(&path(1), late) && routes.get(&path(1)).is_none());
        }
    }

    #[test]
    fn a_path_is_held_while_its_owner_proves_it() {
        let (start, again) = (Timestamp::ZERO, Timestamp::from_millis(3000));
        let mut paths = Paths::default();
        let mut claim = |number, at| paths.claim(path(1), peer(number), Proof::Sends, at);
        assert_eq!(claim(0, start), Claimed::News);
        assert_eq!(claim(1, again), Claimed::Refused);
        assert_eq!(claim(0, again), Claimed::Kept);
        assert_eq!(claim(1, start + PATH_HELD_TIME), Claimed::Refused);
        assert_eq!(claim(1, again + PATH_HELD_TIME), Claimed::News);
        assert_eq!(paths.get(&path(1)), Some(peer(1)));
        assert!(!paths.remove(&path(1), peer(0)) && paths.remove(&path(1), peer(1)));
        let free = paths.claim(path(1), peer(0), Proof::Sends, again + PATH_HELD_TIME);
        assert_eq!(free, Claimed::News, "free when its owner is gone");
    }

    #[test]
    fn others_are_told_of_a_path_when_it_is_new_or_shown_or_a_while_has_passed() {
        let mut paths = Paths::default();
        let mut claim = |proof, at| paths.claim(path(1), peer(0), proof, at);
        let start = Timestamp::from_millis(7);
        assert_eq!(claim(Proof::Sends, start), Claimed::News);
        assert_eq!(claim(Proof::Sends, start), Claimed::Kept);
        assert_eq!(claim(Proof::Receives, start), Claimed::News);
        let mut told = 0;
        for second in 0..120 {
            let at = start + std::time::Duration::from_secs(second);
            told += u64::from(claim(Proof::Receives, at) == Claimed::News);
        }
        assert_eq!(told, 120 / PATH_TOLD_EVERY.as_secs() - 1);
    }

    #[test]
    fn a_path_that_became_another_peers_stays() {
        let (old, new) = (0, 1);
        let mut paths = Paths::default();
        let held = Timestamp::ZERO + PATH_HELD_TIME;
        assert_eq!(paths.claim(path(1), peer(old), Proof::Sends, Timestamp::ZERO), Claimed::News);
        assert_eq!(paths.claim(path(1), peer(new), Proof::Sends, held), Claimed::News);
        assert!(!paths.remove(&path(1), peer(old)));
        assert_eq!(paths.get(&path(1)), Some(peer(new)));
    }
}
