//! Two ends joined in memory, from the handshake to the records that follow it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use dimpl::crypto::Dtls12CipherSuite as Suite;

use super::*;
use crate::IceCredentials;
use crate::dtls::{Dtls, Identity};
use crate::limits::RECORD_BYTES_MAX;

const SUITES: [Suite; 3] = [
    Suite::ECDHE_ECDSA_AES128_GCM_SHA256,
    Suite::ECDHE_ECDSA_AES256_GCM_SHA384,
    Suite::ECDHE_ECDSA_CHACHA20_POLY1305_SHA256,
];
const CLIENT: usize = 0;
const SERVER: usize = 1;

struct Ends {
    ends: [Dtls; 2],
    now: Instant,
    /// Datagrams that each sent, and data that each was handed.
    sent: [Vec<Vec<u8>>; 2],
    heard: [Vec<Vec<u8>>; 2],
    goodbyes: [usize; 2],
}

impl Ends {
    /// Both have taken the step from the handshake to its records.
    fn connected(suite: Suite) -> Self {
        let mut ends = Self::begin(suite);
        ends.settle();
        assert_eq!(ends.records(), [false, false], "nobody has sent data");
        ends.tell(CLIENT, b"first");
        assert_eq!(ends.records(), [false, true], "the client knows, who has sent data");
        ends.tell(SERVER, b"second");
        assert_eq!(ends.records(), [true, true]);
        assert_eq!(ends.heard, [vec![b"second".to_vec()], vec![b"first".to_vec()]]);
        ends
    }

    fn begin(suite: Suite) -> Self {
        let identities = [(), ()].map(|()| Arc::new(Identity::with_suite(suite).unwrap()));
        #[expect(clippy::disallowed_methods, reason = "dimpl wants an instant to count from")]
        let now = Instant::now();
        let [client, server] = &identities;
        let local = IceCredentials { ufrag: "ufrag".into(), pwd: "pwd".into() };
        let ends = [
            Dtls::client(client, server.fingerprint(), now).unwrap(),
            Dtls::server(server, client.fingerprint(), &local),
        ];
        let nothing = || [Vec::new(), Vec::new()];
        Self { ends, now, sent: nothing(), heard: nothing(), goodbyes: [0, 0] }
    }

    fn records(&self) -> [bool; 2] {
        self.ends.each_ref().map(Dtls::has_records)
    }

    fn tell(&mut self, from: usize, message: &[u8]) {
        self.ends[from].send(message).unwrap();
        self.settle();
    }

    /// What one end would send, which nobody gets yet.
    fn sealed(&mut self, from: usize, kind: u8, message: &[u8]) -> Vec<u8> {
        let records = self.ends[from].records();
        records.seal(kind, message).unwrap();
        records.sealed.pop_back().unwrap()
    }

    fn settle(&mut self) {
        for _ in 0..10 {
            for from in [CLIENT, SERVER] {
                while let Some(datagram) = self.poll(from) {
                    self.deliver(1 - from, &datagram);
                    self.sent[from].push(datagram);
                }
            }
        }
    }

    fn deliver(&mut self, to: usize, datagram: &[u8]) {
        self.ends[to].handle(self.now, datagram).unwrap();
    }

    /// What a datagram made an end hand out.
    fn told(&mut self, to: usize, datagram: &[u8]) -> Vec<Vec<u8>> {
        self.heard[to].clear();
        self.deliver(to, datagram);
        assert_eq!(self.poll(to), None);
        std::mem::take(&mut self.heard[to])
    }

    fn poll(&mut self, at: usize) -> Option<Vec<u8>> {
        // A certificate is longer than a record.
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.ends[at].poll(&mut buffer).unwrap() {
                Step::Record(record) => return Some(record.to_vec()),
                Step::Data(data) => self.heard[at].push(data.to_vec()),
                Step::Goodbye => self.goodbyes[at] += 1,
                Step::Keys(_) | Step::Connected => {}
                Step::Wait(_) => return None,
            }
        }
    }
}

#[test]
fn every_suite_goes_on_where_its_handshake_stopped() {
    for suite in SUITES {
        let mut ends = Ends::connected(suite);
        let long = vec![9; 1_200];
        for message in [&b"more"[..], b"", &long] {
            for from in [CLIENT, SERVER] {
                ends.heard = [Vec::new(), Vec::new()];
                ends.tell(from, message);
                assert_eq!(ends.heard[1 - from], [message], "{suite:?}");
            }
        }
    }
}

#[test]
fn no_number_seals_twice() {
    for suite in SUITES {
        let mut ends = Ends::connected(suite);
        for _ in 0..10 {
            ends.tell(CLIENT, b"more");
            ends.tell(SERVER, b"more");
        }
        for sent in &ends.sent {
            let mut names = BTreeSet::new();
            let mut nonces = BTreeSet::new();
            for mut rest in sent.iter().map(Vec::as_slice) {
                while let Some((record, after)) = Record::split(rest) {
                    rest = after;
                    if record.epoch == 1 {
                        assert!(names.insert(record.name()), "{:?}", record.name());
                        nonces.insert(record.body[..8].to_vec());
                    }
                }
            }
            assert_eq!(names.len(), 12, "the end of the handshake, and eleven messages");
            assert_eq!(nonces.len(), 12);
        }
    }
}

