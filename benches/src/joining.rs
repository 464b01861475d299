//! What lets somebody in: verifying the token, building the transport, the handshake.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use model::{Path, PeerId, Timestamp, WorkerId};
use peer::{Door, Event, Fingerprint, IceCredentials, Output, Peer, PeerFactory, Remote, Transmit};
use ring::rand::SystemRandom;
use rtp::packet::Datagram;
use wire::grant::VideoGrant;
use wire::key::{KeyPair, Project, ProjectKey, ProjectKeys, PublicKeys, PublicProject, RefreshKey};
use wire::token::{Claims, mint, mint_with, verify};

use crate::figure::{Figure, Rounds, Spent};

const ROUNDS: usize = 50;
/// Whole handshakes, each a round of its own.
const HANDSHAKES: u32 = 100;
/// A time at which the token is good.
const NOW: u64 = 1_800_000_000;

/// Verifying a token as back ends mint them: a room, an identity, a name, two attributes. And by what it is signed.
pub(crate) fn tokens() -> [(&'static str, Figure); 3] {
    let random = SystemRandom::new();
    let key = ProjectKey::hs256("bench", &[7; 32]).expect("a good key");
    let token = mint(&key, &claims());
    let public = |pair: KeyPair| {
        let token = mint_with(&pair, "bench", &claims(), &random).expect("there is randomness");
        let project = PublicProject::new("bench", PublicKeys::one(*pair.public()));
        verifying(Project::Public(project.expect("a good name")), &token)
    };
    [
        ("HS256", verifying(Project::Shared(key), &token)),
        ("EdDSA", public(KeyPair::ed25519(&random).expect("there is randomness"))),
        ("ES256", public(KeyPair::p256(&random).expect("there is randomness"))),
    ]
}

fn claims() -> Claims {
    let attributes = [("seat", "12"), ("team", "red")];
    Claims {
        identity: "ada".into(),
        name: "Ada".into(),
        expires_at: NOW + 3600,
        attributes: attributes.map(|(key, value)| (key.into(), value.into())).into(),
        video: Some(VideoGrant { room_join: true, room: "demo".into(), ..VideoGrant::default() }),
        ..Claims::default()
    }
}

fn verifying(project: Project, token: &str) -> Figure {
    const TOKENS: usize = 200;
    let keys = ProjectKeys::new(RefreshKey::new(&[9; 32]), [project]).expect("one name");
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let mut spent = Spent::default();
        spent.on(|| {
            for _ in 0..TOKENS {
                black_box(verify(&keys, black_box(token), NOW).expect("a good token"));
            }
        });
        rounds.push(spent, TOKENS);
    }
    rounds.figure()
}

/// Building a peer up to where it waits for the client's first datagram.
pub(crate) fn transport() -> Figure {
    const PEERS: usize = 10;
    let factory = PeerFactory::new(Instant::now()).expect("cryptography works");
    let door = Door::new(&[3; 32]);
    let remote = Remote {
        ice: IceCredentials { ufrag: "abcd".into(), pwd: "abcdefghijklmnopqrstuv".into() },
        fingerprint: Fingerprint { algorithm: "sha-256".into(), bytes: vec![5; 32] },
    };
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let mut peers = BTreeMap::new();
        let mut spent = Spent::default();
        spent.on(|| {
            for index in 0..PEERS as u32 {
                let id = PeerId { worker: WorkerId(0), index };
                let pwd = "abcdefghijklmnopqrstuv".into();
                let local = IceCredentials { ufrag: door.mint(id, 0), pwd };
                let peer = Peer::new(&factory, &local, &remote, Timestamp::ZERO);
                peers.insert(index, peer);
            }
        });
        rounds.push(spent, PEERS);
    }
    rounds.figure()
}

/// One end of a join in memory: what it took, and how far it is.
struct End {
    peer: Peer,
    spent: Spent,
    leaving: Vec<Transmit>,
    wake: Timestamp,
    has_keys: bool,
    channels: usize,
}

impl End {
    fn new(now: Timestamp, build: impl FnOnce() -> Peer) -> Self {
        let (mut spent, mut peer) = (Spent::default(), None);
        spent.on(|| peer = Some(build()));
        let peer = peer.expect("it was built");
        let (leaving, has_keys, channels) = (Vec::new(), false, 0);
        let mut end = Self { peer, spent, leaving, wake: now, has_keys, channels };
        end.turn(|_| {});
        end
    }

    fn is_up(&self) -> bool {
        self.has_keys && self.channels == 2
    }

