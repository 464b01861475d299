//! The DTLS of one transport: 1.2, with the other end's certificate pinned to its fingerprint.
//!
//! Guarantees: data that was handed out does not stay; keys, data and the end of the handshake are handed
//! out only after the certificate matched. Before keys exist anybody can forge a record: a forged hello gets
//! a handshake of its own, and the first that ends with the right certificate is the one that counts.
//! Forged records of other kinds do not reach a handshake (`sieve`).
//! Limits: the answer to a forged hello goes to the client, which may take it for its own; and a forged key
//! exchange may come before the client's.
//! Source: RFC 6347, RFC 5763 §5, RFC 8122 §5.

use std::sync::Arc;
use std::time::Instant;

use dimpl::{Config, Dtls as Machine, DtlsCertificate, Output, SrtpProfile};
use ring::digest;
use rtp::srtp::{KeyingMaterial, Profile};

use crate::limits::{HANDSHAKES_AT_ONCE_MAX, HANDSHAKES_MAX, RECORD_BYTES_MAX};
use crate::sieve::Sieve;
use crate::{Fingerprint, PeerFactoryError};

/// What dimpl takes from one datagram.
const RINSE_RECORDS: usize = 8;
/// Of a record's header (RFC 6347 §4.1).
const HEADER_LEN: usize = 13;
const APPLICATION_DATA: u8 = 23;

/// Plaintext alerts of nothing but zeros, of `len` bytes each. Once connected dimpl reads them, all at once, into
/// the buffers of its pool, and drops them, since anybody can send such: that is the only way to overwrite what
/// it received before and keeps there. More than it takes from one datagram are no use, and fewer would
/// leave some that a client can make it fill. Buffers never shrink, so longer ones would only cost memory.
fn rinse(len: usize, to: &mut [u8; RINSE_RECORDS * RECORD_BYTES_MAX]) -> &[u8] {
    let len = len.clamp(HEADER_LEN, RECORD_BYTES_MAX);
    let [.., high, low] = (len - HEADER_LEN).to_be_bytes();
    for record in to.chunks_exact_mut(len).take(RINSE_RECORDS) {
        // Alert, DTLS 1.2, epoch and number 0, length.
        let header = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, high, low];
        if let Some(place) = record.first_chunk_mut() {
            *place = header;
        }
    }
    to.get(..RINSE_RECORDS * len).unwrap_or_default()
}

/// Bytes of the longest record of application data in a datagram.
fn longest_data(mut datagram: &[u8]) -> usize {
    let mut longest = 0;
    while let Some(&[kind, .., high, low]) = datagram.first_chunk::<HEADER_LEN>() {
        let len = HEADER_LEN + usize::from(u16::from_be_bytes([high, low]));
        if kind == APPLICATION_DATA {
            longest = longest.max(len);
        }
        datagram = datagram.get(len..).unwrap_or_default();
    }
    longest
}

/// What every handshake of a process is made of.
pub(crate) struct Identity {
    config: Arc<Config>,
    certificate: DtlsCertificate,
}

impl Identity {
    pub(crate) fn new() -> Result<Self, PeerFactoryError> {
        // No server cookie: DTLS is heard only on a path that a binding request proved, and answered
        // only on one that a binding response proved (`ice`).
        let config = Config::builder().use_server_cookie(false).build();
        let config = Arc::new(config.map_err(PeerFactoryError::SelfTest)?);
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|_| PeerFactoryError::Certificate)?;
        Ok(Self { config, certificate })
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let digest = digest::digest(&digest::SHA256, &self.certificate.certificate);
        Fingerprint { algorithm: "sha-256".into(), bytes: digest.as_ref().to_vec() }
    }

    fn begin(&self, is_client: bool, now: Instant) -> Result<Machine, dimpl::Error> {
        let mut machine = Machine::new_12(Arc::clone(&self.config), self.certificate.clone(), now);
        machine.set_active(is_client);
        machine.handle_timeout(now)?;
        Ok(machine)
    }
}

