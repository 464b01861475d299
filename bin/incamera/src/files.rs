//! Files with secrets and keys, read and written.
//!
//! Guarantees: what is read is bounded and overwritten when dropped; a secret that is written can be read by
//! its owner alone; what replaces a file is there in whole or not at all, whenever the machine stops.

use std::fs::{self, File, OpenOptions};
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

    #[test]
    fn a_file_is_read_to_its_bound_whatever_it_is() {
        let path = std::env::temp_dir().join(format!("incamera-bound-{}", std::process::id()));
        fs::write(&path, [0xff; 10]).unwrap();
        assert_eq!(read_bytes(&path, 10).unwrap().as_slice(), [0xff; 10]);
        let complaint = |path: &Path, bytes_max| read_bytes(path, bytes_max).unwrap_err();
        assert!(complaint(&path, 9).ends_with(": has more than 9 bytes"));
        assert!(read(&path, 10).unwrap_err().ends_with(": is no text in UTF-8"));
        fs::remove_file(&path).unwrap();
        assert_eq!(complaint(Path::new("/dev/zero"), 9), "/dev/zero: has more than 9 bytes");
        assert_eq!(complaint(Path::new("/"), 9), "/: is a directory");
        assert_eq!(read_bytes(Path::new("/dev/null"), 9).unwrap().len(), 0);
    }
}
