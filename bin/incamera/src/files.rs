//! Files with secrets and keys, read and written.
//!
//! Guarantees: what is read is bounded and overwritten when dropped; a secret that is written can be read by
//! its owner alone; what replaces a file is there in whole or not at all, whenever the machine stops.

use std::fs::{self, File, OpenOptions};
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

/// Writes a file that its owner alone can read, in the place of one that may be there.
pub(crate) fn replace_secret(path: &Path, text: &str) -> Result<(), String> {
    let within = |error: io::Error| format!("{}: {error}", path.display());
    let fresh = path.with_extension("new");
    let replace = || -> io::Result<()> {
        // One that a process left which was stopped.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        // The new name is on the disk when its folder is.
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    let replaced = replace();
    if replaced.is_err() {
        // It holds a part of a secret, or nothing; where nothing can be written, nothing can be done about it.
        fs::remove_file(&fresh).ok();
    }
    replaced.map_err(within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_is_replaced_in_whole_and_for_its_owner_alone() {
        let folder = std::env::temp_dir().join(format!("incamera-files-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("secret.pem");
        for text in ["one", "another"] {
            // What is left of a write that did not come to its end is in nobody's way.
            fs::write(path.with_extension("new"), "half").unwrap();
            replace_secret(&path, text).unwrap();
            assert_eq!(read(&path, 64).unwrap().as_str(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        let nowhere = folder.join("nowhere/secret.pem");
        assert!(replace_secret(&nowhere, "x").unwrap_err().contains("nowhere/secret.pem: No such"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
