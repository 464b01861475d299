//! The server's certificate as far as its operator has to know it: for whom it is, from when and until when.
//!
//! Owns: the certificates of a PEM file, their order, their names and times.
//! Guarantees: no clock: the caller says when now is; a file with the key in it as well is read for its
//! certificates alone.
//! Not here: whether the key is the certificate's, and handshakes (`edge::tls`); whether its issuer is trusted,
//! which clients judge.
//! Source: RFC 5280 §4.1, §4.2.1.6 and §4.2.1.9, RFC 7468, X.690.

use std::fmt;
use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::limits::CHAIN_MAX;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// Tags of X.690 that a certificate uses.
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// `subjectAltName`, and the two kinds of names in it that a browser compares.
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// `basicConstraints`, which says whether a certificate may issue others.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

const DAY_S: u64 = 86_400;
/// How far a clock may be behind that of an authority, some of which let a certificate begin when they make it; others
/// let it begin up to an hour before.
const CLOCK_BEHIND_S_MAX: u64 = 300;

/// Certificates of which each was issued by the next; the first is the server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// At least one.
    certificates: Vec<Certificate>,
}

/// One certificate, unverified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// As it goes over the wire.
    pub der: Vec<u8>,
    /// Whom it is for.
    pub names: Vec<String>,
    /// The same, where it is an address.
    pub addresses: Vec<IpAddr>,
    /// The first second in which it holds.
    pub valid_from: UnixTime,
    /// The last.
    pub valid_to: UnixTime,
    /// Whether it may issue others, which a server's may not.
    pub is_authority: bool,
    issuer: Vec<u8>,
    subject: Vec<u8>,
}

/// A second, counted from 1970. Shown as ISO 8601 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub u64);

impl model::Impersonal for UnixTime {}

/// Why nobody can be served with a file of certificates. The operator's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// No `BEGIN CERTIFICATE`.
    #[error("holds no certificate in PEM")]
    NotPem,
    /// A file of trust anchors maybe.
    #[error(
        "holds more than {CHAIN_MAX} certificates: give the server's and those between it and the root"
    )]
    TooMany,
    /// What is between the lines is no certificate.
    #[error("its certificate {0} does not parse")]
    Broken(usize),
    /// Clients could not find the way to the root.
    #[error(
        "its certificate {0} did not issue the one before it: the server's comes first, then its issuer, and so on"
    )]
    Disordered(usize),
    /// Since then every client refuses it.
    #[error("its certificate {0} has expired at {1}: renew it")]
    Expired(usize, UnixTime),
    /// Or the clock is wrong.
    #[error("its certificate {0} is not valid before {1}: is the clock right?")]
    NotYetValid(usize, UnixTime),
}

impl model::Impersonal for CertificateError {}

impl Chain {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong with it whatever time it is.
    pub fn read(text: &str) -> Result<Self, CertificateError> {
        let mut certificates: Vec<Certificate> = Vec::new();
        let mut rest = text;
        while let Some((_, after)) = rest.split_once(BEGIN) {
            let number = certificates.len() + 1;
            if number > CHAIN_MAX {
                return Err(CertificateError::TooMany);
            }
            let broken = CertificateError::Broken(number);
            let (body, after) = after.split_once(END).ok_or(broken)?;
            rest = after;
            let base64: String = body.split_ascii_whitespace().collect();
            let der = BASE64_STANDARD.decode(base64).map_err(|_| broken)?;
            let certificate = Certificate::parse(der).ok_or(broken)?;
            if certificates.last().is_some_and(|before| before.issuer != certificate.subject) {
                return Err(CertificateError::Disordered(number));
            }
            certificates.push(certificate);
        }
        if certificates.is_empty() {
            Err(CertificateError::NotPem)
        } else {
            Ok(Self { certificates })
        }
    }

    /// In their order.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// When the first of them ends.
    #[must_use]
    pub fn valid_to(&self) -> UnixTime {
        self.certificates.iter().map(|each| each.valid_to).min().unwrap_or(UnixTime(0))
    }

    /// Whether all of them hold at `now`.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self, now: UnixTime) -> Result<(), CertificateError> {
        self.check_between(now, now)
    }

    /// The same of what an authority made: one that begins minutes from now is no fault of its, but this clock's.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check_given(&self, now: UnixTime) -> Result<(), CertificateError> {
        self.check_between(now, UnixTime(now.0.saturating_add(CLOCK_BEHIND_S_MAX)))
    }

    /// Whether none of them ends before `now`, or begins after `latest`.
    fn check_between(&self, now: UnixTime, latest: UnixTime) -> Result<(), CertificateError> {
        for (number, each) in (1..).zip(&self.certificates) {
            if each.valid_to < now {
                return Err(CertificateError::Expired(number, each.valid_to));
            }
            if latest < each.valid_from {
                return Err(CertificateError::NotYetValid(number, each.valid_from));
            }
        }
        Ok(())
    }
}

