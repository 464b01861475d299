//! The DTLS of one transport: 1.2, with the other end's certificate pinned to its fingerprint.
//!
//! Owns: the handshakes of a transport, and the step from the one that counts to its records: once the other end has
//! sent data, and so has all it needs, dimpl's machine is dropped and its ciphers go on in `records`, decision 0021.
//! Guarantees: data that was handed out does not stay; keys, data and the end of the handshake are handed
//! out only after the certificate matched. Before keys exist anybody can forge a record: a hello begins a handshake
//! only when it shows the transport's cookie (`cookie`, `hello`), and forged records of other kinds do not reach one
//! (`sieve`). So what anybody can make costs no key share, and is answered with one small record that is the same for
//! all; however many come, the client's own hello is heard. A client that begins anew is heard at any time.
//! A handshake that has failed cannot go on, since the client goes by what it was answered: that is the end, and
//! signalling tells the client to come again.
//! Limits: those of `hello` and `sieve`, for a client whose flight comes in several datagrams.
//! Source: RFC 6347, RFC 5763 §5, RFC 8122 §5; decision 0025.

use std::sync::Arc;
use std::time::Instant;

use dimpl::{Config, ConfigBuilder, Dtls as Machine, DtlsCertificate, Output, SrtpProfile};
use ring::rand::SystemRandom;
use ring::{digest, hmac};
use rtp::srtp::{KeyingMaterial, Profile};

use crate::cookie::{self, Cookie};
use crate::hello::{self, Heard, Hellos, Random};
use crate::limits::{
    FLIGHT_TIME_FIRST, FLIGHTS_AGAIN_MAX, HANDSHAKE_EVERY, HANDSHAKES_AT_ONCE_MAX,
    HANDSHAKES_BURST, RECORD_BYTES_MAX,
};
use crate::records::Records;
use crate::sieve::Sieve;
use crate::{Fingerprint, IceCredentials, PeerFactoryError, suites};

/// What every handshake of a process is made of.
pub(crate) struct Identity {
    config: Arc<Config>,
    certificate: DtlsCertificate,
    /// What transports' cookies are made with.
    cookies: hmac::Key,
}

impl Identity {
    pub(crate) fn new() -> Result<Self, PeerFactoryError> {
        let config = settings().build();
        let config = Arc::new(config.map_err(PeerFactoryError::SelfTest)?);
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|_| PeerFactoryError::Certificate)?;
        let cookies = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| PeerFactoryError::Randomness)?;
        Ok(Self { config, certificate, cookies })
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

    /// A server's machine that takes a hello with the cookie. It has asked a stranger for it already, without which it
    /// does not expect the number of such a hello; the question goes nowhere.
    fn expect(&self, now: Instant) -> Result<Machine, dimpl::Error> {
        let mut machine = self.begin(false, now)?;
        machine.handle_packet(&hello::STRANGERS)?;
        let _question = machine.poll_output(&mut [0; RECORD_BYTES_MAX]);
        Ok(machine)
    }
}

fn settings() -> ConfigBuilder {
    Config::builder()
        .use_server_cookie(true)
        .flight_start_rto(FLIGHT_TIME_FIRST)
        .flight_retries(FLIGHTS_AGAIN_MAX)
        .with_crypto_provider(cookie::provider())
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
    /// The client's, in a server's.
    random: Option<Random>,
    /// Between a client and a server's machine until they are connected.
    sieve: Sieve,
    machine: Box<Machine>,
    /// The machine understood the hello.
    has_answered: bool,
    is_verified: bool,
}

/// What a server goes by before its handshake ends.
struct Greeting {
    cookie: Cookie,
    hellos: Hellos,
    /// A hello without the cookie came, and was not answered yet.
    is_asking: bool,
    /// Handshakes that may be begun, as of `counted`.
    left: u8,
    counted: Option<Instant>,
}

