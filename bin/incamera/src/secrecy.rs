//! Files that a settings file names, and who else may read or write them.
//!
//! Owns: opening them; which rights of others are refused, and which are said.
//! Guarantees: nothing is opened with a secret for tokens that every user of the machine has, or could have put there.
//! A key of a certificate is served with all the same, as other servers do: that it cannot be renewed any more would
//! harm more. What others may write decides who gets in, whatever it holds.
//! Not here: what is in them (`settings`), the folder of an authority (`acme`).
//! Source: LiveKit `cmd/server/main.go`, which refuses a `key_file` that others may read.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use model::{LocalText, LogData};
use settings::Holds;
use zeroize::Zeroizing;

use crate::files;

/// What everybody may do who is neither the file's owner nor of its group.
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
/// Of a folder: what is in it is its owner's to remove, whoever may write there (inode(7)).
const STICKY: u32 = 0o1000;

/// What is mounted where.
const MOUNTS: &str = "/proc/self/mountinfo";

/// A file that others may do more with than they should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exposed {
    pub(crate) path: PathBuf,
    pub(crate) how: How,
    /// Whether no server starts with it.
    pub(crate) is_refused: bool,
}

/// What others may do, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Read a secret.
    Read,
    /// Write what decides who gets in.
    Write,
    /// Put another file in the place of it.
    Replace,
}

impl How {
    /// In words, for a log and for a person.
    pub(crate) const fn what(self) -> &'static str {
        match self {
            Self::Read => "every user of this machine can read it, and it holds a key",
            Self::Write => "every user of this machine can write it",
            Self::Replace => "every user of this machine can put another in its place",
        }
    }

    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::Read => "whoever has that can pass for the server, or let anybody in",
            Self::Write | Self::Replace => {
                "whoever writes it decides who gets in, or whom the server believes"
            }
        }
    }
}

impl Exposed {
    /// The command that mends it.
    pub(crate) fn fix(&self) -> String {
        let (rights, path) = match self.how {
            How::Read => ("o=", self.path.clone()),
            How::Write => ("o-w", self.path.clone()),
            How::Replace => ("o-w", open_folder(&self.path).unwrap_or_default()),
        };
        format!("chmod {rights} {}", path.display())
    }
}

/// Opens files of one folder, and remembers which of them others may do too much with.
pub(crate) struct Opener {
    folder: PathBuf,
    manner: Manner,
    pub(crate) exposed: Vec<Exposed>,
    /// What could not be opened last.
    pub(crate) unopened: Option<PathBuf>,
}

/// What becomes of a file that is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// It is not opened.
    Refuse,
    /// It is opened, and told, for whoever only looks.
    Tell,
}

impl Opener {
    pub(crate) fn new(folder: PathBuf, manner: Manner) -> Self {
        Self { folder, manner, exposed: Vec::new(), unopened: None }
    }

    /// The text of a file that is named in the settings; what is wrong with it, without its name.
    pub(crate) fn open(&mut self, name: &str, holds: Holds) -> Result<Zeroizing<String>, String> {
        let path = self.folder.join(name);
        let (text, exposed) = match read(&path, files::SECRET_FILE_MAX, holds) {
            Ok(read) => read,
            Err(reason) => {
                self.unopened = Some(path);
                return Err(reason);
            }
        };
        if let Some(exposed) = exposed {
            if exposed.is_refused && self.manner == Manner::Refuse {
                return Err(format!("{}: {}", exposed.how.what(), exposed.fix()));
            }
            self.exposed.push(exposed);
        }
        Ok(text)
    }

    /// Looks at a file that is opened elsewhere, whatever others may do, as LiveKit opens its settings.
    pub(crate) fn look_at(&mut self, path: &Path, holds: Holds) {
        let found = fs::metadata(path).ok();
        let exposed = found.and_then(|found| judge(path.to_owned(), &found, holds));
        self.exposed.extend(exposed.map(|exposed| Exposed { is_refused: false, ..exposed }));
    }
}

/// The text of a file of at most `bytes_max` bytes, and whether others may do too much with it. The error does not name
/// it.
pub(crate) fn read(
    path: &Path,
    bytes_max: usize,
    holds: Holds,
) -> Result<(Zeroizing<String>, Option<Exposed>), String> {
    let (text, found) = files::read_with(path, bytes_max)?;
    // As where a certificate is named in the place of its key.
    let has_key = holds != Holds::CertificateKey || text.contains("PRIVATE KEY-----");
    let holds = if has_key { holds } else { Holds::NoSecret };
    Ok((text, judge(path.to_owned(), &found, holds)))
}