impl Certificate {
    /// Whether it vouches for itself.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    fn parse(der: Vec<u8>) -> Option<Self> {
        let mut body = Der(Der(&der).one(SEQUENCE)?.one(SEQUENCE)?.0);
        body.skip_if(VERSION)?;
        body.one(INTEGER)?;
        body.one(SEQUENCE)?;
        let issuer = body.whole(SEQUENCE)?.to_vec();
        let mut validity = body.one(SEQUENCE)?;
        let (valid_from, valid_to) = (validity.time()?, validity.time()?);
        let subject = body.whole(SEQUENCE)?.to_vec();
        let mut found = Extensions::default();
        while !body.0.is_empty() {
            let (tag, content, _) = body.next()?;
            if tag == EXTENSIONS {
                let mut extensions = Der(content).one(SEQUENCE)?;
                while !extensions.0.is_empty() {
                    extensions.one(SEQUENCE)?.extension_into(&mut found)?;
                }
            }
        }
        let Extensions { names, addresses, is_authority } = found;
        Some(Self { names, addresses, valid_from, valid_to, is_authority, issuer, subject, der })
    }
}

/// What is read of a certificate's extensions.
#[derive(Default)]
struct Extensions {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    is_authority: bool,
}

/// What is left of some DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// Tag and content of the next value, and all of its bytes.
    fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let mut length = usize::from(first);
        if first & 0x80 != 0 {
            let (bytes, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            // Three bytes are 16 MiB, more than any file that is read here.
            if !(1..=3).contains(&bytes.len()) {
                return None;
            }
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length)?;
        let (whole, _) = self.0.split_at_checked(self.0.len() - after.len())?;
        self.0 = after;
        Some((tag, content, whole))
    }

    fn one(&mut self, tag: u8) -> Option<Self> {
        self.next().filter(|found| found.0 == tag).map(|found| Self(found.1))
    }

    fn whole(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|found| found.0 == tag).map(|found| found.2)
    }

    fn skip_if(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) {
            self.next()?;
        }
        Some(())
    }

    /// One extension, if it is of interest.
    fn extension_into(mut self, found: &mut Extensions) -> Option<()> {
        let id = self.one(OBJECT_ID)?.0;
        if id != ALTERNATIVE_NAMES && id != BASIC_CONSTRAINTS {
            return Some(());
        }
        self.skip_if(BOOLEAN)?;
        let mut all = self.one(OCTETS)?.one(SEQUENCE)?;
        if id == BASIC_CONSTRAINTS {
            found.is_authority = all.0.first() == Some(&BOOLEAN) && all.one(BOOLEAN)?.0 != [0];
            return Some(());
        }
        let Extensions { names, addresses, .. } = found;
        while !all.0.is_empty() {
            let (tag, content, _) = all.next()?;
            match tag {
                DNS_NAME => names.push(std::str::from_utf8(content).ok()?.to_owned()),
                IP_ADDRESS => addresses.push(
                    <[u8; 4]>::try_from(content)
                        .map(IpAddr::from)
                        .or_else(|_| <[u8; 16]>::try_from(content).map(IpAddr::from))
                        .ok()?,
                ),
                _ => {}
            }
        }
        Some(())
    }

    /// `YYMMDDhhmmssZ` of this century or the last, or `YYYYMMDDhhmmssZ`.
    fn time(&mut self) -> Option<UnixTime> {
        let (tag, content, _) = self.next()?;
        let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year: u64 = year.parse().ok()?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (year.parse().ok()?, rest)
            }
            _ => return None,
        };
        if rest.len() != 10 || !rest.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let number = |at: usize| rest.get(at..at + 2)?.parse::<u64>().ok();
        let days = days_to(year, number(0)?, number(2)?)?;
        Some(UnixTime(days * DAY_S + number(4)? * 3600 + number(6)? * 60 + number(8)?))
    }
}

const fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

const fn days_of(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + is_leap(year) as u64,
        _ => 31,
    }
}

/// Days from 1970 to a date not before it and before the year 10000.
fn days_to(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    if day == 0 || day > days_of(year, month) {
        return None;
    }
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let months: u64 = (1..month).map(|month| days_of(year, month)).sum();
    Some(years + months + day - 1)
}

