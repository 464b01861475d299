//! What lets somebody in: verifying the token, building the transport.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use model::{PeerId, Timestamp, WorkerId};
use peer::{Door, Fingerprint, IceCredentials, Peer, PeerFactory, Remote};
use wire::grant::VideoGrant;
use wire::key::{ProjectKey, ProjectKeys, RefreshKey};
use wire::token::{Claims, mint, verify};

use crate::figure::{Figure, Rounds, Spent};

const ROUNDS: usize = 50;
/// A time at which the token is good.
const NOW: u64 = 1_800_000_000;

/// Verifying a token as back ends mint them: a room, an identity, a name, two attributes.
pub(crate) fn token() -> Figure {
    const TOKENS: usize = 200;
    let key = ProjectKey::hs256("bench", &[7; 32]).expect("a good key");
    let keys =
        ProjectKeys::new(RefreshKey::new(&[9; 32]), [key.clone()]).expect("one key, one name");
    let attributes = [("seat", "12"), ("team", "red")];
    let claims = Claims {
        identity: "ada".into(),
        name: "Ada".into(),
        expires_at: NOW + 3600,
        attributes: attributes.map(|(key, value)| (key.into(), value.into())).into(),
        video: Some(VideoGrant { room_join: true, room: "demo".into(), ..VideoGrant::default() }),
        ..Claims::default()
    };
    let token = mint(&key, &claims);
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let mut spent = Spent::default();
        spent.on(|| {
            for _ in 0..TOKENS {
                black_box(verify(&keys, black_box(&token), NOW).expect("a good token"));
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
