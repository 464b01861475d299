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
//! A selected path that goes unanswered for [`CONSENT_TIME`] is the end of the transport.
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

struct Route {
    path: Path,
    /// Of our last check, and when it was asked; `None` before the first and after an answer.
    asked: Option<(TransactionId, Timestamp)>,
    /// When a check of ours was last answered; `None` when none was.
    answered: Option<Timestamp>,
    /// When the first was asked of those that were not answered.
    unanswered: Option<Timestamp>,
    /// The controlling end nominated it since another was selected. A copy of a nomination over a path that never
    /// opens so takes nothing from the original's.
    is_nominated: bool,
    /// Tells it from others of this transport.
    number: u16,
    /// Bytes that authentic checks brought and nothing has answered yet. Counts until the path is open.
    credit: usize,
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
    /// The selected path changed and nobody was told.
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
            is_news: false,
            wake: if path.is_some() { now } else { Timestamp::MAX },
        };
        path.into_iter().for_each(|path| ice.learn(path));
        ice.routes.iter_mut().for_each(|it| it.is_nominated = true);
        ice
    }

    /// Both ends have new credentials. What was open stays open: DTLS and media go on meanwhile.
    pub(crate) fn restart(&mut self, local: IceCredentials, remote: IceCredentials) {
        (self.local, self.remote) = (local, remote);
        // Nobody has recorded anything under these yet.
        self.heard.clear();
        self.is_proven = false;
        for route in &mut self.routes {
            (route.asked, route.unanswered) = (None, None);
        }
    }

    /// Where anything but checks may be sent: the selected path, before that the open one.
    pub(crate) fn destination(&self) -> Option<Path> {
        let open = || self.routes.iter().rev().find(|it| it.answered.is_some());
        self.selected.or_else(|| open().map(|it| it.path))
    }

    /// Whether the other end answered a check of ours over it, not long ago.
    pub(crate) fn is_open(&self, path: &Path, now: Timestamp) -> bool {
        self.routes.iter().any(|it| it.path == *path && it.is_open(now))
    }

    /// The path that was selected since this was asked last.
    pub(crate) fn take_selected(&mut self) -> Option<Path> {
        std::mem::take(&mut self.is_news).then_some(self.selected).flatten()
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
            Kind::Success => self.hear(now, path, &message),
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
        let nominated = || self.routes.iter().find(|it| it.is_nominated).map(|it| it.path);
        let Some(path) = self.selected.or_else(nominated) else {
            self.wake = Timestamp::MAX;
            return true;
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
        self.wake = (now + interval).min(end);
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
            self.learn(path);
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
        route.is_nominated |= request.nominates && role == Role::Controlled;
        let heard = Heard { start: start(request.transaction), route: route.number };
        self.remember(heard);
        out.push_back(Transmit { path, datagram, verifies_remote: true });
        if is_given && self.is_proven {
            self.given = Some(now);
        }
        if is_open {
            self.select(now, path);
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

    fn hear(&mut self, now: Timestamp, path: Path, success: &Message<'_>) {
        let is_authentic = success.is_authentic(&self.remote.pwd);
        let Some(route) = self.route(path) else { return };
        let is_asked = route.asked.is_some_and(|(asked, _)| asked == success.transaction);
        if is_asked && is_authentic {
            (route.asked, route.unanswered) = (None, None);
            route.answered = Some(now);
            self.is_proven = true;
            self.select(now, path);
        }
    }

    /// Selects a path that is open, if it was nominated.
    fn select(&mut self, now: Timestamp, path: Path) {
        let is_nominated = self.route(path).is_some_and(|it| it.is_nominated);
        if is_nominated && self.selected != Some(path) {
            self.routes.iter_mut().for_each(|it| it.is_nominated = it.path == path);
            self.selected = Some(path);
            self.is_news = true;
            if self.role == Role::Controlled {
                self.wake = now + CONSENT_INTERVAL;
            }
        }
    }

    /// Asks a check, unless one was asked a moment ago. One that was not answered is asked again, under
    /// its own id: the way may be longer than the time between two checks.
    fn ask(&mut self, now: Timestamp, path: Path, price: Price, out: &mut VecDeque<Transmit>) {
        let fresh = self.next_transaction();
        let Some(route) = self.route(path) else { return };
        let (transaction, asked_at) = route.asked.unzip();
        if asked_at.is_some_and(|at| now.since(at) < CHECK_SPACING) {
            return;
        }
        let transaction = transaction.unwrap_or(fresh);
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
    fn learn(&mut self, path: Path) {
        if self.routes.len() >= PATHS_MAX {
            let unused = self.routes.iter().position(|it| Some(it.path) != self.selected);
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
            is_nominated: false,
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
mod tests {
    use std::net::SocketAddr;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_000);

    fn credentials(name: &str) -> IceCredentials {
        IceCredentials { ufrag: name.into(), pwd: name.repeat(22).into() }
    }

    fn path(port: u16) -> Path {
        let remote = SocketAddr::from(([192, 0, 2, 1], port));
        Path::udp(SocketAddr::from(([198, 51, 100, 1], 7882)), remote)
    }

    fn secret(byte: u8) -> Arc<hmac::Key> {
        Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]))
    }

    fn server() -> Ice {
        Ice::new(credentials("s"), credentials("c"), secret(1), None, START)
    }

    fn client(path: Path) -> Ice {
        let [_, port] = path.remote.port().to_be_bytes();
        Ice::new(credentials("c"), credentials("s"), secret(2 + port), Some(path), START)
    }

    /// What `ice` sends because of a datagram.
    fn sent(ice: &mut Ice, now: Timestamp, path: Path, datagram: &[u8]) -> Vec<Transmit> {
        let mut out = VecDeque::new();
        ice.handle(now, path, datagram, &mut out);
        out.into()
    }

    fn check(ice: &mut Ice, now: Timestamp) -> Vec<u8> {
        let mut out = VecDeque::new();
        assert!(ice.handle_timeout(now, &mut out));
        out.pop_front().expect("a check is due").datagram
    }

    /// A check at once that is not one of before: those have been answered.
    fn another(client: &mut Ice, now: Timestamp) -> Vec<u8> {
        client.routes.iter_mut().for_each(|it| (it.asked, it.unanswered) = (None, None));
        client.wake = now;
        check(client, now)
    }

    /// A client's check at the server, and what the server sends: its answer and its own check.
    /// While another path is open, it takes several.
    fn knock(server: &mut Ice, client: &mut Ice, path: Path) -> (Transmit, Transmit) {
        loop {
            let now = client.next_timeout();
            let check = check(client, now);
            let mut sent = sent(server, now, path, &check);
            if let Some(ask) = sent.pop_if(|last| !last.verifies_remote) {
                return (sent.remove(0), ask);
            }
        }
    }

    /// A server with an open path, and its client.
    fn open() -> (Ice, Ice) {
        let (mut server, mut client) = (server(), client(path(1)));
        let (answer, ask) = knock(&mut server, &mut client, path(1));
        sent(&mut client, START, path(1), &answer.datagram);
        let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
        sent(&mut server, START, path(1), &answer.datagram);
        (server, client)
    }

    #[test]
    fn a_path_opens_when_both_ends_were_answered() {
        let (mut server, mut client) = (server(), client(path(1)));
        let (answer, ask) = knock(&mut server, &mut client, path(1));
        assert!(answer.verifies_remote && !ask.verifies_remote);
        assert_eq!(server.destination(), None, "it has not shown that it receives there");
        assert!(sent(&mut client, START, path(1), &answer.datagram).is_empty());
        assert_eq!(client.take_selected(), Some(path(1)));
        let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
        assert!(sent(&mut server, START, path(1), &answer.datagram).is_empty());
        assert_eq!(server.destination(), Some(path(1)));
        assert_eq!(server.take_selected(), Some(path(1)));
        assert_eq!(server.take_selected(), None, "news are told once");
    }

    #[test]
    fn an_answer_from_another_path_or_to_another_check_opens_nothing() {
        let (mut server, mut client) = (server(), client(path(1)));
        let (_, ask) = knock(&mut server, &mut client, path(1));
        let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
        sent(&mut server, START, path(2), &answer.datagram);
        let guess = stun::success([0; 12], path(1).local, &credentials("c").pwd);
        sent(&mut server, START, path(1), &guess);
        let asked = Message::parse(&ask.datagram).unwrap().transaction;
        let unsigned = stun::success(asked, path(1).local, "another password");
        sent(&mut server, START, path(1), &unsigned);
        assert_eq!(server.destination(), None);
        sent(&mut server, START, path(1), &answer.datagram);
        assert_eq!(server.destination(), Some(path(1)));
    }

    #[test]
    fn a_long_way_opens_too() {
        let (mut server, mut client) = (server(), client(path(1)));
        let mut now = START;
        let mut asks = VecDeque::new();
        for _ in 0..10 {
            now += CONNECT_INTERVAL;
            let check = check(&mut client, now);
            asks.extend(sent(&mut server, now, path(1), &check).pop());
        }
        // The answer to the first check of ten comes last.
        let ask = asks.pop_front().unwrap().datagram;
        let answer = sent(&mut client, now, path(1), &ask).remove(0);
        sent(&mut server, now, path(1), &answer.datagram);
        assert_eq!(server.destination(), Some(path(1)));
    }

    #[test]
    fn a_request_that_does_not_hold_is_not_answered() {
        let mut server = server();
        let stranger =
            |user: &str, password: &str| stun::request([3; 12], user, Role::Controlling, password);
        let password = credentials("s").pwd;
        for (user, password) in
            [("s:c", "wrong"), ("s:d", &*password), ("s", &*password), ("x:c", &*password)]
        {
            assert!(sent(&mut server, START, path(1), &stranger(user, password)).is_empty());
        }
        assert_eq!(sent(&mut server, START, path(1), &stranger("s:c", &password)).len(), 2);
        assert!(sent(&mut server, START, path(1), &[0; 20]).is_empty());
    }

    #[test]
    fn a_million_guesses_at_a_password_are_answered_by_nothing_and_leave_nothing() {
        let mut server = server();
        let mut guess = stun::request([3; 12], "s:c", Role::Controlling, "wrong");
        // The tag is what a guess comes to. It stands before the fingerprint's eight bytes.
        let tag = guess.len() - 8 - 20;
        for number in 0..1_000_000_u32 {
            guess[tag..tag + 4].copy_from_slice(&number.to_be_bytes());
            guess[8..12].copy_from_slice(&number.to_be_bytes());
            let port = u16::try_from(number % 60_000).unwrap();
            assert!(sent(&mut server, START, path(port), &guess).is_empty());
        }
        assert_eq!((server.routes.len(), server.heard.len(), server.selected), (0, 0, None));
        let password = credentials("s").pwd;
        let right = stun::request([3; 12], "s:c", Role::Controlling, &password);
        assert_eq!(right.len(), guess.len());
        assert_eq!(sent(&mut server, START, path(1), &right).len(), 2, "the right one is");
    }

    #[test]
    fn a_request_costs_at_most_one_answer_and_now_and_then_a_check() {
        let (mut server, mut client) = (server(), client(path(1)));
        let check = check(&mut client, START);
        let mut datagrams = 0;
        for _ in 0..100 {
            datagrams += sent(&mut server, START, path(1), &check).len();
        }
        assert_eq!(datagrams, 101);
        let later = START + CHECK_SPACING;
        assert_eq!(sent(&mut server, later, path(1), &check).len(), 2);
    }

    #[test]
    fn a_check_that_was_heard_is_not_answered_elsewhere() {
        let (mut server, mut client) = open();
        let check = another(&mut client, START);
        assert_eq!(sent(&mut server, START, path(1), &check).len(), 1);
        assert!(sent(&mut server, START, path(2), &check).is_empty());
        assert_eq!(sent(&mut server, START, path(1), &check).len(), 1, "the client asks again");
    }

    #[test]
    fn a_copy_that_overtakes_its_original_keeps_nobody_from_an_answer() {
        let mut server = server();
        let check = check(&mut client(path(1)), START);
        assert_eq!(sent(&mut server, START, path(2), &check).len(), 2);
        let [answer] = sent(&mut server, START, path(1), &check).try_into().unwrap();
        assert!(answer.verifies_remote, "and no more than came: it may be the copy");
        let (mut client, now) = (client(path(1)), START + CONNECT_INTERVAL);
        let (_, ask) = knock(&mut server, &mut client, path(1));
        sent(&mut server, now, path(2), &check);
        let [answer] = sent(&mut client, now, path(1), &ask.datagram).try_into().unwrap();
        sent(&mut server, now, path(1), &answer.datagram);
        assert_eq!(server.take_selected(), Some(path(1)), "and takes no nomination away");
        let (mut server, mut client) = open();
        let check = another(&mut client, START);
        assert_eq!(
            sent(&mut server, START, path(2), &check).len(),
            2,
            "whoever moved there is asked"
        );
        assert_eq!(sent(&mut server, START, path(1), &check).len(), 1);
    }

    #[test]
    fn while_a_path_is_open_another_gets_no_more_than_came_from_it() {
        let (mut server, mut client) = open();
        let mut now = START;
        let recorded = check(&mut client, now + KEEPALIVE_INTERVAL);
        let (mut come, mut gone, mut given) = (0, 0, 0);
        for _ in 0..50 {
            now += CONNECT_INTERVAL;
            come += recorded.len();
            for transmit in sent(&mut server, now, path(2), &recorded) {
                if given == 0 && !transmit.verifies_remote {
                    given = transmit.datagram.len();
                    assert_eq!(
                        now,
                        START + CONNECT_INTERVAL,
                        "whoever moves there is asked at once"
                    );
                } else {
                    gone += transmit.datagram.len();
                }
            }
            assert!(gone <= come, "{gone} bytes for {come}");
        }
        assert!(given > 0);
        let other = another(&mut client, now);
        let next = sent(&mut server, now, path(3), &other);
        assert!(next.iter().all(|it| it.verifies_remote), "one for all paths");
        let later = START + CONNECT_INTERVAL + GIVEN_EVERY;
        let other = another(&mut client, later);
        assert_eq!(sent(&mut server, later, path(4), &other).len(), 2, "and another after a while");
    }

    #[test]
    fn after_a_restart_a_client_is_asked_at_once() {
        let (mut server, mut client) = open();
        server.given = Some(START);
        server.restart(credentials("s2"), credentials("c2"));
        client.restart(credentials("c2"), credentials("s2"));
        let check = another(&mut client, START);
        assert_eq!(sent(&mut server, START, path(2), &check).len(), 2);
    }

    #[test]
    fn checks_that_are_remembered_are_bounded() {
        let (mut server, mut client) = open();
        for _ in 0..HEARD_MAX * 2 {
            let check = another(&mut client, START);
            assert_eq!(sent(&mut server, START, path(1), &check).len(), 1);
        }
        assert_eq!(server.heard.len(), HEARD_MAX);
    }

    #[test]
    fn the_nominated_path_is_selected_once_it_is_open() {
        let mut server = server();
        let (mut first, mut second) = (client(path(1)), client(path(2)));
        for client in [&mut first, &mut second] {
            let path = client.routes[0].path;
            let (_, ask) = knock(&mut server, client, path);
            let [answer] = sent(client, START, path, &ask.datagram).try_into().unwrap();
            sent(&mut server, START, path, &answer.datagram);
            assert_eq!(server.take_selected(), Some(path));
        }
        let again = START + CONNECT_INTERVAL;
        let check = check(&mut first, again);
        assert_eq!(sent(&mut server, again, path(1), &check).len(), 1, "it is open already");
        assert_eq!(server.take_selected(), Some(path(1)));
    }

    #[test]
    fn consent_is_asked_for_and_its_loss_is_the_end() {
        let (mut server, mut client) = (server(), client(path(1)));
        let (answer, ask) = knock(&mut server, &mut client, path(1));
        sent(&mut client, START, path(1), &answer.datagram);
        assert_eq!(server.next_timeout(), Timestamp::MAX);
        let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
        sent(&mut server, START, path(1), &answer.datagram);
        let mut now = START;
        for _ in 0..3 {
            assert!(server.next_timeout().since(now) <= CONSENT_INTERVAL * 2);
            now = server.next_timeout();
            let ask = check(&mut server, now);
            let [answer] = sent(&mut client, now, path(1), &ask).try_into().unwrap();
            sent(&mut server, now, path(1), &answer.datagram);
        }
        let answered = now;
        let mut out = VecDeque::new();
        while server.handle_timeout(server.next_timeout(), &mut out) {}
        assert!(server.next_timeout() >= answered + CONSENT_TIME, "it was given its time");
        assert!(server.next_timeout() < answered + CONSENT_TIME + CONSENT_INTERVAL * 2);
    }

    #[test]
    fn a_path_that_comes_back_after_long_is_shown_again_and_used() {
        let mut server = server();
        let (mut first, mut second) = (client(path(1)), client(path(2)));
        let mut now = START;
        // From the first to the second, and back after longer than consent lasts.
        for (client, port) in [(&mut first, 1), (&mut second, 2)] {
            let (answer, ask) = knock(&mut server, client, path(port));
            sent(client, START, path(port), &answer.datagram);
            let [answer] = sent(client, START, path(port), &ask.datagram).try_into().unwrap();
            sent(&mut server, START, path(port), &answer.datagram);
        }
        while now < START + CONSENT_TIME * 2 {
            now = server.next_timeout();
            let ask = check(&mut server, now);
            let answer = sent(&mut second, now, path(2), &ask).remove(0);
            sent(&mut server, now, path(2), &answer.datagram);
        }
        assert_eq!(server.take_selected(), Some(path(2)));
        first.wake = now;
        let (_, ask) = knock(&mut server, &mut first, path(1));
        assert_eq!(server.take_selected(), None, "not before it is shown again");
        let answer = sent(&mut first, now, path(1), &ask.datagram).remove(0);
        sent(&mut server, now, path(1), &answer.datagram);
        assert_eq!(server.take_selected(), Some(path(1)));
        assert!(server.handle_timeout(server.next_timeout(), &mut VecDeque::new()));
    }

    #[test]
    fn a_server_that_slept_asks_before_it_gives_up() {
        let (mut server, mut client) = (server(), client(path(1)));
        let (_, ask) = knock(&mut server, &mut client, path(1));
        let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
        sent(&mut server, START, path(1), &answer.datagram);
        let woken = START + CONSENT_TIME * 10;
        check(&mut server, woken);
        assert_eq!(server.destination(), Some(path(1)));
    }

    #[test]
    fn after_a_restart_only_the_new_password_is_heard_and_media_goes_on() {
        let (mut server, mut client) = (server(), client(path(1)));
        let (_, ask) = knock(&mut server, &mut client, path(1));
        let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
        sent(&mut server, START, path(1), &answer.datagram);
        server.restart(credentials("t"), credentials("d"));
        let old = check(&mut client, START + CONNECT_INTERVAL);
        assert!(sent(&mut server, START, path(1), &old).is_empty());
        assert_eq!(server.destination(), Some(path(1)));
        client.restart(credentials("d"), credentials("t"));
        let due = client.next_timeout();
        let new = check(&mut client, due);
        assert_eq!(sent(&mut server, START, path(1), &new).len(), 1);
    }

    #[test]
    fn paths_are_bounded_and_the_selected_one_stays() {
        let (mut server, mut client) = (server(), client(path(1)));
        let (_, ask) = knock(&mut server, &mut client, path(1));
        let [answer] = sent(&mut client, START, path(1), &ask.datagram).try_into().unwrap();
        sent(&mut server, START, path(1), &answer.datagram);
        for port in 2..100 {
            let check = another(&mut client, START);
            let asks = usize::from(port == 2);
            assert_eq!(sent(&mut server, START, path(port), &check).len(), 1 + asks);
        }
        assert!(server.routes.len() <= PATHS_MAX);
        assert_eq!(server.destination(), Some(path(1)));
    }
}