/// The other end is not whom the signalling announced, or the protocol broke for good.
#[derive(Debug)]
pub(crate) struct Broken;

/// What the machine wants.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    /// A record to send.
    Record(&'a [u8]),
    Keys(KeyingMaterial),
    /// The handshake ended.
    Connected,
    /// What the other end sent.
    Data(&'a [u8]),
    /// The other end said goodbye.
    Goodbye,
    /// Nothing before this time, if there is one.
    Wait(Option<Instant>),
}

/// One client hello and what followed from it.
struct Handshake {
    /// The client's random, which tells its handshake from a forger's.
    random: Option<[u8; 32]>,
    /// Between a client and a server's machine until they are connected.
    sieve: Sieve,
    machine: Box<Machine>,
    is_verified: bool,
}

pub(crate) struct Dtls {
    identity: Arc<Identity>,
    expected: Fingerprint,
    /// Those under way, oldest first; once connected, that one alone.
    handshakes: Vec<Handshake>,
    is_connected: bool,
    /// Bytes of the longest record of data that came since the machine's buffers were rinsed.
    longest: usize,
    /// Data was handed out, and the machine's buffers hold it still.
    is_soiled: bool,
    begun: u8,
}

impl Dtls {
    /// The end that is asked.
    pub(crate) fn server(identity: &Arc<Identity>, expected: Fingerprint) -> Self {
        Self {
            identity: Arc::clone(identity),
            expected,
            handshakes: Vec::new(),
            is_connected: false,
            longest: 0,
            is_soiled: false,
            begun: 0,
        }
    }

    /// The end that begins.
    pub(crate) fn client(
        identity: &Arc<Identity>,
        expected: Fingerprint,
        now: Instant,
    ) -> Result<Self, dimpl::Error> {
        let machine = Box::new(identity.begin(true, now)?);
        let handshakes =
            vec![Handshake { random: None, sieve: Sieve::default(), machine, is_verified: false }];
        Ok(Self { handshakes, ..Self::server(identity, expected) })
    }

    pub(crate) const fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Takes a datagram. A hello is for its own handshake, or begins one; the rest is for all, since
    /// nothing in it says for which.
    pub(crate) fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Broken> {
        self.longest = self.longest.max(longest_data(datagram));
        let hello = client_random(datagram);
        if let Some(random) = hello {
            self.welcome(now, random);
        }
        let is_connected = self.is_connected;
        let mut passed = Vec::new();
        self.handshakes.retain_mut(|it| {
            if hello.is_some() && it.random.is_some() && it.random != hello {
                return true;
            }
            let mut datagram = datagram;
            if it.random.is_some() && !is_connected {
                it.sieve.pass(datagram, |leaf| matches(&self.expected, leaf), &mut passed);
                datagram = &passed;
            }
            if datagram.is_empty() {
                return true;
            }
            let machine = &mut it.machine;
            let taken = machine.handle_timeout(now).and_then(|()| machine.handle_packet(datagram));
            // After the handshake what does not decrypt is the machine's to ignore.
            taken.is_ok() || is_connected
        });
        self.must_go_on()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), Broken> {
        let before = self.handshakes.len();
        self.handshakes.retain_mut(|it| it.machine.handle_timeout(now).is_ok());
        // A client that was patient for so long has given up, too.
        if before > 0 && self.handshakes.is_empty() { Err(Broken) } else { Ok(()) }
    }

    /// Queues a message, which is one record.
    pub(crate) fn send(&mut self, message: &[u8]) -> Result<(), Broken> {
        let handshake = self.handshakes.first_mut().filter(|_| self.is_connected).ok_or(Broken)?;
        handshake.machine.send_application_data(message).map(drop).map_err(|_| Broken)
    }

    /// Says goodbye, if there is a connection to take leave of.
    pub(crate) fn close(&mut self) -> Result<(), Broken> {
        let handshake = self.handshakes.first_mut().filter(|_| self.is_connected).ok_or(Broken)?;
        handshake.machine.close().map_err(|_| Broken)
    }

    /// What is wanted; `buffer` is lent for records and data.
    pub(crate) fn poll<'a>(&mut self, buffer: &'a mut [u8]) -> Result<Step<'a>, Broken> {
        let mut wake = None::<Instant>;
        let mut place = 0;
        while let Some(handshake) = self.handshakes.get_mut(place) {
            match handshake.poll(&self.expected, buffer) {
                Ok(Yield::Wait(at)) => {
                    wake = Some(wake.map_or(at, |wake| wake.min(at)));
                    place += 1;
                }
                Ok(Yield::Record(len)) => {
                    return buffer.get(..len).map(Step::Record).ok_or(Broken);
                }
                Ok(Yield::Data(len)) => {
                    self.is_soiled = true;
                    return buffer.get(..len).map(Step::Data).ok_or(Broken);
                }
                Ok(Yield::Keys(keys)) => {
                    self.settle(place);
                    return Ok(Step::Keys(keys));
                }
                Ok(Yield::Connected) => {
                    self.settle(place);
                    self.is_connected = true;
                    return Ok(Step::Connected);
                }
                Ok(Yield::Goodbye) => return Ok(Step::Goodbye),
                Err(Broken) => {
                    self.handshakes.remove(place);
                    // A handshake ends so when its certificate is not the one that was announced.
                    if self.handshakes.is_empty() {
                        return Err(Broken);
                    }
                }
            }
        }
        self.rinse();
        Ok(Step::Wait(wake))
    }

    /// Once all data was handed out, none of it stays.
    fn rinse(&mut self) {
        if let Some(handshake) = self.handshakes.first_mut()
            && std::mem::take(&mut self.is_soiled)
        {
            // What it thinks of them does not matter.
            let mut zeros = [0; RINSE_RECORDS * RECORD_BYTES_MAX];
            let alerts = rinse(std::mem::take(&mut self.longest), &mut zeros);
            let _ignored = handshake.machine.handle_packet(alerts);
        }
    }

    /// Begins the handshake of a hello that was not seen before.
    fn welcome(&mut self, now: Instant, random: [u8; 32]) {
        let is_known = self.handshakes.iter().any(|it| it.random == Some(random));
        if self.is_connected || is_known || self.begun >= HANDSHAKES_MAX {
            return;
        }
        let Ok(machine) = self.identity.begin(false, now) else { return };
        self.begun += 1;
        if self.handshakes.len() >= HANDSHAKES_AT_ONCE_MAX {
            self.handshakes.remove(0);
        }
        let machine = Box::new(machine);
        let random = Some(random);
        self.handshakes.push(Handshake {
            random,
            sieve: Sieve::default(),
            machine,
            is_verified: false,
        });
    }

    /// One handshake has shown whose it is: the others were forged or given up.
    fn settle(&mut self, place: usize) {
        self.handshakes.truncate(place + 1);
        self.handshakes.drain(..place);
    }

    /// A server waits for another hello.
    const fn must_go_on(&self) -> Result<(), Broken> {
        if self.handshakes.is_empty() && self.begun >= HANDSHAKES_MAX {
            Err(Broken)
        } else {
            Ok(())
        }
    }
}

