//! A certificate authority of this machine's own, for people on the same network.
//!
//! Owns: its files in the user's data folder, and certificates for this machine.
//! Guarantees: it vouches for private addresses and names under `.local` alone. People trust a root whose key
//! has been forgotten once it had signed one issuer, and of the issuer, which is not the root, every client
//! holds the name constraints: the key that is kept is of no use against any other site. It can be read by its
//! owner alone. All is made anew when it nears its end.
//! Source: RFC 5280 §4.2.1.10; RFC 1918, RFC 4193, RFC 6762.

use std::fs::{self, DirBuilder};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use edge::tls::CertifiedKey;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use ring::digest::{SHA256, digest};
use settings::address::Network;
use settings::certificate::{Chain, UnixTime};
use zeroize::Zeroizing;

use crate::{Failure, certificate, files, log};

const DAY: Duration = Duration::from_secs(86_400);
/// How long people need not trust another one.
const AUTHORITY_DAYS: u32 = 825;
/// How long before its end it is made anew.
pub(crate) const RENEW_DAYS: u64 = 31;
/// Of a server's certificate, which is made at each start. Phones take 398 days at most.
const SERVER_DAYS: u32 = 30;
/// For clocks that are behind.
const EARLIER: Duration = DAY;

/// What addresses it vouches for: those of private networks, of this machine, and those set aside for
/// measurements (RFC 2544) and examples (RFC 5737).
const NETWORKS: &[(&str, u8)] = &[
    ("10.0.0.0", 8),
    ("172.16.0.0", 12),
    ("192.168.0.0", 16),
    ("169.254.0.0", 16),
    ("100.64.0.0", 10),
    ("127.0.0.0", 8),
    ("198.18.0.0", 15),
    ("192.0.2.0", 24),
    ("198.51.100.0", 24),
    ("203.0.113.0", 24),
    ("fc00::", 7),
    ("fe80::", 10),
    ("::1", 128),
];
/// And what names.
const DOMAIN: &str = "local";

/// The authority.
pub(crate) struct Authority {
    /// The root's certificate in PEM, for those who shall trust it.
    pub(crate) pem: String,
    /// What people compare before they do: SHA-256, in hexadecimal.
    pub(crate) fingerprint: String,
    /// The second at which it ends.
    pub(crate) valid_to: UnixTime,
    /// The issuer's certificate, and its key.
    issuer: Vec<u8>,
    key: KeyPair,
}

/// Its files.
struct Files {
    root: PathBuf,
    issuer: PathBuf,
    key: PathBuf,
}

/// Where the authority of this user is kept.
pub(crate) fn folder() -> Result<PathBuf, Failure> {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|it| it.is_absolute());
    let data = from("XDG_DATA_HOME").or_else(|| Some(from("HOME")?.join(".local/share")));
    let data = data.ok_or("neither XDG_DATA_HOME nor HOME says where your data is kept")?;
    Ok(data.join("incamera/authority"))
}

/// Whether the authority vouches for an address.
pub(crate) fn is_private(address: IpAddr) -> bool {
    NETWORKS.iter().any(|(network, bits)| {
        let network = format!("{network}/{bits}").parse::<Network>();
        network.is_ok_and(|network| network.contains(address))
    })
}

impl Authority {
    /// The authority that is kept in `folder`, or a new one where nothing is left of any.
    pub(crate) fn of(folder: &Path, now: SystemTime) -> Result<Self, Failure> {
        let within = |error: io::Error| format!("{}: {error}", folder.display());
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(within)?;
        let Some(kept) = Self::kept(folder) else { return Self::make(&Files::of(folder), now) };
        let wrong = |failure: Failure| {
            format!(
                "{}: {failure}; remove this folder for a new authority, which every device must be told to trust",
                folder.display()
            )
        };
        let kept = kept.map_err(wrong)?;
        let days_left = kept.valid_to.days_after(unix(now));
        if days_left.is_none_or(|days| days < RENEW_DAYS) {
            return Self::make(&Files::of(folder), now);
        }
        Ok(kept)
    }