/// Of `found` in `files` that were read again, what is not `held` as said already; from then on it is.
pub(crate) fn news(held: &mut Vec<Exposed>, files: &[&Path], found: Vec<Exposed>) -> Vec<Exposed> {
    let news = found.iter().filter(|exposed| !held.contains(exposed)).cloned().collect();
    held.retain(|exposed| !files.contains(&exposed.path.as_path()));
    held.extend(found);
    news
}

/// Says it in the log.
pub(crate) fn say<'a>(all: impl IntoIterator<Item = &'a Exposed>) {
    for exposed in all {
        let (file, warning) = (LocalText(exposed.path.display()), LogData(exposed.how.what()));
        let fix = LocalText(exposed.fix());
        edge::log!(WARN, "about the rights of a file", file = file, warning = warning, fix = fix);
    }
}

fn judge(path: PathBuf, found: &Metadata, holds: Holds) -> Option<Exposed> {
    let others = found.mode();
    let is_secret = holds != Holds::NoSecret;
    let how = match (others & OTHERS_READ != 0, others & OTHERS_WRITE != 0) {
        (true, _) if is_secret => How::Read,
        (_, true) => How::Write,
        (true | false, false) if open_folder(&path).is_some() => How::Replace,
        (true | false, false) => return None,
    };
    Some(Exposed { path, how, is_refused: holds == Holds::TokenSecret })
}

/// A folder on the way to a file, or to where a link leads from there, in which everybody may remove what is somebody
/// else's and put something in its place.
fn open_folder(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let linked = fs::canonicalize(&path).ok();
    let folders = [Some(&path), linked.as_ref()].into_iter().flatten();
    let mut folders = folders.flat_map(|path| path.ancestors().skip(1));
    let is_open = |folder: &&Path| {
        fs::metadata(folder)
            .is_ok_and(|found| found.mode() & (OTHERS_WRITE | STICKY) == OTHERS_WRITE)
            // Mounts of Kubernetes are open to all, and nobody can write there.
            && !fs::read_to_string(MOUNTS).is_ok_and(|mounts| is_read_only(&mounts, folder))
    };
    folders.find(is_open).map(Path::to_owned)
}