/// What a machine yields; records and data lie at the start of the lent buffer.
enum Yield {
    Record(usize),
    Keys(KeyingMaterial),
    Connected,
    Data(usize),
    Goodbye,
    Wait(Instant),
}

impl Handshake {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever comes before the certificate or is new is refused"
    )]
    /// Nothing but records comes out before the certificate is known to be the right one.
    fn poll(&mut self, expected: &Fingerprint, buffer: &mut [u8]) -> Result<Yield, Broken> {
        loop {
            match self.machine.poll_output(buffer) {
                Output::Packet(record) => return Ok(Yield::Record(record.len())),
                Output::Timeout(at) => return Ok(Yield::Wait(at)),
                Output::PeerCert(certificate) if matches(expected, certificate) => {
                    self.is_verified = true;
                }
                Output::KeyingMaterial(material, profile) if self.is_verified => {
                    let material = profile_of(profile)
                        .and_then(|profile| KeyingMaterial::new(profile, &material).ok());
                    return material.map(Yield::Keys).ok_or(Broken);
                }
                Output::Connected if self.is_verified => return Ok(Yield::Connected),
                Output::ApplicationData(data) if self.is_verified => {
                    return Ok(Yield::Data(data.len()));
                }
                Output::CloseNotify if self.is_verified => return Ok(Yield::Goodbye),
                _ => return Err(Broken),
            }
        }
    }
}