impl UnixTime {
    /// Whole days from `earlier` to this, if this is later.
    #[must_use]
    pub const fn days_after(self, earlier: Self) -> Option<u64> {
        match self.0.checked_sub(earlier.0) {
            Some(seconds) => Some(seconds / DAY_S),
            None => None,
        }
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The year 10000 and what is after it shows as the last day of 9999.
        let mut days = (self.0 / DAY_S).min(2_932_896);
        let (mut year, mut month) = (1970, 1);
        while days >= 365 + u64::from(is_leap(year)) {
            days -= 365 + u64::from(is_leap(year));
            year += 1;
        }
        while days >= days_of(year, month) {
            days -= days_of(year, month);
            month += 1;
        }
        let second = self.0 % DAY_S;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(out, "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl req -x509` and `openssl x509 -req`: a root, and a leaf of it for `a.example`,
    /// `*.b.example`, 192.0.2.1 and 2001:db8::1.
    const LEAF: &str = include_str!("certificate/leaf.pem");
    const ROOT: &str = include_str!("certificate/root.pem");
    const LEAF_TIMES: (UnixTime, UnixTime) = (UnixTime(1_700_000_000), UnixTime(1_800_000_000));

    #[test]
    fn a_chain_says_for_whom_it_is_and_until_when() {
        let chain = Chain::read(&format!("{LEAF}\nbetween\n{ROOT}")).unwrap();
        let [leaf, root] = chain.certificates() else { panic!("{chain:?}") };
        assert_eq!(leaf.names, ["a.example", "*.b.example"]);
        let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(leaf.addresses, addresses);
        assert_eq!((leaf.valid_from, leaf.valid_to), LEAF_TIMES);
        assert!(root.is_self_issued() && !leaf.is_self_issued());
        assert!(root.is_authority && !leaf.is_authority);
        assert!(root.names.is_empty() && root.valid_to > leaf.valid_to);
        assert_eq!(chain.valid_to(), leaf.valid_to);
    }

    #[test]
    fn a_chain_holds_from_its_first_second_to_its_last() {
        let chain = Chain::read(LEAF).unwrap();
        let check = |now| chain.check(UnixTime(now));
        let (from, to) = LEAF_TIMES;
        assert_eq!(check(from.0 - 1), Err(CertificateError::NotYetValid(1, from)));
        assert_eq!((check(from.0), check(to.0)), (Ok(()), Ok(())));
        assert_eq!(check(to.0 + 1), Err(CertificateError::Expired(1, to)));
    }

    #[test]
    fn of_what_an_authority_gives_a_clock_may_be_minutes_behind_and_no_more() {
        let chain = Chain::read(LEAF).unwrap();
        let check = |now| chain.check_given(UnixTime(now));
        let (from, to) = LEAF_TIMES;
        assert_eq!(check(from.0 - CLOCK_BEHIND_S_MAX), Ok(()));
        assert_eq!(
            check(from.0 - CLOCK_BEHIND_S_MAX - 1),
            Err(CertificateError::NotYetValid(1, from))
        );
        assert_eq!(check(to.0), Ok(()));
        assert_eq!(check(to.0 + 1), Err(CertificateError::Expired(1, to)));
    }

    #[test]
    fn what_is_no_chain_is_refused() {
        let check = |text: &str, expect| assert_eq!(Chain::read(text).unwrap_err(), expect);
        check("", CertificateError::NotPem);
        check(
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            CertificateError::NotPem,
        );
        check(&format!("{ROOT}{LEAF}"), CertificateError::Disordered(2));
        check(&ROOT.repeat(CHAIN_MAX + 1), CertificateError::TooMany);
        check(&format!("{LEAF}{BEGIN}\nAAAA\n{END}"), CertificateError::Broken(2));
        check(&format!("{BEGIN}\n!\n{END}"), CertificateError::Broken(1));
        check(BEGIN, CertificateError::Broken(1));
    }

    #[test]
    fn no_beginning_of_a_certificate_is_one() {
        let der = Chain::read(LEAF).unwrap().certificates()[0].der.clone();
        for length in 0..der.len() {
            assert!(Certificate::parse(der[..length].to_vec()).is_none(), "{length}");
        }
        for at in 0..der.len() {
            let mut wrong = der.clone();
            wrong[at] ^= 0xff;
            // It may parse or not; it must come back.
            let _judged = Certificate::parse(wrong).is_some();
        }
    }

    #[test]
    fn seconds_are_dates() {
        for (second, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_800_000_000, "2027-01-15T08:00:00Z"),
            (u64::MAX / 2, "9999-12-31T"),
        ] {
            assert!(UnixTime(second).to_string().starts_with(date), "{}", UnixTime(second));
        }
        assert_eq!(Der(b"\x17\x0d491231235959Z").time(), Some(UnixTime(2_524_607_999)));
        assert_eq!(Der(b"\x18\x0f20500101000000Z").time(), Some(UnixTime(2_524_608_000)));
        assert_eq!(Der(b"\x17\x0d490231235959Z").time(), None);
        assert_eq!(UnixTime(DAY_S * 3).days_after(UnixTime(DAY_S)), Some(2));
        assert_eq!(UnixTime(0).days_after(UnixTime(1)), None);
    }
}
