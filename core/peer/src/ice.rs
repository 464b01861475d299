//! One end of ICE: which way leads to the other end, and whether it still does.
//!
//! Owns: the paths that the other end was heard on, the checks that we ask on them, the selected path.
//! Guarantees: nothing is answered before MESSAGE-INTEGRITY of a request held; a path is *open* only
//! after the other end answered a check of ours on it, which shows that it receives there: one who
//! knows a password cannot have anything but these small messages sent to a third party's address. While
//! some path is open, another gets no more bytes than came over it until it is open as well, but for one check of ours
//! each five seconds; and a check
//! that was heard on an open path is not answered on another, as long as it is remembered. A copy that
//! overtakes its original keeps nobody from being answered.
//! A destination, selected or not yet, that goes unanswered for [`CONSENT_TIME`] is the end of the transport; a restart
//! of ICE gives it as much once more.
//! Of paths that a client nominates with its first check there the best is selected: UDP before TCP, then as it says
//! itself; after a restart it tries them anew. One that it nominates later is selected whatever it is. A client that
//! checks and answers on another open path, and neither checks nor answers on the selected one any more, is followed
//! there.
//! A server is ICE-lite: it gathers nothing, chooses nothing, and asks only for the sake of the above.
//! Source: RFC 8445 §2.5, §7; RFC 7675 §5.1.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use model::{Path, Timestamp};
use ring::hmac;

use crate::limits::{CHECK_SPACING, CONSENT_TIME, GIVEN_EVERY, HEARD_MAX, PATHS_MAX};
use crate::stun::{self, Kind, Message, Role, TransactionId};
use crate::{IceCredentials, Transmit};

/// A controlled end asks for consent this often and up to twice as rarely (RFC 7675: about 5 s).
const CONSENT_INTERVAL: Duration = Duration::from_secs(4);
/// A controlling end asks this often until it is answered, and then as browsers do.
const CONNECT_INTERVAL: Duration = Duration::from_millis(50);
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(2_500);
/// Who was not heard on the selected path for so long may have moved: Chrome checks what it uses each 2.5 s, Firefox
/// each 5 s, give or take a fifth.
const QUIET_TIME: Duration = Duration::from_secs(3);
/// How long such a client has to answer there; it is asked twice.
const DOUBT_TIME: Duration = Duration::from_secs(2);
/// For how long a client only tries a path that it nominates with its first check: it may say so again.
const TRIED_TIME: Duration = Duration::from_secs(1);

struct Route {
    path: Path,
    /// Of our last check, and when it was asked; `None` before the first and after an answer.
    asked: Option<(TransactionId, Timestamp)>,
    /// When a check of ours was last answered; `None` when none was.
    answered: Option<Timestamp>,
    /// When the first was asked of those that were not answered.
    unanswered: Option<Timestamp>,
    /// When a check of the other end last held.
    checked: Option<Timestamp>,
    /// A restart gave the other end its time to answer anew, and it has not answered since.
    is_spared: bool,
    /// Since another was selected. A copy of a nomination over a path that never opens so takes nothing from the
    /// original's.
    nomination: Nomination,
    /// What the client makes of its end of it; `None` until it has said so since the last restart.
    priority: Option<u32>,
    /// From when on a nomination is meant, but for repeats of the first check.
    is_meant_from: Timestamp,
    first: Option<TransactionId>,
    /// Tells it from others of this transport.
    number: u16,
    /// Bytes that came and nothing has answered yet. Counts until the path is open.
    credit: usize,
}

/// What the controlling end said of a path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nomination {
    None,
    /// With its first check there: it nominates what it tries (RFC 5245 §8.1.1.2), as Firefox does, and uses the best
    /// that works.
    Tried,
    /// After others, or after a while.
    Meant,
}

/// A client's check, by the start of its transaction id and the path that it came over.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Heard {
    start: [u8; 4],
    route: u16,
}

