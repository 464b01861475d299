//! Files with secrets and keys, read and written.
//!
//! Guarantees: what is read is bounded and overwritten when dropped; a secret that is written can be read by
//! its owner alone, and replaces nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::mem;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

/// Bytes of a file with one secret or one key set.
pub(crate) const SECRET_FILE_MAX: usize = wire::limits::JWKS_MAX;

/// The text of a file of at most `bytes_max` bytes. The error names the file.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Result<Zeroizing<String>, String> {
    let mut bytes = read_bytes(path, bytes_max)?;
    match String::from_utf8(mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(format!("{}: is no text in UTF-8", path.display()))
        }
    }
}

/// What is in a file of at most `bytes_max` bytes: a pipe or a device is read so far and no further. The error names
/// the file.
pub(crate) fn read_bytes(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    let within = |error: io::Error| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(within)?;
    let metadata = file.metadata().map_err(within)?;
    if metadata.is_dir() {
        return Err(format!("{}: is a directory", path.display()));
    }
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    // As long as it gets, so that no copy is left behind when it grows.
    let capacity = usize::try_from(metadata.len().min(limit)).unwrap_or(bytes_max) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(within)?;
    if bytes.len() > bytes_max {
        return Err(format!("{}: has more than {bytes_max} bytes", path.display()));
    }
    Ok(bytes)
}

/// Writes a new file that its owner alone can read.
pub(crate) fn write_secret(path: &Path, text: &str) -> Result<(), String> {
    let within = |error: io::Error| format!("{}: {error}", path.display());
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(within)?;
    file.write_all(text.as_bytes()).map_err(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_to_its_bound_whatever_it_is() {
        let path = std::env::temp_dir().join(format!("incamera-bound-{}", std::process::id()));
        std::fs::write(&path, [0xff; 10]).unwrap();
        assert_eq!(read_bytes(&path, 10).unwrap().as_slice(), [0xff; 10]);
        let complaint = |path: &Path, bytes_max| read_bytes(path, bytes_max).unwrap_err();
        assert!(complaint(&path, 9).ends_with(": has more than 9 bytes"));
        assert!(read(&path, 10).unwrap_err().ends_with(": is no text in UTF-8"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(complaint(Path::new("/dev/zero"), 9), "/dev/zero: has more than 9 bytes");
        assert_eq!(complaint(Path::new("/"), 9), "/: is a directory");
        assert_eq!(read_bytes(Path::new("/dev/null"), 9).unwrap().len(), 0);
    }
}
