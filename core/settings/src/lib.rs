//! What an operator writes: the settings of a server, and what is revoked.
//!
//! Owns: the two files and the certificate, from their text to values that make sense; what stands revoked while a
//! file changes; when a certificate is renewed.
//! Guarantees: what is refused is refused with the line and the reason, and neither holds a secret; what is not
//! known, or has no effect here, is named; the texts that are read into are overwritten when dropped.
//! Not here: opening files, which the caller does when it is given a path; what a value causes (`edge`).
//! Source: LiveKit `config-sample.yaml` and `pkg/config/config.go`, whose names are kept.
#![forbid(unsafe_code)]

mod acme;
pub mod address;
pub mod certificate;
mod keys;
mod known;
pub mod limits;
mod load;
mod metrics;
pub mod renewal;
mod revocations;
mod rooms;
mod server;
mod standing;
mod yaml;

pub use acme::Acme;
pub use keys::{secret_of, shown};
pub use metrics::{Metrics, MetricsLogin};
pub use revocations::{RevocationList, read_revocations};
pub use rooms::Rooms;
pub use server::{CertificateFiles, NamedFile, Settings, Tls, read_settings};
pub use standing::{Heard, Standing};

use zeroize::Zeroizing;

/// A line of a file, and what is to be said of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    /// A sentence without full stop. It repeats nothing of the file but paths that end as files' names do, or could be
    /// opened.
    pub reason: String,
}

impl Fault {
    fn new(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

/// Reads the file of a path that a settings file names; what is wrong with it otherwise, without the path: what could
/// not be opened may be no path.
pub type ReadFile<'a> = dyn FnMut(&str, Holds) -> Result<Zeroizing<String>, String> + 'a;

/// What a file holds, and so what others may do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Whoever reads it can mint tokens.
    TokenSecret,
    /// Whoever reads it can pass for the server.
    CertificateKey,
    /// Everybody may read it.
    NoSecret,
}
