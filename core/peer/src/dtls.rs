//! The DTLS of one transport: 1.2, with the other end's certificate pinned to its fingerprint.
//!
//! Owns: the handshakes of a transport, and the step from the one that counts to its records: once the other end has
//! sent data, and so has all it needs, dimpl's machine is dropped and its ciphers go on in `records`, decision 0021.
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

use crate::limits::{HANDSHAKES_AT_ONCE_MAX, HANDSHAKES_MAX};
use crate::records::Records;
use crate::sieve::Sieve;
use crate::{Fingerprint, PeerFactoryError, suites};

/// What every handshake of a process is made of.
pub(crate) struct Identity {
    config: Arc<Config>,
    certificate: DtlsCertificate,
}

impl Identity {
    pub(crate) fn new() -> Result<Self, PeerFactoryError> {
        // No server cookie: DTLS is heard only on a path that a binding request proved, and answered
        // only on one that a binding response proved (`ice`).
        let config = Config::builder()
            .use_server_cookie(false)
            .with_crypto_provider(suites::provider())
            .build();
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
    /// Those under way, oldest first; once connected, that one alone, until `records` follows it.
    handshakes: Vec<Handshake>,
    is_connected: bool,
    /// Data was handed out: the other end knows that the handshake is over.
    has_data: bool,
    begun: u8,
    records: Option<Box<Records>>,
}

impl Dtls {
    /// The end that is asked.
    pub(crate) fn server(identity: &Arc<Identity>, expected: Fingerprint) -> Self {
        Self {
            identity: Arc::clone(identity),
            expected,
            handshakes: Vec::new(),
            is_connected: false,
            has_data: false,
            begun: 0,
            records: None,
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
        if let Some(records) = &mut self.records {
            records.handle(datagram);
            return Ok(());
        }
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
        if let Some(records) = &mut self.records {
            return records.send(message);
        }
        let handshake = self.handshakes.first_mut().filter(|_| self.is_connected).ok_or(Broken)?;
        handshake.machine.send_application_data(message).map(drop).map_err(|_| Broken)
    }

    /// Says goodbye, if there is a connection to take leave of.
    pub(crate) fn close(&mut self) -> Result<(), Broken> {
        if let Some(records) = &mut self.records {
            return records.close();
        }
        let handshake = self.handshakes.first_mut().filter(|_| self.is_connected).ok_or(Broken)?;
        handshake.machine.close().map_err(|_| Broken)
    }

    /// What is wanted; `buffer` is lent for records and data.
    pub(crate) fn poll<'a>(&mut self, buffer: &'a mut [u8]) -> Result<Step<'a>, Broken> {
        if let Some(records) = &mut self.records {
            return records.poll(buffer);
        }
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
                    self.has_data = true;
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
        if self.has_data {
            self.follow()?;
            return Ok(Step::Wait(None));
        }
        Ok(Step::Wait(wake))
    }

    /// The handshake's machine, which has nothing left to say, makes room for its records. The data that it handed out
    /// goes with it.
    fn follow(&mut self) -> Result<(), Broken> {
        let handshake = std::mem::take(&mut self.handshakes).pop().ok_or(Broken)?;
        let pair = suites::take_over(handshake.machine).ok_or(Broken)?;
        self.records = Some(Box::new(Records::new(pair).ok_or(Broken)?));
        Ok(())
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
impl Identity {
    /// Of which the handshakes know one suite alone.
    pub(crate) fn with_suite(
        suite: dimpl::crypto::Dtls12CipherSuite,
    ) -> Result<Self, PeerFactoryError> {
        let config = Config::builder()
            .use_server_cookie(false)
            .with_crypto_provider(suites::provider())
            .dtls12_cipher_suites(&[suite])
            .build();
        let config = Arc::new(config.map_err(PeerFactoryError::SelfTest)?);
        Ok(Self { config, ..Self::new()? })
    }
}

#[cfg(test)]
impl Dtls {
    pub(crate) const fn has_records(&self) -> bool {
        self.records.is_some()
    }

    pub(crate) fn records(&mut self) -> &mut Records {
        self.records.as_mut().unwrap()
    }

    pub(crate) const fn under_way(&self) -> usize {
        self.handshakes.len()
    }
}