    /// The authority that is kept in `folder`, if one is, however near its end.
    pub(crate) fn kept(folder: &Path) -> Option<Result<Self, Failure>> {
        let files = Files::of(folder);
        let missing = files.all().into_iter().find(|file| !file.exists());
        match missing {
            None => Some(Self::read(&files)),
            Some(_) if files.all().iter().all(|file| !file.exists()) => None,
            // Devices trust what is left.
            Some(missing) => {
                let name = missing.file_name().unwrap_or_default().display();
                Some(Err(format!("{name} is missing: put it back").into()))
            }
        }
    }

    fn read(files: &Files) -> Result<Self, Failure> {
        let [root, issuer, key] = files.all().map(|file| files::read(file, files::SECRET_FILE_MAX));
        let (root, issuer, key) = (root?, issuer?, key?);
        let chain = Chain::read(&format!("{}{}", issuer.as_str(), root.as_str()))?;
        certificate::certified(&chain, &key)
            .map_err(|error| format!("issuer.key {}", log::reasons(&error)))?;
        let base64: Zeroizing<String> =
            Zeroizing::new(key.lines().filter(|line| !line.starts_with('-')).collect());
        let mut der = Zeroizing::new(Vec::with_capacity(base64.len()));
        BASE64_STANDARD.decode_vec(base64.as_bytes(), &mut der)?;
        Self::new(root.to_string(), &chain, KeyPair::try_from(der.as_slice())?)
    }

    fn make(files: &Files, now: SystemTime) -> Result<Self, Failure> {
        let (root_key, key) = (KeyPair::generate()?, KeyPair::generate()?);
        let root = params(Rank::Root, &root_key, now);
        let root_pem = to_pem("CERTIFICATE", root.self_signed(&root_key)?.der()).to_string();
        let issuer = params(Rank::Issuer, &key, now);
        let issuer = issuer.signed_by(&key, &Issuer::new(root, root_key))?;
        let issuer_pem = to_pem("CERTIFICATE", issuer.der());
        for file in files.all() {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("{}: {error}", file.display()).into());
                }
                Ok(()) | Err(_) => {}
            }
        }
        files::write_secret(&files.key, &to_pem("PRIVATE KEY", key.serialized_der()))?;
        files::write_secret(&files.issuer, &issuer_pem)?;
        files::write_secret(&files.root, &root_pem)?;
        let chain = Chain::read(&format!("{}{root_pem}", issuer_pem.as_str()))?;
        Self::new(root_pem, &chain, key)
    }

    /// `chain` is the issuer's certificate and the root's.
    fn new(pem: String, chain: &Chain, key: KeyPair) -> Result<Self, Failure> {
        let [issuer, root] = chain.certificates() else {
            return Err("ca.pem and issuer.pem hold one certificate each".into());
        };
        let digest = digest(&SHA256, &root.der);
        let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let (fingerprint, valid_to) = (pairs.join(":"), chain.valid_to());
        Ok(Self { pem, fingerprint, valid_to, issuer: issuer.der.clone(), key })
    }

    /// A certificate of a new key for this machine, which is called `names`.
    pub(crate) fn certify(
        &self,
        names: Vec<String>,
        now: SystemTime,
    ) -> Result<CertifiedKey, Failure> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Incamera on this network");
        params.not_before = (now - EARLIER).into();
        params.not_after = (now + DAY * SERVER_DAYS).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        // Of the issuer's parameters only its name and key go into what it signs, and both follow from its key.
        let issuer = Issuer::new(self::params(Rank::Issuer, &self.key, now), &self.key);
        let certificate = params.signed_by(&key, &issuer)?;
        let chain = vec![certificate.der().to_vec(), self.issuer.clone()];
        let valid_to = unix(now + DAY * SERVER_DAYS).0;
        Ok(CertifiedKey::new(chain, &to_pem("PRIVATE KEY", key.serialized_der()), valid_to)?)
    }
}

