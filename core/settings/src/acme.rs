//! Certificates from an authority: `tls.acme` of the settings.
//!
//! Guarantees: what is returned can be asked for over ACME with a challenge that this server answers; each name is
//! in the form in which a client compares it.
//! Not here: asking (`bin/incamera`), when to ask again (`renewal`).
//! Source: RFC 8555; RFC 5890 §2.3.1 and RFC 1035 §2.3.4 for names.

use std::net::IpAddr;

use model::AccountData;

use crate::Fault;
use crate::limits::{DOMAINS_MAX, EMAIL_MAX};
use crate::server::port;
use crate::yaml::{Map, Node};

/// Let's Encrypt's.
const DIRECTORY_DEFAULT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Letters of a name between two dots, and of all of it.
const LABEL_MAX: usize = 63;
const NAME_MAX: usize = 253;

/// How a certificate is got.
#[derive(Clone, Debug)]
pub struct Acme {
    /// Where the settings say so.
    pub line: usize,
    /// What clients call this server: at least one, in small letters, none twice.
    pub domains: Vec<String>,
    /// Where the authority may write to.
    pub email: Option<AccountData<String>>,
    /// Where the authority says what it can: an https address.
    pub directory_url: String,
    /// The path of the authorities by which the directory's own certificate is judged, if not the system's.
    pub directory_ca_file: Option<String>,
    /// The path of the folder where account and certificate are kept.
    pub state_dir: String,
    /// Where the authority is answered over HTTP; without it over TLS, at the port of HTTP and WebSockets.
    pub http_port: Option<u16>,
}

/// The same certificate, got in the same way: wherever in the file that is said.
impl PartialEq for Acme {
    fn eq(&self, other: &Self) -> bool {
        // By name, so that what is new here is thought of.
        let Self {
            line: _,
            domains,
            email,
            directory_url,
            directory_ca_file,
            state_dir,
            http_port,
        } = self;
        *domains == other.domains
            && *email == other.email
            && *directory_url == other.directory_url
            && *directory_ca_file == other.directory_ca_file
            && *state_dir == other.state_dir
            && *http_port == other.http_port
    }
}

impl Eq for Acme {}

/// Reads what is below `acme`.
pub(crate) fn acme(node: Node) -> Result<Acme, Fault> {
    let line = node.line;
    let mut map = node.map()?;
    let domains = domains(map.need("domains")?)?;
    let email = map.take("email").map(|node| email(&node)).transpose()?;
    let directory_url = match map.take("directory_url") {
        Some(node) => directory(&node)?,
        None => DIRECTORY_DEFAULT.to_owned(),
    };
    let directory_ca_file = map.take("directory_ca_file");
    let directory_ca_file = directory_ca_file.map(|node| path(&node)).transpose()?;
    let state_dir = path(&map.need("state_dir")?)?;
    let http_port = map.take("http_port").map(|node| port(&node)).transpose()?;
    accept_terms(&mut map, line, &directory_url)?;
    map.end()?;
    Ok(Acme { line, domains, email, directory_url, directory_ca_file, state_dir, http_port })
}

fn accept_terms(map: &mut Map, line: usize, directory_url: &str) -> Result<(), Fault> {
    let node = map.take("accept_terms");
    let line = node.as_ref().map_or(line, |node| node.line);
    if node.map_or(Ok(false), |node| node.boolean())? {
        return Ok(());
    }
    let reason = format!(
        "read the terms of service that {directory_url} names, and say `accept_terms: true` if you agree to them"
    );
    Err(Fault::new(line, reason))
}

fn domains(node: Node) -> Result<Vec<String>, Fault> {
    let line = node.line;
    let mut all: Vec<String> = Vec::new();
    for node in node.list()? {
        let name = domain(&node)?;
        if all.contains(&name) {
            return Err(node.fault("this name is there already"));
        }
        all.push(name);
    }
    if !(1..=DOMAINS_MAX).contains(&all.len()) {
        return Err(Fault::new(line, format!("from 1 to {DOMAINS_MAX} names are wanted here")));
    }
    Ok(all)
}

/// A name as it goes into a certificate.
fn domain(node: &Node) -> Result<String, Fault> {
    let name = node.text()?.to_ascii_lowercase();
    if name.starts_with("*.") {
        return Err(node.fault(
            "an authority gives a certificate for every name below another against a record in the DNS alone, which \
             this server does not write: give each name",
        ));
    }
    if name.parse::<IpAddr>().is_ok() {
        return Err(node.fault("a name is wanted here, as calls.example.org, not an address"));
    }
    if !name.is_ascii() {
        return Err(node.fault("write this name as the DNS has it: it begins with `xn--`"));
    }
    let is_label = |label: &str| {
        let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // What ends in a number would be read as an address.
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let is_good = name.len() <= NAME_MAX && name.split('.').all(is_label);
    if !is_good || name.rsplit('.').next().is_some_and(is_number) {
        return Err(
            node.fault("a name is wanted here, as calls.example.org, without scheme and port")
        );
    }
    Ok(name)
}

fn email(node: &Node) -> Result<AccountData<String>, Fault> {
    let text = node.text()?;
    let is_good = text.len() <= EMAIL_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b",?&%<>\"\\".contains(&byte))
        && text.split_once('@').is_some_and(|(name, host)| {
            !name.is_empty() && !host.is_empty() && !host.contains('@')
        });
    if !is_good {
        return Err(node.fault("one e-mail address is wanted here"));
    }
    Ok(AccountData::new(text.to_owned()))
}

fn directory(node: &Node) -> Result<String, Fault> {
    let url = node.text()?;
    let rest = url.strip_prefix("https://").unwrap_or_default();
    let host = rest.split('/').next().unwrap_or_default();
    let is_good =
        !host.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if is_good && !host.contains('@') {
        Ok(url.to_owned())
    } else {
        Err(node.fault(format!("the authority's directory is wanted here, as {DIRECTORY_DEFAULT}")))
    }
}

fn path(node: &Node) -> Result<String, Fault> {
    let path = node.text()?;
    if path.is_empty() { Err(node.fault("a path is wanted here")) } else { Ok(path.to_owned()) }
}