    /// What a worker does with one input: gives it to the transport and asks what follows.
    fn turn(&mut self, input: impl FnOnce(&mut Peer)) {
        let Self { peer, spent, leaving, wake, has_keys, channels } = self;
        spent.on(|| {
            input(peer);
            loop {
                match peer.poll() {
                    Output::Transmit(transmit) => leaving.push(transmit),
                    Output::Event(Event::Keys(_)) => *has_keys = true,
                    Output::Event(Event::ChannelOpen(..)) => *channels += 1,
                    Output::Event(Event::Closed) => panic!("a transport closed"),
                    Output::Event(_) => {}
                    Output::Wait(until) => {
                        *wake = until;
                        break;
                    }
                }
            }
        });
    }

    fn turn_at(&mut self, now: Timestamp) {
        if self.wake <= now {
            self.turn(|peer| peer.handle_timeout(now));
        }
    }

    fn take(&mut self, now: Timestamp, datagrams: Vec<Transmit>) {
        for Transmit { path, datagram, .. } in datagrams {
            let here = Path::udp(path.remote, path.local);
            self.turn(|peer| match Datagram::classify(&datagram) {
                Datagram::Stun => peer.handle_stun(now, here, &datagram),
                _ => peer.handle_dtls(now, here, &datagram),
            });
        }
    }
}

/// What a hello costs that anybody can make, until its answer is ready to leave.
pub(crate) fn forged_hello() -> Figure {
    const HELLOS: usize = 1_000;
    let factory = PeerFactory::new(Instant::now()).expect("cryptography works");
    let ice =
        |ufrag: &str| IceCredentials { ufrag: ufrag.into(), pwd: "abcdefghijklmnopqrstuv".into() };
    let remote = Remote { ice: ice("abcd"), fingerprint: factory.fingerprint().clone() };
    let mut peer = Peer::new(&factory, &ice("efgh"), &remote, Timestamp::ZERO);
    let address = SocketAddr::from(([127, 0, 0, 1], 7882));
    let path = Path::udp(address, address);
    // Record, message, version, random; neither session nor cookie; one suite, one compression.
    let mut hello =
        vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 54, 1, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 42];
    hello.extend([0xfe, 0xfd]);
    hello.extend([9; 32]);
    hello.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let mut spent = Spent::default();
        spent.on(|| {
            for _ in 0..HELLOS {
                peer.handle_dtls(Timestamp::ZERO, path, black_box(&hello));
                while !matches!(black_box(peer.poll()), Output::Wait(_)) {}
            }
        });
        rounds.push(spent, HELLOS);
    }
    rounds.figure()
}

/// A join from building the transport until both data channels are open, over a network that loses nothing and takes no
/// time: the server's share of the work and the client's.
pub(crate) fn handshake() -> (Figure, Figure) {
    const STEP: Duration = Duration::from_millis(1);
    const STEPS_MAX: usize = 10_000;
    let server_factory = PeerFactory::new(Instant::now()).expect("cryptography works");
    let client_factory = PeerFactory::new(Instant::now()).expect("cryptography works");
    let door = Door::new(&[3; 32]);
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let path = Path::udp(address(7001), address(7000));
    let pwd = || "abcdefghijklmnopqrstuv".into();
    let (mut server_rounds, mut client_rounds) = (Rounds::default(), Rounds::default());
    for index in 0..HANDSHAKES {
        let id = PeerId { worker: WorkerId(0), index };
        let server_ice = IceCredentials { ufrag: door.mint(id, 0), pwd: pwd() };
        let client_ice = IceCredentials { ufrag: "abcd".into(), pwd: pwd() };
        let remote = |ice: &IceCredentials, factory: &PeerFactory| Remote {
            ice: ice.clone(),
            fingerprint: factory.fingerprint().clone(),
        };
        let of_client = remote(&client_ice, &client_factory);
        let of_server = remote(&server_ice, &server_factory);
        let mut now = Timestamp::ZERO;
        let mut server = End::new(now, || Peer::new(&server_factory, &server_ice, &of_client, now));
        let mut client = End::new(now, || {
            Peer::client(&client_factory, &client_ice, &of_server, path, now).expect("it starts")
        });
        let mut steps = 0;
        while !(server.is_up() && client.is_up()) {
            now += STEP;
            steps += 1;
            assert!(steps < STEPS_MAX, "the handshake does not end");
            client.turn_at(now);
            server.turn_at(now);
            while !(client.leaving.is_empty() && server.leaving.is_empty()) {
                server.take(now, std::mem::take(&mut client.leaving));
                client.take(now, std::mem::take(&mut server.leaving));
            }
        }
        server_rounds.push(server.spent, 1);
        client_rounds.push(client.spent, 1);
    }
    (server_rounds.figure(), client_rounds.figure())
}