pub(crate) struct Ice {
    role: Role,
    local: IceCredentials,
    remote: IceCredentials,
    /// Makes transaction ids that the other end cannot foretell, which would let it answer blindly.
    secret: Arc<hmac::Key>,
    count: u64,
    routes: VecDeque<Route>,
    routes_made: u16,
    /// The latest of the other end's checks.
    heard: VecDeque<Heard>,
    /// Whether a path was opened with these credentials.
    is_proven: bool,
    /// When a check was asked for nothing while another path was open.
    given: Option<Timestamp>,
    selected: Option<Path>,
    /// Since when the client checks and answers on another path than the selected one and has not been heard on that.
    doubted: Option<Timestamp>,
    /// Since when there is no destination any more.
    lost: Option<Timestamp>,
    /// [`Self::destination`] changed and nobody was told.
    is_news: bool,
    wake: Timestamp,
}

impl Ice {
    /// `path`: where a controlling end begins; a controlled end waits to be asked.
    pub(crate) fn new(
        local: IceCredentials,
        remote: IceCredentials,
        secret: Arc<hmac::Key>,
        path: Option<Path>,
        now: Timestamp,
    ) -> Self {
        let role = if path.is_some() { Role::Controlling } else { Role::Controlled };
        let mut ice = Self {
            role,
            local,
            remote,
            secret,
            count: 0,
            routes: VecDeque::new(),
            routes_made: 0,
            heard: VecDeque::new(),
            is_proven: false,
            given: None,
            selected: None,
            doubted: None,
            lost: None,
            is_news: false,
            wake: if path.is_some() { now } else { Timestamp::MAX },
        };
        path.into_iter().for_each(|path| ice.learn(now, path));
        ice.routes.iter_mut().for_each(|it| it.nomination = Nomination::Meant);
        ice
    }

    /// Both ends have new credentials. What was open stays open: DTLS and media go on meanwhile.
    pub(crate) fn restart(
        &mut self,
        now: Timestamp,
        local: IceCredentials,
        remote: IceCredentials,
    ) {
        (self.local, self.remote) = (local, remote);
        if self.lost.is_some() {
            self.lost = Some(now);
        }
        // Nobody has recorded anything under these yet.
        self.heard.clear();
        self.is_proven = false;
        for route in &mut self.routes {
            route.asked = None;
            route.priority = None;
            (route.first, route.is_meant_from) = (None, now + TRIED_TIME);
            if self.role == Role::Controlled {
                route.nomination = Nomination::None;
            }
            // Once: a restart comes over signalling, and shows nothing of who receives there.
            if !route.is_spared {
                route.is_spared = route.unanswered.take().is_some();
            }
        }
    }

    /// A path is no more: what carried it has ended.
    pub(crate) fn lose(&mut self, now: Timestamp, path: &Path) {
        let is_used = self.destination() == Some(*path);
        self.routes.retain(|it| it.path != *path);
        if !is_used {
            return;
        }
        (self.selected, self.doubted) = (None, None);
        for route in &mut self.routes {
            // What was asked there and not answered yet may not become its end.
            route.unanswered = None;
            if !route.is_open(now) {
                route.answered = None;
            }
        }
        self.is_news = true;
        self.lost = self.destination().is_none().then_some(now);
        self.wake = now;
    }

    /// Where anything but checks may be sent: the selected path, before that the open one.
    pub(crate) fn destination(&self) -> Option<Path> {
        // The latest; over TCP only where nothing else is open, as a client that has both will nominate.
        let open = || self.routes.iter().filter(|it| it.answered.is_some());
        let best = || open().max_by_key(|it| it.path.carrier.is_udp());
        self.selected.or_else(|| best().map(|it| it.path))
    }

    /// Whether the other end answered a check of ours over it, not long ago.
    pub(crate) fn is_open(&self, path: &Path, now: Timestamp) -> bool {
        self.routes.iter().any(|it| it.path == *path && it.is_open(now))
    }

    /// The destination, if it changed since this was asked last.
    pub(crate) fn take_destination(&mut self) -> Option<Path> {
        std::mem::take(&mut self.is_news).then(|| self.destination()).flatten()
    }

    /// Takes a STUN datagram; what cannot be believed is ignored.
    pub(crate) fn handle(
        &mut self,
        now: Timestamp,
        path: Path,
        datagram: &[u8],
        out: &mut VecDeque<Transmit>,
    ) {
        let Some(message) = Message::parse(datagram) else { return };
        match message.kind {
            Kind::Request => self.answer(now, path, &message, datagram.len(), out),
            Kind::Success => self.hear(now, path, &message, out),
        }
    }