impl Files {
    fn of(folder: &Path) -> Self {
        let file = |name| folder.join(name);
        Self { root: file("ca.pem"), issuer: file("issuer.pem"), key: file("issuer.key") }
    }

    fn all(&self) -> [&Path; 3] {
        [&self.root, &self.issuer, &self.key]
    }
}

/// Which of the two certificates of an authority.
#[derive(Clone, Copy)]
enum Rank {
    Root,
    Issuer,
}

/// What a certificate of the authority says. Its name holds a piece of its key's digest, so that two machines'
/// differ.
fn params(rank: Rank, key: &KeyPair, now: SystemTime) -> CertificateParams {
    let digest = digest(&SHA256, key.public_key_raw());
    let id: String = digest.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let (name, below) = match rank {
        Rank::Root => (format!("Incamera local authority {id}"), 1),
        Rank::Issuer => (format!("Incamera local issuer {id}"), 0),
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - EARLIER).into();
    params.not_after = (now + DAY * AUTHORITY_DAYS).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    let networks = NETWORKS.iter().filter_map(|(network, bits)| {
        let network = network.parse().ok()?;
        Some(GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(network, *bits)))
    });
    let mut permitted_subtrees: Vec<GeneralSubtree> = networks.collect();
    permitted_subtrees.push(GeneralSubtree::DnsName(DOMAIN.into()));
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    params
}

fn unix(time: SystemTime) -> UnixTime {
    UnixTime(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// `der` as text, with nothing of it left elsewhere.
pub(crate) fn to_pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(BASE64_STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(2 * base64.len() + 128));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(64).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// A certificate for `a.example` that vouches for itself and ends after `time`, and its key, in PEM.
    pub(crate) fn pair(time: Duration) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.not_after = (SystemTime::now() + time).into();
        let certificate = params.self_signed(&key).unwrap();
        let pem = |label, der| to_pem(label, der).to_string();
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", key.serialized_der()))
    }

    #[test]
    fn an_authority_is_kept_for_its_owner_until_it_nears_its_end() {
        let folder =
            std::env::temp_dir().join(format!("incamera-authority-{}", std::process::id()));
        fs::remove_dir_all(&folder).ok();
        let now = SystemTime::now();
        let first = Authority::of(&folder, now).unwrap();
        assert!(first.certify(vec!["192.168.1.20".into(), "desk.local".into()], now).is_ok());
        for name in ["issuer.key", "issuer.pem", "ca.pem"] {
            let mode = fs::metadata(folder.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let again = Authority::of(&folder, now).unwrap();
        assert_eq!((&again.pem, &again.fingerprint), (&first.pem, &first.fingerprint));
        let later = Authority::of(&folder, now + DAY * (AUTHORITY_DAYS - 20)).unwrap();
        assert_ne!(later.pem, first.pem);
        for name in ["issuer.key", "issuer.pem", "ca.pem"] {
            let kept = fs::read(folder.join(name)).unwrap();
            fs::remove_file(folder.join(name)).unwrap();
            let torn = Authority::of(&folder, now).err().unwrap().to_string();
            assert!(
                torn.contains(&format!("{name} is missing")) && torn.contains("remove"),
                "{torn}"
            );
            fs::write(folder.join(name), kept).unwrap();
        }
        fs::write(folder.join("issuer.key"), "no key").unwrap();
        let wrong = Authority::of(&folder, now).err().unwrap().to_string();
        assert!(
            wrong.contains("issuer.key holds no private key") && wrong.contains("remove"),
            "{wrong}"
        );
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn it_vouches_for_private_addresses_alone() {
        let check = |address: &str| is_private(address.parse().unwrap());
        for private in
            ["10.1.2.3", "192.168.1.20", "172.31.0.1", "198.19.0.1", "fd00::2", "fe80::1"]
        {
            assert!(check(private), "{private}");
        }
        for public in ["8.8.8.8", "172.32.0.1", "11.0.0.1", "2001:db8::1", "::2"] {
            assert!(!check(public), "{public}");
        }
    }
}