pub(crate) struct Dtls {
    identity: Arc<Identity>,
    expected: Fingerprint,
    /// A server's, until it is connected.
    greeting: Option<Greeting>,
    /// Those under way, oldest first; once connected, that one alone, until `records` follows it.
    handshakes: Vec<Handshake>,
    is_connected: bool,
    /// Data was handed out: the other end knows that the handshake is over.
    has_data: bool,
    records: Option<Box<Records>>,
}

impl Dtls {
    /// The end that is asked. `local`: our credentials for the transport.
    pub(crate) fn server(
        identity: &Arc<Identity>,
        expected: Fingerprint,
        local: &IceCredentials,
    ) -> Self {
        let cookie = Cookie::new(&identity.cookies, local);
        Self::new(identity, expected, Some(Greeting::new(cookie)), Vec::new())
    }

    /// The end that begins.
    pub(crate) fn client(
        identity: &Arc<Identity>,
        expected: Fingerprint,
        now: Instant,
    ) -> Result<Self, dimpl::Error> {
        let handshake = Handshake::new(None, identity.begin(true, now)?);
        Ok(Self::new(identity, expected, None, vec![handshake]))
    }

    fn new(
        identity: &Arc<Identity>,
        expected: Fingerprint,
        greeting: Option<Greeting>,
        handshakes: Vec<Handshake>,
    ) -> Self {
        Self {
            identity: Arc::clone(identity),
            expected,
            greeting,
            handshakes,
            is_connected: false,
            has_data: false,
            records: None,
        }
    }

    /// A handshake is under way.
    pub(crate) const fn is_shaking(&self) -> bool {
        !self.is_connected && !self.handshakes.is_empty()
    }