/// The random of a client hello: the first record of a datagram, unencrypted, from the message's start.
fn client_random(datagram: &[u8]) -> Option<[u8; 32]> {
    let (record, rest) = datagram.split_first_chunk::<13>()?;
    let (message, rest) = rest.split_first_chunk::<12>()?;
    let (_version, rest) = rest.split_first_chunk::<2>()?;
    let &[content, _, _, e0, e1, ..] = record;
    let &[kind, _, _, _, _, _, f0, f1, f2, ..] = message;
    let is_hello = (content, kind) == (22, 1) && [e0, e1] == [0, 0] && [f0, f1, f2] == [0, 0, 0];
    rest.first_chunk().copied().filter(|_| is_hello)
}

fn matches(expected: &Fingerprint, certificate: &[u8]) -> bool {
    let algorithm = match &*expected.algorithm {
        "sha-256" => &digest::SHA256,
        "sha-384" => &digest::SHA384,
        "sha-512" => &digest::SHA512,
        _ => return false,
    };
    digest::digest(algorithm, certificate).as_ref() == expected.bytes
}

fn profile_of(profile: SrtpProfile) -> Option<Profile> {
    if profile == SrtpProfile::AEAD_AES_128_GCM {
        Some(Profile::AeadAes128Gcm)
    } else if profile == SrtpProfile::AEAD_AES_256_GCM {
        Some(Profile::AeadAes256Gcm)
    } else if profile == SrtpProfile::AES128_CM_SHA1_80 {
        Some(Profile::AesCm128HmacSha1_80)
    } else {
        None
    }
}

#[cfg(test)]
pub(crate) fn is_hello(datagram: &[u8]) -> bool {
    client_random(datagram).is_some()
}

#[cfg(test)]
impl Dtls {
    pub(crate) const fn under_way(&self) -> usize {
        self.handshakes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, len: usize) -> Vec<u8> {
        let [.., high, low] = (len - HEADER_LEN).to_be_bytes();
        let mut bytes = vec![7; len];
        bytes[..HEADER_LEN].copy_from_slice(&[kind, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, high, low]);
        bytes
    }

    #[test]
    fn buffers_are_rinsed_as_far_as_data_reached() {
        let datagram = [record(22, 300), record(23, 90), record(23, 200), record(23, 40)].concat();
        assert_eq!(longest_data(&datagram), 200);
        assert_eq!(longest_data(&datagram[..395]), 90, "half a header says nothing");
        assert_eq!(longest_data(&record(22, 300)), 0);
        assert_eq!(longest_data(&[23; 12]), 0);

        let mut zeros = [0; RINSE_RECORDS * RECORD_BYTES_MAX];
        for (len, expect) in [(200, 200), (0, HEADER_LEN), (70_000, RECORD_BYTES_MAX)] {
            zeros.fill(0);
            let alerts = rinse(len, &mut zeros);
            assert_eq!(alerts.len(), RINSE_RECORDS * expect);
            for alert in alerts.chunks(expect) {
                let mut empty = record(21, expect);
                empty[4] = 0;
                empty[10] = 0;
                empty[HEADER_LEN..].fill(0);
                assert_eq!(alert, empty);
            }
        }
    }
}