    /// Bytes other than of a check came over a path. Whoever speaks there without having answered our check is asked
    /// again for as much: one of the two was lost, and the client's own checks may be seconds apart.
    pub(crate) fn credit(
        &mut self,
        now: Timestamp,
        path: Path,
        len: usize,
        out: &mut VecDeque<Transmit>,
    ) {
        if self.role == Role::Controlled
            && let Some(route) = self.route(path)
            && !route.is_open(now)
        {
            route.credit += len;
            self.ask(now, path, Price::Credit, out);
        }
    }

    pub(crate) const fn next_timeout(&self) -> Timestamp {
        self.wake
    }

    /// `false`: the other end does not consent any more.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp, out: &mut VecDeque<Transmit>) -> bool {
        if now < self.wake {
            return true;
        }
        if self.doubted.take_if(|at| now.since(*at) >= DOUBT_TIME).is_some() {
            self.follow(now);
        }
        let nominated = || self.routes.iter().find(|it| it.is_nominated()).map(|it| it.path);
        let Some(path) = self.destination().or_else(nominated) else {
            self.wake = self.lost.map_or(Timestamp::MAX, |at| at + CONSENT_TIME);
            return now < self.wake;
        };
        let unanswered = self.route(path).and_then(|it| it.unanswered);
        if unanswered.is_some_and(|at| now.since(at) >= CONSENT_TIME) {
            return false;
        }
        self.ask(now, path, Price::Free, out);
        let interval = match (self.role, self.selected) {
            (Role::Controlling, None) => CONNECT_INTERVAL,
            (Role::Controlling, Some(_)) => KEEPALIVE_INTERVAL,
            (Role::Controlled, _) => CONSENT_INTERVAL.mul_f32(1.0 + self.jitter()),
        };
        // Not a check later than consent lasts.
        let unanswered = self.route(path).and_then(|it| it.unanswered);
        let end = unanswered.map_or(Timestamp::MAX, |at| at + CONSENT_TIME);
        let doubt = self.doubted.map_or(Timestamp::MAX, |at| at + DOUBT_TIME);
        self.wake = (now + interval).min(end).min(doubt);
        true
    }

    fn answer(
        &mut self,
        now: Timestamp,
        path: Path,
        request: &Message<'_>,
        request_len: usize,
        out: &mut VecDeque<Transmit>,
    ) {
        let named = request
            .username
            .and_then(|it| it.strip_prefix(self.local.ufrag.as_bytes())?.strip_prefix(b":"));
        let is_authentic = request.is_authentic(&self.local.pwd);
        #[cfg(feature = "sabotage")]
        let is_authentic = is_authentic || crate::sabotage::is_off();
        if named != Some(self.remote.ufrag.as_bytes()) || !is_authentic {
            return;
        }
        let elsewhere = self.heard_elsewhere(now, path, request.transaction);
        if elsewhere == Some(Elsewhere::Open) {
            return;
        }
        if self.route(path).is_none() {
            self.learn(now, path);
        }
        let datagram = stun::success(request.transaction, path.remote, &self.local.pwd);
        let role = self.role;
        // A client that moves must not have to ask for it more than once.
        let may_give = !self.is_proven || self.given.is_none_or(|at| now.since(at) >= GIVEN_EVERY);
        let Some(route) = self.route(path) else { return };
        let is_open = route.is_open(now);
        let is_given = !is_open && may_give && route.asked.is_none() && elsewhere.is_none();
        let credit = (route.credit + request_len).saturating_sub(datagram.len());
        route.credit = if is_open { 0 } else { credit };
        route.priority = Some(request.priority);
        route.checked = Some(now);
        let is_first = *route.first.get_or_insert(request.transaction) == request.transaction;
        if !request.nominates {
            route.is_meant_from = route.is_meant_from.min(now);
        } else if role == Role::Controlled {
            let is_meant = !is_first && now >= route.is_meant_from;
            let nomination = if is_meant { Nomination::Meant } else { Nomination::Tried };
            route.nomination = route.nomination.max(nomination);
        }
        let heard = Heard { start: start(request.transaction), route: route.number };
        self.remember(heard);
        out.push_back(Transmit { path, datagram, verifies_remote: true });
        if is_given && self.is_proven {
            self.given = Some(now);
        }
        if is_open {
            self.select(now, path);
            self.doubt(now, path, out);
        } else {
            self.ask(now, path, if is_given { Price::Free } else { Price::Credit }, out);
        }
    }

    /// Whether a check came over another path as well. Whoever makes a check makes another for another path, so one
    /// of the two is a copy: the one over a path that is not open, if the other is. Else it is not known which.
    fn heard_elsewhere(
        &self,
        now: Timestamp,
        path: Path,
        transaction: TransactionId,
    ) -> Option<Elsewhere> {
        let start = start(transaction);
        let heard = self.heard.iter().filter(|heard| heard.start == start);
        let mut routes = heard
            .filter_map(|heard| self.routes.iter().find(|route| route.number == heard.route))
            .filter(|route| route.path != path)
            .peekable();
        routes.peek()?;
        let is_open = routes.any(|route| route.is_open(now));
        Some(if is_open { Elsewhere::Open } else { Elsewhere::Unknown })
    }

    fn remember(&mut self, heard: Heard) {
        if self.heard.contains(&heard) {
            return;
        }
        if self.heard.len() >= HEARD_MAX {
            self.heard.pop_front();
        }
        self.heard.push_back(heard);
    }

    fn hear(
        &mut self,
        now: Timestamp,
        path: Path,
        success: &Message<'_>,
        out: &mut VecDeque<Transmit>,
    ) {
        let is_authentic = success.is_authentic(&self.remote.pwd);
        let Some(route) = self.route(path) else { return };
        let is_asked = route.asked.is_some_and(|(asked, _)| asked == success.transaction);
        if is_asked && is_authentic {
            (route.asked, route.unanswered, route.is_spared) = (None, None, false);
            route.answered = Some(now);
            (self.is_proven, self.lost) = (true, None);
            if self.selected.is_none() && self.role == Role::Controlled {
                // Media need not wait for the nomination, which may come a second later.
                self.is_news = true;
                self.wake = self.wake.min(now + CONSENT_INTERVAL);
            }
            self.select(now, path);
            self.doubt(now, path, out);
        }
    }

    /// The client was heard on a path that is open. If it is another than the selected one, on which it was not heard
    /// for a while, it is asked there whether it still receives: its router may have given it another address, and
    /// not every client nominates a second time.
    fn doubt(&mut self, now: Timestamp, path: Path, out: &mut VecDeque<Transmit>) {
        let Some(selected) = self.selected.filter(|it| *it != path) else {
            self.doubted = None;
            return;
        };
        let checked = self.route(selected).and_then(|it| it.checked);
        let is_quiet = checked.is_none_or(|at| now.since(at) >= QUIET_TIME);
        if is_quiet && self.doubted.is_none() && self.role == Role::Controlled {
            self.doubted = Some(now);
            self.ask(now, selected, Price::Free, out);
            self.wake = self.wake.min(now + DOUBT_TIME / 2);
        }
    }

    /// Selects the open path that the client checked last.
    fn follow(&mut self, now: Timestamp) {
        let open = self.routes.iter().filter(|it| it.is_open(now));
        let last = open.max_by_key(|it| it.checked).map(|it| it.path);
        if let Some(path) = last.filter(|it| Some(*it) != self.selected) {
            self.go_over(now, path);
        }
    }

    /// Selects a path that is open, if it was nominated; of those that are nominated as they are tried the best.
    fn select(&mut self, now: Timestamp, path: Path) {
        let selected = self.routes.iter().find(|it| Some(it.path) == self.selected);
        let rank = selected.filter(|it| it.is_open(now)).and_then(Route::rank);
        let Some(route) = self.route(path) else { return };
        let (nomination, own) = (route.nomination, route.rank());
        let may_be = match nomination {
            Nomination::None => false,
            Nomination::Tried => own >= rank,
            Nomination::Meant => true,
        };
        if may_be && self.selected != Some(path) {
            for route in self.routes.iter_mut().filter(|it| it.path != path) {
                // A better one may open yet.
                if nomination == Nomination::Meant || route.rank() <= own {
                    route.nomination = Nomination::None;
                }
            }
            self.go_over(now, path);
        }
    }

    fn go_over(&mut self, now: Timestamp, path: Path) {
        self.selected = Some(path);
        self.doubted = None;
        self.is_news = true;
        if self.role == Role::Controlled {
            // What was asked there and not answered yet may not become its end.
            let is_asked = self.route(path).is_some_and(|it| it.unanswered.is_some());
            self.wake = if is_asked { now } else { now + CONSENT_INTERVAL };
        }
    }

    /// Asks a check, unless one was asked a moment ago. One that was not answered is asked again, under
    /// its own id: the way may be longer than the time between two checks.
    fn ask(&mut self, now: Timestamp, path: Path, price: Price, out: &mut VecDeque<Transmit>) {
        let Some(route) = self.route(path) else { return };
        let transaction = match route.asked {
            Some((_, at)) if now.since(at) < CHECK_SPACING => return,
            Some((transaction, _)) => transaction,
            None => self.next_transaction(),
        };
        let username = format!("{}:{}", self.remote.ufrag, self.local.ufrag);
        let datagram = stun::request(transaction, &username, self.role, &self.remote.pwd);
        let Some(route) = self.route(path) else { return };
        match (price, route.credit.checked_sub(datagram.len())) {
            (Price::Free, left) => route.credit = left.unwrap_or(0),
            (Price::Credit, Some(left)) => route.credit = left,
            (Price::Credit, None) => return,
        }
        route.unanswered.get_or_insert(now);
        route.asked = Some((transaction, now));
        out.push_back(Transmit { path, datagram, verifies_remote: false });
    }

    /// One that nobody else had and nobody can foretell: our ufrag is this transport's alone.
    fn next_transaction(&mut self) -> TransactionId {
        self.count += 1;
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(self.local.ufrag.as_bytes());
        context.update(&self.count.to_be_bytes());
        context.sign().as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// Of 0 to 1, so that many transports do not ask at the same time.
    fn jitter(&mut self) -> f32 {
        let [byte, ..] = self.next_transaction();
        f32::from(byte) / 256.0
    }

    fn route(&mut self, path: Path) -> Option<&mut Route> {
        self.routes.iter_mut().find(|it| it.path == path)
    }

    /// Remembers a path, for the oldest that is not in use.
    fn learn(&mut self, now: Timestamp, path: Path) {
        if self.routes.len() >= PATHS_MAX {
            let used = self.destination();
            let unused = self.routes.iter().position(|it| Some(it.path) != used);
            unused.and_then(|at| self.routes.remove(at));
        }
        self.routes_made = self.routes_made.wrapping_add(1);
        // Most clients have one.
        self.routes.reserve_exact(1);
        self.routes.push_back(Route {
            path,
            asked: None,
            answered: None,
            unanswered: None,
            checked: None,
            is_spared: false,
            nomination: Nomination::None,
            priority: None,
            is_meant_from: now + TRIED_TIME,
            first: None,
            number: self.routes_made,
            credit: 0,
        });
    }
}

/// What is known of another path that a check came over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Elsewhere {
    Open,
    Unknown,
}

impl Route {
    /// What was shown long ago has to be shown again.
    fn is_open(&self, now: Timestamp) -> bool {
        self.answered.is_some_and(|at| now.since(at) < CONSENT_TIME)
    }

    fn is_nominated(&self) -> bool {
        self.nomination != Nomination::None
    }

    /// Of two paths the one of the higher is better for the client. `None`: it has not said so.
    fn rank(&self) -> Option<(bool, u32)> {
        self.priority.map(|priority| (self.path.carrier.is_udp(), priority))
    }
}

/// What a check of ours may cost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Price {
    /// It is asked in any case: for consent, or of a client that begins.
    Free,
    /// As many bytes as came over its path and were not answered.
    Credit,
}

const fn start(transaction: TransactionId) -> [u8; 4] {
    let [start @ .., _, _, _, _, _, _, _, _] = transaction;
    start
}

#[cfg(test)]
mod tests;