    /// Takes a datagram. A hello is for its own handshake, or begins one; the rest is for all, since
    /// nothing in it says for which.
    pub(crate) fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<(), Broken> {
        if let Some(records) = &mut self.records {
            records.handle(datagram);
            return Ok(());
        }
        let before = self.handshakes.len();
        match self.greeting.as_mut().map(|it| it.hear(datagram)) {
            Some(Heard::Client(random, hello)) => {
                self.welcome(now, random, &hello);
                // A hello ends nothing: one that a forged piece has spoiled comes again.
                return Ok(());
            }
            Some(Heard::Stranger | Heard::Piece) => {}
            Some(Heard::Other) => self.sift(now, datagram),
            None => {
                let is_connected = self.is_connected;
                // Once connected, what does not decrypt is the machine's to ignore.
                self.handshakes.retain_mut(|it| it.take(now, datagram).is_ok() || is_connected);
            }
        }
        self.must_go_on(before)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), Broken> {
        let before = self.handshakes.len();
        self.handshakes.retain_mut(|it| it.machine.handle_timeout(now).is_ok());
        // A client that was patient for so long has given up, too.
        self.must_go_on(before)
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
        if let Some(greeting) = &mut self.greeting
            && std::mem::take(&mut greeting.is_asking)
        {
            let question = greeting.cookie.question();
            let place = buffer.get_mut(..question.len()).ok_or(Broken)?;
            place.copy_from_slice(&question);
            return Ok(Step::Record(place));
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
                    self.greeting = None;
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

    /// Gives what may pass of a datagram to those that are under way.
    fn sift(&mut self, now: Instant, datagram: &[u8]) {
        let mut passed = Vec::new();
        let expected = &self.expected;
        self.handshakes.retain_mut(|it| {
            it.sieve.pass(datagram, |leaf| matches(expected, leaf), &mut passed);
            passed.is_empty() || it.take(now, &passed).is_ok()
        });
    }

    /// Takes a hello that has shown the cookie, and begins its handshake if it was not seen before.
    fn welcome(&mut self, now: Instant, random: Random, hello: &[u8]) {
        let known = self.handshakes.iter().position(|it| it.random == Some(random));
        if let Some(handshake) = known.and_then(|place| self.handshakes.get_mut(place))
            && handshake.has_answered
        {
            // The answer was lost: the machine gives it again. What it cannot use, it ignores.
            let _ignored = handshake.take(now, hello);
            return;
        }
        let Some(greeting) = &mut self.greeting else { return };
        if !greeting.may_begin(now) {
            return;
        }
        // A hello that was not understood had a forged piece.
        known.map(|place| self.handshakes.remove(place));
        if !make_room(&mut self.handshakes) {
            return;
        }
        let begun = greeting.cookie.shown(|| {
            let mut handshake = Handshake::new(Some(random), self.identity.expect(now)?);
            handshake.take(now, hello).map(|()| handshake)
        });
        self.handshakes.extend(begun);
    }

    /// One handshake has shown whose it is: the others were forged or given up.
    fn settle(&mut self, place: usize) {
        self.handshakes.truncate(place + 1);
        self.handshakes.drain(..place);
    }

    /// A server waits for a hello; but when the last of its handshakes has ended, so has the client's.
    const fn must_go_on(&self, before: usize) -> Result<(), Broken> {
        if before > 0 && self.handshakes.is_empty() { Err(Broken) } else { Ok(()) }
    }
}

impl Greeting {
    fn new(cookie: Cookie) -> Self {
        let hellos = Hellos::default();
        Self { cookie, hellos, is_asking: false, left: HANDSHAKES_BURST, counted: None }
    }

    fn hear(&mut self, datagram: &[u8]) -> Heard {
        let heard = self.hellos.hear(&self.cookie, datagram);
        self.is_asking |= heard == Heard::Stranger;
        heard
    }

    /// Whether another handshake may be begun, which is then counted.
    fn may_begin(&mut self, now: Instant) -> bool {
        let counted = *self.counted.get_or_insert(now);
        let passed = now.saturating_duration_since(counted).as_nanos();
        let gained = u8::try_from(passed / HANDSHAKE_EVERY.as_nanos()).unwrap_or(u8::MAX);
        if gained > 0 {
            self.left = self.left.saturating_add(gained).min(HANDSHAKES_BURST);
            self.counted = Some(now);
        }
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

/// Gives up the oldest of the handshakes that are mere beginnings, if there are too many. `false`: all go on.
fn make_room(handshakes: &mut Vec<Handshake>) -> bool {
    if handshakes.len() < HANDSHAKES_AT_ONCE_MAX {
        return true;
    }
    let beginning = handshakes.iter().position(|it| !it.sieve.has_certificate());
    beginning.map(|place| handshakes.remove(place)).is_some()
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
    fn new(random: Option<Random>, machine: Machine) -> Self {
        let sieve = Sieve::default();
        let machine = Box::new(machine);
        Self { random, sieve, machine, has_answered: false, is_verified: false }
    }

    fn take(&mut self, now: Instant, datagram: &[u8]) -> Result<(), dimpl::Error> {
        self.machine.handle_timeout(now)?;
        self.machine.handle_packet(datagram)
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "whatever comes before the certificate or is new is refused"
    )]
    /// Nothing but records comes out before the certificate is known to be the right one.
    fn poll(&mut self, expected: &Fingerprint, buffer: &mut [u8]) -> Result<Yield, Broken> {
        loop {
            match self.machine.poll_output(buffer) {
                // The cookie is asked for by `Greeting`.
                Output::Packet(record) if cookie::is_question(record) => {}
                Output::Packet(record) => {
                    self.has_answered = true;
                    return Ok(Yield::Record(record.len()));
                }
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
    (datagram.first(), datagram.get(crate::record::RECORD_HEADER_LEN)) == (Some(&22), Some(&1))
}

#[cfg(test)]
impl Identity {
    /// Of which the handshakes know one suite alone.
    pub(crate) fn with_suite(
        suite: dimpl::crypto::Dtls12CipherSuite,
    ) -> Result<Self, PeerFactoryError> {
        let config = settings().dtls12_cipher_suites(&[suite]).build();
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

    pub(crate) fn randoms(&self) -> impl Iterator<Item = Random> {
        self.handshakes.iter().filter_map(|it| it.random)
    }
}
