//! By which authorities a server's certificate is judged when a command asks it over TLS.
//!
//! Owns: the file of authorities: one that is named, else the system's.
//! Guarantees: a certificate that none of them vouches for, or of another name, is refused; there is no way around.
//! Source: the paths are those of OpenSSL as Debian, Fedora, Alpine and openSUSE build it.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use crate::{Failure, files};

/// As OpenSSL calls it, and whatever is built on it.
const FILE_VARIABLE: &str = "SSL_CERT_FILE";
/// The system's authorities, the first that is there.
const SYSTEM_FILES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];
/// Bytes of such a file; the system's have some 220,000.
const FILE_MAX: usize = 4 << 20;

/// Whom a command believes.
#[derive(Clone)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
    /// How a person names another file.
    option: &'static str,
}

impl Trust {
    /// In the authorities of this file, else in the system's; `option` is how a person names the file.
    pub(crate) fn new(named: Option<&Path>, option: &'static str) -> Result<Self, Failure> {
        let (path, text) = match named {
            Some(path) => {
                let shown = path.to_string_lossy();
                let shown = settings::shown(&shown);
                let read = files::read_with(path, FILE_MAX);
                (path.to_owned(), read.map_err(|reason| format!("{option}: {shown}: {reason}"))?.0)
            }
            None => {
                let path = system_file(option)?;
                let text = files::read(&path, FILE_MAX)?;
                (path, text)
            }
        };
        let all: Vec<_> =
            CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(Result::ok).collect();
        let mut roots = RootCertStore::empty();
        if roots.add_parsable_certificates(all).0 == 0 {
            return Err(format!("{}: holds no certificate in PEM", path.display()).into());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { config: Arc::new(config), option })
    }

    /// Makes sure that the other end is `host`, and begins TLS.
    pub(crate) async fn greet(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Failure> {
        let name = ServerName::try_from(host.to_owned())?;
        let greeted = TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await;
        greeted.map_err(|error| self.failure(host, &error).into())
    }

    /// Why there is no TLS, in words of whoever asked.
    fn failure(&self, host: &str, error: &io::Error) -> String {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
        match cause {
            // What came is no record of TLS, as an answer of HTTP is none.
            Some(rustls::Error::InvalidMessage(_)) => {
                format!("no TLS with {host}: the server there does not speak TLS")
            }
            Some(rustls::Error::InvalidCertificate(_)) => {
                format!(
                    "no TLS with {host}: {error}; {} names an authority of your own",
                    self.option
                )
            }
            Some(_) | None => format!("no TLS with {host}: {error}"),
        }
    }
}

fn system_file(option: &str) -> Result<PathBuf, Failure> {
    if let Some(path) = env::var_os(FILE_VARIABLE) {
        return Ok(path.into());
    }
    let found = SYSTEM_FILES.into_iter().map(Path::new).find(|path| path.exists());
    let found = found
        .ok_or_else(|| format!("this system has no file of authorities: name one with {option}"))?;
    Ok(found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_authority_is_no_trust() {
        let path = env::temp_dir().join(format!("incamera-trust-{}", std::process::id()));
        std::fs::write(&path, "nothing\n").unwrap();
        let failure = Trust::new(Some(&path), "--ca-file").err().unwrap();
        assert!(failure.to_string().ends_with("holds no certificate in PEM"), "{failure}");
        let own = rcgen::generate_simple_self_signed(["house.example".to_owned()]).unwrap();
        let der = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, own.cert.der());
        let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
        std::fs::write(&path, pem).unwrap();
        assert!(Trust::new(Some(&path), "--ca-file").is_ok());
        std::fs::remove_file(&path).unwrap();
    }
}