/// Whether nobody can write in `folder` by what is said of `mounts` (proc_pid_mountinfo(5): the fifth field is where,
/// the sixth how; of two at one place the later holds).
fn is_read_only(mounts: &str, folder: &Path) -> bool {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(4);
        Some((Path::new(fields.next()?), fields.next()?))
    });
    let over = mounts.filter(|(place, _)| folder.starts_with(place));
    let (_, how) = over.max_by_key(|(place, _)| place.components().count()).unzip();
    how.is_some_and(|how| how.split(',').any(|option| option == "ro"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::slice;

    #[test]
    fn what_others_may_do_is_refused_for_secrets_of_tokens_and_told_for_the_rest() {
        let folder = std::env::temp_dir().join(format!("incamera-secrecy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("named");
        let key = "-----BEGIN PRIVATE KEY-----";
        fs::write(&path, key).unwrap();
        let opened = |mode: u32, holds, manner| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let mut opener = Opener::new(folder.clone(), manner);
            let text = opener.open("named", holds);
            text.map(|_| opener.exposed.pop().map(|exposed| exposed.how))
        };
        for (mode, holds, expect) in [
            (0o600, Holds::TokenSecret, None),
            (0o640, Holds::TokenSecret, None),
            (0o660, Holds::TokenSecret, None),
            (0o644, Holds::TokenSecret, Some(How::Read)),
            (0o666, Holds::TokenSecret, Some(How::Read)),
            (0o602, Holds::TokenSecret, Some(How::Write)),
            (0o640, Holds::CertificateKey, None),
            (0o644, Holds::CertificateKey, Some(How::Read)),
            (0o602, Holds::CertificateKey, Some(How::Write)),
            (0o644, Holds::NoSecret, None),
            (0o646, Holds::NoSecret, Some(How::Write)),
        ] {
            assert_eq!(opened(mode, holds, Manner::Tell), Ok(expect), "{mode:o} {holds:?}");
            let refused = opened(mode, holds, Manner::Refuse);
            match expect {
                Some(how) if holds == Holds::TokenSecret => {
                    let reason = refused.unwrap_err();
                    assert!(
                        reason.starts_with(how.what()) && reason.contains("chmod o"),
                        "{reason}"
                    );
                }
                Some(_) | None => assert_eq!(refused, Ok(expect), "{mode:o} {holds:?}"),
            }
        }
        for (mode, expect) in
            [(0o775, None), (0o777, Some(How::Replace)), (0o1777, None), (0o755, None)]
        {
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(opened(0o600, Holds::NoSecret, Manner::Refuse), Ok(expect), "{mode:o}");
            let refused = opened(0o600, Holds::TokenSecret, Manner::Refuse);
            assert_eq!(refused.is_err(), expect.is_some(), "{mode:o}: {refused:?}");
        }
        fs::write(&path, "-----BEGIN CERTIFICATE-----").unwrap();
        assert_eq!(opened(0o644, Holds::CertificateKey, Manner::Tell), Ok(None), "no key is in it");
        let mut opener = Opener::new(folder.clone(), Manner::Refuse);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        opener.look_at(&path, Holds::TokenSecret);
        opener.look_at(&path, Holds::NoSecret);
        opener.look_at(&folder.join("nowhere"), Holds::TokenSecret);
        let told = Exposed { path, how: How::Read, is_refused: false };
        assert_eq!(opener.exposed, [told], "the settings are told alone");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_said_of_a_file_is_said_again_once_it_was_mended_in_between() {
        let exposed = |name: &str, how| Exposed { path: name.into(), how, is_refused: false };
        let (key, other) = (exposed("key", How::Read), exposed("other", How::Write));
        let mut held = vec![other.clone()];
        let files = [Path::new("key"), Path::new("chain")];
        let mut check = |found: &[Exposed], expect: &[Exposed]| {
            assert_eq!(news(&mut held, &files, found.to_vec()), expect);
        };
        let (key, wider) = (slice::from_ref(&key), [exposed("key", How::Write)]);
        check(key, key);
        check(key, &[]);
        check(&wider, &wider);
        check(&[], &[]);
        check(key, key);
        assert_eq!(held, [slice::from_ref(&other), key].concat());
    }

    #[test]
    fn the_command_that_mends_takes_away_what_was_too_much() {
        let exposed = |how| Exposed { path: PathBuf::from("keys.yaml"), how, is_refused: true };
        assert_eq!(exposed(How::Read).fix(), "chmod o= keys.yaml");
        assert_eq!(exposed(How::Write).fix(), "chmod o-w keys.yaml");
    }

    #[test]
    fn a_file_is_no_safer_than_the_folders_on_the_way_to_it() {
        let folder = std::env::temp_dir().join(format!("incamera-folders-{}", std::process::id()));
        let [outer, inner] = [folder.join("outer"), folder.join("outer/inner")];
        fs::create_dir_all(&inner).unwrap();
        let (file, link) = (inner.join("file"), folder.join("link"));
        fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for (modes, expect) in [
            ([0o755, 0o755], None),
            ([0o755, 0o777], Some(&inner)),
            ([0o777, 0o755], Some(&outer)),
            ([0o1777, 0o755], None),
        ] {
            for (folder, mode) in [&outer, &inner].into_iter().zip(modes) {
                fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
            }
            for path in [&file, &link] {
                assert_eq!(open_folder(path).as_ref(), expect, "{modes:?}");
                let exposed = Exposed { path: path.clone(), how: How::Replace, is_refused: false };
                let fix = expect.map(|folder| format!("chmod o-w {}", folder.display()));
                assert!(fix.is_none_or(|fix| fix == exposed.fix()));
            }
        }
        fs::remove_dir_all(&folder).unwrap();
        let mounts = "1 0 8:1 / / rw,relatime - ext4 /dev/sda rw\n\
                      2 1 8:1 /a /etc/x ro,relatime - ext4 /dev/sda rw\n";
        for (folder, expect) in
            [("/etc", false), ("/etc/x", true), ("/etc/x/..data", true), ("/etc/xy", false)]
        {
            assert_eq!(is_read_only(mounts, Path::new(folder)), expect, "{folder}");
        }
    }
}
