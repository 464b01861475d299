//! What descriptions say of the one transport under all sections: ICE, DTLS, candidates.

use std::fmt;
use std::net::SocketAddr;

use model::Sensitive;

/// The names and passwords that authenticate connectivity checks (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// User fragment: public, it travels in every check.
    pub ufrag: Box<str>,
    /// Password: whoever has it can redirect the media.
    pub pwd: Sensitive<Box<str>>,
}

impl IceCredentials {
    /// Wraps the two.
    #[must_use]
    pub fn new(ufrag: &str, pwd: &str) -> Self {
        Self { ufrag: ufrag.into(), pwd: Sensitive::new(pwd.into()) }
    }
}

impl fmt::Debug for IceCredentials {
    /// Prints the ufrag alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// The hash functions that we accept for certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FingerprintHash {
    /// 32 bytes; every client offers it.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

impl FingerprintHash {
    /// The name in `a=fingerprint`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    const fn byte_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha384, Self::Sha512]
            .into_iter()
            .find(|hash| hash.as_str().eq_ignore_ascii_case(name))
    }
}

/// The digest of a DTLS certificate (RFC 8122). Prints as the attribute's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// How it was made.
    pub hash: FingerprintHash,
    /// The digest, as many bytes as the hash has.
    pub bytes: Box<[u8]>,
}

impl Fingerprint {
    /// Reads `sha-256 AB:CD:…`; `None` if the hash is another or the digest has the wrong length.
    #[must_use]
    pub fn from_value(value: &str) -> Option<Self> {
        let (name, digest) = value.split_once(' ')?;
        let hash = FingerprintHash::from_name(name)?;
        let mut bytes = Vec::with_capacity(hash.byte_len());
        for pair in digest.trim().split(':') {
            if pair.len() != 2 || bytes.len() == hash.byte_len() {
                return None;
            }
            // `from_str_radix` alone would take a sign.
            if !pair.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(pair, 16).ok()?);
        }
        (bytes.len() == hash.byte_len()).then(|| Self { hash, bytes: bytes.into() })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.hash.as_str())?;
        for (index, byte) in self.bytes.iter().enumerate() {
            write!(f, "{}{byte:02X}", if index == 0 { ' ' } else { ':' })?;
        }
        Ok(())
    }
}

/// What a client's offer says of its end of the transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTransport {
    /// Credentials for the checks that it answers and signs.
    pub ice: IceCredentials,
    /// Its certificate's digest, by the strongest hash that it names.
    pub fingerprint: Fingerprint,
}

/// Our end of the transport, as answers announce it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTransport {
    /// Credentials of this session.
    pub ice: IceCredentials,
    /// Our certificate's digest.
    pub fingerprint: Fingerprint,
    /// Where we listen, best first.
    pub candidates: Vec<Candidate>,
    /// Whether the candidates stand in the answer and end there; otherwise they are trickled.
    pub candidates_in_answer: bool,
}

/// How a candidate's address is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CandidateTransport {
    /// UDP.
    Udp,
    /// TCP to which the client connects (RFC 6544).
    TcpPassive,
}

/// A host candidate of ours (RFC 8839 §5.1). Prints as `candidate:…`, in answers and when trickled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where.
    pub address: SocketAddr,
    /// How.
    pub transport: CandidateTransport,
}

impl Candidate {
    /// RFC 8445 §5.1.2.1 for component 1: the local preference makes UDP come before TCP, and each candidate
    /// before those that come after it in a list.
    const fn priority(self, rank: u8) -> u32 {
        const HOST: u32 = 126;
        let local: u32 = match self.transport {
            CandidateTransport::Udp => 65_535,
            CandidateTransport::TcpPassive => 8_191,
        };
        (HOST << 24) + ((local - rank as u32) << 8) + 255
    }

    /// As `candidate:…`, in the place of a list that begins with 0. Each place is a foundation of its own, as
    /// addresses that differ must be (RFC 8445 §5.1.1.3): else a client would hold back the checks of all but one.
    pub(crate) fn write(self, f: &mut fmt::Formatter<'_>, rank: u8) -> fmt::Result {
        let (first, transport, suffix) = match self.transport {
            CandidateTransport::Udp => (1, "udp", ""),
            CandidateTransport::TcpPassive => (2, "tcp", " tcptype passive"),
        };
        write!(
            f,
            "candidate:{} 1 {transport} {} {} {} typ host{suffix}",
            u16::from(rank) * 2 + first,
            self.priority(rank),
            self.address.ip(),
            self.address.port()
        )
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct List<'a>(&'a [Candidate]);

    impl fmt::Display for List<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            (0..).zip(self.0).try_for_each(|(rank, candidate)| {
                candidate.write(f, rank)?;
                f.write_str("\n")
            })
        }
    }

    #[test]
    fn each_candidate_comes_before_the_next_and_stands_on_its_own() {
        let udp = |address: &str| Candidate {
            address: address.parse().unwrap(),
            transport: CandidateTransport::Udp,
        };
        let list = List(&[udp("192.0.2.1:7882"), udp("[2001:db8::1]:7882")]).to_string();
        let expect = "candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host
candidate:3 1 udp 2130706175 2001:db8::1 7882 typ host
";
        assert_eq!(list, expect);
    }
}
