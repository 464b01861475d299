//! Files with secrets and keys, read and written.
//!
//! Guarantees: what is read is bounded and overwritten when dropped; a secret that is written can be read by
//! its owner alone; what replaces a file is there in whole or not at all, whenever the machine stops.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::mem;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

/// Bytes of a file with one secret or one key set.
pub(crate) const SECRET_FILE_MAX: usize = wire::limits::JWKS_MAX;

/// The text of a regular file of at most `bytes_max` bytes. The error names the file.
pub(crate) fn read(path: &Path, bytes_max: usize) -> Result<Zeroizing<String>, String> {
    opened(path, Kind::Regular)
        .and_then(|file| bytes(file, bytes_max))
        .and_then(text)
        .map_err(within(path))
}

/// The same with what the system says of the file. The error does not name it.
pub(crate) fn read_with(
    path: &Path,
    bytes_max: usize,
) -> Result<(Zeroizing<String>, Metadata), String> {
    let file = opened(path, Kind::Regular)?;
    let found = file.metadata().map_err(|error| error.to_string())?;
    Ok((text(bytes(file, bytes_max)?)?, found))
}

/// The text of what somebody at a command line names, which may be a pipe: it is waited for. The error names it.
pub(crate) fn read_any(path: &Path, bytes_max: usize) -> Result<Zeroizing<String>, String> {
    read_any_bytes(path, bytes_max).and_then(|bytes| text(bytes).map_err(within(path)))
}

/// The same of a secret, which may have been given itself in the place of its file: what is no file is not repeated,
/// and the error names `option` instead.
pub(crate) fn read_secret(
    option: &str,
    path: &Path,
    bytes_max: usize,
) -> Result<Zeroizing<String>, String> {
    match path.symlink_metadata() {
        Ok(_) => read_any(path, bytes_max),
        Err(error) => Err(format!("{option}: the file that is named here: {error}")),
    }
}

/// As [`read_any`], where it need not be text. A pipe or a device is read to `bytes_max` and no further.
pub(crate) fn read_any_bytes(path: &Path, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    opened(path, Kind::Any).and_then(|file| bytes(file, bytes_max)).map_err(within(path))
}

/// What may be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    /// What a server reads: it must not wait for whoever may write into a pipe one day.
    Regular,
}

fn within(path: &Path) -> impl Fn(String) -> String {
    move |reason| format!("{}: {reason}", path.display())
}

fn opened(path: &Path, kind: Kind) -> Result<File, String> {
    let mut options = OpenOptions::new();
    options.read(true);
    if kind == Kind::Regular {
        // Else to open a pipe is to wait for its writer.
        options.custom_flags(libc::O_NONBLOCK);
    }
    let file = options.open(path).map_err(|error| error.to_string())?;
    let found = file.metadata().map_err(|error| error.to_string())?;
    if found.is_dir() {
        return Err("is a directory".to_owned());
    }
    if kind == Kind::Regular && !found.is_file() {
        return Err("is a pipe or a device; a regular file is wanted".to_owned());
    }
    Ok(file)
}

fn bytes(file: File, bytes_max: usize) -> Result<Zeroizing<Vec<u8>>, String> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    let len = file.metadata().map_err(|error| error.to_string())?.len();
    // As long as it gets, so that no copy is left behind when it grows.
    let capacity = usize::try_from(len.min(limit)).unwrap_or(bytes_max) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    let mut file = file.take(limit.saturating_add(1));
    file.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() > bytes_max {
        return Err(format!("has more than {bytes_max} bytes"));
    }
    Ok(bytes)
}

fn text(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, String> {
    String::from_utf8(mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        "is no text in UTF-8".to_owned()
    })
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
    use std::process::Command;

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
        assert_eq!(read_any_bytes(&path, 10).unwrap().as_slice(), [0xff; 10]);
        let complaint = |path: &Path, bytes_max| read_any_bytes(path, bytes_max).unwrap_err();
        assert!(complaint(&path, 9).ends_with(": has more than 9 bytes"));
        assert!(read_any(&path, 10).unwrap_err().ends_with(": is no text in UTF-8"));
        assert!(read(&path, 10).unwrap_err().ends_with(": is no text in UTF-8"));
        fs::remove_file(&path).unwrap();
        assert_eq!(complaint(Path::new("/dev/zero"), 9), "/dev/zero: has more than 9 bytes");
        assert_eq!(complaint(Path::new("/"), 9), "/: is a directory");
        assert_eq!(read_any_bytes(Path::new("/dev/null"), 9).unwrap().len(), 0);
    }

    #[test]
    fn a_secret_in_the_place_of_its_file_is_not_repeated() {
        for secret in ["eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhIn0.c2lnbmVk", "a/b+c=", &"a".repeat(9000)]
        {
            let refused = read_secret("FILE", Path::new(secret), 64).unwrap_err();
            assert!(!refused.contains(secret) && refused.starts_with("FILE: "), "{refused}");
        }
        let path = std::env::temp_dir().join(format!("incamera-secret-{}", std::process::id()));
        fs::write(&path, "long").unwrap();
        assert_eq!(read_secret("FILE", &path, 9).unwrap().as_str(), "long");
        let refused = read_secret("FILE", &path, 3).unwrap_err();
        assert!(refused.starts_with(&path.display().to_string()), "{refused}");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn what_a_server_reads_is_a_regular_file_and_a_pipe_keeps_it_waiting_for_nobody() {
        let path = std::env::temp_dir().join(format!("incamera-pipe-{}", std::process::id()));
        // Nobody writes into it: to open it as any other file would wait for ever.
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        for odd in [path.as_path(), Path::new("/dev/zero"), Path::new("/dev/null")] {
            let refused = read(odd, 9).unwrap_err();
            assert!(refused.ends_with("a regular file is wanted"), "{refused}");
        }
        assert_eq!(read(Path::new("/"), 9).unwrap_err(), "/: is a directory");
        fs::remove_file(&path).unwrap();
        fs::write(&path, "text").unwrap();
        assert_eq!(read(&path, 9).unwrap().as_str(), "text");
        fs::remove_file(&path).unwrap();
    }
}
