//! Files with secrets and keys, read and written.
//!
//! Guarantees: what is read is bounded and overwritten when dropped; a secret that is written can be read by
//! its owner alone, and replaces nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

/// Bytes of a file with one secret or one key set.
pub(crate) const SECRET_FILE_MAX: usize = wire::limits::JWKS_MAX;

/// The text of a file of at most `bytes_max` bytes. The error names the file.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Result<Zeroizing<String>, String> {
    let within = |error: io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(within)?;
    let expected = file.metadata().map_err(within)?.len();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    // As long as it gets, so that no copy is left behind when it grows.
    let capacity = usize::try_from(expected.min(limit)).unwrap_or(bytes_max) + 1;
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    file.take(limit.saturating_add(1)).read_to_string(&mut text).map_err(within)?;
    if text.len() > bytes_max {
        return Err(format!("{}: has more than {bytes_max} bytes", path.display()));
    }
    Ok(text)
}

/// Writes a new file that its owner alone can read.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), String> {
    let within = |error: io::Error| format!("{}: {error}", path.display());
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(within)?;
    file.write_all(text.as_bytes()).map_err(within)
}