#[test]
fn what_was_opened_before_or_after_the_step_opens_no_second_time() {
    let mut ends = Ends::connected(SUITES[0]);
    ends.tell(CLIENT, b"third");
    for datagram in ends.sent[CLIENT].clone() {
        assert_eq!(ends.told(SERVER, &datagram), Vec::<Vec<u8>>::new());
    }
    let next = ends.sealed(CLIENT, DATA, b"fourth");
    assert_eq!(ends.told(SERVER, &next), [b"fourth"]);
    assert_eq!(ends.told(SERVER, &next), Vec::<Vec<u8>>::new());
}

#[test]
fn records_open_out_of_order_unless_they_are_very_late() {
    let mut ends = Ends::connected(SUITES[0]);
    let records: Vec<_> = (0..70).map(|number| ends.sealed(CLIENT, DATA, &[number])).collect();
    assert_eq!(ends.told(SERVER, &records[69]), [[69]]);
    for late in [68, 30, 6] {
        assert_eq!(ends.told(SERVER, &records[usize::from(late)]), [[late]]);
    }
    for very_late in &records[..6] {
        assert_eq!(ends.told(SERVER, very_late), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn a_datagram_of_many_records_is_opened_whole() {
    let mut ends = Ends::connected(SUITES[0]);
    let mut datagram: Vec<u8> = (0..40).flat_map(|it| ends.sealed(CLIENT, DATA, &[it])).collect();
    assert!(datagram.len() < RECORD_BYTES_MAX);
    // Half a record ends it.
    datagram.extend(&ends.sealed(CLIENT, DATA, b"cut")[..20]);
    let expect: Vec<_> = (0..40).map(|it| vec![it]).collect();
    assert_eq!(ends.told(SERVER, &datagram), expect);
}

#[test]
fn a_changed_record_opens_nowhere_and_changes_nothing() {
    for suite in SUITES {
        let mut ends = Ends::connected(suite);
        let record = ends.sealed(CLIENT, DATA, b"as it was sent");
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 1;
            assert_eq!(ends.told(SERVER, &changed), Vec::<Vec<u8>>::new(), "{at} of {suite:?}");
        }
        for cut in 0..record.len() {
            assert_eq!(ends.told(SERVER, &record[..cut]), Vec::<Vec<u8>>::new(), "cut at {cut}");
        }
        assert_eq!(ends.told(SERVER, &record), [b"as it was sent"]);
        assert_eq!(ends.goodbyes, [0, 0]);
    }
}

#[test]
fn only_an_authentic_goodbye_or_fatal_alert_ends_it() {
    for (alert, ends_it) in [
        (&[WARNING, CLOSE_NOTIFY][..], true),
        (&[FATAL, 40], true),
        (&[WARNING, 90], false),
        (&[FATAL], false),
        (&[], false),
    ] {
        let mut ends = Ends::connected(SUITES[0]);
        let mut clear = vec![ALERT, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 99];
        clear.extend(u16::try_from(alert.len()).unwrap().to_be_bytes());
        clear.extend(alert);
        ends.told(SERVER, &clear);
        assert_eq!(ends.goodbyes, [0, 0]);
        let record = ends.sealed(CLIENT, ALERT, alert);
        ends.told(SERVER, &record);
        assert_eq!(ends.goodbyes, [0, usize::from(ends_it)], "{alert:?}");
    }
}

#[test]
fn what_is_neither_data_nor_an_alert_is_passed_over() {
    let mut ends = Ends::connected(SUITES[0]);
    // A handshake message, a change of cipher, and what nobody knows.
    let mut datagram: Vec<u8> =
        [22, 20, 24, 99].into_iter().flat_map(|it| ends.sealed(CLIENT, it, &[0; 30])).collect();
    datagram.extend(ends.sealed(CLIENT, DATA, b"behind it"));
    assert_eq!(ends.told(SERVER, &datagram), [b"behind it"]);
}

#[test]
fn the_last_number_is_used_and_none_after_it() {
    let mut ends = Ends::connected(SUITES[0]);
    ends.ends[CLIENT].records().next = NUMBER_MAX;
    let last = ends.sealed(CLIENT, DATA, b"last");
    assert_eq!(ends.told(SERVER, &last), [b"last"]);
    assert!(ends.ends[CLIENT].send(b"one more").is_err());
    assert!(ends.ends[CLIENT].close().is_err());
}

#[test]
fn what_nobody_reads_is_bounded() {
    let mut ends = Ends::connected(SUITES[0]);
    for _ in 0..2 * COME_MAX {
        let record = ends.sealed(CLIENT, DATA, b"x");
        ends.deliver(SERVER, &record);
    }
    assert_eq!(ends.ends[SERVER].records().come.len(), COME_MAX);
    assert_eq!(ends.poll(SERVER), None);
    assert_eq!(ends.heard[SERVER].len(), 1 + COME_MAX);
    assert_eq!(ends.ends[SERVER].records().come.capacity(), 0, "who rests costs nothing for it");
}
